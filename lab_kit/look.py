"""The look all charts share: a palette, a template for light and one for dark pages, and a blank figure."""

from functools import cache

import plotly.graph_objects as go

# Okabe & Ito (2008), distinguishable with every common form of colour blindness; the dark variant is lighter.
LIGHT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B6B6B")
DARK = ("#56B4E9", "#FF9A4D", "#3DD3A4", "#E3A6CB", "#F2C14E", "#8EC9F0", "#A6A6A6")
FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"

JUMP = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
"""How a slider goes to a frame. Without ``redraw`` Plotly takes away what it cannot animate, such as contours."""


def colours(dark: bool = False) -> tuple[str, ...]:
    """The palette: six colours in the order they are used, then a grey for what stands in the background."""
    return DARK if dark else LIGHT


@cache
def template(dark: bool = False) -> go.layout.Template:
    """The one look of every figure.

    Args:
      dark: light lines on a dark ground, for JupyterLab's dark theme.

    Returns:
      A template to pass to ``layout.template``; backgrounds are transparent, so the page shows through.
    """
    ink, grid, line = ("#E6E6E6", "#3A3A3A", "#777777") if dark else ("#222222", "#E7E7E7", "#999999")
    axis = {
        "gridcolor": grid, "linecolor": line, "zerolinecolor": grid, "showline": True, "ticks": "outside",
        "tickcolor": line, "ticklen": 4, "automargin": True, "title": {"standoff": 8},
    }  # fmt: skip
    ground = "#1E1E1E" if dark else "#FFFFFF"
    layout = go.Layout(
        colorway=colours(dark)[:6],
        font={"family": FONT, "size": 13, "color": ink},
        title={"font": {"size": 16}, "x": 0.01, "xanchor": "left"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 64, "r": 20, "t": 48, "b": 48},
        xaxis=axis,
        yaxis=axis,
        hoverlabel={"font": {"family": FONT, "color": ink}, "bgcolor": ground},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "right", "x": 1.0},
        bargap=0.12,
    )
    return go.layout.Template(layout=layout)


def blank(title: str, dark: bool, height: int, x: str = "", y: str = "") -> go.Figure:
    """A figure without traces, in the common look; its width follows the page.

    Args:
      title: above the chart.
      dark: for a dark page.
      height: in pixels.
      x: title of the horizontal axis, with its unit.
      y: title of the vertical axis, with its unit.
    """
    figure = go.Figure(layout={"template": template(dark), "height": height, "title": {"text": title}})
    return figure.update_xaxes(title_text=x).update_yaxes(title_text=y)

"""The page behind the widgets: what only the browser knows, and boxes that ``static/panel.css`` places."""

from pathlib import Path

import anywidget
import ipywidgets
import traitlets

STATIC = Path(__file__).parent / "static"


class Page(anywidget.AnyWidget):
    """Hidden: tells Python the page's theme, the chart's width in pixels and the last frame it has painted.

    It also gives the controls their names for screen readers, and keeps JupyterLab's shortcuts away from them.

    Attributes:
      dark: whether the page is dark.
      width: of the place for the chart in pixels; 0 while no page shows it.
      sent: the number of the newest frame.
      painted: the number of the newest frame that a page has painted.
      charts: the models of Plotly's widgets that shall not tell of each change they have drawn.
    """

    _esm = STATIC / "panel.js"
    _css = STATIC / "panel.css"
    dark = traitlets.Bool(False).tag(sync=True)
    width = traitlets.Int(0).tag(sync=True)
    sent = traitlets.Int(0).tag(sync=True)
    painted = traitlets.Int(0).tag(sync=True, echo_update=False)
    charts: traitlets.List[str] = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def hush(self, *charts: ipywidgets.Widget | None) -> None:
        """Has Plotly's widgets among these keep to themselves what they have drawn, as nobody asks for it."""
        ids = [chart.model_id for chart in charts if isinstance(chart, anywidget.AnyWidget)]
        self.charts = list(dict.fromkeys([*self.charts, *ids]))

    def up_to_date(self) -> bool:
        """Whether the page has painted what was sent last, or there is no page that looks."""
        return self.width == 0 or self.painted >= self.sent


def box(kind: str, *children: ipywidgets.Widget) -> ipywidgets.Box:
    """Widgets side by side, or as ``static/panel.css`` places a ``lab-KIND``."""
    box = ipywidgets.Box(children, layout=ipywidgets.Layout(display=None))
    return box.add_class(f"lab-{kind}")


def column(kind: str, *children: ipywidgets.Widget) -> ipywidgets.VBox:
    """Widgets one below the other."""
    return ipywidgets.VBox(children).add_class(f"lab-{kind}")


def heading(text: str) -> ipywidgets.HTML:
    """The title of a group."""
    return ipywidgets.HTML(f'<div class="lab-title">{text}</div>')

"""The figures of a run that runs: its curves with the marks of what was steered, and its weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab_kit.look import colours, template
from lab_kit.track import Floats, Track, smoothed, thinned
from lab_kit.training_plots import TITLES, trace_look

NAMES = ("training", "validation", "best epoch", "previous run")
HEIGHTS = (0.42, 0.34, 0.24)
"""Of the loss, the metric and the gradient norm."""
MARK = np.linspace(0, 1, 7)
"""Where a mark's line can be pointed at, from the bottom of its chart to the top."""
RIDGES = 12
"""Layers whose weights are shown, at most."""
OVERLAID = 6
"""Runs that are drawn over one another, at most: as many as there are colours."""
LEGEND = {"x": 0, "xanchor": "left"}
"""At the left: the buttons of Plotly come up at the right."""
NOTHING = np.full(1, np.nan)
"""What a trace without a value shows; an array, because a list with NaN cannot be sent as JSON."""
Series = tuple[Floats, Floats, list[str] | None]


def live_curves(metric: str, dark: bool = False, height: int = 520) -> go.Figure:
    """An empty chart: the loss, the metric below it, the norm of the gradients at the bottom, marks across all.

    Its twelve traces are those of ``live_series``, in this order.

    Args:
      metric: ``auc``, ``accuracy``, ``rmse`` or ``r2``.
      dark: for a dark page.
      height: in pixels.
    """
    figure = make_subplots(
        rows=3, shared_xaxes=True, vertical_spacing=0.05, row_heights=HEIGHTS, specs=[[{"secondary_y": True}]] * 3
    )
    places = [(row, kind) for row in (0, 1) for kind in range(4)] + [(2, 0)]
    nothing = {"x": NOTHING, "y": NOTHING}
    for row, kind in places:
        measure = (TITLES["loss"], TITLES.get(metric, metric), "gradient norm")[row]
        shown = f"{measure} (<b>{NAMES[kind]}</b>)" if row < 2 else "norm of the gradient"
        figure.add_scatter(
            **nothing, name=NAMES[kind], legendgroup=NAMES[kind], showlegend=row == 0 and kind < 3,
            hovertemplate=f"{shown}: %{{y:.4g}}<br>epoch %{{x:.2f}}<extra></extra>", row=row + 1, col=1,
        )  # fmt: skip
    for row in range(3):
        figure.add_scatter(
            **nothing, text=[""], mode="lines", name="steered", legendgroup="steered", showlegend=False,
            hovertemplate="%{text}<br>epoch %{x:.2f}<extra></extra>", row=row + 1, col=1, secondary_y=True,
        )  # fmt: skip
    figure.update_layout(
        template=template(dark), height=height, margin={"l": 66, "r": 14, "t": 32, "b": 42}, legend=LEGEND
    )
    figure.update_yaxes(title_text="Loss", rangemode="nonnegative", row=1, secondary_y=False)
    figure.update_yaxes(title_text=TITLES.get(metric, metric), row=2, secondary_y=False)
    figure.update_yaxes(title_text="Gradient norm", rangemode="nonnegative", row=3, secondary_y=False)
    if metric in ("auc", "accuracy"):
        figure.update_yaxes(minallowed=0, maxallowed=1.02, row=2, secondary_y=False)
    figure.update_yaxes(visible=False, range=[0, 1], fixedrange=True, secondary_y=True)
    figure.update_yaxes(title_font_size=13).update_xaxes(title_font_size=13, domain=[0, 1], rangemode="nonnegative")
    figure.update_xaxes(title_text="Epoch", row=3)
    for trace, look in zip(figure.data, live_look(dark), strict=True):
        trace.update(look)
    return figure


def live_look(dark: bool) -> list[dict[str, Any]]:
    """The lines and markers of each trace of ``live_curves``."""
    looks = trace_look(dark)
    mark = {"line": {"color": colours(dark)[4], "width": 1, "dash": "dot"}}
    return [*looks, *looks, looks[0], mark, mark, mark]


def live_series(track: Track, previous: Track, metric: str, smoothing: float = 0.0) -> list[Series]:
    """What the traces of ``live_curves`` show, as (x, y, text); text is None but for the marks.

    A trace without a value is one NaN, because Plotly's live widget loses a trace that starts empty.

    Args:
      track: of the run.
      previous: of the run to compare with.
      metric: as of ``live_curves``.
      smoothing: in [0, 1), see ``track.smoothed``; the best epoch stays where it was measured.
    """

    def line(of: Track, name: str) -> Series:
        x, y = of.series(name)
        finite = np.isfinite(y)
        return (*_filled(*thinned(x[finite], smoothed(y[finite], smoothing))), None)

    series: list[Series] = []
    for measure in ("loss", metric):
        series += [line(track, f"train_{measure}"), line(track, f"validation_{measure}")]
        series += [(*_filled(*track.best(f"validation_{measure}")), None), line(previous, f"validation_{measure}")]
    return [*series, line(track, "gradient_norm"), *[_marks(track.changes[:])] * 3]


def _marks(changes: list[tuple[float, str]]) -> Series:
    """One vertical line for each epoch at which something was changed, with a gap behind it."""
    together: dict[float, list[str]] = {}
    for epoch, words in changes:
        together.setdefault(epoch, []).append(words)
    if not together:
        return NOTHING, NOTHING, [""]
    x = np.concatenate([[*[epoch] * MARK.size, np.nan] for epoch in together])
    y = np.concatenate([[*MARK, np.nan]] * len(together))
    return x, y, [text for words in together.values() for text in ["<br>".join(words)] * (MARK.size + 1)]


def _filled(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    return (x, y) if x.size else (NOTHING, NOTHING)


def overlaid_curves(metric: str, dark: bool = False, height: int = 420) -> go.Figure:
    """An empty chart of the validation loss and the metric of up to ``OVERLAID`` runs, two traces a run.

    Args:
      metric: ``auc``, ``accuracy``, ``rmse`` or ``r2``.
      dark: for a dark page.
      height: in pixels.
    """
    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.06)
    for number, colour in enumerate(colours(dark)[:OVERLAID]):
        for row in (1, 2):
            figure.add_scatter(
                x=NOTHING, y=NOTHING, mode="lines+markers", visible=False,
                legendgroup=str(number), showlegend=row == 1, line={"color": colour, "width": 1.8}, marker={"size": 4},
                hovertemplate="%{fullData.name}: %{y:.4f}<br>epoch %{x:.0f}<extra></extra>", row=row, col=1,
            )  # fmt: skip
    figure.update_layout(
        template=template(dark), height=height, margin={"l": 66, "r": 14, "t": 32, "b": 42}, legend=LEGEND
    )
    figure.update_yaxes(title_text="Validation loss", row=1).update_yaxes(title_text=TITLES.get(metric, metric), row=2)
    figure.update_yaxes(title_font_size=13).update_xaxes(title_font_size=13)
    return figure.update_xaxes(title_text="Epoch", row=2)


def overlaid_series(track: Track, metric: str) -> list[tuple[Floats, Floats]]:
    """What the two traces of a run in ``overlaid_curves`` show, as (epochs, values)."""
    series = []
    for measure in ("loss", metric):
        x, y = track.series(f"validation_{measure}")
        finite = np.isfinite(y)
        series.append(_filled(*thinned(x[finite], y[finite])))
    return series


def weight_ridges(dark: bool = False, height: int = 520) -> go.Figure:
    """An empty chart of how the weights of each layer are distributed: one ridge a layer, ``RIDGES`` traces.

    Args:
      dark: for a dark page.
      height: in pixels.
    """
    figure = go.Figure()
    for _ in range(RIDGES):
        figure.add_scatter(
            x=NOTHING, y=NOTHING, mode="lines", fill="toself", showlegend=False, visible=False,
            hovertemplate="%{fullData.name}, weight %{x:.3f}<extra></extra>", line={"width": 1.4, **_ridge(dark)},
        )  # fmt: skip
    figure.update_layout(template=template(dark), height=height, margin={"l": 96, "r": 14, "t": 32, "b": 42})
    return figure.update_xaxes(title_text="Weight").update_yaxes(showgrid=False)


def _ridge(dark: bool) -> dict[str, Any]:
    return {"color": colours(dark)[0]}


def ridge_series(histograms: Mapping[str, tuple[Floats, Floats]]) -> list[tuple[str, Floats, Floats]]:
    """Each layer's name and its ridge, a closed line whose foot stands at 0, -1, -2, ...; at most ``RIDGES``.

    Args:
      histograms: as of ``track.weight_histograms``.
    """
    ridges = []
    for place, (name, (x, density)) in enumerate(list(histograms.items())[:RIDGES]):
        height = 0.9 * density / max(float(density.max()), 1e-30)
        ridges.append((name, np.concatenate([x[:1], x, x[-1:]]), np.concatenate([[0.0], height, [0.0]]) - place))
    return ridges

"""Figures of a sweep: a fan of curves with a slider along an axis, and a heat map of two axes."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab_kit.look import JUMP, blank, colours, template
from lab_kit.schema import LabError
from lab_kit.sweep import Floats
from lab_kit.sweep_curves import Curves
from lab_kit.track import title
from lab_kit.training_plots import TITLES

MOVING = (1, 2, 3, 5)
"""The traces of ``fan`` that its slider moves."""
RISING = ("auc", "accuracy", "r2")
"""Measures of which more is better."""
ROOM = 26
"""Characters that fit below the right half of a fan, with two between labels."""
MANY_CELLS = 64
"""A heat map of more cells has no room for numbers in them."""


def fan(
    curves: Curves,
    measure: str = "loss",
    along: str | None = None,
    place: int | None = None,
    dark: bool = False,
    height: int = 490,
    slider: bool = True,
) -> go.Figure:
    """Curves over epochs for one value of an axis at a time, and at the right what each value comes to.

    At the left the mean over the seeds of the validation measure, a band from the lowest to the highest seed, and the
    mean of the training measure dotted; the other values are thin grey lines. At the right the validation measure of
    each run at its best epoch: mean, lowest and highest seed. Of a second axis the best value is held. The slider needs
    no kernel, so it works in a saved report too. The vertical axis shows the better half of the values whole.

    Args:
      curves: of a sweep.
      measure: a validation measure, ``loss``, ``auc``, ...
      along: the axis of the slider; the first when None.
      place: of the value that is shown first; the best when None.
      dark: for a dark page.
      height: in pixels.
      slider: whether there is one.
    """
    along = along or next(iter(curves.axes))
    labels = values_in_words(curves, along)
    place = best_place(curves, along) if place is None else place
    figure = make_subplots(cols=2, column_widths=[0.56, 0.44], horizontal_spacing=0.12)
    for trace, look in zip(fan_series(curves, measure, along, place), fan_look(measure, along, dark), strict=True):
        figure.add_trace({**look, **trace}, row=1, col=1 + (look["name"] in ("at its best epoch", "chosen")))
    shown = TITLES.get(measure, measure)
    held = ", ".join(f"{title(name)} {value:g}" for name, value in _held(curves, along).items())
    figure.update_layout(
        template=template(dark), height=height, margin={"l": 68, "r": 16, "t": 92, "b": 50},
        title={"text": f"{shown} along the {title(along)}" + (f", with {held}" if held else ""), "y": 0.97},
        legend={"x": 0.0, "xanchor": "left", "y": 1.01},
    )  # fmt: skip
    figure.update_xaxes(title_text="Epoch", rangemode="tozero", col=1)
    # Strictly, or a page that gets new values takes the names for numbers.
    figure.update_xaxes(title_text=title(along).capitalize(), type="category", autotypenumbers="strict", col=2)
    named = labels[:: -(-sum(len(label) + 2 for label in labels) // ROOM)]
    figure.update_xaxes(categoryarray=labels, tickvals=named, tickangle=0, col=2)
    figure.update_yaxes(title_text=shown, range=_range(curves, measure), col=1)
    figure.update_yaxes(range=_range(curves, measure, at_best=True), col=2)
    if not slider or len(labels) < 2:
        return figure
    figure.frames = [
        go.Frame(name=str(at), data=[fan_series(curves, measure, along, at)[k] for k in MOVING], traces=list(MOVING))
        for at in range(len(labels))
    ]
    steps = [{"label": label, "method": "animate", "args": [[str(at)], JUMP]} for at, label in enumerate(labels)]
    prefix = {"prefix": f"{title(along)} "}
    sliders = [{"active": place, "pad": {"t": 44}, "currentvalue": prefix, "steps": steps}]
    return figure.update_layout(sliders=sliders, height=height + 60, margin_b=40)


def values_in_words(curves: Curves, along: str) -> list[str]:
    """The values of an axis as its labels; where a run diverged at each, it says so."""
    lost = np.moveaxis(curves.diverged, list(curves.axes).index(along), 0)
    words = [f"{value:.3g}" for value in curves.axes[along]]
    return [f"{word} diverged" if np.all(lost[at]) else word for at, word in enumerate(words)]


def best_place(curves: Curves, along: str) -> int:
    """The place of the best value on an axis; 0 where everything diverged."""
    try:
        return curves.axes[along].index(curves.best()[along])
    except LabError:
        return 0


def fan_series(curves: Curves, measure: str, along: str, place: int) -> list[dict[str, Any]]:
    """What the six traces of ``fan`` show for the value at a place of the axis ``along``.

    All means with gaps between them, the band, the means of training and validation; each value's measure at the best
    epoch, and that of the chosen one. Where seeds diverged there is a gap.
    """
    index = _fixed(curves, along)
    valid = _moved(curves, curves.measures[measure], along)[index]  # [e, n, s]
    missing = np.full_like(curves.measures[measure], np.nan)
    train = _moved(curves, curves.measures.get(f"train_{measure}", missing), along)[index]
    found = _moved(curves, curves.at_best(measure)[None], along)[index][0]  # [n, s]
    epochs, labels = curves.epochs, values_in_words(curves, along)
    means = valid.mean(axis=2)
    low, high = valid[:, place].min(axis=1), valid[:, place].max(axis=1)
    whole = np.isfinite(low) & np.isfinite(high)
    gap, count = np.full((1, means.shape[1]), np.nan), means.shape[1]
    mean, lowest, highest = found.mean(axis=1), found.min(axis=1), found.max(axis=1)
    of_gap = np.full((1, count), epochs[-1])
    return [
        {
            "x": np.concatenate([np.repeat(epochs[:, None], count, axis=1), of_gap]).T.ravel(),
            "y": np.concatenate([means, gap]).T.ravel(),
            "text": [label for label in labels for _ in range(len(epochs) + 1)],
        },
        {
            "x": np.concatenate([epochs[whole], epochs[whole][::-1]]),
            "y": np.concatenate([low[whole], high[whole][::-1]]),
        },
        {"x": epochs, "y": train[:, place].mean(axis=1)},
        {"x": epochs, "y": means[:, place]},
        {
            "x": labels,
            "y": mean,
            "error_y": {"symmetric": False, "array": highest - mean, "arrayminus": mean - lowest, "width": 4},
        },
        {"x": [labels[place]], "y": mean[place : place + 1]},
    ]


def fan_look(measure: str, along: str, dark: bool = False) -> list[dict[str, Any]]:
    """Kinds, names, lines and markers of the traces of ``fan``."""
    training, validation, *_, before = colours(dark)
    shown, axis = TITLES.get(measure, measure), title(along)
    tinted = "rgba(255,154,77,0.25)" if dark else "rgba(213,94,0,0.20)"
    hover = f"{shown} %{{y:.4f}} at epoch %{{x}}<extra>%{{fullData.name}}</extra>"
    whole = {"type": "scatter", "mode": "lines", "hovertemplate": hover}
    at_best = f"{axis} %{{x}}: {shown} %{{y:.4f}}<extra>mean over the seeds, at the best epoch</extra>"
    line: dict[str, Any] = {"color": before, "width": 1}
    return [
        {**whole, "name": "other values", "line": line, "opacity": 0.55,
         "hovertemplate": f"{axis} %{{text}}: {shown} %{{y:.4f}}<extra></extra>"},
        {**whole, "name": "lowest to highest seed", "fill": "toself", "fillcolor": tinted, "line": {"width": 0},
         "hoverinfo": "skip", "hovertemplate": None},
        {**whole, "name": "training, mean", "line": {"color": training, "width": 1.6, "dash": "dot"}},
        {**whole, "name": "validation, mean", "mode": "lines+markers", "marker": {"size": 5},
         "line": {"color": validation, "width": 2.4}},
        {**whole, "name": "at its best epoch", "mode": "lines+markers", "line": line, "marker": {"size": 6},
         "showlegend": False, "hovertemplate": at_best},
        {**whole, "name": "chosen", "mode": "markers", "showlegend": False, "hovertemplate": at_best,
         "cliponaxis": False, "marker": {"color": validation, "size": 13}},
    ]  # fmt: skip


def heat(curves: Curves, measure: str = "loss", dark: bool = False) -> go.Figure:
    """A measure over two axes: the mean over the seeds, of each run at its best epoch; the best is framed.

    Args:
      curves: of a sweep with two axes.
      measure: a validation measure.
      dark: for a dark page.

    Raises:
      LabError: the sweep has one axis.
    """
    if len(curves.axes) != 2:
        raise LabError("A heat map needs a sweep with two axes; this one has one: draw its fan.")
    (down, rows), (across, columns) = curves.axes.items()
    values = curves.at_best(measure).mean(axis=2)
    shown, height = TITLES.get(measure, measure), max(320, 150 + 46 * len(rows))
    names, many = [[f"{value:.3g}" for value in axis] for axis in (columns, rows)], len(curves.seeds)
    figure = blank(f"{shown} by {title(down)} and {title(across)}", dark, height, title(across), title(down))
    words = f"{shown},<br>mean of {many} seeds" if many > 1 else shown
    cells = [["diverged" if np.isnan(value) else f"{value:.4f}" for value in row] for row in values]
    figure.add_heatmap(
        z=values, x=names[0], y=names[1], text=cells, texttemplate="%{text}" if values.size <= MANY_CELLS else None,
        textfont_color="#E6E6E6" if dark else "#222222", colorscale=shades(dark, measure in RISING), xgap=2, ygap=2,
        **_colour_range(values, measure),
        colorbar={"title": {"text": words}, "thickness": 12},
        hovertemplate=f"{title(down)} %{{y}}, {title(across)} %{{x}}: {shown} %{{text}}<extra></extra>",
        hoverongaps=False,
    )  # fmt: skip
    if not np.isnan(curves.at_best("loss").mean(axis=2)).all():
        y, x = best_place(curves, down), best_place(curves, across)
        frame = {"color": colours(dark)[1], "width": 3}
        figure.add_shape(type="rect", x0=x - 0.5, x1=x + 0.5, y0=y - 0.5, y1=y + 0.5, line=frame)
    for row, column in np.argwhere(np.isnan(values)) if values.size <= MANY_CELLS else []:
        figure.add_annotation(x=int(column), y=int(row), text="diverged", showarrow=False, font={"size": 11})
    return figure.update_xaxes(type="category", showgrid=False).update_yaxes(type="category", showgrid=False)


def shades(dark: bool, rising: bool) -> list[tuple[float, str]]:
    """From pale to strong, and in either the template's text can be read; the strong end is the good one.

    Args:
      dark: for a dark page.
      rising: whether more is better.
    """
    pale, strong = ("#202B33", "#1F6890") if dark else ("#F1F5F8", "#72B2DC")
    return [(0.0, pale), (1.0, strong)] if rising else [(0.0, strong), (1.0, pale)]


def _moved(curves: Curves, values: Any, along: str) -> np.ndarray:
    """The axis ``along`` right before the seeds; of arrays with epochs in front and without."""
    array = np.asarray(values)
    return np.moveaxis(array, array.ndim - 1 - len(curves.axes) + list(curves.axes).index(along), array.ndim - 2)


def _held(curves: Curves, along: str) -> dict[str, float]:
    """The best value of the other axis, where there is one."""
    return {name: values[best_place(curves, name)] for name, values in curves.axes.items() if name != along}


def _fixed(curves: Curves, along: str) -> tuple[Any, ...]:
    """What chooses the held value from an array that ``_moved`` has turned."""
    return (slice(None), *(best_place(curves, name) for name in curves.axes if name != along))


def _range(curves: Curves, measure: str, at_best: bool = False) -> list[float] | None:
    """Of an axis that shows the better half of all runs after their first epoch; None for what suits Plotly."""
    lowest = curves.at_best("loss").ravel()
    known = lowest[np.isfinite(lowest)]
    if not known.size:
        return None
    half = lowest <= np.median(known)
    after = slice(min(1, len(curves.epochs) - 1), None)
    names = [name for name in (measure, f"train_{measure}") if name in curves.measures]
    of_runs = [curves.at_best(measure)] if at_best else [curves.measures[name][after] for name in names]
    shown = np.concatenate([found.reshape(-1, lowest.size)[:, half].ravel() for found in of_runs])
    low, high = (float(end) for end in np.nanquantile(shown, [0.1, 1] if measure in RISING else [0, 0.9]))
    room = (high - low) or abs(high) or 1.0
    up, down = (0.15, 0.5) if measure in RISING else (0.5, 0.15)
    return [low - down * room, high + up * room]


def _colour_range(values: Floats, measure: str) -> dict[str, float]:
    """The colours tell the better half apart; all that is worse is as pale as can be."""
    known = values[np.isfinite(values)]
    if known.size < 3:
        return {}
    low, middle, high = (float(np.quantile(known, q)) for q in (0, 0.5, 1))
    return {"zmin": max(low, middle - 2 * (high - middle)), "zmax": high} if measure in RISING else {
        "zmin": low, "zmax": min(high, middle + 2 * (middle - low))}  # fmt: skip

"""Plotly figures of a table, a training run and an evaluation. Every function is pure and never displays.

Each figure carries its own template, so importing this module changes no global setting of Plotly. The charts
of tables and of training are in ``table_plots`` and ``training_plots``; here all of them have one name.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import ArrayLike, NDArray
from plotly.subplots import make_subplots

from lab_kit.look import JUMP, blank, colours, template
from lab_kit.table_plots import ledger, missing_values, table_overview
from lab_kit.training_plots import learning_curves

__all__ = [
    "calibration", "colours", "comparison", "confusion", "learning_curves", "ledger", "missing_values",
    "precision_recall", "predicted_actual", "roc", "table_overview", "template", "threshold_slider",
    "threshold_table",
]  # fmt: skip

Floats = NDArray[np.float64]


def confusion(counts: ArrayLike, labels: Sequence[str], dark: bool = False) -> go.Figure:
    """A confusion matrix; the colour is the share of the actual class, the text is count and share.

    Args:
      counts: integers ``[classes, classes]``, actual class down, predicted class across.
      labels: class names in the same order.
      dark: for a dark page.
    """
    table = np.asarray(counts)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    text = [[f"{n:,}<br>{100 * p:.1f} %" for n, p in zip(*row, strict=True)] for row in zip(table, share, strict=True)]
    size = 140 + 64 * len(labels)
    figure = blank("Confusion", dark, max(340, size), x="predicted class", y="actual class")
    figure.add_heatmap(
        z=share, x=list(labels), y=list(labels), text=text,
        texttemplate="%{text}" if len(labels) <= 6 else None,
        colorscale=_shades(dark), zmin=0, zmax=1, xgap=2, ygap=2,
        colorbar={"title": {"text": "share of<br>actual class"}, "tickformat": ".0%", "thickness": 12},
        customdata=table,
        hovertemplate="actual %{y}, predicted %{x}: %{customdata:,} rows (%{z:.1%})<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(type="category", showgrid=False, constrain="domain")
    return figure.update_yaxes(type="category", autorange="reversed", showgrid=False)


def _shades(dark: bool) -> list[tuple[float, str]]:
    """From almost the ground to the first colour, opaque: for see-through colours Plotly picks text one cannot read."""
    return [(0.0, "#1B2A35" if dark else "#F3F8FB"), (1.0, colours(dark)[0])]


def _thin(x: Floats, y: Floats, most: int = 400) -> tuple[Floats, Floats]:
    """At most ``most`` points of a curve, evenly spaced along it, its ends kept."""
    if x.size <= most:
        return x, y
    length = np.concatenate(([0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))))
    keep = np.unique(np.searchsorted(length, np.linspace(0, length[-1], most)).clip(0, x.size - 1))
    return x[keep], y[keep]


def _curves(
    figure: go.Figure, curves: Mapping[str, tuple[ArrayLike, ArrayLike, float]], area: str, hover: str
) -> go.Figure:
    for name, (x, y, value) in curves.items():
        thin_x, thin_y = _thin(np.asarray(x, np.float64), np.asarray(y, np.float64))
        figure.add_scatter(x=thin_x, y=thin_y, mode="lines", name=f"{name} ({area} {value:.3f})", hovertemplate=hover)
    figure.update_layout(legend={"orientation": "v", "bgcolor": "rgba(0,0,0,0)"})
    return figure


def roc(curves: Mapping[str, tuple[ArrayLike, ArrayLike, float]], dark: bool = False) -> go.Figure:
    """ROC curves, for example of the model and the baseline.

    Args:
      curves: name -> (false positive rates, true positive rates, AUC); long curves are thinned.
      dark: for a dark page.
    """
    hover = "recall %{y:.3f} at a false positive rate of %{x:.3f}<extra>%{fullData.name}</extra>"
    figure = blank("ROC", dark, 440, "false positive rate", "true positive rate (recall)")
    _curves(figure, curves, "AUC", hover)
    _reference(figure, [0, 1], [0, 1], "chance (AUC 0.500)", dark)
    return figure.update_layout(legend={"x": 0.98, "y": 0.04}).update_yaxes(range=[0, 1.01]).update_xaxes(range=[0, 1])


def precision_recall(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike, float]], prevalence: float, dark: bool = False
) -> go.Figure:
    """Precision over recall.

    Args:
      curves: name -> (recalls, precisions, average precision).
      prevalence: the share of positive rows, which is the precision of guessing.
      dark: for a dark page.
    """
    hover = "precision %{y:.3f} at a recall of %{x:.3f}<extra>%{fullData.name}</extra>"
    figure = blank("Precision and recall", dark, 440, "recall", "precision")
    _curves(figure, curves, "average precision", hover)
    _reference(figure, [0, 1], [prevalence, prevalence], f"chance ({prevalence:.3f})", dark)
    figure.update_layout(legend={"x": 0.98, "y": 0.98, "yanchor": "top"})
    return figure.update_yaxes(range=[0, 1.01]).update_xaxes(range=[0, 1])


def calibration(curves: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]], dark: bool = False) -> go.Figure:
    """Observed frequency over predicted probability; on the diagonal a probability means what it says.

    Args:
      curves: name -> (mean predicted probability, observed share of positives, rows) of each bin.
      dark: for a dark page.
    """
    figure = blank("Calibration", dark, 440, "mean predicted probability", "observed share of positive rows")
    for name, (predicted, observed, rows) in curves.items():
        figure.add_scatter(
            x=np.asarray(predicted), y=np.asarray(observed), customdata=np.asarray(rows), name=name,
            mode="lines+markers",
            hovertemplate="predicted %{x:.3f}, observed %{y:.3f}<br>%{customdata:,} rows",
        )  # fmt: skip
    return _reference(figure, [0, 1], [0, 1], "perfectly calibrated", dark)


def _reference(figure: go.Figure, x: Sequence[float], y: Sequence[float], name: str, dark: bool) -> go.Figure:
    line = {"dash": "dot", "color": colours(dark)[6], "width": 1.5}
    return figure.add_scatter(x=x, y=y, mode="lines", name=name, line=line, hoverinfo="skip")


def threshold_table(target: ArrayLike, probability: ArrayLike, thresholds: ArrayLike) -> pl.DataFrame:
    """Counts and scores of calling a row positive when its probability is at least the threshold.

    Args:
      target: 0 or 1 ``[n]``.
      probability: of class 1, finite ``[n]``.
      thresholds: any numbers ``[t]``.

    Returns:
      One row a threshold: threshold, true_positive, false_positive, false_negative, true_negative, precision,
      recall and f1. Precision is null where no row is called positive, recall where no row is positive, F1
      where there is neither.
    """
    positive = np.asarray(target, np.float64) > 0.5
    scores, limits = np.asarray(probability, np.float64), np.asarray(thresholds, np.float64)
    hits, misses = np.sort(scores[positive]), np.sort(scores[~positive])
    missed, rejected = np.searchsorted(hits, limits), np.searchsorted(misses, limits)
    counts = pl.DataFrame(
        {
            "threshold": limits,
            "true_positive": hits.size - missed,
            "false_positive": misses.size - rejected,
            "false_negative": missed,
            "true_negative": rejected,
        }
    )
    hit, called = pl.col("true_positive"), pl.col("true_positive") + pl.col("false_positive")
    actual = pl.col("true_positive") + pl.col("false_negative")
    return counts.with_columns(
        precision=pl.when(called > 0).then(hit / called),
        recall=pl.when(actual > 0).then(hit / actual),
        f1=pl.when(called + actual > 0).then(2 * hit / (called + actual)),
    )


def threshold_slider(
    target: ArrayLike,
    probability: ArrayLike,
    labels: Sequence[str] = ("negative", "positive"),
    start: float = 0.5,
    steps: int = 51,
    dark: bool = False,
) -> go.Figure:
    """What a threshold does: counts at the left; precision, recall and F1 at the right, each beside its name.

    The slider needs no kernel, so it works in a saved report too; there it is the browser's own, with the keyboard.

    Args:
      target: 0 or 1 ``[n]``.
      probability: of class 1 ``[n]``.
      labels: names of class 0 and class 1.
      start: threshold shown first (the nearest one on the slider).
      steps: positions of the slider, evenly from 0 to 1.
      dark: for a dark page.
    """
    table = threshold_table(target, probability, np.linspace(0, 1, steps))
    first = int(np.abs(table["threshold"].to_numpy() - start).argmin())
    figure = make_subplots(cols=2, column_widths=[0.4, 0.6], specs=[[{"type": "heatmap"}, {}]], horizontal_spacing=0.14)
    names = ("precision", "recall", "F1")

    def moving(place: int) -> list[Any]:
        row = table.row(place, named=True)
        counts = [
            [row["true_negative"], row["false_positive"]],
            [row["false_negative"], row["true_positive"]],
        ]
        scores = [row[name.lower()] for name in names]
        share = np.asarray(counts) / np.maximum(np.sum(counts, axis=1, keepdims=True), 1)
        words = [f"{name}<br>{'–' if s is None else f'{s:.3f}'}" for name, s in zip(names, scores, strict=True)]
        return [
            go.Heatmap(z=share.tolist(), text=[[f"{n:,}" for n in line] for line in counts]),
            go.Scatter(x=[row["threshold"]] * 3, y=scores),
            go.Scatter(text=words),
        ]  # fmt: skip

    heat, dots, words = moving(first)
    heat.update(
        x=list(labels), y=list(labels), texttemplate="%{text}", textfont_size=15, showscale=False,
        zmin=0, zmax=1, colorscale=_shades(dark), xgap=2, ygap=2,
        hovertemplate="actual %{y}, predicted %{x}: %{text} rows (%{z:.1%})<extra></extra>",
    )  # fmt: skip
    dots.update(
        mode="markers", marker={"size": 11, "color": colours(dark)[:3]}, showlegend=False, hoverinfo="skip",
        cliponaxis=False,
    )  # fmt: skip
    # The values have a place of their own: beside their dots they would lie on one another where curves cross.
    words.update(
        x=[1.05] * 3, y=[0.92, 0.74, 0.56], mode="text", textposition="middle right", showlegend=False,
        textfont={"color": colours(dark)[:3], "size": 14}, hoverinfo="skip", cliponaxis=False,
    )  # fmt: skip
    figure.add_trace(heat, row=1, col=1).add_trace(dots, row=1, col=2).add_trace(words, row=1, col=2)
    for place, name in enumerate(names):
        figure.add_scatter(
            x=table["threshold"].to_list(), y=table[name.lower()].to_list(), name=name, mode="lines",
            line_color=colours(dark)[place], row=1, col=2, showlegend=False,
            hovertemplate=name + " %{y:.3f} at %{x:.2f}<extra></extra>",
        )  # fmt: skip
    figure.frames = [go.Frame(name=str(place), data=moving(place), traces=[0, 1, 2]) for place in range(table.height)]
    figure.update_layout(
        template=template(dark), height=470, margin={"b": 40, "t": 56},
        title={"text": "What the threshold does"},
        sliders=[{
            "active": first, "pad": {"t": 56},
            "currentvalue": {"prefix": "call it positive from a probability of "},
            "steps": [
                {"label": f"{value:.2f}", "method": "animate", "args": [[str(place)], JUMP]}
                for place, value in enumerate(table["threshold"])
            ],
        }],
    )  # fmt: skip
    figure.update_xaxes(title_text="predicted class", type="category", col=1)
    figure.update_yaxes(title_text="actual class", type="category", autorange="reversed", col=1)
    figure.update_yaxes(title_text="score", range=[0, 1.02], col=2)
    ticks = {"tickvals": [0, 0.2, 0.4, 0.6, 0.8, 1], "range": [0, 1.36]}
    return figure.update_xaxes(title_text="threshold (probability)", **ticks, col=2)


def comparison(
    scores: Mapping[str, tuple[float, float, float]], measure: str = "test AUC", dark: bool = False
) -> go.Figure:
    """Scores side by side with their intervals: dots, because a bar would have to start at zero.

    Args:
      scores: name -> (value, lower end, upper end of its interval), for example of model and baseline.
      measure: what the axis shows, with its unit.
      dark: for a dark page.
    """
    names = list(scores)
    figure = blank(measure, dark, 150 + 44 * len(names), x=f"{measure} (95 % interval)")
    for place, (name, (value, low, high)) in enumerate(scores.items()):
        figure.add_scatter(
            x=[value], y=[name], mode="markers+text",
            marker={"size": 12, "color": colours(dark)[place % 6]},
            text=[f"{value:.3f}"], textposition="top center", showlegend=False, customdata=[[low, high]],
            error_x={"symmetric": False, "array": [high - value], "arrayminus": [value - low]},
            hovertemplate="%{y}: %{x:.4f} (%{customdata[0]:.4f} to %{customdata[1]:.4f})<extra></extra>",
        )  # fmt: skip
    return figure.update_yaxes(type="category", range=[len(names) - 0.4, -0.7], showline=False, ticks="")


def predicted_actual(
    actual: ArrayLike, predicted: ArrayLike, unit: str = "", most: int = 3_000, dark: bool = False
) -> go.Figure:
    """Predicted over actual values of a regression; on the line a prediction is right.

    Args:
      actual: true values ``[n]`` in the target's unit.
      predicted: predictions ``[n]`` in the same unit.
      unit: shown on both axes.
      most: of more rows an evenly spaced sample is drawn.
      dark: for a dark page.
    """
    truth, guess = np.asarray(actual, np.float64), np.asarray(predicted, np.float64)
    keep = np.linspace(0, truth.size - 1, min(most, truth.size)).astype(int)
    ends = [float(min(truth.min(), guess.min())), float(max(truth.max(), guess.max()))] if truth.size else [0.0, 1.0]
    suffix = f" ({unit})" if unit else ""
    figure = blank("Predicted and actual", dark, 440, "actual" + suffix, "predicted" + suffix)
    figure.add_scatter(
        x=truth[keep], y=guess[keep], mode="markers", name="rows", marker={"size": 6, "opacity": 0.5},
        hovertemplate="actual %{x:,.4g}, predicted %{y:,.4g}<extra></extra>",
    )  # fmt: skip
    return _reference(figure, ends, ends, "predicted = actual", dark)

"""Records of a training run as rows, frames and learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from lab_kit import runs
from lab_kit.look import colours, template

if TYPE_CHECKING:
    from lab_kit.train import Record

Floats = NDArray[np.float64]
METRIC = {"binary": "auc", "multiclass": "accuracy", "regression": "r2"}
"""For each task the metric drawn below the loss."""
TITLES = {"loss": "Loss", "auc": "AUC", "accuracy": "Accuracy", "rmse": "RMSE", "r2": "R²"}


def curve_series(
    history: pl.DataFrame, metric: str, previous: pl.DataFrame | None = None
) -> list[tuple[Floats, Floats]]:
    """What the eight traces of ``learning_curves`` show, as (epochs, values).

    Training, validation, the best epoch and the validation of the previous run, for the loss and then for the
    metric. A trace without a value is one NaN, because Plotly's live widget loses a trace that starts empty.
    """
    series = []
    for measure in ("loss", metric):
        validation = _known(history, f"validation_{measure}")
        best = validation.filter("best").tail(1) if validation.height else validation
        before = _known(history.clear() if previous is None else previous, f"validation_{measure}")
        for seen in (_known(history, f"train_{measure}"), validation, best, before):
            x, y = (seen[name].to_numpy() if seen.height else np.full(1, np.nan) for name in seen.columns[:2])
            series.append((x.astype(np.float64), y.astype(np.float64)))
    return series


def _known(history: pl.DataFrame, name: str) -> pl.DataFrame:
    """The epochs at which a measure is known, its values, and whether they were the best so far."""
    if name not in history.columns:
        return pl.DataFrame(schema={"epoch": pl.Float64, name: pl.Float64, "best": pl.Boolean})
    return history.select("epoch", name, "best").drop_nulls(name)


def learning_curves(
    history: pl.DataFrame | Sequence[Record],
    metric: str | None = None,
    previous: pl.DataFrame | None = None,
    height: int = 480,
    dark: bool = False,
) -> go.Figure:
    """Loss above, metric below, over epochs; training and validation, the best epoch marked.

    Args:
      history: records of ``train.fit``, or a frame of ``runs.history``.
      metric: ``auc``, ``accuracy``, ``rmse`` or ``r2``; by default the first of these that was measured.
      previous: a run to compare with, drawn in grey.
      height: in pixels.
      dark: for a dark page.
    """
    if not isinstance(history, pl.DataFrame):
        history = runs.history(map(runs.row, history))
    metric = metric or next((name for name in METRIC.values() if f"train_{name}" in history.columns), "accuracy")
    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.07)
    names = ("training", "validation", "best epoch", "previous run")
    for place, (x, y) in enumerate(curve_series(history, metric, previous)):
        row, kind = divmod(place, len(names))
        name, measure = names[kind], TITLES.get(("loss", metric)[row], metric)
        figure.add_scatter(
            x=x, y=y, name=name, legendgroup=name, zorder=-(kind == 3),
            showlegend=row == 0 and (kind < 3 or previous is not None),
            hovertemplate=f"{measure} (<b>{name}</b>): %{{y:.4f}}<br>epoch %{{x:.2f}}<extra></extra>",
            row=row + 1, col=1, **trace_look(dark)[kind],
        )  # fmt: skip
    figure.update_layout(template=template(dark), height=height, margin={"l": 64, "r": 16, "t": 36, "b": 44})
    figure.update_yaxes(title_text="Loss", row=1).update_yaxes(title_text=TITLES.get(metric, metric), row=2)
    return figure.update_xaxes(title_text="Epoch", row=2).update_xaxes(rangemode="tozero")


def trace_look(dark: bool) -> tuple[dict[str, Any], ...]:
    """Lines and markers of training, validation, best epoch and previous run."""
    training, validation, best, *_, before = colours(dark)
    return (
        {"mode": "lines", "line": {"color": training, "width": 1.6}},
        {"mode": "lines+markers", "line": {"color": validation, "width": 2.2}, "marker": {"size": 5}},
        {"mode": "markers", "marker": {"color": best, "size": 13, "symbol": "star"}},
        {"mode": "lines", "line": {"color": before, "width": 1.6, "dash": "dot"}},
    )

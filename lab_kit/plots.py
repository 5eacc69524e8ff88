"""Records and frames to Plotly figures. Every function is pure, returns a ``go.Figure`` and never displays it.

Each figure carries its own template, so importing this module changes no global setting of Plotly. Large tables are
counted here, before Plotly sees them: a figure holds a few hundred numbers, however many rows it describes.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import ArrayLike, NDArray
from plotly.subplots import make_subplots

Floats = NDArray[np.float64]

# Okabe & Ito (2008), distinguishable with every common form of colour blindness; the dark variant is lighter.
LIGHT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B6B6B")
DARK = ("#56B4E9", "#FF9A4D", "#3DD3A4", "#E3A6CB", "#F2C14E", "#8EC9F0", "#A6A6A6")
FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
METRIC = {"binary": "auc", "multiclass": "accuracy", "regression": "r2"}
TITLES = {"loss": "Loss", "auc": "AUC", "accuracy": "Accuracy", "rmse": "RMSE", "r2": "R²"}


class Point(Protocol):
    """What a learning curve needs of a training record (``train.Record`` has it)."""

    @property
    def epoch(self) -> float: ...
    @property
    def train(self) -> Mapping[str, float]: ...
    @property
    def validation(self) -> Mapping[str, float] | None: ...
    @property
    def best(self) -> bool: ...


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


def _figure(title: str, dark: bool, height: int, x: str = "", y: str = "", **layout: Any) -> go.Figure:
    figure = go.Figure(
        layout={"template": template(dark), "height": height, "title": {"text": title}, **layout}
    )
    return figure.update_xaxes(title_text=x).update_yaxes(title_text=y)


# ---- tables ------------------------------------------------------------------------------------------------------


def table_overview(
    frame: pl.DataFrame,
    units: Mapping[str, str] | None = None,
    bins: int = 40,
    across: int = 4,
    dark: bool = False,
) -> go.Figure:
    """Small multiples: a histogram for each numeric or time column, bars of the commonest values for the others.

    Args:
      frame: any rows; nulls and NaN are left out (see ``missing_values``).
      units: unit of a column, shown under its histogram.
      bins: bars in a histogram (between the 0.5 % and 99.5 % quantiles; what lies outside is in the outer bars).
      across: small charts in a row.
    """
    units = units or {}
    columns = [name for name, dtype in frame.schema.items() if not dtype.is_nested()]
    down = max(1, -(-len(columns) // across))
    height = 170 * down + 60
    figure = make_subplots(
        rows=down,
        cols=across,
        subplot_titles=columns,
        vertical_spacing=min(0.5, 62 / height),
        horizontal_spacing=0.07,
    )
    for place, name in enumerate(columns):
        row, column = place // across + 1, place % across + 1
        bars = _histogram(frame[name], bins) if _countable(frame.schema[name]) else _commonest(frame[name])
        figure.add_trace(bars.update(marker_color=colours(dark)[0], showlegend=False), row=row, col=column)
        figure.update_xaxes(title_text=units.get(name, ""), title_font_size=11, row=row, col=column)
    figure.update_layout(template=template(dark), height=height, margin={"t": 40, "l": 40}, bargap=0.05)
    figure.update_yaxes(tickformat="~s", nticks=4).update_xaxes(tickfont_size=10).update_annotations(
        font_size=12
    )
    return figure


def _countable(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype.is_temporal()


def _histogram(column: pl.Series, bins: int) -> go.Bar:
    """Bars of equal width; a column of few different values gets one bar each. Times are shown as times."""
    dtype = column.dtype
    known = column.drop_nulls()
    values = known.to_physical().cast(pl.Float64).drop_nans().to_numpy()
    values = values[np.isfinite(values)]
    if not values.size:
        return go.Bar(x=[], y=[])
    distinct, counts = np.unique(values, return_counts=True)
    if distinct.size > bins:
        low, high = np.quantile(values, (0.005, 0.995))
        if low == high:
            low, high = distinct[0], distinct[-1]
        counts, edges = np.histogram(np.clip(values, low, high), bins=bins)
        distinct = (edges[:-1] + edges[1:]) / 2
    centres: Any = distinct
    if dtype.is_temporal():
        physical = pl.Series(distinct.astype(np.int64)).cast(known.to_physical().dtype)
        centres = physical.cast(dtype).to_list()
    return go.Bar(x=centres, y=counts, hovertemplate="%{x}: %{y:,} rows<extra></extra>")


def _commonest(column: pl.Series, most: int = 10) -> go.Bar:
    counts = column.drop_nulls().cast(pl.String).value_counts(sort=True, name="rows").head(most)
    # A categorical axis keeps "1" and "01" apart and never turns names into dates.
    return go.Bar(
        x=counts[:, 0].to_list(), y=counts["rows"], hovertemplate="%{x}: %{y:,} rows<extra></extra>"
    )


def missing_values(frame: pl.DataFrame, dark: bool = False) -> go.Figure:
    """The share of missing values (null or NaN) of each column that has any, largest at the top."""
    gaps = {
        name: frame[name].null_count() + (int(frame[name].is_nan().sum()) if dtype.is_float() else 0)
        for name, dtype in frame.schema.items()
    }
    order = sorted((name for name in gaps if gaps[name]), key=lambda name: (gaps[name], name))
    title = "Missing values" if order else "Missing values: none"
    figure = _figure(title, dark, 110 + 22 * max(2, len(order)), x="rows with no value (%)")
    figure.add_bar(
        y=order,
        x=[100 * gaps[name] / frame.height for name in order],
        customdata=[gaps[name] for name in order],
        orientation="h",
        hovertemplate="%{y}: %{customdata:,} rows (%{x:.2f} %)<extra></extra>",
    )
    return figure.update_xaxes(rangemode="tozero").update_yaxes(showline=False, ticks="")


def ledger(table: pl.DataFrame, dark: bool = False) -> go.Figure:
    """The cleaning ledger: rows removed at the left, cells changed at the right, one bar for each step and column.

    Args:
      table: as ``clean.ledger`` makes it (step number, step, column, rows_removed, cells_changed, rows_after).
    """
    number = table.columns[0]
    names = [
        f"{row[number]}. {row['step']}: {row['column'] or 'all columns'}"
        for row in table.iter_rows(named=True)
    ]
    figure = make_subplots(cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    for column, (count, what) in enumerate(
        (("rows_removed", "rows removed"), ("cells_changed", "cells changed"))
    ):
        values = table[count].fill_null(0)
        figure.add_bar(
            y=names,
            x=values,
            text=[f"{value:,}" if value else "" for value in values],
            textposition="auto",
            orientation="h",
            name=what,
            marker_color=colours(dark)[1 - column],
            hovertemplate="%{y}<br>%{x:,} " + what + "<extra></extra>",
            row=1,
            col=column + 1,
        )
        figure.update_xaxes(title_text=what, tickformat="~s", rangemode="tozero", row=1, col=column + 1)
    left = table["rows_after"][-1] if table.height else 0
    figure.update_layout(
        template=template(dark), height=120 + 24 * max(2, table.height), showlegend=False,
        title={"text": f"What cleaning changed: {left:,} rows remain"},
    )  # fmt: skip
    return figure.update_yaxes(autorange="reversed", showline=False, ticks="")


# ---- training ----------------------------------------------------------------------------------------------------


def history_row(point: Point) -> dict[str, Any]:
    """One record as a flat row: ``train_loss``, ``validation_auc``, ... and its plain fields; weights are left out."""
    row: dict[str, Any] = {"epoch": float(point.epoch)}
    for name in ("step", "rows_seen", "rows_per_second", "seconds", "best", "outcome"):
        if hasattr(point, name):
            row[name] = getattr(point, name)
    for split, values in (("train", point.train), ("validation", point.validation or {})):
        row |= {f"{split}_{metric}": float(value) for metric, value in values.items()}
    return row | dict(getattr(point, "hyperparameters", {}))


def history_frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows of ``history_row`` as a frame; a metric that is not measured at a record is null."""
    return pl.DataFrame(list(rows), infer_schema_length=None)


def curve_series(history: pl.DataFrame, metric: str) -> list[tuple[Floats, Floats]]:
    """What the six traces of ``learning_curves`` show, as (epochs, values): training, validation and the best epoch
    for the loss, then the same for the metric. A trace without a value is one NaN, because Plotly's live widget
    loses a trace that starts empty."""
    nothing = np.full(1, np.nan)
    series = []
    for measure in ("loss", metric):
        for name, best in (
            (f"train_{measure}", False),
            (f"validation_{measure}", False),
            (f"validation_{measure}", True),
        ):
            seen = pl.DataFrame()
            if {name, "epoch"} <= set(history.columns):
                seen = history.filter(pl.col(name).is_not_null())
                seen = (
                    seen.filter("best").tail(1)
                    if best and "best" in seen.columns
                    else seen.head(0)
                    if best
                    else seen
                )
            pair = (seen["epoch"].to_numpy(), seen[name].to_numpy()) if seen.height else (nothing, nothing)
            series.append((pair[0].astype(np.float64), pair[1].astype(np.float64)))
    return series


def learning_curves(
    history: pl.DataFrame | Sequence[Point], metric: str | None = None, height: int = 480, dark: bool = False
) -> go.Figure:
    """Loss above, metric below, over epochs; training and validation, the best epoch marked.

    Args:
      history: records of ``train.fit``, or a frame with ``epoch``, ``train_<metric>``, ``validation_<metric>``, ``best``.
      metric: ``auc``, ``accuracy``, ``rmse`` or ``r2``; by default the first of these that was measured.
    """
    if not isinstance(history, pl.DataFrame):
        history = history_frame([history_row(point) for point in history])
    metric = metric or next(
        (name for name in METRIC.values() if f"train_{name}" in history.columns), "accuracy"
    )
    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.09)
    training, validation, mark = colours(dark)[0], colours(dark)[1], colours(dark)[2]
    style = (
        ("training", {"mode": "lines", "line": {"color": training, "width": 1.6}}),
        (
            "validation",
            {"mode": "lines+markers", "line": {"color": validation, "width": 2.2}, "marker": {"size": 5}},
        ),
        ("best epoch", {"mode": "markers", "marker": {"color": mark, "size": 13, "symbol": "star"}}),
    )
    for place, (x, y) in enumerate(curve_series(history, metric)):
        name, look = style[place % 3]
        measure = TITLES.get(("loss", metric)[place // 3], metric)
        figure.add_scatter(
            x=x, y=y, name=name, legendgroup=name, showlegend=place < 3, **look, row=place // 3 + 1, col=1,
            hovertemplate=f"{name} {measure.lower() if measure == 'Loss' else measure} %{{y:.4f}}<br>"
            "epoch %{x:.2f}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(template=template(dark), height=height, margin={"l": 64, "r": 16, "t": 36, "b": 44})
    figure.update_yaxes(title_text="Loss", row=1).update_yaxes(title_text=TITLES.get(metric, metric), row=2)
    return figure.update_xaxes(title_text="Epoch", row=2).update_xaxes(rangemode="tozero")


# ---- evaluation --------------------------------------------------------------------------------------------------


def confusion(counts: ArrayLike, labels: Sequence[str], dark: bool = False) -> go.Figure:
    """A confusion matrix; the colour is the share of the row (of the actual class), the text is count and share.

    Args:
      counts: integers ``[classes, classes]``, actual class down, predicted class across.
      labels: class names in the same order.
    """
    table = np.asarray(counts)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    text = [
        [f"{n:,}<br>{100 * p:.1f} %" for n, p in zip(*row, strict=True)]
        for row in zip(table, share, strict=True)
    ]
    size = 140 + 64 * len(labels)
    figure = _figure("Confusion", dark, max(340, size), x="predicted class", y="actual class")
    figure.add_heatmap(
        z=share, x=list(labels), y=list(labels), text=text, texttemplate="%{text}" if len(labels) <= 6 else None,
        colorscale=[[0, "rgba(0,114,178,0.04)"], [1, colours(dark)[0]]], zmin=0, zmax=1, xgap=2, ygap=2,
        colorbar={"title": {"text": "share of<br>actual class"}, "tickformat": ".0%", "thickness": 12},
        customdata=table, hovertemplate="actual %{y}, predicted %{x}: %{customdata:,} rows (%{z:.1%})<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(type="category", showgrid=False, constrain="domain")
    return figure.update_yaxes(type="category", autorange="reversed", showgrid=False)


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
        figure.add_scatter(
            x=thin_x, y=thin_y, mode="lines", name=f"{name} ({area} {value:.3f})", hovertemplate=hover
        )
    figure.update_layout(legend={"orientation": "v", "bgcolor": "rgba(0,0,0,0)"})
    return figure


def roc(curves: Mapping[str, tuple[ArrayLike, ArrayLike, float]], dark: bool = False) -> go.Figure:
    """ROC curves, for example of the model and the baseline.

    Args:
      curves: name -> (false positive rates, true positive rates, AUC); long curves are thinned for the drawing.
    """
    hover = "recall %{y:.3f} at a false positive rate of %{x:.3f}<extra>%{fullData.name}</extra>"
    figure = _figure("ROC", dark, 440, "false positive rate", "true positive rate (recall)")
    _curves(figure, curves, "AUC", hover)
    _reference(figure, [0, 1], [0, 1], "chance (AUC 0.500)", dark)
    return (
        figure.update_layout(legend={"x": 0.98, "y": 0.04})
        .update_yaxes(range=[0, 1.01])
        .update_xaxes(range=[0, 1])
    )


def precision_recall(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike, float]], prevalence: float, dark: bool = False
) -> go.Figure:
    """Precision over recall.

    Args:
      curves: name -> (recalls, precisions, average precision).
      prevalence: the share of positive rows, which is the precision of guessing.
    """
    hover = "precision %{y:.3f} at a recall of %{x:.3f}<extra>%{fullData.name}</extra>"
    figure = _figure("Precision and recall", dark, 440, "recall", "precision")
    _curves(figure, curves, "average precision", hover)
    _reference(figure, [0, 1], [prevalence, prevalence], f"chance ({prevalence:.3f})", dark)
    figure.update_layout(legend={"x": 0.98, "y": 0.98, "yanchor": "top"})
    return figure.update_yaxes(range=[0, 1.01]).update_xaxes(range=[0, 1])


def calibration(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]], dark: bool = False
) -> go.Figure:
    """Observed frequency over predicted probability; on the diagonal a probability means what it says.

    Args:
      curves: name -> (mean predicted probability, observed share of positives, rows) of each bin.
    """
    figure = _figure(
        "Calibration", dark, 440, "mean predicted probability", "observed share of positive rows"
    )
    for name, (predicted, observed, rows) in curves.items():
        figure.add_scatter(
            x=np.asarray(predicted), y=np.asarray(observed), customdata=np.asarray(rows), mode="lines+markers",
            name=name, hovertemplate="predicted %{x:.3f}, observed %{y:.3f}<br>%{customdata:,} rows",
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
      One row a threshold: threshold, true_positive, false_positive, false_negative, true_negative, precision, recall
      and f1. Precision is null where no row is called positive, F1 where there is neither a positive row nor a call.
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
    """What a threshold does: counts at the left; precision, recall and F1 at the right. Plotly's own slider, so it
    works in a saved report without a kernel.

    Args:
      target: 0 or 1 ``[n]``.
      probability: of class 1 ``[n]``.
      labels: names of class 0 and class 1.
      start: threshold shown first (the nearest one on the slider).
      steps: positions of the slider, evenly from 0 to 1.
    """
    table = threshold_table(target, probability, np.linspace(0, 1, steps))
    first = int(np.abs(table["threshold"].to_numpy() - start).argmin())
    figure = make_subplots(
        cols=2, column_widths=[0.42, 0.58], specs=[[{"type": "heatmap"}, {}]], horizontal_spacing=0.14
    )

    def moving(place: int) -> list[Any]:
        row = table.row(place, named=True)
        counts = [
            [row["true_negative"], row["false_positive"]],
            [row["false_negative"], row["true_positive"]],
        ]
        scores = [row[name] for name in ("precision", "recall", "f1")]
        share = np.asarray(counts) / np.maximum(np.sum(counts, axis=1, keepdims=True), 1)
        return [
            go.Heatmap(z=share.tolist(), text=[[f"{n:,}" for n in line] for line in counts]),
            go.Scatter(
                x=[row["threshold"]] * 3, y=scores, text=["–" if s is None else f"{s:.3f}" for s in scores],
            ),
        ]  # fmt: skip

    heat, dots = moving(first)
    heat.update(
        x=list(labels), y=list(labels), texttemplate="%{text}", textfont_size=15, showscale=False, zmin=0, zmax=1,
        colorscale=[[0, "rgba(0,114,178,0.04)"], [1, colours(dark)[0]]], xgap=2, ygap=2,
        hovertemplate="actual %{y}, predicted %{x}: %{text} rows (%{z:.1%} of the actual class)<extra></extra>",
    )  # fmt: skip
    dots.update(
        mode="markers+text", textposition="middle right", marker={"size": 11, "color": list(colours(dark)[:3])},
        showlegend=False, hoverinfo="skip", cliponaxis=False,
    )  # fmt: skip
    figure.add_trace(heat, row=1, col=1).add_trace(dots, row=1, col=2)
    for place, name in enumerate(("precision", "recall", "F1")):
        figure.add_scatter(
            x=table["threshold"].to_list(), y=table[name.lower()].to_list(), name=name, mode="lines",
            line_color=colours(dark)[place], row=1, col=2,
            hovertemplate=name + " %{y:.3f} at %{x:.2f}<extra></extra>",
        )  # fmt: skip
    figure.frames = [
        go.Frame(name=str(place), data=moving(place), traces=[0, 1]) for place in range(table.height)
    ]
    jump = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    figure.update_layout(
        template=template(dark), height=470, margin={"b": 40, "t": 56},
        title={"text": "What the threshold does"},
        sliders=[{
            "active": first, "currentvalue": {"prefix": "call it positive from a probability of "}, "pad": {"t": 56},
            "steps": [
                {"label": f"{value:.2f}", "method": "animate", "args": [[str(place)], jump]}
                for place, value in enumerate(table["threshold"])
            ],
        }],
    )  # fmt: skip
    figure.update_xaxes(title_text="predicted class", type="category", col=1)
    figure.update_yaxes(title_text="actual class", type="category", autorange="reversed", col=1)
    figure.update_yaxes(title_text="score", range=[0, 1.02], col=2)
    return figure.update_xaxes(title_text="threshold (probability)", range=[0, 1.08], col=2)


def comparison(
    scores: Mapping[str, tuple[float, float, float]], measure: str = "test AUC", dark: bool = False
) -> go.Figure:
    """Scores side by side with their intervals. Dots rather than bars, because the axis need not start at zero.

    Args:
      scores: name -> (value, lower end, upper end of its interval), for example of model and baseline.
      measure: what the axis shows, with its unit.
    """
    names = list(scores)
    figure = _figure(measure, dark, 150 + 44 * len(names), x=f"{measure} (95 % interval)")
    for place, (name, (value, low, high)) in enumerate(scores.items()):
        figure.add_scatter(
            x=[value], y=[name], mode="markers+text", marker={"size": 12, "color": colours(dark)[place % 6]},
            text=[f"{value:.3f}"], textposition="top center", showlegend=False, customdata=[[low, high]],
            error_x={"type": "data", "symmetric": False, "array": [high - value], "arrayminus": [value - low]},
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
    """
    truth, guess = np.asarray(actual, np.float64), np.asarray(predicted, np.float64)
    keep = np.linspace(0, truth.size - 1, min(most, truth.size)).astype(int)
    ends = (
        [float(min(truth.min(), guess.min())), float(max(truth.max(), guess.max()))]
        if truth.size
        else [0.0, 1.0]
    )
    suffix = f" ({unit})" if unit else ""
    figure = _figure("Predicted and actual", dark, 440, "actual" + suffix, "predicted" + suffix)
    figure.add_scatter(
        x=truth[keep], y=guess[keep], mode="markers", name="rows", marker={"size": 6, "opacity": 0.5},
        hovertemplate="actual %{x:,.4g}, predicted %{y:,.4g}<extra></extra>",
    )  # fmt: skip
    return _reference(figure, ends, ends, "predicted = actual", dark)

"""Charts of a table: what its columns hold, what is missing, and what cleaning changed.

Columns are counted here, before Plotly sees them: a figure holds a few hundred numbers, however many rows.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from lab_kit.look import blank, colours, template

MOST = 8
"""Values of a column of names that get a bar."""

WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def table_overview(
    frame: pl.DataFrame,
    units: Mapping[str, str] | None = None,
    bins: int = 40,
    across: int = 4,
    dark: bool = False,
    total: int | None = None,
) -> go.Figure:
    """Small multiples: histograms of numbers and times, the commonest values of other columns.

    Args:
      frame: any rows; nulls and NaN are left out (see ``missing_values``).
      units: unit of a column, shown under its histogram.
      bins: bars in a histogram, from the 0.5 % to the 99.5 % quantile; the outer bars hold what lies outside.
      across: small charts in a row.
      dark: for a dark page.
      total: rows of the table that ``frame`` is a sample of; None or as many when it is the table.
    """
    units = units or {}
    columns = [name for name, dtype in frame.schema.items() if not dtype.is_nested()]
    down = max(1, -(-len(columns) // across))
    height = 170 * down + 90
    figure = make_subplots(
        rows=down,
        cols=across,
        subplot_titles=[_subtitle(frame[name]) for name in columns],
        vertical_spacing=min(0.5, 62 / height),
        horizontal_spacing=0.07,
    )
    whole = total in (None, frame.height)
    rows = f"{frame.height:,} rows" if whole else f"a sample of {frame.height:,} of {total:,} rows"
    figure.update_layout(
        template=template(dark), height=height, margin={"t": 76, "l": 40}, bargap=0.05,
        title={"text": f"Distributions in {rows}"},
    )  # fmt: skip
    figure.update_yaxes(tickformat="~s", nticks=4).update_xaxes(tickfont_size=10).update_annotations(font_size=12)
    for place, name in enumerate(columns):
        at = {"row": place // across + 1, "col": place % across + 1}
        bars = _histogram(frame[name], bins) if _countable(frame.schema[name]) else _commonest(frame[name])
        figure.add_trace(bars.update(marker_color=colours(dark)[0], showlegend=False), **at)
        figure.update_xaxes(title_text=units.get(name, ""), title_font_size=11, **at)
        if bars.orientation == "h":
            figure.update_xaxes(tickformat="~s", nticks=4, **at)
            figure.update_yaxes(type="category", autorange="reversed", showticklabels=False, ticks="", **at)
    return figure


def _countable(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype.is_temporal()


def _histogram(column: pl.Series, bins: int) -> go.Bar:
    """Bars of equal width; a column of few different values gets one bar each. Times are shown as times."""
    dtype = column.dtype
    known = column.drop_nulls()
    values = (known.to_physical() if dtype.is_temporal() else known).cast(pl.Float64).drop_nans().to_numpy()
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


def _commonest(column: pl.Series, most: int = MOST) -> go.Bar:
    """The commonest values as lines with their names on them, which need no room below; weekdays in their order."""
    values = column.alias("value").drop_nulls().cast(pl.String)
    counts = values.value_counts(name="rows").sort("rows", "value", descending=[True, False])
    found = dict(counts.head(most).iter_rows())
    names = sorted(found, key=WEEK.index) if set(found) <= set(WEEK) else list(found)
    texts = [_short(name) for name in names]
    # A name stands on its bar where that is long enough for it at a chart's narrowest, else behind it.
    room = [
        found[name] / max(found.values()) > 0.04 + 0.05 * len(text) for name, text in zip(names, texts, strict=True)
    ]
    # A categorical axis keeps "1" and "01" apart and never turns names into dates.
    return go.Bar(
        y=names, x=[found[name] for name in names], orientation="h",
        text=texts, textposition=["inside" if fits else "outside" for fits in room], textangle=0, constraintext="none",
        insidetextanchor="start", textfont_size=10, cliponaxis=False,
        hovertemplate="%{y}: %{x:,} rows<extra></extra>",
    )  # fmt: skip


def _subtitle(column: pl.Series) -> str:
    distinct = 0 if _countable(column.dtype) else column.drop_nulls().n_unique()
    return f"{column.name}, {MOST} of {distinct:,}" if distinct > MOST else column.name


def _short(name: str, most: int = 12) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def missing_values(frame: pl.DataFrame, dark: bool = False) -> go.Figure:
    """The share of missing values (null or NaN) of each column that has any, largest at the top."""
    gaps = {
        name: frame[name].null_count() + (int(frame[name].is_nan().sum()) if dtype.is_float() else 0)
        for name, dtype in frame.schema.items()
    }
    order = sorted((name for name in gaps if gaps[name]), key=lambda name: (gaps[name], name))
    title = "Missing values" if order else "Missing values: none"
    figure = blank(title, dark, 110 + 22 * max(2, len(order)), x="rows with no value (%)")
    figure.add_bar(
        y=order,
        x=[100 * gaps[name] / frame.height for name in order],
        customdata=[gaps[name] for name in order],
        orientation="h",
        hovertemplate="%{y}: %{customdata:,} rows (%{x:.2f} %)<extra></extra>",
    )
    return figure.update_xaxes(rangemode="tozero").update_yaxes(showline=False, ticks="")


def ledger(table: pl.DataFrame, dark: bool = False) -> go.Figure:
    """The cleaning ledger: rows removed and cells changed, one bar for each step and column.

    Args:
      table: of ``clean.ledger``: step number, step, column, rows_removed, cells_changed, rows_after.
      dark: for a dark page.
    """
    number = table.columns[0]
    names = [f"{row[number]}. {row['step']}: {row['column'] or 'all columns'}" for row in table.iter_rows(named=True)]
    figure = make_subplots(cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    for column, (count, what) in enumerate((("rows_removed", "rows removed"), ("cells_changed", "cells changed"))):
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

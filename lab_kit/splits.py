"""Which rows train the network, which choose among networks, and which are kept for the last word."""

from datetime import date, datetime

import numpy as np
import polars as pl

from lab_kit.schema import DatasetCard, LabError, TimeSplit

SPLITS = ("train", "validation", "test")


def split_rows(frame: pl.LazyFrame, card: DatasetCard, seed: int = 0) -> pl.LazyFrame:
    """Say of each row whether it is for training, validation or test.

    Args:
      frame: the table, as ``datasets.scan`` gives it. The order of its rows counts for a random split.
      card: the dataset; a split by time uses local dates, a row without a time is for training.
      seed: for a random split.

    Returns:
      The table with a column ``split``: an Enum of ``train``, ``validation`` and ``test``.

    Raises:
      LabError: when the column to split by is not there or holds no times.
    """
    kind = pl.Enum(SPLITS)
    if isinstance(card.split, TimeSplit):
        column = card.split.column
        dtype = frame.collect_schema().get(column)
        if not isinstance(dtype, pl.Date | pl.Datetime):
            what = "which is not in the table" if dtype is None else f"which holds {dtype}, not dates"
            advice = f'; say [columns] {column!r} = {{ role = "time" }} in the card' if dtype == pl.String else ""
            raise LabError(f"The dataset {card.name!r} is split by the column {column!r}, {what}{advice}.")
        part = (
            pl.when(pl.col(column) >= _midnight(card.split.test_from, dtype))
            .then(pl.lit("test"))
            .when(pl.col(column) >= _midnight(card.split.validation_from, dtype))
            .then(pl.lit("validation"))
            .otherwise(pl.lit("train"))
        )
        return frame.with_columns(part.cast(kind).alias("split"))
    count = int(frame.select(pl.len()).collect(engine="streaming").item())
    order = np.random.default_rng(seed).permutation(count)  # eight bytes a row: the one thing that grows with the table
    validation, test = round(count * card.split.validation), round(count * card.split.test)
    codes = np.zeros(count, np.uint8)
    codes[order[:validation]] = 1
    codes[order[validation : validation + test]] = 2
    parts = pl.Series("split", codes).cat.to(kind)
    return pl.concat([frame, parts.to_frame().lazy()], how="horizontal")


def _midnight(day: date, dtype: pl.Date | pl.Datetime) -> pl.Expr:
    if isinstance(dtype, pl.Date):
        return pl.lit(day)
    local = pl.lit(datetime(day.year, day.month, day.day), dtype=pl.Datetime("us"))
    return local.dt.replace_time_zone(dtype.time_zone) if dtype.time_zone else local

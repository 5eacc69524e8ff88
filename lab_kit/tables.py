"""The kind of values a column holds, and reading new rows as the kinds they had in training."""

from collections.abc import Iterable

import polars as pl

from lab_kit.schema import LabError, first_line

_DTYPES: dict[str, pl.DataType] = {
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "text": pl.String(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
}


def kind_of(dtype: pl.DataType) -> str:
    """The kind of values of a Polars type.

    Returns:
      ``integer``, ``number``, ``text``, ``boolean``, ``date``, ``datetime``, ``datetime ZONE`` or ``other``.
    """
    if dtype.is_integer():
        return "integer"
    if dtype.is_numeric():
        return "number"
    if isinstance(dtype, pl.Datetime):
        return f"datetime {dtype.time_zone}" if dtype.time_zone else "datetime"
    return {pl.String: "text", pl.Boolean: "boolean", pl.Date: "date"}.get(type(dtype), "other")


def read_kinds(kinds: Iterable[tuple[str, str]], frame: pl.LazyFrame, fractions: bool = False) -> pl.LazyFrame:
    """Give the columns of new rows the kind they had in training; values are read only where it differs.

    Args:
      kinds: pairs of column and kind. A column that is absent is passed over.
      frame: new rows, for example out of a CSV file, where numbers and times may be text.
      fractions: whether a column of whole numbers may hold fractions (a median was filled in); it stays as it is.

    Raises:
      LabError: for the first value that cannot be read as the kind of its column.
    """
    schema = frame.collect_schema()
    for name, kind in kinds:
        if name not in schema or kind == "other" or kind_of(schema[name]) == kind:
            continue
        if kind == "number" and schema[name].is_integer():
            frame = frame.with_columns(pl.col(name).cast(pl.Float64))
            continue
        old = pl.col(name)
        new = _as_kind(old, kind, schema[name])
        wrong = new.is_null() & old.is_not_null()
        if kind == "integer" and schema[name].is_float():
            wrong = (new.is_null() & old.is_not_nan() & old.is_not_null()) | (new.cast(pl.Float64) != old)
        try:
            bad = frame.select(value=old, wrong=wrong).with_row_index("row").filter("wrong").head(1).collect()
        except pl.exceptions.PolarsError as error:
            raise LabError(
                f"The column {name!r} of the new rows holds {schema[name]}, but it was {kind} in training: "
                f"{first_line(error)}."
            ) from None
        if bad.height and fractions and kind == "integer" and schema[name].is_float():
            continue
        if bad.height:
            raise LabError(
                f"Column {name!r}, row {bad['row'][0] + 1} of the new rows: {bad['value'][0]!r} cannot be read as "
                f"{kind}, which the column was in training."
            )
        frame = frame.with_columns(new.alias(name))
    return frame


def _as_kind(values: pl.Expr, kind: str, dtype: pl.DataType) -> pl.Expr:
    if not kind.startswith("datetime"):
        return values.cast(_DTYPES[kind], strict=False)
    zone = kind.removeprefix("datetime").strip() or None
    if dtype == pl.String:
        parsed = values.str.to_datetime(time_unit="us", time_zone="UTC" if zone else None, strict=False)
        return parsed.dt.convert_time_zone(zone) if zone else parsed
    if zone and isinstance(dtype, pl.Datetime) and dtype.time_zone:
        return values.dt.convert_time_zone(zone)
    return values.cast(pl.Datetime("us", zone), strict=False)

"""Rows become arrays: an encoder fitted on the training rows, and the encoding.

This is the only place where Polars becomes arrays. An encoded value depends on its own row and on the encoder only.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from lab_kit.arrays import Rows
from lab_kit.encoder import CategoricalColumn, NumericColumn, classes_of
from lab_kit.encoder import Encoder as Encoder
from lab_kit.schema import DatasetCard, LabError, NewRows, first_line
from lab_kit.steps import collect
from lab_kit.tables import kind_of, read_kinds

UNSEEN, MISSING = 0, 1  # the first two slots of every categorical column
_LARGEST = float(np.finfo(np.float32).max)

ROWS_FOR_MEDIANS = 5_000_000
"""Training rows up to which a median is of all rows."""


def fit_encoder(train: pl.LazyFrame | pl.DataFrame, card: DatasetCard) -> Encoder:
    """Learn medians, means, standard deviations and vocabularies from training rows.

    Beyond ``ROWS_FOR_MEDIANS`` rows a median, which only stands in for missing values, is of an even sample.

    Args:
      train: the cleaned training rows only. Null, NaN and infinite numbers count as missing.
      card: the dataset.

    Returns:
      The encoder.

    Raises:
      LabError: when an input or the target is not in the table or has the wrong type, when there are no
        training rows, or when they show one class only.
    """
    frame = train.lazy()
    schema = frame.collect_schema()
    _check_present([*card.inputs, card.target.column], schema.names(), "The training rows lack")
    for name in card.numeric:
        if not (schema[name].is_numeric() or schema[name] in (pl.Boolean, pl.Null)):
            raise LabError(
                f"Column {name!r} of the dataset {card.name!r} has the role 'numeric' but holds {schema[name]}"
                f"{_no_number(frame, name) if schema[name] == pl.String else ''}; give it the role 'categorical', or "
                "convert it."
            )
    target = card.target.column
    counted = [*card.categorical] + ([] if card.task == "regression" else [target])
    summary = collect(
        frame.select(
            pl.len().alias("rows"),
            *(_finite(name).null_count().alias(f"missing {name}") for name in card.numeric),
            *(_values(name, schema).value_counts().implode().alias(f"counts {name}") for name in counted),
        ),
        "The rows cannot be encoded",
    )
    rows = summary["rows"][0]
    if rows == 0:
        raise LabError(f"The dataset {card.name!r} has no training rows; check its split and its cleaning.")
    medians = _medians(frame, card, rows)
    fills = {name: _finite(name).fill_null(medians[name]) for name in card.numeric}
    if card.task == "regression":
        fills["target value"] = _finite(target).drop_nulls()
    moments = collect(
        frame.select(
            expression.alias(f"{what} {name}")
            for name, values in fills.items()
            for what, expression in (
                ("mean", values.mean()),
                ("std", values.std(ddof=0)),
                ("min", values.min()),
                ("max", values.max()),
            )
        )
        if fills
        else frame.select(pl.len()),
        "The rows cannot be encoded",
    )
    scales = {name: _scale(moments, name, card) for name in fills}
    numeric = tuple(
        NumericColumn(name, kind_of(schema[name]), medians[name], *scales[name], summary[f"missing {name}"][0] > 0)
        for name in card.numeric
    )
    categorical = tuple(
        _category(name, summary[f"counts {name}"][0], schema, card.columns[name].min_rows) for name in card.categorical
    )
    classes, labels = ((), ()) if card.task == "regression" else classes_of(summary[f"counts {target}"][0], card)
    mean, std = scales.get("target value", (0.0, 1.0))
    return Encoder(card.task, numeric, categorical, target, classes, labels, mean, std)


def _medians(frame: pl.LazyFrame, card: DatasetCard, rows: int) -> dict[str, float]:
    """Of the finite values of each numeric input; a median needs them all at once, so in a large table of each k-th."""
    if not card.numeric:
        return {}
    if rows > ROWS_FOR_MEDIANS:
        every = -(-rows // ROWS_FOR_MEDIANS)
        frame = frame.with_row_index("row number").filter(pl.col("row number") % every == 0)
    found = collect(frame.select(_finite(name).median() for name in card.numeric), "The rows cannot be encoded")
    return {name: float(found[name][0] or 0.0) for name in card.numeric}


def encode_batches(encoder: Encoder, frame: pl.LazyFrame, size: int = 65_536) -> Iterator[Rows]:
    """``encode`` of some rows at a time, in their order, for a table that is larger than memory.

    Args:
      encoder: fitted on the training rows.
      frame: cleaned rows.
      size: rows in each piece, about.

    Raises:
      LabError: as ``encode``.
    """
    try:
        for batch in frame.collect_batches(chunk_size=size, maintain_order=True, engine="streaming"):
            if batch.height:
                yield encode(encoder, batch)
    except pl.exceptions.PolarsError as error:
        raise LabError(f"The rows cannot be encoded: {first_line(error)}.") from None


def encode(encoder: Encoder, frame: pl.LazyFrame | pl.DataFrame) -> Rows:
    """Encode cleaned rows.

    Args:
      encoder: fitted on the training rows.
      frame: cleaned rows. Null, NaN and infinite numbers are imputed, unseen categories get slot 0. The
        target may be absent or null: it is 0 then.

    Returns:
      The rows as C-contiguous arrays, in the order of the table.

    Raises:
      LabError: when an input column is absent, a value cannot be read as a number, or the target has a class
        that the training rows never showed.
    """
    inputs = [c.name for c in encoder.numeric] + [c.name for c in encoder.categorical]
    _check_present(inputs, frame.lazy().collect_schema().names())
    lazy = _read_inputs(encoder, frame)
    schema = lazy.collect_schema()
    numeric = [
        ((_finite(c.name).fill_null(c.median) - c.mean) / c.std).clip(-_LARGEST, _LARGEST).cast(pl.Float32)
        for c in encoder.numeric
    ]
    numeric += [_finite(c.name).is_null().cast(pl.Float32) for c in encoder.numeric if c.has_indicator]
    categorical = [_slots(c, schema) for c in encoder.categorical]
    has_target = encoder.target in schema
    target = _target(encoder, schema) if has_target else pl.lit(0, pl.Float32)
    table = collect(
        lazy.select(
            *(expr.alias(f"n{k}") for k, expr in enumerate(numeric)),
            *(expr.alias(f"c{k}") for k, expr in enumerate(categorical)),
            target.alias("target"),
        ),
        "The rows cannot be encoded",
    )
    values = table["target"].to_numpy()
    if encoder.classes and (values < 0).any():
        row = int(np.argmax(values < 0))
        value = lazy.select(pl.col(encoder.target)).slice(row, 1).collect().item()
        raise LabError(
            f"Column {encoder.target!r}, row {row + 1}: the training rows never showed the class {str(value)!r}; "
            f"they have {', '.join(encoder.classes)}."
        )
    dtype = np.int32 if encoder.task == "multiclass" else np.float32
    return Rows(
        numeric=_matrix(table, [f"n{k}" for k in range(len(numeric))], np.float32),
        categorical=_matrix(table, [f"c{k}" for k in range(len(categorical))], np.int32),
        target=np.ascontiguousarray(values, dtype=dtype),
    )


def encode_new(encoder: Encoder, frame: pl.LazyFrame | pl.DataFrame, new_rows: NewRows) -> Rows:
    """Encode new rows under the rules of the card for new categories and nulls.

    Args:
      encoder: fitted on the training rows.
      frame: new rows after ``clean.apply_to_new``.
      new_rows: the rules. ``error`` for nulls concerns columns that were complete in training.

    Returns:
      The rows, as ``encode`` gives them.

    Raises:
      LabError: as ``encode``; and for the first row that breaks a rule, with its column and value.
    """
    rows = encode(encoder, frame)
    lazy = _read_inputs(encoder, frame)
    names = lazy.collect_schema()
    if new_rows.null == "error":
        complete = [c.name for c in encoder.numeric if not c.has_indicator]
        complete += [c.name for c in encoder.categorical if not c.has_missing]
        nulls = collect(lazy.select(_missing(name, names[name]) for name in complete), "The rows cannot be encoded")
        for name in complete:
            if (row := nulls[name].arg_max()) is not None and nulls[name][row]:
                raise LabError(
                    f"Column {name!r}, row {row + 1} of the new rows has no value, and training had one in every row; "
                    "fill it, or let the card say new_rows.null = 'impute'."
                )
    if new_rows.unseen_category == "error":
        for k, column in enumerate(encoder.categorical):
            unseen = np.flatnonzero(rows.categorical[:, k] == UNSEEN)
            if not unseen.size:
                continue
            values = collect(lazy.select(_text(column.name, names)), "The rows cannot be encoded")[column.name]
            for place in unseen.tolist():
                if values[place] not in column.rare:
                    raise LabError(
                        f"Column {column.name!r}, row {place + 1} of the new rows has the category "
                        f"{values[place]!r}, which training never showed; correct it, or let the card say "
                        "new_rows.unseen_category = 'unseen'."
                    )
    return rows


def _check_present(names: list[str], present: Sequence[str], what: str = "The rows lack") -> None:
    if absent := [name for name in names if name not in present]:
        plural = "s" if len(absent) > 1 else ""
        raise LabError(
            f"{what} the column{plural} {', '.join(map(repr, absent))}; "
            f"add {'them' if plural else 'it'} (the columns that are there: {', '.join(present)})."
        )


def _read_inputs(encoder: Encoder, frame: pl.LazyFrame | pl.DataFrame) -> pl.LazyFrame:
    """The rows with every input as the kind it had in training; a whole number may have become a fraction."""
    kinds = [(c.name, "number" if c.kind == "integer" else c.kind) for c in encoder.numeric]
    return read_kinds([*kinds, *((c.name, c.kind) for c in encoder.categorical)], frame.lazy())


def _no_number(frame: pl.LazyFrame, name: str) -> str:
    """The first text of a column that is no number, and what to do if it stands for a missing value."""
    text = pl.col(name)
    wrong = frame.select(
        text.filter(text.str.strip_chars().cast(pl.Float64, strict=False).is_null()).drop_nulls().first()
    )
    found = collect(wrong, "The rows cannot be encoded").item()
    if found is None:
        return ""
    return f", such as {found!r} (if that means a missing value, say null_values = [{found!r}] under [source])"


def _finite(name: str) -> pl.Expr:
    values = pl.col(name).cast(pl.Float64)
    return pl.when(values.is_finite()).then(values)


def _values(name: str, schema: pl.Schema) -> pl.Expr:
    return pl.col(name).fill_nan(None) if schema[name].is_float() else pl.col(name)


def _text(name: str, schema: pl.Schema) -> pl.Expr:
    return _values(name, schema).cast(pl.String)


def _missing(name: str, dtype: pl.DataType) -> pl.Expr:
    return _finite(name).is_null().alias(name) if dtype.is_numeric() else pl.col(name).is_null()


def _scale(moments: pl.DataFrame, name: str, card: DatasetCard) -> tuple[float, float]:
    """Mean and standard deviation; a constant column has its value as the mean, exactly, and 1."""
    mean, std, low, high = (moments[f"{what} {name}"][0] for what in ("mean", "std", "min", "max"))
    column = card.target.column if name == "target value" else name
    if mean is None:
        raise LabError(f"No training row has a value in {column!r}, the target of the dataset {card.name!r}.")
    if low == high:
        return float(low), 1.0
    if not (np.isfinite(mean) and np.isfinite(std) and std > 0):
        raise LabError(
            f"The values of column {column!r} are too large or too close together to be standardised; "
            "add a valid_range step, or rescale the column."
        )
    return float(mean), float(std)


def _category(name: str, counts: pl.Series, schema: pl.Schema, min_rows: int) -> CategoricalColumn:
    table = counts.struct.unnest().sort(name, nulls_last=True)
    known = table.drop_nulls(name).with_columns(pl.col(name).cast(pl.String))
    return CategoricalColumn(
        name,
        kind_of(schema[name]),
        tuple(known.filter(pl.col("count") >= min_rows)[name].to_list()),
        tuple(known.filter(pl.col("count") < min_rows)[name].to_list()),
        table.height > known.height,
    )


def _slots(column: CategoricalColumn, schema: pl.Schema) -> pl.Expr:
    text = _text(column.name, schema)
    known = text.cast(pl.Enum(column.vocabulary), strict=False).to_physical().cast(pl.Int32) + 2
    return pl.when(text.is_null()).then(MISSING).otherwise(known.fill_null(UNSEEN)).cast(pl.Int32)


def _target(encoder: Encoder, schema: pl.Schema) -> pl.Expr:
    """The target of each row: class index (-1 for a class never seen) or standardised value; 0 where unknown."""
    name = encoder.target
    if encoder.task == "regression":
        values = (_finite(name) - encoder.target_mean) / encoder.target_std
        return values.fill_null(0.0).cast(pl.Float32)
    text = _text(name, schema)
    index = text.cast(pl.Enum(encoder.classes), strict=False).to_physical().cast(pl.Int32)
    return pl.when(text.is_null()).then(0).otherwise(index.fill_null(-1)).cast(pl.Int32)


def _matrix(table: pl.DataFrame, names: list[str], dtype: type[np.generic]) -> np.ndarray:
    matrix = table.select(names).to_numpy(order="c") if names else np.zeros((table.height, 0))
    return np.ascontiguousarray(matrix, dtype=dtype)

"""One cleaning step: fitting its constants on training rows, and applying it to any rows.

``clean`` makes plans out of these; nothing here knows of more than one step.
"""

import re
from dataclasses import dataclass

import polars as pl
import polars.selectors as cs

from lab_kit.card_steps import Clip, Deduplicate, Derive, DropMissing, Fill, Step, ValidRange
from lab_kit.schema import LabError, first_line

Constant = bool | int | float | str
# SQL that looks along a column. (Polars' meta.is_row_separable says True of "a - avg(a)", and fails on "a * 2".)
_ALONG_A_COLUMN = re.compile(
    r"\b(over\s*|(max|min|sum|avg|mean|median|mode|count|std\w*|var\w*|first\w*|last\w*|corr|covar\w*|quantile\w*|rank|"
    r"dense_rank|row_number|lag|lead|array_agg|string_agg|listagg|unnest)\s*)\(",
    re.IGNORECASE,
)
SPLIT = "split"  # the column that says train, validation or test: a row is the same row in any split


@dataclass(frozen=True)
class FittedStep:
    """A step with everything it needs to be applied.

    Attributes:
      step: the step as the card gives it.
      columns: the columns it looks at (row steps) or changes (steps on cells).
      constants: for each column its constants: ``fill`` has one, ``clip`` and ``valid_range`` have a lower
        and an upper bound (None: no bound), the other steps have none. ``fill`` has None when no training
        row has a value.
    """

    step: Step
    columns: tuple[str, ...]
    constants: tuple[tuple[Constant | None, ...], ...] = ()


def removes_rows(fitted: FittedStep) -> bool:
    """Whether the step removes rows, so that it is for the stored table only."""
    return isinstance(fitted.step, Deduplicate | DropMissing)


def needs(fitted: FittedStep, present: list[str]) -> list[str]:
    """The columns that must be there for a step to be applied to a table with the columns ``present``."""
    if isinstance(fitted.step, Derive):
        return [] if fitted.step.column in present else roots(fitted.step.sql)
    return list(fitted.columns)


def roots(sql: str) -> list[str]:
    """The columns that a SQL expression reads."""
    return list(dict.fromkeys(pl.sql_expr(sql).meta.root_names()))


def fit_step(step: Step, where: str, frame: pl.LazyFrame, sample: pl.LazyFrame) -> FittedStep:
    """Learn the constants of one step.

    Args:
      step: the step.
      where: how an error message calls it.
      frame: the training rows as the steps before leave them.
      sample: a few of them, to try a derived column on.

    Raises:
      LabError: when the step does not suit the table.
    """
    schema = frame.collect_schema()
    if isinstance(step, Derive):
        _check_derive(step, where, sample)
        return FittedStep(step, (step.column,))
    if isinstance(step, Deduplicate):
        columns = step.subset or tuple(name for name in schema if name != SPLIT)
    else:
        columns = step.columns
    if absent := [name for name in columns if name not in schema]:
        raise LabError(
            f"{where} names the column {absent[0]!r}, which is not in the table; its columns are: {', '.join(schema)}."
        )
    if isinstance(step, Deduplicate | DropMissing):
        return FittedStep(step, columns)
    if isinstance(step, Fill):
        return FittedStep(step, columns, tuple((value,) for value in _fill_values(step, where, frame)))
    for name in columns:
        if not schema[name].is_numeric():
            raise LabError(f"{where} is for numbers, but the column {name!r} holds {schema[name]}.")
    if isinstance(step, ValidRange):
        return FittedStep(step, columns, ((step.low, step.high),) * len(columns))
    finite = [pl.col(name).cast(pl.Float64).pipe(_finite) for name in columns]
    quantiles = collect(
        frame.select(
            expr.quantile(q, interpolation="linear").alias(f"{k} {q}")
            for k, expr in enumerate(finite)
            for q in (step.low_quantile, step.high_quantile)
        ),
        f"{where} cannot be computed",
    ).row(0)
    return FittedStep(step, columns, tuple(zip(quantiles[::2], quantiles[1::2], strict=True)))


def _finite(values: pl.Expr) -> pl.Expr:
    return values.filter(values.is_finite())


def collect(frame: pl.LazyFrame, what: str) -> pl.DataFrame:
    """Collect with the streaming engine; a failure of Polars becomes a LabError that starts with ``what``."""
    try:
        return frame.collect(engine="streaming")
    except pl.exceptions.PolarsError as error:
        raise LabError(f"{what}: {first_line(error)}.") from None


def _check_derive(step: Derive, where: str, sample: pl.LazyFrame) -> None:
    schema = sample.collect_schema()
    try:
        expression = pl.sql_expr(step.sql)
    except pl.exceptions.PolarsError as error:
        raise LabError(
            f"{where} has SQL for {step.column!r} that is not valid: {step.sql!r} ({first_line(error)})."
        ) from None
    if step.column in schema:
        raise LabError(f"{where} would make the column {step.column!r}, which exists; choose another name.")
    if absent := [name for name in roots(step.sql) if name not in schema]:
        raise LabError(
            f"{where} needs the column {absent[0]!r} for {step.column!r}, which is not in the table; "
            f"its columns are: {', '.join(schema)}."
        )
    looks_along = _ALONG_A_COLUMN.search(re.sub(r"'[^']*'", "''", step.sql))
    try:
        rows = sample.collect()
        whole, parts = (
            pl.concat([part.with_columns(expression.alias(step.column)) for part in cut])[step.column]
            for cut in ([rows], [rows.head(rows.height // 2), rows.slice(rows.height // 2)])
        )
    except pl.exceptions.PolarsError as error:
        raise LabError(f"{where} cannot compute {step.column!r}: {first_line(error)}.") from None
    if looks_along or not whole.equals(parts, null_equal=True):
        raise LabError(
            f"{where} makes {step.column!r} from other rows ({step.sql!r}); a derived column may use its own row "
            "only, because a new row comes alone."
        )


def _fill_values(step: Fill, where: str, frame: pl.LazyFrame) -> list[Constant | None]:
    schema = frame.collect_schema()
    for name in step.columns:
        dtype = schema[name]
        if not (dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Null)):
            raise LabError(f"{where} cannot fill the column {name!r}, which holds {dtype}.")
        if step.value in ("median", "mean") and not (dtype.is_numeric() or dtype == pl.Null):
            raise LabError(f"{where} has no {step.value} for the column {name!r}, which holds {dtype}; use mode.")
        if step.value in ("median", "mean", "mode") or dtype == pl.Null:
            continue
        suits = {
            pl.Boolean: isinstance(step.value, bool),
            pl.String: isinstance(step.value, str),
        }.get(type(dtype), isinstance(step.value, int | float) and not isinstance(step.value, bool))
        if not suits:
            raise LabError(
                f"{where} would put {step.value!r} into the column {name!r}, which holds {dtype}; "
                "give a constant of that type."
            )
    if step.value not in ("median", "mean", "mode"):
        return [step.value for _ in step.columns]
    expressions = []
    for name in step.columns:
        values = pl.col(name)
        if schema[name].is_numeric():
            values = values.filter(values.is_finite())
        values = values.drop_nulls()
        if step.value == "mode":
            expressions.append(values.mode().min().alias(name))  # the smallest of equally frequent values
        elif step.value == "median":
            expressions.append(values.cast(pl.Float64).median().alias(name))
        else:
            expressions.append(values.cast(pl.Float64).mean().alias(name))
    return list(collect(frame.select(expressions), f"{where} cannot be computed").row(0))


def apply_step(fitted: FittedStep, frame: pl.LazyFrame) -> pl.LazyFrame:
    """Apply one step; the order of the rows that stay is kept."""
    if isinstance(fitted.step, Deduplicate):
        return frame.unique(list(fitted.columns), keep="first", maintain_order=True)
    if isinstance(fitted.step, DropMissing):
        schema = frame.collect_schema()
        return frame.filter(*(_known(name, schema) for name in fitted.columns))
    frame = frame.with_columns(_cells(fitted, frame.collect_schema()))
    if isinstance(fitted.step, Derive):
        # In SQL 60.0 is an exact decimal, and what it touches becomes one; a model and a chart want a float.
        frame = frame.with_columns((cs.by_name(fitted.step.column) & cs.decimal()).cast(pl.Float64))
    return frame


def _known(name: str, schema: pl.Schema) -> pl.Expr:
    known = pl.col(name).is_not_null()
    return known & pl.col(name).is_not_nan() if schema[name].is_float() else known


def _cells(fitted: FittedStep, schema: pl.Schema) -> list[pl.Expr]:
    """The expressions of a step on cells, for those of its columns that are there."""
    step = fitted.step
    if isinstance(step, Derive):
        # A column that is there already stays, so that cleaning a clean table changes nothing.
        return [] if step.column in schema else [pl.sql_expr(step.sql).alias(step.column)]
    expressions = []
    for name, constants in zip(fitted.columns, fitted.constants, strict=True):
        if name not in schema:
            continue
        values = pl.col(name)
        if schema[name].is_float():
            values = values.fill_nan(None)
        if isinstance(step, Fill):
            expressions.append(_filled(values, constants[0], schema[name], step).alias(name))
        else:
            low, high = constants
            expressions.append(_bounded(values, low, high, schema[name], isinstance(step, Clip)).alias(name))
    return expressions


def _filled(values: pl.Expr, constant: Constant | None, dtype: pl.DataType, step: Fill) -> pl.Expr:
    # A median may lie between two whole numbers, so the column becomes a float whether or not it does.
    if step.value in ("median", "mean") or (isinstance(constant, float) and not dtype.is_float()):
        dtype = pl.Float64()
    return values.cast(dtype).fill_null(pl.lit(constant, dtype=None if dtype == pl.Null else dtype))


def _bounded(values: pl.Expr, low: Constant | None, high: Constant | None, dtype: pl.DataType, clip: bool) -> pl.Expr:
    """Values within bounds: those beyond become the bound (``clip``) or null."""
    if clip:
        values = values.cast(pl.Float64)
        return values if low is None else values.clip(pl.lit(low), pl.lit(high))
    inside = values.is_not_null()
    if dtype.is_float():
        inside &= values.is_finite()
    if low is not None:
        inside &= values >= low
    if high is not None:
        inside &= values <= high
    return pl.when(inside).then(values)


def changes(fitted: FittedStep, schema: pl.Schema) -> list[pl.Expr]:
    """For each column of a step on cells a Boolean expression of its name: whether the step changes the cell."""
    cells = _cells(fitted, schema)
    if isinstance(fitted.step, Derive):
        name = fitted.step.column
        return [cells[0].is_not_null() if cells else (pl.col(name).is_null() & False).alias(name)]
    pairs = zip(fitted.columns, cells, strict=True)
    return [expression.ne_missing(pl.col(name)).alias(name) for name, expression in pairs]


def constants_text(fitted: FittedStep, k: int) -> str:
    """The constants of the step's column number ``k`` for a reader; the SQL of a derived column."""
    step = fitted.step
    if isinstance(step, Derive):
        return step.sql
    if isinstance(step, Fill):
        value = fitted.constants[k][0]
        how = f" ({step.value})" if step.value in ("median", "mean", "mode") else ""
        return ("no known value" if value is None else _number(value)) + how
    if isinstance(step, ValidRange | Clip):
        low, high = fitted.constants[k]
        return f"{'-∞' if low is None else _number(low)} to {'∞' if high is None else _number(high)}"
    return ""


def _number(value: Constant) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

"""A cleaning plan: steps with constants fitted on the training rows, and a ledger of what they do.

Steps that remove rows (``deduplicate``, ``drop_missing``) are for the stored table only. Steps on cells
(``derive``, ``valid_range``, ``fill``, ``clip``) need nothing but their own row and the fitted constants, so
they are applied to new rows as well. Applying a plan to a table that it has cleaned changes nothing.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

import polars as pl
from pydantic import TypeAdapter, ValidationError

from lab_kit.card_steps import Derive, Step, check_order
from lab_kit.schema import LabError, first_line
from lab_kit.steps import (
    FittedStep,
    apply_step,
    changes,
    collect,
    constants_text,
    fit_step,
    needs,
    removes_rows,
    roots,
)
from lab_kit.tables import kind_of, read_kinds

_CHANGED = "changed in step "  # part of the name of a column of flags, while the ledger counts
_STEP: TypeAdapter[Step] = TypeAdapter(Step)


@dataclass(frozen=True)
class Plan:
    """A fitted cleaning plan.

    Attributes:
      steps: the fitted steps in order; step numbers count from 1.
      kinds: the kind of values of the source columns that steps on cells read: ``integer``, ``number``,
        ``text``, ``boolean``, ``date``, ``datetime``, ``datetime ZONE`` or ``other``.
    """

    steps: tuple[FittedStep, ...]
    kinds: tuple[tuple[str, str], ...]

    def to_json(self) -> str:
        """The plan as JSON; ``from_json`` gives an equal plan back, to the last bit of each constant."""
        steps = [
            {
                "step": s.step.model_dump(mode="json", by_alias=True),
                "columns": s.columns,
                "constants": s.constants,
            }
            for s in self.steps
        ]
        return json.dumps({"steps": steps, "kinds": self.kinds}, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """The plan that ``to_json`` wrote.

        Raises:
          LabError: when the text is not a plan.
        """
        try:
            data = json.loads(text)
            steps = tuple(
                FittedStep(
                    _STEP.validate_json(json.dumps(s["step"])),
                    tuple(s["columns"]),
                    tuple(tuple(values) for values in s["constants"]),
                )
                for s in data["steps"]
            )
            return cls(steps, tuple((name, kind) for name, kind in data["kinds"]))
        except (ValidationError, ValueError, KeyError, TypeError):
            raise LabError("This is not the JSON of a cleaning plan; fit the plan again.") from None


def fit(steps: tuple[Step, ...], train: pl.LazyFrame) -> Plan:
    """Learn the constants of the steps from training rows.

    Args:
      steps: the cleaning steps of a card.
      train: the training rows only. NaN counts as null. A step sees the rows as the steps before it leave
        them.

    Returns:
      The plan.

    Raises:
      LabError: when a step names a column that is not there, has SQL that is not valid or that needs other
        rows, or does not suit the type of its column.
    """
    try:
        check_order(steps)
    except ValueError as error:
        raise LabError(f"The cleaning steps are not in a possible order: {error}.") from None
    source = train.collect_schema()
    frame = train
    sample = collect(train.head(100), "The first training rows cannot be read").lazy()
    fitted: list[FittedStep] = []
    read: dict[str, None] = {}  # an ordered set of the source columns that steps on cells read
    for number, step in enumerate(steps, 1):
        done = fit_step(step, f"Cleaning step {number} ({step.step})", frame, sample)
        fitted.append(done)
        if not removes_rows(done):
            names = roots(step.sql) if isinstance(step, Derive) else done.columns
            read.update(dict.fromkeys(name for name in names if name in source))
            sample = apply_step(done, sample)
        frame = apply_step(done, frame)
    return Plan(tuple(fitted), tuple((name, kind_of(source[name])) for name in read))


def apply(plan: Plan, frame: pl.LazyFrame) -> pl.LazyFrame:
    """Clean a stored table: all steps. The order of the rows that stay is kept.

    Raises:
      LabError: when a column that a step needs is not there.
    """
    for number, fitted in enumerate(plan.steps, 1):
        frame = _apply(fitted, number, frame)
    return frame


def apply_to_new(plan: Plan, frame: pl.LazyFrame) -> pl.LazyFrame:
    """Clean new rows: the steps on cells only, so each row stays and keeps its place.

    Args:
      plan: the plan.
      frame: new rows. Columns that come as text (out of a CSV file) are read as the type they had in
        training. A column that only ``fill``, ``clip`` or ``valid_range`` would change may be absent (a leak
        column is not known yet); a column that ``derive`` needs may not.

    Raises:
      LabError: when a column that ``derive`` needs is absent, or a value cannot be read as the type it had.
    """
    names = frame.collect_schema().names()
    made: list[str] = list(names)
    absent: dict[str, str] = {}
    for fitted in plan.steps:
        if isinstance(fitted.step, Derive) and fitted.step.column not in made:
            for name in roots(fitted.step.sql):
                if name not in made:
                    absent.setdefault(name, fitted.step.column)
            made.append(fitted.step.column)
    if absent:
        first, column = next(iter(absent.items()))
        raise LabError(
            f"The new rows lack {_columns(list(absent))}; {column!r} is computed from {first!r}. "
            "Add what is missing (null where a value is unknown)."
        )
    frame = read_kinds(plan.kinds, frame, fractions=True)
    for fitted in plan.steps:
        if not removes_rows(fitted):
            frame = apply_step(fitted, frame)
    return frame


def needed_for(columns: Iterable[str], plan: Plan) -> Plan:
    """The part of a plan that new rows need for some columns: they may lack everything else, as what is known later.

    Args:
      columns: names of columns of the cleaned table.
      plan: the whole plan.

    Returns:
      A plan of the steps on cells that these columns come from.
    """
    wanted, kept = set(columns), list[FittedStep]()
    for fitted in reversed(plan.steps):
        places = [k for k, name in enumerate(fitted.columns) if name in wanted]
        if removes_rows(fitted) or not places:
            continue
        if isinstance(fitted.step, Derive):
            wanted.update(roots(fitted.step.sql))
        constants = tuple(fitted.constants[k] for k in places) if fitted.constants else ()
        kept.append(replace(fitted, columns=tuple(fitted.columns[k] for k in places), constants=constants))
    return Plan(tuple(reversed(kept)), tuple(pair for pair in plan.kinds if pair[0] in wanted))


def ledger(plan: Plan, frame: pl.LazyFrame) -> pl.DataFrame:
    """What each step does to each column of a table.

    Args:
      plan: the plan.
      frame: the table before cleaning.

    Returns:
      One row for each step and column (one for each step that removes rows), with ``number``, ``step``,
      ``column``, ``rows_before``, ``rows_after``, ``rows_removed``, ``cells_changed`` (for ``derive``: cells
      that got a value), ``constants`` (as text) and ``reason``. ``rows_removed`` adds up to the difference
      between the table before and after.

    Raises:
      LabError: when a column is not there or a step cannot be computed.
    """
    counts: list[pl.LazyFrame] = []  # one for each stretch of steps that removes no row
    for number, fitted in enumerate(plan.steps, 1):
        cleaned = _apply(fitted, number, frame)
        if removes_rows(fitted):
            counts.append(_count(frame))
            frame = cleaned.drop(_flags(frame))
        else:
            flags = changes(fitted, frame.collect_schema())
            flagged = frame.with_columns(flag.name.prefix(f"{_CHANGED}{number}: ") for flag in flags)
            frame = apply_step(fitted, flagged)
    counts.append(_count(frame))
    try:
        stretches = [table.row(0, named=True) for table in pl.collect_all(counts, engine="streaming")]
    except pl.exceptions.PolarsError as error:
        raise LabError(f"The table cannot be cleaned: {first_line(error)}.") from None
    lines: list[dict[str, object]] = []
    stretch = 0
    changed = {name: value for values in stretches for name, value in values.items()}
    for number, fitted in enumerate(plan.steps, 1):
        removes = removes_rows(fitted)
        before = stretches[stretch]["rows"]
        stretch += removes
        after = stretches[stretch]["rows"]
        for k, name in enumerate([", ".join(fitted.columns)] if removes else fitted.columns):
            lines.append(
                {
                    "number": number,
                    "step": fitted.step.step,
                    "column": name,
                    "rows_before": before,
                    "rows_after": after,
                    "rows_removed": before - after,
                    "cells_changed": 0 if removes else changed[f"{_CHANGED}{number}: {name}"],
                    "constants": constants_text(fitted, k),
                    "reason": fitted.step.reason,
                }
            )
    text, count = pl.String(), pl.Int64()
    return pl.DataFrame(
        lines,
        schema={
            "number": count,
            "step": text,
            "column": text,
            "rows_before": count,
            "rows_after": count,
            "rows_removed": count,
            "cells_changed": count,
            "constants": text,
            "reason": text,
        },
    )


def removed_rows(plan: Plan, frame: pl.LazyFrame, number: int) -> pl.DataFrame:
    """The rows that one step removes, with ``row number`` counted from 0 in the table before that step.

    Raises:
      LabError: when the plan has no such step.
    """
    fitted, before = _before(plan, frame, number)
    numbered = before.with_row_index("row number")
    if not removes_rows(fitted):
        return numbered.clear().collect()
    kept = apply_step(fitted, numbered).select("row number")
    removed = numbered.join(kept, on="row number", how="anti", maintain_order="left")
    return collect(removed, f"Cleaning step {number} cannot be computed")


def changed_cells(plan: Plan, frame: pl.LazyFrame, number: int, column: str) -> pl.DataFrame:
    """The cells of a column that one step changes.

    Returns:
      ``row number`` (from 0, in the table before that step), ``before`` and ``after``.

    Raises:
      LabError: when the plan has no such step, or the step does not change that column.
    """
    fitted, before = _before(plan, frame, number)
    if removes_rows(fitted) or column not in fitted.columns:
        raise LabError(f"Cleaning step {number} ({fitted.step.step}) does not change the column {column!r}.")
    old = pl.lit(None) if isinstance(fitted.step, Derive) else pl.col(column)
    flags = changes(fitted, before.collect_schema())
    flag = flags[fitted.columns.index(column)].alias("changed")
    flagged = before.with_row_index("row number").with_columns(old.alias("before"), flag)
    pairs = apply_step(fitted, flagged).filter("changed").select("row number", "before", after=column)
    return collect(pairs, f"Cleaning step {number} cannot be computed")


def _count(frame: pl.LazyFrame) -> pl.LazyFrame:
    """The number of rows, and for each flag how often it is set."""
    return frame.select(pl.len().alias("rows"), *(pl.col(name).sum() for name in _flags(frame)))


def _flags(frame: pl.LazyFrame) -> list[str]:
    return [name for name in frame.collect_schema() if _CHANGED in name]


def _before(plan: Plan, frame: pl.LazyFrame, number: int) -> tuple[FittedStep, pl.LazyFrame]:
    if not 1 <= number <= len(plan.steps):
        raise LabError(f"There is no cleaning step {number}; the plan has {len(plan.steps)} steps.")
    for k, fitted in enumerate(plan.steps[: number - 1], 1):
        frame = _apply(fitted, k, frame)
    return plan.steps[number - 1], frame


def _apply(fitted: FittedStep, number: int, frame: pl.LazyFrame) -> pl.LazyFrame:
    names = frame.collect_schema().names()
    if absent := [name for name in needs(fitted, names) if name not in names]:
        raise LabError(
            f"Cleaning step {number} ({fitted.step.step}) needs the column {absent[0]!r}, "
            f"which is not in the table; its columns are: {', '.join(names)}."
        )
    return apply_step(fitted, frame)


def _columns(names: list[str]) -> str:
    return f"the column{'s' if len(names) > 1 else ''} {', '.join(map(repr, names))}"

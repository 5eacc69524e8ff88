"""The laws of cleaning, its constants against NumPy, and what it refuses."""

from datetime import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from lab_kit import clean
from lab_kit.card_steps import Step
from lab_kit.schema import LabError

STEPS: TypeAdapter[tuple[Step, ...]] = TypeAdapter(tuple[Step, ...])

LAWS = STEPS.validate_python(
    [
        {"step": "deduplicate", "subset": ["id"]},
        {"step": "drop_missing", "columns": ["y"]},
        {"step": "valid_range", "columns": ["a", "n"], "low": -50, "high": 50},
        {"step": "fill", "columns": ["a"], "with": "median"},
        {"step": "fill", "columns": ["n"], "with": "mean"},
        {"step": "fill", "columns": ["c"], "with": "mode"},
        {"step": "clip", "columns": ["a", "n"], "low_quantile": 0.1, "high_quantile": 0.9},
        {"step": "derive", "column": "d", "sql": "a * 2 + n"},
        {"step": "fill", "columns": ["b"], "with": False},
    ]
)
NUMBERS = st.one_of(st.none(), st.floats(-100, 100), st.sampled_from([float("nan"), float("inf"), float("-inf"), 0.1]))
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.integers(0, 8),
            "y": st.sampled_from([None, 0, 1]),
            "a": NUMBERS,
            "n": st.one_of(st.none(), st.integers(-100, 100)),
            "c": st.sampled_from([None, "", "x", "ü", "x y"]),
            "b": st.sampled_from([None, True, False]),
        }
    ),
    max_size=25,
)
SCHEMA = {"id": pl.Int64, "y": pl.Int64, "a": pl.Float64, "n": pl.Int64, "c": pl.String, "b": pl.Boolean}


def steps(*fields: dict[str, object]) -> tuple[Step, ...]:
    return STEPS.validate_python(fields)


def frame(rows: list[dict[str, object]]) -> pl.LazyFrame:
    return pl.LazyFrame(rows, schema=SCHEMA)


@settings(max_examples=20)
@given(ROWS, ROWS)
def test_cleaning_twice_is_cleaning_once(train: list[dict[str, object]], other: list[dict[str, object]]) -> None:
    plan = clean.fit(LAWS, frame(train))
    once = clean.apply(plan, frame(other)).collect()
    assert clean.apply(plan, once.lazy()).collect().equals(once)
    new = clean.apply_to_new(plan, frame(other)).collect()
    assert clean.apply_to_new(plan, new.lazy()).collect().equals(new)


@settings(max_examples=20)
@given(ROWS)
def test_every_row_and_cell_is_accounted_for(rows: list[dict[str, object]]) -> None:
    plan = clean.fit(LAWS, frame(rows))
    ledger = clean.ledger(plan, frame(rows))
    assert ledger.height == 11
    assert len(rows) - ledger["rows_removed"].sum() == clean.apply(plan, frame(rows)).collect().height
    assert (ledger["rows_before"] - ledger["rows_after"] == ledger["rows_removed"]).all()
    for number in (1, 2):
        removed = clean.removed_rows(plan, frame(rows), number)
        assert removed.height == ledger.filter(pl.col("number") == number)["rows_removed"].sum()
    for number, column in ((3, "a"), (4, "a"), (6, "c"), (7, "n"), (8, "d")):
        changed = clean.changed_cells(plan, frame(rows), number, column)
        line = ledger.filter((pl.col("number") == number) & (pl.col("column") == column))
        assert changed.height == line["cells_changed"].item()
        assert changed.select(pl.col("before").ne_missing(pl.col("after")).all()).item()


@settings(max_examples=20)
@given(ROWS)
def test_new_rows_all_stay_and_are_cleaned_one_by_one(rows: list[dict[str, object]]) -> None:
    plan = clean.fit(LAWS, frame(rows))
    whole = clean.apply_to_new(plan, frame(rows)).collect()
    assert whole["id"].to_list() == [row["id"] for row in rows]
    for place in range(len(rows)):
        assert clean.apply_to_new(plan, frame(rows[place : place + 1])).collect().equals(whole[place : place + 1])


@settings(max_examples=20)
@given(ROWS)
def test_a_plan_survives_its_json(rows: list[dict[str, object]]) -> None:
    plan = clean.fit(LAWS, frame(rows))
    assert clean.Plan.from_json(plan.to_json()) == plan


def test_constants_are_numpys() -> None:
    values = np.random.default_rng(0).normal(size=101)
    table = pl.LazyFrame({"a": [*values, None, float("nan"), float("inf")], "n": [*range(101), 3, 3, None]})
    plan = clean.fit(
        steps(
            {"step": "clip", "columns": ["a"], "low_quantile": 0.05, "high_quantile": 0.9},
            {"step": "fill", "columns": ["n"], "with": "median"},
            {"step": "fill", "columns": ["a"], "with": "mean"},
        ),
        table,
    )
    low, high = np.quantile(values, [0.05, 0.9])
    assert plan.steps[0].constants == ((pytest.approx(low), pytest.approx(high)),)
    assert plan.steps[1].constants == ((np.median([*range(101), 3, 3]),),)
    clipped = np.clip([*values, np.inf], low, high)
    assert plan.steps[2].constants == ((pytest.approx(clipped.mean()),),)


@pytest.mark.parametrize("rows", [[], [{}], [{"id": 1, "y": 1}]])
def test_tables_with_nothing_to_learn_from(rows: list[dict[str, object]]) -> None:
    plan = clean.fit(LAWS, frame(rows))
    assert clean.apply(plan, frame(rows)).collect()["a"].null_count() == clean.apply(plan, frame(rows)).collect().height


def test_bounds_and_duplicates_by_hand() -> None:
    table = pl.LazyFrame({"k": [1, 1, 2, 3], "v": [5.0, 6.0, float("inf"), 1048.0], "split": ["a", "b", "a", "b"]})
    plan = clean.fit(
        steps(
            {"step": "deduplicate", "subset": ["k"]}, {"step": "valid_range", "columns": ["v"], "low": 0, "high": 150}
        ),
        table,
    )
    assert clean.apply(plan, table).collect()["v"].to_list() == [5.0, None, None]
    same = pl.LazyFrame({"k": [1, 1], "split": ["train", "test"]})
    assert clean.apply(clean.fit(steps({"step": "deduplicate"}), same), same).collect().height == 1


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"step": "derive", "column": "d", "sql": "a +* 2"}, "has SQL for 'd' that is not valid"),
        ({"step": "derive", "column": "d", "sql": "q + 1"}, "needs the column 'q'"),
        ({"step": "derive", "column": "d", "sql": "a + c"}, "cannot compute 'd'"),
        ({"step": "derive", "column": "a", "sql": "n + 1"}, "which exists"),
        ({"step": "derive", "column": "d", "sql": "a - AVG(a)"}, "from other rows"),
        ({"step": "derive", "column": "d", "sql": "sum(a) OVER (PARTITION BY c)"}, "from other rows"),
        ({"step": "fill", "columns": ["q"], "with": 0}, "names the column 'q'"),
        ({"step": "fill", "columns": ["c"], "with": "median"}, "use mode"),
        ({"step": "fill", "columns": ["a"], "with": "much"}, "constant of that type"),
        ({"step": "clip", "columns": ["c"]}, "is for numbers"),
        ({"step": "valid_range", "columns": ["b"], "low": 0}, "is for numbers"),
    ],
)
def test_steps_that_do_not_suit_the_table(step: dict[str, object], words: str) -> None:
    rows = [{"id": k, "a": float(k), "n": k, "c": "x", "b": True, "y": 1} for k in range(4)]
    with pytest.raises(LabError, match=words) as caught:
        clean.fit(steps(step), frame(rows))
    assert str(caught.value).startswith("Cleaning step 1")


def test_new_rows_out_of_a_csv_file_are_read_as_in_training() -> None:
    zone = "America/New_York"
    times = pl.Series([datetime(2013, 1, 1, 5)]).dt.replace_time_zone(zone)
    train = pl.LazyFrame({"n": [1], "t": times, "late": [True]})
    plan = clean.fit(
        steps(
            {"step": "drop_missing", "columns": ["late"]},
            {"step": "derive", "column": "h", "sql": "extract(hour FROM t) + n"},
        ),
        train,
    )
    new = pl.LazyFrame({"n": ["2", None], "t": ["2013-07-01T10:00:00Z"] * 2})
    assert clean.apply_to_new(plan, new).collect()["h"].to_list() == [8, None]
    with pytest.raises(LabError, match="Column 'n', row 2 of the new rows: 'two' cannot be read as integer"):
        clean.apply_to_new(plan, pl.LazyFrame({"n": ["1", "two"], "t": ["2013-07-01T10:00:00Z"] * 2}))
    with pytest.raises(LabError, match="lack the columns 't', 'n'; 'h' is computed from 't'"):
        clean.apply_to_new(plan, pl.LazyFrame({"x": [1]}))


def test_cleaned_rows_may_come_as_new_rows() -> None:
    table = pl.LazyFrame({"n": [0, 1, None]})
    plan = clean.fit(steps({"step": "fill", "columns": ["n"], "with": "median"}), table)
    assert clean.apply_to_new(plan, clean.apply(plan, table)).collect()["n"].to_list() == [0.0, 1.0, 0.5]


def test_there_is_no_such_step() -> None:
    plan = clean.fit(LAWS, frame([]))
    with pytest.raises(LabError, match="no cleaning step 12"):
        clean.removed_rows(plan, frame([]), 12)
    with pytest.raises(LabError, match="does not change the column 'c'"):
        clean.changed_cells(plan, frame([]), 3, "c")
    with pytest.raises(LabError, match="not the JSON of a cleaning plan"):
        clean.Plan.from_json("[]")
    with pytest.raises(LabError, match=r"step 2 \(drop_missing\) needs the column 'y'"):
        clean.apply(plan, frame([]).drop("y"))

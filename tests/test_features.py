"""Split and encoding: values against scikit-learn, laws, corner cases, and the rules for new rows."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

from lab_kit import clean, datasets, features, splits
from lab_kit.schema import DatasetCard, LabError, NewRows

NUMBERS = st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([float("nan"), float("inf"), 0.1]))
ROWS = st.lists(
    st.fixed_dictionaries(
        {"a": NUMBERS, "n": st.integers(-5, 5), "c": st.sampled_from([None, "", "x", "ü"]), "y": st.integers(0, 1)}
    ),
    min_size=1,
    max_size=20,
)
SCHEMA = {"a": pl.Float64, "n": pl.Int64, "c": pl.String, "y": pl.Int64}
BOTH = [{"a": 1.0, "n": 1, "c": "x", "y": 0}, {"a": 2.0, "n": 2, "c": "x", "y": 1}]


def card(task: str = "binary", **changes: object) -> DatasetCard:
    fields = {
        "name": "t",
        "title": "T",
        "task": task,
        "target": {"column": "y"},
        "source": {"kind": "table", "path": "t.csv"},
        "columns": {"a": {"role": "numeric"}, "n": {"role": "numeric"}, "c": {"role": "categorical"}},
    }
    return DatasetCard.model_validate(fields | changes)


def frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA)


def test_numbers_are_imputed_and_scaled_as_by_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(5, 3, (200, 2))
    values[rng.random((200, 2)) < 0.2] = np.nan
    table = pl.DataFrame({"a": values[:, 0], "n": values[:, 1], "c": ["x"] * 200, "y": [0, 1] * 100})
    encoder = features.fit_encoder(table[:150], card())
    imputer = SimpleImputer(strategy="median", add_indicator=True).fit(values[:150])
    filled = imputer.transform(values)
    scaler = StandardScaler().fit(filled[:150, :2])
    rows = features.encode(encoder, table)
    np.testing.assert_allclose(rows.numeric[:, :2], scaler.transform(filled[:, :2]), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(rows.numeric[:, 2:], filled[:, 2:])
    assert encoder.numeric_names == ("a", "n", "a missing", "n missing")


@settings(max_examples=20)
@given(ROWS, st.data())
def test_a_part_is_encoded_as_within_the_whole(rows: list[dict[str, object]], data: st.DataObject) -> None:
    encoder = features.fit_encoder(frame(rows + BOTH), card())
    whole = features.encode(encoder, frame(rows))
    places = data.draw(st.lists(st.sampled_from(range(len(rows))), max_size=5))
    part = features.encode(encoder, frame(rows)[places])
    for all_rows, some in zip(whole, part, strict=True):
        assert some.dtype == all_rows.dtype
        np.testing.assert_array_equal(some, all_rows[places])
    assert np.isfinite(whole.numeric).all()
    assert whole.numeric.flags.c_contiguous
    assert (whole.categorical < encoder.signature.cardinalities).all()


@settings(max_examples=20)
@given(ROWS)
def test_an_encoder_survives_its_json(rows: list[dict[str, object]]) -> None:
    encoder = features.fit_encoder(frame(rows + BOTH), card())
    assert features.Encoder.from_json(encoder.to_json()) == encoder


@settings(max_examples=20)
@given(ROWS, ROWS)
def test_test_rows_leave_plan_and_encoder_as_they_are(
    one: list[dict[str, object]], other: list[dict[str, object]]
) -> None:
    steps = [
        {"step": "fill", "columns": ["c"], "with": "mode"},
        {"step": "clip", "columns": ["a"], "low_quantile": 0.1},
    ]
    found = card(cleaning=steps)

    def fitted(test: list[dict[str, object]]) -> tuple[str, str]:
        parts = pl.Series("split", ["train"] * 2 + ["test"] * len(test))
        train = frame(BOTH + test).with_columns(parts).lazy().filter(pl.col("split") == "train")
        plan = clean.fit(found.cleaning, train)
        return plan.to_json(), features.fit_encoder(clean.apply(plan, train), found).to_json()

    assert fitted(one) == fitted(other)


def test_slots_for_unseen_missing_and_rare_categories() -> None:
    columns = {"c": {"role": "categorical", "min_rows": 2}, "n": {"role": "categorical"}}
    train = pl.DataFrame({"c": ["b", "a", "a", "b", "r", None], "n": [10, 9, 9, 10, 9, 9], "y": [0, 1] * 3})
    encoder = features.fit_encoder(train, card(columns=columns))
    assert encoder.categorical[0].vocabulary == ("a", "b")
    assert encoder.categorical[1].vocabulary == ("9", "10")
    assert encoder.signature.cardinalities == (4, 4)
    new = pl.DataFrame({"c": ["a", "b", "r", "new", None], "n": ["10", "9", "8", None, "10"]})
    rows = features.encode(encoder, new)
    assert rows.categorical.tolist() == [[2, 3], [3, 2], [0, 0], [0, 1], [1, 3]]
    assert rows.target.tolist() == [0] * 5
    assert rows.numeric.shape == (5, 0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.1] * 4, [0.0] * 4), ([None] * 4, [0.0] * 4), ([float("inf"), None, 3.0, 3.0], [0.0] * 4)],
)
def test_columns_without_spread(values: list[float | None], expected: list[float]) -> None:
    table = pl.DataFrame({"a": values, "n": range(4), "c": ["x"] * 4, "y": [0, 1, 0, 1]}, schema=SCHEMA)
    encoder = features.fit_encoder(table, card())
    assert encoder.numeric[0].std == 1.0
    assert features.encode(encoder, table).numeric[:, 0].tolist() == expected


def test_values_beyond_float32_stay_finite() -> None:
    encoder = features.fit_encoder(frame(BOTH), card())
    rows = features.encode(encoder, frame([{"a": 1e300, "n": 1, "c": "x", "y": 0}]))
    assert np.isfinite(rows.numeric).all()
    with pytest.raises(LabError, match="column 'a' are too large"):
        features.fit_encoder(frame([BOTH[0], BOTH[1] | {"a": 1e300}]), card())


def test_no_rows_give_empty_arrays_and_nothing_to_fit() -> None:
    encoder = features.fit_encoder(frame(BOTH), card())
    rows = features.encode(encoder, frame([]))
    assert (rows.numeric.shape, rows.categorical.shape, rows.target.shape) == ((0, 2), (0, 1), (0,))
    with pytest.raises(LabError, match="has no training rows"):
        features.fit_encoder(frame([]), card())
    with pytest.raises(LabError, match="only the class '0'"):
        features.fit_encoder(frame(BOTH[:1]), card())


def test_targets_of_each_task() -> None:
    regression = features.fit_encoder(frame(BOTH), card("regression"))
    assert (regression.target_mean, regression.target_std) == (0.5, 0.5)
    assert features.encode(regression, frame(BOTH)).target.tolist() == [-1.0, 1.0]
    table = frame(BOTH).with_columns(y=pl.Series(["yes", "no"]))
    named = features.fit_encoder(table, card(target={"column": "y", "labels": ["yes", "no"]}))
    assert features.encode(named, table).target.tolist() == [0.0, 1.0]
    many = pl.concat([frame(BOTH), frame(BOTH)]).with_columns(y=pl.Series([10, 9, 2, None]))
    classes = features.fit_encoder(many, card("multiclass"))
    assert classes.classes == ("2", "9", "10")
    assert features.encode(classes, many).target.tolist() == [2, 1, 0, 0]
    assert features.encode(classes, many).target.dtype == np.int32
    assert classes.signature.outputs == 3
    with pytest.raises(LabError, match="Column 'y', row 2: the training rows never showed the class '7'"):
        features.encode(classes, frame(BOTH).with_columns(y=pl.Series([9, 7])))


def test_new_rows_obey_the_card() -> None:
    encoder = features.fit_encoder(frame(BOTH), card())
    new = frame([{"a": 1.0, "n": 1, "c": "x"}, {"a": None, "n": 1, "c": "zebra"}]).drop("y")
    rows = features.encode_new(encoder, new, NewRows())
    assert rows.categorical.tolist() == [[2], [0]]
    with pytest.raises(LabError, match="Column 'c', row 2 of the new rows has the category 'zebra'"):
        features.encode_new(encoder, new, NewRows(unseen_category="error"))
    with pytest.raises(LabError, match="Column 'a', row 2 of the new rows has no value"):
        features.encode_new(encoder, new, NewRows(null="error"))
    with pytest.raises(LabError, match="lack the columns 'n', 'c'; add them"):
        features.encode_new(encoder, new.drop("n", "c"), NewRows())
    with pytest.raises(LabError, match="Column 'n', row 1 of the new rows: 'one' cannot be read as number"):
        features.encode_new(encoder, new.with_columns(n=pl.lit("one")), NewRows())
    with pytest.raises(LabError, match=r"role 'numeric' but holds String, such as 'q' \(.*null_values = \['q'\] under"):
        features.fit_encoder(frame(BOTH).with_columns(a=pl.Series([" 1.5", "q"])), card())


def test_a_category_of_whole_numbers_is_not_silently_another() -> None:
    table = pl.DataFrame({"h": [5, 6], "y": [0, 1]})
    encoder = features.fit_encoder(table, card(columns={"h": {"role": "categorical"}}))
    assert features.encode(encoder, pl.DataFrame({"h": [6.0, None]})).categorical.tolist() == [[3], [1]]
    with pytest.raises(LabError, match=r"Column 'h', row 2 of the new rows: 5\.5 cannot be read as integer"):
        features.encode(encoder, pl.DataFrame({"h": [6.0, 5.5]}))


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_a_random_split_is_exact_seeded_and_complete(count: int) -> None:
    table = pl.LazyFrame({"a": range(count)})
    found = card(split={"kind": "random", "validation": 0.2, "test": 0.1})
    one, again, other = (splits.split_rows(table, found, seed).collect() for seed in (3, 3, 4))
    assert one["a"].to_list() == list(range(count))
    counts = dict(one["split"].value_counts().iter_rows())
    assert counts.get("validation", 0) == round(count * 0.2)
    assert counts.get("test", 0) == round(count * 0.1)
    assert one.equals(again)
    assert count < 100 or not one.equals(other)


def test_flights_are_split_at_local_midnight() -> None:
    found = datasets.card("flights")
    table = splits.split_rows(datasets.scan(found).select("time_hour", "month"), found).collect()
    for split, low, high in (("train", 1, 9), ("validation", 10, 10), ("test", 11, 12)):
        months = table.filter(pl.col("split") == split)["month"]
        assert (months.min(), months.max()) == (low, high)
    with pytest.raises(LabError, match="split by the column 'time_hour', which is not in the table"):
        splits.split_rows(table.lazy().drop("time_hour"), found)
    with pytest.raises(LabError, match=r"holds String, not dates; say \[columns\] 'time_hour' = { role = \"time\" }"):
        splits.split_rows(table.lazy().with_columns(pl.col("time_hour").cast(pl.String)), found)


def test_labels_that_are_not_the_texts_of_the_target_are_refused() -> None:
    card = datasets.card("health")
    wrong = card.model_copy(update={"target": card.target.model_copy(update={"labels": ("well", "ill")})})
    with pytest.raises(LabError, match=r"holds benign, malignant.*labels are well, ill"):
        features.fit_encoder(datasets.scan(card), wrong)

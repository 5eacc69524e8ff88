"""A bundle predicts in a new process what it predicted here, row by row, and fails whole or in one sentence."""

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab_kit import bundle, clean, features
from lab_kit.arrays import Task
from lab_kit.model import Network
from lab_kit.schema import DatasetCard, LabError

LABELS = ["no", "yes", "maybe"]
COLUMNS = {
    "length": {"role": "numeric"},
    "count": {"role": "numeric"},
    "colour": {"role": "categorical"},
    "ratio": {"role": "numeric"},
    "seen_later": {"role": "leak"},
    "key": {"role": "identifier"},
    "answer": {"role": "target"},
}
CLEANING = [
    {"step": "drop_missing", "columns": ["answer"]},
    {"step": "valid_range", "columns": ["length"], "low": 0},
    {"step": "fill", "columns": ["seen_later"], "with": "median"},
    {"step": "derive", "column": "known_later", "sql": "seen_later * 2"},
    {"step": "derive", "column": "ratio", "sql": "length / (count + 1)"},
]


def card(task: Task = "binary", **changes: object) -> DatasetCard:
    fields = {
        "name": "own",
        "title": "Own",
        "task": task,
        "target": {
            "column": "answer",
            "labels": [] if task == "regression" else ["no", "yes", "maybe"][: classes(task)],
        },
        "source": {"kind": "table", "path": "own.csv", "null_values": ["NA"]},
        "columns": COLUMNS,
        "cleaning": CLEANING,
    }
    return DatasetCard.model_validate(fields | changes)


def classes(task: Task) -> int:
    return {"binary": 2, "multiclass": 3, "regression": 0}[task]


def table(task: Task = "binary", count: int = 60) -> pl.DataFrame:
    random = np.random.default_rng(0)
    answers = [LABELS[k % classes(task)] if classes(task) else 3.0 * k for k in range(count)]
    return pl.DataFrame(
        {
            "length": random.normal(5, 2, count).tolist(),
            "count": random.integers(0, 9, count),
            "colour": random.choice(["red", "green", "blue"], count).tolist(),
            "seen_later": random.normal(size=count),
            "key": np.arange(count),
            "answer": answers,
        }
    )


def made(task: Task = "binary", **changes: object) -> bundle.Bundle:
    of = card(task, **changes)
    plan = clean.fit(of.cleaning, table(task).lazy())
    encoder = features.fit_encoder(clean.apply(plan, table(task).lazy()), of)
    network = Network(encoder.signature, (8,), "tanh")
    weights = np.random.default_rng(1).normal(size=network.parameters).astype(np.float32)
    return bundle.Bundle(of, plan, encoder, network, weights, threshold=0.4)


MODEL = made()
NEW = table().drop("answer", "seen_later").head(12)


def close(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert found.columns == expected.columns
    assert found["prediction"].dtype == expected["prediction"].dtype
    if expected["prediction"].dtype == pl.String:
        assert found["prediction"].to_list() == expected["prediction"].to_list()
    numbers = [name for name in expected.columns if expected[name].dtype == pl.Float64]
    np.testing.assert_allclose(found.select(numbers), expected.select(numbers), rtol=1e-5, atol=1e-5)


# --- what is predicted


def test_predictions_of_each_task_follow_from_the_network() -> None:
    for task in ("binary", "multiclass", "regression"):
        model = made(task)
        cleaned = clean.apply_to_new(model.plan, table(task).head(NEW.height).lazy())
        rows = features.encode(model.encoder, cleaned)
        raw = np.asarray(model.network.apply(model.weights, rows.numeric, rows.categorical), np.float64)
        found = model.predict(NEW)
        assert found.height == NEW.height
        if task == "binary":
            probability = 1 / (1 + np.exp(-raw[:, 0]))
            np.testing.assert_allclose(found["probability"], probability, atol=1e-5)
            assert found["prediction"].to_list() == ["yes" if p >= 0.4 else "no" for p in found["probability"]]
        elif task == "multiclass":
            assert found.columns == ["prediction", "probability no", "probability yes", "probability maybe"]
            chances = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
            np.testing.assert_allclose(found.drop("prediction"), chances, atol=1e-5)
            assert found["prediction"].to_list() == [("no", "yes", "maybe")[k] for k in chances.argmax(axis=1)]
        else:
            std, mean = np.std([3.0 * k for k in range(60)]), 88.5
            np.testing.assert_allclose(found["prediction"], raw[:, 0] * std + mean, rtol=1e-5)


def test_a_prediction_depends_on_its_row_alone() -> None:
    whole = MODEL.predict(NEW)
    order = np.random.default_rng(5).permutation(NEW.height)
    close(MODEL.predict(NEW[order]), whole[order])
    close(pl.concat([MODEL.predict(NEW[k]) for k in range(NEW.height)]), whole)
    close(MODEL.predict(pl.concat([NEW, NEW])).tail(NEW.height), whole)
    close(MODEL.predict(NEW.select(reversed(NEW.columns))), whole)  # nor on the order of the columns
    assert MODEL.predict(NEW.head(0)).height == 0


@settings(max_examples=10)
@given(
    st.lists(st.one_of(st.none(), st.floats(-1e9, 1e9)), min_size=12, max_size=12), st.sampled_from(["no", "?", None])
)
def test_the_answer_and_what_is_known_later_change_nothing(later: list[float | None], answer: str | None) -> None:
    columns = [pl.Series("seen_later", later, pl.Float64), pl.lit(answer).alias("answer"), pl.lit(1).alias("unknown")]
    close(MODEL.predict(NEW.with_columns(columns)), MODEL.predict(NEW))


def test_what_is_known_later_may_be_of_any_type() -> None:
    odd = NEW.with_columns(pl.lit("soon").alias("seen_later"), pl.lit(7).alias("answer"))
    close(MODEL.predict(odd), MODEL.predict(NEW))


def test_a_category_never_seen_a_gap_and_a_value_out_of_range_are_handled_as_the_card_says() -> None:
    for column, value in (("colour", "violet"), ("colour", None), ("length", None), ("count", None), ("length", -1.0)):
        odd = NEW.with_columns(pl.lit(value, NEW.schema[column]).alias(column))
        assert MODEL.predict(odd)["probability"].is_finite().all()
    gap, outside = NEW.with_columns(length=None), NEW.with_columns(length=-1.0)
    close(MODEL.predict(gap.cast({"length": pl.Float64})), MODEL.predict(outside))  # out of range is missing
    strict = made(new_rows={"unseen_category": "error", "null": "error"})
    close(strict.predict(NEW), MODEL.predict(NEW))
    odd = NEW.with_columns(pl.when(pl.col("key") == 4).then(pl.lit("violet")).otherwise("colour").alias("colour"))
    with pytest.raises(LabError, match=r"'colour', row 5 .*'violet'"):
        strict.predict(odd)
    gap = NEW.with_columns(pl.when(pl.col("key") != 2).then("count").alias("count"))
    with pytest.raises(LabError, match=r"'count', row 3 .*no value"):
        strict.predict(gap)


@pytest.mark.parametrize("column", ["length", "count", "colour"])
def test_a_missing_column_is_one_sentence(column: str) -> None:
    with pytest.raises(LabError, match=column) as raised:
        MODEL.predict(NEW.drop(column))
    assert "\n" not in str(raised.value)


def test_a_value_of_another_kind_is_one_sentence() -> None:
    with pytest.raises(LabError, match=r"'length', row 1 .*'long'"):
        MODEL.predict(NEW.with_columns(length=pl.lit("long")))


def test_columns_without_a_value_are_those_that_predictions_come_from() -> None:
    def without(**columns: object) -> list[str]:
        return MODEL.without_values(NEW.with_columns(pl.lit(value).alias(name) for name, value in columns.items()))

    assert MODEL.without_values(NEW) == []
    assert without(colour=None, count=None) == ["count", "colour"]
    assert without(key=None, seen_later=None, answer=None, unknown=None) == []
    assert MODEL.without_values(NEW.head(0)) == []


# --- the folder


def test_a_bundle_holds_arrays_and_json_and_comes_back(tmp_path: Path) -> None:
    for task in ("binary", "multiclass", "regression"):
        model = made(task)
        bundle.save(model, tmp_path / task / "bundle")
        loaded = bundle.load(tmp_path / task / "bundle")
        assert (loaded.card, loaded.plan, loaded.encoder) == (model.card, model.plan, model.encoder)
        assert loaded.card.inputs == model.card.inputs
        assert (loaded.network, loaded.threshold) == (model.network, model.threshold)
        np.testing.assert_array_equal(loaded.weights, model.weights)
        assert loaded.predict(NEW).equals(model.predict(NEW))
        files = list((tmp_path / task).rglob("*"))
        assert {path.suffix for path in files if path.is_file()} == {".json", ".safetensors"}
        assert [path.name for path in (tmp_path / task).iterdir()] == ["bundle"]
        for path in files:
            if path.suffix == ".json":
                json.loads(path.read_text("utf-8"))


@pytest.mark.slow
def test_a_new_process_predicts_the_same(tmp_path: Path) -> None:
    bundle.save(MODEL, tmp_path / "bundle")
    NEW.write_parquet(tmp_path / "new.parquet")
    program = (
        "import sys, polars as pl; from lab_kit import bundle; "
        "bundle.load(sys.argv[1]).predict(pl.read_parquet(sys.argv[2])).write_parquet(sys.argv[3])"
    )
    places = [str(tmp_path / name) for name in ("bundle", "new.parquet", "found.parquet")]
    subprocess.run([sys.executable, "-c", program, *places], check=True)
    close(pl.read_parquet(tmp_path / "found.parquet"), MODEL.predict(NEW))


@pytest.mark.parametrize(
    "file", ["bundle.json", "card.json", "cleaning.json", "encoder.json", "network.json", "weights.safetensors"]
)
@pytest.mark.parametrize("damage", ["gone", "empty", "flipped", "other"])
def test_a_damaged_file_is_named(tmp_path: Path, file: str, damage: str) -> None:
    bundle.save(MODEL, tmp_path / "bundle")
    path = tmp_path / "bundle" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "gone":
        path.unlink()
    elif damage == "flipped" and file == "bundle.json":
        path.write_text(path.read_text().replace('"weights.safetensors": "', '"weights.safetensors": "0'))
        file = "weights.safetensors"
    else:
        path.write_bytes({"empty": b"", "flipped": bytes(data), "other": b"{}"}[damage])
    with pytest.raises(LabError, match=file) as raised:
        bundle.load(tmp_path / "bundle")
    assert "\n" not in str(raised.value)


def test_a_bundle_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    bundle.save(MODEL, tmp_path / "bundle")
    path = tmp_path / "bundle" / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": bundle.FORMAT + 1}))
    with pytest.raises(LabError, match="newer Lab Kit"):
        bundle.load(tmp_path / "bundle")


def test_saving_replaces_the_older_bundle_or_leaves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bundle"
    bundle.save(made("regression"), folder)
    bundle.save(MODEL, folder)
    assert bundle.load(folder).card.task == "binary"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("write_weights", "write_json"):
        with monkeypatch.context() as patch:
            patch.setattr(bundle, name, full)
            with pytest.raises(LabError, match="No space left"):
                bundle.save(made("regression"), folder)
        assert bundle.load(folder).predict(NEW).equals(MODEL.predict(NEW))
        assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_an_older_bundle_returns_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, replace, moved = tmp_path / "bundle", os.replace, []
    bundle.save(MODEL, folder)

    def once(source: Path, target: Path) -> None:
        if Path(target) == folder and not moved:
            moved.append(source)
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", once)
    with pytest.raises(LabError, match="No space left"):
        bundle.save(made("regression"), folder)
    assert moved
    assert bundle.load(folder).predict(NEW).equals(MODEL.predict(NEW))
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


# --- tables in and out


def test_csv_and_parquet_give_the_same_predictions(tmp_path: Path) -> None:
    rows = NEW.with_columns(pl.when(pl.col("key") != 3).then("length").alias("length"))
    rows.write_parquet(tmp_path / "new.parquet")
    rows.write_csv(tmp_path / "new.csv", null_value="NA")
    rows.write_csv(tmp_path / "empty.csv", null_value="")
    rows.write_csv(tmp_path / "new.tsv", separator="\t")
    rows.write_csv(tmp_path / "new[1] *.csv")
    rows.write_parquet(tmp_path / "new[1] *.parquet")
    (tmp_path / "new.csv.gz").write_bytes(gzip.compress((tmp_path / "new.csv").read_bytes()))
    expected = MODEL.predict(rows)
    for name in ("new.parquet", "new.csv", "empty.csv", "new.tsv", "new.csv.gz", "new[1] *.csv", "new[1] *.parquet"):
        close(MODEL.predict(bundle.read_rows(tmp_path / name, MODEL.card)), expected)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("none.csv", None),
        ("none.parquet", None),
        ("empty.csv", b""),
        ("bytes.csv", b"a,b\n\xff\xfe,1\n"),
        ("ragged.csv", b"a,b\n1,2,3\n"),
        ("text.parquet", b"a,b\n1,2\n"),
        ("header.csv", b"length,count\n"),
        (".", None),
    ],
)
def test_a_table_that_cannot_be_read_is_one_sentence(tmp_path: Path, name: str, data: bytes | None) -> None:
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(LabError, match=re.escape(str(path))) as raised:
        bundle.read_rows(path, MODEL.card)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["rows", "rows.csv", "rows.parquet"])
def test_a_folder_is_no_table_and_is_said_to_be_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    NEW.write_csv(tmp_path / name / "new.csv")
    with pytest.raises(LabError, match=r"is a folder; give one CSV or Parquet file\."):
        bundle.read_rows(tmp_path / name, MODEL.card)


def test_written_rows_can_be_read_again(tmp_path: Path) -> None:
    for name in ("out.csv", "out.parquet"):
        bundle.write_rows(NEW, tmp_path / name)
        bundle.write_rows(NEW, tmp_path / name)  # over the older one
    assert pl.read_csv(tmp_path / "out.csv").equals(NEW)
    assert pl.read_parquet(tmp_path / "out.parquet").equals(NEW)
    assert len(list(tmp_path.iterdir())) == 2


def test_an_output_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    nested = NEW.with_columns(pl.concat_list("count").alias("list"))
    (tmp_path / "folder.csv").mkdir()
    for frame, path in (
        (NEW, tmp_path / "out.xlsx"),
        (NEW, tmp_path / "missing" / "out.csv"),
        (NEW, tmp_path / "folder.csv"),
        (nested, tmp_path / "nested.csv"),
    ):
        with pytest.raises(LabError, match=str(path)) as raised:
            bundle.write_rows(frame, path)
        assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]

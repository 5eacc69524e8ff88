"""The stages of a dataset: built once, built again when something they come from changes, and honest."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lab_kit import bundle, datasets, evaluate, store, workspace
from lab_kit.config import TrainConfig
from lab_kit.schema import DatasetCard, LabError

CONFIG = TrainConfig((4,), batch_size=32, epochs=2)
DAYS = 100  # 60 for training, 20 for validation, 20 for test


def own_card(folder: Path, **changes: object) -> DatasetCard:
    """A card of a table of one's own, split by time, with constants to learn in each part of the pipeline."""
    fields = {
        "name": "own",
        "title": "Own",
        "task": "binary",
        "target": {"column": "answer"},
        "source": {"kind": "table", "path": str(folder / "own.csv")},
        "columns": {
            "day": {"role": "time", "format": "%Y-%m-%d"},
            "size": {"role": "numeric"},
            "colour": {"role": "categorical"},
            "answer": {"role": "target"},
        },
        "split": {"kind": "time", "column": "day", "validation_from": "2020-03-01", "test_from": "2020-03-21"},
        "cleaning": [
            {"step": "clip", "columns": ["size"], "low_quantile": 0.05, "high_quantile": 0.95},
            {"step": "fill", "columns": ["size"], "with": "median"},
            {"step": "fill", "columns": ["colour"], "with": "mode"},
        ],
    }
    return DatasetCard.model_validate(fields | changes)


def own_table() -> pl.DataFrame:
    random = np.random.default_rng(0)
    size = random.normal(size=DAYS)
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 4, 9), eager=True)
    return pl.DataFrame(
        {
            "day": days.dt.to_string(),
            "size": [None if k % 9 == 0 else float(x) for k, x in enumerate(size)],
            "colour": random.choice(["red", "green", "blue"], DAYS).tolist(),
            "answer": (size + 0.3 * random.normal(size=DAYS) > 0).astype(int),
        }
    )


def heard(card: DatasetCard, root: Path) -> list[str]:
    """What is said when the rows of a dataset are asked for; each line is a stage that was built."""
    lines: list[str] = []
    workspace.prepared(card, root, lines.append)
    return [line.split()[0] for line in lines]


def same_rows(first: workspace.Prepared, second: workspace.Prepared) -> bool:
    return all(
        np.array_equal(a, b)
        for split in ("train", "validation", "test")
        for a, b in zip(getattr(first, split), getattr(second, split), strict=True)
    )


@pytest.fixture
def own(tmp_path: Path) -> DatasetCard:
    own_table().write_csv(tmp_path / "own.csv")
    return own_card(tmp_path)


def test_stages_are_built_once_and_come_back_the_same(tmp_path: Path) -> None:
    card = datasets.card("health")
    lines: list[str] = []
    first = workspace.prepared(card, tmp_path, lines.append)
    assert len(lines) == 2
    second = workspace.prepared(card, tmp_path, lines.append)
    assert len(lines) == 2
    assert (first.encoder, first.plan, first.fingerprint) == (second.encoder, second.plan, second.fingerprint)
    assert same_rows(first, second)
    assert first.train.count + first.validation.count + first.test.count == 569
    assert first.validation.count == first.test.count == round(569 * 0.15)
    table = workspace.cleaned(card, tmp_path, lines.append)
    assert len(lines) == 2
    assert table.frame.select(pl.len()).collect().item() == 569 - table.ledger["rows_removed"].sum()


def test_a_change_of_the_card_or_of_the_table_builds_the_stages_again(own: DatasetCard, tmp_path: Path) -> None:
    assert heard(own, tmp_path) == ["Cleaning", "Encoding"]
    assert heard(own_card(tmp_path), tmp_path) == []
    other = own_card(tmp_path, cleaning=[])
    assert heard(other, tmp_path) == ["Cleaning", "Encoding"]
    gaps = workspace.prepared(other, tmp_path, print).encoder.numeric_names
    assert gaps == ("size", "size missing")
    assert heard(own, tmp_path) == ["Cleaning", "Encoding"]
    own_table().with_columns(pl.col("size") + 1).write_csv(tmp_path / "own.csv")
    assert heard(own, tmp_path) == ["Cleaning", "Encoding"]


@pytest.mark.parametrize("file", ["clean/plan.json", "clean/ledger.parquet", "clean/manifest.json"])
def test_a_damaged_cleaning_is_built_again(own: DatasetCard, tmp_path: Path, file: str) -> None:
    before = workspace.prepared(own, tmp_path)
    for damage in (b"", b"{}", None):
        path = tmp_path / "own" / file
        path.unlink() if damage is None else path.write_bytes(damage)
        assert heard(own, tmp_path) == ["Cleaning"]  # what follows from it is still the same
        assert same_rows(before, workspace.prepared(own, tmp_path))


@pytest.mark.parametrize("file", ["rows.safetensors", "encoder.json", "stamp.json"])
def test_damaged_arrays_are_built_again(own: DatasetCard, tmp_path: Path, file: str) -> None:
    before = workspace.prepared(own, tmp_path)
    path = tmp_path / "own" / "features" / file
    whole = path.read_bytes()
    for damage in (b"", whole[:-3] + b"1" + whole[-2:], None):
        path.unlink() if damage is None else path.write_bytes(damage)
        # An encoder is fitted again in silence; the rows that follow from it are still the same.
        assert heard(own, tmp_path) == ([] if file == "encoder.json" else ["Encoding"])
        assert same_rows(before, workspace.prepared(own, tmp_path))
        assert path.read_bytes() == whole


def test_a_damaged_shard_is_a_sentence(own: DatasetCard, tmp_path: Path) -> None:
    workspace.prepared(own, tmp_path)
    shard = next((tmp_path / "own" / "clean").glob("0*.parquet"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(LabError, match=shard.name):
        workspace.prepared(own, tmp_path)
    shard.unlink()
    assert heard(own, tmp_path) == ["Cleaning"]


def test_a_stage_that_fails_leaves_the_older_one_and_no_rubbish(own: DatasetCard, tmp_path: Path) -> None:
    workspace.prepared(own, tmp_path)
    own_table().with_columns(answer=pl.lit(1)).write_csv(tmp_path / "own.csv")
    with pytest.raises(LabError, match="only one class"):
        workspace.prepared(own, tmp_path)
    own_table().write_csv(tmp_path / "own.csv")
    assert heard(own, tmp_path) == []
    assert {path.name for path in (tmp_path / "own").iterdir()} == {"clean", "features"}


def test_nothing_is_learnt_from_the_test_rows(tmp_path: Path) -> None:
    cards, data, runs_made = [], [], []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        late = pl.int_range(pl.len()) >= 80
        strange = {"size": pl.lit(1e6), "colour": pl.lit("violet"), "answer": 1 - pl.col("answer")}
        changed = [pl.when(late).then(value).otherwise(column).alias(column) for column, value in strange.items()]
        (own_table() if name == "first" else own_table().with_columns(changed)).write_csv(folder / "own.csv")
        cards.append(own_card(folder))
        data.append(workspace.prepared(cards[-1], folder))
        runs_made.append(workspace.trained(data[-1], CONFIG, folder))
    first, second = data
    assert (first.train.count, first.validation.count, first.test.count) == (60, 20, 20)
    assert not np.array_equal(first.test.numeric, second.test.numeric)  # the test rows did change,
    assert first.plan == second.plan  # and nothing else did
    assert first.encoder == second.encoder
    for split in ("train", "validation"):
        for a, b in zip(getattr(first, split), getattr(second, split), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(runs_made[0].weights, runs_made[1].weights)
    pairs = zip(data, runs_made, ("a", "b"), strict=True)
    bundles = [bundle.load(workspace.bundled(rows, run, tmp_path / name)) for rows, run, name in pairs]
    assert bundles[0].threshold == bundles[1].threshold


def test_a_run_is_reused_while_its_rows_are_the_same(own: DatasetCard, tmp_path: Path) -> None:
    data = workspace.prepared(own, tmp_path)
    lines: list[str] = []
    seen: list[float] = []
    run = workspace.trained(data, CONFIG, tmp_path, lines.append, lambda record: seen.append(record.epoch))
    assert len(lines) == 1
    assert (seen[0], seen[-1]) == (0.0, 2.0)
    again = workspace.trained(data, CONFIG, tmp_path, lines.append)
    assert (len(lines), again.folder) == (1, run.folder)
    newer = workspace.train(data, CONFIG, tmp_path)
    assert workspace.trained(data, None, tmp_path, lines.append).folder == newer
    own_table().head(99).write_csv(tmp_path / "own.csv")
    other = workspace.trained(workspace.prepared(own, tmp_path), CONFIG, tmp_path, lines.append)
    assert other.folder not in (run.folder, newer)
    assert len(lines) == 2


def test_the_bundle_predicts_what_the_evaluation_predicted(own: DatasetCard, tmp_path: Path) -> None:
    data = workspace.prepared(own, tmp_path)
    run = workspace.trained(data, CONFIG, tmp_path)
    model = bundle.load(workspace.bundled(data, run, tmp_path))
    raw = own_table().tail(20).drop("answer")
    expected = evaluate.predict(run.network, run.weights, data.test)
    found = model.predict(raw)
    np.testing.assert_allclose(found["probability"], expected, rtol=1e-5)
    validated = evaluate.predict(run.network, run.weights, data.validation)
    assert model.threshold == evaluate.choose_threshold(data.validation.target, validated)
    assert_frame_equal(model.predict(raw.cast(pl.String)), found)


def test_the_manifest_says_what_the_stage_was_made_from(own: DatasetCard, tmp_path: Path) -> None:
    table = workspace.cleaned(own, tmp_path)
    manifest = store.read_manifest(tmp_path / "own" / "clean")
    assert manifest.fingerprint == table.fingerprint
    assert manifest.rows == DAYS
    assert dict(manifest.schema)["split"].startswith("Enum")

"""Shards and JSON on disk: what comes back, and what a damaged or half-written folder does."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab_kit import store
from lab_kit.schema import LabError


def table(rows: int) -> pl.LazyFrame:
    return pl.LazyFrame({"a": range(rows), "b": [None if k % 3 else str(k) for k in range(rows)]})


@pytest.mark.parametrize(("rows", "shards"), [(0, 1), (1, 1), (9, 1), (10, 1), (11, 2), (95, 10)])
def test_shards_hold_the_table_in_order(tmp_path: Path, rows: int, shards: int) -> None:
    manifest = store.write_shards(table(rows), tmp_path / "clean", rows_per_shard=10, fingerprint="f")
    assert [shard.rows for shard in manifest.shards[:-1]] == [10] * (shards - 1)
    assert (len(manifest.shards), manifest.rows) == (shards, rows)
    assert store.read(tmp_path / "clean").collect().equals(table(rows).collect())
    assert store.read_manifest(tmp_path / "clean") == manifest
    assert [path.name for path in tmp_path.iterdir()] == ["clean"]


def test_a_stage_is_current_only_with_its_fingerprint_and_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "clean"
    assert not store.is_current(folder, "f")
    store.write_shards(table(5), folder, fingerprint="f")
    assert store.is_current(folder, "f")
    assert not store.is_current(folder, "g")
    store.write_shards(table(25), folder, rows_per_shard=10, fingerprint="g")
    assert store.is_current(folder, "g")
    (folder / "00002.parquet").unlink()
    assert not store.is_current(folder, "g")
    with pytest.raises(LabError, match=r"00002\.parquet is missing"):
        store.read(folder)


def test_a_damaged_shard_is_refused(tmp_path: Path) -> None:
    store.write_shards(table(5), tmp_path / "clean")
    path = tmp_path / "clean" / "00000.parquet"
    damaged = bytearray(path.read_bytes())
    damaged[20] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(LabError, match=r"00000\.parquet is damaged"):
        store.read(tmp_path / "clean")


def test_a_failure_leaves_the_old_table(tmp_path: Path) -> None:
    folder = tmp_path / "clean"
    store.write_shards(table(5), folder, fingerprint="old")
    broken = table(5).with_columns(pl.col("b").fill_null("x").cast(pl.Int64))
    with pytest.raises(LabError, match="cannot be computed"):
        store.write_shards(broken, folder, fingerprint="new")
    assert store.is_current(folder, "old")
    assert [path.name for path in tmp_path.iterdir()] == ["clean"]
    with pytest.raises(LabError, match="rows_per_shard is 0"):
        store.write_shards(table(5), folder, rows_per_shard=0)


@settings(max_examples=20)
@given(st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), st.lists))
def test_json_comes_back_to_the_last_bit(tmp_path_factory: pytest.TempPathFactory, data: object) -> None:
    path = tmp_path_factory.getbasetemp() / "data.json"
    store.write_json(path, data)
    assert store.read_json(path) == data


def test_json_that_cannot_be_written_or_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    store.write_json(path, [1])
    with pytest.raises(LabError, match=r"x\.json cannot be written as JSON"):
        store.write_json(path, float("nan"))
    assert store.read_json(path) == [1]
    path.write_text("{")
    with pytest.raises(LabError, match="is not JSON"):
        store.read_json(path)
    with pytest.raises(LabError, match=r"no file .*y\.json"):
        store.read_json(tmp_path / "y.json")


def test_fingerprints_tell_values_and_files_apart(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    first = store.fingerprint("a", 1, path)
    assert first == store.fingerprint("a", 1, path)
    assert (
        len({first, store.fingerprint("a", 2, path), store.fingerprint("a1", path), store.fingerprint("a", "1", path)})
        == 4
    )
    path.write_text("two")
    assert store.fingerprint("a", 1, path) != first

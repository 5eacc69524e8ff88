"""Training over rows on disk: what holds for a table in memory holds for a stream."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from example_rows import part, rows, signature
from example_runs import BINARY, CONFIG, TABLE, VALIDATION, epochs, history, weights

from lab_kit import feed, train
from lab_kit.arrays import Task
from lab_kit.schema import LabError
from lab_kit.steering import Steering
from lab_kit.stream import write_stream
from lab_kit.train import fit


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row has 24 bytes, and 4 for its weight: windows of 2 steps, and groups of 2 shards of 12 rows."""
    monkeypatch.setattr(feed, "WINDOW_BYTES", 2 * 28 * 10 + 40)


@pytest.mark.parametrize("task", ["binary", pytest.param("regression", marks=pytest.mark.slow)])
def test_a_stream_of_one_shard_is_the_table_to_the_bit(tmp_path: Path, task: Task) -> None:
    table, validation, of = rows(task, 80), rows(task, 41, seed=1), signature(task)
    stream = write_stream([table], tmp_path / "rows")
    memory, disk = history(CONFIG, table, validation, of), history(CONFIG, stream, validation, of)
    np.testing.assert_array_equal(weights(disk[-1]), weights(memory[-1]))
    assert [record.validation for record in epochs(disk)] == [record.validation for record in epochs(memory)]


@pytest.mark.slow
@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("number", [79, 81])
def test_one_two_and_four_devices_arrive_at_the_same_weights(tmp_path: Path, number: int) -> None:
    stream = write_stream([part(rows("binary", 81), slice(0, number))], tmp_path / "rows", rows_per_shard=12)
    runs = [epochs(history(replace(CONFIG, devices=count), stream)) for count in (1, 2, 4)]
    for other in runs[1:]:
        np.testing.assert_allclose(weights(other[-1]), weights(runs[0][-1]), rtol=1e-4, atol=1e-5)
        for one, several in zip(runs[0], other, strict=True):
            assert several.train == pytest.approx(one.train, rel=1e-4)
            assert (several.step, several.rows_seen) == (one.step, one.rows_seen)
    assert runs[0][-1].rows_seen == 2 * number


@pytest.mark.usefixtures("small_windows")
def test_the_length_of_a_call_changes_no_bit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stream, runs = write_stream([TABLE], tmp_path / "rows", rows_per_shard=12), []
    for seconds in (0, 1e9):
        monkeypatch.setattr(train, "SECONDS_PER_CALL", seconds)
        runs.append(history(CONFIG, stream))
    np.testing.assert_array_equal(weights(runs[0][-1]), weights(runs[1][-1]))
    assert [len(run) for run in runs] == [17, 1 + 2 + 3 + 4], "a call ends with its window; the first are one step"


@pytest.mark.usefixtures("small_windows")
def test_a_stream_learns(tmp_path: Path) -> None:
    stream = write_stream([TABLE], tmp_path / "rows", rows_per_shard=12)
    records = epochs(history(replace(CONFIG, epochs=25, dropout=0.0), stream))
    best = [record for record in records if record.best][-1].validation
    assert best["accuracy"] > 0.85
    assert best["loss"] < records[0].validation["loss"] / 2


@pytest.mark.parametrize("rows_per_shard", [7, 12, 41, 100])
def test_validation_rows_on_disk_give_the_same_metrics(tmp_path: Path, rows_per_shard: int) -> None:
    stream = write_stream([VALIDATION], tmp_path / "rows", rows_per_shard)
    for count in (1, 2):
        config = replace(CONFIG, devices=count)
        memory, disk = epochs(history(config)), epochs(history(config, validation=stream))
        for one, other in zip(memory, disk, strict=True):
            assert other.validation == pytest.approx(one.validation, rel=1e-6)
            np.testing.assert_array_equal(weights(other), weights(one))


@pytest.mark.usefixtures("small_windows")
def test_balanced_classes_are_counted_over_all_shards(tmp_path: Path) -> None:
    uneven = part(TABLE, np.concatenate([np.flatnonzero(TABLE.target == 1)[:12], np.flatnonzero(TABLE.target == 0)]))
    config = replace(CONFIG, class_weight="balanced")
    # One shard, in groups of one: the order of a table in memory.
    stream = write_stream([uneven], tmp_path / "one", rows_per_shard=100)
    np.testing.assert_array_equal(weights(history(config, stream)[-1]), weights(history(config, uneven)[-1]))


@pytest.mark.usefixtures("small_windows", "one_step_a_call")
def test_a_steered_run_over_a_stream_replays_to_the_bit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stream = write_stream([TABLE], tmp_path / "rows", rows_per_shard=12)
    steering, records = Steering(), []
    for record in fit(stream, VALIDATION, BINARY, CONFIG, steering=steering):
        records.append(record)
        if record.step in (3, 4, 11):
            steering.set("learning_rate", 0.01 * record.step)
        if record.step == 13:
            steering.stop()
    monkeypatch.setattr(train, "SECONDS_PER_CALL", 1e9)
    again = Steering(script=steering.changes)
    replayed = list(fit(stream, VALIDATION, BINARY, CONFIG, steering=again))
    np.testing.assert_array_equal(weights(replayed[-1]), weights(records[-1]))
    assert again.changes == steering.changes
    assert (replayed[-1].step, replayed[-1].outcome) == (13, "stopped")


@pytest.mark.usefixtures("small_windows")
def test_a_shard_that_is_lost_in_the_middle_ends_the_run_with_its_name(tmp_path: Path) -> None:
    stream = write_stream([TABLE], tmp_path / "rows", rows_per_shard=12)
    (tmp_path / "rows" / stream.shards[5].file).unlink()
    before, seen = set(threading.enumerate()), []
    with pytest.raises(LabError, match=r"The shard .*000005\.safetensors cannot be read"):
        seen.extend(fit(stream, VALIDATION, BINARY, CONFIG))
    assert set(threading.enumerate()) <= before

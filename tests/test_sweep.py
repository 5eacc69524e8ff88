"""Sweeps: each configuration arrives where it would alone, on any number of devices, and nothing compiles twice."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from example_rows import part, rows, signature
from example_runs import BINARY, TABLE, VALIDATION, epochs, history
from test_train import compilations

from lab_kit import feed, sweep
from lab_kit.arrays import Task
from lab_kit.config import TrainConfig
from lab_kit.schema import LabError
from lab_kit.steering import Steering
from lab_kit.stream import write_stream
from lab_kit.sweep import Point, SweepRecord, grid
from lab_kit.sweep_curves import Curves, curves

CONFIG = TrainConfig((6,), batch_size=10, epochs=2, learning_rate=0.01, dropout=0.2)
AXES = {"learning_rate": [0.001, 0.01, 0.1], "dropout": [0.0, 0.3]}
SEEDS = [0, 7]


def swept(
    config: TrainConfig = CONFIG, axes: Any = AXES, seeds: Sequence[int] = SEEDS, **how: Any
) -> list[SweepRecord]:
    return list(sweep.sweep(TABLE, VALIDATION, BINARY, config, axes, seeds, **how))


def ends(records: list[SweepRecord]) -> list[SweepRecord]:
    return [record for record in records if record.validation is not None]


def assert_same(records: list[SweepRecord], points: list[Point], task: Task = "binary") -> None:
    """Each configuration has the metrics of its own fit, at each epoch."""
    table, validation = (TABLE, VALIDATION) if task == "binary" else (rows(task, 80), rows(task, 41, seed=1))
    for number, point in enumerate(points):
        alone = epochs(history(point.config, table, validation, signature(task)))
        assert [record.epoch for record in ends(records)] == [record.epoch for record in alone]
        for mine, own in zip(ends(records), alone, strict=True):
            for name, value in (own.validation or {}).items():
                assert mine.validation[name][number] == pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True)
            for name, value in own.train.items():
                assert mine.train[name][number] == pytest.approx(value, rel=1e-4, nan_ok=True)


# Together as alone.


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 2, 12])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_each_configuration_arrives_where_it_would_arrive_alone(count: int, width: int) -> None:
    records = swept(count=count, width=width)
    assert_same(records, grid(CONFIG, AXES, SEEDS))
    assert records[-1].outcome == "finished"
    assert records[-1].step == 16
    losses = records[-1].validation["loss"]
    assert len(set(losses.round(6).tolist())) == 12, "twelve different runs"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "config", "axes"),
    [
        # Not with Adam: a bias before a batch normalisation has a gradient of rounding alone, which Adam makes large.
        (
            "multiclass",
            replace(CONFIG, normalization="batch", class_weight="balanced", optimizer="nesterov"),
            {"label_smoothing": [0.0, 0.2]},
        ),
        (
            "regression",
            replace(CONFIG, loss="huber", optimizer="momentum"),
            {"momentum": [0.0, 0.9], "clip_norm": [0, 0.1]},
        ),
        ("binary", replace(CONFIG, schedule="one-cycle", readers=2, normalization="layer"), {"weight_decay": [0, 1.0]}),
        ("binary", replace(CONFIG, optimizer="gradient descent", hidden=()), {"learning_rate": [0.1, 1.0, 3.0]}),
        ("regression", replace(CONFIG, batch_size=33, optimizer="lion"), {"learning_rate": [0.01]}),
    ],
)  # fmt: skip
def test_all_that_a_run_may_be_a_sweep_may_be(task: Task, config: TrainConfig, axes: dict[str, list[float]]) -> None:
    records = list(sweep.sweep(rows(task, 80), rows(task, 41, seed=1), signature(task), config, axes, [3], count=2))
    assert_same(records, grid(config, axes, [3]), task)


@pytest.mark.slow
def test_rows_on_disk_and_epochs_in_several_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "WINDOW_BYTES", 1000)  # shards are shuffled one by one, and a window has few steps
    table, chosen = (
        write_stream([of], tmp_path / name, rows_per_shard=12) for name, of in (("a", TABLE), ("b", VALIDATION))
    )
    axes = {"learning_rate": [0.001, 0.01]}
    records = list(sweep.sweep(table, chosen, BINARY, CONFIG, axes, SEEDS, count=2))
    for number, point in enumerate(grid(CONFIG, axes, SEEDS)):
        alone = history(point.config, table, chosen)[-1]
        assert records[-1].validation["loss"][number] == pytest.approx(alone.validation["loss"], rel=1e-4)
        assert records[-1].train["loss"][number] == pytest.approx(alone.train["loss"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("values", [[0.01], [0.01, 0.02], [0.01, 0.02, 0.03], [0.01, 0.02, 0.03, 0.04, 0.05]])
def test_padding_changes_nothing(values: list[float]) -> None:
    """On one device in groups of one there is none; on four in groups of two there is, for each of these numbers."""
    plain, padded = (
        swept(axes={"learning_rate": values}, seeds=[0], count=count, width=width)[-1]
        for count, width in ((1, 1), (4, 2))
    )
    for name, value in plain.validation.items():
        assert padded.validation[name].shape == (len(values),)
        np.testing.assert_allclose(padded.validation[name], value, rtol=1e-4)
    assert padded.step == plain.step


@pytest.mark.slow
def test_how_long_a_call_is_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = swept(count=2)[-1]
    monkeypatch.setattr(sweep, "SECONDS_PER_CALL", 0)
    single = swept(count=2)
    assert [record.step for record in single] == list(range(17))
    np.testing.assert_allclose(single[-1].validation["loss"], whole.validation["loss"], rtol=1e-4)
    np.testing.assert_allclose(single[-1].train["loss"], whole.train["loss"], rtol=1e-4)


# What diverges.


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 4])
def test_a_configuration_that_diverges_becomes_nan_and_disturbs_no_other(width: int) -> None:
    config = replace(CONFIG, optimizer="sgd", dropout=0.0, epochs=3)
    axes = {"learning_rate": [0.01, 1e30, 0.1]}
    records = swept(config, axes, [0, 1], count=2, width=width)
    last = records[-1]
    assert last.outcome == "finished"
    assert last.diverged.tolist() == [False, False, True, True, False, False]
    for found in (*last.validation.values(), *last.train.values()):
        np.testing.assert_array_equal(np.isnan(found), last.diverged)
    others = [point for point in grid(config, axes, [0, 1]) if point.values["learning_rate"] < 1]
    kept = [replace_columns(record, [0, 1, 4, 5]) for record in ends(records)]
    assert_same(kept, others)
    table = curves(records, axes, [0, 1])
    assert np.isnan(table.at_best("loss")).tolist() == [[False] * 2, [True] * 2, [False] * 2]
    assert table.best() == {"learning_rate": 0.1}


def replace_columns(record: SweepRecord, chosen: list[int]) -> SweepRecord:
    """A record of some of the configurations."""
    shown = {name: found[chosen] for name, found in (record.validation or {}).items()}
    return replace(record, validation=shown, train={name: found[chosen] for name, found in record.train.items()})


@pytest.mark.slow
def test_a_sweep_of_which_nothing_is_left_ends() -> None:
    config = replace(CONFIG, optimizer="sgd", epochs=50)
    records = swept(config, {"learning_rate": [1e30, 1e35]}, [0])
    assert records[-1].outcome == "diverged"
    assert records[-1].epoch <= 2
    with pytest.raises(LabError, match="lower learning rates"):
        curves(records, {"learning_rate": [1e30, 1e35]}, [0]).best()


# Live.


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 4])
def test_other_values_and_seeds_compile_nothing(count: int) -> None:
    config = replace(CONFIG, hidden=(5,))  # of its own, so that nothing is compiled yet
    with compilations() as compiled:
        swept(config, count=count)
    assert compiled, "the first sweep compiles"
    with compilations() as compiled:
        other = {"learning_rate": [0.002, 0.02, 0.2], "weight_decay": [0.0, 0.5]}
        records = swept(replace(config, schedule="cosine", dropout=0.0), other, [5, 11], count=count)
    assert compiled == []
    assert records[-1].outcome == "finished"


@pytest.mark.slow
def test_a_stop_ends_it_before_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "SECONDS_PER_CALL", 0)
    steering = Steering()
    records = []
    for record in sweep.sweep(TABLE, VALIDATION, BINARY, CONFIG, AXES, SEEDS, steering=steering):
        records.append(record)
        if record.step == 11:
            steering.stop()
    assert records[-1].outcome == "stopped"
    assert records[-1].step == 11
    assert records[-1].rows_per_second > 0
    assert [record.epoch for record in ends(records)] == [0.0, 1.0]


# The grid and the curves.


def test_a_grid_is_all_combinations_and_the_seeds_change_fastest() -> None:
    points = grid(replace(CONFIG, devices=4, patience=3, sync_every=2), AXES, [5, 6])
    assert [(p.values["learning_rate"], p.values["dropout"], p.config.seed) for p in points[:5]] == [
        (0.001, 0.0, 5), (0.001, 0.0, 6), (0.001, 0.3, 5), (0.001, 0.3, 6), (0.01, 0.0, 5),
    ]  # fmt: skip
    assert len(points) == 12
    for point in points:
        assert point.config.hyperparameters | point.values == point.config.hyperparameters
        assert replace(point.config, **point.values, seed=0) == replace(
            CONFIG, devices=1, patience=None, sync_every=1, **point.values, seed=0
        )


@pytest.mark.parametrize(
    ("axes", "seeds", "change", "words"),
    [
        ({}, [0], {}, "one or two axes, not 0"),
        ({"dropout": [0.1], "momentum": [0.1], "clip_norm": [1]}, [0], {}, "not 3"),
        ({"batch_size": [16, 32]}, [0], {}, "batch_size cannot change while a run runs"),
        ({"learning_rate": [0.1, -1.0]}, [0], {}, "learning_rate = -1: choose a finite number above 0"),
        ({"learning_rate": []}, [0], {}, "learning_rate = []: give one value or more"),
        ({"dropout": [0.1, 0.2, 0.1]}, [0], {}, "each of them once"),
        ({"dropout": [0.1]}, [], {}, "seeds = []"),
        ({"dropout": [0.1]}, [1, 1], {}, "seeds"),
        ({"dropout": [0.1]}, [-1], {}, "seed = -1"),
        ({"dropout": [0.1]}, [0], {"hidden": ()}, "linear model"),
        ({"momentum": [0.1]}, [0], {"optimizer": "sgd"}, "'sgd' takes no notice of momentum"),
        ({"dropout": [0.1]}, [0], {"optimizer": "none"}, "optimizer = 'none'"),
        ({"dropout": [0.1]}, [0], {"batch_size": 1000}, "80 training rows"),
    ],
)
def test_what_cannot_be_swept_is_one_sentence_at_once(axes: Any, seeds: Any, change: Any, words: str) -> None:
    with pytest.raises(LabError) as refused:
        sweep.sweep(TABLE, VALIDATION, BINARY, replace(CONFIG, **change), axes, seeds)
    assert words in str(refused.value)
    assert str(refused.value).endswith(".")


def test_rows_to_choose_by_and_the_number_of_devices_are_looked_at() -> None:
    with pytest.raises(LabError, match="no validation rows"):
        sweep.sweep(TABLE, part(VALIDATION, slice(0, 0)), BINARY, CONFIG, AXES, SEEDS)
    with pytest.raises(LabError, match=f"devices = {jax.local_device_count() + 1}"):
        sweep.sweep(TABLE, VALIDATION, BINARY, CONFIG, AXES, SEEDS, count=jax.local_device_count() + 1)


def made(losses: Any, epoch: float) -> SweepRecord:
    losses = np.array(losses, np.float64)
    found = {"loss": losses, "auc": 1 - losses}
    train = {"loss": losses / 2} if epoch else {}
    return SweepRecord(epoch, 0, train, found, np.isnan(losses), 0.0, 0.0, None)


def test_curves_are_by_epoch_by_value_by_seed_and_the_best_is_a_mean_over_seeds() -> None:
    inside = replace(made([9] * 4, 0.5), validation=None)
    records = [made([5, 5, 5, 5], 0), inside, made([3, 1, 2.5, 2.4], 1), made([2, 4, 2.0, 1.9], 2)]
    table = curves(records, {"dropout": [0, 0.5]}, [3, 4])
    assert isinstance(table, Curves)
    assert table.epochs.tolist() == [0, 1, 2]
    assert table.axes == {"dropout": (0.0, 0.5)}
    assert table.measures["loss"].shape == (3, 2, 2)
    assert table.measures["loss"][2].tolist() == [[2, 4], [2.0, 1.9]]
    assert table.measures["train_loss"][1:].tolist() == [[[1.5, 0.5], [1.25, 1.2]], [[1, 2], [1, 0.95]]]
    assert np.isnan(table.measures["train_loss"][0]).all()
    # Dropout 0: the lowest of its runs are 2 and 1, a mean of 1.5; dropout 0.5: 2 and 1.9.
    assert table.at_best("loss").tolist() == [[2, 1], [2, 1.9]]
    assert table.at_best("auc").tolist() == [[-1, 0], [-1, 1 - 1.9]]
    assert table.best() == {"dropout": 0.0}


def test_the_best_of_two_axes_and_without_what_diverged() -> None:
    axes = {"learning_rate": [1.0, 2.0], "dropout": [0.0, 0.1, 0.2]}
    records = [made([4] * 6, 0), made([3, 2, 1, 0.5, 2, 3], 1), made([3, 2, 1, np.nan, 2, 3], 2)]
    table = curves(records, axes, [0])
    assert table.measures["loss"].shape == (3, 2, 3, 1)
    assert table.best() == {"learning_rate": 1.0, "dropout": 0.2}  # the one that was at 0.5 diverged later

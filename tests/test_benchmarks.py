"""The speed benchmark: a tiny run, and the arithmetic of its ratios. What the figures say depends on the machine."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks import training
from benchmarks.contenders.data import auc, generate
from benchmarks.contenders.watch import Watch

REPOSITORY = Path(__file__).parent.parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.training", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)


@pytest.mark.slow
def test_a_tiny_run_prints_one_json_object_with_finite_figures() -> None:
    size = ("--rows", "2048", "--batch", "256", "--rounds", "1", "--auc", "0.6")
    done = run(*size, "--json", "--contenders", "lab_kit", "scikit-learn")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["rows"] == 2048
    (batch,) = report["batches"]
    assert batch["batch"] == 256
    assert list(batch["contenders"]) == ["lab_kit", "scikit-learn"]
    for found in batch["contenders"].values():
        assert found["epoch_rows"] == 2048
        assert len(found["rounds"]) == 1
        assert 0 < found["first_loss_seconds"] <= found["auc_seconds"] < math.inf
        assert 0 < found["rows_per_second"] < math.inf
        assert 10 * 2**20 < found["peak_memory_bytes"] < 64 * 2**30
    rates = [found["rows_per_second"] for found in batch["contenders"].values()]
    assert batch["ratios"]["best peer"]["name"] == "scikit-learn"
    assert batch["ratios"]["scikit-learn"]["median"] == pytest.approx(rates[0] / rates[1])


def test_a_batch_larger_than_the_rows_is_refused() -> None:
    done = run("--rows", "100", "--batch", "256")
    assert done.returncode == 2
    assert "each --batch from 1 to --rows" in done.stderr


def test_ratios_are_taken_within_a_round_and_the_best_peer_is_not_the_roofline() -> None:
    found = training.ratios(
        {
            "lab_kit": {"rounds": [10.0, 20.0, 60.0], "rows_per_second": 20.0},
            "keras-jax": {"rounds": [5.0, 5.0, 20.0], "rows_per_second": 5.0},
            "pytorch": {"rounds": [1.0, 2.0, 3.0], "rows_per_second": 2.0},
            "scikit-learn": {"missing": "sklearn"},
            "roofline": {"rounds": [100.0, 100.0, 100.0], "rows_per_second": 100.0},
        }
    )
    assert found["keras-jax"] == {"min": 2.0, "median": 3.0, "max": 4.0}
    assert found["pytorch"] == {"min": 10.0, "median": 10.0, "max": 20.0}
    assert found["best peer"] == {**found["keras-jax"], "name": "keras-jax"}
    assert found["roofline"]["max"] == 0.6
    assert "scikit-learn" not in found


def test_a_missing_library_is_a_line_of_the_table() -> None:
    results = {"pytorch": training.summary({"missing": "torch"}, [])}
    shown = training.table({"batch": 32, "contenders": results, "ratios": training.ratios(results)})
    assert [list(column.cells) for column in shown.columns][:2] == [
        ["PyTorch, eager loop"],
        ["not installed (torch)"],
    ]


def test_the_rows_are_the_same_each_time_and_can_be_learnt() -> None:
    first, second = generate(4000), generate(4000)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    assert {array.dtype for array in first} == {np.dtype(np.float32)}
    assert first.x.shape == (4000, 32)
    assert first.validation_x.shape == (500, 32)
    assert 0.4 < first.y.mean() < 0.6
    slopes = np.linalg.lstsq(first.x, first.y, rcond=None)[0]
    score = first.validation_x @ slopes
    assert auc(first.validation_y, score) == pytest.approx(roc_auc_score(first.validation_y, score))
    assert auc(first.validation_y, score) > 0.8


def test_a_watch_stops_at_its_goal_or_after_its_time() -> None:
    towards = Watch(seconds=1e9, goal=0.9)
    assert [towards.epoch(lambda value=value: value) for value in (0.5, 0.8, 0.95)] == [False, False, True]
    assert towards.reached >= sum(towards.epochs) > 0
    assert 0 < towards.first_loss <= towards.epochs[0]

    timed = Watch(seconds=0, least=3)
    assert [timed.epoch(lambda: pytest.fail("the AUC is not asked for")) for _ in range(3)] == [False, False, True]
    assert timed.reached is None
    assert len(timed.epochs) == 3

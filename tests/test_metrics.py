"""Losses and metrics against numbers by hand and against scikit-learn, and their laws as sums."""

import jax
import numpy as np
import pytest
from example_rows import TASKS
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error, r2_score, roc_auc_score

from lab_kit import metrics
from lab_kit.arrays import Task

COUNT = 24

sums = jax.jit(metrics.sums, static_argnums=0)
detailed = jax.jit(metrics.detailed, static_argnums=0)


def scored(task: Task, count: int = COUNT, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of a network and the targets that belong to them."""
    random = np.random.default_rng(seed)
    outputs = random.normal(0, 2, (count, 3 if task == "multiclass" else 1)).astype(np.float32)
    target = {
        "binary": (random.random(count) < 1 / (1 + np.exp(-outputs[:, 0]))).astype(np.float32),
        "multiclass": random.integers(0, 3, count).astype(np.int32),
        "regression": (outputs[:, 0] + random.normal(0, 1, count)).astype(np.float32),
    }[task]
    return outputs, target


def measured(task: Task, outputs: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> dict:
    weight = np.ones(len(target), np.float32) if weight is None else weight
    return metrics.ratios(task, np.asarray(detailed(task, outputs, target, weight)))


def test_binary_cross_entropy_by_hand() -> None:
    target = np.array([0, 1, 1, 0], np.float32)
    p = np.array([0.6, 0.4, 0.8, 0.2])
    found = measured("binary", np.log(p / (1 - p)).astype(np.float32)[:, None], target)
    # (-log 0.4 - log 0.4 - log 0.8 - log 0.8) / 4
    assert found["loss"] == pytest.approx(0.5697172, abs=1e-6)
    assert found["accuracy"] == 0.5
    assert found["auc"] == 0.75  # of the four pairs only (0.4 below 0.6) is in the wrong order


def test_squared_error_by_hand() -> None:
    target = np.array([2, 4, 6, 8, 10], np.float32)
    found = measured("regression", (np.arange(1, 6, dtype=np.float32) * 2.5)[:, None], target)
    assert found["loss"] == pytest.approx(2.75)
    assert found["rmse"] == pytest.approx(2.75**0.5)
    assert found["r2"] == pytest.approx(1 - 2.75 / 8)


def test_softmax_cross_entropy_by_hand() -> None:
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    found = measured("multiclass", np.log(p).astype(np.float32), np.array([0, 1], np.int32))
    assert found["loss"] == pytest.approx(-(np.log(0.7) + np.log(0.3)) / 2)
    assert found["accuracy"] == 0.5


def test_metrics_agree_with_scikit_learn() -> None:
    outputs, target = scored("binary", 500)
    found = measured("binary", outputs, target)
    p = 1 / (1 + np.exp(-outputs[:, 0].astype(np.float64)))
    assert found["loss"] == pytest.approx(log_loss(target, p), rel=1e-5)
    assert found["accuracy"] == pytest.approx(accuracy_score(target, p > 0.5))

    outputs, target = scored("multiclass", 500)
    found = measured("multiclass", outputs, target)
    p = np.exp(outputs.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    assert found["loss"] == pytest.approx(log_loss(target, p, labels=[0, 1, 2]), rel=1e-5)
    assert found["accuracy"] == pytest.approx(accuracy_score(target, p.argmax(axis=1)))

    outputs, target = scored("regression", 500)
    found = measured("regression", outputs, target)
    assert found["loss"] == pytest.approx(mean_squared_error(target, outputs[:, 0]), rel=1e-5)
    assert found["r2"] == pytest.approx(r2_score(target, outputs[:, 0]), rel=1e-5)


@pytest.mark.parametrize("count", [40, 2000])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_binned_auc_is_within_its_bins_of_the_exact_one(count: int, seed: int) -> None:
    outputs, target = scored("binary", count, seed)
    found = measured("binary", outputs, target)["auc"]
    # Scores of one bin count as equal, so at worst each such pair of a negative and a positive is half wrong.
    place = np.minimum(1 / (1 + np.exp(-outputs[:, 0])) * metrics.BINS, metrics.BINS - 1).astype(int)
    same = sum(
        int(n) * int(p)
        for n, p in zip(
            np.bincount(place[target == 0], minlength=metrics.BINS),
            np.bincount(place[target == 1], minlength=metrics.BINS),
            strict=True,
        )
    )
    bound = (same + count) / 2 / ((target == 0).sum() * (target == 1).sum())  # + rounding at the bins' edges
    assert found == pytest.approx(roc_auc_score(target, outputs[:, 0]), abs=bound)
    assert bound < 0.06


def test_the_auc_of_perfect_reversed_and_constant_scores() -> None:
    target = np.array([0, 0, 1, 1], np.float32)
    scores = np.array([-2, -1, 1, 2], np.float32)[:, None]
    assert measured("binary", scores, target)["auc"] == 1
    assert measured("binary", -scores, target)["auc"] == 0
    assert measured("binary", 0 * scores, target)["auc"] == 0.5


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_one_class_has_no_auc_and_everything_else(value: float) -> None:
    found = measured("binary", scored("binary")[0], np.full(COUNT, value, np.float32))
    assert np.isnan(found["auc"])
    assert np.isfinite([found["loss"], found["accuracy"]]).all()


def test_a_constant_target_has_no_r2() -> None:
    found = measured("regression", np.ones((4, 1), np.float32), np.zeros(4, np.float32))
    assert np.isnan(found["r2"])
    assert found["loss"] == 1


@pytest.mark.parametrize("task", TASKS)
def test_no_rows_have_no_metrics(task: Task) -> None:
    outputs, target = scored(task)
    assert np.isnan(list(measured(task, outputs, target, np.zeros(COUNT, np.float32)).values())).all()


@pytest.mark.parametrize("size", [50.0, 1e4, 1e30])
def test_extreme_outputs_have_finite_losses(size: float) -> None:
    both = np.array([[size], [-size], [size], [-size]], np.float32)
    loss = np.asarray(metrics.losses("binary", both, np.array([1, 0, 0, 1], np.float32)))
    np.testing.assert_allclose(loss, [0, 0, size, size], rtol=1e-6, atol=1e-20)
    loss = np.asarray(
        metrics.losses("multiclass", np.array([[size, 0, -size]] * 3, np.float32), np.arange(3, dtype=np.int32))
    )
    np.testing.assert_allclose(loss, [0, size, 2 * size], rtol=1e-6, atol=1e-20)


@pytest.mark.parametrize("task", TASKS)
def test_rows_of_weight_zero_change_nothing(task: Task) -> None:
    outputs, target = scored(task)
    padding, nothing = np.full((9, outputs.shape[1]), 1e3, np.float32), np.zeros(9)
    weight = np.concatenate([np.ones(COUNT), nothing]).astype(np.float32)
    padded = measured(
        task, np.concatenate([outputs, padding]), np.concatenate([target, nothing.astype(target.dtype)]), weight
    )
    assert padded == pytest.approx(measured(task, outputs, target), rel=1e-6)


@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=25)
@given(owner=st.lists(st.integers(0, 3), min_size=COUNT, max_size=COUNT))
def test_sums_add_up_over_any_split_of_the_rows(task: Task, owner: list[int]) -> None:
    outputs, target = scored(task)
    parts = [np.equal(owner, number).astype(np.float32) for number in range(4)]
    for function in (sums, detailed):
        total = sum(np.asarray(function(task, outputs, target, part)) for part in parts)
        whole = np.asarray(function(task, outputs, target, np.ones(COUNT, np.float32)))
        np.testing.assert_allclose(total, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_the_lengths_of_the_sums(task: Task) -> None:
    outputs, target = scored(task)
    weight = np.ones(COUNT, np.float32)
    brief, full = (function(task, outputs, target, weight) for function in (sums, detailed))
    assert brief.shape == (metrics.SUMS[task],)
    np.testing.assert_array_equal(full[: brief.size], brief)
    assert set(metrics.ratios(task, np.asarray(brief))) <= set(metrics.ratios(task, np.asarray(full)))

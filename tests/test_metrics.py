"""Losses and metrics against numbers by hand and against scikit-learn, and their laws as sums."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from example_rows import TASKS
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error, r2_score, roc_auc_score

from lab_kit import metrics
from lab_kit.arrays import Task
from lab_kit.metrics import Loss

COUNT = 24

sums = jax.jit(metrics.sums, static_argnums=(0, 4))
detailed = jax.jit(metrics.detailed, static_argnums=(0, 4))
objective = jax.jit(metrics.objective, static_argnums=(0, 3))


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


def measured(
    task: Task, outputs: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None, loss: Loss | None = None
) -> dict:
    weight = np.ones(len(target), np.float32) if weight is None else weight
    return metrics.ratios(task, np.asarray(detailed(task, outputs, target, weight, loss)))


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
    assert brief.shape == (metrics.SUMS,) == (3,)
    np.testing.assert_array_equal(full[: brief.size], brief)
    assert set(metrics.ratios(task, np.asarray(brief))) <= set(metrics.ratios(task, np.asarray(full)))


def test_the_three_sums_by_hand() -> None:
    weight = np.array([1, 1, 0, 1], np.float32)
    of_binary = sums(
        "binary", np.array([[2], [-1], [5], [0.5]], np.float32), np.array([1, 1, 1, 0], np.float32), weight
    )
    np.testing.assert_allclose(of_binary, [3, np.log1p(np.exp([-2, 1, 0.5])).sum(), 1], rtol=1e-6)
    outputs, target = np.eye(3, dtype=np.float32)[[0, 1, 2, 2]], np.array([0, 2, 2, 2], np.int32)
    right, wrong = np.log(np.e + 2) - 1, np.log(np.e + 2)
    np.testing.assert_allclose(sums("multiclass", outputs, target, weight), [3, 2 * right + wrong, 2], rtol=1e-6)
    outputs, target = np.array([[1], [2], [9], [4]], np.float32), np.array([1, 4, 0, 1], np.float32)
    np.testing.assert_allclose(sums("regression", outputs, target, weight), [3, 0 + 4 + 9, 0 + 4 + 9], rtol=1e-6)
    # Huber: 0, then 2 - 1/2 and 3 - 1/2 beyond delta; the squared errors stay what they are.
    np.testing.assert_allclose(sums("regression", outputs, target, weight, "huber"), [3, 0 + 1.5 + 2.5, 13], rtol=1e-6)


def test_each_task_names_its_losses_its_own_first() -> None:
    assert set(metrics.LOSSES) == set(TASKS)
    assert {loss for of_task in metrics.LOSSES.values() for loss in of_task} == set(get_args(Loss))
    for task, choices in metrics.LOSSES.items():
        outputs, target = scored(task)
        np.testing.assert_array_equal(
            metrics.losses(task, outputs, target, choices[0]), metrics.losses(task, outputs, target)
        )


# Huber's loss.


@given(error=st.floats(-1e4, 1e4, width=32), target=st.floats(-10, 10, width=32))
@settings(max_examples=50)
def test_huber_is_a_parabola_that_goes_on_as_a_line(error: float, target: float) -> None:
    output = np.float32(target + error)
    e = abs(float(output) - target)
    expected = e**2 / 2 if e <= metrics.HUBER_DELTA else metrics.HUBER_DELTA * (e - metrics.HUBER_DELTA / 2)
    found = metrics.losses("regression", np.array([[output]]), np.array([target], np.float32), "huber")
    np.testing.assert_allclose(found, [expected], rtol=1e-4, atol=1e-6)


def test_huber_by_hand() -> None:
    target = np.zeros(5, np.float32)
    outputs = np.array([[0.5], [-1], [1], [3], [-11]], np.float32)
    found = metrics.losses("regression", outputs, target, "huber")
    np.testing.assert_allclose(found, [0.125, 0.5, 0.5, 2.5, 10.5], rtol=1e-6)


def test_the_gradient_of_huber_is_never_longer_than_its_delta() -> None:
    outputs = jnp.linspace(-5, 5, 101)[:, None]
    slope = jax.grad(lambda z: metrics.losses("regression", z, jnp.zeros(101), "huber").sum())(outputs)
    np.testing.assert_allclose(slope, np.clip(outputs, -metrics.HUBER_DELTA, metrics.HUBER_DELTA), atol=1e-6)


def test_rmse_and_r2_of_a_huber_run_are_those_of_squared_errors() -> None:
    outputs, target = scored("regression", 500)
    outputs[::50] += 20  # outliers, which Huber's loss counts for less
    huber, squared = (measured("regression", outputs, target, loss=loss) for loss in ("huber", "squared error"))
    assert (huber["rmse"], huber["r2"]) == (squared["rmse"], squared["r2"])
    assert huber["rmse"] == pytest.approx(mean_squared_error(target, outputs[:, 0]) ** 0.5, rel=1e-5)
    assert huber["r2"] == pytest.approx(r2_score(target, outputs[:, 0]), rel=1e-5)
    assert huber["loss"] < squared["loss"] / 4


# Label smoothing.


@given(smoothing=st.floats(0, 0.99), seed=st.integers(0, 10))
@settings(max_examples=30)
def test_smoothed_labels_of_several_classes_are_those_of_optax(smoothing: float, seed: int) -> None:
    outputs, target = scored("multiclass", seed=seed)
    labels = optax.smooth_labels(jax.nn.one_hot(target, 3), smoothing)
    expected = optax.softmax_cross_entropy(outputs, labels)
    found = objective("multiclass", outputs, target, None, smoothing)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@given(smoothing=st.floats(0, 0.99), seed=st.integers(0, 10))
@settings(max_examples=30)
def test_smoothed_labels_of_two_classes_by_hand(smoothing: float, seed: int) -> None:
    outputs, target = scored("binary", seed=seed)
    p = 1 / (1 + np.exp(-outputs[:, 0].astype(np.float64)))
    truth = np.where(target == 1, 1 - smoothing / 2, smoothing / 2)
    expected = -truth * np.log(p) - (1 - truth) * np.log(1 - p)
    np.testing.assert_allclose(objective("binary", outputs, target, None, smoothing), expected, rtol=1e-4, atol=1e-5)


def test_two_classes_are_smoothed_alike_as_one_output_or_two() -> None:
    outputs, target = scored("binary")
    pair = np.concatenate([np.zeros_like(outputs), outputs], axis=1)
    np.testing.assert_allclose(
        objective("multiclass", pair, target.astype(np.int32), None, 0.3),
        objective("binary", outputs, target, None, 0.3),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("task", TASKS)
def test_no_smoothing_is_the_plain_loss(task: Task) -> None:
    outputs, target = scored(task)
    for loss in metrics.LOSSES[task]:
        plain = jax.jit(metrics.losses, static_argnums=(0, 3))(task, outputs, target, loss)
        np.testing.assert_allclose(objective(task, outputs, target, loss, 0.0), plain, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("loss", metrics.LOSSES["regression"])
def test_a_regression_takes_no_notice_of_smoothing(loss: Loss) -> None:
    outputs, target = scored("regression")
    np.testing.assert_array_equal(
        objective("regression", outputs, target, loss, 0.5), objective("regression", outputs, target, loss, 0.0)
    )

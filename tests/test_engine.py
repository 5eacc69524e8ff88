"""The compiled programs: who sees which row, and one step against a calculation of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from example_rows import part, rows, signature

from lab_kit import devices, engine, metrics
from lab_kit.arrays import Rows, Task
from lab_kit.config import TrainConfig
from lab_kit.engine import Recipe
from lab_kit.feed import Feed, Window
from lab_kit.model import Network

HYPER = TrainConfig(learning_rate=0.1, weight_decay=0.0, dropout=0.0).hyperparameters


def run(
    network: Network, optimizer: str, table: Rows, batch_size: int, count: int, hyper: dict[str, float]
) -> tuple[engine.State, np.ndarray]:
    """One epoch from the initial weights."""
    recipe, feed = Recipe(network, optimizer), Feed(table, batch_size, count)
    (window,) = feed.windows(0, feed.steps)
    return play(recipe, engine.initial_state(recipe, hyper, count, 0), window, hyper, count, batch_size)


def play(
    recipe: Recipe, state: engine.State, window: Window, hyper: dict[str, float], count: int, batch_size: int
) -> tuple[engine.State, np.ndarray]:
    """All steps of a window in one call."""
    steps = window.weight.shape[1]
    return engine.program(recipe, count, batch_size).run(
        state,
        devices.replicate({name: np.float32(value) for name, value in hyper.items()}, count),
        window.rows,
        window.weight,
        devices.replicate(np.ones(steps, np.float32), count),
        *np.array([0, window.stop - window.first, 1], np.int32),
    )


@pytest.mark.parametrize("count", [1, 4])
def test_the_program_sees_each_row_once_an_epoch(count: int) -> None:
    network, table = Network(signature("binary"), (6,), "tanh"), rows("binary", 37)
    # With a rate of zero the weights stay, so the losses of an epoch are those of all rows at the initial weights.
    state, sums = run(network, "sgd", table, 10, count, HYPER | {"learning_rate": 0.0})
    weights = network.init(0)
    np.testing.assert_array_equal(state.weights, weights)
    assert int(state.step) == 4
    outputs = jax.jit(network.apply)(weights, table.numeric, table.categorical)
    expected = metrics.sums("binary", outputs, table.target, np.ones(37, np.float32))
    np.testing.assert_allclose(sums[:3], expected, rtol=1e-5)


def test_one_step_of_gradient_descent_by_hand() -> None:
    """A linear model of the numeric inputs alone: its gradient is 2/n X'(Xw + b - y)."""
    table = rows("regression", 33)
    network = Network(signature("regression"), (), "relu")
    hyper = HYPER | {"weight_decay": 0.3}
    state, sums = run(network, "gradient descent", table, table.count, 2, hyper)
    before = {name: array.astype(np.float64) for name, array in network.named(network.init(0)).items()}
    after = network.named(np.asarray(state.weights))
    first, second = (before[f"embeddings.{column}.embedding"] for column in (0, 1))
    x = np.concatenate([table.numeric, first[table.categorical[:, 0]], second[table.categorical[:, 1]]], axis=1)
    kernel = before["layers.0.kernel"]
    error = x @ kernel + before["layers.0.bias"] - table.target[:, None]
    gradient = 2 / 33 * x.T @ error
    np.testing.assert_allclose(sums[:3], [33, (error**2).sum(), (error**2).sum()], rtol=1e-5)
    np.testing.assert_allclose(after["layers.0.kernel"], kernel - 0.1 * (gradient + 0.3 * kernel), atol=1e-6)
    np.testing.assert_allclose(
        after["layers.0.bias"], before["layers.0.bias"] - 0.1 * 2 * error.mean(axis=0), atol=1e-6
    )
    # Row c of an embedding: the errors of the rows of category c, through the kernel; no decay.
    for_first = np.zeros_like(first)
    np.add.at(for_first, table.categorical[:, 0], 2 / 33 * error @ kernel[3 : 3 + first.shape[1]].T)
    np.testing.assert_allclose(after["embeddings.0.embedding"], first - 0.1 * for_first, atol=1e-6)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_one_step_of_a_deep_network_follows_the_gradient_of_the_mean_loss(task: Task) -> None:
    table, network = rows(task, 21), Network(signature(task), (6, 4), "sigmoid")

    def mean_loss(weights: jax.Array) -> jax.Array:
        z = network.apply(weights, table.numeric, table.categorical)
        if task == "binary":
            p = 1 / (1 + jnp.exp(-z[:, 0]))
            return -(table.target * jnp.log(p) + (1 - table.target) * jnp.log(1 - p)).mean()
        p = jnp.exp(z) / jnp.exp(z).sum(axis=1, keepdims=True)
        return -jnp.log(p[jnp.arange(21), table.target]).mean()

    weights = network.init(0)
    state, sums = run(network, "gradient descent", table, table.count, 4, HYPER)
    loss, gradient = jax.jit(jax.value_and_grad(mean_loss))(weights)
    assert float(sums[1]) / 21 == pytest.approx(float(loss), rel=1e-5)
    np.testing.assert_allclose(state.weights, weights - 0.1 * gradient, atol=1e-6)
    assert abs(gradient).max() > 1e-3, "a gradient of zero would make this test empty"


@pytest.mark.parametrize(("number", "count"), [(33, 1), (31, 4), (32, 4), (33, 4)])
def test_measuring_and_predicting_do_not_depend_on_blocks_and_padding(
    monkeypatch: pytest.MonkeyPatch, number: int, count: int
) -> None:
    monkeypatch.setattr(engine, "BLOCK", 4)  # so that each device has several blocks
    table, network = rows("regression", number), Network(signature("regression"), (6,), "tanh")
    weights = network.init(0)
    cut, weight = engine.blocks(table, count)
    assert weight.sum() == number
    assert weight.shape == (count, -(-number // (4 * count)), 4)
    outputs = jax.jit(network.apply)(weights, table.numeric, table.categorical)
    placed = devices.replicate(weights, count)
    found = engine.program(Recipe(network, "sgd"), count, number).measure(placed, *devices.shard((cut, weight), count))
    expected = metrics.detailed("regression", outputs, table.target, np.ones(number, np.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    predicted = engine.forward(network, count)(placed, devices.shard(cut, count))
    np.testing.assert_allclose(devices.join(np.asarray(predicted), number), outputs, rtol=1e-5, atol=1e-6)


def test_fewer_rows_than_devices_are_enough() -> None:
    table = part(rows("binary", 8), slice(0, 2))
    network = Network(signature("binary"), (6,), "tanh")
    one, _ = run(network, "sgd", table, 2, 1, HYPER)
    four, _ = run(network, "sgd", table, 2, 4, HYPER)
    np.testing.assert_allclose(four.weights, one.weights, atol=1e-6)

"""Each optimizer against its published formula in NumPy, and laws that all of them obey."""

from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab_kit.optimizers import OPTIMIZERS, TRACED, build, clip, refusal

Hyper = dict[str, float]
Direction = Iterator[np.ndarray]


# The published directions, in float64. Each takes the gradients and the momentum of each step.


def plain(gradients: Iterable[np.ndarray], momenta: list[float]) -> Direction:
    yield from gradients


def momentum(gradients: Iterable[np.ndarray], momenta: list[float]) -> Direction:
    m = 0.0
    for g, mu in zip(gradients, momenta, strict=True):
        m = mu * m + g
        yield m


def adagrad(gradients: Iterable[np.ndarray], momenta: list[float]) -> Direction:
    v = 0.1  # a start above zero, as in TensorFlow and optax, keeps the first steps from being too long
    for g in gradients:
        v = v + g**2
        yield g / np.sqrt(v + 1e-7)


def nesterov(gradients: Iterable[np.ndarray], momenta: list[float]) -> Direction:
    m = 0.0
    for g, mu in zip(gradients, momenta, strict=True):
        m = mu * m + g
        yield g + mu * m


def rmsprop(gradients: Iterable[np.ndarray], momenta: list[float]) -> Direction:
    v = 0.0
    for g in gradients:
        v = 0.9 * v + 0.1 * g**2
        yield g / np.sqrt(v + 1e-8)


def lion(gradients: Iterable[np.ndarray], momenta: list[float]) -> Direction:
    m = 0.0
    for g, mu in zip(gradients, momenta, strict=True):
        yield np.sign(mu * m + (1 - mu) * g)
        m = 0.99 * m + 0.01 * g


def adam(gradients: Iterable[np.ndarray], momenta: list[float]) -> Direction:
    m = v = 0.0
    for t, (g, b1) in enumerate(zip(gradients, momenta, strict=True), start=1):
        m = b1 * m + (1 - b1) * g
        v = 0.999 * v + 0.001 * g**2
        yield (m / (1 - b1**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)


BY_HAND: dict[str, Callable[[Iterable[np.ndarray], list[float]], Direction]] = {
    "gradient descent": plain,
    "sgd": plain,
    "momentum": momentum,
    "adagrad": adagrad,
    "nesterov": nesterov,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adam,
    "lion": lion,
}
DECAYED = np.array([1, 0, 1, 0], np.float32)
STEPS = 4

each_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)
vectors = st.lists(st.floats(-2, 2, width=32, allow_subnormal=False), min_size=4, max_size=4).map(np.float32)
# On a grid, so that what Lion takes the sign of is zero in both precisions or in none.
on_a_grid = st.lists(st.integers(-64, 64), min_size=4, max_size=4).map(lambda x: np.float32(x) / 32)
hypers = st.fixed_dictionaries(
    {
        "learning_rate": st.floats(1e-3, 0.5),
        "momentum": st.integers(0, 99).map(lambda percent: percent / 100),
        "weight_decay": st.floats(0, 0.5),
    }
)


def one_step(name: str) -> Callable[..., tuple[jax.Array, object]]:
    """One compiled program for all values of the hyperparameters, as in training."""

    def step(parameters: jax.Array, gradient: jax.Array, state: object, hyper: Hyper) -> tuple[jax.Array, object]:
        change, state = build(name, hyper, DECAYED).update(gradient, state, parameters)
        return parameters + change, state

    return jax.jit(step)


STEP = {name: one_step(name) for name in OPTIMIZERS}


def descend(name: str, start: np.ndarray, gradients: list[np.ndarray], hypers: list[Hyper]) -> np.ndarray:
    parameters, state = jnp.asarray(start), build(name, hypers[0], DECAYED).init(jnp.asarray(start))
    for gradient, hyper in zip(gradients, hypers, strict=True):
        parameters, state = STEP[name](parameters, gradient, state, hyper)
    return np.asarray(parameters)


def test_the_table_is_complete() -> None:
    assert set(OPTIMIZERS) == set(BY_HAND)
    assert {name for name, optimizer in OPTIMIZERS.items() if optimizer.full_batch} == {"gradient descent"}
    for name, optimizer in OPTIMIZERS.items():
        assert optimizer.name == name
        assert optimizer.title
        assert optimizer.formula
        assert optimizer.reference
        assert set(optimizer.hyperparameters) <= {"learning_rate", "momentum", "weight_decay"}


@each_optimizer
@settings(max_examples=30)
@given(data=st.data())
def test_several_steps_follow_the_published_formula(name: str, data: st.DataObject) -> None:
    start = data.draw(vectors)
    gradients = [data.draw(on_a_grid) for _ in range(STEPS)]
    changing = [data.draw(hypers) for _ in range(STEPS)]
    found = descend(name, start, gradients, changing)
    expected, decoupled = start.astype(np.float64), OPTIMIZERS[name].decoupled

    def decay(hyper: Hyper) -> np.ndarray:
        return hyper["weight_decay"] * DECAYED * expected

    # One gradient is made for each direction that is asked for, so a decay within it is of the weights of its step.
    seen = (g if decoupled else g + decay(hyper) for g, hyper in zip(gradients, changing, strict=True))
    directions = BY_HAND[name](seen, [hyper["momentum"] for hyper in changing])
    for hyper in changing:
        direction = next(directions) + (decay(hyper) if decoupled else 0)
        expected = expected - hyper["learning_rate"] * direction
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)


def test_only_the_decay_of_adam_is_a_part_of_the_gradient() -> None:
    assert {name for name, optimizer in OPTIMIZERS.items() if not optimizer.decoupled} == {"adam"}


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if not OPTIMIZERS[name].decoupled])
@given(start=vectors, gradient=vectors, hyper=hypers)
@settings(max_examples=20)
def test_a_decay_that_is_not_decoupled_is_an_l2_penalty(
    name: str, start: np.ndarray, gradient: np.ndarray, hyper: Hyper
) -> None:
    penalised = gradient + np.float32(hyper["weight_decay"]) * DECAYED * start
    found = descend(name, start, [gradient], [hyper])
    np.testing.assert_allclose(found, descend(name, start, [penalised], [hyper | {"weight_decay": 0.0}]), atol=1e-6)
    nothing = descend(name, start, [np.zeros(4, np.float32)], [hyper])
    np.testing.assert_array_equal(nothing[DECAYED == 0], start[DECAYED == 0])


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if OPTIMIZERS[name].decoupled])
@given(start=vectors, hyper=hypers)
@settings(max_examples=20)
def test_a_decoupled_decay_shrinks_the_weights_where_there_is_no_gradient(
    name: str, start: np.ndarray, hyper: Hyper
) -> None:
    found = descend(name, start, [np.zeros(4, np.float32)] * 2, [hyper] * 2)
    shrunk = (1 - hyper["learning_rate"] * hyper["weight_decay"]) ** 2
    np.testing.assert_allclose(found, start * np.where(DECAYED, shrunk, 1), rtol=1e-5, atol=1e-30)


@each_optimizer
@pytest.mark.parametrize("changed", ["learning_rate", "momentum", "weight_decay"])
def test_an_optimizer_listens_to_what_its_table_says(name: str, changed: str) -> None:
    hyper = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    start = np.array([1, -2, 0.5, 3], np.float32)
    gradients = [np.array([0.3, -0.2, 0.7, 1], np.float32) * factor for factor in (1, -0.05, 0.5)]
    before = descend(name, start, gradients, [hyper] * 3)
    after = descend(name, start, gradients, [hyper | {changed: hyper[changed] / 2}] * 3)
    assert np.array_equal(before, after) == (changed not in OPTIMIZERS[name].hyperparameters)


@pytest.mark.parametrize(
    ("name", "rate", "steps"),
    [
        ("gradient descent", 0.2, 200),
        ("sgd", 0.2, 200),
        ("momentum", 0.05, 200),
        ("adagrad", 1.0, 200),
        ("nesterov", 0.05, 200),
        ("rmsprop", 0.1, 300),
        ("adam", 0.1, 300),
        ("adamw", 0.1, 300),
        ("lion", 0.1, 300),
    ],
)
def test_a_convex_quadratic_is_minimised(name: str, rate: float, steps: int) -> None:
    curvature = np.array([[4, 1, 0, 0], [1, 3, 0, 0], [0, 0, 2, 0.5], [0, 0, 0.5, 1]], np.float32)
    lowest = np.array([1, -2, 3, 0.5], np.float32)
    hyper = {"learning_rate": rate, "momentum": 0.9, "weight_decay": 0.0}
    parameters = jnp.zeros(4)
    state = build(name, hyper, DECAYED).init(parameters)
    for number in range(steps):  # with a rate that falls to zero, as Lion's steps are never shorter than the rate
        falling = hyper | {"learning_rate": rate * (1 - number / steps)}
        parameters, state = STEP[name](parameters, curvature @ (parameters - lowest), state, falling)
    np.testing.assert_allclose(parameters, lowest, atol=0.01)


@each_optimizer
def test_the_state_has_one_shape_whatever_the_hyperparameters(name: str) -> None:
    parameters = jnp.ones(4)

    def shape(state: object) -> object:
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)

    states = []
    for value in (0.0, 0.5, np.float32(0.3)):
        hyper = {"learning_rate": value, "momentum": value, "weight_decay": value}
        first = build(name, hyper, DECAYED).init(parameters)
        _, second = build(name, hyper, DECAYED).update(parameters, first, parameters)
        states += [shape(first), shape(second)]
    assert all(state == states[0] for state in states)
    assert all(leaf.dtype in (np.float32, np.int32) for leaf in jax.tree.leaves(first))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 1e30),
        ("learning_rate", 1e-6),
        ("momentum", 0),
        ("momentum", 0.999),
        ("weight_decay", 0),
        ("weight_decay", 10),
        ("dropout", 0),
        ("dropout", 0.9),
        ("clip_norm", 0),
        ("clip_norm", 1e30),
        ("label_smoothing", 0),
        ("label_smoothing", 0.9),
    ],
)
def test_values_in_range_are_taken(name: str, value: float) -> None:
    assert refusal(name, value) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, float(value)) for name in TRACED for value in ("nan", "inf", "-inf", "-0.1")),
        ("learning_rate", 0),
        ("learning_rate", 1e39),  # infinite in float32
        ("learning_rate", 1e-50),  # zero in float32
        ("momentum", 1),
        ("dropout", 1),
        ("dropout", 0.999999999),  # 1 in float32: what stays would be divided by zero
        ("weight_decay", 1e39),
        ("clip_norm", 1e39),
        ("label_smoothing", 1),
        ("label_smoothing", 0.999999999),
    ],
)
def test_values_out_of_range_are_refused_with_their_range(name: str, value: float) -> None:
    assert refusal(name, value) == f"{name} = {value:g}: {TRACED[name]}"


def test_what_cannot_change_during_a_run_is_named() -> None:
    assert "batch_size cannot change while a run runs" in str(refusal("batch_size", 3))
    assert str(refusal("batch_size", 3)).endswith("weight_decay, dropout, clip_norm, label_smoothing can")


# Clipping.


@jax.jit
def clipped(gradient: jax.Array, limit: float) -> jax.Array:
    return clip(gradient, jnp.sqrt((gradient**2).sum()), limit)


@given(gradient=on_a_grid, limit=st.floats(1e-3, 10))
def test_a_clipped_gradient_is_no_longer_than_the_limit_and_points_the_same_way(
    gradient: np.ndarray, limit: float
) -> None:
    found, norm = np.asarray(clipped(gradient, limit), np.float64), np.linalg.norm(gradient)
    assert np.linalg.norm(found) == pytest.approx(min(norm, limit), rel=1e-5)
    np.testing.assert_allclose(found * norm, gradient * np.linalg.norm(found), rtol=1e-5, atol=1e-12)
    if norm < limit * (1 - 1e-5):
        np.testing.assert_array_equal(found, gradient)
    of_optax, _ = optax.clip_by_global_norm(limit).update(jnp.asarray(gradient), optax.EmptyState())
    np.testing.assert_allclose(found, of_optax, rtol=1e-5, atol=1e-12)


@given(gradient=vectors)
def test_a_limit_of_zero_clips_nothing(gradient: np.ndarray) -> None:
    np.testing.assert_array_equal(clipped(gradient, 0.0), gradient)


def test_a_gradient_of_zero_stays_zero_whatever_the_limit() -> None:
    for limit in (0.0, 1e-30, 1.0):
        np.testing.assert_array_equal(clipped(np.zeros(4, np.float32), limit), np.zeros(4))

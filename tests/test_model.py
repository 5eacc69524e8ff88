"""The network against a forward pass in NumPy, and the statistics of its dropout."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from example_rows import TASKS, rows, signature

from lab_kit.arrays import Signature, Task
from lab_kit.model import ACTIVATIONS, Activation, DropoutMask, Network, embedding_width

BY_HAND = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
}


def random_weights(network: Network, seed: int = 1) -> np.ndarray:
    """Not the initial ones: their biases are zero, which would hide a forgotten bias."""
    return np.random.default_rng(seed).normal(size=network.parameters).astype(np.float32)


def forward(network: Network, weights: np.ndarray, numeric: np.ndarray, categorical: np.ndarray) -> np.ndarray:
    named = {name: array.astype(np.float64) for name, array in network.named(weights).items()}
    embedded = [
        named[f"embeddings.{column}.embedding"][categorical[:, column]] for column in range(categorical.shape[1])
    ]
    x = np.concatenate([numeric, *embedded], axis=1)
    for layer in range(len(network.hidden)):
        x = x @ named[f"layers.{layer}.kernel"] + named[f"layers.{layer}.bias"]
        x = BY_HAND[network.activation](x)
    last = len(network.hidden)
    return x @ named[f"layers.{last}.kernel"] + named[f"layers.{last}.bias"]


@pytest.mark.parametrize(
    ("activation", "task", "hidden"),
    [*itertools.product(ACTIVATIONS, TASKS, [(6, 4)]), ("relu", "binary", ()), ("tanh", "multiclass", (5,))],
    ids=str,
)
def test_apply_is_the_forward_pass_by_hand(activation: Activation, task: Task, hidden: tuple[int, ...]) -> None:
    network = Network(signature(task), hidden, activation)
    weights, table = random_weights(network), rows(task, 20)
    found = jax.jit(network.apply)(weights, table.numeric, table.categorical)
    assert found.dtype == np.float32
    assert found.shape == (20, network.signature.outputs)
    np.testing.assert_allclose(found, forward(network, weights, table.numeric, table.categorical), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("numeric", "cardinalities"), [(3, ()), (0, (5, 2))], ids=["numeric", "categorical"])
def test_one_kind_of_input_is_enough(numeric: int, cardinalities: tuple[int, ...]) -> None:
    network = Network(Signature("binary", numeric, cardinalities, 1), (4,), "tanh")
    random = np.random.default_rng(0)
    x = random.normal(size=(6, numeric)).astype(np.float32)
    categories = random.integers(0, 2, (6, len(cardinalities))).astype(np.int32)
    weights = random_weights(network)
    np.testing.assert_allclose(
        jax.jit(network.apply)(weights, x, categories), forward(network, weights, x, categories), rtol=2e-5, atol=2e-5
    )


@pytest.mark.parametrize("hidden", [(), (5,), (3,) * 11], ids=["linear", "one", "eleven"])
def test_names_and_the_flat_vector_are_one_thing(hidden: tuple[int, ...]) -> None:
    network = Network(signature("multiclass"), hidden, "relu")
    weights = random_weights(network)
    named = network.named(weights)
    assert sum(array.size for array in named.values()) == network.parameters == weights.size
    np.testing.assert_array_equal(network.flatten(named), weights)
    np.testing.assert_array_equal(network.flatten(dict(reversed(named.items()))), weights)


def test_the_number_of_parameters_by_hand() -> None:
    network = Network(Signature("binary", 3, (4, 9), 1), (5,), "relu")
    # Embeddings 4x2 and 9x3, then 3 + 2 + 3 inputs into 5 units with biases, then 5 into 1 with a bias.
    assert network.parameters == 4 * 2 + 9 * 3 + (8 * 5 + 5) + (5 + 1)


def test_weights_of_another_network_are_refused_by_name() -> None:
    network = Network(signature("binary"), (5,), "relu")
    named = network.named(network.init(0))
    with pytest.raises(ValueError, match=r"layers\.1\.kernel has shape None where \(5, 1\) is needed"):
        network.flatten({name: array for name, array in named.items() if name != "layers.1.kernel"})
    with pytest.raises(ValueError, match=r"layers\.0\.bias has shape \(6,\) where \(5,\) is needed"):
        network.flatten(named | {"layers.0.bias": np.zeros(6)})
    with pytest.raises(ValueError, match=r"extra has shape \(2,\) where None is needed"):
        network.flatten(named | {"extra": np.zeros(2)})


def test_decay_is_for_the_kernels_and_nothing_else() -> None:
    network = Network(signature("multiclass"), (5, 4), "relu")
    marked = network.named(network.decayed())
    assert {name: set(np.ravel(array)) for name, array in marked.items()} == {
        name: {1.0 if name.endswith("kernel") else 0.0} for name in marked
    }
    assert sum(name.endswith("kernel") for name in marked) == 3


def test_initial_weights() -> None:
    network = Network(Signature("regression", 300, (400,), 1), (200,), "relu")
    named = network.named(network.init(0))
    assert network.init(0).dtype == np.float32
    np.testing.assert_array_equal(network.init(0), network.init(0))
    assert not np.array_equal(network.init(0), network.init(1))
    assert not named["layers.0.bias"].any()
    assert not named["embeddings.0.embedding"][0].any(), "the slot for unseen categories says nothing"
    assert named["embeddings.0.embedding"][1:].all()
    # Variance 1 / inputs (LeCun) and 1 / width: within 5 standard errors of a variance estimate.
    kernel, embedding = named["layers.0.kernel"], named["embeddings.0.embedding"][1:]
    assert kernel.var() * 316 == pytest.approx(1, abs=5 * (2 / kernel.size) ** 0.5)
    assert embedding.var() * 16 == pytest.approx(1, abs=5 * (2 / embedding.size) ** 0.5)


@pytest.mark.parametrize(("categories", "width"), [(2, 1), (4, 2), (9, 3), (256, 16), (10_000, 16)])
def test_embedding_width_is_the_square_root_up_to_16(categories: int, width: int) -> None:
    assert embedding_width(categories) == width


# Dropout. ``kept`` is the mask as bits: 1 where a unit stays.


def mask(rate: float = 0.5, seed: int = 0, step: int = 0, row: np.ndarray | int = 256) -> DropoutMask:
    place = np.arange(row) if isinstance(row, int) else row
    return DropoutMask(jnp.float32(rate), seed, jnp.int32(step), jnp.asarray(place, jnp.int32))


def kept(of: DropoutMask, units: int = 64, layer: int = 0) -> np.ndarray:
    return np.asarray(of(jnp.ones((of.row.shape[0], units)), layer)) > 0


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_dropout_keeps_as_many_as_the_binomial_law_allows(rate: float) -> None:
    bits = np.stack([kept(mask(rate, step=step)) for step in range(8)])
    expected, spread = bits.size * (1 - rate), (bits.size * rate * (1 - rate)) ** 0.5
    assert abs(bits.sum() - expected) < 4 * spread
    # Every row and every unit has its fair share, too (5 standard deviations over 256 and 64 of them).
    for axes in ((0, 1), (0, 2)):
        number = bits.size / bits.any(axis=axes).size
        shares = bits.mean(axis=axes)
        assert abs(shares - (1 - rate)).max() < 5 * (rate * (1 - rate) / number) ** 0.5 + 1 / number


def test_dropout_scales_what_stays_so_that_the_expectation_is_unchanged() -> None:
    x = np.random.default_rng(0).uniform(0.5, 2, (256, 64)).astype(np.float32)
    rate, steps = 0.3, 200
    dropped = np.stack([mask(rate, step=step)(jnp.asarray(x), 0) for step in range(steps)])
    np.testing.assert_allclose(dropped[dropped > 0], np.broadcast_to(x / (1 - rate), dropped.shape)[dropped > 0], 1e-6)
    # The standard error of each mean is x sqrt(rate / (1 - rate) / steps); 16,384 of them stay within 5.
    assert (abs(dropped.mean(axis=0) / x - 1) < 5 * (rate / (1 - rate) / steps) ** 0.5).all()


def test_dropout_of_rate_zero_is_the_identity() -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(256, 64)), jnp.float32)
    np.testing.assert_array_equal(mask(0)(x, 0), x)


@pytest.mark.parametrize("devices", [2, 4])
def test_the_mask_is_the_same_however_the_rows_are_split_over_devices(devices: int) -> None:
    pieces = np.split(np.arange(256), devices)
    np.testing.assert_array_equal(
        kept(mask(0.4, step=7)), np.concatenate([kept(mask(0.4, step=7, row=piece)) for piece in pieces])
    )


def test_masks_of_different_steps_layers_rows_and_seeds_are_unrelated() -> None:
    masks = {
        (seed, step, layer): kept(mask(seed=seed, step=step), layer=layer)
        for seed, step, layer in itertools.product((0, 1, 2**31), (0, 1, 2, 1000), (0, 1, 2))
    }
    masks |= {("next rows",): kept(mask(row=np.arange(256, 512)))}
    bits = np.stack([m.ravel() for m in masks.values()]).astype(float)
    correlation = np.corrcoef(bits) - np.eye(len(bits))
    # Under independence each of the 666 coefficients has a standard deviation of 1 / sqrt(bits).
    assert abs(correlation).max() < 5 / bits.shape[1] ** 0.5


@pytest.mark.parametrize("axis", ["rows", "units"])
def test_rows_and_units_of_a_mask_are_unrelated(axis: str) -> None:
    masks = np.stack([kept(mask(step=step)) for step in range(24)])  # [steps, rows, units]
    bits = np.moveaxis(masks, {"rows": 1, "units": 2}[axis], 0).reshape(masks.shape[{"rows": 1, "units": 2}[axis]], -1)
    correlation = np.corrcoef(bits)[np.triu_indices(len(bits), 1)] * bits.shape[1] ** 0.5
    assert abs(correlation).max() < 5
    # All of them together have the spread of independent bits, not merely small extremes.
    assert correlation.std() == pytest.approx(1, abs=5 / (2 * correlation.size) ** 0.5)


def test_apply_drops_each_hidden_layer_with_its_own_mask_and_nothing_else() -> None:
    network, table, of = Network(signature("regression"), (8, 8), "relu"), rows("regression", 32), mask(row=32)
    weights = random_weights(network)
    named = network.named(weights)
    embedded = [named[f"embeddings.{column}.embedding"][table.categorical[:, column]] for column in (0, 1)]
    x = np.concatenate([table.numeric, *embedded], axis=1)
    for layer in (0, 1):
        x = np.maximum(x @ named[f"layers.{layer}.kernel"] + named[f"layers.{layer}.bias"], 0)
        x = x * kept(of, 8, layer) * 2
    expected = x @ named["layers.2.kernel"] + named["layers.2.bias"]
    found = jax.jit(lambda weights: network.apply(weights, table.numeric, table.categorical, of))(weights)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)

"""The network against a forward pass in NumPy, and the statistics of its dropout."""

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from example_rows import TASKS, rows, signature
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from lab_kit import devices
from lab_kit.arrays import Rows, Signature, Task
from lab_kit.dropout import Dropout
from lab_kit.model import (
    ACTIVATIONS,
    NORMALIZATIONS,
    Activation,
    Batch,
    BatchNorm,
    Network,
    Normalization,
    embedding_width,
    looked_up,
)

Named = dict[str, np.ndarray]

BY_HAND = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
}


def random_weights(network: Network, seed: int = 1) -> np.ndarray:
    """Not the initial ones: their biases are zero, which would hide a forgotten bias."""
    random = np.random.default_rng(seed)
    drawn = random.normal(size=network.statistics().size)
    return np.where(network.statistics() > 0, random.uniform(0.5, 2, drawn.size), drawn).astype(np.float32)


def normalised(x: np.ndarray, mean: np.ndarray, variance: np.ndarray, named: Named, layer: int) -> np.ndarray:
    return named[f"norms.{layer}.scale"] * (x - mean) / np.sqrt(variance + 1e-5) + named[f"norms.{layer}.bias"]


def forward(network: Network, weights: np.ndarray, numeric: np.ndarray, categorical: np.ndarray) -> np.ndarray:
    named = {name: array.astype(np.float64) for name, array in network.named(weights).items()}
    embedded = [
        named[f"embeddings.{column}.embedding"][categorical[:, column]] for column in range(categorical.shape[1])
    ]
    x = np.concatenate([numeric, *embedded], axis=1)
    for layer in range(len(network.hidden)):
        x = x @ named[f"layers.{layer}.kernel"] + named[f"layers.{layer}.bias"]
        if network.normalization == "layer":
            x = normalised(x, x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True), named, layer)
        elif network.normalization == "batch":
            x = normalised(x, named[f"norms.{layer}.mean"], named[f"norms.{layer}.variance"], named, layer)
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


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_a_normalised_forward_pass_by_hand(normalization: Normalization) -> None:
    """Batch normalisation predicts with its running statistics."""
    network, table = Network(signature("multiclass"), (6, 4), "tanh", normalization), rows("multiclass", 20)
    weights = random_weights(network)
    found = jax.jit(network.apply)(weights, table.numeric, table.categorical)
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


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("hidden", [(), (5,), (3,) * 11], ids=["linear", "one", "eleven"])
def test_names_and_the_flat_vector_are_one_thing(hidden: tuple[int, ...], normalization: Normalization) -> None:
    network = Network(signature("multiclass"), hidden, "relu", normalization)
    weights = random_weights(network)
    named = network.named(weights)
    assert sum(array.size for array in named.values()) == weights.size == network.init(0).size
    kinds = {"none": (), "layer": ("scale", "bias"), "batch": ("scale", "bias", "mean", "variance")}[normalization]
    expected = {f"norms.{layer}.{kind}": (width,) for layer, width in enumerate(hidden) for kind in kinds}
    assert {name: array.shape for name, array in named.items() if name.startswith("norms")} == expected
    np.testing.assert_array_equal(network.flatten(named), weights)
    np.testing.assert_array_equal(network.flatten(dict(reversed(named.items()))), weights)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_the_number_of_parameters_by_hand(normalization: Normalization) -> None:
    network = Network(Signature("binary", 3, (4, 9), 1), (5,), "relu", normalization)
    # Embeddings 4x2 and 9x3, then 3 + 2 + 3 inputs into 5 units with biases, then 5 into 1 with a bias.
    without = 4 * 2 + 9 * 3 + (8 * 5 + 5) + (5 + 1)
    # A scale and a bias a unit; the running statistics are not learnt.
    assert network.parameters == without + (0 if normalization == "none" else 2 * 5)
    assert network.init(0).size == network.parameters + (2 * 5 if normalization == "batch" else 0)


def test_weights_of_another_network_are_refused_by_name() -> None:
    network = Network(signature("binary"), (5,), "relu")
    named = network.named(network.init(0))
    with pytest.raises(ValueError, match=r"layers\.1\.kernel has shape None where \(5, 1\) is needed"):
        network.flatten({name: array for name, array in named.items() if name != "layers.1.kernel"})
    with pytest.raises(ValueError, match=r"layers\.0\.bias has shape \(6,\) where \(5,\) is needed"):
        network.flatten(named | {"layers.0.bias": np.zeros(6)})
    with pytest.raises(ValueError, match=r"extra has shape \(2,\) where None is needed"):
        network.flatten(named | {"extra": np.zeros(2)})


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_decay_is_for_the_kernels_and_statistics_are_means_and_variances(normalization: Normalization) -> None:
    network = Network(signature("multiclass"), (5, 4), "relu", normalization)
    for marks, endings in ((network.decayed(), ("kernel",)), (network.statistics(), (".mean", ".variance"))):
        assert marks.dtype == np.float32
        marked = network.named(marks)
        assert {name: set(np.ravel(array)) for name, array in marked.items()} == {
            name: {1.0 if name.endswith(endings) else 0.0} for name in marked
        }
    assert sum(name.endswith("kernel") for name in marked) == 3
    assert sum(name.endswith((".mean", ".variance")) for name in marked) == (4 if normalization == "batch" else 0)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_initial_weights(normalization: Normalization) -> None:
    network = Network(Signature("regression", 300, (400, 2), 1), (200, 300), "relu", normalization)
    weights = network.init(0)
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(network.init(0), weights)
    named, other = network.named(weights), network.named(network.init(1))
    for name, array in named.items():
        if name.endswith("kernel"):  # variance 1 / inputs (LeCun)
            variance, drawn = 1 / array.shape[0], array
        elif name.endswith("embedding"):  # 1 / width; the slot for unseen categories says nothing
            assert not array[0].any()
            assert array[1:].all()
            variance, drawn = 1 / array.shape[1], array[1:]
        else:
            assert set(array) == {float(name.endswith((".scale", ".variance")))}
            continue
        # Normal: its mean and variance within 5 standard errors of an estimate, and nothing too far out.
        assert drawn.var() / variance == pytest.approx(1, abs=5 * (2 / drawn.size) ** 0.5 + (drawn.size < 9))
        assert abs(drawn.mean()) < 5 * (variance / drawn.size) ** 0.5
        assert abs(drawn).max() < 6 * variance**0.5
        assert not (drawn == other[name][-len(drawn) :]).any(), "another seed, other weights"
    kernels = [np.ravel(array)[:300] for name, array in named.items() if name.endswith("kernel")]
    correlation = np.corrcoef(kernels) - np.eye(len(kernels))
    assert abs(correlation).max() < 5 / 300**0.5, "layers are drawn independently"


@pytest.mark.parametrize(("categories", "width"), [(2, 1), (4, 2), (9, 3), (256, 16), (10_000, 16)])
def test_embedding_width_is_the_square_root_up_to_16(categories: int, width: int) -> None:
    assert embedding_width(categories) == width


# Batch normalisation.

Moved = tuple[jax.Array, jax.Array]


def alone(vector: jax.Array) -> jax.Array:
    return vector


def normalise(norm: BatchNorm, x: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    weight = np.ones(len(x), np.float32) if weight is None else weight
    return np.asarray(norm(jnp.asarray(x), Batch(jnp.asarray(weight), alone)))


def drawn(count: int, seed: int, units: int = 5) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.normal(size=(count, units)) * np.arange(1, units + 1) + 10 * random.normal(size=units)).astype(
        np.float32
    )


def scaled_norm(units: int = 5) -> BatchNorm:
    norm = BatchNorm(units)
    norm.scale[...], norm.bias[...] = jnp.linspace(0.5, 2, units), jnp.linspace(-1, 1, units)
    return norm


def test_batch_normalisation_of_several_steps_by_hand() -> None:
    norm, mean, variance = scaled_norm(), np.zeros(5), np.ones(5)
    for step, count in enumerate([32, 7, 1, 64]):
        x = drawn(count, step)
        of_batch = x.astype(np.float64)
        expected = (of_batch - of_batch.mean(axis=0)) / np.sqrt(of_batch.var(axis=0) + 1e-5)
        found = normalise(norm, x)
        np.testing.assert_allclose(found, expected * np.linspace(0.5, 2, 5) + np.linspace(-1, 1, 5), atol=2e-4)
        mean = 0.9 * mean + 0.1 * of_batch.mean(axis=0)
        variance = 0.9 * variance + 0.1 * of_batch.var(axis=0)
        np.testing.assert_allclose(norm.mean[...], mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(norm.variance[...], variance, rtol=1e-4)
    x = drawn(3, 9)
    expected = (x - mean) / np.sqrt(variance + 1e-5) * np.linspace(0.5, 2, 5) + np.linspace(-1, 1, 5)
    np.testing.assert_allclose(norm(jnp.asarray(x), None), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(norm.mean[...], mean, rtol=1e-5, atol=1e-6)  # prediction moves nothing


def test_batch_normalisation_is_that_of_flax_where_all_rows_are_real() -> None:
    norm, theirs = BatchNorm(5), nnx.BatchNorm(5, momentum=0.9, epsilon=1e-5, rngs=nnx.Rngs(0))
    for step in range(4):
        x = drawn(32, step)
        np.testing.assert_allclose(normalise(norm, x), theirs(jnp.asarray(x)), atol=1e-4)
    np.testing.assert_allclose(norm.mean[...], theirs.mean[...], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(norm.variance[...], theirs.var[...], rtol=1e-4)


@given(
    real=st.lists(st.booleans(), min_size=2, max_size=24).filter(any),
    seed=st.integers(0, 5),
    weight=st.sampled_from([0.25, 1.0, 7.0]),
)
@settings(max_examples=25)
def test_padding_changes_nothing_and_neither_does_what_a_row_weighs(real: list[bool], seed: int, weight: float) -> None:
    x, chosen = drawn(len(real), seed), np.array(real)
    padded, plain = BatchNorm(5), BatchNorm(5)
    found = normalise(padded, np.where(chosen[:, None], x, 1e3).astype(np.float32), np.float32(weight) * chosen)
    np.testing.assert_allclose(found[chosen], normalise(plain, x[chosen]), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(padded.mean[...], plain.mean[...], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(padded.variance[...], plain.variance[...], rtol=1e-4, atol=1e-5)


def test_a_batch_without_rows_moves_no_statistics() -> None:
    """A device of local SGD may get none of a last batch."""
    norm = BatchNorm(5)
    assert np.isfinite(normalise(norm, drawn(4, 0), np.zeros(4, np.float32))).all()
    np.testing.assert_array_equal(norm.mean[...], np.zeros(5))
    np.testing.assert_array_equal(norm.variance[...], np.ones(5))


def test_far_from_zero_the_variance_is_still_that_of_the_batch() -> None:
    """A difference of mean squares would have lost it: 1e4 squared has 1e8 times the variance of 1."""
    norm, x = BatchNorm(1), (1e4 + np.random.default_rng(0).normal(size=(256, 1))).astype(np.float32)
    for _ in range(150):  # until the running mean has arrived
        found = normalise(norm, x)
    np.testing.assert_allclose(found.std(), 1, rtol=1e-3)
    np.testing.assert_allclose(norm.variance[...], x.astype(np.float64).var(), rtol=1e-3)


DEEP = Network(signature("regression"), (6,), "tanh", "batch")


def squared_errors(total: Callable[[jax.Array], jax.Array], weights: jax.Array, of: Rows, weight: jax.Array) -> Moved:
    outputs, moved = DEEP.apply_in_training(weights, of.numeric, of.categorical, None, Batch(weight, total))
    return (weight * (outputs[:, 0] - of.target) ** 2).sum(), moved


@functools.cache
def gradient_on(count: int) -> Callable[..., Moved]:
    def gradient(weights: jax.Array, of: Rows, weight: jax.Array) -> Moved:
        found, moved = jax.grad(functools.partial(squared_errors, devices.all_sum), has_aux=True)(weights, of, weight)
        return devices.all_sum(found), moved

    return devices.parallel(gradient, count, in_axes=(None, 0, 0))


@pytest.mark.slow
@pytest.mark.parametrize("shares", [(8, 8), (8, 1), (8, 0), (3, 3)])
def test_the_gradient_over_two_devices_is_that_of_the_whole_batch(shares: tuple[int, int]) -> None:
    """Also where they hold unequal numbers of rows; the rest of 8 places is padding."""
    weights, table = random_weights(DEEP), rows("regression", 16)
    weight = np.array([[place < share for place in range(8)] for share in shares], np.float32)

    def placed(count: int) -> Rows:
        return Rows(*(column.reshape(count, 16 // count, *column.shape[1:]) for column in map(np.asarray, table)))

    found, moved = gradient_on(2)(weights, placed(2), weight)
    expected, expected_moved = gradient_on(1)(weights, placed(1), weight.reshape(1, 16))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(moved, expected_moved, rtol=1e-5, atol=1e-5)
    assert abs(np.asarray(expected)).max() > 1e-2


def test_no_gradient_reaches_the_running_statistics() -> None:
    table, weights, statistics = rows("regression", 16), random_weights(DEEP), DEEP.statistics() > 0

    def loss(weights: jax.Array) -> Moved:
        value, moved = squared_errors(alone, weights, table, jnp.ones(16))
        return value + moved.sum(), moved

    gradient, moved = jax.jit(jax.grad(loss, has_aux=True))(weights)
    assert statistics.sum() == 2 * 6
    assert not np.asarray(gradient)[statistics].any()
    assert np.asarray(gradient)[~statistics].any()
    np.testing.assert_array_equal(moved[~statistics], weights[~statistics])
    assert (moved[statistics] != weights[statistics]).all()


def test_the_running_statistics_are_of_what_the_layers_see() -> None:
    table, weights = rows("regression", 32), random_weights(DEEP)
    named = DEEP.named(weights)
    embedded = [named[f"embeddings.{column}.embedding"][table.categorical[:, column]] for column in (0, 1)]
    x = np.concatenate([table.numeric, *embedded], axis=1) @ named["layers.0.kernel"] + named["layers.0.bias"]
    _, moved = jax.jit(functools.partial(squared_errors, alone))(weights, table, jnp.ones(32))
    after = DEEP.named(np.asarray(moved))
    for name, of_batch in (("mean", x.mean(axis=0)), ("variance", x.var(axis=0))):
        expected = 0.9 * named[f"norms.0.{name}"] + 0.1 * of_batch
        np.testing.assert_allclose(after[f"norms.0.{name}"], expected, rtol=1e-4, atol=1e-5)


# Dropout. ``kept`` is the mask as bits: 1 where a unit stays.


def mask(
    rate: float = 0.5, seed: int | jax.Array = 0, step: int | jax.Array = 0, row: np.ndarray | int = 256
) -> Dropout:
    place = np.arange(row) if isinstance(row, int) else row
    return Dropout(jnp.float32(rate), jnp.uint32(seed), jnp.int32(step), jnp.asarray(place, jnp.int32))


def kept(of: Dropout, units: int = 64, layer: int = 0) -> np.ndarray:
    return np.asarray(dropout(of, jnp.ones((of.row.shape[0], units)), layer)) > 0


def dropout(of: Dropout, x: jax.Array, layer: int = 0) -> jax.Array:
    return of.masks((x.shape[1],) * (layer + 1))(x, layer)


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
    of_step = jax.jit(lambda step: dropout(mask(rate, step=step), jnp.asarray(x)))
    dropped = np.stack([of_step(step) for step in range(steps)])
    np.testing.assert_allclose(dropped[dropped > 0], np.broadcast_to(x / (1 - rate), dropped.shape)[dropped > 0], 1e-6)
    # The standard error of each mean is x sqrt(rate / (1 - rate) / steps); 16,384 of them stay within 5.
    assert (abs(dropped.mean(axis=0) / x - 1) < 5 * (rate / (1 - rate) / steps) ** 0.5).all()


def test_dropout_of_rate_zero_is_the_identity() -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(256, 64)), jnp.float32)
    np.testing.assert_array_equal(dropout(mask(0), x), x)


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


def test_the_seed_may_be_traced() -> None:
    @jax.jit
    def of_seed(seed: jax.Array) -> jax.Array:
        return dropout(mask(seed=seed, step=3), jnp.ones((256, 64)), 1)

    for seed in (0, 1, 2**32 - 1):
        expected = dropout(Dropout(0.5, np.uint32(seed), 3, np.arange(256)), jnp.ones((256, 64)), 1)
        np.testing.assert_array_equal(of_seed(jnp.uint32(seed)), expected)
    assert of_seed._cache_size() == 1


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
    found = jax.jit(lambda weights: network.apply(weights, table.numeric, table.categorical, of.masks((8, 8))))(weights)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


@given(data=st.data(), categories=st.integers(1, 9), width=st.integers(1, 4), count=st.integers(1, 12))
@settings(max_examples=20)
def test_the_gradient_of_an_embedding_is_the_sum_over_the_rows_of_each_code(
    data: st.DataObject, categories: int, width: int, count: int
) -> None:
    """On a CPU by adding up, on a GPU as a product with one-hot rows."""
    codes = np.array(data.draw(st.lists(st.integers(0, categories - 1), min_size=count, max_size=count)), np.int32)
    random = np.random.default_rng(count)
    table, given_gradient = random.normal(size=(categories, width)), random.normal(size=(count, width))
    expected = np.zeros((categories, width))
    np.add.at(expected, codes, given_gradient)
    for on_host in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(devices, "on_host", lambda on_host=on_host: on_host)
            found, back = jax.vjp(lambda table: looked_up(table, codes), jnp.asarray(table, jnp.float32))
            np.testing.assert_array_equal(found, table.astype(np.float32)[codes])
            np.testing.assert_allclose(
                back(jnp.asarray(given_gradient, jnp.float32))[0], expected, rtol=1e-5, atol=1e-6
            )


def test_a_code_beyond_its_table_is_not_a_number() -> None:
    found = looked_up(jnp.ones((3, 2)), jnp.array([0, 2, 3]))
    assert np.isfinite(found).all(axis=1).tolist() == [True, True, False]

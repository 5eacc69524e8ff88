"""The network: a multilayer perceptron in Flax over numeric inputs and embedded categories.

Training sees its parameters as one flat vector: at small batches that is twice as fast as a tree of small arrays,
because one optimizer update and one all-reduce serve all of them.
"""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lab_kit import devices
from lab_kit.arrays import Array, Signature
from lab_kit.dropout import Masks
from lab_kit.knobs import NORMALIZATIONS as NORMALIZATIONS
from lab_kit.knobs import Activation as Activation
from lab_kit.knobs import Normalization as Normalization

STATISTICS_RATE = 0.1
"""How far the running statistics of a batch normalisation move towards those of the batch in a step."""
EPSILON = 1e-5
"""Added to a variance before its root is taken."""
PRECISION = jax.lax.Precision.HIGHEST
"""Of matrix products: all of float32. A GPU would otherwise round what it multiplies to 10 bits (TF32)."""
MOST_ONE_HOT = 1024
"""Categories of a column up to which a GPU multiplies by one-hot rows."""

ACTIVATIONS: dict[Activation, Callable[[jax.Array], jax.Array]] = {
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
}


def embedding_width(cardinality: int) -> int:
    """How many numbers describe a category: the square root of the number of categories, from 1 to 16."""
    return max(1, min(16, round(cardinality**0.5)))


@jax.custom_vjp
def looked_up(table: jax.Array, codes: jax.Array) -> jax.Array:
    """The rows of an embedding, float32 ``[n, width]``; NaN where a code is beyond its table.

    The gradient is a sum over the rows of each code. A GPU adds them up in any order, and so arrives elsewhere each
    time, or sorts them first; there a matrix product with the codes as one-hot rows takes its place.
    """
    return jnp.take(table, codes, axis=0)


def _looked_up(table: jax.Array, codes: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return looked_up(table, codes), (table, codes)


def _gradient_of_lookup(kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, None]:
    table, codes = kept
    if devices.on_host() or table.shape[0] > MOST_ONE_HOT:
        return jnp.zeros_like(table).at[codes].add(gradient), None
    return jnp.matmul(jax.nn.one_hot(codes, table.shape[0]).T, gradient, precision=PRECISION), None


looked_up.defvjp(_looked_up, _gradient_of_lookup)


class BatchNorm(nnx.Module):
    r"""Batch normalisation: :math:`\gamma (x - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta` for each unit.

    In training :math:`\mu` and :math:`\sigma^2` are of the rows of the whole batch, over all devices and without
    padding, so that the number of devices changes nothing; otherwise they are running means of these. Flax's own
    averages the devices' means, which is wrong where the devices hold unequal numbers of rows.
    Reference: S. Ioffe and C. Szegedy, Batch normalization, ICML 2015.
    """

    def __init__(self, width: int):
        """Scale 1, bias 0, running mean 0 and variance 1."""
        self.scale, self.bias = nnx.Param(jnp.ones(width)), nnx.Param(jnp.zeros(width))
        self.mean, self.variance = nnx.BatchStat(jnp.zeros(width)), nnx.BatchStat(jnp.ones(width))

    def __call__(self, x: jax.Array, batch: "Batch | None") -> jax.Array:
        """Normalises; with a batch, by its statistics, which also move the running ones."""
        mean, variance = jax.lax.stop_gradient((self.mean[...], self.variance[...]))
        if batch is not None:
            weight = (batch.weight > 0).astype(x.dtype)[:, None]
            shifted = (x - mean) * weight  # near zero, so that a difference of squares loses nothing
            parts = jnp.concatenate([shifted.sum(0), (shifted**2).sum(0), weight.sum(0)])
            first, second, count = jnp.split(batch.total(parts), [x.shape[1], 2 * x.shape[1]])
            first, second = first / jnp.maximum(count, 1), second / jnp.maximum(count, 1)
            old_mean, old_variance = mean, variance
            mean, variance = mean + first, jnp.maximum(second - first**2, 0)
            rate = STATISTICS_RATE * (count > 0)  # a device without rows has seen nothing
            self.mean[...] = old_mean + rate * jax.lax.stop_gradient(mean - old_mean)
            self.variance[...] = old_variance + rate * jax.lax.stop_gradient(variance - old_variance)
        return (x - mean) * jax.lax.rsqrt(variance + EPSILON) * self.scale[...] + self.bias[...]


class MLP(nnx.Module):
    """Embeddings beside the numeric inputs, then dense layers, then a linear output.

    A hidden layer is a linear map, a normalisation if there is one, an activation, and dropout.
    """

    def __init__(
        self,
        signature: Signature,
        hidden: tuple[int, ...],
        activation: Activation,
        normalization: Normalization,
        rngs: nnx.Rngs,
    ):
        """The layers, of which only the shapes count; ``Network.init`` draws the parameters they start from."""
        widths = [embedding_width(cardinality) for cardinality in signature.cardinalities]
        self.embeddings = nnx.List(
            nnx.Embed(cardinality, width, embedding_init=nnx.initializers.zeros, rngs=rngs)
            for cardinality, width in zip(signature.cardinalities, widths, strict=True)
        )
        sizes = (signature.numeric + sum(widths), *hidden, signature.outputs)
        self.layers = nnx.List(
            nnx.Linear(inputs, outputs, kernel_init=nnx.initializers.zeros, precision=PRECISION, rngs=rngs)
            for inputs, outputs in itertools.pairwise(sizes)
        )
        self.activation = ACTIVATIONS[activation]
        if normalization == "layer":
            self.norms: nnx.List[Any] = nnx.List(nnx.LayerNorm(width, epsilon=EPSILON, rngs=rngs) for width in hidden)
        elif normalization == "batch":
            self.norms = nnx.List(BatchNorm(width) for width in hidden)
        self.normalization = normalization

    def __call__(
        self, numeric: Array, categorical: Array, masks: Masks | None = None, batch: "Batch | None" = None
    ) -> jax.Array:
        """Outputs before any sigmoid or softmax, float32 ``[n, outputs]``."""
        embedded = [
            looked_up(embed.embedding[...], jnp.asarray(categorical[:, column]))
            for column, embed in enumerate(self.embeddings)
        ]
        x = jnp.concatenate([numeric, *embedded], axis=1)
        for layer, dense in enumerate(self.layers[:-1]):
            x = dense(x)
            if self.normalization == "layer":
                x = self.norms[layer](x)
            elif self.normalization == "batch":
                x = self.norms[layer](x, batch)
            x = self.activation(x)
            x = x if masks is None else masks(x, layer)
        return self.layers[-1](x)


@dataclass(frozen=True)
class Batch:
    """What a batch normalisation must know of a training batch.

    Attributes:
      weight: float32 ``[n]``, of each row on this device; 0 is padding.
      total: the sum of a vector over all devices.
    """

    weight: jax.Array
    total: Callable[[jax.Array], jax.Array]


@dataclass(frozen=True)
class Network:
    """What a network looks like, without its parameters; hashable, so that compiled programs are kept by it.

    Attributes:
      signature: its inputs and outputs.
      hidden: width of each hidden layer; empty for a linear model.
      activation: ``sigmoid``, ``relu`` or ``tanh``.
      normalization: of the hidden layers: ``none``, ``layer`` or ``batch``.
    """

    signature: Signature
    hidden: tuple[int, ...]
    activation: Activation
    normalization: Normalization = "none"

    def init(self, seed: int) -> np.ndarray:
        """Initial parameters from a seed, as one flat float32 vector.

        Kernels are normal of variance 1/inputs (LeCun), embeddings normal of variance 1/width, biases 0, scales 1.
        Slot 0 of an embedding, for categories never seen in training, starts at zero: only rare categories teach it.
        The vector holds all variables: with batch normalisation also the running statistics, which no gradient changes.

        NumPy draws them: to compile the draws of JAX took 2.4 to 3.2 s on two cores, longer than the training step.
        """
        shape, random = _shape(self), np.random.default_rng(seed)
        return np.concatenate(
            [_drawn(name, leaf.shape, random) for name, leaf in zip(shape.names, shape.leaves, strict=True)]
        )

    def apply(
        self,
        weights: Array,
        numeric: Array,
        categorical: Array,
        masks: Masks | None = None,
    ) -> jax.Array:
        """Outputs before any sigmoid or softmax.

        Args:
          weights: float32 ``[P]``, as from ``init``.
          numeric: float32 ``[n, numeric]``.
          categorical: int32 ``[n, categorical]``.
          masks: dropout for training; None for prediction.

        Returns:
          float32 ``[n, outputs]``.
        """
        outputs: jax.Array = self._module(weights)(numeric, categorical, masks)
        return outputs

    def apply_in_training(
        self, weights: Array, numeric: Array, categorical: Array, masks: Masks | None, batch: Batch
    ) -> tuple[jax.Array, jax.Array]:
        """Outputs as of ``apply``, and the weights with their running statistics moved on by this batch.

        Statistics that move are a side product: no gradient runs through the second result.
        """
        module = self._module(weights)
        outputs: jax.Array = module(numeric, categorical, masks, batch)
        leaves = jax.tree.leaves(nnx.state(module, (nnx.Param, nnx.BatchStat)))
        return outputs, jax.lax.stop_gradient(jnp.concatenate([jnp.ravel(leaf) for leaf in leaves]))

    def _module(self, weights: Array) -> MLP:
        shape = _shape(self)
        parts = np.cumsum([leaf.size for leaf in shape.leaves])[:-1]
        leaves = [part.reshape(leaf.shape) for part, leaf in zip(jnp.split(weights, parts), shape.leaves, strict=True)]
        module: MLP = nnx.merge(shape.graph, jax.tree.unflatten(shape.tree, leaves), copy=True)
        return module

    @property
    def parameters(self) -> int:
        """The number of parameters that are learnt."""
        return int(self.statistics().size - self.statistics().sum())

    def decayed(self) -> np.ndarray:
        """Float32 ``[P]``: 1 where weight decay applies (kernels), 0 where it does not (biases, embeddings, ...)."""
        return self._where(lambda name: name.endswith("kernel"))

    def statistics(self) -> np.ndarray:
        """Float32 ``[P]``: 1 for running statistics, which no gradient changes, 0 for parameters."""
        return self._where(lambda name: name.endswith((".mean", ".variance")))

    def _where(self, holds: Callable[[str], bool]) -> np.ndarray:
        shape = _shape(self)
        parts = [
            np.full(leaf.size, holds(name), np.float32) for name, leaf in zip(shape.names, shape.leaves, strict=True)
        ]
        return np.concatenate(parts)

    def named(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """The flat vector as arrays by name, such as ``layers.0.kernel``, for a file."""
        shape = _shape(self)
        parts = np.split(np.asarray(weights), np.cumsum([leaf.size for leaf in shape.leaves])[:-1])
        return {
            name: part.reshape(leaf.shape) for name, part, leaf in zip(shape.names, parts, shape.leaves, strict=True)
        }

    def flatten(self, named: dict[str, np.ndarray]) -> np.ndarray:
        """The flat vector from arrays by name.

        Raises:
          ValueError: a name or a shape is not this network's; the message says which.
        """
        shape = _shape(self)
        expected = {name: leaf.shape for name, leaf in zip(shape.names, shape.leaves, strict=True)}
        found = {name: array.shape for name, array in named.items()}
        if found != expected:
            differing = sorted(name for name in expected.keys() | found.keys() if found.get(name) != expected.get(name))
            raise ValueError(
                f"the weights are of another network: {differing[0]} has shape {found.get(differing[0])} "
                f"where {expected.get(differing[0])} is needed"
            )
        return np.concatenate([np.ravel(named[name]) for name in shape.names]).astype(np.float32)


@dataclass(frozen=True)
class _Shape:
    graph: nnx.GraphDef[MLP]
    tree: jax.tree_util.PyTreeDef
    leaves: list[jax.ShapeDtypeStruct]
    names: list[str]


def _drawn(name: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    if name.endswith("kernel"):
        return np.ravel(random.standard_normal(shape, np.float32) / np.float32(shape[0] ** 0.5))
    if name.endswith("embedding"):
        drawn = random.standard_normal(shape, np.float32) / np.float32(shape[1] ** 0.5)
        drawn[0] = 0
        return np.ravel(drawn)
    return np.full(shape, name.endswith((".scale", ".variance")), np.float32)


@functools.lru_cache(maxsize=64)
def _shape(network: Network) -> _Shape:
    module = nnx.eval_shape(
        lambda: MLP(network.signature, network.hidden, network.activation, network.normalization, nnx.Rngs(0))
    )
    graph, state = nnx.split(module, (nnx.Param, nnx.BatchStat))
    paths, tree = jax.tree_util.tree_flatten_with_path(state)
    names = [".".join(_part(key) for key in path if _part(key) != "value") for path, _ in paths]
    return _Shape(graph, tree, [leaf for _, leaf in paths], names)


def _part(key: object) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)

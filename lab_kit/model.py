"""The network: a multilayer perceptron in Flax over numeric inputs and embedded categories.

Training sees its parameters as one flat vector: at small batches that is twice as fast as a tree of small arrays,
because one optimizer update and one all-reduce serve all of them.
"""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lab_kit.arrays import Array, Signature

Activation = Literal["sigmoid", "relu", "tanh"]

ACTIVATIONS: dict[Activation, Callable[[jax.Array], jax.Array]] = {
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
}


def embedding_width(cardinality: int) -> int:
    """How many numbers describe a category: the square root of the number of categories, from 1 to 16."""
    return max(1, min(16, round(cardinality**0.5)))


def _init_embedding(key: jax.Array, shape: tuple[int, int], dtype: jnp.dtype) -> jax.Array:
    return (jax.random.normal(key, shape, dtype) / shape[1] ** 0.5).at[0].set(0)


class MLP(nnx.Module):
    """Embeddings beside the numeric inputs, then dense layers with an activation and dropout, then a linear output."""

    def __init__(self, signature: Signature, hidden: tuple[int, ...], activation: Activation, rngs: nnx.Rngs):
        """Draws the initial parameters: LeCun-normal kernels, zero biases, normal embeddings of variance 1/width.

        Slot 0 of an embedding, for categories never seen in training, starts at zero: only rare categories teach it.
        """
        widths = [embedding_width(cardinality) for cardinality in signature.cardinalities]
        self.embeddings = nnx.List(
            nnx.Embed(cardinality, width, embedding_init=_init_embedding, rngs=rngs)
            for cardinality, width in zip(signature.cardinalities, widths, strict=True)
        )
        sizes = (signature.numeric + sum(widths), *hidden, signature.outputs)
        self.layers = nnx.List(nnx.Linear(inputs, outputs, rngs=rngs) for inputs, outputs in itertools.pairwise(sizes))
        self.activation = ACTIVATIONS[activation]

    def __call__(self, numeric: Array, categorical: Array, mask: "DropoutMask | None" = None) -> jax.Array:
        """Outputs before any sigmoid or softmax, float32 ``[n, outputs]``."""
        embedded = [embed(jnp.asarray(categorical[:, column])) for column, embed in enumerate(self.embeddings)]
        x = jnp.concatenate([numeric, *embedded], axis=1)
        for layer, dense in enumerate(self.layers[:-1]):
            x = self.activation(dense(x))
            x = x if mask is None else mask(x, layer)
        return self.layers[-1](x)


@dataclass(frozen=True)
class DropoutMask:
    """Dropout whose mask depends on (seed, step, row, layer, unit) alone: the same on any number of devices.

    ``jax.random`` (threefry) took 820 µs for 1,024 rows of 192 units, a third of a training step; this integer hash
    takes 85 µs. It is Wellons' ``lowbias32`` (2018, nullprogram.com/blog/2018/07/31), applied at each stage.

    Attributes:
      rate: the probability that a unit is dropped, in [0, 1); may be a traced value.
      seed: of the run.
      step: int32, the step of the run.
      row: int32 ``[n]``, the place of each row in the whole batch.
    """

    rate: jax.Array
    seed: int
    step: Array
    row: Array

    def __call__(self, x: jax.Array, layer: int) -> jax.Array:
        """Drops units of ``x`` and scales those that stay by 1 / (1 - rate), so that the expectation is unchanged."""
        of_step = _hash(jnp.uint32(self.seed % 2**32) + _hash(jnp.asarray(self.step, jnp.uint32)))
        of_row = _hash(jnp.asarray(self.row, jnp.uint32) ^ of_step)[:, None]
        unit = jnp.arange(x.shape[1], dtype=jnp.uint32) + jnp.uint32(layer << 20)
        bits = _hash(_hash(of_row + unit))
        uniform = (bits >> 8).astype(jnp.float32) * 2.0**-24
        return jnp.where(uniform >= self.rate, x / (1 - self.rate), 0)


def _hash(x: jax.Array) -> jax.Array:
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


@dataclass(frozen=True)
class Network:
    """What a network looks like, without its parameters; hashable, so that compiled programs are kept by it.

    Attributes:
      signature: its inputs and outputs.
      hidden: width of each hidden layer; empty for a linear model.
      activation: ``sigmoid``, ``relu`` or ``tanh``.
    """

    signature: Signature
    hidden: tuple[int, ...]
    activation: Activation

    def init(self, seed: int) -> np.ndarray:
        """Initial parameters from a seed, as one flat float32 vector."""
        module = MLP(self.signature, self.hidden, self.activation, nnx.Rngs(seed))
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(nnx.state(module, nnx.Param))])

    def apply(
        self,
        weights: Array,
        numeric: Array,
        categorical: Array,
        mask: DropoutMask | None = None,
    ) -> jax.Array:
        """Outputs before any sigmoid or softmax.

        Args:
          weights: float32 ``[P]``, as from ``init``.
          numeric: float32 ``[n, numeric]``.
          categorical: int32 ``[n, categorical]``.
          mask: dropout for training; None for prediction.

        Returns:
          float32 ``[n, outputs]``.
        """
        shape = _shape(self)
        parts = np.cumsum([leaf.size for leaf in shape.leaves])[:-1]
        leaves = [part.reshape(leaf.shape) for part, leaf in zip(jnp.split(weights, parts), shape.leaves, strict=True)]
        module = nnx.merge(shape.graph, jax.tree.unflatten(shape.tree, leaves))
        outputs: jax.Array = module(numeric, categorical, mask)
        return outputs

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        return sum(leaf.size for leaf in _shape(self).leaves)

    def decayed(self) -> np.ndarray:
        """Float32 ``[P]``: 1 where weight decay applies (kernels), 0 where it does not (biases, embeddings)."""
        shape = _shape(self)
        return np.concatenate(
            [
                np.full(leaf.size, name.endswith("kernel"), np.float32)
                for name, leaf in zip(shape.names, shape.leaves, strict=True)
            ]
        )

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


@functools.lru_cache(maxsize=64)
def _shape(network: Network) -> _Shape:
    module = nnx.eval_shape(lambda: MLP(network.signature, network.hidden, network.activation, nnx.Rngs(0)))
    graph, state = nnx.split(module, nnx.Param)
    paths, tree = jax.tree_util.tree_flatten_with_path(state)
    names = [".".join(_part(key) for key in path if _part(key) != "value") for path, _ in paths]
    return _Shape(graph, tree, [leaf for _, leaf in paths], names)


def _part(key: object) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)

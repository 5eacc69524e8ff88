"""The compiled programs of training: a pure step in a loop on every device, and the metrics of given rows."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lab_kit import devices, metrics, optimizers
from lab_kit.arrays import Array, Rows
from lab_kit.model import DropoutMask, Network

BLOCK = 4096
"""Rows that one device looks at in one go when nothing is learnt from them."""


class State(NamedTuple):
    """What a step changes, the same on every device.

    Attributes:
      weights: float32 ``[P]``.
      optimizer: the optax state, of flat vectors too.
      step: int32, steps done.
    """

    weights: Array
    optimizer: Any
    step: Array


class Program(NamedTuple):
    """The compiled functions of a network, an optimizer and a number of devices.

    Attributes:
      run: ``(state, hyper, rows, order, start, stop) -> (state, metric sums)``: the steps of an epoch from ``start``
        to below ``stop``. How many there are is a traced value, so that any number is one program.
      measure: ``(weights, rows, weight) -> metric sums`` of rows cut into blocks.
    """

    run: Callable[..., tuple[State, jax.Array]]
    measure: Callable[..., jax.Array]


@functools.lru_cache(maxsize=32)
def program(network: Network, optimizer: str, count: int, seed: int) -> Program:
    """The program for these arguments, compiled when first called; kept, so that a second run starts at once."""
    task = network.signature.task
    decayed = network.decayed()

    def sums_and_gradient(weights: Array, rows: Rows, weight: Array, mask: DropoutMask | None) -> jax.Array:
        def objective(weights: Array) -> tuple[jax.Array, jax.Array]:
            sums = metrics.sums(task, network.apply(weights, rows.numeric, rows.categorical, mask), rows.target, weight)
            return sums[1], sums

        gradient, sums = jax.grad(objective, has_aux=True)(weights)
        return jnp.concatenate([sums, gradient])

    def step(state: State, hyper: dict[str, jax.Array], rows: Rows, picked: jax.Array) -> tuple[State, jax.Array]:
        weight = (picked >= 0).astype(jnp.float32)
        batch = jax.tree.map(lambda column: column.at[picked].get(mode="clip"), rows)
        place = devices.index() * picked.shape[0] + jnp.arange(picked.shape[0])
        mask = DropoutMask(hyper["dropout"], seed, state.step, place)
        joined = jax.lax.cond(
            hyper["dropout"] > 0,
            lambda weights: sums_and_gradient(weights, batch, weight, mask),
            lambda weights: sums_and_gradient(weights, batch, weight, None),
            state.weights,
        )
        joined = devices.all_sum(joined)  # one vector, hence one all-reduce a step
        sums, gradient = jnp.split(joined, [metrics.SUMS[task]])
        update = optimizers.build(optimizer, hyper, decayed)
        change, optimizer_state = update.update(gradient / sums[0], state.optimizer, state.weights)
        return State(state.weights + change, optimizer_state, state.step + 1), sums

    def run(
        state: State,
        hyper: dict[str, jax.Array],
        rows: Rows,
        order: jax.Array,
        start: jax.Array,
        stop: jax.Array,
    ) -> tuple[State, jax.Array]:
        def body(number: jax.Array, carry: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
            state, total = carry
            state, sums = step(state, hyper, rows, order[number])
            return state, total + sums

        return jax.lax.fori_loop(start, stop, body, (state, jnp.zeros(metrics.SUMS[task])))

    def measure(weights: Array, rows: Rows, weight: Array) -> jax.Array:
        def of_block(block: tuple[Rows, jax.Array]) -> jax.Array:
            rows, weight = block
            outputs = network.apply(weights, rows.numeric, rows.categorical)
            return metrics.detailed(task, outputs, rows.target, weight)

        return devices.all_sum(jax.lax.map(of_block, (rows, weight)).sum(axis=0))

    return Program(
        run=devices.parallel(run, count, in_axes=(None, None, None, 0, None, None)),
        measure=devices.parallel(measure, count, in_axes=(None, 0, 0)),
    )


@functools.lru_cache(maxsize=32)
def forward(network: Network, count: int) -> Callable[..., jax.Array]:
    """``(weights, rows in blocks) -> outputs in blocks``: the network on ``count`` devices, for prediction."""

    def run(weights: jax.Array, rows: Rows) -> jax.Array:
        return jax.lax.map(lambda block: network.apply(weights, block.numeric, block.categorical), rows)

    return devices.parallel(run, count, in_axes=(None, 0), out_axes=0)


def initial_state(network: Network, optimizer: str, hyper: dict[str, float], count: int, seed: int) -> State:
    """The state before the first step, in place on the devices.

    It is made of NumPy arrays and placed with its final sharding, or the second call would compile again.
    """
    weights = network.init(seed)
    of_optimizer = optimizers.build(optimizer, hyper, network.decayed()).init(jnp.asarray(weights))
    return devices.replicate(State(weights, jax.tree.map(np.array, of_optimizer), np.zeros((), np.int32)), count)


def blocks(rows: Rows, count: int) -> tuple[Rows, np.ndarray]:
    """Rows cut into blocks for ``count`` devices, and the weight of each: 1, or 0 for padding."""
    size = min(BLOCK, -(-rows.count // count))
    cut: Rows = jax.tree.map(lambda column: devices.split(column, count, size), rows)
    return cut, devices.split(np.ones(rows.count, np.float32), count, size)


def epoch_order(rows: int, batch_size: int, count: int, seed: int, epoch: int) -> np.ndarray:
    """Which row each device takes at each step of an epoch.

    The permutation depends on (seed, epoch) alone, and each batch is dealt out to the devices in one run of places
    each: the rows of a step are the same on any number of devices.

    Returns:
      int32 ``[count, steps, ceil(batch_size / count)]`` of row numbers; -1 is padding.
    """
    steps, share = -(-rows // batch_size), -(-batch_size // count)
    order = np.full((steps, batch_size), -1, np.int32)
    order.reshape(-1)[:rows] = np.random.default_rng((seed, epoch)).permutation(rows)
    padded = np.full((steps, count * share), -1, np.int32)
    padded[:, :batch_size] = order
    return np.ascontiguousarray(padded.reshape(steps, count, share).swapaxes(0, 1))

"""The compiled programs of training: a pure step in a loop on every device, and the metrics of given rows."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lab_kit import devices, metrics, optimizers
from lab_kit.arrays import Array, Rows, Task
from lab_kit.dropout import Dropout
from lab_kit.metrics import Loss
from lab_kit.model import Batch, Network

BLOCK = 4096
"""Rows that one device looks at in one go when nothing is learnt from them."""

TOTALS = metrics.SUMS + 1
"""Length of what ``Program.run`` adds up: ``metrics.sums``, and the length of the gradient of each step."""


class State(NamedTuple):
    """What a step changes, the same on every device.

    Attributes:
      weights: float32 ``[P]``.
      optimizer: the optax state, of flat vectors too.
      step: int32, steps done.
      seed: uint32, of the dropout; it never changes.
    """

    weights: Array
    optimizer: Any
    step: Array
    seed: Array


class Program(NamedTuple):
    """The compiled functions of a network, an optimizer and a number of devices.

    Attributes:
      run: ``(state, hyper, rows, weight, factors, start, stop, sync_every) -> (state, totals)``: the steps from
        ``start`` to below ``stop`` of those laid out in ``rows`` and ``weight`` (``feed.Window``), the learning rate of
        each multiplied by its factor. How many there are is a traced value, so that any number is one program.
      measure: ``(weights, rows, weight) -> metric sums`` of rows cut into blocks.
    """

    run: Callable[..., tuple[State, jax.Array]]
    measure: Callable[..., jax.Array]


@dataclass(frozen=True)
class Recipe:
    """What a program is compiled for; everything else is a traced value.

    Attributes:
      network: its architecture.
      optimizer: a key of ``optimizers.OPTIMIZERS``.
      loss: of the task; None for its first.
      local: whether the devices go separate ways between two averagings of their weights (local SGD).
    """

    network: Network
    optimizer: str
    loss: Loss | None = None
    local: bool = False


def step(
    recipe: Recipe,
    total: Callable[[jax.Array], jax.Array],
    state: State,
    hyper: dict[str, jax.Array],
    rows: Rows,
    weight: jax.Array,
    place: jax.Array,
) -> tuple[State, jax.Array]:
    """One optimizer step: a pure function of arrays.

    Args:
      recipe: static.
      total: the sum of a vector over all devices that share the batch.
      state: before the step.
      hyper: the traced hyperparameters by name, float32 scalars.
      rows: this device's part of the batch, ``[n, ...]``.
      weight: float32 ``[n]``, what the loss of each row counts; 0 is padding.
      place: int32 ``[n]``, the place of each row in the whole batch.

    Returns:
      The state after the step, and float32 ``[TOTALS]``.
    """
    network, task = recipe.network, recipe.network.signature.task
    statistics = network.statistics() if network.normalization == "batch" else None

    masks = Dropout(hyper["dropout"], state.seed, state.step, place).masks(network.hidden)

    def objective(weights: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        if statistics is None:
            outputs, moved = network.apply(weights, rows.numeric, rows.categorical, masks), weights
        else:
            batch = Batch(weight, total)
            outputs, moved = network.apply_in_training(weights, rows.numeric, rows.categorical, masks, batch)
        each = metrics.objective(task, outputs, rows.target, recipe.loss, hyper["label_smoothing"])
        real = (weight > 0).astype(jnp.float32)
        sums = metrics.sums(task, outputs, rows.target, real, recipe.loss)
        return (each * weight).sum(), (jnp.concatenate([sums, weight.sum()[None]]), moved)

    gradient, (sums, moved) = jax.grad(objective, has_aux=True)(state.weights)
    joined = total(jnp.concatenate([sums, gradient]))  # one vector, hence one all-reduce a step
    sums, gradient = jnp.split(joined, [metrics.SUMS + 1])
    gradient = gradient / jnp.maximum(sums[-1], 1e-30)  # a device without rows goes nowhere
    norm = jnp.sqrt((gradient**2).sum())
    gradient = optimizers.clip(gradient, norm, hyper["clip_norm"])
    update = optimizers.build(recipe.optimizer, hyper, network.decayed())
    change, optimizer_state = update.update(gradient, state.optimizer, state.weights)
    weights = state.weights + change
    if statistics is not None:
        weights = jnp.where(statistics > 0, moved, weights)
    return State(weights, optimizer_state, state.step + 1, state.seed), jnp.append(sums[:-1], norm)


@functools.lru_cache(maxsize=32)
def program(recipe: Recipe, count: int, local_batch: int) -> Program:
    """The program for these arguments, compiled when first called; kept, so that a second run starts at once.

    Args:
      recipe: what it is compiled for.
      count: local devices.
      local_batch: rows a step in this process.
    """
    network, task = recipe.network, recipe.network.signature.task
    total = _same if recipe.local else devices.all_sum

    def run(
        state: State,
        hyper: dict[str, jax.Array],
        rows: Rows,
        weight: jax.Array,
        factors: jax.Array,
        start: jax.Array,
        stop: jax.Array,
        sync_every: jax.Array,
    ) -> tuple[State, jax.Array]:
        share = weight.shape[1]
        process, device = jnp.divmod(devices.index(), count)
        place = process * local_batch + device * share + jnp.arange(share)

        def body(number: jax.Array, carry: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
            state, totals = carry
            of_step = jax.tree.map(lambda column: column[number], rows)
            rate = {"learning_rate": hyper["learning_rate"] * factors[number]}
            state, sums = step(recipe, total, state, hyper | rate, of_step, weight[number], place)
            if recipe.local:
                meets = ((number + 1) % sync_every == 0) | (number + 1 == stop)
                state = jax.lax.cond(meets, _average, _same, state)
            return state, totals + sums

        state, totals = jax.lax.fori_loop(start, stop, body, (state, jnp.zeros(TOTALS)))
        return state, _joined(totals) if recipe.local else totals

    def measure(weights: Array, rows: Rows, weight: Array) -> jax.Array:
        # Two programs: what comes after the outputs is the same for all networks, and compiled once. It costs the
        # memory for the outputs of all these rows (see ``feed.ROWS_AT_ONCE``).
        outputs = forward(network, count)(weights, rows)
        return _tally(task, recipe.loss, count)(outputs, rows.target, weight)

    return Program(devices.parallel(run, count, in_axes=(None, None, 0, 0, None, None, None, None)), measure)


@functools.lru_cache(maxsize=32)
def _tally(task: Task, loss: Loss | None, count: int) -> Callable[..., jax.Array]:
    """``(outputs, target, weight) -> metric sums``, all in blocks, on ``count`` devices."""

    def of_block(block: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        outputs, target, weight = block
        return metrics.detailed(task, outputs, target, weight, loss)

    def run(outputs: Array, target: Array, weight: Array) -> jax.Array:
        return devices.all_sum(jax.lax.map(of_block, (outputs, target, weight)).sum(axis=0))

    return devices.parallel(run, count, in_axes=(0, 0, 0))


def _same(value: Any) -> Any:
    return value


def _average(state: State) -> State:
    """The mean over the devices of the weights and of what the optimizer remembers, in one all-reduce."""
    leaves, tree = jax.tree.flatten((state.weights, state.optimizer))
    vectors = [leaf for leaf in leaves if leaf.ndim]  # counts of steps are the same everywhere
    mean = devices.all_sum(jnp.concatenate(vectors)) / devices.all_sum(jnp.ones(()))
    parts = iter(jnp.split(mean, np.cumsum([leaf.size for leaf in vectors])[:-1]))
    weights, optimizer = jax.tree.unflatten(tree, [next(parts) if leaf.ndim else leaf for leaf in leaves])
    return state._replace(weights=weights, optimizer=optimizer)


def _joined(totals: jax.Array) -> jax.Array:
    """The sums over all devices; of the gradients' lengths, the mean over devices."""
    summed = devices.all_sum(totals)
    return summed.at[-1].divide(devices.all_sum(jnp.ones(())))


@functools.lru_cache(maxsize=32)
def forward(network: Network, count: int) -> Callable[..., jax.Array]:
    """``(weights, rows in blocks) -> outputs in blocks``: the network on ``count`` devices, for prediction."""

    def run(weights: jax.Array, rows: Rows) -> jax.Array:
        return jax.lax.map(lambda block: network.apply(weights, block.numeric, block.categorical), rows)

    return devices.parallel(run, count, in_axes=(None, 0), out_axes=0)


def initial_state(recipe: Recipe, hyper: dict[str, float], count: int, seed: int) -> State:
    """The state before the first step, in place on the devices.

    It is made of NumPy arrays and placed with its final sharding, or the second call would compile again.
    """
    weights = recipe.network.init(seed)
    of_optimizer = optimizers.build(recipe.optimizer, hyper, recipe.network.decayed()).init(jnp.asarray(weights))
    return placed(State(weights, of_optimizer, np.zeros((), np.int32), np.array(seed % 2**32, np.uint32)), count)


def placed(state: State, count: int) -> State:
    """A state in place on the devices."""
    return devices.replicate(jax.tree.map(np.array, state), count)


def blocks(rows: Rows, count: int) -> tuple[Rows, np.ndarray]:
    """Rows cut into blocks for ``count`` devices, and the weight of each: 1, or 0 for padding."""
    size = min(BLOCK, -(-rows.count // count))
    cut: Rows = jax.tree.map(lambda column: devices.split(column, count, size), rows)
    return cut, devices.split(np.ones(rows.count, np.float32), count, size)

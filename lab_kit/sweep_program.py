"""The compiled program of a sweep: some steps of many configurations, each with a state and hyperparameters of its own.

On a device ``width`` configurations take each step side by side (``jax.vmap``), and these groups follow one another in
a loop. On a CPU groups of one are fastest (benchmarks/README.md has the measurement): there a matrix product with a
batch axis is slow, a condition under ``vmap`` computes both of its branches, and the weights of one configuration stay
in the cache for the whole call.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lab_kit import devices, engine, metrics
from lab_kit.arrays import Array, Rows
from lab_kit.engine import Recipe, State


class SweepProgram(NamedTuple):
    """The compiled functions. Arrays "of configurations" are ``[devices, n, ...]``, n of them on each device.

    Attributes:
      run: ``(state, hyper, table, stop, rows, weight, factors, start) -> (state, totals, finite)``: of configurations
        the states, the hyperparameters, the number of the table of rows that each learns from, and the step before
        which each stops; on all devices the tables ``[tables, steps, rows, ...]`` with their weights, the factors of
        the learning rate and the first step. ``totals`` are ``engine.TOTALS`` sums, ``finite`` is about the weights.
      measure: ``(weights, rows, weight) -> metric sums`` of configurations; the rows are cut into blocks.
    """

    run: Callable[..., tuple[State, jax.Array, jax.Array]]
    measure: Callable[..., jax.Array]


@functools.lru_cache(maxsize=16)
def program(recipe: Recipe, count: int, width: int) -> SweepProgram:
    """The program for these arguments, compiled when first called; kept, so that a second sweep starts at once.

    Args:
      recipe: what all configurations have in common.
      count: local devices.
      width: how many configurations are in a group.
    """
    network = recipe.network
    together = width if width > 1 else None

    def run(
        state: State,
        hyper: dict[str, jax.Array],
        table: jax.Array,
        stop: jax.Array,
        rows: Rows,
        weight: jax.Array,
        factors: jax.Array,
        start: jax.Array,
    ) -> tuple[State, jax.Array, jax.Array]:
        place = jnp.arange(weight.shape[2])

        def alone(given: Any) -> tuple[State, jax.Array, jax.Array]:
            state, hyper, table, stop = given

            def body(number: jax.Array, carry: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
                state, totals = carry
                *of_step, counts = (column[table, number] for column in (*rows, weight))
                rate = {"learning_rate": hyper["learning_rate"] * factors[number]}
                state, sums = engine.step(recipe, _same, state, hyper | rate, Rows(*of_step), counts, place)
                return state, totals + sums

            state, totals = jax.lax.fori_loop(start, stop, body, (state, jnp.zeros(engine.TOTALS)))
            return state, totals, jnp.isfinite(state.weights).all()

        return jax.lax.map(alone, (state, hyper, table, stop), batch_size=together)

    def measure(weights: Array, rows: Rows, weight: Array) -> jax.Array:
        def alone(weights: jax.Array) -> jax.Array:
            def of_block(block: tuple[Rows, jax.Array]) -> jax.Array:
                rows, weight = block
                outputs = network.apply(weights, rows.numeric, rows.categorical)
                return metrics.detailed(network.signature.task, outputs, rows.target, weight, recipe.loss)

            return jax.lax.map(of_block, (rows, weight)).sum(axis=0)

        return jax.lax.map(alone, weights, batch_size=together)

    return SweepProgram(
        run=devices.parallel(run, count, in_axes=(0, 0, 0, 0, None, None, None, None), out_axes=0),
        measure=devices.parallel(measure, count, in_axes=(0, None, None), out_axes=0),
    )


def _same(value: jax.Array) -> jax.Array:
    """The sum over one device."""
    return value

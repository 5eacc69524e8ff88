"""An upper bound: only the matrix products of a forward and a backward pass, on rows in place, in one compiled call.

No row order, no activation, no loss, no optimizer, no records. A program that does the products in the same way
cannot be faster.
"""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.contenders import HIDDEN
from benchmarks.contenders.data import COLUMNS, Data
from benchmarks.contenders.watch import Watch


def make(data: Data, batch: int) -> Callable[[Watch, int], None]:
    rng = np.random.default_rng(0)
    sizes = (COLUMNS, *HIDDEN, 1)
    kernels = [jnp.asarray(rng.standard_normal(shape, np.float32)) for shape in itertools.pairwise(sizes)]
    batch = min(batch, len(data.y))
    steps = len(data.y) // batch
    x = jnp.asarray(data.x[: steps * batch].reshape(steps, batch, COLUMNS))

    @jax.jit
    def epoch(x: jax.Array) -> list[jax.Array]:
        def step(total: list[jax.Array], rows: jax.Array) -> tuple[list[jax.Array], None]:
            inputs = [rows]
            for kernel in kernels:
                inputs.append(inputs[-1] @ kernel)
            gradients, outer = [], inputs[-1]
            for layer in reversed(range(len(kernels))):
                gradients.append(inputs[layer].T @ outer)
                if layer:
                    outer = outer @ kernels[layer].T
            return [a + b for a, b in zip(total, reversed(gradients), strict=True)], None

        return jax.lax.scan(step, [jnp.zeros_like(kernel) for kernel in kernels], x)[0]

    def run(watch: Watch, limit: int) -> None:
        stop = False
        while not stop:
            jax.block_until_ready(epoch(x))
            stop = watch.epoch(lambda: 1.0)

    return run

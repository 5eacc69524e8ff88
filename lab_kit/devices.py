"""Local devices: start them, place arrays on them, and run one program on all of them (the only ``jax.pmap``).

State is replicated, rows are sharded. Rows that do not divide evenly are padded, and the padding carries a weight
of zero, so that no result depends on it. ``jax.pmap`` is in maintenance mode; a later move to ``jax.shard_map``
touches this module alone.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lab_kit.schema import LabError

AXIS = "device"
"""The name of the axis that an all-reduce runs over."""

Tree = TypeVar("Tree")


def start(cpu_devices: int | None = None, cache: Path | None = None) -> list[jax.Device]:
    """Starts JAX with several virtual CPU devices, and with a cache of compiled programs if a folder is given.

    Call it once, before anything else uses JAX. When JAX has started already, it changes nothing.

    Args:
      cpu_devices: how many devices the CPU appears as; the number of cores when None. Ignored on a GPU or TPU.
      cache: a folder that keeps compiled programs from one process to the next.

    Returns:
      The local devices.
    """
    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    if not _started():
        jax.config.update("jax_num_cpu_devices", cpu_devices or os.cpu_count() or 1)
    return jax.local_devices()


def _started() -> bool:
    """Whether JAX has chosen its devices: their number can be set only before that."""
    from jax._src import xla_bridge  # no public question exists for this (jax 0.10 to 0.12)

    return bool(xla_bridge.backends_are_initialized())


def chosen(count: int) -> list[jax.Device]:
    """The first ``count`` local devices.

    Raises:
      LabError: there are fewer than that.
    """
    local = jax.local_devices()
    if not 1 <= count <= len(local):
        raise LabError(
            f"devices = {count}, but this machine shows JAX {len(local)} {local[0].platform} device(s): "
            f"choose 1 to {len(local)}, or call devices.start(cpu_devices={count}) before anything else uses JAX."
        )
    return local[:count]


def replicate(tree: Tree, count: int) -> Tree:
    """The tree, whole, on each of ``count`` devices. Leaves that lie there already are not copied."""
    return jax.device_put(tree, _sharding(count, PartitionSpec()))


def shard(tree: Tree, count: int) -> Tree:
    """The tree with one slice of each leaf's leading axis, of length ``count``, on each device."""
    return jax.device_put(tree, _sharding(count, PartitionSpec(AXIS)))


def _sharding(count: int, spec: PartitionSpec) -> NamedSharding:
    return NamedSharding(Mesh(np.array(chosen(count)), (AXIS,)), spec)


def parallel(
    function: Callable[..., Any], count: int, in_axes: tuple[int | None, ...], out_axes: int | None = None
) -> Callable[..., Any]:
    """The function compiled to run on ``count`` devices at once.

    Args:
      function: a pure function of arrays; may call ``all_sum``.
      count: number of local devices.
      in_axes: for each argument 0 (sharded along its leading axis) or None (replicated).
      out_axes: 0 to keep one result a device; None where all devices arrive at the same result.
    """
    return jax.pmap(function, axis_name=AXIS, in_axes=in_axes, out_axes=out_axes, devices=chosen(count))


def all_sum(value: jax.Array) -> jax.Array:
    """The sum of a value over all devices (an all-reduce). Join vectors first: each call costs about 50 µs on CPUs."""
    return jax.lax.psum(value, AXIS)


def index() -> jax.Array:
    """Inside ``parallel``: which device this is."""
    return jax.lax.axis_index(AXIS)


def split(array: np.ndarray, count: int, block: int) -> np.ndarray:
    """Cuts rows into blocks for each device: ``[n, ...]`` becomes ``[count, blocks, block, ...]``, padded with zeros.

    Row ``i`` lies at the ``i``-th place of the flattened result, so ``join`` finds it again.
    """
    rows = array.shape[0]
    blocks = max(1, -(-rows // (count * block)))
    padded = np.zeros((count * blocks * block, *array.shape[1:]), array.dtype)
    padded[:rows] = array
    return padded.reshape(count, blocks, block, *array.shape[1:])


def join(array: np.ndarray, rows: int) -> np.ndarray:
    """The first ``rows`` rows of what ``split`` cut, in their order."""
    return array.reshape(math.prod(array.shape[:3]), *array.shape[3:])[:rows]

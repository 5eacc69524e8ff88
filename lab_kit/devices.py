"""Devices: start them, place arrays on them, and run one program on all of them (the only ``jax.pmap``).

Several processes, on one host or many, are joined into one run by ``start``; each holds the rows of its own
devices. State is replicated, rows are sharded. Rows that do not divide evenly are padded, and the padding carries a
weight of zero, so that no result depends on it. ``jax.pmap`` is in maintenance mode; a later move to
``jax.shard_map`` touches this module alone.
"""

import importlib.util
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lab_kit.schema import LabError

AXIS = "device"
"""The name of the axis that an all-reduce runs over."""

WAIT_SECONDS = 120
"""How long the processes of a run wait for one another when they start."""

HEARTBEAT_SECONDS = 20
"""After how long without a sign of life a process counts as dead, where no connection tells at once."""

KEPT = 0.25
"""Which part of what is free of a device's memory the table of a run may take."""

DETERMINISTIC = "xla_gpu_deterministic_ops"
"""A flag of XLA, read when JAX starts."""

Tree = TypeVar("Tree")
Result = TypeVar("Result")


def start(
    cpu_devices: int | None = None, cache: Path | None = None, others: "Others | None" = None
) -> list[jax.Device]:
    """Starts JAX with several virtual CPU devices, and with a cache of compiled programs if a folder is given.

    Call it once, before anything else uses JAX. When JAX has started already, it changes nothing.

    Args:
      cpu_devices: how many devices the CPU appears as; the number of cores when None. Ignored on a GPU or TPU.
      cache: a folder that keeps compiled programs from one process to the next.
      others: the processes that this one makes a run with; None for none.

    Returns:
      The local devices.

    Raises:
      LabError: the other processes do not come.
    """
    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    if not _started():
        jax.config.update("jax_num_cpu_devices", cpu_devices or os.cpu_count() or 1)
        _repeatable()
        if others is not None:
            _join(others)
    return jax.local_devices()


def _repeatable() -> None:
    """Has a GPU arrive at the same bits each time, as a run that goes on must.

    Left alone, XLA times several kernels for each product, which takes seconds, and may choose others the next time.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if importlib.util.find_spec("jax_plugins") and DETERMINISTIC not in flags:  # JAX for a GPU is installed
        os.environ["XLA_FLAGS"] = f"{flags} --{DETERMINISTIC}=true".strip()


@dataclass(frozen=True)
class Others:
    """Where the processes of a run meet.

    Attributes:
      coordinator: ``host:port`` of the first process, the same in all; or ``auto``, under SLURM, Open MPI, Kubernetes
        and the other clusters that ``jax.distributed`` knows, where the processes find one another.
      processes: how many there are.
      process: which of them this is, from 0.
    """

    coordinator: str
    processes: int | None = None
    process: int | None = None

    def __post_init__(self) -> None:
        """Refuses numbers that do not fit."""
        processes, process = self.processes, self.process
        if self.coordinator != "auto" and (processes is None or process is None or not 0 <= process < processes):
            raise LabError(
                f"--coordinator {self.coordinator} needs --processes N and --process-id I with I from 0 to N - 1, "
                "another in each process."
            )


def _join(others: Others) -> None:
    auto = others.coordinator == "auto"
    jax.config.update("jax_enable_preemption_service", False)  # it would keep SIGTERM for itself
    try:
        jax.distributed.initialize(
            None if auto else others.coordinator,
            None if auto else others.processes,
            None if auto else others.process,
            initialization_timeout=WAIT_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        raise LabError(
            f"The processes of the run did not find one another ({str(error).splitlines()[0]}): start the same command "
            "in each, with one host:port that all of them reach."
        ) from None


@contextmanager
def together() -> Iterator[None]:
    """What several processes do together: when one has died, the others say so instead of failing or waiting."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if processes() == 1:
            raise
        raise LabError(
            f"Another process of this run has ended or cannot be reached ({str(error).splitlines()[0]}). Start the "
            "same command in all of them again with --resume latest: the run goes on from its last checkpoint."
        ) from None


def first_alone(work: Callable[[], Result]) -> Result:
    """Does the work in the first process and, when it is done there, in the others: they find its files."""
    if processes() == 1:
        return work()
    done = work() if process() == 0 else None
    with together():
        multihost_utils.sync_global_devices("first_alone")
    return work() if done is None else done


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
        more = f" In Python, devices.start(cpu_devices={count}) makes more, before anything else uses JAX."
        raise LabError(
            f"devices = {count}, but this machine shows JAX {len(local)} {local[0].platform} device(s): "
            f"choose 1 to {len(local)}.{more if count > len(local) else ''}"
        )
    return local[:count]


def replicate(tree: Tree, count: int) -> Tree:
    """The tree, whole, on each of ``count`` devices (of each process). Leaves that lie there already are not copied."""
    return _place(tree, _sharding(count, PartitionSpec()))


def shard(tree: Tree, count: int) -> Tree:
    """The tree with one slice of each leaf's leading axis, of length ``count``, on each device of this process.

    On a CPU, NumPy arrays that are aligned as ``arrays.aligned`` makes them are not copied: they must not change while
    a program reads them.
    """
    return _place(tree, _sharding(count, PartitionSpec(AXIS)))


def _place(tree: Tree, sharding: NamedSharding) -> Tree:
    if processes() == 1:
        return jax.device_put(tree, sharding)

    def place(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
            return leaf
        return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))

    return jax.tree.map(place, tree)


def _sharding(count: int, spec: PartitionSpec) -> NamedSharding:
    return NamedSharding(Mesh(np.array(_of_all_processes(count)), (AXIS,)), spec)


def _of_all_processes(count: int) -> list[jax.Device]:
    """The first ``count`` devices of each process, process by process."""
    if processes() == 1:
        return chosen(count)
    chosen(count)
    of = {number: [d for d in jax.devices() if d.process_index == number] for number in range(processes())}
    return [device for number in sorted(of) for device in of[number][:count]]


def on_host() -> bool:
    """Whether the devices are the processor itself, so that rows on the host are rows in place."""
    return jax.local_devices()[0].platform == "cpu"


def can_keep(size: int) -> bool:
    """Whether the devices have a memory of their own with room for so many bytes beside what a run needs."""
    statistics = None if on_host() else jax.local_devices()[0].memory_stats()
    return statistics is not None and size <= KEPT * (statistics["bytes_limit"] - statistics["bytes_in_use"])


def processes() -> int:
    """How many processes make the run together; 1 unless ``start`` joined it to others."""
    return jax.process_count()


def process() -> int:
    """Which of them this is, from 0."""
    return jax.process_index()


def from_first(values: np.ndarray) -> np.ndarray:
    """What the first process holds, in every process."""
    return np.asarray(multihost_utils.broadcast_one_to_all(values))


def parallel(
    function: Callable[..., Any], count: int, in_axes: tuple[int | None, ...], out_axes: int | None = None
) -> Callable[..., Any]:
    """The function compiled to run on ``count`` devices at once.

    Args:
      function: a pure function of arrays; may call ``all_sum``.
      count: number of local devices, in each process.
      in_axes: for each argument 0 (sharded along its leading axis) or None (replicated).
      out_axes: 0 to keep one result a device; None where all devices arrive at the same result.
    """
    return jax.pmap(function, axis_name=AXIS, in_axes=in_axes, out_axes=out_axes, devices=_of_all_processes(count))


def prepare(function: Callable[..., Any], *arguments: Any) -> None:
    """Compiles what ``parallel`` made for arguments like these, and runs nothing: a call of it then starts at once."""
    function.lower(*arguments).compile()  # type: ignore[attr-defined]


def all_sum(value: jax.Array) -> jax.Array:
    """The sum of a value over all devices (an all-reduce). Join vectors first: each call costs about 50 µs on CPUs."""
    return jax.lax.psum(value, AXIS)


def index() -> jax.Array:
    """Inside ``parallel``: which device this is, over all processes."""
    return jax.lax.axis_index(AXIS)


def split(array: np.ndarray, count: int, block: int, blocks: int | None = None) -> np.ndarray:
    """Cuts rows into blocks for each device: ``[n, ...]`` becomes ``[count, blocks, block, ...]``, padded with zeros.

    There are as few blocks as hold the rows, unless their number is given.

    Row ``i`` lies at the ``i``-th place of the flattened result, so ``join`` finds it again.
    """
    rows = array.shape[0]
    blocks = blocks or max(1, -(-rows // (count * block)))
    padded = np.zeros((count * blocks * block, *array.shape[1:]), array.dtype)
    padded[:rows] = array
    return padded.reshape(count, blocks, block, *array.shape[1:])


def join(array: np.ndarray, rows: int) -> np.ndarray:
    """The first ``rows`` rows of what ``split`` cut, in their order."""
    return array.reshape(math.prod(array.shape[:3]), *array.shape[3:])[:rows]

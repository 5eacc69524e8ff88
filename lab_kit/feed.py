"""Rows on their way to the devices: shuffled, cut into batches, and read ahead in a thread of their own.

A reader's rows of an epoch are a tape: groups of rows in an order that depends on the epoch, each group shuffled. A
table in memory is one group; a table on disk (``stream``) is many, of which two are in memory at a time. A batch takes
equally many rows from the tape of each reader, whatever the devices are; so an epoch can be taken up where it was left.

A table that devices with a memory of their own can keep lies there from the beginning: only the places of its rows are
then on their way, a thirtieth of the bytes, and each device picks its rows by itself.
"""

import functools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np

from lab_kit import devices
from lab_kit.arrays import Array, Rows, aligned
from lab_kit.stream import Stream

WINDOW_BYTES = 64 * 2**20
"""How much of the rows is laid out for the devices at a time, and how much of a stream is shuffled at a time."""


ROWS_AT_ONCE = 262_144
"""Of which all outputs of the network lie in memory while they are measured."""


class Window(NamedTuple):
    """Some steps of an epoch, laid out for the devices.

    Attributes:
      epoch: from 0.
      first: the first of these steps in the epoch.
      stop: the step after the last of them.
      rows: ``[devices, steps, share, ...]`` in place; there may be more steps than ``stop - first``.
      weight: float32 ``[devices, steps, share]``: what the loss of a row counts; 0 is padding.
    """

    epoch: int
    first: int
    stop: int
    rows: Rows
    weight: Array


Group = tuple[Rows, np.ndarray]
"""Rows, and the place among them of each of a group's."""


@dataclass(frozen=True)
class Reader:
    """One part of the rows, and their order.

    Attributes:
      rows: the whole table.
      number: of this reader, from 0.
      readers: how many there are. Of a table in memory this one has the rows ``number``, ``number + readers``, ...;
        of a stream the shards.
      seed: of the order.
    """

    rows: Rows | Stream
    number: int
    readers: int
    seed: int

    @property
    def count(self) -> int:
        """The number of its rows."""
        if isinstance(self.rows, Stream):
            return sum(self.rows.shards[shard].rows for shard in self._own)
        return len(range(self.number, self.rows.count, self.readers))

    @property
    def _own(self) -> range:
        assert isinstance(self.rows, Stream)
        return range(self.number, len(self.rows.shards), self.readers)

    @property
    def _largest(self) -> int:
        """Rows of its largest shard."""
        assert isinstance(self.rows, Stream)
        return max((self.rows.shards[shard].rows for shard in self._own), default=1)

    @property
    def _together(self) -> int:
        """How many shards make a group."""
        assert isinstance(self.rows, Stream)
        return max(1, WINDOW_BYTES // (self.rows.row_bytes * self._largest))

    def groups(self, epoch: int) -> list[list[int]]:
        """The shards of each group, in the order of this epoch; a table in memory is one group of none."""
        if not isinstance(self.rows, Stream):
            return [[]]
        order = np.random.default_rng((self.seed, epoch, self.number)).permutation(self._own).tolist()
        return [order[start : start + self._together] for start in range(0, len(order), self._together)]

    def size(self, group: list[int]) -> int:
        """The number of rows of a group."""
        return sum(self.rows.shards[shard].rows for shard in group) if isinstance(self.rows, Stream) else self.count

    def room(self) -> Rows | None:
        """What ``load`` may fill again and again; None for a table in memory."""
        if not isinstance(self.rows, Stream):
            return None
        return self.rows.empty(min(self.count, self._together * self._largest))

    def load(self, epoch: int, place: int, group: list[int], room: Rows | None) -> Group:
        """The rows among which a group's are, and the place there of each, in the order of this epoch."""
        order = np.random.default_rng((self.seed, epoch, self.number, place)).permutation(self.size(group))
        if isinstance(self.rows, Stream):
            return self.rows.read(group, room), order
        return Rows(*map(np.asarray, self.rows)), order * self.readers + self.number


class Feed:
    """The training rows of a run, window after window.

    Attributes:
      count: rows of the whole table, over all processes.
      steps: of an epoch.
      local_batch: rows a step in this process.
    """

    def __init__(
        self,
        rows: Rows | Stream,
        batch_size: int,
        count: int,
        readers: int = 1,
        seed: int = 0,
        class_weight: np.ndarray | None = None,
        multiple: int = 1,
    ) -> None:
        """Reads nothing yet.

        Args:
          rows: in memory or on disk: the whole table, of which each process reads its own part.
          batch_size: rows a step, over all devices of all processes.
          count: local devices.
          readers: parts of the table, see ``TrainConfig.readers``.
          seed: of the order.
          class_weight: float32 ``[classes]``, what a row of each class counts; None for 1.
          multiple: of how many steps a window is, unless the epoch ends with it.
        """
        of_all = [Reader(rows, number, readers, seed) for number in range(readers)]
        self._sizes = np.array([reader.count for reader in of_all])
        own = readers // devices.processes()
        self._readers = of_all[devices.process() * own : (devices.process() + 1) * own]
        self.count, self._count, self._class_weight = int(self._sizes.sum()), count, class_weight
        # A batch of all rows is one, though the readers of a stream may have unequal numbers of them.
        self._each = batch_size // readers if batch_size < self.count else int(self._sizes.max())
        self.steps = int(-(-self._sizes.max() // self._each))
        self.local_batch = own * self._each
        self._share = -(-self.local_batch // count)
        likeness = rows.likeness if isinstance(rows, Stream) else Rows(*(np.asarray(column[:0]) for column in rows))
        row_bytes = sum(column.itemsize * math.prod(column.shape[1:]) for column in likeness) + 4
        fitting = max(1, WINDOW_BYTES // (row_bytes * count * self._share * multiple)) * multiple
        self._window = min(fitting, self.steps)
        self._resident: Rows | None = None
        self._likeness: tuple[Array, ...] = likeness
        if not isinstance(rows, Stream) and devices.can_keep(row_bytes * rows.count):
            self._resident = devices.replicate(Rows(*map(np.asarray, rows)), count)
            self._places = np.arange(rows.count, dtype=np.int32)
            self._likeness = (self._places[:0],)
        # Of each reader two groups: one that is in use, and the next that is read meanwhile.
        self._rooms = {reader.number: [reader.room(), reader.room()] for reader in self._readers}
        self._held: dict[int, tuple[tuple[int, int], Group]] = {}
        self._coming: dict[int, tuple[tuple[int, int], Future[Group]]] = {}

    def rows_until(self, step: int) -> int:
        """How many rows of an epoch are seen after so many of its steps."""
        return int(np.minimum(step * self._each, self._sizes).sum())

    def windows(self, first: int, last: int) -> Iterator[Window]:
        """The windows from step ``first`` to below ``last``, counted from the beginning of the run.

        While one is in use the next is made in a thread. A window must not be used after the next is asked for: its
        memory is filled again.
        """
        return _ahead(self._windows(first, last))

    def _windows(self, first: int, last: int) -> Iterator[Window]:
        buffers = [self._empty(self._count, self._share) for _ in range(2)]
        # Where this process has one reader and one device, a tape is read right into the window.
        direct = len(self._readers) == 1 and self._count == 1
        tapes = [] if direct else [self._empty(1, self._each) for _ in self._readers]
        number = 0
        with ThreadPoolExecutor(1, thread_name_prefix="lab-kit rows of the next group") as thread:
            while first < last:
                epoch, start = divmod(first, self.steps)
                steps = min(self._window, self.steps - start, last - first)
                window = buffers[number % 2]
                for reader, tape in zip(self._readers, [window] if direct else tapes, strict=True):
                    self._read(reader, epoch, start, steps, tape, thread)
                if not direct:
                    self._deal(tapes, window)
                *columns, weight = devices.shard(window, self._count)
                rows = Rows(*columns) if self._resident is None else _pick(self._count)(self._resident, *columns)
                yield Window(epoch, start, start + steps, rows, weight)
                first, number = first + steps, number + 1

    def _empty(self, count: int, share: int) -> tuple[np.ndarray, ...]:
        shapes = [(column.shape[1:], column.dtype) for column in self._likeness] + [((), np.dtype(np.float32))]
        return tuple(aligned((count, self._window, share, *shape), dtype) for shape, dtype in shapes)

    def _read(
        self, reader: Reader, epoch: int, start: int, steps: int, into: tuple[np.ndarray, ...], thread: Executor
    ) -> None:
        """Plays the tape of a reader from a step on; what is beyond its end gets a weight of 0."""
        *columns, weight = (column.reshape(math.prod(column.shape[:3]), *column.shape[3:]) for column in into)
        position, filled = start * self._each, 0
        end = min(position + steps * self._each, reader.count)
        begin = 0
        groups = reader.groups(epoch)
        for place, group in enumerate(groups):
            size = reader.size(group)
            low, high = max(position, begin), min(end, begin + size)
            if low < high:
                rows, order = self._group(reader, epoch, place, groups, thread)
                to, chosen = slice(filled, filled + high - low), order[low - begin : high - begin]
                for column, source in zip(columns, rows if self._resident is None else (self._places,), strict=True):
                    np.take(source, chosen, axis=0, out=column[to], mode="clip")
                if self._class_weight is None:
                    weight[to] = 1
                else:
                    weight[to] = self._class_weight[np.asarray(rows.target)[chosen].astype(np.intp)]
                filled += high - low
            begin += size
        weight[filled:] = 0

    def _group(self, reader: Reader, epoch: int, place: int, groups: list[list[int]], thread: Executor) -> Group:
        """The group that a reader is at, kept as the next window may go on in it; the one after is read meanwhile."""
        number, key = reader.number, (epoch, place)
        held, group = self._held.get(number, (None, None))
        if group is None or held != key:
            coming, future = self._coming.pop(number, (None, None))
            rooms = self._rooms[number]
            if future is not None and coming == key:
                group = future.result()
            else:
                group = reader.load(epoch, place, groups[place], rooms[0])
            self._held[number] = key, group
            rooms.reverse()
            if isinstance(reader.rows, Stream) and place + 1 < len(groups):
                load = thread.submit(reader.load, epoch, place + 1, groups[place + 1], rooms[0])
                self._coming[number] = (epoch, place + 1), load
        return group

    def _deal(self, tapes: list[tuple[np.ndarray, ...]], window: tuple[np.ndarray, ...]) -> None:
        """The rows of a step, those of the first reader first, to the devices in one run of places each."""
        for column, parts in zip(window, zip(*tapes, strict=True), strict=True):
            joined = np.concatenate([part[0] for part in parts], axis=1)  # [steps, local_batch, ...]
            for device in range(self._count):
                of_device = joined[:, device * self._share : (device + 1) * self._share]
                column[device, :, : of_device.shape[1]] = of_device


@functools.lru_cache
def _pick(count: int) -> Callable[[Rows, Array], Rows]:
    """``(table, places) -> the rows at these places``, on each device its own."""

    def pick(table: Rows, places: Array) -> Rows:
        picked: Rows = jax.tree.map(lambda column: column[places], table)
        return picked

    return devices.parallel(pick, count, in_axes=(None, 0), out_axes=0)


def _ahead(windows: Iterator[Window]) -> Iterator[Window]:
    """The same windows, each made in a thread while the one before is in use."""
    with ThreadPoolExecutor(1, thread_name_prefix="lab-kit rows") as thread:
        upcoming = thread.submit(next, windows, None)
        while (window := upcoming.result()) is not None:
            upcoming = thread.submit(next, windows, None)
            yield window


def class_weights(rows: Rows | Stream, classes: int) -> np.ndarray:
    """The weight n / (classes x rows of the class) for each class (``balanced``); 0 for a class without rows.

    Returns:
      float32 ``[classes]``.
    """
    counts = np.zeros(classes)
    for part in parts(rows):
        counts += np.bincount(np.asarray(part.target).astype(np.intp), minlength=classes)
    return np.divide(counts.sum(), classes * counts, out=np.zeros(classes), where=counts > 0).astype(np.float32)


def parts(rows: Rows | Stream) -> Iterator[Rows]:
    """The rows in their order: a table in memory in equal parts, a stream shard by shard."""
    if isinstance(rows, Stream):
        shared = devices.processes() > 1
        return (rows.read([shard], shared=shared) for shard in range(len(rows.shards)))
    size = _part(rows)
    starts = range(0, max(1, rows.count), size)  # a table without rows is one part without rows
    return (Rows(*(column[start : start + size] for column in rows)) for start in starts)


def _part(rows: Rows) -> int:
    """Rows of a part of a table in memory: as equal ones as can be, of no more than ``ROWS_AT_ONCE``."""
    return max(1, -(-rows.count // max(1, -(-rows.count // ROWS_AT_ONCE))))


def pieces(rows: Rows | Stream, count: int, block: int) -> Iterator[tuple[Rows, np.ndarray]]:
    """Rows to measure, cut into blocks for ``count`` devices: part after part, as of ``parts``.

    Several processes take the rows in turn, and all get pieces of the same shapes.

    Yields:
      Rows ``[count, blocks, block, ...]`` and the weight of each: 1, or 0 for padding.
    """
    processes, number = devices.processes(), devices.process()
    largest = max(shard.rows for shard in rows.shards) if isinstance(rows, Stream) else _part(rows)
    share = -(-largest // processes)
    size = min(block, -(-share // count))
    blocks = -(-share // (count * size))
    for part in parts(rows):
        own = Rows(*(np.asarray(column)[number::processes] for column in part))
        cut: Rows = Rows(*(devices.split(np.asarray(column), count, size, blocks) for column in own))
        yield cut, devices.split(np.ones(own.count, np.float32), count, size, blocks)

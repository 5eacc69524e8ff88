"""Encoded rows on disk, for tables larger than memory: safetensors shards and a manifest that is written last."""

import functools
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save

from lab_kit import memory
from lab_kit.arrays import ALIGNMENT, Rows, aligned
from lab_kit.schema import LabError

MANIFEST = "stream.json"
ROWS_PER_SHARD = 65_536
DTYPES = {"F32": np.dtype(np.float32), "I32": np.dtype(np.int32)}
"""The types of the columns of ``Rows``, as safetensors calls them."""

Tensor = tuple[np.dtype[Any], tuple[int, ...], int]
"""Type, shape and first byte of a column in its file."""


@dataclass(frozen=True)
class Shard:
    """One file of a stream and its number of rows."""

    file: str
    rows: int


@dataclass(frozen=True)
class Stream:
    """Encoded rows in a folder; only those that are asked for come into memory.

    Attributes:
      folder: of the shards.
      shards: in the order of the rows.
      fingerprint: of what the rows were made from.
    """

    folder: Path
    shards: tuple[Shard, ...]
    fingerprint: str

    @property
    def count(self) -> int:
        """The number of rows."""
        return sum(shard.rows for shard in self.shards)

    @functools.cached_property
    def likeness(self) -> Rows:
        """No rows, of the widths and types of the stream's."""
        with self._opened(self.shards[0]) as (_, tensors):
            return Rows(*(np.empty((0, *shape[1:]), dtype) for dtype, shape, _ in tensors))

    @property
    def row_bytes(self) -> int:
        """Bytes a row takes in memory."""
        return sum(column.itemsize * int(np.prod(column.shape[1:])) for column in self.likeness)

    def empty(self, count: int) -> Rows:
        """Room for so many rows, to ``read`` into."""
        return Rows(*(aligned((count, *column.shape[1:]), column.dtype) for column in self.likeness))

    @functools.cached_property
    def past_cache(self) -> bool:
        """Whether shards are read past the system's page cache, as it would not keep so many until their next turn.

        That takes a seventh of the processor's time.
        """
        return hasattr(os, "O_DIRECT") and self.count * self.row_bytes > memory.allowed() / 2

    def read(self, shards: list[int], into: Rows | None = None) -> Rows:
        """The rows of some shards, one after the other.

        Args:
          shards: their numbers.
          into: room for at least so many rows, which is filled; new when None. Memory that was in use before costs a
            third of the time of new memory.

        Raises:
          LabError: a shard is missing or damaged.
        """
        room = into or self.empty(sum(self.shards[number].rows for number in shards))
        start = 0
        for number in shards:
            shard = self.shards[number]
            with self._opened(shard) as (file, tensors), self._past_cache(shard) as direct:
                for column, (dtype, shape, position) in zip(room, tensors, strict=True):
                    place = np.asarray(column)[start : start + shard.rows]
                    if (place.dtype, place.shape) != (dtype, shape):
                        raise ValueError(f"not {shard.rows} rows of this table")
                    pages = not (position % ALIGNMENT or place.nbytes % ALIGNMENT or place.ctypes.data % ALIGNMENT)
                    # Not by safetensors, which maps the file into memory: page by page that takes twice as long.
                    _fill(place.reshape(-1).view(np.uint8), direct if pages and direct else file, position)
            start += shard.rows
        return Rows(*(column[:start] for column in room))

    def announce(self, shards: list[int]) -> None:
        """Asks the system, where it can be asked, to read some shards from the disk while other work goes on."""
        if self.past_cache or not hasattr(os, "posix_fadvise"):
            return
        for number in shards:
            with suppress(OSError), (self.folder / self.shards[number].file).open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)

    @contextmanager
    def _opened(self, shard: Shard) -> Iterator[tuple[BufferedReader, list[Tensor]]]:
        """A shard's file, and what its header says of each column of ``Rows``; what goes wrong is named.

        The format is documented at https://github.com/huggingface/safetensors#format.
        """
        path = self.folder / shard.file
        try:
            with path.open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                if size > path.stat().st_size:
                    raise ValueError("it ends too early")
                header = json.loads(file.read(size))
                said = [header[name] for name in Rows._fields]
                yield (
                    file,
                    [
                        (DTYPES[each["dtype"]], tuple(each["shape"]), 8 + size + each["data_offsets"][0])
                        for each in said
                    ],
                )
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise LabError(
                f"The shard {path} cannot be read ({error}); delete {self.folder} and encode again."
            ) from None

    def _past_cache(self, shard: Shard) -> AbstractContextManager[FileIO | None]:
        """A shard's file, to be read past the page cache; None where that is not wanted or cannot be had."""
        with suppress(OSError):  # not every file system has it
            if self.past_cache:
                return FileIO(self.folder / shard.file, opener=lambda name, flags: os.open(name, flags | os.O_DIRECT))
        return nullcontext()


def write_stream(
    parts: Iterable[Rows], folder: Path, rows_per_shard: int = ROWS_PER_SHARD, fingerprint: str = ""
) -> Stream:
    """Writes encoded rows as shards; only about one shard is in memory at a time.

    Args:
      parts: any number of rows each; in order.
      folder: what is there is replaced once everything is written.
      rows_per_shard: rows of each shard but the last.
      fingerprint: of what the rows are made from.

    Raises:
      LabError: there are no rows, or the folder cannot be written.
    """
    work = folder.with_name(f".{folder.name}-{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir(parents=True)
        shards = []
        for number, rows in enumerate(_cut(parts, rows_per_shard)):
            shards.append(Shard(f"{number:06d}.safetensors", rows.count))
            (work / shards[-1].file).write_bytes(_in_pages(save(rows._asdict())))
        if not shards:
            raise LabError(f"There are no rows to write to {folder}: look at the split of the dataset's card.")
        manifest = {"shards": [asdict(shard) for shard in shards], "fingerprint": fingerprint}
        (work / MANIFEST).write_text(json.dumps(manifest), "utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(work, folder)
    except (OSError, SafetensorError) as error:
        raise LabError(f"The shards of {folder} cannot be written: {error}.") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return open_stream(folder)


def open_stream(folder: Path) -> Stream:
    """The stream that ``write_stream`` wrote.

    Raises:
      LabError: there is none, or its manifest is damaged.
    """
    path = folder / MANIFEST
    try:
        data = json.loads(path.read_text("utf-8"))
        shards = tuple(Shard(str(shard["file"]), int(shard["rows"])) for shard in data["shards"])
        fingerprint = str(data["fingerprint"])
    except FileNotFoundError:
        raise LabError(f"There are no encoded rows in {folder}: {MANIFEST} is missing; encode them again.") from None
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise LabError(f"The manifest {path} cannot be read ({error}); delete {folder} and encode again.") from None
    if not shards or min(shard.rows for shard in shards) < 1:
        raise LabError(f"The manifest {path} names no rows; delete {folder} and encode again.")
    return Stream(folder, shards, fingerprint)


def _fill(place: np.ndarray, file: BufferedReader | FileIO, position: int) -> None:
    """Reads bytes from a place of a file until all of ``place`` is filled."""
    file.seek(position)
    filled = 0
    while filled < place.nbytes:
        count = file.readinto(place[filled:].data)
        if not count:
            raise ValueError("it ends too early")
        filled += count


def _in_pages(data: bytes) -> bytes:
    """The same safetensors with a header, filled up with spaces, after which the columns begin with a page."""
    end = 8 + int.from_bytes(data[:8], "little")
    wanted = -(-end // ALIGNMENT) * ALIGNMENT
    return (wanted - 8).to_bytes(8, "little") + data[8:end].ljust(wanted - 8) + data[end:]


def _cut(parts: Iterable[Rows], size: int) -> Iterator[Rows]:
    """Rows in pieces of one size; the last one may be smaller."""
    waiting: list[Rows] = []
    missing = size
    for part in parts:
        start = 0
        while start < part.count:
            piece = Rows(*(column[start : start + missing] for column in part))
            waiting, missing, start = [*waiting, piece], missing - piece.count, start + piece.count
            if not missing:
                yield _joined(waiting)
                waiting, missing = [], size
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[Rows]) -> Rows:
    """The rows of some parts, one after the other, as new arrays."""
    return Rows(*map(np.concatenate, zip(*parts, strict=True)))

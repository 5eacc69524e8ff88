"""Encoded rows on disk, for tables larger than memory: safetensors shards and a manifest that is written last."""

import functools
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any

import numpy as np

from lab_kit import memory
from lab_kit.arrays import ALIGNMENT, Rows, aligned
from lab_kit.schema import LabError

MANIFEST = "stream.json"
LAYOUT = 2
"""Of the shards: in the first one columns began anywhere."""
ROWS_PER_SHARD = 65_536
DTYPES = {"F32": np.dtype(np.float32), "I32": np.dtype(np.int32)}
"""The types of the columns of ``Rows``, as safetensors calls them."""
NAMES = {dtype: name for name, dtype in DTYPES.items()}

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
        """Whether shards are read past the system's page cache, where it would not keep so many until their next turn.

        To read them so takes a sixth of the processor's time that it takes through the cache.
        """
        large = self.count * self.row_bytes > memory.allowed() / 2
        return large and not self.shards[0].rows * 4 % ALIGNMENT and _can_direct(self.folder / self.shards[0].file)

    def read(self, shards: list[int], into: Rows | None = None, shared: bool = False) -> Rows:
        """The rows of some shards, one after the other.

        Args:
          shards: their numbers.
          into: room for at least so many rows, which is filled; new when None. Memory that was in use before costs a
            third of the time of new memory.
          shared: whether other processes of this machine read the same: then through the page cache, which reads once.

        Raises:
          LabError: a shard is missing or damaged.
        """
        room = into or self.empty(sum(self.shards[number].rows for number in shards))
        start = 0
        for number in shards:
            shard = self.shards[number]
            with self._opened(shard) as (file, tensors), self._opened_direct(shard, shared) as direct:
                for column, (dtype, shape, position) in zip(room, tensors, strict=True):
                    place = np.asarray(column)[start : start + shard.rows]
                    if (place.dtype, place.shape) != (dtype, shape):
                        raise ValueError(f"not {shard.rows} rows of this table")
                    pages = not (position % ALIGNMENT or place.nbytes % ALIGNMENT or place.ctypes.data % ALIGNMENT)
                    # Not by safetensors, which maps the file into memory: page by page that takes twice as long.
                    _fill(place.reshape(-1).view(np.uint8), direct if pages and direct else file, position)
            start += shard.rows
        return Rows(*(column[:start] for column in room))

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

    def _opened_direct(self, shard: Shard, shared: bool) -> AbstractContextManager[FileIO | None]:
        """A shard's file, to be read past the page cache; None where it is not."""
        return _direct(self.folder / shard.file) if self.past_cache and not shared else nullcontext()


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
            _write_shard(work / shards[-1].file, rows)
        if not shards:
            raise LabError(f"There are no rows to write to {folder}: look at the split of the dataset's card.")
        manifest = {"layout": LAYOUT, "shards": [asdict(shard) for shard in shards], "fingerprint": fingerprint}
        (work / MANIFEST).write_text(json.dumps(manifest), "utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(work, folder)
    except OSError as error:
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
        if data["layout"] != LAYOUT:
            raise ValueError(f"layout {data['layout']}, and not {LAYOUT}")
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


def _direct(path: Path) -> FileIO:
    """A file that is read past the page cache: from multiples of ``ALIGNMENT``, to such, as many bytes."""
    return FileIO(path, opener=lambda name, flags: os.open(name, flags | os.O_DIRECT))


def _can_direct(path: Path) -> bool:
    """Whether a page of this file can be read so: not all systems and file systems have it, some want larger ones."""
    if not hasattr(os, "O_DIRECT"):
        return False
    try:
        with _direct(path) as file:
            _fill(aligned((ALIGNMENT,), np.uint8), file, ALIGNMENT)
    except (OSError, ValueError):
        return False
    return True


def _write_shard(path: Path, rows: Rows) -> None:
    """Rows as safetensors, whose header is filled up with spaces: the columns begin with a page, and are not copied."""
    header, end = {}, 0
    for name, column in rows._asdict().items():
        start, end = end, end + column.nbytes
        header[name] = {"dtype": NAMES[column.dtype], "shape": column.shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    text = text.ljust(-(-(8 + len(text)) // ALIGNMENT) * ALIGNMENT - 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for column in rows:
            file.write(np.ascontiguousarray(column).reshape(-1).view(np.uint8).data)


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

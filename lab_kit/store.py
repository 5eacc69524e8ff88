"""Tables on disk: Parquet shards with a manifest, and JSON files. Nothing is ever half written."""

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from lab_kit.schema import LabError, first_line

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Shard:
    """One Parquet file of a stored table: its name in the folder, its number of rows, the sha256 of its bytes."""

    file: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a folder of shards holds.

    Attributes:
      shards: the files in the order of the rows.
      rows: the number of rows of all shards.
      schema: pairs of column name and Polars type.
      fingerprint: of what the table was made from, to know whether it is up to date.
    """

    shards: tuple[Shard, ...]
    rows: int
    schema: tuple[tuple[str, str], ...]
    fingerprint: str


def write_shards(
    frame: pl.LazyFrame, folder: Path | str, rows_per_shard: int = 65_536, fingerprint: str = ""
) -> Manifest:
    """Write a table as Parquet shards; only a few shards are in memory at a time.

    Args:
      frame: the table; the order of its rows is kept.
      folder: where the shards go. What is there is replaced once everything is written.
      rows_per_shard: rows in each shard but the last. A table without rows has one empty shard.
      fingerprint: of what the table was made from, see ``fingerprint``.

    Returns:
      The manifest, which is in the folder as well.

    Raises:
      LabError: when the table cannot be computed or the folder cannot be written.
    """
    if rows_per_shard < 1:
        raise LabError(f"rows_per_shard is {rows_per_shard}; it must be 1 or more.")
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise LabError(f"The folder {folder} cannot be written: {error.strerror}.") from None
    try:
        schema = frame.collect_schema()
        shards: list[Shard] = []
        batches = frame.collect_batches(chunk_size=rows_per_shard, maintain_order=True, engine="streaming")
        waiting = pl.DataFrame(schema=schema)
        for batch in batches:
            waiting = pl.concat([waiting, batch])
            while waiting.height >= rows_per_shard:
                shards.append(_write_shard(waiting.head(rows_per_shard), work, len(shards)))
                waiting = waiting.slice(rows_per_shard)
        if waiting.height or not shards:
            shards.append(_write_shard(waiting, work, len(shards)))
        pairs = tuple((name, str(dtype)) for name, dtype in schema.items())
        manifest = Manifest(tuple(shards), sum(shard.rows for shard in shards), pairs, fingerprint)
        write_json(work / MANIFEST, asdict(manifest))
        replace_folder(work, folder)
    except pl.exceptions.PolarsError as error:
        raise LabError(f"The table for {folder} cannot be computed: {first_line(error)}.") from None
    except OSError as error:
        raise LabError(f"The folder {folder} cannot be written: {error.strerror or error}.") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return manifest


def read(folder: Path | str) -> pl.LazyFrame:
    """The table that ``write_shards`` wrote, in the same order, after every shard has been checked.

    Raises:
      LabError: when the manifest or a shard is missing or damaged.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for shard in manifest.shards:
        path = folder / shard.file
        if not path.is_file():
            raise LabError(f"The shard {path} is missing; delete the folder {folder} and build it again.")
        if _sha256(path) != shard.sha256:
            raise LabError(f"The shard {path} is damaged; delete the folder {folder} and build it again.")
    return pl.scan_parquet([folder / shard.file for shard in manifest.shards])


def read_manifest(folder: Path | str) -> Manifest:
    """The manifest of a folder of shards.

    Raises:
      LabError: when it is missing or is not a manifest.
    """
    path = Path(folder) / MANIFEST
    data = read_json(path)
    try:
        shards = tuple(Shard(**shard) for shard in data["shards"])
        schema = tuple((name, dtype) for name, dtype in data["schema"])
        return Manifest(shards, data["rows"], schema, data["fingerprint"])
    except (KeyError, TypeError, ValueError):
        raise LabError(f"The file {path} is not a manifest of shards; build the folder again.") from None


def is_current(folder: Path | str, fingerprint: str) -> bool:
    """Whether a folder holds a complete table that was made from what has this fingerprint (contents unchecked)."""
    try:
        manifest = read_manifest(folder)
    except LabError:
        return False
    there = all((Path(folder) / shard.file).is_file() for shard in manifest.shards)
    return there and manifest.fingerprint == fingerprint


def fingerprint(*parts: str | int | float | bool | Path | None) -> str:
    """A sha256 over parts in order: texts and numbers by value, a ``Path`` by the bytes of its file.

    Raises:
      LabError: when a file is missing.
    """
    keys = [["file", _sha256(part)] if isinstance(part, Path) else part for part in parts]
    return hashlib.sha256(json.dumps(keys, ensure_ascii=False).encode()).hexdigest()


def write_json(path: Path | str, data: Any) -> None:
    """Write JSON (numbers to the last bit, no NaN) under a temporary name and rename it.

    Raises:
      LabError: when the data are not JSON or the file cannot be written.
    """
    path = Path(path)
    try:
        text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise LabError(f"The data for {path} cannot be written as JSON: {error}.") from None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(temporary, 0o644)  # mkstemp allows nobody else to read it
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise LabError(f"The file {path} cannot be written: {error.strerror}.") from None


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises:
      LabError: when it is missing or is not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError:
        raise LabError(f"There is no file {path}; build it again.") from None
    except ValueError:
        raise LabError(f"The file {path} is damaged: it is not JSON; build it again.") from None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file, one a line; half a line at the end, of a writer that was cut off, is left out.

    Raises:
      OSError: it cannot be read.
      ValueError: it is damaged.
    """
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.endswith("}")]


def replace_folder(work: Path, folder: Path) -> None:
    """Put a finished folder in the place of an old one, which stays if that fails.

    A folder cannot be renamed over one that has files, so the old one is moved aside first.

    Args:
      work: from ``tempfile.mkdtemp``, beside ``folder``.
      folder: where it goes; may exist.
    """
    os.chmod(work, 0o755)  # mkdtemp allows nobody else to read it
    if not folder.exists():
        os.replace(work, folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    os.replace(folder, aside / "replaced")
    try:
        os.replace(work, folder)
    except OSError:
        os.replace(aside / "replaced", folder)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_shard(table: pl.DataFrame, folder: Path, number: int) -> Shard:
    path = folder / f"{number:05d}.parquet"
    table.write_parquet(path)
    return Shard(path.name, table.height, _sha256(path))


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        raise LabError(f"There is no file {path}; check the path.") from None

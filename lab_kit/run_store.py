"""The runs of a dataset as a table: listed, named, pinned, deleted and taken back.

``runs/index.json`` remembers a summary of each run that has ended, so that a thousand runs are read by opening one
file and looking at a thousand folders' times. It may be deleted at any time. ``labels.json`` beside it holds names and
pins, ``.deleted/`` the runs that can be taken back.
"""

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from lab_kit.schema import LabError
from lab_kit.store import read_json, read_lines, write_json

INDEX, LABELS, DELETED = "index.json", "labels.json", ".deleted"
VERSION = 2
MEASURES = ("loss", "auc", "accuracy", "rmse", "r2")


@dataclass(frozen=True)
class Summary:
    """What is worth knowing of a run without reading all of it.

    Attributes:
      name: of its folder.
      title: what a reader called it; empty for nothing.
      pinned: whether it stays on top.
      outcome: how it ended; "cut off" for a run without an end, or one that still runs.
      epochs: how far it got.
      seconds: that it took.
      metrics: of the validation rows at its best epoch, by name.
      config: what it was begun with.
      steered: the last value of each setting that was changed while it ran.
      fingerprint: of the rows it learnt from.
    """

    name: str
    title: str
    pinned: bool
    outcome: str
    epochs: float
    seconds: float
    metrics: dict[str, float]
    config: dict[str, Any]
    steered: dict[str, float]
    fingerprint: str

    @property
    def steering(self) -> str:
        """What was steered as a text, such as ``learning_rate=0.003``; empty for nothing."""
        return " ".join(f"{name}={value:g}" for name, value in self.steered.items())

    @property
    def created(self) -> str:
        """When it was begun, as the name of its folder says: ``2026-11-24 04:09:31``."""
        day, clock = self.name[:10], self.name[11:17]
        return f"{day} {clock[:2]}:{clock[2:4]}:{clock[4:]}" if clock.isdigit() else self.name


class RunStore:
    """The runs below a folder.

    Attributes:
      folder: as ``workspace/<dataset>/runs``; it may be missing.
    """

    def __init__(self, folder: Path) -> None:
        """Reads nothing yet."""
        self.folder = folder

    def summaries(self) -> list[Summary]:
        """All runs, pinned ones first, then the newest first; what is no run, or damaged, is left out.

        A run that has ended is read once; afterwards its summary comes from the index, as long as its outcome is the
        same file.
        """
        index, labels = self._read(INDEX), self._read(LABELS)
        known = index.get("runs", {}) if index.get("version") == VERSION else {}
        fresh: dict[str, Any] = {}
        found = []
        for path in self._folders():
            stamp = _stamp(path)
            entry = known.get(path.name)
            if stamp is None or entry is None or entry["stamp"] != stamp:
                entry = {"stamp": stamp, "about": _about(path)}
            if entry["about"] is None:
                continue
            if stamp is not None:
                fresh[path.name] = entry
            label = labels.get(path.name, {})
            found.append(Summary(path.name, label.get("title", ""), bool(label.get("pinned", False)), **entry["about"]))
        if fresh != known and self.folder.is_dir():
            self._write(INDEX, {"version": VERSION, "runs": fresh})
        newest = sorted(found, key=lambda run: run.name, reverse=True)
        return sorted(newest, key=lambda run: not run.pinned)

    def name(self, run: str, title: str) -> None:
        """Gives a run a title; an empty one takes it away.

        Raises:
          LabError: there is no such run.
        """
        self._label(run, title=title.strip())

    def pin(self, run: str, pinned: bool = True) -> None:
        """Keeps a run on top, or no longer.

        Raises:
          LabError: there is no such run.
        """
        self._label(run, pinned=pinned)

    def delete(self, run: str) -> None:
        """Takes a run off the table; ``restore`` brings it back until ``empty`` is called.

        Raises:
          LabError: there is no such run, or it cannot be moved.
        """
        place = self._place(run)
        try:
            (self.folder / DELETED).mkdir(exist_ok=True)
            place.rename(self.folder / DELETED / run)
        except OSError as error:
            raise LabError(f"The run {place} cannot be deleted: {error.strerror}.") from None

    def restore(self, run: str) -> None:
        """Brings a deleted run back as it was, with its name and its pin.

        Raises:
          LabError: it was not deleted, or it cannot be moved.
        """
        try:
            (self.folder / DELETED / run).rename(self.folder / run)
        except OSError as error:
            raise LabError(f"The run {run} cannot be brought back: {error.strerror}.") from None

    def deleted(self) -> list[str]:
        """The names of the runs that can be brought back, the newest first."""
        place = self.folder / DELETED
        return sorted((path.name for path in place.iterdir()), reverse=True) if place.is_dir() else []

    def history(self, run: str) -> list[dict[str, Any]]:
        """The records of a run, see ``runs.row``; half a line at the end of one that was cut off is left out.

        Raises:
          LabError: there is no such run, or its history is damaged.
        """
        path = self._place(run) / "history.jsonl"
        try:
            return read_lines(path)
        except (OSError, ValueError):
            raise LabError(f"The history {path} cannot be read: delete the run.") from None

    def _folders(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        with os.scandir(self.folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith(".")]

    def _place(self, run: str) -> Path:
        place = self.folder / run
        if not (place / "config.json").is_file():
            raise LabError(f"There is no run {run} in {self.folder}: look at the table again.")
        return place

    def _label(self, run: str, **change: Any) -> None:
        self._place(run)
        labels = self._read(LABELS)
        self._write(LABELS, {**labels, run: {**labels.get(run, {}), **change}})

    def _read(self, name: str) -> dict[str, Any]:
        try:
            found = read_json(self.folder / name)
        except LabError:
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, name: str, data: dict[str, Any]) -> None:
        write_json(self.folder / name, data)


def _stamp(path: Path) -> int | None:
    """When a run ended, in ns; None for one that has not, or what is no run."""
    try:
        return (path / "outcome.json").stat().st_mtime_ns
    except OSError:
        return None


def _about(path: Path) -> dict[str, Any] | None:
    """The summary of a run from its files; None for what is no run, or damaged."""
    try:
        about = read_json(path / "config.json")
        ended = (path / "outcome.json").is_file()
        outcome = read_json(path / "outcome.json")["outcome"] if ended else "cut off"
        rows = read_lines(path / "history.jsonl")
        best = next((row for row in reversed(rows) if row["best"]), rows[-1] if rows else {})
        metrics = {name: best.get(f"validation_{name}") for name in MEASURES}
        steering = path / "steering.jsonl"
        changes = read_lines(steering) if steering.is_file() else []
        return {
            "outcome": outcome,
            "epochs": rows[-1]["epoch"] if rows else 0.0,
            "seconds": rows[-1]["seconds"] if rows else 0.0,
            "metrics": {name: value for name, value in metrics.items() if value is not None and math.isfinite(value)},
            "config": about["config"],
            "steered": {change["name"]: change["value"] for change in changes if change["value"] is not None},
            "fingerprint": about["fingerprint"],
        }
    except (LabError, OSError, ValueError, KeyError, TypeError):
        return None


def differing(configs: Iterable[dict[str, Any]]) -> list[str]:
    """The names of the settings in which some of these configurations differ, in their order."""
    found = [*configs]
    names = dict.fromkeys(name for config in found for name in config)
    return [name for name in names if any(config.get(name) != found[0].get(name) for config in found)]


def frame(summaries: Iterable[Summary]) -> pl.DataFrame:
    """One row a run, one column a setting and a metric; a hidden-layer list becomes a text such as ``128-64``.

    What was steered is a text too, see ``Summary.steering``; the setting itself is what the run began with.
    """
    rows = []
    for run in summaries:
        flat = {name: value for name, value in asdict(run).items() if name not in ("metrics", "config", "steered")}
        config = {**run.config, "hidden": "-".join(map(str, run.config.get("hidden", ())))}
        flat["steered"] = run.steering
        rows.append(flat | {f"validation_{name}": value for name, value in run.metrics.items()} | config)
    return pl.DataFrame(rows, infer_schema_length=None)


def export(summaries: Iterable[Summary], path: Path) -> Path:
    """Writes the table of runs as CSV or Parquet, by the ending of the name, under a temporary name first.

    Raises:
      LabError: the ending is another, or the file cannot be written.
    """
    writers: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
        ".csv": lambda table, to: table.write_csv(to),
        ".parquet": lambda table, to: table.write_parquet(to),
    }
    if path.suffix not in writers:
        raise LabError(f"The table of runs cannot be written to {path}: choose a name ending in .csv or .parquet.")
    temporary = path.with_name(f".{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writers[path.suffix](frame(summaries), temporary)
        temporary.replace(path)
    except OSError as error:
        raise LabError(f"The table of runs cannot be written to {path}: {error.strerror or error}.") from None
    return path

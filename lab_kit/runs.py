"""A run on disk: its configuration, its history, its steering, its checkpoints and its best weights, in one folder.

``workspace/<dataset>/runs/<id>/`` holds ``config.json``, ``history.jsonl`` and ``steering.jsonl`` (a line a record and
a change, so that a run that is cut off keeps what it had), ``weights.safetensors`` (the best weights so far),
``checkpoints/`` (from which ``resume`` goes on) and, once it has ended, ``outcome.json``.
"""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors import SafetensorError

from lab_kit import devices, store
from lab_kit.checkpoints import Checkpoints
from lab_kit.config import TrainConfig
from lab_kit.model import Network
from lab_kit.schema import LabError
from lab_kit.steering import Change, Steering
from lab_kit.store import read_json, read_lines, write_json
from lab_kit.train import Progress, Record, beginning
from lab_kit.weights import network_from, read_weights, write_weights


@dataclass(frozen=True)
class Run:
    """A run read back from its folder.

    Attributes:
      folder: where it lies.
      config: what it was run with.
      network: its architecture.
      weights: float32 ``[P]``, those of its best validation loss.
      history: a row a record, see ``row``.
    """

    folder: Path
    config: TrainConfig
    network: Network
    weights: np.ndarray
    history: pl.DataFrame


@dataclass(frozen=True)
class Resumed:
    """What a run goes on with, for ``fit`` and ``keep``.

    Attributes:
      config: what it was begun with.
      start: where its last good checkpoint got to; None for the beginning.
      steering: does again what was done by hand after that checkpoint.
    """

    config: TrainConfig
    start: Progress | None
    steering: Steering


def row(record: Record) -> dict[str, Any]:
    """A record as one flat row, without the weights: ``train_loss``, ``validation_auc``, ``learning_rate``, ..."""
    return {
        "epoch": record.epoch,
        "step": record.step,
        "rows_seen": record.rows_seen,
        **{f"train_{name}": value for name, value in record.train.items()},
        **{f"validation_{name}": value for name, value in (record.validation or {}).items()},
        "rows_per_second": record.rows_per_second,
        "seconds": record.seconds,
        "gradient_norm": record.gradient_norm,
        "rate": record.rate,
        **record.hyperparameters,
        "best": record.best,
        "outcome": record.outcome,
    }


def history(rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """The rows of several records as a frame; a metric that a record lacks is null."""
    return pl.DataFrame(list(rows), infer_schema_length=None)


def keep(
    records: Iterable[Record],
    folder: Path,
    config: TrainConfig,
    fingerprint: str = "",
    steering: Steering | None = None,
    checkpoint_every: float = 2.0,
    stream: bool = False,
) -> Iterator[Record]:
    """Passes records on and writes the run to its folder as they come.

        for record in keep(fit(...), runs.new_folder(workspace), config):
            ...

    Args:
      records: of one fit.
      folder: new, see ``new_folder``; or that of a run which ``resume`` has just been asked for.
      config: of the fit.
      fingerprint: of the rows it learns from, so that a later stage knows whether the run still fits them.
      steering: of the fit; its changes are written down.
      checkpoint_every: seconds from one checkpoint to the next.
      stream: whether the rows lie on disk, where their order is another.

    Raises:
      LabError: the folder cannot be written, because the disk is full, say; the last good checkpoint stays.
    """
    records = iter(records)
    first = next(records)  # a run that cannot begin says so here, before there is a folder
    if devices.process():  # the first process writes for all
        yield from chain([first], records)
        return
    identity = store.fingerprint(json.dumps([asdict(first.network), config.optimizer]), fingerprint)
    saved = Checkpoints(folder / "checkpoints", identity, checkpoint_every, first.step or None)
    changes = steering.changes if steering else []
    written, learnt = 0, np.isfinite(first.progress.lowest)
    try:
        if first.step == 0:
            folder.mkdir(parents=True, exist_ok=True)
            of_rows = {"fingerprint": fingerprint, "stream": stream}
            write_json(folder / "config.json", {"config": asdict(config), "network": asdict(first.network)} | of_rows)
        with (
            (folder / "history.jsonl").open("a", encoding="utf-8", buffering=1) as history,
            (folder / "steering.jsonl").open("a", encoding="utf-8", buffering=1) as steered,
        ):
            for record in chain([first], records):
                if record is not first or record.step == 0:  # of a resumed run the first record is there already
                    history.write(json.dumps(row(record)) + "\n")
                for change in changes[written:]:
                    steered.write(json.dumps(asdict(change)) + "\n")
                written = len(changes)
                if record.best:
                    learnt = True
                    write_weights(folder / "weights.safetensors", record.network, np.asarray(record.weights))
                saved.save(record.progress, at_once=record.outcome is not None)
                if record.outcome:
                    write_json(folder / "outcome.json", {"outcome": record.outcome, "learnt": bool(learnt)})
                yield record
    except (OSError, SafetensorError) as error:
        raise _unwritable(folder, error) from None
    finally:
        saved.close()


def resume(folder: Path, fingerprint: str, stream: bool = False) -> Resumed:
    """Takes a run up where its last good checkpoint left it, and cuts off what its files hold beyond that.

    Args:
      folder: of the run; ended by its end, by a stop, or by a kill at any moment.
      fingerprint: of the rows it shall go on with.
      stream: whether they lie on disk.

    Returns:
      What to pass on: ``fit(..., resumed.config, start=resumed.start, steering=resumed.steering)``.

    Raises:
      LabError: it is not a run, it learns from other rows, it has come to its own end, or no checkpoint can be read.
    """
    return devices.first_alone(lambda: _resume(folder, fingerprint, stream))  # the others find what it mended


def _resume(folder: Path, fingerprint: str, stream: bool) -> Resumed:
    about = read_json(folder / "config.json")
    config, network = _config(folder, about), network_from(about["network"])
    if about["fingerprint"] != fingerprint:
        raise LabError(
            f"The run {folder} learns from other rows than these: take its dataset as it was, or train anew."
        )
    if about.get("stream", False) != stream:
        way = f"{'without' if stream else 'with'} --stream"
        raise LabError(f"The run {folder} was begun {way}, so its rows come in another order: resume it {way}.")
    outcome = read_json(folder / "outcome.json")["outcome"] if (folder / "outcome.json").exists() else ""
    if outcome.startswith(("finished", "stopped early", "diverged")):
        raise LabError(f"The run {folder} has come to its end ({outcome}): there is nothing to resume.")
    identity = store.fingerprint(json.dumps([asdict(network), config.optimizer]), fingerprint)
    start = Checkpoints(folder / "checkpoints", identity).load(beginning(network.signature, config))
    if start and not start.step:
        start = None  # nothing was learnt: it begins anew, with the same first record
    step = start.step if start else -1
    try:
        rows = [
            line for line in read_lines(folder / "history.jsonl") if line["step"] <= step and line["outcome"] is None
        ]
        changes = [Change(**line) for line in read_lines(folder / "steering.jsonl")]
    except FileNotFoundError:
        rows, changes = [], []  # killed before its first record
    except (KeyError, TypeError, ValueError) as error:
        raise LabError(f"The run {folder} is damaged ({error}); delete its folder and train again.") from None
    again = Resumed(config, start, Steering(c for c in changes if c.step >= step and c.name != "stop"))
    if devices.process():
        return again
    try:
        _rewrite(folder / "history.jsonl", rows)
        _rewrite(folder / "steering.jsonl", [asdict(change) for change in changes if change.step < step])
        (folder / "outcome.json").unlink(missing_ok=True)
        if start and np.isfinite(start.lowest):
            write_weights(folder / "weights.safetensors", network, np.asarray(start.best))
        else:
            (folder / "weights.safetensors").unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise _unwritable(folder, error) from None
    return again


def _rewrite(path: Path, rows: list[dict[str, Any]]) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    temporary.replace(path)


def _unwritable(folder: Path, error: Exception) -> LabError:
    return LabError(
        f"The run {folder} cannot be written: {getattr(error, 'strerror', None) or error}. Its last good checkpoint is "
        "kept: make room on the disk and resume it."
    )


def _config(folder: Path, about: dict[str, Any]) -> TrainConfig:
    try:
        return TrainConfig(**{**about["config"], "hidden": tuple(about["config"]["hidden"])})
    except (KeyError, TypeError) as error:
        raise LabError(f"The run {folder} is damaged ({error}); delete its folder and train again.") from None


def new_folder(folder: Path) -> Path:
    """Makes a folder for a new run: date and time, and a number when that is taken; names sort by age.

    Raises:
      LabError: it cannot be made.
    """
    stem = time.strftime("%Y-%m-%d-%H%M%S")
    for name in [stem, *(f"{stem}-{number:03}" for number in range(2, 1000))]:
        try:
            (folder / name).mkdir(parents=True)  # at once: another process may be looking for a name as well
            return folder / name
        except FileExistsError:
            continue
        except OSError as error:
            raise LabError(f"The folder {folder} cannot be written: {error.strerror}.") from None
    raise LabError(f"There are a thousand runs of this second in {folder}: start fewer at a time.")


def load(folder: Path) -> Run:
    """Reads a run.

    Raises:
      LabError: it is not a run, or a file of it is damaged.
    """
    about = read_json(folder / "config.json")
    try:
        network = network_from(about["network"])
        rows = read_lines(folder / "history.jsonl")
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise LabError(f"The run {folder} is damaged ({error}); delete its folder and train again.") from None
    config = _config(folder, about)
    return Run(folder, config, network, read_weights(folder / "weights.safetensors", network), history(rows))


def latest(folder: Path, fingerprint: str) -> Path | None:
    """The newest run that ended well and learnt from rows with this fingerprint; None if there is none."""
    for path in sorted(folder.glob("*/outcome.json"), reverse=True):
        try:
            ended, about = read_json(path), read_json(path.with_name("config.json"))
        except LabError:
            continue  # a damaged run says so when it is loaded by name; it does not hide the older ones
        if ended["learnt"] and not ended["outcome"].startswith("diverged") and about["fingerprint"] == fingerprint:
            return path.parent
    return None

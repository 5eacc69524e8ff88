"""A run on disk: its configuration, its history and its best weights, in a folder of its own.

``workspace/<dataset>/runs/<id>/`` holds ``config.json``, ``history.jsonl`` (a line a record, so that a run that is cut
off keeps what it had) and ``weights.safetensors`` (the best weights so far).
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

from lab_kit.config import TrainConfig
from lab_kit.model import Network
from lab_kit.schema import LabError
from lab_kit.store import read_json, write_json
from lab_kit.train import Record
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
        **record.hyperparameters,
        "best": record.best,
        "outcome": record.outcome,
    }


def history(rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """The rows of several records as a frame; a metric that a record lacks is null."""
    return pl.DataFrame(list(rows), infer_schema_length=None)


def keep(records: Iterable[Record], folder: Path, config: TrainConfig, fingerprint: str = "") -> Iterator[Record]:
    """Passes records on and writes the run to its folder as they come.

        for record in keep(fit(...), runs.new_folder(workspace), config):
            ...

    Args:
      records: of one fit.
      folder: does not exist yet, see ``new_folder``.
      config: of the fit.
      fingerprint: of the rows it learns from, so that a later stage knows whether the run still fits them.
    """
    records = iter(records)
    first = next(records)  # a configuration that cannot run says so here, before there is a folder
    folder.mkdir(parents=True)
    learnt = False
    with (folder / "history.jsonl").open("w", encoding="utf-8") as lines:
        for record in chain([first], records):
            if record.step == 0:
                about = {"config": asdict(config), "network": asdict(record.network), "fingerprint": fingerprint}
                write_json(folder / "config.json", about)
            lines.write(json.dumps(row(record)) + "\n")
            lines.flush()
            if record.best:
                learnt = True
                write_weights(folder / "weights.safetensors", record.network, np.asarray(record.weights))
            if record.outcome:
                write_json(folder / "outcome.json", {"outcome": record.outcome, "learnt": learnt})
            yield record


def new_folder(folder: Path) -> Path:
    """A name for a new run below a folder: date and time, and a number when that is taken; names sort by age."""
    stem = time.strftime("%Y-%m-%d-%H%M%S")
    names = [stem, *(f"{stem}-{number:03}" for number in range(2, 1000))]
    return next(folder / name for name in names if not (folder / name).exists())


def load(folder: Path) -> Run:
    """Reads a run.

    Raises:
      LabError: it is not a run, or a file of it is damaged.
    """
    about = read_json(folder / "config.json")
    try:
        network = network_from(about["network"])
        config = TrainConfig(**{**about["config"], "hidden": tuple(about["config"]["hidden"])})
        lines = (folder / "history.jsonl").read_text("utf-8").splitlines()
        rows = [
            json.loads(line) for line in lines if line.endswith("}")
        ]  # a run that was cut off may end in half a line
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise LabError(f"The run {folder} is damaged ({error}); delete its folder and train again.") from None
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

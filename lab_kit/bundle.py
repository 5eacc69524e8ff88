"""The deployable: card, cleaning plan, encoder, network and weights in one folder, without pickle.

bundle = load("workspace/flights/bundle")
bundle.predict(pl.read_csv("new_flights.csv"))
"""

import os
import platform
import shutil
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import ValidationError
from safetensors import SafetensorError

from lab_kit import clean, features
from lab_kit.arrays import Array
from lab_kit.encoder import Encoder
from lab_kit.model import Network
from lab_kit.predict import predict
from lab_kit.schema import DatasetCard, LabError, first_line
from lab_kit.store import fingerprint, read_json, replace_folder, write_json
from lab_kit.weights import network_from, read_weights, write_weights

FORMAT = 1
"""Raised when the files of a bundle change their meaning."""

_FILES = ("card.json", "cleaning.json", "encoder.json", "network.json", "weights.safetensors")


@dataclass(frozen=True)
class Bundle:
    """A trained model with everything it needs to read new rows as it read its training rows.

    Attributes:
      card: of its dataset.
      plan: the fitted cleaning plan.
      encoder: fitted on the training rows.
      network: the architecture.
      weights: float32 ``[P]``.
      threshold: ``binary`` only: from which probability on a row is called positive.
    """

    card: DatasetCard
    plan: clean.Plan
    encoder: Encoder
    network: Network
    weights: Array
    threshold: float = 0.5

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the columns of the cleaned table that the network sees."""
        return (*self.encoder.categorical_names, *(column.name for column in self.encoder.numeric))

    def without_values(self, frame: pl.DataFrame) -> list[str]:
        """The columns that predictions come from and that hold nothing but nulls: each cell of them is filled."""
        needed = {*self.inputs, *(name for name, _ in clean.needed_for(self.inputs, self.plan).kinds)}
        return [name for name in frame.columns if name in needed and frame[name].null_count() == frame.height > 0]

    def predict(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Predicts new rows, one at a time in effect: a row's prediction depends on that row alone.

        Args:
          frame: rows with the columns that the card names; the target and the columns known only after the fact may be
            missing. New categories and nulls are handled as the card's ``new_rows`` says.

        Returns:
          As many rows in the same order. ``binary``: ``probability`` of the positive class and ``prediction``.
          ``multiclass``: ``prediction`` and ``probability CLASS`` for each. ``regression``: ``prediction`` in the
          target's unit.

        Raises:
          LabError: a column is missing, or a value cannot be used; says which.
        """
        plan = clean.needed_for(self.inputs, self.plan)
        cleaned = clean.apply_to_new(plan, frame.drop(self.card.target.column, strict=False).lazy())
        rows = features.encode_new(self.encoder, cleaned, self.card.new_rows)
        found = predict(self.network, self.weights, rows)
        labels = self.encoder.labels
        if self.card.task == "regression":
            return pl.DataFrame({"prediction": found * self.encoder.target_std + self.encoder.target_mean})
        if self.card.task == "binary":
            called = np.array(labels)[(found >= self.threshold).astype(int)]
            return pl.DataFrame({"prediction": called, "probability": found})
        called = np.array(labels)[found.argmax(axis=1)]
        return pl.DataFrame(
            {"prediction": called, **{f"probability {name}": found[:, k] for k, name in enumerate(labels)}}
        )


def save(bundle: Bundle, folder: Path) -> None:
    """Writes a bundle, whole or not at all: to a temporary folder beside, then renamed; an older bundle is replaced.

    Raises:
      LabError: the folder cannot be written; an older bundle is still there then.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _write(bundle, work)
            replace_folder(work, folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise LabError(f"The bundle {folder} cannot be written: {first_line(error)}.") from None


def _write(bundle: Bundle, work: Path) -> None:
    (work / "card.json").write_text(bundle.card.model_dump_json(indent=1, by_alias=True), "utf-8")
    (work / "cleaning.json").write_text(bundle.plan.to_json(), "utf-8")
    (work / "encoder.json").write_text(bundle.encoder.to_json(), "utf-8")
    write_json(work / "network.json", asdict(bundle.network) | {"threshold": bundle.threshold})
    write_weights(work / "weights.safetensors", bundle.network, np.asarray(bundle.weights))
    libraries = {name: version(name) for name in ("lab-kit", "jax", "flax", "polars", "numpy")}
    sums = {name: fingerprint(work / name) for name in _FILES}
    made = {"format": FORMAT, "files": sums, "python": platform.python_version(), "versions": libraries}
    write_json(work / "bundle.json", made)


def load(folder: Path | str) -> Bundle:
    """Reads a bundle.

    Raises:
      LabError: the folder is not a bundle, a file of it is missing or damaged, or it was written by a newer Lab Kit.
    """
    folder = Path(folder)
    if not (folder / "bundle.json").is_file():
        raise LabError(f"{folder} is not a bundle: it has no bundle.json. `lab-kit train` and notebook 08 write one.")
    made = read_json(folder / "bundle.json")
    try:
        written, newer, sums = made["versions"]["lab-kit"], made["format"] > FORMAT, dict(made["files"])
    except (KeyError, TypeError, ValueError):
        raise LabError(f"The file {folder / 'bundle.json'} is damaged; save the bundle again.") from None
    if newer:
        raise LabError(f"The bundle {folder} was written by a newer Lab Kit ({written}); update yours.")
    for name in _FILES:
        if fingerprint(folder / name) != sums.get(name):
            raise LabError(f"The file {folder / name} is damaged: its sha256 is not the one in bundle.json.")
    network_data = read_json(folder / "network.json")
    network = network_from(network_data)
    try:
        card = DatasetCard.model_validate_json((folder / "card.json").read_text("utf-8"))
    except ValidationError as error:
        raise LabError(f"The card of the bundle {folder} is not valid: {error.errors()[0]['msg']}.") from None
    return Bundle(
        card=card,
        plan=clean.Plan.from_json((folder / "cleaning.json").read_text("utf-8")),
        encoder=Encoder.from_json((folder / "encoder.json").read_text("utf-8")),
        network=network,
        weights=read_weights(folder / "weights.safetensors", network),
        threshold=network_data["threshold"],
    )


def read_rows(path: Path, card: DatasetCard) -> pl.DataFrame:
    """New rows out of a file. CSV values stay text here; ``predict`` reads them as what they were in training.

    Args:
      path: a CSV file (``.tsv``: with tabs), compressed or not, or a Parquet file (``.parquet``).
      card: of the bundle; says which texts stand for a missing value.

    Raises:
      LabError: the file is missing, is not such a table, or has no rows.
    """
    if path.is_dir():
        raise LabError(f"The input {path} is a folder; give one CSV or Parquet file.")
    nulls = ["", *getattr(card.source, "null_values", ())]
    separator = "\t" if ".tsv" in path.suffixes else ","
    try:
        # A name is a name: without glob=False Polars takes brackets and stars in it for a pattern.
        if path.suffix == ".parquet":
            rows = pl.read_parquet(path, glob=False)
        else:
            rows = pl.read_csv(path, infer_schema=False, null_values=nulls, separator=separator, glob=False)
    except OSError as error:
        raise LabError(f"The file {path} cannot be read: {error.strerror or 'there is no such file'}.") from None
    except pl.exceptions.PolarsError as error:
        raise LabError(f"The file {path} is not a table that can be read: {first_line(error)}.") from None
    if not rows.height:
        raise LabError(f"The file {path} has names of columns but no rows, so there is nothing to predict.")
    return rows


def check_output(path: Path) -> None:
    """Refuse a file that ``write_rows`` could not write, before the work is done.

    Raises:
      LabError: its name ends neither in .csv nor in .parquet, its folder is missing, or it is a folder.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise LabError(f"The output {path} must end in .csv or .parquet.")
    if not path.parent.is_dir():
        raise LabError(f"The output {path} cannot be written: there is no folder {path.parent}; make it first.")
    if path.is_dir():
        raise LabError(f"The output {path} cannot be written: it is a folder; give the name of a file.")


def write_rows(frame: pl.DataFrame, path: Path) -> None:
    """Writes a table as CSV or Parquet, by the end of its name; whole or not at all.

    Raises:
      LabError: as ``check_output``, or the file cannot be written.
    """
    check_output(path)
    temporary = path.with_name(f".{path.name}")
    try:
        if path.suffix == ".csv":
            frame.write_csv(temporary)
        else:
            frame.write_parquet(temporary)
        os.replace(temporary, path)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise LabError(f"The output {path} cannot be written: {reason}.") from None
    finally:
        temporary.unlink(missing_ok=True)

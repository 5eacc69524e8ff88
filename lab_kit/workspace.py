"""The stages of a dataset in ``workspace/<dataset>/``: built when missing, reused while their inputs are the same.

So every notebook opens and runs alone. A stage that has to be built says so in a line. Its fingerprint covers
the card (with the sha256 of its files and its cleaning steps) and the version of Lab Kit.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import polars as pl
from safetensors.numpy import load_file, save_file

from lab_kit import __version__, bundle, clean, datasets, evaluate, features, runs, store
from lab_kit.arrays import Rows
from lab_kit.config import TrainConfig, suggest
from lab_kit.encoder import Encoder
from lab_kit.schema import DatasetCard, LabError, TableSource
from lab_kit.train import Record, fit

Split = Literal["train", "validation", "test"]

WORKSPACE = Path(os.environ.get("LAB_KIT_WORKSPACE", Path(__file__).parent.parent / "workspace"))
"""Where everything computed lands; the environment variable LAB_KIT_WORKSPACE names another place."""

STAMP = "stamp.json"
"""Says what a stage was built from, and the sha256 of what was built; without it the stage is built again."""


class Cleaned(NamedTuple):
    """The table after cleaning.

    Attributes:
      frame: lazily read from Parquet shards, with the column ``split``.
      plan: the cleaning plan, fitted on the training rows.
      ledger: what each step changed.
      fingerprint: of all that went into it.
    """

    frame: pl.LazyFrame
    plan: clean.Plan
    ledger: pl.DataFrame
    fingerprint: str


@dataclass(frozen=True)
class Prepared:
    """Everything a model needs of a dataset.

    Attributes:
      card: of the dataset.
      plan: the fitted cleaning plan.
      encoder: fitted on the training rows.
      train: rows to learn from.
      validation: rows to choose by.
      test: rows to look at once, at the end.
      fingerprint: of all that went into them.
    """

    card: DatasetCard
    plan: clean.Plan
    encoder: Encoder
    train: Rows
    validation: Rows
    test: Rows
    fingerprint: str


def folder(card: DatasetCard, root: Path | None = None) -> Path:
    """Where the stages of a dataset lie."""
    return (root or WORKSPACE) / card.name


def cleaned(card: DatasetCard, root: Path | None = None, say: Callable[[str], None] = print) -> Cleaned:
    """The cleaned table, as Parquet shards in ``clean/``.

    Args:
      card: of the dataset.
      root: the workspace.
      say: hears one line when the stage has to be built.

    Raises:
      LabError: the source is missing or damaged, or the card does not fit it.
    """
    place = folder(card, root) / "clean"
    current = store.fingerprint(__version__, card.hash(), *_own_file(card))
    files = plan_file, ledger_file = place / "plan.json", place / "ledger.parquet"
    if not (store.is_current(place, current) and _is_whole(place, current, files)):
        say(f"Cleaning {card.name} with the steps of its card ...")
        rows = features.split_rows(datasets.scan(card), card)
        datasets.check_target(card, rows)
        plan = clean.fit(card.cleaning, rows.filter(pl.col("split") == "train"))
        ledger = clean.ledger(plan, rows)
        store.write_shards(clean.apply(plan, rows), place, fingerprint=current)
        ledger.write_parquet(ledger_file)
        plan_file.write_text(plan.to_json(), "utf-8")
        store.write_json(place / STAMP, store.fingerprint(current, *files))
    plan = clean.Plan.from_json(plan_file.read_text("utf-8"))
    return Cleaned(store.read(place), plan, pl.read_parquet(ledger_file), current)


def prepared(card: DatasetCard, root: Path | None = None, say: Callable[[str], None] = print) -> Prepared:
    """The encoded rows of each split, kept in ``features/``; cleans first where that is missing.

    Args:
      card: of the dataset.
      root: the workspace.
      say: hears one line for each stage that has to be built.
    """
    table = cleaned(card, root, say)
    place = folder(card, root) / "features"
    files = arrays_file, encoder_file = place / "rows.safetensors", place / "encoder.json"
    if not _is_whole(place, table.fingerprint, files):
        say(f"Encoding {card.name}: statistics from the training rows alone ...")
        place.mkdir(parents=True, exist_ok=True)
        (place / STAMP).unlink(missing_ok=True)
        encoder = features.fit_encoder(table.frame.filter(pl.col("split") == "train"), card)
        encoder_file.write_text(encoder.to_json(), "utf-8")
        save_file(
            {
                f"{split}.{name}": array
                for split in features.SPLITS
                for name, array in _encoded(encoder, table.frame, split)._asdict().items()
            },
            arrays_file,
        )
        store.write_json(place / STAMP, store.fingerprint(table.fingerprint, *files))
    encoder = Encoder.from_json(encoder_file.read_text("utf-8"))
    arrays = load_file(arrays_file)
    rows = {split: Rows(*(arrays[f"{split}.{name}"] for name in Rows._fields)) for split in features.SPLITS}
    return Prepared(card, table.plan, encoder, **rows, fingerprint=table.fingerprint)


def trained(
    data: Prepared,
    config: TrainConfig | None = None,
    root: Path | None = None,
    say: Callable[[str], None] = print,
    watch: Callable[[Record], None] = lambda record: None,
) -> runs.Run:
    """The newest run that learnt from these rows, with any configuration; trains one where there is none.

    Args:
      data: of the dataset.
      config: for the run that has to be made; ``config.suggest`` when None.
      root: the workspace.
      say: hears one line when a run has to be made.
      watch: sees each record of it.
    """
    place = folder(data.card, root) / "runs"
    found = runs.latest(place, data.fingerprint)
    if found is None:
        say(f"Training {data.card.name} with the default configuration ...")
        found = train(data, config or suggest(data.train.count), root, watch)
    return runs.load(found)


def train(
    data: Prepared,
    config: TrainConfig,
    root: Path | None = None,
    watch: Callable[[Record], None] = lambda record: None,
) -> Path:
    """Trains and keeps the run.

    Returns:
      The folder of the run.
    """
    place = runs.new_folder(folder(data.card, root) / "runs")
    records = fit(data.train, data.validation, data.encoder.signature, config)
    for record in runs.keep(records, place, config, data.fingerprint):
        watch(record)
    return place


def bundled(data: Prepared, run: runs.Run, root: Path | None = None) -> Path:
    """The deployable of a run, in ``bundle/``; the threshold of a yes/no question is chosen on the validation rows."""
    threshold = 0.5
    if data.card.task == "binary":
        probability = evaluate.predict(run.network, run.weights, data.validation)
        threshold = evaluate.choose_threshold(data.validation.target, probability)
    made = bundle.Bundle(data.card, data.plan, data.encoder, run.network, run.weights, threshold)
    place = folder(data.card, root) / "bundle"
    bundle.save(made, place)
    return place


def _is_whole(place: Path, current: str, files: tuple[Path, ...]) -> bool:
    """Whether the stamp, which is written last, is of these inputs and of these files, byte for byte."""
    try:
        return bool(store.read_json(place / STAMP) == store.fingerprint(current, *files))
    except LabError:
        return False


def _encoded(encoder: Encoder, frame: pl.LazyFrame, split: str) -> Rows:
    return features.encode(encoder, frame.filter(pl.col("split") == split))


def _own_file(card: DatasetCard) -> list[Path]:
    """A user's own table has no sha256 in its card, so its bytes count."""
    return [datasets.DATASETS_FOLDER / card.source.path] if isinstance(card.source, TableSource) else []

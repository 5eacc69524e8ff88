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

from lab_kit import __version__, bundle, clean, datasets, devices, features, runs, splits, store
from lab_kit.arrays import Rows
from lab_kit.config import TrainConfig, suggest
from lab_kit.encoder import Encoder
from lab_kit.schema import DatasetCard, LabError, TableSource
from lab_kit.steering import Steering
from lab_kit.stream import Stream, open_stream, write_stream
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
    train: Rows | Stream
    validation: Rows | Stream
    test: Rows | Stream
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
        rows = splits.split_rows(datasets.scan(card), card)
        datasets.check_target(card, rows)
        plan = clean.fit(card.cleaning, rows.filter(pl.col("split") == "train"))
        ledger = clean.ledger(plan, rows)
        store.write_shards(clean.apply(plan, rows), place, fingerprint=current)
        ledger.write_parquet(ledger_file)
        plan_file.write_text(plan.to_json(), "utf-8")
        store.write_json(place / STAMP, store.fingerprint(current, *files))
    plan = clean.Plan.from_json(plan_file.read_text("utf-8"))
    return Cleaned(store.read(place), plan, pl.read_parquet(ledger_file), current)


def prepared(
    card: DatasetCard, root: Path | None = None, say: Callable[[str], None] = print, stream: bool = False
) -> Prepared:
    """The encoded rows of each split, kept in ``features/``; cleans first where that is missing.

    Args:
      card: of the dataset.
      root: the workspace.
      say: hears one line for each stage that has to be built.
      stream: whether the rows stay on disk, as ``Stream``s, for tables larger than memory.
    """
    table = cleaned(card, root, say)
    place = folder(card, root) / "features"
    encoder = _encoder(table, card, place)
    current = store.fingerprint(table.fingerprint, encoder.to_json())
    if stream:
        parts: dict[str, Rows | Stream] = {}
        for split in splits.SPLITS:
            frame = table.frame.filter(pl.col("split") == split)
            parts[split] = _streamed(encoder, frame, place / split, current, say)
        return Prepared(card, table.plan, encoder, **parts, fingerprint=table.fingerprint)
    file = place / "rows.safetensors"
    if not _is_whole(place, current, (file,)):
        say(f"Encoding {card.name}: statistics from the training rows alone ...")
        (place / STAMP).unlink(missing_ok=True)
        encoded = {split: _encoded(encoder, table.frame, split)._asdict() for split in splits.SPLITS}
        arrays = {f"{split}.{name}": array for split, rows in encoded.items() for name, array in rows.items()}
        save_file(arrays, file)
        store.write_json(place / STAMP, store.fingerprint(current, file))
    arrays = load_file(file)
    rows = {split: Rows(*(arrays[f"{split}.{name}"] for name in Rows._fields)) for split in splits.SPLITS}
    return Prepared(card, table.plan, encoder, **rows, fingerprint=table.fingerprint)


def _encoder(table: Cleaned, card: DatasetCard, place: Path) -> Encoder:
    """The encoder in ``features/encoder.json``, fitted where it is missing or of other rows."""
    file = place / "encoder.json"
    try:
        kept = store.read_json(file)
        if kept["fingerprint"] == store.fingerprint(table.fingerprint, kept["encoder"]):
            return Encoder.from_json(kept["encoder"])
    except (LabError, KeyError, TypeError):
        pass
    encoder = features.fit_encoder(table.frame.filter(pl.col("split") == "train"), card)
    text = encoder.to_json()
    store.write_json(file, {"fingerprint": store.fingerprint(table.fingerprint, text), "encoder": text})
    return encoder


def _streamed(encoder: Encoder, frame: pl.LazyFrame, place: Path, current: str, say: Callable[[str], None]) -> Stream:
    """The encoded rows of a split as shards; only one of them is in memory at a time."""
    try:
        found = open_stream(place)
        if found.fingerprint == current:
            return found
    except LabError:
        pass  # there is none, or it is damaged
    say(f"Encoding the {place.name} rows as shards in {place} ...")
    return write_stream(features.encode_batches(encoder, frame), place, fingerprint=current)


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
    """Trains and keeps the run, with checkpoints from which ``resume`` can go on.

    Returns:
      The folder of the run.
    """
    steering = Steering()
    records = fit(data.train, data.validation, data.encoder.signature, config, steering=steering)
    place = runs.new_folder(folder(data.card, root) / "runs") if devices.process() == 0 else Path()
    for record in runs.keep(records, place, config, data.fingerprint, steering, stream=isinstance(data.train, Stream)):
        watch(record)
    return place


def resume(data: Prepared, place: Path, watch: Callable[[Record], None] = lambda record: None) -> None:
    """Goes on with a run that was stopped, or killed, from its last good checkpoint: to the bit as if it never was.

    Args:
      data: that the run learns from.
      place: the folder of the run.
      watch: sees each record.

    Raises:
      LabError: as ``runs.resume``.
    """
    again = runs.resume(place, data.fingerprint, isinstance(data.train, Stream))
    rows = data.train, data.validation, data.encoder.signature
    records = fit(*rows, again.config, steering=again.steering, start=again.start)
    for record in runs.keep(records, place, again.config, data.fingerprint, again.steering):
        watch(record)


def bundled(data: Prepared, run: runs.Run, root: Path | None = None) -> Path:
    """The deployable of a run, in ``bundle/``; the threshold of a yes/no question is chosen on the validation rows."""
    threshold = 0.5
    if data.card.task == "binary":
        from lab_kit import evaluate  # scikit-learn takes two seconds, and no other stage needs it

        probability = evaluate.predict(run.network, run.weights, data.validation)
        threshold = evaluate.choose_threshold(evaluate.targets(data.validation), probability)
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

"""The command ``lab-kit train``: every knob as an option, in one process or several, from the start or resumed."""

import math
import shlex
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from lab_kit import knobs, stopping
from lab_kit.config import TrainConfig, check_values, suggest
from lab_kit.schema import LabError
from lab_kit.screen import bar, is_watched, pasteable, screen, status

if TYPE_CHECKING:  # the command imports what takes time when it needs it, so that --help and a refusal come at once
    from lab_kit.train import Record
    from lab_kit.workspace import Prepared

SECONDS_BETWEEN_LINES = 10.0
"""Where nobody watches and there is no bar, as in a file: how often a line says how far the run is."""

NETWORK, OPTIMIZER, RUN, PROCESSES = "Network", "Optimizer", "Run", "Several processes"


def _knob(name: str, words: str, panel: str) -> Any:
    """The option of a field of ``TrainConfig``; its help ends with what holds where it is not given."""
    small, large = (getattr(suggest(rows), name) for rows in (1_000, 1_000_000))
    default = "chosen from the table's size" if small != large else "the first of its task" if small is None else small
    return typer.Option(help=f"{words} \\[default: {default}]", rich_help_panel=panel, show_default=False)


def _names(names: Iterable[str]) -> str:
    """Names as one types them: with quotes where there is a space."""
    return ", ".join(map(shlex.quote, names))


def train(
    dataset: Annotated[str, typer.Option(help="Name of a dataset; `lab-kit datasets` lists them.")] = "flights",
    resume: Annotated[
        str | None, typer.Option(help="Go on with a run that was stopped or killed: its name, or 'latest'.")
    ] = None,
    hidden: Annotated[str | None, _knob("hidden", "Widths of the hidden layers, such as 128,64.", NETWORK)] = None,
    activation: Annotated[str | None, _knob("activation", f"{_names(knobs.ACTIVATIONS)}.", NETWORK)] = None,
    normalization: Annotated[str | None, _knob("normalization", f"{_names(knobs.NORMALIZATIONS)}.", NETWORK)] = None,
    dropout: Annotated[float | None, _knob("dropout", "From 0 to below 1.", NETWORK)] = None,
    loss: Annotated[
        str | None,
        _knob("loss", "; ".join(f"{task}: {_names(names)}" for task, names in knobs.LOSSES.items()) + ".", NETWORK),
    ] = None,
    class_weight: Annotated[
        str | None,
        _knob("class_weight", f"{_names(knobs.CLASS_WEIGHTS)}. Balanced, rare classes count as much.", NETWORK),
    ] = None,
    label_smoothing: Annotated[float | None, _knob("label_smoothing", "From 0 to below 1.", NETWORK)] = None,
    optimizer: Annotated[str | None, _knob("optimizer", f"{_names(knobs.OPTIMIZERS)}.", OPTIMIZER)] = None,
    learning_rate: Annotated[float | None, _knob("learning_rate", "Above 0.", OPTIMIZER)] = None,
    schedule: Annotated[str | None, _knob("schedule", f"{_names(knobs.SCHEDULES)}.", OPTIMIZER)] = None,
    warmup: Annotated[float | None, _knob("warmup", "Part of the run in which the rate rises.", OPTIMIZER)] = None,
    momentum: Annotated[float | None, _knob("momentum", "From 0 to below 1.", OPTIMIZER)] = None,
    weight_decay: Annotated[float | None, _knob("weight_decay", "0 or more.", OPTIMIZER)] = None,
    clip_norm: Annotated[
        float | None, _knob("clip_norm", "Greatest length of a gradient; 0 for any.", OPTIMIZER)
    ] = None,
    batch_size: Annotated[int | None, _knob("batch_size", "Rows a step, over all devices together.", RUN)] = None,
    epochs: Annotated[int | None, _knob("epochs", "Passes over the training rows.", RUN)] = None,
    patience: Annotated[
        int | None,
        _knob("patience", "Stop after so many epochs without a better validation loss; 0 to train all epochs.", RUN),
    ] = None,
    seed: Annotated[int | None, _knob("seed", "Of initial weights, row order and dropout.", RUN)] = None,
    devices: Annotated[int | None, _knob("devices", "Local devices, in each process.", RUN)] = None,
    sync_every: Annotated[
        int | None, _knob("sync_every", "Steps between two averagings of the devices' weights.", RUN)
    ] = None,
    stream: Annotated[
        bool, typer.Option(help="Read the rows from disk while training: for tables larger than memory.")
    ] = False,
    coordinator: Annotated[
        str | None,
        typer.Option(
            help="host:port of the first process, or 'auto' under SLURM, MPI or Kubernetes. "
            "Start the same command in each process.",
            rich_help_panel=PROCESSES,
        ),
    ] = None,
    processes: Annotated[int | None, typer.Option(help="How many there are.", rich_help_panel=PROCESSES)] = None,
    process_id: Annotated[
        int | None, typer.Option(help="Which of them this is, from 0.", rich_help_panel=PROCESSES)
    ] = None,
) -> None:
    """Train on a dataset and save the model as a bundle. Ctrl-C stops; --resume goes on."""
    given: dict[str, Any] = {
        "hidden": None if hidden is None else _widths(hidden),
        "activation": activation,
        "normalization": normalization,
        "dropout": dropout,
        "loss": loss,
        "class_weight": class_weight,
        "label_smoothing": label_smoothing,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "warmup": warmup,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "clip_norm": clip_norm,
        "batch_size": batch_size,
        "epochs": epochs,
        "patience": patience,
        "seed": seed,
        "devices": devices,
        "sync_every": sync_every,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if resume and given:
        raise LabError(
            f"--resume goes on with what the run was begun with: leave out {', '.join(map(_option, given))}."
        )
    if patience is not None and patience < 0:
        raise LabError(f"--patience {patience}: choose 1 or more, or 0 to train all epochs.")
    if patience == 0:
        given["patience"] = None
    if coordinator is None and not (processes is None and process_id is None):
        raise LabError("--processes and --process-id are of no use without --coordinator host:port: add it.")
    try:
        _train(_Asked(dataset, resume, stream, coordinator, processes, process_id), given)
    except KeyboardInterrupt:  # Polars hears Ctrl-C by itself
        raise stopping.Stopped from None


@dataclass(frozen=True)
class _Asked:
    """The options that are no knobs."""

    dataset: str
    resume: str | None
    stream: bool
    coordinator: str | None
    processes: int | None
    process_id: int | None

    def again(self, run: str) -> str:
        """The command that goes on with a run."""
        options = {"coordinator": self.coordinator, "processes": self.processes, "process_id": self.process_id}
        words = [word for name, value in options.items() if value is not None for word in (_option(name), str(value))]
        stream = ["--stream"] if self.stream else []
        return pasteable("train", "--dataset", self.dataset, *stream, *words, "--resume", run)


def _train(asked: _Asked, given: dict[str, Any]) -> None:
    """From the card to the bundle. What can be refused without JAX is refused before it is imported."""
    from lab_kit import datasets

    card = datasets.card(asked.dataset)
    check_values(replace(TrainConfig(), **given), card.task)
    with stopping.held():  # an exception in the middle of JAX's own start may end in its C
        from lab_kit import devices as machine

    others = None
    if asked.coordinator:
        others = machine.Others(asked.coordinator, asked.processes, asked.process_id)
    stopping.check()
    from lab_kit import workspace

    stopping.check()
    # In several processes each shows the devices of its own that it is asked for.
    machine.start((given.get("devices") or 1) if others else None, workspace.WORKSPACE / "compiled", others)
    place = workspace.folder(card) / "runs"
    folder = _named(place, asked.resume) if asked.resume else None
    stopping.check()
    with status("Preparing the rows ..."):
        data: Prepared = machine.first_alone(
            lambda: workspace.prepared(card, say=lambda line: screen.print(line, style="dim"), stream=asked.stream)
        )
    config = replace(suggest(data.train.count), readers=machine.processes(), **given)
    outcome, kept, said = "", False, time.monotonic()
    with stopping.held(), bar() as progress:
        task = progress.add_task("training", total=None if folder else float(config.epochs))

        def watch(record: "Record") -> None:
            nonlocal outcome, kept, said
            if not kept:
                first = folder or _named(place, "latest") if machine.process() == 0 else None
                run, name = (f"run {first}", first.name) if first else ("first process's run", asked.resume or "latest")
                stopping.say(f"Stopped. The {run} is kept up to its last checkpoint; go on with: {asked.again(name)}")
                kept = True
            if record.outcome is None:
                stopping.check()
            loss = (record.validation or {}).get("loss")
            words = None if loss is None else f"validation loss {loss:.4f}"
            progress.update(task, completed=record.epoch, description=words)
            if not is_watched() and time.monotonic() - said > SECONDS_BETWEEN_LINES:
                screen.print(f"epoch {record.epoch:.1f}, training loss {record.train.get('loss', math.nan):.4g}")
                said = time.monotonic()
            outcome = record.outcome or outcome

        if folder:
            workspace.resume(data, folder, watch)
        else:
            folder = workspace.train(data, config, watch=watch)
        stopping.say("Stopped when training had come to its end: the run is kept.")
        if machine.process():
            screen.print(f"Process {machine.process()} took part; the first process has kept the run.")
        else:
            _finish(data, folder, outcome)


def _finish(data: "Prepared", folder: Path, outcome: str) -> None:
    """Says how a run ended, and makes the bundle of it."""
    from lab_kit import runs, workspace

    if outcome.startswith("diverged"):
        raise LabError(f"The run {outcome}.")
    if outcome.startswith("stopped early"):
        outcome += "; --patience 0 trains all epochs"
    run = runs.load(folder)
    best = run.history.filter("best").tail(1).to_dicts()[0]
    table = Table("epoch", *(name for name in best if name.startswith("validation_")), title=f"Best epoch ({outcome})")
    table.add_row(f"{best['epoch']:.0f}", *(f"{best[name]:.4f}" for name in best if name.startswith("validation_")))
    screen.print(table)
    if data.encoder.signature.task == "regression":
        one = f"1 is {data.encoder.target_std:.4g} of its units"
        counted = f"Loss and rmse count standard deviations of {data.encoder.target}: {one}."
        screen.print(counted, soft_wrap=True, markup=False)
    bundle = workspace.bundled(data, run)
    again = pasteable("predict", str(bundle), "NEW_ROWS.csv", "--output", "predictions.csv")
    screen.print(f"The run is {folder}\nThe bundle is {bundle}\nPredict with: {again}", soft_wrap=True, markup=False)


def _named(folder: Path, name: str) -> Path:
    """The folder of a run; ``latest`` is the newest."""
    names = sorted(path.parent.name for path in folder.glob("*/config.json"))
    if not names:
        raise LabError(f"There is no run in {folder} to resume: train without --resume.")
    if name != "latest" and name not in names:
        raise LabError(f"There is no run {name!r} in {folder}: choose latest, or one of {', '.join(names[-5:])}.")
    return folder / (names[-1] if name == "latest" else name)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise LabError(f"--hidden {text!r}: give whole numbers with commas between them, such as 128,64.") from None

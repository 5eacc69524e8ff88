"""The command ``lab-kit train``: every knob as an option, in one process or several, from the start or resumed."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from lab_kit.schema import LabError
from lab_kit.screen import bar, screen, status

if TYPE_CHECKING:  # the command imports what it needs, so that --help is at once
    from lab_kit.train import Record
    from lab_kit.workspace import Prepared

NETWORK, OPTIMIZER, RUN, PROCESSES = "Network", "Optimizer", "Run", "Several processes"


def train(
    dataset: Annotated[str, typer.Option(help="Name of a dataset; `lab-kit datasets` lists them.")] = "flights",
    resume: Annotated[
        str | None, typer.Option(help="Go on with a run that was stopped or killed: its name, or 'latest'.")
    ] = None,
    hidden: Annotated[
        str | None, typer.Option(help="Widths of the hidden layers, such as 128,64.", rich_help_panel=NETWORK)
    ] = None,
    activation: Annotated[str | None, typer.Option(help="sigmoid, relu or tanh.", rich_help_panel=NETWORK)] = None,
    normalization: Annotated[str | None, typer.Option(help="none, layer or batch.", rich_help_panel=NETWORK)] = None,
    dropout: Annotated[float | None, typer.Option(help="From 0 to below 1.", rich_help_panel=NETWORK)] = None,
    loss: Annotated[
        str | None, typer.Option(help="For a regression 'squared error' or huber.", rich_help_panel=NETWORK)
    ] = None,
    class_weight: Annotated[
        str | None, typer.Option(help="none, or balanced: rare classes count as much.", rich_help_panel=NETWORK)
    ] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="From 0 to below 1.", rich_help_panel=NETWORK)] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="adamw, adam, sgd, momentum, nesterov, ...", rich_help_panel=OPTIMIZER)
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Above 0.", rich_help_panel=OPTIMIZER)] = None,
    schedule: Annotated[
        str | None, typer.Option(help="constant, warm-up, cosine or one-cycle.", rich_help_panel=OPTIMIZER)
    ] = None,
    warmup: Annotated[
        float | None, typer.Option(help="Part of the run in which the rate rises.", rich_help_panel=OPTIMIZER)
    ] = None,
    momentum: Annotated[float | None, typer.Option(help="From 0 to below 1.", rich_help_panel=OPTIMIZER)] = None,
    weight_decay: Annotated[float | None, typer.Option(help="0 or more.", rich_help_panel=OPTIMIZER)] = None,
    clip_norm: Annotated[
        float | None, typer.Option(help="Greatest length of a gradient; 0 for any.", rich_help_panel=OPTIMIZER)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Rows a step, over all devices together.", rich_help_panel=RUN)
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training rows.", rich_help_panel=RUN)] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop after so many epochs without a better validation loss.", rich_help_panel=RUN),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of initial weights, row order and dropout.", rich_help_panel=RUN)
    ] = None,
    devices: Annotated[int | None, typer.Option(help="Local devices, in each process.", rich_help_panel=RUN)] = None,
    sync_every: Annotated[
        int | None, typer.Option(help="Steps between two averagings of the devices' weights.", rich_help_panel=RUN)
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
    """Train on a dataset and save the model as a bundle. What is not given suits the table's size."""
    from lab_kit import datasets, runs, workspace
    from lab_kit import devices as machine
    from lab_kit.config import suggest

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
    card = datasets.card(dataset)
    # In several processes each shows the devices of its own that it is asked for.
    others = machine.Others(coordinator, processes, process_id) if coordinator else None
    machine.start((devices or 1) if others else None, workspace.WORKSPACE / "compiled", others)
    with status("Preparing the rows ..."):
        data: Prepared = machine.first_alone(
            lambda: workspace.prepared(card, say=lambda line: screen.print(line, style="dim"), stream=stream)
        )
    folder = _named(workspace.folder(card) / "runs", resume) if resume else None
    config = replace(suggest(data.train.count), readers=machine.processes(), **given)
    outcome = ""
    with bar() as progress:
        task = progress.add_task("training", total=None if folder else float(config.epochs))

        def watch(record: "Record") -> None:
            nonlocal outcome
            loss = (record.validation or {}).get("loss")
            words = None if loss is None else f"validation loss {loss:.4f}"
            progress.update(task, completed=record.epoch, description=words)
            outcome = record.outcome or outcome

        try:
            if folder:
                workspace.resume(data, folder, watch)
            else:
                folder = workspace.train(data, config, watch=watch)
        except KeyboardInterrupt:
            raise LabError(f"Interrupted. Go on with: lab-kit train --dataset {dataset} --resume latest") from None
    if machine.process():
        return  # the first process tells the rest
    if outcome.startswith("diverged"):
        raise LabError(f"The run {outcome}.")
    run = runs.load(folder)
    best = run.history.filter("best").tail(1).to_dicts()[0]
    table = Table("epoch", *(name for name in best if name.startswith("validation_")), title=f"Best epoch ({outcome})")
    table.add_row(f"{best['epoch']:.0f}", *(f"{best[name]:.4f}" for name in best if name.startswith("validation_")))
    screen.print(table)
    screen.print(f"The run is {folder}\nThe bundle is {workspace.bundled(data, run)}", soft_wrap=True, markup=False)


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

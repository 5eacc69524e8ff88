"""The command ``lab-kit``: open the lab, make a report, train, predict."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from lab_kit.schema import LabError

if TYPE_CHECKING:  # a command imports what it needs, so that --help is at once
    from lab_kit.train import Record

REPOSITORY = Path(__file__).parent.parent

app = typer.Typer(
    help="A notebook-first laboratory for training models on large tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
screen = Console()

Dataset = Annotated[str, typer.Option(help="Name of a dataset; `lab-kit datasets` lists them.")]


@app.command()
def lab(
    port: Annotated[int, typer.Option(help="Port on this machine; the next free one is taken if it is busy.")] = 8888,
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """Open JupyterLab at the notebooks."""
    arguments = [sys.executable, "-m", "jupyter", "lab", f"--port={port}", str(REPOSITORY / "notebooks")]
    if not browser:
        arguments.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--allow-root")  # in a container everybody is root; it listens on loopback, with a token
    environment = os.environ | {"JUPYTER_CONFIG_PATH": os.pathsep.join(_configuration())}
    os.execve(sys.executable, arguments, environment)


def _configuration() -> list[str]:
    given = os.environ.get("JUPYTER_CONFIG_PATH")
    return [str(REPOSITORY / "jupyter"), *([given] if given else [])]


@app.command()
def report(
    dataset: Dataset = "flights",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the report; workspace/DATASET/reports when not given.")
    ] = None,
) -> None:
    """Execute all notebooks and write one HTML file that opens anywhere, without a network."""
    from lab_kit import datasets, workspace
    from lab_kit.report import build_report

    card = datasets.card(dataset)
    notebooks = sorted((REPOSITORY / "notebooks").glob("[0-9]*.ipynb"))
    with _bar() as bar:
        task = bar.add_task("starting", total=1.0)
        file = build_report(
            dataset,
            out or workspace.folder(card) / "reports",
            notebooks,
            progress=lambda message, share: bar.update(task, description=message, completed=share),
        )
    screen.print(f"The report is {file}", soft_wrap=True, markup=False)


@app.command()
def train(
    dataset: Dataset = "flights",
    hidden: Annotated[str | None, typer.Option(help="Widths of the hidden layers, such as 128,64.")] = None,
    activation: Annotated[str | None, typer.Option(help="sigmoid, relu or tanh.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="'gradient descent', sgd, momentum, adagrad or adam.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Above 0.")] = None,
    momentum: Annotated[float | None, typer.Option(help="From 0 to below 1.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="0 or more.")] = None,
    dropout: Annotated[float | None, typer.Option(help="From 0 to below 1.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows a step, over all devices together.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training rows.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without a better validation loss.")
    ] = None,
    devices: Annotated[int | None, typer.Option(help="Local devices to train on.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of initial weights, row order and dropout.")] = None,
) -> None:
    """Train on a dataset and save the model as a bundle. What is not given suits the table's size."""
    from lab_kit import datasets, runs, workspace
    from lab_kit import devices as local_devices
    from lab_kit.config import suggest

    card = datasets.card(dataset)
    local_devices.start(cache=workspace.WORKSPACE / "compiled")
    with screen.status("Preparing the rows ..."):
        data = workspace.prepared(card, say=lambda line: screen.print(line, style="dim"))
    given: dict[str, Any] = {
        "hidden": None if hidden is None else _widths(hidden),
        "activation": activation,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "dropout": dropout,
        "batch_size": batch_size,
        "epochs": epochs,
        "patience": patience,
        "devices": devices,
        "seed": seed,
    }
    config = replace(suggest(data.train.count), **{name: value for name, value in given.items() if value is not None})
    outcome = ""
    with _bar() as bar:
        task = bar.add_task("training", total=float(config.epochs))

        def watch(record: "Record") -> None:
            nonlocal outcome
            loss = (record.validation or {}).get("loss")
            words = None if loss is None else f"validation loss {loss:.4f}"
            bar.update(task, completed=record.epoch, description=words)
            outcome = record.outcome or outcome

        folder = workspace.train(data, config, watch=watch)
    if outcome.startswith("diverged"):
        raise LabError(f"The run {outcome}.")
    run = runs.load(folder)
    best = run.history.filter("best").tail(1).to_dicts()[0]
    table = Table("epoch", *(name for name in best if name.startswith("validation_")), title=f"Best epoch ({outcome})")
    table.add_row(f"{best['epoch']:.0f}", *(f"{best[name]:.4f}" for name in best if name.startswith("validation_")))
    screen.print(table)
    screen.print(f"The run is {folder}\nThe bundle is {workspace.bundled(data, run)}", soft_wrap=True, markup=False)


@app.command()
def predict(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle, such as workspace/flights/bundle.")],
    input: Annotated[Path, typer.Argument(help="New rows: a CSV file (also compressed) or a Parquet file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where the rows with their predictions go: .csv or .parquet.")
    ],
) -> None:
    """Predict new rows with a saved model."""
    from lab_kit.bundle import load, read_rows, write_rows

    with screen.status("Predicting ..."):
        model = load(bundle)
        rows = read_rows(input, model.card)
        found = model.predict(rows)
        twice = sorted(set(rows.columns) & set(found.columns))
        if twice:
            raise LabError(f"{input} has a column {twice[0]!r} already, where the prediction would go; rename it.")
        write_rows(rows.hstack(found), output)
    screen.print(f"{found.height:,} predictions are in {output}", soft_wrap=True, markup=False)


@app.command("datasets")
def list_datasets() -> None:
    """List the datasets and what each one asks."""
    from lab_kit import datasets

    table = Table("dataset", "task", "question", "licence")
    for name, card in datasets.catalog().items():
        table.add_row(name, card.task, escape(card.question), escape(card.license))
    screen.print(table)


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise LabError(f"--hidden {text!r}: give whole numbers with commas between them, such as 128,64.") from None


@contextmanager
def _bar() -> Iterator[Progress]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen) as bar:
        yield bar


def main() -> None:
    """Runs the command; what is wrong becomes one sentence on standard error, and exit status 1."""
    try:
        app()
    except LabError as error:
        Console(stderr=True).print(str(error), style="red", soft_wrap=True, highlight=False, markup=False)
        sys.exit(1)

"""What the command ``lab-kit`` can do: open the lab, make a report, train, predict."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab_kit import stopping
from lab_kit.schema import LabError
from lab_kit.screen import bar, screen, status
from lab_kit.train_command import train

REPOSITORY = Path(__file__).parent.parent

app = typer.Typer(
    help="A notebook-first laboratory for training models on large tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
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


@app.command("app")
def serve_app(
    notebook: Annotated[
        str | None,
        typer.Argument(help="Name of the one notebook to serve, such as 04_train; all of them when not given."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port.")] = 8866,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own asks for a token, which is printed.")
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """Serve the notebooks as an app without code: each visitor has a kernel of their own."""
    if find_spec("voila") is None:
        raise LabError("The app is served by Voila, which is not installed: pip install 'lab-kit[app]'.")
    place = REPOSITORY / "notebooks"
    if notebook is not None:
        place = place / f"{notebook.removesuffix('.ipynb')}.ipynb"
        if not place.is_file():
            names = ", ".join(path.stem for path in sorted(place.parent.glob("[0-9]*.ipynb")))
            raise LabError(f"There is no notebook {notebook!r}: choose one of {names}.")
    arguments = [
        *(sys.executable, "-m", "voila", str(place), f"--port={port}", f"--Voila.ip={host}", "--template=lab-kit"),
        "--VoilaConfiguration.classic_tree=True",  # a plain list of links
        "--MappingKernelManager.cull_idle_timeout=600",  # a visitor who has gone leaves no kernel behind
        "--MappingKernelManager.cull_interval=60",
    ]
    if host not in ("127.0.0.1", "localhost", "::1"):
        arguments.append("--token")
    if not browser:
        arguments.append("--no-browser")
    given = os.environ.get("JUPYTER_PATH")
    path = os.pathsep.join([str(REPOSITORY / "jupyter"), *([given] if given else [])])
    os.execve(sys.executable, arguments, os.environ | {"JUPYTER_PATH": path})


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
    with stopping.held():  # an exception in the middle of JAX's own start may end in its C
        from lab_kit import datasets, workspace
        from lab_kit.report import build_report

    card = datasets.card(dataset)
    notebooks = sorted((REPOSITORY / "notebooks").glob("[0-9]*.ipynb"))
    with bar() as shown:
        task = shown.add_task("starting", total=1.0)
        file = build_report(
            dataset,
            out or workspace.folder(card) / "reports",
            notebooks,
            progress=lambda message, share: shown.update(task, description=message, completed=share),
        )
    screen.print(f"The report is {file}", soft_wrap=True, markup=False)


app.command()(train)


@app.command()
def predict(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle, such as workspace/flights/bundle.")],
    input: Annotated[Path, typer.Argument(help="New rows: a CSV file (also compressed) or a Parquet file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where the rows with their predictions go: .csv or .parquet.")
    ],
) -> None:
    """Predict new rows with a saved model."""
    with stopping.held():  # as above
        from lab_kit.bundle import check_output, load, read_rows, write_rows

    check_output(output)
    with status("Predicting ..."):
        model = load(bundle)
        rows = read_rows(input, model.card)
        found = model.predict(rows)
        twice = sorted(set(rows.columns) & set(found.columns))
        if twice:
            raise LabError(f"{input} has a column {twice[0]!r} already, where the prediction would go; rename it.")
        write_rows(rows.hstack(found), output)
    if empty := model.without_values(rows):
        note = f"Note: no row of {input} has a value in {', '.join(map(repr, empty))}; each was filled as a gap."
        Console(stderr=True).print(note, style="yellow", soft_wrap=True, highlight=False, markup=False)
    screen.print(f"{found.height:,} predictions are in {output}", soft_wrap=True, markup=False)


@app.command("datasets")
def list_datasets() -> None:
    """List the datasets and what each one asks."""
    from lab_kit import datasets

    table = Table("dataset", "task", "question", "licence")
    for name, card in datasets.catalog().items():
        table.add_row(name, card.task, escape(card.question), escape(card.license))
    screen.print(table)


def run() -> None:
    """Runs the command that was typed; what is wrong becomes one sentence on standard error, and exit status 1."""
    try:
        app()
    except LabError as error:
        Console(stderr=True).print(str(error), style="red", soft_wrap=True, highlight=False, markup=False)
        if "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized():
            os._exit(1)  # an orderly exit would wait for processes that have died
        sys.exit(1)

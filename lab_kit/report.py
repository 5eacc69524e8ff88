"""Notebooks, executed in order, as one HTML file that opens anywhere without a network."""

import ast
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import nbformat
import papermill
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillException, PapermillExecutionError

from lab_kit import datasets, page
from lab_kit.schema import DatasetCard, LabError

LIBRARIES = ("lab-kit", "jax", "flax", "optax", "polars", "plotly", "numpy", "scikit-learn")
CHANGED = " (with changes not committed)"
REPOSITORY = Path(__file__).parent.parent
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
ONLY = ("only-binary", "only-multiclass", "only-regression", "only-time", "only-random")
Progress = Callable[[str, float], None]


class ThisPython(AsyncKernelManager):
    """Starts each notebook's kernel with the Python that runs now, whatever kernels the user has installed."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """The kernel of ``sys.executable``, with Plotly's plain renderer, which writes no script into the outputs."""
        spec = get_kernel_dict(extra_arguments=["--log-level=CRITICAL"])  # its warnings are not for the reader
        return KernelSpec(**{**spec, "env": {"PLOTLY_RENDERER": "plotly_mimetype"}})


def build_report(
    dataset: str,
    out: Path,
    notebooks: Sequence[Path],
    parameters: Mapping[str, object] | None = None,
    progress: Progress = lambda message, fraction: None,
) -> Path:
    """Execute notebooks in order and write one self-contained HTML file.

    All cells are executed; which of them the report shows follows from their tags, see ``for_readers``.

    Args:
      dataset: the dataset's name; every notebook gets it as its parameter ``dataset``.
      out: the folder of the report, made when it is missing.
      notebooks: the notebooks in their order; each runs in a fresh kernel, in its own folder.
      parameters: further values for the cells tagged ``parameters``; a notebook gets those that it names.
      progress: called before each cell with what happens now and the share that is done, from 0 to 1.

    Returns:
      The file, ``out/<dataset>-report.html``. It appears only when it is complete.

    Raises:
      LabError: when there is no such dataset, a notebook is missing or not readable, a parameter is known to none of
        them, a cell fails (the notebook, as far as it came, is kept in ``out/failed/``), or the folder cannot be
        written.
    """
    card = datasets.card(dataset)
    sources = {path: read_notebook(path) for path in notebooks}
    if not sources:
        raise LabError("There is no notebook to report on: give at least one.")
    wanted = {**(parameters or {}), "dataset": dataset}
    known = {path: known_parameters(source) for path, source in sources.items()}
    unknown = [name for name in parameters or {} if not any(name in names for names in known.values())]
    if unknown:
        names = sorted({name for each in known.values() for name in each})
        raise LabError(f"No notebook has the parameter {', '.join(unknown)}; they have {', '.join(names)}.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        chapters = []
        for place, (path, source) in enumerate(sources.items()):

            def cell_progress(message: str, fraction: float, place: int = place) -> None:
                progress(message, (place + fraction) / len(sources))

            given = {name: value for name, value in wanted.items() if name in known[path]}
            executed = execute(path, source, given, out, cell_progress)
            chapters.append(page.Chapter(path.stem, path.parent, for_readers(executed, card)))
        progress("writing the report", 1.0)
        effective = {name: value for names in known.values() for name, value in names.items()}
        effective |= {name: repr(value) for name, value in wanted.items()}
        return write(out / f"{dataset}-report.html", report_page(dataset, chapters, effective))
    except OSError as error:
        raise LabError(f"The report cannot be written to {out}: {error.strerror or error}.") from error


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook.

    Raises:
      LabError: when there is no such file, or it is not a notebook.
    """
    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError as error:
        raise LabError(f"There is no notebook {path}.") from error
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, UnicodeDecodeError, OSError) as error:
        reason = str(error).splitlines()[0][:120]
        raise LabError(f"{path} is not a notebook that can be read: {reason}.") from error


def for_readers(notebook: NotebookNode, card: DatasetCard) -> NotebookNode:
    """The notebook without the cells that are not for the reader of a report on this dataset.

    A cell tagged ``notebook-only`` (how to run cells, for example) is left out of every report. One tagged
    ``only-binary``, ``only-multiclass``, ``only-regression``, ``only-time`` or ``only-random`` is kept where the card's
    task or split is of that kind; of several such tags each must hold.

    Args:
      notebook: executed; left as it is.
      card: of the dataset.
    """
    hidden = {"notebook-only", *ONLY} - {f"only-{card.task}", f"only-{card.split.kind}"}
    kept = [cell for cell in notebook.cells if hidden.isdisjoint(page.tags(cell))]
    return NotebookNode({**notebook, "cells": kept})


def known_parameters(notebook: NotebookNode) -> dict[str, str]:
    """The names a notebook's cell tagged ``parameters`` sets, with their defaults as Python text."""
    cell = next((c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])), None)
    if cell is None:
        return {}
    try:
        statements = ast.parse(cell.source).body
    except SyntaxError:
        return {}  # executing the notebook will say so, and where
    assigned: dict[str, str] = {}
    for statement in statements:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            assigned |= {ast.unparse(target): ast.unparse(statement.value) for target in targets}
    return assigned


def execute(
    path: Path, source: NotebookNode, parameters: Mapping[str, object], out: Path, progress: Progress
) -> NotebookNode:
    """Execute one notebook in a fresh kernel.

    Args:
      path: where the notebook lies; the kernel runs in its folder.
      source: the notebook, left as it is.
      parameters: values for its parameters.
      out: a notebook that fails is kept in ``out/failed/``, as far as it came.
      progress: called before each cell.

    Returns:
      The notebook with its outputs.

    Raises:
      LabError: when a cell or a callback of a widget fails, or the kernel dies.
    """
    copy = nbformat.from_dict({**source, "metadata": {**source.metadata, "kernelspec": KERNEL}})
    count = len(copy.cells)

    def on_cell_start(cell: NotebookNode, cell_index: int) -> None:
        progress(f"{path.stem}: cell {cell_index + 1} of {count}", cell_index / max(count, cell_index + 1))

    with tempfile.TemporaryDirectory(prefix="lab-kit-") as folder:
        kept = Path(folder) / path.name.replace("{", "(").replace("}", ")")
        try:
            executed = papermill.execute_notebook(
                copy,
                kept,
                parameters=dict(parameters),
                cwd=path.parent,
                progress_bar=False,
                kernel_manager_class=ThisPython,
                on_cell_start=on_cell_start,
            )
        except PapermillExecutionError as error:
            cells = [c for c in read_notebook(kept).cells if c.cell_type == "code"]
            ours = [c for c in cells if "injected-parameters" not in c.metadata.get("tags", [])]
            number = next((n for n, c in enumerate(ours, 1) if failed(c)), 0)
            where = f"code cell {number}" if number else "the parameters"
            raise LabError(failure(path, where, f"{error.ename}: {error.evalue}", keep(kept, out))) from error
        except (DeadKernelError, CellTimeoutError, PapermillException, RuntimeError) as error:
            reason = (
                "its kernel stopped, perhaps for lack of memory" if isinstance(error, DeadKernelError) else str(error)
            )
            raise LabError(failure(path, "a cell", reason, keep(kept, out))) from error
        errors = notebook_errors(executed)
        if errors:
            raise LabError(failure(path, "a panel", errors[0], keep(kept, out)))
    return executed


def failed(cell: NotebookNode) -> bool:
    """Whether one of a code cell's outputs is an error."""
    return any(each.output_type == "error" for each in cell.outputs)


def failure(path: Path, where: str, reason: str, kept: Path | None) -> str:
    """The sentence for a notebook that failed."""
    inspect = f" Look at {kept} to see how far it came." if kept else ""
    last = (plain_text(reason).strip().splitlines() or ["no reason given"])[-1]
    return f"The report was not written: {path.name} failed in {where}: {last.rstrip('.')}.{inspect}"


def keep(executed: Path, out: Path) -> Path | None:
    """Copy a partly executed notebook to ``out/failed/``; None when it never started."""
    if not executed.exists():
        return None
    (out / "failed").mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(executed, out / "failed" / executed.name))


def plain_text(text: str) -> str:
    """Text without the colours of a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def notebook_errors(notebook: NotebookNode) -> list[str]:
    """The errors in a notebook's outputs, those of widget callbacks included.

    A callback of a widget does not fail its cell: its error is an output of the cell, or of an ``Output`` widget, or a
    traceback on standard error.

    Args:
      notebook: an executed notebook.

    Returns:
      One line an error, ``"ValueError: the text"``, in the order of the cells; empty when all is well. Cells tagged
      ``raises-exception`` may raise and are left out.
    """
    cells = (c for c in notebook.cells if c.cell_type == "code")
    outputs = [o for c in cells if "raises-exception" not in c.metadata.get("tags", []) for o in c.outputs]
    widgets = notebook.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {})
    for model in widgets.get("state", {}).values():
        outputs += [NotebookNode(each) for each in model.get("state", {}).get("outputs", ())]
    errors = []
    for each in outputs:
        if each.output_type == "error":
            errors.append(plain_text(f"{each.ename}: {each.evalue}"))
        elif each.output_type == "stream" and "Traceback (most recent call last)" in plain_text(each.text):
            errors.append(plain_text(each.text).strip().splitlines()[-1])
    return errors


def report_page(dataset: str, chapters: Sequence[page.Chapter], parameters: Mapping[str, str]) -> str:
    """The HTML of a report, with what made it: date, parameters with the seed, commit and versions."""
    commit = git_commit()
    facts = {"Dataset": dataset, "Made": datetime.now().astimezone().strftime("%d %B %Y, %H:%M %Z")}
    facts |= {name.replace("_", " ").capitalize(): value for name, value in parameters.items() if name != "dataset"}
    if commit:
        facts["Commit"] = commit
    reproduce = f"lab-kit report --dataset {dataset}"
    if commit:
        reproduce = f"git checkout {commit.removesuffix(CHANGED)}\nmake setup\n.venv/bin/{reproduce}"
    return page.render(f"{dataset.capitalize()}: a Lab Kit report", chapters, facts, versions(), reproduce)


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that make the numbers."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_commit() -> str | None:
    """The commit of the code that runs, marked when the files differ from it; None outside a git checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(REPOSITORY), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short", "HEAD") + (CHANGED if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def write(path: Path, text: str) -> Path:
    """Write a file under a temporary name and rename it, so that nobody ever sees half of it."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)  # mkstemp makes it private; a report is for handing on
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path

"""Check that notebooks carry no outputs, or take them out.

``python .ci/strip.py notebooks/*.ipynb`` names the notebooks that are not stripped and exits with 1;
with ``--write`` it strips them in place (and exits with 1 when it changed one, as pre-commit expects).
"""

import sys
from pathlib import Path

import nbformat

# What JupyterLab and papermill write on every run; keeping it would make each diff noisy.
CELL_NOISE = ("execution", "papermill", "collapsed", "scrolled")
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def stripped(notebook: nbformat.NotebookNode) -> str:
    """The text of the notebook without outputs, counters, widget states and the machine's kernel name."""
    for cell in notebook.cells:
        for name in CELL_NOISE:
            cell.metadata.pop(name, None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.metadata = nbformat.NotebookNode(kernelspec=KERNEL, language_info={"name": "python"})
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def main(arguments: list[str]) -> int:
    """Check or strip the notebooks named; the number of unstripped ones decides the exit status."""
    write = "--write" in arguments
    unstripped = 0
    for path in (Path(name) for name in arguments if name != "--write"):
        text = path.read_text(encoding="utf-8")
        clean = stripped(nbformat.reads(text, as_version=4))
        if clean != text:
            unstripped += 1
            if write:
                path.write_text(clean, encoding="utf-8")
            print(f"{path}: " + ("stripped." if write else "carries outputs or run data: run `make format`."))
    return 1 if unstripped else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

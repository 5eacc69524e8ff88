"""The notebooks as files, and one alone in an empty workspace; ``test_journey`` executes them in order."""

import ast
import html
import re
from pathlib import Path

import nbformat
import pytest

from lab_kit import report

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    return nbformat.read(request.param, 4)


def code(notebook: nbformat.NotebookNode) -> list[ast.Module]:
    return [ast.parse(cell.source) for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_file_is_as_jupyter_writes_it_and_ends_with_a_newline(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text == nbformat.writes(nbformat.read(path, 4)) + "\n"  # else opening and saving it shows as a change


def test_a_notebook_is_valid_and_its_cells_have_names_of_their_own(notebook: nbformat.NotebookNode) -> None:
    nbformat.validate(notebook)
    names = [cell.id for cell in notebook.cells]
    assert len(set(names)) == len(names)


def test_the_dataset_is_a_parameter_that_the_report_can_set(notebook: nbformat.NotebookNode) -> None:
    assert report.known_parameters(notebook)["dataset"] == "'flights'"


def test_the_tags_are_those_that_papermill_and_the_report_know(notebook: nbformat.NotebookNode) -> None:
    known = {"parameters", "headline", "notebook-only", *report.ONLY}
    assert {tag for cell in notebook.cells for tag in cell.metadata.get("tags", [])} <= known


def test_what_every_report_shows_speaks_of_no_dataset(notebook: nbformat.NotebookNode) -> None:
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert not re.search(r"\b(flights?|planes?|gusts?|airports?|tumours?|digits?|patients?)\b", prose, re.IGNORECASE)


def test_code_defines_nothing_and_only_the_first_imports_are_imports(notebook: nbformat.NotebookNode) -> None:
    cells = code(notebook)
    nodes = [node for cell in cells for node in ast.walk(cell)]
    assert not [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    assigned = [node.value for node in nodes if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr)]
    assert not [value for value in assigned if isinstance(value, ast.Lambda)]
    assert any(isinstance(node, ast.Assert) for node in nodes)
    later = [node for cell in cells[2:] for node in ast.walk(cell)]
    assert not [node for node in later if isinstance(node, ast.Import | ast.ImportFrom)]


def test_the_notebooks_are_linked_to_their_neighbours() -> None:
    for k, path in enumerate(NOTEBOOKS):
        prose = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown"]
        linked = set(re.findall(r"\]\(([^)#]+\.ipynb)\)", prose[0]))
        neighbours = {other.name for other in (*NOTEBOOKS[max(k - 1, 0) : k], *NOTEBOOKS[k + 1 : k + 2])}
        assert linked == neighbours
        if k + 1 < len(NOTEBOOKS):
            assert NOTEBOOKS[k + 1].name in prose[-1]


@pytest.mark.slow
@pytest.mark.notebooks
@pytest.mark.parametrize("name", ["02_clean", "04_train"])
def test_a_notebook_alone_builds_what_is_missing_and_says_so(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_KIT_WORKSPACE", str(tmp_path / "workspace"))
    path = next(path for path in NOTEBOOKS if path.stem == name)
    page = html.unescape(report.build_report("health", tmp_path / "out", [path]).read_text("utf-8"))
    assert page.count("Cleaning health with the steps of its card") == 1
    assert page.count("Encoding health") == (name == "04_train")
    assert (tmp_path / "workspace" / "health" / "clean" / "manifest.json").is_file()

"""The panel of a sweep in a real browser: Sweep, a fan of curves, a slider that redraws at once, the best in use."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Page, expect

from .conftest import ARTIFACTS, Watched
from .test_panel import CROWDED, tab_to
from .test_train import SMALL

pytestmark = pytest.mark.browser
CODE = (
    SMALL[: SMALL.index("panel = ")].replace("from lab_kit.controls import TrainingPanel\n", "")
    + """
from functools import partial
from pathlib import Path
from lab_kit import runs, train
from lab_kit.sweep_panel import SweepPanel
table, validation, signature = rows(40_000), rows(4_000), Signature("binary", 8, (5,), 1)
def use(config):
    folder = runs.new_folder(Path("runs"))
    list(runs.keep(train.fit(table, validation, signature, config), folder, config))
    return folder
panel = SweepPanel(table, validation, signature, TrainConfig((16,), batch_size=512, epochs=3), use=use)
panel
"""
)
# Of the strong curve, and of the values along the axis.
VALUES = """() => {
  const plot = document.querySelector(".lab-panel .js-plotly-plot");
  return plot ? [3, 4, 5].map((k) => Array.from(plot.data[k].y).filter(Number.isFinite)) : [[], [], []];
}"""


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = tmp_path / "sweep.ipynb"
    cells = [nbformat.v4.new_code_cell(CODE)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080)], ids=["1280x800", "1920x1080"])
def test_a_sweep_from_the_keyboard(
    notebook: Path, open_notebook: Callable[[Path], Page], watched: Watched, size: tuple[int, int]
) -> None:
    watched.page.set_viewport_size({"width": size[0], "height": size[1]})
    page = open_notebook(notebook)
    page.locator(".lab-panel .js-plotly-plot .main-svg").first.wait_for(timeout=120_000)
    words = page.locator(".lab-panel .lab-words")
    expect(words).to_have_text("Ready: press Sweep.")
    page.locator(".lab-panel .lab-buttons button").first.focus()  # as Tab from the cell would
    page.keyboard.press("Enter")
    expect(words).to_have_text("Finished: 14 configurations.", timeout=120_000)
    page.wait_for_function(f"() => ({VALUES})()[0].length === 4", timeout=30_000)  # the start and three epochs
    before = page.evaluate(VALUES)
    assert len(before[1]) == 7
    tab_to(page, "Show")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(
        f"y => JSON.stringify(({VALUES})()[0]) !== y", arg=page.evaluate("JSON.stringify", before[0])
    )
    after = page.evaluate(VALUES)
    assert after[1] == before[1], "nothing was trained again"
    assert after[2] != before[2], "the chosen value is another"
    page.wait_for_timeout(500)
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    page.locator(".lab-panel").evaluate("panel => panel.scrollIntoView()")
    page.screenshot(path=ARTIFACTS / f"sweep_{size[0]}x{size[1]}.png")
    assert page.evaluate(CROWDED) == {"scrolls": [], "overlaps": []}
    page.get_by_role("button", name="Use the best").press("Enter")
    expect(words).to_contain_text("The best is kept as the run", timeout=60_000)

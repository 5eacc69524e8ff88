"""The panel and the table of runs in a real browser: from the keyboard alone, after a reload, in both themes."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import nbformat
import pytest
from playwright.sync_api import Page, TimeoutError, expect

from .conftest import ARTIFACTS, Watched
from .test_train import SMALL, VALUES

pytestmark = pytest.mark.browser
LATE = "[anywidget] Failed to initialize model."
# The validation curve: before any training, and after each of three epochs.
WHOLE = f"() => ({VALUES})()[1].length === 4"
TABLE = """
from pathlib import Path
from lab_kit.run_table import RunTable
table = RunTable(Path("runs"), "auc", use=panel.use)
panel.when_ended(table.refresh)
table
"""
# Scroll bars inside the notebook's own, and labels of the panel that lie over one another.
CROWDED = """() => {
  const inside = [...document.querySelectorAll('.lab-panel, .lab-panel *, .lab-compare, .lab-compare *')];
  const scrolls = inside.filter((e) => !e.closest('svg') && ['auto', 'scroll'].includes(getComputedStyle(e).overflowY)
    && e.scrollHeight > e.clientHeight + 1 && e.clientHeight > 0).map((e) => e.className);
  const seen = (e) => e.getClientRects().length && getComputedStyle(e).visibility === 'visible' && e.textContent.trim();
  const boxes = inside.filter((e) => e.matches('.widget-label, .lab-title, button, .lab-words, .lab-numbers, th, '
    + 'g[class$=tick] text, [class^=g-][class$=title] text, .legendtext') && seen(e))
    .map((e) => [e.textContent.trim(), e.getBoundingClientRect()]);
  const left = (a, b) => a.right <= b.left + 1, above = (a, b) => a.bottom <= b.top + 1;
  const apart = (a, b) => left(a, b) || left(b, a) || above(a, b) || above(b, a);
  const within = (a, b) => a.left >= b.left - 1 && a.right <= b.right + 1
    && a.top >= b.top - 1 && a.bottom <= b.bottom + 1;
  const overlaps = [];
  boxes.forEach(([one, a], k) => boxes.slice(k + 1).forEach(([other, b]) => {
    if (!apart(a, b) && !within(a, b) && !within(b, a)) overlaps.push(`${one} / ${other}`);
  }));
  return { scrolls, overlaps };
}"""


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A panel on generated rows, and its runs."""
    code = SMALL.replace(
        "TrainConfig(epochs=60))", 'TrainConfig(epochs=3), runs_folder=__import__("pathlib").Path("runs"))'
    )
    code = code.replace("200_000", "40_000").replace("20_000", "4_000")
    cells = [nbformat.v4.new_code_cell(code), nbformat.v4.new_code_cell(TABLE)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = tmp_path / "panel.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


def opened(act: Callable[[Path], Page], notebook: Path) -> Page:
    page = act(notebook)
    page.locator(".lab-panel .js-plotly-plot .main-svg").first.wait_for(timeout=120_000)
    page.locator(".lab-runs").wait_for(timeout=60_000)
    # The kernel answers no key while it still runs a cell, and the page's own module names the controls.
    expect(page.locator("#jp-main-statusbar").get_by_text("| Idle")).to_be_visible(timeout=60_000)
    page.get_by_role("slider", name="Learning rate", exact=True).wait_for(timeout=60_000)
    page.locator(".lab-panel").evaluate("panel => panel.scrollIntoView()")
    return page


def tab_to(page: Page, name: str, back: bool = False) -> None:
    """Presses Tab until what has this name has the focus."""
    for _ in range(60):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        found = page.evaluate(
            "() => { const e = document.activeElement; return e.getAttribute('aria-label') || e.textContent.trim()"
            " || e.closest('label')?.textContent.trim() || ''; }"
        )
        if found == name:
            return
    pytest.fail(f"the keyboard does not reach {name}")


def test_a_whole_run_from_the_keyboard_alone(notebook: Path, open_notebook: Callable[[Path], Page]) -> None:
    page = opened(open_notebook, notebook)
    words = page.locator(".lab-panel .lab-words")
    expect(words).to_have_attribute("aria-live", "polite")
    page.locator(".lab-panel .lab-buttons button").first.focus()  # as Tab from the cell would
    tab_to(page, "Learning rate")
    rate = page.get_by_role("slider", name="Learning rate", exact=True)
    expect(rate).to_have_attribute("aria-valuetext", "0.001")
    page.keyboard.press("ArrowRight")
    expect(rate).to_have_attribute("aria-valuetext", "0.0011")  # the kernel has answered, and will not write below
    tab_to(page, "Learning rate, value")
    page.keyboard.press("Control+A")
    page.keyboard.type("-1")
    page.keyboard.press("Enter")
    expect(page.locator(".lab-refusal", has_text="choose a finite number above 0")).to_be_visible()
    tab_to(page, "Advanced")
    fold = page.locator("button.lab-fold")
    expect(fold).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Enter")
    expect(fold).to_have_attribute("aria-expanded", "true")
    tab_to(page, "Step", back=True)
    page.keyboard.press("Enter")
    expect(words).to_have_text("Stopped after one epoch.", timeout=60_000)
    tab_to(page, "Train", back=True)
    page.keyboard.press("Space")
    expect(words).to_have_text("Finished.", timeout=60_000)
    page.wait_for_function(WHOLE, timeout=30_000)
    tab_to(page, "Weights")
    page.keyboard.press("Enter")
    expect(page.locator(".lab-panel .ytick text", has_text="layer 1")).to_be_visible(timeout=30_000)
    rows = page.locator(".lab-runs tbody tr")
    expect(rows).to_have_count(2)
    first = rows.first.get_attribute("data-run")
    page.locator(".lab-runs input[type=search]").focus()
    page.keyboard.press("Tab")  # on to the table
    for _ in range(30):
        if "Delete" in (page.evaluate("document.activeElement.getAttribute('aria-label')") or ""):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)
    tab_to(page, "Undo delete", back=True)
    page.keyboard.press("Enter")
    expect(rows).to_have_count(2)
    assert first in [row.get_attribute("data-run") for row in rows.all()]


def reload(page: Page, watched: Watched, holds: str, argument: int) -> None:
    """Loads the page again until this holds: anywidget gives up on a module that takes more than two seconds to load.

    Plotly's has five megabytes, so a machine that is busy with the rest of JupyterLab may be late, and there is no
    setting for it in anywidget 0.11. A person would load the page once more, and so does this, twice at most.
    """
    for attempt in range(3):
        page.reload()
        try:
            page.wait_for_function(holds, arg=argument, timeout=30_000)
            return
        except TimeoutError:
            if attempt == 2 or LATE not in watched.errors:
                raise
            watched.errors[:] = [error for error in watched.errors if error != LATE]


def test_after_a_reload_the_chart_is_filled_again(
    notebook: Path, open_notebook: Callable[[Path], Page], watched: Watched
) -> None:
    page = opened(open_notebook, notebook)
    page.locator(".lab-panel .lab-buttons button", has_text="Train").click()
    expect(page.locator(".lab-panel .lab-words")).to_have_text("Finished.", timeout=60_000)
    page.wait_for_function(WHOLE, timeout=30_000)  # the chart follows the words
    before = page.evaluate(VALUES)
    page.locator(".jp-Notebook").click(position={"x": 3, "y": 3})
    page.keyboard.press("Control+S")
    page.wait_for_timeout(2000)
    reload(page, watched, f"n => (({VALUES})()[0] ?? []).length === n", len(before[0]))
    assert page.evaluate(VALUES) == before
    expect(page.locator(".lab-panel .lab-words")).to_have_text("Finished.")
    page.locator(".lab-panel .lab-buttons button", has_text="Step").click()  # and it is alive
    page.wait_for_function(f"n => ({VALUES})()[1].length > n", arg=len(before[1]), timeout=60_000)


@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080)], ids=["1280x800", "1920x1080"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_overlaps_and_nothing_scrolls_inside(
    notebook: Path,
    open_notebook: Callable[[Path], Page],
    watched: Watched,
    theme: Literal["light", "dark"],
    size: tuple[int, int],
) -> None:
    watched.page.set_viewport_size({"width": size[0], "height": size[1]})
    watched.page.emulate_media(color_scheme=theme)  # JupyterLab follows the system's
    page = opened(open_notebook, notebook)
    assert page.evaluate("document.body.dataset.jpThemeLight") == str(theme == "light").lower()
    for _ in range(2):
        page.locator(".lab-panel .lab-buttons button", has_text="Train").click()
        expect(page.locator(".lab-panel .lab-words")).to_have_text("Finished.", timeout=60_000)
        page.get_by_role("slider", name="Learning rate", exact=True).press("ArrowRight")
    page.locator("button.lab-fold").click()
    for tick in page.locator(".lab-runs tbody input[type=checkbox]").all()[:2]:
        tick.check()
    page.wait_for_timeout(1500)
    ink = page.locator(".lab-panel .x3tick text").first.evaluate("e => getComputedStyle(e).fill")
    assert ink == ("rgb(34, 34, 34)" if theme == "light" else "rgb(230, 230, 230)")
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    for part in ("panel", "compare"):
        page.locator(f".lab-{part}").evaluate("part => part.scrollIntoView()")
        page.wait_for_timeout(300)
        page.screenshot(path=ARTIFACTS / f"{part}_{theme}_{size[0]}x{size[1]}.png")
    assert page.evaluate(CROWDED) == {"scrolls": [], "overlaps": []}
    table = page.locator(".lab-runs").bounding_box()
    for button in page.locator(".lab-runs .does button").all()[:4]:
        place = button.bounding_box()
        assert place["x"] + place["width"] <= table["x"] + table["width"], "the buttons of a run are in view"

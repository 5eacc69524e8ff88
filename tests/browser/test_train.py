"""04_train in a real JupyterLab and a real Chromium: slider from the keyboard, Train, curves that grow, Stop."""

import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Page, expect

from .conftest import ARTIFACTS, REPOSITORY

pytestmark = pytest.mark.browser
NOTEBOOK = REPOSITORY / "notebooks" / "04_train.ipynb"
SMALL = """
import numpy as np
from lab_kit import devices
devices.start(2)
from lab_kit.arrays import Rows, Signature
from lab_kit.config import TrainConfig
from lab_kit.controls import TrainingPanel
random = np.random.default_rng(0)
def rows(n):
    x, c = random.normal(size=(n, 8)).astype("float32"), random.integers(0, 5, (n, 1)).astype("int32")
    return Rows(x, c, (x[:, 0] * x[:, 1] + 0.3 * c[:, 0] + random.normal(size=n) > 0.5).astype("float32"))
panel = TrainingPanel(rows(200_000), rows(20_000), Signature("binary", 8, (5,), 1), TrainConfig(epochs=60))
panel
"""
# The values of all traces as one list: what the eye sees of the chart, not what Python believes it sent.
VALUES = """() => {
  const plot = document.querySelector(".lab-panel .js-plotly-plot");
  return plot ? plot.data.map(trace => Array.from(trace.y).filter(Number.isFinite)) : [];
}"""
# Taken in the page, because Playwright looks only a few times a second.
STOPWATCH = """button => {
  button.addEventListener('click', () => { window.pressed = performance.now(); }, { once: true, capture: true });
  const words = document.querySelector('.lab-words');
  const see = () => { if (words.textContent.includes('Stopped')) window.idle ??= performance.now(); };
  new MutationObserver(see).observe(words, { childList: true, characterData: true, subtree: true });
}"""
# Notes what the page sends to the kernel from now on.
LISTEN = """() => {
  window.told = [];
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) {
    told.push(typeof data === 'string' ? data : new TextDecoder().decode(data));
    return send.call(this, data);
  };
}"""


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """The real notebook, or while there is none a small one with a panel on generated rows."""
    if NOTEBOOK.exists():
        return NOTEBOOK
    path = tmp_path / "04_train.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SMALL)]), path)
    return path


def curves(page: Page) -> list[list[float]]:
    values: list[list[float]] = page.evaluate(VALUES)
    return values


def shoot(page: Page, name: str) -> None:
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png")


def test_train_steer_and_stop_in_the_browser(notebook: Path, open_notebook: Callable[[Path], Page]) -> None:
    page = open_notebook(notebook)
    panel = page.locator(".lab-panel")
    panel.wait_for(timeout=180_000)  # the notebook builds the stages before it
    status, stop = page.locator(".lab-words"), page.get_by_role("button", name=re.compile(r"\bStop$"))
    page.locator(".lab-panel .js-plotly-plot .main-svg").first.wait_for(timeout=60_000)
    expect(page.locator("#jp-main-statusbar").get_by_text("| Idle")).to_be_visible(timeout=90_000)
    panel.scroll_into_view_if_needed()
    expect(stop).to_be_disabled()

    slider = page.get_by_role("slider", name="Learning rate", exact=True)
    before = float(slider.get_attribute("aria-valuenow") or "nan")
    slider.focus()
    for _ in range(3):
        slider.press("ArrowRight")
    assert float(slider.get_attribute("aria-valuenow") or "nan") > before

    # The run must still run when the test reaches Stop, however fast the machine is: many epochs, and a rate so low
    # that each of them is a little better than the one before, so that it does not stop early.
    for _ in range(30):
        slider.press("ArrowLeft")
    epochs = page.get_by_role("slider", name="Epochs", exact=True)
    epochs.focus()
    epochs.press("End")
    expect(epochs).to_have_attribute("aria-valuetext", "100")

    shown = curves(page)
    page.evaluate(LISTEN)
    page.get_by_role("button", name=re.compile(r"\bTrain$")).click()
    expect(status).to_contain_text("Training", timeout=120_000)
    page.wait_for_function(
        "before => { const y = (" + VALUES + ")(); return y.length && y[0].length > 1 && "
        "JSON.stringify(y) !== before }", arg=page.evaluate("y => JSON.stringify(y)", shown), timeout=60_000,
    )  # fmt: skip
    first = curves(page)
    page.wait_for_function("n => (" + VALUES + ")()[0].length > n", arg=len(first[0]), timeout=60_000)
    shoot(page, "04_train_training_1280x800")

    slider.focus()
    slider.press("ArrowLeft")
    expect(stop).to_be_enabled()  # a traced value steers the run and does not end it
    stop.evaluate(STOPWATCH)
    stop.click()
    expect(stop).to_be_disabled()
    expect(status).to_contain_text("Stopped", timeout=20_000)
    print(f"Stop to idle: {page.evaluate('idle - pressed'):.0f} ms")
    expect(page.get_by_role("button", name=re.compile(r"\bTrain$"))).to_be_enabled()
    told = page.evaluate("told")
    assert any('"painted"' in message for message in told)
    assert not [message for message in told if "Delta" in message], "Plotly's widget keeps its reports to itself"
    rest = curves(page)
    page.wait_for_timeout(500)
    assert curves(page) == rest
    shoot(page, "04_train_stopped_1280x800")
    narrow = page.locator(".lab-panel .main-svg").first.bounding_box()
    page.set_viewport_size({"width": 1920, "height": 1080})
    page.wait_for_timeout(1_000)
    wide, place = (page.locator(at).first.bounding_box() for at in (".lab-panel .main-svg", ".lab-panel"))
    assert narrow
    assert wide
    assert place
    assert wide["width"] > narrow["width"] + 400  # the chart takes the room that a larger window gives
    assert wide["x"] + wide["width"] == pytest.approx(place["x"] + place["width"], abs=8)
    shoot(page, "04_train_stopped_1920x1080")

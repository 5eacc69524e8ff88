"""How soon the panel answers, in headless Chromium: ``python -m benchmarks.responsiveness`` (see README.md).

JupyterLab shows notebook 04 on flights, as a reader has it, with an empty workspace and hence an empty cache of
compiled programs. Times are taken in the page, from the key that moves a slider or the click on a button, to the frame
in which the page shows what follows from it.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Page
from rich.console import Console
from rich.table import Table

from benchmarks.laboratory import REPOSITORY, opened
from lab_kit.run_store import RunStore

WANTED = {
    "traced value": 150, "new architecture": 1500, "stop": 250, "browser behind": 500, "10 epochs of flights": 2000,
    "table of 1,000 runs": 250,
}  # fmt: skip
NOTES = (
    "traced value: from the key on the learning rate's slider to the frame whose curves have the first point made with "
    "the new value, and its mark.",
    "new architecture: the same, on Width and Layers with `Retrain as I drag`, until the first training point of a "
    "network that was not compiled before, compilation included.",
    "stop: from the click on Stop at full speed to the frame that says Stopped.",
    "browser behind: on health, 1,000 epochs; in each frame, the age of the oldest record that it does not show yet.",
    "10 epochs of flights: from the click on Train to the frame that says Finished; the program is compiled already.",
    "table of 1,000 runs: listing 1,000 run folders from the index, without the browser.",
)
# Resolves with the milliseconds from the next key or click to the first frame in which `holds` is true.
STOPWATCH = """([kind, holds]) => { window.lap = new Promise((done) => {
  addEventListener(kind, () => {
    const began = performance.now(), test = new Function('return ' + holds);
    const see = () => test() ? done(performance.now() - began) : requestAnimationFrame(see);
    see();
  }, { once: true, capture: true });
}); }"""
CHART = "document.querySelector('.lab-panel .lab-curves .js-plotly-plot')"
WORDS = "document.querySelector('.lab-panel .lab-words').textContent"
# Notes in each frame the time of day and the last epoch that the chart shows.
FRAMES = f"""() => {{ window.frames_ = []; const see = () => {{
  const x = {CHART}.data[1].x; frames_.push([Date.now() / 1000, x[x.length - 1] || 0]); requestAnimationFrame(see);
}}; see(); }}"""


def ready(page: Page) -> None:
    """Waits until all cells have run and the chart is there."""
    page.locator(".lab-panel .lab-curves .js-plotly-plot .main-svg").first.wait_for(timeout=300_000)
    for _ in range(3):  # between two cells it is idle for a moment
        page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=300_000)
        page.wait_for_timeout(1000)
    page.evaluate("document.querySelector('.lab-panel').scrollIntoView()")


def enter(page: Page, name: str, value: str) -> None:
    """Types a value into a control's box."""
    box = page.locator(".lab-panel").get_by_role("textbox", name=f"{name}, value", exact=True)
    box.fill(value)
    box.press("Enter")


def click(page: Page, name: str) -> None:
    page.locator(".lab-panel .lab-buttons button", has_text=name).click()


def state(page: Page, words: str) -> None:
    page.wait_for_function(f"w => {WORDS}.includes(w)", arg=words, timeout=120_000)


def lap(page: Page, kind: str, holds: str, act) -> float:
    """Milliseconds from the event that ``act`` makes until ``holds``."""
    page.evaluate(STOPWATCH, [kind, holds])
    act()
    return float(page.evaluate("window.lap"))


def traced(page: Page, times: int) -> list[float]:
    """The learning rate, moved while a long run trains."""
    slider = page.locator(".lab-panel").get_by_role("slider", name="Learning rate", exact=True)
    click(page, "Train")
    state(page, "Training")
    page.wait_for_timeout(2000)
    found = []
    for number in range(times):
        slider.focus()
        before = page.evaluate(f"{CHART}.data[9].text.length")
        key = "ArrowRight" if number % 2 else "ArrowLeft"
        found.append(lap(page, "keydown", f"{CHART}.data[9].text.length > {before}", lambda k=key: slider.press(k)))
        page.wait_for_timeout(300)
    return found


def architectures(page: Page, times: int) -> list[float]:
    """Width and layers, moved with the switch on; each step is a network of its own."""
    panel = page.locator(".lab-panel")
    panel.get_by_label("Retrain as I drag").check()
    width, layers = (panel.get_by_role("slider", name=name, exact=True) for name in ("Width", "Layers"))
    width.focus()
    width.press("Home")
    found, moves = [], [(width, "ArrowRight")] * 7
    for count in range(times):
        if count and count % 7 == 0:
            moves = [(layers, "ArrowRight")] + [(width, "ArrowLeft" if count // 7 % 2 else "ArrowRight")] * 7
        slider, key = moves.pop(0)
        state(page, "Training")
        page.wait_for_timeout(700)
        slider.focus()
        first = page.evaluate(f"String({CHART}.data[0].y[0])")  # as text: it may be NaN
        holds = f"Number.isFinite({CHART}.data[0].y[0]) && String({CHART}.data[0].y[0]) !== '{first}'"
        found.append(lap(page, "keydown", holds, lambda s=slider, k=key: s.press(k)))
    panel.get_by_label("Retrain as I drag").uncheck()
    return found


def stops(page: Page, times: int) -> list[float]:
    found = []
    for _ in range(times):
        click(page, "Train") if "Training" not in page.evaluate(WORDS) else None
        state(page, "Training")
        page.wait_for_timeout(1000)
        found.append(lap(page, "click", f"{WORDS}.includes('Stopped')", lambda: click(page, "Stop")))
        state(page, "Stopped")
    return found


def epochs(page: Page, times: int) -> list[float]:
    enter(page, "Epochs", "10")
    found = []
    for _ in range(times):
        page.wait_for_timeout(500)
        page.evaluate("window.was = 0")
        holds = f"({WORDS}.includes('Training') && (window.was = 1), window.was && {WORDS}.includes('Finished'))"
        found.append(lap(page, "click", holds, lambda: click(page, "Train")))
    return found[1:]  # the first may compile


def flights(folder: Path, workspace: Path, times: int, only: set[str], say: Console) -> dict[str, list[float]]:
    """Everything that is measured on flights."""
    found: dict[str, list[float]] = {}
    with opened(REPOSITORY / "notebooks" / "04_train.ipynb", folder, workspace) as page:
        ready(page)
        page.locator("button.lab-fold").click()
        enter(page, "Patience", "off")

        def note(name: str, laps: list[float]) -> None:
            found[name] = laps
            say.print(f"{name}: median {statistics.median(laps):.0f} ms, highest {max(laps):.0f} ms, {len(laps)} times")

        if "10 epochs of flights" in only:
            note("10 epochs of flights", epochs(page, 4))
        enter(page, "Epochs", "1000000")
        if "traced value" in only:
            note("traced value", traced(page, times))
        if "stop" in only:
            note("stop", stops(page, 10))
        if "new architecture" in only:
            click(page, "Restart" if "Training" in page.evaluate(WORDS) else "Train")
            note("new architecture", architectures(page, times))
        if "Training" in page.evaluate(WORDS):
            click(page, "Stop")
            state(page, "Stopped")
    return found


def behind(folder: Path, workspace: Path) -> list[float]:
    """How far the page is behind in each frame of a run of 1,000 short epochs, in ms; 0 where it shows everything."""
    notebook = nbformat.read(REPOSITORY / "notebooks" / "04_train.ipynb", 4)
    times = folder / "times.json"
    for cell in notebook.cells:
        cell.source = cell.source.replace('dataset = "flights"', 'dataset = "health"').replace(
            'runs_folder=workspace', f'fit=__import__("benchmarks.laboratory").laboratory.timed({str(times)!r}, '
            'train.fit), runs_folder=workspace')  # fmt: skip
    path = folder / "source" / "04_train.ipynb"
    path.parent.mkdir()
    nbformat.write(notebook, path)
    with opened(path, folder, workspace) as page:
        ready(page)
        page.locator("button.lab-fold").click()
        enter(page, "Patience", "off")
        enter(page, "Epochs", "1000")
        page.wait_for_timeout(500)
        page.evaluate(FRAMES)
        click(page, "Train")
        state(page, "Finished")
        page.wait_for_timeout(1000)
        frames = page.evaluate("frames_")
    noted = json.loads(times.read_text())
    due = {round(epoch): when for epoch, when in reversed(noted) if epoch == round(epoch)}
    began, found = noted[0][1], []
    for when, epoch in frames:
        if when >= began:
            waiting = due.get(round(epoch or 0) + 1)
            found.append(max(0.0, 1000 * (when - waiting)) if waiting else 0.0)
    return found


def listing(folder: Path) -> list[float]:
    """Milliseconds to list 1,000 runs whose summaries are in the index."""
    row = {"epoch": 1.0, "step": 5, "seconds": 0.1, "best": True, "outcome": "finished", "validation_loss": 0.5}
    for number in range(1000):
        place = folder / f"2026-01-01-{number:06}"
        place.mkdir(parents=True)
        config = {"config": {"hidden": [4], "seed": number}, "network": {}, "fingerprint": ""}
        (place / "config.json").write_text(json.dumps(config))
        (place / "history.jsonl").write_text(json.dumps(row) + "\n")
        (place / "outcome.json").write_text('{"outcome": "finished", "learnt": true}')
    RunStore(folder).summaries()
    found = []
    for _ in range(10):
        began = time.perf_counter()
        assert len(RunStore(folder).summaries()) == 1000
        found.append(1000 * (time.perf_counter() - began))
    return found


def summary(name: str, found: list[float]) -> dict[str, Any]:
    """Median, highest and number; what has to hold for all of them is judged by the highest."""
    judged = max(found) if name == "browser behind" else statistics.median(found)
    return {
        "median_ms": statistics.median(found), "highest_ms": max(found), "count": len(found),
        "wanted_ms": WANTED[name], "holds": judged < WANTED[name],
    }  # fmt: skip


def main() -> None:
    """Reads the command line, measures, and prints a table or one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.responsiveness", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--times", type=int, default=30, help="moves of each slider (default %(default)s)")
    parser.add_argument("--only", nargs="+", choices=WANTED, default=list(WANTED), metavar="ROW", help="some rows")
    given = parser.parse_args()
    say, load = Console(stderr=True, quiet=given.json), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "one").mkdir()
        (folder / "two").mkdir()
        found: dict[str, list[float]] = {}
        if {"10 epochs of flights", "traced value", "stop", "new architecture"} & {*given.only}:
            found = flights(folder / "one", folder / "workspace", given.times, {*given.only}, say)
        if "browser behind" in given.only:
            say.print("browser behind")
            found["browser behind"] = behind(folder / "two", folder / "workspace")
        if "table of 1,000 runs" in given.only:
            found["table of 1,000 runs"] = listing(folder / "runs")
    results = {name: summary(name, found[name]) for name in WANTED if name in found}
    report = {
        "benchmark": "responsiveness", "load_before": load, "cores": os.cpu_count(), "notes": NOTES, "results": results,
    }  # fmt: skip
    if given.json:
        print(json.dumps(report, allow_nan=False))
        return
    table = Table(title=f"responsiveness, load {load:.1f} on {os.cpu_count()} cores", title_justify="left")
    for heading in ("", "median ms", "highest ms", "n", "wanted ms", ""):
        table.add_column(heading, justify="right" if "ms" in heading or heading == "n" else "left")
    for name, of in results.items():
        figures = (f"{of['median_ms']:.0f}", f"{of['highest_ms']:.0f}", str(of["count"]), f"< {of['wanted_ms']}")
        table.add_row(name, *figures, "holds" if of["holds"] else "missed")
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for note in NOTES:
        console.print(f"[dim]{note}[/dim]", highlight=False)


if __name__ == "__main__":
    main()

"""The panel of a sweep, driven from Python by the traits of its widgets."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_runs import BINARY, TABLE, VALIDATION, epochs, history

from lab_kit import sweep, sweep_plots
from lab_kit.arrays import Rows, Signature
from lab_kit.config import TrainConfig
from lab_kit.schema import LabError
from lab_kit.steering import Steering
from lab_kit.sweep import SweepRecord
from lab_kit.sweep_axes import Axis, spaced, sweepable
from lab_kit.sweep_panel import SweepPanel

BASE = TrainConfig((6,), optimizer="momentum", batch_size=10, epochs=2, dropout=0.0, seed=4)
Made = Callable[..., SweepPanel]


@pytest.fixture
def panel() -> Iterator[Made]:
    """Makes panels, and closes them; no thread is left."""
    made: list[SweepPanel] = []

    def make(base: TrainConfig = BASE, **given: Any) -> SweepPanel:
        made.append(SweepPanel(TABLE, VALIDATION, BINARY, base, **given))
        return made[-1]

    yield make
    for each in made:
        each.close()
        assert not each.running
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lab-kit")]


class Played:
    """Stands for ``sweep.sweep``: epoch after epoch, each when it is told; the loss is the first value of a point."""

    def __init__(self) -> None:
        self.go, self.reached = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(
        self, train: Rows, validation: Rows, signature: Signature, base: TrainConfig, axes: Any, seeds: Any, *,
        steering: Steering,
    ) -> Iterator[SweepRecord]:  # fmt: skip
        losses = np.array([next(iter(point.values.values())) for point in sweep.grid(base, axes, seeds)])
        for epoch in range(base.epochs + 1):
            self.go.acquire()
            outcome = "stopped" if steering.stopped else "finished" if epoch == base.epochs else None
            found = {"loss": losses + 1 / (epoch + 1), "auc": 1 - losses}
            yield SweepRecord(float(epoch), epoch, {}, found, losses < 0, 1000.0 * epoch, epoch, outcome)
            self.reached.release()
            if outcome:
                return


def start(panel: SweepPanel, played: Played) -> None:
    """Presses Sweep and waits until its first two records are shown."""
    panel.sweep_button.click()
    for _ in range(2):
        played.go.release()
        assert played.reached.acquire(timeout=10)


@pytest.mark.slow
def test_a_sweep_shows_what_a_sweep_in_a_loop_finds(panel: Made) -> None:
    made = panel()
    made.axes[0].low["learning_rate"].value, made.axes[0].high["learning_rate"].value = 0.01, 0.1
    made.axes[0].number.value, made.seeds.value, made.epochs.value = 3, 2, 2
    assert made.status.value == "Ready: press Sweep."
    assert made.use_button.disabled
    made.sweep_button.click()
    assert made.wait(120)
    base = replace(BASE, epochs=2)
    axes, seeds = {"learning_rate": [0.01, 0.0316, 0.1]}, [4, 5]
    alone = list(sweep.sweep(TABLE, VALIDATION, BINARY, base, axes, seeds))
    assert made.curves is not None
    assert made.curves.axes == {"learning_rate": (0.01, 0.0316, 0.1)}
    np.testing.assert_allclose(made.curves.measures["loss"][-1].ravel(), alone[-1].validation["loss"], rtol=1e-5)
    assert made.status.value == "Finished: 6 configurations."
    assert made.progress.bar_style == "success"
    assert "Epoch 2.0 of 2" in made.numbers.value
    assert "best: learning rate" in made.numbers.value
    best = made.best
    assert best.values == made.curves.best()
    assert best.config.seed == 4
    # The chart is the fan of these curves, with the best value strong.
    expected = sweep_plots.fan(made.curves)
    strong = next(trace for trace in made._fan.widget.data if trace.name == "validation, mean")
    np.testing.assert_allclose(strong.y, next(t for t in expected.data if t.name == "validation, mean").y)
    assert len(made.figure().frames) == 3


def test_the_chart_follows_the_best_until_the_slider_is_moved(panel: Made) -> None:
    played = Played()
    made = panel(run=played)
    start(made, played)
    assert made.running
    assert made.status.value == "Sweeping 14 configurations."
    assert "Epoch 1.0 of 2" in made.numbers.value
    assert (made.sweep_button.disabled, made.stop_button.disabled, made.use_button.disabled) == (True, False, True)
    assert made.shown.label == "0.0001"  # the lowest loss is that of the lowest value
    strong = next(trace for trace in made._fan.widget.data if trace.name == "validation, mean")
    np.testing.assert_allclose(strong.y, [1.0001, 0.5001])
    made.shown.value = 6
    np.testing.assert_allclose(strong.y, [1.1, 0.6])
    made.measure.value = "auc"
    np.testing.assert_allclose(strong.y, [0.9, 0.9])
    assert made._fan.widget.layout.yaxis.title.text == "AUC"
    played.go.release()
    assert made.wait(10)
    assert made.shown.value == 6
    np.testing.assert_allclose(strong.y, [0.9, 0.9, 0.9])


def test_stop_ends_it_and_what_it_has_stays(panel: Made) -> None:
    played = Played()
    made = panel(run=played)
    start(made, played)
    made.sweep_button.click()  # while one runs, nothing
    made.stop_button.click()
    assert made.status.value == "Stopping."
    assert made.stop_button.disabled
    played.go.release()
    assert made.wait(10)
    assert made.status.value == "Stopped: 14 configurations."
    assert made.curves is not None
    assert made.curves.epochs.tolist() == [0, 1, 2]
    assert (made.sweep_button.disabled, made.stop_button.disabled, made.use_button.disabled) == (False, True, False)


def test_two_axes_hold_the_best_value_of_the_second(panel: Made) -> None:
    played = Played()
    made = panel(run=played)
    made.axes[1].name.value = "dropout"
    made.axes[1].number.value = 3
    made.seeds.value = 1
    start(made, played)
    assert made.curves is not None
    assert list(made.curves.axes) == ["learning_rate", "dropout"]
    assert "with dropout 0" in made._fan.widget.layout.title.text
    made.stop()
    played.go.release()
    assert made.wait(10)


def test_the_best_is_used_and_the_panel_says_where(panel: Made, tmp_path: Path) -> None:
    played, seen = Played(), []

    def use(config: TrainConfig) -> Path:
        seen.append(config)
        return tmp_path / "runs" / "2026-01-02-030405"

    made = panel(run=played, use=use)
    start(made, played)
    played.go.release()
    assert made.wait(10)
    made.use_button.click()
    assert made.wait(10)
    assert seen == [replace(BASE, learning_rate=0.0001)]
    assert made.status.value == f"The best is kept as the run 2026-01-02-030405, in {tmp_path / 'runs'}."
    played.go.release()
    made.start()
    assert made.moment.used is None or made.running
    made.stop()
    played.go.release()
    assert made.wait(10)


def test_what_cannot_be_swept_is_said_and_the_panel_stays_usable(panel: Made) -> None:
    played = Played()
    made = panel(run=played)
    made.axes[0].low["learning_rate"].value = 0.5
    made.sweep_button.click()
    assert made.status.value == "The range of the learning rate goes from 0.5 to 0.1: let it go up."
    assert not made.running
    made.axes[0].low["learning_rate"].value = 0.001
    made.axes[1].name.value = "learning_rate"
    made.sweep_button.click()
    assert "Both axes are the same" in made.status.value
    made.axes[1].name.value = "momentum"
    made.axes[1].number.value = 8
    made.sweep_button.click()
    assert made.status.value.startswith("That makes 112 configurations")
    made.axes[1].name.value = ""
    start(made, played)
    assert made.status.value == "Sweeping 14 configurations."
    made.stop()
    played.go.release()
    assert made.wait(10)


@pytest.mark.parametrize("error", [LabError("Nothing to learn."), ValueError("a <b>bad</b> thing")])
def test_an_error_is_a_sentence_with_details_to_unfold(panel: Made, error: Exception) -> None:
    def broken(*given: Any, **named: Any) -> Iterator[SweepRecord]:
        raise error

    made = panel(run=broken)
    made.start()
    assert made.wait(10)
    assert made.progress.bar_style == "danger"
    if isinstance(error, LabError):
        assert made.status.value == "Nothing to learn."
    else:
        assert made.status.value.startswith("ValueError: a &lt;b&gt;bad&lt;/b&gt; thing<details>")
        assert "Traceback" in made.status.value
    with pytest.raises(LabError, match="press Sweep"):
        _ = made.best


def test_values_are_evenly_spaced_or_their_logarithms_are() -> None:
    assert spaced("learning_rate", 1e-4, 0.1, 4) == [0.0001, 0.001, 0.01, 0.1]
    assert spaced("dropout", 0, 0.6, 4) == [0, 0.2, 0.4, 0.6]
    assert spaced("clip_norm", 0, 1, 3) == [0, 0.5, 1]  # there is no logarithm of 0
    for low, high in ((0.3, 0.3), (0.4, 0.3)):
        with pytest.raises(LabError, match="let it go up"):
            spaced("dropout", low, high, 2)
    with pytest.raises(LabError, match="choose fewer"):
        spaced("dropout", 0.1, 0.101, 5)


def test_only_what_changes_something_can_be_swept() -> None:
    assert sweepable(BASE, BINARY)[:4] == ["learning_rate", "momentum", "weight_decay", "dropout"]
    plain = replace(BASE, optimizer="sgd", hidden=())
    assert sweepable(plain, BINARY) == ["learning_rate", "weight_decay", "clip_norm", "label_smoothing"]
    assert "label_smoothing" not in sweepable(BASE, Signature("regression", 3, (), 1))
    for base in (BASE, plain):
        for name in sweepable(base, BINARY):
            sweep.grid(base, Axis("Sweep", [name], name, 3).values, [0])


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from example_runs import BINARY, TABLE, VALIDATION
from lab_kit.config import TrainConfig
from lab_kit.sweep_panel import SweepPanel
panel = SweepPanel(TABLE, VALIDATION, BINARY, TrainConfig((6,), batch_size=10, epochs=1000))
panel.start()
while not (panel.moment.last and panel.moment.last.step):
    pass
print("runs", panel.running)
"""


@pytest.mark.slow
def test_the_end_of_the_interpreter_ends_a_sweep_quietly() -> None:
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "runs True\n", "")


@pytest.mark.slow
def test_the_run_of_the_best_is_the_run_of_the_sweep(panel: Made) -> None:
    made = panel()
    made.axes[0].number.value, made.seeds.value = 2, 1
    made.start()
    assert made.wait(120)
    assert made.curves is not None
    alone = min(record.validation["loss"] for record in epochs(history(made.best.config))[1:])
    assert np.nanmin(made.curves.at_best("loss")) == pytest.approx(alone, rel=1e-4)

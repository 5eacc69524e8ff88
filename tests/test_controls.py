"""The panel, driven by setting the traits of its widgets and clicking its buttons; no browser."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from lab_kit import controls, curves, runs, train
from lab_kit.arrays import Rows, Signature
from lab_kit.config import TrainConfig
from lab_kit.controls import TrainingPanel
from lab_kit.schema import LabError
from lab_kit.settings import Settings

SIGNATURE = Signature("binary", 4, (3,), 1)
CONFIG = TrainConfig(hidden=(8, 4), batch_size=64, epochs=2)


def rows(count: int, seed: int) -> Rows:
    random = np.random.default_rng(seed)
    numeric = random.normal(size=(count, 4)).astype(np.float32)
    return Rows(numeric, random.integers(0, 3, (count, 1)).astype(np.int32), (numeric[:, 0] > 0).astype(np.float32))


TRAIN, VALIDATION = rows(500, 0), rows(200, 1)


@pytest.fixture
def panel() -> Iterator[TrainingPanel]:
    shown = TrainingPanel(TRAIN, VALIDATION, SIGNATURE, CONFIG)
    yield shown
    shown.close()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("lab-kit")] == []


def until(holds: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def endless(panel: TrainingPanel) -> None:
    """Starts a run that would take many minutes, and waits until it trains."""
    panel.settings.controls["epochs"].value = 1_000_000
    panel.buttons.train.click()
    until(lambda: panel.status.value == "Training.")


def test_the_controls_show_the_configuration_and_give_it_back(panel: TrainingPanel) -> None:
    assert panel.config == CONFIG
    panel.settings.controls["width"].value = 32
    panel.settings.controls["layers"].value = 3
    panel.settings.controls["activation"].value = "tanh"
    panel.settings.controls["optimizer"].value = "momentum"
    panel.settings.controls["learning_rate"].value = 0.1
    assert panel.config.hidden == (32, 16, 8)
    assert (panel.config.activation, panel.config.optimizer) == ("tanh", "momentum")
    assert panel.config.learning_rate == pytest.approx(0.1)


def test_a_control_that_the_optimizer_does_not_listen_to_is_greyed_out(panel: TrainingPanel) -> None:
    fields = panel.settings.controls
    fields["optimizer"].value = "gradient descent"
    assert fields["momentum"].disabled
    assert fields["batch_size"].disabled
    fields["optimizer"].value = "adam"
    assert not fields["momentum"].disabled
    assert not fields["batch_size"].disabled


def test_train_runs_to_the_end_and_draws_every_record(panel: TrainingPanel) -> None:
    assert panel.buttons.stop.disabled
    panel.buttons.train.click()
    assert panel.wait(60)
    assert panel.status.value == "Finished."
    assert panel.progress.value == 1
    assert panel.buttons.stop.disabled
    expected = list(train.fit(TRAIN, VALIDATION, SIGNATURE, CONFIG))
    validated = [record.validation["loss"] for record in expected if record.validation]
    drawn = panel._curves.widget.data[1]
    np.testing.assert_array_equal(drawn.y, validated)
    np.testing.assert_array_equal(panel.figure().data[1].y, validated)
    assert panel.best is not None
    assert panel.best.validation["loss"] == min(validated[1:])


def test_stop_ends_a_run_at_once(panel: TrainingPanel) -> None:
    endless(panel)
    assert panel.buttons.train.description == "Restart"
    panel.buttons.stop.click()
    assert panel.wait(30)
    assert panel.status.value == "Stopped."
    assert panel.buttons.train.description == "Train"


def test_a_traced_slider_steers_the_run_that_runs(panel: TrainingPanel) -> None:
    endless(panel)
    panel.settings.controls["learning_rate"].value = 10**-2.5
    until(lambda: panel.history["learning_rate"][-1] == pytest.approx(10**-2.5))
    assert panel.history["step"].is_sorted()  # the same run went on
    assert panel.history["learning_rate"][0] == pytest.approx(CONFIG.learning_rate)


def test_another_slider_waits_for_train_or_restarts_with_the_switch(panel: TrainingPanel) -> None:
    endless(panel)
    panel.settings.controls["batch_size"].value = 32
    assert panel._live.moment.config.batch_size == 64
    panel.buttons.retrain.value = True
    panel.settings.controls["width"].value = 16
    until(lambda: panel._live.moment.config.hidden == (16, 8))
    assert panel._live.moment.config.batch_size == 32


def test_many_starts_in_a_row_end_in_the_last_one(panel: TrainingPanel) -> None:
    panel.buttons.retrain.value = True
    for batch in (8, 16, 32, 128):
        panel.settings.controls["batch_size"].value = batch
    assert panel.wait(60)
    assert panel._live.moment.config.batch_size == 128
    assert panel.status.value == "Finished."


def test_a_rate_that_diverges_gives_one_sentence_and_a_usable_panel() -> None:
    signature = Signature("regression", 4, (3,), 1)
    shown = TrainingPanel(TRAIN, VALIDATION, signature, TrainConfig((8, 4), optimizer="sgd", batch_size=64, epochs=50))
    shown.settings.controls["learning_rate"].value = 100.0
    shown.buttons.train.click()
    assert shown.wait(60)
    assert shown.status.value.startswith("Diverged: the loss is no longer a finite number")
    assert "<pre>" not in shown.status.value
    shown.settings.controls["learning_rate"].value = 0.01
    shown.settings.controls["epochs"].value = 1
    shown.buttons.train.click()
    assert shown.wait(60)
    assert shown.status.value == "Finished."
    shown.close()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(LabError("The disk is full."), "The disk is full."), (ValueError("<b>odd"), "ValueError: &lt;b&gt;odd")],
)
def test_an_exception_reaches_the_reader_with_details_to_unfold(error: Exception, sentence: str) -> None:
    def broken(*_: object, **__: object) -> Iterator[train.Record]:
        raise error
        yield

    shown = TrainingPanel(TRAIN, VALIDATION, SIGNATURE, CONFIG, fit=broken)
    shown.buttons.train.click()
    assert shown.wait(30)
    assert sentence in shown.status.value
    assert "<details>" in shown.status.value
    assert not shown.buttons.train.disabled
    shown.close()


def test_runs_are_kept_where_later_stages_find_them(tmp_path) -> None:
    shown = TrainingPanel(TRAIN, VALIDATION, SIGNATURE, CONFIG, runs_folder=tmp_path / "runs", fingerprint="rows")
    shown.buttons.train.click()
    assert shown.wait(60)
    found = runs.latest(tmp_path / "runs", "rows")
    assert found is not None
    kept = runs.load(found)
    assert kept.config == CONFIG
    np.testing.assert_array_equal(kept.weights, np.asarray(shown.best.weights))
    shown.close()


def test_the_theme_of_the_page_changes_the_chart(panel: TrainingPanel) -> None:
    light = panel._curves.widget.layout.template
    panel._page.dark = True
    assert panel._curves.widget.layout.template != light
    panel._page.width = 640
    assert panel._curves.widget.layout.width == 640


def test_a_page_that_is_slow_gets_fewer_frames_and_the_last_one(panel: TrainingPanel) -> None:
    page, sent = panel._page, []
    page.observe(lambda change: sent.append(change["new"]), "sent")
    page.width = 640  # a page looks, and never says that it has painted
    panel.settings.controls["epochs"].value = 50
    panel.buttons.train.click()
    assert panel.wait(60)
    assert len(panel.history) > 50
    assert len(sent) < 20
    assert panel._curves.widget.data[1].x[-1] == 50


def at_rest(panel: TrainingPanel) -> bool:
    return panel.wait(60)


def test_pause_holds_the_run_and_continue_lets_it_go_on(panel: TrainingPanel) -> None:
    endless(panel)
    panel.buttons.pause.click()
    assert panel.status.value.startswith("Paused at epoch")
    assert panel.buttons.pause.description == "Continue"
    time.sleep(0.2)  # a call that was under way may still end
    held = panel.history["step"][-1]
    time.sleep(0.3)
    assert panel.history["step"][-1] == held
    panel.buttons.pause.click()
    until(lambda: panel.history["step"][-1] > held)
    assert panel.status.value == "Training."


def test_step_trains_one_epoch_and_goes_on_from_there_to_the_bit(tmp_path) -> None:
    shown = TrainingPanel(TRAIN, VALIDATION, SIGNATURE, CONFIG, runs_folder=tmp_path / "runs")
    for epoch in (1, 2, 3):  # one more than the configuration has
        shown.buttons.step.click()
        assert at_rest(shown)
        assert shown.history["epoch"][-1] == epoch
    whole = list(train.fit(TRAIN, VALIDATION, SIGNATURE, replace(CONFIG, epochs=3)))
    expected = [record.validation["loss"] for record in whole if record.validation]
    assert shown.history["validation_loss"].drop_nulls().to_list() == expected
    (folder,) = (tmp_path / "runs").iterdir()  # it was one run
    assert runs.load(folder).history["validation_loss"].drop_nulls().to_list() == expected
    shown.close()


def test_step_after_a_stop_within_an_epoch_does_as_many_steps_as_an_epoch_has() -> None:
    rows_, steps = rows(20_000, 2), -(-20_000 // 8)
    shown = TrainingPanel(rows_, VALIDATION, SIGNATURE, replace(CONFIG, batch_size=8, epochs=50))
    shown.buttons.train.click()
    until(lambda: len(shown.history) > 2 and shown.history["epoch"][-1] % 1)
    shown.buttons.stop.click()
    assert at_rest(shown)
    before = shown.history["step"][-1]
    shown.settings.controls["learning_rate"].value = 0.002
    shown.buttons.step.click()
    assert at_rest(shown)
    assert shown.history["step"][-1] == before + steps
    assert shown.history["learning_rate"][-1] == 0.002
    assert [words for _, words in shown._live.moment.track.changes] == ["learning rate 0.001 → 0.002"]
    shown.close()


def test_step_while_paused_trains_to_the_end_of_the_epoch_and_pauses_again(panel: TrainingPanel) -> None:
    endless(panel)
    panel.buttons.pause.click()
    time.sleep(0.2)
    before = panel.history["epoch"][-1]
    panel.buttons.step.click()
    until(lambda: panel.history["epoch"][-1] > before and panel.status.value.startswith("Paused"))
    time.sleep(0.2)
    assert panel.history["epoch"][-1] == int(before) + 1


def test_reset_clears_the_curves_and_shows_the_settings_of_the_start(panel: TrainingPanel) -> None:
    panel.settings.controls["width"].value = 64
    endless(panel)
    panel.buttons.reset.click()
    assert at_rest(panel)
    assert panel.config == CONFIG
    assert panel.status.value == "Ready: press Train."
    assert np.isnan(panel._curves.widget.data[0].y).all()
    assert panel.progress.value == 0


def test_a_steered_value_is_marked_on_the_curve(panel: TrainingPanel) -> None:
    endless(panel)
    panel.settings.controls["learning_rate"].value = 0.003
    until(lambda: panel._curves.widget.data[9].text[0] == "learning rate 0.001 → 0.003")
    mark = panel._curves.widget.data[9]
    history = panel.history  # of this moment: the run goes on
    at = history.filter(history["learning_rate"] == 0.003)["epoch"][0]
    assert 0 < mark.x[0] <= at  # where the value began to hold


def test_the_chart_stays_as_it_was_until_a_new_network_has_made_a_step(panel: TrainingPanel) -> None:
    panel.start()
    assert panel.wait(60)
    before = tuple(panel._curves.widget.data[1].y)
    assert len(before) > 2
    compiled = threading.Event()

    def held(*given, **named) -> Iterator[train.Record]:
        first, *rest = train.fit(*given, **named)
        yield first
        compiled.wait(60)
        yield from rest

    panel._fit = held
    panel.start()
    until(lambda: panel.status.value.startswith("Starting") and panel._live.moment.last is not None)
    panel._show()
    assert tuple(panel._curves.widget.data[1].y) == before
    assert panel.progress.value == 0
    compiled.set()
    assert panel.wait(60)
    np.testing.assert_array_equal(panel._curves.widget.data[3].y, before)  # now that of the run before


def test_retraining_while_dragging_keeps_only_runs_that_reached_an_epoch(tmp_path) -> None:
    def slow(*given, **named) -> Iterator[train.Record]:
        for record in train.fit(*given, **named):
            time.sleep(0.1)
            yield record

    config, place = replace(CONFIG, batch_size=4, epochs=1), tmp_path / "runs"
    shown = TrainingPanel(TRAIN, VALIDATION, SIGNATURE, config, place, fit=slow)
    shown.buttons.retrain.value = True
    for batch in (8, 16, 32):
        shown.settings.controls["batch_size"].value = batch
        until(lambda batch=batch: shown.history.height > 1 and shown._live.moment.config.batch_size == batch)
    assert at_rest(shown)
    kept = [runs.load(folder).config.batch_size for folder in place.iterdir()]
    assert kept == [32]
    (folder,) = place.iterdir()
    assert len(runs.load(folder).history) == len(shown.history)
    shown.close()


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_controls_fit_the_task(task) -> None:
    settings = Settings(replace(CONFIG, batch_size=8), 100, 1, task)
    assert ("class_weight" in settings.controls) == (task != "regression")
    assert ("label_smoothing" in settings.controls) == (task != "regression")
    assert ("loss" in settings.controls) == (task == "regression")
    assert "devices" not in settings.controls  # there is one
    assert settings.controls["batch_size"].slider.max == 3  # 8, 16, 32, 64 of 100 rows
    assert settings.config == replace(CONFIG, batch_size=8)


def test_every_configuration_comes_back_from_the_controls() -> None:
    wanted = TrainConfig(
        (64, 64, 64), "tanh", "layer", "huber", "none", "lion", "one-cycle", 0.25, 16, 7, 2, 4, 1, 5, 3,
        0.0123, 0.7, 0.02, 0.3, 2.5,
    )  # fmt: skip
    settings = Settings(TrainConfig((8,), batch_size=8), 100, 2, "regression")
    settings.show(wanted)
    assert settings.config == wanted
    settings.reset()
    assert settings.config == TrainConfig((8,), batch_size=8)
    with pytest.raises(LabError, match="cannot show the hidden layers"):
        settings.show(replace(wanted, hidden=(3, 7)))
    assert settings.config == TrainConfig((8,), batch_size=8)


@pytest.mark.parametrize(
    ("name", "typed", "reason"),
    [
        ("learning_rate", "-1", "choose a finite number above 0"),
        ("learning_rate", "1e39", "choose a finite number above 0"),
        ("dropout", "1", "choose a number from 0 to below 1"),
        ("batch_size", "501", "choose a whole number from 1 to 500"),
        ("epochs", "two", "that is not a number"),
        ("epochs", "1.5", "that is not a number"),
        ("warmup", "100%", "choose a part of the run"),
        ("layers", "99", "choose a whole number from 0 to 32"),
        ("momentum", "nan", "choose a number from 0 to below 1"),
    ],
)
def test_a_value_out_of_range_is_refused_with_a_reason(
    panel: TrainingPanel, name: str, typed: str, reason: str
) -> None:
    control, before = panel.settings.controls[name], panel.config
    shown = control.box.value
    control.box.value = typed
    assert reason in control.note.value
    assert control.box.value == shown
    assert panel.config == before
    control.slider.value = control.slider.value + (1 if control.slider.value < control.slider.max else -1)
    assert control.note.value == ""


def test_a_typed_value_between_the_stops_and_beyond_the_slider_counts(panel: TrainingPanel) -> None:
    fields = panel.settings.controls
    fields["learning_rate"].box.value = "0.00123"
    fields["epochs"].box.value = "1,000"
    fields["patience"].box.value = "off"
    assert (panel.config.learning_rate, panel.config.epochs, panel.config.patience) == (0.00123, 1000, None)
    assert fields["epochs"].slider.value == fields["epochs"].slider.max


def test_weights_are_looked_at_only_while_they_are_shown(panel: TrainingPanel) -> None:
    panel.buttons.train.click()
    assert at_rest(panel)
    assert panel._weights.widget is None
    panel.view.value = "Weights"
    chart = panel._weights.widget
    assert [trace.name for trace in chart.data if trace.visible] == ["layer 1", "layer 2", "layer 3", "embedding 1"]
    drawn = chart.data[0].x
    panel.view.value = "Curves"
    panel.settings.controls["seed"].value = 5
    panel.buttons.train.click()
    assert at_rest(panel)
    assert chart.data[0].x is drawn


def test_log_scale_and_smoothing_change_what_is_drawn_and_not_what_was_measured(panel: TrainingPanel) -> None:
    panel.buttons.train.click()
    assert at_rest(panel)
    measured, drawn = panel.history, np.array(panel._curves.widget.data[0].y)
    panel.log_scale.value, panel.smoothing.value = True, 0.5
    assert panel._curves.widget.layout.yaxis.type == "log"
    fresh = np.array(panel._curves.widget.data[0].y)
    mean = sum(0.5**k * value for k, value in enumerate(drawn[::-1])) / sum(0.5**k for k in range(len(drawn)))
    assert fresh[-1] == pytest.approx(mean)
    assert panel.history.equals(measured)


def test_a_page_that_opens_later_gets_the_curves_as_they_are(panel: TrainingPanel) -> None:
    panel.buttons.train.click()
    assert at_rest(panel)
    state = panel._curves.widget.get_state()
    sent = state["_widget_data"][1]["y"]
    np.testing.assert_array_equal(np.frombuffer(sent["buffer"], sent["dtype"]), panel._curves.widget.data[1].y)


def test_without_plotlys_widget_there_is_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: object) -> None:
        raise ImportError("Please install anywidget to use the FigureWidget class")

    monkeypatch.setattr(curves, "live_figure", missing)
    shown = TrainingPanel(TRAIN, VALIDATION, SIGNATURE, CONFIG)
    shown.buttons.train.click()
    assert at_rest(shown)
    root = ElementTree.fromstring(shown._curves.widget.value)
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 3  # both losses, and the metric of the validation rows
    assert len(lines[1].get("points").split()) == CONFIG.epochs + 1
    shown.view.value = "Weights"  # no histogram, and no exception
    assert "need Plotly's widget" in shown._weights.widget.value
    shown.log_scale.value, shown._page.dark, shown._page.width = True, True, 900
    assert 'width="900"' in shown._curves.widget.value
    shown.close()


def test_watch_updates_a_plain_picture_until_the_run_ends(panel: TrainingPanel, monkeypatch) -> None:
    shown: list[str] = []

    class Handle:
        def update(self, picture: object) -> None:
            shown.append(picture.data)

    def first(picture: object, display_id: bool) -> Handle:
        assert display_id
        shown.append(picture.data)
        return Handle()

    monkeypatch.setattr(controls, "display", first)
    panel.start()
    panel.watch(0.05)
    assert "Finished." in shown[-1]
    assert "<svg" in shown[0]


LEAVING = """
import numpy as np, sys, time
sys.path[:0] = [{tests!r}]
from pathlib import Path
from test_controls import TRAIN, VALIDATION, SIGNATURE, CONFIG
from dataclasses import replace
from lab_kit.controls import TrainingPanel
panel = TrainingPanel(TRAIN, VALIDATION, SIGNATURE, replace(CONFIG, epochs=1_000_000), Path({folder!r}))
panel.start()
while len(panel.history) < 20:
    time.sleep(0.01)
"""


@pytest.mark.slow
def test_a_kernel_that_ends_leaves_a_whole_run(tmp_path) -> None:
    code = LEAVING.format(tests=str(Path(__file__).parent), folder=str(tmp_path / "runs"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "outcome.json").read_text())["outcome"] == "stopped"
    assert runs.load(folder).history["epoch"][-1] > 1

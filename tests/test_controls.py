"""The panel, driven by setting the traits of its widgets and clicking its buttons; no browser."""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from lab_kit import runs, train
from lab_kit.arrays import Rows, Signature
from lab_kit.config import TrainConfig
from lab_kit.controls import TrainingPanel
from lab_kit.schema import LabError

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
    panel.settings.controls["epochs"].max = 1_000_000
    panel.settings.controls["epochs"].value = 1_000_000
    panel.train_button.click()
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
    controls = panel.settings.controls
    controls["optimizer"].value = "gradient descent"
    assert controls["momentum"].disabled
    assert controls["batch_size"].disabled
    controls["optimizer"].value = "adam"
    assert not controls["momentum"].disabled
    assert not controls["batch_size"].disabled


def test_train_runs_to_the_end_and_draws_every_record(panel: TrainingPanel) -> None:
    assert panel.stop_button.disabled
    panel.train_button.click()
    assert panel.wait(60)
    assert panel.status.value == "Finished."
    assert panel.progress.value == 1
    assert panel.stop_button.disabled
    expected = list(train.fit(TRAIN, VALIDATION, SIGNATURE, CONFIG))
    validated = [record.validation["loss"] for record in expected if record.validation]
    drawn = panel._curves.widget.data[1]
    np.testing.assert_array_equal(drawn.y, validated)
    np.testing.assert_array_equal(panel.figure().data[1].y, validated)
    assert panel.best is not None
    assert panel.best.validation["loss"] == min(validated[1:])


def test_stop_ends_a_run_at_once(panel: TrainingPanel) -> None:
    endless(panel)
    assert panel.train_button.description == "Restart"
    panel.stop_button.click()
    assert panel.wait(30)
    assert panel.status.value == "Stopped."
    assert panel.train_button.description == "Train"


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
    panel.retrain.value = True
    panel.settings.controls["width"].value = 16
    until(lambda: panel._live.moment.config.hidden == (16, 8))
    assert panel._live.moment.config.batch_size == 32


def test_many_starts_in_a_row_end_in_the_last_one(panel: TrainingPanel) -> None:
    panel.retrain.value = True
    for batch in (8, 16, 32, 128):
        panel.settings.controls["batch_size"].value = batch
    assert panel.wait(60)
    assert panel._live.moment.config.batch_size == 128
    assert panel.status.value == "Finished."


def test_a_rate_that_diverges_gives_one_sentence_and_a_usable_panel() -> None:
    signature = Signature("regression", 4, (3,), 1)
    shown = TrainingPanel(TRAIN, VALIDATION, signature, TrainConfig((8, 4), optimizer="sgd", batch_size=64, epochs=50))
    shown.settings.controls["learning_rate"].value = 100.0
    shown.train_button.click()
    assert shown.wait(60)
    assert shown.status.value.startswith("Diverged: the loss is no longer a finite number")
    assert "<pre>" not in shown.status.value
    shown.settings.controls["learning_rate"].value = 0.01
    shown.settings.controls["epochs"].value = 1
    shown.train_button.click()
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
    shown.train_button.click()
    assert shown.wait(30)
    assert sentence in shown.status.value
    assert "<details>" in shown.status.value
    assert not shown.train_button.disabled
    shown.close()


def test_runs_are_kept_where_later_stages_find_them(tmp_path) -> None:
    shown = TrainingPanel(TRAIN, VALIDATION, SIGNATURE, CONFIG, runs_folder=tmp_path / "runs", fingerprint="rows")
    shown.train_button.click()
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
    panel.train_button.click()
    assert panel.wait(60)
    assert len(panel.history) > 50
    assert len(sent) < 20
    assert panel._curves.widget.data[1].x[-1] == 50

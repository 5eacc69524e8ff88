"""The training panel: ``settings.Settings`` and buttons around a ``live.LiveRun``, and live charts beside them."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets
import jax
import plotly.graph_objects as go
import polars as pl
from IPython.display import HTML, display

from lab_kit import runs, train
from lab_kit.arrays import Rows, Signature
from lab_kit.config import TrainConfig, suggest
from lab_kit.curves import Weights, curves
from lab_kit.front import Page, box, column
from lab_kit.keeping import from_first_epoch
from lab_kit.live import Job, LiveRun, cut
from lab_kit.moment import Moment, numbers, words
from lab_kit.optimizers import TRACED
from lab_kit.picture import picture
from lab_kit.settings import Settings
from lab_kit.steering import Steering
from lab_kit.training_plots import METRIC, learning_curves

Fit = Callable[..., Iterator[train.Record]]


class Buttons:
    """What a run can be told to do.

    Attributes:
      widget: all of them.
      train, pause, step, stop, reset: the buttons.
      retrain: the switch "retrain as I drag".
    """

    def __init__(self) -> None:
        """As of a panel at rest."""
        button = ipywidgets.Button
        self.train = button(description="Train", button_style="primary", icon="play", tooltip="Train from the start")
        self.pause = button(description="Pause", icon="pause", disabled=True, tooltip="Hold the run, or let it go on")
        self.step = button(description="Step", icon="step-forward", tooltip="Train exactly one epoch more")
        self.stop = button(description="Stop", icon="stop", disabled=True, tooltip="End the run; what it has stays")
        self.reset = button(description="Reset", icon="undo", tooltip="Settings as at the start, curves cleared")
        self.retrain = ipywidgets.Checkbox(False, description="Retrain as I drag", indent=False)
        row = box("buttons", self.train, self.pause, self.step, self.stop, self.reset)
        self.widget = column("actions", row, self.retrain)

    def follow(self, moment: Moment) -> None:
        """Enables what can be done now."""
        state = moment.state
        self.stop.disabled = not moment.running or state == "stopping"
        self.pause.disabled = state not in ("training", "paused")
        self.step.disabled = state in ("starting", "training", "stopping")
        self.train.description = "Restart" if moment.running else "Train"
        paused = state == "paused"
        self.pause.description, self.pause.icon = ("Continue", "play") if paused else ("Pause", "pause")


class TrainingPanel:
    """Controls at the left, charts at the right, and a run that answers while it runs.

    Show it as the last expression of a cell. ``wait``, ``history``, ``figure()``, ``best`` and ``config`` serve
    notebooks that run without a reader; ``watch`` serves front ends that show no widgets.

    Attributes:
      widget: everything, to place in other widgets.
      settings: the controls.
      buttons: what a run can be told to do.
    """

    def __init__(
        self,
        train: Rows,
        validation: Rows,
        signature: Signature,
        config: TrainConfig | None = None,
        runs_folder: Path | None = None,
        *,
        fingerprint: str = "",
        fit: Fit = train.fit,
    ) -> None:
        """A panel at rest.

        Args:
          train: rows to learn from.
          validation: rows that name the best epoch.
          signature: of the encoder that made both.
          config: shown first; by default ``config.suggest`` for this number of rows.
          runs_folder: where each run is kept; None keeps none.
          fingerprint: of the rows, noted with each run, so that later stages know it as theirs.
          fit: as ``train.fit``.
        """
        self._rows, self._signature, self._fit = (train, validation), signature, fit
        self._runs_folder, self._fingerprint, self._metric = runs_folder, fingerprint, METRIC[signature.task]
        self._lock, self._quiet = threading.RLock(), False
        self._folder: Path | None = None
        self._on_end: list[Callable[[], None]] = []
        self._told: Moment | None = None
        self._page = Page().add_class("lab-hidden")
        self._live = LiveRun(self._records, self._show, self._page.up_to_date)
        self.settings = Settings(config or suggest(train.count), train.count, jax.local_device_count(), signature.task)
        self.buttons = Buttons()
        self._curves, self._weights = curves(self._metric), Weights()
        self._page.hush(self._curves.widget)
        self.view = ipywidgets.ToggleButtons(options=["Curves", "Weights"], value="Curves").add_class("lab-view")
        self.log_scale = ipywidgets.Checkbox(False, description="log loss", indent=False)
        self.smoothing = ipywidgets.FloatSlider(0, min=0, max=0.98, step=0.02, description="Smoothing", readout=False)
        self.progress = ipywidgets.FloatProgress(0, min=0, max=1).add_class("lab-progress")
        self.status = ipywidgets.HTML().add_class("lab-words")
        self.numbers = ipywidgets.HTML().add_class("lab-numbers")
        self._views = box("one", self._curves.widget), box("one")
        self._views[1].add_class("lab-away")
        self._place = column("chart", *self._views)
        self._connect()
        controls = column("controls", self.buttons.widget, *self.settings.groups())
        look = box("look", self.view, self.log_scale, self.smoothing)
        state = column("state", self.progress, self.status, self.numbers)
        charts = column("curves", state, look, self._place)
        self.widget = box("panel", box("columns", controls, charts), self._page)
        self._show()

    def _connect(self) -> None:
        does = {"train": self.start, "pause": self.pause, "step": self.step, "stop": self.stop, "reset": self.reset}
        for name, act in does.items():
            getattr(self.buttons, name).on_click(lambda _, act=act: act())
        self.settings.observe(self._changed)
        self.view.observe(self._turn, "value")
        for control in (self.log_scale, self.smoothing):
            control.observe(lambda _: self._curves.look(self.log_scale.value, self.smoothing.value), "value")
        for chart in (self._curves, self._weights):
            self._page.observe(lambda change, chart=chart: chart.set_theme(change["new"]), "dark")
            self._page.observe(lambda change, chart=chart: chart.set_width(change["new"]), "width")

    def _ipython_display_(self) -> None:
        display(self.widget)

    def start(self) -> None:
        """What Train does: runs what the controls say from the start; a run that runs is stopped first."""
        self._live.start(self.config)
        self._show()

    def pause(self) -> None:
        """What Pause does: holds a run that trains, and lets one that is held go on."""
        if self._live.moment.state == "paused":
            self._live.resume()
        else:
            self._live.pause()
        self._show()

    def step(self) -> None:
        """What Step does: one epoch more of the run that is paused or has ended, or the first of a new one."""
        self._live.step(self.config)
        self._show()

    def stop(self) -> None:
        """What Stop does; returns at once, and the run ends before its next compiled call."""
        self._live.stop()
        self._show()

    def reset(self) -> None:
        """What Reset does: stops, shows the settings of the start, and clears the curves."""
        self._live.reset()
        self._put(self.settings.reset)
        self._show()

    def use(self, config: TrainConfig) -> None:
        """Puts a configuration into the controls; nothing is trained.

        Raises:
          LabError: the controls cannot show it; then nothing has changed.
        """
        self._put(partial(self.settings.show, config))

    def when_ended(self, act: Callable[[], None]) -> None:
        """Has ``act`` called, from a thread, whenever a run has ended."""
        self._on_end.append(act)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the run and its last frame; returns whether nothing runs any more.

        Args:
          timeout: in seconds; None waits as long as it takes.
        """
        return self._live.wait(timeout)

    def watch(self, seconds: float = 0.5) -> None:
        """Shows the run as a plain picture until it ends: for front ends that show no widgets. Interrupt to stop it.

        Args:
          seconds: from one picture to the next.
        """
        handle = display(HTML(self._plain()), display_id=True)
        try:
            while not self.wait(seconds):
                handle.update(HTML(self._plain()))
        except KeyboardInterrupt:
            self.stop()
            self.wait()
        handle.update(HTML(self._plain()))

    def close(self, timeout: float | None = 10) -> None:
        """Stops the run, waits for its end and takes the widgets away."""
        self.stop()
        self.wait(timeout)
        self.widget.close()

    @property
    def config(self) -> TrainConfig:
        """What the controls say now."""
        return self.settings.config

    @property
    def history(self) -> pl.DataFrame:
        """One row a record of the newest run: epoch, step, train_loss, validation_loss, ... (``runs.row``)."""
        return runs.history(self._live.moment.track.rows)

    @property
    def best(self) -> train.Record | None:
        """The record of the newest run with the lowest validation loss, with its network and weights."""
        return self._live.moment.best

    def figure(self) -> go.Figure:
        """The curves of the newest run as a plain figure, which a saved notebook or a report keeps."""
        return learning_curves(self.history, self._metric)

    def _records(self, job: Job, steering: Steering) -> Iterator[train.Record]:
        """The records of a job, written down in a folder: a new one, or that of the run it goes on with."""
        rows, validation = self._rows
        fitting = self._fit(rows, validation, self._signature, job.config, steering=steering, start=job.start)
        records = cut(job, fitting)
        if self._runs_folder is None or (job.start and not (self._folder and self._folder.is_dir())):
            return records
        place = self._runs_folder

        def keep(records: Iterator[train.Record]) -> Iterator[train.Record]:
            if job.start is None or self._folder is None:
                self._folder = runs.new_folder(place)
            return runs.keep(records, self._folder, job.config, self._fingerprint, steering)

        return from_first_epoch(records, keep) if job.passing else keep(records)

    def _changed(self, name: str, value: Any) -> None:
        """A control moved: a traced value steers the run; another one restarts it while "retrain" is on."""
        if self._quiet or (name in TRACED and self._live.set(name, value)):
            return
        if self.buttons.retrain.value:
            self._live.start(self.config, passing=True)
            self._show()

    def _put(self, act: Callable[[], None]) -> None:
        """Changes the controls without steering or restarting anything."""
        self._quiet = True
        try:
            act()
        finally:
            self._quiet = False

    def _turn(self, change: Any) -> None:
        """Shows the curves or the weights; weights that nobody looks at are not looked at either."""
        weights = change["new"] == "Weights"
        self._weights.open = weights
        if weights:
            self._weights.draw(self._live.moment.last, at_once=True)
            self._views[1].children = [self._weights.widget]
            self._page.hush(self._weights.widget)
        # Both stay on the page: a chart of Plotly's that is taken off goes on to hear its messages, and fails at them.
        for view, away in zip(self._views, (weights, not weights), strict=True):
            (view.add_class if away else view.remove_class)("lab-away")

    def _show(self) -> None:
        """Brings the widgets in line with the run; may be called from any thread."""
        with self._lock:
            moment = self._live.moment  # read under the lock, so that no thread shows an older one after a newer one
            epochs = moment.config.epochs if moment.config else self.config.epochs
            self.buttons.follow(moment)
            self.progress.value = moment.last.epoch / epochs if moment.last and moment.config else 0.0
            self.progress.bar_style = _bar_style(moment)
            self.status.value = _html(words(moment), moment.details)
            self.numbers.value = escape(numbers(moment, self._metric))
            if moment.state != "starting":  # a chart is dear to draw: what it shows stays while the next is compiled
                self._curves.draw(moment.track, moment.previous, epochs)
            self._weights.draw(moment.last, at_once=not moment.running)
            self._page.sent += 1
            ended = moment.state in ("ended", "failed") and moment is not self._told
            self._told = moment
        if ended:
            for act in self._on_end:
                act()

    def _plain(self) -> str:
        moment = self._live.moment
        epochs = moment.config.epochs if moment.config else self.config.epochs
        text = f"<p>{escape(words(moment))}<br>{escape(numbers(moment, self._metric))}</p>"
        return text + picture(moment.track, self._metric, epochs, moment.previous)


def _bar_style(moment: Moment) -> str:
    """Green only for a run that came to its own end, red for one that broke."""
    outcome = (moment.last.outcome or "") if moment.last else ""
    if moment.state == "failed" or outcome.startswith("diverged"):
        return "danger"
    return "success" if outcome.startswith(("finished", "stopped early")) else "info"


def _html(sentence: str, details: str) -> str:
    if not details:
        return escape(sentence)
    return f"{escape(sentence)}<details><summary>Details</summary><pre>{escape(details)}</pre></details>"

"""The training panel: ``settings.Settings`` and buttons around a ``live.LiveRun``, and a live chart beside them."""

import threading
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import jax
import plotly.graph_objects as go
import polars as pl
import traitlets
from IPython.display import display

from lab_kit import runs, train
from lab_kit.arrays import Rows, Signature
from lab_kit.config import TrainConfig, suggest
from lab_kit.live import LiveRun, Moment, numbers, words
from lab_kit.optimizers import TRACED
from lab_kit.settings import Settings, box, column
from lab_kit.steering import Steering
from lab_kit.training_plots import METRIC, curve_series, learning_curves, trace_look

STATIC = Path(__file__).parent / "static"
Fit = Callable[..., Iterator[train.Record]]


class Page(anywidget.AnyWidget):
    """Hidden: tells Python the page's theme, the chart's width in pixels and the last frame it has painted.

    It also gives the sliders their names for screen readers.
    """

    _esm = STATIC / "panel.js"
    _css = STATIC / "panel.css"
    dark = traitlets.Bool(False).tag(sync=True)
    width = traitlets.Int(0).tag(sync=True)
    sent = traitlets.Int(0).tag(sync=True)
    painted = traitlets.Int(0).tag(sync=True)

    def up_to_date(self) -> bool:
        """Whether the page has painted what was sent last, or there is no page that looks."""
        return self.width == 0 or self.painted >= self.sent


class Curves:
    """The live chart: one FigureWidget with the loss above the metric.

    Attributes:
      widget: to show.
    """

    def __init__(self, metric: str) -> None:
        """An empty chart of the loss and of this metric, as wide as its place."""
        self._metric, self._lock = metric, threading.Lock()
        self.widget = go.FigureWidget(learning_curves(pl.DataFrame(), metric, height=500))
        # "Share chart" would upload the data.
        unwanted = ["sendChartToCloud", "select2d", "lasso2d"]
        self.widget._config = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": unwanted}

    def draw(self, moment: Moment) -> None:
        """Shows all records of a run; always whole curves, so that a frame may be left out."""
        series = curve_series(runs.history(moment.history), self._metric, runs.history(moment.previous))
        epochs = moment.config.epochs if moment.config else 1
        with self._lock, self.widget.batch_update():
            for trace, (x, y) in zip(self.widget.data, series, strict=True):
                trace.x, trace.y = x, y
            self.widget.data[3].showlegend = bool(moment.previous)
            self.widget.layout.xaxis.range = self.widget.layout.xaxis2.range = (-0.02 * epochs, 1.02 * epochs)

    def set_width(self, pixels: int) -> None:
        """Fills the place that the page has for it; a hidden page has none."""
        if pixels:
            with self._lock:
                self.widget.layout.width = pixels

    def set_theme(self, dark: bool) -> None:
        """Follows the page."""
        fresh = learning_curves(pl.DataFrame(), self._metric, dark=dark)
        with self._lock, self.widget.batch_update():
            self.widget.layout.template = fresh.layout.template
            for trace, look in zip(self.widget.data, trace_look(dark) * 2, strict=True):
                trace.update(look)


class TrainingPanel:
    """Controls at the left, curves at the right, and a run that answers while it runs.

    Show it as the last expression of a cell. ``wait``, ``history``, ``figure()``, ``best`` and ``config`` serve
    notebooks that run without a reader.

    Attributes:
      widget: everything, to place in other widgets.
      settings: the controls.
      train_button, stop_button, retrain: the buttons and the switch "retrain as I drag".
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
        self._lock = threading.RLock()
        self._page = Page().add_class("lab-hidden")
        self._live = LiveRun(self._records, self._show, self._page.up_to_date)
        self.settings = Settings(config or suggest(train.count), train.count, jax.local_device_count())
        self._curves = Curves(self._metric)
        self.train_button = ipywidgets.Button(description="Train", button_style="primary", icon="play")
        self.stop_button = ipywidgets.Button(description="Stop", icon="stop", disabled=True)
        self.retrain = ipywidgets.Checkbox(False, description="Retrain as I drag", indent=False)
        self.progress = ipywidgets.FloatProgress(0, min=0, max=1).add_class("lab-progress")
        self.status = ipywidgets.HTML().add_class("lab-words")
        self.numbers = ipywidgets.HTML().add_class("lab-numbers")
        self.train_button.on_click(lambda _: self.start())
        self.stop_button.on_click(lambda _: self.stop())
        self.settings.observe(self._changed)
        self._page.observe(lambda change: self._curves.set_theme(change["new"]), "dark")
        self._page.observe(lambda change: self._curves.set_width(change["new"]), "width")
        buttons = box("buttons", self.train_button, self.stop_button, self.retrain)
        state = column("state", self.progress, self.status, self.numbers)
        controls = column("controls", *self.settings.groups(), buttons)
        curves = column("curves", state, self._curves.widget)
        self.widget = box("panel", box("columns", controls, curves), self._page)
        self._show()

    def _ipython_display_(self) -> None:
        display(self.widget)

    def start(self) -> None:
        """What the Train button does: runs what the controls say; a run that runs is stopped first."""
        self._live.start(self.config)
        self._show()

    def stop(self) -> None:
        """What the Stop button does; returns at once, and the run ends before its next compiled call."""
        self._live.stop()
        self._show()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the run and its last frame; returns whether nothing runs any more.

        Args:
          timeout: in seconds; None waits as long as it takes.
        """
        return self._live.wait(timeout)

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
        return runs.history(self._live.moment.history)

    @property
    def best(self) -> train.Record | None:
        """The record of the newest run with the lowest validation loss, with its network and weights."""
        return self._live.moment.best

    def figure(self) -> go.Figure:
        """The curves of the newest run as a plain figure, which a saved notebook or a report keeps."""
        return learning_curves(self.history, self._metric)

    def _records(self, config: TrainConfig, steering: Steering) -> Iterator[train.Record]:
        rows, validation = self._rows
        records = self._fit(rows, validation, self._signature, config, steering=steering)
        if self._runs_folder is None:
            return records
        return runs.keep(records, runs.new_folder(self._runs_folder), config, self._fingerprint)

    def _changed(self, name: str, value: Any) -> None:
        """A control moved: a traced value steers the run; another one restarts it while "retrain" is on."""
        if name in TRACED and self._live.set(name, value):
            return
        if self.retrain.value:
            self.start()

    def _show(self) -> None:
        """Brings the widgets in line with the run; may be called from any thread."""
        with self._lock:
            moment = self._live.moment  # read under the lock, so that no thread shows an older one after a newer one
            self.stop_button.disabled = not moment.running or moment.state == "stopping"
            self.train_button.description = "Restart" if moment.running else "Train"
            self.progress.value = moment.last.epoch / moment.config.epochs if moment.last and moment.config else 0.0
            self.progress.bar_style = _bar_style(moment)
            self.status.value = _html(words(moment), moment.details)
            self.numbers.value = escape(numbers(moment, self._metric))
            if moment.last:
                self._curves.draw(moment)
                self._page.sent += 1


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

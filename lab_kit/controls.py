"""The training panel: sliders and buttons around a ``live.LiveRun``. The only module that imports ipywidgets.

``Settings`` turns a configuration into controls and back, ``Curves`` is the live chart, and ``TrainingPanel`` joins
them.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
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
from lab_kit.model import ACTIVATIONS
from lab_kit.optimizers import OPTIMIZERS, TRACED
from lab_kit.schema import LabError
from lab_kit.steering import Steering
from lab_kit.training_plots import METRIC, curve_series, history_frame, learning_curves, trace_look

STATIC = Path(__file__).parent / "static"
DECAYS = (0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1)
Fit = Callable[..., Iterator[train.Record]]


class Page(anywidget.AnyWidget):
    """A hidden widget that tells Python the page's theme and gives the sliders names for screen readers."""

    _esm = STATIC / "panel.js"
    _css = STATIC / "panel.css"
    dark = traitlets.Bool(False).tag(sync=True)


def _box(kind: str, *children: ipywidgets.Widget) -> ipywidgets.Box:
    box = ipywidgets.Box(children, layout=ipywidgets.Layout(display=None))
    return box.add_class(f"lab-{kind}")


def _column(kind: str, *children: ipywidgets.Widget) -> ipywidgets.VBox:
    return ipywidgets.VBox(children).add_class(f"lab-{kind}")


def _choices(values: set[Any], text: Callable[[Any], str]) -> list[tuple[str, Any]]:
    return [(text(value), value) for value in sorted(values)]


class Settings:
    """The controls of a configuration.

    Attributes:
      controls: for each part of a configuration its widget; their values are read by ``config``.
    """

    def __init__(self, config: TrainConfig, rows: int, device_count: int) -> None:
        """Controls that show a configuration and fit the table.

        Args:
          config: shown first; what has no control (seed, patience) stays as it is here.
          rows: number of training rows; no batch is larger.
          device_count: number of devices to choose from.

        Raises:
          LabError: the hidden layers have a shape that layers, width and halving cannot describe.
        """
        self._config, layers = config, len(config.hidden)
        width = config.hidden[0] if layers else 128
        halving = layers > 1 and config.hidden[1] < width
        if config.hidden != _hidden(layers, width, halving):
            raise LabError(
                f"The panel cannot show the hidden layers {config.hidden}: give all of them one width, or halve it "
                "from each layer to the next, as in (128, 64)."
            )
        widths = {2**power for power in range(2, 10)} | {width}
        batches = {2**power for power in range(3, 15) if 2**power <= rows} | {config.batch_size}
        rate = config.learning_rate
        optimizers = [(optimizer.title, name) for name, optimizer in OPTIMIZERS.items()]
        plain, integer, choice = ipywidgets.FloatSlider, ipywidgets.IntSlider, ipywidgets.SelectionSlider
        self.controls: dict[str, ipywidgets.Widget] = {
            "layers": integer(layers, min=0, max=max(6, layers), description="Layers"),
            "width": choice(options=_choices(widths, str), value=width, description="Width"),
            "halving": ipywidgets.Checkbox(halving, description="each layer half as wide", indent=False),
            "activation": ipywidgets.Dropdown(
                options=_choices(set(ACTIVATIONS), _activation_title), value=config.activation, description="Activation"
            ),
            "dropout": plain(config.dropout, min=0, max=0.9, step=0.05, description="Dropout"),
            "optimizer": ipywidgets.Dropdown(options=optimizers, value=config.optimizer, description="Optimizer"),
            "learning_rate": ipywidgets.FloatLogSlider(
                rate, min=-5, max=2, step=0.05, readout_format=".2g", description="Learning rate"
            ),
            "momentum": plain(config.momentum, min=0, max=0.99, step=0.01, description="Momentum"),
            "weight_decay": choice(
                options=_choices({*DECAYS, config.weight_decay}, "{:g}".format),
                value=config.weight_decay,
                description="Weight decay",
            ),
            "batch_size": choice(
                options=_choices(batches, "{:,}".format), value=config.batch_size, description="Batch size"
            ),
            "epochs": integer(config.epochs, min=1, max=max(100, config.epochs), description="Epochs"),
            "devices": integer(config.devices, min=1, max=max(device_count, config.devices), description="Devices"),
        }
        for name, control in self.controls.items():
            # A traced value acts while it is dragged; another one restarts the run, so it waits for the release.
            if name not in TRACED and control.has_trait("continuous_update"):
                control.continuous_update = False
        self.controls["devices"].disabled = self.controls["devices"].max == 1
        self.controls["optimizer"].observe(self._enable, "value")
        self.controls["layers"].observe(self._enable, "value")
        self._enable()

    @property
    def config(self) -> TrainConfig:
        """What the controls say."""
        values = {name: control.value for name, control in self.controls.items()}
        hidden = _hidden(values.pop("layers"), values.pop("width"), values.pop("halving"))
        return replace(self._config, hidden=hidden, **values)

    def groups(self) -> list[ipywidgets.Widget]:
        """The controls in columns with titles."""
        parts = {
            "Network": ("layers", "width", "halving", "activation", "dropout"),
            "Optimizer": ("optimizer", "learning_rate", "momentum", "weight_decay"),
            "Run": ("batch_size", "epochs", "devices"),
        }
        return [
            _column("group", ipywidgets.HTML(f'<div class="lab-title">{title}</div>'), *map(self.controls.get, names))
            for title, names in parts.items()
        ]

    def observe(self, act: Callable[[str, Any], None]) -> None:
        """Calls ``act(name, value)`` after each change."""
        for name, control in self.controls.items():
            control.observe(lambda change, name=name: act(name, change["new"]), "value")

    def _enable(self, _: Any = None) -> None:
        """Greys out what the chosen optimizer or network does not listen to."""
        optimizer, layers = OPTIMIZERS[self.controls["optimizer"].value], self.controls["layers"].value
        for name in ("learning_rate", "momentum", "weight_decay"):
            self.controls[name].disabled = name not in optimizer.hyperparameters
        self.controls["batch_size"].disabled = optimizer.full_batch
        for name in ("width", "activation", "dropout"):
            self.controls[name].disabled = layers == 0
        self.controls["halving"].disabled = layers < 2


def _hidden(layers: int, width: int, halving: bool) -> tuple[int, ...]:
    return tuple(max(1, width >> layer) if halving else width for layer in range(layers))


def _activation_title(name: str) -> str:
    return "ReLU" if name == "relu" else name


class Curves:
    """The live chart: one FigureWidget with the loss above the metric.

    Attributes:
      widget: to show.
    """

    def __init__(self, metric: str) -> None:
        """An empty chart of the loss and of this metric."""
        self._metric, self._lock = metric, threading.Lock()
        self.widget = go.FigureWidget(learning_curves(pl.DataFrame(), metric, height=500))
        # "Share chart" would upload the data.
        unwanted = ["sendChartToCloud", "select2d", "lasso2d"]
        self.widget._config = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": unwanted}

    def draw(self, moment: Moment) -> None:
        """Shows all records of a run; always whole curves, so that a frame may be left out."""
        series = curve_series(history_frame(moment.history), self._metric, history_frame(moment.previous))
        epochs = moment.config.epochs if moment.config else 1
        with self._lock, self.widget.batch_update():
            for trace, (x, y) in zip(self.widget.data, series, strict=True):
                trace.x, trace.y = x, y
            self.widget.layout.xaxis.range = self.widget.layout.xaxis2.range = (-0.02 * epochs, 1.02 * epochs)

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
        self._live = LiveRun(self._records, self._show)
        self.settings = Settings(config or suggest(train.count), train.count, jax.local_device_count())
        self._curves = Curves(self._metric)
        self.train_button = ipywidgets.Button(description="Train", button_style="primary", icon="play")
        self.stop_button = ipywidgets.Button(description="Stop", icon="stop", disabled=True)
        self.retrain = ipywidgets.Checkbox(False, description="Retrain as I drag", indent=False)
        self.progress = ipywidgets.FloatProgress(0, min=0, max=1).add_class("lab-progress")
        self.status = ipywidgets.HTML().add_class("lab-words")
        self.numbers = ipywidgets.HTML().add_class("lab-numbers")
        self._page = Page().add_class("lab-hidden")
        self.train_button.on_click(lambda _: self.start())
        self.stop_button.on_click(lambda _: self.stop())
        self.settings.observe(self._changed)
        self._page.observe(lambda change: self._curves.set_theme(change["new"]), "dark")
        buttons = _box("buttons", self.train_button, self.stop_button, self.retrain)
        state = _column("state", self.progress, self.status, self.numbers)
        controls = _column("controls", *self.settings.groups(), buttons)
        curves = _column("curves", state, self._curves.widget)
        self.widget = _box("panel", _box("columns", controls, curves), self._page)
        self._show(self._live.moment)

    def _ipython_display_(self) -> None:
        display(self.widget)

    def start(self) -> None:
        """What the Train button does: runs what the controls say; a run that runs is stopped first."""
        self._live.start(self.config)
        self._show(self._live.moment)

    def stop(self) -> None:
        """What the Stop button does; returns at once, and the run ends before its next compiled call."""
        self._live.stop()
        self._show(self._live.moment)

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
        """One row a record of the newest run: epoch, step, train_loss, validation_loss, ... (``history_row``)."""
        return history_frame(self._live.moment.history)

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

    def _show(self, moment: Moment) -> None:
        """Brings the widgets in line with a moment; may be called from any thread."""
        with self._lock:
            self.stop_button.disabled = not moment.running or moment.state == "stopping"
            self.train_button.description = "Restart" if moment.running else "Train"
            self.progress.value = moment.last.epoch / moment.config.epochs if moment.last and moment.config else 0.0
            self.progress.bar_style = {"failed": "danger", "ended": "success"}.get(moment.state, "info")
            self.status.value = _html(words(moment), moment.details)
            self.numbers.value = escape(numbers(moment, self._metric))
            if moment.last:
                self._curves.draw(moment)


def _html(sentence: str, details: str) -> str:
    if not details:
        return escape(sentence)
    return f"{escape(sentence)}<details><summary>Details</summary><pre>{escape(details)}</pre></details>"

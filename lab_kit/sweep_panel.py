"""The panel of a sweep: menus for its axes, a live fan of curves, Stop, and the best configuration put to use."""

import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, Literal

import ipywidgets
import numpy as np
import plotly.graph_objects as go
from IPython.display import display

from lab_kit import sweep, sweep_plots
from lab_kit.arrays import Rows, Signature
from lab_kit.config import TrainConfig
from lab_kit.curves import live_figure
from lab_kit.ending import before_the_end
from lab_kit.front import Page, box, column, heading
from lab_kit.schema import LabError
from lab_kit.steering import Steering
from lab_kit.sweep import Point, SweepRecord
from lab_kit.sweep_axes import Axis, count, sweepable
from lab_kit.sweep_curves import Curves
from lab_kit.sweep_moment import Job, SweepMoment, numbers, words
from lab_kit.training_plots import METRIC, TITLES

MOST = 64
"""Configurations of one sweep."""
Sweep = Callable[..., Iterator[SweepRecord]]


class LiveFan:
    """The fan of a sweep that runs, in one FigureWidget; the slider beside it is the panel's.

    Attributes:
      widget: to show.
    """

    def __init__(self, shown: Curves) -> None:
        """The fan of these curves, as wide as its place."""
        self._lock, self._dark = threading.Lock(), False
        self._drawn = (shown, "loss", 0)
        self.widget = live_figure(self._figure())

    def _figure(self) -> go.Figure:
        shown, measure, place = self._drawn
        return sweep_plots.fan(shown, measure, place=place, dark=self._dark, slider=False)

    def draw(self, shown: Curves, measure: str, place: int) -> None:
        """Shows the curves of a measure, those of the value at a place of the first axis strong."""
        with self._lock, self.widget.batch_update():
            self._drawn = shown, measure, place
            fresh = self._figure()
            for trace, new in zip(self.widget.data, fresh.data, strict=True):
                trace.update({name: value for name, value in new.to_plotly_json().items() if name != "type"})
            for name in ("title", "template", "xaxis", "yaxis", "xaxis2", "yaxis2"):
                self.widget.layout[name] = fresh.layout[name]

    def set_theme(self, dark: bool) -> None:
        """Follows the page."""
        self._dark = dark
        self.draw(*self._drawn)

    def set_width(self, pixels: int) -> None:
        """Fills the place that the page has for it; a hidden page has none."""
        if pixels:
            with self._lock:
                self.widget.layout.width = pixels


class SweepPanel:
    """Axes at the left, curves at the right, and a sweep in a thread of its own.

    Show it as the last expression of a cell. ``start``, ``wait``, ``curves``, ``best`` and ``figure()`` serve notebooks
    that run without a reader.

    Attributes:
      widget: everything, to place in other widgets.
      axes: the two ``Axis``; the second may be none.
      seeds, epochs: of how many runs each combination is made, and how long they are; a ``Number`` each.
      sweep_button, stop_button, use_button: what it can be told to do.
      measure: whose curves are drawn, the loss or the metric; ``ToggleButtons``.
      shown: of which value of the first axis; a ``SelectionSlider``. It follows the best until it is moved.
      moment: what is known of the newest sweep; may be read from any thread.
    """

    def __init__(
        self,
        train: Rows,
        validation: Rows,
        signature: Signature,
        base: TrainConfig,
        use: Callable[[TrainConfig], Path] | None = None,
        *,
        run: Sweep = sweep.sweep,
    ) -> None:
        """A panel at rest.

        Args:
          train: rows to learn from.
          validation: rows to choose by.
          signature: of the encoder that made both.
          base: what is not swept.
          use: trains the best configuration and says where the run is kept; without it there is no such button.
          run: as ``sweep.sweep``.
        """
        self._rows, self._base, self._use, self._run = (train, validation, signature), base, use, run
        self._lock, self._steering = threading.RLock(), Steering()
        self._thread: threading.Thread | None = None
        self._moved = self._moving = False
        self.moment = SweepMoment()
        names = sweepable(base, signature)
        self.axes = Axis("Sweep", names, names[0], 7), Axis("And", names, "", 4, optional=True)
        self.seeds, self.epochs = count("Seeds", 2, 1, 5, 32), count("Epochs", base.epochs, 1, 30, 1000)
        button, metric = ipywidgets.Button, METRIC[signature.task]
        self.sweep_button = button(description="Sweep", button_style="primary", icon="play", tooltip="Train all")
        self.stop_button = button(description="Stop", icon="stop", tooltip="End the sweep; what it has stays")
        self.use_button = button(description="Use the best", icon="check", tooltip="Train the best and keep the run")
        self.measure = ipywidgets.ToggleButtons(options=[(TITLES[name], name) for name in ("loss", metric)])
        self.measure.add_class("lab-view")
        self.shown = ipywidgets.SelectionSlider(options=[("–", 0)], description="Show", disabled=True)
        self.progress = ipywidgets.FloatProgress(0, min=0, max=1).add_class("lab-progress")
        self.status = ipywidgets.HTML().add_class("lab-words")
        self.numbers = ipywidgets.HTML().add_class("lab-numbers")
        self._page = Page().add_class("lab-hidden")
        self._fan = LiveFan(_nothing(names[0]))
        self._page.hush(self._fan.widget)
        buttons = [self.sweep_button, self.stop_button, *([self.use_button] if use else [])]
        does = {self.sweep_button: self.start, self.stop_button: self.stop, self.use_button: self.use_best}
        for each, act in does.items():
            each.on_click(lambda _, act=act: act())
        self.measure.observe(lambda _: self._draw(), "value")
        self.shown.observe(self._choose, "value")
        self._page.observe(lambda change: self._fan.set_theme(change["new"]), "dark")
        self._page.observe(lambda change: self._fan.set_width(change["new"]), "width")
        runs = column("group", heading("Runs"), self.seeds.widget, self.epochs.widget)
        actions = column("actions", box("buttons", *buttons))
        controls = column("controls", actions, *(axis.widget for axis in self.axes), runs)
        state = column("state", self.progress, self.status, self.numbers)
        charts = column("curves", state, box("look", self.measure, self.shown), column("chart", self._fan.widget))
        self.widget = box("panel", box("columns", controls, charts), self._page)
        before_the_end(self)
        self._show()

    def _ipython_display_(self) -> None:
        display(self.widget)

    def start(self) -> None:
        """What Sweep does: trains what the menus say. What cannot be swept is said in words."""
        try:
            job = self._chosen()
        except LabError as error:
            with self._lock:
                if not self.running:
                    self.moment = replace(self.moment, error=str(error), details="")
            self._show()
            return
        self._begin("sweep", partial(self._sweep, job))

    def stop(self) -> None:
        """What Stop does; returns at once, and the sweep ends before its next compiled call."""
        with self._lock:
            self._steering.stop()
            self.moment = replace(self.moment, stopping=True)
        self._show()

    def use_best(self) -> None:
        """What "Use the best" does: trains the best configuration on its own, and keeps the run."""
        self._begin("use", self._train_best)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for what runs; returns whether nothing runs any more.

        Args:
          timeout: in seconds; None waits as long as it takes.
        """
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return not self.running

    def close(self, timeout: float | None = 10) -> None:
        """Stops the sweep, waits for its end and takes the widgets away."""
        self.stop()
        self.wait(timeout)
        self.widget.close()

    @property
    def running(self) -> bool:
        """Whether a thread is at work."""
        return self._thread is not None

    @property
    def curves(self) -> Curves | None:
        """Those of the newest sweep so far; None before the first."""
        return self.moment.curves

    @property
    def best(self) -> Point:
        """The best combination of the newest sweep, with the first of its seeds.

        Raises:
          LabError: there is none.
        """
        return self.moment.best

    def figure(self, dark: bool = False) -> go.Figure:
        """The fan of the newest sweep as a plain figure with a slider, which a saved notebook or a report keeps."""
        return sweep_plots.fan(self.curves or _nothing(self.axes[0].name.value), self.measure.value, dark=dark)

    def _chosen(self) -> Job:
        """What the menus say.

        Raises:
          LabError: it cannot be swept.
        """
        first, second = (axis.values for axis in self.axes)
        if first.keys() == second.keys():
            raise LabError("Both axes are the same: choose another for the second, or none.")
        axes = {**first, **second}
        seeds = [self._base.seed + number for number in range(self.seeds.value)]
        size = int(np.prod([*map(len, axes.values()), len(seeds)]))
        if size > MOST:
            raise LabError(f"That makes {size} configurations: choose fewer values or seeds, {MOST} at most together.")
        return Job(replace(self._base, epochs=self.epochs.value), axes, seeds)

    def _begin(self, doing: Literal["sweep", "use"], act: Callable[[], None]) -> None:
        """Starts a thread, unless there is one."""
        with self._lock:
            if self.running:
                return
            self._steering = Steering()
            self.moment = replace(self.moment, doing=doing, stopping=False, error="", details="")
            self._thread = threading.Thread(target=self._work, args=(act,), name="lab-kit sweep", daemon=True)
            self._thread.start()
        self._show()

    def _work(self, act: Callable[[], None]) -> None:
        error = details = ""
        try:
            act()
        except LabError as refused:
            error = str(refused)
        except Exception as unexpected:  # whatever goes wrong must reach the reader, not end the thread
            error, details = f"{type(unexpected).__name__}: {unexpected}", traceback.format_exc()
        with self._lock:
            self._thread, self.moment = None, replace(self.moment, doing="", error=error, details=details)
        self._show()

    def _sweep(self, job: Job) -> None:
        records = self._run(*self._rows, *job, steering=self._steering)
        with self._lock:
            self.moment, self._moved = replace(self.moment, job=job, records=(), used=None), False
        for record in records:
            with self._lock:
                self.moment = replace(self.moment, records=(*self.moment.records, record))
            if self._page.up_to_date():  # there are about ten a second; a slow page gets fewer, and the last of all
                self._show()

    def _train_best(self) -> None:
        if self._use is not None:
            used = self._use(self.best.config)
            with self._lock:
                self.moment = replace(self.moment, used=used)

    def _choose(self, _: Any) -> None:
        with self._lock:  # another thread may be at it
            if not self._moving:
                self._moved = True
                self._draw()

    def _draw(self) -> None:
        """The curves of the value that the slider shows."""
        with self._lock:
            found = self.curves
            if found is None:
                return
            along = next(iter(found.axes))
            labels = sweep_plots.values_in_words(found, along)
            place = min(self.shown.value, len(labels) - 1) if self._moved else sweep_plots.best_place(found, along)
            self._moving = True  # by the panel itself, not by hand
            options = tuple((label, at) for at, label in enumerate(labels))
            if self.shown.options != options:
                self.shown.options = options
            self.shown.value, self.shown.disabled = place, False
            self._moving = False
            self._fan.draw(found, self.measure.value, place)
            self._page.sent += 1

    def _show(self) -> None:
        """Brings the widgets in line with the sweep; may be called from any thread."""
        with self._lock:
            moment = self.moment
            last, epochs = moment.last, moment.job.base.epochs if moment.job else 1
            sweeps = moment.doing == "sweep" and not moment.stopping
            self.sweep_button.disabled, self.stop_button.disabled = self.running, not sweeps
            self.use_button.disabled = self.running or not moment.has_best
            self.progress.value = last.epoch / epochs if last else 0.0
            finished = last is not None and last.outcome == "finished"
            self.progress.bar_style = "danger" if moment.error else "success" if finished else "info"
            details = f"<details><summary>Details</summary><pre>{escape(moment.details)}</pre></details>"
            self.status.value = escape(words(moment)) + (details if moment.details else "")
            self.numbers.value = escape(numbers(moment))
            self._draw()


def _nothing(name: str) -> Curves:
    """The curves of a sweep that has not begun."""
    empty = np.full((1, 2, 1), np.nan)
    measures = dict.fromkeys(TITLES, empty)
    return Curves({name: (0.0, 1.0)}, (0,), np.zeros(1), measures, np.zeros((2, 1), np.bool_))

"""The runs of a dataset in a table: sort, filter, pin, name, compare, delete with undo, settings back to the panel."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import plotly.graph_objects as go
import traitlets
from IPython.display import display

from lab_kit.config import TrainConfig
from lab_kit.curves import live_figure
from lab_kit.front import STATIC, Page, box, column
from lab_kit.live_plots import OVERLAID, overlaid_curves, overlaid_series
from lab_kit.run_store import RunStore, Summary, differing, export
from lab_kit.schema import LabError
from lab_kit.track import Track
from lab_kit.training_plots import TITLES

MOST_SETTINGS = 4
"""Columns of settings, at most; a reader compares what differs, and the table keeps to the width of its page."""
LABELS = {"epochs": "epochs set"}
"""Of settings whose names another column has as well."""


class Table(anywidget.AnyWidget):
    """The table itself; ``static/runs.js`` sorts, filters and turns its pages in the browser.

    Attributes:
      columns: key, label and whether it is a number, for each.
      rows: a value for each column, and ``name``, ``title``, ``pinned`` and ``differs`` (keys of the cells to mark).
      selected: names of the runs that are compared.
      undo: how many deleted runs can be brought back.
      message: what happened last, or why it could not.
    """

    _esm = STATIC / "runs.js"
    _css = STATIC / "runs.css"
    columns: traitlets.List[Any] = traitlets.List().tag(sync=True)
    rows: traitlets.List[Any] = traitlets.List().tag(sync=True)
    selected: traitlets.List[Any] = traitlets.List().tag(sync=True)
    undo = traitlets.Int(0).tag(sync=True)
    message = traitlets.Unicode("").tag(sync=True)


class RunTable:
    """The table, and below it the curves of the selected runs over one another.

    Attributes:
      widget: everything, to place in other widgets.
      table: the table.
      store: the runs.
    """

    def __init__(
        self, folder: Path, metric: str, use: Callable[[TrainConfig], None] | None = None, exports: Path | None = None
    ) -> None:
        """All runs below a folder.

        Args:
          folder: as ``workspace/<dataset>/runs``.
          metric: shown beside the loss: ``auc``, ``accuracy``, ``rmse`` or ``r2``.
          use: takes the settings of a run back, as ``TrainingPanel.use``; None for no such button.
          exports: where exported tables go; the folder's parent when None.
        """
        self.store, self._metric, self._use = RunStore(folder), metric, use
        self._exports, self._lock = exports or folder.parent, threading.RLock()
        self._tracks: dict[str, Track] = {}
        self._found: list[Summary] = []
        self._page = Page().add_class("lab-hidden")
        self.table = Table()
        self._chart: go.FigureWidget | None = None  # five megabytes for a page, so it is made when it is needed
        self.table.observe(lambda _: self._compare(), "selected")
        self.table.on_msg(lambda _, message, __: self.act(message))
        self._page.observe(lambda change: self._set_theme(change["new"]), "dark")
        self._page.observe(lambda change: self._set_width(change["new"]), "width")
        self._place = column("curves", self.table)
        self.widget = box("compare", self._place, self._page)
        self.refresh()

    def _ipython_display_(self) -> None:
        display(self.widget)

    def refresh(self) -> None:
        """Looks at the folder again; may be called from any thread, as by ``TrainingPanel.when_ended``."""
        with self._lock:
            self._found = self.store.summaries()
            self.table.undo = len(self.store.deleted())
            names = {run.name for run in self._found}
            self._tracks = {}
            self.table.selected = [name for name in self.table.selected if name in names]
            self._compare()

    def act(self, message: dict[str, Any]) -> None:
        """What a button of the table does; what it cannot do becomes the table's message.

        Args:
          message: ``do`` is pin, name, delete, undo, use, export or refresh; ``run`` and ``value`` as they need.
        """
        run, value = str(message.get("run", "")), message.get("value")
        try:
            said = self._act(str(message.get("do")), run, value)
        except LabError as error:
            said = str(error)
        self.refresh()
        self.table.message = said

    def _act(self, do: str, run: str, value: Any) -> str:
        if do == "pin":
            self.store.pin(run, bool(value))
        elif do == "name":
            self.store.name(run, str(value))
        elif do == "delete":
            self.store.delete(run)
            return f"Deleted {run}: Undo brings it back."
        elif do == "undo":
            deleted = self.store.deleted()
            if deleted:
                self.store.restore(deleted[0])
                return f"{deleted[0]} is back."
        elif do == "export":
            return f"Written: {export(self._found, self._exports / f'runs.{value}')}"
        elif do == "use" and self._use is not None:
            self._use(self._config(run))
            return f"The panel shows the settings that {run} was begun with."
        return ""

    def _config(self, name: str) -> TrainConfig:
        for run in self._found:
            if run.name == name:
                try:
                    return TrainConfig(**{**run.config, "hidden": tuple(run.config["hidden"])})
                except (KeyError, TypeError) as error:
                    raise LabError(f"The settings of {name} are of another version of Lab Kit ({error}).") from None
        raise LabError(f"There is no run {name}: refresh the table.")

    def _compare(self) -> None:
        """Columns and marks for what differs, and the curves of the selected runs."""
        with self._lock:
            chosen = [run for run in self._found if run.name in self.table.selected]
            marked = differing(map(_with_steering, chosen))
            settings = _telling(marked, self._found)
            common = (
                ("created", "Begun", False), ("outcome", "Ended", False), ("epochs", "Epochs done", True),
                ("seconds", "Sec.", True), ("loss", "Val. loss", True), (self._metric, TITLES[self._metric], True),
            )  # fmt: skip
            columns = [{"key": key, "label": label, "number": number} for key, label, number in common]
            columns += [
                {"key": f"config.{key}", "label": LABELS.get(key, key.replace("_", " ")), "number": False}
                for key in settings
            ]
            marks = [f"config.{key}" for key in marked]
            with self.table.hold_sync():
                self.table.columns = columns
                self.table.rows = [self._row(run, settings, marks if run in chosen else []) for run in self._found]
            self._draw(chosen[:OVERLAID])

    def _row(self, run: Summary, settings: list[str], marks: list[str]) -> dict[str, Any]:
        shown = {key: run.metrics.get(key) for key in ("loss", self._metric)}
        config = {f"config.{key}": _setting(run, key) for key in settings}
        return {
            "name": run.name, "title": run.title, "pinned": run.pinned, "differs": marks, "created": run.created,
            "outcome": run.outcome.split(":")[0], "epochs": round(run.epochs, 2), "seconds": round(run.seconds, 2),
            "use": self._use is not None, **shown, **config,
        }  # fmt: skip

    def _draw(self, chosen: list[Summary]) -> None:
        if self._chart is None:
            if not chosen:
                return
            self._chart = live_figure(overlaid_curves(self._metric, self._page.dark))
            self._page.hush(self._chart)
            self._set_width(self._page.width)
        with self._chart.batch_update():
            for number in range(OVERLAID):
                pair = self._chart.data[2 * number : 2 * number + 2]
                if number >= len(chosen):
                    for trace in pair:
                        trace.visible = False
                    continue
                series = overlaid_series(self._track(chosen[number].name), self._metric)
                for trace, (x, y) in zip(pair, series, strict=True):
                    trace.x, trace.y, trace.visible = x, y, True
                    trace.name = chosen[number].title or chosen[number].created
        self._place.children = [self.table, self._chart]

    def _track(self, name: str) -> Track:
        if name not in self._tracks:
            try:
                self._tracks[name] = Track(self.store.history(name))
            except LabError as error:
                self._tracks[name] = Track()
                self.table.message = str(error)
        return self._tracks[name]

    def _set_width(self, pixels: int) -> None:
        if pixels and self._chart is not None:
            self._chart.layout.width = pixels

    def _set_theme(self, dark: bool) -> None:
        if self._chart is None:
            return
        fresh = overlaid_curves(self._metric, dark)
        with self._chart.batch_update():
            self._chart.layout.template = fresh.layout.template
            for trace, look in zip(self._chart.data, fresh.data, strict=True):
                trace.line.color = look.line.color


def _with_steering(run: Summary) -> dict[str, Any]:
    """Its settings, each with the value it was steered to."""
    return {name: (value, run.steered.get(name)) for name, value in run.config.items()}


def _telling(marked: list[str], found: list[Summary]) -> list[str]:
    """The settings to show: the marked ones, then those that were steered or differ at all; as they are ordered."""
    steered = [name for run in found for name in run.steered]
    first = [*dict.fromkeys([*marked, *steered, *differing(map(_with_steering, found))])][:MOST_SETTINGS]
    return [name for name in dict.fromkeys(name for run in found for name in run.config) if name in first]


def _setting(run: Summary, name: str) -> str:
    text = _text(run.config.get(name))
    return f"{text} → {_text(run.steered[name])}" if name in run.steered else text


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "-".join(map(str, value)) or "none"
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)

"""The live charts: Plotly's widget where there is one, and a plain picture where there is none."""

import threading
import time
from copy import deepcopy
from typing import Any

import ipywidgets
import numpy as np
import plotly.graph_objects as go
from plotly.serializers import custom_serializers

from lab_kit.live_plots import live_curves, live_look, live_series, ridge_series, weight_ridges
from lab_kit.picture import picture
from lab_kit.track import Track, weight_histograms
from lab_kit.train import Record

UNWANTED = ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d"]
"""Buttons above a chart; the first of them would upload the data."""
SECONDS_BETWEEN_WEIGHTS = 0.5


def live_figure(figure: go.Figure) -> go.FigureWidget:
    """A figure as a widget that a page shows as it is now, also when the page is loaded again.

    Raises:
      ImportError: anywidget is missing.
    """

    class Live(go.FigureWidget):  # type: ignore[misc]
        """Plotly sends a page that opens later the figure as it was at first; this one sends it as it is."""

        def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:
            """As of ipywidgets."""
            state = super().get_state(key, drop_defaults)
            if key is None and "_layout_obj" in vars(self):  # else it is not complete yet
                for name, now in (("_widget_data", self._data), ("_widget_layout", self._layout_obj._props)):
                    state[name] = custom_serializers["to_json"](deepcopy(now), self)
            return state

    widget = Live(figure)
    widget._config = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": UNWANTED}
    return widget


class Curves:
    """The loss above the metric above the norm of the gradients, in one FigureWidget.

    Attributes:
      widget: to show.
    """

    def __init__(self, metric: str) -> None:
        """An empty chart of this metric, as wide as its place."""
        self._metric, self._lock, self._smoothing = metric, threading.Lock(), 0.0
        self._drawn: tuple[Track, Track, int] = Track(), Track(), 1
        self.widget = live_figure(live_curves(metric))

    def draw(self, track: Track, previous: Track, epochs: int) -> None:
        """Shows all records of a run; always whole curves, so that a frame may be left out."""
        with self._lock, self.widget.batch_update():
            fresh = track is not self._drawn[0] or epochs != self._drawn[2]
            self._drawn = track, previous, epochs
            series = live_series(track, previous, self._metric, self._smoothing)
            for trace, (x, y, text) in zip(self.widget.data, series, strict=True):
                trace.x, trace.y = x, y
                if text is not None and tuple(text) != trace.text:
                    trace.text = text
            if fresh:  # else what a reader has zoomed to stays
                self.widget.data[3].showlegend = bool(previous.rows)
                for axis in (self.widget.layout.xaxis, self.widget.layout.xaxis2, self.widget.layout.xaxis3):
                    axis.range = (-0.02 * epochs, 1.02 * epochs)

    def look(self, log_scale: bool, smoothing: float) -> None:
        """Changes how the loss is scaled and how smooth what is drawn is; what was measured stays."""
        with self._lock, self.widget.batch_update():
            self.widget.layout.yaxis.type = "log" if log_scale else "linear"
            self._smoothing = smoothing
        self.draw(*self._drawn)

    def set_width(self, pixels: int) -> None:
        """Fills the place that the page has for it; a hidden page has none."""
        if pixels:
            with self._lock:
                self.widget.layout.width = pixels

    def set_theme(self, dark: bool) -> None:
        """Follows the page."""
        with self._lock, self.widget.batch_update():
            self.widget.layout.template = live_curves(self._metric, dark).layout.template
            for trace, look in zip(self.widget.data, live_look(dark), strict=True):
                trace.update(look)


class Weights:
    """How the weights of each layer are distributed; nothing is computed while it is closed.

    Attributes:
      widget: to show; made when it is opened first.
    """

    def __init__(self) -> None:
        """Closed."""
        self.widget: go.FigureWidget | ipywidgets.HTML | None = None
        self._lock, self._drawn, self._dark, self._width = threading.Lock(), 0.0, False, 0
        self.open = False

    def draw(self, record: Record | None, at_once: bool = False) -> None:
        """Shows the weights of a record while it is open, at most twice a second unless ``at_once``."""
        if not self.open or not (at_once or time.monotonic() - self._drawn >= SECONDS_BETWEEN_WEIGHTS):
            return
        self._drawn = time.monotonic()
        if self.widget is None:
            self.widget = _weights_widget(self._dark)
            self.set_width(self._width)
        if record is None or not isinstance(self.widget, go.FigureWidget):
            return
        ridges = ridge_series(weight_histograms(record.network.named(np.asarray(record.weights))))
        with self._lock, self.widget.batch_update():
            for number, trace in enumerate(self.widget.data):
                trace.visible = number < len(ridges)
                if number < len(ridges):
                    trace.name, trace.x, trace.y = ridges[number]
            axis = self.widget.layout.yaxis
            axis.tickvals, axis.ticktext = [-place for place in range(len(ridges))], [name for name, _, _ in ridges]

    def set_width(self, pixels: int) -> None:
        """As of ``Curves``."""
        self._width = pixels
        if pixels and isinstance(self.widget, go.FigureWidget):
            self.widget.layout.width = pixels

    def set_theme(self, dark: bool) -> None:
        """As of ``Curves``."""
        self._dark = dark
        if isinstance(self.widget, go.FigureWidget):
            fresh = weight_ridges(dark)
            with self._lock, self.widget.batch_update():
                self.widget.layout.template = fresh.layout.template
                for trace in self.widget.data:
                    trace.line.color = fresh.data[0].line.color


def _weights_widget(dark: bool) -> go.FigureWidget | ipywidgets.HTML:
    try:
        return live_figure(weight_ridges(dark))
    except ImportError:
        return ipywidgets.HTML("Histograms of the weights need Plotly's widget, which is not installed here.")


class PlainCurves:
    """The same curves as a picture in a core widget, for a page or an environment without Plotly's widget.

    Attributes:
      widget: to show.
    """

    def __init__(self, metric: str) -> None:
        """An empty picture."""
        self._metric, self._dark, self._width, self._log, self._smoothing = metric, False, 640, False, 0.0
        self._drawn: tuple[Track, Track, int] = Track(), Track(), 1
        self.widget = ipywidgets.HTML()
        self.draw(*self._drawn)

    def draw(self, track: Track, previous: Track, epochs: int) -> None:
        """As of ``Curves``."""
        self._drawn = track, previous, epochs
        self.widget.value = picture(
            track, self._metric, epochs, previous, self._dark, self._width, self._log, self._smoothing
        )

    def look(self, log_scale: bool, smoothing: float) -> None:
        """As of ``Curves``."""
        self._log, self._smoothing = log_scale, smoothing
        self.draw(*self._drawn)

    def set_width(self, pixels: int) -> None:
        """As of ``Curves``."""
        if pixels:
            self._width = pixels
            self.draw(*self._drawn)

    def set_theme(self, dark: bool) -> None:
        """As of ``Curves``."""
        self._dark = dark
        self.draw(*self._drawn)


def curves(metric: str) -> Curves | PlainCurves:
    """The live chart, or the plain one where Plotly's widget cannot be made."""
    try:
        return Curves(metric)
    except ImportError:
        return PlainCurves(metric)

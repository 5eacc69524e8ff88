"""The race with sliders: each movement runs it again, in a few milliseconds, and compiles nothing."""

from functools import partial
from html import escape
from typing import Any

import ipywidgets
import plotly.graph_objects as go
import traitlets
from IPython.display import display

from lab_kit import race, race_plots
from lab_kit.curves import live_figure
from lab_kit.fields import Number, whole
from lab_kit.front import Page, box, column
from lab_kit.optimizers import OPTIMIZERS, TRACED, refusal
from lab_kit.race import SURFACES, Path

RACERS = ("sgd", "momentum", "adagrad", "adam")
"""Who runs at first."""
RATES = tuple(float(f"{10 ** (power / 20):.2g}") for power in range(-80, 21))


class Racers(traitlets.HasTraits):
    """Who runs: a box to tick for each optimizer, with its line, as in a legend, and how it ended.

    Attributes:
      value: the names of those that run, in the order of ``OPTIMIZERS``.
      widget: to show.
    """

    value = traitlets.Tuple()

    def __init__(self, value: tuple[str, ...]) -> None:
        """Ticked as given."""
        super().__init__(value=value)
        self.boxes = {
            name: ipywidgets.Checkbox(name in value, description=one.title, indent=False)
            for name, one in OPTIMIZERS.items()
        }
        self._ends = {name: ipywidgets.HTML() for name in OPTIMIZERS}
        rows = [ipywidgets.HBox([self.boxes[name], self._ends[name]]).add_class("lab-row") for name in OPTIMIZERS]
        self.widget = column("group", *rows).add_class("lab-racers")
        for tick in self.boxes.values():
            tick.observe(self._ticked, "value")
        self.observe(self._follow, "value")

    def _ticked(self, _: Any) -> None:
        self.value = tuple(name for name, tick in self.boxes.items() if tick.value)

    def _follow(self, _: Any) -> None:
        with self.hold_trait_notifications():
            wanted = self.value
            for name, tick in self.boxes.items():
                tick.value = name in wanted

    def tell(self, paths: list[Path], dark: bool) -> None:
        """Shows the line of each and the loss or the mark at its end; those that do not run say nothing."""
        said = {path.optimizer: path for path in paths}
        for name, end in self._ends.items():
            end.value = _end(said[name], dark) if name in said else ""


class RacePanel:
    """Sliders and racers at the left, the surface with the paths and the losses at the right.

    Attributes:
      widget: everything, to place in other widgets.
      controls: by name: surface, learning_rate, momentum, noise, step, racers; each has a ``value``.
      paths: of the race that is shown.
      words: what happened, in sentences.
    """

    def __init__(self, surface: str = "ravine", learning_rate: float = 0.1) -> None:
        """A race at its end.

        Args:
          surface: a key of ``race.SURFACES``.
          learning_rate: of all racers.
        """
        surfaces = [(one.title, name) for name, one in SURFACES.items()]
        traced, last = partial(Number, at_once=True), race.STEPS
        self.racers = Racers(RACERS)
        self.controls: dict[str, Any] = {
            "surface": ipywidgets.Dropdown(options=surfaces, value=surface, description="Surface", tooltip="Surface"),
            "learning_rate": traced("Learning rate", learning_rate, RATES, partial(_reason, "learning_rate")),
            "momentum": traced("Momentum", 0.9, [n / 100 for n in range(100)], partial(_reason, "momentum")),
            "noise": traced("Noise", 0.0, [n / 10 for n in range(51)], partial(_within, 1_000)),
            "step": traced("Step", last, range(last + 1), partial(_within, last), whole),
            "racers": self.racers,
        }
        self.play = ipywidgets.Play(last, min=0, max=last, step=2, interval=60, description="Play the race")
        traitlets.link((self.play, "value"), (self.controls["step"], "value"))
        self.words = ipywidgets.HTML().add_class("lab-numbers")
        self.paths: list[Path] = []
        self._page = Page().add_class("lab-hidden")
        self._map, self._losses = map(live_figure, self._stage())
        self._page.hush(self._map, self._losses)
        for name, control in self.controls.items():
            control.observe({"step": self._step, "surface": self._set}.get(name, self._race), "value")
        self._page.observe(self._set, "dark")
        self._page.observe(self._fill, "width")
        fields = [control.widget for control in self.controls.values() if isinstance(control, Number)]
        controls = column(
            "controls", column("group", self.controls["surface"], *fields), self.play, self.racers.widget, self.words
        )
        charts = column("curves", column("chart", self._map, self._losses))
        self.widget = box("panel", box("columns", controls, charts), self._page)
        self._race()

    def _ipython_display_(self) -> None:
        display(self.widget)

    def figure(self, dark: bool = False) -> go.Figure:
        """The race as an animation that a saved notebook or a report keeps."""
        return race_plots.animated(self._surface, self.paths, dark)

    @property
    def _surface(self) -> race.Surface:
        return SURFACES[self.controls["surface"].value]

    def _stage(self) -> tuple[go.Figure, go.Figure]:
        """Both charts with all optimizers at the start; the names of the lines stand beside the boxes to tick."""
        waiting = [race.standing(name, self._surface) for name in OPTIMIZERS]
        figures = (
            race_plots.surface_map(self._surface, waiting, self._page.dark),
            race_plots.losses(self._surface, waiting, self._page.dark),
        )
        for figure, height in zip(figures, (370, 230), strict=True):
            figure.update_layout(height=height, showlegend=False, title_text="", margin={"t": 10, "r": 10, "b": 40})
        return figures

    def _set(self, _: Any = None) -> None:
        """Another surface, or another theme: the ground changes too."""
        for chart, fresh in zip((self._map, self._losses), self._stage(), strict=True):
            with chart.batch_update():
                for trace, new in zip(chart.data, fresh.data, strict=True):
                    trace.update({key: value for key, value in new.to_plotly_json().items() if key != "type"})
                chart.layout.template = fresh.layout.template
                for axis in ("xaxis", "yaxis"):
                    chart.layout[axis].update(fresh.layout[axis].to_plotly_json())
        self._race()

    def _race(self, _: Any = None) -> None:
        """Runs all racers and moves their lines."""
        value = {name: control.value for name, control in self.controls.items()}
        hyper = race.hyperparameters(value["learning_rate"], value["momentum"])
        self.paths = [race.run(name, self._surface, hyper, value["noise"]) for name in value["racers"]]
        said = {path.optimizer: path for path in self.paths}
        self._step()
        with self._losses.batch_update():
            for name, trace in zip(OPTIMIZERS, self._losses.data, strict=True):
                trace.visible = name in said
                if name in said:
                    trace.update(race_plots.loss_points(self._surface, said[name]))
        self.racers.tell(self.paths, self._page.dark)
        left = [race.words(path, self._surface) for path in self.paths if path.left is not None]
        self.words.value = "<br>".join(map(escape, [self._surface.lesson, *left]))

    def _step(self, _: Any = None) -> None:
        """Shows the paths up to the chosen step."""
        said = {path.optimizer: path for path in self.paths}
        with self._map.batch_update():
            for name, trace in zip(OPTIMIZERS, self._map.data[2:], strict=True):
                trace.visible = name in said
                if name in said:
                    trace.update(race_plots.drawn(self._surface, said[name], self.controls["step"].value))

    def _fill(self, change: Any) -> None:
        """Fills the place that the page has for the charts; a hidden page has none."""
        if change["new"]:
            self._map.layout.width = self._losses.layout.width = change["new"]


def _end(path: Path, dark: bool) -> str:
    """The line of a racer, as a legend has it, and its loss or the step at which it left."""
    line = race_plots.path_trace(path, dark)["line"]
    style = f"display:inline-block;width:22px;margin:0 6px 4px 0;border-top:3px {line['dash']} {line['color']}"
    text = f"{path.losses[-1]:.2g}" if path.left is None else f"✕ out at step {path.left}"
    return f'<span style="{style.replace(" dash ", " dashed ")}"></span>{text}'


def _reason(name: str, value: float) -> str | None:
    return TRACED[name] if refusal(name, value) else None


def _within(highest: float, value: float) -> str | None:
    return None if 0 <= value <= highest else f"choose a number from 0 to {highest:,}"

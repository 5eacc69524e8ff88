"""The menus of a sweep: which hyperparameters, from where to where, how many values."""

from collections.abc import Sequence
from functools import partial

import ipywidgets
import numpy as np

from lab_kit.arrays import Signature
from lab_kit.config import TrainConfig
from lab_kit.fields import Number, whole
from lab_kit.front import column
from lab_kit.optimizers import OPTIMIZERS, TRACED, refusal
from lab_kit.schema import LabError
from lab_kit.track import title

RANGES = {
    "learning_rate": (1e-4, 0.1), "momentum": (0.0, 0.95), "weight_decay": (1e-5, 0.1), "dropout": (0.0, 0.6),
    "clip_norm": (0.1, 10.0), "label_smoothing": (0.0, 0.3),
}  # fmt: skip
"""Where each axis begins and ends at first."""
LOGARITHMIC = {"learning_rate": (-5, 1), "weight_decay": (-6, 1), "clip_norm": (-3, 2)}
"""Axes whose values are evenly spaced in their logarithms, and the powers of ten that their sliders reach."""
MOST_VALUES = 32
"""Values of one axis."""


def spaced(name: str, low: float, high: float, number: int) -> list[float]:
    """Values of an axis from ``low`` to ``high``, rounded to three digits; evenly spaced, or their logarithms are.

    Args:
      name: of a hyperparameter.
      low: the first value.
      high: the last value.
      number: how many, 2 or more.

    Raises:
      LabError: the range does not go up, or three digits do not tell its values apart.
    """
    if not low < high:
        raise LabError(f"The range of the {title(name)} goes from {low:g} to {high:g}: let it go up.")
    even = np.geomspace(low, high, number) if name in LOGARITHMIC and low > 0 else np.linspace(low, high, number)
    found = [float(f"{value:.3g}") for value in even]
    if len(set(found)) < number:
        raise LabError(f"{number} values of the {title(name)} do not fit between {low:g} and {high:g}: choose fewer.")
    return found


def sweepable(base: TrainConfig, signature: Signature) -> list[str]:
    """The hyperparameters that change something for this configuration and task, in the order of ``TRACED``."""
    ignored = {"learning_rate", "momentum", "weight_decay"} - set(OPTIMIZERS[base.optimizer].hyperparameters)
    ignored |= {"dropout"} if not base.hidden else set()
    ignored |= {"label_smoothing"} if signature.task == "regression" else set()
    return [name for name in TRACED if name not in ignored]


class Axis:
    """A menu of hyperparameters, and for the chosen one a range and a number of values.

    Attributes:
      widget: to show.
      name: a ``Dropdown``; its value is empty where there is no such axis.
      low, high: by hyperparameter a ``Number``.
      number: of values, a ``Number``.
    """

    def __init__(self, label: str, names: Sequence[str], value: str, number: int, optional: bool = False) -> None:
        """An axis that shows one of these hyperparameters.

        Args:
          label: of the menu.
          names: to choose from.
          value: shown first; empty for none.
          number: of values, shown first.
          optional: whether there may be none.
        """
        none = [("none", "")] if optional else []
        options = [*none, *((title(name).capitalize(), name) for name in names)]
        self.name = ipywidgets.Dropdown(options=options, value=value, description=label)
        self.low = {name: _end("From", name, RANGES[name][0]) for name in names}
        self.high = {name: _end("To", name, RANGES[name][1]) for name in names}
        self.number = count("Values", number, 2, 16, MOST_VALUES)
        self.widget = column("group")
        self.name.observe(lambda _: self._follow(), "value")
        self._follow()

    @property
    def values(self) -> dict[str, list[float]]:
        """The axis as ``sweep.sweep`` takes it; empty where there is none.

        Raises:
          LabError: as ``spaced``.
        """
        name = self.name.value
        if not name:
            return {}
        return {name: spaced(name, self.low[name].value, self.high[name].value, self.number.value)}

    def _follow(self) -> None:
        name = self.name.value
        fields = [self.low[name], self.high[name], self.number] if name else []
        self.widget.children = [self.name, *(field.widget for field in fields)]


def count(label: str, value: int, least: int, stop: int, most: int) -> Number:
    """A whole number with a slider from ``least`` to ``stop`` and a box that takes up to ``most``."""

    def reason(number: float) -> str | None:
        fits = least <= number <= most and number == int(number)
        return None if fits else f"choose a whole number from {least} to {most:,}"

    return Number(label, value, range(least, max(stop, value) + 1), reason, whole, "{:,}".format)


def _end(label: str, name: str, value: float) -> Number:
    """One end of a range."""
    if name in LOGARITHMIC:
        low, high = LOGARITHMIC[name]
        stops = [float(f"{10 ** (power / 10):.2g}") for power in range(10 * low, 10 * high + 1)]
    else:
        stops = [number / 20 for number in range(20)]
    return Number(label, value, stops, partial(_reason, name), text="{:.4g}".format)


def _reason(name: str, value: float) -> str | None:
    return TRACED[name] if refusal(name, value) else None

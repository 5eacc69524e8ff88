"""A number with a slider and a box to type in; what cannot be is refused with a reason, and the old value stays."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import ipywidgets
import traitlets

from lab_kit.schema import LabError


def whole(text: str) -> int:
    """A whole number as people write it: ``1,000`` or ``1 000`` too.

    Raises:
      ValueError: it is none.
    """
    return int(text.replace(",", "").replace("\u202f", "").replace(" ", ""))


def real(text: str) -> float:
    """A number as people write it, ``1e-3`` too.

    Raises:
      ValueError: it is none.
    """
    return float(text.replace(" ", ""))


class Number(traitlets.HasTraits):
    """A slider over stops, and a box that takes any number that is allowed, between the stops and beyond them too.

    Attributes:
      value: the number.
      disabled: whether it cannot be changed by hand now.
      widget: to show.
      slider: an ``IntSlider`` over the places of the stops.
      box: a ``Text``.
      note: says why the last entry was refused; empty otherwise.
    """

    value = traitlets.Any()
    disabled = traitlets.Bool(False)

    def __init__(
        self,
        label: str,
        value: float,
        stops: Sequence[float],
        refusal: Callable[[Any], str | None],
        parse: Callable[[str], float] = real,
        text: Callable[[Any], str] = "{:g}".format,
        at_once: bool = False,
    ) -> None:
        """A number that shows ``value``.

        Args:
          label: its name.
          value: shown first.
          stops: ascending; where the slider stops.
          refusal: a number to the reason why it cannot be, a sentence without its full stop, or None.
          parse: what was typed to a number; raises ValueError.
          text: a number to what the box shows.
          at_once: whether it changes while the slider is dragged, not only when it is released.
        """
        super().__init__()
        self._label, self._stops, self._refusal, self._parse, self._text = label, tuple(stops), refusal, parse, text
        self._busy = False
        self.slider = ipywidgets.IntSlider(
            0, min=0, max=len(stops) - 1, description=label, readout=False, continuous_update=at_once, tooltip=label
        )
        self.box = ipywidgets.Text(continuous_update=False).add_class("lab-number")
        self.note = ipywidgets.HTML().add_class("lab-refusal")
        row = ipywidgets.HBox([self.slider, self.box]).add_class("lab-row")
        self.widget = ipywidgets.VBox([row, self.note]).add_class("lab-field")
        self.value = value
        self.observe(lambda _: self._follow(), "value")
        self.observe(self._able, "disabled")
        self.slider.observe(self._slid, "value")
        self.box.observe(self._typed, "value")
        self._follow()

    @traitlets.validate("value")
    def _fits(self, proposal: Any) -> Any:
        reason = self._refusal(proposal["value"])
        if reason:
            raise LabError(f"{reason}.")
        return proposal["value"]

    def _follow(self) -> None:
        """Slider and box show the value."""
        self._busy = True
        try:
            at = bisect_left(self._stops, self.value)
            near = [place for place in (at - 1, at) if 0 <= place < len(self._stops)]
            self.slider.value = min(near, key=lambda place: abs(self._stops[place] - self.value))
            # What an emptied box shows; and the page sees this change, while it cannot see a box get another value.
            self.box.value = self.box.placeholder = self._text(self.value)
            self.note.value = ""
        finally:
            self._busy = False

    def _able(self, _: Any) -> None:
        self.slider.disabled = self.box.disabled = self.disabled

    def _slid(self, change: Any) -> None:
        if not self._busy:
            self.value = self._stops[change["new"]]

    def _typed(self, change: Any) -> None:
        if self._busy or change["new"] == self._text(self.value):
            return
        reason = "that is not a number"
        try:
            wanted = self._parse(change["new"])
            reason = self._refusal(wanted) or ""
        except (ValueError, OverflowError):
            wanted = None
        if not reason:
            self.value = wanted
        self._follow()
        if reason:
            kept = f"{self._label} stays at {self._text(self.value)}"
            self.note.value = escape(f"“{change['new']}” is refused: {reason}. {kept}.")


class Fold:
    """A button that shows and hides what is below it; unlike an accordion it can be reached from the keyboard.

    Attributes:
      widget: to show.
      button: a ``ToggleButton``, on while it is open.
    """

    def __init__(self, title: str, *children: ipywidgets.Widget) -> None:
        """Closed."""
        self.button = ipywidgets.ToggleButton(
            False, description=title, icon="caret-right", tooltip="Show or hide more"
        ).add_class("lab-fold")
        self._inside = ipywidgets.VBox(children, layout=ipywidgets.Layout(display="none"))
        self.widget = ipywidgets.VBox([self.button, self._inside]).add_class("lab-group")
        self.button.observe(self._turn, "value")

    def _turn(self, change: Any) -> None:
        self._inside.layout.display = None if change["new"] else "none"
        self.button.icon = "caret-down" if change["new"] else "caret-right"

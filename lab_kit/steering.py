"""A hand on a running fit: new hyperparameters, pause, continue, stop, from any thread; its log can be replayed."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from lab_kit.optimizers import refusal
from lab_kit.schema import LabError


@dataclass(frozen=True)
class Change:
    """What the hand did before a step.

    Attributes:
      step: the number of optimizer steps done when it took effect.
      name: of a hyperparameter, or ``pause``, ``resume`` or ``stop``.
      value: the hyperparameter's new one; None for the others.
    """

    step: int
    name: str
    value: float | None


class Steering:
    """Passed to ``fit``, which reads it between two compiled calls, about twenty times a second.

    Attributes:
      changes: what took effect so far, in order; a list that grows while the run runs.
    """

    def __init__(self, script: Iterable[Change] = ()) -> None:
        """A hand that does nothing of its own.

        Args:
          script: ``changes`` of an earlier run, which are done again at their steps: the same weights, to the bit,
            follow. Its pauses are left out; its stop is a stop.
        """
        self.changes: list[Change] = []
        self._script = sorted((c for c in script if c.name not in ("pause", "resume")), key=lambda change: change.step)
        self._waiting: dict[str, float] = {}
        self._paused = self._stopped = False
        self._condition = threading.Condition()

    def set(self, name: str, value: float) -> None:
        """Gives a traced hyperparameter a new value from the next compiled call on.

        Raises:
          LabError: it cannot change during a run, or not to this value.
        """
        reason = refusal(name, value)
        if reason:
            raise LabError(reason + ".")
        with self._condition:
            self._waiting[name] = float(value)

    def pause(self) -> None:
        """Holds the run before its next call, until ``resume`` or ``stop``."""
        with self._condition:
            self._paused = True

    def resume(self) -> None:
        """Lets a paused run go on."""
        with self._condition:
            self._paused = False
            self._condition.notify_all()

    def stop(self) -> None:
        """Ends the run before its next call; its last record says "stopped". A stop is for good."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()

    @property
    def paused(self) -> bool:
        """Whether the run holds."""
        return self._paused

    @property
    def stopped(self) -> bool:
        """Whether the run was told to end."""
        return self._stopped

    def due(self, step: int) -> int | None:
        """For ``fit``: the next step after this one that the script has something for."""
        return next((change.step for change in self._script if change.step > step), None)

    def take(self, step: int) -> dict[str, float]:
        """For ``fit``: waits while paused, then hands over the new values and notes them with the step."""
        with self._condition:
            if self._paused and not self._stopped:
                self.changes.append(Change(step, "pause", None))
                self._condition.wait_for(lambda: self._stopped or not self._paused)
                self.changes.append(Change(step, "resume", None))
            scripted = [change for change in self._script if change.step <= step]
            self._script = self._script[len(scripted) :]
            self._stopped |= any(change.name == "stop" for change in scripted)
            if self._stopped:  # no step follows, so nothing takes effect
                self.changes.append(Change(step, "stop", None))
                return {}
            taken = {change.name: change.value for change in scripted if change.value is not None} | self._waiting
            self._waiting = {}
            self.changes.extend(Change(step, name, value) for name, value in taken.items())
            return taken

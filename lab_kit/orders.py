"""What holds for the next compiled call: read from the hand on the run, and the same in all processes."""

from typing import NamedTuple

import numpy as np

from lab_kit import devices
from lab_kit.optimizers import TRACED
from lab_kit.steering import Steering


class Orders(NamedTuple):
    """For one call.

    Attributes:
      length: how many steps it is meant to take.
      changes: new values of traced hyperparameters.
      due: the step of the hand's next deed, where that is known.
      stopped: whether there is to be no call any more.
    """

    length: int
    changes: dict[str, float]
    due: int | None
    stopped: bool


def take(steering: Steering, step: int, length: int) -> Orders:
    """The orders before a step: what the first process has decided, as all processes must make the same calls.

    Args:
      steering: the hand of this process.
      step: optimizer steps done.
      length: of a call as it is now. The first call after a change is a quarter of that: somebody waits for its record.
    """
    changes = steering.take(step)
    own = Orders(max(1, length // 4) if changes else length, changes, steering.due(step), steering.stopped)
    if devices.processes() == 1:
        return own
    values = [own.changes.get(name, np.nan) for name in TRACED]
    told = [own.length, -1 if own.due is None else own.due, own.stopped, *values]
    with devices.together():
        length, due, stopped, *agreed = devices.from_first(np.array(told, np.float64)).tolist()
    changes = {name: value for name, value in zip(TRACED, agreed, strict=True) if np.isfinite(value)}
    return Orders(int(length), changes, None if due < 0 else int(due), bool(stopped))

r"""How the learning rate goes through a run: a factor for each step, computed on the host and handed to the devices.

A schedule is data, not a part of the compiled program: another schedule compiles nothing, and moving the learning rate
in the middle of a run scales what is left of it. Notation: :math:`t` steps done, :math:`T` steps of the run, :math:`w`
the warm-up as a part of the run.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

START, END = 1 / 25, 1e-4 / 25
"""Where a one-cycle schedule begins and ends, as parts of its peak."""


@dataclass(frozen=True)
class Schedule:
    """A schedule and what a reader should know of it.

    Attributes:
      name: its name in a configuration.
      title: its name in prose.
      formula: the factor, in LaTeX.
      reference: where it was published; empty for what nobody owns.
      factor: (t / T, w) to the factor; t / T is float64 ``[n]`` in [0, 1), w in [0, 1).
    """

    name: str
    title: str
    formula: str
    reference: str
    factor: Callable[[np.ndarray, float], np.ndarray]


def _ease(share: np.ndarray, first: float, last: float) -> np.ndarray:
    """Half a cosine from one value (share 0) to another (share 1)."""
    return last + (first - last) * (1 + np.cos(np.pi * np.clip(share, 0, 1))) / 2


def _rise(done: np.ndarray, warmup: float) -> np.ndarray:
    return np.minimum(done, warmup) / warmup if warmup else np.ones_like(done)


def _one_cycle(done: np.ndarray, warmup: float) -> np.ndarray:
    up = _ease(_rise(done, warmup), START, 1)
    return np.where(done < warmup, up, _ease((done - warmup) / (1 - warmup), 1, END))


SCHEDULES: dict[str, Schedule] = {
    schedule.name: schedule
    for schedule in (
        Schedule("constant", "Constant", "1", "", lambda done, warmup: np.ones_like(done)),
        Schedule(
            "warm-up",
            "Warm-up, then constant",
            r"\min(1, t / wT)",
            "P. Goyal et al., Accurate, large minibatch SGD, 2017",
            _rise,
        ),
        Schedule(
            "cosine",
            "Cosine decay",
            r"(1 + \cos(\pi t / T)) / 2",
            "I. Loshchilov and F. Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017",
            lambda done, warmup: _ease(done, 1, 0),
        ),
        Schedule(
            "one-cycle",
            "One cycle",
            r"\text{half a cosine from } 1/25 \text{ to } 1 \text{ until } t = wT,"
            r" \text{ then one down to } 4\cdot10^{-6}",
            "L. Smith and N. Topin, Super-convergence, 2018",
            _one_cycle,
        ),
    )
}


def factors(name: str, first: int, steps: int, total: int, warmup: float) -> np.ndarray:
    """What the learning rate of some steps is multiplied by.

    Args:
      name: a key of ``SCHEDULES``.
      first: steps done before the first of them.
      steps: how many.
      total: steps of the whole run.
      warmup: the part of the run in which the rate rises, for the schedules that have such a part.

    Returns:
      float32 ``[steps]``.
    """
    done = np.arange(first, first + steps) / total
    return SCHEDULES[name].factor(done, warmup).astype(np.float32)

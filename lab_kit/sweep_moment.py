"""What is known of a sweep at one moment, and the same in words."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from lab_kit.config import TrainConfig
from lab_kit.moment import duration
from lab_kit.schema import LabError
from lab_kit.sweep import Point, SweepRecord, grid
from lab_kit.sweep_curves import Curves, curves
from lab_kit.track import title


class Job(NamedTuple):
    """What is swept.

    Attributes:
      base: what stays the same.
      axes: for each hyperparameter its values.
      seeds: of the runs.
    """

    base: TrainConfig
    axes: dict[str, list[float]]
    seeds: list[int]


@dataclass(frozen=True)
class SweepMoment:
    """What is known of the newest sweep.

    Attributes:
      doing: what a thread works on: a ``sweep``, or the run of its best configuration (``use``); empty for nothing.
      stopping: whether the sweep was told to end.
      job: what is swept; None before the first.
      records: so far.
      error: one sentence about what went wrong, empty without one.
      details: the traceback of what nobody expected.
      used: where the run of the best configuration is kept; None where there is none.
    """

    doing: Literal["", "sweep", "use"] = ""
    stopping: bool = False
    job: Job | None = None
    records: tuple[SweepRecord, ...] = ()
    error: str = ""
    details: str = ""
    used: Path | None = None

    @property
    def last(self) -> SweepRecord | None:
        """The newest record."""
        return self.records[-1] if self.records else None

    @functools.cached_property
    def curves(self) -> Curves | None:
        """Those of the sweep so far; None before its first record."""
        return curves(self.records, self.job.axes, self.job.seeds) if self.records and self.job else None

    @functools.cached_property
    def best(self) -> Point:
        """The best combination so far, with the first of the seeds.

        Raises:
          LabError: there is none.
        """
        if self.curves is None or self.job is None or len(self.curves.epochs) < 2:
            raise LabError("No epoch of a sweep is complete yet: press Sweep, and wait for one.")
        values = self.curves.best()
        return next(point for point in grid(*self.job) if point.values == values)

    @property
    def has_best(self) -> bool:
        """Whether there is a best combination."""
        return self.curves is not None and len(self.curves.epochs) > 1 and bool(np.isfinite(self._means).any())

    @property
    def _means(self) -> np.ndarray:
        assert self.curves is not None
        return np.asarray(self.curves.at_best("loss").mean(axis=-1))


def words(moment: SweepMoment) -> str:
    """The state as a sentence; it changes a few times in a sweep, so a screen reader can follow it."""
    last = moment.last
    size = len(last.diverged) if last else 0
    if moment.error:
        return moment.error
    if moment.doing == "use":
        return "Training the best configuration on its own."
    if moment.doing and moment.stopping:
        return "Stopping."
    if moment.doing:
        return f"Sweeping {size} configurations." if last and last.step else "Starting: the program is being compiled."
    if moment.used:
        return f"The best is kept as the run {moment.used.name}, in {moment.used.parent}."
    if last is None or last.outcome is None:
        return "Ready: press Sweep."
    if last.outcome == "diverged":
        return f"All {size} configurations have diverged: sweep lower learning rates."
    return f"{last.outcome.capitalize()}: {size} configurations."


def numbers(moment: SweepMoment) -> str:
    """Where the sweep is: epoch, speed, time left, what diverged, and the best so far."""
    last, job = moment.last, moment.job
    if last is None or job is None:
        return ""
    parts = [f"Epoch {last.epoch:.1f} of {job.base.epochs:,}"]
    if last.rows_per_second:
        parts.append(f"{last.rows_per_second:,.0f} rows/s together")
    if last.epoch and not last.outcome:
        parts.append(f"{duration(last.seconds / last.epoch * (job.base.epochs - last.epoch))} left")
    if last.diverged.any():
        parts.append(f"{last.diverged.sum()} diverged")
    if moment.has_best:
        named = ", ".join(f"{title(name)} {value:g}" for name, value in moment.best.values.items())
        parts.append(f"best: {named}, with a validation loss of {np.nanmin(moment._means):.4f} at its best epoch")
    return " · ".join(parts)

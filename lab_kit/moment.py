"""What is known of a run at one moment, and the same in words."""

from dataclasses import dataclass, field
from typing import Literal

from lab_kit.config import TrainConfig
from lab_kit.track import Track
from lab_kit.train import Record
from lab_kit.training_plots import TITLES

State = Literal["ready", "starting", "training", "paused", "stopping", "ended", "failed"]


@dataclass(frozen=True)
class Moment:
    """What is known of the run at one moment.

    Attributes:
      state: ``starting`` lasts until the first step is compiled; ``failed`` means that an exception ended the run.
      config: of the run; None before the first.
      track: its records so far.
      previous: those of the run before.
      last: the newest record.
      best: the record with the lowest validation loss so far.
      error: one sentence about the exception, empty without one.
      details: its traceback.
    """

    state: State = "ready"
    config: TrainConfig | None = None
    track: Track = field(default_factory=Track)
    previous: Track = field(default_factory=Track)
    last: Record | None = None
    best: Record | None = None
    error: str = ""
    details: str = ""

    @property
    def running(self) -> bool:
        """Whether a thread works on it, or waits in a pause."""
        return self.state in ("starting", "training", "paused", "stopping")


def words(moment: Moment) -> str:
    """The state of a run as a sentence; it changes a few times in a run, so a screen reader can follow it."""
    last = moment.last
    if moment.state == "ready":
        return "Ready: press Train."
    if moment.state == "starting":
        return "Starting: the program for this network is being compiled."
    if moment.state == "paused":
        return f"Paused at epoch {last.epoch:.1f}: press Continue, or Step." if last else "Paused: press Continue."
    if moment.state == "stopping":
        return "Stopping."
    if moment.state == "failed":
        return f"The run ended with an error: {moment.error}"
    if moment.state == "training" or last is None:
        return "Training."
    outcome = last.outcome or "ended"
    return f"{outcome[0].upper()}{outcome[1:].rstrip('.')}."


def numbers(moment: Moment, metric: str) -> str:
    """Where a run is: epoch, speed, time left, losses and the best epoch."""
    last, config = moment.last, moment.config
    if last is None or config is None:
        return ""
    parts = [f"Epoch {last.epoch:.1f} of {config.epochs:,}"]
    if last.rows_per_second:
        parts.append(f"{_short(last.rows_per_second)} rows/s")
    left = moment.track.seconds_left(config.epochs) if moment.state in ("training", "paused") else None
    if left is not None:
        parts.append(f"{duration(left)} left")
    if last.train:
        parts.append(f"training loss {last.train['loss']:.4f}")
    if moment.best and moment.best.validation:
        best, title = moment.best.validation, TITLES[metric]
        parts.append(
            f"best at epoch {moment.best.epoch:.0f}: validation loss {best['loss']:.4f}, {title} {best[metric]:.4f}"
        )
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """About how long, in words: ``under 1 s``, ``12 s``, ``3 min``, ``2 h 5 min``."""
    if seconds < 1:
        return "under 1 s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60} min"


def _short(value: float) -> str:
    return f"{value / 1e6:.2f} million" if value >= 1e6 else f"{value:,.0f}"

"""A training run beside the main thread: start, steer, stop, and look at it about fifteen times a second.

One thread trains, so compilations never run at the same time: a new start stops the run before it, and of many starts
in a row only the last one is carried out. While a run runs, a second thread shows it. Records that come faster than
they can be shown overtake one another, and the last one is always shown. A page that is slow gets fewer frames, so
that it never shows a queue of old ones.
"""

import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from lab_kit import runs
from lab_kit.config import TrainConfig
from lab_kit.schema import LabError
from lab_kit.steering import Steering
from lab_kit.train import Record
from lab_kit.training_plots import TITLES

SECONDS_BETWEEN_FRAMES = 1 / 15
SECONDS_FOR_A_FRAME = 1.0
"""How long a page is waited for that has not yet shown the last frame; it may be hidden, or gone."""
State = Literal["ready", "starting", "training", "stopping", "ended", "failed"]
Records = Callable[[TrainConfig, Steering], Iterator[Record]]


@dataclass(frozen=True)
class Moment:
    """What is known of the run at one moment.

    Attributes:
      state: ``starting`` lasts until the first step is compiled; ``failed`` means that an exception ended the run.
      config: of the run; None before the first.
      history: one ``runs.row`` for each record so far.
      previous: the history of the run before.
      last: the newest record.
      best: the record with the lowest validation loss so far.
      error: one sentence about the exception, empty without one.
      details: its traceback.
    """

    state: State = "ready"
    config: TrainConfig | None = None
    history: tuple[dict[str, Any], ...] = ()
    previous: tuple[dict[str, Any], ...] = ()
    last: Record | None = None
    best: Record | None = None
    error: str = ""
    details: str = ""

    @property
    def running(self) -> bool:
        """Whether a thread works on it."""
        return self.state in ("starting", "training", "stopping")


def words(moment: Moment) -> str:
    """The state of a run as a sentence; it changes a few times in a run, so a screen reader can follow it."""
    last = moment.last
    if moment.state == "ready":
        return "Ready: press Train."
    if moment.state == "starting":
        return "Starting: the program for this network is being compiled."
    if moment.state == "stopping":
        return "Stopping."
    if moment.state == "failed":
        return f"The run ended with an error: {moment.error}"
    if moment.state == "training" or last is None:
        return "Training."
    outcome = last.outcome or "ended"
    return f"{outcome[0].upper()}{outcome[1:].rstrip('.')}."


def numbers(moment: Moment, metric: str) -> str:
    """Where a run is: epoch, speed, losses and the best epoch."""
    last, config = moment.last, moment.config
    if last is None or config is None:
        return ""
    parts = [f"Epoch {last.epoch:.1f} of {config.epochs}"]
    if last.rows_per_second:
        parts.append(f"{_short(last.rows_per_second)} rows/s")
    if last.train:
        parts.append(f"training loss {last.train['loss']:.4f}")
    if moment.best and moment.best.validation:
        best, title = moment.best.validation, TITLES[metric]
        parts.append(
            f"best at epoch {moment.best.epoch:.0f}: validation loss {best['loss']:.4f}, {title} {best[metric]:.4f}"
        )
    return " · ".join(parts)


def _short(value: float) -> str:
    return f"{value / 1e6:.2f} million" if value >= 1e6 else f"{value:,.0f}"


class LiveRun:
    """Runs one training at a time in a thread of its own.

    Attributes:
      moment: the newest ``Moment``; may be read from any thread.
    """

    def __init__(self, records: Records, show: Callable[[], None], shown: Callable[[], bool] = lambda: True) -> None:
        """Nothing runs yet.

        Args:
          records: starts a fit with a configuration and a steering.
          show: called from a thread when there is a newer ``moment``, at most once in ``SECONDS_BETWEEN_FRAMES``.
          shown: whether what ``show`` sent last has arrived; the next frame waits for it.
        """
        self.moment = Moment()
        self._records, self._show, self._shown = records, show, shown
        self._lock = threading.RLock()
        self._next: TrainConfig | None = None
        self._steering: Steering | None = None
        self._thread: threading.Thread | None = None

    def start(self, config: TrainConfig) -> None:
        """Starts a run; one that runs is stopped first."""
        with self._lock:
            self._next = config
            if self._steering:
                self._steering.stop()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="lab-kit training", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Asks the run to end before its next compiled call, and forgets a start that waits."""
        with self._lock:
            self._next = None
            if self._steering:
                self._steering.stop()
                self.moment = replace(self.moment, state="stopping")

    def set(self, name: str, value: float) -> bool:
        """Gives a traced hyperparameter a new value; False when no run is there to take it."""
        with self._lock:
            if self._steering is None or self._steering.stopped:
                return False
            self._steering.set(name, value)
            return True

    @property
    def running(self) -> bool:
        """Whether a training thread is at work."""
        return self._thread is not None

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the run and its last frame.

        Args:
          timeout: in seconds; None waits as long as it takes.

        Returns:
          Whether nothing runs any more.
        """
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return not self.running

    def _work(self) -> None:
        while True:
            with self._lock:
                if self._next is None:
                    self._thread = None
                    return
                config, self._next, steering = self._next, None, Steering()
                self._steering = steering
                before = self.moment  # compare with it only if it got somewhere
                known = before.last is not None and before.last.epoch >= 1
                previous = before.history if known else before.previous
                self.moment = Moment("starting", config, previous=previous)
            with _conflated(self._show, self._shown) as changed:
                changed()
                try:
                    for record in self._records(config, steering):
                        self._note(record)
                        changed()
                    self._end(replace(self.moment, state="ended"))
                except Exception as error:  # whatever went wrong in a run must reach the reader, not end the thread
                    sentence = str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
                    self._end(replace(self.moment, state="failed", error=sentence, details=traceback.format_exc()))

    def _note(self, record: Record) -> None:
        with self._lock:
            now = self.moment
            state: State = "starting" if record.step == 0 else "training"
            self.moment = replace(
                now,
                state="stopping" if now.state == "stopping" else state,
                history=(*now.history, runs.row(record)),
                last=record,
                best=record if record.best else now.best,
            )

    def _end(self, moment: Moment) -> None:
        with self._lock:
            self._steering, self.moment = None, moment


@contextmanager
def _conflated(show: Callable[[], None], shown: Callable[[], bool]) -> Iterator[Callable[[], None]]:
    """Gives a function that asks for ``show`` in a thread: soon, not before the last is ``shown``, and at the end."""
    asked, ended = threading.Event(), threading.Event()

    def work() -> None:
        while not ended.is_set():
            asked.wait()
            asked.clear()
            show()
            latest = time.monotonic() + SECONDS_FOR_A_FRAME
            ended.wait(SECONDS_BETWEEN_FRAMES)
            while not (shown() or ended.is_set() or time.monotonic() > latest):
                ended.wait(0.01)
        show()

    thread = threading.Thread(target=work, name="lab-kit display", daemon=True)
    thread.start()
    try:
        yield asked.set
    finally:
        ended.set()
        asked.set()
        thread.join()

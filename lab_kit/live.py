"""A training run beside the main thread: start, steer, pause, step, stop, and look at it about ten times a second.

One thread trains, so compilations never run at the same time: a new start stops the run before it, and of many starts
in a row only the last one is carried out. While a run runs, a second thread shows it. Records that come faster than
they can be shown overtake one another, and the last one is always shown. A page that is slow gets fewer frames, so
that it never shows a queue of old ones. When the interpreter ends, the run is stopped first, so that it is whole.
"""

import math
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from lab_kit import runs
from lab_kit.config import TrainConfig
from lab_kit.ending import before_the_end
from lab_kit.moment import Moment, State
from lab_kit.optimizers import TRACED
from lab_kit.schema import LabError
from lab_kit.steering import Change, Steering
from lab_kit.train import Progress, Record

SECONDS_BETWEEN_FRAMES = 1 / 10
"""A page that is not busy with a frame is free for the one somebody waits for: what was steered, or the end."""
FRAME_TO_FRAME = 6
"""How many times as long as it took a page to paint a frame until the next: the rest of the processor trains."""
SECONDS_BETWEEN_SLOW_FRAMES = 0.3
"""But a page that paints slowly is not left behind for longer than this."""
SECONDS_FOR_A_FRAME = 1.0
"""How long a page is waited for that has not yet shown the last frame; it may be hidden, or gone."""
ONE_EPOCH = "stopped after one epoch"


@dataclass(frozen=True)
class Job:
    """What the training thread shall do.

    Attributes:
      config: of the run.
      start: where it goes on; None for the beginning.
      one_epoch: whether it ends with the next epoch.
      until: the step at which it is stopped; None where nothing says so.
      passing: whether it is one of many, made while a slider is dragged.
    """

    config: TrainConfig
    start: Progress | None = None
    one_epoch: bool = False
    until: int | None = None
    passing: bool = False


Records = Callable[[Job, Steering], Iterator[Record]]


class LiveRun:
    """Runs one training at a time in a thread of its own.

    Attributes:
      moment: the newest ``Moment``; may be read from any thread.
    """

    def __init__(self, records: Records, show: Callable[[], None], shown: Callable[[], bool] = lambda: True) -> None:
        """Nothing runs yet.

        Args:
          records: starts a fit for a job and a steering.
          show: called from a thread when there is a newer ``moment``, at most once in ``SECONDS_BETWEEN_FRAMES``, and
            at once when a steered value took effect.
          shown: whether what ``show`` sent last has arrived; the next frame waits for it.
        """
        self.moment = Moment()
        self._records, self._show, self._shown = records, show, shown
        self._lock = threading.RLock()
        self._next: Job | None = None
        self._steering: Steering | None = None
        self._thread: threading.Thread | None = None
        self._pause_at_epoch = self._clear = False
        before_the_end(self)

    def start(self, config: TrainConfig, passing: bool = False) -> None:
        """Starts a run from its beginning; one that runs is stopped first.

        Args:
          config: of the run.
          passing: see ``Job``.
        """
        self._do(Job(config, passing=passing))

    def step(self, config: TrainConfig) -> None:
        """Trains one epoch: from where a paused run is, or where the last one ended, or from the beginning.

        A run that ended is gone on with as far as the configuration allows it: the traced values and the number of
        epochs may be others. A run that trains takes no notice.
        """
        with self._lock:
            if self.moment.state == "paused":
                self._pause_at_epoch = True
                self.resume()
            elif not self.running:
                self._do(_one_more(self.moment, config))

    def pause(self) -> None:
        """Holds the run before its next compiled call."""
        with self._lock:
            if self._steering and self.moment.state in ("starting", "training"):
                self._steering.pause()
                self.moment = replace(self.moment, state="paused")

    def resume(self) -> None:
        """Lets a paused run go on."""
        with self._lock:
            if self._steering and self.moment.state == "paused":
                self.moment = replace(self.moment, state="training")
                self._steering.resume()

    def stop(self) -> None:
        """Asks the run to end before its next compiled call, and forgets a start that waits."""
        with self._lock:
            self._next = None
            if self._steering:
                self._steering.stop()
                self.moment = replace(self.moment, state="stopping")

    def reset(self) -> None:
        """Stops, and forgets all that was drawn."""
        with self._lock:
            self.stop()
            if self.running:
                self._clear = True
            else:
                self.moment = Moment()

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

    def _do(self, job: Job) -> None:
        with self._lock:
            self._next, self._clear = job, False
            if self._steering:
                self._steering.stop()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="lab-kit training", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if self._next is None:
                    self._thread = None
                    return
                job, self._next = self._next, None
                self._pause_at_epoch = False
                self._steering = steering = _steering(job)
                self.moment = _begun(job, self.moment)
            with _conflated(self._show, self._shown) as changed:
                try:
                    for record in self._records(job, steering):
                        changed(self._note(record))
                    self._end(replace(self.moment, state="ended"))
                except Exception as error:  # whatever went wrong in a run must reach the reader, not end the thread
                    sentence = str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
                    self._end(replace(self.moment, state="failed", error=sentence, details=traceback.format_exc()))

    def _note(self, record: Record) -> bool:
        """Takes a record; returns whether a reader waits for just this one."""
        with self._lock:
            now = self.moment
            if self._pause_at_epoch and record.validation and record.step and not record.outcome:
                self._pause_at_epoch, now = False, replace(now, state="paused")
                if self._steering:
                    self._steering.pause()
            state: State = "starting" if record.step == 0 else "training"
            awaited = len(now.track.rows) == 2  # two trained points make a new curve a line
            repeats = bool(now.track.rows) and now.track.rows[-1]["step"] == record.step
            if not repeats or record.outcome:  # the first record of a run that goes on is there already
                changes = len(now.track.changes)
                now.track.add(runs.row(record))
                awaited |= len(now.track.changes) > changes
            self.moment = replace(
                now,
                state=now.state if now.state in ("stopping", "paused") else state,
                last=record,
                best=record if record.best else now.best,
            )
            return awaited

    def _end(self, moment: Moment) -> None:
        with self._lock:
            self._steering = None
            self.moment = Moment() if self._clear else moment
            self._clear = False


def _one_more(moment: Moment, config: TrainConfig) -> Job:
    """One epoch from where the last run ended, if it can be gone on with; else the first epoch of a new one."""
    last, before = moment.last, moment.config
    if last is None or before is None or not _alike(before, config):
        return Job(config, one_epoch=True)
    config = replace(config, epochs=max(config.epochs, math.ceil(last.epoch + 1)), patience=None)
    if last.epoch % 1:  # stopped within an epoch: as many steps as an epoch has
        return Job(config, last.progress, until=last.step + round(last.step / last.epoch))
    return Job(config, last.progress, one_epoch=True)


def _alike(one: TrainConfig, other: TrainConfig) -> bool:
    """Whether a run of one configuration can be gone on with as the other."""
    free = {name: getattr(one, name) for name in (*TRACED, "epochs", "patience")}
    return one == replace(other, **free)


def _steering(job: Job) -> Steering:
    """The hand on a run that begins: one that goes on takes the values of now, and knows where it is to stop."""
    steering = Steering([] if job.until is None else [Change(job.until, "stop", None)])
    for name, value in job.config.hyperparameters.items():
        if job.start is not None and job.start.hyper[name] != value:
            steering.set(name, value)
    return steering


def _begun(job: Job, before: Moment) -> Moment:
    """The first moment of a run: it goes on with the curves there are, or begins new ones beside the old."""
    if job.start is not None:
        return Moment("starting", job.config, before.track, before.previous, before.last, before.best)
    known = before.last is not None and before.last.epoch >= 1  # compare with it only if it got somewhere
    return Moment("starting", job.config, previous=before.track if known else before.previous)


def cut(job: Job, records: Iterator[Record]) -> Iterator[Record]:
    """The records of a job; of one that ends with the next epoch, the last says that it was stopped there."""
    if not job.one_epoch:
        yield from records
        return
    first: int | None = None
    for record in records:
        first = record.step if first is None else first
        ended = record.validation is not None and record.step > first
        yield replace(record, outcome=record.outcome or ONE_EPOCH) if ended else record
        if ended:
            return


@contextmanager
def _conflated(show: Callable[[], None], shown: Callable[[], bool]) -> Iterator[Callable[..., None]]:
    """Gives a function that asks for ``show`` in a thread: soon, not before the last is ``shown``, and at the end.

    The function takes whether it is urgent: then only ``shown`` is waited for. The first frame waits a little for
    something urgent: two frames at the beginning would keep the page busy for long.
    """
    asked, urgent, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        urgent.wait(SECONDS_BETWEEN_FRAMES)
        while not ended.is_set():
            asked.wait()
            asked.clear()
            urgent.clear()
            show()
            began = now = time.monotonic()
            painted = None
            while not ended.is_set() and now < began + SECONDS_FOR_A_FRAME:
                if painted is None and shown():
                    painted = now - began
                rest = max(SECONDS_BETWEEN_FRAMES, min(FRAME_TO_FRAME * (painted or 0.0), SECONDS_BETWEEN_SLOW_FRAMES))
                if painted is not None and (urgent.is_set() or now >= began + rest):
                    break
                ended.wait(0.004)
                now = time.monotonic()
        show()

    def ask(at_once: bool = False) -> None:
        if at_once:
            urgent.set()
        asked.set()

    asked.set()  # that the run begins
    thread = threading.Thread(target=work, name="lab-kit display", daemon=True)
    thread.start()
    try:
        yield ask
    finally:
        ended.set()
        ask(at_once=True)
        thread.join()

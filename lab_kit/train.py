"""Training: a thin loop that yields records, so that charts, progress bars and stopping are plain loops.

    for record in fit(train, validation, signature, TrainConfig(learning_rate=3e-3)):
        print(record.epoch, record.validation)

One compiled call (``engine``) runs many steps on all devices; between two calls the loop reads the steering. How long
a call is changes nothing in the result. The order of rows comes from (seed, epoch), dropout from (seed, step); so a run
that goes on from a ``Progress`` is, to the bit, the run that was never interrupted.
"""

import itertools
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from lab_kit import devices, engine, feed, metrics, schedules
from lab_kit.arrays import Array, Rows, Signature
from lab_kit.config import TrainConfig, check
from lab_kit.engine import Recipe, State
from lab_kit.feed import Feed
from lab_kit.model import Network
from lab_kit.optimizers import OPTIMIZERS
from lab_kit.orders import Orders, take
from lab_kit.schema import LabError
from lab_kit.steering import Steering
from lab_kit.stream import Stream

SECONDS_PER_CALL = 0.05
"""How long one compiled call is meant to take: the rhythm of the records, and what steering waits for at most."""


class Progress(NamedTuple):
    """All that a run needs to go on as if it had never been interrupted; a pytree of arrays and numbers.

    Attributes:
      state: after the last step.
      best: float32 ``[P]``, the weights of the lowest validation loss so far; the newest before there is one.
      totals: float64 ``[engine.TOTALS]``, added up in the epoch that is under way.
      hyper: the traced hyperparameters in force.
      lowest: the lowest validation loss so far.
      lowest_epoch: the epoch that ended with it, from 0.
      seconds: spent so far.
    """

    state: State
    best: Array
    totals: np.ndarray
    hyper: dict[str, float]
    lowest: float
    lowest_epoch: int
    seconds: float

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return int(np.asarray(self.state.step))


@dataclass(frozen=True)
class Record:
    """What is known at one moment of a run.

    Attributes:
      epoch: epochs completed, with a fraction inside an epoch; 0 for the first record, before any training.
      step: optimizer steps done.
      rows_seen: training rows seen, repeats counted.
      train: metrics over the rows of this epoch so far, as the network saw them (with dropout); empty at epoch 0.
      validation: metrics over the validation rows; None inside an epoch.
      rows_per_second: training rows a second in the last call; the first ones include compilation.
      seconds: since the start of the run.
      gradient_norm: the mean length of the gradients of the last call, before clipping; None before any training.
      rate: the learning rate of the last step, its schedule included.
      hyperparameters: the traced values in force.
      best: whether this validation loss is the lowest so far.
      outcome: None while the run goes on; on the last record how it ended, beginning with "finished", "stopped",
        "stopped early" or "diverged".
      network: the architecture.
      weights: float32 ``[P]``, on the devices; after a divergence the last ones that were finite.
      progress: from which ``fit`` can go on.
    """

    epoch: float
    step: int
    rows_seen: int
    train: dict[str, float]
    validation: dict[str, float] | None
    rows_per_second: float
    seconds: float
    gradient_norm: float | None
    rate: float
    hyperparameters: dict[str, float]
    best: bool
    outcome: str | None
    network: Network
    weights: Array
    progress: Progress


def fit(
    train: Rows | Stream,
    validation: Rows | Stream,
    signature: Signature,
    config: TrainConfig,
    *,
    steering: Steering | None = None,
    start: Progress | None = None,
) -> Iterator[Record]:
    """Trains, and yields a record about twenty times a second and at the end of each epoch.

    Args:
      train: rows to learn from, in memory or, as a ``Stream``, on disk.
      validation: rows that name the best epoch and stop early; never the test rows.
      signature: of the encoder that made both.
      config: the run.
      steering: a hand on the running run.
      start: where an earlier fit of the same rows and configuration got to; None for the beginning.

    Returns:
      An iterator of records: the first is of the state before any training (or at ``start``), the last one has an
      ``outcome``.

    Raises:
      LabError: at once, before the first record: the configuration cannot run, or there are no rows.
    """
    check(config, train.count, signature.task)
    if validation.count < 1:
        raise LabError("There are no validation rows: look at the split of the dataset's card.")
    return _Fit(train, validation, signature, config).records(steering or Steering(), start)


def beginning(signature: Signature, config: TrainConfig) -> Progress:
    """The progress before the first step, in place on the devices."""
    recipe, hyper = _recipe(signature, config), config.hyperparameters
    state = engine.initial_state(recipe, hyper, config.devices, config.seed)
    return Progress(state, state.weights, np.zeros(engine.TOTALS), hyper, float("inf"), 0, 0.0)


def _recipe(signature: Signature, config: TrainConfig) -> Recipe:
    network = Network(signature, config.hidden, config.activation, config.normalization)
    return Recipe(network, config.optimizer, config.loss, config.sync_every > 1)


class _Fit:
    """What stays the same while a run runs."""

    def __init__(
        self, train: Rows | Stream, validation: Rows | Stream, signature: Signature, config: TrainConfig
    ) -> None:
        self.config, self.task, count = config, signature.task, config.devices
        self.signature, self.recipe = signature, _recipe(signature, config)
        self.network = self.recipe.network
        weights = feed.class_weights(train, max(2, signature.outputs)) if config.class_weight == "balanced" else None
        batch_size = train.count if OPTIMIZERS[config.optimizer].full_batch else config.batch_size
        self.feed = Feed(train, batch_size, count, config.readers, config.seed, weights, config.sync_every)
        self.program = engine.program(self.recipe, count, self.feed.local_batch)
        self.validation = validation
        self._measured: list[Any] = []

    def validate(self, weights: Array) -> dict[str, float]:
        """Metrics of the validation rows; those in memory are placed once."""
        measured: Iterable[Any] = self._measured
        if not measured:
            cut = feed.pieces(self.validation, self.config.devices, engine.BLOCK)
            measured = (devices.shard(piece, self.config.devices) for piece in cut)
        if not isinstance(self.validation, Stream):
            measured = self._measured = list(measured)
        with devices.together():
            total = sum(np.asarray(self.program.measure(weights, *piece), np.float64) for piece in measured)
        return metrics.ratios(self.task, np.asarray(total))

    def records(self, steering: Steering, start: Progress | None) -> Iterator[Record]:
        """The loop: a compiled call, and what it did."""
        config, steps = self.config, self.feed.steps
        if start is None:
            now = beginning(self.signature, config)
        else:
            now = start._replace(
                state=engine.placed(start.state, config.devices), best=devices.replicate(start.best, config.devices)
            )
        first, last = now.step, config.epochs * steps
        began = time.perf_counter() - now.seconds
        hyper, placed_hyper = now.hyper, _place_hyper(now.hyper, config.devices)
        windows = self.feed.windows(first, last)
        with ThreadPoolExecutor(1, thread_name_prefix="lab-kit compile") as beside:
            opening = beside.submit(self._opening, windows, now.state, placed_hyper)
            record = self.first_record(now)
            yield record
            if record.outcome:
                return
            windows = itertools.chain(opening.result(), windows)
        length = 1
        for window in windows:
            factors = devices.replicate(self._factors(window), config.devices)
            at = window.first
            while at < window.stop:
                step = window.epoch * steps + at
                orders = take(steering, step, length)
                if orders.stopped:
                    yield replace(record, best=False, outcome="stopped")
                    return
                if orders.changes:
                    hyper = hyper | orders.changes
                    placed_hyper = _place_hyper(hyper, config.devices)
                stop = self._end_of_call(window, at, orders)
                called = time.perf_counter()
                bounds = _bounds(at - window.first, stop - window.first, config.sync_every)
                given = now.state, placed_hyper, window.rows, window.weight, factors
                with devices.together():
                    after, totals = self.program.run(*given, *bounds)
                    sums = np.asarray(totals, np.float64)  # waits for the devices
                elapsed = time.perf_counter() - called
                # At most twice as long as the last call: the first ones are slow, and say little about the speed.
                length = max(1, min(2 * length, int((stop - at) * SECONDS_PER_CALL / elapsed)))
                now = now._replace(state=after, totals=now.totals + sums, hyper=hyper)
                record, now = self.record(record, now, window.epoch, at, stop, float(sums[-1]), elapsed, began)
                yield record
                if record.outcome:
                    return
                at = stop

    def _opening(self, windows: Iterator[feed.Window], state: State, hyper: dict[str, Any]) -> list[feed.Window]:
        """The first window, if there is one; the program is compiled for it while the first record is made."""
        opening = list(itertools.islice(windows, 1))
        for window in opening:
            factors = devices.replicate(self._factors(window), self.config.devices)
            devices.prepare(self.program.run, state, hyper, window.rows, window.weight, factors, *_bounds(0, 0, 1))
        return opening

    def first_record(self, now: Progress) -> Record:
        """Of a run that begins, or goes on."""
        epoch, at = divmod(now.step, self.feed.steps)
        seen = epoch * self.feed.count + self.feed.rows_until(at)
        trained = metrics.ratios(self.task, now.totals[: metrics.SUMS]) if at else {}
        rate = now.hyper["learning_rate"] * float(self._factors_of(0, now.step - 1, 1)[0] if now.step else 1)
        outcome = self._ending(epoch - 1, now) if now.step and not at else None  # it may have come to its end already
        return Record(
            epoch + at / self.feed.steps, now.step, seen, trained, self.validate(now.state.weights), 0.0, now.seconds,
            None, rate, now.hyper, False, outcome, self.network, now.state.weights, now,
        )  # fmt: skip

    def _ending(self, epoch: int, now: Progress) -> str | None:
        """How the run ends with this epoch, from 0; None where it goes on."""
        if epoch + 1 >= self.config.epochs:
            return "finished"
        if self.config.patience is not None and epoch - now.lowest_epoch >= self.config.patience:
            return f"stopped early: no better validation loss for {self.config.patience} epochs"
        return None

    def record(
        self, last: Record, now: Progress, epoch: int, at: int, stop: int, norms: float, elapsed: float, began: float
    ) -> tuple[Record, Progress]:
        """What is known after a call, and the progress: its lowest loss may be new, its totals may begin again."""
        steps, hyper, weights = self.feed.steps, now.hyper, now.state.weights
        trained = metrics.ratios(self.task, now.totals[: metrics.SUMS])
        validated = self.validate(weights) if stop == steps else None
        step, outcome, best = epoch * steps + stop, None, False
        now = now._replace(seconds=time.perf_counter() - began)
        if not _finite(trained, validated, weights):
            outcome = (
                f"diverged: the loss is no longer a finite number at step {step} (epoch {epoch + 1}), with "
                f"learning rate {hyper['learning_rate']:g}; try a tenth of it"
            )
            weights, now = last.weights, last.progress  # the last finite ones
        elif validated:
            best = validated["loss"] < now.lowest
            if best:
                now = now._replace(best=weights, lowest=validated["loss"], lowest_epoch=epoch)
            outcome = self._ending(epoch, now)
            now = now._replace(totals=np.zeros(engine.TOTALS))
        record = Record(
            epoch=epoch + stop / steps,
            step=step,
            rows_seen=epoch * self.feed.count + self.feed.rows_until(stop),
            train=trained,
            validation=validated,
            rows_per_second=(self.feed.rows_until(stop) - self.feed.rows_until(at)) / elapsed,
            seconds=time.perf_counter() - began,
            gradient_norm=norms / (stop - at),
            rate=hyper["learning_rate"] * float(self._factors_of(epoch, stop - 1, 1)[0]),
            hyperparameters=hyper,
            best=best,
            outcome=outcome,
            network=self.network,
            weights=weights,
            progress=now,
        )
        return record, now

    def _end_of_call(self, window: feed.Window, at: int, orders: Orders) -> int:
        """Where the next call ends: with a synchronisation, not beyond a change that is due, and with no tiny rest."""
        every = self.config.sync_every
        length = -(-orders.length // every) * every
        if orders.due is not None:
            until = orders.due - window.epoch * self.feed.steps
            return min(max(-(-until // every) * every, at + every), at + length, window.stop)
        return at + length if at + 1.5 * length < window.stop else window.stop

    def _factors(self, window: feed.Window) -> np.ndarray:
        """Of the learning rate, as many as the window has room for."""
        made = np.zeros(window.weight.shape[1], np.float32)
        made[: window.stop - window.first] = self._factors_of(window.epoch, window.first, window.stop - window.first)
        return made

    def _factors_of(self, epoch: int, first: int, count: int) -> np.ndarray:
        steps, config = self.feed.steps, self.config
        return schedules.factors(config.schedule, epoch * steps + first, count, config.epochs * steps, config.warmup)


def _bounds(start: int, stop: int, sync_every: int) -> np.ndarray:
    """What a call is told of its steps."""
    return np.array([start, stop, sync_every], np.int32)


def _finite(trained: dict[str, float], validated: dict[str, float] | None, weights: Array) -> bool:
    """Whether a run can go on. A step's loss comes before its update, so the weights are looked at as well."""
    losses = [trained["loss"], validated["loss"] if validated else 0.0]
    return bool(np.isfinite(losses).all() and np.isfinite(np.asarray(weights)).all())


def _place_hyper(hyper: dict[str, float], count: int) -> dict[str, Array]:
    return devices.replicate({name: np.asarray(value, np.float32) for name, value in hyper.items()}, count)

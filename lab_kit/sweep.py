"""Many configurations at once: they differ in traced hyperparameters and in their seeds, and share one program.

Each configuration trains as ``train.fit`` would train it alone on one device, on the same rows in the same order, so it
arrives at the same result. The devices share the configurations out among themselves and exchange nothing.
"""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from lab_kit import devices, engine, feed, metrics, schedules
from lab_kit.arrays import Array, Rows, Signature
from lab_kit.config import TrainConfig, check
from lab_kit.engine import Recipe, State
from lab_kit.feed import Feed
from lab_kit.model import Network
from lab_kit.optimizers import OPTIMIZERS, TRACED, refusal
from lab_kit.schema import LabError
from lab_kit.steering import Steering
from lab_kit.stream import Stream
from lab_kit.sweep_program import program

SECONDS_PER_CALL = 0.1
"""How long one compiled call is meant to take: the rhythm of the records, and what Stop waits for at most."""

Floats = NDArray[np.float64]


class Point(NamedTuple):
    """One configuration of a sweep.

    Attributes:
      values: of the hyperparameters that are swept.
      config: all of it, as ``train.fit`` takes it to arrive at the same result.
    """

    values: dict[str, float]
    config: TrainConfig


@dataclass(frozen=True)
class SweepRecord:
    """What is known of all configurations at one moment, in the order of ``grid``.

    Attributes:
      epoch: epochs completed, with a fraction inside an epoch; 0 for the first record, before any training.
      step: optimizer steps done, the same for all configurations.
      train: metrics over the rows of this epoch so far, float64 ``[configurations]`` each; empty at epoch 0. NaN for a
        configuration whose loss or weights are no longer finite.
      validation: metrics over the validation rows in the same form; None inside an epoch.
      diverged: bool ``[configurations]``, whether it has become NaN; from then on it costs no time.
      rows_per_second: training rows a second in the last call, those of all configurations added up.
      seconds: since the start of the sweep.
      outcome: None while the sweep goes on; on the last record "finished", "stopped" or "diverged" (all of them).
    """

    epoch: float
    step: int
    train: dict[str, Floats]
    validation: dict[str, Floats] | None
    diverged: NDArray[np.bool_]
    rows_per_second: float
    seconds: float
    outcome: str | None


def grid(base: TrainConfig, axes: Mapping[str, Sequence[float]], seeds: Sequence[int]) -> list[Point]:
    """All combinations of the values of one or two hyperparameters, and of the seeds; the seeds change fastest.

    Args:
      base: everything else. Each configuration runs on one device and to its last epoch, so ``devices``, ``sync_every``
        and ``patience`` are set to 1, 1 and None.
      axes: for each hyperparameter (a key of ``optimizers.TRACED``) its values.
      seeds: of initial weights, row order and dropout.

    Raises:
      LabError: a name or a value is not one that can be swept.
    """
    if not 1 <= len(axes) <= 2:
        raise LabError(f"A sweep has one or two axes, not {len(axes)}: choose among {', '.join(TRACED)}.")
    for name, values in {**axes, "seeds": seeds}.items():
        if not len(values) or len(set(values)) < len(values):
            raise LabError(f"{name} = {list(values)}: give one value or more, each of them once.")
    listened = OPTIMIZERS[base.optimizer].hyperparameters if base.optimizer in OPTIMIZERS else ()
    for name, values in axes.items():
        if name in ("learning_rate", "momentum", "weight_decay") and name not in listened:
            raise LabError(f"The optimizer {base.optimizer!r} takes no notice of {name}: sweep another hyperparameter.")
        if name == "dropout" and not base.hidden:
            raise LabError("A linear model has no hidden units to drop out: sweep another hyperparameter.")
        reason = next(filter(None, (refusal(name, value) for value in values)), None)
        if reason:
            raise LabError(f"{reason}.")
    alone = replace(base, devices=1, sync_every=1, patience=None)
    points = []
    for *chosen, seed in itertools.product(*axes.values(), seeds):
        of_point: dict[str, Any] = {name: float(value) for name, value in zip(axes, chosen, strict=True)}
        points.append(Point(of_point, replace(alone, seed=int(seed), **of_point)))
    return points


def sweep(
    train: Rows | Stream,
    validation: Rows | Stream,
    signature: Signature,
    base: TrainConfig,
    axes: Mapping[str, Sequence[float]],
    seeds: Sequence[int],
    *,
    steering: Steering | None = None,
    count: int | None = None,
    width: int | None = None,
) -> Iterator[SweepRecord]:
    """Trains all configurations of ``grid``, and yields a record about ten times a second and at each epoch's end.

    Args:
      train: rows to learn from, in memory or on disk.
      validation: rows to choose by; never the test rows.
      signature: of the encoder that made both.
      base: as of ``grid``, like ``axes`` and ``seeds``. As long as it and their numbers stay, nothing compiles again.
      axes: for each hyperparameter its values.
      seeds: of the runs.
      steering: of which pause and stop are heard.
      count: local devices to share the configurations out to; all of them when None.
      width: how many configurations take a step side by side on a device; None for what is fastest there.

    Returns:
      An iterator of records: the first is of the state before any training, the last one has an ``outcome``.

    Raises:
      LabError: at once, before the first record: a configuration cannot run, or there are no rows.
    """
    points = grid(base, axes, seeds)
    for point in points:
        check(point.config, train.count, signature.task)
    if validation.count < 1:
        raise LabError("There are no validation rows: look at the split of the dataset's card.")
    if devices.processes() > 1:
        raise LabError("A sweep runs in one process: start it in one, with all devices of its machine.")
    count = len(devices.chosen(count or jax.local_device_count()))
    fitting = 1 if devices.on_host() else -(-len(points) // count)
    return _Sweep(train, validation, signature, points, count, width or fitting).records(steering or Steering())


class _Now(NamedTuple):
    """The states on the devices, which configurations are finite, and what was added up in this epoch."""

    state: State
    alive: NDArray[np.bool_]
    totals: Floats


class _Sweep:
    """What stays the same while a sweep runs.

    The configurations are dealt out to the devices one by one. Where they do not come out even, the last one fills the
    places that are left, and takes no steps there.
    """

    def __init__(
        self,
        train: Rows | Stream,
        validation: Rows | Stream,
        signature: Signature,
        points: list[Point],
        count: int,
        width: int,
    ) -> None:
        self.points, self.count, self.task = points, count, signature.task
        self.config = config = points[0].config
        network = Network(signature, config.hidden, config.activation, config.normalization)
        self.recipe = Recipe(network, config.optimizer, config.loss)
        weights = feed.class_weights(train, max(2, signature.outputs)) if config.class_weight == "balanced" else None
        batch_size = train.count if OPTIMIZERS[config.optimizer].full_batch else config.batch_size
        self.seeds = list(dict.fromkeys(point.config.seed for point in points))
        self.feeds = [Feed(train, batch_size, 1, config.readers, seed, weights) for seed in self.seeds]
        self.steps, self.validation = self.feeds[0].steps, validation
        self.program = program(self.recipe, count, width)
        each = -(-len(points) // (count * width)) * width
        self.places = np.arange(each * count).reshape(each, count).T
        self._measured: list[Any] = []

    def deal(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """One value a configuration, ``[configurations, ...]``, to ``[devices, n, ...]``."""
        return np.asarray(values)[np.minimum(self.places, len(self.points) - 1)]

    def join(self, dealt: Array) -> np.ndarray:
        """The way back."""
        found = np.asarray(dealt)
        joined = np.empty((self.places.size, *found.shape[2:]), found.dtype)
        joined[self.places] = found
        return joined[: len(self.points)]

    def beginning(self) -> State:
        """The states before the first step, in place on the devices."""
        config, made = self.config, {}
        for seed in self.seeds:
            made[seed] = jax.tree.map(np.array, engine.initial_state(self.recipe, config.hyperparameters, 1, seed))
        of_points = [made[point.config.seed] for point in self.points]
        return devices.shard(jax.tree.map(lambda *leaves: self.deal(np.stack(leaves)), *of_points), self.count)

    def windows(self) -> Iterator[tuple[feed.Window, Any]]:
        """A window of the first seed, and the rows and weights of all seeds, ``[seeds, steps, ...]``, in place."""
        last = self.config.epochs * self.steps
        for windows in zip(*(rows.windows(0, last) for rows in self.feeds), strict=True):
            parts = [(*window.rows, window.weight) for window in windows]
            joined = [np.concatenate([np.asarray(part) for part in column]) for column in zip(*parts, strict=True)]
            yield windows[0], devices.replicate(joined, self.count)

    def validate(self, state: State) -> list[dict[str, float]]:
        """Metrics of the validation rows; those in memory are placed once."""
        measured: Any = self._measured
        if not measured:
            cut = feed.pieces(self.validation, 1, engine.BLOCK)
            measured = (devices.replicate(jax.tree.map(lambda c: c[0], piece), self.count) for piece in cut)
        if not isinstance(self.validation, Stream):
            measured = self._measured = list(measured)
        total = sum(self.join(self.program.measure(state.weights, *piece)).astype(np.float64) for piece in measured)
        return [metrics.ratios(self.task, of_one) for of_one in np.asarray(total)]

    def records(self, steering: Steering) -> Iterator[SweepRecord]:
        """The loop: a compiled call, and what it did."""
        began, size = time.perf_counter(), len(self.points)
        hyper = {name: [point.config.hyperparameters[name] for point in self.points] for name in TRACED}
        given = {name: self.deal(np.array(values, np.float32)) for name, values in hyper.items()}
        tables = self.deal(np.array([self.seeds.index(point.config.seed) for point in self.points], np.int32))
        fixed = devices.shard((given, tables), self.count)
        now = _Now(self.beginning(), np.ones(size, np.bool_), np.zeros((size, engine.TOTALS)))
        measured = _columns(self.validate(now.state), now.alive)
        record = SweepRecord(0.0, 0, {}, measured, ~now.alive, 0.0, time.perf_counter() - began, None)
        yield record
        length = 1
        for window, rows in self.windows():
            factors = devices.replicate(self._factors(window), self.count)
            at = window.first
            while at < window.stop:
                steering.take(record.step)
                if steering.stopped:
                    yield replace(record, outcome="stopped")
                    return
                end = at + length if at + 1.5 * length < window.stop else window.stop
                start, stop = at - window.first, end - window.first
                called, learning = time.perf_counter(), int(now.alive.sum())
                now = self.call(now, fixed, rows, factors, np.int32(start), np.int32(stop))
                elapsed = time.perf_counter() - called
                length = max(1, min(2 * length, int((end - at) * SECONDS_PER_CALL / elapsed)))
                seen = (self.feeds[0].rows_until(end) - self.feeds[0].rows_until(at)) * learning
                record, now = self.record(now, window.epoch, end, seen / elapsed, began)
                yield record
                if record.outcome:
                    return
                at = end

    def call(self, now: "_Now", fixed: Any, rows: Any, factors: Array, start: np.int32, stop: np.int32) -> "_Now":
        """Some steps of all configurations; none where there is nothing to learn any more."""
        until = np.where((self.places < len(self.points)) & self.deal(now.alive), stop, start)
        state, sums, finite = self.program.run(now.state, *fixed, until, Rows(*rows[:-1]), rows[-1], factors, start)
        totals = now.totals + np.where(now.alive[:, None], self.join(sums), 0)  # waits for the devices
        return _Now(state, now.alive & self.join(finite), totals)

    def record(self, now: "_Now", epoch: int, end: int, speed: float, began: float) -> tuple[SweepRecord, "_Now"]:
        """What is known after a call; at the end of an epoch the totals begin again."""
        trained = [metrics.ratios(self.task, of_one[: metrics.SUMS]) for of_one in now.totals]
        validated = self.validate(now.state) if end == self.steps else None
        alive, totals = now.alive & _finite(trained), now.totals
        if validated:
            alive, totals = alive & _finite(validated), np.zeros_like(totals)
        finished = epoch + 1 == self.config.epochs and end == self.steps
        record = SweepRecord(
            epoch=epoch + end / self.steps,
            step=epoch * self.steps + end,
            train=_columns(trained, alive),
            validation=_columns(validated, alive) if validated else None,
            diverged=~alive,
            rows_per_second=speed,
            seconds=time.perf_counter() - began,
            outcome=("finished" if finished else None) if alive.any() else "diverged",
        )
        return record, _Now(now.state, alive, totals)

    def _factors(self, window: feed.Window) -> np.ndarray:
        """Of the learning rate, as many as the window has room for."""
        made = np.zeros(window.weight.shape[1], np.float32)
        steps, total = window.stop - window.first, self.config.epochs * self.steps
        first = window.epoch * self.steps + window.first
        made[:steps] = schedules.factors(self.config.schedule, first, steps, total, self.config.warmup)
        return made


def _finite(found: list[dict[str, float]]) -> NDArray[np.bool_]:
    return np.isfinite([of_one["loss"] for of_one in found])


def _columns(found: list[dict[str, float]], alive: NDArray[np.bool_]) -> dict[str, Floats]:
    """Each metric as an array; NaN for what has diverged."""
    return {name: np.where(alive, [of_one[name] for of_one in found], np.nan) for name in found[0]}

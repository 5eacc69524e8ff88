"""Training: a thin loop that yields records, so that charts, progress bars and stopping are plain loops.

    for record in fit(train, validation, signature, TrainConfig(learning_rate=3e-3)):
        print(record.epoch, record.validation)

One compiled call (``engine``) runs many steps on all devices; between two calls the loop reads the steering. How long
a call is changes nothing in the result. The order of rows comes from (seed, epoch), dropout from (seed, step).
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from lab_kit import devices, engine, metrics
from lab_kit.arrays import Array, Rows, Signature
from lab_kit.config import TrainConfig, check
from lab_kit.model import Network
from lab_kit.optimizers import OPTIMIZERS
from lab_kit.schema import LabError
from lab_kit.steering import Steering

SECONDS_PER_CALL = 0.1
"""How long one compiled call is meant to take: the rhythm of the records, and what steering waits for at most."""


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
      hyperparameters: the traced values in force.
      best: whether this validation loss is the lowest so far.
      outcome: None while the run goes on; on the last record how it ended, beginning with "finished", "stopped",
        "stopped early" or "diverged".
      network: the architecture.
      weights: float32 ``[P]``, on the devices; after a divergence the last ones that were finite.
    """

    epoch: float
    step: int
    rows_seen: int
    train: dict[str, float]
    validation: dict[str, float] | None
    rows_per_second: float
    seconds: float
    hyperparameters: dict[str, float]
    best: bool
    outcome: str | None
    network: Network
    weights: Array


def fit(
    train: Rows,
    validation: Rows,
    signature: Signature,
    config: TrainConfig,
    *,
    steering: Steering | None = None,
) -> Iterator[Record]:
    """Trains, and yields a record about ten times a second and at the end of each epoch.

    Args:
      train: rows to learn from; ``place`` them first where several runs share them.
      validation: rows that name the best epoch and stop early; never the test rows.
      signature: of the encoder that made both.
      config: the run.
      steering: a hand on the running run.

    Yields:
      Records: the first before any training, the last one with an ``outcome``.

    Raises:
      LabError: the configuration cannot run, or there are no rows.
    """
    check(config, train.count)
    if validation.count < 1:
        raise LabError("There are no validation rows: look at the split of the dataset's card.")
    steering = steering or Steering()
    task, count = signature.task, config.devices
    batch_size = train.count if OPTIMIZERS[config.optimizer].full_batch else config.batch_size
    steps = -(-train.count // batch_size)
    hyper = config.hyperparameters
    network = Network(signature, config.hidden, config.activation)
    program = engine.program(network, config.optimizer, count, config.seed)
    state = engine.initial_state(network, config.optimizer, hyper, count, config.seed)
    placed, placed_hyper = place(train, count), _place_hyper(hyper, count)
    measured = devices.shard(engine.blocks(validation, count), count)

    def order(epoch: int) -> Array:
        return devices.shard(engine.epoch_order(train.count, batch_size, count, config.seed, epoch), count)

    def validate(weights: Array) -> dict[str, float]:
        return metrics.ratios(task, np.asarray(program.measure(weights, *measured)))

    began = time.perf_counter()
    record = Record(0.0, 0, 0, {}, validate(state.weights), 0.0, 0.0, hyper, False, None, network, state.weights)
    yield record
    lowest, lowest_epoch = float("inf"), 0
    length = 1
    upcoming = order(0)
    for epoch in range(config.epochs):
        picked, total, start = upcoming, np.zeros(metrics.SUMS[task]), 0
        while start < steps:
            changes = steering.take(record.step)
            if steering.stopped:
                yield replace(record, best=False, outcome="stopped")
                return
            if changes:
                hyper = hyper | changes
                placed_hyper = _place_hyper(hyper, count)
            stop = start + length if start + 1.5 * length < steps else steps  # no tiny call at the end of an epoch
            called = time.perf_counter()
            after, sums = program.run(state, placed_hyper, placed, picked, np.int32(start), np.int32(stop))
            if stop == steps and epoch + 1 < config.epochs:
                upcoming = order(epoch + 1)  # the host sorts out the next epoch while the devices work
            total += np.asarray(sums)  # waits for the devices
            elapsed = time.perf_counter() - called
            # At most twice as long as the last call: the first ones compile, and say nothing about the speed.
            length = max(1, min(2 * length, int((stop - start) * SECONDS_PER_CALL / elapsed)))

            at_end = stop == steps
            seen = min(stop * batch_size, train.count)
            trained = metrics.ratios(task, total)
            validated = validate(after.weights) if at_end else None
            step = epoch * steps + stop
            outcome, best = None, False
            if not _finite(trained, validated, after.weights):
                outcome = (
                    f"diverged: the loss is no longer a finite number at step {step} (epoch {epoch + 1}), with "
                    f"learning rate {hyper['learning_rate']:g}; try a tenth of it"
                )
                after = state  # the last finite weights
            elif validated:
                best = validated["loss"] < lowest
                if best:
                    lowest, lowest_epoch = validated["loss"], epoch
                if epoch + 1 == config.epochs:
                    outcome = "finished"
                elif config.patience is not None and epoch - lowest_epoch >= config.patience:
                    outcome = f"stopped early: no better validation loss for {config.patience} epochs"
            state = after
            record = Record(
                epoch=epoch + stop / steps,
                step=step,
                rows_seen=epoch * train.count + seen,
                train=trained,
                validation=validated,
                rows_per_second=(seen - start * batch_size) / elapsed,
                seconds=time.perf_counter() - began,
                hyperparameters=hyper,
                best=best,
                outcome=outcome,
                network=network,
                weights=state.weights,
            )
            yield record
            if outcome:
                return
            start = stop


def place(rows: Rows, count: int) -> Rows:
    """Rows copied once to each of ``count`` devices, for several runs to share; rows in place stay where they are."""
    return devices.replicate(rows, count)


def _finite(trained: dict[str, float], validated: dict[str, float] | None, weights: Array) -> bool:
    """Whether a run can go on. A step's loss comes before its update, so the weights are looked at as well."""
    losses = [trained["loss"], validated["loss"] if validated else 0.0]
    return bool(np.isfinite(losses).all() and np.isfinite(np.asarray(weights)).all())


def _place_hyper(hyper: dict[str, float], count: int) -> dict[str, Array]:
    return devices.replicate({name: np.asarray(value, np.float32) for name, value in hyper.items()}, count)

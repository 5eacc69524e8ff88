"""Everything that determines a run besides its data."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lab_kit.knobs import (
    ACTIVATIONS,
    CLASS_WEIGHTS,
    LOSSES,
    NORMALIZATIONS,
    OPTIMIZERS,
    SCHEDULES,
    TRACED,
    Activation,
    ClassWeight,
    Loss,
    Normalization,
    refusal,
)
from lab_kit.schema import LabError

if TYPE_CHECKING:  # a wrong value is refused, and the command's help shown, before JAX is imported
    from lab_kit.arrays import Task


@dataclass(frozen=True)
class TrainConfig:
    """The configuration of a run; ``dataclasses.replace`` makes another.

    Attributes:
      hidden: width of each hidden layer; empty for a linear model.
      activation: ``sigmoid``, ``relu`` or ``tanh``.
      normalization: of the hidden layers: ``none``, ``layer`` or ``batch``.
      loss: one of ``knobs.LOSSES`` of the task; None for the first of them.
      class_weight: ``balanced`` weighs the loss of a row by n / (classes x rows of its class), so that rare classes
        count as much as common ones; the metrics of a record stay unweighted.
      optimizer: one of ``knobs.OPTIMIZERS``, the keys of ``optimizers.OPTIMIZERS``.
      schedule: one of ``knobs.SCHEDULES``; its factor multiplies the learning rate.
      warmup: the part of the run in which the rate rises, where the schedule has such a part; in [0, 1).
      batch_size: rows a step, over all devices together; "gradient descent" takes all rows instead.
      epochs: passes over the training rows.
      devices: local devices to run on, in each process.
      sync_every: steps from one averaging of the weights to the next. 1 averages the gradients of each step, so that
        the devices act as one; more is local SGD, which saves all-reduces and is another algorithm.
      readers: into how many parts the rows are dealt, each read and shuffled on its own; a batch takes equally many
        rows of each. Several processes need one each; the result depends on it as it does on the seed.
      seed: of initial weights, row order and dropout.
      patience: stop when the validation loss has not improved for so many epochs; None to go on to the end.
      learning_rate: of the optimizer, above 0. This and all that follow are traced: see ``knobs.TRACED``.
      momentum: in [0, 1); for Adam its first decay rate.
      weight_decay: decoupled, on kernels only; 0 or more.
      dropout: probability that a hidden unit is dropped, in [0, 1).
      clip_norm: the greatest length of a gradient; 0 for no clipping.
      label_smoothing: how much of a label is spread over all classes, in [0, 1); the metrics of a record take no
        notice of it.
    """

    hidden: tuple[int, ...] = (128, 64)
    activation: Activation = "relu"
    normalization: Normalization = "none"
    loss: Loss | None = None
    class_weight: ClassWeight = "none"
    optimizer: str = "adamw"
    schedule: str = "constant"
    warmup: float = 0.1
    batch_size: int = 1024
    epochs: int = 10
    devices: int = 1
    sync_every: int = 1
    readers: int = 1
    seed: int = 0
    patience: int | None = None
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 1e-4
    dropout: float = 0.1
    clip_norm: float = 0.0
    label_smoothing: float = 0.0

    @property
    def hyperparameters(self) -> dict[str, float]:
        """The traced values by name."""
        return {name: float(getattr(self, name)) for name in TRACED}


def suggest(rows: int) -> TrainConfig:
    """A configuration to begin with: smaller tables get smaller batches and networks, and more epochs.

    Args:
      rows: number of training rows.
    """
    batch = 2 ** int(min(max(math.log2(max(rows, 1) / 32), 3), 10))
    if rows < 20_000:
        return TrainConfig((64, 32), batch_size=min(batch, max(rows, 1)), epochs=60, patience=10, weight_decay=1e-2)
    return TrainConfig(batch_size=batch, patience=4)


def check_values(config: TrainConfig, task: "Task") -> None:
    """Refuses values that no table and no machine could be trained with; ``check`` looks at those as well.

    Args:
      config: to check.
      task: of the dataset.

    Raises:
      LabError: says which value, why, and what to choose.
    """
    _refuse(
        _one_of("activation", config.activation, ACTIVATIONS),
        _one_of("normalization", config.normalization, NORMALIZATIONS),
        config.loss is None or _one_of("loss", config.loss, LOSSES[task], f" for a {task} task"),
        _one_of("class_weight", config.class_weight, CLASS_WEIGHTS),
        config.class_weight == "none"
        or task != "regression"
        or f"class_weight = {config.class_weight!r}: a regression has no classes; choose 'none'",
        _one_of("optimizer", config.optimizer, OPTIMIZERS),
        _one_of("schedule", config.schedule, SCHEDULES),
        0 <= config.warmup < 1 or f"warmup = {config.warmup:g}: choose a part of the run, from 0 to below 1",
        all(width >= 1 for width in config.hidden) or f"hidden = {config.hidden}: a layer needs a width of 1 or more",
        config.epochs >= 1 or f"epochs = {config.epochs}: a run needs 1 epoch or more",
        config.batch_size >= 1 or f"batch_size = {config.batch_size}: a batch needs 1 row or more",
        config.seed >= 0 or f"seed = {config.seed}: choose a whole number of 0 or more",
        config.patience is None or config.patience >= 1 or f"patience = {config.patience}: choose 1 or more, or None",
        config.sync_every >= 1 or f"sync_every = {config.sync_every}: choose 1 or more steps",
        *(refusal(name, value) or True for name, value in config.hyperparameters.items()),
    )


def check(config: TrainConfig, rows: int, task: "Task") -> None:
    """Refuses a configuration that cannot run.

    Args:
      config: to check.
      rows: number of training rows.
      task: of the dataset.

    Raises:
      LabError: says which value, why, and what to choose.
    """
    from lab_kit import devices, optimizers

    _refuse(
        rows >= 1 or "there are no training rows: look at the split of the dataset's card and at its cleaning steps"
    )
    check_values(config, task)
    full_batch = optimizers.OPTIMIZERS[config.optimizer].full_batch
    _refuse(
        config.batch_size <= rows
        or full_batch
        or f"batch_size = {config.batch_size}, but there are {rows} training rows: choose {rows} or less",
        1 <= config.readers <= rows or f"readers = {config.readers}: choose 1 to {rows}, the number of training rows",
        config.readers <= 1
        or (rows if full_batch else config.batch_size) % config.readers == 0
        or f"batch_size = {rows if full_batch else config.batch_size} cannot be dealt out evenly to {config.readers} "
        "readers: choose a multiple of it",
        config.readers % devices.processes() == 0
        or f"readers = {config.readers}, but the run has {devices.processes()} processes: choose one reader for "
        "each, or a multiple",
    )
    devices.chosen(config.devices)


def _refuse(*reasons: str | Literal[True]) -> None:
    for reason in reasons:
        if reason is not True:
            raise LabError(f"{reason}.")


def _one_of(name: str, value: str, choices: Iterable[str], where: str = "") -> str | Literal[True]:
    return value in choices or f"{name} = {value!r}: choose one of {', '.join(choices)}{where}"

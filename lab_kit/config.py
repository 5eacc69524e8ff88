"""Everything that determines a run besides its data."""

from dataclasses import dataclass

import numpy as np

from lab_kit import devices
from lab_kit.model import ACTIVATIONS, Activation
from lab_kit.optimizers import OPTIMIZERS, TRACED, refusal
from lab_kit.schema import LabError


@dataclass(frozen=True)
class TrainConfig:
    """The configuration of a run; ``dataclasses.replace`` makes another.

    Attributes:
      hidden: width of each hidden layer; empty for a linear model.
      activation: ``sigmoid``, ``relu`` or ``tanh``.
      optimizer: a key of ``optimizers.OPTIMIZERS``.
      batch_size: rows a step, over all devices together; "gradient descent" takes all rows instead.
      epochs: passes over the training rows.
      devices: local devices to run on.
      seed: of initial weights, row order and dropout.
      patience: stop when the validation loss has not improved for so many epochs; None to go on to the end.
      learning_rate: of the optimizer, above 0. This and the next three are traced: see ``optimizers.TRACED``.
      momentum: in [0, 1); for Adam its first decay rate.
      weight_decay: decoupled, on kernels only; 0 or more.
      dropout: probability that a hidden unit is dropped, in [0, 1).
    """

    hidden: tuple[int, ...] = (128, 64)
    activation: Activation = "relu"
    optimizer: str = "adam"
    batch_size: int = 1024
    epochs: int = 10
    devices: int = 1
    seed: int = 0
    patience: int | None = None
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 1e-4
    dropout: float = 0.1

    @property
    def hyperparameters(self) -> dict[str, float]:
        """The traced values by name."""
        return {name: float(getattr(self, name)) for name in TRACED}


def suggest(rows: int) -> TrainConfig:
    """A configuration to begin with: smaller tables get smaller batches and networks, and more epochs.

    Args:
      rows: number of training rows.
    """
    batch = 2 ** int(np.clip(np.log2(max(rows, 1) / 32), 3, 10))
    if rows < 20_000:
        return TrainConfig((64, 32), batch_size=min(batch, max(rows, 1)), epochs=60, patience=10, weight_decay=1e-2)
    return TrainConfig(batch_size=batch, patience=4)


def check(config: TrainConfig, rows: int) -> None:
    """Refuses a configuration that cannot run.

    Args:
      config: to check.
      rows: number of training rows.

    Raises:
      LabError: says which value, why, and what to choose.
    """
    reasons = [
        rows >= 1 or "there are no training rows: look at the split of the dataset's card and at its cleaning steps",
        config.activation in ACTIVATIONS
        or f"activation = {config.activation!r}: choose one of {', '.join(ACTIVATIONS)}",
        config.optimizer in OPTIMIZERS or f"optimizer = {config.optimizer!r}: choose one of {', '.join(OPTIMIZERS)}",
        all(width >= 1 for width in config.hidden) or f"hidden = {config.hidden}: a layer needs a width of 1 or more",
        config.epochs >= 1 or f"epochs = {config.epochs}: a run needs 1 epoch or more",
        config.batch_size >= 1 or f"batch_size = {config.batch_size}: a batch needs 1 row or more",
        config.batch_size <= rows
        or (config.optimizer in OPTIMIZERS and OPTIMIZERS[config.optimizer].full_batch)
        or f"batch_size = {config.batch_size}, but there are {rows} training rows: choose {rows} or less",
        config.patience is None or config.patience >= 1 or f"patience = {config.patience}: choose 1 or more, or None",
        *(refusal(name, value) or True for name, value in config.hyperparameters.items()),
    ]
    for reason in reasons:
        if reason is not True:
            raise LabError(f"{reason}.")
    devices.chosen(config.devices)

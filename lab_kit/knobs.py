"""The names that a configuration may hold and the numbers it may not: what can be said before JAX is imported.

The tables themselves, with what computes, are in ``model``, ``metrics``, ``optimizers`` and ``schedules``; a test holds
the names to be theirs.
"""

import ctypes
import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # this module takes no time to import
    from lab_kit.arrays import Task

Activation = Literal["sigmoid", "relu", "tanh"]
Normalization = Literal["none", "layer", "batch"]
Loss = Literal["cross-entropy", "squared error", "huber"]
ClassWeight = Literal["none", "balanced"]

LOSSES: "dict[Task, tuple[Loss, ...]]" = {
    "binary": ("cross-entropy",),
    "multiclass": ("cross-entropy",),
    "regression": ("squared error", "huber"),
}
"""The losses of each task, its own first."""

ACTIVATIONS: tuple[Activation, ...] = ("sigmoid", "relu", "tanh")
NORMALIZATIONS: tuple[Normalization, ...] = ("none", "layer", "batch")
CLASS_WEIGHTS: tuple[ClassWeight, ...] = ("none", "balanced")
OPTIMIZERS = (
    *("gradient descent", "sgd", "momentum", "adagrad", "nesterov"),
    *("rmsprop", "adam", "adamw", "lion"),
)
SCHEDULES = ("constant", "warm-up", "cosine", "one-cycle")

TRACED: dict[str, str] = {
    "learning_rate": "choose a finite number above 0",
    "momentum": "choose a number from 0 to below 1",
    "weight_decay": "choose a finite number of 0 or more",
    "dropout": "choose a number from 0 to below 1",
    "clip_norm": "choose a finite number above 0, or 0 for no clipping",
    "label_smoothing": "choose a number from 0 to below 1",
}
"""The hyperparameters that may change while a run runs, without compiling anything, and what each may be."""


def refusal(name: str, value: float) -> str | None:
    """Why a traced hyperparameter cannot have this value, as a sentence without its full stop; None if it can."""
    if name not in TRACED:
        return f"{name} cannot change while a run runs; only {', '.join(TRACED)} can"
    single = ctypes.c_float(float(value)).value  # what the devices compute with: 1e39 is infinite, 0.99999999 is 1
    if name == "learning_rate":
        fits = 0 < single < math.inf
    else:
        fits = 0 <= single < (math.inf if name in ("weight_decay", "clip_norm") else 1)
    return None if fits else f"{name} = {value:g}: {TRACED[name]}"

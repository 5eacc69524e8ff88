"""The controls of a configuration, in groups that fit the task, the table's size and the machine."""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import ipywidgets

from lab_kit.arrays import Task
from lab_kit.config import TrainConfig
from lab_kit.fields import Fold, Number, whole
from lab_kit.front import column, heading
from lab_kit.metrics import LOSSES
from lab_kit.model import ACTIVATIONS, NORMALIZATIONS
from lab_kit.optimizers import OPTIMIZERS, TRACED, refusal
from lab_kit.schedules import SCHEDULES
from lab_kit.schema import LabError

DECAYS = (0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1)
RATES = tuple(float(f"{10 ** (power / 20):.2g}") for power in range(-100, 41))
CLIPS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
WARMED = ("warm-up", "one-cycle")
"""The schedules with a part in which the rate rises."""
GROUPS = {
    "Network": ("layers", "width", "halving", "activation", "dropout"),
    "Optimizer": ("optimizer", "learning_rate", "momentum", "weight_decay"),
    "Run": ("batch_size", "epochs", "devices"),
}
ADVANCED = (
    "schedule", "warmup", "clip_norm", "normalization", "loss", "class_weight", "label_smoothing", "patience",
    "sync_every", "seed",
)  # fmt: skip
NAMES = {
    "none": "None", "layer": "Layer", "batch": "Batch", "balanced": "Balanced", "relu": "ReLU", "tanh": "tanh",
    "sigmoid": "sigmoid", "squared error": "Squared error", "huber": "Huber",
}  # fmt: skip


class Settings:
    """The controls of a configuration.

    Attributes:
      controls: for each part of a configuration its control, with ``value`` and ``disabled``; those that mean nothing
        for this task or this machine are missing.
      advanced: the fold of the controls that are needed less often.
    """

    def __init__(self, config: TrainConfig, rows: int, device_count: int, task: Task) -> None:
        """Controls that show a configuration and fit the table.

        Args:
          config: shown first; what has no control stays as it is here.
          rows: number of training rows; no batch is larger.
          device_count: number of devices to choose from.
          task: of the dataset.

        Raises:
          LabError: the hidden layers have a shape that layers, width and halving cannot describe.
        """
        self._start, self._task = config, task
        known = {"loss": config.loss or LOSSES[task][0], "patience": config.patience or 0, **_shape(config.hidden)}
        first = asdict(config) | known
        powers = [2**power for power in range(3, 15)]
        self.controls: dict[str, Any] = {
            "layers": _count("Layers", first["layers"], range(0, 7), 0, 32),
            "width": _count("Width", first["width"], [2**power for power in range(2, 10)], 1, 8192),
            "halving": ipywidgets.Checkbox(first["halving"], description="each layer half as wide", indent=False),
            "activation": _choice("Activation", sorted(ACTIVATIONS), config.activation),
            "dropout": _traced("dropout", first["dropout"], [n / 20 for n in range(19)]),
            "optimizer": ipywidgets.Dropdown(
                options=[(optimizer.title, name) for name, optimizer in OPTIMIZERS.items()],
                value=config.optimizer,
                description="Optimizer",
                tooltip="Optimizer",
            ),
            "learning_rate": _traced("learning_rate", first["learning_rate"], RATES, "Learning rate"),
            "momentum": _traced("momentum", first["momentum"], [n / 100 for n in range(100)]),
            "weight_decay": _traced("weight_decay", first["weight_decay"], DECAYS, "Weight decay"),
            "batch_size": _count("Batch size", config.batch_size, [n for n in powers if n <= rows] or [1], 1, rows),
            "epochs": _count("Epochs", config.epochs, range(1, 101), 1, 10_000_000),
            "devices": _count("Devices", config.devices, range(1, device_count + 1), 1, device_count),
            "schedule": ipywidgets.Dropdown(
                options=[(schedule.title, name) for name, schedule in SCHEDULES.items()],
                value=config.schedule,
                description="Schedule",
                tooltip="How the learning rate goes through the run",
            ),
            "warmup": Number("Warm-up", config.warmup, [n / 20 for n in range(19)], _warmup, text="{:.0%}".format,
                             parse=_percent),
            "clip_norm": _traced("clip_norm", first["clip_norm"], CLIPS, "Clip gradient", _or_off),
            "normalization": _choice("Normalise", NORMALIZATIONS, config.normalization),
            "loss": _choice("Loss", LOSSES[task], first["loss"]),
            "class_weight": _choice("Class weights", ("none", "balanced"), config.class_weight),
            "label_smoothing": _traced("label_smoothing", first["label_smoothing"], [n / 50 for n in range(26)],
                                       "Smooth labels"),
            "patience": Number("Patience", first["patience"], range(0, 51), partial(_within, 0, 10_000, "epochs"),
                               lambda text: 0 if text.strip() == "off" else whole(text), _or_off),
            "sync_every": _count("Sync every", config.sync_every, [1, 2, 4, 8, 16, 32, 64, 128, 256], 1, 1_000_000),
            "seed": _count("Seed", config.seed, range(0, 21), 0, 2**31 - 1),
        }  # fmt: skip
        missing = {"class_weight", "label_smoothing"} if task == "regression" else set()
        missing |= {"loss"} if len(LOSSES[task]) < 2 else set()
        missing |= {"devices", "sync_every"} if device_count < 2 else set()
        self.controls = {name: control for name, control in self.controls.items() if name not in missing}
        self._held = {name: getattr(config, name) for name in missing}
        self.advanced = Fold("Advanced", *map(self._widget, filter(self.controls.__contains__, ADVANCED)))
        for name in ("optimizer", "layers", "schedule"):
            self.controls[name].observe(self._enable, "value")
        self._enable()

    @property
    def config(self) -> TrainConfig:
        """What the controls say."""
        values = {name: control.value for name, control in self.controls.items()}
        hidden = _hidden(values.pop("layers"), values.pop("width"), values.pop("halving"))
        values["patience"] = values["patience"] or None
        if values.get("loss") == LOSSES[self._task][0]:
            values["loss"] = self._start.loss  # None and the first of them are the same
        return replace(self._start, hidden=hidden, **values)

    def show(self, config: TrainConfig) -> None:
        """Puts a configuration into the controls.

        Raises:
          LabError: it cannot be shown, on this table or on this machine; then nothing has changed.
        """
        shape, before = _shape(config.hidden), self.config
        values = asdict(config) | shape | {"patience": config.patience or 0}
        values["loss"] = config.loss or LOSSES[self._task][0]
        try:
            for name, control in self.controls.items():
                if control.value != values[name]:
                    control.value = values[name]
        except LabError:
            self.show(before)
            raise

    def reset(self) -> None:
        """Shows what was shown first."""
        self.show(self._start)

    def groups(self) -> list[ipywidgets.Widget]:
        """The controls in columns with titles, the advanced ones in a fold."""
        shown = [
            column("group", heading(title), *map(self._widget, filter(self.controls.__contains__, names)))
            for title, names in GROUPS.items()
        ]
        return [*shown, self.advanced.widget]

    def observe(self, act: Callable[[str, Any], None]) -> None:
        """Calls ``act(name, value)`` after each change."""
        for name, control in self.controls.items():
            control.observe(lambda change, name=name: act(name, change["new"]), "value")

    def _widget(self, name: str) -> ipywidgets.Widget:
        control = self.controls[name]
        return control.widget if isinstance(control, Number) else control

    def _enable(self, _: Any = None) -> None:
        """Greys out what the chosen optimizer, schedule or network does not listen to."""
        optimizer, layers = OPTIMIZERS[self.controls["optimizer"].value], self.controls["layers"].value
        for name in ("learning_rate", "momentum", "weight_decay"):
            self.controls[name].disabled = name not in optimizer.hyperparameters
        self.controls["batch_size"].disabled = optimizer.full_batch
        for name in ("width", "activation", "dropout", "normalization"):
            self.controls[name].disabled = layers == 0
        self.controls["halving"].disabled = layers < 2
        self.controls["warmup"].disabled = self.controls["schedule"].value not in WARMED


def _count(label: str, value: int, stops: Any, lowest: int, highest: int) -> Number:
    return Number(label, value, stops, partial(_within, lowest, highest, ""), whole, "{:,}".format)


def _traced(
    name: str, value: float, stops: Any, label: str = "", text: Callable[[Any], str] = "{:.4g}".format
) -> Number:
    """A value that acts while it is dragged; the engine says what it may be."""
    return Number(label or name.capitalize(), value, stops, partial(_reason, name), _number_or_off, text, at_once=True)


def _choice(label: str, values: Any, value: str) -> ipywidgets.Dropdown:
    return ipywidgets.Dropdown(
        options=[(NAMES.get(name, name.capitalize()), name) for name in values], value=value, description=label
    )


def _reason(name: str, value: float) -> str | None:
    """The engine's reason, without the name of the variable in front of it."""
    return TRACED[name] if refusal(name, value) else None


def _within(lowest: int, highest: int, unit: str, value: float) -> str | None:
    if lowest <= value <= highest and value == int(value):
        return None
    return f"choose a whole number from {lowest:,} to {highest:,}{' ' if unit else ''}{unit}"


def _warmup(value: float) -> str | None:
    return None if 0 <= value < 1 else "choose a part of the run, from 0% to below 100%"


def _percent(text: str) -> float:
    return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)


def _number_or_off(text: str) -> float:
    return 0.0 if text.strip() == "off" else float(text)


def _or_off(value: float) -> str:
    return f"{value:g}" if value else "off"


def _hidden(layers: int, width: int, halving: bool) -> tuple[int, ...]:
    return tuple(max(1, width >> layer) if halving else width for layer in range(layers))


def _shape(hidden: tuple[int, ...]) -> dict[str, Any]:
    layers, width = len(hidden), hidden[0] if hidden else 128
    halving = layers > 1 and hidden[1] < width
    if tuple(hidden) != _hidden(layers, width, halving):
        raise LabError(
            f"The panel cannot show the hidden layers {tuple(hidden)}: give all of them one width, or halve it "
            "from each layer to the next, as in (128, 64)."
        )
    return {"layers": layers, "width": width, "halving": halving}

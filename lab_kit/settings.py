"""The controls of a configuration: sliders and menus that follow what the optimizer uses."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ipywidgets

from lab_kit.config import TrainConfig
from lab_kit.model import ACTIVATIONS
from lab_kit.optimizers import OPTIMIZERS, TRACED
from lab_kit.schema import LabError

DECAYS = (0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1)


def box(kind: str, *children: ipywidgets.Widget) -> ipywidgets.Box:
    """Widgets side by side, or as ``static/panel.css`` places a ``lab-KIND``."""
    box = ipywidgets.Box(children, layout=ipywidgets.Layout(display=None))
    return box.add_class(f"lab-{kind}")


def column(kind: str, *children: ipywidgets.Widget) -> ipywidgets.VBox:
    """Widgets one below the other."""
    return ipywidgets.VBox(children).add_class(f"lab-{kind}")


def _choices(values: set[Any], text: Callable[[Any], str]) -> list[tuple[str, Any]]:
    return [(text(value), value) for value in sorted(values)]


class Settings:
    """The controls of a configuration.

    Attributes:
      controls: for each part of a configuration its widget; their values are read by ``config``.
    """

    def __init__(self, config: TrainConfig, rows: int, device_count: int) -> None:
        """Controls that show a configuration and fit the table.

        Args:
          config: shown first; what has no control (seed, patience) stays as it is here.
          rows: number of training rows; no batch is larger.
          device_count: number of devices to choose from.

        Raises:
          LabError: the hidden layers have a shape that layers, width and halving cannot describe.
        """
        self._config, layers = config, len(config.hidden)
        width = config.hidden[0] if layers else 128
        halving = layers > 1 and config.hidden[1] < width
        if config.hidden != _hidden(layers, width, halving):
            raise LabError(
                f"The panel cannot show the hidden layers {config.hidden}: give all of them one width, or halve it "
                "from each layer to the next, as in (128, 64)."
            )
        widths = {2**power for power in range(2, 10)} | {width}
        batches = {2**power for power in range(3, 15) if 2**power <= rows} | {config.batch_size}
        rate = config.learning_rate
        optimizers = [(optimizer.title, name) for name, optimizer in OPTIMIZERS.items()]
        plain, integer, choice = ipywidgets.FloatSlider, ipywidgets.IntSlider, ipywidgets.SelectionSlider
        self.controls: dict[str, ipywidgets.Widget] = {
            "layers": integer(layers, min=0, max=max(6, layers), description="Layers"),
            "width": choice(options=_choices(widths, str), value=width, description="Width"),
            "halving": ipywidgets.Checkbox(halving, description="each layer half as wide", indent=False),
            "activation": ipywidgets.Dropdown(
                options=_choices(set(ACTIVATIONS), _activation_title), value=config.activation, description="Activation"
            ),
            "dropout": plain(config.dropout, min=0, max=0.9, step=0.05, description="Dropout"),
            "optimizer": ipywidgets.Dropdown(options=optimizers, value=config.optimizer, description="Optimizer"),
            "learning_rate": ipywidgets.FloatLogSlider(
                rate, min=-5, max=2, step=0.05, readout_format=".1e", description="Learning rate"
            ),
            "momentum": plain(config.momentum, min=0, max=0.99, step=0.01, description="Momentum"),
            "weight_decay": choice(
                options=_choices({*DECAYS, config.weight_decay}, "{:g}".format),
                value=config.weight_decay,
                description="Weight decay",
            ),
            "batch_size": choice(
                options=_choices(batches, "{:,}".format), value=config.batch_size, description="Batch size"
            ),
            "epochs": integer(config.epochs, min=1, max=max(100, config.epochs), description="Epochs"),
            "devices": integer(config.devices, min=1, max=max(device_count, config.devices), description="Devices"),
        }
        for name, control in self.controls.items():
            # A traced value acts while it is dragged; another one restarts the run, so it waits for the release.
            if name not in TRACED and control.has_trait("continuous_update"):
                control.continuous_update = False
        self.controls["devices"].disabled = self.controls["devices"].max == 1
        self.controls["optimizer"].observe(self._enable, "value")
        self.controls["layers"].observe(self._enable, "value")
        self._enable()

    @property
    def config(self) -> TrainConfig:
        """What the controls say."""
        values = {name: control.value for name, control in self.controls.items()}
        hidden = _hidden(values.pop("layers"), values.pop("width"), values.pop("halving"))
        return replace(self._config, hidden=hidden, **values)

    def groups(self) -> list[ipywidgets.Widget]:
        """The controls in columns with titles."""
        parts = {
            "Network": ("layers", "width", "halving", "activation", "dropout"),
            "Optimizer": ("optimizer", "learning_rate", "momentum", "weight_decay"),
            "Run": ("batch_size", "epochs", "devices"),
        }
        return [
            column("group", ipywidgets.HTML(f'<div class="lab-title">{title}</div>'), *map(self.controls.get, names))
            for title, names in parts.items()
        ]

    def observe(self, act: Callable[[str, Any], None]) -> None:
        """Calls ``act(name, value)`` after each change."""
        for name, control in self.controls.items():
            control.observe(lambda change, name=name: act(name, change["new"]), "value")

    def _enable(self, _: Any = None) -> None:
        """Greys out what the chosen optimizer or network does not listen to."""
        optimizer, layers = OPTIMIZERS[self.controls["optimizer"].value], self.controls["layers"].value
        for name in ("learning_rate", "momentum", "weight_decay"):
            self.controls[name].disabled = name not in optimizer.hyperparameters
        self.controls["batch_size"].disabled = optimizer.full_batch
        for name in ("width", "activation", "dropout"):
            self.controls[name].disabled = layers == 0
        self.controls["halving"].disabled = layers < 2


def _hidden(layers: int, width: int, halving: bool) -> tuple[int, ...]:
    return tuple(max(1, width >> layer) if halving else width for layer in range(layers))


def _activation_title(name: str) -> str:
    return "ReLU" if name == "relu" else name

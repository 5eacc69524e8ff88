"""What a sweep saves against the same runs one by one: ``python -m benchmarks.sweeps [--rounds 5] [--json]``.

16 learning rates x 2 seeds are trained by ``sweep.sweep`` on all devices, and one after another by ``train.fit`` on one
device, which is the default and the fastest for one run on a CPU. Both validate after each epoch. All programs are
compiled before the clock starts. The two take turns, and a ratio is of the two times of one round.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections import deque
from dataclasses import replace

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.contenders.data import COLUMNS, generate
from lab_kit import devices, sweep, train
from lab_kit.arrays import Rows, Signature
from lab_kit.config import TrainConfig

AXES = {"learning_rate": np.logspace(-4, -2, 16).tolist()}
SEEDS = (0, 1)
SIGNATURE = Signature("binary", COLUMNS, (), 1)
# Names of tables, the number of their rows, and what config.suggest would say of them, with few epochs.
WORKLOADS = {
    "small": (1_024, TrainConfig((64, 32), batch_size=32, epochs=10)),
    "medium": (16_384, TrainConfig((64, 32), batch_size=256, epochs=3)),
    "large": (65_536, TrainConfig((128, 64), batch_size=1024, epochs=1)),
}


def table(rows: int) -> tuple[Rows, Rows]:
    """Training and validation rows."""
    data = generate(rows)
    parts = (data.x, data.y), (data.validation_x, data.validation_y)
    train_rows, validation = (Rows(x, np.zeros((len(x), 0), np.int32), y) for x, y in parts)
    return train_rows, validation


def one_by_one(rows: tuple[Rows, Rows], points: list[sweep.Point]) -> tuple[float, np.ndarray]:
    """Seconds, and the last validation loss of each configuration."""
    began = time.perf_counter()
    last = [deque(train.fit(*rows, SIGNATURE, point.config), maxlen=1)[0] for point in points]
    return time.perf_counter() - began, np.array([record.validation["loss"] for record in last])


def together(rows: tuple[Rows, Rows], config: TrainConfig, width: int | None) -> tuple[float, np.ndarray]:
    """The same of one sweep."""
    began = time.perf_counter()
    (last,) = deque(sweep.sweep(*rows, SIGNATURE, config, AXES, SEEDS, width=width), maxlen=1)
    return time.perf_counter() - began, last.validation["loss"]


def measure(name: str, rounds: int, epochs: int | None = None, width: int | None = None) -> dict[str, object]:
    """One workload: the seconds of each round, their ratios, and how far the losses lie apart."""
    count, config = WORKLOADS[name]
    config = replace(config, epochs=epochs or config.epochs)
    rows, points = table(count), sweep.grid(config, AXES, SEEDS)
    one_by_one(rows, points[:1])  # compiles
    together(rows, config, width)
    slow, fast, apart = [], [], 0.0
    for _ in range(rounds):
        seconds, expected = one_by_one(rows, points)
        slow.append(seconds)
        seconds, found = together(rows, config, width)
        fast.append(seconds)
        apart = max(apart, float(np.abs(found / expected - 1).max()))
    ratios = [one / other for one, other in zip(slow, fast, strict=True)]
    return {
        "rows": count,
        "batch": config.batch_size,
        "hidden": config.hidden,
        "epochs": config.epochs,
        "configurations": len(points),
        "one_by_one_seconds": slow,
        "sweep_seconds": fast,
        "ratio": {"min": min(ratios), "median": statistics.median(ratios), "max": max(ratios)},
        "largest_relative_difference_of_losses": apart,
    }


def main() -> None:
    """Reads the command line, measures, and prints a table or one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweeps", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each workload (default %(default)s)")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="NAME")
    parser.add_argument("--epochs", type=int, help="epochs of each run, instead of a workload's own")
    parser.add_argument("--width", type=int, help="configurations side by side on a device; by default what is fastest")
    given = parser.parse_args()
    if min(given.rounds, given.epochs or 1, given.width or 1) < 1:
        parser.error("--rounds, --epochs and --width must be 1 or more")
    devices.start()
    results = {name: measure(name, given.rounds, given.epochs, given.width) for name in given.workloads}
    machine = {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()}
    report = {"benchmark": "sweeps", "devices": jax.local_device_count(), "machine": machine, "workloads": results}
    if given.json:
        print(json.dumps(report, allow_nan=False))
        return
    shown = Table(title=f"{len(AXES['learning_rate'])} rates x {len(SEEDS)} seeds", title_justify="left")
    for title in ("rows", "batch", "network", "epochs", "one by one s", "sweep s", "one by one / sweep"):
        shown.add_column(title, justify="right", no_wrap=True)
    for found in results.values():
        shown.add_row(
            f"{found['rows']:,}", f"{found['batch']:,}", "-".join(map(str, found["hidden"])), str(found["epochs"]),
            f"{statistics.median(found['one_by_one_seconds']):.2f}", f"{statistics.median(found['sweep_seconds']):.2f}",
            " / ".join(f"{found['ratio'][which]:.2f}" for which in ("min", "median", "max")),
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 120).print(shown)


if __name__ == "__main__":
    main()

"""How fast this machine trains, and what limits it: rows a second, the cost of an all-reduce, memory, each measured.

What is measured is ``train.fit`` as anybody calls it, after its programs are compiled. A shared machine is noisy: each
figure is a median with the least and the greatest of several short windows.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from lab_kit import devices, memory, train
from lab_kit.arrays import Rows, Signature
from lab_kit.config import TrainConfig
from lab_kit.schema import LabError
from lab_kit.stream import Stream, write_stream

COLUMNS = 32


@dataclass(frozen=True)
class Speed:
    """Training speed of a configuration.

    Attributes:
      config: what ran.
      rows_per_second: the median of the calls after the first ones, which compile and find their length.
      low: the slowest tenth of them.
      high: the fastest tenth.
      validation_loss: of the last epoch that ended; None before the first has.
    """

    config: TrainConfig
    rows_per_second: float
    low: float
    high: float
    validation_loss: float | None


def speed(
    rows: Rows | Stream, validation: Rows | Stream, signature: Signature, config: TrainConfig, seconds: float = 1.5
) -> Speed:
    """Trains for some seconds, and says how fast it went.

    Args:
      rows: to learn from.
      validation: as ``train.fit`` wants them; their time is not counted.
      signature: of the encoder that made both.
      config: its epochs and its patience do not matter.
      seconds: to measure for, after the programs are compiled.
    """
    found: list[float] = []
    loss, steady = None, None
    for record in train.fit(rows, validation, signature, replace(config, epochs=1_000_000, patience=None)):
        loss = record.validation["loss"] if record.validation and record.step else loss
        if record.step > 1 and steady is None and record.rows_per_second > 0.5 * max(found, default=np.inf):
            steady, found = time.perf_counter(), []
        found.append(record.rows_per_second)
        if record.outcome or (steady is not None and time.perf_counter() - steady > seconds):
            break
    low, median, high = np.quantile(found, [0.1, 0.5, 0.9])
    return Speed(config, float(median), float(low), float(high), loss)


def speeds(
    rows: Rows | Stream,
    validation: Rows | Stream,
    signature: Signature,
    configs: Iterable[TrainConfig],
    seconds: float = 1.5,
) -> list[Speed]:
    """``speed`` of each configuration, one after the other."""
    return [speed(rows, validation, signature, config, seconds) for config in configs]


def generated(count: int, seed: int = 0) -> tuple[Rows, Signature]:
    """Rows of 32 normal numbers, and a yes/no target that follows from them with noise."""
    random = np.random.default_rng(seed)
    numeric = random.standard_normal((count, COLUMNS), np.float32)
    target = numeric[:, 0] * numeric[:, 1] + 0.5 * numeric[:, 2] > random.standard_normal(count, np.float32) * 0.3
    return Rows(numeric, np.zeros((count, 0), np.int32), target.astype(np.float32)), Signature("binary", COLUMNS, (), 1)


def peak_memory(count: int, streamed: bool) -> int:
    """The most memory that a process needs to train on so many generated rows, in bytes.

    The process is a fresh one, and generates the rows in pieces: into one table in memory, or onto the disk.

    Args:
      count: of rows.
      streamed: whether they stay on disk.

    Raises:
      LabError: the process failed.
    """
    command = [sys.executable, "-m", "lab_kit.scale", str(count), *(["--streamed"] if streamed else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"The memory for {count:,} rows could not be measured: {done.stderr.strip().splitlines()[-1]}")
    return int(json.loads(done.stdout.splitlines()[-1]))


def peaks(counts: Iterable[int], streamed: bool) -> dict[int, int]:
    """``peak_memory`` of each number of rows, measured two at a time: what a process holds does not depend on its pace.

    Args:
      counts: of rows.
      streamed: whether they stay on disk.

    Raises:
      LabError: a process failed.
    """
    counts = list(counts)
    with ThreadPoolExecutor(2) as threads:
        return dict(zip(counts, threads.map(partial(peak_memory, streamed=streamed), counts), strict=True))


def main() -> None:
    """Trains one epoch on generated rows and prints the peak of its memory in bytes: ``python -m lab_kit.scale``."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--streamed", action="store_true")
    given = parser.parse_args()
    devices.start()
    piece = 65_536
    counts = [min(piece, given.count - start) for start in range(0, given.count, piece)]
    validation, signature = generated(8192, seed=1_000_000)
    config = TrainConfig((64, 32), batch_size=2048, epochs=1, dropout=0.0)
    with tempfile.TemporaryDirectory() as folder:
        rows: Rows | Stream
        if given.streamed:
            parts = (generated(size, seed)[0] for seed, size in enumerate(counts))
            rows = write_stream(parts, Path(folder) / "rows")
        else:
            rows = Rows(*(np.empty((given.count, *part.shape[1:]), part.dtype) for part in validation))
            for seed, size in enumerate(counts):
                for column, part in zip(rows, generated(size, seed)[0], strict=True):
                    column[seed * piece : seed * piece + size] = part
        for _ in train.fit(rows, validation, signature, config):
            pass
    print(json.dumps(memory.peak()))


if __name__ == "__main__":
    main()

"""Does a run survive being killed: ``python -m benchmarks.kills [--kills 200] [--json]``.

A training is killed with SIGKILL at random moments, again and again, resumed each time from its folder, and compared at
its end, to the bit, with the same run that nobody killed. The tests do it with 20 kills (tests/test_kill.py).
"""

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from lab_kit import devices, runs, train
from lab_kit.arrays import Rows, Signature
from lab_kit.config import TrainConfig
from lab_kit.schema import LabError
from lab_kit.steering import Change, Steering

CONFIG = TrainConfig(
    (6,), normalization="batch", optimizer="momentum", schedule="one-cycle", batch_size=10, epochs=12, devices=2,
    learning_rate=0.05, dropout=0.2, clip_norm=1.0,
)  # fmt: skip
STEERED = (Change(21, "learning_rate", 0.02), Change(50, "dropout", 0.0))
ROWS = 81


class Trainer:
    """A process that forks a training for each that is asked of it, which spares the import of the libraries."""

    def __init__(self, compiled: Path, epochs: int = CONFIG.epochs) -> None:
        command = [sys.executable, "-m", "benchmarks.kills", "--serve", str(compiled), "--epochs", str(epochs)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, folder: Path, word: str = "", kill_after: int | None = None, wait: float = 0.0) -> list[str]:
        """What a training in this folder writes: the step of each record; from its last checkpoint if there is one.

        Args:
          folder: of the run.
          word: ``slowly`` pauses after each record, so that a kill falls anywhere; a number limits the size of a file,
            which stands for a full disk.
          kill_after: so many records after its first one the training is killed.
          wait: seconds from that record to the kill.
        """
        print(folder, word, sep="\t", file=self._process.stdin, flush=True)
        number, lines, killed = 0, [], False
        for line in self._process.stdout:
            kind, *value = line.split()
            if kind == "process":
                number = int(value[0])
            elif kind == "ended":
                assert int(value[0]) == (signal.SIGKILL if killed else 0)
                return lines
            else:
                lines.append(line.strip())
            if kill_after is not None and number and len(lines) > kill_after and not killed:
                time.sleep(wait)
                os.kill(number, signal.SIGKILL)
                killed = True
        raise AssertionError("the trainer has ended")

    def close(self) -> None:
        self._process.stdin.close()
        assert self._process.wait(30) == 0
        self._process.stdout.close()


def _rows(count: int, seed: int) -> Rows:
    numeric = np.random.default_rng(seed).standard_normal((count, 3), np.float32)
    return Rows(numeric, np.zeros((count, 0), np.int32), (numeric[:, 0] > 0.3).astype(np.float32))


def _train(folder: Path, compiled: Path, epochs: int, pause: float) -> None:
    devices.start(cpu_devices=2, cache=compiled)
    train.SECONDS_PER_CALL = 0  # a record a step
    config, start = CONFIG, None
    if epochs != CONFIG.epochs:
        config = TrainConfig(**{**config.__dict__, "epochs": epochs})
    if (folder / "config.json").exists():
        again = runs.resume(folder, "rows")
        config, start = again.config, again.start
    # The hand that steers is there in each process, and does what is still to come.
    steering = Steering(change for change in STEERED if start is None or change.step >= start.step)
    signature = Signature("binary", 3, (), 1)
    records = train.fit(_rows(ROWS, 0), _rows(41, 1), signature, config, steering=steering, start=start)
    for record in runs.keep(records, folder, config, "rows", steering, checkpoint_every=0):
        print(record.step, flush=True)
        time.sleep(pause)


def _serve(compiled: Path, epochs: int) -> None:
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # JAX has no threads yet: nothing has used it
    for line in sys.stdin:
        folder, word = line.rstrip("\n").split("\t")
        number = os.fork()
        if number:
            print("process", number, flush=True)
            print("ended", os.waitpid(number, 0)[1], flush=True)
            continue
        if word.isdigit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(word), int(word)))
        try:
            _train(Path(folder), compiled, epochs, 0.01 if word == "slowly" else 0)
        except LabError as error:
            print("LabError:", error, flush=True)
        os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--epochs", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        _serve(given.serve, given.epochs)
        return
    chance, began, lost = random.Random(0), time.perf_counter(), []
    with tempfile.TemporaryDirectory() as place:
        whole, killed = Path(place) / "whole", Path(place) / "killed"
        trainer = Trainer(Path(place) / "compiled", epochs=max(12, given.kills // 2))
        trainer.run(whole)
        reached = 0
        for _ in range(given.kills):
            lines = trainer.run(killed, "slowly", kill_after=chance.randrange(7), wait=chance.uniform(0, 0.04))
            lost.append(reached - int(lines[0]))
            reached = int(lines[-1])
        trainer.run(killed)
        trainer.close()
        same = np.array_equal(runs.load(killed).weights, runs.load(whole).weights)
    found = {
        "kills": given.kills,
        "identical_to_the_bit": bool(same),
        "steps_done_again": {"median": float(np.median(lost)), "max": max(lost)},
        "seconds": time.perf_counter() - began,
    }
    if given.json:
        print(json.dumps(found))
    else:
        print(
            f"{given.kills} kills at random moments, {found['seconds']:.0f} s: the weights are "
            f"{'identical to the bit' if same else 'DIFFERENT'}; a kill cost {np.median(lost):.0f} steps, "
            f"at most {max(lost)}."
        )


if __name__ == "__main__":
    main()

"""The process of one contender at one batch size: ``python -m benchmarks.contenders.worker NAME BATCH ROWS GOAL``.

It trains once from the beginning until the validation AUC is reached, writes a line of JSON, and then trains on for
each line it reads, writing one more. A library that is missing is said in the first line.
"""

import argparse
import importlib
import json
import os
import statistics
import sys
import time

from benchmarks.contenders import CONTENDERS
from benchmarks.contenders.data import generate
from benchmarks.contenders.watch import Watch
from lab_kit import memory

MOST_STEPS = 512
"""Steps of a timed epoch of a peer: at batch 32 a sixteenth of the rows, at 256 half of them. It spares minutes."""

COLD_SECONDS = 15.0
"""How long a contender may take to reach the AUC before it is said not to have reached it."""

ROUND_SECONDS = 0.8
"""How long a round lasts at least; three epochs in any case, of which the first is not counted."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("batch", type=int)
    parser.add_argument("rows", type=int)
    parser.add_argument("goal", type=float)
    given = parser.parse_args()
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not mix with the answers

    module, function = CONTENDERS[given.name].factory.split(":")
    try:
        factory = getattr(importlib.import_module(f"benchmarks.contenders.{module}"), function)
    except ImportError as error:
        print(json.dumps({"missing": error.name or str(error)}), file=out)
        return
    data = generate(given.rows)
    epoch_rows = given.rows if given.name in ("lab_kit", "roofline") else min(given.rows, MOST_STEPS * given.batch)

    cold = Watch(COLD_SECONDS, goal=given.goal, began=time.perf_counter())
    run = factory(data, given.batch)
    run(cold, given.rows)
    first = {"first_loss_seconds": cold.first_loss, "auc_seconds": cold.reached, "epoch_rows": epoch_rows}
    print(json.dumps(first), file=out)
    for _ in sys.stdin:
        watch = Watch(ROUND_SECONDS, least=3)
        run(watch, epoch_rows)
        seconds = statistics.median(watch.epochs[1:])  # the first one warms up
        answer = {"rows_per_second": epoch_rows / seconds, "peak_memory_bytes": memory.peak()}
        print(json.dumps(answer), file=out)


if __name__ == "__main__":
    main()

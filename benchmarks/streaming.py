"""Training on more rows than memory holds: ``python -m benchmarks.streaming [--rows 50000000] [--json]``.

Generated rows (32 columns) lie on disk as shards. Two processes take turns: one trains from the shards, under a limit
of memory that the kernel enforces (RLIMIT_DATA), one from a table in memory of as many of the rows as fit. Each turn is
one epoch of ``fit`` as a user calls it. The peak of memory is read for several numbers of rows.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lab_kit import devices, memory, scale, stream, train
from lab_kit.arrays import Rows
from lab_kit.config import TrainConfig

CONFIG = TrainConfig((64, 32), optimizer="adam", batch_size=2048, epochs=1, weight_decay=0.0, dropout=0.0)
IN_MEMORY = 4_000_000
LIMIT = 2 * 2**30


def generate(rows: int, folder: Path) -> float:
    """Writes the rows; returns the seconds that took."""
    began, size = time.perf_counter(), stream.ROWS_PER_SHARD
    parts = (scale.generated(min(size, rows - start), seed=start)[0] for start in range(0, rows, size))
    stream.write_stream(parts, folder)
    return time.perf_counter() - began


def first_rows(source: stream.Stream, rows: int) -> stream.Stream:
    """The first shards of a stream, with about so many rows."""
    return replace(source, shards=source.shards[: max(1, rows // stream.ROWS_PER_SHARD)])


def cold(source: stream.Stream) -> None:
    """Takes the shards out of the page cache, where the system does that."""
    for shard in source.shards:
        handle = os.open(source.folder / shard.file, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def read_speed(source: stream.Stream) -> float:
    """Bytes a second of reading some shards from the disk."""
    some = first_rows(source, 2_000_000)
    cold(some)
    began, size = time.perf_counter(), 0
    for shard in some.shards:
        size += len((some.folder / shard.file).read_bytes())
    return size / (time.perf_counter() - began)


def serve(folder: Path, rows: int, in_memory: bool) -> None:
    """For each line of input trains one epoch, and answers with rows a second and the peak of memory."""
    if not in_memory:
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
        memory.allowed = lambda: LIMIT  # as on a machine of so much, whose page cache would keep no more
    devices.start()
    source = first_rows(stream.open_stream(folder), rows)
    table: Rows | stream.Stream = source.read(list(range(len(source.shards)))) if in_memory else source
    validation, signature = scale.generated(65_536, seed=10**9)
    for _ in sys.stdin:
        if not in_memory:
            cold(source)
        began, counted, first = 0.0, 0, 0
        for record in train.fit(table, validation, signature, CONFIG):
            if record.step > 20 and not began:  # compiled, and its calls have found their length
                began, first = time.perf_counter(), record.rows_seen
            counted = record.rows_seen
        seconds = time.perf_counter() - began
        print(json.dumps({"rows_per_second": (counted - first) / seconds, "peak_bytes": memory.peak()}), flush=True)


class Worker:
    """A process of ``serve``."""

    def __init__(self, folder: Path, rows: int, in_memory: bool) -> None:
        command = [sys.executable, "-m", "benchmarks.streaming", "--serve", str(folder), "--rows", str(rows)]
        command += ["--in-memory"] if in_memory else []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def turn(self) -> dict[str, float]:
        print(file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a training process has ended; what it said is above")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def measure(folder: Path, rows: int, rounds: int) -> dict[str, object]:
    source = stream.open_stream(folder)
    peaks = {}
    for some in sorted({max(rows // 10, 1), max(rows * 3 // 10, 1), rows}):
        worker = Worker(folder, some, in_memory=False)
        turns = [worker.turn()]
        if some == rows:
            memory = Worker(folder, min(rows, IN_MEMORY), in_memory=True)
            held = [memory.turn()]
            for _ in range(rounds):
                turns.append(worker.turn())
                held.append(memory.turn())
            memory.close()
        peaks[some] = turns[-1]["peak_bytes"]
        worker.close()
    pairs = list(zip(turns, held, strict=True))[1:]
    ratios = [one["rows_per_second"] / other["rows_per_second"] for one, other in pairs]
    return {
        "rows": rows,
        "streamed_rows_per_second": statistics.median(one["rows_per_second"] for one, _ in pairs),
        "in_memory_rows_per_second": statistics.median(other["rows_per_second"] for _, other in pairs),
        "ratio": {"min": min(ratios), "median": statistics.median(ratios), "max": max(ratios)},
        "limit_bytes": LIMIT,
        "peak_bytes": peaks,
        "disk_bytes_per_second": read_speed(source),
    }


def lines(found: dict) -> Iterator[str]:
    ratio, mega = found["ratio"], 1e6
    yield (
        f"{found['rows']:,} rows from disk under a limit of {found['limit_bytes'] / 2**30:.0f} GiB: "
        f"{found['streamed_rows_per_second'] / mega:.2f} million rows/s; {min(found['rows'], IN_MEMORY):,} rows in "
        f"memory: {found['in_memory_rows_per_second'] / mega:.2f}."
    )
    yield f"Streamed / in memory: {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})."
    for rows, peak in found["peak_bytes"].items():
        yield f"Peak memory with {rows:,} rows: {peak / 2**20:,.0f} MiB."
    yield f"The disk reads {found['disk_bytes_per_second'] / mega:,.0f} MB/s with a cold cache, where that can be had."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--in-memory", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, given.rows, given.in_memory)
        return
    place = Path(tempfile.mkdtemp(prefix="lab-kit-streaming-"))
    try:
        seconds = generate(given.rows, place / "rows")
        found = measure(place / "rows", given.rows, given.rounds) | {"generating_seconds": seconds}
    finally:
        shutil.rmtree(place)
    print(json.dumps(found) if given.json else "\n".join(lines(found)))


if __name__ == "__main__":
    main()

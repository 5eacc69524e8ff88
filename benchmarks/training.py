"""Who trains a small network on a table fastest: ``python -m benchmarks.training`` (see README.md).

Each contender runs in a process of its own, a fresh one for each batch size. Those of one batch size stay alive
together and take turns, one at a time, round after round, so that a disturbance of the machine meets all of them.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.contenders import CONTENDERS, HIDDEN, LEARNING_RATE, PEERS
from benchmarks.contenders.data import COLUMNS
from benchmarks.contenders.worker import COLD_SECONDS, MOST_STEPS

REPOSITORY = Path(__file__).parent.parent

NOTES = (
    "rows/s: the median epoch of a round after its first epoch, then the median over the rounds.",
    "lab_kit validates after each epoch and keeps records in that time; the peers only train.",
    f"A timed epoch of a peer has at most {MOST_STEPS} steps, hence fewer rows at small batches; rates are per row.",
    "lab_kit / it: rows/s of lab_kit over those of the contender in the same round; min / median / max of the rounds.",
    "first loss: from the start of training, compilation included and imports not, until the caller holds a loss.",
    f"AUC: the same start, until the validation AUC is reached, looked at after each epoch of all rows; '-' if not "
    f"within {COLD_SECONDS:g} s and the epoch that they fall into.",
    "memory: the most resident memory of the process, its libraries and the rows included.",
    "The contenders take turns on this machine; absolute figures change with its load, ratios less so.",
)


class Worker:
    """The process of a contender at one batch size."""

    def __init__(self, name: str, batch: int, rows: int, goal: float, folder: Path):
        """Starts it, and waits until it has trained once; ``first`` is its first answer."""
        self.name = name
        self.log = folder / f"{name}.log"
        own = {**CONTENDERS[name].environment, "TORCHINDUCTOR_CACHE_DIR": str(folder / name)}
        arguments = [name, str(batch), str(rows), str(goal)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.contenders.worker", *arguments],
                cwd=REPOSITORY,
                env=os.environ | own,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                bufsize=1,
            )
        self.first = self.answer()

    def answer(self) -> dict[str, Any]:
        """Its next line, read; the benchmark ends with its last words if it has died."""
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended without an answer:\n{self.log.read_text()[-2000:]}")
        return json.loads(line)

    def round(self) -> dict[str, Any]:
        """Lets it train on for a while."""
        print(file=self.process.stdin)
        return self.answer()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def measure(names: Sequence[str], batch: int, rows: int, rounds: int, goal: float, status: Console) -> dict[str, Any]:
    """All contenders at one batch size: what each of them did, by name."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        workers = []
        for name in names:
            status.print(f"batch {batch:,}: {name} starts")
            workers.append(stack.enter_context(Worker(name, batch, rows, goal, Path(folder))))
        present = [worker for worker in workers if "missing" not in worker.first]
        answers: dict[str, list[dict[str, Any]]] = {worker.name: [] for worker in present}
        for number in range(rounds):
            status.print(f"batch {batch:,}: round {number + 1} of {rounds}")
            for worker in present:
                answers[worker.name].append(worker.round())
        results = {worker.name: summary(worker.first, answers.get(worker.name, [])) for worker in workers}
    return {"batch": batch, "contenders": results, "ratios": ratios(results)}


def summary(first: dict[str, Any], answers: list[dict[str, Any]]) -> dict[str, Any]:
    """One contender's answers as figures; ``{"missing": library}`` where its library is not installed."""
    if "missing" in first:
        return first
    rates = [answer["rows_per_second"] for answer in answers]
    return {
        "rows_per_second": statistics.median(rates),
        "rounds": rates,
        "peak_memory_bytes": answers[-1]["peak_memory_bytes"],
        **first,
    }


def ratios(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Lab_kit's rows/s over those of each other contender in the same round, and over the best peer's."""
    if "rounds" not in results.get("lab_kit", {}):
        return {}
    own = results["lab_kit"]["rounds"]

    def spread(name: str) -> dict[str, Any]:
        found = [mine / other for mine, other in zip(own, results[name]["rounds"], strict=True)]
        return {"min": min(found), "median": statistics.median(found), "max": max(found)}

    others = {name: spread(name) for name, found in results.items() if name != "lab_kit" and "rounds" in found}
    peers = [name for name in PEERS if name in others]
    if not peers:
        return others
    best = max(peers, key=lambda name: results[name]["rows_per_second"])
    return {**others, "best peer": {**others[best], "name": best}}


def versions(names: Sequence[str]) -> dict[str, str | None]:
    """Of the libraries that take part; None where one is not installed."""
    found: dict[str, str | None] = {}
    for library in ("lab-kit", "jax", "tensorflow", *(CONTENDERS[name].library for name in names)):
        candidates = (library, f"{library}-cpu") if library == "tensorflow" else (library,)
        installed = [name for name in candidates if _installed(name)]
        found[library] = metadata.version(installed[0]) if installed else None
    return found


def _installed(library: str) -> bool:
    try:
        metadata.version(library)
    except metadata.PackageNotFoundError:
        return False
    return True


def table(result: dict[str, Any]) -> Table:
    """The figures of one batch size."""
    shown = Table(title=f"batch {result['batch']:,}", title_justify="left", caption_justify="left")
    for name in ("contender", "rows/s", "lab_kit / it", "first loss s", "AUC s", "memory MiB"):
        shown.add_column(name, justify="left" if name == "contender" else "right", no_wrap=True)
    for name, found in result["contenders"].items():
        if "missing" in found:
            shown.add_row(CONTENDERS[name].title, f"not installed ({found['missing']})")
            continue
        ratio = result["ratios"].get(name, {})
        times = (found["first_loss_seconds"], found["auc_seconds"]) if name != "roofline" else (None, None)
        shown.add_row(
            CONTENDERS[name].title,
            f"{found['rows_per_second']:,.0f}",
            " / ".join(f"{ratio[which]:.2f}" for which in ("min", "median", "max") if ratio),
            *("-" if seconds is None else f"{seconds:.2f}" for seconds in times),
            f"{found['peak_memory_bytes'] / 2**20:,.0f}",
        )
    if best := result["ratios"].get("best peer"):
        shown.caption = f"lab_kit / best peer ({CONTENDERS[best['name']].title}): {best['median']:.2f}"
    return shown


def main() -> None:
    """Reads the command line, measures, and prints a table or one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--rows", type=int, default=262_144, help="training rows (default %(default)s)")
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 256, 2048, 16384], help="batch sizes")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each batch size (default %(default)s)")
    parser.add_argument("--auc", type=float, default=0.90, help="the validation AUC to reach (default %(default)s)")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME")
    given = parser.parse_args()
    if given.rounds < 1 or not 1 <= min(given.batch) <= max(given.batch) <= given.rows:
        parser.error("--rounds must be 1 or more, and each --batch from 1 to --rows")

    status = Console(stderr=True, quiet=given.json)
    results = [measure(given.contenders, b, given.rows, given.rounds, given.auc, status) for b in given.batch]
    report = {
        "benchmark": "training",
        "model": {"columns": COLUMNS, "hidden": HIDDEN, "optimizer": "adam", "learning_rate": LEARNING_RATE},
        "rows": given.rows,
        "rounds": given.rounds,
        "auc": given.auc,
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
        "versions": versions(given.contenders),
        "notes": NOTES,
        "batches": results,
    }
    if given.json:
        print(json.dumps(report, allow_nan=False))
        return
    console = Console(width=None if sys.stdout.isatty() else 120)
    for result in results:
        console.print(table(result))
    for note in NOTES:
        console.print(f"[dim]{note}[/dim]", highlight=False)


if __name__ == "__main__":
    main()

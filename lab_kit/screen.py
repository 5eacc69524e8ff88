"""What the commands show on a terminal: one console, a spinner and a progress bar, where somebody watches."""

import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

screen = Console()


def is_watched() -> bool:
    """Whether somebody sees standard output as it comes; Jupyter sets FORCE_COLOR, which makes Rich believe it."""
    return sys.stdout.isatty()


def pasteable(*words: str) -> str:
    """A command of Lab Kit as it can be pasted into the terminal that this one was typed in."""
    typed = sys.argv[0]
    if Path(typed).stem != "lab-kit":  # `python -m lab_kit`
        program = [sys.executable, "-m", "lab_kit"]
    else:
        program = ["lab-kit" if shutil.which("lab-kit") == typed else typed]
    return shlex.join([*program, *words])


@contextmanager
def status(words: str) -> Iterator[None]:
    """A spinner with some words."""
    with screen.status(words) if is_watched() else nullcontext():
        yield


@contextmanager
def bar() -> Iterator[Progress]:
    """A progress bar."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, disable=not is_watched()) as progress:
        yield progress

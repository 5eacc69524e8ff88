"""What the commands show on a terminal: one console, a spinner and a progress bar, where somebody watches."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

screen = Console()


def is_watched() -> bool:
    """Whether somebody sees standard output as it comes; Jupyter sets FORCE_COLOR, which makes Rich believe it."""
    return sys.stdout.isatty()


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

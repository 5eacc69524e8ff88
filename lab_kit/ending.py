"""What runs in a thread ends before the interpreter does."""

import threading
import weakref
from typing import Protocol

SECONDS_TO_END = 4.0
"""How long the end of the interpreter waits for a run; Jupyter kills a kernel that takes more than five."""


class Stoppable(Protocol):
    """What runs, can be told to stop, and can be waited for."""

    @property
    def running(self) -> bool: ...  # noqa: D102

    def stop(self) -> None: ...  # noqa: D102

    def wait(self, timeout: float | None = None) -> bool: ...  # noqa: D102


def before_the_end(run: Stoppable) -> None:
    """Has the run stopped when the interpreter ends: a thread inside a compiled call would take the process down.

    Args:
      run: of which nothing is kept alive.
    """
    known = weakref.ref(run)

    def act() -> None:
        ending = known()
        if ending is not None and ending.running:
            ending.stop()
            ending.wait(SECONDS_TO_END)

    # `atexit` comes too late: by then no thread pool takes work any more, and the run would end with that error.
    threading._register_atexit(act)  # type: ignore[attr-defined]

"""Ctrl-C and SIGTERM: at any moment of a command they end it soon, with one sentence that says what was kept.

A signal raises ``Stopped`` in the main thread, wherever that is. Two things stand in the way, so a thread watches as
well. A library that calls Python from C (XLA, when garbage is collected) may swallow the exception; and while the main
thread waits inside a call of C (for the other processes, for a compilation) Python's handler does not run at all. The
thread hears of a signal in both cases: it ends the process when the main thread has not done so in time, and at once
at the second signal. Inside ``held``, where a run is being kept, the first signal is but remembered: ``check`` raises
between two records, and nothing is cut in half.
"""

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

SECONDS_TO_UNWIND = 3.0
"""How long the main thread has to end by itself before the watching thread ends the process."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """Somebody asked the command to end. No ``KeyboardInterrupt``, which libraries take for theirs."""


class _State:
    """What the handler, the thread and the command share."""

    number: int | None = None  # of the signal that came first
    held = False
    words = "Stopped."


_state = _State()


@contextmanager
def listening(words: str) -> Iterator[None]:
    """Listens to both signals, from the start of a command to its end.

    Args:
      words: what to say when one comes; ``say`` replaces them as the command gets on.
    """
    _state.number, _state.held, _state.words = None, False, words
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # as in a script's background
    handlers = {number: signal.signal(number, _handle) for number in heard}
    descriptor = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    hook, sys.unraisablehook = sys.unraisablehook, _swallowed
    thread = threading.Thread(target=_watch, args=(reader,), name="stopping", daemon=True)
    thread.start()
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.set_wakeup_fd(descriptor)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(writer)  # the thread reads the end and ends
        thread.join()
        os.close(reader)


def say(words: str) -> None:
    """What a signal says from now on: what is kept by now, and how to go on."""
    _state.words = words


def end(number: int | None = None) -> NoReturn:
    """Says what is kept and ends the process, with 128 and the number of the signal as shells have it.

    The end is not an orderly one, which would wait for threads, and for processes that have died.

    Args:
      number: of the signal; None for the one that was handled, or else Ctrl-C, which Polars handles by itself.
    """
    sys.stdout.flush()
    cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # a spinner or a bar may have hidden it
    sys.stderr.write(f"{cursor}{_state.words}\n")
    sys.stderr.flush()
    os._exit(128 + (number or _state.number or signal.SIGINT))


def came() -> bool:
    """Whether a signal has come."""
    return _state.number is not None


def check() -> None:
    """Raises ``Stopped`` when a signal has come, be it that it was held or that a library swallowed it."""
    if came():
        raise Stopped


@contextmanager
def held() -> Iterator[None]:
    """Inside, the first signal waits for ``check``, or for the end."""
    check()
    _state.held = True
    try:
        yield
    finally:
        _state.held = False
    check()


def _handle(number: int, frame: FrameType | None) -> None:
    if _state.number is None:
        _state.number = number
        if not _state.held:
            raise Stopped


def _swallowed(unraisable: Any) -> None:
    """A ``Stopped`` that a library had to drop is not worth a traceback: it is remembered, and the thread watches."""
    if not isinstance(unraisable.exc_value, Stopped):
        sys.__unraisablehook__(unraisable)


def _watch(reader: int) -> None:
    """Reads the numbers of the signals, which C writes even while the main thread is busy there."""
    first: int | None = None
    while True:
        patience = None if first is None or _state.held else SECONDS_TO_UNWIND
        if not select.select([reader], [], [], patience)[0]:
            end(first)
        came = os.read(reader, 1)
        if not came:
            return
        if came[0] in SIGNALS:
            if first is not None:
                end(first)
            first = came[0]

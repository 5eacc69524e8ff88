"""The command ``lab-kit``: listens to Ctrl-C before anything that takes time, then does what was typed."""

import sys

from lab_kit import stopping


def main() -> None:
    """Runs the command; stopped, it says what is kept and ends with exit status 130, or 143 for SIGTERM."""
    words = "Stopped before training began; nothing was kept." if sys.argv[1:2] == ["train"] else "Stopped."
    with stopping.listening(words):
        try:
            from lab_kit.commands import run  # half a second, in which Ctrl-C is heard already

            run()
        except stopping.Stopped:
            stopping.end()
        except Exception:
            if stopping.came():  # a library made another error of it
                stopping.end()
            raise

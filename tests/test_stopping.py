"""Ctrl-C and SIGTERM, in processes of their own: one sentence, an exit status, and what was kept goes on."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAM = [sys.executable, "-m", "lab_kit"]
ENDLESS = [*PROGRAM, "train", "--dataset", "health", "--epochs", "1000000", "--patience", "0"]
NOTHING = "Stopped before training began; nothing was kept.\n"
BOUND = 60
"""Seconds that nothing here takes on any machine."""

pytestmark = pytest.mark.slow


def begin(command: list[str], place: Path) -> "subprocess.Popen[str]":
    environment = os.environ | {"LAB_KIT_WORKSPACE": str(place), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + BOUND
    while not true():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


def steps(place: Path) -> list[str]:
    return [line.split(",")[1] for file in place.rglob("history.jsonl") for line in file.read_text().splitlines()]


def python(code: str) -> "subprocess.Popen[str]":
    """A program that listens, and says `ready` when a signal may come."""
    head = "import sys, time, gc\nfrom lab_kit import stopping\nstopping.SECONDS_TO_UNWIND = 0.5\n"
    body = f"with stopping.listening('Over.'):\n try:\n  {code}\n except stopping.Stopped:\n  stopping.end()\n"
    program = subprocess.Popen(
        [sys.executable, "-c", head + body], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert program.stdout.readline() == "ready\n"
    return program


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    "code",
    [
        "print('ready', flush=True); time.sleep(60)",
        # A library swallows what is raised, again and again, as XLA does when garbage is collected.
        "gc.callbacks.append(lambda *_: time.sleep(0.01)); print('ready', flush=True)\n  while True: gc.collect()",
        # The main thread is inside C, where no Python runs: a pattern that takes for ever.
        "import ctypes; print('ready', flush=True); ctypes.CDLL(None).sem_wait(ctypes.create_string_buffer(64))",
    ],
    ids=["python", "swallowed", "c"],
)
def test_a_signal_ends_the_process_wherever_it_falls(code: str, number: int, status: int) -> None:
    program = python(code)
    program.send_signal(number)
    assert program.communicate(timeout=BOUND) == ("", "Over.\n")
    assert program.returncode == status


def test_where_a_run_is_kept_the_first_signal_waits_and_the_second_does_not() -> None:
    code = "with stopping.held():\n   print('ready', flush=True); time.sleep(1); print('whole', flush=True)\n"
    program = python(code + "  print('never')")
    program.send_signal(signal.SIGINT)
    assert program.communicate(timeout=BOUND) == ("whole\n", "Over.\n")
    program = python(code.replace("sleep(1)", "sleep(600)"))
    for _ in range(2):
        program.send_signal(signal.SIGINT)
        time.sleep(0.2)  # two of one moment are one
    assert program.communicate(timeout=BOUND) == ("", "Over.\n")
    assert program.returncode == 130


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.5])
def test_a_training_can_be_stopped_while_its_libraries_are_imported(tmp_path: Path, seconds: float) -> None:
    process = begin(ENDLESS, tmp_path)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=BOUND) == ("", NOTHING)
    assert process.returncode == 130
    assert list(tmp_path.rglob("*")) == []


def test_a_training_that_was_stopped_goes_on_with_the_command_it_names(tmp_path: Path) -> None:
    process = begin(ENDLESS, tmp_path)
    until(lambda: len(steps(tmp_path)) > 3)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=BOUND)[1]
    assert process.returncode == 143
    found = re.fullmatch(r"Stopped\. The run (\S+) is kept up to its last checkpoint; go on with: (.*)\n", error)
    assert found, error
    assert (Path(found[1]) / "config.json").is_file()
    before = len(steps(tmp_path))
    process = begin(shlex.split(found[2]), tmp_path)
    until(lambda: len(steps(tmp_path)) > before + 20)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=BOUND)
    assert (process.returncode, out, error) == (130, "", found[0])
    assert len(list((tmp_path / "health" / "runs").iterdir())) == 1


def test_waiting_for_other_processes_can_be_stopped(tmp_path: Path) -> None:
    alone = ["--coordinator", "127.0.0.1:0", "--processes", "2", "--process-id", "1"]
    process = begin([*ENDLESS, *alone], tmp_path)
    time.sleep(5)  # by now it waits, inside C; if it does not yet, that is to end as well
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=BOUND) == ("", NOTHING)
    assert process.returncode == 130

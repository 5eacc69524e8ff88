"""Several processes make one run: the same as one process with as many devices, also when one of them dies."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.laboratory import free_port
from lab_kit import runs

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("two_processes.py")
BOUND = 60
"""Seconds within which the others must have ended: more than the heartbeat allows, so that a busy machine passes."""


def begin(folder: Path, epochs: int, processes: int = 2) -> list["subprocess.Popen[str]"]:
    port = free_port()
    return [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder), str(epochs), str(port), str(processes), str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(processes)
    ]


def ends(processes: list["subprocess.Popen[str]"], status: int = 0) -> list[list[str]]:
    """The lines of each process, without what Gloo says of itself."""
    found = []
    for process in processes:
        out = process.communicate(timeout=BOUND)[0]
        assert process.returncode == status, out
        found.append([line for line in out.splitlines() if not line.startswith("[Gloo]")])
    return found


def numbers(lines: list[str]) -> np.ndarray:
    return np.array([[float(value) for value in line.replace("None", "nan").split()] for line in lines])


@pytest.mark.parametrize("kind", ["memory", "stream"])
def test_two_processes_are_one_with_two_devices(tmp_path: Path, kind: str) -> None:
    (alone,) = ends(begin(tmp_path / f"{kind}-one", 3, processes=1))
    both = ends(begin(tmp_path / f"{kind}-two", 3))
    assert both[0] == both[1], "each process knows all metrics"
    assert len(alone) == 4
    np.testing.assert_allclose(numbers(both[0]), numbers(alone), rtol=1e-5)
    one, two = runs.load(tmp_path / f"{kind}-one"), runs.load(tmp_path / f"{kind}-two")
    np.testing.assert_allclose(two.weights, one.weights, rtol=1e-4, atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(kind)) == [
        f"{kind}-one",
        f"{kind}-two",
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The weights of a run of 120 epochs that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    ends(begin(folder, 120))
    return np.asarray(runs.load(folder).weights)


@pytest.mark.parametrize("dies", [0, 1])
def test_when_one_dies_the_other_says_so_and_the_run_resumes(tmp_path: Path, dies: int, whole: np.ndarray) -> None:
    folder = tmp_path / "run"
    processes = begin(folder, 120)
    for line in processes[dies].stdout:
        if re.match(r"[3-9]\d\d ", line):  # by then there are checkpoints
            break
    os.kill(processes[dies].pid, signal.SIGKILL)
    said = "\n".join(ends([processes[1 - dies]], status=1)[0])
    processes[dies].communicate()
    assert re.search("LabError: Another process of this run has ended or cannot be reached.* --resume latest", said)
    begun = int(numbers(ends(begin(folder, 120))[0])[0, 0])
    assert begun > 0, "it went on from a checkpoint"
    np.testing.assert_array_equal(runs.load(folder).weights, whole)


@pytest.mark.parametrize("options", [["--processes", "2"], ["--processes", "2", "--process-id", "2"]])
def test_numbers_that_do_not_fit_are_said(options: list[str], tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "lab_kit",
        "train",
        "--dataset",
        "health",
        "--coordinator",
        "127.0.0.1:1",
        *options,
    ]
    done = subprocess.run(
        command, env=os.environ | {"LAB_KIT_WORKSPACE": str(tmp_path)}, capture_output=True, text=True, timeout=BOUND
    )
    assert done.returncode == 1
    assert "needs --processes N and --process-id I" in done.stderr


def test_the_command_trains_in_two_processes(tmp_path: Path) -> None:
    port, command = free_port(), [sys.executable, "-m", "lab_kit", "train", "--dataset", "health", "--epochs", "2"]
    processes = [
        subprocess.Popen(
            [*command, "--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process-id", str(number)],
            env=os.environ | {"LAB_KIT_WORKSPACE": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]
    first, second = ends(processes)
    assert "The bundle is" in "".join(first)
    assert second[-1:] == ["Process 1 took part; the first process has kept the run."]
    assert len(list((tmp_path / "health" / "runs").iterdir())) == 1, "the first process writes for both"

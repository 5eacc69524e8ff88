"""A run that is killed at any moment resumes from its folder and is, to the bit, the run that was never killed."""

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.kills import Trainer
from lab_kit import runs
from lab_kit.checkpoints import Checkpoints
from lab_kit.schema import LabError

KILLS = 20
STEPS = 12 * 9


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    made = Trainer(tmp_path_factory.mktemp("compiled"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def whole(trainer: Trainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody kills."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert trainer.run(folder)[-1] == str(STEPS)
    return folder


@pytest.fixture
def cut_off(trainer: Trainer, tmp_path: Path) -> Path:
    """A run that was killed after some checkpoints."""
    trainer.run(tmp_path / "run", "slowly", kill_after=40)
    return tmp_path / "run"


def losses(folder: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [(line["step"], line["validation_loss"]) for line in lines if "validation_loss" in line]


def assert_the_same(folder: Path, whole: Path) -> None:
    resumed, alone = runs.load(folder), runs.load(whole)
    np.testing.assert_array_equal(resumed.weights, alone.weights)
    assert losses(folder) == losses(whole)
    for name in ("outcome.json", "steering.jsonl"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    steps = resumed.history["step"].to_list()
    assert steps == sorted(set(steps)), "no record twice"
    assert resumed.history.drop("seconds", "rows_per_second").equals(alone.history.drop("seconds", "rows_per_second"))


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_no_bit(trainer: Trainer, whole: Path, tmp_path: Path) -> None:
    chance, folder, begun = random.Random(0), tmp_path / "run", []
    for _ in range(KILLS):  # in the first checkpoint, between two, at the end of an epoch, ...
        lines = trainer.run(folder, "slowly", kill_after=chance.randrange(7), wait=chance.uniform(0, 0.04))
        begun.append(int(lines[0]))
    assert len(set(begun)) > 5, f"the kills fell at different moments: {begun}"
    assert begun == sorted(begun), "no kill cost more than what came after the last checkpoint"
    assert trainer.run(folder)[-1] == str(STEPS)
    assert_the_same(folder, whole)
    with pytest.raises(LabError, match="has come to its end"):
        runs.resume(folder, "rows")


@pytest.mark.slow
def test_a_damaged_checkpoint_makes_the_one_before_it_the_last(trainer: Trainer, whole: Path, cut_off: Path) -> None:
    steps = sorted(int(path.name) for path in (cut_off / "checkpoints").iterdir() if path.name.isdigit())
    assert runs.resume(cut_off, "rows").start.step == steps[-1]
    for file in (cut_off / "checkpoints" / str(steps[-1])).rglob("d/*"):
        os.truncate(file, 7)
    assert runs.resume(cut_off, "rows").start.step == steps[-2]
    trainer.run(cut_off)
    assert_the_same(cut_off, whole)


@pytest.mark.slow
def test_what_cannot_be_resumed_is_said(cut_off: Path, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="learns from other rows"):
        runs.resume(cut_off, "other rows")
    about = json.loads((cut_off / "config.json").read_text())
    other = json.loads(json.dumps(about))
    other["config"]["hidden"] = other["network"]["hidden"] = [7]
    (cut_off / "config.json").write_text(json.dumps(other))
    with pytest.raises(LabError, match="is of another model"):
        runs.resume(cut_off, "rows")
    (cut_off / "config.json").write_text(json.dumps(about))
    for file in (cut_off / "checkpoints").rglob("d/*"):
        os.truncate(file, 7)
    with pytest.raises(LabError, match=r"No checkpoint in .* can be read .*train anew"):
        runs.resume(cut_off, "rows")
    with pytest.raises(LabError, match=r"There is no file .*config.json"):
        runs.resume(tmp_path / "nothing", "rows")


@pytest.mark.slow
@pytest.mark.parametrize("most", ["300", "15000"], ids=["checkpoint", "history"])
def test_a_full_disk_is_a_sentence_and_the_last_good_checkpoint_stays(
    trainer: Trainer, whole: Path, cut_off: Path, most: str
) -> None:
    """A limit on the size of a file stands for the full disk: another error of the system, that takes the same way."""
    last = trainer.run(cut_off, most)[-1]
    assert last.startswith("LabError: The ")
    assert "cannot be written" in last
    assert "make room on the disk" in last
    trainer.run(cut_off)
    assert_the_same(cut_off, whole)


def test_checkpoints_in_an_empty_place_are_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "nothing", "me").load(None) is None
    assert not (tmp_path / "nothing").exists()

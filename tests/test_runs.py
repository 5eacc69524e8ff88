"""A run on disk is the run that was made, also when it was cut off, and never a damaged one."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from example_rows import part, rows, signature

from lab_kit import runs
from lab_kit.config import TrainConfig
from lab_kit.engine import State
from lab_kit.model import Network
from lab_kit.schema import LabError
from lab_kit.train import Progress, Record, fit

CONFIG = TrainConfig((4,), "tanh", optimizer="momentum", batch_size=16, epochs=3, learning_rate=0.05, patience=2)


def record(step: int, best: bool = False, outcome: str | None = None, loss: float = 0.5, weight: float = 0.0) -> Record:
    network = Network(signature("binary"), (), "relu")
    weights = np.full(network.parameters, weight, np.float32)
    validation = {"loss": loss, "auc": float("nan")} if step != 1 else None
    train = {"loss": loss} if step else {}
    state = State(weights, (), np.int32(step), np.uint32(0))
    progress = Progress(state, weights, np.zeros(4), {"dropout": 0.1}, float("inf"), 0, 1.0)
    return Record(
        step / 2, step, step, train, validation, 1.0, 1.0, 0.3, 0.1, {"dropout": 0.1}, best, outcome, network, weights,
        progress,
    )  # fmt: skip


def made(folder: Path, *records: Record, fingerprint: str = "f") -> Path:
    for _ in runs.keep(records, folder, CONFIG, fingerprint):
        pass
    return folder


GOOD = (record(0), record(1), record(2, best=True, weight=0.25), record(4, weight=0.75, outcome="finished"))


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    table = rows("binary", 120)
    fitting = fit(part(table, slice(80)), part(table, slice(80, None)), signature("binary"), CONFIG)
    records = list(runs.keep(fitting, tmp_path / "run", CONFIG, "f"))
    run = runs.load(tmp_path / "run")
    best = [record for record in records if record.best][-1]
    assert run.config == CONFIG
    assert run.network == best.network
    np.testing.assert_array_equal(run.weights, best.weights)
    assert run.weights.dtype == np.float32
    assert run.history.rows(named=True) == runs.history(map(runs.row, records)).rows(named=True)
    assert runs.latest(tmp_path, "f") == tmp_path / "run"


def test_the_kept_weights_are_the_best_ones_and_nan_stays_nan(tmp_path: Path) -> None:
    run = runs.load(made(tmp_path / "run", *GOOD))
    assert set(run.weights.tolist()) == {0.25}
    auc = run.history["validation_auc"]
    assert auc.is_nan().to_list() == [True, None, True, True]  # a record inside an epoch has none
    assert run.history["train_loss"].to_list() == [None, 0.5, 0.5, 0.5]
    assert run.history["best"].to_list() == [False, False, True, False]


def test_a_run_that_ended_after_its_first_record_begins_anew_in_its_folder(tmp_path: Path) -> None:
    table = rows("binary", 120)
    given = part(table, slice(80)), part(table, slice(80, None)), signature("binary")
    alone, again = tmp_path / "alone", tmp_path / "again"
    for folder in (alone, again):
        for _ in runs.keep(fit(*given, CONFIG), folder, CONFIG, "f"):
            if folder == again:
                break
    assert [path.name for path in (again / "checkpoints").iterdir()] == ["0"]
    resumed = runs.resume(again, "f")
    for _ in runs.keep(fit(*given, resumed.config, start=resumed.start), again, CONFIG, "f"):
        pass
    whole, both = runs.load(alone), runs.load(again)
    np.testing.assert_array_equal(both.weights, whole.weights)
    assert both.history["step"].to_list().count(0) == 1
    assert both.history["step"].to_list()[-1] == whole.history["step"].to_list()[-1]


def test_a_checkpoint_without_its_metadata_is_no_news(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = rows("binary", 120)
    records = fit(part(table, slice(80)), part(table, slice(80, None)), signature("binary"), CONFIG)
    for _ in runs.keep(records, tmp_path, CONFIG, "f"):
        break
    (
        tmp_path / "checkpoints" / "0" / "_CHECKPOINT_METADATA"
    ).unlink()  # as a kill in the middle of a deletion leaves it
    runs.resume(tmp_path, "f")
    assert [record.getMessage() for record in caplog.records if record.name == "absl"] == []


@pytest.mark.parametrize("cut", [1, 2, 30, 120])
def test_a_run_that_was_cut_off_keeps_its_whole_records(tmp_path: Path, cut: int) -> None:
    folder = made(tmp_path / "run", *GOOD[:3])
    history = folder / "history.jsonl"
    history.write_bytes(history.read_bytes()[:-cut])
    run = runs.load(folder)
    assert run.history["step"].to_list() == ([0, 1, 2] if cut == 1 else [0, 1])
    assert set(run.weights.tolist()) == {0.25}
    assert runs.latest(tmp_path, "f") is None  # it did not end


def test_a_run_that_the_reader_leaves_is_on_disk_up_to_there(tmp_path: Path) -> None:
    for found in runs.keep(GOOD, tmp_path / "run", CONFIG):
        if found.best:
            break
    assert runs.load(tmp_path / "run").history["step"].to_list() == [0, 1, 2]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config.json", None),
        ("config.json", "{"),
        ("config.json", "[]"),
        ("config.json", '{"config": {"colour": "red"}}'),
        ("history.jsonl", None),
        ("history.jsonl", '{"epoch": }\n'),
        ("weights.safetensors", None),
        ("weights.safetensors", ""),
        ("weights.safetensors", "not arrays"),
    ],
)
def test_a_damaged_run_is_a_sentence(tmp_path: Path, file: str, text: str | None) -> None:
    folder = made(tmp_path / "run", *GOOD)
    (folder / file).unlink()
    if text is not None:
        (folder / file).write_text(text)
    with pytest.raises(LabError, match=str(folder)):
        runs.load(folder)


def test_unknown_settings_and_other_weights_are_a_sentence(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", *GOOD)
    about = json.loads((folder / "config.json").read_text())
    for changed in (
        {**about, "config": {**about["config"], "colour": "red"}},
        {**about, "network": {**about["network"], "hidden": [7]}},
        {name: value for name, value in about.items() if name != "network"},
    ):
        (folder / "config.json").write_text(json.dumps(changed))
        with pytest.raises(LabError, match=str(folder)):
            runs.load(folder)


def test_latest_is_the_newest_run_that_can_be_used(tmp_path: Path) -> None:
    assert runs.latest(tmp_path / "none", "f") is None
    good = made(tmp_path / "2026-01-01-000000", *GOOD)
    assert runs.latest(tmp_path, "f") == good
    diverged = replace(GOOD[-1], outcome="diverged: the loss is no longer a finite number")
    made(tmp_path / "2026-01-02-000000", *GOOD[:-1], diverged)
    made(tmp_path / "2026-01-03-000000", *GOOD, fingerprint="other rows")
    made(tmp_path / "2026-01-04-000000", record(0), record(1, outcome="stopped"))  # never validated: no weights
    made(tmp_path / "2026-01-05-000000", *GOOD[:-1])  # cut off
    assert runs.latest(tmp_path, "f") == good
    stopped = made(tmp_path / "2026-01-06-000000", *GOOD[:-1], record(3, outcome="stopped"))
    assert runs.latest(tmp_path, "f") == stopped
    early = made(tmp_path / "2026-01-06-000000-002", *GOOD[:-1], record(4, outcome="stopped early: no better loss"))
    assert runs.latest(tmp_path, "f") == early


def test_a_damaged_run_does_not_hide_the_others(tmp_path: Path) -> None:
    good = made(tmp_path / "2026-01-01-000000", *GOOD)
    for number, file in enumerate(("outcome.json", "config.json"), 2):
        (made(tmp_path / f"2026-01-0{number}-000000", *GOOD) / file).write_text("{")
    assert runs.latest(tmp_path, "f") == good


def test_names_of_runs_sort_by_age_also_within_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs.time, "strftime", lambda _: "2026-01-01-000000")
    folders = []
    for _ in range(12):
        folders.append(runs.new_folder(tmp_path))
        made(folders[-1], *GOOD)
        assert runs.latest(tmp_path, "f") == folders[-1]
    assert len(set(folders)) == 12


def test_a_run_leaves_only_its_files(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", *GOOD)
    assert sorted(os.listdir(folder)) == [
        "checkpoints",
        "config.json",
        "history.jsonl",
        "outcome.json",
        "steering.jsonl",
        "weights.safetensors",
    ]

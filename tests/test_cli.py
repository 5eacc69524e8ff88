"""The command as a user meets it; ``test_journey`` has the way from training to a prediction."""

import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import jax
import polars as pl
import pytest
from test_bundle import MODEL, NEW

from lab_kit import bundle, cli, datasets, screen, train_command, workspace
from lab_kit.config import TrainConfig
from lab_kit.knobs import CLASS_WEIGHTS
from lab_kit.metrics import LOSSES
from lab_kit.model import ACTIVATIONS, NORMALIZATIONS
from lab_kit.optimizers import OPTIMIZERS
from lab_kit.schedules import SCHEDULES

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process: its exit status, standard output and standard error."""
    monkeypatch.setattr(workspace, "WORKSPACE", tmp_path / "workspace")
    monkeypatch.setenv("COLUMNS", "300")

    def act(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lab-kit", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return act


def test_help_names_each_command_and_option(run: Run) -> None:
    status, out, _ = run("--help")
    assert status == 0
    for command in ("lab", "report", "train", "predict", "datasets"):
        assert f" {command} " in out
        status, page, _ = run(command, "--help")
        assert (status, "Usage" in page) == (0, True)
    _, page, _ = run("train", "--help")
    for option in ("hidden", "learning-rate", "momentum", "weight-decay", "dropout", "batch-size", "epochs", "seed"):
        assert f"--{option}" in page


def test_the_help_of_train_shows_each_choice_and_default_and_imports_no_jax() -> None:
    code = "import sys; from lab_kit import cli; sys.argv = ['lab-kit', 'train', '--help']\ntry: cli.main()\nfinally: "
    code += "print(*(name for name in ('jax', 'numpy', 'polars') if name in sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, env=os.environ | {"COLUMNS": "400"}, check=True,
    )  # fmt: skip
    assert done.stderr == "\n"
    lines = {found[1]: line for line in done.stdout.splitlines() if (found := re.match(r"\W+--([a-z-]+)", line))}
    for field in fields(TrainConfig):
        if field.name != "readers":  # one a process
            assert "[default: " in lines[field.name.replace("_", "-")]
    for option, table in (
        *(("activation", ACTIVATIONS), ("normalization", NORMALIZATIONS), ("class-weight", CLASS_WEIGHTS)),
        *(("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("loss", {n for of in LOSSES.values() for n in of})),
    ):
        assert [name for name in table if name not in lines[option]] == []
    assert "chosen from the table's size" in lines["batch-size"]
    assert "[default: 0.001]" in lines["learning-rate"]
    assert "0 to train all epochs" in lines["patience"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "nosuch"], "There is no dataset 'nosuch'"),
        (["--dataset", "health", "--learning-rate", "-1"], "learning_rate = -1: choose a finite number above 0."),
        (["--dataset", "diabetes", "--loss", "cross-entropy"], "choose one of squared error, huber for a regression"),
        (["--dataset", "health", "--epochs", "0"], "a run needs 1 epoch or more"),
        (["--resume", "latest", "--patience", "0"], "leave out --patience"),
        (["--process-id", "0"], "of no use without --coordinator"),
    ],
)
def test_what_needs_no_jax_is_refused_before_it_is_imported(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.setitem(sys.modules, "lab_kit.devices", None)  # an import of it would be an ImportError
    monkeypatch.delattr("lab_kit.devices", raising=False)
    status, _, err = run("train", *arguments)
    assert status == 1
    assert words in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("/a b/.venv/bin/lab-kit", "'/a b/.venv/bin/lab-kit' train --dataset 'my own'"),
        ("../bin/lab-kit", "../bin/lab-kit train --dataset 'my own'"),
        ("/on/the/path/lab-kit", "lab-kit train --dataset 'my own'"),
        ("/work/lab_kit/__main__.py", f"{sys.executable} -m lab_kit train --dataset 'my own'"),
    ],
)
def test_a_command_in_a_hint_is_one_that_can_be_pasted(monkeypatch: pytest.MonkeyPatch, typed: str, words: str) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/on/the/path/{name}")
    monkeypatch.setattr(sys, "argv", [typed, "train"])
    assert screen.pasteable("train", "--dataset", "my own") == words


@pytest.mark.slow
def test_patience_is_named_where_it_ended_a_run_and_0_turns_it_off(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    jax.local_devices()  # as many as all tests have: the command would start JAX with one for each core
    short = ["train", "--dataset", "diabetes", "--hidden", "8", "--learning-rate", "0.3", "--epochs", "25"]
    status, out, _ = run(*short, "--patience", "1")
    assert status == 0
    assert "stopped early: no better validation loss for 1 epochs; --patience 0 trains all epochs" in " ".join(
        out.split()
    )
    status, out, _ = run(*short, "--patience", "0")
    assert (status, "Best epoch (finished)" in out) == (0, True)
    assert "epoch 2.0, training loss" not in out, "too short a run for a line on the way"
    monkeypatch.setattr(train_command, "SECONDS_BETWEEN_LINES", -1)
    status, out, _ = run(*short, "--patience", "0")
    assert "epoch 2.0, training loss" in out, "where nobody watches, lines say how far it is"
    assert "Loss and rmse count standard deviations of progression" in out
    assert "bundle NEW_ROWS.csv --output predictions.csv" in out


def test_the_datasets_are_listed_with_what_they_ask(run: Run) -> None:
    status, out, _ = run("datasets")
    assert status == 0
    for name, card in datasets.catalog().items():
        assert name in out
        assert card.task in out
    assert sum(name in out for name in ("diabetes", "digits", "flights", "health")) == 4


def test_an_unknown_command_or_option_is_a_usage_error_without_traceback(run: Run) -> None:
    for arguments in (["fly"], ["train", "--speed", "3"], ["train", "--epochs", "many"], ["predict"]):
        status, _, err = run(*arguments)
        assert status == 2
        assert "Traceback" not in err


@pytest.mark.parametrize("name", ["a[b].csv", "a[red].csv", "a[/red].csv", "[bold]"])
def test_brackets_in_a_name_are_shown_as_they_are(run: Run, tmp_path: Path, name: str) -> None:
    status, _, err = run("predict", tmp_path / name, "rows.csv", "-o", "out.csv")
    assert status == 1
    assert f"{tmp_path / name} is not a bundle" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("hidden", ["wide", "64;32", "64,-1", "0", "1.5"])
def test_widths_that_are_none_are_one_sentence(run: Run, hidden: str) -> None:
    status, _, err = run("train", "--dataset", "diabetes", f"--hidden={hidden}")
    assert status == 1
    assert "hidden" in err
    assert len(err.strip().splitlines()) == 1


def test_progress_is_for_a_terminal_alone_whatever_the_environment_says(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle.save(MODEL, tmp_path / "bundle")
    NEW.write_csv(tmp_path / "new.csv")
    arguments = ["predict", tmp_path / "bundle", tmp_path / "new.csv", "-o", tmp_path / "out.csv"]
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a cell of a notebook
    status, out, err = run(*arguments)
    assert (status, err) == (0, "")
    assert "predictions are in" in out
    assert "Predicting" not in out
    assert "\x1b[?25l" not in out  # the cursor is not hidden


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_column_without_a_value_is_filled_and_named(run: Run, tmp_path: Path, suffix: str) -> None:
    bundle.save(MODEL, tmp_path / "bundle")
    new, out = tmp_path / f"new.{suffix}", tmp_path / f"out.{suffix}"
    arguments = ["predict", tmp_path / "bundle", new, "-o", out]
    bundle.write_rows(NEW, new)
    status, _, err = run(*arguments)
    assert (status, err) == (0, "")
    bundle.write_rows(NEW.with_columns(pl.lit(None, NEW.schema[c]).alias(c) for c in ("count", "colour", "key")), new)
    status, _, err = run(*arguments)
    assert status == 0
    assert "new." in err
    assert "has a value in 'count', 'colour'; each was filled as a gap." in err  # the key is no input
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "output", "words"),
    [
        ("header.csv", "out.csv", "header.csv has names of columns but no rows, so there is nothing to predict."),
        ("header.parquet", "out.csv", "has names of columns but no rows"),
        ("new.csv", "missing/out.csv", "there is no folder {folder}/missing; make it first."),
        ("new.csv", "missing/out.parquet", "there is no folder {folder}/missing; make it first."),
        ("new.csv", "new.csv/out.csv", "there is no folder {folder}/new.csv; make it first."),
        ("new.csv", "bundle/out.txt", "must end in .csv or .parquet"),
        (".", "out.csv", "is a folder; give one CSV or Parquet file."),
    ],
)
def test_rows_or_an_output_that_cannot_be_are_one_sentence(
    run: Run, tmp_path: Path, name: str, output: str, words: str
) -> None:
    bundle.save(MODEL, tmp_path / "bundle")
    NEW.write_csv(tmp_path / "new.csv")
    NEW.head(0).write_csv(tmp_path / "header.csv")
    NEW.head(0).write_parquet(tmp_path / "header.parquet")
    before = sorted(tmp_path.rglob("*"))
    status, _, err = run("predict", tmp_path / "bundle", tmp_path / name, "-o", tmp_path / output)
    assert status == 1
    assert words.format(folder=tmp_path) in err
    assert len(err.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_a_terminal_sees_progress(tmp_path: Path) -> None:
    bundle.save(MODEL, tmp_path / "bundle")
    NEW.write_csv(tmp_path / "new.csv")
    ours, theirs = pty.openpty()
    arguments = ["predict", tmp_path / "bundle", tmp_path / "new.csv", "-o", tmp_path / "out.csv"]
    command = [sys.executable, "-m", "lab_kit", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        try:
            while more := os.read(ours, 65536):
                seen += more
        except OSError:  # Linux says so when the other end closes
            pass
    os.close(ours)
    assert process.returncode == 0, seen
    assert b"Predicting" in seen


@pytest.mark.slow
def test_cards_of_ones_own_and_a_damaged_file_in_a_new_process(tmp_path: Path) -> None:
    folder = tmp_path / "datasets"
    shutil.copytree(datasets.DATASETS_FOLDER, folder)
    (folder / "digits.toml").unlink()
    planes = folder / "flights" / "planes.csv.zst"
    data = bytearray(planes.read_bytes())
    data[len(data) // 2] ^= 1
    planes.write_bytes(data)
    places = {"LAB_KIT_DATASETS": str(folder), "LAB_KIT_WORKSPACE": str(tmp_path / "workspace"), "COLUMNS": "300"}

    def lab_kit(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lab_kit", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=os.environ | places, check=False)

    listed = lab_kit("datasets")
    assert listed.returncode == 0
    assert "flights" in listed.stdout
    assert "digits" not in listed.stdout
    done = lab_kit("train")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert str(planes) in done.stderr
    assert "sha256" in done.stderr
    assert not list((tmp_path / "workspace").rglob("*.parquet"))

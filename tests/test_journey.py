"""The journey as a user takes it: the notebooks executed in order, and the commands in processes of their own."""

import hashlib
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import nbformat
import polars as pl
import pytest

from lab_kit import bundle as bundles
from lab_kit import cli, datasets, report, store, workspace

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def lab_kit(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lab_kit", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"} | environment, check=False
    )


Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command in this process and gives its one sentence: on standard error, with an exit status."""
    monkeypatch.setattr(workspace, "WORKSPACE", tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")

    def act(*arguments: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", ["lab-kit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 1
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1, lines
        assert lines[0].endswith(".")
        return lines[0]

    return act


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_short_cells_that_assert_and_define_nothing(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
    assert "parameters" in cells[0].metadata.tags
    assert 'dataset = "flights"' in cells[0].source
    assert all(len(cell.source.splitlines()) <= 16 for cell in cells)
    code = "\n".join(cell.source for cell in cells)
    assert not re.search(r"^\s*(def|class) ", code, re.MULTILINE)
    assert re.search(r"^\s*assert ", code, re.MULTILINE)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for target in re.findall(r"\]\(([^)]+\.ipynb)\)", prose):
        assert (path.parent / target).is_file()


Report = tuple[Path, "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, "Future[Report]"]]:
    """The reports of all datasets, made two at a time: a kernel that starts or compiles keeps one core busy."""

    def report_on(dataset: str, workspace: Path) -> Report:
        return workspace, lab_kit("report", "--dataset", dataset, LAB_KIT_WORKSPACE=str(workspace))

    with ThreadPoolExecutor(2) as pool:
        names = ("flights", "health", "digits", "diabetes")
        made = {name: pool.submit(report_on, name, tmp_path_factory.mktemp("workspace")) for name in names}
        yield made
        pool.shutdown(cancel_futures=True)


def reported(reports: dict[str, "Future[Report]"], dataset: str) -> tuple[Path, str]:
    """The folder of a dataset in a workspace that only its report has written to, and the report."""
    workspace, done = reports[dataset].result()
    assert done.returncode == 0, done.stdout + done.stderr
    place = workspace / dataset
    return place, (place / "reports" / f"{dataset}-report.html").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.notebooks
def test_the_report_on_flights_is_honest_and_the_network_is_near_the_baseline(
    reports: dict[str, "Future[Report]"],
) -> None:
    page = reported(reports, "flights")[1]
    found = {
        model: float(value)
        for model, value in re.findall(r"test AUC +(network|gradient boosting) +(\d\.\d{3}) \(", page)
    }
    assert found["network"] >= 0.69
    assert abs(found["network"] - found["gradient boosting"]) <= 0.01
    assert "What a careless split would have said" in page
    assert re.search(r"<header>.*Test AUC of the network 0\.\d{3} \(95 % interval .*</header>", page, re.DOTALL)
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    assert sum(len(script) > 1_000_000 for script in scripts) == 1  # plotly.js once, not once a chart
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=.https?://", page)


@pytest.mark.slow
@pytest.mark.notebooks
def test_no_test_row_touched_the_model_on_flights(reports: dict[str, "Future[Report]"]) -> None:
    place = reported(reports, "flights")[0]
    card = datasets.card("flights")
    cleaned = (
        store.read(place / "clean")
        .group_by("split")
        .agg(pl.col("time_hour").min().alias("first"), pl.col("time_hour").max().alias("last"))
        .collect()
    )
    first = {row["split"]: row["first"].date() for row in cleaned.iter_rows(named=True)}
    last = {row["split"]: row["last"].date() for row in cleaned.iter_rows(named=True)}
    assert last["train"] < card.split.validation_from == first["validation"]
    assert last["validation"] < card.split.test_from == first["test"]
    encoder = json.loads(json.loads((place / "features" / "encoder.json").read_text())["encoder"])
    names = {column["name"] for column in (*encoder["numeric"], *encoder["categorical"])}
    assert names.isdisjoint({"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "late", "month", "day"})


@pytest.mark.slow
@pytest.mark.notebooks
@pytest.mark.parametrize("dataset", ["health", "digits", "diabetes"])
def test_the_notebooks_run_on_every_task(dataset: str, reports: dict[str, "Future[Report]"]) -> None:
    text = reported(reports, dataset)[1]
    assert len(text) > 1_000_000
    assert "Warning" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    header, main = text[text.index("<header") : text.index("</header>")], text[text.index("<main") :]
    measure = "AUC" if dataset == "health" else "accuracy" if dataset == "digits" else "MAE"
    assert re.search(rf"Test {measure} of the network [\d.]+ \(95 % interval [\d.]+ to [\d.]+\)", header)
    assert "gradient boosting" in header
    assert datasets.card(dataset).question in header
    for words in ("Shift", "careless split", "flight"):  # how to run cells, a split by time, the other dataset
        assert words not in main[: main.index("<script>")]
    assert ("Over all thresholds" in main) == (dataset == "health")


@pytest.mark.slow
@pytest.mark.notebooks
@pytest.mark.parametrize("path", NOTEBOOKS[-2:], ids=lambda path: path.stem)
def test_a_notebook_runs_alone(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_KIT_WORKSPACE", str(tmp_path / "workspace"))
    assert report.build_report("diabetes", tmp_path / "out", [path]).is_file()


@pytest.mark.slow
def test_the_loop_of_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    found = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert found
    command = [sys.executable, "-c", found.group(1).replace("flights", "health")]
    environment = os.environ | {"LAB_KIT_WORKSPACE": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    epochs = [line.split() for line in done.stdout.splitlines() if re.match(r"\d+ ", line)]
    assert [epoch for epoch, _, _ in epochs] == [str(number) for number in range(len(epochs))]
    assert float(epochs[-1][2]) < float(epochs[0][2])


@pytest.mark.slow
def test_train_and_predict_in_two_processes(tmp_path: Path, refused: Refused) -> None:
    place = {"LAB_KIT_WORKSPACE": str(tmp_path)}
    done = lab_kit("train", "--dataset", "health", "--epochs", "5", **place)
    assert done.returncode == 0, done.stderr
    rows, bundle = tmp_path / "rows.csv", tmp_path / "health" / "bundle"
    table = datasets.scan(datasets.card("health")).drop("diagnosis").head(50).collect()
    table.write_csv(rows)
    done = lab_kit("predict", bundle, rows, "-o", tmp_path / "out.csv", **place)
    assert done.returncode == 0, done.stderr
    found = pl.read_csv(tmp_path / "out.csv")
    assert found.columns == [*table.columns, "prediction", "probability"]
    assert found["probability"].is_between(0, 1).all()
    assert set(found["prediction"]) == {"benign", "malignant"}
    here = bundles.load(bundle).predict(table)
    assert (here["probability"] - found["probability"]).abs().max() < 1e-6
    assert sorted(path.suffix for path in bundle.iterdir()) == [".json"] * 5 + [".safetensors"]

    missing = tmp_path / "missing.csv"
    table.drop("mean_radius").write_csv(missing)
    assert "mean_radius" in refused("predict", bundle, missing, "-o", tmp_path / "no.csv")
    assert "nowhere.csv" in refused("predict", bundle, "nowhere.csv", "-o", tmp_path / "no.csv")
    assert "bundle.json" in refused("predict", tmp_path, rows, "-o", tmp_path / "no.csv")
    assert ".csv or .parquet" in refused("predict", bundle, rows, "-o", tmp_path / "no.txt")
    assert not list(tmp_path.glob("*no.*"))
    (bundle / "encoder.json").write_text("{}")
    assert "encoder.json" in refused("predict", bundle, rows, "-o", tmp_path / "no.csv")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--dataset", "nothing"], "flights, health"),
        (["train", "--dataset", "diabetes", "--optimizer", "sgd", "--learning-rate", "1e20"], "diverged"),
        (["train", "--dataset", "diabetes", "--learning-rate", "-1"], "learning_rate = -1"),
        (["train", "--dataset", "diabetes", "--hidden", "many"], "whole numbers"),
        (["train", "--dataset", "diabetes", "--patience", "-1"], "--patience -1: choose 1 or more, or 0 to train"),
        (["train", "--dataset", "diabetes", "--batch-size", "100000"], "training rows"),
        (["train", "--dataset", "diabetes", "--devices", "999"], "devices"),
        (["report", "--dataset", "nothing"], "flights, health"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_an_exit_status(arguments: list[str], words: str, refused: Refused) -> None:
    assert words in refused(*arguments)


@pytest.mark.slow
def test_a_damaged_file_a_wrong_target_and_one_class_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    folder = tmp_path / "datasets"
    folder.mkdir()
    rows = pl.DataFrame({"size": [1.0, 2.0, 3.0, 4.0] * 10, "answer": ["yes"] * 40})
    rows.write_csv(folder / "own.csv")
    card = """
        name = "own"
        title = "t"
        question = "q?"
        license = "l"
        provenance = "p"
        task = "binary"
        target = {{ column = "{target}", labels = ["no", "yes"] }}
        source = {{ kind = "table", path = "{path}", sha256 = "{sha}" }}
        split = {{ kind = "random" }}
        [columns]
        size = {{ role = "numeric" }}
        answer = {{ role = "target" }}
    """
    right = hashlib.sha256((folder / "own.csv").read_bytes()).hexdigest()
    monkeypatch.setattr(datasets, "DATASETS_FOLDER", folder)
    monkeypatch.setattr(datasets.card, "__defaults__", (folder,))
    monkeypatch.setattr(datasets.scan, "__defaults__", (folder,))
    for target, path, sha, words in (
        ("answer", "own.csv", right, "only one class"),
        ("reply", "own.csv", right, "reply"),
        ("answer", "own.csv", "0" * 64, "sha256"),
        ("answer", "gone.csv", right, "gone.csv"),
    ):
        (folder / "own.toml").write_text(textwrap.dedent(card.format(target=target, path=path, sha=sha)))
        assert words in refused("train", "--dataset", "own")

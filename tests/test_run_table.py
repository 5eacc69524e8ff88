"""Runs as a table: a thousand are read from one file, and nothing that is deleted is lost at once."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from example_rows import part, rows, signature

from lab_kit import mlflow_export, run_store, run_table, runs
from lab_kit.config import TrainConfig
from lab_kit.run_store import RunStore
from lab_kit.run_table import RunTable
from lab_kit.schema import LabError
from lab_kit.steering import Change, Steering
from lab_kit.train import fit

CONFIG = TrainConfig((4,), batch_size=16, epochs=2)
TABLE = rows("binary", 120)


def made(folder: Path, name: str, config: TrainConfig = CONFIG, stop: bool = False) -> str:
    records = fit(part(TABLE, slice(80)), part(TABLE, slice(80, None)), signature("binary"), config)
    for record in runs.keep(records, folder / name, config, "rows"):
        if stop and record.step:
            break
    return name


def written(folder: Path, number: int, loss: float = 0.5) -> str:
    """A run folder as ``runs.keep`` leaves it, without the work."""
    name = f"2026-11-{1 + number // 60:02}-0000{number % 60:02}"
    place = folder / name
    place.mkdir(parents=True)
    config = asdict(replace(CONFIG, seed=number))
    (place / "config.json").write_text(json.dumps({"config": config, "network": {}, "fingerprint": "rows"}))
    row = {"epoch": 1.0, "step": 5, "seconds": 0.1, "best": True, "outcome": "finished", "validation_loss": loss}
    (place / "history.jsonl").write_text(json.dumps(row) + "\n")
    (place / "outcome.json").write_text('{"outcome": "finished", "learnt": true}')
    return name


@contextmanager
def opened(below: Path) -> Iterator[list[str]]:
    """The files below a folder that are opened."""
    found: list[str] = []
    listening = True

    def hear(event: str, given: tuple) -> None:
        if listening and event == "open" and isinstance(given[0], str) and given[0].startswith(str(below)):
            found.append(given[0])

    sys.addaudithook(hear)
    try:
        yield found
    finally:
        listening = False


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs")


def test_a_folder_that_is_missing_has_no_runs(store: RunStore) -> None:
    assert store.summaries() == []
    assert store.deleted() == []
    assert not store.folder.exists()


def test_a_summary_says_what_the_run_itself_says(store: RunStore) -> None:
    first, second = made(store.folder, "2026-11-24-040900"), made(store.folder, "2026-11-24-041000", stop=True)
    newest, oldest = store.summaries()
    assert (newest.name, oldest.name) == (second, first)
    run = runs.load(store.folder / first)
    best = run.history.filter("best").tail(1).row(0, named=True)
    assert oldest.metrics["loss"] == best["validation_loss"]
    assert oldest.metrics["auc"] == best["validation_auc"]
    assert oldest.outcome == "finished"
    assert oldest.epochs == 2
    assert oldest.created == "2026-11-24 04:09:00"
    assert oldest.config == json.loads(json.dumps(asdict(CONFIG)))
    assert newest.outcome == "cut off"


def test_a_thousand_runs_are_read_by_opening_two_files(store: RunStore) -> None:
    for number in range(1000):
        written(store.folder, number)
    with opened(store.folder) as files:
        first = store.summaries()
    assert len(files) >= 3000
    with opened(store.folder) as files:
        again = RunStore(store.folder).summaries()
    assert again == first
    assert len(again) == 1000
    assert sorted(Path(file).name for file in files) == ["index.json", "labels.json"]
    written(store.folder, 1000)
    with opened(store.folder) as files:
        assert len(store.summaries()) == 1001
    assert len(files) <= 8  # those two, the four of the new run, and the new index


def test_an_index_that_is_damaged_or_old_is_made_again(store: RunStore) -> None:
    written(store.folder, 1)
    first = store.summaries()
    for text in ("{", "[]", '{"version": 0, "runs": {"x": 1}}'):
        (store.folder / "index.json").write_text(text)
        assert store.summaries() == first


def test_a_run_that_went_on_is_read_again_and_a_damaged_one_is_left_out(store: RunStore) -> None:
    first, second = written(store.folder, 1, loss=0.5), written(store.folder, 2)
    assert store.summaries()[1].metrics["loss"] == 0.5
    place = store.folder / first
    (place / "history.jsonl").write_text((place / "history.jsonl").read_text().replace("0.5", "0.4"))
    (place / "outcome.json").write_text('{"outcome": "stopped", "learnt": true}')
    assert (store.summaries()[1].metrics["loss"], store.summaries()[1].outcome) == (0.4, "stopped")
    (store.folder / second / "outcome.json").write_text("{")
    assert [run.name for run in store.summaries()] == [first]


def test_names_and_pins_stay_and_a_deleted_run_comes_back_with_them(store: RunStore) -> None:
    old, new = written(store.folder, 1), written(store.folder, 2)
    store.name(old, "  the good one ")
    store.pin(old)
    top = RunStore(store.folder).summaries()[0]
    assert (top.name, top.title, top.pinned) == (old, "the good one", True)
    store.delete(old)
    assert [run.name for run in store.summaries()] == [new]
    assert store.deleted() == [old]
    assert runs.latest(store.folder, "rows") == store.folder / new
    store.restore(old)
    assert store.summaries()[0] == top
    assert store.deleted() == []
    for act in (store.delete, store.restore, store.pin):
        with pytest.raises(LabError, match="nowhere"):
            act("nowhere")


def test_differences_are_those_of_the_settings() -> None:
    one, other = asdict(CONFIG), asdict(replace(CONFIG, learning_rate=0.1, hidden=(8,)))
    assert run_store.differing([one, other, one]) == ["hidden", "learning_rate"]
    assert run_store.differing([one]) == run_store.differing([]) == []


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_an_exported_table_has_a_row_for_each_run(store: RunStore, tmp_path: Path, ending: str) -> None:
    for number in range(3):
        written(store.folder, number, loss=number / 8)
    path = run_store.export(store.summaries(), tmp_path / "out" / f"runs.{ending}")
    table = pl.read_csv(path) if ending == "csv" else pl.read_parquet(path)
    assert table["validation_loss"].to_list() == [0.25, 0.125, 0.0]
    assert table["seed"].to_list() == [2, 1, 0]
    assert set(table["hidden"].cast(pl.String)) == {"4"}
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    with pytest.raises(LabError, match=r"\.csv or \.parquet"):
        run_store.export(store.summaries(), tmp_path / "runs.xlsx")


def test_the_widget_pins_names_deletes_and_takes_back(store: RunStore) -> None:
    old, new = written(store.folder, 1), written(store.folder, 2)
    shown = RunTable(store.folder, "auc")
    assert [row["name"] for row in shown.table.rows] == [new, old]
    shown.act({"do": "name", "run": old, "value": "mine"})
    shown.act({"do": "pin", "run": old, "value": True})
    assert [(row["title"], row["pinned"]) for row in shown.table.rows] == [("mine", True), ("", False)]
    shown.act({"do": "delete", "run": old})
    assert [row["name"] for row in shown.table.rows] == [new]
    assert shown.table.undo == 1
    assert "Undo brings it back" in shown.table.message
    shown.act({"do": "undo"})
    assert [row["name"] for row in shown.table.rows] == [old, new]
    shown.act({"do": "delete", "run": "nowhere"})
    assert "There is no run nowhere" in shown.table.message
    shown.act({"do": "export", "value": "csv"})
    assert (store.folder.parent / "runs.csv").is_file()


def test_selected_runs_are_drawn_over_one_another_and_their_differences_marked(store: RunStore) -> None:
    first = made(store.folder, "2026-11-24-040900")
    second = made(store.folder, "2026-11-24-041000", replace(CONFIG, learning_rate=0.1))
    made(store.folder, "2026-11-24-041100", replace(CONFIG, seed=3))
    shown = RunTable(store.folder, "auc")
    shown.table.selected = [first, second]
    labels = [column["label"] for column in shown.table.columns]
    assert labels[-2:] == ["seed", "learning rate"], "what differs among others stays in its place, unmarked"
    assert [row["differs"] for row in shown.table.rows] == [[], ["config.learning_rate"], ["config.learning_rate"]]
    drawn = [trace for trace in shown._chart.data if trace.visible]
    assert len(drawn) == 4
    expected = runs.load(store.folder / second).history["validation_loss"].drop_nulls()
    np.testing.assert_array_equal(drawn[0].y, expected)
    shown.table.selected = []
    assert not any(trace.visible for trace in shown._chart.data)


def test_what_was_steered_stands_beside_what_the_run_began_with(store: RunStore) -> None:
    steering = Steering([Change(3, "learning_rate", 0.5), Change(5, "pause", None), Change(7, "learning_rate", 0.25)])
    given = part(TABLE, slice(80)), part(TABLE, slice(80, None)), signature("binary"), CONFIG
    name = "2026-11-24-040900"
    for _ in runs.keep(fit(*given, steering=steering), store.folder / name, CONFIG, "rows", steering):
        pass
    (summary,) = store.summaries()
    assert summary.steered == {"learning_rate": 0.25}
    assert summary.config["learning_rate"] == CONFIG.learning_rate
    assert run_store.frame([summary])["steered"].to_list() == ["learning_rate=0.25"]
    shown = RunTable(store.folder, "auc")
    assert shown.table.columns[-1]["label"] == "learning rate"
    assert shown.table.rows[0]["config.learning_rate"] == "0.001 → 0.25"
    made(store.folder, "2026-11-24-041000")  # the same, left alone
    shown.refresh()
    shown.table.selected = [row["name"] for row in shown.table.rows]
    assert [row["differs"] for row in shown.table.rows] == [["config.learning_rate"]] * 2


def test_no_two_columns_have_the_same_name(store: RunStore) -> None:
    made(store.folder, "2026-11-24-040900")
    made(store.folder, "2026-11-24-041000", replace(CONFIG, epochs=3))
    labels = [column["label"].lower() for column in RunTable(store.folder, "auc").table.columns]
    assert "epochs set" in labels
    assert len(set(labels)) == len(labels)


def test_a_runs_settings_go_back_to_where_they_are_used(store: RunStore) -> None:
    taken: list[TrainConfig] = []
    wanted = replace(CONFIG, learning_rate=0.1, patience=3)
    name, broken = made(store.folder, "2026-11-24-040900", wanted), written(store.folder, 1)
    shown = RunTable(store.folder, "auc", use=taken.append)
    shown.act({"do": "use", "run": name})
    assert taken == [wanted]
    about = json.loads((store.folder / broken / "config.json").read_text())
    about["config"]["colour"] = "red"
    (store.folder / broken / "config.json").write_text(json.dumps(about))
    (store.folder / "index.json").unlink()
    shown.refresh()
    shown.act({"do": "use", "run": broken})
    assert "another version" in shown.table.message
    assert taken == [wanted]


def test_a_column_for_every_setting_would_be_too_many(store: RunStore) -> None:
    made(store.folder, "2026-11-24-040900")
    other = replace(CONFIG, seed=1, momentum=0.1, dropout=0.2, weight_decay=0.0, learning_rate=0.1, hidden=(3,))
    made(store.folder, "2026-11-24-041000", other)
    shown = RunTable(store.folder, "auc")
    assert sum(column["key"].startswith("config.") for column in shown.table.columns) == run_table.MOST_SETTINGS


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlalchemy")  # MLflow's own store uses what SQLAlchemy retires
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")
def test_runs_go_to_mlflow_once(store: RunStore, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    name = made(store.folder, "2026-11-24-040900")
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert mlflow_export.to_mlflow(store, address, "flights") == [name]
    assert mlflow_export.to_mlflow(store, address, "flights") == []
    client = mlflow.MlflowClient(tracking_uri=address)
    (run,) = client.search_runs([client.get_experiment_by_name("flights").experiment_id])
    assert run.info.run_name == name
    assert run.info.status == "FINISHED"
    assert run.data.params["learning_rate"] == str(CONFIG.learning_rate)
    kept = runs.load(store.folder / name).history
    sent = [point.value for point in client.get_metric_history(run.info.run_id, "validation_loss")]
    assert sent == kept["validation_loss"].drop_nulls().to_list()


def test_without_mlflow_there_is_a_command_to_run(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(LabError, match=r"pip install .*lab-kit\[mlflow\]"):
        mlflow_export.to_mlflow(store, "sqlite://", "flights")

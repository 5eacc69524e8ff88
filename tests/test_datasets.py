"""From card to table: the four datasets, a user's own table, and every way in which a source can be wrong."""

import shutil
from pathlib import Path

import polars as pl
import pytest
from sklearn.datasets import load_breast_cancer

from lab_kit import datasets
from lab_kit.schema import DatasetCard, LabError

COLUMNS = {"a": {"role": "numeric"}, "b": {"role": "categorical"}, "y": {"role": "target"}}


def card(path: str = "t.csv", **changes: object) -> DatasetCard:
    fields = {
        "name": "t",
        "title": "T",
        "task": "binary",
        "target": {"column": "y"},
        "source": {"kind": "table", "path": path},
        "columns": COLUMNS,
    }
    return DatasetCard.model_validate(fields | changes)


def table(folder: Path, text: str = "a,b,y\n1,x,0\n2,z,1\n3,,0\n") -> Path:
    (folder / "t.csv").write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="module")
def flights() -> pl.DataFrame:
    wanted = [
        "origin",
        "tailnum",
        "dest",
        "year",
        "plane_year",
        "hour",
        "minute",
        "time_hour",
        "temp",
        "dest_tz",
        "flight",
        "carrier",
    ]
    frame = datasets.scan(datasets.card("flights"))
    return frame.select(*wanted, "arr_delay", "late").collect(engine="streaming")


def test_flights_have_every_published_row_once(flights: pl.DataFrame) -> None:
    assert flights.height == 336_776
    key = ("origin", "time_hour", "minute", "flight", "carrier")
    assert flights.select(key).is_unique().all()
    assert flights["year"].unique().to_list() == [2013]
    assert flights["plane_year"].min() == 1956


def test_flights_are_in_new_york_time(flights: pl.DataFrame) -> None:
    assert flights.select((pl.col("time_hour").dt.hour() == pl.col("hour")).all()).item()
    assert flights["time_hour"].dt.date().min().isoformat() == "2013-01-01"
    assert flights["time_hour"].dt.date().max().isoformat() == "2013-12-31"


def test_the_first_flight_is_joined_as_published(flights: pl.DataFrame) -> None:
    first = flights.row(0, named=True)
    assert (first["tailnum"], first["dest"], first["plane_year"]) == ("N14228", "IAH", 1999)
    assert (first["temp"], first["dest_tz"], first["late"]) == (39.02, -6, False)


def test_flights_without_arrival_have_no_target(flights: pl.DataFrame) -> None:
    assert flights["late"].null_count() == 9_430
    assert flights["late"].sum() == flights.filter(pl.col("arr_delay") > 15).height


def test_sklearn_tables_are_theirs() -> None:
    health = datasets.scan(datasets.card("health")).collect()
    theirs = load_breast_cancer()
    assert (health.drop("diagnosis").to_numpy() == theirs.data).all()
    assert (health["diagnosis"] == "malignant").sum() == (theirs.target == 0).sum()
    assert datasets.scan(datasets.card("digits")).collect().shape == (1797, 65)
    assert datasets.scan(datasets.card("diabetes")).collect()["age"].max() == 79


@pytest.mark.parametrize("name", ["health", "digits", "diabetes"])
def test_every_card_has_a_target_to_learn(name: str) -> None:
    found = datasets.card(name)
    datasets.check_target(found, datasets.scan(found))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(LabError, match=r"no dataset 'fligths'.*diabetes, digits, flights, health"):
        datasets.card("fligths")
    assert {"diabetes", "digits", "flights", "health"} <= set(datasets.catalog())


def test_an_own_table_is_one_more_card(tmp_path: Path) -> None:
    frame = datasets.scan(card(), table(tmp_path)).collect()
    assert frame.rows() == [(1, "x", 0), (2, "z", 1), (3, None, 0)]
    frame.write_parquet(tmp_path / "t.parquet")
    assert datasets.scan(card("t.parquet"), tmp_path).collect().equals(frame)
    for suffix in ("csv", "parquet"):  # a name is a name, not a pattern
        shutil.copy(tmp_path / f"t.{suffix}", tmp_path / f"t[1] *.{suffix}")
        assert datasets.scan(card(f"t[1] *.{suffix}"), tmp_path).collect().equals(frame)


def test_a_late_fraction_makes_the_whole_column_a_float(tmp_path: Path) -> None:
    text = "a,b,y\n" + "1,x,0\n" * 20_000 + "1.5,x,1\n"
    assert datasets.scan(card(), table(tmp_path, text)).collect()["a"].sum() == 20_001.5


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"no file .*t\.csv"):
        datasets.scan(card(), tmp_path)


def test_a_damaged_shipped_file_is_refused(tmp_path: Path) -> None:
    shutil.copytree(datasets.DATASETS_FOLDER / "flights", tmp_path / "flights")
    path = tmp_path / "flights" / "weather.csv.zst"
    path.chmod(0o644)
    damaged = bytearray(path.read_bytes())
    damaged[1000] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(LabError, match=r"weather\.csv\.zst is damaged or was changed: its sha256 is"):
        datasets.scan(datasets.card("flights"), tmp_path)


def test_a_file_that_is_no_table_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"t\.csv cannot be read as csv"):
        datasets.scan(card(), table(tmp_path, ""))
    with pytest.raises(LabError, match="neither CSV nor Parquet"):
        datasets.scan(card("t.xlsx"), (tmp_path / "t.csv").rename(tmp_path / "t.xlsx").parent)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": {"column": "z"}, "columns": {"a": {"role": "numeric"}}}, "'z' is not in .*: a, b, y"),
        ({"columns": COLUMNS | {"c": {"role": "numeric"}}}, "describes the column 'c', which is not in"),
        ({"target": {"column": "q", "derive": "y >"}, "columns": {"b": {"role": "categorical"}}}, "SQL of"),
        ({"target": {"column": "q", "derive": "y2 > 1"}, "columns": {"b": {"role": "categorical"}}}, "y2"),
        ({"target": {"column": "q", "derive": "a > 1"}, "columns": {"a": {"role": "numeric"}}}, "role 'leak'"),
        (
            {
                "columns": COLUMNS | {"d": {"role": "numeric"}},
                "cleaning": [{"step": "derive", "column": "d", "sql": "y + 1"}],
            },
            "computes the input 'd' from 'y'",
        ),
        (
            {
                "columns": COLUMNS | {"a": {"role": "leak"}, "e": {"role": "numeric"}},
                "cleaning": [
                    {"step": "derive", "column": "d", "sql": "a * 2"},
                    {"step": "derive", "column": "e", "sql": "d + 1"},
                ],
            },
            "computes the input 'e' from 'd'",
        ),
        ({"cleaning": [{"step": "derive", "column": "b", "sql": "a * 2"}]}, "has a column of that name"),
        (
            {"split": {"kind": "time", "column": "t", "validation_from": "2020-01-01", "test_from": "2021-01-01"}},
            "splits by the column 't'",
        ),
    ],
)
def test_a_card_that_does_not_fit_its_table(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(LabError, match=words):
        datasets.scan(card(**changes), table(tmp_path))


@pytest.mark.parametrize(
    ("values", "task", "words"),
    [
        ("000", "binary", "only one class, '0', in 3 rows"),
        ("012", "binary", "3 classes, but the task is binary"),
        ("555", "regression", "only one value"),
        (["", "", ""], "binary", "no known value in 3 rows"),
        ("abc", "regression", "not numbers"),
    ],
)
def test_a_target_that_cannot_be_learned(tmp_path: Path, values: list[str], task: str, words: str) -> None:
    found = card(task=task)
    text = "a,b,y\n" + "".join(f"1,x,{value}\n" for value in values)
    with pytest.raises(LabError, match=words):
        datasets.check_target(found, datasets.scan(found, table(tmp_path, text)))


def test_a_join_never_adds_rows(tmp_path: Path) -> None:
    import hashlib

    texts = {"left": "k,y\n1,0\n2,1\n3,0\n", "right": "k,v\n1,10\n3,30\n", "twice": "k,v\n1,10\n1,11\n"}
    files = []
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_text(text)
        files.append({"name": name, "path": f"{name}.csv", "sha256": hashlib.sha256(text.encode()).hexdigest()})

    def joined(right: str) -> pl.LazyFrame:
        join = {"file": right, "left_on": ["k"], "right_on": ["k"], "columns": {"w": "v"}}
        source = {"kind": "files", "files": files, "joins": [join]}
        return datasets.scan(card(source=source, columns={"w": {"role": "numeric"}}), tmp_path)

    assert joined("right").collect()["w"].to_list() == [10, None, 30]
    with pytest.raises(pl.exceptions.PolarsError):
        joined("twice").collect()

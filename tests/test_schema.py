"""Cards: what is refused, in which words, and that a card survives its JSON."""

import tomllib
from pathlib import Path

import pytest

from lab_kit import datasets
from lab_kit.schema import DatasetCard, LabError, load_card

CARD = """
name = "small"
title = "Small"
task = "binary"
[target]
column = "y"
labels = ["no", "yes"]
[source]
kind = "table"
path = "small.csv"
[columns]
a = { role = "numeric", unit = "m" }
b = { role = "categorical" }
y = { role = "target" }
[[cleaning]]
step = "fill"
columns = ["a"]
with = "median"
"""


def load(folder: Path, text: str) -> DatasetCard:
    path = folder / "small.toml"
    path.write_text(text, "utf-8")
    return load_card(path)


def test_a_card_says_what_its_file_says(tmp_path: Path) -> None:
    card = load(tmp_path, CARD)
    assert card.inputs == ("a", "b")
    assert (card.numeric, card.categorical) == (("a",), ("b",))
    assert card.split.kind == "random"
    assert card.new_rows.unseen_category == "unseen"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('title = "Small"', 'titel = "Small"', "title"),
        ('unit = "m"', 'unitt = "m"', "unknown key 'unitt'"),
        ('role = "categorical"', 'role = "wishful"', "columns.b.role"),
        ('y = { role = "target" }', 'y = { role = "numeric" }', "a target cannot be an input"),
        ('task = "binary"', 'task = "magic"', "task"),
        ('labels = ["no", "yes"]', 'labels = ["yes"]', "two labels"),
        ('step = "fill"', 'step = "guess"', "'guess'"),
        ('kind = "table"', 'kind = "napkin"', "'napkin'"),
        ('name = "small"', 'name = "Small Table"', "name"),
        ('with = "median"', "with = nan", "cleaning.0"),
        ("[columns]", "[columns", "cannot be read as TOML"),
        ('name = "small"\n', "", "lacks the key 'name'"),
    ],
)
def test_an_invalid_card_is_one_sentence_with_file_and_field(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(LabError) as caught:
        load(tmp_path, CARD.replace(old, new))
    message = str(caught.value)
    assert words in message
    assert "small.toml" in message
    assert message.endswith(".")
    assert "\n" not in message.strip() or "TOML" in message


def test_a_missing_card_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"no dataset card at .*nothing\.toml"):
        load_card(tmp_path / "nothing.toml")


@pytest.mark.parametrize(
    ("steps", "allowed"),
    [
        ('step="deduplicate"\n[[cleaning]]\nstep="clip"\ncolumns=["a"]\nhigh_quantile=0.9', False),
        ('step="clip"\ncolumns=["a"]\nhigh_quantile=0.9\n[[cleaning]]\nstep="deduplicate"', True),
        ('step="deduplicate"\nsubset=["b"]\n[[cleaning]]\nstep="clip"\ncolumns=["a"]', True),
        ('step="drop_missing"\ncolumns=["a"]\n[[cleaning]]\nstep="valid_range"\ncolumns=["a"]\nlow=0', False),
    ],
)
def test_rows_are_not_removed_by_cells_that_change_later(tmp_path: Path, steps: str, allowed: bool) -> None:
    text = CARD[: CARD.index("[[cleaning]]")] + "[[cleaning]]\n" + steps
    if allowed:
        load(tmp_path, text)
    else:
        with pytest.raises(LabError, match=r"step 1 .* changes afterwards"):
            load(tmp_path, text)


@pytest.mark.parametrize("name", ["flights", "health", "digits", "diabetes"])
def test_json_gives_an_equal_card_with_the_order_of_its_inputs(name: str) -> None:
    card = datasets.card(name)
    again = DatasetCard.from_json(card.to_json())
    assert again == card
    assert again.inputs == card.inputs
    assert again.hash() == card.hash()


def test_the_hash_depends_on_contents_not_on_layout(tmp_path: Path) -> None:
    card = load(tmp_path, CARD)
    assert load(tmp_path, "# a comment\n" + CARD).hash() == card.hash()
    assert load(tmp_path, CARD.replace('"median"', '"mean"')).hash() != card.hash()
    assert load(tmp_path, CARD.replace("a = {", "q = {")).hash() != card.hash()


def test_damaged_json_is_one_sentence() -> None:
    with pytest.raises(LabError, match="bundle/card"):
        DatasetCard.from_json("{", "bundle/card.json")
    with pytest.raises(LabError, match="title"):
        DatasetCard.from_json(datasets.card("health").to_json().replace('"title":', '"titel":'))


def test_flights_keep_their_leaks_and_days_away_from_the_model() -> None:
    card = datasets.card("flights")
    roles = {name: column.role for name, column in card.columns.items()}
    for name in ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"):
        assert roles[name] == "leak"
    assert (roles["month"], roles["day"]) == ("ignore", "ignore")
    assert card.columns["day"].reason
    for column in card.columns.values():
        assert column.description
    text = (datasets.DATASETS_FOLDER / "flights.toml").read_text("utf-8")
    readme = (datasets.DATASETS_FOLDER / "flights" / "README.md").read_text("utf-8")
    for name in tomllib.loads(text)["columns"]:
        assert f"| {name} |" in readme

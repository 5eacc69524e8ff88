"""What a dataset card may say, how it is checked, and the one error a user sees.

A card is a TOML file that describes a table: where its rows come from, which column is the target, what role
each column has, how rows are split and how they are cleaned. The classes are frozen pydantic models, so a
card that was loaded is a card that is valid.
"""

import hashlib
import json
import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from lab_kit.card_steps import Names, Part, Step, Text, check_order

Role = Literal["numeric", "categorical", "time", "identifier", "leak", "ignore", "target"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class LabError(Exception):
    """Something a user can put right: one clear sentence that says what is wrong, where, and what to do."""


def first_line(error: Exception) -> str:
    """The first line of a library's message, without its final stop, to quote inside a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".:") if lines else type(error).__name__


class Column(Part):
    """One column of the table, as the card describes it.

    Attributes:
      role: ``numeric`` and ``categorical`` columns are the inputs of the model. ``time`` is for the split,
        ``identifier`` names rows, ``leak`` is known only after the fact, ``ignore`` is kept but not used.
      unit: the unit of the values, empty when there is none.
      description: what the column says, in a sentence.
      reason: why a column that looks useful has the role that it has.
      format: for a time that is stored as text, its strftime format; empty lets Polars find it.
      time_zone: for a time, the zone it is shown and split in. The stored text is in UTC then.
      min_rows: for a category, the training rows it needs to get a slot of its own. Rarer ones share the slot
        for unseen categories, so that this slot is trained as well.
    """

    role: Role
    unit: str = ""
    description: str = ""
    reason: str = ""
    format: str = ""
    time_zone: str = ""
    min_rows: int = Field(default=1, ge=1)


class Target(Part):
    """What is predicted: a column of the table, or one derived from it by a Polars SQL expression.

    Attributes:
      column: name of the target column.
      derive: for example ``arr_delay > 15``; None when the column is in the table.
      labels: names of the classes for a reader; for ``binary`` (negative, positive).
    """

    column: Text
    derive: str | None = None
    labels: tuple[Text, ...] = ()


class File(Part):
    """A shipped file: ``path`` is relative to the folder of the card, ``sha256`` is of the file as stored."""

    name: Text
    path: Text
    sha256: Sha256


class Join(Part):
    """Columns of a second file, looked up by a key that is unique there: no row is added.

    Attributes:
      file: name of the second file.
      left_on: key columns in the table so far.
      right_on: key columns in the second file.
      columns: name in the table -> name in the second file.
    """

    file: Text
    left_on: Names
    right_on: Names
    columns: dict[Text, Text]


class FilesSource(Part):
    """Files shipped with the card: the first one gives the rows, joins add columns from the others."""

    kind: Literal["files"]
    files: Annotated[tuple[File, ...], Field(min_length=1)]
    joins: tuple[Join, ...] = ()
    null_values: tuple[str, ...] = ()


class SklearnSource(Part):
    """A dataset that is part of the installed scikit-learn; ``rename`` maps its names to clearer ones."""

    kind: Literal["sklearn"]
    dataset: Literal["breast_cancer", "digits", "diabetes"]
    rename: dict[Text, Text] = Field(default_factory=dict)


class TableSource(Part):
    """One CSV (also compressed) or Parquet file; the path is relative to the folder of the card."""

    kind: Literal["table"]
    path: Text
    sha256: Sha256 | None = None
    null_values: tuple[str, ...] = ()


class TimeSplit(Part):
    """Train before ``validation_from``, validate before ``test_from``, test from then on (local dates)."""

    kind: Literal["time"] = "time"
    column: Text
    validation_from: date
    test_from: date

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.validation_from >= self.test_from:
            raise ValueError("validation_from must be an earlier day than test_from")
        return self


class RandomSplit(Part):
    """Shares of the rows, drawn without replacement; what is left is for training."""

    kind: Literal["random"] = "random"
    validation: float = Field(default=0.15, gt=0, lt=1)
    test: float = Field(default=0.15, gt=0, lt=1)

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test must leave rows for training: their sum must be below 1")
        return self


Source = Annotated[FilesSource | SklearnSource | TableSource, Field(discriminator="kind")]
Split = Annotated[TimeSplit | RandomSplit, Field(discriminator="kind")]


class NewRows(Part):
    """What to do with a new row that has a category or a null which training did not have in that column."""

    unseen_category: Literal["unseen", "error"] = "unseen"
    null: Literal["impute", "error"] = "impute"


class DatasetCard(Part):
    """A dataset card: everything Lab Kit must know about a table before it trains on it."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9_-]*$")
    title: Text
    question: str = ""
    license: str = ""
    provenance: str = ""
    task: Literal["binary", "multiclass", "regression"]
    target: Target
    source: Source
    columns: dict[Text, Column]
    split: Split = RandomSplit()
    cleaning: tuple[Step, ...] = ()
    new_rows: NewRows = NewRows()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        roles = {name: column.role for name, column in self.columns.items()}
        target = self.target.column
        if roles.get(target, "target") != "target":
            raise ValueError(
                f"the target {target!r} has the role {roles[target]!r}; a target cannot be an input, "
                "so give it the role 'target'"
            )
        if others := [name for name, role in roles.items() if role == "target" and name != target]:
            raise ValueError(f"column {others[0]!r} has the role 'target', but the target is {target!r}")
        if not self.inputs:
            raise ValueError("no column has the role 'numeric' or 'categorical', so a model has no input")
        if self.task == "binary" and len(self.target.labels) not in (0, 2):
            raise ValueError("a binary target has two labels: the negative class and the positive class")
        if self.task == "multiclass" and len(self.target.labels) == 1:
            raise ValueError("a multiclass target needs at least two labels, or none")
        check_order(self.cleaning)
        return self

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the model's input columns, in the order of the card."""
        return tuple(name for name, c in self.columns.items() if c.role in ("numeric", "categorical"))

    @property
    def numeric(self) -> tuple[str, ...]:
        """Names of the numeric inputs, in the order of the card."""
        return tuple(name for name, column in self.columns.items() if column.role == "numeric")

    @property
    def categorical(self) -> tuple[str, ...]:
        """Names of the categorical inputs, in the order of the card."""
        return tuple(name for name, column in self.columns.items() if column.role == "categorical")

    @property
    def target_unit(self) -> str:
        """Unit of the target, empty when the card gives none."""
        described = self.columns.get(self.target.column)
        return described.unit if described else ""

    def to_json(self) -> str:
        """The card as canonical JSON (sorted keys); ``from_json`` gives an equal card back."""
        # The order of the columns is the order of the inputs, so it must survive the sorting of keys.
        fields = self.model_dump(mode="json", by_alias=True)
        fields["columns"] = [{"name": name, **column} for name, column in fields["columns"].items()]
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, where: str = "the card") -> Self:
        """The card that ``to_json`` wrote.

        Args:
          text: the JSON.
          where: the name of the file for error messages.

        Raises:
          LabError: when the text is not a valid card.
        """
        try:
            fields = json.loads(text)
            fields["columns"] = {column.pop("name"): column for column in fields["columns"]}
            return cls.model_validate_json(json.dumps(fields))
        except ValidationError as error:
            raise LabError(_sentence(where, error)) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise LabError(f"{where} is not the JSON of a dataset card; write it again.") from None

    def hash(self) -> str:
        """sha256 of the canonical JSON: the same for the same card, whatever the layout of its file."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def load_card(path: Path | str) -> DatasetCard:
    """Read and check a dataset card.

    Args:
      path: a TOML file.

    Returns:
      The card.

    Raises:
      LabError: when the file is missing, is not TOML, or says something a card cannot say.
    """
    path = Path(path)
    try:
        fields = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise LabError(f"There is no dataset card at {path}; check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise LabError(f"The card {path} cannot be read as TOML: {error}.") from None
    try:
        return DatasetCard.model_validate(fields)
    except ValidationError as error:
        raise LabError(_sentence(f"The card {path}", error)) from None


def _sentence(where: str, error: ValidationError) -> str:
    """The first problem that pydantic found, as one sentence about a file and a field."""
    problem: Any = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    key = str(problem["loc"][-1]) if problem["loc"] else ""
    match problem["type"]:
        case "extra_forbidden":
            text = f"has the unknown key {key!r} (at {place}); check its spelling or remove it"
        case "missing":
            text = f"lacks the key {key!r} (at {place}); add it"
        case "value_error":
            text = f"is not valid{' at ' + place if place else ''}: {problem['ctx']['error']}"
        case "union_tag_not_found":
            text = f"lacks the key {problem['ctx']['discriminator']} in {place}; add it"
        case "union_tag_invalid":
            context = problem["ctx"]
            text = (
                f"says {context['tag']!r} for {context['discriminator']} in {place}; "
                f"it must be one of {context['expected_tags']}"
            )
        case _:
            text = f"is not valid at {place}: {problem['msg']}, but it says {problem['input']!r}"
    more = error.error_count() - 1
    return f"{where} {text}{f' (and {more} more problems)' if more else ''}."

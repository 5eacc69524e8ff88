"""The fitted encoder: what ``features`` learned on the training rows, and its JSON."""

import json
from dataclasses import asdict, dataclass

import polars as pl

from lab_kit.arrays import Signature, Task
from lab_kit.schema import DatasetCard, LabError


@dataclass(frozen=True)
class NumericColumn:
    """A numeric input: ``(value or median - mean) / std``, in float64 and then float32.

    Attributes:
      name: the column.
      kind: the kind of values in training, see ``tables.kind_of``.
      median: of the finite values of the training rows; stands in for a missing one.
      mean: of the training rows after that.
      std: their standard deviation (divided by n); 1 where the column is constant.
      has_indicator: whether a training row lacked a value, so that a 0/1 input says which rows do.
    """

    name: str
    kind: str
    median: float
    mean: float
    std: float
    has_indicator: bool


@dataclass(frozen=True)
class CategoricalColumn:
    """A categorical input: slot 0 is for unseen categories, 1 for missing ones, 2 + k for ``vocabulary[k]``.

    Attributes:
      name: the column.
      kind: the kind of values in training, see ``tables.kind_of``.
      vocabulary: the categories as text, in the order of the values.
      rare: categories with too few training rows for a slot of their own: they share slot 0 and train it.
      has_missing: whether a training row lacked a value.
    """

    name: str
    kind: str
    vocabulary: tuple[str, ...]
    rare: tuple[str, ...]
    has_missing: bool


@dataclass(frozen=True)
class Encoder:
    """What turns rows into arrays: fitted on training rows, used on any.

    Attributes:
      task: binary, multiclass or regression.
      numeric: the numeric inputs.
      categorical: the categorical inputs.
      target: name of the target column.
      classes: the values of the target as text, in the order of their index; empty for regression.
      labels: the names of the classes for a reader, in the same order.
      target_mean: of the training rows; 0 for classes.
      target_std: of the training rows; 1 for classes and for a constant target.
    """

    task: Task
    numeric: tuple[NumericColumn, ...]
    categorical: tuple[CategoricalColumn, ...]
    target: str
    classes: tuple[str, ...]
    labels: tuple[str, ...]
    target_mean: float
    target_std: float

    @property
    def numeric_names(self) -> tuple[str, ...]:
        """Names of the columns of ``Rows.numeric``: the numeric inputs, then ``NAME missing`` for each indicator."""
        indicators = tuple(f"{column.name} missing" for column in self.numeric if column.has_indicator)
        return tuple(column.name for column in self.numeric) + indicators

    @property
    def categorical_names(self) -> tuple[str, ...]:
        """Names of the columns of ``Rows.categorical``."""
        return tuple(column.name for column in self.categorical)

    @property
    def signature(self) -> Signature:
        """What a model must know of the rows."""
        return Signature(
            task=self.task,
            numeric=len(self.numeric_names),
            cardinalities=tuple(len(column.vocabulary) + 2 for column in self.categorical),
            outputs=len(self.classes) if self.task == "multiclass" else 1,
        )

    def to_json(self) -> str:
        """The encoder as JSON; ``from_json`` gives an equal encoder back, to the last bit of each number."""
        return json.dumps(asdict(self), allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Encoder":
        """The encoder that ``to_json`` wrote.

        Raises:
          LabError: when the text is not an encoder.
        """
        try:
            data = json.loads(text)
            for column in data["categorical"]:
                column["vocabulary"], column["rare"] = tuple(column["vocabulary"]), tuple(column["rare"])
            data["numeric"] = tuple(NumericColumn(**column) for column in data["numeric"])
            data["categorical"] = tuple(CategoricalColumn(**column) for column in data["categorical"])
            data["classes"], data["labels"] = tuple(data["classes"]), tuple(data["labels"])
            return cls(**data)
        except (ValueError, KeyError, TypeError):
            raise LabError("This is not the JSON of an encoder; fit the encoder again.") from None


def classes_of(counts: pl.Series, card: DatasetCard) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes of a target as text in the order of their index, and their labels, from the counts of its values.

    Raises:
      LabError: there are not two or more classes, or the card's labels do not fit them.
    """
    name, labels = card.target.column, card.target.labels
    values = counts.struct.unnest().drop_nulls(name).sort(name)[name]
    found = values.cast(pl.String).to_list()
    if len(found) < 2:
        raise LabError(
            f"The training rows of the dataset {card.name!r} show "
            f"{f'only the class {found[0]!r}' if found else 'no class'} in the target column {name!r}, "
            "so there is nothing to learn; check the split."
        )
    if card.task == "binary" and len(found) > 2:
        raise LabError(f"The target column {name!r} has {len(found)} classes, but the task is binary.")
    if labels and set(found) <= set(labels):
        return labels, labels
    if labels and values.dtype == pl.String:  # texts have no order to pair them by
        what = f"The target column {name!r} holds {', '.join(found)}, and the card's labels are {', '.join(labels)}"
        raise LabError(f"{what}: give its own values as labels, for a yes/no question the negative one first.")
    if labels and len(labels) != len(found):
        raise LabError(f"The target column {name!r} has {len(found)} classes, the card {len(labels)} labels.")
    return tuple(found), labels or tuple(found)

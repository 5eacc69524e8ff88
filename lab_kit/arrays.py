"""The arrays that stand between Polars and JAX, and the signature a model needs to know of them."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

Task = Literal["binary", "multiclass", "regression"]


class Rows(NamedTuple):
    """Encoded rows of a table, ready for a model. A NamedTuple, so JAX sees it as a pytree.

    Attributes:
      numeric: float32 ``[n, numeric]``, standardised, finite, missing-value indicators included.
      categorical: int32 ``[n, categorical]``; 0 is the slot for a category never seen in training.
      target: float32 ``[n]`` for ``binary`` (0 or 1) and ``regression`` (standardised), int32 ``[n]`` for
        ``multiclass`` (class index). Rows without a known target carry zeros.
    """

    numeric: np.ndarray
    categorical: np.ndarray
    target: np.ndarray

    @property
    def count(self) -> int:
        """The number of rows."""
        return int(self.target.shape[0])


@dataclass(frozen=True)
class Signature:
    """What a model must know of its rows before it sees one.

    Attributes:
      task: ``binary``, ``multiclass`` or ``regression``.
      numeric: number of numeric inputs.
      cardinalities: for each categorical input the number of its slots, the unseen slot included.
      outputs: width of the last layer: the number of classes for ``multiclass``, otherwise 1.
    """

    task: Task
    numeric: int
    cardinalities: tuple[int, ...]
    outputs: int

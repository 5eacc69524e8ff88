"""The arrays that stand between Polars and JAX, and the signature a model needs to know of them."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:  # this module stays light
    import jax

Task = Literal["binary", "multiclass", "regression"]

Array: TypeAlias = "np.ndarray | jax.Array"
"""On the host, or on a device."""


ALIGNMENT = 4096
"""Bytes. An array that begins at a multiple is read in place by JAX on a CPU, and filled by a disk without a copy."""


class Rows(NamedTuple):
    """Encoded rows of a table, ready for a model. A NamedTuple, so JAX sees it as a pytree.

    Attributes:
      numeric: float32 ``[n, numeric]``, standardised, finite, missing-value indicators included.
      categorical: int32 ``[n, categorical]``; 0 is the slot for a category never seen in training.
      target: float32 ``[n]`` for ``binary`` (0 or 1) and ``regression`` (standardised), int32 ``[n]`` for
        ``multiclass`` (class index). Rows without a known target carry zeros.
    """

    numeric: Array
    categorical: Array
    target: Array

    @property
    def count(self) -> int:  # type: ignore[override]
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


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros, beginning at a multiple of ``ALIGNMENT``; as with ``np.zeros`` they cost nothing until they are used."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)

"""The rows that all contenders learn from: generated, the same in each process."""

from typing import NamedTuple

import numpy as np

COLUMNS = 32


class Data(NamedTuple):
    """Float32 rows ``[n, 32]`` and their targets, 0 or 1 as float32 ``[n]``; validation is an eighth as many."""

    x: np.ndarray
    y: np.ndarray
    validation_x: np.ndarray
    validation_y: np.ndarray


def generate(rows: int, seed: int = 0) -> Data:
    """Normal inputs, and targets drawn from the probability that a small random tanh network gives them."""
    rng = np.random.default_rng(seed)
    first = rng.standard_normal((COLUMNS, 16), np.float32) * np.float32(2 / COLUMNS**0.5)
    last = rng.standard_normal(16, np.float32)
    count = rows + max(rows // 8, 2)
    x = rng.standard_normal((count, COLUMNS), np.float32)
    probability = 1 / (1 + np.exp(-1.5 * np.tanh(x @ first) @ last))
    y = (rng.random(count, np.float32) < probability).astype(np.float32)
    return Data(x[:rows], y[:rows], x[rows:], y[rows:])


def auc(target: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve from ranks (Mann and Whitney, 1947); scores are taken as distinct."""
    rank = np.empty(score.size)
    rank[np.argsort(score)] = np.arange(1, score.size + 1)
    positives = target.sum()
    return float((rank[target > 0.5].sum() - positives * (positives + 1) / 2) / (positives * (target.size - positives)))

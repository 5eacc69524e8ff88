"""What a network says of rows. It needs nothing that a deployed model would not have: no scikit-learn."""

import numpy as np

from lab_kit import devices, engine, feed
from lab_kit.arrays import Array, Rows
from lab_kit.model import Network
from lab_kit.stream import Stream


def targets(rows: Rows | Stream) -> np.ndarray:
    """The target of each row, in the order of ``predict``."""
    return np.concatenate([np.asarray(part.target) for part in feed.parts(rows)])


def predict(network: Network, weights: Array, rows: Rows | Stream, count: int = 1) -> np.ndarray:
    """What the network says of each row.

    Args:
      network: the architecture.
      weights: float32 ``[P]``.
      rows: encoded rows; their target is not looked at. May be empty. A stream is read shard by shard.
      count: local devices to use.

    Returns:
      ``binary``: float64 ``[n]``, the probability of the positive class. ``multiclass``: float64 ``[n, classes]``.
      ``regression``: float64 ``[n]``, in units of the standardised target.
    """
    if isinstance(rows, Stream):
        return np.concatenate([predict(network, weights, part, count) for part in feed.parts(rows)])
    task, outputs = network.signature.task, network.signature.outputs
    raw = np.zeros((0, outputs))
    if rows.count:
        cut, _ = engine.blocks(rows, count)
        placed = devices.replicate(np.asarray(weights), count)
        raw = devices.join(np.asarray(engine.forward(network, count)(placed, cut)), rows.count).astype(np.float64)
    if task == "binary":
        return np.exp(-np.logaddexp(0, -raw[:, 0]))  # 1 / (1 + exp(-x)) that cannot overflow
    if task == "multiclass":
        shifted = np.exp(raw - raw.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
    return raw[:, 0]

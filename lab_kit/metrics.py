r"""Losses and metrics: weighted sums and counts on the device, ratios once at the end.

A mean of batch means is wrong when batches differ in size; sums and counts add up over batches, devices and chunks.
The AUC of a record comes from scores counted in 512 bins; ``evaluate`` computes the exact one.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lab_kit.arrays import Array, Task

BINS = 512
"""Bins of the predicted probability for the AUC of a record."""


SUMS: dict[Task, int] = {"binary": 3, "multiclass": 3, "regression": 2}
"""Length of the vector that ``sums`` returns."""


def losses(task: Task, outputs: jax.Array, target: Array) -> jax.Array:
    r"""The loss of each row.

    * ``binary``: cross-entropy :math:`-y\log p - (1-y)\log(1-p)` with :math:`p = \sigma(z)`, computed from
      :math:`z` so that it stays finite.
    * ``multiclass``: softmax cross-entropy :math:`-\log p_y`.
    * ``regression``: squared error :math:`(z - y)^2`, in units of the target's variance.

    Args:
      task: which of these.
      outputs: float32 ``[n, outputs]``, before sigmoid or softmax.
      target: ``[n]``, float32, or int32 class indices for ``multiclass``.

    Returns:
      float32 ``[n]``.
    """
    if task == "binary":
        return optax.sigmoid_binary_cross_entropy(outputs[:, 0], target)
    if task == "multiclass":
        return optax.softmax_cross_entropy_with_integer_labels(outputs, target)
    return optax.squared_error(outputs[:, 0], target)


def sums(task: Task, outputs: jax.Array, target: Array, weight: Array) -> jax.Array:
    """Sums over rows that ``ratios`` turns into metrics; rows of weight 0 are padding.

    Returns:
      float32 vector: count, loss, and correct rows (classification) or nothing more (regression, whose metrics
      need no further sum from the device: see ``detailed``).
    """
    parts = [weight.sum(), (losses(task, outputs, target) * weight).sum()]
    if task == "binary":
        parts.append((((outputs[:, 0] > 0) == (target > 0.5)) * weight).sum())
    elif task == "multiclass":
        parts.append(((outputs.argmax(axis=1) == target) * weight).sum())
    return jnp.stack(parts)


def detailed(task: Task, outputs: jax.Array, target: Array, weight: Array) -> jax.Array:
    """``sums`` and what the costlier metrics of the validation rows need.

    Returns:
      ``sums``, followed by the score histogram of negatives and of positives (``binary``), or by the sums of
      the target and of its square (``regression``).
    """
    basic = sums(task, outputs, target, weight)
    if task == "binary":
        score = jax.nn.sigmoid(outputs[:, 0])
        place = jnp.clip((score * BINS).astype(jnp.int32), 0, BINS - 1) + BINS * (target > 0.5)
        return jnp.concatenate([basic, jnp.zeros(2 * BINS).at[place].add(weight)])
    if task == "regression":
        return jnp.concatenate([basic, jnp.stack([(target * weight).sum(), (target**2 * weight).sum()])])
    return basic


def ratios(task: Task, total: Array) -> dict[str, float]:
    """Metrics from ``sums`` or ``detailed`` added up over any number of batches.

    Returns:
      ``loss`` and, by task, ``accuracy`` and ``auc``, or ``rmse`` and ``r2`` (both in units of the standardised
      target). A metric that does not exist (the AUC of rows of one class, the R² of a constant target, a ratio of no
      rows) is NaN.
    """
    total = np.asarray(total, np.float64)
    count, loss = total[:2]
    with np.errstate(invalid="ignore", divide="ignore"):
        found = {"loss": float(loss / count)}
        if task == "regression":
            found["rmse"] = float(np.sqrt(loss / count))
            if total.size > 2:
                spread = total[3] - total[2] ** 2 / count
                # Below this the spread of the targets is rounding of their float32 sums: a constant target.
                found["r2"] = float(1 - loss / spread) if spread > 1e-6 * total[3] else float("nan")
        else:
            found["accuracy"] = float(total[2] / count)
        if task == "binary" and total.size > 3:
            found["auc"] = binned_auc(total[3 : 3 + BINS], total[3 + BINS :])
    return found


def binned_auc(negatives: np.ndarray, positives: np.ndarray) -> float:
    r"""Area under the ROC curve from counts of scores in ascending bins.

    It is :math:`P(s^+ > s^-) + \tfrac12 P(s^+ = s^-)` (Mann and Whitney, 1947);
    scores of one bin count as equal.
    """
    below = np.cumsum(negatives) - negatives
    pairs = negatives.sum() * positives.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        return float((positives * (below + negatives / 2)).sum() / pairs)

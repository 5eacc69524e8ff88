r"""Losses and metrics: weighted sums and counts on the device, ratios once at the end.

A mean of batch means is wrong when batches differ in size; sums and counts add up over batches, devices and chunks.
The AUC of a record comes from scores counted in 512 bins; ``evaluate`` computes the exact one.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lab_kit.arrays import Array, Task
from lab_kit.knobs import LOSSES as LOSSES
from lab_kit.knobs import Loss as Loss

BINS = 512
"""Bins of the predicted probability for the AUC of a record."""

HUBER_DELTA = 1.0
"""Where the Huber loss turns from a parabola into a line, in standard deviations of the target."""

SUMS = 3
"""Length of the vector that ``sums`` returns."""


def losses(task: Task, outputs: jax.Array, target: Array, loss: Loss | None = None) -> jax.Array:
    r"""The loss of each row.

    * ``binary``: cross-entropy :math:`-y\log p - (1-y)\log(1-p)` with :math:`p = \sigma(z)`, computed from
      :math:`z` so that it stays finite. The target may be any probability.
    * ``multiclass``: softmax cross-entropy :math:`-\log p_y`.
    * ``regression``: squared error :math:`(z - y)^2`, in units of the target's variance; or, with
      ``loss="huber"``, :math:`e^2/2` for an error up to :math:`\delta` = ``HUBER_DELTA`` and
      :math:`\delta(|e| - \delta/2)` beyond (P. Huber, Robust estimation of a location parameter, 1964).

    Args:
      task: which of these.
      outputs: float32 ``[n, outputs]``, before sigmoid or softmax.
      target: ``[n]``, float32, or int32 class indices for ``multiclass``.
      loss: one of ``LOSSES[task]``; the first of them when None.

    Returns:
      float32 ``[n]``.
    """
    if task == "binary":
        return optax.sigmoid_binary_cross_entropy(outputs[:, 0], target)
    if task == "multiclass":
        return optax.softmax_cross_entropy_with_integer_labels(outputs, target)
    if loss == "huber":
        return optax.huber_loss(outputs[:, 0], target, delta=HUBER_DELTA)
    return optax.squared_error(outputs[:, 0], target)


def objective(task: Task, outputs: jax.Array, target: Array, loss: Loss | None, smoothing: Array) -> jax.Array:
    r"""What the gradient of each row comes from: ``losses``, of smoothed labels in a classification.

    With smoothing :math:`\epsilon` each of the :math:`K` classes gets :math:`\epsilon/K`, and the true one
    :math:`1 - \epsilon` more (C. Szegedy et al., Rethinking the inception architecture, CVPR 2016).

    Args:
      task: as of ``losses``, like ``outputs``, ``target`` and ``loss``.
      outputs: of the network.
      target: of the rows.
      loss: of the configuration.
      smoothing: in [0, 1); may be traced. A regression takes no notice.

    Returns:
      float32 ``[n]``.
    """
    smoothed = target * (1 - smoothing) + smoothing / 2 if task == "binary" else target
    plain = losses(task, outputs, smoothed, loss)
    if task != "multiclass":
        return plain
    of_all_classes = jax.nn.logsumexp(outputs, axis=1) - outputs.mean(axis=1)
    return jnp.asarray((1 - smoothing) * plain + smoothing * of_all_classes)


def sums(task: Task, outputs: jax.Array, target: Array, weight: Array, loss: Loss | None = None) -> jax.Array:
    """Sums over rows that ``ratios`` turns into metrics; rows of weight 0 are padding.

    Returns:
      float32 ``[SUMS]``: count, loss, and correct rows (classification) or squared errors (regression).
    """
    each = losses(task, outputs, target, loss)
    if task == "binary":
        third = ((outputs[:, 0] > 0) == (target > 0.5)).astype(jnp.float32)
    elif task == "multiclass":
        third = (outputs.argmax(axis=1) == target).astype(jnp.float32)
    else:
        third = optax.squared_error(outputs[:, 0], target)
    return jnp.stack([weight.sum(), (each * weight).sum(), (third * weight).sum()])


def detailed(task: Task, outputs: jax.Array, target: Array, weight: Array, loss: Loss | None = None) -> jax.Array:
    """``sums`` and what the costlier metrics of the validation rows need.

    Returns:
      ``sums``, followed by the score histogram of negatives and of positives (``binary``), or by the sums of
      the target and of its square (``regression``).
    """
    basic = sums(task, outputs, target, weight, loss)
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
            found["rmse"] = float(np.sqrt(total[2] / count))
            if total.size > SUMS:
                spread = total[4] - total[3] ** 2 / count
                # Below this the spread of the targets is rounding of their float32 sums: a constant target.
                found["r2"] = float(1 - total[2] / spread) if spread > 1e-6 * total[4] else float("nan")
        else:
            found["accuracy"] = float(total[2] / count)
        if task == "binary" and total.size > SUMS:
            found["auc"] = binned_auc(total[SUMS : SUMS + BINS], total[SUMS + BINS :])
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

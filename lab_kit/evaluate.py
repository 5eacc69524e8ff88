r"""The honest evaluation: predictions on rows that nothing was learnt from, metrics with intervals, a baseline.

The metrics are scikit-learn's. What this module adds is the order of things: thresholds are chosen on the validation
rows, the test rows are only looked at, and a difference to the baseline comes with its uncertainty.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import stats
from sklearn import metrics
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from lab_kit.arrays import Array, Rows, Signature
from lab_kit.encoder import Encoder
from lab_kit.predict import predict as predict
from lab_kit.predict import targets as targets

BINS_OF_BASELINE = 255
"""The most values of a category that scikit-learn's gradient boosting takes as categories."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % confidence interval.

    Attributes:
      value: the estimate.
      low: lower end.
      high: upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """For example ``0.697 (0.690 to 0.704)``."""
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Scores:
    """How a yes/no decision at a threshold does, positives being the rows whose target is 1.

    Attributes:
      threshold: a row is called positive when its probability is at least this.
      accuracy: share of rows that are called right.
      precision: share of the rows called positive that are; 0 when none is called so.
      recall: share of the positive rows that are called so.
      f1: harmonic mean of precision and recall.
      confusion: int ``[2, 2]``: true class by row, called class by column.
    """

    threshold: float
    accuracy: float
    precision: float
    recall: float
    f1: float
    confusion: np.ndarray


def scores(target: Array, probability: np.ndarray, threshold: float) -> Scores:
    """The decision "positive when the probability is at least ``threshold``", held against the truth.

    Args:
      target: ``[n]`` of 0 and 1.
      probability: ``[n]``.
      threshold: in [0, 1].
    """
    called, truth = probability >= threshold, np.asarray(target) > 0.5
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        truth, called, average="binary", zero_division=0.0
    )
    return Scores(
        threshold=threshold,
        accuracy=float((called == truth).mean()),
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        confusion=metrics.confusion_matrix(truth, called, labels=[False, True]),
    )


def choose_threshold(target: Array, probability: np.ndarray) -> float:
    """The threshold with the highest F1 on the given rows, which must be validation rows, never test rows.

    Without a positive row every threshold has the same F1, and it is 0.5.
    """
    if not (np.asarray(target) > 0.5).any():
        return 0.5
    precision, recall, thresholds = metrics.precision_recall_curve(np.asarray(target), probability)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    return float(thresholds[np.argmax(f1[:-1])])


def auc(target: Array, probability: np.ndarray) -> Interval:
    """Area under the ROC curve with DeLong's interval; NaN when the rows are of one class."""
    return _normal(*_delong(np.asarray(target), [probability]), contrast=np.ones(1), low=0.0, high=1.0)


def auc_difference(target: Array, first: np.ndarray, second: np.ndarray) -> Interval:
    """AUC of the first minus AUC of the second on the same rows, with DeLong's interval for paired curves."""
    return _normal(*_delong(np.asarray(target), [first, second]), contrast=np.array([1, -1]), low=-1.0, high=1.0)


def _delong(target: np.ndarray, probabilities: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """AUCs and their covariance matrix.

    E. DeLong, D. DeLong and D. Clarke-Pearson, Biometrics 44, 1988, by the mid-ranks of X. Sun and W. Xu, IEEE Signal
    Processing Letters 21, 2014.
    """
    positive = target > 0.5
    m, n = int(positive.sum()), int((~positive).sum())
    if m == 0 or n == 0:
        return np.full(len(probabilities), np.nan), np.full((len(probabilities),) * 2, np.nan)
    of_positives, of_negatives = [], []
    for probability in probabilities:
        ranks = stats.rankdata(probability)
        of_positives.append((ranks[positive] - stats.rankdata(probability[positive])) / n)
        of_negatives.append(1 - (ranks[~positive] - stats.rankdata(probability[~positive])) / m)
    areas = np.mean(of_positives, axis=1)
    covariance = np.zeros((len(probabilities),) * 2)
    for parts, size in ((of_positives, m), (of_negatives, n)):
        if size > 1:
            covariance += np.cov(parts).reshape(covariance.shape) / size
    return areas, covariance


def _normal(areas: np.ndarray, covariance: np.ndarray, contrast: np.ndarray, low: float, high: float) -> Interval:
    value = float(contrast @ areas)
    half = float(stats.norm.ppf(0.975) * np.sqrt(max(contrast @ covariance @ contrast, 0.0)))
    return Interval(value, max(low, value - half), min(high, value + half)) if half == half else Interval(*[value] * 3)


def confusion(target: Array, predicted: np.ndarray, classes: int) -> np.ndarray:
    """How often each class (down) was called each class (across): int ``[classes, classes]``."""
    return np.asarray(metrics.confusion_matrix(np.asarray(target), predicted, labels=np.arange(classes)))


def accuracy(target: Array, predicted: np.ndarray) -> Interval:
    """Share of rows whose class is right, with Wilson's interval (E. Wilson, JASA 22, 1927)."""
    right = int((np.asarray(target) == predicted).sum())
    found = stats.binomtest(right, len(predicted)).proportion_ci(method="wilson")
    return Interval(right / len(predicted), float(found.low), float(found.high))


def mean(values: np.ndarray) -> Interval:
    """The mean of independent values with its normal interval, for example of squared errors."""
    half = stats.norm.ppf(0.975) * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


def roc(target: Array, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """False positive rates, true positive rates and AUC over all thresholds."""
    false_positive, true_positive, _ = metrics.roc_curve(np.asarray(target), probability)
    return false_positive, true_positive, float(metrics.roc_auc_score(np.asarray(target), probability))


def precision_recall(target: Array, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Recalls, precisions and average precision over all thresholds."""
    precision, recall, _ = metrics.precision_recall_curve(np.asarray(target), probability)
    return recall, precision, float(metrics.average_precision_score(np.asarray(target), probability))


def calibration(target: Array, probability: np.ndarray, bins: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether probabilities mean what they say, in bins of (nearly) equal numbers of rows.

    Returns:
      Mean predicted probability, share of positives and number of rows, each ``[bins or fewer]``.
    """
    parts = [part for part in np.array_split(np.argsort(probability, kind="stable"), bins) if part.size]
    truth = np.asarray(target)
    return (
        np.array([probability[part].mean() for part in parts]),
        np.array([truth[part].mean() for part in parts]),
        np.array([part.size for part in parts]),
    )


def baseline(train: Rows, signature: Signature, rows: list[Rows], seed: int = 0) -> list[np.ndarray]:
    """Gradient boosting on the same columns and rows, to hold a network against.

    scikit-learn's HistGradientBoosting with its default settings; it stops early on rows of its own taken from
    ``train``. Categories are categories for it up to 255 slots, and ordered codes beyond.

    Args:
      train: rows to learn from.
      signature: of the encoder.
      rows: sets of rows to predict.
      seed: for its early stopping.

    Returns:
      For each set what ``predict`` would return.
    """
    categorical = [False] * signature.numeric + [slots <= BINS_OF_BASELINE for slots in signature.cardinalities]
    if signature.task == "regression":
        model = HistGradientBoostingRegressor(categorical_features=categorical, random_state=seed)
    else:
        model = HistGradientBoostingClassifier(categorical_features=categorical, random_state=seed)
    model.fit(_table(train), np.asarray(train.target))
    if signature.task == "regression":
        return [np.asarray(model.predict(_table(part))) for part in rows]
    probabilities = [np.asarray(model.predict_proba(_table(part))) for part in rows]
    return [part[:, 1] for part in probabilities] if signature.task == "binary" else probabilities


def _table(rows: Rows) -> np.ndarray:
    return np.concatenate([np.asarray(rows.numeric), np.asarray(rows.categorical, np.float32)], axis=1)


def summary(encoder: Encoder, rows: Rows, predictions: dict[str, np.ndarray]) -> pl.DataFrame:
    """The measures of a task for several models on the same rows, the most telling measure first.

    Args:
      encoder: that encoded the rows; gives a regression its units back.
      rows: with their true targets.
      predictions: of each model, as ``predict`` returns them.

    Returns:
      ``measure``, ``model``, ``value``, ``low``, ``high`` (95 % interval). ``binary``: AUC, and accuracy at a
      probability of 0.5; ``multiclass``: accuracy; ``regression``: MAE and RMSE in the target's unit. For classes also
      the accuracy of the model that always gives the most frequent answer of these rows.
    """
    truth = np.asarray(rows.target)
    lines: list[tuple[str, str, Interval]] = []
    for model, predicted in predictions.items():
        if encoder.task == "regression":
            errors = np.abs(predicted - truth) * encoder.target_std
            square = mean(errors**2)
            root = Interval(*(float(np.sqrt(max(end, 0.0))) for end in (square.value, square.low, square.high)))
            lines += [("MAE", model, mean(errors)), ("RMSE", model, root)]
        elif encoder.task == "binary":
            lines += [("AUC", model, auc(truth, predicted)), ("accuracy", model, accuracy(truth, predicted >= 0.5))]
        else:
            lines.append(("accuracy", model, accuracy(truth, predicted.argmax(axis=1))))
    if encoder.task != "regression":
        frequent = np.full(len(truth), np.bincount(truth.astype(int)).argmax())
        lines.append(("accuracy", "most frequent answer", accuracy(truth, frequent)))
    frame = pl.DataFrame(
        [(measure, model, found.value, found.low, found.high) for measure, model, found in lines],
        schema=["measure", "model", "value", "low", "high"],
        orient="row",
    )
    return frame.sort(pl.col("measure") != lines[0][0], maintain_order=True)


def headline(table: pl.DataFrame, rows: int, unit: str = "") -> str:
    """The one sentence to remember: the most telling measure of the first model, then of those it is held against.

    Args:
      table: of ``summary``; its first measure is told.
      rows: test rows it was made from.
      unit: of the target, for a regression.

    Returns:
      For example ``Test AUC of the network 0.694 (95 % interval 0.689 to 0.699) on 53,991 rows; gradient boosting
      0.696 (0.691 to 0.702).``
    """
    measure = table["measure"][0]
    style = ",.4g" if measure in ("MAE", "RMSE") else ".3f"
    suffix = f" {unit}" if unit else ""
    (model, value, low, high), *others = table.filter(measure=measure).drop("measure").iter_rows()
    first = f"Test {measure} of the {model} {value:{style}}{suffix} (95 % interval {low:{style}} to {high:{style}})"
    rest = (f"; {name} {v:{style}}{suffix} ({a:{style}} to {b:{style}})" for name, v, a, b in others)
    return f"{first} on {rows:,} rows{''.join(rest)}."

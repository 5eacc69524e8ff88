"""The evaluation against scikit-learn, a bootstrap, counts by hand and a forward pass without devices."""

import numpy as np
import polars as pl
import pytest
from example_rows import TASKS, part, rows, signature
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from threadpoolctl import threadpool_limits

from lab_kit import engine, evaluate
from lab_kit.arrays import Rows, Task
from lab_kit.encoder import Encoder
from lab_kit.model import Network


def judged(count: int, seed: int, noise: float = 1.0, digits: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Truth of both classes and probabilities that know something of it; rounded to ``digits`` they have ties."""
    random = np.random.default_rng(seed)
    truth = (random.random(count) < 0.3).astype(np.float32)
    truth[:2] = 0, 1
    probability = 1 / (1 + np.exp(-(truth - 0.5 + noise * random.normal(size=count))))
    return truth, probability if digits is None else probability.round(digits)


JUDGED = st.builds(judged, st.integers(2, 60), st.integers(0, 10_000), digits=st.sampled_from([None, 2, 1, 0]))


def encoder(task: Task, mean: float = 0.0, std: float = 1.0) -> Encoder:
    classes = {"binary": ("no", "yes"), "multiclass": ("a", "b", "c"), "regression": ()}[task]
    return Encoder(task, (), (), "y", classes, classes, mean, std)


# --- AUC


@given(JUDGED)
def test_delong_is_the_auc_of_scikit_learn_ties_included(case: tuple[np.ndarray, np.ndarray]) -> None:
    truth, probability = case
    found = evaluate.auc(truth, probability)
    assert found.value == pytest.approx(metrics.roc_auc_score(truth, probability), abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize("digits", [None, 1])
def test_delongs_interval_is_as_wide_as_a_bootstraps(digits: int | None) -> None:
    truth, probability = judged(400, seed=3, digits=digits)
    other = 0.7 * probability + 0.3 * judged(400, seed=4)[1]
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(400):
        rows = random.integers(0, 400, 400)
        drawn.append([metrics.roc_auc_score(truth[rows], scores[rows]) for scores in (probability, other)])
    areas = np.array(drawn)
    for interval, spread in (
        (evaluate.auc(truth, probability), areas[:, 0].std()),
        (evaluate.auc_difference(truth, probability, other), (areas[:, 0] - areas[:, 1]).std()),
    ):
        assert (interval.high - interval.low) / 2 / 1.96 == pytest.approx(spread, rel=0.15)


def test_the_difference_of_paired_curves() -> None:
    truth, probability = judged(200, seed=1)
    same = evaluate.auc_difference(truth, probability, probability)
    assert (same.value, same.low, same.high) == pytest.approx((0, 0, 0), abs=1e-9)
    other = judged(200, seed=1, noise=3.0)[1]
    found, back = evaluate.auc_difference(truth, probability, other), evaluate.auc_difference(truth, other, probability)
    assert found.value == pytest.approx(evaluate.auc(truth, probability).value - evaluate.auc(truth, other).value)
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))
    monotone = evaluate.auc_difference(truth, probability, probability**3)
    assert monotone.high - monotone.low == pytest.approx(0, abs=1e-9)  # only the order of the scores counts


@pytest.mark.parametrize("only", [0.0, 1.0])
def test_one_class_has_no_auc(only: float) -> None:
    truth, probability = np.full(5, only, np.float32), np.linspace(0, 1, 5)
    for found in (evaluate.auc(truth, probability), evaluate.auc_difference(truth, probability, probability)):
        assert np.isnan([found.value, found.low, found.high]).all()


def test_an_auc_of_one_row_of_a_class_and_a_perfect_one() -> None:
    alone = evaluate.auc(np.array([0, 0, 0, 1]), np.array([0.1, 0.2, 0.9, 0.5]))
    assert alone.value == pytest.approx(2 / 3)
    assert alone.low < alone.value < alone.high
    perfect = evaluate.auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9]))
    assert (perfect.low, perfect.value, perfect.high) == (1, 1, 1)


# --- decisions


def test_scores_are_the_counts_by_hand() -> None:
    truth = np.array([1, 1, 1, 0, 0, 0, 0, 1], np.float32)
    probability = np.array([0.9, 0.5, 0.4, 0.5, 0.1, 0.2, 0.3, 0.8])
    found = evaluate.scores(truth, probability, 0.5)  # at the threshold is called positive: 3 right, 1 wrong
    assert found.confusion.tolist() == [[3, 1], [1, 3]]
    assert (found.accuracy, found.precision, found.recall, found.f1) == (0.75, 0.75, 0.75, 0.75)
    nobody = evaluate.scores(truth, probability, 1.0)
    assert nobody.confusion.tolist() == [[4, 0], [4, 0]]
    assert (nobody.accuracy, nobody.precision, nobody.recall, nobody.f1) == (0.5, 0, 0, 0)
    negatives = evaluate.scores(np.zeros(3), np.array([0.1, 0.2, 0.9]), 0.5)
    assert negatives.confusion.tolist() == [[2, 1], [0, 0]]


def test_confusion_has_a_row_for_a_class_that_does_not_occur() -> None:
    found = evaluate.confusion(np.array([0, 2, 2]), np.array([0, 0, 2]), classes=4)
    assert found.tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


@given(JUDGED)
def test_no_threshold_has_a_higher_f1_than_the_chosen_one(case: tuple[np.ndarray, np.ndarray]) -> None:
    truth, probability = case
    positive = truth > 0.5

    def f1(threshold: float) -> float:
        called = probability >= threshold
        return float(2 * (called & positive).sum() / (called.sum() + positive.sum()))

    chosen = evaluate.choose_threshold(truth, probability)
    assert f1(chosen) == pytest.approx(max(map(f1, [*probability, 0.0, 0.5, 1.0])))


def test_a_threshold_for_rows_of_one_class() -> None:
    probability = np.array([0.4, 0.2, 0.3])
    assert evaluate.choose_threshold(np.ones(3), probability) == 0.2  # all are called right
    assert evaluate.choose_threshold(np.zeros(3), probability) == 0.5  # no threshold is better than another


def test_accuracy_has_wilsons_interval() -> None:
    found = evaluate.accuracy(np.array([1, 1, 0, 2]), np.array([1, 0, 0, 2]))
    z, p, n = 1.959963984540054, 0.75, 4
    middle, half = (p + z**2 / (2 * n)) / (1 + z**2 / n), z / (1 + z**2 / n) * np.sqrt(p * 0.25 / n + z**2 / 64)
    assert (found.value, found.low, found.high) == pytest.approx((p, middle - half, middle + half))


def test_calibration_by_hand() -> None:
    truth = np.array([0, 1, 0, 1, 1])
    probability = np.array([0.1, 0.9, 0.2, 0.6, 0.3])
    predicted, share, counts = evaluate.calibration(truth, probability, bins=2)  # 0.1 0.2 0.3 | 0.6 0.9
    assert predicted == pytest.approx([0.2, 0.75])
    assert share == pytest.approx([1 / 3, 1])
    assert counts.tolist() == [3, 2]


@given(JUDGED, st.integers(1, 80))
def test_calibration_counts_every_row_once(case: tuple[np.ndarray, np.ndarray], bins: int) -> None:
    truth, probability = case
    predicted, share, counts = evaluate.calibration(truth, probability, bins)
    assert counts.sum() == truth.size
    assert counts.max() - counts.min() <= 1
    assert (share * counts).sum() == pytest.approx(truth.sum())
    assert (predicted * counts).sum() == pytest.approx(probability.sum())
    assert (np.diff(predicted) >= -1e-12).all()


# --- predictions


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("devices", [1, 4])
def test_predict_is_one_plain_forward_pass(task: Task, devices: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BLOCK", 8)
    network = Network(signature(task), (5,), "tanh")
    weights = network.init(0)
    for count in (1, 8, 9, 33):
        table = rows(task, count, seed=count)
        raw = np.asarray(network.apply(weights, table.numeric, table.categorical), np.float64)
        expected = {
            "binary": lambda raw=raw: 1 / (1 + np.exp(-raw[:, 0])),
            "multiclass": lambda raw=raw: np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True),
            "regression": lambda raw=raw: raw[:, 0],
        }[task]()
        found = evaluate.predict(network, weights, table, devices)
        assert found.shape == expected.shape
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_no_rows_have_no_predictions(task: Task) -> None:
    network = Network(signature(task), (), "relu")
    found = evaluate.predict(network, network.init(0), rows(task, 0))
    assert found.shape == ((0, 3) if task == "multiclass" else (0,))


def test_scores_far_from_zero_stay_probabilities() -> None:
    for task in ("binary", "multiclass"):
        network = Network(signature(task), (), "relu")
        found = evaluate.predict(network, network.init(0) * 1e4, rows(task, 20))
        assert ((found >= 0) & (found <= 1)).all()
        if task == "multiclass":
            np.testing.assert_allclose(found.sum(axis=1), 1)


# --- baseline and summary


@pytest.mark.parametrize("task", TASKS)
def test_the_baseline_learns_is_the_same_each_time_and_looks_at_no_target(task: Task) -> None:
    table = rows(task, 500)
    train, test = part(table, slice(300)), part(table, slice(300, None))
    blind = Rows(test.numeric, test.categorical, np.zeros_like(test.target))
    with threadpool_limits(1):  # threads that wait for each other take a hundred times as long on a busy machine
        found, again = evaluate.baseline(train, signature(task), [test, blind])
        np.testing.assert_array_equal(found, again)
        np.testing.assert_array_equal(found, evaluate.baseline(train, signature(task), [test])[0])
    if task == "binary":
        assert evaluate.auc(test.target, found).value > 0.95
    elif task == "multiclass":
        assert found.shape == (200, 3)
        assert evaluate.accuracy(test.target, found.argmax(axis=1)).value > 0.8
    else:
        assert ((found - test.target) ** 2).mean() < 0.1 * np.var(test.target)


def test_summary_of_a_yes_no_question() -> None:
    truth, probability = judged(100, seed=0)
    table = Rows(np.zeros((100, 0)), np.zeros((100, 0)), truth)
    found = evaluate.summary(encoder("binary"), table, {"network": probability, "coin": np.full(100, 0.5)})
    values = {(line["measure"], line["model"]): line["value"] for line in found.iter_rows(named=True)}
    assert found["measure"].to_list() == ["AUC", "AUC", "accuracy", "accuracy", "accuracy"]
    assert values["AUC", "network"] == pytest.approx(metrics.roc_auc_score(truth, probability))
    assert values["AUC", "coin"] == 0.5
    assert values["accuracy", "network"] == pytest.approx(metrics.accuracy_score(truth, probability >= 0.5))
    assert values["accuracy", "most frequent answer"] == pytest.approx(1 - truth.mean())


def test_summary_of_classes() -> None:
    truth = np.array([2, 2, 1, 0, 2], np.int32)
    probabilities = np.eye(3)[[2, 1, 1, 0, 2]]
    found = evaluate.summary(
        encoder("multiclass"), Rows(np.zeros((5, 0)), np.zeros((5, 0)), truth), {"n": probabilities}
    )
    assert found.select("measure", "model", "value").rows() == [
        ("accuracy", "n", 0.8),
        ("accuracy", "most frequent answer", 0.6),
    ]


@settings(max_examples=20)
@given(st.floats(-100, 100), st.floats(0.01, 100))
def test_summary_of_a_regression_is_in_the_targets_unit(mean: float, std: float) -> None:
    random = np.random.default_rng(0)
    truth, predicted = random.normal(size=50), random.normal(size=50)
    table = Rows(np.zeros((50, 0)), np.zeros((50, 0)), truth)
    found = evaluate.summary(encoder("regression", mean, std), table, {"network": predicted})
    actual, called = truth * std + mean, predicted * std + mean
    assert found["measure"].to_list() == ["MAE", "RMSE"]
    expected = metrics.mean_absolute_error(actual, called), metrics.root_mean_squared_error(actual, called)
    assert found["value"].to_list() == pytest.approx(list(expected))
    assert (found["low"] < found["value"]).all()
    assert (found["value"] < found["high"]).all()


def test_the_headline_tells_the_first_measure_of_every_model_with_its_interval() -> None:
    lines = [
        ("AUC", "network", 0.69391, 0.68869, 0.69912),
        ("AUC", "gradient boosting", 0.69649, 0.6913, 0.7017),
        ("accuracy", "network", 0.76, 0.75, 0.77),
    ]
    table = pl.DataFrame(lines, schema=["measure", "model", "value", "low", "high"], orient="row")
    assert evaluate.headline(table, 53_991) == (
        "Test AUC of the network 0.694 (95 % interval 0.689 to 0.699) on 53,991 rows; "
        "gradient boosting 0.696 (0.691 to 0.702)."
    )
    errors = pl.DataFrame([("MAE", "network", 41.234, 36.0, 1234.5)], schema=table.schema, orient="row")
    sentence = "Test MAE of the network 41.23 mg/dl (95 % interval 36 to 1,234) on 66 rows."
    assert evaluate.headline(errors, 66, "mg/dl") == sentence

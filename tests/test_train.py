"""Training as a whole: the same result however it is run, steering, how runs end, and that they learn."""

import itertools
import threading
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from example_rows import part, rows, signature
from example_runs import BINARY, CONFIG, TABLE, VALIDATION, compilations, epochs, history, weights

from lab_kit import devices, engine, metrics, schedules, train
from lab_kit.arrays import Rows, Task
from lab_kit.engine import Recipe
from lab_kit.feed import Feed
from lab_kit.metrics import LOSSES
from lab_kit.model import Network, Normalization
from lab_kit.schedules import SCHEDULES
from lab_kit.schema import LabError
from lab_kit.steering import Change, Steering
from lab_kit.train import fit

# The same result, however it is run.


@pytest.mark.parametrize(
    ("normalization", "number"),
    [
        *(("none", number) for number in (79, 80, 81)),
        *(pytest.param("batch", number, marks=pytest.mark.slow) for number in (79, 80, 81)),
        pytest.param("layer", 81, marks=pytest.mark.slow),
    ],
)
def test_one_two_and_four_devices_arrive_at_the_same_weights(normalization: Normalization, number: int) -> None:
    """With dropout, batches of 10 that four devices cannot share evenly, and a last batch of 9, 10 or 1 rows."""
    table, config = part(rows("binary", 81), slice(0, number)), replace(CONFIG, normalization=normalization)
    runs = [epochs(history(replace(config, devices=count), table)) for count in (1, 2, 4)]
    for other in runs[1:]:
        np.testing.assert_allclose(weights(other[-1]), weights(runs[0][-1]), rtol=1e-4, atol=1e-5)
        for one, several in zip(runs[0], other, strict=True):
            assert several.train == pytest.approx(one.train, rel=1e-4)
            assert several.validation == pytest.approx(one.validation, rel=1e-4)
            assert (several.step, several.rows_seen) == (one.step, one.rows_seen)
    assert runs[0][-1].rows_seen == 2 * number


@pytest.mark.parametrize("count", [1, 2])
def test_the_length_of_a_call_and_running_again_change_no_bit(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    config, runs = replace(CONFIG, devices=count), []
    for seconds in (0, 1e9, 1e9):
        monkeypatch.setattr(train, "SECONDS_PER_CALL", seconds)
        runs.append(history(config))
    assert len(runs[0]) == 1 + 2 * 8, "one record a step"
    assert len(runs[1]) < len(runs[0])
    for other in runs[1:]:
        for one, again in zip(epochs(runs[0]), epochs(other), strict=True):
            np.testing.assert_array_equal(weights(again), weights(one))
            assert again.validation == one.validation
            assert again.train == pytest.approx(one.train, rel=1e-6)  # sums of another order


def test_another_seed_is_another_run() -> None:
    first, second = history(), history(replace(CONFIG, seed=1))
    assert not np.allclose(weights(first[0]), weights(second[0]))
    assert first[-1].validation != second[-1].validation


# Nothing compiles but the first calls.


@pytest.mark.usefixtures("one_step_a_call")
@pytest.mark.parametrize("count", [1, 4])
def test_changes_compile_nothing_and_neither_does_a_run_again(count: int) -> None:
    config = replace(CONFIG, hidden=(5,), devices=count, epochs=5)  # of its own, so that nothing is compiled yet
    steering = Steering()
    run = fit(TABLE, VALIDATION, BINARY, config, steering=steering)
    with compilations() as compiled:
        next(run)
        next(run)
    assert compiled, "measuring and the first step compile"
    with compilations() as compiled:
        for _ in range(7):
            next(run)  # through the end of the first epoch
        for number in range(25):
            steering.set("learning_rate", 0.01 + number / 1000)
            steering.set("momentum", 0.5 + number / 100)
            steering.set("weight_decay", number / 1000)
            steering.set("dropout", number % 3 / 10)  # zero, too, where the program takes another path
            steering.set("clip_norm", number % 2 / 100)
            steering.set("label_smoothing", number % 4 / 10)
            next(run)
        assert len(list(run)) == 7
        assert len(history(replace(config, seed=7, schedule="one-cycle", clip_norm=0.1))) == 1 + 5 * 8
        assert len(history(replace(config, class_weight="balanced", warmup=0.5, label_smoothing=0.2))) == 1 + 5 * 8
    assert compiled == []
    assert len(steering.changes) == 150
    with compilations() as compiled:
        jax.jit(lambda x: x + 1)(1.0)
    assert len(compiled) == 1, "the counter counts"


# Steering.


@pytest.mark.usefixtures("one_step_a_call")
def test_a_change_is_noted_and_takes_effect_at_its_step() -> None:
    steering, records = Steering(), []
    for record in fit(TABLE, VALIDATION, BINARY, CONFIG, steering=steering):
        records.append(record)
        if record.step == 5:
            steering.set("learning_rate", 0.2)
            steering.set("dropout", 0.0)
    assert steering.changes == [Change(5, "learning_rate", 0.2), Change(5, "dropout", 0.0)]
    rates = [record.hyperparameters["learning_rate"] for record in records]
    assert rates == [0.05] * 6 + [0.2] * 11

    hyper = CONFIG.hyperparameters
    recipe = Recipe(Network(BINARY, CONFIG.hidden, CONFIG.activation), CONFIG.optimizer)
    state, feed = engine.initial_state(recipe, hyper, 1, CONFIG.seed), Feed(TABLE, 10, 1, seed=CONFIG.seed)
    for epoch, start, stop in ((0, 0, 5), (0, 5, 8), (1, 0, 8)):
        if start:
            hyper = hyper | {"learning_rate": 0.2, "dropout": 0.0}
        (window,) = feed.windows(epoch * 8 + start, epoch * 8 + stop)
        state, _ = engine.program(recipe, 1, 10).run(
            state,
            devices.replicate({name: np.float32(value) for name, value in hyper.items()}, 1),
            window.rows,
            window.weight,
            devices.replicate(np.ones(window.weight.shape[1], np.float32), 1),
            *np.array([0, stop - start, 1], np.int32),
        )
        if stop == 5:
            np.testing.assert_array_equal(weights(records[5]), state.weights)
    np.testing.assert_array_equal(weights(records[-1]), state.weights)
    assert not np.array_equal(weights(history()[-1]), state.weights), "without the change it ends elsewhere"


@pytest.mark.usefixtures("one_step_a_call")
def test_stop_ends_the_run_where_it_is() -> None:
    steering, records = Steering(), []
    for record in fit(TABLE, VALIDATION, BINARY, CONFIG, steering=steering):
        records.append(record)
        if record.step == 3:
            steering.stop()
    assert [record.step for record in records] == [0, 1, 2, 3, 3]
    assert [record.outcome for record in records] == [None] * 4 + ["stopped"]
    np.testing.assert_array_equal(weights(records[-1]), weights(records[-2]))
    assert not records[-1].best


def test_a_run_stopped_before_it_began_has_its_initial_weights() -> None:
    steering = Steering()
    steering.stop()
    first, last = fit(TABLE, VALIDATION, BINARY, CONFIG, steering=steering)
    assert (last.step, last.outcome) == (0, "stopped")
    np.testing.assert_array_equal(weights(last), Network(BINARY, CONFIG.hidden, CONFIG.activation).init(CONFIG.seed))
    assert first.outcome is None


@pytest.mark.usefixtures("one_step_a_call")
def test_a_pause_holds_the_run_and_changes_nothing_in_it() -> None:
    steering, records = Steering(), []
    run = fit(TABLE, VALIDATION, BINARY, CONFIG, steering=steering)
    records += [next(run) for _ in range(4)]
    steering.pause()
    other = threading.Thread(target=lambda: records.extend(run), daemon=True)
    other.start()
    other.join(0.2)
    assert other.is_alive()
    assert len(records) == 4
    steering.resume()
    other.join(60)
    assert records[-1].outcome == "finished"
    np.testing.assert_array_equal(weights(records[-1]), weights(history()[-1]))


@pytest.mark.usefixtures("one_step_a_call")
@pytest.mark.parametrize("stopped_at", [None, 13])
@pytest.mark.parametrize("seconds", [0, 1e9])
def test_the_log_of_a_steered_run_replays_it_to_the_bit(
    monkeypatch: pytest.MonkeyPatch, stopped_at: int | None, seconds: float
) -> None:
    steering, records = Steering(), []
    for record in fit(TABLE, VALIDATION, BINARY, CONFIG, steering=steering):
        records.append(record)
        if record.step in (0, 3, 5, 8, 11):
            steering.set("learning_rate", 0.01 * (1 + record.step))
            steering.set("dropout", record.step / 20)
        if record.step == 5:
            steering.pause()
            threading.Timer(0.05, steering.resume).start()
        if record.step == stopped_at:
            steering.stop()
    plain = history()[records[-1].step]
    monkeypatch.setattr(train, "SECONDS_PER_CALL", seconds)  # where calls are long, the steps fall into their middle
    again = Steering(script=steering.changes)
    replayed = list(fit(TABLE, VALIDATION, BINARY, CONFIG, steering=again))
    assert [change.name for change in steering.changes].count("pause") == 1
    assert again.changes == [change for change in steering.changes if change.name not in ("pause", "resume")]
    np.testing.assert_array_equal(weights(replayed[-1]), weights(records[-1]))
    assert (replayed[-1].step, replayed[-1].outcome) == (records[-1].step, records[-1].outcome)
    assert [record.validation for record in epochs(replayed)] == [record.validation for record in epochs(records)]
    assert not np.array_equal(weights(records[-1]), weights(plain)), "the changes change it"


# Records, and how runs end.


@pytest.mark.usefixtures("one_step_a_call")
def test_what_the_records_of_a_run_say() -> None:
    records = history()
    first, last = records[0], records[-1]
    assert (first.epoch, first.step, first.rows_seen, first.train) == (0, 0, 0, {})
    assert first.validation is not None
    assert set(first.validation) == {"loss", "accuracy", "auc"}
    assert [record.step for record in records] == list(range(17))
    assert [record.epoch for record in records] == [step / 8 for step in range(17)]
    assert [record.rows_seen for record in records] == [10 * step for step in range(17)]
    assert [record.epoch for record in epochs(records)] == [0, 1, 2]
    assert all(set(record.train) == {"loss", "accuracy"} for record in records[1:])
    assert [record.outcome for record in records] == [None] * 16 + ["finished"]
    assert all(record.hyperparameters == CONFIG.hyperparameters for record in records)
    assert all(record.rows_per_second > 0 for record in records[1:])
    seconds = [record.seconds for record in records]
    assert seconds == sorted(seconds)
    assert last.network == Network(BINARY, (6,), "relu")
    # The train metrics of an epoch begin anew with it: after one step they are the share of 10 rows.
    assert records[9].train["accuracy"] * 10 == pytest.approx(round(records[9].train["accuracy"] * 10))


def test_the_best_records_are_those_with_the_lowest_validation_loss_so_far() -> None:
    records = history(replace(CONFIG, epochs=12, learning_rate=0.5))
    lowest, best = float("inf"), []
    for record in epochs(records)[1:]:
        best.append(record.validation["loss"] < lowest)
        lowest = min(lowest, record.validation["loss"])
    assert [record.best for record in epochs(records)[1:]] == best
    assert {True, False} == set(best), "the example shows both"
    assert not any(record.best for record in records if not record.validation)


def test_patience_ends_a_run_that_gets_worse() -> None:
    wrong = VALIDATION._replace(target=1 - VALIDATION.target)  # the better the training, the worse this
    records = history(replace(CONFIG, epochs=20, patience=3), validation=wrong)
    losses = [record.validation["loss"] for record in epochs(records)[1:]]
    assert losses == sorted(losses)
    assert records[-1].outcome == "stopped early: no better validation loss for 3 epochs"
    assert records[-1].epoch == 4, "the first is the best, and three were no better"
    assert [record.best for record in epochs(records)] == [False, True, False, False, False]


@pytest.mark.usefixtures("one_step_a_call")
@pytest.mark.parametrize(
    ("wild", "length"),
    [
        ({"learning_rate": 1e30}, 3),
        ({"learning_rate": 1e30, "weight_decay": 1e30}, 2),  # the first update overflows after a finite loss
    ],
    ids=["loss", "weights"],
)
def test_a_diverging_run_ends_with_its_last_finite_weights(wild: dict[str, float], length: int) -> None:
    table, of = rows("regression", 80), signature("regression")
    records = history(replace(CONFIG, **wild), table, rows("regression", 41, 1), of)
    assert len(records) == length
    assert records[-1].outcome.startswith("diverged: the loss is no longer a finite number at step")
    assert "learning rate 1e+30; try a tenth of it" in records[-1].outcome
    assert all(np.isfinite(weights(record)).all() for record in records)
    np.testing.assert_array_equal(weights(records[-1]), weights(records[-2]))
    assert not records[-1].best


# Configurations and tables that cannot run; test_config.py has the sentence for each value.


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"batch_size": 81},
        {"optimizer": "sdg"},
        {"activation": "swish"},
        {"dropout": 1.0},
        {"learning_rate": float("nan")},
        {"devices": 5},
    ],
    ids=str,
)
def test_a_bad_configuration_ends_before_the_first_record(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(LabError, match=f"^{name} = .*choose|needs 1"):
        fit(TABLE, VALIDATION, BINARY, replace(CONFIG, **wrong))


def test_no_rows_are_refused() -> None:
    nothing = part(TABLE, slice(0, 0))
    with pytest.raises(LabError, match="no training rows: look at the split"):
        fit(nothing, VALIDATION, BINARY, CONFIG)
    with pytest.raises(LabError, match="no validation rows: look at the split"):
        fit(TABLE, nothing, BINARY, CONFIG)


# What weighs on the gradient.


def test_balanced_classes_are_those_of_a_table_with_the_rare_rows_repeated() -> None:
    """Gradient descent over all rows: weights of 1 and 3 are rows that are there once and three times."""
    positive, negative = np.flatnonzero(TABLE.target == 1), np.flatnonzero(TABLE.target == 0)
    uneven = part(TABLE, np.concatenate([positive[:12], negative[:36]]))
    repeated = part(TABLE, np.concatenate([*[positive[:12]] * 3, negative[:36]]))
    config = replace(CONFIG, optimizer="gradient descent", dropout=0.0, learning_rate=0.5, epochs=6)
    plain, balanced = history(config, uneven), history(replace(config, class_weight="balanced"), uneven)
    by_hand = history(config, repeated)
    np.testing.assert_allclose(weights(balanced[-1]), weights(by_hand[-1]), rtol=1e-4, atol=1e-6)
    assert abs(weights(balanced[-1]) - weights(plain[-1])).max() > 1e-2, "the weights of the classes weigh"
    assert balanced[1].train == pytest.approx(plain[1].train), "the metrics do not, at the same weights"
    assert balanced[1].rows_seen == plain[1].rows_seen == 48


def test_smoothed_labels_are_soft_targets() -> None:
    """Of two classes: with 0.3 the targets 0 and 1 are 0.15 and 0.85."""
    smoothed = history(replace(CONFIG, label_smoothing=0.3))
    soft = history(table=TABLE._replace(target=TABLE.target * np.float32(0.7) + np.float32(0.15)))
    np.testing.assert_allclose(weights(smoothed[-1]), weights(soft[-1]), rtol=1e-4, atol=1e-6)
    assert smoothed[-1].validation["loss"] == pytest.approx(soft[-1].validation["loss"], rel=1e-4), "of hard labels"
    assert abs(weights(smoothed[-1]) - weights(history()[-1])).max() > 1e-3


@pytest.mark.usefixtures("one_step_a_call")
def test_a_clipped_step_is_as_long_as_the_limit_allows_and_points_the_same_way() -> None:
    config = replace(CONFIG, weight_decay=0.0)
    (before, free), (_, clipped) = (history(config)[:2], history(replace(config, clip_norm=0.01))[:2])
    step, short = weights(free) - weights(before), weights(clipped) - weights(before)
    assert free.gradient_norm == pytest.approx(np.linalg.norm(step) / CONFIG.learning_rate, rel=1e-4)
    assert clipped.gradient_norm == free.gradient_norm > 0.1, "the length is that before clipping"
    assert np.linalg.norm(short) == pytest.approx(0.01 * CONFIG.learning_rate, rel=1e-3)
    np.testing.assert_allclose(short / np.linalg.norm(short), step / np.linalg.norm(step), atol=1e-3)
    loose = history(replace(config, clip_norm=1e6))
    np.testing.assert_array_equal(weights(loose[-1]), weights(history(config)[-1]))


def test_each_loss_of_a_regression_learns_and_huber_minds_outliers_less() -> None:
    table, of = rows("regression", 80), signature("regression")
    table.target[::10] += 15
    rmse = {}
    for loss in LOSSES["regression"]:
        config = replace(CONFIG, epochs=25, dropout=0.0, loss=loss)
        last = history(config, table, rows("regression", 41, seed=1), of)[-1]
        assert last.outcome == "finished"
        rmse[loss] = last.validation["rmse"]
    assert rmse["huber"] < 0.5 < rmse["squared error"], "the spread of the target is about 1"


# Schedules.


@pytest.mark.usefixtures("one_step_a_call")
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rate_of_each_step_is_the_learning_rate_times_its_schedule(schedule: str) -> None:
    config = replace(CONFIG, schedule=schedule, warmup=0.25, momentum=0.0, weight_decay=0.0)
    records = history(config)
    expected = 0.05 * schedules.factors(schedule, 0, 16, 16, 0.25)
    np.testing.assert_allclose([record.rate for record in records[1:]], expected, rtol=1e-6)
    lengths = [np.linalg.norm(weights(b) - weights(a)) for a, b in itertools.pairwise(records)]
    np.testing.assert_allclose(
        lengths, [record.rate * record.gradient_norm for record in records[1:]], rtol=1e-3, atol=1e-7
    )
    assert (lengths[0] == 0) == (schedule == "warm-up"), "a warm-up begins at 0"


@pytest.mark.usefixtures("one_step_a_call")
def test_a_new_learning_rate_scales_what_is_left_of_the_schedule() -> None:
    steering, rates = Steering(), []
    for record in fit(TABLE, VALIDATION, BINARY, replace(CONFIG, schedule="cosine"), steering=steering):
        rates.append(record.rate)
        if record.step == 5:
            steering.set("learning_rate", 0.2)
    factors = schedules.factors("cosine", 0, 16, 16, 0.1)
    np.testing.assert_allclose(rates[1:], factors * ([0.05] * 5 + [0.2] * 11), rtol=1e-6)


# Local SGD.


@pytest.mark.parametrize("sync_every", [2, 3, 100])
def test_one_device_has_nobody_to_meet(sync_every: int) -> None:
    one, other = history(), history(replace(CONFIG, sync_every=sync_every))
    np.testing.assert_allclose(weights(other[-1]), weights(one[-1]), rtol=1e-6, atol=1e-6)
    assert other[-1].validation == pytest.approx(one[-1].validation, rel=1e-5)
    assert other[-1].train == pytest.approx(one[-1].train, rel=1e-5)


def test_two_devices_that_meet_every_three_steps_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs, each on its half of a batch, whose weights and momenta are averaged after steps 3, 6 and 8."""
    config, runs = replace(CONFIG, devices=2, sync_every=3, dropout=0.0), []
    for seconds in (0, 1e9):
        monkeypatch.setattr(train, "SECONDS_PER_CALL", seconds)
        runs.append(history(config))
    for one, again in zip(epochs(runs[0]), epochs(runs[1]), strict=True):
        np.testing.assert_array_equal(weights(again), weights(one))
        assert again.validation == one.validation
    assert [record.step for record in runs[0]] == [0, 3, 6, 8, 11, 14, 16], "a call ends with a meeting"

    network = Network(BINARY, CONFIG.hidden, CONFIG.activation)

    @jax.jit
    def gradient(theta: jax.Array, share: Rows) -> jax.Array:
        def mean_loss(theta: jax.Array) -> jax.Array:
            return metrics.losses("binary", network.apply(theta, share.numeric, share.categorical), share.target).mean()

        return jax.grad(mean_loss)(theta)

    theta = [network.init(CONFIG.seed)] * 2
    momenta = [np.zeros_like(theta[0])] * 2
    for window in Feed(TABLE, 10, 1, seed=CONFIG.seed).windows(0, 16):
        table = Rows(*(np.asarray(column)[0] for column in window.rows))
        for step in range(8):
            for device in range(2):
                share = Rows(*(column[step, 5 * device : 5 * device + 5] for column in table))
                momenta[device] = 0.9 * momenta[device] + np.asarray(gradient(theta[device], share))
                decay = 0.01 * network.decayed() * theta[device]
                theta[device] = theta[device] - np.float32(0.05) * (momenta[device] + decay)
            if step + 1 in (3, 6, 8):
                theta, momenta = [sum(theta) / 2] * 2, [sum(momenta) / 2] * 2
    np.testing.assert_allclose(weights(runs[0][-1]), theta[0], rtol=1e-4, atol=1e-5)
    together = history(replace(config, sync_every=1))
    assert abs(weights(together[-1]) - theta[0]).max() > 1e-4, "to meet at each step is another algorithm"


# Learning.


@pytest.mark.parametrize(
    ("task", "metric", "least"),
    [("binary", "accuracy", 0.85), ("multiclass", "accuracy", 0.7), ("regression", "r2", 0.9)],
)
def test_an_easy_problem_is_learnt(task: Task, metric: str, least: float) -> None:
    config = replace(CONFIG, epochs=25, dropout=0.0)
    records = epochs(history(config, rows(task, 80), rows(task, 41, seed=1), signature(task)))
    first, best = records[0].validation, [record for record in records if record.best][-1].validation
    assert best["loss"] < first["loss"] / 2
    assert best[metric] > least > first[metric]
    assert records[-1].train["loss"] < records[1].train["loss"] / 2


def test_the_slot_for_unseen_categories_stays_silent() -> None:
    last = history(replace(CONFIG, weight_decay=0.1))[-1]
    named, before = last.network.named(weights(last)), last.network.named(last.network.init(CONFIG.seed))
    for column in range(2):
        name = f"embeddings.{column}.embedding"
        assert not named[name][0].any()
        assert (named[name][1:] != before[name][1:]).all(), "the others have learnt"


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_validation_rows_of_one_class_have_no_auc(value: float) -> None:
    last = history(validation=VALIDATION._replace(target=np.full(41, value, np.float32)))[-1]
    assert np.isnan(last.validation["auc"])
    assert np.isfinite(last.validation["loss"])
    assert last.outcome == "finished"


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_a_table_with_one_kind_of_inputs_is_enough(kind: str) -> None:
    def only(table: Rows) -> Rows:
        dropped = "categorical" if kind == "numeric" else "numeric"
        return table._replace(**{dropped: getattr(table, dropped)[:, :0]})

    of = replace(BINARY, cardinalities=()) if kind == "numeric" else replace(BINARY, numeric=0)
    last = history(replace(CONFIG, epochs=20), only(TABLE), only(VALIDATION), of)[-1]
    assert last.outcome == "finished"
    # The rates of the six pairs of categories, learnt by counting, reach 0.69.
    assert last.validation["auc"] > 0.6

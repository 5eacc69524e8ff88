"""Training as a whole: the same result however it is run, steering, how runs end, and that they learn."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from example_rows import part, rows, signature

from lab_kit import devices, engine, train
from lab_kit.arrays import Rows, Signature, Task
from lab_kit.config import TrainConfig
from lab_kit.model import Network
from lab_kit.schema import LabError
from lab_kit.steering import Change, Steering
from lab_kit.train import Record, fit

# One table and one configuration for most tests, so that programs compile once: 8 steps an epoch, dropout on.
BINARY = signature("binary")
TABLE, VALIDATION = rows("binary", 80), rows("binary", 41, seed=1)
CONFIG = TrainConfig(
    (6,), optimizer="momentum", batch_size=10, epochs=2, learning_rate=0.05, dropout=0.2, weight_decay=0.01
)


@pytest.fixture
def one_step_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "SECONDS_PER_CALL", 0)


def history(
    config: TrainConfig = CONFIG, table: Rows = TABLE, validation: Rows = VALIDATION, of: Signature = BINARY
) -> list[Record]:
    return list(fit(table, validation, of, config))


def weights(record: Record) -> np.ndarray:
    return np.asarray(record.weights)


def epochs(records: list[Record]) -> list[Record]:
    """The records at the end of an epoch, which do not depend on how long a call was."""
    return [record for record in records if record.validation]


@contextmanager
def compilations() -> Iterator[list[str]]:
    """Grows by one name with each program that XLA compiles (a public event of ``jax.monitoring``)."""
    found: list[str] = []

    def listen(event: str, duration: float, **_: Any) -> None:
        if event.endswith("backend_compile_duration"):
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


# The same result, however it is run.


@pytest.mark.parametrize("number", [79, 80, 81])
def test_one_two_and_four_devices_arrive_at_the_same_weights(number: int) -> None:
    """With dropout, batches of 10 that four devices cannot share evenly, and a last batch of 9, 10 or 1 rows."""
    table = part(rows("binary", 81), slice(0, number))
    runs = [epochs(history(replace(CONFIG, devices=count), table)) for count in (1, 2, 4)]
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


def test_rows_in_place_give_the_same_run() -> None:
    placed = train.place(TABLE, 2)
    config = replace(CONFIG, devices=2)
    for _ in range(2):  # a run does not use them up
        np.testing.assert_array_equal(weights(history(config, placed)[-1]), weights(history(config)[-1]), strict=True)


# Nothing compiles but the first calls.


@pytest.mark.usefixtures("one_step_a_call")
@pytest.mark.parametrize("count", [1, 4])
def test_changes_compile_nothing_and_neither_does_a_run_again(count: int) -> None:
    config = replace(CONFIG, devices=count, epochs=4, seed=7)  # of its own, so that nothing is compiled yet
    steering = Steering()
    run = fit(TABLE, VALIDATION, BINARY, config, steering=steering)
    with compilations() as compiled:
        next(run)
        next(run)
    assert compiled, "measuring and the first step compile"
    with compilations() as compiled:
        for _ in range(7):
            next(run)  # through the end of the first epoch
        for number in range(20):
            steering.set("learning_rate", 0.01 + number / 1000)
            steering.set("momentum", 0.5 + number / 100)
            steering.set("weight_decay", number / 1000)
            steering.set("dropout", number % 3 / 10)  # zero, too, where the program takes another path
            next(run)
        assert len(list(run)) == 4
        assert len(history(config)) == 1 + 4 * 8
    assert compiled == []
    assert len(steering.changes) == 80
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
    network = Network(BINARY, CONFIG.hidden, CONFIG.activation)
    program = engine.program(network, CONFIG.optimizer, 1, CONFIG.seed)
    state = engine.initial_state(network, CONFIG.optimizer, hyper, 1, CONFIG.seed)
    for epoch, start, stop in ((0, 0, 5), (0, 5, 8), (1, 0, 8)):
        if start:
            hyper = hyper | {"learning_rate": 0.2, "dropout": 0.0}
        state, _ = program.run(
            state,
            devices.replicate({name: np.float32(value) for name, value in hyper.items()}, 1),
            train.place(TABLE, 1),
            devices.shard(engine.epoch_order(80, 10, 1, CONFIG.seed, epoch), 1),
            np.int32(start),
            np.int32(stop),
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
        next(fit(TABLE, VALIDATION, BINARY, replace(CONFIG, **wrong)))


def test_no_rows_are_refused() -> None:
    nothing = part(TABLE, slice(0, 0))
    with pytest.raises(LabError, match="no training rows: look at the split"):
        next(fit(nothing, VALIDATION, BINARY, CONFIG))
    with pytest.raises(LabError, match="no validation rows: look at the split"):
        next(fit(TABLE, nothing, BINARY, CONFIG))


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
    last = history(CONFIG, only(TABLE), only(VALIDATION), of)[-1]
    assert last.outcome == "finished"
    assert last.validation["auc"] > 0.6

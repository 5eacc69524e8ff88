"""A run that goes on from any of its records is, to the bit, the run that was never interrupted."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from example_rows import part
from example_runs import BINARY, CONFIG, TABLE, VALIDATION, epochs, history, weights

from lab_kit import feed
from lab_kit.arrays import Rows
from lab_kit.config import TrainConfig
from lab_kit.steering import Steering
from lab_kit.stream import Stream, write_stream
from lab_kit.train import Progress, Record, fit

# Everything that a run remembers at once: momentum, running statistics, a schedule, dropout, the best epoch so far.
EVERYTHING = replace(CONFIG, normalization="batch", schedule="one-cycle", patience=3, clip_norm=1.0)
WRONG = VALIDATION._replace(target=1 - VALIDATION.target)  # the better the training, the worse this

pytestmark = pytest.mark.usefixtures("one_step_a_call")


def told(record: Record) -> tuple[object, ...]:
    """What a record says, but for time."""
    return (
        record.epoch, record.step, record.rows_seen, record.train, record.validation, record.gradient_norm, record.rate,
        record.hyperparameters, record.best, record.outcome, weights(record).tobytes(),
    )  # fmt: skip


def resumed(config: TrainConfig, start: Progress, table: Rows | Stream, validation: Rows) -> list[Record]:
    return list(fit(table, validation, BINARY, config, start=start))


def check_from_each_record(
    config: TrainConfig, table: Rows | Stream = TABLE, validation: Rows = VALIDATION, every: int = 1
) -> list[Record]:
    """Goes on from each record, and finds the rest of the run; returns the run."""
    whole = history(config, table, validation)
    for place, record in list(enumerate(whole))[::every]:
        first, *rest = resumed(config, record.progress, table, validation)
        assert (first.step, first.rows_seen, first.epoch) == (record.step, record.rows_seen, record.epoch)
        np.testing.assert_array_equal(weights(first), weights(record))
        assert [told(again) for again in rest] == [told(one) for one in whole[place + 1 :]]
        assert rest or first.outcome == record.outcome is not None
    return whole


@pytest.mark.slow
def test_going_on_from_each_record_is_the_run_that_was_never_interrupted() -> None:
    whole = check_from_each_record(replace(EVERYTHING, epochs=3))
    assert whole[-1].outcome == "finished"
    assert len(whole) == 1 + 3 * 8


@pytest.mark.slow
def test_patience_counts_on_where_it_was() -> None:
    whole = check_from_each_record(replace(EVERYTHING, epochs=20, patience=2), validation=WRONG)
    assert whole[-1].outcome == "stopped early: no better validation loss for 2 epochs"
    assert whole[-1].epoch == 3


def test_the_last_batch_may_be_short_and_the_devices_two() -> None:
    check_from_each_record(replace(CONFIG, devices=2), part(TABLE, slice(0, 73)))


@pytest.mark.parametrize("readers", [1, 2])
def test_a_stream_of_many_windows_goes_on_in_the_middle_of_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, readers: int
) -> None:
    monkeypatch.setattr(feed, "WINDOW_BYTES", 24 * 30)  # windows of 2 steps, groups of 2 shards
    stream = write_stream([TABLE], tmp_path / "rows", rows_per_shard=12)
    assert len(list(feed.Feed(stream, 10, 1, readers).windows(0, 8))) > 2
    check_from_each_record(replace(CONFIG, readers=readers), stream, every=3)


def test_local_sgd_goes_on_from_each_meeting() -> None:
    whole = check_from_each_record(replace(CONFIG, devices=2, sync_every=3))
    assert [record.step for record in whole] == [0, 3, 6, 8, 11, 14, 16]


def test_a_run_of_one_device_goes_on_on_two() -> None:
    """Not to the bit, as sums have another order."""
    whole = history()
    again = resumed(replace(CONFIG, devices=2), whole[5].progress, TABLE, VALIDATION)
    np.testing.assert_allclose(weights(again[-1]), weights(whole[-1]), rtol=1e-4, atol=1e-5)
    assert again[-1].validation == pytest.approx(whole[-1].validation, rel=1e-4)


def test_values_that_were_steered_are_in_the_progress() -> None:
    steering, records = Steering(), []
    for record in fit(TABLE, VALIDATION, BINARY, CONFIG, steering=steering):
        records.append(record)
        if record.step == 5:
            steering.set("learning_rate", 0.2)
            steering.set("dropout", 0.5)
    again = resumed(CONFIG, records[9].progress, TABLE, VALIDATION)
    assert again[0].hyperparameters["learning_rate"] == again[-1].hyperparameters["learning_rate"] == 0.2
    np.testing.assert_array_equal(weights(again[-1]), weights(records[-1]))
    # The log of the whole run may be given again: what it says of earlier steps is in force already.
    script = fit(TABLE, VALIDATION, BINARY, CONFIG, start=records[3].progress, steering=Steering(steering.changes))
    np.testing.assert_array_equal(weights(list(script)[-1]), weights(records[-1]))


def test_a_run_that_came_to_its_end_says_so_again_and_goes_on_with_more_epochs() -> None:
    last = history()[-1]
    (again,) = resumed(CONFIG, last.progress, TABLE, VALIDATION)
    assert (again.outcome, again.step, again.validation) == ("finished", last.step, last.validation)
    longer = replace(CONFIG, epochs=3)
    np.testing.assert_array_equal(
        weights(resumed(longer, last.progress, TABLE, VALIDATION)[-1]), weights(history(longer)[-1])
    )


@pytest.mark.parametrize("convert", [np.array, np.asarray], ids=["copies", "views"])
def test_progress_is_arrays_and_numbers_that_may_lie_anywhere(convert: Callable[[object], np.ndarray]) -> None:
    """As a checkpoint on disk would give them back."""
    whole = history()
    progress = whole[11].progress
    state = progress.state._replace(
        weights=convert(progress.state.weights),
        step=convert(progress.state.step),
        seed=convert(progress.state.seed),
    )
    again = resumed(CONFIG, progress._replace(state=state, best=convert(progress.best)), TABLE, VALIDATION)
    np.testing.assert_array_equal(weights(again[-1]), weights(whole[-1]))


def test_the_progress_keeps_the_best_weights_and_adds_up_the_seconds() -> None:
    whole = history(replace(CONFIG, epochs=4), validation=WRONG)
    best = next(record for record in whole if record.best)
    np.testing.assert_array_equal(whole[-1].progress.best, weights(best))
    assert whole[-1].progress.lowest == min(record.validation["loss"] for record in epochs(whole)[1:])
    assert whole[-1].progress.lowest_epoch == 0
    again = resumed(replace(CONFIG, epochs=4), whole[20].progress, TABLE, WRONG)
    assert again[1].seconds > again[0].seconds == whole[20].progress.seconds > 0


def test_a_diverged_run_keeps_the_progress_of_its_last_finite_step() -> None:
    whole = history(replace(CONFIG, learning_rate=1e30, epochs=4))
    assert whole[-1].outcome.startswith("diverged")
    progress = whole[-1].progress
    assert progress.step == whole[-2].step
    np.testing.assert_array_equal(progress.state.weights, weights(whole[-1]))

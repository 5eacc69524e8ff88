"""Rows on their way to the devices: each once an epoch, in an order that devices and windows do not change."""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_rows import TASKS, part, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from lab_kit import devices, feed
from lab_kit.arrays import Rows, Task
from lab_kit.feed import Feed, Window
from lab_kit.schema import LabError
from lab_kit.stream import Stream, write_stream

Step = tuple[int, int, list[int]]


def numbered(count: int) -> Rows:
    """Rows that carry their number, so that each can be known again."""
    numbers = np.arange(count)
    return Rows(
        np.stack([numbers + 1, -numbers - 1], axis=1).astype(np.float32),
        (numbers[:, None] % 7).astype(np.int32),
        (numbers % 2).astype(np.float32),
    )


@contextmanager
def source(count: int, rows_per_shard: int | None = None) -> Iterator[Rows | Stream]:
    """Numbered rows in memory, or as a stream."""
    if rows_per_shard is None:
        yield numbered(count)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield write_stream([numbered(count)], Path(folder) / "rows", rows_per_shard)


@contextmanager
def kept_on_devices(kept: bool) -> Iterator[None]:
    """A table in memory lies on the devices from the beginning, as on a GPU, or not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "can_keep", lambda size: kept)
        yield


@contextmanager
def window_bytes(size: int) -> Iterator[None]:
    """Hypothesis runs many examples in one test, so a fixture would not do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feed, "WINDOW_BYTES", size)
        yield


def places(window: Window) -> Iterator[tuple[Rows, np.ndarray]]:
    """For each step the rows and weights of all places, device after device."""
    columns, weight = [np.asarray(column) for column in window.rows], np.asarray(window.weight)
    for step in range(window.stop - window.first):
        of_step = [column[:, step].reshape(-1, *column.shape[3:]) for column in columns]
        yield Rows(*of_step), weight[:, step].ravel()


def steps(of: Feed, first: int, last: int) -> list[Step]:
    """(epoch, step in it, numbers of its rows in their places) for each step; the weights are checked on the way."""
    found = []
    for window in of.windows(first, last):
        assert 0 <= window.first < window.stop <= of.steps
        for number, (table, weight) in enumerate(places(window)):
            assert set(weight) <= {0, 1}
            real = part(table, weight > 0)
            ids = real.numeric[:, 0].astype(int) - 1
            expected = part(numbered(10_000), ids)
            for column, other in zip(real, expected, strict=True):
                np.testing.assert_array_equal(column, other)  # the columns of a row stay together
            found.append((window.epoch, window.first + number, ids.tolist()))
    return found


def expected_order(of: Feed, first: int, last: int) -> list[tuple[int, int]]:
    return [divmod(step, of.steps) for step in range(first, last)]


feeds = st.fixed_dictionaries(
    {
        "count": st.integers(1, 60),
        "each": st.integers(1, 7),
        "readers": st.integers(1, 4),
        "devices": st.integers(1, 4),
        "rows_per_shard": st.one_of(st.none(), st.integers(2, 20)),
        "window": st.sampled_from([1, 100, 400, 2000, 10**8]),
        "multiple": st.integers(1, 3),
        "seed": st.integers(0, 3),
        "kept": st.booleans(),
    }
)


def made(stack: ExitStack, of: dict[str, Any], **changed: Any) -> Feed:
    of = of | changed
    readers = min(of["readers"], of["count"])
    stack.enter_context(window_bytes(of["window"]))
    stack.enter_context(kept_on_devices(of["kept"]))
    table = stack.enter_context(source(of["count"], of["rows_per_shard"]))
    return Feed(table, of["each"] * readers, of["devices"], readers, of["seed"], multiple=of["multiple"])


@given(of=feeds)
@settings(max_examples=60)
def test_each_row_is_seen_once_an_epoch(of: dict[str, Any]) -> None:
    with ExitStack() as stack:
        fed = made(stack, of)
        found = steps(fed, 0, 2 * fed.steps)
        assert [(epoch, step) for epoch, step, _ in found] == expected_order(fed, 0, 2 * fed.steps)
        for epoch in range(2):
            seen = [ids for number, _, ids in found if number == epoch]
            assert sorted(chain.from_iterable(seen)) == list(range(of["count"]))
            assert all(ids for ids in seen), "no step without rows"
            # rows_until is what was seen after so many steps.
            assert [fed.rows_until(step) for step in range(fed.steps + 1)] == [
                sum(len(ids) for ids in seen[:step]) for step in range(fed.steps + 1)
            ]
        assert fed.count == fed.rows_until(fed.steps) == of["count"]


@given(of=feeds, count=st.integers(1, 4), multiple=st.integers(1, 3), kept=st.booleans())
@settings(max_examples=40)
def test_the_rows_of_a_step_depend_neither_on_devices_nor_on_windows_nor_on_where_the_table_lies(
    of: dict[str, Any], count: int, multiple: int, kept: bool
) -> None:
    """Of a stream the groups that are shuffled depend on WINDOW_BYTES, so there only the number of steps changes."""
    window = of["window"] if of["rows_per_shard"] else 10**8
    with ExitStack() as stack, ExitStack() as other:
        fed = made(stack, of)
        expected = steps(fed, 0, 2 * fed.steps)
        again = made(other, of, devices=count, multiple=multiple, window=window, kept=kept)
        assert again.steps == fed.steps
        assert steps(again, 0, 2 * fed.steps) == expected


@given(of=feeds, data=st.data())
@settings(max_examples=40)
def test_windows_begun_in_the_middle_are_the_tail_of_the_whole(of: dict[str, Any], data: st.DataObject) -> None:
    with ExitStack() as stack:
        fed = made(stack, of)
        last = 3 * fed.steps
        first = data.draw(st.integers(0, last))
        until = data.draw(st.integers(first, last))
        whole = steps(fed, 0, last)
        assert steps(fed, first, until) == whole[first:until]


def test_a_batch_takes_equally_many_rows_of_each_reader() -> None:
    fed = Feed(numbered(40), 8, 2, readers=4)
    for _, _, ids in steps(fed, 0, fed.steps):
        assert [number % 4 for number in ids] == [0, 0, 1, 1, 2, 2, 3, 3], "reader after reader, from a table in memory"


def test_a_reader_of_a_stream_has_every_so_many_eth_shard(tmp_path: Path) -> None:
    stream = write_stream([numbered(40)], tmp_path / "rows", rows_per_shard=5)
    for _, _, ids in steps(Feed(stream, 4, 1, readers=2), 0, 10):
        assert [number // 5 % 2 for number in ids] == [0, 0, 1, 1]


def test_a_batch_of_all_rows_is_one_step_though_the_readers_have_unequal_numbers_of_them(tmp_path: Path) -> None:
    stream = write_stream([numbered(40)], tmp_path / "rows", rows_per_shard=16)  # 16 + 8 and 16 rows
    fed = Feed(stream, 40, 2, readers=2)
    ((_, _, ids),) = steps(fed, 0, fed.steps)
    assert sorted(ids) == list(range(40))
    assert (fed.steps, fed.rows_until(1)) == (1, 40)


def test_epochs_and_seeds_differ_and_are_the_same_again(tmp_path: Path) -> None:
    with window_bytes(100):
        for table in (numbered(40), write_stream([numbered(40)], tmp_path / "rows", rows_per_shard=4)):
            orders = {
                (seed, epoch): str([ids for _, _, ids in steps(Feed(table, 5, 1, seed=seed), 8 * epoch, 8 * epoch + 8)])
                for seed in (0, 1)
                for epoch in range(4)
            }
            assert len(set(orders.values())) == 8
            assert steps(Feed(table, 5, 1, seed=1), 0, 16) == steps(Feed(table, 5, 1, seed=1), 0, 16)


def test_a_small_window_has_the_steps_that_fit_and_a_stream_the_shards_that_fit(tmp_path: Path) -> None:
    """A row has 8 + 4 + 4 bytes, and 4 for its weight."""
    stream = write_stream([numbered(60)], tmp_path / "rows", rows_per_shard=6)
    with window_bytes(3 * 20 * 5):
        windows = [(window.first, window.stop) for window in Feed(stream, 5, 1).windows(0, 12)]
        assert windows == [(0, 3), (3, 6), (6, 9), (9, 12)]
        of_two = [(window.first, window.stop) for window in Feed(stream, 5, 1, multiple=2).windows(0, 12)]
        assert of_two == [(start, start + 2) for start in range(0, 12, 2)]
        groups = feed.Reader(stream, 0, 1, seed=0).groups(epoch=0)
        assert [len(group) for group in groups] == [3, 3, 3, 1]  # 300 bytes hold 3 shards of 6 rows of 16 bytes
        assert sorted(chain.from_iterable(groups)) == list(range(10))
        assert groups != feed.Reader(stream, 0, 1, seed=0).groups(epoch=1)


def test_a_window_shorter_than_the_others_hides_what_was_in_its_memory() -> None:
    with window_bytes(3 * 20 * 5):
        for window in Feed(numbered(38), 5, 2).windows(0, 16):
            weight = np.asarray(window.weight)
            assert weight[:, : window.stop - window.first].sum() == sum(
                5 if step < 7 else 3 for step in range(window.first, window.stop)
            )
            assert not weight[:, window.stop - window.first :].any()


# The weight of a row.


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_a_row_weighs_what_its_class_weighs(count: int, kept: bool) -> None:
    table, of_class = rows("multiclass", 50), np.array([0.5, 1.5, 4], np.float32)
    with kept_on_devices(kept):
        for window in Feed(table, 8, count, class_weight=of_class).windows(0, 7):
            for of_step, weight in places(window):
                real = weight > 0
                np.testing.assert_array_equal(weight[real], of_class[np.asarray(of_step.target)[real]])


@pytest.mark.parametrize("rows_per_shard", [None, 9, 1000])
@pytest.mark.parametrize("task", [task for task in TASKS if task != "regression"])
def test_balanced_weights_are_those_of_scikit_learn(tmp_path: Path, task: Task, rows_per_shard: int | None) -> None:
    table = rows(task, 90)
    classes = 3 if task == "multiclass" else 2
    given_rows = table if rows_per_shard is None else write_stream([table], tmp_path / "rows", rows_per_shard)
    found = feed.class_weights(given_rows, classes)
    expected = compute_class_weight("balanced", classes=np.arange(classes), y=table.target)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32
    assert found[np.asarray(table.target, int)].sum() == pytest.approx(90), "the rows weigh as much as before"


def test_a_class_without_rows_has_no_weight() -> None:
    table = rows("multiclass", 30)
    found = feed.class_weights(part(table, np.asarray(table.target) != 1), 3)
    assert found[1] == 0
    assert np.isfinite(found).all()


# Rows to measure.


@given(
    count=st.integers(1, 60),
    of_devices=st.integers(1, 4),
    block=st.integers(1, 9),
    rows_per_shard=st.one_of(st.none(), st.integers(1, 20)),
    at_once=st.integers(1, 70),
)
@settings(max_examples=60)
def test_pieces_hold_all_rows_once(
    count: int, of_devices: int, block: int, rows_per_shard: int | None, at_once: int
) -> None:
    with source(count, rows_per_shard) as table, pytest.MonkeyPatch.context() as patch:
        patch.setattr(feed, "ROWS_AT_ONCE", at_once)
        seen, shapes = [], set()
        for cut, weight in feed.pieces(table, of_devices, block):
            shapes.add(weight.shape)
            assert cut.numeric.shape[:3] == cut.categorical.shape[:3] == cut.target.shape == weight.shape
            seen += cut.numeric[weight > 0][:, 0].astype(int).tolist()
            assert set(weight.ravel()) <= {0, 1}
        assert seen == list(range(1, count + 1)), "in their order"
        ((found, blocks, size),) = shapes  # one shape, hence one program
        assert found == of_devices
        assert size <= block
        pieces = -(-count // (at_once if rows_per_shard is None else rows_per_shard))
        assert len(seen) <= of_devices * blocks * size * pieces
        if rows_per_shard is None:
            assert of_devices * (blocks - 1) * size < at_once, "no more rows at once than were asked for, and padding"


def test_a_table_without_rows_is_one_part() -> None:
    assert [of.count for of in feed.parts(numbered(0))] == [0]


# The thread that reads ahead.


def readers_of_rows() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("lab-kit rows")]


@pytest.mark.parametrize("how", ["closed", "dropped", "finished"])
def test_the_reading_thread_ends_with_its_consumer(how: str) -> None:
    with window_bytes(100):
        windows = Feed(numbered(60), 5, 1).windows(0, 24)
        next(windows)
        assert len(readers_of_rows()) == 1
        if how == "closed":
            windows.close()
        elif how == "dropped":
            del windows
        else:
            assert len(list(windows)) == 23
        assert readers_of_rows() == []


def test_the_next_group_of_a_stream_is_read_in_a_thread_that_ends_too() -> None:
    with source(60, 6) as stream, window_bytes(100):
        windows = Feed(stream, 6, 1).windows(0, 20)
        next(windows)
        assert len(readers_of_rows()) == 2
        windows.close()
        assert readers_of_rows() == []


def test_nothing_is_read_before_the_first_window_is_asked_for() -> None:
    Feed(numbered(60), 5, 1).windows(0, 24)
    assert readers_of_rows() == []


@pytest.mark.parametrize("damage", ["missing", "truncated"])
@pytest.mark.parametrize("readers", [1, 2])
def test_a_damaged_shard_reaches_the_consumer_and_ends_the_thread(tmp_path: Path, damage: str, readers: int) -> None:
    stream = write_stream([numbered(60)], tmp_path / "rows", rows_per_shard=6)
    with window_bytes(100):
        fed = Feed(stream, 6, 1, readers)
        order = list(chain.from_iterable(feed.Reader(stream, 0, readers, seed=0).groups(epoch=0)))
        shard = tmp_path / "rows" / stream.shards[order[3]].file  # of the first reader the fourth
        if damage == "missing":
            shard.unlink()
        else:
            shard.write_bytes(shard.read_bytes()[:50])
        seen = []
        with pytest.raises(LabError) as raised:
            seen.extend((window.epoch, window.first) for window in fed.windows(0, 20))
        assert str(shard) in str(raised.value)
        assert len(seen) == 3 * readers, "what comes before is there"
    assert readers_of_rows() == []

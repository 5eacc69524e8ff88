"""Each schedule against optax's own and by hand, and what all of them keep to."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab_kit.schedules import SCHEDULES, factors

TOTAL, WARMUP = 40, 0.25
RISING = 10
"""The steps of the warm-up."""


def whole(name: str, total: int = TOTAL, warmup: float = WARMUP) -> np.ndarray:
    return factors(name, 0, total, total, warmup)


each_schedule = pytest.mark.parametrize("name", SCHEDULES)


def test_the_table_is_complete() -> None:
    assert list(SCHEDULES) == ["constant", "warm-up", "cosine", "one-cycle"]
    for name, schedule in SCHEDULES.items():
        assert schedule.name == name
        assert schedule.title
        assert schedule.formula
        assert schedule.reference or name == "constant"


@pytest.mark.parametrize(
    ("name", "of_optax"),
    [
        ("constant", optax.constant_schedule(1.0)),
        ("warm-up", optax.linear_schedule(0.0, 1.0, RISING)),
        ("warm-up", optax.warmup_constant_schedule(0.0, 1.0, RISING)),
        ("cosine", optax.cosine_decay_schedule(1.0, TOTAL)),
        ("one-cycle", optax.cosine_onecycle_schedule(TOTAL, 1.0, pct_start=WARMUP)),
    ],
    ids=["constant", "linear", "warm-up", "cosine", "one-cycle"],
)
def test_each_schedule_is_that_of_optax(name: str, of_optax: Callable[[np.ndarray], np.ndarray]) -> None:
    expected = np.array([of_optax(step) for step in range(TOTAL)])
    np.testing.assert_allclose(whole(name), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "step", "factor"),
    [
        ("constant", 0, 1),
        ("constant", 39, 1),
        ("warm-up", 0, 0),  # the first step of a warm-up goes nowhere
        ("warm-up", 1, 0.1),
        ("warm-up", 5, 0.5),
        ("warm-up", 10, 1),
        ("warm-up", 39, 1),
        ("cosine", 0, 1),
        ("cosine", 10, (1 + 0.5**0.5) / 2),
        ("cosine", 20, 0.5),
        ("cosine", 30, (1 - 0.5**0.5) / 2),
        ("cosine", 39, (1 + np.cos(np.pi * 39 / 40)) / 2),
        ("one-cycle", 0, 1 / 25),
        ("one-cycle", 5, (1 + 1 / 25) / 2),
        ("one-cycle", 10, 1),
        ("one-cycle", 25, (1 + 4e-6) / 2),
        ("one-cycle", 39, 4e-6 + (1 - 4e-6) * (1 + np.cos(np.pi * 29 / 30)) / 2),
    ],
)
def test_factors_by_hand(name: str, step: int, factor: float) -> None:
    np.testing.assert_allclose(whole(name)[step], factor, rtol=1e-6, atol=1e-9)


runs = {"total": st.integers(1, 300), "warmup": st.floats(0, 0.99)}


@each_schedule
@given(**runs)
def test_a_factor_is_above_zero_and_never_above_one(name: str, total: int, warmup: float) -> None:
    found = whole(name, total, warmup)
    assert found.dtype == np.float32
    assert found.shape == (total,)
    assert (found <= 1).all()
    assert (found[1:] > 0).all()
    assert found[0] > 0 or (name == "warm-up" and found[0] == 0 < warmup)


@each_schedule
@given(**runs)
def test_a_schedule_rises_once_and_falls_once(name: str, total: int, warmup: float) -> None:
    change = np.sign(np.diff(whole(name, total, warmup).astype(np.float64)))
    turns = np.diff(change[change != 0])
    assert (turns <= 0).all()
    assert (turns < 0).sum() <= 1
    rising = np.flatnonzero(change > 0)
    assert not len(rising) or rising[-1] <= warmup * total, "only in the warm-up"


@each_schedule
@given(**runs, data=st.data())
def test_pieces_join_to_the_whole(name: str, total: int, warmup: float, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, total), max_size=5)))
    bounds = [0, *cuts, total]
    pieces = [factors(name, a, b - a, total, warmup) for a, b in pairwise(bounds)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole(name, total, warmup))


@given(**runs)
def test_constant_is_one(total: int, warmup: float) -> None:
    np.testing.assert_array_equal(whole("constant", total, warmup), np.ones(total))


@pytest.mark.parametrize(("name", "like"), [("warm-up", "constant"), ("constant", "constant"), ("cosine", "cosine")])
def test_without_a_warm_up_there_is_none(name: str, like: str) -> None:
    np.testing.assert_array_equal(whole(name, warmup=0), whole(like))


def test_one_cycle_without_a_warm_up_begins_at_its_peak() -> None:
    expected = 4e-6 + (1 - 4e-6) * whole("cosine")
    np.testing.assert_allclose(whole("one-cycle", warmup=0), expected, rtol=1e-6)


@each_schedule
def test_a_longer_run_goes_through_the_same_curve(name: str) -> None:
    np.testing.assert_allclose(whole(name, 4 * TOTAL)[::4], whole(name), rtol=1e-6, atol=1e-12)

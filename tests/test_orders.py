"""What holds for the next call."""

from hypothesis import given
from hypothesis import strategies as st

from lab_kit.orders import Orders, take
from lab_kit.steering import Change, Steering


@given(length=st.integers(1, 10_000))
def test_the_call_after_a_change_is_short_and_the_next_is_not(length: int) -> None:
    steering = Steering()
    assert take(steering, 0, length) == Orders(length, {}, None, False)
    steering.set("learning_rate", 0.5)
    assert take(steering, 7, length) == Orders(max(1, length // 4), {"learning_rate": 0.5}, None, False)
    assert take(steering, 8, length) == Orders(length, {}, None, False)
    steering.stop()
    assert take(steering, 9, length).stopped


def test_a_script_says_when_its_next_deed_is_due() -> None:
    steering = Steering([Change(5, "dropout", 0.25), Change(9, "stop", None)])
    assert take(steering, 0, 8) == Orders(8, {}, 5, False)
    assert take(steering, 5, 8) == Orders(2, {"dropout": 0.25}, 9, False)
    assert take(steering, 9, 8).stopped

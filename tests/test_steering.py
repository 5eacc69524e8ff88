"""The hand on a running run, without a run."""

import threading

import pytest

from lab_kit.schema import LabError
from lab_kit.steering import Change, Steering


def test_new_values_are_handed_over_once_and_noted_with_their_step() -> None:
    steering = Steering()
    assert steering.take(0) == {}
    steering.set("learning_rate", 1)
    steering.set("learning_rate", 0.5)
    steering.set("dropout", 0)
    assert steering.changes == [], "nothing took effect yet"
    assert steering.take(7) == {"learning_rate": 0.5, "dropout": 0.0}
    assert steering.take(8) == {}
    assert steering.changes == [Change(7, "learning_rate", 0.5), Change(7, "dropout", 0.0)]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("learning_rate", float("nan"), r"learning_rate = nan: choose a finite number above 0\."),
        ("dropout", 1.0, r"dropout = 1: choose a number from 0 to below 1\."),
        ("batch_size", 8, r"batch_size cannot change while a run runs; only learning_rate, .* can\."),
    ],
)
def test_a_value_that_cannot_be_is_refused_and_forgotten(name: str, value: float, sentence: str) -> None:
    steering = Steering()
    with pytest.raises(LabError, match=sentence):
        steering.set(name, value)
    assert steering.take(0) == {}


@pytest.mark.parametrize("release", ["resume", "stop"])
def test_a_pause_holds_until_it_is_resumed_or_stopped(release: str) -> None:
    steering = Steering()
    steering.pause()
    assert steering.paused
    taken: list[dict[str, float]] = []
    run = threading.Thread(target=lambda: taken.append(steering.take(3)), daemon=True)
    run.start()
    run.join(0.2)
    assert run.is_alive()
    assert taken == []
    steering.set("momentum", 0.5)
    getattr(steering, release)()
    run.join(30)
    assert taken == [{"momentum": 0.5} if release == "resume" else {}]
    assert steering.stopped == (release == "stop")
    followed = Change(3, "momentum", 0.5) if release == "resume" else Change(3, "stop", None)
    assert steering.changes == [Change(3, "pause", None), Change(3, "resume", None), followed]


def test_a_change_that_waits_when_the_run_stops_never_took_effect() -> None:
    steering = Steering()
    steering.set("momentum", 0.5)
    steering.stop()
    assert steering.take(4) == {}
    assert steering.changes == [Change(4, "stop", None)]


def test_no_value_is_lost_between_threads() -> None:
    steering = Steering()
    values = [number / 1000 for number in range(1, 501)]
    seen: list[float] = []
    setter = threading.Thread(target=lambda: [steering.set("dropout", value) for value in values])
    setter.start()
    while setter.is_alive():
        seen += steering.take(0).values()
    seen += steering.take(0).values()
    assert seen == sorted(set(seen)), "in their order, none twice"
    assert seen[-1] == values[-1], "the last one always arrives"
    assert [change.value for change in steering.changes] == seen


SCRIPT = [
    Change(2, "learning_rate", 0.5),
    Change(2, "dropout", 0.0),
    Change(5, "pause", None),
    Change(5, "resume", None),
    Change(5, "learning_rate", 0.1),
    Change(9, "stop", None),
]


def test_a_script_is_done_again_at_its_steps_without_its_pauses() -> None:
    steering = Steering(SCRIPT)
    assert [steering.due(step) for step in (0, 1, 2, 5, 9)] == [2, 2, 5, 9, None]
    assert steering.take(0) == {}
    assert steering.take(2) == {"learning_rate": 0.5, "dropout": 0.0}
    assert steering.due(2) == 5
    assert steering.take(5) == {"learning_rate": 0.1}
    assert not steering.stopped
    assert steering.take(9) == {}
    assert steering.stopped
    assert steering.changes == [change for change in SCRIPT if change.name not in ("pause", "resume")]


def test_a_script_taken_up_late_has_its_last_values() -> None:
    steering = Steering(SCRIPT)
    assert steering.take(6) == {"learning_rate": 0.1, "dropout": 0.0}


def test_a_hand_on_a_scripted_run_has_the_last_word() -> None:
    steering = Steering(SCRIPT)
    steering.set("learning_rate", 0.7)
    assert steering.take(2) == {"learning_rate": 0.7, "dropout": 0.0}

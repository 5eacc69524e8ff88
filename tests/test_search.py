"""Searches: trials are runs, proposals follow the seed and the study, and a search goes on where it was left."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
from example_rows import part
from example_runs import BINARY, TABLE, VALIDATION, epochs, history

from lab_kit import search as searching
from lab_kit.config import TrainConfig
from lab_kit.schema import LabError
from lab_kit.search import Between, Trial, best, importances, search, study
from lab_kit.steering import Steering

BASE = TrainConfig((6,), optimizer="momentum", batch_size=10, epochs=3, dropout=0.0)
SPACE = {"layers": (0, 1), "learning_rate": Between(1e-5, 0.3, log=True), "batch_size": (10, 20)}


def searched(trials: int, memory: optuna.Study, space: Any = SPACE, base: TrainConfig = BASE) -> list[Trial]:
    return list(search(TABLE, VALIDATION, BINARY, base, space, trials, memory))


def told(trials: list[Trial]) -> list[tuple[Any, ...]]:
    return [(trial.number, trial.values, trial.losses, trial.outcome) for trial in trials]


@pytest.fixture(scope="module")
def twelve() -> tuple[optuna.Study, list[Trial]]:
    memory = study(seed=1)
    return memory, searched(12, memory)


@pytest.mark.slow
def test_a_trial_is_the_run_of_its_configuration(twelve: tuple[optuna.Study, list[Trial]]) -> None:
    finished = [trial for trial in twelve[1] if trial.outcome == "finished"]
    for trial in finished[:3]:
        assert trial.config == replace(
            BASE, hidden=(6,) * trial.values["layers"], learning_rate=trial.values["learning_rate"],
            batch_size=trial.values["batch_size"],
        )  # fmt: skip
        alone = epochs(history(trial.config))
        assert list(trial.losses) == pytest.approx([record.validation["loss"] for record in alone], rel=1e-5)
        lowest = min(alone[1:], key=lambda record: record.validation["loss"])
        assert trial.metrics == pytest.approx(lowest.validation, rel=1e-5)
        assert trial.loss == trial.metrics["loss"] == min(trial.losses[1:])


@pytest.mark.slow
def test_what_is_worse_than_the_median_is_cut_short(twelve: tuple[optuna.Study, list[Trial]]) -> None:
    """Counted anew: at the epoch where a trial ended, its best loss was above the median of those before it."""
    _, trials = twelve
    pruned = [trial for trial in trials if trial.outcome == "pruned"]
    assert pruned
    assert all(len(trial.losses) == 4 for trial in trials if trial.outcome == "finished")
    for trial in pruned:
        assert trial.number >= searching.STARTUP
        epoch = len(trial.losses) - 1
        before = [other for other in trials[: trial.number] if other.outcome == "finished"]
        assert min(trial.losses[1:]) > np.median([other.losses[epoch] for other in before])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bayesian", "random"])
def test_a_search_goes_on_as_if_it_had_not_been_left(method: searching.Method) -> None:
    whole = searched(8, study(method, seed=3))
    memory = study(method, seed=3)
    first = searched(3, memory)
    assert told(first + searched(5, memory)) == told(whole)
    assert told(searched(3, study(method, seed=4))) != told(first)


@pytest.mark.slow
def test_a_stopped_trial_counts_for_nothing_and_comes_again() -> None:
    whole = searched(4, study("random", seed=5))
    memory, steering = study("random", seed=5), Steering()

    def stopped() -> Iterator[Trial]:
        for trial in search(TABLE, VALIDATION, BINARY, BASE, SPACE, 4, memory, steering=steering):
            if trial.number == 1:
                steering.stop()
            yield trial

    first = list(stopped())
    assert [trial.number for trial in first] == [0, 1]
    rest = searched(2, memory)
    assert [trial.values for trial in first + rest] == [trial.values for trial in whole]
    assert [trial.losses for trial in first + rest] == [trial.losses for trial in whole]


@pytest.mark.slow
def test_the_bayesian_search_comes_to_prefer_what_is_good() -> None:
    """Of a rate from 1e-5 to 0.3 the best is near the upper end: proposals move there, random ones do not."""
    space = {"learning_rate": Between(1e-5, 0.3, log=True)}
    base = replace(BASE, hidden=())
    later = {}
    for method in ("bayesian", "random"):
        trials = searched(24, study(method, seed=2, prune=False), space, base)
        later[method] = np.median([math.log10(trial.values["learning_rate"]) for trial in trials[12:]])
    assert later["bayesian"] > later["random"] + 0.5


@pytest.mark.slow
def test_a_trial_that_diverges_is_no_end_and_never_the_best() -> None:
    space = {"learning_rate": (0.01, 1e30)}
    memory = study("random", seed=0)
    trials = searched(8, memory, space, replace(BASE, optimizer="sgd"))
    outcomes = {trial.values["learning_rate"]: trial.outcome for trial in trials}
    assert outcomes == {0.01: "finished", 1e30: "diverged"}
    assert all(math.isnan(trial.losses[-1]) for trial in trials if trial.outcome == "diverged")
    assert best(trials).values["learning_rate"] == 0.01


@pytest.mark.slow
def test_importance_falls_on_what_moves_the_loss(twelve: tuple[optuna.Study, list[Trial]]) -> None:
    memory = study("random", seed=0, prune=False)
    space = {"learning_rate": Between(1e-4, 0.3, log=True), "seed": (0, 1)}
    searched(12, memory, space, replace(BASE, hidden=()))
    found = importances(memory)
    assert sum(found.values()) == pytest.approx(1)
    assert list(found) == ["learning_rate", "seed"]
    assert found["learning_rate"] > 0.8
    assert importances(memory) == found
    assert set(importances(twelve[0])) == set(SPACE)
    few = study("random")
    searched(3, few, space)
    with pytest.raises(LabError, match="3 trials ran to their end; 4 are needed"):
        importances(few)


def test_the_best_is_the_lowest_of_those_that_ran_to_their_end() -> None:
    def trial(number: int, loss: float, outcome: searching.Outcome) -> Trial:
        return Trial(number, {}, BASE, (loss,), loss, {}, outcome, 0.0)

    trials = [trial(0, 0.5, "finished"), trial(1, 0.1, "pruned"), trial(2, 0.4, "finished"), trial(3, 0.2, "diverged")]
    assert best(trials).number == 2
    with pytest.raises(LabError, match="ran to its end"):
        best(trials[1::2])


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"width": ()}, "nothing to choose width from"),
        ({"dropout": Between(0.5, 0.5)}, "nothing to choose dropout from"),
        ({"dropout": Between(0.5, 1.5)}, "dropout = 1.5"),
        ({"batch_size": (10, 1000)}, "80 training rows"),
        ({"optimizer": ("adam", "newton")}, "optimizer = 'newton'"),
        ({"hidden": ((1,), (2,))}, "cannot vary hidden: choose among layers, width"),
        ({"colour": ("red",)}, "cannot vary colour"),
        ({"width": (0, 4)}, "width of 1 or more"),
    ],
)
def test_what_cannot_be_searched_is_one_sentence_at_once(space: Any, words: str) -> None:
    with pytest.raises(LabError, match=words):
        search(TABLE, VALIDATION, BINARY, BASE, space, 1, study())
    with pytest.raises(LabError, match="bayesian or random"):
        study("grid")  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [1, 7, 80, 5_000, 1_000_000])
def test_the_default_space_fits_the_table(number: int) -> None:
    table = part(TABLE, np.arange(number) % 80)
    space = searching.default_space(number, "binary")
    assert all(size <= number for size in space["batch_size"])
    search(table, VALIDATION, BINARY, BASE if number >= 10 else replace(BASE, batch_size=1), space, 1, study())


def test_a_study_leaves_optuna_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    study()
    assert optuna.logging.get_verbosity() == before
    assert capsys.readouterr().err == ""

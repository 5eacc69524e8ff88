"""What a configuration may be: each wrong value is refused with a sentence that helps."""

from dataclasses import replace
from typing import Any

import pytest

from lab_kit import knobs
from lab_kit.config import TrainConfig, check, suggest
from lab_kit.metrics import LOSSES
from lab_kit.model import ACTIVATIONS, NORMALIZATIONS
from lab_kit.optimizers import OPTIMIZERS, TRACED
from lab_kit.schedules import SCHEDULES
from lab_kit.schema import LabError

NAN = float("nan")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"epochs": 0}, "epochs = 0: a run needs 1 epoch or more."),
        ({"batch_size": 0}, "batch_size = 0: a batch needs 1 row or more."),
        ({"batch_size": 101}, "batch_size = 101, but there are 100 training rows: choose 100 or less."),
        ({"seed": -1}, "seed = -1: choose a whole number of 0 or more."),
        ({"patience": 0}, "patience = 0: choose 1 or more, or None."),
        ({"hidden": (4, 0)}, "hidden = (4, 0): a layer needs a width of 1 or more."),
        (
            {"optimizer": "sdg"},
            "optimizer = 'sdg': choose one of gradient descent, sgd, momentum, adagrad, nesterov, rmsprop, adam, "
            "adamw, lion.",
        ),
        ({"activation": "swish"}, "activation = 'swish': choose one of sigmoid, relu, tanh."),
        ({"normalization": "group"}, "normalization = 'group': choose one of none, layer, batch."),
        ({"loss": "hinge"}, "loss = 'hinge': choose one of cross-entropy for a binary task."),
        ({"loss": "huber"}, "loss = 'huber': choose one of cross-entropy for a binary task."),
        ({"class_weight": "heavy"}, "class_weight = 'heavy': choose one of none, balanced."),
        ({"schedule": "step"}, "schedule = 'step': choose one of constant, warm-up, cosine, one-cycle."),
        ({"warmup": 1.0}, "warmup = 1: choose a part of the run, from 0 to below 1."),
        ({"warmup": -0.1}, "warmup = -0.1: choose a part of the run, from 0 to below 1."),
        ({"warmup": NAN}, "warmup = nan: choose a part of the run, from 0 to below 1."),
        ({"sync_every": 0}, "sync_every = 0: choose 1 or more steps."),
        ({"readers": 0}, "readers = 0: choose 1 to 100, the number of training rows."),
        ({"readers": 101}, "readers = 101: choose 1 to 100, the number of training rows."),
        ({"readers": 3}, "batch_size = 10 cannot be dealt out evenly to 3 readers: choose a multiple of it."),
        (
            {"readers": 3, "optimizer": "gradient descent"},
            "batch_size = 100 cannot be dealt out evenly to 3 readers: choose a multiple of it.",
        ),
        ({"learning_rate": NAN}, "learning_rate = nan: choose a finite number above 0."),
        ({"learning_rate": 0.0}, "learning_rate = 0: choose a finite number above 0."),
        ({"momentum": 1.0}, "momentum = 1: choose a number from 0 to below 1."),
        ({"weight_decay": -0.5}, "weight_decay = -0.5: choose a finite number of 0 or more."),
        ({"dropout": 1.0}, "dropout = 1: choose a number from 0 to below 1."),
        ({"dropout": NAN}, "dropout = nan: choose a number from 0 to below 1."),
        ({"clip_norm": -1.0}, "clip_norm = -1: choose a finite number above 0, or 0 for no clipping."),
        ({"clip_norm": float("inf")}, "clip_norm = inf: choose a finite number above 0, or 0 for no clipping."),
        ({"label_smoothing": 1.0}, "label_smoothing = 1: choose a number from 0 to below 1."),
        ({"devices": 5}, "devices = 5, but this machine shows JAX 4 cpu device(s): choose 1 to 4."),
        ({"devices": 0}, "devices = 0, but this machine shows JAX 4 cpu device(s): choose 1 to 4."),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_with_what_to_choose(wrong: dict[str, Any], sentence: str) -> None:
    good = TrainConfig(batch_size=10)
    check(good, rows=100, task="binary")
    with pytest.raises(LabError) as raised:
        check(replace(good, **wrong), rows=100, task="binary")
    assert str(raised.value).startswith(sentence)
    assert str(raised.value).endswith(".")


def test_the_names_that_need_no_jax_are_those_of_the_tables() -> None:
    for names, table in (
        *((knobs.OPTIMIZERS, OPTIMIZERS), (knobs.SCHEDULES, SCHEDULES)),
        *((knobs.ACTIVATIONS, ACTIVATIONS), (knobs.NORMALIZATIONS, NORMALIZATIONS)),
    ):
        assert list(names) == list(table)


def test_no_training_rows_are_refused() -> None:
    with pytest.raises(LabError, match="there are no training rows: look at the split"):
        check(TrainConfig(batch_size=1), rows=0, task="binary")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_batch_size_matters_to_optimizers_that_use_it(name: str) -> None:
    config = TrainConfig(optimizer=name, batch_size=1024)
    if OPTIMIZERS[name].full_batch:
        check(config, rows=100, task="binary")
    else:
        with pytest.raises(LabError, match="batch_size = 1024"):
            check(config, rows=100, task="binary")


@pytest.mark.parametrize("rows", [1, 2, 7, 100, 19_999, 20_000, 10_000_000])
def test_what_is_suggested_can_run(rows: int) -> None:
    check(suggest(rows), rows, "binary")


def test_the_suggested_batch_grows_with_the_table() -> None:
    sizes = [suggest(10**power).batch_size for power in range(8)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (1, 1024)


def test_the_loss_must_be_one_of_the_task() -> None:
    for task, losses in LOSSES.items():
        for loss in {loss for choices in LOSSES.values() for loss in choices}:
            config = TrainConfig(batch_size=10, loss=loss)
            if loss in losses:
                check(config, rows=100, task=task)
            else:
                with pytest.raises(LabError, match=f"^loss = '{loss}': choose one of .* for a {task} task.$"):
                    check(config, rows=100, task=task)


def test_a_regression_has_no_classes_to_weigh() -> None:
    balanced = TrainConfig(batch_size=10, class_weight="balanced")
    check(balanced, rows=100, task="binary")
    check(balanced, rows=100, task="multiclass")
    with pytest.raises(LabError, match=r"^class_weight = 'balanced': a regression has no classes; choose 'none'\.$"):
        check(balanced, rows=100, task="regression")


@pytest.mark.parametrize("readers", [2, 5, 10])
def test_readers_that_share_a_batch_evenly_are_taken(readers: int) -> None:
    check(TrainConfig(batch_size=10, readers=readers), rows=100, task="binary")


def test_hyperparameters_are_the_traced_values() -> None:
    chosen = {
        "learning_rate": 0.5, "momentum": 0, "weight_decay": 2, "dropout": 0.25, "clip_norm": 1, "label_smoothing": 0.1,
    }  # fmt: skip
    found = TrainConfig(**chosen).hyperparameters
    assert found == chosen
    assert list(found) == list(TRACED)
    assert all(isinstance(value, float) for value in found.values())

"""What a configuration may be: each wrong value is refused with a sentence that helps."""

from dataclasses import replace
from typing import Any

import pytest

from lab_kit.config import TrainConfig, check, suggest
from lab_kit.optimizers import OPTIMIZERS, TRACED
from lab_kit.schema import LabError

NAN = float("nan")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"epochs": 0}, "epochs = 0: a run needs 1 epoch or more."),
        ({"batch_size": 0}, "batch_size = 0: a batch needs 1 row or more."),
        ({"batch_size": 101}, "batch_size = 101, but there are 100 training rows: choose 100 or less."),
        ({"patience": 0}, "patience = 0: choose 1 or more, or None."),
        ({"hidden": (4, 0)}, "hidden = (4, 0): a layer needs a width of 1 or more."),
        (
            {"optimizer": "sdg"},
            "optimizer = 'sdg': choose one of gradient descent, sgd, momentum, adagrad, adam.",
        ),
        ({"activation": "swish"}, "activation = 'swish': choose one of sigmoid, relu, tanh."),
        ({"learning_rate": NAN}, "learning_rate = nan: choose a finite number above 0."),
        ({"learning_rate": 0.0}, "learning_rate = 0: choose a finite number above 0."),
        ({"momentum": 1.0}, "momentum = 1: choose a number from 0 to below 1."),
        ({"weight_decay": -0.5}, "weight_decay = -0.5: choose a finite number of 0 or more."),
        ({"dropout": 1.0}, "dropout = 1: choose a number from 0 to below 1."),
        ({"dropout": NAN}, "dropout = nan: choose a number from 0 to below 1."),
        ({"devices": 5}, "devices = 5, but this machine shows JAX 4 cpu device(s): choose 1 to 4,"),
        ({"devices": 0}, "devices = 0, but this machine shows JAX 4 cpu device(s): choose 1 to 4,"),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_with_what_to_choose(wrong: dict[str, Any], sentence: str) -> None:
    good = TrainConfig(batch_size=10)
    check(good, rows=100)
    with pytest.raises(LabError) as raised:
        check(replace(good, **wrong), rows=100)
    assert str(raised.value).startswith(sentence)
    assert str(raised.value).endswith(".")


def test_no_training_rows_are_refused() -> None:
    with pytest.raises(LabError, match="there are no training rows: look at the split"):
        check(TrainConfig(batch_size=1), rows=0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_batch_size_matters_to_optimizers_that_use_it(name: str) -> None:
    config = TrainConfig(optimizer=name, batch_size=1024)
    if OPTIMIZERS[name].full_batch:
        check(config, rows=100)
    else:
        with pytest.raises(LabError, match="batch_size = 1024"):
            check(config, rows=100)


@pytest.mark.parametrize("rows", [1, 2, 7, 100, 19_999, 20_000, 10_000_000])
def test_what_is_suggested_can_run(rows: int) -> None:
    check(suggest(rows), rows)


def test_the_suggested_batch_grows_with_the_table() -> None:
    sizes = [suggest(10**power).batch_size for power in range(8)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (1, 1024)


def test_hyperparameters_are_the_traced_values() -> None:
    config = TrainConfig(learning_rate=0.5, momentum=0, weight_decay=2, dropout=0.25)
    assert config.hyperparameters == {"learning_rate": 0.5, "momentum": 0, "weight_decay": 2, "dropout": 0.25}
    assert set(config.hyperparameters) == set(TRACED)
    assert all(isinstance(value, float) for value in config.hyperparameters.values())

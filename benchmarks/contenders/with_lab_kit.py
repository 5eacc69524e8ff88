"""``lab_kit.train.fit`` as a user calls it: shuffling, validation after each epoch, ten records a second."""

from collections.abc import Callable

import numpy as np

from benchmarks.contenders import HIDDEN, LEARNING_RATE
from benchmarks.contenders.data import COLUMNS, Data
from benchmarks.contenders.watch import Watch
from lab_kit import devices
from lab_kit.arrays import Rows, Signature
from lab_kit.config import TrainConfig
from lab_kit.train import fit


def make(data: Data, batch: int) -> Callable[[Watch, int], None]:
    devices.start()  # as the notebooks do, but without the cache of compiled programs on disk
    train, validation = _rows(data.x, data.y), _rows(data.validation_x, data.validation_y)
    config = TrainConfig(
        HIDDEN, batch_size=batch, epochs=1_000_000, learning_rate=LEARNING_RATE, weight_decay=0.0, dropout=0.0
    )

    def run(watch: Watch, limit: int) -> None:
        """Takes all rows whatever the limit: it needs no bound."""
        for record in fit(train, validation, Signature("binary", COLUMNS, (), 1), config):
            validated = record.validation
            if record.step:
                watch.loss()
                if validated and watch.epoch(lambda auc=validated["auc"]: auc):
                    return

    return run


def _rows(x: np.ndarray, y: np.ndarray) -> Rows:
    return Rows(x, np.zeros((len(y), 0), np.int32), y)

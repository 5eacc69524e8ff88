"""One table and one configuration that most tests of runs share, so that programs compile once a process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from example_rows import rows, signature

from lab_kit.arrays import Rows, Signature
from lab_kit.config import TrainConfig
from lab_kit.stream import Stream
from lab_kit.train import Record, fit

# 8 steps an epoch, the last of them full, with dropout.
BINARY = signature("binary")
TABLE, VALIDATION = rows("binary", 80), rows("binary", 41, seed=1)
CONFIG = TrainConfig(
    (6,), optimizer="momentum", batch_size=10, epochs=2, learning_rate=0.05, dropout=0.2, weight_decay=0.01
)


def history(
    config: TrainConfig = CONFIG,
    table: Rows | Stream = TABLE,
    validation: Rows | Stream = VALIDATION,
    of: Signature = BINARY,
) -> list[Record]:
    return list(fit(table, validation, of, config))


def weights(record: Record) -> np.ndarray:
    return np.asarray(record.weights)


def epochs(records: Sequence[Record]) -> list[Record]:
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

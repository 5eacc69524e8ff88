"""Small encoded tables that the tests of the training engine share."""

import numpy as np

from lab_kit.arrays import Rows, Signature, Task

TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression")
CATEGORIES = 4
CLASSES = 3


def signature(task: Task) -> Signature:
    return Signature(task, numeric=3, cardinalities=(CATEGORIES, 3), outputs=CLASSES if task == "multiclass" else 1)


def rows(task: Task, count: int, seed: int = 0) -> Rows:
    """Rows whose target follows from both kinds of inputs, with a little noise; slot 0 does not occur."""
    random = np.random.default_rng(seed)
    numeric = random.normal(size=(count, 3)).astype(np.float32)
    categorical = np.stack([random.integers(1, CATEGORIES, count), random.integers(1, 3, count)], axis=1)
    score = numeric @ [1.0, -0.7, 0.3] + 0.8 * (categorical[:, 0] - 2) + 0.1 * random.normal(size=count)
    target = {
        "binary": (score > 0).astype(np.float32),
        "multiclass": np.digitize(score, [-0.6, 0.6]).astype(np.int32),
        "regression": (score / 1.4).astype(np.float32),
    }[task]
    return Rows(numeric, categorical.astype(np.int32), target)


def part(table: Rows, chosen: slice | np.ndarray) -> Rows:
    return Rows(*(column[chosen] for column in table))

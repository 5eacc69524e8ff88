"""scikit-learn's MLPClassifier: one ``partial_fit`` over all rows is one shuffled epoch."""

from collections.abc import Callable

from sklearn.neural_network import MLPClassifier

from benchmarks.contenders import HIDDEN, LEARNING_RATE
from benchmarks.contenders.data import Data, auc
from benchmarks.contenders.watch import Watch


def make(data: Data, batch: int) -> Callable[[Watch, int], None]:
    model = MLPClassifier(HIDDEN, alpha=0, batch_size=batch, learning_rate_init=LEARNING_RATE, random_state=0)

    def score() -> float:
        return auc(data.validation_y, model.predict_proba(data.validation_x)[:, 1])

    def run(watch: Watch, limit: int) -> None:
        stop = False
        while not stop:
            model.partial_fit(data.x[:limit], data.y[:limit], classes=(0, 1))
            stop = watch.epoch(score)

    return run

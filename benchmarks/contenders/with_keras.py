"""Keras ``fit`` with its defaults, on the backend that KERAS_BACKEND names."""

from collections.abc import Callable

import keras

from benchmarks.contenders import HIDDEN, LEARNING_RATE
from benchmarks.contenders.data import COLUMNS, Data, auc
from benchmarks.contenders.watch import Watch

EVALUATION_BATCH = 8192


def make(data: Data, batch: int) -> Callable[[Watch, int], None]:
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(width, "relu") for width in HIDDEN]
    model = keras.Sequential([keras.Input((COLUMNS,)), *layers, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(LEARNING_RATE), keras.losses.BinaryCrossentropy(from_logits=True))

    def score() -> float:
        outputs = model.predict(data.validation_x, batch_size=EVALUATION_BATCH, verbose=0)
        return auc(data.validation_y, outputs[:, 0])

    def run(watch: Watch, limit: int) -> None:
        class Tell(keras.callbacks.Callback):
            def on_train_batch_end(self, number, logs=None):
                if watch.first_loss is None:
                    float(logs["loss"])
                    watch.loss()

            def on_epoch_end(self, number, logs=None):
                model.stop_training = watch.epoch(score)

        model.fit(data.x[:limit], data.y[:limit], batch, epochs=1_000_000, verbose=0, callbacks=[Tell()])

    return run

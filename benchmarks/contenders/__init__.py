"""Who takes part in ``benchmarks.training``: each trains the same model on the same rows, in a process of its own."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Contender:
    """One way to train the model.

    Attributes:
      title: its name in the table.
      factory: ``module:function`` below this package; the function is ``(data, batch) -> run``, and
        ``run(watch, limit)`` trains, telling the watch of each epoch of at most ``limit`` rows, until it says stop.
      library: what ``importlib.metadata`` knows its version by.
      environment: environment variables of its process.
    """

    title: str
    factory: str
    library: str
    environment: dict[str, str] = field(default_factory=dict)


CONTENDERS: dict[str, Contender] = {
    "lab_kit": Contender("lab_kit fit()", "with_lab_kit:make", "lab-kit"),
    "keras-tensorflow": Contender(
        "Keras on TensorFlow", "with_keras:make", "keras", {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    ),
    "keras-jax": Contender("Keras on JAX", "with_keras:make", "keras", {"KERAS_BACKEND": "jax"}),
    "pytorch": Contender("PyTorch, eager loop", "with_torch:eager", "torch"),
    "pytorch-compiled": Contender("PyTorch, torch.compile", "with_torch:compiled", "torch"),
    "scikit-learn": Contender("scikit-learn MLPClassifier", "with_sklearn:make", "scikit-learn"),
    "roofline": Contender("roofline (matrix products)", "roofline:make", "jax"),
}
"""In the order in which a round runs them. The roofline is no peer, but a bound measured beside them."""

PEERS = tuple(name for name in CONTENDERS if name not in ("lab_kit", "roofline"))

HIDDEN = (64, 32)
"""Hidden layers of the model: ReLU, one output, binary cross-entropy, Adam; no dropout and no weight decay."""

LEARNING_RATE = 1e-3

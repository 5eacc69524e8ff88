r"""The optimizers by name, each an optax transformation whose numbers are traced values.

A transformation is built inside the compiled step from the hyperparameters of that moment, so a learning rate that
changes in the middle of a run is a new input, not a new program. Notation: :math:`\theta` parameters,
:math:`g` gradient, :math:`\eta` learning rate, :math:`\mu` momentum, :math:`t` step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

from lab_kit.arrays import Array

Hyperparameters = Mapping[str, Any]

TRACED: dict[str, str] = {
    "learning_rate": "choose a finite number above 0",
    "momentum": "choose a number from 0 to below 1",
    "weight_decay": "choose a finite number of 0 or more",
    "dropout": "choose a number from 0 to below 1",
}
"""The hyperparameters that may change while a run runs, without compiling anything, and what each may be."""


def refusal(name: str, value: float) -> str | None:
    """Why a traced hyperparameter cannot have this value, as a sentence without its full stop; None if it can."""
    if name not in TRACED:
        return f"{name} cannot change while a run runs; only {', '.join(TRACED)} can"
    with np.errstate(over="ignore", under="ignore"):
        single = np.float32(value)  # what the devices compute with: there 1e39 is infinite and 0.99999999 is 1
    if name == "learning_rate":
        fits = bool(0 < single < np.inf)
    else:
        fits = bool(0 <= single < (np.inf if name == "weight_decay" else 1))
    return None if fits else f"{name} = {value:g}: {TRACED[name]}"


@dataclass(frozen=True)
class Optimizer:
    """An optimizer and what a reader should know of it.

    Attributes:
      name: its name in a configuration.
      title: its name in prose.
      formula: the update, in LaTeX.
      reference: where it was published.
      hyperparameters: the traced values it listens to.
      full_batch: whether each step sees all training rows at once, whatever the batch size says.
      transform: hyperparameters to an optax transformation, *without* the learning rate and the weight decay,
        which ``build`` adds to each in the same way.
    """

    name: str
    title: str
    formula: str
    reference: str
    hyperparameters: tuple[str, ...]
    full_batch: bool
    transform: Callable[[Hyperparameters], optax.GradientTransformation]


def _plain(hyper: Hyperparameters) -> optax.GradientTransformation:
    return optax.identity()


OPTIMIZERS: dict[str, Optimizer] = {
    optimizer.name: optimizer
    for optimizer in (
        Optimizer(
            name="gradient descent",
            title="Gradient descent",
            formula=r"\theta_{t+1} = \theta_t - \eta\, \nabla L(\theta_t) \quad\text{over all rows}",
            reference="A. Cauchy, Méthode générale pour la résolution des systèmes d'équations simultanées, 1847",
            hyperparameters=("learning_rate", "weight_decay"),
            full_batch=True,
            transform=_plain,
        ),
        Optimizer(
            name="sgd",
            title="Stochastic gradient descent",
            formula=r"\theta_{t+1} = \theta_t - \eta\, g_t \quad\text{over a batch}",
            reference="H. Robbins and S. Monro, A stochastic approximation method, 1951",
            hyperparameters=("learning_rate", "weight_decay"),
            full_batch=False,
            transform=_plain,
        ),
        Optimizer(
            name="momentum",
            title="Momentum",
            formula=r"m_{t+1} = \mu\, m_t + g_t, \qquad \theta_{t+1} = \theta_t - \eta\, m_{t+1}",
            reference="B. Polyak, Some methods of speeding up the convergence of iteration methods, 1964",
            hyperparameters=("learning_rate", "weight_decay", "momentum"),
            full_batch=False,
            transform=lambda hyper: optax.trace(hyper["momentum"]),
        ),
        Optimizer(
            name="adagrad",
            title="Adagrad",
            formula=r"v_{t+1} = v_t + g_t^2, \qquad \theta_{t+1} = \theta_t - \eta\, g_t / \sqrt{v_{t+1} + \epsilon}",
            reference="J. Duchi, E. Hazan and Y. Singer, Adaptive subgradient methods, JMLR 12, 2011",
            hyperparameters=("learning_rate", "weight_decay"),
            full_batch=False,
            transform=lambda hyper: optax.scale_by_rss(initial_accumulator_value=0.1, eps=1e-7),
        ),
        Optimizer(
            name="adam",
            title="Adam",
            formula=(
                r"m_{t+1} = \mu m_t + (1-\mu) g_t, \quad v_{t+1} = \beta_2 v_t + (1-\beta_2) g_t^2, \quad"
                r"\theta_{t+1} = \theta_t - \eta\, \hat m_{t+1} / (\sqrt{\hat v_{t+1}} + \epsilon)"
            ),
            reference="D. Kingma and J. Ba, Adam: a method for stochastic optimization, ICLR 2015",
            hyperparameters=("learning_rate", "weight_decay", "momentum"),
            full_batch=False,
            transform=lambda hyper: optax.scale_by_adam(b1=hyper["momentum"], b2=0.999, eps=1e-8),
        ),
    )
}


def build(name: str, hyper: Hyperparameters, decayed: Array) -> optax.GradientTransformation:
    r"""The whole update of a flat parameter vector: direction, decoupled weight decay, learning rate.

    The decay is decoupled from the gradient (I. Loshchilov and F. Hutter, ICLR 2019):
    :math:`\theta_{t+1} = \theta_t - \eta\,(d_t + \lambda\, \theta_t)` with :math:`d_t` the optimizer's direction.

    Args:
      name: a key of ``OPTIMIZERS``.
      hyper: float32 scalars ``learning_rate``, ``weight_decay`` and ``momentum``; may be traced.
      decayed: float32 ``[P]``, 1 where the decay applies and 0 where it does not.
    """

    def add_decay(updates: jax.Array, state: optax.OptState, parameters: jax.Array) -> tuple[jax.Array, optax.OptState]:
        return updates + hyper["weight_decay"] * decayed * parameters, state

    return optax.chain(
        OPTIMIZERS[name].transform(hyper),
        optax.GradientTransformation(lambda _: optax.EmptyState(), add_decay),
        optax.scale(-hyper["learning_rate"]),
    )

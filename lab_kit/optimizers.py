r"""The optimizers by name, each an optax transformation whose numbers are traced values, and gradient clipping.

A transformation is built inside the compiled step from the hyperparameters of that moment, so a learning rate that
changes in the middle of a run is a new input, not a new program. Notation: :math:`\theta` parameters,
:math:`g` gradient, :math:`\eta` learning rate, :math:`\mu` momentum, :math:`t` step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lab_kit.arrays import Array
from lab_kit.knobs import TRACED as TRACED
from lab_kit.knobs import refusal as refusal

Hyperparameters = Mapping[str, Any]


@dataclass(frozen=True)
class Optimizer:
    """An optimizer and what a reader should know of it.

    Attributes:
      name: its name in a configuration.
      title: its name in prose.
      formula: the update, in LaTeX.
      reference: where it was published.
      hyperparameters: the traced values it listens to.
      transform: hyperparameters to an optax transformation, *without* the learning rate and the weight decay,
        which ``build`` adds to each.
      decoupled: whether weight decay acts on the weights beside the direction; where False it is a part of the
        gradient that the direction is made of (the classical L2 penalty).
      full_batch: whether each step sees all training rows at once, whatever the batch size says.
    """

    name: str
    title: str
    formula: str
    reference: str
    hyperparameters: tuple[str, ...]
    transform: Callable[[Hyperparameters], optax.GradientTransformation]
    decoupled: bool = True
    full_batch: bool = False


def _plain(hyper: Hyperparameters) -> optax.GradientTransformation:
    return optax.identity()


def _adam(hyper: Hyperparameters) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1=hyper["momentum"], b2=0.999, eps=1e-8)


OPTIMIZERS: dict[str, Optimizer] = {
    optimizer.name: optimizer
    for optimizer in (
        Optimizer(
            name="gradient descent",
            title="Gradient descent",
            formula=r"\theta_{t+1} = \theta_t - \eta\, \nabla L(\theta_t) \quad\text{over all rows}",
            reference="A. Cauchy, Méthode générale pour la résolution des systèmes d'équations simultanées, 1847",
            hyperparameters=("learning_rate", "weight_decay"),
            transform=_plain,
            full_batch=True,
        ),
        Optimizer(
            name="sgd",
            title="Stochastic gradient descent",
            formula=r"\theta_{t+1} = \theta_t - \eta\, g_t \quad\text{over a batch}",
            reference="H. Robbins and S. Monro, A stochastic approximation method, 1951",
            hyperparameters=("learning_rate", "weight_decay"),
            transform=_plain,
        ),
        Optimizer(
            name="momentum",
            title="Momentum",
            formula=r"m_{t+1} = \mu\, m_t + g_t, \qquad \theta_{t+1} = \theta_t - \eta\, m_{t+1}",
            reference="B. Polyak, Some methods of speeding up the convergence of iteration methods, 1964",
            hyperparameters=("learning_rate", "weight_decay", "momentum"),
            transform=lambda hyper: optax.trace(hyper["momentum"]),
        ),
        Optimizer(
            name="adagrad",
            title="Adagrad",
            formula=r"v_{t+1} = v_t + g_t^2, \qquad \theta_{t+1} = \theta_t - \eta\, g_t / \sqrt{v_{t+1} + \epsilon}",
            reference="J. Duchi, E. Hazan and Y. Singer, Adaptive subgradient methods, JMLR 12, 2011",
            hyperparameters=("learning_rate", "weight_decay"),
            transform=lambda hyper: optax.scale_by_rss(initial_accumulator_value=0.1, eps=1e-7),
        ),
        Optimizer(
            name="nesterov",
            title="Nesterov momentum",
            formula=(r"m_{t+1} = \mu\, m_t + g_t, \qquad \theta_{t+1} = \theta_t - \eta\,(g_t + \mu\, m_{t+1})"),
            reference="Y. Nesterov, 1983; here as I. Sutskever et al., On the importance of initialization, ICML 2013",
            hyperparameters=("learning_rate", "weight_decay", "momentum"),
            transform=lambda hyper: optax.trace(hyper["momentum"], nesterov=True),
        ),
        Optimizer(
            name="rmsprop",
            title="RMSprop",
            formula=(
                r"v_{t+1} = 0.9\, v_t + 0.1\, g_t^2, \qquad "
                r"\theta_{t+1} = \theta_t - \eta\, g_t / \sqrt{v_{t+1} + \epsilon}"
            ),
            reference="T. Tieleman and G. Hinton, Neural networks for machine learning, lecture 6.5, 2012",
            hyperparameters=("learning_rate", "weight_decay"),
            transform=lambda hyper: optax.scale_by_rms(decay=0.9, eps=1e-8),
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
            transform=_adam,
            decoupled=False,
        ),
        Optimizer(
            name="adamw",
            title="AdamW",
            formula=(
                r"\theta_{t+1} = \theta_t - \eta\, \bigl(\hat m_{t+1} / (\sqrt{\hat v_{t+1}} + \epsilon)"
                r" + \lambda\,\theta_t\bigr) \quad\text{with the } \hat m, \hat v \text{ of Adam}"
            ),
            reference="I. Loshchilov and F. Hutter, Decoupled weight decay regularization, ICLR 2019",
            hyperparameters=("learning_rate", "weight_decay", "momentum"),
            transform=_adam,
        ),
        Optimizer(
            name="lion",
            title="Lion",
            formula=(
                r"\theta_{t+1} = \theta_t - \eta\,\operatorname{sign}(\mu m_t + (1-\mu) g_t), \quad"
                r"m_{t+1} = 0.99\, m_t + 0.01\, g_t"
            ),
            reference="X. Chen et al., Symbolic discovery of optimization algorithms, NeurIPS 2023",
            hyperparameters=("learning_rate", "weight_decay", "momentum"),
            transform=lambda hyper: optax.scale_by_lion(b1=hyper["momentum"], b2=0.99),
        ),
    )
}


def build(name: str, hyper: Hyperparameters, decayed: Array) -> optax.GradientTransformation:
    r"""The whole update of a flat parameter vector: direction, weight decay, learning rate.

    :math:`\theta_{t+1} = \theta_t - \eta\,(d_t + \lambda\, \theta_t)` with :math:`d_t` the optimizer's direction for
    the gradient :math:`g_t`; where the decay is not decoupled, :math:`\theta_{t+1} = \theta_t - \eta\, d_t` with the
    direction for :math:`g_t + \lambda\, \theta_t`.

    Args:
      name: a key of ``OPTIMIZERS``.
      hyper: float32 scalars ``learning_rate``, ``weight_decay`` and ``momentum``; may be traced.
      decayed: float32 ``[P]``, 1 where the decay applies and 0 where it does not.
    """

    def add_decay(updates: jax.Array, state: optax.OptState, parameters: jax.Array) -> tuple[jax.Array, optax.OptState]:
        return updates + hyper["weight_decay"] * decayed * parameters, state

    optimizer = OPTIMIZERS[name]
    decay = optax.GradientTransformation(lambda _: optax.EmptyState(), add_decay)
    direction = optimizer.transform(hyper)
    order = (direction, decay) if optimizer.decoupled else (decay, direction)
    return optax.chain(*order, optax.scale(-hyper["learning_rate"]))


def clip(gradient: jax.Array, norm: jax.Array, limit: Array) -> jax.Array:
    r"""The gradient, shortened to a length of ``limit`` where its ``norm`` is greater: :math:`g \min(1, c/\|g\|)`.

    Args:
      gradient: float32 ``[P]``.
      norm: its Euclidean length.
      limit: may be traced; 0 clips nothing.

    Reference: R. Pascanu, T. Mikolov and Y. Bengio, On the difficulty of training recurrent neural networks, 2013.
    """
    return gradient * jnp.where((limit > 0) & (norm > limit), limit / norm, 1.0)

r"""A race of optimizers on surfaces of two parameters, where one sees what each formula does.

The steps are those of training: ``optimizers.build``, with traced hyperparameters, so that a slider compiles nothing.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from lab_kit import optimizers
from lab_kit.config import TrainConfig

STEPS = 150
"""Steps of a race."""


@dataclass(frozen=True)
class Surface:
    r"""A loss :math:`L(x, y)` of two parameters.

    Attributes:
      name: its key in ``SURFACES``.
      title: its name in prose.
      formula: in LaTeX.
      lesson: what it shows, in a sentence.
      height: float32 ``[2]`` to the loss.
      start: where the race begins.
      lowest: where the loss is least; None where it has no least value.
      x: the part of the first axis that is shown.
      y: the part of the second axis that is shown.
    """

    name: str
    title: str
    formula: str
    lesson: str
    height: Callable[[jax.Array], jax.Array]
    start: tuple[float, float]
    lowest: tuple[float, float] | None
    x: tuple[float, float]
    y: tuple[float, float]


SURFACES: dict[str, Surface] = {
    surface.name: surface
    for surface in (
        Surface(
            "bowl", "Bowl", r"x^2 + y^2",
            "The gradient points at the minimum: every optimizer arrives, and only the learning rate matters.",
            lambda p: p[0] ** 2 + p[1] ** 2, (-2.0, 1.5), (0.0, 0.0), (-2.5, 2.5), (-2.0, 2.0),
        ),
        Surface(
            "ravine", "Ravine", r"\tfrac{1}{20} x^2 + 2 y^2",
            "Forty times as steep across as along: plain descent zigzags or creeps, momentum and scaled steps do not.",
            lambda p: p[0] ** 2 / 20 + 2 * p[1] ** 2, (-2.2, 1.0), (0.0, 0.0), (-2.5, 2.5), (-1.6, 1.6),
        ),
        Surface(
            "saddle", "Saddle", r"x^2 - y^2",
            "Flat at its middle, falling to both sides: beside the ridge one leaves it slowly, or at once by scaling.",
            lambda p: p[0] ** 2 - p[1] ** 2, (-1.8, 0.01), None, (-2.5, 2.5), (-2.0, 2.0),
        ),
        Surface(
            "rosenbrock", "Rosenbrock's valley", r"(1 - x)^2 + 100\,(y - x^2)^2",
            "A curved, flat valley between steep walls (H. Rosenbrock, 1960): the valley is found soon, its end late.",
            lambda p: (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2,
            (-1.2, 1.0), (1.0, 1.0), (-2.0, 2.0), (-1.0, 3.0),
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Path:
    """The way of one optimizer.

    Attributes:
      optimizer: its name.
      points: float64 ``[n, 2]``, from the start, all finite.
      losses: float64 ``[n]``, of each point, all finite.
      left: the step that took it out of the picture for good; None where it is in the picture at its end.
      lost: whether it went further than ten times the picture, or to what is not a number; ``points`` ends before.
    """

    optimizer: str
    points: np.ndarray
    losses: np.ndarray
    left: int | None
    lost: bool


def hyperparameters(learning_rate: float, momentum: float = 0.9) -> dict[str, float]:
    """The hyperparameters of a race: no weight decay, no clipping, nothing else."""
    quiet = dict.fromkeys(TrainConfig().hyperparameters, 0.0)
    return quiet | {"learning_rate": learning_rate, "momentum": momentum}


def run(
    optimizer: str,
    surface: Surface,
    hyper: Mapping[str, float],
    noise: float = 0.0,
    seed: int = 0,
    steps: int = STEPS,
) -> Path:
    """The path of an optimizer from the surface's start.

    Args:
      optimizer: a key of ``optimizers.OPTIMIZERS``; the stochastic ones see the noise, gradient descent too.
      surface: one of ``SURFACES``.
      hyper: as from ``hyperparameters``.
      noise: standard deviation of what is added to each part of a gradient, as a small batch would.
      seed: of the noise; the same for all optimizers, so that the race is fair.
      steps: how many.
    """
    drawn = noise * np.random.default_rng(seed).standard_normal((steps, 2))
    traced = {name: np.float32(value) for name, value in hyper.items()}
    points, losses = _compiled(optimizer, surface.name, steps)(traced, drawn.astype(np.float32))
    found, heights = np.asarray(points, np.float64), np.asarray(losses, np.float64)
    far = 10 * max(map(abs, (*surface.x, *surface.y)))
    gone = np.flatnonzero(~(np.abs(found).max(axis=1) < far) | ~np.isfinite(heights))
    end = int(gone[0]) if gone.size else len(found)
    stays = int(np.flatnonzero(inside(surface, found[:end]))[-1]) + 1  # the start is in the picture
    left = stays if stays < len(found) else None
    return Path(optimizer, found[:end], heights[:end], left, lost=end < len(found))


def standing(optimizer: str, surface: Surface) -> Path:
    """The path of an optimizer that has not moved yet."""
    start = np.array([surface.start])
    return Path(optimizer, start, np.asarray(surface.height(jnp.asarray(start.T)), np.float64), None, lost=False)


def inside(surface: Surface, points: np.ndarray) -> np.ndarray:
    """Which points ``[n, 2]`` are in the picture of a surface, as bool ``[n]``."""
    (left, right), (bottom, top) = surface.x, surface.y
    x, y = points[:, 0], points[:, 1]
    return (left <= x) & (x <= right) & (bottom <= y) & (y <= top)


@functools.lru_cache(maxsize=128)
def _compiled(
    optimizer: str, name: str, steps: int
) -> Callable[[dict[str, np.float32], np.ndarray], tuple[jax.Array, jax.Array]]:
    surface = SURFACES[name]

    def race(hyper: dict[str, jax.Array], noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        update = optimizers.build(optimizer, hyper, np.zeros(2, np.float32))
        start = jnp.array(surface.start)

        def step(carry: tuple[jax.Array, object], drawn: jax.Array) -> tuple[tuple[jax.Array, object], jax.Array]:
            point, state = carry
            change, state = update.update(jax.grad(surface.height)(point) + drawn, state, point)
            return (point + change, state), point + change

        _, points = jax.lax.scan(step, (start, update.init(start)), noise)
        points = jnp.concatenate([start[None], points])
        return points, jax.vmap(surface.height)(points)

    return jax.jit(race)


def words(path: Path, surface: Surface) -> str:
    """How a path ended, as a sentence."""
    title = optimizers.OPTIMIZERS[path.optimizer].title
    if path.left is not None and surface.lowest is None:
        return f"{title} fell off the saddle and left the picture at step {path.left}."
    if path.lost:
        return f"{title} left the picture at step {path.left} for good: the learning rate is too great for it here."
    if path.left is not None:
        return f"{title} left the picture at step {path.left}; it ended outside at a loss of {path.losses[-1]:.3g}."
    return f"{title} ended at a loss of {path.losses[-1]:.3g} after {len(path.points) - 1} steps."

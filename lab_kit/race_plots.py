"""Figures of a race: the surface with the paths on it, step by step, and the loss against the step."""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import plotly.graph_objects as go

from lab_kit.look import JUMP, blank, colours
from lab_kit.optimizers import OPTIMIZERS
from lab_kit.race import STEPS, Path, Surface, inside

GRID = 90
FRAMES = 30
DASHES = ("solid", "solid", "solid", "solid", "solid", "solid", "dash", "dash", "dash", "dash")


def surface_map(surface: Surface, paths: Sequence[Path], dark: bool = False, step: int | None = None) -> go.Figure:
    """The surface as contours of its logarithmic height, and each path up to a step.

    Its traces are the contours, the minimum, and then for each path its line.

    Args:
      surface: the ground.
      paths: on it.
      dark: for a dark page.
      step: the last one shown; None for all.
    """
    figure = blank(surface.title, dark, 460, "x", "y")
    x, y, height = ground(surface)
    figure.add_contour(
        x=x, y=y, z=np.round(np.log10(height - height.min() + 0.05), 3), ncontours=24, showscale=False,
        colorscale="Greys", reversescale=not dark, opacity=0.55, hoverinfo="skip", line={"width": 0.5},
    )  # fmt: skip
    lowest = surface.lowest or (None, None)
    figure.add_scatter(
        x=[lowest[0]], y=[lowest[1]], mode="markers", name="minimum", showlegend=surface.lowest is not None,
        marker={"symbol": "star", "size": 14, "color": colours(dark)[2]}, hoverinfo="skip",
    )  # fmt: skip
    for path in paths:
        figure.add_scatter(**path_trace(path, dark), **drawn(surface, path, step))
    figure.update_layout(legend={"orientation": "v", "x": 1.02, "xanchor": "left", "y": 1, "yanchor": "top"})
    figure.update_xaxes(range=surface.x, zeroline=False)
    return figure.update_yaxes(range=surface.y, zeroline=False)


@functools.lru_cache
def ground(surface: Surface) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The surface on a grid that covers the picture: x ``[GRID]``, y ``[GRID]`` and the loss ``[GRID, GRID]``."""
    x, y = (np.linspace(*limits, GRID) for limits in (surface.x, surface.y))
    height = surface.height(jnp.asarray(np.stack(np.meshgrid(x, y)), jnp.float32))
    return x, y, np.asarray(height, np.float64)


def path_trace(path: Path, dark: bool = False) -> dict[str, Any]:
    """The look of a path; the same optimizer has the same colour whoever else runs."""
    names = list(OPTIMIZERS)
    place = names.index(path.optimizer)
    colour = colours(dark)[place % 6]
    return {
        "name": OPTIMIZERS[path.optimizer].title,
        "mode": "lines+markers",
        "line": {"color": colour, "width": 2, "dash": DASHES[place % len(DASHES)]},
        "hovertemplate": "%{x:.3f}, %{y:.3f}<extra>" + OPTIMIZERS[path.optimizer].title + "</extra>",
    }


def drawn(surface: Surface, path: Path, step: int | None = None) -> dict[str, Any]:
    """What of a path is shown up to a step: its points, with a dot at the last.

    A path that is outside at that step ends at the edge of the picture, with a cross.
    """
    points = path.points if step is None else path.points[: step + 1]
    last = int(np.flatnonzero(inside(surface, points))[-1])  # the start is inside
    gone = last + 1 < len(points) or (path.left == last + 1 and (step is None or step > last))
    if last + 1 < len(points):
        points = np.vstack([points[: last + 1], crossing(surface, points[last], points[last + 1])])
    sizes = [0] * (len(points) - 1) + [13 if gone else 9]
    symbols = ["circle"] * (len(points) - 1) + ["x" if gone else "circle"]
    rounded = np.round(points, 3)
    return {"x": rounded[:, 0], "y": rounded[:, 1], "marker": {"size": sizes, "symbol": symbols}}


def crossing(surface: Surface, inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Where the way from a point in the picture to one outside meets the edge; float64 ``[2]``."""
    limits = np.array([surface.x, surface.y])
    move = outer - inner
    room = np.where(move > 0, limits[:, 1], limits[:, 0]) - inner
    share = np.divide(room, move, out=np.ones(2), where=move != 0)
    return inner + move * min(1.0, *share)


def animated(surface: Surface, paths: Sequence[Path], dark: bool = False) -> go.Figure:
    """The race as an animation with a slider over the steps; it plays in a saved file, too.

    Args:
      surface: the ground.
      paths: on it.
      dark: for a dark page.
    """
    figure = surface_map(surface, paths, dark)
    longest = max((len(path.losses) for path in paths), default=STEPS + 1) - 1
    moments = np.unique(np.linspace(0, longest, FRAMES).astype(int))
    figure.frames = [
        go.Frame(
            name=str(step),
            data=[go.Scatter(**drawn(surface, path, step)) for path in paths],
            traces=list(range(2, 2 + len(paths))),
        )
        for step in moments.tolist()
    ]
    steps = [{"label": str(step), "method": "animate", "args": [[str(step)], JUMP]} for step in moments.tolist()]
    play = JUMP | {"frame": {"duration": 90, "redraw": True}}
    figure.update_layout(
        height=560,
        margin={"b": 110},
        sliders=[{"active": len(steps) - 1, "currentvalue": {"prefix": "Step "}, "steps": steps, "pad": {"t": 50}}],
        updatemenus=[
            {
                "type": "buttons", "direction": "left", "x": 1.02, "xanchor": "left", "y": -0.12, "yanchor": "top",
                "buttons": [{"label": "Play", "method": "animate", "args": [None, play | {"fromcurrent": False}]}],
            }
        ],
    )  # fmt: skip
    return figure


def losses(surface: Surface, paths: Sequence[Path], dark: bool = False) -> go.Figure:
    """The loss above its least value in the picture against the step, on a logarithmic axis.

    Args:
      surface: the ground.
      paths: on it.
      dark: for a dark page.
    """
    figure = blank("Loss along the way", dark, 320, "Step", "Loss" if surface.lowest else "Loss + 10")
    for path in paths:
        look = path_trace(path, dark) | {"mode": "lines", "hovertemplate": "step %{x}: %{y:.3g}<extra></extra>"}
        figure.add_scatter(**look, **loss_points(surface, path))
    figure.update_layout(legend={"orientation": "v", "x": 1.02, "xanchor": "left", "y": 1, "yanchor": "top"})
    return figure.update_yaxes(type="log", exponentformat="power")


def loss_points(surface: Surface, path: Path) -> dict[str, Any]:
    """The points of a path in ``losses``; on the saddle, whose loss falls below zero, 10 is added."""
    y = path.losses if surface.lowest else path.losses + 10
    return {"x": np.arange(len(y)), "y": np.where(y > 1e-12, y, 1e-12)}

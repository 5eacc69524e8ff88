"""Learning curves as a plain picture (SVG), for front ends without widgets: no script, no library, no request."""

from html import escape

import numpy as np

from lab_kit.look import FONT, colours
from lab_kit.track import Floats, Track, smoothed, thinned
from lab_kit.training_plots import TITLES

PANE = 190
"""Height of one chart in pixels."""
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 24, 30


def picture(
    track: Track,
    metric: str,
    epochs: float,
    previous: Track | None = None,
    dark: bool = False,
    width: int = 640,
    log_scale: bool = False,
    smoothing: float = 0.0,
) -> str:
    """The loss above the metric, training and validation, as an SVG element.

    Args:
      track: of the run; one without records gives two empty charts.
      metric: ``auc``, ``accuracy``, ``rmse`` or ``r2``.
      epochs: where the axis ends.
      previous: a run to compare with, in grey.
      dark: for a dark page.
      width: in pixels.
      log_scale: of the loss; where a loss is not above 0, it is drawn on a linear scale.
      smoothing: as of ``track.smoothed``.
    """
    ink = "#E6E6E6" if dark else "#222222"
    training, validation, *_, before = colours(dark)
    height, parts = 2 * PANE + BOTTOM, []
    for place, measure in enumerate(("loss", metric)):
        lines = [
            (colour, *_line(of, f"{which}_{measure}", smoothing))
            for colour, of, which in (
                (before, previous or Track(), "validation"), (training, track, "train"),
                (validation, track, "validation"),
            )
        ]  # fmt: skip
        parts.append(_pane(lines, place * PANE, width, max(epochs, 1e-9), TITLES[measure], log_scale and place == 0))
    legend = f'<text x="{width - RIGHT}" y="14" text-anchor="end"><tspan fill="{training}">training</tspan> · '
    legend += f'<tspan fill="{validation}">validation</tspan></text>'
    axis = f'<text x="{LEFT}" y="{height - 4}">Epoch 0</text>'
    axis += f'<text x="{width - RIGHT}" y="{height - 4}" text-anchor="end">{epochs:g}</text>'
    latest = track.rows[-1]["epoch"] if track.rows else 0
    label = escape(f"Learning curves: {TITLES['loss']} and {TITLES[metric]} up to epoch {latest:.3g}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{label}" font-family="{escape(FONT)}" font-size="12" fill="{ink}">'
        f"{''.join(parts)}{legend}{axis}</svg>"
    )


def _line(track: Track, name: str, smoothing: float) -> tuple[Floats, Floats]:
    x, y = track.series(name)
    finite = np.isfinite(y)
    return thinned(x[finite], smoothed(y[finite], smoothing), 600)


def _pane(
    lines: list[tuple[str, Floats, Floats]], top: int, width: int, epochs: float, title: str, log_scale: bool
) -> str:
    """One chart with its frame, its lines, and the values at its edges."""
    values = np.concatenate([y for _, _, y in lines])
    log_scale = log_scale and bool(values.size) and bool(values.min() > 0)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    high = high if high > low else low + max(abs(low), 1e-9)
    upper, lower = top + TOP, top + PANE - 8

    def places(y: Floats) -> Floats:
        share = np.log(y / low) / np.log(high / low) if log_scale else (y - low) / (high - low)
        return np.asarray(lower - share * (lower - upper))

    across = (width - LEFT - RIGHT) / epochs
    drawn = []
    for colour, x, y in lines:
        if x.size:
            points = " ".join(f"{LEFT + a * across:.1f},{b:.1f}" for a, b in zip(x, places(y), strict=True))
            drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
    frame = f'<path d="M{LEFT} {upper}V{lower}H{width - RIGHT}" fill="none" stroke="#888"/>'
    names = f'<text x="{LEFT}" y="{upper - 6}" font-weight="600">{escape(title)}</text>'
    for value, at in ((high, upper + 10), (low, lower)):
        names += f'<text x="{LEFT - 6}" y="{at}" text-anchor="end">{value:.3g}</text>' if values.size else ""
    return frame + names + "".join(drawn)

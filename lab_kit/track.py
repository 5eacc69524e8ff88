"""The records of a run in columns, as they come, and what is done to a curve before it is drawn."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST_POINTS = 1500
"""Points of a drawn curve: more than a chart has pixels, and few enough to be sent ten times a second."""
STEERED = ("learning_rate", "momentum", "weight_decay", "dropout", "clip_norm", "label_smoothing")
WORDS = {"clip_norm": "gradient clipping"}


class Track:
    """The records of one run. One thread adds to it while another reads; nothing is ever taken away.

    Attributes:
      rows: one ``runs.row`` a record.
      changes: for each hyperparameter that was changed by hand, the epoch from which it held, and the change in words.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        """A track that begins with these rows."""
        self.rows: list[dict[str, Any]] = []
        self.changes: list[tuple[float, str]] = []
        self._points: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """Takes the next record; what it lacks, or what is None, is not a point of a curve."""
        if self.rows:
            before = self.rows[-1]
            self.changes += [
                (before["epoch"], f"{title(name)} {before[name]:.3g} → {row[name]:.3g}")
                for name in STEERED
                if name in row and name in before and row[name] != before[name]
            ]
        epoch = float(row["epoch"])
        for name, value in row.items():
            if isinstance(value, float) and name not in ("epoch", "seconds"):
                self._points.setdefault(name, []).append((epoch, value))
        if row.get("best"):
            self._points["best"] = [(epoch, float(len(self.rows)))]
        self.rows.append(dict(row))

    def series(self, name: str) -> tuple[Floats, Floats]:
        """The epochs at which a column of ``rows`` is known, and its values: float64 ``[n]`` each, n may be 0."""
        points = np.array(self._points.get(name, [])[:], np.float64).reshape(-1, 2)
        return points[:, 0], points[:, 1]

    def best(self, name: str) -> tuple[Floats, Floats]:
        """The newest best epoch and a column's value there, as arrays of one or none."""
        found = self._points.get("best", [])
        value = self.rows[int(found[0][1])].get(name) if found else None
        if value is None:
            return np.empty(0), np.empty(0)
        return np.array([found[0][0]]), np.array([float(value)])

    def seconds_left(self, epochs: int) -> float | None:
        """How long the run still takes, by the median speed of its newest records; None where nothing is known yet.

        The time of a pause is not counted, and neither is that of a compilation, once it lies a little back.
        """
        newest = [row for row in self.rows[-15:] if row["rows_per_second"]]
        if not newest or not newest[-1]["epoch"]:
            return None
        of_epoch = newest[-1]["rows_seen"] / newest[-1]["epoch"]
        speed = float(np.median([row["rows_per_second"] for row in newest]))
        return max(0.0, (epochs - newest[-1]["epoch"]) * of_epoch / speed)


def title(name: str) -> str:
    """The name of a hyperparameter in prose."""
    return WORDS.get(name, name.replace("_", " "))


def smoothed(values: Floats, share: float) -> Floats:
    r"""A running mean with exponentially fading weights, without the pull towards its start.

    :math:`s_t = \sum_k a^k x_{t-k} / \sum_k a^k` with :math:`a` = ``share``; D. Kingma and J. Ba, Adam, ICLR 2015,
    section 3, call the division the correction of the bias.

    Args:
      values: float64 ``[n]``, all finite: a value that is not makes all that follow NaN.
      share: in [0, 1); 0 changes nothing.
    """
    if share <= 0 or not values.size:
        return values
    return pl.Series(values).ewm_mean(alpha=1 - share, adjust=True).to_numpy()


def thinned(x: Floats, y: Floats, most: int = MOST_POINTS) -> tuple[Floats, Floats]:
    """A curve with fewer points that looks the same: of each stretch the lowest and the highest, and both ends.

    Args:
      x: float64 ``[n]``, ascending.
      y: float64 ``[n]``.
      most: how many points are left, at most.
    """
    if x.size <= most:
        return x, y
    stretches = most // 2 - 1
    bounds = np.linspace(0, x.size, stretches + 1).astype(np.intp)
    low = np.where(np.isnan(y), np.inf, y)
    high = np.where(np.isnan(y), -np.inf, y)
    kept = {0, x.size - 1}
    for start, stop in itertools.pairwise(bounds):
        kept |= {start + int(low[start:stop].argmin()), start + int(high[start:stop].argmax())}
    places = np.array(sorted(kept))
    return x[places], y[places]


def weight_histograms(named: Mapping[str, np.ndarray], most: int = 60) -> dict[str, tuple[Floats, Floats]]:
    """How the weights of each kernel and embedding are distributed, the layers first.

    Args:
      named: arrays by name, as of ``model.Network.named``.
      most: bins of a histogram, at most; few weights get fewer, the square root of their number.

    Returns:
      For each layer the middles of its bins and the density there, float64 ``[bins]`` each; weights that are not
      finite are left out.
    """
    found = {}
    for name, array in sorted(named.items(), key=lambda item: item[0].startswith("embeddings")):
        values = array[np.isfinite(array)]
        if not name.endswith(("kernel", "embedding")) or not values.size:
            continue
        bins = min(most, max(4, round(values.size**0.5)))
        density, edges = np.histogram(values, bins, density=True)
        found[_layer(name)] = ((edges[:-1] + edges[1:]) / 2, density.astype(np.float64))
    return found


def _layer(name: str) -> str:
    """``layers.0.kernel`` is layer 1, ``embeddings.2.embedding`` the third embedding."""
    kind, number, *_ = name.split(".")
    return f"{kind.rstrip('s')} {int(number) + 1}"

"""The records of a sweep as curves in arrays: by epoch, by the values of its axes, by seed; and the best of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lab_kit.schema import LabError
from lab_kit.sweep import Floats, SweepRecord


@dataclass(frozen=True)
class Curves:
    """What a sweep measured at the end of each epoch.

    Attributes:
      axes: for each hyperparameter its values, ``[n1]`` and perhaps ``[n2]``.
      seeds: of the runs, ``[s]``.
      epochs: float64 ``[e]``, from 0.
      measures: validation metrics by name (``loss``, ``auc``, ...) and training metrics (``train_loss``, ...), float64
        ``[e, n1, s]`` or ``[e, n1, n2, s]``. NaN where a run had diverged, and for training at epoch 0.
      diverged: bool ``[n1, s]`` or ``[n1, n2, s]``, which runs have done so by now, also within an epoch.
    """

    axes: dict[str, tuple[float, ...]]
    seeds: tuple[int, ...]
    epochs: Floats
    measures: dict[str, Floats]
    diverged: NDArray[np.bool_]

    def at_best(self, measure: str) -> Floats:
        """A measure of each run at the epoch with its lowest validation loss; NaN for a run that diverged.

        Returns:
          float64 ``[n1, s]`` or ``[n1, n2, s]``.
        """
        losses = self.measures["loss"]
        lowest = np.where(np.isnan(losses), np.inf, losses).argmin(axis=0)
        found = np.take_along_axis(self.measures[measure], lowest[None], axis=0)[0]
        return np.where(self.diverged, np.nan, found)

    def best(self) -> dict[str, float]:
        """The values of the axes with the lowest validation loss, as the mean over the seeds of the lowest of each run.

        A combination of which a run diverged is not chosen.

        Raises:
          LabError: there is no other.
        """
        means = self.at_best("loss").mean(axis=-1)
        if np.isnan(means).all():
            raise LabError("Every combination of this sweep has diverged: sweep lower learning rates.")
        place = np.unravel_index(int(np.nanargmin(means)), means.shape)
        return {name: values[at] for (name, values), at in zip(self.axes.items(), place, strict=True)}


def curves(records: Iterable[SweepRecord], axes: Mapping[str, Sequence[float]], seeds: Sequence[int]) -> Curves:
    """The curves of a sweep, also of one that still runs or was stopped.

    Args:
      records: of one ``sweep.sweep``, at least its first.
      axes: that it was given.
      seeds: that it was given.
    """
    known = list(records)
    ends = {record.epoch: record for record in known if record.validation is not None}
    shape = (len(ends), *map(len, axes.values()), len(seeds))
    measures = {}
    for name in next(iter(ends.values())).validation or {}:
        measures[name] = np.stack([(record.validation or {})[name] for record in ends.values()]).reshape(shape)
    unknown = np.full(int(np.prod(shape[1:])), np.nan)
    for name in [*ends.values()][-1].train:
        trained = [record.train.get(name, unknown) for record in ends.values()]
        measures[f"train_{name}"] = np.stack(trained).reshape(shape)
    values = {name: tuple(map(float, of_axis)) for name, of_axis in axes.items()}
    return Curves(values, tuple(seeds), np.array([*ends], np.float64), measures, known[-1].diverged.reshape(shape[1:]))

"""Checkpoints of a run, through Orbax: written in the background, whole or not at all, the last few kept."""

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as orbax
from safetensors.numpy import load, save

from lab_kit import devices
from lab_kit.schema import LabError
from lab_kit.train import Progress

NUMBERS = ("lowest", "lowest_epoch", "seconds")
KEPT = 3
"""How many checkpoints stay. Each holds the best weights so far beside the newest, so the best are never lost."""


@dataclass
class Checkpoints:
    """The checkpoints in a folder; close it at the end.

    Attributes:
      folder: where they lie; made when the first is written.
      identity: of what the run is made from; a checkpoint of another identity is refused.
      every: seconds from one checkpoint to the next, at least.
      step: of the newest one that was begun; None before.
    """

    folder: Path
    identity: str
    every: float = 2.0
    step: int | None = None
    _last: float = field(default=-np.inf, repr=False)
    _writer: Any = field(default=None, repr=False)

    def save(self, progress: Progress, at_once: bool = False) -> None:
        """Begins to write a checkpoint in the background, unless the last one was begun too short a time ago.

        Args:
          progress: of the run.
          at_once: whether to write in any case, and to wait until it is on the disk.

        Raises:
          LabError: this one or the one before cannot be written; those that were written stay.
        """
        if devices.process() or not (at_once or time.monotonic() - self._last >= self.every):
            return
        step = progress.step
        try:
            if self._writer is None:
                self._writer = self._open()
                self.step = self._writer.latest_step()  # that of a resumed run, which is not written again
            if step != self.step and (at_once or not self._writer.is_saving_in_progress()):
                packed = _packed(progress)
                about = {"identity": self.identity, "bytes": packed["progress"].size}
                items = orbax.args.Composite(state=orbax.args.StandardSave(packed), about=orbax.args.JsonSave(about))
                self._writer.save(step, args=items, force=True)
                self.step, self._last = step, time.monotonic()
            if at_once:
                self._writer.wait_until_finished()
        except Exception as error:  # Orbax and TensorStore raise errors of many types for a full disk
            raise LabError(self._failure(error)) from None

    def load(self, like: Progress) -> Progress | None:
        """The newest checkpoint that can be read; None if there is none.

        Args:
          like: a progress of the same network and optimizer, for its shape.

        Raises:
          LabError: there are checkpoints, but all are damaged, or they are of another model.
        """
        if not self.folder.is_dir():
            return None
        logging.getLogger("absl").addFilter(_is_news)
        reader = self._open()
        try:
            found = sorted(reader.all_steps(), reverse=True)
            problems = []
            for step in found:
                try:
                    about = reader.restore(step, args=orbax.args.Composite(about=orbax.args.JsonRestore()))["about"]
                    if about["identity"] != self.identity:
                        raise LabError(
                            f"The checkpoint of step {step} in {self.folder} is of another model or of other rows: "
                            "take the folder of the run it belongs to, or train anew."
                        )
                    there = {"progress": jax.ShapeDtypeStruct((about["bytes"],), np.uint8, sharding=_here())}
                    state = reader.restore(step, args=orbax.args.Composite(state=orbax.args.StandardRestore(there)))[
                        "state"
                    ]
                    loaded = _unpacked(state, like)
                    for damaged in found[: found.index(step)]:
                        reader.delete(damaged)
                    return loaded
                except LabError:
                    raise
                except Exception as error:  # a truncated file shows itself in many ways; the one before may be whole
                    problems.append(f"step {step}: {str(error).strip().splitlines()[0] if str(error) else error!r}")
            if problems:
                raise LabError(f"No checkpoint in {self.folder} can be read ({'; '.join(problems)}): train anew.")
            return None
        finally:
            reader.close()
            logging.getLogger("absl").removeFilter(_is_news)

    def close(self) -> None:
        """Waits for what is being written.

        Raises:
          LabError: it could not be written.
        """
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.close()
            except Exception as error:
                raise LabError(self._failure(error)) from None

    def _open(self) -> Any:
        self.folder.mkdir(parents=True, exist_ok=True)
        own = devices.process()  # each process reads for itself, and the first writes alone: none waits for another
        alone = orbax.options.MultiprocessingOptions(
            primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process-{own}"
        )
        options = orbax.CheckpointManagerOptions(
            max_to_keep=KEPT, create=False, cleanup_tmp_directories=own == 0, multiprocessing_options=alone
        )
        return orbax.CheckpointManager(self.folder.absolute(), options=options)

    def _failure(self, error: Exception) -> str:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        return (
            f"The checkpoint of step {self.step} cannot be written to {self.folder}: {reason}. The ones before it are "
            "kept: make room on the disk and resume the run."
        )


def _is_news(record: logging.LogRecord) -> bool:
    """Not Orbax's warning about a checkpoint that a kill cut off: the one before it is taken, as it should be."""
    return not record.getMessage().startswith("Metadata file does not exist")


def _here() -> jax.sharding.Sharding:
    return jax.sharding.SingleDeviceSharding(jax.local_devices()[0])


def _packed(progress: Progress) -> dict[str, np.ndarray]:
    """A progress as one array of bytes in the safetensors format: one file a checkpoint is faster than one a leaf."""
    state = progress.state
    leaves = {f"optimizer.{number:02d}": leaf for number, leaf in enumerate(jax.tree.leaves(state.optimizer))}
    numbers = {**progress.hyper, **{name: float(getattr(progress, name)) for name in NUMBERS}}
    arrays = {
        **leaves,
        **{f"state.{name}": getattr(state, name) for name in ("weights", "step", "seed")},
        **{name: getattr(progress, name) for name in ("best", "totals")},
        **{f"number.{name}": np.float64(value) for name, value in numbers.items()},
    }
    return {"progress": np.frombuffer(save({name: np.array(value) for name, value in arrays.items()}), np.uint8)}


def _unpacked(data: dict[str, np.ndarray], like: Progress) -> Progress:
    arrays = load(np.asarray(data["progress"]).tobytes())
    leaves = [arrays[name] for name in sorted(arrays) if name.startswith("optimizer.")]
    state = like.state._replace(
        optimizer=jax.tree.unflatten(jax.tree.structure(like.state.optimizer), leaves),
        **{name: arrays[f"state.{name}"] for name in ("weights", "step", "seed")},
    )
    return Progress(
        state=state,
        best=arrays["best"],
        totals=arrays["totals"],
        hyper={name: float(arrays[f"number.{name}"]) for name in like.hyper},
        lowest=float(arrays["number.lowest"]),
        lowest_epoch=int(arrays["number.lowest_epoch"]),
        seconds=float(arrays["number.seconds"]),
    )

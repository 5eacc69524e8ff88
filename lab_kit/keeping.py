"""Keeping a run only once it has got somewhere."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain

from lab_kit.train import Record

Keep = Callable[[Iterator[Record]], Iterator[Record]]


def from_first_epoch(records: Iterator[Record], keep: Keep) -> Iterator[Record]:
    """Passes records on, and has them kept, from the first on, as soon as one epoch is done.

    A run that ends before leaves nothing behind: of the many that a moving slider starts, only those are kept that a
    later stage could use.

    Args:
      records: of one fit.
      keep: as ``runs.keep`` with a folder: passes records on and writes them down.
    """
    held: list[Record] = []
    for record in records:
        if record.epoch >= 1:
            kept = keep(chain([*held, record], records))
            for _ in held:
                next(kept)
            yield from kept
            return
        # Only the numbers of these will be written: many copies of the weights would fill the memory.
        first = held[0] if held else record
        held.append(replace(record, weights=first.weights, progress=first.progress))
        yield record

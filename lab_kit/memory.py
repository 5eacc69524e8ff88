"""How much memory this process has held and may take; of the standard library alone, so that asking adds nothing."""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CONTROL_GROUPS, ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def peak() -> int:
    """The most memory that this process has held resident, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # not getrusage: its figure begins with that of the parent
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def allowed() -> int:
    """The most memory that this process may take with what it reads from disk, in bytes: the machine's, or less.

    Less where a control group above it says so, as in a container or a job of a cluster.
    """
    found = []
    with suppress(AttributeError, ValueError, OSError):  # not every system says it
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for group in _groups():
        with suppress(OSError, ValueError):  # there is no such file, or it says "max"
            found.append(int(group.read_text()))
    return min(found, default=sys.maxsize)


def _groups() -> Iterator[Path]:
    """The files with the limits of this process's control groups, of both versions, from the root on.

    See cgroups(7): a line of ``/proc/self/cgroup`` is ``number:controllers:path``, in version 2 without controllers.
    """
    lines = CONTROL_GROUPS.read_text().splitlines() if CONTROL_GROUPS.exists() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            root, file = ROOT / controllers, "memory.limit_in_bytes" if controllers else "memory.max"
            parts = Path(path.lstrip("/")).parts
            yield from (root.joinpath(*parts[:depth], file) for depth in range(len(parts) + 1))

"""How much memory this process has held; of the standard library alone, so that asking adds nothing."""

import os
import sys
from contextlib import suppress
from pathlib import Path


def peak() -> int:
    """The most memory that this process has held resident, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # not getrusage: its figure begins with that of the parent
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def allowed() -> int:
    """The most memory that this process may take, in bytes: the machine's, its control group's, or its own limit."""
    found = []
    with suppress(AttributeError, ValueError, OSError):  # not every system says it
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # the second is of the first version of control groups
        with suppress(OSError, ValueError):
            found.append(int(Path("/sys/fs/cgroup", name).read_text()))
    with suppress(ImportError):
        import resource

        soft = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
        found += [size for size in soft if size != resource.RLIM_INFINITY]
    return min(found, default=sys.maxsize)

"""Is there memory for what is about to be read?"""

from __future__ import annotations

import os
from pathlib import Path

from foundation.errors import RatespikeError

SMALL = 2**26
"""Bytes, for which nobody asks."""
MOST_RATIO = 1100
"""Of unpacked bytes to packed ones; deflate reaches 1032."""


def free_memory() -> int:
    """Bytes of the computer's memory that can still be had; what the kernel could free counts, too."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_fits(needed: int, what: str) -> None:
    """Raise `RatespikeError` if so many bytes for `what` are more than there are."""
    if needed > SMALL and needed > (free := free_memory()):
        raise RatespikeError(f"{what}: takes {size(needed)} of memory, {size(free)} are free")


def size(n_bytes: float) -> str:
    """A number of bytes to read, in decimal units."""
    factor, unit = next((each for each in ((1e9, "GB"), (1e6, "MB")) if n_bytes >= each[0]), (1e3, "kB"))
    return f"{n_bytes / factor:.1f} {unit}"

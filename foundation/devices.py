"""Where torch computes, checked, and how much memory there is."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from foundation.errors import RatespikeError, UsageError


def find_device(name: str, setting: str = "device") -> torch.device:
    """The device of that name: cpu, cuda or cuda:N.

    Raises:
        UsageError: no such name; the message begins with `setting`.
        RatespikeError: there is no such device here.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index is not None):
        raise UsageError(f"{setting}: must be cpu, cuda or cuda:N, got '{name}'")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise RatespikeError(f"{setting}: {name} is absent; this machine has {torch.cuda.device_count()} GPUs")
    return device


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:  # what the kernel could free counts, too
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

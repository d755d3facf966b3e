"""Where torch computes, checked, and how much memory there is."""

from __future__ import annotations

import torch

from foundation import memory
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
    return memory.free_memory()

"""What steps a batch of networks: chosen in one place."""

from __future__ import annotations

import torch

from foundation.errors import UsageError
from spiking.compilers import trouble
from spiking.torch.batch import Batch
from spiking.torch.native import NativeStepper
from spiking.torch.stepping import TensorStepper

ENGINES = ("auto", "compiled", "eager")
PRECISIONS = {"float32": torch.float32, "float64": torch.float64}
Stepper = NativeStepper | TensorStepper


def dtype_of(precision: str) -> torch.dtype:
    """float32 or float64 by its name. Raises `UsageError` for another."""
    if precision not in PRECISIONS:
        raise UsageError(f"precision: must be one of {', '.join(PRECISIONS)}, got '{precision}'")
    return PRECISIONS[precision]


def native(device: torch.device, engine: str) -> bool:
    """Whether the compiled program for the CPU does the work."""
    return device.type == "cpu" and (engine == "compiled" or (engine == "auto" and not trouble()))


def compiled(device: torch.device, engine: str) -> bool:
    """Whether anything is compiled: a program for the CPU, or torch operations for a GPU."""
    return native(device, engine) or (device.type == "cuda" and engine != "eager")


def make_stepper(batch: Batch, engine: str, threads: int = 1) -> Stepper:
    """What advances a batch.

    Args:
        batch: what is constant.
        engine: "compiled" (on the CPU a program in C++, which needs a compiler; on a GPU torch.compile), "eager" (torch
            operations), or "auto": compiled where that is possible.
        threads: on the CPU, how many networks to advance at a time.

    Raises:
        UsageError: no such engine, or less than one thread.
        RatespikeError: the compiler is missing, or fails.
    """
    if engine not in ENGINES:
        raise UsageError(f"engine: must be one of {', '.join(ENGINES)}, got '{engine}'")
    if threads < 1:
        raise UsageError(f"threads: must be at least 1, got {threads}")
    if native(batch.device, engine):
        return NativeStepper(batch, threads=threads)
    return TensorStepper(batch, compiled=compiled(batch.device, engine))

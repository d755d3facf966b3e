"""Training on several processes, each with its share of every batch; `torchrun` starts them.

A loss that takes statistics over the batch needs the codes of all: `gathered` collects them, and every process then
computes the same loss of the whole batch. So the result does not depend on the number of processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from foundation.errors import RatespikeError


def ranks() -> int:
    """How many processes train together; 1 without `torchrun`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if ranks() > 1 else 0


def share(batch: int) -> slice:
    """The part of this process in a batch: consecutive rows, as even as can be."""
    return slice(batch * rank() // ranks(), batch * (rank() + 1) // ranks())


def anywhere(true: bool) -> bool:
    """Is it true in any of the processes? All have to ask."""
    if ranks() == 1:
        return true
    device = torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")
    flag = torch.tensor(float(true), device=device)
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)


class _Gathered(torch.autograd.Function):
    """Forward: the parts of all processes, in their order. Backward: the own part of the gradient.

    Every process computes the same loss of the whole batch, so the gradients need no exchange here. They are multiplied
    by the number of processes, since DistributedDataParallel divides by it.
    """

    @staticmethod
    def forward(context: Any, part: Tensor) -> Tensor:
        sizes = _sizes(part)
        largest = max(sizes)
        padded = part.new_zeros(largest, *part.shape[1:])
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        start = sum(sizes[: rank()])
        context.rows = slice(start, start + len(part))
        return torch.cat([p[:size] for p, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return gradients[0][context.rows] * ranks()


def _sizes(part: Tensor) -> list[int]:
    mine = torch.tensor([len(part)], device=part.device)
    sizes = [torch.empty_like(mine) for _ in range(ranks())]
    dist.all_gather(sizes, mine)
    return [int(size) for size in sizes]


def gathered(part: Tensor) -> Tensor:
    """The rows of all processes, (B, ...), from this one's, (b, ...); the same tensor where there is but one process.

    What is computed from the result must be the same in every process, up to a loss whose gradients
    DistributedDataParallel then averages.
    """
    if ranks() == 1:
        return part
    whole: Tensor = _Gathered.apply(part)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return whole


def launched() -> bool:
    """Was this process started by `torchrun`, with others or alone?"""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that `torchrun` has started, and leave them at the end; nothing without `torchrun`.

    Yields the device of this process: with `cuda`, the GPU of its local rank.

    Raises:
        RatespikeError: fewer GPUs than processes on this machine.
    """
    if not launched() or int(os.environ["WORLD_SIZE"]) == 1:
        yield device
        return
    if device.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            count = torch.cuda.device_count()
            raise RatespikeError(f"run.device: process {local} has no GPU; this machine has {count}")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()

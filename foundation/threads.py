"""How many threads work is worth.

Threads that wait for one another at the end of every small product cost more than they bring, and where another
program has a core, several times more. So there is one rule for all that is computed with torch, NumPy or scikit-learn
here: below `LARGE`, one thread. Who sets OMP_NUM_THREADS has decided, and is not overruled; `torch.set_num_threads`
says how many large work takes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LARGE = 1e9
"""Multiply-adds of a step (of training, of a batch in time), from which on torch's own number of threads is taken."""


@contextmanager
def threads_for(work: float) -> Iterator[None]:
    """Compute with as many threads as steps of that many multiply-adds are worth; then as before.

    The number depends on the work alone, never on the clock: results of a machine stay the same, bit for bit.
    """
    if work >= LARGE or os.environ.get("OMP_NUM_THREADS"):
        yield
        return
    from threadpoolctl import threadpool_limits

    torch = sys.modules.get("torch")  # what computes with NumPy alone does not wait for its import
    before = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        if torch:
            torch.set_num_threads(before)


def multiply_adds(step: Callable[[], object]) -> float:
    """Of a call, forward and backward; products and convolutions count."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops()) / 2

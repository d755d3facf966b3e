"""Spikes that come from outside, as every simulator can take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class SpikeEvents:
    """Spikes of `lines` sources in `steps` steps of dt (s); event k is a spike of source[k] in step[k].

    The events are in the order of time, and within a step in that of their sources.
    """

    source: NDArray[np.int64]
    step: NDArray[np.int64]
    lines: int
    dt: float
    steps: int

    @property
    def duration(self) -> float:
        """In s."""
        return self.steps * self.dt

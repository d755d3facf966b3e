"""Linear filters over whole stretches of time, as products with small matrices: forward, and backward in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinearSystem:
    """A discrete linear system with a small state z: y(n) = c z(n-1) + d x(n),  z(n) = M z(n-1) + v x(n).

    Attributes:
        M: (K, K).
        v: (K,).
        c: (K,).
        d: its direct path.
    """

    M: Floats
    v: Floats
    c: Floats
    d: float = 0.0

    def impulse_response(self, steps: int) -> Floats:
        """(steps + 1, K): the state v after an impulse, M v a step later, and so on."""
        states, power = self.v[None], self.M
        while len(states) <= steps:  # twice as many with every round
            states = np.concatenate([states, states @ power.T])
            power = power @ power
        return states[: steps + 1]


class BlockFilter:
    """A linear system that takes L steps at once; time runs backward, from the last row of a block to its first.

    With x (L, S) for S independent systems and their states z (K, S), a block is one product with a matrix (L + K, L)
    and one with a matrix (L + K, K).

    Args:
        system: what to apply.
        length: L.
        like: whose dtype and device to use.
    """

    def __init__(self, system: LinearSystem, length: int, like: Tensor) -> None:
        order = len(system.v)
        response = system.impulse_response(length)
        gains = np.array([system.d, *(response[:-1] @ system.c)])  # of x(n) in y(n), y(n+1), ...
        lag = np.arange(length)[None, :] - np.arange(length)[:, None]  # row n sees what comes after it
        powers = [np.linalg.matrix_power(system.M, k) for k in range(length + 1)]
        of_x = np.zeros((length + order, length))
        of_x[:length] = np.where(lag >= 0, gains[np.abs(lag)], 0.0)
        of_x[length:] = response[:length].T  # row 0 comes last
        of_z = np.zeros((length + order, order))
        of_z[:length] = np.stack([system.c @ powers[length - 1 - n] for n in range(length)])
        of_z[length:] = powers[length]
        self.length = length
        self._of_x, self._of_z = (torch.from_numpy(m).to(like) for m in (of_x, of_z))

    def __call__(self, x: Tensor, z: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Outputs (L, S) and the state (K, S) that they leave behind, for x (L, S) and the state before.

        `out` (L + K, S) may hold both; it must not share memory with the arguments.
        """
        both = torch.mm(self._of_x, x, out=out)
        both.addmm_(self._of_z, z)
        return both[: self.length], both[self.length :]

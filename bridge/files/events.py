"""Spike times of a file <-> spikes in steps of dt."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.files.edges import MOST_NEURONS
from foundation.errors import UsageError
from spiking.stimuli import SpikeEvents

Floats = NDArray[np.float64]

MOST_STEPS = 2**53
"""Beyond it, floating point does not tell steps apart."""


def check_dt(dt: float) -> None:
    """Raises `UsageError` where dt (s) is no step."""
    if not (dt > 0 and math.isfinite(dt)):
        raise UsageError(f"dt: must be positive and finite, got {dt} s")


def times_of(events: SpikeEvents) -> Floats:
    """The times of spikes, (n,), in s: a spike in step k is one at k dt.

    Raises:
        UsageError: they are not in the order of time, as `SpikeEvents` should be.
    """
    if (np.diff(events.step) < 0).any():
        raise UsageError("spikes: must be in the order of time")
    return np.asarray(events.step * events.dt, np.float64)


def events_of(
    time: Floats,
    source: NDArray[Any],
    *,
    dt: float,
    lines: int | None = None,
    steps: int | None = None,
    round_times: bool = False,
) -> SpikeEvents:
    """Spikes at times (n,) in s of sources (n,), on the grid of dt and in the order of `SpikeEvents`.

    Args:
        time: s, in any order.
        source: 0 and up, whole numbers.
        dt: s.
        lines: how many sources there are; the highest plus one for None.
        steps: how many steps there are; to the last spike for None.
        round_times: take times off the grid to the nearest step; an error otherwise.

    Raises:
        UsageError: a time or source out of range or off the grid, or two spikes of a source in one step.
    """
    check_dt(dt)
    if time.shape != source.shape:
        raise UsageError(f"spikes: {time.size} times and {source.size} sources; should be as many")
    step = _steps(time, dt, round_times)
    lines = _count("lines", lines, source, MOST_NEURONS)
    steps = _count("steps", steps, step, MOST_STEPS)
    order = np.lexsort((source, step))
    source, step = source[order].astype(np.int64), step[order]
    twice = np.flatnonzero((source[1:] == source[:-1]) & (step[1:] == step[:-1]))
    if twice.size:
        k = twice[0]
        raise UsageError(f"spikes: source {source[k]} has two at {step[k] * dt:g} s; one fits in a step of {dt} s")
    return SpikeEvents(source, step, lines, dt, steps)


def _steps(time: Floats, dt: float, round_times: bool) -> NDArray[np.int64]:
    with np.errstate(over="ignore"):  # such times are refused
        exact = time / dt
    bad = np.flatnonzero(~((exact > -1e-6) & (exact < MOST_STEPS)))  # written so that nan is bad
    if bad.size:
        raise UsageError(f"spikes: times must be finite and not negative, got {time[bad[0]]} s for spike {bad[0]}")
    step = np.rint(exact)
    if not round_times:
        off = np.flatnonzero(np.abs(exact - step) > 1e-6 * np.maximum(1.0, 1e-7 * step))  # of large times, the rounding
        if off.size:
            raise UsageError(f"spikes: {time[off[0]]} s is not a multiple of dt = {dt} s (round_times would round it)")
    return step.astype(np.int64)


def _count(name: str, count: int | None, used: NDArray[Any], most: int) -> int:
    """`count`, or the least that holds all that are used."""
    least = int(used.max()) + 1 if used.size else 0
    if used.size and used.min() < 0:
        raise UsageError(f"{name}: numbers must not be negative, got {used.min()}")
    if count is None:
        count = least
    if not least <= count <= most:
        raise UsageError(f"{name}: {count}, should be {least} to {most}, for the highest number is {least - 1}")
    return count

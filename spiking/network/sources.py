"""Populations that are given: spikes and values from outside, the same for every simulator, any stretch on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foundation.errors import UsageError
from foundation.seeds import numpy_generator
from spiking.parameters import whole_steps
from spiking.stimuli import RateTrace, SpikeEvents, draw_spikes

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
BLOCK = 10_000  # steps that are drawn at once


class SpikeSource(Protocol):
    """Gives the spikes of `size` units in any stretch of steps."""

    def check(self, size: int, dt: float) -> None:
        """Raise `UsageError` where it does not fit."""
        ...

    def fired(self, first: int, steps: int, size: int, dt: float, seed: int) -> SpikeEvents:
        """Spikes of steps first, ..., counted from `first`; there are none before step 0."""
        ...


class PoissonInput:
    """Spikes drawn at random, at most one in a step.

    Args:
        rate: Hz, one number or one for each unit; or one `RateTrace` for each of several groups of equal size.

    The spikes of a block of 10,000 steps come from (seed of the network, block): any stretch can be drawn alone.
    """

    def __init__(self, rate: ArrayLike | Sequence[RateTrace]) -> None:
        self.traces: tuple[RateTrace, ...] = ()
        self.rate: Floats = np.zeros(())
        if isinstance(rate, Sequence) and rate and all(isinstance(each, RateTrace) for each in rate):
            self.traces = tuple(each for each in rate if isinstance(each, RateTrace))
        else:
            self.rate = np.array(rate, dtype=np.float64)
            if not (np.isfinite(self.rate).all() and (self.rate >= 0).all()):
                raise UsageError("PoissonInput.rate: must be finite and not negative")
        self._block = lru_cache(maxsize=4)(self._draw)

    def check(self, size: int, dt: float) -> None:
        """Its rates fit the units and the step."""
        for trace in self.traces:
            trace.check(dt)
        if self.traces and size % len(self.traces):
            raise UsageError(f"PoissonInput.rate: {len(self.traces)} traces do not share out {size} units")
        if not self.traces and self.rate.shape not in ((), (size,)):
            raise UsageError(f"PoissonInput.rate: must be one number or ({size},), got shape {self.rate.shape}")
        if not self.traces and float(self.rate.max(initial=0.0)) * dt > 1:
            raise UsageError(f"PoissonInput.rate: {self.rate.max():g} Hz is more than one spike in a step of {dt} s")

    def _draw(self, number: int, size: int, dt: float, seed: int) -> SpikeEvents:
        generator = numpy_generator(seed, "poisson", number)
        if self.traces:
            each = size // len(self.traces)
            return draw_spikes(
                self.traces, each, dt=dt, first_step=number * BLOCK, steps=BLOCK, generator=generator, half_first=False
            )
        step, source = np.nonzero(generator.random((BLOCK, size)) < self.rate * dt)
        return SpikeEvents(source.astype(np.int64), step.astype(np.int64), size, dt, BLOCK)

    def fired(self, first: int, steps: int, size: int, dt: float, seed: int) -> SpikeEvents:
        """See `SpikeSource`."""
        source, step = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for number in range(max(first, 0) // BLOCK, (first + steps - 1) // BLOCK + 1):
            block = self._block(number, size, dt, seed)
            at = block.step + number * BLOCK - first
            inside = (at >= 0) & (at < steps)
            source.append(block.source[inside])
            step.append(at[inside])
        return SpikeEvents(np.concatenate(source), np.concatenate(step), size, dt, steps)


class SpikeInput:
    """Spikes that are given, in any order.

    Args:
        times: s, (S,).
        ids: (S,), which unit spikes; it may spike several times in a step, and then counts once.

    Raises:
        UsageError: the lists differ in length, or a time is negative or not finite.
    """

    def __init__(self, times: ArrayLike, ids: ArrayLike) -> None:
        self.times, self.ids = np.asarray(times, np.float64), np.asarray(ids)
        if self.times.ndim != 1 or self.times.shape != self.ids.shape:
            raise UsageError(
                f"SpikeInput: times and ids must be lists of one length, got {self.times.shape}, {self.ids.shape}"
            )
        if self.ids.size and not np.issubdtype(self.ids.dtype, np.integer):
            raise UsageError("SpikeInput.ids: must be whole numbers")
        if not (np.isfinite(self.times).all() and (self.times >= 0).all()):
            raise UsageError("SpikeInput.times: must be finite and not negative")
        self._sorted = lru_cache(maxsize=1)(self._sort)

    def _sort(self, dt: float) -> tuple[Integers, Integers]:
        step = np.rint(self.times / dt).astype(np.int64)
        off = np.abs(self.times / dt - step) > 1e-6 * np.maximum(1, 1e-7 * step)
        if off.any():
            raise UsageError(f"SpikeInput.times: {self.times[off][0]} s is no multiple of dt = {dt} s")
        pairs = np.unique(np.stack([step, self.ids.astype(np.int64)], 1), axis=0)
        return pairs[:, 0], pairs[:, 1]

    def check(self, size: int, dt: float) -> None:
        """Its spikes are of units that there are, and on the grid."""
        if self.ids.size and not 0 <= self.ids.min() <= self.ids.max() < size:
            raise UsageError(f"SpikeInput.ids: must lie in 0..{size - 1}, got {self.ids.min()}..{self.ids.max()}")
        self._sorted(dt)

    def fired(self, first: int, steps: int, size: int, dt: float, seed: int) -> SpikeEvents:
        """See `SpikeSource`."""
        step, ids = self._sorted(dt)
        low, high = np.searchsorted(step, [max(first, 0), max(first + steps, 0)])
        return SpikeEvents(ids[low:high], step[low:high] - first, size, dt, steps)


@dataclass(frozen=True, eq=False)
class ValueInput:
    """Values instead of spikes, sent in every step: images as currents, a constant drive.

    Args:
        values: (units,), constant; (samples, units) with one value for each sample of a batch; or with `every`,
            (frames, ..., units), each frame for so long.
        every: s, duration of a frame; the last one stays. None: constant.
    """

    values: Floats
    every: float | None = None

    def check(self, size: int, dt: float) -> None:
        """Its values fit the units."""
        if self.values.ndim < 1 + (self.every is not None) or self.values.shape[-1] != size:
            raise UsageError(f"ValueInput.values: must end in ({size},), got shape {self.values.shape}")
        if not np.isfinite(self.values).all():
            raise UsageError("ValueInput.values: must be finite")
        if self.every is not None and whole_steps("ValueInput.every", self.every, dt) < 1:
            raise UsageError(f"ValueInput.every: must be at least one step of {dt} s")

    def at(self, step: int, dt: float) -> Floats:
        """The values (units,) or (samples, units) in a step."""
        if self.every is None:
            return self.values
        frame = min(step // whole_steps("every", self.every, dt), len(self.values) - 1)
        return np.asarray(self.values[max(frame, 0)])


Source = SpikeSource | ValueInput


def spikes_at(events: SpikeEvents) -> Integers:
    """Where the spikes of each step begin in `events`, (steps + 1,)."""
    return np.searchsorted(events.step, np.arange(events.steps + 1))

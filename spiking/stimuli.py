"""Spikes that come from outside, as every simulator can take them; among them those of the paper's input populations.

Source of the populations: the simulation of Halvagal & Zenke 2023 (Nature Neuroscience,
doi:10.1038/s41593-023-01460-y), network of Fig. 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foundation.arrays import read_arrays
from foundation.errors import RatespikeError, UsageError
from foundation.text import check_names, one_line
from spiking.parameters import whole_steps

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

GRID = 0.01  # s, between the samples of the paper's rates
PAPER_POPULATIONS = ("P0", "P1", "P1ctl", "P2", "P2ctl")
HARMONICS = 128
PERIODS = 11  # of its signal that a trace of the paper holds
MOST_BYTES = 2**28  # of rates that are packed: 33 million samples


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


@dataclass(frozen=True, eq=False)
class RateTrace:
    """The rate of a population over time: samples on a regular grid, linearly interpolated, in a loop.

    The loop takes from the last sample straight to the first: its period is (K - 1) interval, as in the reference,
    and sample K - 1 is where sample 0 takes over. Time 0 is the start of the simulation, whatever runs first.

    Raises:
        UsageError: there is no sample, or one is negative or not finite, or the interval is not positive.
    """

    values: Floats  # (K,), Hz; a single one stands for a constant rate
    interval: float = GRID  # s
    name: str = ""  # of the population

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)  # a copy, which nobody can change behind our back
        if values.ndim != 1 or values.size == 0:
            raise UsageError(f"rates: must be a list of one sample or more, got shape {values.shape}")
        bad = _first_bad(values)
        if bad is not None:
            raise UsageError(f"rates: must be finite and not negative, got {values[bad]} Hz in sample {bad[0]}")
        if not (math.isfinite(self.interval) and self.interval > 0):
            raise UsageError(f"interval: must be positive and finite, got {self.interval} s")
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    @property
    def period(self) -> float:
        """Of the loop, in s; 0 for a single sample."""
        return (self.values.size - 1) * self.interval

    def at(self, first_step: int, steps: int, dt: float) -> Floats:
        """The rate in Hz, (steps,), in steps `first_step`, `first_step` + 1, ... of dt (s)."""
        return self.at_steps(np.arange(first_step, first_step + steps, dtype=np.int64), dt)

    def at_steps(self, step: Integers, dt: float) -> Floats:
        """The rate in Hz in any steps of dt (s), in the shape of `step`.

        Raises:
            UsageError: the interval is not a multiple of dt.
        """
        if self.values.size == 1:
            return np.full(step.shape, self.values[0])
        per_sample = whole_steps("RateTrace.interval", self.interval, dt)
        # In whole steps: in floating point, the jump at the end of a loop would come a step early in some loops.
        left, rest = np.divmod(step % ((self.values.size - 1) * per_sample), per_sample)
        return np.asarray(self.values[left] + (self.values[left + 1] - self.values[left]) * (rest / per_sample))

    def check(self, dt: float) -> None:
        """Make sure that a neuron can follow with at most one spike in a step of dt (s).

        Raises:
            UsageError: a rate exceeds 1/dt, or samples do not lie on steps.
        """
        if not dt > 0:
            raise UsageError(f"dt: must be positive, got {dt}")
        if self.values.size > 1:
            whole_steps("rates: the interval between samples", self.interval, dt)
        largest = float(self.values.max())
        if largest * dt > 1 + 1e-9:
            raise UsageError(f"rates: {largest:g} Hz is more than one spike in a step of {dt} s; at most {1 / dt:g} Hz")


# --- the paper's populations ------------------------------------------------------------------------------------------
def paper_rates(seed: int = 42) -> tuple[RateTrace, ...]:
    """The rates of the paper's five input populations, in the order of `PAPER_POPULATIONS`.

    P0 fires at 5 Hz. P1 and P2 follow each a slow periodic signal (periods of 3 s and 3 + 1/13 s)::

        s(t) = sum_i 1.1^-i a_i sin(2 pi i (t + b_i) / period),  i = 0..127,  a_i, b_i ~ U(0, 1)
        rate = max(5 Hz + 4 Hz z(t), 0.1 Hz),  z: s with mean 0 and standard deviation 1

    P1ctl and P2ctl fire at the same rates in shuffled order: the same distribution, but nothing to predict.

    Args:
        seed: of numpy's legacy generator; 42 gives the rates that the authors used, value by value.
    """
    try:
        generator = np.random.RandomState(seed)  # the legacy generator: its stream is what the paper's rates came from
    except (ValueError, TypeError):
        raise UsageError(f"seed: must be a whole number from 0 to {2**32 - 1}, got {seed!r}") from None
    names = iter(PAPER_POPULATIONS)
    traces = [RateTrace(np.array([5.0]), name=next(names))]
    for period in (3.0, 3.0 + 1 / 13):
        rate = _periodic_rate(period, generator)
        control = rate.copy()
        generator.shuffle(control)
        traces += [RateTrace(rate, name=next(names)), RateTrace(control, name=next(names))]
    return tuple(traces)


def _periodic_rate(period: float, generator: np.random.RandomState) -> Floats:
    a, b = generator.rand(HARMONICS, 2).T
    i = np.arange(HARMONICS)
    t = GRID * np.arange(math.ceil(PERIODS * period / GRID))
    signal = (1.1**-i * a * np.sin(2 * np.pi * i * (t[:, None] + b) / period)).sum(1)
    z = (signal - signal.mean()) / (signal.std() + 1e-4)
    return np.asarray(np.maximum(4 * z + 5, 0.1))


# --- rates from a file ------------------------------------------------------------------------------------------------
def load_rates(path: Path) -> tuple[RateTrace, ...]:
    """Rates from a NumPy file, one trace per population.

    Args:
        path: .npy with an array (populations, samples) in Hz, a sample every 10 ms; or .npz with such an array
            `rates` and, if it is not 10 ms, the time between samples `interval` in s, and, if they have any, the
            `names` of the populations; they are "input 1", "input 2", ... otherwise.

    Raises:
        RatespikeError: the file cannot be read or holds something else; the message names file, population, sample.
    """
    arrays = read_arrays(path, "numbers", MOST_BYTES, "iufU")
    arrays = {"rates": arrays[""]} if "" in arrays else arrays
    unknown = sorted(arrays.keys() - {"rates", "interval", "names"})
    if unknown or "rates" not in arrays:
        held = f"holds {unknown[0]!r}" if unknown else "holds no array 'rates'"
        raise RatespikeError(f"{path}: {held}; should hold 'rates' and, if you like, 'interval' and 'names'")
    for name in ("rates", "interval"):
        if name in arrays and arrays[name].dtype.kind == "U":
            raise RatespikeError(f"{path}: {name}: should be plain numbers, is of type {one_line(arrays[name].dtype)}")
    rates, interval = arrays["rates"].astype(np.float64), arrays.get("interval", np.array(GRID))
    if rates.ndim != 2 or rates.size == 0:
        raise RatespikeError(f"{path}: rates should have the shape (populations, samples), have {rates.shape}")
    bad = _first_bad(rates)
    if bad is not None:
        raise RatespikeError(
            f"{path}: population {bad[0]}, sample {bad[1]}: {rates[bad]} Hz; rates should be finite and not negative"
        )
    if interval.ndim != 0 or not (np.isfinite(interval) and interval > 0):
        raise RatespikeError(f"{path}: interval should be one positive number in s, is {one_line(interval, 100)}")
    names = arrays.get("names", np.array([f"input {k}" for k in range(1, len(rates) + 1)]))
    if names.shape != (len(rates),) or names.dtype.kind != "U":
        raise RatespikeError(f"{path}: names should be a text for each of {len(rates)} populations")
    try:
        check_names("rates", names.tolist())
    except UsageError as error:
        raise RatespikeError(f"{path}: {error}") from None
    return tuple(RateTrace(row, float(interval), str(name)) for row, name in zip(rates, names, strict=True))


def described(path: Path, traces: Sequence[RateTrace]) -> list[str]:
    """What was read, in a line: how many populations, for how long; and a warning where axes may have been swapped."""
    number, samples, period = len(traces), traces[0].values.size, traces[0].values.size * traces[0].interval
    lines = [f"{path}: {number:,} populations, {samples:,} samples of {traces[0].interval:g} s, {period:g} s in all"]
    if number > samples:
        lines.append(f"{path}: more populations than samples; if these are (samples, populations), transpose them")
    return lines


def _first_bad(rates: Floats) -> tuple[int, ...] | None:
    """The index of the first rate that is no rate."""
    bad = np.argwhere(~(np.isfinite(rates) & (rates >= 0)))
    return tuple(int(i) for i in bad[0]) if len(bad) else None


# --- rates to spikes --------------------------------------------------------------------------------------------------
def draw_spikes(
    traces: Sequence[RateTrace],
    size: int,
    *,
    dt: float,
    first_step: int,
    steps: int,
    generator: np.random.Generator,
    half_first: bool = False,
) -> SpikeEvents:
    """Poisson spikes of populations: each neuron spikes in each step with the probability r(t) dt, independently.

    Step 0 of the simulation has no spikes, as in the reference.

    Args:
        traces: one per population.
        size: neurons in a population; neuron k of population p is line p size + k.
        dt: s.
        first_step: of the simulation, in which these spikes begin; the events' steps count from it.
        steps: how many.
        generator: of the draws; it alone decides on the spikes.
        half_first: neuron 0 of each population fires at half its rate, an artefact of the reference.

    Raises:
        UsageError: a rate above 1/dt, a grid of samples that dt does not divide, or an argument out of range.
    """
    for name, count, least in (("size", size, 1), ("first_step", first_step, 0), ("steps", steps, 1)):
        if count < least:
            raise UsageError(f"{name}: must be at least {least}, got {count}")
    if not traces:
        raise UsageError("rates: there is no population")
    lines = len(traces) * size
    keys = []
    for number, trace in enumerate(traces):
        trace.check(dt)
        step, neuron = _thinned(trace, size, dt, first_step, steps, generator, half_first)
        keys.append(step * lines + number * size + neuron)
    step, source = np.divmod(np.sort(np.concatenate(keys)), lines)
    return SpikeEvents(source, step, lines, dt, steps)


def _thinned(
    trace: RateTrace,
    size: int,
    dt: float,
    first_step: int,
    steps: int,
    generator: np.random.Generator,
    half_first: bool,
) -> tuple[Integers, Integers]:
    """Step, counted from `first_step`, and neuron of one population's spikes.

    Bernoulli trials at the highest rate, of which a trial at rate r keeps r / highest: exact, and the work grows with
    the number of spikes, not with that of trials.
    """
    highest = float(trace.values.max())
    step, neuron = np.divmod(_successes(min(highest * dt, 1.0), steps * size, generator), size)
    kept = generator.random(step.size) * highest < trace.at_steps(first_step + step, dt) * np.where(
        half_first & (neuron == 0), 0.5, 1.0
    )
    if first_step == 0:
        kept &= step > 0
    return step[kept], neuron[kept]


def _successes(probability: float, trials: int, generator: np.random.Generator) -> Integers:
    """Which of `trials` independent trials succeed, in ascending order: the gaps between them are geometric."""
    if probability == 0:
        return np.empty(0, np.int64)
    found: list[Integers] = []
    last = -1
    while last < trials:
        left = (trials - last) * probability
        gaps = generator.geometric(probability, math.ceil(left + 4 * math.sqrt(left)) + 1)
        found.append(last + np.cumsum(np.minimum(gaps, trials + 1)))  # the bound keeps the sum from overflowing
        last = int(found[-1][-1])
    every = np.concatenate(found)
    return every[: np.searchsorted(every, trials)]

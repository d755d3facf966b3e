"""What a network is shown, as one object with units and the same meaning for Brian2 and for torch; and back again.

A `Stimulus` is a current, a rate or spikes of N lines on a grid of time. What makes one:

==================  ====================================================================================
`constant_current`  frames as currents, each for its duration
`poisson`           frames as Poisson spikes with the rate x r_max
`inhomogeneous`     Poisson spikes whose rate follows samples, piecewise linear
`latency`           one spike per line and frame, the earlier the larger its value
`delta`             on and off spikes wherever a signal has moved by a threshold
==================  ====================================================================================

and what leads back: `counts`, `smoothed`, `latency_values`, `delta_values`. Latency and delta codes have an exact
inverse on a grid of values, which is documented there; Poisson spikes have none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bridge.coding import frame_spikes
from foundation.errors import UsageError
from foundation.seeds import numpy_generator
from spiking.parameters import whole_steps
from spiking.stimuli import RateTrace, SpikeEvents

if TYPE_CHECKING:
    from brian2 import SpikeGeneratorGroup, TimedArray

Floats = NDArray[np.float64]
Kind = Literal["current", "rate", "spikes"]
UNITS = {"current": "1", "rate": "Hz", "spikes": "1"}


@dataclass(frozen=True, eq=False)
class Stimulus:
    """One trial of a stimulus.

    Attributes:
        kind: "current" (without a unit, or in thresholds per step), "rate" (Hz) or "spikes".
        values: (T, N): the current or the rate in each step; bool where there is a spike.
        dt: s, of a step.
        frame_steps: the step in which each frame begins, ascending from 0.
        seed: of the draws that made it; None: nothing was drawn.

    Raises:
        UsageError: values that are none, or of another shape or kind, or frames out of order.
    """

    kind: Kind
    values: NDArray[Any]
    dt: float
    frame_steps: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in UNITS:
            raise UsageError(f"kind: must be one of {', '.join(UNITS)}, got '{self.kind}'")
        dtype = np.bool_ if self.kind == "spikes" else np.float64
        values = np.array(self.values)
        if values.ndim != 2 or not values.size or values.dtype != dtype:
            raise UsageError(f"values: must be {np.dtype(dtype)} (steps, lines), got {values.dtype} {values.shape}")
        if self.kind != "spikes" and not np.isfinite(values).all():
            raise UsageError("values: must be finite")
        if self.kind == "rate" and (values.min() < 0 or values.max() * self.dt > 1 + 1e-9):
            raise UsageError(f"values: rates must lie in 0 to 1 / dt, got {values.min():g} to {values.max():g} Hz")
        if not (self.dt > 0 and math.isfinite(self.dt)):
            raise UsageError(f"dt: must be positive, got {self.dt} s")
        frames = np.array(self.frame_steps, dtype=np.int64)
        if (
            frames.ndim != 1
            or not len(frames)
            or frames[0]
            or (np.diff(frames) <= 0).any()
            or frames[-1] >= len(values)
        ):
            raise UsageError(f"frame_steps: must rise from 0 to less than {len(values)}, got {frames.tolist()[:8]}")
        for array in (values, frames):
            array.flags.writeable = False
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "frame_steps", frames)

    @property
    def unit(self) -> str:
        """Of the values."""
        return UNITS[self.kind]

    @property
    def duration(self) -> float:
        """In s."""
        return len(self.values) * self.dt

    @property
    def frame_times(self) -> Floats:
        """When each frame begins, in s."""
        return np.asarray(self.frame_steps * self.dt, dtype=np.float64)

    # --- other forms of the same thing --------------------------------------------------------------------------------
    def to_events(self) -> SpikeEvents:
        """The spikes one by one. Raises `UsageError` if it has none."""
        step, line = np.nonzero(self._spikes())
        return SpikeEvents(line, step, self.values.shape[1], self.dt, len(self.values))

    @classmethod
    def from_events(cls, events: SpikeEvents, **more: Any) -> Stimulus:
        """Spikes one by one as a stimulus; `more` are frames and seed. Two of a line in a step are refused."""
        values = np.zeros((events.steps, events.lines), bool)
        values[events.step, events.source] = True
        if values.sum() != len(events.step):
            raise UsageError("events: a line has two spikes in one step")
        return cls("spikes", values, events.dt, **more)

    def to_torch(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64) -> Tensor:
        """(T, 1, N): a batch of one, step by step."""
        return torch.tensor(self.values, device=device).to(dtype)[:, None]

    @classmethod
    def from_torch(cls, kind: Kind, values: Tensor, dt: float, **more: Any) -> Stimulus:
        """What `to_torch` gave."""
        if values.dim() != 3 or values.shape[1] != 1:
            raise UsageError(f"values: must be (steps, 1, lines), got {tuple(values.shape)}")
        array = values[:, 0].cpu().double().numpy()
        if kind == "spikes" and not np.isin(array, (0, 1)).all():
            raise UsageError("values: spikes are 0 or 1")
        return cls(kind, array.astype(bool) if kind == "spikes" else array, dt, **more)

    def to_brian(self) -> SpikeGeneratorGroup | TimedArray:
        """Spikes as a `SpikeGeneratorGroup`; a current, or a rate in Hz, as a `TimedArray` f(t, i)."""
        import brian2 as b2

        if self.kind == "spikes":
            step, line = np.nonzero(self.values)
            times = step * self.dt * b2.second
            return b2.SpikeGeneratorGroup(self.values.shape[1], line, times, dt=self.dt * b2.second, sorted=True)
        unit = b2.Hz if self.kind == "rate" else 1
        return b2.TimedArray(self.values * unit, dt=self.dt * b2.second)

    @classmethod
    def from_brian(cls, given: SpikeGeneratorGroup | TimedArray, *, steps: int | None = None, **more: Any) -> Stimulus:
        """What `to_brian` gave; `steps`: how long a group of spikes lasts, which it does not know itself."""
        import brian2 as b2

        if isinstance(given, b2.TimedArray):
            rate = given.dim == b2.Hz.dim
            return cls(
                "rate" if rate else "current", np.asarray(given.values, dtype=np.float64), float(given.dt), **more
            )
        dt = float(given.clock.dt)
        step = np.rint(np.asarray(given._spike_time) / dt).astype(np.int64)
        last = int(step.max()) + 1 if len(step) else 1
        values = np.zeros((steps or last, given.N), bool)
        if last > len(values):
            raise UsageError(f"steps: the group has a spike in step {last - 1}, got {steps} steps")
        values[step, np.asarray(given._neuron_index)] = True
        return cls("spikes", values, dt, **more)

    def drawn(self, seed: int) -> Stimulus:
        """Poisson spikes of a stimulus of rates: in each step with the probability r dt, independently."""
        if self.kind != "rate":
            raise UsageError(f"stimulus: rates can be drawn from, this is a stimulus of kind '{self.kind}'")
        generator = numpy_generator(seed, "stimulus")
        return replace(
            self, kind="spikes", values=generator.random(self.values.shape) < self.values * self.dt, seed=seed
        )

    def _spikes(self) -> NDArray[np.bool_]:
        if self.kind != "spikes":
            raise UsageError(f"stimulus: needs spikes, this is a stimulus of kind '{self.kind}'")
        return self.values


# --- frames, samples and signals as stimuli ---------------------------------------------------------------------------
def _frames(x: Floats, *, within: bool) -> Floats:
    frames = np.atleast_2d(np.asarray(x, dtype=np.float64))
    frames = frames.reshape(len(frames), -1)
    if not frames.size or not np.isfinite(frames).all():
        raise UsageError("frames: there are none, or they are not finite")
    if within and not ((frames >= 0) & (frames <= 1)).all():
        raise UsageError("frames: must lie between 0 and 1")
    return frames


def constant_current(frames: Floats, *, duration: float, dt: float) -> Stimulus:
    """Frames (F, N) as currents, each for `duration` s, a multiple of dt."""
    shown, steps = _frames(frames, within=False), _whole(duration, dt)
    return Stimulus("current", np.repeat(shown, steps, axis=0), dt, np.arange(len(shown)) * steps)


def poisson(frames: Floats, *, duration: float, dt: float, r_max: float, seed: int) -> Stimulus:
    """Frames (F, N) in [0, 1] as Poisson spikes: the value 1 is the rate `r_max` in Hz. Each lasts `duration` s."""
    shown, steps = _frames(frames, within=True), _whole(duration, dt)
    generator = numpy_generator(seed, "stimulus")
    events = frame_spikes(shown, duration=duration, r_max=r_max, dt=dt, copies=1, generator=generator)
    return Stimulus.from_events(events, frame_steps=np.arange(len(shown)) * steps, seed=seed)


def inhomogeneous(rates: Floats, *, interval: float, dt: float) -> Stimulus:
    """Rates that follow samples (K, N) in Hz, `interval` s apart, piecewise linear; `Stimulus.drawn` makes it spikes.

    It lasts from the first sample to the last; a frame begins at each sample but the last.
    """
    samples = _frames(rates, within=False)
    if len(samples) < 2:
        raise UsageError("rates: at least two samples are needed")
    traces = [RateTrace(column, interval) for column in samples.T]
    each = _whole(interval, dt)
    values = np.stack([trace.at(0, (len(samples) - 1) * each, dt) for trace in traces], axis=1)
    return Stimulus("rate", values, dt, np.arange(len(samples) - 1) * each)


def latency(frames: Floats, *, duration: float, dt: float) -> Stimulus:
    """One spike per line and frame in step round((1 - x) (S - 1)) of its S steps; none for x = 0. Frames in [0, 1]."""
    shown, steps = _frames(frames, within=True), _whole(duration, dt)
    values = np.zeros((len(shown), steps, shown.shape[1]), bool)
    frame, line = np.nonzero(shown > 0)
    step = np.rint((1 - shown[frame, line]) * (steps - 1)).astype(np.int64)
    values[frame, step, line] = True
    return Stimulus("spikes", values.reshape(-1, shown.shape[1]), dt, np.arange(len(shown)) * steps)


def latency_values(stimulus: Stimulus) -> Floats:
    """The frames of a latency code, (F, N): exact where they were k / (S - 1), k = 1 ... S - 1, or 0.

    The last step stands for 0, as does no spike.
    """
    found = []
    bounds = [*stimulus.frame_steps, len(stimulus.values)]
    for first, last in pairwise(bounds):
        part = stimulus._spikes()[first:last]
        steps = last - first
        found.append(np.where(part.any(0), (steps - 1 - part.argmax(0)) / max(steps - 1, 1), 0.0))
    return np.stack(found)


def delta(signal: Floats, *, threshold: float, dt: float) -> Stimulus:
    """On spikes (lines 0 ... N - 1) and off spikes (lines N ... 2 N - 1) of a signal (T, N), one sample per step.

    A line keeps a copy of its signal that starts at 0; wherever the signal is `threshold` or more above the copy there
    is an on spike, and the copy follows by the threshold; likewise below.
    """
    values = _frames(signal, within=False)
    if not threshold > 0:
        raise UsageError(f"threshold: must be positive, got {threshold}")
    copy, lines = np.zeros(values.shape[1], np.int64), values.shape[1]
    spikes = np.zeros((len(values), 2 * lines), bool)
    for step, now in enumerate(values):
        distance = now - copy * threshold
        on, off = distance >= threshold * (1 - 1e-12), distance <= -threshold * (1 - 1e-12)
        copy += on.astype(np.int64) - off
        spikes[step, :lines], spikes[step, lines:] = on, off
    return Stimulus("spikes", spikes, dt)


def delta_values(stimulus: Stimulus, *, threshold: float) -> Floats:
    """The signal of a delta code, (T, N): within one threshold of it wherever it moves by at most that in a step; exact
    where it also lies on multiples of the threshold.
    """
    spikes = stimulus._spikes()
    if spikes.shape[1] % 2:
        raise UsageError(f"stimulus: a delta code has on and off lines, an even number, got {spikes.shape[1]}")
    on, off = np.split(spikes.astype(np.int64), 2, axis=1)
    return np.asarray((on - off).cumsum(0) * threshold)


# --- spikes to rates --------------------------------------------------------------------------------------------------
def counts(stimulus: Stimulus, *, window: float | None = None) -> NDArray[np.int64]:
    """Spikes per line in consecutive windows of `window` s, (W, N), what is left at the end apart; None: per frame."""
    spikes = stimulus._spikes().astype(np.int64)
    if window is None:
        return np.asarray(np.add.reduceat(spikes, stimulus.frame_steps, axis=0))
    each = _whole(window, stimulus.dt, "window")
    number = len(spikes) // each
    if not number:
        raise UsageError(f"window: must be at most the {stimulus.duration} s of the stimulus, got {window} s")
    return np.asarray(spikes[: number * each].reshape(number, each, -1).sum(1))


def smoothed(stimulus: Stimulus, *, tau: float) -> Floats:
    """Rates in Hz, (T, N): spikes filtered by the causal kernel exp(-t / tau) / tau, of integral 1 on the grid."""
    from scipy.signal import lfilter

    if not tau > 0:
        raise UsageError(f"tau: must be positive, got {tau} s")
    decay = math.exp(-stimulus.dt / tau)
    filtered: Floats = lfilter([(1 - decay) / stimulus.dt], [1, -decay], stimulus._spikes().astype(float), axis=0)
    return filtered


def _whole(time: float, dt: float, name: str = "duration") -> int:
    steps = whole_steps(name, time, dt)
    if steps < 1:
        raise UsageError(f"{name}: must be positive, got {time} s")
    return steps

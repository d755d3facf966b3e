"""One layer and one stimulus: what is compared."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bridge.stimuli import Stimulus
from foundation.errors import UsageError
from foundation.seeds import numpy_generator
from spiking.paper.network import NetworkConfig, Projection, draw_wiring
from spiking.parameters import whole_steps
from spiking.stimuli import PAPER_POPULATIONS, RateTrace, paper_rates

Floats = NDArray[np.float64]
DELTA_T = 20e-3
"""The rule's Delta t in s, as published."""


@dataclass(frozen=True, eq=False)
class Inhibition:
    """A recurrent inhibitory population: dense weights exc -> inh (I, M), inh -> exc (M, I), inh -> inh (I, I)."""

    ei: Floats
    ie: Floats
    ii: Floats


@dataclass(frozen=True, eq=False)
class Layer:
    """M units with N inputs, and what they are shown.

    Attributes:
        name: of the stimulus, for report and figures.
        reading: "conductance" (the reference's neuron, weights in units of the leak) or "current" (signed weights).
        weights: (M, N).
        bias: (M,), current reading.
        stimulus: rates of the inputs, (T, N) in Hz, with its frames.
        delta_t: s, the rule's Delta t.
        r_max: Hz, current reading: the rate of an input of activation 1.
        inhibition: for the last rung; None: there is none.
        groups: to which population each input belongs, (N,).
        group_names: of the populations.
    """

    name: str
    reading: str
    weights: Floats
    bias: Floats
    stimulus: Stimulus
    delta_t: float = DELTA_T
    r_max: float = 1.0
    inhibition: Inhibition | None = None
    groups: NDArray[np.int64] | None = None
    group_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        units, inputs = self.weights.shape
        if self.stimulus.kind != "rate" or self.stimulus.values.shape[1] != inputs or self.bias.shape != (units,):
            raise UsageError(
                f"layer: weights {self.weights.shape} need rates of {inputs} inputs and {units} biases, got "
                f"{self.stimulus.kind} {self.stimulus.values.shape} and {self.bias.shape}"
            )
        if self.reading == "conductance" and (self.weights < 0).any():
            raise UsageError("layer: conductances are not negative; take the current reading for signed weights")

    def first(self, seconds: float) -> Layer:
        """The same with the first part of the stimulus."""
        steps = whole_steps("duration", seconds, self.stimulus.dt)
        frames = self.stimulus.frame_steps[self.stimulus.frame_steps < steps]
        return replace(self, stimulus=replace(self.stimulus, values=self.stimulus.values[:steps], frame_steps=frames))

    def resampled(self, dt: float) -> Layer:
        """The same on another grid of time: finer ones repeat a rate, coarser ones take means."""
        before, stimulus = self.stimulus.dt, self.stimulus
        if dt <= before:
            times = whole_steps("dt", before, dt)
            values, frames = np.repeat(stimulus.values, times, axis=0), stimulus.frame_steps * times
        else:
            times = whole_steps("dt", dt, before)
            number = len(stimulus.values) // times
            values = stimulus.values[: number * times].reshape(number, times, -1).mean(1)
            frames = np.unique(np.minimum(stimulus.frame_steps // times, number - 1))
        return replace(self, stimulus=replace(stimulus, values=values, frame_steps=frames, dt=dt))

    def scaled(self, factor: float) -> Layer:
        """The same with all input rates multiplied."""
        return replace(self, stimulus=replace(self.stimulus, values=self.stimulus.values * factor))


def paper_layer(
    *,
    duration: float = 20.0,
    dt: float = 5e-4,
    units: int = 20,
    population: int = 40,
    weight: float = 0.3,
    seed: int = 0,
) -> Layer:
    """The paper's five input populations, and neurons wired as in its network, with 50 inputs each on average.

    Args:
        duration: of the stimulus, in s.
        dt: s.
        units: excitatory neurons; a quarter as many inhibitory ones.
        population: inputs per population.
        weight: of all input synapses, in units of the leak's conductance; 0.3 makes neurons fire at some 10 Hz.
        seed: of the wiring.
    """
    traces = paper_rates()
    columns = _sampled(traces, duration, dt)
    config = NetworkConfig(
        exc=units,
        inh=max(1, units // 4),
        population=population,
        p_ext=min(1.0, 50 / (len(traces) * population)),
        w_ext=weight,
        sigma_ei=units / 5,
        inhibition="fixed",
        seed=seed,
    )
    wiring = draw_wiring(config, len(traces) * population)
    inhibition = Inhibition(
        _dense(wiring.ei, config.inh, units),
        _dense(wiring.ie, units, config.inh),
        _dense(wiring.ii, config.inh, config.inh),
    )
    return Layer(
        "the paper's five populations",
        "conductance",
        _dense(wiring.ext, units, len(traces) * population),
        np.zeros(units),
        Stimulus("rate", np.repeat(columns, population, axis=1), dt),
        inhibition=inhibition,
        groups=np.repeat(np.arange(len(traces)), population),
        group_names=PAPER_POPULATIONS,
    )


def rates_layer(
    rates: Floats, interval: float, *, dt: float = 5e-4, units: int = 20, weight: float = 0.3, seed: int = 0
) -> Layer:
    """A user's rates, (N, T) in Hz, a row for each input, `interval` s apart and linear in between, on random
    conductance synapses.

    Raises:
        UsageError: rates that are none, fewer than two samples, or a grid that dt does not divide.
    """
    if rates.ndim != 2 or rates.shape[1] < 2:
        raise UsageError(f"rates: must be (inputs, samples) with two samples or more, got {rates.shape}")
    traces = [RateTrace(row, interval) for row in rates]
    values = _sampled(traces, (rates.shape[1] - 1) * interval, dt)
    generator = numpy_generator(seed, "wiring")
    connected = generator.random((units, len(rates))) < min(1.0, 50 / len(rates))
    weights = np.asarray(connected * weight, np.float64)
    return Layer("rates", "conductance", weights, np.zeros(units), Stimulus("rate", values, dt))


def images_layer(
    frames: Floats, weights: Floats, bias: Floats, *, frame: float = 0.1, input_rate: float = 200.0, dt: float = 5e-4
) -> Layer:
    """An image sequence through a trained layer, in the current reading; Delta t is the duration of a frame.

    Args:
        frames: what enters the layer, (F, N), 1 standing for `input_rate` in Hz.
        weights: (M, N).
        bias: (M,).
        frame: duration of a frame, in s.
        input_rate: Hz.
        dt: s.

    Raises:
        UsageError: frames below 0, or shapes that do not fit.
    """
    steps = whole_steps("frame", frame, dt)
    if not len(frames) or frames.min() < 0:
        raise UsageError("frames: there are none, or some are negative, which rates cannot be")
    stimulus = Stimulus("rate", np.repeat(frames * input_rate, steps, axis=0), dt, np.arange(len(frames)) * steps)
    return Layer("an image sequence", "current", weights, bias, stimulus, delta_t=frame, r_max=input_rate)


def _sampled(traces: tuple[RateTrace, ...] | list[RateTrace], duration: float, dt: float) -> Floats:
    steps = whole_steps("duration", duration, dt)
    if steps < 1:
        raise UsageError(f"duration: must be positive, got {duration} s")
    return np.stack([trace.at(0, steps, dt) for trace in traces], axis=1)


def _dense(synapses: Projection, post: int, pre: int) -> Floats:
    found = np.zeros((post, pre))
    found[synapses.post, synapses.pre] = synapses.w
    return found

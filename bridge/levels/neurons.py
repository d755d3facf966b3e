"""What units do: rate units with a measured f-I curve, and spiking neurons, many realisations side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import lfilter
from torch import Tensor

from bridge.config import CONDUCTANCE, LevelsConfig
from bridge.levels.material import Inhibition, Layer
from bridge.levels.rule import delayed
from foundation.progress import bar
from spiking.parameters import LPLSynapse
from spiking.torch.neuron import NeuronState, conductance_step

Floats = NDArray[np.float64]
LEVELS, COPIES, SETTLE, MEASURE = 33, 48, 0.5, 1.5  # of the f-I curve: levels, neurons at each, and s


@dataclass(frozen=True, eq=False)
class Curve:
    """Firing rate of a unit, in Hz, for a mean drive; linear in between.

    Attributes:
        drive: (K,), ascending: weights times rates, in Hz.
        rate: (K,), in Hz.
        surrogate: (K,), mean of the surrogate derivative at that drive, per unit of potential.
    """

    drive: Floats
    rate: Floats
    surrogate: Floats

    def f(self, a: Floats) -> Floats:
        """The rate for drives of any shape."""
        return np.interp(a, self.drive, self.rate)

    def slope(self, a: Floats) -> Floats:
        """Its derivative, in Hz per Hz of drive, smoothed over three levels."""
        return np.interp(a, self.drive, self.slopes)

    @property
    def slopes(self) -> Floats:
        """The derivative at the levels."""
        slopes = np.gradient(self.rate, self.drive)
        return np.convolve(np.pad(slopes, 1, mode="edge"), np.ones(3) / 3, mode="valid")


def drive_of(layer: Layer, config: LevelsConfig, x: Floats) -> Floats:
    """Mean drive (T, M) of inputs (T, N) in Hz: of the weights; and in the current reading of the bias, in Hz, too."""
    drive: Floats = x @ layer.weights.T
    return drive if layer.reading == "conductance" else (drive / layer.r_max + layer.bias) * config.unit_rate


def filtered_drive(layer: Layer, config: LevelsConfig, arrived: Floats) -> Floats:
    """The drive that arriving spikes (T, M), summed with their weights, leave behind the synapses' own filters."""
    dt = config.dt
    if layer.reading == "current":
        decay = math.exp(-dt / config.neuron(layer.r_max).tau_syn)
        g: Floats = lfilter([0, 1 - decay], [1, -decay], arrived / dt, axis=0)
        return (g / layer.r_max + layer.bias) * config.unit_rate
    ampa, nmda = math.exp(-dt / CONDUCTANCE.tau_ampa), math.exp(-dt / CONDUCTANCE.tau_nmda)
    fast = lfilter([0, 1 - ampa], [1, -ampa], arrived / dt, axis=0)
    slow = lfilter([1 - nmda], [1, -nmda], fast, axis=0)
    share = CONDUCTANCE.ampa_to_nmda / (1 + CONDUCTANCE.ampa_to_nmda)
    mixed: Floats = share * fast + (1 - share) * slow
    return mixed


def measured_curve(layer: Layer, config: LevelsConfig, rule: LPLSynapse, highest: float) -> Curve:
    """The f-I curve: of the current reading an exact ReLU; of conductances measured, with Poisson spikes of the mean
    weight, up to a drive of `highest` in Hz.
    """
    drive = np.linspace(0, 1.2 * highest, LEVELS)
    if layer.reading == "current":
        theta = config.neuron(layer.r_max).theta
        return Curve(drive, drive, np.full(LEVELS, rule.beta / (1 + rule.beta * theta)))
    positive = layer.weights[layer.weights > 0]
    weight = float(positive.mean()) if positive.size else 1.0
    generator = np.random.default_rng(config.seed)
    steps, skip = round((SETTLE + MEASURE) / config.dt), round(SETTLE / config.dt)
    expected = torch.from_numpy(np.repeat(drive[:, None], COPIES, axis=1) * config.dt / weight)
    noise = torch.Generator().manual_seed(int(generator.integers(2**31)))
    neurons = Neurons(config, rule, expected.shape)
    counts, factors = torch.zeros_like(expected), torch.zeros_like(expected)
    for step in range(steps):
        fired, factor = neurons.step(weight * torch.poisson(expected, noise))
        if step >= skip:
            counts, factors = counts + fired, factors + factor
    rates = counts.mean(1).numpy() / MEASURE
    return Curve(drive, np.maximum.accumulate(rates), factors.mean(1).numpy() / (steps - skip))


class Neurons:
    """The reference's neurons, of any shape, with the surrogate derivative of their potential."""

    def __init__(self, config: LevelsConfig, rule: LPLSynapse, shape: tuple[int, ...] | torch.Size) -> None:
        rest = torch.zeros(shape, dtype=torch.float64)
        self.state = NeuronState(rest + CONDUCTANCE.u_rest, rest, rest, rest, rest)
        self.advance, self.rule = conductance_step(CONDUCTANCE, config.dt), rule

    def step(self, excitation: Tensor, inhibition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Spikes (0 or 1) and surrogate derivative after the reset, with conductances that arrive in this step."""
        self.state, fired = self.advance(self.state)
        u = self.state.U
        g_gaba = self.state.g_gaba if inhibition is None else self.state.g_gaba + inhibition
        self.state = self.state._replace(g_ampa=self.state.g_ampa + excitation, g_gaba=g_gaba)
        return fired.to(u.dtype), surrogate(self.rule, u)


class CurrentNeurons:
    """`CurrentNeuron` of any shape, the last axis being the layer's units, with the surrogate derivative."""

    def __init__(self, layer: Layer, config: LevelsConfig, rule: LPLSynapse, shape: tuple[int, ...]) -> None:
        self.neuron, self.rule, self.dt = config.neuron(layer.r_max), rule, config.dt
        self.bias = torch.from_numpy(layer.bias)
        self.g = torch.zeros(shape, dtype=torch.float64)
        self.u = torch.rand(shape, generator=torch.Generator().manual_seed(config.seed), dtype=torch.float64)
        self.decay = math.exp(-self.dt / self.neuron.tau_syn)
        self.gain = (1 - self.decay) / (self.neuron.r_max * self.dt)

    def step(self, excitation: Tensor, inhibition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `Neurons.step`; `excitation` is signed, inhibition is in it."""
        u = self.u + self.dt / self.neuron.tau_mem * (self.gain * self.g + self.bias)
        if self.neuron.u_min is not None:
            u = u.clamp(min=self.neuron.u_min)
        fired = (u >= self.neuron.theta).to(u.dtype)
        self.u, self.g = u - self.neuron.theta * fired, self.g * self.decay + excitation
        return fired, surrogate(self.rule, self.u)


def neurons_of(layer: Layer, config: LevelsConfig, rule: LPLSynapse, realisations: int) -> Neurons | CurrentNeurons:
    """The layer's neurons, (R, M)."""
    shape = (realisations, len(layer.weights))
    if layer.reading == "current":
        return CurrentNeurons(layer, config, rule, shape)
    return Neurons(config, rule, shape)


def surrogate(rule: LPLSynapse, u: Tensor) -> Tensor:
    """sigma'(u) = beta / (1 + beta |u - theta|)^2, 0 below the floor."""
    found = rule.beta / (1 + rule.beta * (u - rule.theta).abs()) ** 2
    return found if rule.u_floor is None else found * (u >= rule.u_floor)


@torch.no_grad()
def simulate(
    layer: Layer, config: LevelsConfig, rule: LPLSynapse, arrived: Floats, inhibition: Inhibition | None, label: str
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Spiking neurons: spikes and surrogate derivatives for what arrives at each in each step, all (T, R, M)."""
    steps, realisations, _ = arrived.shape
    spikes, factors = np.zeros(arrived.shape, bool), np.zeros(arrived.shape, np.float32)
    neurons = neurons_of(layer, config, rule, realisations)
    recurrent = None if inhibition is None else Recurrent(inhibition, config, rule, realisations)
    for step in bar(range(steps), label=label, unit="step"):
        held = recurrent.arriving() if recurrent else None
        fired, factor = neurons.step(torch.from_numpy(arrived[step]), held)
        spikes[step], factors[step] = fired.numpy().astype(bool), factor.numpy()
        if recurrent:
            recurrent.step(fired)
    return spikes, factors


class Recurrent:
    """The inhibitory population behind its axons, for some realisations."""

    def __init__(self, of: Inhibition, config: LevelsConfig, rule: LPLSynapse, realisations: int) -> None:
        self.ei, self.ie, self.ii = (torch.from_numpy(weights.T.copy()) for weights in (of.ei, of.ie, of.ii))
        self.neurons = Neurons(config, rule, (realisations, len(of.ei)))
        self.delay = max(1, round(config.delay / config.dt))
        quiet = torch.zeros(realisations, len(of.ei), dtype=torch.float64)
        self.inh = [quiet] * self.delay
        self.exc = [torch.zeros(realisations, of.ei.shape[1], dtype=torch.float64)] * self.delay

    def arriving(self) -> Tensor:
        """Inhibition that reaches the excitatory neurons in this step, (R, M)."""
        return self.inh[0] @ self.ie

    def step(self, fired: Tensor) -> None:
        """The inhibitory neurons' step; `fired`: the excitatory ones' spikes, which set out now."""
        inh, _ = self.neurons.step(self.exc[0] @ self.ei, self.inh[0] @ self.ii)
        self.exc, self.inh = [*self.exc[1:], fired], [*self.inh[1:], inh]


def arriving(weights: Floats, x: Floats, steps: int) -> Floats:
    """Weights times spikes (T, N) that set out, as they arrive `steps` later, (T, M)."""
    return delayed(x @ weights.T, steps)

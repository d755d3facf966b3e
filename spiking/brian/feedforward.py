"""Run a plastic feedforward layer in Brian2 and read what its synapses did."""

from __future__ import annotations

from dataclasses import dataclass

import brian2 as b2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from foundation.errors import UsageError
from spiking.brian.current import current_layer
from spiking.brian.plasticity import Floats
from spiking.brian.running import code_for, run_network
from spiking.parameters import CurrentNeuron, LPLSynapse
from spiking.stimuli import SpikeEvents


@dataclass(frozen=True)
class LayerRun:
    """What a run gives, for R copies of M neurons with N inputs.

    Attributes:
        weights: at the end, (R, M, N).
        gradient: weight change per unit of eta, (R, M, N); with eta = 0, what the frozen synapses would have done.
        source: neuron index (copy r, neuron i: r M + i) of every spike.
        step: in which it was fired.
    """

    weights: Floats
    gradient: Floats
    source: NDArray[np.int64]
    step: NDArray[np.int64]

    def rates(self, window: int, windows: int, dt: float) -> Floats:
        """Firing rates in Hz, (windows, R, M), in consecutive windows of that many steps of dt (s); what came after
        the last is left out.
        """
        copies, units, _ = self.weights.shape
        counted = self.step < windows * window
        flat = (self.step[counted] // window) * copies * units + self.source[counted]
        counts = np.bincount(flat, minlength=windows * copies * units).astype(float)
        return counts.reshape(windows, copies, units) / (window * dt)


def run_layer(
    spikes: SpikeEvents,
    weights: ArrayLike,
    bias: ArrayLike,
    neuron: CurrentNeuron,
    rule: LPLSynapse,
    *,
    copies: int = 1,
    lambda_: ArrayLike | None = None,
    phi: ArrayLike | None = None,
    mean_rate: ArrayLike = 0.0,
    sigma2: ArrayLike = 0.0,
    label: str = "spiking layer",
) -> LayerRun:
    """Drive a layer (see `spiking.brian.current.current_layer`) with recorded spikes, plasticity on.

    Args:
        spikes: of copies * N lines.
        weights: (M, N).
        bias: (M,).
        neuron: its model.
        rule: its plasticity; eta = 0 freezes the weights.
        copies: independent realisations, side by side.
        lambda_: (R,), one per copy, instead of the rule's.
        phi: (R,), likewise.
        mean_rate: (M,), where the mean trace starts, in Hz.
        sigma2: (M,), where the variance trace starts, in Hz.
        label: of the progress bar.

    Raises:
        UsageError: a shape does not fit.
    """
    for name, values in (("lambda_", lambda_), ("phi", phi)):
        if values is not None and np.shape(values) != (copies,):
            raise UsageError(f"{name}: must hold one value for each of {copies} copies, got shape {np.shape(values)}")
    with code_for(spikes.steps):
        source = spike_source(spikes)
        layer = current_layer(
            source, weights, bias, neuron, rule, dt=spikes.dt, copies=copies, mean_rate=mean_rate, sigma2=sigma2
        )
        units = layer.shape[1]
        if lambda_ is not None:
            layer.lpl.post.lambda_i = np.repeat(np.asarray(lambda_, dtype=float), units)
        if phi is not None:
            layer.lpl.post.phi_i = np.repeat(np.asarray(phi, dtype=float), units)
        monitor = b2.SpikeMonitor(layer.neurons)
        run_network(b2.Network(source, *layer, monitor), spikes.duration, label=label)
        return LayerRun(
            layer.weights(),
            layer.gradient(),
            np.asarray(monitor.i, dtype=np.int64),
            np.rint(np.asarray(monitor.t / b2.second) / spikes.dt).astype(np.int64),
        )


def spike_source(spikes: SpikeEvents) -> b2.SpikeGeneratorGroup:
    """Recorded spikes as a Brian2 source."""
    times = spikes.step * spikes.dt * b2.second
    return b2.SpikeGeneratorGroup(spikes.lines, spikes.source, times, dt=spikes.dt * b2.second, sorted=True)

"""A layer learns in Brian2: fully connected ones, in both readings, with the symmetric inhibitory rule on request."""

from __future__ import annotations

from dataclasses import replace

import brian2 as b2
import numpy as np

from bridge.coding import frame_spikes
from bridge.config import LearningConfig
from bridge.learning.part import Floats, Levels, Part
from foundation.seeds import numpy_generator
from spiking.brian.conductance import conductance_layer
from spiking.brian.feedforward import run_layer, spike_source
from spiking.brian.running import code_for, run_network
from spiking.parameters import ConductanceNeuron, InhibitoryPlasticity
from spiking.stimuli import SpikeEvents


def in_brian(
    part: Part,
    frames: Floats,
    levels: Levels,
    config: LearningConfig,
    eta: float,
    gain: float,
    codegen: str,
) -> tuple[Floats, Floats]:
    spikes = frame_spikes(
        frames,
        duration=config.frame,
        r_max=config.input_rate,
        dt=config.dt,
        copies=1,
        generator=numpy_generator(config.seed, "learning"),
    )
    spikes = replace(spikes, steps=spikes.steps + 1)  # Brian2's windows end a step later
    weight, bias = part.main.weight, part.layer.bias
    with code_for(spikes.steps, codegen):
        if config.reading == "current":
            run = run_layer(
                spikes,
                weight,
                bias,
                config.neuron,
                config.rule(eta),
                mean_rate=levels[0],
                sigma2=levels[1],
                label=f"learning in spikes, {len(frames)} frames",
            )
            counts = np.bincount(run.source, minlength=len(bias))
            return run.weights[0], counts / spikes.duration
        return _conductance(part, spikes, levels, config, eta, gain)


def _conductance(
    part: Part, spikes: SpikeEvents, levels: Levels, config: LearningConfig, eta: float, gain: float
) -> tuple[Floats, Floats]:
    source = spike_source(spikes)
    layer = conductance_layer(
        source,
        part.main.weight * gain,
        part.layer.bias * config.always_on(gain),
        ConductanceNeuron(),
        config.rule(eta),
        dt=config.dt,
        inhibitory=None if config.inhibition == "fixed" else _symmetric(levels, gain, part),
        mean_rate=levels[0],
        sigma2=levels[1],
    )
    monitor = b2.SpikeMonitor(layer.neurons)
    run_network(b2.Network(source, *layer, monitor), spikes.duration, label="learning in spikes")
    counts = np.bincount(np.asarray(monitor.i), minlength=len(part.layer.bias))
    return layer.weights() / gain, counts / spikes.duration


def _symmetric(levels: Levels, gain: float, part: Part) -> InhibitoryPlasticity:
    """Holds the neurons at the mean rate that is expected of them; weights may grow to ten times the largest."""
    largest = gain * float(np.abs(part.main.weight).max())
    return InhibitoryPlasticity(kappa=float(levels[0].mean()), zeta=1e-3 * largest, w_max=10 * largest)

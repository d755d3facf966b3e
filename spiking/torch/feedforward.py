"""Run a plastic feedforward layer in torch: current-based or conductance-based neurons, samples side by side.

The order of a step is that of the Brian2 layers (`spiking.brian.current`, `spiking.brian.conductance`): membranes,
threshold and reset, then the spikes that arrive, which act from the next step on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from foundation.progress import bar
from spiking.parameters import ConductanceNeuron, CurrentNeuron
from spiking.torch.neuron import NeuronState, conductance_step
from spiking.torch.online import PlasticLayer

Spikes = Callable[[int], Tensor]
"""The input's spikes in a step, (B, ...), 0 or 1."""


@dataclass(frozen=True, eq=False)
class Ran:
    """Spikes of every neuron, (B, ...), and the steps in which they were counted."""

    counts: Tensor
    steps: int

    def rates(self, dt: float) -> Tensor:
        """Mean firing rates in Hz, (B, ...)."""
        return self.counts / (self.steps * dt)


@torch.no_grad()
def run_current(
    layer: PlasticLayer, spikes: Spikes, steps: int, bias: Tensor, neuron: CurrentNeuron, dt: float, *, label: str = ""
) -> Ran:
    """Current-based neurons (see `CurrentNeuron`) on top of a layer, which learns unless its eta is 0.

    Args:
        layer: from input spikes to weighted sums.
        spikes: of the input in each step.
        steps: how many.
        bias: by unit or channel, (M,).
        neuron: its model.
        dt: s.
        label: of a progress bar; none: without.
    """
    decay, gain = math.exp(-dt / neuron.tau_syn), -math.expm1(-dt / neuron.tau_syn) / (neuron.r_max * dt)
    counts = u = g = torch.zeros(())
    for step in bar(range(steps), label=label, unit="step", disable=not label):
        arriving = layer(spikes(step))
        if not step:
            u, g, counts = (torch.zeros_like(arriving) for _ in range(3))
            bias = bias.view(-1, *[1] * (arriving.dim() - 2))
        drive = gain * g + bias - (u if neuron.leaky else 0.0)
        u = u + dt / neuron.tau_mem * drive
        if neuron.u_min is not None:
            u = u.clamp(min=neuron.u_min)
        fired = (u >= neuron.theta).to(u.dtype)
        u = u - neuron.theta * fired
        g = g * decay + arriving
        layer.learn(fired, u)
        counts = counts + fired
    return Ran(counts, steps)


@torch.no_grad()
def run_conductance(
    layer: PlasticLayer,
    inhibition: Callable[[Tensor], Tensor],
    spikes: Spikes,
    steps: int,
    neuron: ConductanceNeuron,
    dt: float,
    *,
    constant: tuple[Tensor, Tensor],
    inhibitory_delay: int = 0,
    label: str = "",
) -> Ran:
    """The reference's neurons (see `ConductanceNeuron`): excitatory synapses learn, inhibitory ones are fixed.

    Args:
        layer: of the excitatory weights; what has weight 0 there is no synapse and stays 0.
        inhibition: from input spikes to inhibitory conductances; fixed.
        spikes: of the input in each step.
        steps: how many.
        neuron: its model.
        dt: s.
        constant: what is added to excitation and to inhibition in every step, each by unit or channel, (M,).
        inhibitory_delay: axonal, in steps, as that of the layer's rule.
        label: of a progress bar; none: without.
    """
    advance, synapses = conductance_step(neuron, dt), layer.weight != 0
    travelling: list[Tensor] = []
    state, counts = None, torch.zeros(())
    for step in bar(range(steps), label=label, unit="step", disable=not label):
        now = spikes(step)
        travelling.append(now)
        excitation = layer(now)
        if state is None:
            rest = torch.zeros_like(excitation)
            state, counts = NeuronState(rest + neuron.u_rest, rest, rest, rest, rest), rest
            each = (-1, *[1] * (rest.dim() - 2))
            more, less = (values.view(each) for values in constant)
        state, fired = advance(state)
        excitation = excitation + more
        inhibited = less
        if len(travelling) > inhibitory_delay:
            inhibited = inhibited + inhibition(travelling.pop(0))
        state = state._replace(g_ampa=state.g_ampa + excitation, g_gaba=state.g_gaba + inhibited)
        layer.learn(fired.to(state.U.dtype), state.U)
        layer.weight.mul_(synapses)
        counts = counts + fired
    return Ran(counts, steps)

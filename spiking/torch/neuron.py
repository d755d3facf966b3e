"""The conductance-based neuron as a pure step function of tensors: state in, state and spikes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from spiking import neuron as declared
from spiking.parameters import ConductanceNeuron
from spiking.torch.code import Code


class NeuronState(NamedTuple):
    """Of conductance-based neurons, tensors of one shape."""

    U: Tensor  # V, membrane potential
    g_ampa: Tensor  # conductances, in units of the leak's
    g_nmda: Tensor
    g_gaba: Tensor
    thr: Tensor  # V, what the last spike added to the threshold


Step = Callable[[NeuronState], tuple[NeuronState, Tensor]]


def neuron_code(neuron: ConductanceNeuron, dt: float) -> dict[str, Code]:
    """Its "step", its "threshold" (which leaves `spiked`) and its "reset", at steps of `dt` (s)."""
    neuron.check(dt)
    ratio = neuron.ampa_to_nmda
    constants = {**vars(neuron), "a_ampa": ratio / (1 + ratio), "a_nmda": 1 / (1 + ratio)}
    texts = {
        "step": declared.CONDUCTANCE_STEP,
        "threshold": f"spiked = {declared.CONDUCTANCE_THRESHOLD}",
        "reset": declared.CONDUCTANCE_RESET,
    }
    return {
        name: Code.folded(text, declared.CONDUCTANCE_VARIABLES, constants, dt, f"_{name}")
        for name, text in texts.items()
    }


def conductance_step(neuron: ConductanceNeuron, dt: float) -> Step:
    """A function that takes neurons one step of `dt` (s) on: their state and who spikes (bool).

    What arrives in the step is to be added to the conductances afterwards.

    >>> rest = NeuronState(*torch.zeros(5, 3, dtype=torch.float64))._replace(U=torch.tensor([-0.07, -0.04, -0.06]))
    >>> conductance_step(ConductanceNeuron(), 1e-4)(rest)[1]
    tensor([False,  True, False])
    """
    code = neuron_code(neuron, dt)
    names = declared.CONDUCTANCE_VARIABLES
    advance = code["step"].function(names, names)
    threshold = code["threshold"].function(names, ("spiked",))
    reset = code["reset"].function((), ("U", "thr"))

    def step(state: NeuronState) -> tuple[NeuronState, Tensor]:
        after = NeuronState(*advance(*state))
        spiked = threshold(*after)[0].bool()
        u_reset, theta_spike = reset()
        U, thr = torch.where(spiked, u_reset, after.U), torch.where(spiked, theta_spike, after.thr)
        return after._replace(U=U, thr=thr), spiked

    return step

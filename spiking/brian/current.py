"""The feedforward layer of a converted rate network: current-based neurons whose signed synapses learn by LPL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from brian2 import NeuronGroup, Synapses, second
from brian2.core.spikesource import SpikeSource
from numpy.typing import ArrayLike, NDArray

from foundation.errors import UsageError
from spiking.brian import equations as eq
from spiking.brian.plasticity import Floats, PlasticProjection, attach_lpl, per_neuron
from spiking.parameters import CurrentNeuron, LPLSynapse, whole_steps


@dataclass(frozen=True)
class CurrentLayer:
    """A feedforward layer of current-based neurons with signed plastic weights, in independent copies.

    Neuron i of copy r is neuron r n_post + i of ``neurons``, and input j of copy r is spike source r n_pre + j.
    Iterate over it to add its objects to a network.
    """

    neurons: NeuronGroup  # u, g, bias
    lpl: PlasticProjection
    shape: tuple[int, int, int]  # copies, n_post, n_pre

    def __iter__(self) -> Iterator[Any]:
        return iter((self.neurons, *self.lpl))

    def weights(self) -> Floats:
        """The weights now, (copies, n_post, n_pre)."""
        return np.array(self.lpl.synapses.w[:]).reshape(self.shape)

    def gradient(self) -> Floats:
        """Weight change per unit of eta since the start, (copies, n_post, n_pre), the unfinished window included."""
        return self.lpl.gradient().reshape(self.shape)


def current_layer(
    source: SpikeSource,
    weights: ArrayLike,
    bias: ArrayLike,
    neuron: CurrentNeuron,
    rule: LPLSynapse,
    *,
    dt: float,
    copies: int = 1,
    mean_rate: ArrayLike = 0.0,
    sigma2: ArrayLike = 0.0,
    name: str = "layer*",
) -> CurrentLayer:
    """A layer that starts as a copy of a rate layer and goes on learning by the spiking LPL rule.

    Copies are independent realisations run side by side, each with its own inputs, and much cheaper so.

    Args:
        source: spike source of copies * n_pre neurons; input j of copy r has index r n_pre + j
        weights: (n_post, n_pre), or (copies, n_post, n_pre)
        bias: (n_post,)
        neuron: its model
        rule: with potentials in units of the threshold, see `LPLSynapse.current`
        dt: s, that of `source`
        copies: number of copies
        mean_rate: Hz, (n_post,) or one number: where the mean trace starts
        sigma2: Hz, the same for the variance
        name: of the neurons, and how the names of all other objects begin, see `spiking.brian.plasticity`
    """
    blocks, biases = _blocks(source, weights, bias, copies)
    n_post = blocks.shape[1]
    neurons = _current_neurons(source, biases, neuron, dt, name)
    pre, post = _block_diagonal(blocks.shape)
    lpl = attach_lpl(
        source,
        neurons,
        rule,
        i=pre,
        j=post,
        w=blocks.ravel(),
        potential="u",
        on_pre=eq.SPIKE_CURRENT,
        dt=dt,
        mean_rate=np.tile(per_neuron("mean_rate", mean_rate, n_post), copies),
        sigma2=np.tile(per_neuron("sigma2", sigma2, n_post), copies),
        name=f"{neurons.name}_lpl",
    )
    return CurrentLayer(neurons, lpl, blocks.shape)


def plain_layer(
    source: SpikeSource,
    weights: ArrayLike,
    bias: ArrayLike,
    neuron: CurrentNeuron,
    axonal_delay: float,
    *,
    dt: float,
    copies: int = 1,
    name: str = "layer*",
) -> tuple[NeuronGroup, Synapses]:
    """The same layer without plasticity: its neurons and its synapses. Arguments as `current_layer`, delay in s."""
    blocks, biases = _blocks(source, weights, bias, copies)
    whole_steps("axonal_delay", axonal_delay, dt)
    neurons = _current_neurons(source, biases, neuron, dt, name)
    synapses = Synapses(
        source,
        neurons,
        "w : 1",
        on_pre=eq.SPIKE_CURRENT,
        delay=axonal_delay * second,
        clock=source.clock,
        name=f"{neurons.name}_synapses",
    )
    pre, post = _block_diagonal(blocks.shape)
    synapses.connect(i=pre, j=post, namespace={})
    synapses.w = blocks.ravel()
    return neurons, synapses


def _blocks(source: SpikeSource, weights: ArrayLike, bias: ArrayLike, copies: int) -> tuple[Floats, Floats]:
    """Weights (copies, n_post, n_pre) and biases (copies * n_post,), checked against the source."""
    blocks, biases = np.asarray(weights, dtype=np.float64), np.asarray(bias, dtype=np.float64)
    if copies < 1:
        raise UsageError(f"copies: must be positive, got {copies}")
    if blocks.ndim not in (2, 3) or (blocks.ndim == 3 and len(blocks) != copies):
        raise UsageError(f"weights: must be (n_post, n_pre) or ({copies}, n_post, n_pre), got {blocks.shape}")
    n_post, n_pre = blocks.shape[-2:]
    if biases.shape != (n_post,):
        raise UsageError(f"bias: must have shape ({n_post},), got {biases.shape}")
    if source.N != copies * n_pre:
        raise UsageError(f"source: must have copies * n_pre = {copies * n_pre} neurons, got {source.N}")
    return np.broadcast_to(blocks, (copies, n_post, n_pre)), np.tile(biases, copies)


def _block_diagonal(shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Input and neuron of every synapse, copy by copy, in the order of weights (copies, n_post, n_pre)."""
    _, n_post, n_pre = shape
    copy, unit, line = np.indices(shape).reshape(3, -1)
    return copy * n_pre + line, copy * n_post + unit


def _current_neurons(source: SpikeSource, biases: Floats, neuron: CurrentNeuron, dt: float, name: str) -> NeuronGroup:
    constants = {
        "tau_mem": neuron.tau_mem * second,
        "tau_syn": neuron.tau_syn * second,
        "theta": neuron.theta,
        "u_min": neuron.u_min,
        "gain": -np.expm1(-dt / neuron.tau_syn) / (neuron.r_max * dt),
    }
    group = NeuronGroup(
        len(biases),
        eq.CURRENT_NEURON,
        threshold=eq.CURRENT_THRESHOLD,
        reset=eq.CURRENT_RESET,
        clock=source.clock,
        namespace=constants,
        name=name,
    )
    step = eq.current_neuron_step(leaky=neuron.leaky, lower=neuron.u_min is not None)
    group.run_regularly(step, clock=source.clock, when="groups")
    group.bias = biases
    return group

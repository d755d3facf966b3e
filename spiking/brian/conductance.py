"""The feedforward layer of a converted network in the reference's terms: conductances, weights split by their sign."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from brian2 import NeuronGroup, Synapses, second
from brian2.core.spikesource import SpikeSource
from numpy.typing import ArrayLike

from foundation.errors import UsageError
from spiking.brian import equations as eq
from spiking.brian.inhibition import PlasticInhibition, attach_inhibitory_plasticity
from spiking.brian.network import conductance_neurons
from spiking.brian.plasticity import Floats, PlasticProjection, attach_lpl, per_neuron
from spiking.parameters import ConductanceNeuron, InhibitoryPlasticity, LPLSynapse


@dataclass(frozen=True)
class ConductanceLayer:
    """A feedforward layer of the reference's neurons; iterate over it to add its objects to a network."""

    neurons: NeuronGroup  # U, g_ampa, g_nmda, g_gaba, thr
    lpl: PlasticProjection  # the excitatory synapses
    inhibitory: PlasticInhibition | Synapses | None
    shape: tuple[int, int]  # n_post, n_pre

    def __iter__(self) -> Iterator[Any]:
        parts = [self.neurons, *self.lpl]
        if isinstance(self.inhibitory, PlasticInhibition):
            parts += [*self.inhibitory]
        elif self.inhibitory is not None:
            parts.append(self.inhibitory)
        return iter(parts)

    def weights(self) -> Floats:
        """Excitatory minus inhibitory weights now, (n_post, n_pre)."""
        found = np.zeros(self.shape)
        synapses = self.lpl.synapses
        found[np.asarray(synapses.j), np.asarray(synapses.i)] = synapses.w[:]
        inhibitory = self.inhibitory.synapses if isinstance(self.inhibitory, PlasticInhibition) else self.inhibitory
        if inhibitory is not None:
            found[np.asarray(inhibitory.j), np.asarray(inhibitory.i)] = -np.asarray(inhibitory.w[:])
        return found


def conductance_layer(
    source: SpikeSource,
    weights: ArrayLike,
    constant: ArrayLike,
    neuron: ConductanceNeuron,
    rule: LPLSynapse,
    *,
    dt: float,
    inhibitory: InhibitoryPlasticity | None = None,
    mean_rate: ArrayLike = 0.0,
    sigma2: ArrayLike = 0.0,
    name: str = "layer*",
) -> ConductanceLayer:
    """A layer whose positive weights are plastic excitatory synapses, its negative ones inhibitory synapses.

    Args:
        source: spike source of n_pre neurons.
        weights: (n_post, n_pre), in units of the leak's conductance; 0: no synapse.
        constant: (n_post,), conductance that is added in every step, to excitation, or where negative to inhibition:
            the rate network's bias.
        neuron: its model.
        rule: of the excitatory synapses, in volt (`LPLSynapse()`).
        dt: s, that of `source`.
        inhibitory: the symmetric rule of the inhibitory synapses; None: they are fixed.
        mean_rate: Hz, (n_post,) or one number: where the mean trace starts.
        sigma2: Hz, the same for the variance.
        name: of the neurons, and how the names of all other objects begin, see `spiking.brian.plasticity`.

    Raises:
        UsageError: a shape does not fit, or no weight is positive.
    """
    signed, more = np.asarray(weights, dtype=np.float64), np.asarray(constant, dtype=np.float64)
    if signed.ndim != 2 or signed.shape[1] != source.N or more.shape != signed.shape[:1]:
        raise UsageError(
            f"weights: must be (n_post, {source.N}), and constant (n_post,), got {signed.shape}, {more.shape}"
        )
    if not (signed > 0).any():
        raise UsageError("weights: none is positive, so no excitatory synapse could learn")
    neurons = conductance_neurons(len(signed), neuron, source.clock, "more : 1\nless : 1\n", name=name)
    neurons.more, neurons.less = np.maximum(more, 0), np.maximum(-more, 0)
    neurons.run_regularly("g_ampa += more\ng_gaba += less", clock=source.clock, when="synapses")
    post, pre = np.nonzero(signed > 0)
    lpl = attach_lpl(
        source,
        neurons,
        rule,
        i=pre,
        j=post,
        w=signed[post, pre],
        potential="U",
        on_pre=eq.SPIKE_AMPA,
        dt=dt,
        mean_rate=per_neuron("mean_rate", mean_rate, len(signed)),
        sigma2=per_neuron("sigma2", sigma2, len(signed)),
        name=f"{neurons.name}_lpl",
    )
    return ConductanceLayer(neurons, lpl, _inhibition(source, neurons, -signed, rule, inhibitory), signed.shape)


def _inhibition(
    source: SpikeSource, neurons: NeuronGroup, weights: Floats, rule: LPLSynapse, learns: InhibitoryPlasticity | None
) -> PlasticInhibition | Synapses | None:
    """Synapses of the positive ones among `weights`, with the axonal delay of the excitatory ones."""
    post, pre = np.nonzero(weights > 0)
    if not len(pre):
        return None
    name = f"{neurons.name}_inhibition"
    if learns is not None:
        w, delay = weights[post, pre], rule.axonal_delay
        return attach_inhibitory_plasticity(
            source, neurons, learns, i=pre, j=post, w=w, on_pre=eq.SPIKE_GABA, delay=delay, name=name
        )
    made = Synapses(
        source, neurons, "w : 1", on_pre=eq.SPIKE_GABA, delay=rule.axonal_delay * second, clock=source.clock, name=name
    )
    made.connect(i=pre, j=post, namespace={})
    made.w = weights[post, pre]
    return made

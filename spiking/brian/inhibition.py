"""Attach the symmetric inhibitory plasticity to a Brian2 network of your own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from brian2 import NeuronGroup, Synapses, second
from brian2.core.spikesource import SpikeSource
from numpy.typing import ArrayLike

from spiking.brian import equations as eq
from spiking.brian.delays import refer, relay
from spiking.brian.plasticity import check_group, indices, initial_weights, unique
from spiking.parameters import InhibitoryPlasticity


@dataclass(frozen=True)
class PlasticInhibition:
    """The Brian2 objects of one plastic inhibitory projection; iterate over it to add them to a network."""

    rule: InhibitoryPlasticity
    synapses: Synapses  # w
    pre: NeuronGroup  # trace y of every inhibitory neuron
    post: NeuronGroup  # trace x of every target neuron
    relays: tuple[Synapses, ...]  # carry spikes to `pre` and `post`

    def __iter__(self) -> Iterator[Any]:
        return iter((self.synapses, self.pre, self.post, *self.relays))


def attach_inhibitory_plasticity(
    source: SpikeSource,
    target: NeuronGroup,
    rule: InhibitoryPlasticity,
    *,
    i: ArrayLike,
    j: ArrayLike,
    w: ArrayLike,
    on_pre: str,
    delay: float = 0.0,
    name: str = "plastic_inhibition*",
) -> PlasticInhibition:
    r"""Plastic synapses from `source` to `target` that learn by `rule`.

    Args:
        source: inhibitory neurons, or the ends of their axons (`spiking.brian.delays.axon`)
        target: the neurons whose rate is to be held
        rule: with the target rate
        i: (n,) index of each synapse's inhibitory neuron
        j: (n,) index of its target neuron
        w: (n,) or one number, initial weights
        on_pre: what an inhibitory spike does, e.g. ``"g_post -= w"``; it acts with the old weight
        delay: s, after which a spike of `source` arrives, acts, and changes the weight
        name: of the synapses, and how the names of all other objects begin, see `spiking.brian.plasticity`

    >>> import numpy as np
    >>> from brian2 import Network, NeuronGroup, PoissonGroup, Hz, ms, mV
    >>> inhibitory = PoissonGroup(20, 20*Hz, dt=0.1*ms)
    >>> mine = NeuronGroup(2, "dv/dt = (-50*mV - v - 20*mV*g)/(20*ms) : volt\ndg/dt = -g/(10*ms) : 1",
    ...                    threshold="v > -52*mV", reset="v = -70*mV", method="euler", dt=0.1*ms)
    >>> mine.v = -70*mV
    >>> pre, post = np.repeat(np.arange(20), 2), np.tile(np.arange(2), 20)
    >>> held = attach_inhibitory_plasticity(inhibitory, mine, InhibitoryPlasticity(kappa=10.0), i=pre, j=post, w=0.1,
    ...                                     on_pre="g_post += w", delay=0.8e-3)
    >>> Network(inhibitory, mine, held).run(0.3*second)
    >>> bool(np.any(held.synapses.w != 0.1))
    True
    """
    clock = target.clock
    check_group("source", source, float(clock.dt))
    check_group("target", target, float(clock.dt))
    rows, columns = indices("i", i, source.N), indices("j", j, target.N)
    weights = initial_weights(w, rows, columns, rule.w_min, rule.w_max)
    constants = {"zeta": rule.zeta, "kappa": rule.kappa / second, "tau": rule.tau * second}
    name = unique(name)
    pre, to_pre = _trace("y", source, constants, clock, delay, f"{name}_inputs")
    post, to_post = _trace("x", target, constants, clock, 0.0, f"{name}_neurons")
    synapses = Synapses(
        source,
        target,
        eq.INHIBITORY,
        on_pre=f"{on_pre}\n{eq.INHIBITORY_ON_PRE}",
        on_post=eq.INHIBITORY_ON_POST,
        delay={"pre": delay * second},
        clock=clock,
        namespace={**constants, "w_min": rule.w_min, "w_max": rule.w_max},
        name=name,
    )
    synapses.pre.order, synapses.post.order = -1, 1
    refer(synapses, "y", pre, "y", "_presynaptic_idx")
    refer(synapses, "x", post, "x", "_postsynaptic_idx")
    synapses.connect(i=rows, j=columns, namespace={})
    synapses.w = weights
    return PlasticInhibition(rule, synapses, pre, post, (to_pre, to_post))


def _trace(
    variable: str, source: SpikeSource, constants: dict[str, Any], clock: Any, delay: float, name: str
) -> tuple[NeuronGroup, Synapses]:
    model = eq.TRACE.format(name=variable)
    group = NeuronGroup(source.N, model, clock=clock, namespace={"tau": constants["tau"]}, name=name)
    code = eq.SPIKE_TRACE.format(name=variable)
    group.run_regularly(code, clock=clock, when=eq.SLOT, order=eq.ORDER["traces"])
    return group, relay(source, group, "s = 1", delay)

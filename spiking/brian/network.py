"""The network of the paper's Fig. 5 as Brian2 objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import brian2 as b2
import numpy as np

from spiking.brian import equations as eq
from spiking.brian.delays import Axon, axon
from spiking.brian.inhibition import PlasticInhibition, attach_inhibitory_plasticity
from spiking.brian.plasticity import PlasticProjection, attach_lpl
from spiking.neuron import CONDUCTANCE_RESET, CONDUCTANCE_STEP, CONDUCTANCE_THRESHOLD
from spiking.paper.network import NetworkConfig, Projection, Wiring
from spiking.parameters import ConductanceNeuron


@dataclass(frozen=True)
class LPLNetwork:
    """The objects of the network; iterate over it to add them to a `brian2.Network`.

    Input spikes enter at the ends of their axons: `source` fires when they arrive. All delays behind it are explicit
    state, so nothing is in flight that the groups' variables do not show.
    """

    source: Any  # (inputs,) whatever spikes
    exc: b2.NeuronGroup  # U, g_ampa, g_nmda, g_gaba, thr
    inh: b2.NeuronGroup | None
    ext: PlasticProjection | b2.Synapses  # input -> exc
    ee: PlasticProjection | None  # exc -> exc
    ie: PlasticInhibition | b2.Synapses | None
    fixed: tuple[b2.Synapses, ...]  # exc -> inh, inh -> inh
    axons: tuple[Axon, ...]

    def __iter__(self) -> Iterator[Any]:
        parts = (self.source, self.exc, self.inh, self.ext, self.ee, self.ie, *self.fixed, *self.axons)
        for part in parts:
            if isinstance(part, (PlasticProjection, PlasticInhibition, Axon)):
                yield from part
            elif part is not None:
                yield part

    def neurons(self) -> dict[str, Any]:
        """The groups that spike."""
        return {"exc": self.exc} if self.inh is None else {"exc": self.exc, "inh": self.inh}

    def groups(self) -> dict[str, Any]:
        """Every group that has state, by a name that stays the same from one build to the next."""
        named: dict[str, Any] = {"exc": self.exc}
        for name, lpl in (("ext", self.ext), ("ee", self.ee)):
            if isinstance(lpl, PlasticProjection):
                named |= {name: lpl.synapses, f"{name}.pre": lpl.pre, f"{name}.post": lpl.post}
                named[f"{name}.memory"] = lpl.memory
        if self.inh is not None:
            named["inh"] = self.inh
        if isinstance(self.ie, PlasticInhibition):
            named |= {"ie": self.ie.synapses, "ie.pre": self.ie.pre, "ie.post": self.ie.post}
        for number, part in enumerate(self.axons):
            named |= {f"axon{number}": part.end, f"axon{number}.memory": part.memory}
        return named


def build_network(source: Any, config: NetworkConfig, wiring: Wiring, *, learning: bool = True) -> LPLNetwork:
    """The network around `source`, whose spikes are those that arrive, at the config's dt.

    Without `learning` its input synapses have weights and nothing else: what plasticity costs is measured against it.
    """
    clock = source.clock
    delay = config.rule.steps(config.dt).axonal_delay
    exc = conductance_neurons(config.exc, config.neuron, clock)
    exc.U = wiring.U * b2.volt
    ext = _plastic(source, exc, wiring.ext, config) if learning else _fixed(source, exc, wiring.ext, eq.SPIKE_AMPA)
    if config.inhibition == "none":
        if not wiring.ee.pre.size:
            return LPLNetwork(source, exc, None, ext, None, None, (), ())
        end = axon(exc, delay)
        return LPLNetwork(source, exc, None, ext, _plastic(end.end, exc, wiring.ee, config), None, (), (end,))
    inh = conductance_neurons(config.inh, config.neuron, clock)
    exc_axon, inh_axon = axon(exc, delay), axon(inh, delay)
    ee = _plastic(exc_axon.end, exc, wiring.ee, config) if wiring.ee.pre.size else None
    fixed = [
        _fixed(exc_axon.end, inh, wiring.ei, eq.SPIKE_AMPA),
        _fixed(inh_axon.end, inh, wiring.ii, eq.SPIKE_GABA),
    ]
    ie = None
    if wiring.ie.pre.size:
        if config.inhibition == "fixed":
            ie = _fixed(inh_axon.end, exc, wiring.ie, eq.SPIKE_GABA)
        else:
            pre, post, w = wiring.ie.pre, wiring.ie.post, wiring.ie.w
            ie = attach_inhibitory_plasticity(
                inh_axon.end, exc, config.inhibitory, i=pre, j=post, w=w, on_pre=eq.SPIKE_GABA
            )
    return LPLNetwork(
        source, exc, inh, ext, ee, ie, tuple(part for part in fixed if part is not None), (exc_axon, inh_axon)
    )


def conductance_neurons(
    number: int, neuron: ConductanceNeuron, clock: b2.Clock, more: str = "", name: str = "neurons*"
) -> b2.NeuronGroup:
    """Neurons at rest, with ``U`` (volt), ``g_ampa``, ``g_nmda``, ``g_gaba``, ``thr`` (volt), and `more` equations."""
    neuron.check(float(clock.dt))
    constants = {
        name: value * (b2.second if name.startswith("tau_") else b2.volt)
        for name, value in vars(neuron).items()
        if name != "ampa_to_nmda"
    }
    ratio = neuron.ampa_to_nmda
    group = b2.NeuronGroup(
        number,
        eq.CONDUCTANCE_NEURON + more,
        threshold=CONDUCTANCE_THRESHOLD,
        reset=CONDUCTANCE_RESET,
        clock=clock,
        namespace={**constants, "a_ampa": ratio / (1 + ratio), "a_nmda": 1 / (1 + ratio)},
        name=name,
    )
    group.run_regularly(CONDUCTANCE_STEP, clock=clock, when="groups")
    group.U = neuron.u_rest * b2.volt
    return group


def _plastic(source: Any, exc: b2.NeuronGroup, synapses: Projection, config: NetworkConfig) -> PlasticProjection:
    return attach_lpl(
        source,
        exc,
        config.rule,
        i=synapses.pre,
        j=synapses.post,
        w=synapses.w,
        potential="U",
        on_pre=eq.SPIKE_AMPA,
        dt=config.dt,
        arrived=True,
    )


def _fixed(source: Any, target: b2.NeuronGroup, synapses: Projection, on_pre: str) -> b2.Synapses | None:
    if not synapses.pre.size:
        return None
    made = b2.Synapses(source, target, "w : 1 (constant)", on_pre=on_pre, clock=source.clock)
    made.connect(i=synapses.pre, j=synapses.post, namespace={})
    made.w = np.asarray(synapses.w)
    return made

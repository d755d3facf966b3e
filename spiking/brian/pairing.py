"""The pairing protocol of the paper's Fig. 6 in Brian2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import brian2 as b2
import numpy as np

from foundation.errors import UsageError
from foundation.progress import bar
from foundation.stopping import stop_requests
from spiking.brian import equations as eq
from spiking.brian.network import conductance_neurons
from spiking.brian.network_simulator import choose
from spiking.brian.plasticity import PlasticProjection, attach_lpl
from spiking.brian.simulator import Probe, RuntimeSimulator, Simulator, initial_state
from spiking.brian.standalone import StandaloneSimulator
from spiking.pairing import RELEASE, U_AFTER, U_BETWEEN, U_PAIRED, PairingProtocol
from spiking.parameters import ConductanceNeuron
from spiking.recording import PairingCurve
from spiking.simulation import Piece
from spiking.stimuli import SpikeEvents

# What holds the potential at the END of a step: integration and threshold of the next start from there.
CLAMP_STATE = """
paired : 1     # 1 in the two steps that make the neuron spike
release : 1    # s, when the clamp begins to fall to u_after
"""
CLAMP = """
U = u_between + paired*(u_paired - u_between) + clip((t/second - release)/fall, 0, 1)*(u_after - u_between)
paired = 0
"""


@dataclass(frozen=True)
class PairingModel:
    """One clamped neuron and its plastic synapses; a `spiking.brian.simulator.Model`.

    The source's last line is no input: it fires in the steps at whose end the clamp makes the neuron spike.
    """

    source: Any
    neuron: b2.NeuronGroup
    lpl: PlasticProjection
    force: b2.Synapses

    def __iter__(self) -> Iterator[Any]:
        return iter((self.source, self.neuron, *self.lpl, self.force))

    def groups(self) -> dict[str, Any]:
        """Every group that has state."""
        lpl = self.lpl
        return {
            "neuron": self.neuron,
            "ext": lpl.synapses,
            "ext.pre": lpl.pre,
            "ext.post": lpl.post,
            "ext.memory": lpl.memory,
        }

    def neurons(self) -> dict[str, Any]:
        """What spikes."""
        return {"neuron": self.neuron}


def build_pairing(source: Any, protocol: PairingProtocol) -> PairingModel:
    """The model around a source of protocol.inputs + 1 lines, whose spikes are those that arrive."""
    clock, inputs = source.clock, protocol.inputs
    neuron = conductance_neurons(1, ConductanceNeuron(), clock, CLAMP_STATE)
    levels = {"u_paired": U_PAIRED, "u_between": U_BETWEEN, "u_after": U_AFTER}
    neuron.namespace.update({name: value * b2.volt for name, value in levels.items()})
    neuron.namespace["fall"] = RELEASE[1] - RELEASE[0]
    neuron.run_regularly(CLAMP, clock=clock, when="end", order=-1)
    lpl = attach_lpl(
        source,
        neuron,
        protocol.rule,
        i=np.arange(inputs),
        j=np.zeros(inputs, int),
        w=protocol.w_0,
        potential="U",
        on_pre=eq.SPIKE_AMPA,
        dt=protocol.dt,
        mean_rate=protocol.initial_mean,
        sigma2=protocol.initial_sigma2,
        arrived=True,
    )
    force = b2.Synapses(source, neuron, on_pre="paired_post = 1", clock=clock)
    force.connect(i=[inputs], j=[0], namespace={})
    return PairingModel(source, neuron, lpl, force)


def arrivals(protocol: PairingProtocol) -> SpikeEvents:
    """The protocol's input spikes as they arrive, and the clamp's steps as one more line."""
    fired = protocol.input_spikes()
    forced = (protocol.pairing_steps[:, None] + np.array([-1, 0])).ravel()
    step = np.concatenate([fired.step + protocol.rule.steps(protocol.dt).axonal_delay, forced])
    source = np.concatenate([fired.source, np.full(forced.size, protocol.inputs)])
    order = np.lexsort((source, step))
    return SpikeEvents(source[order], step[order], protocol.inputs + 1, protocol.dt, protocol.steps)


def run_pairings(
    protocols: Sequence[PairingProtocol], codegen: str = "auto", *, label: str | None = "pairing"
) -> list[PairingCurve]:
    """Run protocols that differ in frequency, intervals, and initial mean and variance alone; one curve each.

    Args:
        protocols: of one rule, one number of inputs, one dt: they share one compiled program.
        codegen: as `spiking.brian.network_simulator.BrianNetwork`, or "auto".
        label: of the progress bar; None for none.
    """
    if any((p.rule, p.inputs, p.dt) != (protocols[0].rule, protocols[0].inputs, protocols[0].dt) for p in protocols):
        raise UsageError("protocols: must agree in everything but schedule and initial mean and variance")
    total = sum(protocol.steps * protocol.dt for protocol in protocols)
    curves = []
    with (
        bar(label=label or "", total=round(total, 1), unit=" simulated s", disable=label is None) as progress,
        stop_requests() as stopped,
        simulator_of(protocols[0], choose(codegen, total)[0]) as simulator,
    ):
        for protocol in protocols:
            if stopped():
                raise KeyboardInterrupt
            piece = run_pairing(protocol, simulator)
            curves.append(protocol.curve(piece.state["ext/w"], piece.spikes["neuron"][0].size))
            progress.update(round(protocol.steps * protocol.dt, 1))
    return curves


def simulator_of(protocol: PairingProtocol, codegen: str, probes: dict[str, Probe] | None = None) -> Simulator:
    """What can run this protocol, and those that differ in their schedule and initial traces alone."""
    build = partial(build_pairing, protocol=protocol)
    if codegen == "standalone":
        return StandaloneSimulator(build, arrivals(protocol).source.size, probes)
    return RuntimeSimulator(build, codegen, probes)


def run_pairing(protocol: PairingProtocol, simulator: Simulator) -> Piece:
    """The whole protocol in one piece."""
    state = initial_state(partial(build_pairing, protocol=protocol), protocol.inputs + 1, protocol.dt)
    state["neuron/release"] = np.full(1, protocol.pairing_steps[-1] * protocol.dt + RELEASE[0])
    return simulator.advance(state, arrivals(protocol))

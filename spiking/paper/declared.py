"""The network of Fig. 5 and the pairing protocol of Fig. 6 in the library's own terms."""

from __future__ import annotations

from dataclasses import dataclass, replace

from spiking.network.connectivity import AllToAll, Pairs
from spiking.network.models import conductance_neuron
from spiking.network.network import Network
from spiking.network.parts import Population
from spiking.network.plasticity import Rule, symmetric_inhibition
from spiking.network.sources import SpikeInput, SpikeSource, ValueInput
from spiking.pairing import PairingProtocol
from spiking.paper.network import InputSpikes, NetworkConfig, Projection, Wiring
from spiking.rule import lpl
from spiking.stimuli import SpikeEvents


@dataclass(frozen=True)
class PaperInput:
    """The input of a run, see `InputSpikes`, as a source."""

    of: InputSpikes

    def check(self, size: int, dt: float) -> None:
        """It was checked when it was made."""

    def fired(self, first: int, steps: int, size: int, dt: float, seed: int) -> SpikeEvents:
        """See `spiking.network.sources.SpikeSource`."""
        return self.of.fired(first, steps)


def declare(config: NetworkConfig, wiring: Wiring, source: SpikeSource, lines: int) -> Network:
    """The network of a config, around a source of `lines` inputs.

    Populations: inputs, exc, inh (unless there is no inhibition); projections: ext, ei, ii, ie, ee, those that exist.
    """
    net = Network(config.dt, config.seed)
    inputs = net.population("inputs", source, lines)
    exc = net.population("exc", conductance_neuron(config.neuron), config.exc, start={"U": wiring.U})
    delay = config.rule.axonal_delay

    def connect(
        name: str, one: Population, other: Population, of: Projection, receptor: str, rule: Rule | None = None
    ) -> None:
        if of.pre.size:
            pairs = Pairs(of.pre, of.post, of.w)
            net.connect(one, other, pairs, receptor=receptor, delay=delay, plasticity=rule, name=name)

    learning = lpl(config.rule, config.dt)
    connect("ext", inputs, exc, wiring.ext, "ampa", learning)
    connect("ee", exc, exc, wiring.ee, "ampa", learning)
    if config.inhibition != "none":
        inh = net.population("inh", conductance_neuron(config.neuron), config.inh)
        connect("ei", exc, inh, wiring.ei, "ampa")
        connect("ii", inh, inh, wiring.ii, "gaba")
        plastic = symmetric_inhibition(config.inhibitory) if config.inhibition == "plastic" else None
        connect("ie", inh, exc, wiring.ie, "gaba", plastic)
    return net


def declare_pairing(protocol: PairingProtocol) -> Network:
    """The pairing protocol: a neuron whose potential is clamped at the end of every step, and its plastic inputs.

    Populations: inputs, neuron; the projection is ext. It lasts `protocol.steps` steps.
    """
    net = Network(protocol.dt)
    spikes = protocol.input_spikes()
    inputs = net.population("inputs", SpikeInput(spikes.step * protocol.dt, spikes.source), protocol.inputs)
    clamped = replace(conductance_neuron(), inputs=("clamp",), end="U = clamp")
    neuron = net.population("neuron", clamped, 1)
    net.input("neuron.clamp", ValueInput(protocol.clamp()[:, None], every=protocol.dt))
    net.connect(
        inputs,
        neuron,
        AllToAll(protocol.w_0),
        receptor="ampa",
        plasticity=lpl(protocol.rule, protocol.dt),
        start={"tr_mean": protocol.initial_mean * protocol.rule.tau_mean, "sigma2": protocol.initial_sigma2},
        name="ext",
    )
    return net

"""One plastic synapse between neurons that spike when they are told to."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from spiking.network import stepper
from spiking.network.connectivity import OneToOne
from spiking.network.models import Drive, NeuronModel
from spiking.network.network import Network
from spiking.network.parts import Floats
from spiking.network.plasticity import Rule
from spiking.network.sources import SpikeInput
from spiking.network.state import Recorded

TOLD = NeuronModel(
    "spikes when told to",
    {"v": 0.0},
    "v = told",
    "v > 0.5",
    receptors={"told": Drive(), "learned": Drive()},
    potential="v",
)
Trains = Sequence[ArrayLike]
"""Times in s, one list for each synapse."""


def spike_input(trains: Trains) -> SpikeInput:
    times = [np.asarray(each, np.float64) for each in trains]
    return SpikeInput(np.concatenate(times), np.concatenate([np.full(each.size, k) for k, each in enumerate(times)]))


def network(
    rule: Rule,
    pre: Trains,
    post: Trains,
    *,
    dt: float,
    weight: float,
    delay: float = 0.0,
    start: Mapping[str, ArrayLike] | None = None,
) -> Network:
    """Synapse k, named ``learned``, leads from a source that spikes at pre[k] to a neuron that spikes at post[k]."""
    number = len(pre)
    assert len(post) == number
    net = Network(dt)
    net.population("pre", spike_input(pre), number)
    net.population("told", spike_input(post), number)
    net.population("post", TOLD, number)
    net.connect("told", "post", OneToOne(), receptor="told")
    net.connect(
        *("pre", "post", OneToOne(weight)),
        receptor="learned",
        delay=delay,
        plasticity=rule,
        start=start,
        name="learned",
    )
    return net


def weights(net: Network, duration: float) -> Floats:
    """Of every synapse at the end of every step, (steps, synapses)."""
    record = [Recorded("learned", ("w",))]
    return stepper.run(net, round(duration / net.dt), record=record).recorded["learned/w"]

"""What a simulation leaves behind, whichever program ran it: spikes, weights and rates as plain arrays in seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from foundation.text import one_line


@dataclass(frozen=True, eq=False)
class Spikes:
    """The spikes of a group of neurons, in the order of their times.

    Attributes:
        time: (n,), s, ascending; of the simulation's own clock, priming included.
        unit: (n,), which neuron fired, 0 to size - 1.
        size: number of neurons, silent ones too.
    """

    time: NDArray[np.float64]
    unit: NDArray[np.int64]
    size: int


@dataclass(frozen=True, eq=False)
class NetworkRecord:
    """One run of the LPL network (Halvagal & Zenke 2023, Fig. 5), as far as its analyses need it.

    Two clocks: `start`, `end`, the spikes and `rate_time` count from the first step of the simulation; `weight_time`
    counts from the start of training.

    Attributes:
        label: of the condition, as a figure names it: "LPL", "Pred. off", "Hebb off", "Inhib. off", "Inhib. fixed".
        start: s, absolute; spikes were kept from here
        end: s, absolute; to here, the end of the run.
        exc: spikes of the excitatory neurons.
        inh: spikes of the inhibitory neurons; of size 0 where there are none.
        inputs: spikes of the input neurons.
        population: (inputs,), to which population each input belongs, 0 to P - 1. The paper's five are P0 (constant
            rate), P1, P1ctl (P1 shuffled in time), P2, P2ctl.
        pre: (synapses,), the input at which each plastic synapse starts.
        post: (synapses,), the excitatory neuron at which it ends.
        weights: (snapshots, synapses), in units of the leak conductance.
        weight_time: (snapshots,), s since the start of training, the end of the run included.
        rate_time: (bins,), s, absolute, the end of each bin.
        rates: mean firing rate per neuron in each bin, Hz: "exc" and "inh" (bins,), "inputs" (bins, populations).
        names: of the populations; None: they were not kept, and are the paper's if there are five of them.
        settings: of the network, but for its seed: networks that share them are repetitions of one another.
    """

    label: str
    start: float
    end: float
    exc: Spikes
    inh: Spikes
    inputs: Spikes
    population: NDArray[np.int64]
    pre: NDArray[np.int64]
    post: NDArray[np.int64]
    weights: NDArray[np.float64]
    weight_time: NDArray[np.float64]
    rate_time: NDArray[np.float64]
    rates: dict[str, NDArray[np.float64]]
    names: tuple[str, ...] | None = None
    settings: Mapping[str, object] = field(default_factory=dict)


def distinguished(records: Sequence[NetworkRecord]) -> list[NetworkRecord]:
    """The records, labelled so that those of equal labels differ in their seeds alone.

    What else they differ in joins the label: "LPL, eta 0.02".
    """
    named = []
    for record in records:
        others = [other.settings for other in records if other.label == record.label]
        keys = {key for settings in others for key in settings.keys() | record.settings.keys()}
        differ = sorted(key for key in keys if len({repr(settings.get(key)) for settings in others}) > 1)
        parts = [record.label, *(f"{key} {record.settings.get(key)}" for key in differ)]
        named.append(replace(record, label=one_line(", ".join(parts), 1000)))  # settings are texts of a file
    return named


@dataclass(frozen=True, eq=False)
class PairingCurve:
    """One run of the pairing protocol (Halvagal & Zenke 2023, Fig. 6): how pairing moves a weight, by spike timing.

    Attributes:
        frequency: Hz, of the pairings.
        initial_mean: Hz, the postsynaptic mean rate that the neuron starts with.
        initial_variance: the postsynaptic variance that it starts with.
        max_interval: s, largest distance between the two spikes of a pair.
        variant: reading of the learning rule, "as_simulated" or "as_reported".
        delta_t: (synapses,), s, postsynaptic minus presynaptic spike time; positive: pre before post.
        relative_delta_w: (synapses,), (w - w0) / w0 after all pairings.
        postsynaptic_spikes: how many there were, with those that the protocol did not ask for.
    """

    frequency: float
    initial_mean: float
    initial_variance: float
    max_interval: float
    variant: str
    delta_t: NDArray[np.float64]
    relative_delta_w: NDArray[np.float64]
    postsynaptic_spikes: int

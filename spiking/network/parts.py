"""The parts of a network: populations, projections, and rules at work."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.seeds import numpy_generator
from spiking.network.connectivity import Connectivity
from spiking.network.models import Drive, Jump, NeuronModel
from spiking.network.plasticity import Rule, SpikeTriggeredRule
from spiking.network.sources import PoissonInput, Source, SpikeInput, ValueInput
from spiking.rule import Cascade, Exponential, Filter, IntervalCode, WeightUpdate
from spiking.synapses import Synapses

Floats = NDArray[np.float64]
Array = NDArray[Any]
State = dict[str, Array]
"""All that changes while a network runs, by name: <population>/<variable>, <projection>/w, ..., and ``step``."""

SPIKES = "spikes"
SOURCES: dict[type, str] = {PoissonInput: "Poisson input", SpikeInput: "given spikes", ValueInput: "given values"}


@dataclass(frozen=True, eq=False)
class Population:
    """Units of one kind.

    Attributes:
        name: of the population.
        shape: of its units: (N,) or, for maps, (C, H, W).
        model: a neuron model, or a source.
        parameters: of the model, where they differ from its defaults: one number, or one for each unit.
        start: of the model's variables, the same.
    """

    name: str
    shape: tuple[int, ...]
    model: NeuronModel | Source
    parameters: Mapping[str, Floats] = field(default_factory=dict)
    start: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of units."""
        return math.prod(self.shape)

    @property
    def neuron(self) -> NeuronModel | None:
        """Its neuron model; None for a source."""
        return self.model if isinstance(self.model, NeuronModel) else None

    @property
    def spikes(self) -> bool:
        """Whether its units may spike."""
        return self.neuron.spikes if self.neuron else not isinstance(self.model, ValueInput)

    def values(self) -> dict[str, Any]:
        """The model's parameters, each one number or (N,)."""
        assert self.neuron is not None
        return {**self.neuron.parameters, **self.parameters}


@dataclass(frozen=True, eq=False)
class Projection:
    """Synapses from one population to another.

    Attributes:
        name: "source -> target", or the name that was given.
        source: population.
        target: population.
        connectivity: who is connected with whom.
        receptor: of the target's model, or "<projection>.<input>", an input of the rule of a plastic projection.
        delay: steps, one number or (S,), one for each synapse.
        sends: "spikes", or a variable of the source's model that is sent in every step.
        rule: of its plasticity; None: the weights are fixed.
        start: of the rule's variables: of the synapses (S,), of the targets (N,), or one number.
        seed: of its draws.
    """

    name: str
    source: Population
    target: Population
    connectivity: Connectivity
    receptor: str
    delay: Any
    sends: str = SPIKES
    rule: Rule | None = None
    start: Mapping[str, Floats] = field(default_factory=dict)
    seed: int = 0

    @cached_property
    def synapses(self) -> Synapses:
        """Made when they are first needed, ordered by source and then by target."""
        rng = numpy_generator(self.seed, "synapses", self.name)
        return self.connectivity.make(self.source.shape, self.target.shape, rng)

    @property
    def expected(self) -> float:
        """How many synapses there will be."""
        return self.connectivity.count(self.source.shape, self.target.shape)

    @property
    def into(self) -> Drive | Jump | None:
        """The receptor; None for an input of a rule."""
        return self.target.neuron.receptors.get(self.receptor) if self.target.neuron else None

    @property
    def longest(self) -> int:
        """The longest delay, in steps."""
        return int(np.max(self.delay, initial=0))

    @property
    def intervals(self) -> IntervalCode | None:
        """What happens to its weights at intervals."""
        if isinstance(self.rule, SpikeTriggeredRule):
            return self.rule.at_intervals
        update = self.rule.update if self.rule else None
        return update.code() if isinstance(update, WeightUpdate) else update


@dataclass(frozen=True, eq=False)
class Learner:
    """A rule at work in a population: what its plastic projections share.

    Attributes:
        name: of its state, "<population>.rule<k>".
        population: of the targets.
        rule: the rule.
        projections: those that learn by it.
        start: of its variables of the targets.
    """

    name: str
    population: Population
    rule: Rule
    projections: list[Projection]
    start: Mapping[str, Floats]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Values that come from outside, or by a projection."""
        return self.rule.inputs if isinstance(self.rule, SpikeTriggeredRule) else self.rule.signal.inputs


def filter_state(name: str, each: Filter | None) -> tuple[str, ...]:
    """The variables of a filter: of two orders, of one, or none."""
    if isinstance(each, Cascade):
        return (f"{name}_rise", name)
    return (name,) if isinstance(each, Exponential) else ()

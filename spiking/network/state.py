"""The state of a network, by name, and what a run gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from foundation.errors import UsageError
from spiking.network.network import Network
from spiking.network.parts import Array, Learner, Projection, State, filter_state
from spiking.network.plasticity import SpikeTriggeredRule


@dataclass(frozen=True)
class Recorded:
    """Record variables at the end of every `every`-th step.

    Attributes:
        owner: population, projection or rule, by name; what stands before the "/" in the state.
        variables: of it, e.g. ("v",) or ("w",); of a three-factor rule also "err" and "factor<k>", as they were in the
            step.
        every: steps.
        index: units or synapses; None: all.
    """

    owner: str
    variables: tuple[str, ...]
    every: int = 1
    index: tuple[int, ...] | None = None

    def names(self) -> list[str]:
        """As they stand in a result."""
        return [f"{self.owner}/{variable}" for variable in self.variables]


@dataclass
class Result:
    """What happened in some steps.

    Attributes:
        state: after them.
        spikes: by population: (S, 3) integers: step, sample, unit, counted from the first step of the network.
        recorded: by "<owner>/<variable>": (times, ...), a row for each step that was recorded.
    """

    state: State
    spikes: dict[str, Array] = field(default_factory=dict)
    recorded: dict[str, Array] = field(default_factory=dict)


def initial_state(network: Network, samples: int = 1) -> State:
    """The state before step 0, for a batch of that many samples; arrays (samples, N), of synapses (S,) or (samples, S).

    Names: ``<population>/<variable>``, ``/wait`` (steps for which a neuron is still refractory), ``/past_spikes`` and
    ``/past_<variable>`` (newest first); ``<rule>/<variable>``, ``/tr_err``, ``/tr_err_flt``, ``/past_s``,
    ``/past_factor<k>``; ``<projection>/w``, ``/el_sum``, and for term k ``/psp<k>``, ``/el<k>``; ``step``.
    """
    state: State = {"step": np.zeros((), np.int64)}
    for p in network.populations.values():
        sent = {each.sends for each in network.projections.values() if each.source is p}
        for what in sent:
            if p.neuron and (longest := network.past(p, what)):
                state[f"{p.name}/past_{what}"] = np.zeros((longest, samples, p.size))
        if p.neuron is None:
            continue
        for name, value in p.neuron.variables.items():
            state[f"{p.name}/{name}"] = np.zeros((samples, p.size)) + p.start.get(name, value)
        if p.neuron.refractory:
            state[f"{p.name}/wait"] = np.zeros((samples, p.size))
    for learner in network.learners():
        state |= _of_learner(network, learner, samples)
    for projection in network.projections.values():
        state[f"{projection.name}/w"] = np.array(projection.start.get("w", projection.synapses.weight)) + np.zeros(
            projection.synapses.pre.size
        )
        if projection.rule:
            state |= _of_synapses(network, projection, samples)
    return state


def _of_learner(network: Network, learner: Learner, samples: int) -> State:
    rule, zeros = learner.rule, np.zeros((samples, learner.population.size))
    if isinstance(rule, SpikeTriggeredRule):
        return {f"{learner.name}/{v}": zeros + learner.start.get(v, 0.0) for v in rule.post_variables}
    found = {f"{learner.name}/{v}": zeros + learner.start.get(v, 0.0) for v in rule.signal.variables}
    if rule.signal.filter:
        found |= {f"{learner.name}/{v}": zeros.copy() for v in ("tr_err", "tr_err_flt")}
    steps = rule.steps(network.dt)
    if longest := max(steps.delays.values(), default=0):
        found[f"{learner.name}/past_s"] = np.zeros((longest, *zeros.shape))
    for k, term in enumerate(rule.every_term()):
        if term.presynaptic and steps.alignment:
            found[f"{learner.name}/past_factor{k}"] = np.zeros((steps.alignment, *zeros.shape))
    return found


def _of_synapses(network: Network, projection: Projection, samples: int) -> State:
    rule, name, number = projection.rule, projection.name, projection.synapses.pre.size
    intervals = projection.intervals
    own = dict(intervals.variables) if intervals else {}
    pre, synapses = np.zeros((samples, projection.source.size)), np.zeros((samples, number))
    if isinstance(rule, SpikeTriggeredRule):
        own |= rule.variables
        found = {f"{name}/{v}": pre.copy() for v in rule.pre_variables}
    else:
        assert rule is not None
        found = {f"{name}/el_sum": synapses.copy()}
        alignment = rule.steps(network.dt).alignment
        for k, term in enumerate(rule.every_term()):
            found |= {f"{name}/{v}": pre.copy() for v in filter_state(f"psp{k}", term.presynaptic)}
            found |= {f"{name}/{v}": synapses.copy() for v in filter_state(f"el{k}", term.eligibility)}
            if term.presynaptic and alignment:
                found[f"{name}/past_psp{k}"] = np.zeros((alignment, *pre.shape))
    return found | {f"{name}/{v}": np.zeros(number) + projection.start.get(v, value) for v, value in own.items()}


def samples_of(network: Network, state: State) -> int:
    neurons = [p for p in network.populations.values() if p.neuron and p.neuron.variables]
    if not neurons:
        return 1
    assert neurons[0].neuron is not None
    name = f"{neurons[0].name}/{next(iter(neurons[0].neuron.variables))}"
    return len(state[name]) if name in state and np.ndim(state[name]) == 2 else 1


def check_state(state: State, expected: State) -> None:
    """Make sure that a state is one of this network. Raises `UsageError`, naming the variable."""
    for name in sorted(state.keys() ^ expected.keys()):
        raise UsageError(f"state: {name} is {'missing' if name in expected else 'unknown'}")
    for name, value in expected.items():
        if np.shape(state[name]) != value.shape:
            raise UsageError(f"state: {name} must have the shape {value.shape}, has {np.shape(state[name])}")


def check_record(record: Sequence[Recorded]) -> None:
    """Make sure that nothing is recorded twice, or never. Raises `UsageError`."""
    seen: set[str] = set()
    for each in record:
        if each.every < 1:
            raise UsageError(f"record: every must be at least 1 step, got {each.every}")
        for name in each.names():
            if name in seen:
                raise UsageError(f"record: {name} stands there twice")
            seen.add(name)

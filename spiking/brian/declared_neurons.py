"""Populations of a declared network as Brian2 objects: neurons, values, sources, and what reaches them.

All quantities are plain numbers, and names of a model or a rule mean what they were declared to mean: every one gets
a prefix, ``v_`` for a neuron model's and ``r<k>_`` for a rule's. The targets' side of a rule is part of their group.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import brian2 as b2
import numpy as np
from brian2 import second

from foundation.errors import UsageError
from spiking.brian import equations as eq
from spiking.brian.delays import memory_cells, remember_spikes
from spiking.brian.rounding import single
from spiking.code import names_in, renamed
from spiking.network.models import Drive, Jump
from spiking.network.network import Network
from spiking.network.parts import SPIKES, Array, Learner, Population, Projection
from spiking.network.plasticity import SpikeTriggeredRule
from spiking.network.sources import ValueInput
from spiking.network.state import Recorded
from spiking.parameters import whole_steps
from spiking.rule import ThreeFactorRule
from spiking.stimuli import SpikeEvents

SLOT = eq.SLOT
ORDER = {
    "values": -20, "inputs": -10, "write": 0, "error": 1, "eligibility": 20, "sums": 25, "update": 30, "on_pre": 40,
    "on_post": 50, "step": 60, "summed": 65, "intervals": 70, "remember": 80, "traces": 90,
}  # fmt: skip
"""Of what happens in the slot after the resets."""

ENDS = ("from_j : integer (constant)", "to_i : integer (constant)")
"""The ends of a synapse once more, as 64-bit integers: numpy gathers faster by these."""

SHIFT = "shift : second (shared)"
"""By how much Brian2's time is behind that of the network."""

NIL = "nil : 1 (constant)"
"""0, one for each neuron or synapse."""

Place = tuple[Any, str, Any]
"""Where a variable of the state is kept: object, its variable, and which of its elements (or all, None)."""


@dataclass
class _Memory:
    """The ring of what a population spiked."""

    group: Any
    length: int
    size: int


@dataclass
class Neurons:
    """The objects of a network's populations for steps first, ..., first + steps - 1.

    Attributes:
        objects: for a `brian2.Network`.
        places: where the variables of the state are kept, by name.
    """

    network: Network
    first: int
    steps: int
    frozen: Sequence[str] = ()
    objects: list[Any] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.frozen:
            if name not in self.network.projections or self.network.projections[name].rule is None:
                raise UsageError(f"frozen: there is no plastic projection {name!r}")
        self.clock = b2.Clock(self.network.dt * second, name="steps*")
        self.passing: dict[str, Place] = {}  # what a rule works out in a step: no state, but it may be recorded
        self.record: tuple[Recorded, ...] = ()
        self.groups: dict[str, Any] = {}  # neurons and values, by population
        self.memories: dict[str, _Memory] = {}
        self._all = list(self.network.projections.values())
        self.shifted: list[Any] = []  # groups whose values from outside depend on the time
        self.generators: dict[tuple[str, int], Any] = {}
        self._late: dict[str, set[int]] = {}
        self._rank = {p.name: rank for rank, p in enumerate(self.network.order())}
        self._check()
        for learner in self.network.learners():
            if isinstance(learner.rule, ThreeFactorRule):
                late = self._late.setdefault(learner.population.name, set())
                late |= {d for d in learner.rule.steps(self.network.dt).delays.values() if d}
        for p in self.network.projections.values():
            if p.source.neuron and p.sends == SPIKES:
                self._late.setdefault(p.source.name, set()).update(int(d) for d in np.unique(p.delay) if d)
        for population in self.network.order():
            if isinstance(population.model, ValueInput):
                self._values(population)
            elif population.neuron:
                self._neurons(population)

    def _check(self) -> None:
        """Refuse what Brian2 cannot do."""
        for p in self._all:
            where, values = f"projection {p.name}: Brian2", isinstance(p.source.model, ValueInput)
            jumps, sends = _jumps(self._all, p.source), p.sends != SPIKES
            late = np.any(p.delay) and (jumps or bool(p.source.neuron and p.source.neuron.end))
            beside = [q for q in self._all if q.target is p.target and q.receptor == p.receptor and q is not p]
            for wrong, what in (
                (largest(p) and (np.any(p.delay) or not p.source.neuron), "the maximum of what neurons send at once"),
                (largest(p) and p.rule, "the maximum over synapses that do not learn"),
                (largest(p) and beside, "the maximum over one projection"),
                (sends and np.ndim(p.delay), "variables that are sent with one delay"),
                ((sends or values) and isinstance(p.into, Jump), "values that are sent to a drive"),
                (sends and late, "variables that are sent late by neurons that take drives and do nothing at the end"),
                (sends and p.source.spikes and not np.any(p.delay) and jumps, "variables of neurons that take drives"),
            ):
                if wrong:
                    raise UsageError(f"{where} takes {what}, nothing else")

    def _add(self, *objects: Any) -> None:
        self.objects += objects

    def _code(self, group: Any, code: str, when: str, order: int = 0) -> None:
        if code.strip():
            group.run_regularly(code, clock=self.clock, when=when, order=order)

    def _values(self, p: Population) -> None:
        group = b2.NeuronGroup(p.size, f"value : 1\n{SHIFT}", clock=self.clock, name=f"{p.name}_values")
        assert isinstance(p.model, ValueInput)
        self._outside(group, "value", p.model, p.size)
        self.groups[p.name] = group
        self._add(group)

    def _outside(self, group: Any, variable: str, given: ValueInput, size: int) -> None:
        """Let a variable have the values from outside, from the start of every step on."""
        if given.values.ndim - (given.every is not None) > 1:
            raise UsageError("samples: Brian2 runs one sample at a time")
        if given.every is None:
            setattr(group, variable, given.values)
            return
        group.namespace[f"{variable}_frames"] = b2.TimedArray(given.values, dt=given.every * second)
        self._code(group, f"{variable} = {variable}_frames(t + shift, i)", "start", -2)
        if group not in self.shifted:
            self.shifted.append(group)

    def _neurons(self, p: Population) -> None:
        """A group that has the model's variables, and s_now, which is 1 in the step of a spike."""
        model, dt = p.neuron, self.network.dt
        assert model is not None
        late = {f"d{d}": d for d in sorted(self._late.get(p.name, ()))}
        parameters = {name: value for name, value in p.values().items() if np.ndim(value)}
        drives = [name for name, each in model.receptors.items() if isinstance(each, Drive)]
        wait = whole_steps("refractory", model.refractory, dt) if model.refractory else 0
        sent = {q.sends: self.network.past(p, q.sends) for q in self.network.projections.values() if q.source is p}
        lines = [SHIFT, NIL, *(f"v_{name} : 1" for name in (*model.variables, *model.inputs, *drives))]
        lines += [f"v_{name} : 1 (constant)" for name in parameters]
        lines += ["s_now : 1", "v_active : 1", "wait : 1"]
        lines += [f"g{k} : 1" for k, q in self._graded(p)]
        lines += self._of_largest(p)
        lines += [
            f"past_{name}_{d + 1} : 1" for name, longest in sent.items() if name != SPIKES for d in range(longest)
        ]
        lines += [f"sum{k} : 1" for k, q in enumerate(self._all) if q.target is p and sums_weights(q)]
        lines += self._rule_variables(p)
        text = "\n".join(lines) + "\n" + (memory_cells(*late) if late else "")
        rank = 10 * self._rank[p.name]
        group = b2.NeuronGroup(
            p.size,
            text,
            threshold="s_now > 0.5" if model.spikes else None,
            reset=self._own(model.reset, model.variables) + (f"\nwait = {wait}" if wait else "")
            if model.spikes
            else None,
            events={f"late{d}": f"s_d{d} > 0.5" for d in late.values()},
            clock=self.clock,
            name=f"{p.name}_neurons",
            namespace=self._constants(p),
        )
        self.groups[p.name] = group
        for name, value in parameters.items():
            setattr(group, f"v_{name}", value)
        for name in model.inputs:
            if (given := self.network.inputs.get(f"{p.name}.{name}")) is not None:
                self._outside(group, f"v_{name}", given, p.size)
        zeroed = [*(f"v_{name}" for name in drives), *(f"g{k}" for k, _ in self._graded(p))]
        self._code(group, "\n".join(f"{name} = 0" for name in zeroed if name.startswith("v_")), "start", -2)
        self._link_largest(p, group, rank)
        gather = "\n".join(f"v_{q.receptor} += g{k}" for k, q in self._graded(p) if isinstance(q.into, Drive))
        self._code(group, gather, "groups", rank + 1)
        active = f"wait = clip(wait - 1, 0, {wait + 1})\nv_active = int(wait <= 0)" if wait else "v_active = 1"
        self._code(group, active, "groups", rank + 2)
        self._code(group, self._own(model.step, model.variables), "groups", rank + 3)
        if model.spikes:
            crossed = eq.plain(
                f"s_now = int(({renamed(model.threshold, self._names(model.threshold))}) and v_active > 0)"
            )
            self._code(group, crossed, "groups", rank + 4)
            group.thresholder["spike"].when, group.thresholder["spike"].order = "groups", rank + 5
            at_once = [q for q in self._all if q.source is p and q.sends != SPIKES and not np.any(q.delay)]
            if at_once:  # what is sent at once is sent after its reset
                group.resetter["spike"].when, group.resetter["spike"].order = "groups", rank + 6
        for d in late.values():
            group.thresholder[f"late{d}"].when, group.thresholder[f"late{d}"].order = "start", 1
        end = self._own(model.end, model.variables)
        self._code(group, f"v_active = int(wait <= 0)\n{end}" if wait and end else end, "end", 0)
        for name, longest in sent.items():
            if name != SPIKES and longest:
                shifts = [f"past_{name}_{d} = +past_{name}_{d - 1}" for d in range(longest, 1, -1)]
                self._code(group, "\n".join([*shifts, f"past_{name}_1 = +v_{name}"]), "end", 1)
        if late:
            ring = remember_spikes(group, late)
            self.memories[p.name] = _Memory(ring, max(late.values()) + 1, p.size)
            self._add(ring)
        self._add(group)
        for name in model.variables:
            self.places[f"{p.name}/{name}"] = group, f"v_{name}", None
        if wait:
            self.places[f"{p.name}/wait"] = group, "wait", None

    def _graded(self, p: Population) -> list[tuple[int, Projection]]:
        """Projections that send a value in every step."""
        return [
            (k, q)
            for k, q in enumerate(self.network.projections.values())
            if q.target is p and not largest(q) and (q.sends != SPIKES or isinstance(q.source.model, ValueInput))
        ]

    def _of_largest(self, p: Population) -> list[str]:
        """For every place among a neuron's synapses of which the largest counts: what is sent, weight, is it there."""
        return [
            f"x{k}_{place} : 1 (linked)\nw{k}_{place} : 1 (constant)\nis{k}_{place} : 1 (constant)"
            for k, q in enumerate(self._all)
            if q.target is p and largest(q)
            for place in range(fan_in(q))
        ]

    def _link_largest(self, p: Population, group: Any, rank: int) -> None:
        for k, q in enumerate(self._all):
            if q.target is not p or not largest(q):
                continue
            variable = "s_now" if q.sends == SPIKES else f"v_{q.sends}"
            terms = []
            for place, at in enumerate(places_of(q)):
                index, there = np.zeros(p.size, int), np.zeros(p.size)
                index[q.synapses.post[at]], there[q.synapses.post[at]] = q.synapses.pre[at], 1
                setattr(group, f"x{k}_{place}", b2.linked_var(self.groups[q.source.name], variable, index=index))
                setattr(group, f"is{k}_{place}", there)
                term = f"(w{k}_{place}*x{k}_{place}*is{k}_{place} - 1e300*(1 - is{k}_{place}))"
                terms.append(f"v_{q.receptor} = clip(v_{q.receptor}, {term}, 1e300)")
            name = f"v_{q.receptor}"
            whole = [f"{name} = {name} - 1e300*int({name} == 0)", *terms, f"{name} = {name}*int({name} > -1e299)"]
            self._code(group, "\n".join(whole), "groups", rank + 1)

    def _constants(self, p: Population) -> dict[str, Any]:
        found: dict[str, Any] = {"v_dt": self.network.dt, "v_second": 1.0, "single": single}
        found |= {f"v_{name}": float(value) for name, value in p.values().items() if not np.ndim(value)}
        for k, learner in enumerate(each for each in self.network.learners() if each.population is p):
            rule = learner.rule
            found |= {f"r{k}_{name}": value for name, value in rule.constants.items()}
            if isinstance(rule, ThreeFactorRule):
                parameters: dict[str, Any] = {**rule.signal.parameters}
                parameters |= {n: learner.start[n] for n in parameters if n in learner.start}
                found |= {f"r{k}_{n}": float(v) for n, v in parameters.items() if not np.ndim(v)}
        return found

    def _names(self, code: str) -> dict[str, str]:
        return {name: f"v_{name}" for name in names_in(code)}

    def _own(self, code: str, variables: Collection[str]) -> str:
        """A model's code in this group's names."""
        return in_brian(renamed(code, self._names(code)), [f"v_{name}" for name in variables])

    def spiking(self, p: Population) -> Any:
        """What spikes when the population does."""
        return self.groups[p.name] if p.neuron else self._generator(p, 0)

    def _generator(self, p: Population, delay: int) -> Any:
        """The spikes of a source as they arrive after a delay."""
        if (p.name, delay) not in self.generators:
            events = arriving(self.network, p, delay, self.first, self.steps)
            self.generators[p.name, delay] = self._make_generator(p, delay, events.source, events.step + self.first)
            self._add(self.generators[p.name, delay])
        return self.generators[p.name, delay]

    def _make_generator(self, p: Population, delay: int, source: Array, step: Array) -> Any:
        return b2.SpikeGeneratorGroup(
            p.size,
            source,
            step * self.network.dt * second,
            clock=self.clock,
            sorted=True,
            when="start",
            order=1,
            name=f"{p.name}_spikes_{delay}",
        )

    def _origin(self, p: Population, delay: int) -> tuple[Any, str]:
        """What a pathway begins at: an object and its event."""
        if p.neuron is None:
            return self._generator(p, delay), "spike"
        return self.groups[p.name], f"late{delay}" if delay else "spike"

    def _mine(self, p: Population) -> list[tuple[str, Learner]]:
        return [(f"r{k}_", each) for k, each in enumerate(e for e in self.network.learners() if e.population is p)]

    def _rule_variables(self, p: Population) -> list[str]:
        lines: list[str] = []
        for r, learner in self._mine(p):
            rule = learner.rule
            lines += [f"{r}{name} : 1\n{inner(r)}{name}_given : 1" for name in learner.inputs]
            if isinstance(rule, SpikeTriggeredRule):
                lines += [f"{r}{name} : 1" for name in rule.post_variables]
                continue
            lines += [f"{r}{name} : 1" for name in rule.signal.variables]
            lines += [
                f"{r}{name} : 1 (constant)" for name in rule.signal.parameters if np.ndim(learner.start.get(name, 0))
            ]
            lines += [f"{inner(r)}err : 1"] if rule.signal.error else []
            lines += [f"{inner(r)}tr_err : 1\n{inner(r)}tr_err_flt : 1"] if rule.signal.filter else []
            alignment = rule.steps(self.network.dt).alignment
            for k, term in enumerate(rule.every_term()):
                lines += [f"{name} : 1" for name in eq.history(f"{inner(r)}f{k}", alignment if term.presynaptic else 0)]
        return lines


def largest(projection: Projection) -> bool:
    """Whether of what arrives the largest counts."""
    return isinstance(projection.into, Drive) and projection.into.reduce == "max"


def fan_in(projection: Projection) -> int:
    """The most synapses that one target has."""
    return int(np.bincount(projection.synapses.post, minlength=1).max())


def places_of(projection: Projection) -> list[Array]:
    """The synapses in rounds, in each of which no target has more than one."""
    order = np.argsort(projection.synapses.post, kind="stable")
    post = projection.synapses.post[order]
    round_of = np.arange(len(post)) - np.searchsorted(post, post)
    return [order[round_of == k] for k in range(fan_in(projection))]


def sums_weights(projection: Projection) -> bool:
    """Whether its code at intervals asks for the weights of a whole neuron."""
    return projection.intervals is not None and bool({"w_sum", "n_in"} & names_in(projection.intervals.code))


def _jumps(projections: list[Projection], target: Population) -> bool:
    """Whether something jumps at a population."""
    return any(q.target is target and isinstance(q.into, Jump) for q in projections)


def arriving(network: Network, p: Population, delay: int, first: int, steps: int) -> SpikeEvents:
    """The spikes of a source that arrive in some steps, counted from the first."""
    source: Any = p.model
    events: SpikeEvents = source.fired(first - delay, steps, p.size, network.dt, network.seed_of(p))
    return events


def inner(r: str) -> str:
    """How the names of what belongs to a rule begin where nobody declared them, given how its own names begin."""
    return f"z{r[1:]}"


def in_brian(code: str, variables: Collection[str]) -> str:
    """Declared code as Brian2 takes it; `variables` are the names of the state that it assigns to.

    To Brian2 what is the same for all neurons must stand before the first assignment to a variable; after it, names of
    the code's own are made to differ from neuron to neuron.
    """
    if not code.strip():
        return ""
    tree, written = ast.parse(eq.plain(code)), False
    stored = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    for line in tree.body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) not in variables:
            if written or stored.count(ast.unparse(line.targets[0])) > 1:
                line.value = ast.BinOp(line.value, ast.Add(), ast.Name("nil", ast.Load()))
        else:
            written = True
    return ast.unparse(tree)

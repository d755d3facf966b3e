"""Any declared network in Brian2's runtime mode: objects for a piece of a run, and the state on both of its sides.

The step is that of `spiking.network.stepper`. All quantities are plain numbers, so names of a model or a rule mean here
what they were declared to mean: every one gets a prefix, ``v_`` for a neuron model's and ``r<k>_`` for a rule's. What
travels along delays is kept in variables (`spiking.brian.delays`), so that the state of a network is all that there is.
Brian2's clocks go on counting from piece to piece: weights change in the same steps, however a run is cut.

By slot: ``start`` (values from outside, the rings of what spiked), ``groups`` (populations one after the other: what
drives them, their step, who spikes), ``synapses`` (jumps), ``resets``, ``after_resets`` (rules, see ORDER), ``end``.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import brian2 as b2
import numpy as np
from brian2 import second

from foundation.errors import RatespikeError, UsageError
from spiking.brian import equations as eq
from spiking.brian.delays import memory_cells, refer, remember_spikes
from spiking.brian.rounding import single
from spiking.brian.running import code_for, run_network
from spiking.brian.simulator import spike_steps
from spiking.code import names_in, renamed
from spiking.network import stepper
from spiking.network.models import Drive, Jump
from spiking.network.network import (
    SPIKES,
    Array,
    Learner,
    Network,
    Population,
    Projection,
    State,
    filter_state,
)
from spiking.network.plasticity import SpikeTriggeredRule
from spiking.network.sources import ValueInput
from spiking.network.stepper import Recorded, Result, check_state, initial_state
from spiking.parameters import whole_steps
from spiking.rule import Cascade, Filter, IntervalCode, ThreeFactorRule
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

Place = tuple[Any, str, Any]
"""Where a variable of the state is kept: object, its variable, and which of its elements (or all, None)."""


def run(
    network: Network,
    steps: int,
    state: State | None = None,
    *,
    record: Sequence[Recorded] = (),
    frozen: Sequence[str] = (),
    codegen: str = "auto",
) -> Result:
    """As `spiking.network.stepper.run`, in Brian2, for one sample.

    Args:
        network: what to run.
        steps: how many.
        state: where to go on; None: from the start.
        record: variables to keep beside all spikes.
        frozen: projections whose weights stay as they are.
        codegen: "numpy", "cython", "auto": by the length of the run; or "": as Brian2's preferences say.

    Raises:
        UsageError: what does not fit, or what Brian2 cannot do.
        RatespikeError: a variable is not finite any more.
    """
    start = initial_state(network)
    before = start if state is None else state
    check_state(before, start)
    first = int(before["step"])
    gc.collect()  # frees the names of the last piece's objects: the same names make the same code, compiled once
    with code_for(steps, codegen) if codegen else nullcontext():
        built = Builder(network, first, steps, frozen)
        for group, variable, values in built.arrays(before):
            setattr(group, variable, values)
        spikes, watching = built.monitors(record)
        objects = b2.Network(*built.objects, *spikes.values(), *watching.values())
        objects.t_ = first * network.dt
        run_network(objects, steps * network.dt)
        return Result(
            built.state(lambda group, name: np.array(getattr(group, f"{name}_")[:], np.float64), before, steps),
            {name: sorted_spikes(m.t / second, m.i, network.dt) for name, m in spikes.items()},
            {
                name: built.watched(getattr(m, f"{built.places[name][1]}_").T, before[name])
                for name, m in watching.items()
            },
        )


def sorted_spikes(time: Array, unit: Array, dt: float) -> Array:
    """Spikes of a monitor as rows of step, sample and unit."""
    step, units = spike_steps(time, unit, dt)
    order = np.lexsort((units, step))
    return np.stack([step[order], np.zeros_like(step), units[order]], 1)


@dataclass
class _Memory:
    """The ring of what a population spiked."""

    group: Any
    length: int
    size: int


@dataclass
class Builder:
    """The objects of a network for steps first, ..., first + steps - 1.

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
        for k, projection in enumerate(self.network.projections.values()):
            if not projection.rule:
                self._fixed(projection, k)
        for learner in self.network.learners():
            if isinstance(learner.rule, ThreeFactorRule):
                self._three_factors(learner, learner.rule)
            else:
                self._at_spikes(learner, learner.rule)

    def _check(self) -> None:
        for p in self.network.projections.values():
            where = f"projection {p.name}: Brian2"
            if _largest(p) and (np.any(p.delay) or p.source.neuron is None):
                raise UsageError(f"{where} takes the maximum of what neurons send without delay")
            if p.sends != SPIKES and np.ndim(p.delay):
                raise UsageError(f"{where} sends a variable with one delay")
            if p.sends != SPIKES and isinstance(p.into, Jump):
                raise UsageError(f"{where} sends a variable to a drive only")
            jumps = [q for q in self.network.projections.values() if q.target is p.source and isinstance(q.into, Jump)]
            if p.sends != SPIKES and p.source.spikes and not p.delay and jumps:
                raise UsageError(f"{where} sends {p.sends!r} without delay from neurons that take drives alone")

    # --- populations --------------------------------------------------------------------------------------------------
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
        lines = [SHIFT, *(f"v_{name} : 1" for name in (*model.variables, *model.inputs, *drives))]
        lines += [f"v_{name} : 1 (constant)" for name in parameters]
        lines += ["s_now : 1", "v_active : 1", "wait : 1"] if model.spikes else []
        lines += [f"g{k} : 1" for k, q in self._graded(p)]
        lines += self._of_largest(p)
        lines += [
            f"past_{name}_{d + 1} : 1" for name, longest in sent.items() if name != SPIKES for d in range(longest)
        ]
        lines += [f"sum{k} : 1" for k, q in enumerate(self._all) if q.target is p and _sums(q)]
        lines += self._rule_variables(p)
        text = "\n".join(lines) + "\n" + (memory_cells(*late) if late else "")
        rank = 10 * self._rank[p.name]
        group = b2.NeuronGroup(
            p.size,
            text,
            threshold="s_now > 0.5" if model.spikes else None,
            reset=self._own(model.reset) + (f"\nwait = {wait}" if wait else "") if model.spikes else None,
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
        if model.spikes:
            active = f"wait = clip(wait - 1, 0, {wait + 1})\nv_active = int(wait <= 0)" if wait else "v_active = 1"
            self._code(group, active, "groups", rank + 2)
        self._code(group, self._own(model.step), "groups", rank + 3)
        if model.spikes:
            crossed = eq.plain(
                f"s_now = int(({renamed(model.threshold, self._names(model.threshold))}) and v_active > 0)"
            )
            self._code(group, crossed, "groups", rank + 4)
            group.thresholder["spike"].when, group.thresholder["spike"].order = "groups", rank + 5
            if any(name != SPIKES and not sent[name] for name in sent):  # what is sent at once is sent after its reset
                group.resetter["spike"].when, group.resetter["spike"].order = "groups", rank + 6
        for d in late.values():
            group.thresholder[f"late{d}"].when, group.thresholder[f"late{d}"].order = "start", 1
        self._code(group, self._own(model.end), "end", 0)
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
            if q.target is p and not _largest(q) and (q.sends != SPIKES or isinstance(q.source.model, ValueInput))
        ]

    def _of_largest(self, p: Population) -> list[str]:
        """For every place among a neuron's synapses of which the largest counts: what is sent, weight, is it there."""
        return [
            f"x{k}_{place} : 1 (linked)\nw{k}_{place} : 1 (constant)\nis{k}_{place} : 1 (constant)"
            for k, q in enumerate(self._all)
            if q.target is p and _largest(q)
            for place in range(_fan_in(q))
        ]

    def _link_largest(self, p: Population, group: Any, rank: int) -> None:
        for k, q in enumerate(self._all):
            if q.target is not p or not _largest(q):
                continue
            variable = "s_now" if q.sends == SPIKES else f"v_{q.sends}"
            terms = []
            for place, at in enumerate(_places(q)):
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

    def _own(self, code: str) -> str:
        """A model's code in this group's names."""
        return eq.plain(renamed(code, self._names(code))) if code.strip() else ""

    # --- what arrives -------------------------------------------------------------------------------------------------
    def spiking(self, p: Population) -> Any:
        """What spikes when the population does."""
        return self.groups[p.name] if p.neuron else self._generator(p, 0)

    def _generator(self, p: Population, delay: int) -> Any:
        """The spikes of a source as they arrive after a delay."""
        if (p.name, delay) not in self.generators:
            events = self.arriving(p, delay, self.first, self.steps)
            self.generators[p.name, delay] = self._make_generator(p, delay, events.source, events.step + self.first)
            self._add(self.generators[p.name, delay])
        return self.generators[p.name, delay]

    def arriving(self, p: Population, delay: int, first: int, steps: int) -> SpikeEvents:
        """The spikes of a source that arrive in some steps, counted from the first."""
        model: Any = p.model
        events: SpikeEvents = model.fired(first - delay, steps, p.size, self.network.dt, self.network.seed_of(p))
        return events

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

    def _acts(self, projection: Projection) -> tuple[str, str, int]:
        """What an arriving spike does, and when: slot and order."""
        receptor, target = projection.into, projection.target
        if isinstance(receptor, Jump):
            gain = renamed(receptor.gain, {n: f"v_{n}_post" for n in names_in(receptor.gain)})
            by = "" if receptor.gain == "1" else f"*({gain})"
            return f"v_{receptor.variable}_post += w{by}", "synapses", 0
        if isinstance(receptor, Drive):
            return f"v_{projection.receptor}_post += w", "groups", 10 * self._rank[target.name]
        owner, _, name = projection.receptor.rpartition(".")
        return f"{self._prefix(owner)}{name}_post += w", "synapses", 1

    def _prefix(self, projection: str) -> str:
        """Of the names of a rule in its targets' group."""
        learner = self.network.learner(self.network.projections[projection])
        mine = [each.name for each in self.network.learners() if each.population is learner.population]
        return f"r{mine.index(learner.name)}_"

    def _gains(self, projection: Projection) -> dict[str, Any]:
        """Numbers that a jump's gain uses; parameters that differ between neurons are variables of the target."""
        target = projection.target
        values = {"dt": self.network.dt, "second": 1.0, **target.values()}
        return {f"v_{name}_post": float(value) for name, value in values.items() if not np.ndim(value)}

    def _fixed(self, projection: Projection, k: int) -> None:
        pre, post, _ = projection.synapses
        source, target = projection.source, self.groups[projection.target.name]
        if not pre.size:
            return
        if _largest(projection):
            return
        if (k, projection) in self._graded(projection.target):
            self._send(projection, k)
            return
        code, when, order = self._acts(projection)
        for number, (delay, which) in enumerate(stepper.bundles(projection)):
            origin, event = self._origin(source, delay)
            made = b2.Synapses(
                origin,
                target,
                "w : 1",
                on_pre=code,
                on_event=event,
                clock=self.clock,
                namespace=self._gains(projection),
                name=f"projection{k}_{number}",
            )
            made.connect(i=pre[which], j=post[which], namespace={}, skip_if_invalid=False)
            made.pre.when, made.pre.order = when, order
            self._add(made)
            if isinstance(which, slice):
                self.places[f"{projection.name}/w"] = made, "w", None
            else:
                self.places[f"{projection.name}/w#{number}"] = made, "w", which

    def _send(self, projection: Projection, k: int) -> None:
        """A value in every step."""
        p, delay = projection.source, int(projection.delay)
        if isinstance(p.model, ValueInput):
            if delay:
                raise UsageError(f"projection {projection.name}: Brian2 sends values from outside without delay")
            what = "value"
        else:
            what = f"past_{projection.sends}_{delay}" if delay else f"v_{projection.sends}"
        made = b2.Synapses(
            self.groups[p.name],
            self.groups[projection.target.name],
            f"w : 1\ng{k}_post = w*{what}_pre : 1 (summed)",
            clock=self.clock,
            name=f"projection{k}",
        )
        made.connect(i=projection.synapses.pre, j=projection.synapses.post, namespace={}, skip_if_invalid=False)
        summed = made.summed_updaters[f"g{k}_post"]
        if projection.into is None:
            summed.when, summed.order = SLOT, ORDER["values"]
        else:
            summed.when, summed.order = "groups", 10 * self._rank[projection.target.name]
        self._add(made)
        self.places[f"{projection.name}/w"] = made, "w", None

    # --- rules: the targets' side -------------------------------------------------------------------------------------
    def _mine(self, p: Population) -> list[tuple[str, Learner]]:
        return [(f"r{k}_", each) for k, each in enumerate(e for e in self.network.learners() if e.population is p)]

    def _rule_variables(self, p: Population) -> list[str]:
        lines: list[str] = []
        for r, learner in self._mine(p):
            rule = learner.rule
            lines += [f"{r}{name} : 1\n{r}{name}_given : 1" for name in learner.inputs]
            if isinstance(rule, SpikeTriggeredRule):
                lines += [f"{r}{name} : 1" for name in rule.post_variables]
                continue
            lines += [f"{r}{name} : 1" for name in rule.signal.variables]
            lines += [
                f"{r}{name} : 1 (constant)" for name in rule.signal.parameters if np.ndim(learner.start.get(name, 0))
            ]
            lines += [f"{r}err : 1"] if rule.signal.error else []
            lines += [f"{r}tr_err : 1\n{r}tr_err_flt : 1"] if rule.signal.filter else []
            alignment = rule.steps(self.network.dt).alignment
            for k, term in enumerate(rule.every_term()):
                lines += [f"{name} : 1" for name in eq.history(f"{r}f{k}", alignment if term.presynaptic else 0)]
        return lines

    def _rule_names(self, r: str, learner: Learner, code: str) -> dict[str, str]:
        """What a rule's names are in its targets' group."""
        rule, model = learner.rule, learner.population.neuron
        assert model is not None
        names = {name: f"{r}{name}" for name in names_in(code)}
        names |= {"dt": "v_dt", "second": "v_second", "s_now": "s_now" if model.spikes else "0.0"}
        names |= {name: f"v_{name}" for name in rule.reads} | {"u": f"v_{model.potential}"}
        if isinstance(rule, ThreeFactorRule):
            steps = rule.steps(self.network.dt)
            names |= {f"s_{name}": f"s_d{delay}" if delay else names["s_now"] for name, delay in steps.delays.items()}
        return names

    def _ruled(self, r: str, learner: Learner, code: str) -> str:
        return eq.plain(renamed(code, self._rule_names(r, learner, code))) if code.strip() else ""

    def _inputs_of(self, r: str, learner: Learner, group: Any) -> None:
        """What comes from outside, and by projections, in the variables of the rule's inputs."""
        for name in learner.inputs:
            for projection in learner.projections:
                given = self.network.inputs.get(f"{projection.name}.{name}")
                if given is not None:
                    self._outside(group, f"{r}{name}_given", given, learner.population.size)
            self._code(group, f"{r}{name} = {r}{name}_given", "start", -1)
            graded = [
                k for k, q in self._graded(learner.population) if q.receptor.rpartition(".")[2] == name and not q.into
            ]
            self._code(group, "\n".join(f"{r}{name} += g{k}" for k in graded), SLOT, ORDER["inputs"])

    def _three_factors(self, learner: Learner, rule: ThreeFactorRule) -> None:
        (r,) = (name for name, each in self._mine(learner.population) if each is learner)
        group, steps, signal = self.groups[learner.population.name], rule.steps(self.network.dt), rule.signal
        self._inputs_of(r, learner, group)
        for name in signal.parameters:
            if np.ndim(learner.start.get(name, 0)):
                setattr(group, f"{r}{name}", learner.start[name])
        lines = [f"{r}err = {self._ruled(r, learner, signal.error)}"] if signal.error else []
        for k, term in enumerate(rule.every_term()):
            alignment = steps.alignment if term.presynaptic else 0
            lines += [eq.shift(f"{r}f{k}", alignment), f"{r}f{k} = {self._ruled(r, learner, term.factor)}"]
        self._code(group, "\n".join(lines), SLOT, ORDER["error"])
        traces = self._ruled(r, learner, signal.traces)
        if alpha := signal.filter:
            group.namespace |= {f"{r}rise": self.network.dt / alpha.rise, f"{r}decay": self.network.dt / alpha.decay}
            traces += (
                f"\n{r}tr_err += {r}rise*({r}err - {r}tr_err)\n{r}tr_err_flt += {r}decay*({r}tr_err - {r}tr_err_flt)"
            )
        self._code(group, traces, SLOT, ORDER["traces"])
        for name in (*signal.variables, *(("tr_err", "tr_err_flt") if signal.filter else ())):
            self.places[f"{learner.name}/{name}"] = group, f"{r}{name}", None
        for projection in learner.projections:
            self._learning(projection, learner, rule, r)

    def _pre(self, projection: Projection, variables: Sequence[str], delay: int) -> Any:
        """A group with a unit for each source, and s, which is 1 in the step in which a spike arrives."""
        origin, event = self._origin(projection.source, delay)
        group = b2.NeuronGroup(
            projection.source.size,
            "\n".join(["s : 1", *(f"{name} : 1" for name in variables)]),
            clock=self.clock,
            name=f"{self._object(projection)}_inputs",
        )
        made = b2.Synapses(
            origin, group, on_pre="s_post = 1", on_event=event, clock=self.clock, name=f"{group.name}_relay"
        )
        every = np.arange(projection.source.size)
        made.connect(i=every, j=every, namespace={})
        self._add(group, made)
        return group

    def _object(self, projection: Projection) -> str:
        return f"projection{list(self.network.projections).index(projection.name)}"

    def _learning(self, projection: Projection, learner: Learner, rule: ThreeFactorRule, r: str) -> None:
        """Synapses of a three-factor rule."""
        dt, target = self.network.dt, self.groups[learner.population.name]
        alignment, terms = rule.steps(dt).alignment, rule.every_term()
        filters = [filter_state(f"psp{k}", term.presynaptic) for k, term in enumerate(terms)]
        kept = [
            name for k, term in enumerate(terms) if term.presynaptic for name in eq.history(f"psp{k}", alignment)[1:]
        ]
        pre = self._pre(projection, [*(name for each in filters for name in each), *kept], int(projection.delay))
        for k, term in enumerate(terms):
            if term.presynaptic and alignment:
                self._code(pre, eq.shift(f"psp{k}", alignment), SLOT, ORDER["remember"])
            self._code(pre, _filtered(pre, f"psp{k}", term.presynaptic, dt), SLOT, ORDER["traces"])
            for name in filters[k]:
                self.places[f"{projection.name}/{name}"] = pre, name, None
        self._code(pre, "s = 0", SLOT, ORDER["traces"] + 1)
        at_spikes, lines, constants = self._terms(rule, r)
        intervals = projection.intervals
        assert intervals is not None
        els = [name for k, term in enumerate(terms) for name in filter_state(f"el{k}", term.eligibility)]
        made = self._synapses(projection, [*els, "el_sum", *intervals.variables], at_spikes, constants)
        for k, term in enumerate(terms):
            if term.presynaptic:
                refer(made, f"psp{k}_d", pre, eq.history(f"psp{k}", alignment)[-1], "from_j")
            elif term.eligibility and "s_j" not in made.variables:
                refer(made, "s_j", pre, "s", "from_j")
            refer(made, f"f{k}_d", target, eq.history(f"{r}f{k}", alignment if term.presynaptic else 0)[-1], "to_i")
        if rule.signal.error:
            refer(made, "third", target, f"{r}tr_err_flt" if rule.signal.filter else f"{r}err", "to_i")
        self._code(made, "\n".join(lines), SLOT, ORDER["eligibility"])
        self._at_intervals(made, projection, intervals, ORDER["update"], rule.steps(dt).interval)
        for name in (*els, "el_sum"):
            self.places[f"{projection.name}/{name}"] = made, name, None

    def _terms(self, rule: ThreeFactorRule, r: str) -> tuple[list[str], list[str], dict[str, float]]:
        """What a spike adds to the sum, what every step adds, and the numbers in it."""
        dt, at_spikes, lines, constants = self.network.dt, list[str](), list[str](), dict[str, float]()
        for k, term in enumerate(rule.every_term()):
            third = "*third" if term.signal and rule.signal.error else ""
            source = f"psp{k}_d" if term.presynaptic else "s_j"
            each = term.eligibility
            if each is None and term.presynaptic is None:
                at_spikes.append(f"el_sum += f{k}_d{third}")
            elif each is None:
                lines.append(f"el_sum += {source}*f{k}_d{third}")
            elif isinstance(each, Cascade):
                constants |= {f"el{k}_a": dt / each.decay, f"el{k}_b": float(np.exp(-dt / each.rise))}
                lines += [f"el{k}_rise += {source}*f{k}_d", f"el{k} += el{k}_a*(el{k}_rise - el{k})"]
                lines += [f"el{k}_rise *= el{k}_b", f"el_sum += el{k}{third}"]
            else:
                constants[f"el{k}_b"] = float(np.exp(-dt / each.tau))
                lines += [f"el{k} += {source}*f{k}_d", f"el_sum += el{k}{third}", f"el{k} *= el{k}_b"]
        return at_spikes, lines, constants

    def _synapses(
        self,
        projection: Projection,
        variables: Sequence[str],
        at_spikes: Sequence[str],
        constants: dict[str, Any],
        on_post: str = "",
    ) -> Any:
        """Plastic synapses; a spike acts in its slot, and `at_spikes` runs among the rules."""
        origin, event = self._origin(projection.source, int(projection.delay))
        code, when, order = self._acts(projection)
        on_pre, events = {"act": code}, {"act": event}
        if at_spikes:
            on_pre["learn"], events["learn"] = "\n".join(at_spikes), event
        after: dict[str, str] = {"fire": on_post} if on_post else {}
        k = list(self.network.projections).index(projection.name)
        sums = ["n_in : 1 (constant)", f"sum{k}_post = w : 1 (summed)"] if _sums(projection) else []
        lines = [f"{name} : 1" for name in ("w", *variables)]
        lines += ["eta : 1 (shared)", *ENDS, *sums]
        made = b2.Synapses(
            origin,
            self.groups[projection.target.name],
            "\n".join(lines),
            on_pre=on_pre,
            on_post=after or None,
            on_event={**events, **({"fire": "spike"} if after else {})},
            clock=self.clock,
            namespace={**constants, **self._gains(projection)},
            dtype={"from_j": np.int64, "to_i": np.int64},
            name=self._object(projection),
        )
        made.connect(i=projection.synapses.pre, j=projection.synapses.post, namespace={}, skip_if_invalid=False)
        made.from_j, made.to_i = projection.synapses.pre, projection.synapses.post
        made.act.when, made.act.order = when, order
        if sums:
            post = projection.synapses.post
            made.n_in = np.bincount(post, minlength=projection.target.size)[post].astype(float)
            summed = made.summed_updaters[f"sum{k}_post"]
            summed.when, summed.order = SLOT, ORDER["summed" if on_post or at_spikes else "sums"]
        if at_spikes:
            made.learn.when, made.learn.order = SLOT, ORDER["on_pre"] if on_post else ORDER["eligibility"]
        self._add(made)
        self.places[f"{projection.name}/w"] = made, "w", None
        return made

    def _at_intervals(
        self, made: Any, projection: Projection, intervals: IntervalCode, order: int, window: int
    ) -> None:
        names = {name: name for name in names_in(intervals.code)}
        names |= {"dt": "v_dt", "second": "v_second", "interval": "v_interval"}
        names["w_sum"] = f"sum{list(self.network.projections).index(projection.name)}_post"
        names |= {name: f"c_{name}" for name in intervals.constants}
        names |= {name: f"v_{name}_post" for name in intervals.reads}
        local = names_in(intervals.code) - {
            *("w", *intervals.GIVEN), *intervals.variables, *intervals.constants, *intervals.reads
        }  # fmt: skip
        names |= {name: f"l_{name}" for name in local}
        made.namespace |= {"v_dt": self.network.dt, "v_second": 1.0, "v_interval": intervals.interval, "window": window}
        made.namespace |= {f"c_{name}": value for name, value in intervals.constants.items()} | {"single": single}
        code = eq.plain(renamed(intervals.code, names))
        gradient = "gradient = el_sum/window\n" if "el_sum" in made.variables else "gradient = 0.0\n"
        done = "\nel_sum = 0" if "el_sum" in made.variables else ""
        clock = b2.Clock(intervals.interval * second, name=f"{made.name}_windows")
        made.run_regularly(f"{gradient}{code}{done}", clock=clock, when=SLOT, order=order)
        made.eta = 0.0 if projection.name in self.frozen else intervals.eta
        for name in intervals.variables:
            self.places[f"{projection.name}/{name}"] = made, name, None

    def _at_spikes(self, learner: Learner, rule: SpikeTriggeredRule) -> None:
        """A rule at spikes."""
        (r,) = (name for name, each in self._mine(learner.population) if each is learner)
        group = self.groups[learner.population.name]
        self._inputs_of(r, learner, group)
        self._code(group, self._ruled(r, learner, rule.post), SLOT, ORDER["traces"])
        for name in rule.post_variables:
            self.places[f"{learner.name}/{name}"] = group, f"{r}{name}", None
        for projection in learner.projections:
            self._spike_triggered(projection, learner, rule, r)

    def _spike_triggered(self, projection: Projection, learner: Learner, rule: SpikeTriggeredRule, r: str) -> None:
        pre = self._pre(projection, [f"x_{name}" for name in rule.pre_variables], int(projection.delay))
        numbers = {"dt": self.network.dt, "second": 1.0, **rule.constants}
        pre.namespace |= {f"c_{name}": value for name, value in numbers.items()} | {"single": single}
        code_names = {name: f"c_{name}" for name in numbers}

        def named(code: str, known: dict[str, str]) -> str:
            names = {name: f"l_{name}" for name in names_in(code)} | code_names | known
            return eq.plain(renamed(code, names)) if code.strip() else ""

        traces = named(rule.pre, {"s": "s", **{name: f"x_{name}" for name in rule.pre_variables}})
        self._code(pre, f"{traces}\ns = 0", SLOT, ORDER["traces"])
        model = learner.population.neuron
        assert model is not None
        known = {"w": "w", "s": "s_j", "s_now": "s_i", "u": f"v_{model.potential}_post"}
        known |= {name: f"x_{name}_j" for name in rule.pre_variables}
        known |= {name: f"{r}{name}_post" for name in (*rule.post_variables, *rule.inputs)}
        known |= {name: f"v_{name}_post" for name in rule.reads} | {name: f"q_{name}" for name in rule.variables}
        learns = projection.name not in self.frozen
        on_pre, on_post, step = (
            named(code, known) if learns else "" for code in (rule.on_pre, rule.on_post, rule.step)
        )
        intervals = projection.intervals
        own = [*(f"q_{name}" for name in rule.variables), *(intervals.variables if intervals else ())]
        constants = {f"c_{name}": value for name, value in numbers.items()} | {"single": single}
        made = self._synapses(projection, own, [on_pre] if on_pre else [], constants, on_post)
        if on_pre:
            made.learn.when, made.learn.order = SLOT, ORDER["on_pre"]
        if on_post:
            made.fire.when, made.fire.order = SLOT, ORDER["on_post"]
        for name in rule.pre_variables:
            refer(made, f"x_{name}_j", pre, f"x_{name}", "_presynaptic_idx")
            self.places[f"{projection.name}/{name}"] = pre, f"x_{name}", None
        if step:
            refer(made, "s_j", pre, "s", "_presynaptic_idx")
            refer(made, "s_i", self.groups[learner.population.name], "s_now", "_postsynaptic_idx")
            self._code(made, step, SLOT, ORDER["step"])
        for name in rule.variables:
            self.places[f"{projection.name}/{name}"] = made, f"q_{name}", None
        if intervals:
            self._at_intervals(made, projection, intervals, ORDER["intervals"], 1)

    # --- what is recorded ---------------------------------------------------------------------------------------------
    def watch(self, name: str, every: int) -> Any:
        """A monitor of a variable of the state, at the end of every so-manieth step."""
        if name not in self.places or self.places[name][2] is not None:
            raise UsageError(f"record: there is no variable {name} that Brian2 could record")
        group, variable, _ = self.places[name]
        clock = self.clock if every == 1 else b2.Clock(every * self.network.dt * second, name="records*")
        return b2.StateMonitor(group, variable, record=True, when="end", order=100, clock=clock)

    def watched(self, values: Array, like: Array) -> Array:
        """What a monitor saw, a row for each step, in the shape of the state."""
        return np.array(values).reshape(len(values), *like.shape)

    def monitors(self, record: Sequence[Recorded]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Of all spikes, and of what is to be recorded."""
        spiking = {p.name: p for p in self.network.populations.values() if p.spikes}
        spikes = {name: b2.SpikeMonitor(self.spiking(p)) for name, p in spiking.items()}
        return spikes, {f"{r.owner}/{v}": self.watch(f"{r.owner}/{v}", r.every) for r in record for v in r.variables}

    # --- the state ----------------------------------------------------------------------------------------------------
    def arrays(self, state: State) -> list[tuple[Any, str, Array]]:
        """What the variables of the objects have to be for a state: object, variable, values."""
        found: list[tuple[Any, str, Array]] = []
        for name, (group, variable, which) in self.places.items():
            values = state[name.partition("#")[0]]
            flat = values[0] if values.ndim == 2 else values
            found.append((group, variable, flat if which is None else flat[which]))
        for k, q in enumerate(self._all):
            for place, at in enumerate(_places(q)) if _largest(q) else ():
                weights = np.zeros(q.target.size)
                weights[q.synapses.post[at]] = state[f"{q.name}/w"][at]
                found.append((self.groups[q.target.name], f"w{k}_{place}", weights))
        for group, variable, past in self._pasts():
            names = self._past_names(variable, state[past])
            found += [(group, name, row) for name, row in zip(names, state[past][:, 0], strict=True)]
        for name, memory in self.memories.items():
            rows = np.zeros((memory.length, memory.size))
            for past in self._spike_pasts(name):
                for k, values in enumerate(state[past][:, 0]):
                    rows[-k % memory.length] = values
            found.append((memory.group, "s", rows.ravel()))
        return [each for each in found if each[2].size]

    def state(self, read: Callable[[Any, str], Array], before: State, steps: int) -> State:
        """The state after so many steps, from what the variables of the objects are, in the order of the one before."""
        found: State = {"step": before["step"] + steps}
        for name, (group, variable, which) in self.places.items():
            whole = name.partition("#")[0]
            if which is not None:
                found.setdefault(whole, np.array(before[whole]))[which] = read(group, variable)
            else:
                found[whole] = read(group, variable).reshape(before[whole].shape)
        for group, variable, past in self._pasts():
            names = self._past_names(variable, before[past])
            found[past] = np.array([read(group, name) for name in names])[:, None]
        for name, memory in self.memories.items():
            rows = read(memory.group, "s").reshape(memory.length, memory.size)
            for past in self._spike_pasts(name):
                # the last step of the piece was written in row `steps`; the one before it in the row before
                at = [(steps - k) % memory.length for k in range(len(before[past]))]
                found[past] = rows[at][:, None]
        for name, value in found.items():
            if not np.isfinite(value).all():
                raise RatespikeError(f"{name} is not finite any more; the last good state is kept")
        return {name: found.get(name, value) for name, value in before.items()}

    def _pasts(self) -> list[tuple[Any, str, str]]:
        """Variables that remember their last values: group, name, and their name in the state."""
        found: list[tuple[Any, str, str]] = []
        for p in self.network.populations.values():
            for sends in {q.sends for q in self.network.projections.values() if q.source is p} - {SPIKES}:
                if self.network.past(p, sends):
                    found.append((self.groups[p.name], f"past_{sends}", f"{p.name}/past_{sends}"))
        for learner in self.network.learners():
            if not isinstance(learner.rule, ThreeFactorRule) or not learner.rule.steps(self.network.dt).alignment:
                continue
            (r,) = (name for name, each in self._mine(learner.population) if each is learner)
            for k, term in enumerate(learner.rule.every_term()):
                if term.presynaptic:
                    group = self.groups[learner.population.name]
                    found.append((group, f"{r}f{k}", f"{learner.name}/past_factor{k}"))
                    for projection in learner.projections:
                        pre = self.places[f"{projection.name}/psp{k}"][0]
                        found.append((pre, f"psp{k}", f"{projection.name}/past_psp{k}"))
        return found

    def _past_names(self, variable: str, values: Array) -> list[str]:
        """The newest first. Factors are remembered as they are made: the newest is the variable itself."""
        newest = 0 if variable[0] == "r" else 1
        names = [variable, *(f"{variable}_{k}" for k in range(1, len(values) + 1))]
        return names[newest : newest + len(values)]

    def _spike_pasts(self, population: str) -> list[str]:
        """The names in the state under which a ring's content stands."""
        p = self.network.populations[population]
        found = [f"{population}/past_{SPIKES}"] if self.network.past(p) else []
        for _, learner in self._mine(p):
            if isinstance(learner.rule, ThreeFactorRule) and any(learner.rule.steps(self.network.dt).delays.values()):
                found.append(f"{learner.name}/past_s")
        return found


def _largest(projection: Projection) -> bool:
    """Whether of what arrives the largest counts."""
    return isinstance(projection.into, Drive) and projection.into.reduce == "max"


def _fan_in(projection: Projection) -> int:
    """The most synapses that one target has."""
    return int(np.bincount(projection.synapses.post, minlength=1).max())


def _places(projection: Projection) -> list[Array]:
    """The synapses in rounds, in each of which no target has more than one."""
    order = np.argsort(projection.synapses.post, kind="stable")
    post = projection.synapses.post[order]
    round_of = np.arange(len(post)) - np.searchsorted(post, post)
    return [order[round_of == k] for k in range(_fan_in(projection))]


def _sums(projection: Projection) -> bool:
    """Whether its code at intervals asks for the weights of a whole neuron."""
    return projection.intervals is not None and bool({"w_sum", "n_in"} & names_in(projection.intervals.code))


def _filtered(group: Any, name: str, each: Filter | None, dt: float) -> str:
    """The code of a presynaptic filter."""
    if isinstance(each, Cascade):
        group.namespace |= {f"{name}_a": dt / each.decay, f"{name}_b": float(np.exp(-dt / each.rise))}
        return f"{name} += {name}_a*({name}_rise - {name})\n{name}_rise = ({name}_rise + s)*{name}_b"
    if each is None:
        return ""
    group.namespace[f"{name}_b"] = float(np.exp(-dt / each.tau))
    return f"{name} = ({name} + s)*{name}_b"

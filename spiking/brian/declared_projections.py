"""Projections of a declared network as Brian2 objects, plastic ones and others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import brian2 as b2
import numpy as np
from brian2 import second

from foundation.errors import UsageError
from spiking.brian import equations as eq
from spiking.brian.declared_neurons import ENDS, NIL, ORDER, SLOT, Neurons, in_brian, inner, largest, sums_weights
from spiking.brian.delays import refer
from spiking.brian.rounding import single
from spiking.code import names_in, renamed
from spiking.network import stepper
from spiking.network.models import Drive, Jump
from spiking.network.parts import Learner, Projection, filter_state
from spiking.network.plasticity import SpikeTriggeredRule
from spiking.network.sources import ValueInput
from spiking.rule import Cascade, Filter, IntervalCode, ThreeFactorRule


@dataclass
class Projections(Neurons):
    """The same with projections and rules."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for k, projection in enumerate(self.network.projections.values()):
            if not projection.rule:
                self._fixed(projection, k)
        for learner in self.network.learners():
            if isinstance(learner.rule, ThreeFactorRule):
                self._three_factors(learner, learner.rule)
            else:
                self._at_spikes(learner, learner.rule)

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
        numbers = {f"v_{name}_post": float(value) for name, value in values.items() if not np.ndim(value)}
        return {**numbers, "single": single}

    def _fixed(self, projection: Projection, k: int) -> None:
        pre, post, _ = projection.synapses
        source, target = projection.source, self.groups[projection.target.name]
        if not pre.size:
            return
        if largest(projection):
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
        rule = learner.rule
        own = rule.post_variables if isinstance(rule, SpikeTriggeredRule) else rule.signal.variables
        return in_brian(renamed(code, self._rule_names(r, learner, code)), [f"{r}{name}" for name in own])

    def _inputs_of(self, r: str, learner: Learner, group: Any) -> None:
        """What comes from outside, and by projections, in the variables of the rule's inputs."""
        for name in learner.inputs:
            for projection in learner.projections:
                given = self.network.inputs.get(f"{projection.name}.{name}")
                if given is not None:
                    self._outside(group, f"{inner(r)}{name}_given", given, learner.population.size)
            self._code(group, f"{r}{name} = {inner(r)}{name}_given", "start", -1)
            mine = {f"{projection.name}.{name}" for projection in learner.projections}
            graded = [k for k, q in self._graded(learner.population) if q.receptor in mine]
            self._code(group, "\n".join(f"{r}{name} += g{k}" for k in graded), SLOT, ORDER["inputs"])

    def _three_factors(self, learner: Learner, rule: ThreeFactorRule) -> None:
        (r,) = (name for name, each in self._mine(learner.population) if each is learner)
        group, steps, signal = self.groups[learner.population.name], rule.steps(self.network.dt), rule.signal
        z = inner(r)
        self._inputs_of(r, learner, group)
        for name in signal.parameters:
            if np.ndim(learner.start.get(name, 0)):
                setattr(group, f"{r}{name}", learner.start[name])
        lines = [f"{z}err = {self._ruled(r, learner, signal.error)}"] if signal.error else []
        for k, term in enumerate(rule.every_term()):
            alignment = steps.alignment if term.presynaptic else 0
            lines += [
                eq.shift(f"{z}f{k}", alignment),
                f"{z}f{k} = {self._ruled(r, learner, term.factor)}",
            ]
        self._code(group, "\n".join(lines), SLOT, ORDER["error"])
        passing = {"err": f"{z}err"} if signal.error else {}
        passing |= {f"factor{k}": f"{z}f{k}" for k in range(len(rule.every_term()))}
        self.passing |= {f"{learner.name}/{name}": (group, own, None) for name, own in passing.items()}
        traces = self._ruled(r, learner, signal.traces)
        if alpha := signal.filter:
            group.namespace |= {
                f"{z}rise": self.network.dt / alpha.rise,
                f"{z}decay": self.network.dt / alpha.decay,
            }
            traces += (
                f"\n{z}tr_err += {z}rise*({z}err - {z}tr_err)\n{z}tr_err_flt += {z}decay*({z}tr_err - {z}tr_err_flt)"
            )
        self._code(group, traces, SLOT, ORDER["traces"])
        for name in signal.variables:
            self.places[f"{learner.name}/{name}"] = group, f"{r}{name}", None
        for name in ("tr_err", "tr_err_flt") if signal.filter else ():
            self.places[f"{learner.name}/{name}"] = group, f"{z}{name}", None
        for projection in learner.projections:
            self._learning(projection, learner, rule, r)

    def _pre(self, projection: Projection, variables: Sequence[str], delay: int) -> Any:
        """A group with a unit for each source, and s, which is 1 in the step in which a spike arrives."""
        origin, event = self._origin(projection.source, delay)
        group = b2.NeuronGroup(
            projection.source.size,
            "\n".join(["s : 1", NIL, *(f"{name} : 1" for name in variables)]),
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
        if not projection.synapses.pre.size:
            return
        at_spikes, lines, constants = self._terms(rule, r)
        intervals = projection.intervals
        assert intervals is not None
        els = [name for k, term in enumerate(terms) for name in filter_state(f"el{k}", term.eligibility)]
        made = self._synapses(
            projection, [*els, "el_sum", *(f"k_{name}" for name in intervals.variables)], at_spikes, constants
        )
        z = inner(r)
        for k, term in enumerate(terms):
            if term.presynaptic:
                refer(made, f"psp{k}_d", pre, eq.history(f"psp{k}", alignment)[-1], "from_j")
            elif term.eligibility and "s_j" not in made.variables:
                refer(made, "s_j", pre, "s", "from_j")
            refer(made, f"f{k}_d", target, eq.history(f"{z}f{k}", alignment if term.presynaptic else 0)[-1], "to_i")
        if rule.signal.error:
            refer(made, "third", target, f"{z}tr_err_flt" if rule.signal.filter else f"{z}err", "to_i")
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
        sums = ["n_in : 1 (constant)", f"sum{k}_post = w : 1 (summed)"] if sums_weights(projection) else []
        lines = [f"{name} : 1" for name in ("w", *variables)]
        lines += ["eta : 1 (shared)", *ENDS, *sums]  # nil is the target's
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
            summed.when, summed.order = (
                SLOT,
                ORDER["summed" if isinstance(projection.rule, SpikeTriggeredRule) else "sums"],
            )
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
        names |= {name: f"k_{name}" for name in intervals.variables}
        names |= {name: f"v_{name}_post" for name in intervals.reads}
        local = names_in(intervals.code) - {
            *("w", *intervals.GIVEN), *intervals.variables, *intervals.constants, *intervals.reads
        }  # fmt: skip
        names |= {name: f"l_{name}" for name in local}
        made.namespace |= {"v_dt": self.network.dt, "v_second": 1.0, "v_interval": intervals.interval, "window": window}
        made.namespace |= {f"c_{name}": value for name, value in intervals.constants.items()} | {"single": single}
        code = in_brian(renamed(intervals.code, names), ["w", *(f"k_{name}" for name in intervals.variables)])
        if projection.name in self.frozen:
            code = f"kept = +w\n{code}\nw = +kept"
        gradient = "gradient = el_sum/window\n" if "el_sum" in made.variables else "gradient = 0.0\n"
        done = "\nel_sum = 0" if "el_sum" in made.variables else ""
        clock = b2.Clock(intervals.interval * second, name=f"{made.name}_windows")
        made.run_regularly(f"{gradient}{code}{done}", clock=clock, when=SLOT, order=order)
        made.eta = 0.0 if projection.name in self.frozen else intervals.eta
        for name in intervals.variables:
            self.places[f"{projection.name}/{name}"] = made, f"k_{name}", None

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

        written = {"w", *rule.variables, *rule.pre_variables}

        def named(code: str, known: dict[str, str]) -> str:
            names = {name: f"l_{name}" for name in names_in(code)} | code_names | known
            return in_brian(renamed(code, names), [names[name] for name in written if name in names])

        traces = named(rule.pre, {"s": "s", **{name: f"x_{name}" for name in rule.pre_variables}})
        self._code(pre, f"{traces}\ns = 0", SLOT, ORDER["traces"])
        for name in rule.pre_variables:
            self.places[f"{projection.name}/{name}"] = pre, f"x_{name}", None
        if not projection.synapses.pre.size:
            return
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
        own = [
            *(f"q_{name}" for name in rule.variables),
            *(f"k_{name}" for name in (intervals.variables if intervals else ())),
        ]
        constants = {f"c_{name}": value for name, value in numbers.items()} | {"single": single}
        if not learner.population.spikes:
            on_post = ""
        made = self._synapses(projection, own, [on_pre] if on_pre else [], constants, on_post)
        if on_pre:
            made.learn.when, made.learn.order = SLOT, ORDER["on_pre"]
        if on_post:
            made.fire.when, made.fire.order = SLOT, ORDER["on_post"]
        for name in rule.pre_variables:
            refer(made, f"x_{name}_j", pre, f"x_{name}", "_presynaptic_idx")
        if step:
            refer(made, "s_j", pre, "s", "_presynaptic_idx")
            refer(made, "s_i", self.groups[learner.population.name], "s_now", "_postsynaptic_idx")
            self._code(made, step, SLOT, ORDER["step"])
        for name in rule.variables:
            self.places[f"{projection.name}/{name}"] = made, f"q_{name}", None
        if intervals:
            self._at_intervals(made, projection, intervals, ORDER["intervals"], 1)


def _filtered(group: Any, name: str, each: Filter | None, dt: float) -> str:
    """The code of a presynaptic filter."""
    if isinstance(each, Cascade):
        group.namespace |= {f"{name}_a": dt / each.decay, f"{name}_b": float(np.exp(-dt / each.rise))}
        return f"{name} += {name}_a*({name}_rise - {name})\n{name}_rise = ({name}_rise + s)*{name}_b"
    if each is None:
        return ""
    group.namespace[f"{name}_b"] = float(np.exp(-dt / each.tau))
    return f"{name} = ({name} + s)*{name}_b"

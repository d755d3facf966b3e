"""What a step of a network is: a plain numpy stepper, which every other simulator is held against.

In step n, in this order:

1. Values from outside are there. Each population in the order of its drives without delay (`Network.order`): what
   drives it, its step's code, its threshold.
2. All jumps that arrive are added to their variables; then all resets. (Where both touch a variable, the reset has the
   last word, as in Brian2. What a population sends in the same step is this step's spike, or a variable after its
   reset.)
3. Every rule: its error and its factors, from its variables as the step before has left them; eligibilities and sums;
   weights, if the counter says so; its traces. Rules at spikes: first every spike that arrives, then every target that
   spiked, then code of every step; code at intervals; traces.
4. The model's code for the end of a step. What is remembered for delays advances, and so does the counter.

All that connects one step with the next is the state, by name (`initial_state`): a run can be cut anywhere. A weight
changes in steps k interval/dt of the counter, whatever the pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foundation.errors import RatespikeError, UsageError
from spiking.code import expression, statements
from spiking.network.models import Drive, Jump, NeuronModel
from spiking.network.network import Network
from spiking.network.parts import SPIKES, Array, Floats, Learner, Population, Projection, State
from spiking.network.plasticity import SpikeTriggeredRule
from spiking.network.sources import ValueInput, spikes_at
from spiking.network.state import Recorded, Result, check_record, check_state, initial_state, samples_of
from spiking.parameters import whole_steps
from spiking.rule import Cascade, Filter, ThreeFactorRule


def run(
    network: Network,
    steps: int,
    state: State | None = None,
    *,
    record: Sequence[Recorded] = (),
    frozen: Sequence[str] = (),
    samples: int = 1,
) -> Result:
    """Run a network for some steps.

    Args:
        network: what to run.
        steps: how many.
        state: where to go on; None: from the start.
        record: variables to keep beside all spikes.
        frozen: projections whose weights stay as they are.
        samples: of the batch, where it starts; one set of weights, many inputs.

    Raises:
        UsageError: a projection, a variable or a state that does not exist or does not fit.
        RatespikeError: a variable is not finite any more; the message names it.
    """
    start = initial_state(network, samples if state is None else samples_of(network, state))
    check_state(start if state is None else state, start)
    stepper = Stepper(network, {k: v.copy() for k, v in (start if state is None else state).items()}, frozen)
    check_record(record)
    for name in (name for each in record for name in each.names()):
        if name not in stepper.state and name not in stepper.passing:
            raise UsageError(f"record: there is no variable {name}")
    spikes: dict[str, list[Array]] = {p.name: [] for p in network.populations.values() if p.spikes}
    recorded: dict[str, list[Array]] = {name: [] for each in record for name in each.names()}
    stepper.load(steps)
    for _ in range(steps):
        n = int(stepper.state["step"])
        for name, fired in stepper.step().items():
            sample, unit = np.nonzero(fired)
            spikes[name].append(np.stack([np.full(unit.size, n), sample, unit], 1))
        for each in record:
            for name in each.names() if n % each.every == 0 else ():
                values = stepper.state[name] if name in stepper.state else stepper.passing[name]
                recorded[name].append(np.array(values if each.index is None else values[..., list(each.index)]))
    for name, values in stepper.state.items():
        if not np.isfinite(values).all():
            raise RatespikeError(f"{name} is not finite any more; the last good state is kept")
    return Result(
        stepper.state,
        {name: np.concatenate(each or [np.zeros((0, 3), np.int64)]) for name, each in spikes.items()},
        {name: np.array(each) for name, each in recorded.items()},
    )


class Stepper:
    """A network and its state; `step` takes it from one step to the next."""

    def __init__(self, network: Network, state: State, frozen: Sequence[str] = ()) -> None:
        self.network, self.state, self.dt = network, state, network.dt
        for name in frozen:
            if name not in network.projections or network.projections[name].rule is None:
                raise UsageError(f"frozen: there is no plastic projection {name!r}")
        self.frozen = {*frozen}
        self.samples = samples_of(network, state)
        self.order = network.order()
        self.bundles = {name: bundles(p) for name, p in network.projections.items()}
        self.passing = _passing(network, self.samples)  # what a rule works out in a step, and nothing remembers
        self._code: dict[tuple[str, bool], Any] = {}
        self._given: dict[str, tuple[int, Array, Array]] = {}  # spikes of sources: first step, where each begins, ids

    def load(self, steps: int) -> None:
        """Draw what sources send in the next steps, and in those before that are still on their way."""
        for p in self.network.populations.values():
            if not isinstance(p.model, NeuronModel | ValueInput):
                first = int(self.state["step"]) - self.network.past(p)
                events = p.model.fired(
                    first, int(self.state["step"]) + steps - first, p.size, self.dt, self.network.seed_of(p)
                )
                self._given[p.name] = first, spikes_at(events), events.source

    # --- the four parts of a step -------------------------------------------------------------------------------------
    def step(self) -> dict[str, Array]:
        """One step; returns who spiked, (samples, N) for every population that may."""
        n = int(self.state["step"])
        now: dict[str, dict[str, Floats]] = {}  # what populations send in this step
        fired: dict[str, Floats] = {}
        for p in self.order:
            now[p.name] = self._population(p, n, now)
            if p.spikes:
                fired[p.name] = now[p.name][SPIKES]
        self._jumps(n, now)
        for p in self.order:
            if p.neuron and p.neuron.spikes:
                self._reset(p, fired[p.name])
        for learner in self.network.learners():
            self._learn(learner, n, now, fired[learner.population.name] if learner.population.spikes else None)
        for p in self.order:
            if p.neuron and p.neuron.end:
                self._assign(p, p.neuron.end, self._values(p, n), None)
        self._remember(now)
        self.state["step"] = np.array(n + 1)
        return {name: spikes > 0 for name, spikes in fired.items()}

    def _population(self, p: Population, n: int, now: Mapping[str, Mapping[str, Floats]]) -> dict[str, Floats]:
        """What it sends in this step."""
        zeros = np.zeros((self.samples, p.size))
        if isinstance(p.model, ValueInput):
            return {SPIKES: zeros + p.model.at(n, self.dt)}
        if p.neuron is None:
            return {SPIKES: self._source(p, n)}
        values = self._values(p, n)
        for name, receptor in p.neuron.receptors.items():
            if isinstance(receptor, Drive):
                values[name] = self._arriving(p, name, n, now, receptor.reduce)
        if p.neuron.refractory:
            wait = f"{p.name}/wait"
            self.state[wait] = np.maximum(self.state[wait] - 1, 0)
            values["active"] = (self.state[wait] <= 0).astype(float)
        self._assign(p, p.neuron.step, values, None)
        sent: dict[str, Floats] = {}
        if p.neuron.spikes:
            values |= self._own(p)
            crossed = np.broadcast_to(self._expression(p.neuron.threshold)(values), zeros.shape).astype(bool)
            sent[SPIKES] = (crossed & (values["active"] > 0)).astype(float)
        for projection in self.network.projections.values():
            if projection.source is p and projection.sends != SPIKES:  # a variable after its reset
                after = {name: value.copy() for name, value in self.state.items() if name.startswith(f"{p.name}/")}
                if p.neuron.spikes:
                    self._assign(p, p.neuron.reset, self._values(p, n), sent[SPIKES] > 0, into=after)
                sent[projection.sends] = after[f"{p.name}/{projection.sends}"]
        return sent

    def _jumps(self, n: int, now: Mapping[str, Mapping[str, Floats]]) -> None:
        for p in self.order:
            for name, receptor in p.neuron.receptors.items() if p.neuron else ():
                if isinstance(receptor, Jump):
                    gain = self._expression(receptor.gain)({**p.values(), "dt": self.dt, "second": 1.0})
                    self._arriving(p, name, n, now, "sum", onto=f"{p.name}/{receptor.variable}", gain=gain)

    def _reset(self, p: Population, fired: Floats) -> None:
        assert p.neuron is not None
        n = int(self.state["step"])
        self._assign(p, p.neuron.reset, self._values(p, n), fired > 0)
        if p.neuron.refractory:
            steps = whole_steps("refractory", p.neuron.refractory, self.dt)
            self.state[f"{p.name}/wait"] = np.where(fired > 0, steps, self.state[f"{p.name}/wait"])

    def _remember(self, now: Mapping[str, Mapping[str, Floats]]) -> None:
        for p in self.network.populations.values():
            for what, values in now[p.name].items():
                self._push(f"{p.name}/past_{what}", values)

    # --- what arrives -------------------------------------------------------------------------------------------------
    def _sent(self, p: Population, what: str, n: int, delay: int, now: Mapping[str, Mapping[str, Floats]]) -> Floats:
        """What a population sent `delay` steps ago."""
        if delay == 0:
            return now[p.name][what]
        if isinstance(p.model, ValueInput):
            return np.zeros((self.samples, p.size)) + (p.model.at(n - delay, self.dt) if n >= delay else 0.0)
        if p.neuron is None:
            return self._source(p, n - delay)
        return np.asarray(self.state[f"{p.name}/past_{what}"][delay - 1])

    def _source(self, p: Population, n: int) -> Floats:
        first, begins, ids = self._given[p.name]
        found = np.zeros((self.samples, p.size))
        if n >= first:
            found[:, ids[begins[n - first] : begins[n - first + 1]]] = 1.0
        return found

    def _arriving(
        self,
        p: Population,
        receptor: str,
        n: int,
        now: Mapping[str, Mapping[str, Floats]],
        reduce: str,
        *,
        onto: str = "",
        gain: Any = 1.0,
    ) -> Floats:
        """What arrives at a receptor, (samples, N); with `onto`, it is added to a variable of the state."""
        found = self.state[onto] if onto else np.full((self.samples, p.size), -np.inf if reduce == "max" else 0.0)
        for projection in self.network.projections.values():
            if projection.target is not p or projection.receptor != receptor:
                continue
            w, scale = self.state[f"{projection.name}/w"], np.broadcast_to(gain, p.size)
            for delay, which in self.bundles[projection.name]:
                sent = self._sent(projection.source, projection.sends, n, delay, now)
                pre, post = projection.synapses.pre[which], projection.synapses.post[which]
                for sample in range(self.samples):
                    at = np.flatnonzero(sent[sample][pre]) if reduce == "sum" else np.arange(pre.size)
                    values = w[which][at] * sent[sample][pre[at]] * scale[post[at]]
                    (np.maximum if reduce == "max" else np.add).at(found[sample], post[at], values)
        return np.where(np.isneginf(found), 0.0, found) if reduce == "max" else found

    # --- plasticity ---------------------------------------------------------------------------------------------------
    def _learn(self, learner: Learner, n: int, now: Mapping[str, Mapping[str, Floats]], fired: Floats | None) -> None:
        p, rule = learner.population, learner.rule
        assert p.neuron is not None
        s_now = np.zeros((self.samples, p.size)) if fired is None else fired
        values: dict[str, Any] = {"dt": self.dt, "second": 1.0, "s_now": s_now, **rule.constants}
        values["u"] = self.state[f"{p.name}/{p.neuron.potential}"]
        values |= {name: self.state[f"{p.name}/{name}"] for name in rule.reads}
        for name in learner.inputs:
            values[name] = self._rule_input(learner, name, n, now)
        arrived = {q.name: self._sent(q.source, SPIKES, n, int(q.delay), now) for q in learner.projections}
        if isinstance(rule, SpikeTriggeredRule):
            self._at_spikes(learner, rule, values, arrived, n)
        else:
            self._three_factors(learner, rule, values, arrived, n)

    def _rule_input(self, learner: Learner, name: str, n: int, now: Mapping[str, Mapping[str, Floats]]) -> Floats:
        total = np.zeros((self.samples, learner.population.size))
        for projection in learner.projections:
            given = self.network.inputs.get(f"{projection.name}.{name}")
            if given is not None:
                total = total + given.at(n, self.dt)
            total = total + self._arriving(learner.population, f"{projection.name}.{name}", n, now, "sum")
        return total

    def _three_factors(
        self, learner: Learner, rule: ThreeFactorRule, values: dict[str, Any], arrived: Mapping[str, Floats], n: int
    ) -> None:
        state, me, steps, shape = self.state, learner.name, rule.steps(self.dt), values["s_now"].shape
        values |= {name: state[f"{me}/{name}"] for name in rule.signal.variables}
        values |= {name: learner.start.get(name, value) for name, value in rule.signal.parameters.items()}
        for name, delay in steps.delays.items():
            values[f"s_{name}"] = state[f"{me}/past_s"][delay - 1] if delay else values["s_now"]
        signal: Any = 1.0
        if rule.signal.error:
            error = np.broadcast_to(self._expression(rule.signal.error)(values), shape)
            signal = state[f"{me}/tr_err_flt"] if rule.signal.filter else error
            self.passing[f"{me}/err"] = error
        factors = [np.broadcast_to(self._expression(t.factor)(values), shape) for t in rule.every_term()]
        for k, term in enumerate(rule.every_term()):
            self.passing[f"{me}/factor{k}"] = factors[k]
            if term.presynaptic and steps.alignment:
                newest, factors[k] = factors[k], state[f"{me}/past_factor{k}"][steps.alignment - 1]
                self._push(f"{me}/past_factor{k}", newest)
        for projection in learner.projections:
            self._sum(projection, rule, factors, signal, arrived[projection.name])
            if n % steps.interval == 0:
                mean = state[f"{projection.name}/el_sum"].mean(0) / steps.interval
                self._write(projection, mean)
                state[f"{projection.name}/el_sum"] = np.zeros_like(state[f"{projection.name}/el_sum"])
            for k, term in enumerate(rule.every_term()):
                if term.presynaptic and steps.alignment:
                    self._push(f"{projection.name}/past_psp{k}", state[f"{projection.name}/psp{k}"])
                self._filter_inputs(f"{projection.name}/psp{k}", term.presynaptic, arrived[projection.name])
        after = dict(values)
        self._statements(rule.signal.traces)(after)
        for name in rule.signal.variables:
            state[f"{me}/{name}"] = np.broadcast_to(after[name], shape).copy()
        if alpha := rule.signal.filter:
            tr_err = state[f"{me}/tr_err"] + self.dt / alpha.rise * (error - state[f"{me}/tr_err"])
            flt = state[f"{me}/tr_err_flt"]
            state[f"{me}/tr_err"], state[f"{me}/tr_err_flt"] = tr_err, flt + self.dt / alpha.decay * (tr_err - flt)
        self._push(f"{me}/past_s", values["s_now"])

    def _sum(
        self, projection: Projection, rule: ThreeFactorRule, factors: list[Floats], signal: Any, arrived: Floats
    ) -> None:
        """Eligibilities, and what this step adds to the sum of the window."""
        state, name, (pre, post, _) = self.state, projection.name, projection.synapses
        alignment = rule.steps(self.dt).alignment
        for k, term in enumerate(rule.every_term()):
            if term.presynaptic is None:
                psp = arrived
            else:
                psp = state[f"{name}/past_psp{k}"][alignment - 1] if alignment else state[f"{name}/psp{k}"]
            product = psp[:, pre] * factors[k][:, post]
            each = term.eligibility
            if isinstance(each, Cascade):
                rise = state[f"{name}/el{k}_rise"] + product
                state[f"{name}/el{k}"] += self.dt / each.decay * (rise - state[f"{name}/el{k}"])
                state[f"{name}/el{k}_rise"] = rise * np.exp(-self.dt / each.rise)
                product = state[f"{name}/el{k}"]
            elif each is not None:
                product = state[f"{name}/el{k}"] + product
                state[f"{name}/el{k}"] = product * np.exp(-self.dt / each.tau)
            third = np.broadcast_to(signal, factors[k].shape)[:, post] if term.signal else 1.0
            state[f"{name}/el_sum"] += product * third

    def _filter_inputs(self, name: str, each: Filter | None, arrived: Floats) -> None:
        if isinstance(each, Cascade):
            rise = self.state[f"{name}_rise"]
            self.state[name] = self.state[name] + self.dt / each.decay * (rise - self.state[name])
            self.state[f"{name}_rise"] = (rise + arrived) * np.exp(-self.dt / each.rise)
        elif each is not None:
            self.state[name] = (self.state[name] + arrived) * np.exp(-self.dt / each.tau)

    def _write(self, projection: Projection, gradient: Floats) -> None:
        """The code at intervals."""
        intervals, state, name = projection.intervals, self.state, projection.name
        assert intervals is not None
        post, p, w = projection.synapses.post, projection.target, state[f"{projection.name}/w"]
        total = np.bincount(post, w, p.size)
        values: dict[str, Any] = {"w": w, "gradient": gradient, "dt": self.dt, "second": 1.0, **intervals.constants}
        values |= {"w_sum": total[post], "n_in": np.bincount(post, minlength=p.size)[post].astype(float)}
        values |= {"eta": 0.0 if name in self.frozen else intervals.eta, "interval": intervals.interval}
        values |= {v: state[f"{name}/{v}"] for v in intervals.variables}
        values |= {v: state[f"{p.name}/{v}"].mean(0)[post] for v in intervals.reads}
        self._statements(intervals.code)(values)
        for v in (*(() if name in self.frozen else ("w",)), *intervals.variables):
            state[f"{name}/{v}"] = np.broadcast_to(values[v], w.shape).copy()

    def _at_spikes(
        self,
        learner: Learner,
        rule: SpikeTriggeredRule,
        values: dict[str, Any],
        arrived: Mapping[str, Floats],
        n: int,
    ) -> None:
        state, me = self.state, learner.name
        if self.samples > 1:
            raise UsageError(f"{learner.projections[0].name}: a rule at spikes learns from one sample at a time")
        values |= {name: state[f"{me}/{name}"] for name in rule.post_variables}
        for projection in learner.projections:
            came = arrived[projection.name]
            if projection.name not in self.frozen:
                pre, post, _ = projection.synapses
                for code, at in (
                    (rule.on_pre, np.flatnonzero(came[0][pre])),
                    (rule.on_post, np.flatnonzero(values["s_now"][0][post])),
                    (rule.step, np.arange(pre.size)),
                ):
                    self._run_synapses(projection, rule, code, at, values, came)
            if projection.intervals:
                interval = whole_steps("interval", projection.intervals.interval, self.dt)
                if n % interval == 0:
                    self._write(projection, np.zeros(projection.synapses.pre.size))
            traces: dict[str, Any] = {"s": came, "dt": self.dt, "second": 1.0, **rule.constants}
            traces |= {v: state[f"{projection.name}/{v}"] for v in rule.pre_variables}
            self._statements(rule.pre)(traces)
            for v in rule.pre_variables:
                state[f"{projection.name}/{v}"] = np.broadcast_to(traces[v], came.shape).copy()
        after = dict(values)
        self._statements(rule.post)(after)
        for v in rule.post_variables:
            state[f"{me}/{v}"] = np.broadcast_to(after[v], values["s_now"].shape).copy()

    def _run_synapses(
        self,
        projection: Projection,
        rule: SpikeTriggeredRule,
        code: str,
        at: Array,
        of_target: Mapping[str, Any],
        came: Floats,
    ) -> None:
        """Code on some synapses."""
        if not code or not at.size:
            return
        state, name = self.state, projection.name
        pre, post = projection.synapses.pre[at], projection.synapses.post[at]
        values = {k: v[0][post] if np.ndim(v) == 2 else v for k, v in of_target.items()}
        values |= {v: state[f"{name}/{v}"][0][pre] for v in rule.pre_variables}
        values |= {v: state[f"{name}/{v}"][at] for v in ("w", *rule.variables)}
        values["s"] = came[0][pre]
        self._statements(code)(values)
        for v in ("w", *rule.variables):
            state[f"{name}/{v}"][at] = values[v]

    # --- code and values ----------------------------------------------------------------------------------------------
    def _own(self, p: Population) -> dict[str, Any]:
        assert p.neuron is not None
        return {name: self.state[f"{p.name}/{name}"] for name in p.neuron.variables}

    def _values(self, p: Population, n: int) -> dict[str, Any]:
        """What a population's code may use, but for what drives it."""
        assert p.neuron is not None
        values: dict[str, Any] = {"dt": self.dt, "second": 1.0, "active": np.ones((self.samples, p.size))}
        if p.neuron.refractory:
            values["active"] = (self.state[f"{p.name}/wait"] <= 0).astype(float)
        for name in p.neuron.inputs:
            given = self.network.inputs.get(f"{p.name}.{name}")
            values[name] = 0.0 if given is None else given.at(n, self.dt)
        return values | p.values() | self._own(p)

    def _assign(
        self, p: Population, code: str, values: dict[str, Any], where: Array | None, into: State | None = None
    ) -> None:
        """Run statements on all neurons, or on those in `where`, and keep what became of the variables."""
        assert p.neuron is not None
        state, after = self.state if into is None else into, dict(values)
        self._statements(code)(after)
        for name in p.neuron.variables:
            before = state[f"{p.name}/{name}"]
            new = np.broadcast_to(after[name], before.shape)
            state[f"{p.name}/{name}"] = np.array(new) if where is None else np.where(where, new, before)

    def _push(self, name: str, values: Floats) -> None:
        """Remember values, the newest first."""
        if name in self.state:
            self.state[name] = np.concatenate([values[None], self.state[name][:-1]])

    def _statements(self, code: str) -> Any:
        return self._compiled(code, False)

    def _expression(self, code: str) -> Any:
        return self._compiled(code, True)

    def _compiled(self, code: str, value: bool) -> Any:
        key = (code, value)
        if key not in self._code:
            self._code[key] = expression(code) if value else statements(code)
        return self._code[key]


def bundles(projection: Projection) -> list[tuple[int, Any]]:
    """The synapses of each delay."""
    if not np.ndim(projection.delay):
        return [(int(projection.delay), slice(None))]
    return [(int(d), np.flatnonzero(projection.delay == d)) for d in np.unique(projection.delay)]


def _passing(network: Network, samples: int) -> State:
    found: State = {}
    for learner in network.learners():
        if isinstance(learner.rule, ThreeFactorRule):
            names = [f"factor{k}" for k in range(len(learner.rule.every_term()))]
            names += ["err"] if learner.rule.signal.error else []
            found |= {f"{learner.name}/{name}": np.zeros((samples, learner.population.size)) for name in names}
    return found

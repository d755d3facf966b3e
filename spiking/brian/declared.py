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
from dataclasses import dataclass
from functools import partial
from typing import Any

import brian2 as b2
import numpy as np
from brian2 import second

from foundation.errors import RatespikeError, UsageError
from spiking.brian.declared_neurons import inner, largest, places_of
from spiking.brian.declared_projections import Projections
from spiking.brian.running import code_for, run_network
from spiking.brian.simulator import spike_steps
from spiking.network.network import Network
from spiking.network.parts import SPIKES, Array, State
from spiking.network.state import Recorded, Result, check_record, check_state, initial_state
from spiking.rule import ThreeFactorRule


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
            {name: built.watched(name, partial(_recorded, m), before) for name, m in watching.items()},
        )


def _recorded(monitor: Any, variable: str) -> Array:
    return np.asarray(getattr(monitor, f"{variable}_")).T


def sorted_spikes(time: Array, unit: Array, dt: float) -> Array:
    """Spikes of a monitor as rows of step, sample and unit."""
    step, units = spike_steps(time, unit, dt)
    order = np.lexsort((units, step))
    return np.stack([step[order], np.zeros_like(step), units[order]], 1)


@dataclass
class Builder(Projections):
    """The objects of a network for steps first, ..., first + steps - 1, and its state in them."""

    def watch(self, each: Recorded, name: str) -> Any:
        """A monitor of a variable, at the end of every so-manieth step."""
        group, variable, _ = {**self.places, **self.passing}[name]
        clock = self.clock
        if each.every > 1:
            clock = b2.Clock(each.every * self.network.dt * second, name="records*")
        record = True if each.index is None else list(each.index)
        return b2.StateMonitor(group, variable, record=record, when="end", order=100, clock=clock)

    def watched(self, name: str, values: Callable[[str], Array], state: State) -> Array:
        """What a monitor saw, a row for each step, in the shape of the state."""
        places = self.places if name in self.places else self.passing
        lead = state[name].shape[:-1] if name in state else (1,)
        each = next(each for each in self.record if name in each.names())
        whole = state[name].shape[-1] if name in state else int(places[name][0].N)
        size = whole if each.index is None else len(each.index)
        return np.array(values(places[name][1])).reshape(-1, *lead, size)

    def monitors(self, record: Sequence[Recorded]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Of all spikes, and of what is to be recorded."""
        self.record = tuple(record)
        check_record(record)
        for name in (name for each in record for name in each.names()):
            known = {**self.places, **self.passing}
            if name not in known or known[name][2] is not None:
                for part in self.objects:
                    part._network = "none"  # or Brian2 warns of objects that no network runs
                raise UsageError(f"record: there is no variable {name} that Brian2 could record")
        spiking = {p.name: p for p in self.network.populations.values() if p.spikes}
        spikes = {name: b2.SpikeMonitor(self.spiking(p)) for name, p in spiking.items()}
        return spikes, {name: self.watch(each, name) for each in record for name in each.names()}

    def arrays(self, state: State) -> list[tuple[Any, str, Array]]:
        """What the variables of the objects have to be for a state: object, variable, values."""
        found: list[tuple[Any, str, Array]] = []
        for name, (group, variable, which) in self.places.items():
            values = state[name.partition("#")[0]]
            flat = values[0] if values.ndim == 2 else values
            found.append((group, variable, flat if which is None else flat[which]))
        for k, q in enumerate(self._all):
            for place, at in enumerate(places_of(q)) if largest(q) else ():
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
                    found.append((group, f"{inner(r)}f{k}", f"{learner.name}/past_factor{k}"))
                    for projection in learner.projections:
                        pre = self.places[f"{projection.name}/psp{k}"][0]
                        found.append((pre, f"psp{k}", f"{projection.name}/past_psp{k}"))
        return found

    def _past_names(self, variable: str, values: Array) -> list[str]:
        """The newest first. Factors are remembered as they are made: the newest is the variable itself."""
        newest = 0 if variable[0] == "z" else 1
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

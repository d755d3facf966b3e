"""The network: populations, projections and what comes from outside, validated as it is declared.

>>> from spiking.network.connectivity import AllToAll
>>> from spiking.network.models import lif
>>> from spiking.network.sources import PoissonInput
>>> net = Network(dt=1e-3, seed=1)
>>> inputs = net.population("inputs", PoissonInput(50.0), 20)
>>> out = net.population("out", lif(), 3)
>>> _ = net.connect(inputs, out, AllToAll(0.2), receptor="delta", delay=1e-3)
>>> print(net)
network: dt 1 ms, seed 1
  inputs  20  Poisson input
  out      3  leaky integrate-and-fire
  inputs -> out  60 synapses to delta, 1 ms
  a run takes about 1.5 kB
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from foundation.errors import RatespikeError, UsageError
from foundation.memory import free_memory
from foundation.memory import size as readable
from foundation.seeds import derive
from foundation.text import check_name
from spiking.network.connectivity import Connectivity, Map, Mapped
from spiking.network.models import Drive, NeuronModel
from spiking.network.parts import SOURCES, SPIKES, Floats, Learner, Population, Projection, filter_state
from spiking.network.plasticity import Rule, SpikeTriggeredRule
from spiking.network.sources import Source, ValueInput
from spiking.parameters import whole_steps
from spiking.rule import ThreeFactorRule
from spiking.synapses import AdaptiveAveragePool, AveragePool, Conv, Dense, Gain


class Network:
    """A spiking network, see this module.

    Args:
        dt: s, of a step.
        seed: of connections, weights and input spikes, each drawn from (seed, name).

    Attributes:
        populations: by name.
        projections: by name.
        inputs: values from outside by "<population>.<input>" or "<projection>.<input>".

    Raises:
        UsageError: dt is not positive.
    """

    def __init__(self, dt: float, seed: int = 0) -> None:
        if not (math.isfinite(dt) and dt > 0):
            raise UsageError(f"dt: must be positive, got {dt}")
        self.dt, self.seed = dt, seed
        self.populations: dict[str, Population] = {}
        self.projections: dict[str, Projection] = {}
        self.inputs: dict[str, ValueInput] = {}
        self._learners: dict[str, list[Learner]] = {}

    # --- declaring ----------------------------------------------------------------------------------------------------
    def population(
        self,
        name: str,
        model: NeuronModel | Source,
        shape: int | Sequence[int],
        *,
        parameters: Mapping[str, ArrayLike] | None = None,
        start: Mapping[str, ArrayLike] | None = None,
    ) -> Population:
        """Add units of one kind.

        Args:
            name: letters, digits and _.
            model: a neuron model (`spiking.network.models`) or a source (`spiking.network.sources`).
            shape: number of units, or (C, H, W) for maps.
            parameters: that differ from the model's, one number or one for each unit.
            start: of variables, the same.

        Raises:
            UsageError: a name that exists or is none, values that do not fit; the message names population and value.
        """
        if not (name.isidentifier() and name.isascii()) or name in self.populations:
            what = "exists" if name in self.populations else "a name consists of letters, digits and _"
            raise UsageError(f"population {name!r}: {what}")
        sizes = (shape,) if isinstance(shape, int | np.integer) else tuple(shape) if isinstance(shape, Sequence) else ()
        if not sizes or not all(isinstance(n, int | np.integer) and n >= 1 for n in sizes):
            raise UsageError(f"population {name}: its shape must be one whole number or three, at least 1, got {shape}")
        if not isinstance(model, NeuronModel) and not hasattr(model, "check"):
            raise UsageError(f"population {name}: {model!r} is no neuron model and no source")
        number = math.prod(sizes)
        where = f"population {name}"
        if isinstance(model, NeuronModel):
            _check_free(where, model.variables)
            given = {
                "parameters": _fitting(where, "parameter", parameters or {}, model.parameters, number),
                "start": _fitting(where, "variable", start or {}, model.variables, number),
            }
            if model.refractory:
                whole_steps(f"{where}: refractory", model.refractory, self.dt)
            made = Population(name, tuple(int(n) for n in sizes), model, **given)
        else:
            if parameters or start:
                raise UsageError(f"{where}: a source has no parameters and no variables")
            try:
                model.check(number, self.dt)
            except UsageError as error:
                raise UsageError(f"{where}: {error}") from None
            made = Population(name, tuple(int(n) for n in sizes), model)
        self.populations[name] = made
        return made

    def connect(
        self,
        source: Population | str,
        target: Population | str,
        connectivity: Connectivity | Map | Sequence[Map],
        *,
        receptor: str = "",
        delay: ArrayLike | None = None,
        sends: str = SPIKES,
        plasticity: Rule | None = None,
        start: Mapping[str, ArrayLike] | None = None,
        name: str = "",
    ) -> Projection:
        """Add synapses from one population to another.

        Args:
            source: population, or its name.
            target: the same.
            connectivity: see `spiking.network.connectivity`; a linear map of `spiking.synapses`, or several in a row.
            receptor: of the target's model; may be left out where it has one. Or "<projection>.<input>": what arrives
                is an input of that projection's rule, a learning signal for instance.
            delay: s; one number, or one for each synapse as the connectivity orders them. None: that of the rule, or 0.
            sends: "spikes", or a variable of the source's model, whose value is sent in every step.
            plasticity: a rule.
            start: of the rule's variables, of synapses and of targets; else 0, or what the rule says.
            name: "source -> target" if it is left out.

        Raises:
            UsageError: what does not fit; the message names the projection.
            RatespikeError: more synapses than fit into the memory; the message says how many would.
        """
        one, other = self._known(source), self._known(target)
        name = name or f"{one.name} -> {other.name}"
        where = f"projection {name}"
        self._check_name(where, name)
        if plasticity is not None and not isinstance(plasticity, ThreeFactorRule | SpikeTriggeredRule):
            raise UsageError(f"{where}: {type(plasticity).__name__} is no rule; an LPLSynapse becomes one by `lpl`")
        kind = _kind(where, connectivity)
        if other.neuron is None:
            raise UsageError(f"{where}: its target is a source, which takes nothing")
        receptor = self._receptor(where, other, receptor)
        self._check_sent(where, one, sends)
        if delay is None:
            delay = plasticity.axonal_delay if isinstance(plasticity, ThreeFactorRule) else 0.0
        made = Projection(
            name,
            one,
            other,
            kind,
            receptor,
            self._delays(where, delay),
            sends,
            plasticity,
            {},
            derive(self.seed, "projection"),
        )
        self._check_size(where, made)
        if np.ndim(made.delay) and np.shape(made.delay) != made.synapses.pre.shape:
            raise UsageError(f"{where}: {np.size(made.delay)} delays for {made.synapses.pre.size} synapses")
        if plasticity is None and start:
            raise UsageError(f"{where}: it is not plastic, so nothing of it starts anywhere")
        self.projections[name] = made
        try:
            self.order()
            if plasticity is not None:
                self.projections[name] = self._plastic(where, made, plasticity, start or {})
        except UsageError:
            del self.projections[name]
            raise
        return self.projections[name]

    def input(self, name: str, values: ValueInput | ArrayLike) -> None:
        """Give values from outside to "<population>.<input>" or "<projection>.<input>"; 0 where nothing is given.

        Raises:
            UsageError: there is no such input, or the values do not fit.
        """
        owner, _, which = name.rpartition(".")
        if owner in self.populations:
            population = self.populations[owner]
            known: tuple[str, ...] = population.neuron.inputs if population.neuron else ()
        elif owner in self.projections and self.projections[owner].rule is not None:
            population, known = self.projections[owner].target, self.learner(self.projections[owner]).inputs
        else:
            raise UsageError(f"input {name!r}: there is no population and no plastic projection {owner!r}")
        if which not in known:
            raise UsageError(f"input {name!r}: {owner} has no such input; it has {', '.join(known) or 'none'}")
        if owner in self.projections:
            mates = [f"{p.name}.{which}" for p in self.learner(self.projections[owner]).projections if p.name != owner]
            for other in mates:
                if other in self.inputs:
                    raise UsageError(f"input {name}: {other} is the same input of the same rule, and is given already")
        given = values if isinstance(values, ValueInput) else ValueInput(np.asarray(values, np.float64))
        try:
            given.check(population.size, self.dt)
        except UsageError as error:
            raise UsageError(f"input {name}: {error}") from None
        self.inputs[name] = given

    # --- what it is ---------------------------------------------------------------------------------------------------
    def learners(self) -> list[Learner]:
        """The rules at work, by population."""
        return [learner for each in self._learners.values() for learner in each]

    def learner(self, projection: Projection) -> Learner:
        """The rule at work in a plastic projection."""
        return next(each for each in self.learners() if projection.name in [p.name for p in each.projections])

    def order(self) -> list[Population]:
        """The populations in the order in which a step runs them: after those that drive them without delay.

        Raises:
            UsageError: they drive each other in a circle; the message says which.
        """
        before: dict[str, set[str]] = {name: set() for name in self.populations}
        for projection in self.projections.values():
            if isinstance(projection.into, Drive) and np.any(np.equal(projection.delay, 0)):
                before[projection.target.name].add(projection.source.name)
        found: list[str] = []
        while len(found) < len(before):
            ready = [name for name in before if name not in found and before[name] <= {*found}]
            if not ready:
                circle = sorted(name for name in before if name not in found)
                raise UsageError(
                    f"populations {', '.join(circle)}: drive one another in the same step; give a projection a delay"
                )
            found.append(ready[0])
        return [self.populations[name] for name in found]

    def seed_of(self, population: Population) -> int:
        """Of what a source draws."""
        return derive(self.seed, "population", population.name)

    def past(self, population: Population, sends: str = SPIKES) -> int:
        """For how many steps what it sends has to be remembered, for the longest delay of its projections."""
        delays = [p.longest for p in self.projections.values() if p.source.name == population.name and p.sends == sends]
        return max(delays, default=0)

    def memory(self) -> float:
        """Bytes that a run takes, about, before it has recorded anything."""
        synapses = sum(p.expected * (24 + 8 * _synaptic(p)) for p in self.projections.values())
        units = sum(
            p.size * 8 * (2 + len(p.neuron.variables) + self.past(p)) for p in self.populations.values() if p.neuron
        )
        return synapses + units

    def __str__(self) -> str:
        lines = [f"network: dt {_time(self.dt)}, seed {self.seed}"]
        name_width = max((len(name) for name in self.populations), default=0)
        sizes = {p.name: " x ".join(map(str, p.shape)) for p in self.populations.values()}
        size_width = max((len(text) for text in sizes.values()), default=0)
        for population in self.populations.values():
            kind = population.neuron.name if population.neuron else SOURCES.get(type(population.model), "input")
            lines.append(f"  {population.name:<{name_width}}  {sizes[population.name]:>{size_width}}  {kind}")
        for p in self.projections.values():
            delay = _time(np.max(p.delay, initial=0) * self.dt) if np.any(p.delay) else "no delay"
            plastic = f", {type(p.rule).__name__}" if p.rule else ""
            sent = "" if p.sends == SPIKES else f", sends {p.sends}"
            lines.append(f"  {p.name}  {p.expected:,.0f} synapses to {p.receptor}, {delay}{sent}{plastic}")
        return "\n".join([*lines, f"  a run takes about {readable(self.memory())}"])

    # --- checking -----------------------------------------------------------------------------------------------------
    def _check_name(self, where: str, name: str) -> None:
        if name in self.projections:
            raise UsageError(f"{where}: exists; give this one a name")
        if "#" in name:
            raise UsageError(f"{where}: a name must not hold '#'")
        if name in self.populations or re.fullmatch(r"\w+\.rule\d+", name):
            raise UsageError(f"{where}: a population or a rule has that name")
        check_name("projection", name)

    def _known(self, population: Population | str) -> Population:
        name = population if isinstance(population, str) else population.name
        found = self.populations.get(name)
        if found is None or (isinstance(population, Population) and found is not population):
            raise UsageError(f"population {name!r}: is none of this network")
        return found

    def _receptor(self, where: str, target: Population, receptor: str) -> str:
        assert target.neuron is not None
        known = target.neuron.receptors
        if not receptor and len(known) == 1:
            return next(iter(known))
        owner, _, which = receptor.rpartition(".")
        if owner:
            learns = self.projections.get(owner)
            if learns is None or learns.rule is None or learns.target is not target:
                raise UsageError(f"{where}: {owner!r} is no plastic projection to {target.name}")
            if which not in self.learner(learns).inputs:
                raise UsageError(f"{where}: the rule of {owner} has no input {which!r}")
        elif receptor not in known:
            what = f"there is no receptor {receptor!r} in {target.name}" if receptor else "say which receptor"
            raise UsageError(f"{where}: {what}; it has {', '.join(known) or 'none'}")
        return receptor

    def _check_sent(self, where: str, source: Population, sends: str) -> None:
        if sends == SPIKES:
            if isinstance(source.model, NeuronModel) and not source.spikes:
                raise UsageError(f"{where}: {source.name} never spikes; say which variable it sends")
        elif source.neuron is None or sends not in source.neuron.variables:
            raise UsageError(f"{where}: {source.name} has no variable {sends!r} to send")

    def _delays(self, where: str, delay: ArrayLike) -> Any:
        given = np.asarray(delay, np.float64)
        if given.ndim > 1 or not np.isfinite(given).all() or (given < 0).any():
            raise UsageError(f"{where}: delays must be finite and not negative")
        steps = np.rint(given / self.dt)
        off = np.abs(given / self.dt - steps) > 1e-6 * np.maximum(1, steps * 1e-7)
        if off.any():
            raise UsageError(f"{where}: a delay of {given[off].ravel()[0]} s is no multiple of dt = {self.dt} s")
        return steps.astype(np.int64) if given.ndim else int(steps)

    def _check_size(self, where: str, projection: Projection) -> None:
        try:
            expected = projection.expected
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        each = 24 + 8 * _synaptic(projection)
        if expected * each > 2**26 and expected * each > (free := free_memory()):
            raise RatespikeError(
                f"{where}: {expected:,.0f} synapses take {readable(expected * each)} of memory, "
                f"{readable(free)} are free: {free // each:,} would fit"
            )
        try:
            if expected <= 2**16 or isinstance(projection.connectivity, Mapped):
                _ = projection.synapses
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None

    def _plastic(self, where: str, made: Projection, rule: Rule, start: Mapping[str, ArrayLike]) -> Projection:
        target = made.target
        assert target.neuron is not None
        if made.sends != SPIKES or isinstance(made.source.model, ValueInput):
            raise UsageError(f"{where}: plasticity needs a source that spikes")
        if np.ndim(made.delay):
            raise UsageError(f"{where}: a plastic projection has one delay")
        if isinstance(made.connectivity, Mapped) and any(isinstance(m, Conv) for m in made.connectivity.maps):
            raise UsageError(f"{where}: synapses of a convolution share weights and cannot learn one by one")
        for name in rule.reads:
            if name not in target.neuron.variables:
                raise UsageError(f"{where}: its rule reads {name!r}, which {target.name} does not have")
        if not target.neuron.potential:
            raise UsageError(f"{where}: the model of {target.name} does not say which variable is its potential")
        if isinstance(rule, ThreeFactorRule):
            rule.steps(self.dt)
        intervals = made.intervals
        if intervals is not None:
            whole_steps(f"{where}: interval", intervals.interval, self.dt)
            for name in intervals.reads:
                if name not in target.neuron.variables:
                    raise UsageError(f"{where}: its code at intervals reads {name!r}, which {target.name} has not")
        of_target = rule.post_variables if isinstance(rule, SpikeTriggeredRule) else rule.signal.variables
        synaptic = {"w", *(intervals.variables if intervals else ())}
        synaptic |= {*rule.variables} if isinstance(rule, SpikeTriggeredRule) else set()
        _check_free(where, {*of_target, *synaptic} - {"w"})
        for name in start:
            if name not in {*of_target, *synaptic, *_parameters(rule)}:
                raise UsageError(f"{where}: its rule has no variable {name!r}")
        shared = {k: v for k, v in start.items() if k in of_target or k in _parameters(rule)}
        values = _fitting(where, "variable", shared, dict.fromkeys(shared, 0.0), target.size)
        own = {k: v for k, v in start.items() if k not in shared}
        own_values = _fitting(where, "variable", own, dict.fromkeys(own, 0.0), made.synapses.pre.size) if own else {}
        there = self._learners.setdefault(target.name, [])
        mate = next((each for each in there if each.rule == rule and _same(each.start, values)), None)
        plastic = Projection(
            *(made.name, made.source, target, made.connectivity, made.receptor, made.delay, made.sends),
            rule,
            own_values,
            made.seed,
        )
        if mate is None:
            there.append(Learner(f"{target.name}.rule{len(there)}", target, rule, [plastic], values))
        else:
            mate.projections.append(plastic)
        return plastic


_MAPS = (Dense, Conv, AveragePool, AdaptiveAveragePool, Gain)


def _kind(where: str, connectivity: Connectivity | Map | Sequence[Map]) -> Connectivity:
    """A connectivity as it is; linear maps as one."""
    if isinstance(connectivity, (*_MAPS, Sequence)):
        return Mapped(connectivity)
    if not hasattr(connectivity, "count"):
        raise UsageError(f"{where}: {connectivity!r} is no connectivity")
    return connectivity


def _check_free(where: str, names: Iterable[str]) -> None:
    """Refuse variables that are called like something that every network's state may have."""
    for name in names:
        if re.fullmatch(r"wait|err|tr_err|tr_err_flt|el_sum|(el|psp|factor)\d+(_rise)?|past_\w+", name):
            raise UsageError(f"{where}: a variable of its own must not be called {name!r}")


def _synaptic(projection: Projection) -> int:
    """Variables of every synapse beside its ends and its weight."""
    rule, intervals = projection.rule, projection.intervals
    number = len(intervals.variables) if intervals else 0
    if isinstance(rule, ThreeFactorRule):
        return number + 1 + sum(len(filter_state("el", term.eligibility)) for term in rule.every_term())
    return number + (len(rule.variables) if rule else 0)


def _parameters(rule: Rule) -> tuple[str, ...]:
    return () if isinstance(rule, SpikeTriggeredRule) else tuple(rule.signal.parameters)


def _same(one: Mapping[str, Floats], other: Mapping[str, Floats]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def _fitting(
    where: str, what: str, given: Mapping[str, ArrayLike], known: Mapping[str, Any], size: int
) -> dict[str, Floats]:
    """Values that are known, finite, and one number or one for each unit."""
    found = {}
    for name, values in given.items():
        if name not in known:
            raise UsageError(f"{where}: there is no {what} {name!r}; there are {', '.join(known) or 'none'}")
        array = np.array(values, dtype=np.float64)
        if array.shape not in ((), (size,)):
            raise UsageError(f"{where}: {what} {name} must be one number or ({size},), got shape {array.shape}")
        if not np.isfinite(array).all():
            raise UsageError(f"{where}: {what} {name} must be finite")
        found[name] = array
    return found


def _time(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1e3:g} ms"

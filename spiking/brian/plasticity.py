"""Attach a three-factor rule, LPL or one of your own, to a Brian2 network of your own.

Whatever is attached takes a `name`: its synapses bear it, and all its other objects bear names that begin with it. With
names of your own for all that you make, Brian2's `Network.store` and `restore` work in a network that was built again.
A name that ends in "*", as the default does, is made unique.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from brian2 import Clock, NeuronGroup, Synapses, linked_var, second, volt
from brian2.core.functions import DEFAULT_CONSTANTS, DEFAULT_FUNCTIONS
from brian2.core.names import find_name
from brian2.core.namespace import DEFAULT_UNITS
from brian2.core.spikesource import SpikeSource
from brian2.equations.equations import EquationError
from brian2.groups.subgroup import Subgroup
from numpy.typing import ArrayLike, NDArray

from foundation.errors import UsageError
from spiking.brian import equations as eq
from spiking.brian.delays import memory_cells, own_clock, refer, relay, remember_spikes
from spiking.brian.rounding import single
from spiking.parameters import LPLSynapse
from spiking.rule import Cascade, RuleSteps, ThreeFactorRule, lpl

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PlasticProjection:
    """The Brian2 objects of one plastic projection; iterate over it to add them to a network.

    The weights are ``synapses.w``, in the order in which the synapses were given.
    """

    rule: ThreeFactorRule
    synapses: Synapses  # w, el, el_flt, el_sum, dw_sum, g2, and eta (set it to 0 to freeze the weights)
    pre: NeuronGroup  # psp and trpre of every input
    post: NeuronGroup  # of every neuron: err, tr_err, tr_err_flt, sigma_prime; the rule's variables, parameters, inputs
    memory: NeuronGroup  # the last spikes of every neuron
    relays: tuple[Synapses, ...]  # carry spikes to `pre` and `post`
    window: int  # steps between weight updates

    def __iter__(self) -> Iterator[Any]:
        return iter((self.synapses, self.pre, self.post, self.memory, *self.relays))

    def gradient(self) -> Floats:
        """Weight change per unit of eta since the start, per synapse, the unfinished window included."""
        total = self.synapses.dw_sum[:] + self.synapses.el_sum[:] / self.window
        return np.asarray(total, dtype=np.float64)


def attach_rule(
    source: SpikeSource,
    target: NeuronGroup,
    rule: ThreeFactorRule,
    *,
    i: ArrayLike,
    j: ArrayLike,
    w: ArrayLike,
    potential: str,
    on_pre: str,
    dt: float,
    start: Mapping[str, ArrayLike] | None = None,
    arrived: bool = False,
    name: str = "plastic*",
) -> PlasticProjection:
    r"""Plastic synapses from `source` to `target` that learn by `rule`.

    Nothing has to be added to the equations of `target`: the rule keeps its own variables beside it and reads the
    variable `potential` (in volt, or without a unit) after the reset of each step, in the unit of the rule's constants.
    Input spikes reach `target` through `on_pre` after the axonal delay.

    The rule's parameters and inputs are variables of the group ``.post``, one value per neuron. A parameter begins with
    its default, an input with 0; set an input in every step before slot ``after_resets``, e.g. with a
    ``run_regularly`` of ``.post``, or by synapses to it.

    Args:
        source: what spikes: a NeuronGroup, PoissonGroup, SpikeGeneratorGroup, ...
        target: neurons with a threshold
        rule: see `spiking.rule`
        i: (n,) index of each synapse's input
        j: (n,) index of its target neuron
        w: (n,) or one number, initial weights
        potential: name of the membrane potential of `target`
        on_pre: what an input spike does, e.g. ``"g_post += w"``
        dt: s, that of `source` and of `target`
        start: where variables of the rule's signal start, per target neuron or one number; 0 where nothing is given
        arrived: the spikes of `source` have come down their axons (`spiking.brian.delays.axon`): no further delay
        name: of the synapses, and how the names of all other objects begin

    Raises:
        UsageError: an argument does not fit, or the rule has a name that means something else in Brian2.

    >>> from brian2 import Network, NeuronGroup, PoissonGroup, TimedArray, Hz, ms, mV
    >>> from spiking.rule import super_spike
    >>> inputs = PoissonGroup(20, 30*Hz, dt=0.1*ms)
    >>> mine = NeuronGroup(2, "dv/dt = (-70*mV - v + 90*mV*g)/(20*ms) : volt\ndg/dt = -g/(5*ms) : 1",
    ...                    threshold="v > -50*mV", reset="v = -70*mV", method="euler", dt=0.1*ms)
    >>> mine.v = -70*mV
    >>> pre, post = np.repeat(np.arange(20), 2), np.tile(np.arange(2), 20)
    >>> learning = attach_rule(inputs, mine, super_spike(interval=0.1), i=pre, j=post, w=0.2, potential="v",
    ...                        on_pre="g_post += w", dt=1e-4)
    >>> train = (np.arange(3000) % 500 == 0)[:, None] * np.ones(2)  # both shall fire every 50 ms
    >>> learning.post.namespace["train"] = TimedArray(train, dt=0.1*ms)
    >>> _ = learning.post.run_regularly("target = train(t, i)", when="start", dt=0.1*ms)
    >>> Network(inputs, mine, learning).run(0.3*second)
    >>> bool(np.any(learning.synapses.w != 0.2))
    True
    """
    steps, only = rule.steps(dt), rule.one_term("attach_rule")
    check_group("source", source, dt)
    check_group("target", target, dt)
    rows, columns = indices("i", i, source.N), indices("j", j, target.N)
    weights = initial_weights(w, rows, columns, only.update.w_min, only.update.w_max)
    volts = _in_volt(target, potential)

    travel, name = 0 if arrived else steps.axonal_delay, unique(name)
    pre, to_pre = _presynaptic(source, only.presynaptic, steps, travel, f"{name}_inputs")
    post, memory, to_post = _postsynaptic(target, rule, steps, potential, volts, f"{name}_neurons")
    _set_start(post, rule, start or {})
    synapses = _synapses(source, target, rule, steps, on_pre, travel, name)
    refer(synapses, "psp_d", pre, eq.history("psp", steps.alignment)[-1], "from_j")
    refer(synapses, "sigma_prime_d", post, eq.history("sigma_prime", steps.alignment)[-1], "to_i")
    refer(synapses, "tr_err_flt_i", post, "tr_err_flt", "to_i")
    synapses.connect(i=rows, j=columns, namespace={})
    synapses.from_j, synapses.to_i = rows, columns
    synapses.w, synapses.eta = weights, only.update.eta
    return PlasticProjection(rule, synapses, pre, post, memory, (to_pre, to_post), steps.interval)


def attach_lpl(
    source: SpikeSource,
    target: NeuronGroup,
    rule: LPLSynapse,
    *,
    i: ArrayLike,
    j: ArrayLike,
    w: ArrayLike,
    potential: str,
    on_pre: str,
    dt: float,
    mean_rate: ArrayLike = 0.0,
    sigma2: ArrayLike = 0.0,
    arrived: bool = False,
    name: str = "plastic*",
) -> PlasticProjection:
    r"""Plastic synapses from `source` to `target` that learn by LPL: `attach_rule` with `spiking.rule.lpl`.

    Args:
        source: as `attach_rule`, and so are i, j, w, potential, on_pre, dt and arrived
        target: neurons with a threshold
        rule: its lambda_ and phi hold for all neurons; set ``.post.lambda_i``, ``.post.phi_i`` for single ones
        i: (n,)
        j: (n,)
        w: (n,) or one number
        potential: in the units of rule.theta and rule.beta
        on_pre: what an input spike does
        dt: s
        mean_rate: Hz, per target neuron or one number: where the mean trace starts
        sigma2: Hz, the same for the variance
        arrived: no further delay
        name: as `attach_rule`

    >>> from brian2 import Network, NeuronGroup, PoissonGroup, Hz, ms, mV
    >>> inputs = PoissonGroup(20, 30*Hz, dt=0.1*ms)
    >>> mine = NeuronGroup(2, "dv/dt = (-70*mV - v + 90*mV*g)/(20*ms) : volt\ndg/dt = -g/(5*ms) : 1",
    ...                    threshold="v > -50*mV", reset="v = -70*mV", method="euler", dt=0.1*ms)
    >>> mine.v = -70*mV
    >>> pre, post = np.repeat(np.arange(20), 2), np.tile(np.arange(2), 20)
    >>> lpl = attach_lpl(inputs, mine, LPLSynapse(eta=1e-3), i=pre, j=post, w=0.2, potential="v",
    ...                  on_pre="g_post += w", dt=1e-4, mean_rate=10.0, sigma2=10.0)
    >>> Network(inputs, mine, lpl).run(0.6*second)
    >>> bool(np.any(lpl.synapses.w != 0.2))
    True
    """
    rule.steps(dt)  # in the words of an LPLSynapse
    start = {
        "tr_mean": per_neuron("mean_rate", mean_rate, target.N) * rule.tau_mean,
        "sigma2": per_neuron("sigma2", sigma2, target.N),
    }
    return attach_rule(
        source,
        target,
        lpl(rule, dt),
        i=i,
        j=j,
        w=w,
        potential=potential,
        on_pre=on_pre,
        dt=dt,
        start=start,
        arrived=arrived,
        name=name,
    )


def _presynaptic(
    source: SpikeSource, filter: Cascade, steps: RuleSteps, travel: int, name: str
) -> tuple[NeuronGroup, Synapses]:
    clock = source.clock
    model = eq.with_history(eq.PRESYNAPTIC, "psp", steps.alignment)
    group = NeuronGroup(source.N, model, clock=clock, namespace=_times("tau_psi", filter), name=name)
    if steps.alignment:
        remember = eq.shift("psp", steps.alignment)
        group.run_regularly(remember, clock=clock, when=eq.SLOT, order=eq.ORDER["remember"])
    group.run_regularly(eq.PRESYNAPTIC_TRACES, clock=clock, when=eq.SLOT, order=eq.ORDER["traces"])
    return group, relay(source, group, eq.SPIKE_PRE, travel * float(clock.dt))


def _postsynaptic(
    target: NeuronGroup, rule: ThreeFactorRule, steps: RuleSteps, potential: str, volts: bool, name: str
) -> tuple[NeuronGroup, NeuronGroup, Synapses]:
    clock, signal = target.clock, rule.signal
    model = eq.with_history(eq.POSTSYNAPTIC + memory_cells(*signal.delays), "sigma_prime", steps.alignment)
    model += f"potential : {'volt' if volts else '1'} (linked)\n"
    model += "".join(f"{name} : 1\n" for name in (*signal.variables, *signal.inputs))
    model += "".join(f"{name} : {'second' if _is_time(name) else '1'}\n" for name in signal.parameters)
    given = {**_times("tau_err", rule.one_term("attach_rule").filter), "unit": volt if volts else 1.0, "single": single}
    try:
        group = NeuronGroup(target.N, model, clock=clock, namespace=given, name=name)
    except (SyntaxError, ValueError, EquationError) as error:  # a name that Brian2 forbids, or one for two things
        raise UsageError(f"rule: {error}") from None
    group.potential = linked_var(target, potential)
    for name, value in signal.parameters.items():
        setattr(group, f"{name}_", value)  # without its unit
    memory = remember_spikes(group, steps.delays)
    _check_names(group, rule)
    for name, value in rule.constants.items():
        group.namespace[name] = value * second if _is_time(name) else value
    code = eq.error_and_factor(signal.error, rule.factor, steps.alignment)
    group.run_regularly(code, clock=clock, when=eq.SLOT, order=eq.ORDER["error"])
    traces = eq.postsynaptic_traces(signal.traces)
    group.run_regularly(traces, clock=clock, when=eq.SLOT, order=eq.ORDER["traces"])
    return group, memory, relay(target, group, eq.SPIKE_POST)


def _check_names(group: NeuronGroup, rule: ThreeFactorRule) -> None:
    """Refuse names of the rule, local variables included, that mean something else to Brian2: it would take that."""
    signal = rule.signal
    variables = {*signal.parameters, *signal.variables, *signal.inputs}
    nodes = ast.walk(ast.parse(signal.traces.strip()))
    assigned = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    taken = {*group.namespace, *DEFAULT_UNITS, *DEFAULT_FUNCTIONS, *DEFAULT_CONSTANTS}
    for name in sorted(variables | assigned | rule.constants.keys()):
        if name in taken or (name in group.variables and name not in variables):
            raise UsageError(f"rule: its name {name!r} has another meaning in Brian2 or in the code around it")


def _synapses(
    source: SpikeSource,
    target: NeuronGroup,
    rule: ThreeFactorRule,
    steps: RuleSteps,
    on_pre: str,
    travel: int,
    name: str,
) -> Synapses:
    clock, only = target.clock, rule.one_term("attach_rule")
    update = only.update
    interval = steps.interval * clock.dt
    constants = {
        **_times("tau_el", only.eligibility),
        **{"window": steps.interval, "interval": interval, "w_min": update.w_min, "w_max": update.w_max},
        **{"tau_rms": update.tau_rms * second, "tau_w": (update.tau_w or 0.0) * second, "growth": rule.growth},
    }
    synapses = Synapses(
        source,
        target,
        eq.SYNAPTIC + (eq.SYNAPTIC_MAXIMUM if update.augment else ""),
        on_pre=f"{on_pre}\n{eq.SPIKE_GROWTH}" if rule.growth else on_pre,
        delay=travel * clock.dt,
        clock=clock,
        namespace=constants,
        dtype={"from_j": np.int64, "to_i": np.int64},
        name=name,
    )
    for constant in constants:
        if constant in synapses.variables:
            raise UsageError(f"target: its variable {constant!r} bears a name of the rule; choose another")
    synapses.run_regularly(eq.ELIGIBILITY, clock=clock, when=eq.SLOT, order=eq.ORDER["eligibility"])
    code = eq.weight_update(
        augment=update.augment,
        decay=update.tau_w is not None,
        lower=update.w_min is not None,
        upper=update.w_max is not None,
    )
    windows = Clock(interval, name=f"{name}_windows")
    synapses.run_regularly(code, clock=windows, when=eq.SLOT, order=eq.ORDER["update"])
    return synapses


def _is_time(name: str) -> bool:
    """Of a rule's constant or parameter."""
    return name.startswith("tau_")


def _times(name: str, filter: Cascade) -> dict[str, Any]:
    return {f"{name}_rise": filter.rise * second, f"{name}_decay": filter.decay * second}


def _set_start(group: NeuronGroup, rule: ThreeFactorRule, start: Mapping[str, ArrayLike]) -> None:
    known = rule.signal.variables
    for name, values in start.items():
        if name not in known:
            raise UsageError(f"start: the rule has no variable {name!r}; it has {', '.join(known) or 'none'}")
        setattr(group, name, per_neuron(f"start: {name}", values, group.N, signed=True))


def _in_volt(target: NeuronGroup, potential: str) -> bool:
    if potential not in target.variables:
        raise UsageError(f"potential: the target has no variable {potential!r}")
    dimensions = target.variables[potential].dim
    if not (dimensions.is_dimensionless or dimensions is volt.dim):
        raise UsageError(f"potential: {potential!r} must be in volt or without a unit")
    return not dimensions.is_dimensionless


def unique(name: str) -> str:
    """The name of an object that is to be made, as it is; one that ends in "*" is made unique, as Brian2 does.

    Raises:
        UsageError: it is none for Brian2.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*\*?", name, flags=re.ASCII):
        raise UsageError(f"name: must be letters, digits and _, and may end in *, got {name!r}")
    return str(find_name(name))


def check_group(name: str, group: Any, dt: float) -> None:
    if isinstance(group, Subgroup):
        raise UsageError(f"{name}: give the whole group, not a part of it, and index it by i and j")
    own_clock(group)
    own = float(group.clock.dt)
    if abs(own - dt) > 1e-9 * dt:
        raise UsageError(f"{name}: its dt is {own} s, and dt = {dt} s was asked for")


def indices(name: str, values: ArrayLike, size: int) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0 or not np.issubdtype(array.dtype, np.integer):
        raise UsageError(f"{name}: must be a list of integers, one per synapse, got shape {array.shape}, {array.dtype}")
    if array.min() < 0 or array.max() >= size:
        raise UsageError(f"{name}: must lie in 0..{size - 1}, got {array.min()}..{array.max()}")
    return array.astype(np.int64)


def initial_weights(
    w: ArrayLike, rows: NDArray[np.int64], columns: NDArray[np.int64], w_min: float | None, w_max: float | None
) -> Floats:
    """Weights (n,) of synapses between `rows` and `columns`, each (n,); raises `UsageError` where they do not fit."""
    if rows.size != columns.size:
        raise UsageError(f"i, j: must have the same length, got {rows.size} and {columns.size}")
    array = np.asarray(w, dtype=np.float64)
    if array.ndim and array.shape != rows.shape:
        raise UsageError(f"w: must be one number or have shape {rows.shape}, got {array.shape}")
    low, high = (-np.inf if w_min is None else w_min), (np.inf if w_max is None else w_max)
    if not np.all((array >= low) & (array <= high) & np.isfinite(array)):
        raise UsageError(f"w: must lie in [{low}, {high}], got {array.min()}..{array.max()}")
    return np.broadcast_to(array, rows.shape)


def per_neuron(name: str, values: ArrayLike, size: int, *, signed: bool = False) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.shape not in ((), (size,)):
        raise UsageError(f"{name}: must be one number or have shape ({size},), got {array.shape}")
    if not np.all(np.isfinite(array) & (signed | (array >= 0))):
        raise UsageError(f"{name}: must be finite{'' if signed else ' and not negative'}")
    return np.broadcast_to(array, (size,))

"""Attach the LPL rule to a Brian2 network of your own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from brian2 import NeuronGroup, Synapses, linked_var, second, volt
from brian2.core.spikesource import SpikeSource
from brian2.groups.subgroup import Subgroup
from numpy.typing import ArrayLike, NDArray

from foundation.errors import UsageError
from spiking.brian import equations as eq
from spiking.brian.delays import memory_cells, refer, relay, remember_spikes
from spiking.brian.rounding import single
from spiking.parameters import LPLSteps, LPLSynapse

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LPL:
    """The Brian2 objects of one plastic projection; iterate over it to add them to a network.

    The weights are ``synapses.w``, in the order in which the synapses were given.
    """

    rule: LPLSynapse
    synapses: Synapses  # w, el, el_flt, el_sum, dw_sum, g2, and eta (set it to 0 to freeze the weights)
    pre: NeuronGroup  # psp and trpre of every input
    post: NeuronGroup  # lambda_i, phi_i, err, tr_err, tr_err_flt, tr_mean, sigma2, sigma_prime of every neuron
    memory: NeuronGroup  # the last spikes of every neuron
    relays: tuple[Synapses, ...]  # carry spikes to `pre` and `post`
    window: int  # steps between weight updates

    def __iter__(self) -> Iterator[Any]:
        return iter((self.synapses, self.pre, self.post, self.memory, *self.relays))

    def gradient(self) -> Floats:
        """Weight change per unit of eta since the start, per synapse, the unfinished window included."""
        total = self.synapses.dw_sum[:] + self.synapses.el_sum[:] / self.window
        return np.asarray(total, dtype=np.float64)


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
) -> LPL:
    r"""Plastic synapses from `source` to `target` that learn by `rule`.

    Nothing has to be added to the equations of `target`: the rule keeps its own variables beside it and reads the
    variable `potential` (in volt, or without a unit) after the reset of each step, in the units of rule.theta and
    rule.beta. Input spikes reach `target` through `on_pre` after the axonal delay.

    Args:
        source: what spikes: a NeuronGroup, PoissonGroup, SpikeGeneratorGroup, ...
        target: neurons with a threshold
        rule: its lambda_ and phi hold for all neurons; set ``.post.lambda_i``, ``.post.phi_i`` for single ones
        i: (n,) index of each synapse's input
        j: (n,) index of its target neuron
        w: (n,) or one number, initial weights
        potential: name of the membrane potential of `target`
        on_pre: what an input spike does, e.g. ``"g_post += w"``
        dt: s, that of `source` and of `target`
        mean_rate: Hz, per target neuron or one number: where the mean trace starts
        sigma2: Hz, the same for the variance
        arrived: the spikes of `source` have come down their axons (`spiking.brian.delays.axon`): no further delay

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
    steps = rule.steps(dt)
    check_group("source", source, dt)
    check_group("target", target, dt)
    rows, columns = indices("i", i, source.N), indices("j", j, target.N)
    weights = initial_weights(w, rows, columns, rule.w_min, rule.w_max)
    volts = _in_volt(target, potential)
    rates, variances = per_neuron("mean_rate", mean_rate, target.N), per_neuron("sigma2", sigma2, target.N)

    travel = 0 if arrived else steps.axonal_delay
    pre, to_pre = _presynaptic(source, rule, steps, travel)
    post, memory, to_post = _postsynaptic(target, rule, steps, potential, volts)
    post.tr_mean, post.sigma2 = rates * rule.tau_mean, variances
    synapses = _synapses(source, target, rule, steps, on_pre, travel)
    refer(synapses, "psp_d", pre, eq.history("psp", steps.axonal_delay)[-1], "from_j")
    refer(synapses, "sigma_prime_d", post, eq.history("sigma_prime", steps.axonal_delay)[-1], "to_i")
    refer(synapses, "tr_err_flt_i", post, "tr_err_flt", "to_i")
    synapses.connect(i=rows, j=columns, namespace={})
    synapses.from_j, synapses.to_i = rows, columns
    synapses.w, synapses.eta = weights, rule.eta
    return LPL(rule, synapses, pre, post, memory, (to_pre, to_post), steps.update_interval)


def _presynaptic(source: SpikeSource, rule: LPLSynapse, steps: LPLSteps, travel: int) -> tuple[NeuronGroup, Synapses]:
    clock = source.clock
    constants = {"tau_mem": rule.tau_mem * second, "tau_syn": rule.tau_syn * second}
    model = eq.with_history(eq.PRESYNAPTIC, "psp", steps.axonal_delay)
    group = NeuronGroup(source.N, model, clock=clock, namespace=constants)
    if steps.axonal_delay:
        remember = eq.shift("psp", steps.axonal_delay)
        group.run_regularly(remember, clock=clock, when=eq.SLOT, order=eq.ORDER["remember"])
    group.run_regularly(eq.PRESYNAPTIC_TRACES, clock=clock, when=eq.SLOT, order=eq.ORDER["traces"])
    return group, relay(source, group, eq.SPIKE_PRE, travel * float(clock.dt))


def _postsynaptic(
    target: NeuronGroup, rule: LPLSynapse, steps: LPLSteps, potential: str, volts: bool
) -> tuple[NeuronGroup, NeuronGroup, Synapses]:
    clock = target.clock
    constants = {
        **{name: getattr(rule, name) * second for name in ("tau_mean", "tau_sigma2", "tau_err_rise", "tau_err_decay")},
        **{"xi_0": rule.xi, "beta": rule.beta, "theta": rule.theta, "u_floor": rule.u_floor},
        "delta_err": 0.0 if rule.per_spike_delta else rule.delta,
        "scale": rule.variance_scale(float(clock.dt)),
        "unit": volt if volts else 1.0,
        "single": single,
    }
    model = eq.with_history(eq.POSTSYNAPTIC + memory_cells("delayed", "old"), "sigma_prime", steps.axonal_delay)
    model += f"potential : {'volt' if volts else '1'} (linked)\n"
    group = NeuronGroup(target.N, model, clock=clock, namespace=constants)
    group.potential = linked_var(target, potential)
    group.lambda_i, group.phi_i = rule.lambda_, rule.phi
    memory = remember_spikes(group, {"delayed": steps.axonal_delay, "old": steps.prediction_delay})
    error = eq.POSTSYNAPTIC_ERROR + eq.surrogate_code(steps.axonal_delay, floor=rule.u_floor is not None)
    group.run_regularly(error, clock=clock, when=eq.SLOT, order=eq.ORDER["error"])
    traces = eq.postsynaptic_traces(float32=rule.float32_traces)
    group.run_regularly(traces, clock=clock, when=eq.SLOT, order=eq.ORDER["traces"])
    return group, memory, relay(target, group, eq.SPIKE_POST)


def _synapses(
    source: SpikeSource, target: NeuronGroup, rule: LPLSynapse, steps: LPLSteps, on_pre: str, travel: int
) -> Synapses:
    clock = target.clock
    interval = steps.update_interval * clock.dt
    constants = {
        **{name: getattr(rule, name) * second for name in ("tau_el_rise", "tau_el_decay", "tau_rms")},
        **{"window": steps.update_interval, "interval": interval, "w_min": rule.w_min, "w_max": rule.w_max},
        "delta": rule.delta,
        "tau_w": (rule.tau_w or 0.0) * second,
    }
    synapses = Synapses(
        source,
        target,
        eq.SYNAPTIC + (eq.SYNAPTIC_MAXIMUM if rule.augment_gradient else ""),
        on_pre=f"{on_pre}\n{eq.SPIKE_DELTA}" if rule.per_spike_delta else on_pre,
        delay=travel * clock.dt,
        clock=clock,
        namespace=constants,
        dtype={"from_j": np.int64, "to_i": np.int64},
    )
    synapses.run_regularly(eq.ELIGIBILITY, clock=clock, when=eq.SLOT, order=eq.ORDER["eligibility"])
    update = eq.weight_update(
        augment=rule.augment_gradient,
        decay=rule.tau_w is not None,
        lower=rule.w_min is not None,
        upper=rule.w_max is not None,
    )
    synapses.run_regularly(update, dt=interval, when=eq.SLOT, order=eq.ORDER["update"])
    return synapses


def _in_volt(target: NeuronGroup, potential: str) -> bool:
    if potential not in target.variables:
        raise UsageError(f"potential: the target has no variable {potential!r}")
    dimensions = target.variables[potential].dim
    if not (dimensions.is_dimensionless or dimensions is volt.dim):
        raise UsageError(f"potential: {potential!r} must be in volt or without a unit")
    return not dimensions.is_dimensionless


def check_group(name: str, group: Any, dt: float) -> None:
    if isinstance(group, Subgroup):
        raise UsageError(f"{name}: give the whole group, not a part of it, and index it by i and j")
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


def per_neuron(name: str, values: ArrayLike, size: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.shape not in ((), (size,)):
        raise UsageError(f"{name}: must be one number or have shape ({size},), got {array.shape}")
    if not np.all((array >= 0) & np.isfinite(array)):
        raise UsageError(f"{name}: must be finite and not negative")
    return np.broadcast_to(array, (size,))

"""Three-factor rules: what a plastic synapse does, declared once for every simulator.

Any rule of this shape, whose weights are written at intervals, is one `ThreeFactorRule`::

    dw_ij ~ eta < epsilon ∗ [ (psi ∗ S_j) f(U_i) ] · (alpha ∗ e_i) >

with the presynaptic filter psi, the postsynaptic factor f, the eligibility filter epsilon, and the postsynaptic signal,
an error e_i behind its filter alpha. `spiking.brian.plasticity.attach_rule` runs a declaration at Brian2 synapses, step
by step; `spiking.torch.plasticity` computes the same updates without stepping a synapse. LPL and SuperSpike are two
instances (`lpl`, `super_spike`). A rule may have further terms, filters of first order or none, and code at intervals;
such rules run in declared networks (`spiking.network`).

What a rule is free to choose is code (`spiking.code`), run for every postsynaptic neuron. ``dt`` is the step; at Brian2
synapses it and constants named ``tau_...`` are times, which ``second`` turns into numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from foundation.errors import UsageError
from spiking.code import check_code, check_distinct, check_values, names_in
from spiking.parameters import LPLSynapse, check_fields, whole_steps

GIVEN = ("dt", "second", "s_now")


@dataclass(frozen=True)
class Cascade:
    """Two filters of first order, one behind the other."""

    rise: float  # s, the faster one; not normalised: an impulse adds 1 to it
    decay: float  # s, of the one that follows it: x += dt/decay (input - x)

    def __post_init__(self) -> None:
        check_fields(self, positive=("rise", "decay"))


@dataclass(frozen=True)
class Exponential:
    """A filter of first order: an impulse adds 1, and the whole decays by exp(-dt/tau) in every step."""

    tau: float  # s

    def __post_init__(self) -> None:
        check_fields(self, positive=("tau",))


Filter = Cascade | Exponential


@dataclass(frozen=True)
class Term:
    """A further term of a rule: (psi ∗ S_j) f, or, with an eligibility, epsilon ∗ [(psi ∗ S_j) f], times the signal."""

    presynaptic: Filter | None  # psi; None: the spike as it arrives
    factor: str  # f, as in `ThreeFactorRule`
    eligibility: Filter | None = None  # epsilon; None: no memory
    signal: bool = True  # whether the rule's signal multiplies it, if the rule has one


@dataclass(frozen=True)
class PostsynapticSignal:
    """The third factor: an error of every postsynaptic neuron, evaluated in every step, and its filter.

    Without an error there is no third factor, only the rule's variables. The code may use ``s_now``, the neuron's spike
    in this step, ``s_<name>`` for every delay, the variables (as they stood at the end of the step before), parameters,
    inputs and the rule's constants.

    >>> PostsynapticSignal("reward*(s_now - 0.5)", filter=Cascade(2e-3, 10e-3), inputs=("reward",)).delays
    {}
    """

    error: str = ""  # expression
    filter: Cascade | None = None  # alpha; an error acts from the next step on. None: at once
    traces: str = ""  # statements that bring the variables to the end of this step
    variables: tuple[str, ...] = ()  # state; it starts at 0 unless a simulator is told otherwise
    statistics: tuple[str, ...] = ()  # those of them that average over many samples: kept in double precision
    parameters: Mapping[str, float] = field(default_factory=dict)  # name -> default; may differ from neuron to neuron
    inputs: tuple[str, ...] = ()  # values from outside, one per neuron and step: a target, a reward
    delays: Mapping[str, float] = field(default_factory=dict)  # name -> s, to remember a neuron's spikes for


@dataclass(frozen=True)
class WeightUpdate:
    """What becomes of the sum of eligibility times signal at the end of a window of T steps.

    ::

        g = sum/T;   g2 = max(exp(-interval/tau_rms) g2, g²)  (augmented: g is divided by sqrt(g2))
        w -= eta w (1 - exp(-interval/tau_w));   w += eta g;   w clipped to [w_min, w_max]
    """

    eta: float  # learning rate
    interval: float  # s, the window: weights are written in steps k interval/dt, and act from the next step on
    w_min: float | None = None
    w_max: float | None = None
    tau_w: float | None = None  # s, decay of the weights; None: they do not decay
    augment: bool = False
    tau_rms: float = 100.0  # s

    def __post_init__(self) -> None:
        optional = ("w_min", "w_max", "tau_w")
        check_fields(self, optional=optional, flags=("augment",), positive=("interval", "tau_rms", "tau_w"))
        if self.w_min is not None and self.w_max is not None and self.w_min >= self.w_max:
            raise UsageError(f"WeightUpdate.w_min: must be below w_max = {self.w_max}, got {self.w_min}")

    def code(self) -> IntervalCode:
        """The same as code."""
        lines = ["step = gradient"]
        constants: dict[str, float] = {}
        if self.augment:
            lines = ["g2 = clip(exp(-interval/tau_rms)*g2, gradient**2, 1e300)", "step = gradient/(sqrt(g2) + 1e-32)"]
            constants["tau_rms"] = self.tau_rms
        if self.tau_w is not None:
            lines.append("w -= eta*w*(1 - exp(-interval/tau_w))")
            constants["tau_w"] = self.tau_w
        lines.append("w += eta*step")
        bounds = {name: getattr(self, name) for name in ("w_min", "w_max") if getattr(self, name) is not None}
        if bounds:
            low, high = (name if name in bounds else limit for name, limit in (("w_min", "-1e300"), ("w_max", "1e300")))
            lines.append(f"w = clip(w, {low}, {high})")
        variables = {"g2": 0.0} if self.augment else {}
        return IntervalCode("\n".join(lines), self.interval, self.eta, variables, {**constants, **bounds})


@dataclass(frozen=True)
class IntervalCode:
    """What becomes of weights at intervals, as code for every synapse: decay, bounds, scaling, normalisation.

    The code may use ``w``, ``gradient`` (the mean over the window of what the rule's terms came to; 0 for rules that
    change weights at spikes), ``w_sum`` (the sum of the weights of its target in this projection before this code),
    ``n_in`` (their number), ``eta``, ``interval`` and ``dt`` (s), the own variables, the constants, and variables of
    the target that `reads` names.
    """

    code: str  # statements
    interval: float  # s: it runs at the end of steps k interval/dt
    eta: float = 1.0  # learning rate; 0 while a projection is frozen
    variables: Mapping[str, float] = field(default_factory=dict)  # of every synapse: name -> start
    constants: Mapping[str, float] = field(default_factory=dict)
    reads: tuple[str, ...] = ()

    GIVEN: ClassVar[tuple[str, ...]] = ("gradient", "w_sum", "n_in", "eta", "interval", "dt", "second")

    def __post_init__(self) -> None:
        check_fields(self, skip=("code", "variables", "constants", "reads"), positive=("interval",))
        check_values("IntervalCode.variables", self.variables)
        check_values("IntervalCode.constants", self.constants)
        names = ["w", *self.GIVEN, *self.variables, *self.constants, *self.reads]
        check_distinct("IntervalCode", names)
        check_code("IntervalCode.code", self.code, set(names), assigned=("w", *self.variables))


class RuleSteps(NamedTuple):
    """The times of a `ThreeFactorRule` in steps of dt."""

    axonal_delay: int
    alignment: int
    interval: int
    delays: dict[str, int]


class OneTerm(NamedTuple):
    """The filters and the update of a rule of one term."""

    presynaptic: Cascade
    eligibility: Cascade
    filter: Cascade  # of the signal
    update: WeightUpdate


@dataclass(frozen=True)
class ThreeFactorRule:
    """A rule of the shape that this module describes.

    Raises:
        UsageError: a value out of range, or code that uses what is not declared; the message names it.
    """

    presynaptic: Filter | None  # psi, from the spikes of input j as they arrive; None: the spikes themselves
    factor: str  # f, expression of the potential `u` after the reset of this step, in the rule's own unit, and of the
    # names that the signal's code may use
    eligibility: Filter | None  # epsilon; None: no memory
    signal: PostsynapticSignal
    update: WeightUpdate | IntervalCode
    constants: Mapping[str, float] = field(default_factory=dict)
    axonal_delay: float = 0.0  # s, of input spikes
    alignment: float = 0.0  # s, by which psi ∗ S_j and f(U_i) are delayed before they meet
    growth: float = 0.0  # what an input spike that arrives adds to the sum: growth without any signal
    terms: tuple[Term, ...] = ()  # further ones, added to the first
    reads: tuple[str, ...] = ()  # variables of the target that the code uses beside `u`

    def __post_init__(self) -> None:
        check_fields(
            self,
            skip=("presynaptic", "factor", "eligibility", "signal", "update", "constants", "terms", "reads"),
            not_negative=("axonal_delay", "alignment"),
        )
        signal = self.signal
        check_values("ThreeFactorRule.constants", self.constants)
        check_values("PostsynapticSignal.parameters", signal.parameters)
        check_values("PostsynapticSignal.delays", signal.delays, low=0.0)
        names = [*self.constants, *signal.parameters, *signal.variables, *signal.inputs, *GIVEN]
        names += [f"s_{name}" for name in signal.delays]
        check_distinct("ThreeFactorRule", [*names, *self.reads, "u"])
        known = {*names, *self.reads}
        for name in signal.statistics:
            if name not in signal.variables:
                raise UsageError(f"PostsynapticSignal.statistics: {name!r} is not one of its variables")
        if signal.filter is not None and not signal.error:
            raise UsageError("PostsynapticSignal.filter: there is no error to be filtered")
        for term in self.every_term():
            check_code("ThreeFactorRule.factor", term.factor, {*known, "u"}, expression=True)
        if signal.error:
            check_code("PostsynapticSignal.error", signal.error, {*known, "u"}, expression=True)
        check_code("PostsynapticSignal.traces", signal.traces, {*known, "u"}, assigned=signal.variables)

    def every_term(self) -> tuple[Term, ...]:
        """Growth, if there is any, the first term, and the further ones."""
        growth = (Term(None, repr(float(self.growth)), None, signal=False),) if self.growth else ()
        return *growth, Term(self.presynaptic, self.factor, self.eligibility), *self.terms

    def one_term(self, who: str) -> OneTerm:
        """What makes a rule of one term with all its filters. Raises `UsageError`: `who` cannot run another."""
        psi, epsilon, alpha, update = self.presynaptic, self.eligibility, self.signal.filter, self.update
        beside = names_in(self.factor) - {"u", "dt", "second", *self.constants}
        if (
            isinstance(psi, Cascade)
            and isinstance(epsilon, Cascade)
            and isinstance(alpha, Cascade)
            and isinstance(update, WeightUpdate)
            and not (self.terms or self.reads or beside)
            and "u" not in names_in(f"e = {self.signal.error}") | names_in(self.signal.traces)
        ):
            return OneTerm(psi, epsilon, alpha, update)
        raise UsageError(f"rule: {who} takes rules of one term with all three filters and a factor of u alone")

    def steps(self, dt: float) -> RuleSteps:
        """Its delays and its interval in steps of `dt` (s); raises `UsageError` where they are not whole."""
        for term in self.every_term():
            for name, cascade in (("presynaptic", term.presynaptic), ("eligibility", term.eligibility)):
                if isinstance(cascade, Cascade) and dt > cascade.decay:  # forward Euler
                    raise UsageError(f"dt: must not exceed {name}.decay = {cascade.decay} s, got {dt} s")
        if self.signal.filter is not None and dt > min(self.signal.filter.rise, self.signal.filter.decay):
            raise UsageError(f"dt: must not exceed the time constants of the signal's filter, got {dt} s")
        return RuleSteps(
            whole_steps("axonal_delay", self.axonal_delay, dt),
            whole_steps("alignment", self.alignment, dt),
            whole_steps("update.interval", self.update.interval, dt),
            {name: whole_steps(f"delays: {name}", delay, dt) for name, delay in self.signal.delays.items()},
        )


# --- latent predictive learning ---------------------------------------------------------------------------------------
# s_delayed = S_i(n-d), s_old = S_i(n-D): relative to s_delayed, the prediction reaches back D - d steps.
# scale is 1 as simulated and dt/s as reported; delta_err is delta as simulated and 0 as reported.
LPL_ERROR = (
    "lambda_i*scale*(s_delayed - dt/tau_mean*tr_mean)/(sigma2 + xi_0) + delta_err - phi_i*s_delayed + phi_i*s_old"
)
# sigma2 is fed per spike, without dt (as_reported: with), and with the mean of the step before.
LPL_TRACES = """
sigma2 = (sigma2 + scale*second/tau_sigma2*(s_delayed - dt/tau_mean*tr_mean)**2)*exp(-dt/tau_sigma2)
tr_mean = (tr_mean + s_now)*exp(-dt/tau_mean)
"""
# The same, rounded to float32 after every operation, as the published program does: a mean that is multiplied by
# 1 - 1.7e-7 in each step loses whole units in the last place, decays at another speed than tau_mean says, and settles
# at a few preferred rates.
LPL_TRACES_FLOAT32 = """
centred = single(s_delayed - single(dt/tau_mean*tr_mean))
sigma2 = single(single(sigma2 + single(scale*centred**2*second/tau_sigma2))*single(exp(-dt/tau_sigma2)))
tr_mean = single(single(tr_mean + s_now)*single(exp(-dt/tau_mean)))
"""
SURROGATE = "beta/(1 + beta*abs(u - theta))**2"


def lpl(rule: LPLSynapse, dt: float) -> ThreeFactorRule:
    """Latent predictive learning (Halvagal & Zenke 2023, Eq. 13 to 20; see `LPLSynapse`) at steps of `dt` (s).

    Variables: ``tr_mean``, tau_mean times the mean rate, and ``sigma2``, the variance of the spike train about a rate
    in Hz (as_reported: times dt).
    """
    floor = {} if rule.u_floor is None else {"u_floor": rule.u_floor}
    return ThreeFactorRule(
        presynaptic=Cascade(rule.tau_syn, rule.tau_mem),
        factor=SURROGATE + ("*int(u >= u_floor)" if floor else ""),
        eligibility=Cascade(rule.tau_el_rise, rule.tau_el_decay),
        signal=PostsynapticSignal(
            error=LPL_ERROR,
            filter=Cascade(rule.tau_err_rise, rule.tau_err_decay),
            traces=LPL_TRACES_FLOAT32 if rule.float32_traces else LPL_TRACES,
            variables=("tr_mean", "sigma2"),
            statistics=("tr_mean", "sigma2"),
            parameters={"lambda_i": rule.lambda_, "phi_i": rule.phi},
            delays={"delayed": rule.axonal_delay, "old": rule.prediction_delay},
        ),
        update=_update(rule),
        constants={
            "tau_mean": rule.tau_mean,
            "tau_sigma2": rule.tau_sigma2,
            "scale": rule.variance_scale(dt),
            "xi_0": rule.xi,
            "delta_err": 0.0 if rule.per_spike_delta else rule.delta,
            "beta": rule.beta,
            "theta": rule.theta,
            **floor,
        },
        axonal_delay=rule.axonal_delay,
        alignment=rule.axonal_delay,
        growth=rule.delta if rule.per_spike_delta else 0.0,
    )


def _update(rule: LPLSynapse) -> WeightUpdate:
    return WeightUpdate(
        rule.eta, rule.update_interval, rule.w_min, rule.w_max, rule.tau_w, rule.augment_gradient, rule.tau_rms
    )


# --- SuperSpike -------------------------------------------------------------------------------------------------------
def super_spike(
    *,
    eta: float = 1e-3,
    beta: float = 1000.0,
    theta: float = -0.05,
    presynaptic: Cascade = Cascade(5e-3, 10e-3),
    filter: Cascade = Cascade(5e-3, 10e-3),
    interval: float = 0.5,
    w_min: float | None = None,
    w_max: float | None = None,
    tau_rms: float | None = 100.0,
    axonal_delay: float = 0.8e-3,
) -> ThreeFactorRule:
    """SuperSpike (Zenke & Ganguli 2018, Neural Computation, doi:10.1162/neco_a_01086)::

        dw_ij = r_ij ∫ e_i α∗[σ'(U_i) (ε∗S_j)] dt,   e_i = α∗(Ŝ_i - S_i),   σ'(u) = β/(1 + β|u - θ|)²

    The target spikes Ŝ_i are the signal's input ``target``, 1 in the step of a target spike. r_ij is the learning rate
    of each synapse, eta / sqrt(max of the squared gradient, decaying with tau_rms); `tau_rms` None: plain eta.

    Args:
        eta: learning rate.
        beta: steepness and height of σ', per unit of potential; in the paper it is of height 1, a factor of eta.
        theta: where σ' peaks, in units of potential.
        presynaptic: ε.
        filter: α, of eligibility and error.
        interval: s, between weight updates.
        w_min: lower bound; None: no bound.
        w_max: upper bound.
        tau_rms: s.
        axonal_delay: s, of input spikes.
    """
    return ThreeFactorRule(
        presynaptic=presynaptic,
        factor=SURROGATE,
        eligibility=filter,
        signal=PostsynapticSignal("target - s_now", filter, inputs=("target",)),
        update=WeightUpdate(eta, interval, w_min, w_max, augment=tau_rms is not None, tau_rms=tau_rms or 100.0),
        constants={"beta": beta, "theta": theta},
        axonal_delay=axonal_delay,
    )

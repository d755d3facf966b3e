"""Plastic projections: rules whose weights change at spikes, and the rules that come with the library.

Two forms are declared: `spiking.rule.ThreeFactorRule`, whose updates are summed over a window, and `SpikeTriggeredRule`
below. Traces are read as they stood at the end of the step before: spikes of one step do not see each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from foundation.errors import UsageError
from spiking.code import check_code, check_distinct, check_values
from spiking.parameters import InhibitoryPlasticity
from spiking.rule import Exponential, IntervalCode, PostsynapticSignal, Term, ThreeFactorRule


@dataclass(frozen=True)
class SpikeTriggeredRule:
    """Weights change when a presynaptic spike arrives and when the target spikes, by code over traces of both.

    First ``on_pre`` runs for every spike that arrives, then ``on_post`` for every target that spikes; then, if there is
    a ``step``, that, for every synapse: the general form, and slow. At the end of the step ``pre`` runs for every
    source and ``post`` for every target, and bring their traces to the end of this step.

    * ``on_pre, on_post, step``: w, the rule's variables of the synapse, of its source and of its target, variables of
      the target that `reads` names (after this step's reset), inputs, constants; ``step`` also ``s``, ``s_now``.
    * ``pre``: the variables of the source, ``s`` (1 where a spike arrived in this step), constants.
    * ``post``: the variables of the target, ``s_now`` (1 where it spiked), ``u``, `reads`, inputs, constants.

    Raises:
        UsageError: code that uses what is not declared, or a name with two meanings.
    """

    on_pre: str = ""
    on_post: str = ""
    pre: str = ""
    post: str = ""
    pre_variables: tuple[str, ...] = ()
    post_variables: tuple[str, ...] = ()
    variables: Mapping[str, float] = field(default_factory=dict)  # of the synapse beside w: name -> start
    inputs: tuple[str, ...] = ()  # values from outside, one for each target and step
    constants: Mapping[str, float] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    step: str = ""
    at_intervals: IntervalCode | None = None

    def __post_init__(self) -> None:
        where = "SpikeTriggeredRule"
        check_values(f"{where}.constants", self.constants)
        check_values(f"{where}.variables", self.variables)
        given = {"dt", "second", *self.constants}
        sides = [*self.pre_variables, *self.post_variables]
        names = [*sides, *self.variables, *self.inputs, *self.reads, *given, "w", "s", "s_now", "u"]
        check_distinct(where, names)
        if self.at_intervals and (self.at_intervals.variables.keys() & {*names}):
            raise UsageError(f"{where}.at_intervals: a variable of its own has the name of one of the rule")
        synaptic = {"w", *sides, *self.variables, *self.inputs, *self.reads, "u", *given}
        own = ("w", *self.variables)
        check_code(f"{where}.on_pre", self.on_pre, synaptic, assigned=own)
        check_code(f"{where}.on_post", self.on_post, synaptic, assigned=own)
        check_code(f"{where}.step", self.step, {*synaptic, "s", "s_now"}, assigned=own)
        check_code(f"{where}.pre", self.pre, {*self.pre_variables, "s", *given}, assigned=self.pre_variables)
        known = {*self.post_variables, "s_now", "u", *self.reads, *self.inputs, *given}
        check_code(f"{where}.post", self.post, known, assigned=self.post_variables)


Rule = ThreeFactorRule | SpikeTriggeredRule


# --- rules at spikes --------------------------------------------------------------------------------------------------
def pair_stdp(
    *,
    tau_plus: float = 20e-3,
    tau_minus: float = 20e-3,
    A_plus: float = 0.005,
    A_minus: float = 0.00525,
    mu: float = 0.0,
    w_max: float = 1.0,
    nearest: bool = False,
) -> SpikeTriggeredRule:
    """Spike-timing-dependent plasticity of pairs of spikes (Song, Miller & Abbott 2000, doi:10.1038/78829).

    ::

        pre:   w -= w_max A_minus (w/w_max)^mu y;    post:  w += w_max A_plus (1 - w/w_max)^mu x;   0 <= w <= w_max

    Args:
        tau_plus: s, of the trace x of presynaptic spikes.
        tau_minus: s, of the trace y of postsynaptic spikes.
        A_plus: potentiation, in units of w_max.
        A_minus: depression.
        mu: 0: additive; 1: multiplicative; between: power law (Guetig et al. 2003,
            doi:10.1523/JNEUROSCI.23-09-03697.2003).
        w_max: upper bound.
        nearest: a spike sets its trace to 1 and does not raise it: only the nearest spikes pair.
    """
    down = "w_max*A_minus" if mu == 0 else "w_max*A_minus*(w/w_max)**mu"
    up = "w_max*A_plus" if mu == 0 else "w_max*A_plus*(1 - w/w_max)**mu"
    return SpikeTriggeredRule(
        on_pre=f"w = clip(w - {down}*y, 0, w_max)",
        on_post=f"w = clip(w + {up}*x, 0, w_max)",
        pre=f"x = ({'x*(1 - s) + s' if nearest else 'x + s'})*exp(-dt/tau_plus)",
        post=f"y = ({'y*(1 - s_now) + s_now' if nearest else 'y + s_now'})*exp(-dt/tau_minus)",
        pre_variables=("x",),
        post_variables=("y",),
        constants={
            **{"tau_plus": tau_plus, "tau_minus": tau_minus, "A_plus": A_plus, "A_minus": A_minus, "w_max": w_max},
            **({"mu": mu} if mu else {}),
        },
    )


def triplet_stdp(
    *,
    A2_plus: float = 5e-10,
    A3_plus: float = 6.2e-3,
    A2_minus: float = 7e-3,
    A3_minus: float = 2.3e-4,
    tau_plus: float = 16.8e-3,
    tau_minus: float = 33.7e-3,
    tau_x: float = 101e-3,
    tau_y: float = 125e-3,
    w_min: float = 0.0,
    w_max: float = 1.0,
    nearest: bool = False,
) -> SpikeTriggeredRule:
    """The triplet rule (Pfister & Gerstner 2006, doi:10.1523/JNEUROSCI.1425-06.2006); defaults: visual cortex, full.

    ::

        pre:   w -= o1 (A2_minus + A3_minus r2);    post:  w += r1 (A2_plus + A3_plus o2)

    with the presynaptic traces r1 (tau_plus), r2 (tau_x) and the postsynaptic ones o1 (tau_minus), o2 (tau_y), all read
    before this spike raises them. `nearest`: spikes set traces to 1.
    """
    pre = "{0} = ({0}*(1 - s) + s)*exp(-dt/{1})" if nearest else "{0} = ({0} + s)*exp(-dt/{1})"
    post = pre.replace("- s)", "- s_now)").replace("+ s)", "+ s_now)")
    return SpikeTriggeredRule(
        on_pre="w = clip(w - o1*(A2_minus + A3_minus*r2), w_min, w_max)",
        on_post="w = clip(w + r1*(A2_plus + A3_plus*o2), w_min, w_max)",
        pre="\n".join(pre.format(*each) for each in (("r1", "tau_plus"), ("r2", "tau_x"))),
        post="\n".join(post.format(*each) for each in (("o1", "tau_minus"), ("o2", "tau_y"))),
        pre_variables=("r1", "r2"),
        post_variables=("o1", "o2"),
        constants={
            **{"A2_plus": A2_plus, "A3_plus": A3_plus, "A2_minus": A2_minus, "A3_minus": A3_minus},
            **{"tau_plus": tau_plus, "tau_minus": tau_minus, "tau_x": tau_x, "tau_y": tau_y},
            **{"w_min": w_min, "w_max": w_max},
        },
    )


def symmetric_inhibition(rule: InhibitoryPlasticity | None = None) -> SpikeTriggeredRule:
    """Symmetric inhibitory plasticity, see `InhibitoryPlasticity`; its bounds are one-sided."""
    rule = rule or InhibitoryPlasticity()
    return SpikeTriggeredRule(
        on_pre="w = clip(w + zeta*(x - 2*kappa*tau), w_min, 1e300)",
        on_post="w = clip(w + zeta*y, -1e300, w_max)",
        pre="y = (y + s)*exp(-dt/tau)",
        post="x = (x + s_now)*exp(-dt/tau)",
        pre_variables=("y",),
        post_variables=("x",),
        constants=dict(vars(rule)),
    )


def _summed(eta: float, interval: float, w_min: float | None, w_max: float | None, per_step: str = "1") -> IntervalCode:
    """Weights change by the sum over the window, not by its mean: how long it is does not matter."""
    low, high = ("-1e300" if w_min is None else "w_min"), ("1e300" if w_max is None else "w_max")
    bounds = {name: value for name, value in (("w_min", w_min), ("w_max", w_max)) if value is not None}
    code = f"w = clip(w + eta*gradient*{per_step}*interval/dt, {low}, {high})"
    return IntervalCode(code, interval, eta, constants=bounds)


# --- three-factor rules -----------------------------------------------------------------------------------------------
def clopath(
    *,
    A_ltd: float = 14e-5,
    A_ltp: float = 8e-5,
    tau_x: float = 15e-3,
    tau_minus: float = 10e-3,
    tau_plus: float = 7e-3,
    theta_minus: float = -70.6e-3,
    theta_plus: float = -45.3e-3,
    w_max: float = 1.0,
    interval: float,
) -> ThreeFactorRule:
    """Voltage-based plasticity (Clopath et al. 2010, doi:10.1038/nn.2479), of the potential u after each step's reset.

    ::

        dw = -A_ltd X (u_minus - theta_minus)+ + A_ltp x (u - theta_plus)+ (u_plus - theta_minus)+ dt

    with the spike X, its trace x (tau_x; an impulse adds 1/tau_x), and u_minus, u_plus, the potential filtered by
    tau_minus and tau_plus, as they stood at the end of the step before; give what they start at. Constants in mV, mV²
    and ms as in the paper: A_ltd in 1/mV, A_ltp in 1/mV² per ms of a trace in 1/ms; potentials in V.

    Args:
        A_ltd: depression.
        A_ltp: potentiation.
        tau_x: s.
        tau_minus: s.
        tau_plus: s.
        theta_minus: V.
        theta_plus: V.
        w_max: upper bound; the lower one is 0.
        interval: s, between weight updates; dt: as the paper has it.
    """
    above = "clip(1e3*({} - {}), 0, 1e300)"
    return ThreeFactorRule(
        presynaptic=None,
        factor=f"-A_ltd*{above.format('u_minus', 'theta_minus')}",
        eligibility=None,
        signal=PostsynapticSignal(
            traces="u_minus += dt/tau_minus*(u - u_minus)\nu_plus += dt/tau_plus*(u - u_plus)",
            variables=("u_minus", "u_plus"),
        ),
        update=_summed(1.0, interval, 0.0, w_max),
        constants={
            **{"A_ltd": A_ltd, "A_ltp": A_ltp, "tau_x": tau_x, "tau_minus": tau_minus, "tau_plus": tau_plus},
            **{"theta_minus": theta_minus, "theta_plus": theta_plus},
        },
        terms=(
            Term(
                Exponential(tau_x),
                f"A_ltp*(dt/tau_x)*{above.format('u', 'theta_plus')}*{above.format('u_plus', 'theta_minus')}",
            ),
        ),
    )


def reward_modulated_stdp(
    *,
    tau_plus: float = 20e-3,
    tau_minus: float = 20e-3,
    A_plus: float = 1.0,
    A_minus: float = 1.05,
    tau_e: float = 1.0,
    eta: float = 1e-3,
    interval: float = 0.1,
    w_max: float = 1.0,
) -> ThreeFactorRule:
    """STDP whose change waits in an eligibility for a reward (Izhikevich 2007, doi:10.1093/cercor/bhl152).

    What pair STDP would change goes into e, which decays with tau_e (s); dw/dt = eta reward e. The signal's input
    ``reward`` is the reward less its expectation (Frémaux & Gerstner 2016, doi:10.3389/fncir.2015.00085).
    """
    memory = Exponential(tau_e)
    return ThreeFactorRule(
        presynaptic=Exponential(tau_plus),
        factor="A_plus*s_now",
        eligibility=memory,
        signal=PostsynapticSignal(
            "reward",
            traces="y = (y + s_now)*exp(-dt/tau_minus)",
            variables=("y",),
            inputs=("reward",),
        ),
        update=_summed(eta, interval, 0.0, w_max, "dt"),
        constants={"A_plus": A_plus, "A_minus": A_minus, "tau_minus": tau_minus},
        terms=(Term(None, "-A_minus*y", memory),),
    )


def bcm(
    *,
    tau_x: float = 20e-3,
    tau_y: float = 50e-3,
    tau_theta: float = 5.0,
    target: float = 10.0,
    eta: float = 1e-6,
    interval: float = 0.1,
    w_max: float = 1.0,
) -> ThreeFactorRule:
    """The rule of Bienenstock, Cooper & Munro 1982 (doi:10.1523/JNEUROSCI.02-01-00032.1982) on filtered spikes.

    dw/dt = eta x y (y - theta), theta = <y²>/target, with rates x and y in Hz from traces of tau_x, tau_y (s), and the
    mean over tau_theta (s).
    """
    return ThreeFactorRule(
        presynaptic=Exponential(tau_x),
        factor="y*(y - theta)*second/tau_x",
        eligibility=None,
        signal=PostsynapticSignal(
            traces="theta += dt/tau_theta*(y**2/target - theta)\ny += dt/tau_y*(s_now*second/dt - y)",
            variables=("y", "theta"),
            statistics=("theta",),
        ),
        update=_summed(eta, interval, 0.0, w_max, "dt"),
        constants={"tau_x": tau_x, "tau_y": tau_y, "tau_theta": tau_theta, "target": target},
    )


def e_prop(
    *,
    tau_mem: float = 20e-3,
    tau_out: float = 20e-3,
    theta: float = 1.0,
    gamma: float = 0.3,
    eta: float = 1e-3,
    interval: float = 0.1,
    w_min: float | None = None,
    w_max: float | None = None,
) -> ThreeFactorRule:
    """e-prop for leaky integrate-and-fire neurons (Bellec et al. 2020, doi:10.1038/s41467-020-17236-y).

    ::

        dw_ij = -eta sum_t L_i(t) kappa ∗ [psi_i(t) (alpha ∗ S_j)(t)],   psi = gamma/theta max(0, 1 - |u - theta|/theta)

    with alpha and kappa exponentials of the membrane (tau_mem) and of the readout (tau_out), in s. The signal's input
    ``learning_signal`` is L_i: from outside, or the target of a projection from a readout that sends its error.

    In a feedforward layer, without the path through resets, this is the gradient: to rounding if the potential of the
    target's model is a copy of what the threshold saw, and but for the decay of one step if it is that after the reset.
    """
    return ThreeFactorRule(
        presynaptic=Exponential(tau_mem),
        factor="gamma/theta*clip(1 - abs(u - theta)/theta, 0, 1)",
        eligibility=Exponential(tau_out),
        signal=PostsynapticSignal("-learning_signal", inputs=("learning_signal",)),
        update=_summed(eta, interval, w_min, w_max),
        constants={"theta": theta, "gamma": gamma},
    )

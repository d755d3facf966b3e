"""Parameters of the spiking models: frozen dataclasses, one per model, in seconds, Hz and the papers' symbols.

The numbers of the reference are those of the simulation of Halvagal & Zenke 2023 (Nature Neuroscience,
doi:10.1038/s41593-023-01460-y), network of Fig. 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, NamedTuple

from foundation.errors import UsageError

VARIANTS: dict[str, dict[str, float]] = {"as_simulated": {}, "as_reported": {"xi": 1e-7, "delta": 1e-3}}
"""The readings of the LPL rule (see `LPLSynapse.named`) and the constants in which each differs from the defaults."""


class LPLSteps(NamedTuple):
    """The times of an `LPLSynapse` in steps of dt."""

    axonal_delay: int
    prediction_delay: int
    update_interval: int


@dataclass(frozen=True)
class LPLSynapse:
    """Latent predictive learning at a spiking synapse, as simulated for the paper's Fig. 5 and 6.

    With S_i the postsynaptic spikes, S̄_i their mean rate, σ²_i their variance, U_i the membrane potential and ε, α
    the filters of the postsynaptic potential, of the eligibility and of the error (x ∗ ε: x filtered by ε)::

        dw_ij ~ η (ε ∗ (S_j ∗ PSP) σ'(U_i)) · α ∗ [ λ (S_i - S̄_i) / (σ²_i + ξ) + δ - φ (S_i(t) - S_i(t - Δt)) ]
        σ'(u) = β / (1 + β |u - θ|)²,  0 for u < u_floor

    `spiking.rule.lpl` declares it, `spiking.brian.equations` is the step-exact definition. The defaults are the
    reference's, with potentials in volt. `LPLSynapse.current()` gives the reading for signed weights, with potentials
    in units of the threshold.
    """

    lambda_: float = 1.0  # strength of the Hebbian (variance) term
    phi: float = 1.0  # strength of the predictive term
    eta: float = 1e-2  # learning rate
    delta: float = 1e-5  # transmitter-triggered growth: constant part of the error (as_reported: per input spike)
    xi: float = 1e-3  # Hz, added to the variance
    tau_syn: float = 5e-3  # s, presynaptic trace
    tau_mem: float = 20e-3  # s, PSP filter that follows the trace
    tau_el_rise: float = 2e-3  # s, eligibility
    tau_el_decay: float = 10e-3  # s
    tau_err_rise: float = 2e-3  # s, error signal
    tau_err_decay: float = 10e-3  # s
    tau_mean: float = 600.0  # s, mean rate
    tau_sigma2: float = 30.0  # s, variance
    update_interval: float = 0.5  # s, between weight updates
    prediction_delay: float = 20e-3  # s, Δt, counted from the immediate spike
    axonal_delay: float = 0.8e-3  # s, of input spikes and of the spikes in the error; the effective Δt is shorter by it
    tau_w: float | None = None  # s, decay of the weights; None: they do not decay
    w_min: float | None = 0.0  # None: no bound
    w_max: float | None = 1.0
    beta: float = 1000.0  # steepness and height of σ', per unit of potential (here per volt)
    theta: float = -0.05  # where σ' peaks, in units of potential (here volt)
    u_floor: float | None = -0.08  # σ' is 0 below it; None: no floor
    augment_gradient: bool = False  # divide each synapse's gradient by its own recent maximum, see tau_rms
    tau_rms: float = 100.0  # s, decay of that maximum
    variant: str = "as_simulated"  # or "as_reported", see `named`
    float32_traces: bool = False  # round the mean and the variance trace to float32 as the published program does

    def __post_init__(self) -> None:
        _check_flags(self, "augment_gradient", "float32_traces")
        if self.variant not in VARIANTS:
            raise _error(self, "variant", f"must be one of {', '.join(VARIANTS)}", self.variant)
        _check_numbers(
            self,
            optional=("tau_w", "w_min", "w_max", "u_floor"),
            skip=("augment_gradient", "variant", "float32_traces"),
        )
        taus = tuple(f.name for f in fields(self) if f.name.startswith("tau_") and getattr(self, f.name) is not None)
        _check_positive(self, *taus, "update_interval", "prediction_delay", "beta", "xi")
        _check_not_negative(self, "axonal_delay", "eta")
        if self.prediction_delay <= self.axonal_delay:
            raise _error(
                self, "prediction_delay", f"must exceed axonal_delay = {self.axonal_delay}", self.prediction_delay
            )
        if self.w_min is not None and self.w_max is not None and self.w_min >= self.w_max:
            raise _error(self, "w_min", f"must be below w_max = {self.w_max}", self.w_min)

    @classmethod
    def named(cls, variant: str, **changes: Any) -> LPLSynapse:
        """One of the two readings of the rule, with the constants that belong to it; any field can be changed by name.

        * ``as_simulated``: the simulation behind the published figures; δ is part of the error.
        * ``as_reported``: Eq. 18 of the methods, which the authors' erratum of January 2024 simulates anew: the
          variance is fed with dt, λ stands for λ dt, ξ = 1e-7 Hz, and δ = 1e-3 acts at the input spikes (each adds δ
          to the sum of eligibility times error), not through the error.
        """
        return cls._with({**VARIANTS.get(variant, {}), "variant": variant}, changes)

    @property
    def per_spike_delta(self) -> bool:
        """Whether δ acts at the input spikes (as reported) and not through the error."""
        return self.variant == "as_reported"

    def variance_scale(self, dt: float) -> float:
        """What multiplies λ and the input of the variance, at a step of `dt` (s): they scale together (see `named`)."""
        return dt if self.variant == "as_reported" else 1.0

    @classmethod
    def current(cls, **changes: Any) -> LPLSynapse:
        """The reading for signed weights: potentials in units of the threshold, θ = 1, no bounds, no floor.

        β = 20 is the reference's 1/mV for a threshold 20 mV above rest. Any field can be changed by name.
        """
        return cls._with({"beta": 20.0, "theta": 1.0, "u_floor": None, "w_min": None, "w_max": None}, changes)

    @classmethod
    def _with(cls, values: dict[str, Any], changes: dict[str, Any]) -> LPLSynapse:
        known = {f.name for f in fields(cls)}
        for name in changes:
            if name not in known:
                raise UsageError(f"LPLSynapse: unknown parameter {name!r}; known are {', '.join(sorted(known))}")
        return cls(**{**values, **changes})

    def steps(self, dt: float) -> LPLSteps:
        """Its delays and its update interval in steps of `dt` (s); raises `UsageError` where they are not whole."""
        for name in ("tau_mem", "tau_el_decay", "tau_err_rise", "tau_err_decay"):
            if dt > getattr(self, name):  # these filters are forward Euler
                raise UsageError(f"dt: must not exceed LPLSynapse.{name} = {getattr(self, name)} s, got {dt} s")
        names = ("axonal_delay", "prediction_delay", "update_interval")
        return LPLSteps(*(whole_steps(f"LPLSynapse.{name}", getattr(self, name), dt) for name in names))


@dataclass(frozen=True)
class InhibitoryPlasticity:
    """Symmetric spike-timing-dependent plasticity that holds the target neuron's rate near κ.

    (Vogels et al. 2011, Science, doi:10.1126/science.1211095, as simulated for Fig. 5 of Halvagal & Zenke 2023.)
    With y_j the trace of inhibitory spikes as they arrive and x_i that of the target's spikes, both decaying with τ::

        at a spike of j that arrives:  w_ij += zeta (x_i - 2 kappa tau), not below w_min
        at a spike of i:               w_ij += zeta y_j, not above w_max
    """

    zeta: float = 1e-3  # learning rate
    kappa: float = 10.0  # Hz, target rate
    tau: float = 20e-3  # s, both traces
    w_min: float = 0.0  # holds where the weight falls
    w_max: float = 1.0  # holds where it grows

    def __post_init__(self) -> None:
        _check_numbers(self, optional=())
        _check_positive(self, "tau")
        _check_not_negative(self, "zeta", "kappa")
        if self.w_min >= self.w_max:
            raise _error(self, "w_min", f"must be below w_max = {self.w_max}", self.w_min)


@dataclass(frozen=True)
class ConductanceNeuron:
    """Conductance-based integrate-and-fire neuron with a moving threshold, that of the paper's Fig. 5 and 6.

    Conductances are in units of the leak's; r is ``ampa_to_nmda``::

        tau_mem dU/dt = u_rest - U + (r g_ampa + g_nmda)/(1 + r) (e_exc - U) + g_gaba (e_inh - U),  e_inh <= U <= e_exc
        tau_ampa dg_ampa/dt = -g_ampa,  tau_gaba dg_gaba/dt = -g_gaba,  tau_nmda dg_nmda/dt = g_ampa - g_nmda
        U > theta_rest + thr:  spike, U = u_reset, thr = theta_spike;  tau_thr dthr/dt = -thr

    There is no other refractoriness: the threshold stays above e_exc for tau_thr ln(theta_spike / -theta_rest).
    """

    u_rest: float = -70e-3  # V
    u_reset: float = -70e-3  # V
    e_exc: float = 0.0  # V, reversal potential of excitation
    e_inh: float = -80e-3  # V, of inhibition
    theta_rest: float = -50e-3  # V, threshold at rest
    theta_spike: float = 100e-3  # V, what a spike sets the threshold to, above rest
    tau_thr: float = 5e-3  # s
    tau_mem: float = 20e-3  # s
    tau_ampa: float = 5e-3  # s
    tau_nmda: float = 100e-3  # s
    tau_gaba: float = 10e-3  # s
    ampa_to_nmda: float = 1.0  # ratio of the two in the excitatory current

    def __post_init__(self) -> None:
        _check_numbers(self, optional=())
        _check_positive(self, *(f.name for f in fields(self) if f.name.startswith("tau_")))
        _check_not_negative(self, "ampa_to_nmda", "theta_spike")
        if not self.e_inh <= self.u_reset < self.theta_rest < self.e_exc:
            raise UsageError("ConductanceNeuron: must have e_inh <= u_reset < theta_rest < e_exc")

    def check(self, dt: float) -> None:
        """Refuse a `dt` (s) that forward Euler cannot take; raises `UsageError`."""
        if not 0 < dt < self.tau_mem:
            raise UsageError(f"dt: must be positive and below ConductanceNeuron.tau_mem = {self.tau_mem} s, got {dt}")


@dataclass(frozen=True)
class CurrentNeuron:
    """Current-based integrate-and-fire neuron of a converted layer, in units of its threshold.

    ::

        tau_syn dI_i/dt = -I_i + sum_j w_ij S_j / r_max          D_i = I_i + b_i
        tau_mem du_i/dt = D_i - u_i     (leaky)     or     D_i    (not leaky)
        u_i >= theta:  spike, u_i -= theta

    With presynaptic rates r_j = x_j r_max the mean of D_i is sum_j w_ij x_j + b_i, the rate network's pre-activation.
    The non-leaky neuron then fires at max(D_i, 0) / (tau_mem theta): an exact ReLU, as long as D_i does not fluctuate.
    """

    tau_syn: float = 5e-3  # s
    tau_mem: float = 20e-3  # s
    leaky: bool = True
    theta: float = 1.0
    u_min: float | None = None  # the potential is clipped below it; None: no bound
    r_max: float = 50.0  # Hz, the presynaptic rate that stands for activation 1

    def __post_init__(self) -> None:
        _check_numbers(self, optional=("u_min",), skip=("leaky",))
        _check_positive(self, "tau_syn", "tau_mem", "theta", "r_max")
        if self.u_min is not None and self.u_min >= self.theta:
            raise _error(self, "u_min", f"must be below theta = {self.theta}", self.u_min)


def whole_steps(name: str, time: float, dt: float) -> int:
    """`time` (s) in steps of `dt` (s); raises `UsageError`, naming `name`, where it is not a multiple."""
    if not dt > 0:
        raise UsageError(f"dt: must be positive, got {dt}")
    count = round(time / dt)
    if abs(time / dt - count) > 1e-6 * max(1.0, 1e-7 * count) or (count == 0 and time > 0):
        raise UsageError(f"{name}: must be a multiple of dt = {dt} s, got {time} s")
    return count


def check_fields(
    owner: object,
    *,
    optional: tuple[str, ...] = (),
    skip: tuple[str, ...] = (),
    flags: tuple[str, ...] = (),
    positive: tuple[str, ...] = (),
    not_negative: tuple[str, ...] = (),
) -> None:
    """Make sure that the fields of a dataclass are finite plain numbers, but for those in `skip` and the `flags`.

    Those that are `optional` may be None. Raises `UsageError`, naming the first that is wrong.
    """
    _check_flags(owner, *flags)
    _check_numbers(owner, optional=optional, skip=(*skip, *flags))
    _check_positive(owner, *(name for name in positive if getattr(owner, name) is not None))
    _check_not_negative(owner, *not_negative)


def _check_numbers(owner: object, *, optional: tuple[str, ...], skip: tuple[str, ...] = ()) -> None:
    for name, value in vars(owner).items():
        if name in skip or (name in optional and value is None):
            continue
        if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
            raise _error(owner, name, "must be a finite plain number (times in seconds)", value)


def _check_flags(owner: object, *names: str) -> None:
    for name in names:
        if not isinstance(getattr(owner, name), bool):
            raise _error(owner, name, "must be True or False", getattr(owner, name))


def _check_positive(owner: object, *names: str) -> None:
    for name in names:
        if not getattr(owner, name) > 0:
            raise _error(owner, name, "must be positive", getattr(owner, name))


def _check_not_negative(owner: object, *names: str) -> None:
    for name in names:
        if getattr(owner, name) < 0:
            raise _error(owner, name, "must not be negative", getattr(owner, name))


def _error(owner: object, name: str, rule: str, value: object) -> UsageError:
    return UsageError(f"{type(owner).__name__}.{name}: {rule}, got {value!r}")

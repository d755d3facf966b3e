"""Neuron models as declared code: what every simulator runs in a step, and the models that come with the library.

A step of a population runs ``step`` on all neurons, then decides by ``threshold`` who spikes; when everything that
arrives has acted, ``reset`` runs on those that did. What arrives comes in through *receptors*:

* a `Drive` is a number that the step's code can use, 0 where nothing arrives;
* a `Jump` is added to a variable after the threshold, and acts from the next step on.

All quantities are plain numbers in SI units (volt, ampere, siemens, second), or without a unit where the model's
docstring says so. The code is that of `spiking.code`; ``dt`` is the step in s, and where a model is refractory,
``active`` is 1, or 0 while it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from foundation.errors import UsageError
from spiking.code import check_code, check_distinct, check_name, check_values
from spiking.neuron import CONDUCTANCE_RESET, CONDUCTANCE_STEP, CONDUCTANCE_THRESHOLD
from spiking.parameters import ConductanceNeuron, CurrentNeuron

GIVEN = ("dt", "second", "active")


@dataclass(frozen=True)
class Drive:
    """What arrives in a step is a number of the receptor's name, which the step's code can use."""

    reduce: str = "sum"  # of all that arrives; or "max", the largest of it

    def __post_init__(self) -> None:
        if self.reduce not in ("sum", "max"):
            raise UsageError(f"Drive.reduce: must be sum or max, got {self.reduce!r}")


@dataclass(frozen=True)
class Jump:
    """What arrives in a step is added to a variable after the threshold."""

    variable: str
    gain: str = "1"  # expression of the model's parameters and dt, by which it is multiplied


Receptor = Drive | Jump


@dataclass(frozen=True)
class NeuronModel:
    """A neuron model, see this module.

    Raises:
        UsageError: code that uses what is not declared, a name with two meanings; the message names it.

    >>> NeuronModel(
    ...     "leaky", {"v": 0.0}, "v += dt/tau*(drive - v)", "v > 1", "v = 0", parameters={"tau": 20e-3},
    ...     receptors={"drive": Drive()}, potential="v",
    ... ).receptors["drive"].reduce
    'sum'
    """

    name: str
    variables: Mapping[str, float]  # name -> where it starts
    step: str = ""  # statements
    threshold: str = ""  # condition; "": the model never spikes, it is an integrator
    reset: str = ""  # statements
    refractory: float = 0.0  # s, for which a neuron cannot spike again; the code freezes what it wants by `active`
    parameters: Mapping[str, float] = field(default_factory=dict)  # name -> default; may differ from neuron to neuron
    receptors: Mapping[str, Receptor] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()  # values from outside, one for each neuron and step; 0 where none are given
    end: str = ""  # statements at the end of a step, on all neurons: a clamp, for instance
    potential: str = ""  # the variable that plasticity rules call u
    units: Mapping[str, str] = field(default_factory=dict)  # variable -> its unit, for labels

    def __post_init__(self) -> None:
        where = f"NeuronModel {self.name!r}"
        check_values(f"{where}: variables", self.variables)
        check_values(f"{where}: parameters", self.parameters)
        drives = [name for name, receptor in self.receptors.items() if isinstance(receptor, Drive)]
        names = [*self.variables, *self.parameters, *self.inputs, *drives, *GIVEN]
        check_distinct(where, names)
        known = set(names)
        check_code(f"{where}: step", self.step, known, assigned=tuple(self.variables))
        check_code(f"{where}: reset", self.reset, known - set(drives), assigned=tuple(self.variables))
        check_code(f"{where}: end", self.end, known - set(drives), assigned=tuple(self.variables))
        if self.threshold:
            check_code(f"{where}: threshold", self.threshold, known, expression=True)
        elif self.reset or self.refractory:
            raise UsageError(f"{where}: has no threshold, so no reset and no refractoriness")
        if not (math.isfinite(self.refractory) and self.refractory >= 0):
            raise UsageError(f"{where}: refractory must be finite and not negative, got {self.refractory}")
        for name, receptor in self.receptors.items():
            check_name(where, name)
            if isinstance(receptor, Jump):
                if receptor.variable not in self.variables:
                    raise UsageError(f"{where}: receptor {name!r} adds to {receptor.variable!r}, which is no variable")
                gain = {*self.parameters, "dt", "second"}
                check_code(f"{where}: receptor {name!r}", receptor.gain, gain, expression=True)
        for what, of in (("potential", [self.potential] if self.potential else []), ("units", list(self.units))):
            for name in of:
                if name not in self.variables:
                    raise UsageError(f"{where}: {what}: {name!r} is no variable")

    @property
    def spikes(self) -> bool:
        """Whether it has a threshold."""
        return bool(self.threshold)


# --- the models of this library's own experiments ---------------------------------------------------------------------
def conductance_neuron(neuron: ConductanceNeuron | None = None) -> NeuronModel:
    """The conductance-based neuron of Halvagal & Zenke 2023, see `ConductanceNeuron`; receptors ampa and gaba."""
    neuron = neuron or ConductanceNeuron()
    ratio = neuron.ampa_to_nmda
    parameters = {name: value for name, value in vars(neuron).items() if name != "ampa_to_nmda"}
    return NeuronModel(
        "conductance-based",
        {"U": neuron.u_rest, "g_ampa": 0.0, "g_nmda": 0.0, "g_gaba": 0.0, "thr": 0.0},
        CONDUCTANCE_STEP,
        CONDUCTANCE_THRESHOLD,
        CONDUCTANCE_RESET,
        parameters={**parameters, "a_ampa": ratio / (1 + ratio), "a_nmda": 1 / (1 + ratio)},
        receptors={"ampa": Jump("g_ampa"), "gaba": Jump("g_gaba")},
        potential="U",
        units={"U": "V", "thr": "V"},
    )


def current_neuron(neuron: CurrentNeuron | None = None) -> NeuronModel:
    """The current-based neuron of a converted layer, see `CurrentNeuron`, in units of its threshold.

    Its receptor ``syn`` is raised by w at a spike; parameter ``bias`` is b_i. The gain of the synaptic trace makes the
    mean of the drive exact at any dt.
    """
    neuron = neuron or CurrentNeuron()
    lower = "" if neuron.u_min is None else "u = clip(u, u_min, 1e300)\n"
    return NeuronModel(
        "current-based",
        {"u": 0.0, "g": 0.0},
        f"u += dt/tau_mem*((1 - exp(-dt/tau_syn))/(r_max*dt)*g + bias{' - u' if neuron.leaky else ''})\n"
        f"{lower}g *= exp(-dt/tau_syn)",
        "u >= theta",
        "u -= theta",
        parameters={
            **{name: getattr(neuron, name) for name in ("tau_syn", "tau_mem", "theta", "r_max")},
            **({} if neuron.u_min is None else {"u_min": neuron.u_min}),
            "bias": 0.0,
        },
        receptors={"syn": Jump("g")},
        potential="u",
    )


def integrate_and_fire(*, reset: str = "subtract", threshold: float = 1.0, start: float = 0.0) -> NeuronModel:
    """Integrate and fire in units of the caller: v += drive + bias; v >= theta: spike, v -= theta or v = 0."""
    if reset not in ("subtract", "zero"):
        raise UsageError(f"reset: must be subtract or zero, got {reset!r}")
    return NeuronModel(
        "integrate-and-fire",
        {"v": start},
        "v += drive + bias",
        "v >= theta",
        "v -= theta" if reset == "subtract" else "v = 0",
        parameters={"theta": threshold, "bias": 0.0},
        receptors={"drive": Drive()},
        potential="v",
    )


def integrator() -> NeuronModel:
    """A sum of all that arrived: v += drive + bias; it never spikes."""
    return NeuronModel(
        "integrator",
        {"v": 0.0},
        "v += drive + bias",
        parameters={"bias": 0.0},
        receptors={"drive": Drive()},
        potential="v",
    )


def leaky_integrator(*, tau: float = 20e-3, resistance: float = 1.0, v_leak: float = 0.0) -> NeuronModel:
    """NIR's LI: tau dv/dt = v_leak - v + r drive, forward Euler; it never spikes."""
    parameters = {"tau": tau, "r": resistance, "v_leak": v_leak}
    code = "v += dt/tau*(v_leak - v + r*drive)"
    return NeuronModel(
        "leaky integrator", {"v": v_leak}, code, parameters=parameters, receptors={"drive": Drive()}, potential="v"
    )


def lif(
    *,
    tau: float = 20e-3,
    resistance: float = 1.0,
    v_leak: float = 0.0,
    v_threshold: float = 1.0,
    v_reset: float = 0.0,
    refractory: float = 0.0,
) -> NeuronModel:
    """NIR's LIF: tau dv/dt = v_leak - v + r drive, forward Euler; v > v_threshold: spike, v = v_reset."""
    parameters = {"tau": tau, "r": resistance, "v_leak": v_leak, "v_threshold": v_threshold, "v_reset": v_reset}
    held = "active*" if refractory else ""
    return NeuronModel(
        "leaky integrate-and-fire",
        {"v": v_leak},
        f"v += {held}dt/tau*(v_leak - v + r*drive)",
        "v > v_threshold",
        "v = v_reset",
        refractory,
        parameters=parameters,
        receptors={"drive": Drive(), "delta": Jump("v")},
        potential="v",
    )


def cuba_lif(*, tau_syn: float = 5e-3, w_in: float = 1.0, **membrane: float) -> NeuronModel:
    """NIR's CubaLIF: a LIF neuron whose drive first goes through tau_syn di/dt = w_in drive - i."""
    plain = lif(**membrane)
    return replace(
        plain,
        name="current-based LIF",
        variables={"i": 0.0, **plain.variables},
        step=f"i += dt/tau_syn*(w_in*drive - i)\n{plain.step.replace('r*drive', 'r*i')}",
        parameters={**plain.parameters, "tau_syn": tau_syn, "w_in": w_in},
    )


# --- models of the field ----------------------------------------------------------------------------------------------
MEMBRANE = {"C": 250e-12, "tau_m": 10e-3, "E_L": -70e-3, "V_th": -55e-3, "V_reset": -70e-3, "I_e": 0.0}
"""Parameters of NEST's iaf models: F, s, V, V, V, A."""


_MEMBRANE_STEP = "decay = exp(-dt/tau_m)", "change = (E_L - V)*(1 - decay) + tau_m/C*(1 - decay)*I_e"
_PSI_SERIES = (
    "0.5 + {z}*(1/3.0 + {z}*(1/8.0 + {z}*(1/30.0 + {z}*(1/144.0 + {z}*(1/840.0 + {z}*(1/5760.0 + {z}/45360.0))))))"
)


def _phi(kind: str) -> str:
    """Code for phi = int_0^1 exp(z x) dx with z = dt/tau_m - dt/tau, the membrane's response to a decaying current.

    (exp(z) - 1)/log(exp(z)) is exact for any z, and 1 where exp(z) is 1: time constants may be equal, or nearly so.
    """
    grown = f"grown_{kind}"
    return (
        f"z_{kind} = dt/tau_m - dt/tau_{kind}\n{grown} = exp(z_{kind})\n"
        f"phi_{kind} = ({grown} - 1 + int({grown} == 1))/(log({grown}) + int({grown} == 1))"
    )


def exponential_current_lif(*, refractory: float = 2e-3, tau_ex: float = 2e-3, tau_in: float = 2e-3) -> NeuronModel:
    """LIF with exponential currents, integrated exactly (Rotter & Diesmann 1999, doi:10.1007/s004220050570).

    C dV/dt = -C/tau_m (V - E_L) + I_ex + I_in + I_e; receptors ``ex`` and ``in_`` raise their current by w (A).
    """
    lines = [_phi("ex"), _phi("in"), *_MEMBRANE_STEP]  # what is the same for all neurons comes first, for Brian2
    for kind in ("ex", "in"):
        lines += [f"change += dt/C*decay*phi_{kind}*I_{kind}", f"I_{kind} *= exp(-dt/tau_{kind})"]
    lines.append("V += active*change")
    return _point_neuron(
        "LIF with exponential currents",
        {"I_ex": 0.0, "I_in": 0.0},
        "\n".join(lines),
        refractory,
        {"tau_ex": tau_ex, "tau_in": tau_in},
        {"ex": Jump("I_ex"), "in_": Jump("I_in")},
        {"I_ex": "A", "I_in": "A"},
    )


def alpha_current_lif(*, refractory: float = 2e-3, tau_ex: float = 2e-3, tau_in: float = 2e-3) -> NeuronModel:
    """LIF with alpha-shaped currents, I(t) = w e t/tau exp(-t/tau), integrated exactly (Rotter & Diesmann 1999).

    Receptors ``ex`` and ``in_`` take w in A, the height of the current.
    """
    lines: list[str] = []
    for kind in ("ex", "in"):
        # psi = int_0^1 x exp(z x) dx, the membrane's response to dI; by its series where the closed form cancels
        lines += [
            _phi(kind),
            f"small_{kind} = int(abs(z_{kind}) < 0.05)",
            f"series_{kind} = {_PSI_SERIES.format(z=f'z_{kind}')}",
            f"psi_{kind} = small_{kind}*series_{kind}"
            f" + (1 - small_{kind})*(exp(z_{kind}) - phi_{kind})/(z_{kind} + small_{kind})",
        ]
    lines += _MEMBRANE_STEP
    for kind in ("ex", "in"):
        lines += [
            f"change += dt/C*decay*(phi_{kind}*I_{kind} + dt*psi_{kind}*dI_{kind})",
            f"I_{kind} = exp(-dt/tau_{kind})*(I_{kind} + dt*dI_{kind})",
            f"dI_{kind} *= exp(-dt/tau_{kind})",
        ]
    lines.append("V += active*change")
    variables = {"I_ex": 0.0, "dI_ex": 0.0, "I_in": 0.0, "dI_in": 0.0}
    gain = "2.718281828459045/tau_"
    return _point_neuron(
        "LIF with alpha currents",
        variables,
        "\n".join(lines),
        refractory,
        {"tau_ex": tau_ex, "tau_in": tau_in},
        {"ex": Jump("dI_ex", f"{gain}ex"), "in_": Jump("dI_in", f"{gain}in")},
        {"I_ex": "A", "I_in": "A", "dI_ex": "A/s", "dI_in": "A/s"},
    )


def _point_neuron(
    name: str,
    variables: Mapping[str, float],
    step: str,
    refractory: float,
    parameters: Mapping[str, float],
    receptors: Mapping[str, Receptor],
    units: Mapping[str, str],
) -> NeuronModel:
    return NeuronModel(
        name,
        {"V": MEMBRANE["E_L"], **variables},
        step,
        "V >= V_th",
        "V = V_reset",
        refractory,
        parameters={**MEMBRANE, **parameters},
        receptors={**receptors, "delta": Jump("V")},
        potential="V",
        units={"V": "V", **units},
    )


def conductance_lif(
    *,
    refractory: float = 2e-3,
    C: float = 250e-12,
    g_L: float = 16.6667e-9,
    E_L: float = -70e-3,
    V_th: float = -55e-3,
    V_reset: float = -60e-3,
    I_e: float = 0.0,
    tau: Mapping[str, float] | None = None,
    reversal: Mapping[str, float] | None = None,
) -> NeuronModel:
    """LIF with exponential conductances of its own reversal potentials, exponential Euler.

    C dV/dt = g_L (E_L - V) + sum_k g_k (E_k - V) + I_e; receptor k raises g_k by w (S).

    Args:
        refractory: s.
        C: F.
        g_L: S.
        E_L: V, where the potential starts, too.
        V_th: V.
        V_reset: V.
        I_e: A.
        tau: s, of each receptor; ex and in_ without any.
        reversal: V, of the same receptors.

    Raises:
        UsageError: `tau` and `reversal` are of different receptors.
    """
    tau = {"ex": 0.2e-3, "in_": 2e-3} if tau is None else tau
    reversal = {"ex": 0.0, "in_": -85e-3} if reversal is None else reversal
    if tau.keys() != reversal.keys() or not tau:
        raise UsageError("conductance_lif: tau and reversal must be of the same receptors, one or more")
    total = " + ".join(["g_L", *(f"g_{k}" for k in tau)])
    drive = " + ".join(["g_L*E_L", "I_e", *(f"g_{k}*E_{k}" for k in tau)])
    decays = "\n".join(f"g_{k} *= exp(-dt/tau_{k})" for k in tau)
    return NeuronModel(
        "conductance-based LIF",
        {"V": E_L, **{f"g_{k}": 0.0 for k in tau}},
        f"total = {total}\nV_inf = ({drive})/total\nV += active*(V_inf - V)*(1 - exp(-dt*total/C))\n{decays}",
        "V >= V_th",
        "V = V_reset",
        refractory,
        parameters={
            **{"C": C, "g_L": g_L, "E_L": E_L, "V_th": V_th, "V_reset": V_reset, "I_e": I_e},
            **{f"tau_{k}": value for k, value in tau.items()},
            **{f"E_{k}": value for k, value in reversal.items()},
        },
        receptors={k: Jump(f"g_{k}") for k in tau},
        potential="V",
        units={"V": "V", **{f"g_{k}": "S" for k in tau}},
    )


def adex(*, refractory: float = 0.0, tau_ex: float = 5e-3, tau_in: float = 10e-3) -> NeuronModel:
    """The adaptive exponential neuron (Brette & Gerstner 2005, doi:10.1152/jn.00686.2005), forward Euler.

    C dV/dt = -g_L (V - E_L) + g_L D_T exp((V - V_T)/D_T) - w + g_ex (E_ex - V) + g_in (E_in - V) + I_e
    tau_w dw/dt = a (V - E_L) - w;  V >= V_peak: spike, V = V_reset, w += b

    The defaults are the paper's; receptors ``ex`` and ``in_`` raise their conductance by w (S).
    """
    step = """
upstroke = g_L*D_T*exp(clip((V - V_T)/D_T, -100, 100))
slope = (-g_L*(V - E_L) + upstroke - w + g_ex*(E_ex - V) + g_in*(E_in - V) + I_e)/C
follow = (a*(V - E_L) - w)/tau_w
V = clip(V + active*dt*slope, -1, V_peak)
w += dt*follow
g_ex *= exp(-dt/tau_ex)
g_in *= exp(-dt/tau_in)
"""
    return NeuronModel(
        "adaptive exponential",
        {"V": -70.6e-3, "w": 0.0, "g_ex": 0.0, "g_in": 0.0},
        step,
        "V >= V_peak",
        "V = V_reset\nw += b",
        refractory,
        parameters={
            **{"C": 281e-12, "g_L": 30e-9, "E_L": -70.6e-3, "V_T": -50.4e-3, "D_T": 2e-3, "V_peak": 20e-3},
            **{"V_reset": -70.6e-3, "tau_w": 144e-3, "a": 4e-9, "b": 80.5e-12, "I_e": 0.0},
            **{"E_ex": 0.0, "E_in": -80e-3, "tau_ex": tau_ex, "tau_in": tau_in},
        },
        receptors={"ex": Jump("g_ex"), "in_": Jump("g_in")},
        potential="V",
        units={"V": "V", "w": "A", "g_ex": "S", "g_in": "S"},
    )


def izhikevich(
    *, a: float = 0.02, b: float = 0.2, c: float = -65.0, d: float = 8.0, V_peak: float = 30.0
) -> NeuronModel:
    """The neuron of Izhikevich 2003 (doi:10.1109/TNN.2003.820440), forward Euler, in mV and ms as in the paper.

    dv/dt = 0.04 v² + 5 v + 140 - u + I;  du/dt = a (b v - u);  v >= V_peak: v = c, u += d. Receptor ``delta`` raises v,
    parameter ``I_e`` is a constant current.
    """
    step = """
slope = 0.04*v**2 + 5*v + 140 - u_rec + I_e
u_new = u_rec + 1000*dt/second*a*(b*v - u_rec)
v += 1000*dt/second*slope
u_rec = u_new
"""
    return NeuronModel(
        "Izhikevich",
        {"v": c, "u_rec": b * c},
        step,
        "v >= V_peak",
        "v = c\nu_rec += d",
        parameters={"a": a, "b": b, "c": c, "d": d, "V_peak": V_peak, "I_e": 0.0},
        receptors={"delta": Jump("v")},
        potential="v",
        units={"v": "mV"},
    )

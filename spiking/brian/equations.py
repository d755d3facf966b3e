"""The spiking LPL rule as Brian2 code: the definition, step by step.

Source: the simulation of Halvagal & Zenke 2023 (Nature Neuroscience, doi:10.1038/s41593-023-01460-y; methods,
"Spiking neural network simulations", Eq. 13 to 20), whose update order is exact and discrete. So is this: code strings
that run once per step (`run_regularly`), and no ODEs whose discretisation an integrator would choose.

Step n, after integration, threshold, arrival of the delayed spikes and reset (slot ``after_resets``), in this order:

===== =================== =============================================================================
order code                on
===== =================== =============================================================================
0     POSTSYNAPTIC_ERROR  postsynaptic neurons: error, surrogate derivative
1     ELIGIBILITY         synapses: eligibility, its correlation with the error
2     `weight_update`     synapses: new weights, every update interval (also in step 0)
3     PRESYNAPTIC_TRACES  inputs: postsynaptic potential, trace
3     POSTSYNAPTIC_TRACES postsynaptic neurons: variance, mean, filtered error
===== =================== =============================================================================

Symbols: d the axonal delay and D the prediction delay in steps, S_j(n) an input spike and S_i(n) a postsynaptic spike
in step n. All rates are in Hz, as plain numbers.
"""

from __future__ import annotations

SLOT = "after_resets"
ORDER = {"error": 0, "eligibility": 1, "update": 2, "traces": 3}

# --- inputs j ---------------------------------------------------------------------------------------------------------
# The eligibility needs psp_j as it was d steps ago. A linear filter commutes with a delay: driven by spikes that come
# d steps later still, psp is that value, and no history has to be kept. So everything here lags d steps behind.
PRESYNAPTIC = """
psp : 1     # psp_j(n-d), postsynaptic potential that input j alone would cause, not scaled by tau_syn
trpre : 1  # its drive, the trace of input spikes
s : 1   # 1 in the step in which a spike arrives: S_j(n-2d)
"""
SPIKE_PRE = "s = 1"  # delayed by 2 d

PRESYNAPTIC_TRACES = """
psp += dt/tau_mem*(trpre - psp)
trpre = (trpre + s)*exp(-dt/tau_syn)
s = 0
"""

# --- postsynaptic neurons i -------------------------------------------------------------------------------------------
POSTSYNAPTIC = """
lambda_i : 1     # lambda, strength of the Hebbian term, per neuron
phi_i : 1        # phi, strength of the predictive term, per neuron
err : 1          # error signal, bracket of the learning rule (Eq. 18)
tr_err : 1       # error, filtered by tau_err_rise
tr_err_flt : 1   # and by tau_err_decay (filter alpha)
tr_mean : 1      # tau_mean times the mean rate
sigma2 : 1       # variance of the spike train, about a rate in Hz
sigma_prime : 1  # sigma'(U_i(n)), surrogate derivative
s_now : 1        # S_i(n), immediate
s_delayed : 1    # S_i(n-d)
s_old : 1        # S_i(n-D): relative to S_i(n-d), the prediction reaches back D - d steps
"""
SPIKE_POST = {"now": "s_now = 1", "delayed": "s_delayed = 1", "old": "s_old = 1"}  # delayed by 0, d, D

# sigma2 is used as it stood at the end of step n-1, and so is tr_mean.
POSTSYNAPTIC_ERROR = """
err = lambda_i*(s_delayed - dt/tau_mean*tr_mean)/(sigma2 + xi_0) + delta - phi_i*s_delayed + phi_i*s_old
"""

# sigma2 is fed per spike, without dt. tr_err_flt follows the tr_err of this very step.
POSTSYNAPTIC_TRACES = """
sigma2 = (sigma2 + (s_delayed - dt/tau_mean*tr_mean)**2*second/tau_sigma2)*exp(-dt/tau_sigma2)
tr_mean = (tr_mean + s_now)*exp(-dt/tau_mean)
tr_err += dt/tau_err_rise*(err - tr_err)
tr_err_flt += dt/tau_err_decay*(tr_err - tr_err_flt)
s_now = 0
s_delayed = 0
s_old = 0
"""

# --- synapses j -> i --------------------------------------------------------------------------------------------------
SYNAPTIC = """
w : 1             # weight
el : 1            # eligibility: psp_j sigma'(U_i), decaying with tau_el_rise
el_flt : 1        # and filtered by tau_el_decay (filter epsilon)
el_sum : 1        # sum of eligibility times error since the last update
dw_sum : 1        # sum of the gradients so far, without eta
eta : 1 (shared)  # learning rate; set it to 0 to freeze the weights
from_j : integer (constant)  # j and i once more, as 64-bit integers: numpy gathers
to_i : integer (constant)    # by these 3.5 times as fast as by Brian2's own 32-bit indices
"""

# psp and tr_err_flt as they stood at the end of step n-1 (psp lags d steps), sigma_prime_d = sigma'(U_i(n-d)).
# el is not divided by tau_el_rise: a gain of tau_el_rise/dt, part of the learning rate.
ELIGIBILITY = """
el += psp_d*sigma_prime_d
el_flt += dt/tau_el_decay*(el - el_flt)
el *= exp(-dt/tau_el_rise)
el_sum += el_flt*tr_err_flt_i
"""


def surrogate_history(steps: int) -> list[str]:
    """Names of σ'(n), σ'(n-1), ... σ'(n-steps) of a neuron; the last one is what its synapses see."""
    return ["sigma_prime", *(f"sigma_prime_{k}" for k in range(1, steps + 1))]


def postsynaptic_equations(steps: int, potential_unit: str) -> str:
    """POSTSYNAPTIC, the last `steps` values of σ', and the potential, linked to that of the neuron."""
    history = "".join(f"{name} : 1\n" for name in surrogate_history(steps)[1:])
    return f"{POSTSYNAPTIC}{history}potential : {potential_unit} (linked)\n"


def surrogate_code(steps: int, floor: bool) -> str:
    """Shift the history of σ' by one step and add σ'(U) = β / (1 + β |U - θ|)², which is 0 below u_floor if `floor`.

    U is the potential after this step's reset.
    """
    names = surrogate_history(steps)
    shifts = [f"{older} = {newer}\n" for newer, older in zip(names[-2::-1], names[:0:-1], strict=True)]
    above = "*int(potential/unit >= u_floor)" if floor else ""
    return "".join(shifts) + f"sigma_prime = beta/(1 + beta*abs(potential/unit - theta))**2{above}\n"


def weight_update(*, lower: bool, upper: bool) -> str:
    """End of a window: gradient = mean over `window` steps (the window of step 0 is a single step), then w, clipped."""
    lines = ["dw_sum += el_sum/window", "w += eta*el_sum/window", "el_sum = 0"]
    if lower or upper:
        lines.insert(2, f"w = clip(w, {'w_min' if lower else '-inf'}, {'w_max' if upper else 'inf'})")
    return "\n".join(lines)


# --- current-based neuron (parameters.CurrentNeuron) ------------------------------------------------------------------
CURRENT_NEURON = """
u : 1      # membrane potential
g : 1      # trace of weighted input spikes, decays with tau_syn
bias : 1   # b_i
"""
SPIKE_CURRENT = "g_post += w"
CURRENT_RESET = "u -= theta"
CURRENT_THRESHOLD = "u >= theta"


def current_neuron_step(*, leaky: bool, lower: bool) -> str:
    """One Euler step of the membrane under D = gain g + b with the old g, then the decay of g.

    gain = (1 - exp(-dt/tau_syn)) / (r_max dt) makes the mean of D exact at any dt; it tends to 1 / (r_max tau_syn).
    """
    lines = [f"u += dt/tau_mem*(gain*g + bias{' - u' if leaky else ''})", "g *= exp(-dt/tau_syn)"]
    if lower:
        lines.insert(1, "u = clip(u, u_min, inf)")
    return "\n".join(lines)

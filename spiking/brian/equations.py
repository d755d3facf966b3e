"""The spiking models as Brian2 code: the definition, step by step.

Source: the simulation of Halvagal & Zenke 2023 (Nature Neuroscience, doi:10.1038/s41593-023-01460-y; methods,
"Spiking neural network simulations", Eq. 13 to 20), whose update order is exact and discrete. So is this: code strings
that run once per step (`run_regularly`), and no ODEs whose discretisation an integrator would choose. In what
three-factor rules differ, error, traces and factor f, is part of their declaration (`spiking.rule`); the code of the
conductance-based neuron (CONDUCTANCE_...) is in `spiking.neuron`, for all simulators.

What happens in step n, by slot of Brian2's schedule:

============ ============================= =================================================================
slot         code                          what
============ ============================= =================================================================
groups       CONDUCTANCE_STEP              neurons: currents from the old potential and conductances, Euler step
thresholds   CONDUCTANCE_THRESHOLD         spikes S_i(n)
synapses     SPIKE_AMPA, SPIKE_GABA        delayed spikes S(n-d) raise conductances, effective in step n+1
synapses     SPIKE_GROWTH                  synapses: growth without any signal, at each delayed spike
synapses     INHIBITORY_ON_PRE, _ON_POST   inhibitory weights: first every arriving spike, then every target's
resets       CONDUCTANCE_RESET             potential and threshold
after_resets (`delays.remember_spikes`)    postsynaptic neurons: remember this step's spikes
after_resets `error_and_factor`            postsynaptic neurons: the rule's error, the rule's factor f(U)
after_resets ELIGIBILITY                   synapses: eligibility, its correlation with the filtered error
after_resets `weight_update`               synapses: new weights, every update interval (also in step 0)
after_resets PRESYNAPTIC_TRACES            inputs: postsynaptic potential, trace
after_resets `postsynaptic_traces`         postsynaptic neurons: the rule's traces, filtered error
after_resets SPIKE_TRACE                   traces of the inhibitory rule
============ ============================= =================================================================

Within a slot the order is that of the table (ORDER).

Symbols: d the axonal delay and a the alignment in steps, S_j(n) an input spike and S_i(n) a postsynaptic spike in
step n. All rates are in Hz, as plain numbers. What a rule delays is explicit state (`spiking.brian.delays`), and so are
the axons of `spiking.brian.network`: a simulation of it can be cut anywhere.
"""

from __future__ import annotations

import ast

SLOT = "after_resets"
ORDER = {"write": 0, "error": 1, "eligibility": 2, "update": 3, "remember": 4, "traces": 5}

# --- three-factor rules: inputs j -------------------------------------------------------------------------------------
PRESYNAPTIC = """
psp : 1    # psi ∗ S_j, postsynaptic potential that input j alone would cause, not scaled by tau_psi_rise
trpre : 1  # its drive, the trace of input spikes as they arrive
s : 1      # 1 in the step in which a spike arrives: S_j(n-d)
"""
SPIKE_PRE = "s = 1"  # delayed by d


def history(name: str, steps: int) -> list[str]:
    """Names of x(n), x(n-1), ... x(n-steps): the last values of a variable x."""
    return [name, *(f"{name}_{k}" for k in range(1, steps + 1))]


def shift(name: str, steps: int) -> str:
    """Make x(n) the newest of the remembered values of x."""
    names = history(name, steps)
    return "".join(f"{older} = {newer}\n" for newer, older in zip(names[-2::-1], names[:0:-1], strict=True))


def with_history(model: str, name: str, steps: int) -> str:
    """The model, with variables for the last `steps` values of x."""
    return model + "".join(f"{older} : 1\n" for older in history(name, steps)[1:])


# End of step n. First psp_j(n), as it stood in this step, joins the last values by `shift`: in code of its own, since
# Brian2 turns the next line into an in-place operation, which in numpy would alter the value just remembered, too.
PRESYNAPTIC_TRACES = """
psp += dt/tau_psi_decay*(trpre - psp)
trpre = (trpre + s)*exp(-dt/tau_psi_rise)
s = 0
"""

# --- three-factor rules: postsynaptic neurons i -----------------------------------------------------------------------
# Beside these a group has the rule's variables, parameters and inputs, and the spikes that it remembers.
POSTSYNAPTIC = """
err : 1                 # e_i, the rule's error
tr_err : 1              # error, filtered by tau_err_rise
tr_err_flt : 1          # and by tau_err_decay (filter alpha)
sigma_prime : 1         # f(U_i(n)), the rule's factor
s_now : 1               # S_i(n), immediate
u = potential/unit : 1  # U_i(n) after this step's reset, in the rule's own unit
"""
SPIKE_POST = "s_now = 1"


def error_and_factor(error: str, factor: str, alignment: int) -> str:
    """The rule's error, from its variables as they stood at the end of step n-1, and the newest factor."""
    return f"err = {plain(error)}\n{shift('sigma_prime', alignment)}sigma_prime = {plain(factor)}\n"


def postsynaptic_traces(traces: str) -> str:
    """The rule's traces, then the filtered error: tr_err_flt follows the tr_err of this very step."""
    return f"""
{plain(traces)}
tr_err += dt/tau_err_rise*(err - tr_err)
tr_err_flt += dt/tau_err_decay*(tr_err - tr_err_flt)
s_now = 0
"""


def plain(code: str) -> str:
    """A rule's own code as Brian2 reads it: the expression, or every statement, in one line.

    Where Brian2 turns ``x = x + y`` into an in-place operation, numpy would alter what ``old = x`` has kept; the unary
    plus makes that a copy.
    """
    tree = ast.parse(code.strip())
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Name, ast.BinOp)):
            node.value = ast.UnaryOp(ast.UAdd(), node.value)
    return ast.unparse(tree)


# --- three-factor rules: synapses j -> i ------------------------------------------------------------------------------
SYNAPTIC = """
w : 1             # weight
el : 1            # eligibility: psp_j f(U_i), decaying with tau_el_rise
el_flt : 1        # and filtered by tau_el_decay (filter epsilon)
el_sum : 1        # sum of eligibility times filtered error since the last update
dw_sum : 1        # sum of the gradients so far, without eta
eta : 1 (shared)  # learning rate; set it to 0 to freeze the weights
from_j : integer (constant)  # j and i once more, as 64-bit integers: numpy gathers
to_i : integer (constant)    # by these 3.5 times as fast as by Brian2's own 32-bit indices
"""
SYNAPTIC_MAXIMUM = "g2 : 1            # decaying maximum of the squared gradient\n"

# psp_d = psp_j(n-a) and sigma_prime_d = f(U_i(n-a)): with a = d both meet the delayed spikes of LPL's error.
# psp_j(n) and tr_err_flt as they stood at the end of step n-1, f(U_i(n)) that of step n.
# el is not divided by tau_el_rise: a gain of tau_el_rise/dt, part of the learning rate.
ELIGIBILITY = """
el += psp_d*sigma_prime_d
el_flt += dt/tau_el_decay*(el - el_flt)
el *= exp(-dt/tau_el_rise)
el_sum += el_flt*tr_err_flt_i
"""

SPIKE_GROWTH = "el_sum += growth"


def weight_update(*, augment: bool, decay: bool, lower: bool, upper: bool) -> str:
    """End of a window: gradient = mean over `window` steps (the window of step 0 is a single step), then w, clipped.

    `augment` divides the gradient by its own decaying maximum, which goes on while eta is 0; `decay` lets the
    weights decay with tau_w first.
    """
    lines = ["gradient = el_sum/window", "dw_sum += gradient"]
    step = "gradient"
    if augment:
        lines.append("g2 = clip(exp(-interval/tau_rms)*g2, gradient**2, inf)  # the larger of the two")
        step = "gradient/(sqrt(g2) + 1e-32)"
    if decay:
        lines.append("w -= eta*w*(1 - exp(-interval/tau_w))")
    lines.append(f"w += eta*{step}")
    if lower or upper:
        lines.append(f"w = clip(w, {'w_min' if lower else '-inf'}, {'w_max' if upper else 'inf'})")
    return "\n".join([*lines, "el_sum = 0"])


# --- symmetric inhibitory plasticity (parameters.InhibitoryPlasticity) ------------------------------------------------
INHIBITORY = "w : 1  # weight"
# x_i and y_j as they stood at the end of step n-1; the bounds are one-sided.
INHIBITORY_ON_PRE = "w = clip(w + zeta*(x - 2*kappa*tau), w_min, inf)"  # at S_j(n-d), after the old w has acted
INHIBITORY_ON_POST = "w = clip(w + zeta*y, -inf, w_max)"  # at S_i(n)

TRACE = """
{name} : 1  # trace of spikes
s : 1       # 1 in the step of a spike
"""
SPIKE_TRACE = """
{name} = ({name} + s)*exp(-dt/tau)
s = 0
"""

# --- conductance-based neuron (parameters.ConductanceNeuron, spiking.neuron) ------------------------------------------
CONDUCTANCE_NEURON = """
U : volt    # membrane potential
g_ampa : 1  # conductances, in units of the leak's
g_nmda : 1
g_gaba : 1
thr : volt  # what the last spike added to the threshold
"""
SPIKE_AMPA = "g_ampa_post += w"
SPIKE_GABA = "g_gaba_post += w"

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

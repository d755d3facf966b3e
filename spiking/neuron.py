"""The conductance-based neuron of `parameters.ConductanceNeuron` as code: what every simulator runs in a step.

Halvagal & Zenke 2023 (Nature Neuroscience, doi:10.1038/s41593-023-01460-y), as simulated: currents from the old
potential and conductances, forward Euler; g_nmda follows g_ampa in two steps: it takes a share m of g_ampa, then loses
a share m of itself. Spikes that arrive in a step raise conductances after it.
"""

CONDUCTANCE_VARIABLES = ("U", "g_ampa", "g_nmda", "g_gaba", "thr")
CONDUCTANCE_STEP = """
I = (a_ampa*g_ampa + a_nmda*g_nmda)*(e_exc - U) + g_gaba*(e_inh - U)
g_nmda = (g_nmda + (1 - exp(-dt/tau_nmda))*g_ampa)*exp(-dt/tau_nmda)
g_ampa *= exp(-dt/tau_ampa)
g_gaba *= exp(-dt/tau_gaba)
thr *= exp(-dt/tau_thr)
U = clip(U + dt/tau_mem*(u_rest - U + I), e_inh, e_exc)
"""
CONDUCTANCE_THRESHOLD = "U > theta_rest + thr"
CONDUCTANCE_RESET = """
U = u_reset
thr = theta_spike
"""

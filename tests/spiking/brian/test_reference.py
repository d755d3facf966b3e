"""The rule against the published C++ simulation, step by step: two seconds of one neuron and 21 of its synapses."""

from pathlib import Path

import numpy as np
import pytest
from brian2 import Network, NeuronGroup, SpikeGeneratorGroup, StateMonitor, TimedArray, prefs, second, volt

from spiking.brian.plasticity import attach_lpl
from spiking.parameters import LPLSynapse

DT = 1e-4
LEAD = 300  # steps until all that is delayed is known from the record: 200 for the prediction, 16 for the inputs
DATA = Path(__file__).parents[2] / "data" / "spiking" / "steptrace.npz"
RULE = LPLSynapse(lambda_=1.0, phi=1.0, eta=1e-2, tau_mean=1.0, tau_sigma2=30.0)

# Largest deviation of an independent float64 program from the float32 reference; a port may have 1.5 times as much.
DEVIATION = {
    "err": 1.6e-4,
    "tr_err": 7.5e-6,
    "tr_err_flt": 1e-6,
    "tr_post_mean": 3.7e-3,
    "tr_post_sigma2": 1.3e-3,
    "sigma_prime": 0.15,
    "el": 0.36,
    "el_flt": 0.17,
    "el_sum": 0.27,
    "w": 8e-7,
}
OURS = {"tr_post_mean": "tr_mean", "tr_post_sigma2": "sigma2"}


def set_inputs(pre, trace, last):
    """Set psp_j, its last eight values and the trace behind it to what they were at the end of step `last`."""
    arrivals = np.zeros((last + 1, trace["input_ids"].size))
    ids = np.searchsorted(trace["input_ids"], trace["input_spikes"][:, 1])
    steps = trace["input_spikes"][:, 0] + 8
    arrivals[steps[steps <= last], ids[steps <= last]] = 1
    psp = [np.zeros(trace["input_ids"].size)] * 9
    x = psp[0]
    for now in arrivals:
        psp = [psp[0] + DT / 20e-3 * (x - psp[0]), *psp[:-1]]
        x = (x + now) * np.exp(-DT / 5e-3)
    pre.trpre = x
    for k, value in enumerate(psp):
        setattr(pre, f"psp_{k}" if k else "psp", value)


def prescribed_neuron(trace):
    """A neuron whose potential and spikes are the recorded ones."""
    first, potential = int(trace["first"]), trace["unit_state"][:, list(trace["unit_names"]).index("mem")]
    spikes = np.zeros(potential.size)
    spikes[trace["unit_spikes"][trace["unit_spikes"] >= first] - first] = 1
    arrays = {
        "recorded": TimedArray(potential.astype(float) * volt, dt=DT * second),
        "spikes": TimedArray(spikes, dt=DT * second),
    }
    neuron = NeuronGroup(1, "v : volt\ng : 1", threshold="spikes(t) > 0", reset="", dt=DT * second, namespace=arrays)
    neuron.run_regularly("v = recorded(t)", when="groups", clock=neuron.clock)
    return neuron


@pytest.fixture(scope="module")
def largest_deviations():
    previous, prefs.codegen.target = prefs.codegen.target, "numpy"
    try:
        return run()
    finally:
        prefs.codegen.target = previous


def run():
    trace = np.load(DATA)
    first, ids = int(trace["first"]), trace["input_ids"]
    spikes = trace["input_spikes"][trace["input_spikes"][:, 0] >= first]
    source = SpikeGeneratorGroup(
        ids.size, np.searchsorted(ids, spikes[:, 1]), (spikes[:, 0] - first) * DT * second, dt=DT * second
    )
    neuron = prescribed_neuron(trace)
    lpl = attach_lpl(
        source, neuron, RULE, i=np.arange(ids.size), j=np.zeros(ids.size, int), w=0.3, potential="v",
        on_pre="g_post += w", dt=DT,
    )  # fmt: skip
    net = Network(source, neuron, lpl)
    net.run(LEAD * DT * second, namespace={})

    unit_names, synapse_names = trace["unit_names"][1:], trace["synapse_names"]
    units, synapses = trace["unit_state"][:, 1:], trace["synapse_state"]
    for k, name in enumerate(unit_names):
        if name != "sigma_prime":  # computed from the potential, and so is its history
            setattr(lpl.post, OURS.get(name, name), units[LEAD - 1, k])
    for k, name in enumerate(synapse_names):
        setattr(lpl.synapses, name, synapses[LEAD - 1, :, k])
    set_inputs(lpl.pre, trace, first + LEAD - 1)

    at_unit = StateMonitor(lpl.post, [OURS.get(n, n) for n in unit_names], record=0, when="end", dt=DT * second)
    at_synapses = StateMonitor(lpl.synapses, list(synapse_names), record=True, when="end", dt=DT * second)
    net.add(at_unit, at_synapses)
    net.run((len(units) - LEAD) * DT * second, namespace={})

    largest = {
        name: np.abs(getattr(at_unit, OURS.get(name, name))[0] - units[LEAD:, k]).max()
        for k, name in enumerate(unit_names)
    }
    kept = trace["synapse_steps"] >= first + LEAD
    columns = trace["synapse_steps"][kept] - first - LEAD
    assert columns.size > 1600
    for k, name in enumerate(synapse_names):
        largest[name] = np.abs(getattr(at_synapses, name)[:, columns].T - synapses[kept][:, :, k]).max()
    return largest


@pytest.mark.parametrize("name", DEVIATION)
def test_matches_the_published_simulation_at_every_step(largest_deviations, name):
    assert largest_deviations[name] <= 1.5 * DEVIATION[name]

"""What NEST runs for the tests beside it, in a Python that has it: nest_script.py QUESTION.json ANSWER.json.

Times in ms, potentials in mV, currents in pA, conductances in nS, as NEST has them.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nest  # type: ignore[import-not-found,unused-ignore]


def begin(dt: float) -> None:
    nest.ResetKernel()
    nest.resolution = dt


def neuron(
    *,
    model: str,
    parameters: Mapping[str, Any],
    dt: float,
    duration: float,
    delay: float,
    inputs: Sequence[Mapping[str, Any]],
    record: Sequence[str],
) -> dict[str, Any]:
    """One neuron; `inputs`: given spikes and their weights. Variables at the end of every step."""
    begin(dt)
    cell = nest.Create(model, params=dict(parameters))
    for each in inputs:
        source = nest.Create("spike_generator", params={"spike_times": each["times"]})
        nest.Connect(source, cell, syn_spec={"weight": each["weight"], "delay": delay})
    return _recorded(cell, record, duration, dt)


def _recorded(cell: Any, record: Sequence[str], duration: float, dt: float) -> dict[str, Any]:
    """Run, and say when a neuron spiked, and what its variables were at the end of every step but the last."""
    spikes = nest.Create("spike_recorder")
    meter = nest.Create("multimeter", params={"record_from": list(record), "interval": dt})
    nest.Connect(cell, spikes)
    nest.Connect(meter, cell)
    nest.Simulate(duration)
    return {
        "times": spikes.events["times"].tolist(),
        "recorded_at": meter.events["times"].tolist(),
        **{name: meter.events[name].tolist() for name in record},
    }


def ring(
    *, model: str, parameters: Mapping[str, Any], dt: float, duration: float, synapses: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """Neurons, of which number k excites the next one with synapses[k]: weight and delay; the last is recorded."""
    begin(dt)
    cells = nest.Create(model, len(synapses), params=dict(parameters))
    for k, (weight, delay) in enumerate(synapses):
        nest.Connect(cells[k], cells[(k + 1) % len(synapses)], syn_spec={"weight": weight, "delay": delay})
    return _recorded(cells[-1], ["V_m"], duration, dt)


def plasticity(
    *,
    synapse: str,
    parameters: Mapping[str, Any],
    target: Mapping[str, Any],
    weight: float,
    delay: float,
    dt: float,
    pre: Sequence[float],
    post: Sequence[float],
) -> dict[str, Any]:
    """One synapse between neurons that repeat given spikes; its weight before each presynaptic spike and at the end."""
    begin(dt)
    cells = nest.Create("parrot_neuron", 2)
    cells[1].set(dict(target))
    for cell, times in zip(cells, (pre, post), strict=True):
        # a parrot repeats a spike when it arrives, one delay later
        source = nest.Create("spike_generator", params={"spike_times": [t - dt for t in times]})
        nest.Connect(source, cell, syn_spec={"weight": 1.0, "delay": dt})
    spikes = nest.Create("spike_recorder")
    nest.Connect(cells, spikes)
    meter = nest.Create("weight_recorder")
    nest.CopyModel(synapse, "recorded", {"weight_recorder": meter})
    # receptor 1: a parrot does not repeat what comes there
    spec = {"synapse_model": "recorded", "weight": weight, "delay": delay, "receptor_type": 1, **parameters}
    nest.Connect(cells[0], cells[1], syn_spec=spec)
    nest.Simulate(max([*pre, *post]) + delay + 10 * dt)
    events = spikes.events
    return {
        "pre": events["times"][events["senders"] == cells[0].global_id].tolist(),
        "post": events["times"][events["senders"] == cells[1].global_id].tolist(),
        "times": meter.events["times"].tolist(),
        "weights": meter.events["weights"].tolist(),
        "end": nest.GetConnections(cells[0], cells[1]).get("weight"),
    }


def clopath(
    *,
    parameters: Mapping[str, Any],
    synapse: Mapping[str, Any],
    weight: float,
    delay: float,
    dt: float,
    pre: Sequence[float],
    kicks: Sequence[float],
    kick: float,
) -> dict[str, Any]:
    """Voltage-based plasticity of a synapse to a neuron that other given spikes move by `kick` (mV) each."""
    begin(dt)
    cell = nest.Create("aeif_psc_delta_clopath", params=dict(parameters))
    parrot = nest.Create("parrot_neuron")
    for other, times, w in ((parrot, pre, 1.0), (cell, kicks, kick)):
        source = nest.Create("spike_generator", params={"spike_times": [t - dt for t in times]})
        nest.Connect(source, other, syn_spec={"weight": w, "delay": dt})
    spec = {"synapse_model": "clopath_synapse", "weight": weight, "delay": delay, **synapse}
    nest.Connect(parrot, cell, syn_spec=spec)
    duration = max([*pre, *kicks]) + delay + 10 * dt
    found = _recorded(cell, ["V_m", "u_bar_minus", "u_bar_plus"], duration, dt)
    return found | {"end": nest.GetConnections(parrot, cell).get("weight")}


if __name__ == "__main__":
    question, answer = map(Path, sys.argv[1:])
    nest.set_verbosity("M_ERROR")
    asked = json.loads(question.read_text())
    known = {each.__name__: each for each in (neuron, ring, plasticity, clopath)}
    answer.write_text(json.dumps([known[kind](**given) for kind, given in asked]))

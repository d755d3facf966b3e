"""The network in Brian2 against the published C++ simulation, step by step (`tests.spiking.step_trace`)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spiking.brian.network_simulator import BrianNetwork
from spiking.brian.simulator import Probe
from spiking.compilers import trouble
from spiking.network.sources import SpikeInput
from spiking.network.state import Recorded
from spiking.paper.declared import declare
from spiking.simulate import simulate
from spiking.simulation import State
from tests.spiking.plain_network import PlainNetwork
from tests.spiking.step_trace import (
    CONFIG,
    DEVIATION,
    INPUTS,
    OURS,
    STEPS,
    TRAINING,
    WEIGHTS,
    arrivals,
    assert_first_spikes_at_their_step,
    assert_hardly_a_spike_moves,
    assert_weights_end_where_they_should,
    expected_values,
    record,
    recorded_wiring,
)


@dataclass
class Outcome:
    """Spikes (n, 2): step, unit; what was traced, (30000, 1) or (30000, 63), by our names; the last state."""

    spikes: dict[str, NDArray[np.int64]]
    traced: dict[str, NDArray[np.float64]]
    state: State


def probes() -> dict[str, Probe]:
    trace = record()
    unit, synapses = (int(trace["unit"]),), tuple(trace["synapses"].tolist())
    return {
        "neuron": Probe("exc", ("U", "g_ampa", "g_nmda", "g_gaba", "thr"), unit),
        "rule": Probe("ext.post", ("err", "tr_err", "tr_err_flt", "tr_mean", "sigma2", "sigma_prime"), unit),
        "synapses": Probe("ext", ("el", "el_flt", "el_sum", "w"), synapses),
    }


def in_brian(codegen: str) -> Outcome:
    with BrianNetwork(CONFIG, recorded_wiring(), INPUTS, codegen, probes()) as network:
        primed = network.advance(network.start(), arrivals(0, TRAINING), learning=False)
        trained = network.advance(primed.state, arrivals(TRAINING, STEPS - TRAINING), learning=True)
    spikes = {}
    for name in ("exc", "inh"):
        (early, first), (late, second) = primed.spikes[name], trained.spikes[name]
        spikes[name] = np.stack([np.concatenate([early, late + TRAINING]), np.concatenate([first, second])], 1)
    return Outcome(spikes, {k: v for values in trained.probes.values() for k, v in values.items()}, trained.state)


def in_plain_numpy() -> Outcome:
    network = PlainNetwork(CONFIG, recorded_wiring(), INPUTS)
    raster = np.zeros((STEPS, INPUTS), bool)
    raster[tuple(record()["in_spikes"].T)] = True
    traced: dict[str, list[NDArray[np.float64]]] = {}

    def watch() -> None:
        state = network.state()
        for probe in probes().values():
            for name in probe.variables:
                traced.setdefault(name, []).append(state[f"{probe.group}/{name}"][list(probe.index)])

    primed, trained = network.run(raster[:TRAINING], False), network.run(raster[TRAINING:], True, watch)
    spikes = {name: np.concatenate([primed[name], trained[name]]) for name in primed}
    return Outcome(spikes, {name: np.array(values) for name, values in traced.items()}, network.state())


def as_declared(codegen: str) -> Outcome:
    """Through the declaration, on the recorded wiring and spikes."""
    spikes = record()["in_spikes"].astype(np.int64)
    net = declare(CONFIG, recorded_wiring(), SpikeInput(spikes[:, 0] * CONFIG.dt, spikes[:, 1]), INPUTS)
    trace = record()
    unit, synapses = (int(trace["unit"]),), tuple(trace["synapses"].tolist())
    words = {"err": "err", "sigma_prime": "factor0", "tr_err": "tr_err", "tr_err_flt": "tr_err_flt"}
    words |= {"tr_mean": "tr_mean", "sigma2": "sigma2"}
    recording = [
        Recorded("exc", ("U", "g_ampa", "g_nmda", "g_gaba", "thr"), index=unit),
        Recorded("exc.rule0", tuple(words.values()), index=unit),
        Recorded("ext", ("el0_rise", "el0", "el_sum", "w"), index=synapses),
    ]
    seconds = TRAINING * CONFIG.dt
    options: dict[str, Any] = {"backend": "brian2", "codegen": codegen}
    primed = simulate(net, seconds, frozen=["ext"], **options)
    trained = simulate(net, seconds, state=primed.state, record=recording, **options)
    found = {name: values.reshape(len(values), -1) for name, values in trained.recorded.items()}
    traced = {name: found[f"exc.rule0/{own}"] for name, own in words.items()}
    traced |= {name: found[f"exc/{name}"] for name in recording[0].variables}
    own = {"el": "el0_rise", "el_flt": "el0", "el_sum": "el_sum", "w": "w"}
    traced |= {name: found[f"ext/{word}"] for name, word in own.items()}
    both = {name: np.concatenate([primed.spikes[name], trained.spikes[name]])[:, [0, 2]] for name in ("exc", "inh")}
    return Outcome(both, traced, trained.state)


@pytest.fixture(
    scope="module",
    params=[
        # half a minute each; in torch it is among the fast tests
        pytest.param("numpy", marks=pytest.mark.slow),
        pytest.param(
            "standalone",
            marks=[pytest.mark.slow, pytest.mark.skipif(bool(trouble()), reason="no C++ compiler on this machine")],
        ),
        pytest.param("cython", marks=[pytest.mark.slow, pytest.mark.timeout(1500)]),  # minutes, if nothing is cached
        pytest.param("plain numpy", marks=pytest.mark.slow),  # the yardstick of the other tests
        pytest.param("declared, numpy", marks=pytest.mark.slow),
        pytest.param("declared, standalone", marks=pytest.mark.slow),
    ],
)
def outcome(request) -> Outcome:
    if request.param == "plain numpy":
        return in_plain_numpy()
    if request.param.startswith("declared"):
        return as_declared(request.param.split()[1])
    return in_brian(request.param)


def test_the_first_spikes_are_all_at_their_step(outcome):
    assert_first_spikes_at_their_step(outcome.spikes)


def test_hardly_a_spike_moves_and_none_far(outcome):
    assert_hardly_a_spike_moves(outcome.spikes)


@pytest.mark.parametrize("name", DEVIATION)
def test_the_traced_neuron_is_followed_at_every_step(outcome, name):
    values = outcome.traced[OURS.get(name, name)]
    assert len(values) == STEPS - TRAINING
    steps, expected = expected_values(name)
    ours = values[steps - TRAINING]
    assert ours.shape == expected.shape
    assert expected.shape in ((30_000, 1), (2450, 63))
    assert np.abs(ours - expected).max() <= 1.5 * DEVIATION[name]


@pytest.mark.parametrize("name", WEIGHTS)
def test_all_weights_end_where_they_should(outcome, name):
    assert_weights_end_where_they_should(outcome.state, name)


def test_the_record_is_whole():
    """What the tests above go through, so that none of them passes by having nothing to look at."""
    trace = record()
    assert set(trace["unit_names"]) | set(trace["synapse_names"]) == DEVIATION.keys()
    np.testing.assert_array_equal(trace["unit_steps"], np.arange(TRAINING, STEPS))
    assert len(np.unique(trace["synapses"])) == 63
    assert len(trace["in_spikes"]) == 15_177

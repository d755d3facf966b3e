"""The network with every option against a plain stepping of it (plain_network), spike by spike and state by state."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from brian2 import Network, SpikeGeneratorGroup, SpikeMonitor, second

from foundation.errors import UsageError
from spiking.brian import network_simulator
from spiking.brian.network import build_network
from spiking.brian.network_simulator import BrianNetwork, choose
from spiking.brian.running import code_generation
from spiking.network import InputSpikes, NetworkConfig, Wiring, draw_wiring, segments
from spiking.simulation import State
from spiking.stimuli import RateTrace
from tests.spiking.plain_network import PlainNetwork

# As lively as the network of the paper, with short memories, so that a second or two is enough to learn and to forget.
SMALL: dict[str, Any] = {
    "exc": 12, "inh": 4, "population": 8, "p_ext": 0.5, "w_ext": 0.5, "sigma_ei": 6.0, "priming": 0.0, "duration": 1.2,
    "tau_mean": 0.5, "tau_sigma2": 0.3, "eta": 0.5, "zeta": 0.05, "dt": 8e-4,
}  # fmt: skip
RATES = (RateTrace(np.array([30.0])), RateTrace(np.array([0.0, 90.0, 20.0, 60.0, 0.0]), interval=0.06))
VARIANTS: dict[str, dict[str, Any]] = {
    "LPL": {"dt": 4e-4},
    "LPL, primed": {"priming": 1.0},
    "everything, at 0.1 ms": {
        "dt": 1e-4, "duration": 0.6, "recurrence": True, "augment_gradient": True, "eta": 0.02, "tau_weights": 2.0,
    },
    "augmented": {"augment_gradient": True, "eta": 0.03, "priming": 1.0},
    "decay, Hebb off": {"tau_weights": 2.0, "lambda_": 0.0},
    "as reported": {"variant": "as_reported", "eta": 3.0},
    "prediction off, inhibition fixed": {"phi": 0.0, "eta": 5.0, "inhibition": "fixed"},
    "no inhibition": {"inhibition": "none", "w_ext": 0.3},
    "recurrence": {"recurrence": True, "priming": 0.5, "w_ext": 0.3},
    "recurrence alone, as reported": {
        "recurrence": True, "inhibition": "none", "w_ext": 0.3, "variant": "as_reported",
    },
}  # fmt: skip


def start(config: NetworkConfig, trace: str) -> Any:
    """Where the traces of mean and variance start: not at 0, or every neuron's first spike is a shock."""
    if trace == "tr_mean":
        return np.linspace(10.0, 40.0, config.exc) * config.tau_mean
    return np.linspace(40.0, 10.0, config.exc) * config.rule.variance_scale(config.dt)


def in_brian(config: NetworkConfig, wiring: Wiring) -> tuple[dict[str, Any], State]:
    """Spikes (step, unit) and the state at the end."""
    inputs, delay = InputSpikes(config, RATES), config.rule.steps(config.dt).axonal_delay
    spikes: dict[str, list[Any]] = {}
    with BrianNetwork(config, wiring, inputs.lines, "numpy") as network:
        state = network.start()
        for name in [name for name in state if name.endswith((".post/tr_mean", ".post/sigma2"))]:
            state[name][:] = start(config, name.split("/")[1])
        for piece in segments(config, 50.0, 50.0):
            done = network.advance(state, inputs.fired(piece.first - delay, piece.steps), piece.learning)
            state = done.state
            for name, (step, unit) in done.spikes.items():
                spikes.setdefault(name, []).append(np.stack([step + piece.first, unit], 1))
    return {name: np.concatenate(parts) for name, parts in spikes.items()}, state


def in_plain_numpy(config: NetworkConfig, wiring: Wiring) -> tuple[dict[str, Any], State, list[Any]]:
    """The same, and the input weights after every update."""
    inputs = InputSpikes(config, RATES)
    network = PlainNetwork(config, wiring, inputs.lines)
    network.error.mean[:], network.error.variance[:] = start(config, "tr_mean"), start(config, "sigma2")
    weights, spikes = [network.ext.w], dict[str, list[Any]]()

    def watch() -> None:
        if network.ext.w is not weights[-1]:
            weights.append(network.ext.w)

    for piece in segments(config, 50.0, 50.0):
        fired, raster = inputs.fired(piece.first, piece.steps), np.zeros((piece.steps, inputs.lines), bool)
        raster[fired.step, fired.source] = True
        for name, events in network.run(raster, piece.learning, watch).items():
            spikes.setdefault(name, []).append(events)
    return {name: np.concatenate(parts) for name, parts in spikes.items()}, network.state(), weights


def assert_same_spikes(ours: dict[str, Any], expected: dict[str, Any]) -> None:
    assert [len(events) > 100 for events in ours.values()] == [True] * len(ours)
    for group, events in ours.items():
        np.testing.assert_array_equal(events, expected[group])


def differences(ours: State, expected: State, tolerance: float) -> dict[str, float]:
    """Variables that differ by more than `tolerance` times their largest value, and by how much."""
    shared = ours.keys() & expected.keys()
    assert len(shared) > 16
    largest = {name: np.abs(expected[name]).max(initial=1e-300) for name in shared}
    found = {name: float(np.abs(ours[name] - expected[name]).max(initial=0) / largest[name]) for name in shared}
    return {name: value for name, value in found.items() if value > tolerance}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_option_equals_plain_stepping(name):
    config = NetworkConfig(**{**SMALL, **VARIANTS[name]})
    wiring = draw_wiring(config, 16)
    (spikes, state), (expected, plain, weights) = in_brian(config, wiring), in_plain_numpy(config, wiring)
    assert_same_spikes(spikes, expected)
    assert differences(state, plain, 1e-9) == {}
    changes = [np.abs(new - old).max() for old, new in pairwise(weights)]
    assert np.count_nonzero(np.array(changes) > 2e-3) >= 2
    assert ("ee/w" in state) == config.recurrence
    assert ("ie/w" in state) == (config.inhibition == "plastic")
    assert all(np.ptp(state[name]) > 0.03 for name in ("ext/w", "ie/w", "ee/w") if name in state)


def test_float32_traces_equal_arithmetic_in_float32():
    """The mean to the last bit. What feeds the variance is rounded more often there, and may differ in the last."""
    config = NetworkConfig(**{**SMALL, "dt": 4e-4, "tau_mean": 600.0, "tau_sigma2": 30.0}, float32_traces=True)
    wiring = draw_wiring(config, 16)
    (spikes, state), (expected, plain, _) = in_brian(config, wiring), in_plain_numpy(config, wiring)
    assert_same_spikes(spikes, expected)
    np.testing.assert_array_equal(state["ext.post/tr_mean"], plain["ext.post/tr_mean"])
    assert differences(state, plain, 1e-6) == {}
    _, exact = in_brian(replace(config, float32_traces=False), wiring)
    assert {"ext.post/tr_mean", "ext.post/err"} <= differences(exact, plain, 1e-5).keys()


@pytest.mark.parametrize("absent", [{"p_ie": 0.0}, {"p_ii": 0.0}, {"sigma_ei": 1e-9, "inh": 1}])
def test_a_projection_without_synapses_does_no_harm(absent):
    config = NetworkConfig(**{**SMALL, "duration": 0.56, **absent})
    wiring = draw_wiring(config, 16)
    (spikes, state), (expected, plain, _) = in_brian(config, wiring), in_plain_numpy(config, wiring)
    np.testing.assert_array_equal(spikes["exc"], expected["exc"])
    np.testing.assert_array_equal(spikes["inh"], expected["inh"])
    assert differences(state, plain, 1e-9) == {}


def test_the_network_can_be_built_without_plasticity():
    """What a benchmark compares with: the same spikes as long as no weight changes."""
    config = NetworkConfig(**{**SMALL, "duration": 0.4, "inhibition": "fixed", "eta": 0.0})
    wiring = draw_wiring(config, 16)
    expected, _ = in_brian(config, wiring)
    fired = InputSpikes(config, RATES).fired(-1, 500)
    with code_generation("numpy"):
        source = SpikeGeneratorGroup(16, fired.source, fired.step * config.dt * second, dt=config.dt * second)
        network = build_network(source, config, wiring, learning=False)
        assert not network.groups().keys() & {"ext", "ext.post", "ee"}
        monitors = {name: SpikeMonitor(group) for name, group in network.neurons().items()}
        Network(*network, *monitors.values()).run(0.4 * second, namespace={})
    for name, monitor in monitors.items():
        assert len(expected[name]) > 20
        np.testing.assert_array_equal(np.asarray(monitor.i), expected[name][:, 1])
        np.testing.assert_allclose(monitor.t / second, expected[name][:, 0] * config.dt, atol=1e-9)


def test_unknown_code_generation_is_refused():
    config = NetworkConfig(**SMALL)
    with pytest.raises(UsageError, match="codegen: must be one of standalone, cython, numpy, got 'fortran'"):
        BrianNetwork(config, draw_wiring(config, 16), 16, "fortran")


def test_long_runs_are_compiled_where_a_compiler_is_found(monkeypatch):
    monkeypatch.setattr(network_simulator, "compiler", lambda: "g++")
    assert choose("auto", 1.0) == ("numpy", "")
    assert choose("auto", 1000.0) == ("standalone", "")
    assert choose("cython", 1000.0) == ("cython", "")
    monkeypatch.setattr(network_simulator, "compiler", lambda: None)
    chosen, note = choose("auto", 1000.0)
    assert chosen == "numpy"
    assert "no C++ compiler" in note
    assert "\n" not in note

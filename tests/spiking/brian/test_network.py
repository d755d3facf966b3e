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
from spiking.paper.network import InputSpikes, NetworkConfig, Wiring, draw_wiring, segments
from spiking.simulation import State
from tests.spiking.network_cases import (
    RATES,
    SMALL,
    VARIANTS,
    assert_same_spikes,
    differences,
    in_plain_numpy,
    start,
)


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
    monkeypatch.setattr(network_simulator, "no_standalone", lambda: "")
    assert choose("auto", 1.0) == ("numpy", "")
    assert choose("auto", 1000.0) == ("standalone", "")
    assert choose("cython", 1000.0) == ("cython", "")
    monkeypatch.setattr(network_simulator, "no_standalone", lambda: "no C++ compiler found")
    chosen, note = choose("auto", 1000.0)
    assert chosen == "numpy"
    assert "no C++ compiler" in note
    assert "\n" not in note

"""The pairing protocol in Brian2: the published curves, and plain stepping for what was not published."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.errors import UsageError
from spiking.brian.pairing import arrivals, run_pairing, run_pairings, simulator_of
from spiking.brian.simulator import Probe
from spiking.compilers import trouble
from spiking.pairing import PairingProtocol
from tests.spiking.plain_pairing import run as plainly

DATA = Path(__file__).parents[2] / "data" / "spiking" / "stdp_curves.npz"
SETTINGS = ("frequency", "initial_mean", "initial_variance", "max_interval")


@pytest.fixture(scope="module")
def curves():
    if trouble():
        pytest.skip("there is no C++ compiler")
    published = np.load(DATA)
    settings: list[dict[str, Any]] = [{name: float(published[name][k]) for name in SETTINGS} for k in range(7)]
    protocols = [PairingProtocol(float32_traces=True, **setting) for setting in settings]
    return published, run_pairings(protocols, "standalone", label=None)


@pytest.mark.parametrize("k", range(7))
def test_the_published_curves(curves, k):
    published, ours = curves
    expected = published["relative_delta_w"][k]
    assert np.abs(ours[k].relative_delta_w - expected).max() <= 0.005 * np.abs(expected).max()
    assert ours[k].postsynaptic_spikes == published["postsynaptic_spikes"][k]


@pytest.mark.parametrize(
    "changes",
    [
        {"frequency": 40.0, "initial_mean": 0.0, "initial_variance": 3.0},
        {"frequency": 30.0, "delta": 0.01, "float32_traces": True},
        {"frequency": 25.0, "max_interval": 0.1, "initial_mean": 50.0},
        {"frequency": 40.0, "variant": "as_reported", "delta": 1e-3},
    ],
)
def test_what_was_not_published_equals_plain_stepping(changes):
    protocol = PairingProtocol(pairings=12, inputs=20, **changes)
    expected = plainly(protocol)
    piece = run_pairing(protocol, simulator_of(protocol, "numpy"))
    np.testing.assert_array_equal(piece.spikes["neuron"][0], expected.spikes)
    change = expected.weights - protocol.w_0
    assert np.abs(change).max() > 1e-8
    np.testing.assert_allclose(piece.state["ext/w"] - protocol.w_0, change, rtol=0, atol=1e-9 * np.abs(change).max())


def test_the_clamp_holds_at_the_end_of_every_step():
    protocol = PairingProtocol(pairings=3, inputs=2, frequency=30.0)
    simulator = simulator_of(protocol, "numpy", {"clamp": Probe("neuron", ("U",), (0,))})
    piece = run_pairing(protocol, simulator)
    np.testing.assert_allclose(piece.probes["clamp"]["U"][:, 0], protocol.clamp(), rtol=1e-9)
    assert set(protocol.pairing_steps) <= set(piece.spikes["neuron"][0])


def test_inputs_arrive_after_their_axons_and_the_clamp_at_once():
    protocol = PairingProtocol(pairings=2, inputs=3, frequency=10.0, max_interval=0.01)
    events = arrivals(protocol)
    by_line = {line: events.step[events.source == line].tolist() for line in range(4)}
    assert by_line == {0: [908, 1908], 1: [1008, 2008], 2: [1108, 2108], 3: [999, 1000, 1999, 2000]}


def test_protocols_of_different_rules_do_not_share_a_program():
    with pytest.raises(UsageError, match="protocols: must agree"):
        run_pairings([PairingProtocol(), PairingProtocol(eta=0.1)], "numpy", label=None)

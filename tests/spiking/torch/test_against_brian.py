"""The two simulators face to face: the recorded input of the step trace, in float64, learning from 0.5 s on."""

import numpy as np
import pytest

from spiking.brian.network_simulator import BrianNetwork
from spiking.compilers import trouble
from spiking.torch.network_simulator import TorchNetworks
from tests.spiking.network_cases import differences
from tests.spiking.step_trace import CONFIG, INPUTS, arrivals, in_order, recorded_wiring

FROZEN, STEPS = 5000, 20_000


@pytest.fixture(scope="module")
def in_brian():
    with BrianNetwork(CONFIG, recorded_wiring(), INPUTS, "numpy") as network:
        primed = network.advance(network.start(), arrivals(0, FROZEN), learning=False)
        return primed, network.advance(primed.state, arrivals(FROZEN, STEPS - FROZEN), learning=True)


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param("compiled", marks=pytest.mark.skipif(bool(trouble()), reason="no C++ compiler")),
        pytest.param("eager", marks=pytest.mark.slow),
    ],
)
def test_two_seconds_spike_by_spike_and_weight_by_weight(in_brian, engine):
    networks = TorchNetworks([CONFIG], [recorded_wiring()], INPUTS, precision="float64", engine=engine)
    (first,) = networks.advance(networks.start(), [arrivals(0, FROZEN)], False)
    (second,) = networks.advance([first.state], [arrivals(FROZEN, STEPS - FROZEN)], True)
    for ours, theirs in zip((first, second), in_brian, strict=True):
        for name in ("exc", "inh"):
            expected = in_order(np.stack(theirs.spikes[name], 1))
            assert len(expected) > 40
            np.testing.assert_array_equal(in_order(np.stack(ours.spikes[name], 1)), expected)
    state, expected = second.state, in_brian[1].state
    assert differences(state, expected, 1e-9) == {}
    for name, initial in (("ext/w", 0.3), ("ie/w", 0.5)):
        assert np.abs(expected[name] - initial).max() > 0.01
        np.testing.assert_allclose(state[name], expected[name], rtol=0, atol=1e-6)

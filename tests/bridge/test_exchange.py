"""Weights by layer: of every kind of network they come out, and go in again."""

import numpy as np
import pytest

from bridge.exchange import layer_weights, with_weights, word
from foundation.errors import UsageError
from spiking.network_file import NetworkFile
from spiking.torch.integrate_and_fire import simulate
from tests.spiking.test_if_graphs import STEPS, network_of, stimulus_of


def test_all_weights_of_a_network_with_a_residual_block_can_be_replaced(rng: np.random.Generator) -> None:
    one, other = NetworkFile(network_of(rng)), NetworkFile(network_of(np.random.default_rng(99)))
    weights = layer_weights(other.network)
    assert {"first/weight", "residual/0/weight", "residual/1/gain", "dense/1/weight", "readout/bias"} <= set(weights)
    changed = with_weights(one, weights).network
    for name, values in layer_weights(changed).items():
        np.testing.assert_array_equal(values, weights[name])
    x = stimulus_of(rng, "analog")
    np.testing.assert_array_equal(simulate(changed, x, STEPS).readout, simulate(other.network, x, STEPS).readout)


def test_weights_that_the_network_has_not_are_refused_by_name(rng: np.random.Generator) -> None:
    file = NetworkFile(network_of(rng))
    with pytest.raises(UsageError, match="second/weight: the network has no such weights; it has first/weight"):
        with_weights(file, {"second/weight": np.ones((2, 2))})
    with pytest.raises(UsageError, match=r"first/weight: has the shape \(4, 2, 3, 3\), got \(2, 2\)"):
        with_weights(file, {"first/weight": np.ones((2, 2))})


def test_a_layers_name_becomes_a_word() -> None:
    assert word("layer 1, max-pool") == "layer_1_max_pool"

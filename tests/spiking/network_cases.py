"""Small networks that use every option, and what a plain stepping makes of them: for the tests of every simulator."""

from collections.abc import Callable
from typing import Any

import numpy as np

from spiking.paper.network import InputSpikes, NetworkConfig, Wiring, segments
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


def in_plain_numpy(
    config: NetworkConfig, wiring: Wiring, look: Callable[[PlainNetwork], object] = lambda network: None
) -> tuple[dict[str, Any], State, list[Any]]:
    """Spikes (step, unit), the state at the end, and the input weights after every update.

    `look` is called at the end of every step.
    """
    inputs = InputSpikes(config, RATES)
    network = PlainNetwork(config, wiring, inputs.lines)
    network.error.mean[:], network.error.variance[:] = start(config, "tr_mean"), start(config, "sigma2")
    weights, spikes = [network.ext.w], dict[str, list[Any]]()

    def watch() -> None:
        look(network)
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
    shared = sorted(ours.keys() & expected.keys())
    assert len(shared) > 12
    found = {}
    for name in shared:
        one, other = ours[name].astype(float), expected[name].astype(float)
        assert np.isfinite(one).all()
        found[name] = float(np.abs(one - other).max(initial=0) / np.abs(other).max(initial=1e-300))
    return {name: value for name, value in found.items() if value > tolerance}

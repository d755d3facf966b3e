"""The pairing protocol in torch: the published curves, and plain stepping for what was not published."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.errors import RatespikeError, UsageError
from spiking.compilers import trouble
from spiking.pairing import PairingProtocol
from spiking.torch import pairing
from spiking.torch.pairing import run_pairings
from tests.spiking.plain_pairing import run as plainly

DATA = Path(__file__).parents[2] / "data" / "spiking" / "stdp_curves.npz"
SETTINGS = ("frequency", "initial_mean", "initial_variance", "max_interval")
W_0 = 0.5
COMPILED = pytest.mark.skipif(bool(trouble()), reason="no C++ compiler on this machine")


@pytest.fixture(scope="module")
def curves():
    """The published ones, and ours by precision."""
    if trouble():
        pytest.skip("no C++ compiler on this machine")
    published = np.load(DATA)
    settings: list[dict[str, Any]] = [{name: float(published[name][k]) for name in SETTINGS} for k in range(7)]
    protocols = [PairingProtocol(float32_traces=True, **setting) for setting in settings]
    return published, {
        precision: run_pairings(protocols, precision=precision, engine="compiled", label=None)
        for precision in ("float64", "float32")
    }


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("k", range(7))
def test_the_published_curves(curves, k, precision):
    """At the bar of Brian2, which allows for input times that were rounded (`tests.spiking.plain_pairing`)."""
    published, ours = curves[0], curves[1][precision][k]
    expected = published["relative_delta_w"][k]
    assert ours.postsynaptic_spikes == published["postsynaptic_spikes"][k]
    assert [getattr(ours, name) for name in SETTINGS] == [published[name][k] for name in SETTINGS]
    assert np.abs(ours.relative_delta_w - expected).max() <= 0.005 * np.abs(expected).max()


@pytest.mark.parametrize("k", range(7))
def test_weights_in_float32_are_within_2e_4(curves, k):
    """Of those in float64; and of the published ones, where input times were not rounded: not at 1 Hz."""
    published, ours = curves
    found = ours["float32"][k].relative_delta_w
    assert W_0 * np.abs(found - ours["float64"][k].relative_delta_w).max() <= 2e-4
    if published["frequency"][k] > 1:
        assert W_0 * np.abs(found - published["relative_delta_w"][k]).max() <= 2e-4


NOT_PUBLISHED: list[dict[str, Any]] = [
    {"frequency": 40.0, "initial_mean": 0.0, "initial_variance": 3.0},
    {"frequency": 30.0, "delta": 0.01},
    {"frequency": 25.0, "max_interval": 0.1, "initial_mean": 50.0, "tau_mean": 2.0},
    {"frequency": 40.0, "variant": "as_reported", "delta": 1e-3},
    {"frequency": 60.0, "pairings": 30, "w_0": 0.3, "eta": 0.05, "tau_sigma2": 0.5},
]


def assert_as_plain(ours: Any, protocol: PairingProtocol) -> None:
    expected = plainly(protocol)
    change = (expected.weights - protocol.w_0) / protocol.w_0
    assert ours.postsynaptic_spikes == expected.spikes.size
    assert np.abs(change).max() > 1e-8
    np.testing.assert_allclose(ours.relative_delta_w, change, rtol=0, atol=1e-9 * np.abs(change).max())


@COMPILED
def test_what_was_not_published_equals_plain_stepping():
    """Side by side, though they differ in every number and in how long they take; and both readings of the rule."""
    protocols = [PairingProtocol(**{"pairings": 12, "inputs": 20, **changes}) for changes in NOT_PUBLISHED]
    assert len({protocol.steps for protocol in protocols}) > 1
    for ours, protocol in zip(run_pairings(protocols, precision="float64", label=None), protocols, strict=True):
        assert_as_plain(ours, protocol)


@COMPILED
@pytest.mark.parametrize("variant", ["as_simulated", "as_reported"])
def test_traces_in_float32_equal_plain_stepping(variant):
    protocol = PairingProtocol(frequency=30.0, pairings=12, inputs=20, delta=0.01, float32_traces=True, variant=variant)
    (ours,) = run_pairings([protocol], precision="float64", engine="compiled", label=None)
    expected = (plainly(protocol).weights - protocol.w_0) / protocol.w_0
    np.testing.assert_allclose(ours.relative_delta_w, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_a_short_protocol_in_tensor_operations(each_device):
    """0.6 s: both readings side by side."""
    common: dict[str, Any] = {"frequency": 60.0, "pairings": 3, "inputs": 7, "max_interval": 0.01}
    changes: list[dict[str, Any]] = [{}, {"delta": 1e-3, "variant": "as_reported"}, {"initial_mean": 5.0, "delta": 1.0}]
    protocols = [PairingProtocol(**common, **change) for change in changes]
    found = run_pairings(protocols, precision="float64", engine="eager", device=each_device, label=None)
    for ours, protocol in zip(found, protocols, strict=True):
        assert_as_plain(ours, protocol)


def test_protocols_that_do_not_fit_together():
    for other, message in (
        (PairingProtocol(inputs=7), "number of neurons and inputs: must be the same"),
        (PairingProtocol(float32_traces=True), "code of the rule: must be the same"),
    ):
        with pytest.raises(UsageError, match=message):
            run_pairings([PairingProtocol(), other], label=None)


@COMPILED
def test_weights_that_are_not_finite_are_refused(monkeypatch):
    protocol = PairingProtocol(pairings=2, inputs=3, frequency=40.0)
    made = pairing.pairing_member(protocol)
    made.wiring.ext.w[1] = np.nan
    monkeypatch.setattr(pairing, "pairing_member", lambda protocol: made)
    with pytest.raises(RatespikeError, match="the weights are not finite any more at 40"):
        run_pairings([protocol], label=None)

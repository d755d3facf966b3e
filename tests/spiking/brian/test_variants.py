"""The two readings of the rule, and what can be added to it, on synapses whose activity is prescribed."""

from typing import Any

import numpy as np
import pytest
from brian2 import Network, prefs, second

from spiking.brian.plasticity import attach_lpl
from spiking.parameters import LPLSynapse
from tests.spiking.brian.given import prescribed, spike_source

DT, STEPS, WINDOW = 1e-4, 3001, 500
SHORT: dict[str, Any] = {"tau_mean": 0.2, "tau_sigma2": 0.1, "update_interval": WINDOW * DT, "eta": 1e-2}


@pytest.fixture(autouse=True)
def numpy_target():
    previous, prefs.codegen.target = prefs.codegen.target, "numpy"
    yield
    prefs.codegen.target = previous


def learn(rule, *, spikes=True, w=0.5, sigma2=0.0):
    """The synapses of 4 inputs to 3 neurons that fire (or do not) at prescribed times, after 0.3 s."""
    rng = np.random.default_rng(5)
    s_in, u = rng.random((STEPS, 4)) < 0.02, rng.normal(-0.055, 5e-3, (STEPS, 3))
    source, target = spike_source(s_in, DT), prescribed(u, (rng.random((STEPS, 3)) < 0.01) * spikes, DT)
    i, j = np.indices((4, 3)).reshape(2, -1)
    lpl = attach_lpl(source, target, rule, i=i, j=j, w=w, potential="u", on_pre="g_post += w", dt=DT, sigma2=sigma2)
    Network(source, target, lpl).run(STEPS * DT * second, namespace={})
    arrived = s_in[: (STEPS - 1) // WINDOW * WINDOW - 8 + 1].sum(axis=0)
    return lpl, np.asarray(lpl.synapses.w[:]), np.repeat(arrived, 3)


def test_variance_and_lambda_scale_together():
    """Without delta and with xi scaled alike, the variance divides what it has multiplied."""
    simulated = LPLSynapse.named("as_simulated", delta=0.0, xi=1e-3, **SHORT)
    reported = LPLSynapse.named("as_reported", delta=0.0, xi=1e-3 * DT, **SHORT)
    _, one, _ = learn(simulated, sigma2=4.0)
    _, other, _ = learn(reported, sigma2=4.0 * DT)
    np.testing.assert_allclose(other - 0.5, one - 0.5, rtol=1e-9)
    assert np.abs(one - 0.5).min() > 1e-6


def test_as_reported_an_input_of_a_silent_neuron_gains_delta_per_spike():
    rule = LPLSynapse.named("as_reported", **SHORT)
    _, w, arrived = learn(rule, spikes=False)
    np.testing.assert_allclose(w - 0.5, rule.eta * 1e-3 / WINDOW * arrived, rtol=1e-6)
    assert arrived.min() > 10


def test_as_simulated_a_silent_neuron_gains_through_the_error():
    _, w, _ = learn(LPLSynapse.named("as_simulated", **SHORT), spikes=False)
    _, without, _ = learn(LPLSynapse.named("as_simulated", delta=0.0, **SHORT), spikes=False)
    assert (w > 0.5).all()
    np.testing.assert_array_equal(without, 0.5)


def test_the_first_augmented_step_has_the_size_of_eta_and_later_ones_at_most():
    """The gradient is divided by its own decaying maximum, and the first one is its own maximum."""
    lpl, _, _ = learn(LPLSynapse(augment_gradient=True, tau_rms=1.0, **{**SHORT, "eta": 1e-3}))
    plain, _, _ = learn(LPLSynapse(**{**SHORT, "eta": 1e-30}))
    gradients = np.asarray(plain.synapses.dw_sum[:])
    np.testing.assert_allclose(lpl.synapses.dw_sum[:], gradients, rtol=1e-12)  # the weights do not act back here
    change = np.abs(np.asarray(lpl.synapses.w[:]) - 0.5)
    assert (change <= 7e-3 * (1 + 1e-9)).all()
    assert (change > 1e-4).all()
    assert (np.asarray(lpl.synapses.g2[:]) > 0).all()


def test_without_a_gradient_the_augmented_step_is_zero():
    _, w, _ = learn(LPLSynapse(augment_gradient=True, delta=0.0, **SHORT), spikes=False)
    np.testing.assert_array_equal(w, 0.5)


def test_weights_decay():
    """As often as they are updated, by eta (1 - exp(-interval / tau_w))."""
    rule = LPLSynapse(tau_w=2.0, delta=0.0, **SHORT)
    _, w, _ = learn(rule, spikes=False)
    updates = (STEPS - 1) // WINDOW + 1
    np.testing.assert_allclose(w, 0.5 * (1 + rule.eta * np.expm1(-WINDOW * DT / 2.0)) ** updates, rtol=1e-12)


def test_frozen_weights_do_not_decay_but_keep_their_maximum():
    lpl, w, _ = learn(LPLSynapse(tau_w=2.0, augment_gradient=True, **{**SHORT, "eta": 0.0}))
    np.testing.assert_array_equal(w, 0.5)
    assert (np.asarray(lpl.synapses.g2[:]) > 0).all()


def test_rounded_traces_are_float32_numbers_and_lose_whole_units():
    """At tau = 600 s the factor rounds to 1 - 3 x 2^-24; a trace of 2000 then loses 3 units of 2^-13 in a step."""
    rule = LPLSynapse(float32_traces=True, tau_mean=600.0, tau_sigma2=30.0)
    exact, _, _ = learn(LPLSynapse(tau_mean=600.0, tau_sigma2=30.0), spikes=False, sigma2=5.0)
    rounded, _, _ = learn(rule, spikes=False, sigma2=5.0)
    for lpl in (exact, rounded):
        assert float(lpl.post.sigma2[0]) == pytest.approx(5.0 * np.exp(-STEPS * DT / 30.0), rel=2e-3)
    assert (np.float32(rounded.post.sigma2[:]) == rounded.post.sigma2[:]).all()
    assert (np.float32(exact.post.sigma2[:]) != exact.post.sigma2[:]).all()

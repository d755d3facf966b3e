"""The Brian2 objects against a plain stepping of the rule (lpl-spiking 2.6), and copies against single runs."""

import doctest
from typing import Any

import numpy as np
import pytest
from brian2 import Network, NeuronGroup, prefs, second

from foundation.errors import UsageError
from spiking.brian import plasticity
from spiking.brian.current import current_layer
from spiking.brian.plasticity import attach_lpl
from spiking.parameters import CurrentNeuron, LPLSynapse
from tests.spiking.brian.given import (
    assert_weights_moved,
    earlier,
    prescribed,
    run_and_compare,
    spike_source,
    step_by_step,
)

DT = 5e-4
STEPS, N_PRE, N_POST = 400, 5, 3
SILENT = np.zeros((4, N_POST))
BOUNDS, FLOOR = (-0.2, 0.3), -0.5
RULE = LPLSynapse.current(
    lambda_=0.7, phi=1.3, eta=20.0, delta=1e-3, xi=0.05, tau_mean=0.3, tau_sigma2=0.2, update_interval=0.03,
    prediction_delay=6e-3, axonal_delay=1e-3, w_min=BOUNDS[0], w_max=BOUNDS[1], u_floor=FLOOR,
)  # fmt: skip


@pytest.fixture(autouse=True)
def numpy_target():
    previous, prefs.codegen.target = prefs.codegen.target, "numpy"
    yield
    prefs.codegen.target = previous


def lpl_error(rule, s_out, lambda_, phi, tr_mean, sigma2):
    """Error, mean and variance of every neuron in each step, (T, n_post)."""
    delayed, old = (earlier(s_out, round(x / DT)) for x in (rule.axonal_delay, rule.prediction_delay))
    record: dict[str, list[np.ndarray]] = {"err": [], "tr_mean": [], "sigma2": []}
    for sd, sf, now in zip(delayed, old, s_out, strict=True):
        centred = sd - DT / rule.tau_mean * tr_mean
        record["err"].append(lambda_ * centred / (sigma2 + rule.xi) + rule.delta - phi * sd + phi * sf)
        sigma2 = (sigma2 + centred**2 / rule.tau_sigma2) * np.exp(-DT / rule.tau_sigma2)
        tr_mean = (tr_mean + now) * np.exp(-DT / rule.tau_mean)
        record["sigma2"].append(sigma2)
        record["tr_mean"].append(tr_mean)
    return {name: np.array(values) for name, values in record.items()}


@pytest.mark.parametrize("delay_steps", [0, 1, 2, 5])
def test_every_state_of_every_step_equals_plain_stepping(delay_steps):
    rng = np.random.default_rng(delay_steps)
    rule = LPLSynapse(**{**vars(RULE), "axonal_delay": delay_steps * DT})
    s_in, s_out = rng.random((STEPS, N_PRE)) < 0.1, rng.random((STEPS, N_POST)) < 0.05
    u = rng.normal(0.3, 0.6, (STEPS, N_POST))
    w = rng.uniform(-0.2, 0.3, (N_PRE, N_POST))
    lambda_, phi = np.array([1.0, 0.0, 1.5]), np.array([0.0, 2.0, 1.0])
    rates, sigma2 = np.array([5.0, 20.0, 40.0]), np.array([4.0, 0.0, 9.0])
    signal = lpl_error(rule, s_out, lambda_, phi, rates * rule.tau_mean, sigma2)
    factor = np.where(u < FLOOR, 0, rule.beta / (1 + rule.beta * abs(u - rule.theta)) ** 2)
    expected = signal | step_by_step(
        earlier(s_in, delay_steps), signal["err"], factor, w, dt=DT, psi=(rule.tau_syn, rule.tau_mem),
        epsilon=(rule.tau_el_rise, rule.tau_el_decay), alpha=(rule.tau_err_rise, rule.tau_err_decay), eta=rule.eta,
        interval=rule.update_interval, bounds=BOUNDS, alignment=rule.axonal_delay,
    )  # fmt: skip

    source, target = spike_source(s_in, DT), prescribed(u, s_out, DT)
    i, j = np.indices((N_PRE, N_POST)).reshape(2, -1)
    lpl = attach_lpl(source, target, rule, i=i, j=j, w=w.ravel(), potential="u", on_pre="g_post += w", dt=DT,
                     mean_rate=rates, sigma2=sigma2)  # fmt: skip
    lpl.post.lambda_i, lpl.post.phi_i = lambda_, phi
    run_and_compare([source, target], lpl, expected, DT)
    assert_weights_moved(expected["w"], 0.0, windows=6)
    assert expected["w"].min() == rule.w_min
    assert expected["w"].max() == rule.w_max
    np.testing.assert_allclose(lpl.gradient(), expected["dw_sum"][-1] + expected["el_sum"][-1] / 60, rtol=1e-12)


def layer_run(spikes, weights, bias, copies, **changes):
    rule = LPLSynapse(**{**vars(RULE), "w_min": None, "w_max": None, **changes})
    source = spike_source(spikes, DT)
    layer = current_layer(source, weights, bias, CurrentNeuron(), rule, dt=DT, copies=copies, mean_rate=30, sigma2=30)
    Network(source, layer).run(STEPS * DT * second, namespace={})
    return layer


def test_copies_equal_single_runs():
    rng = np.random.default_rng(7)
    copies = 3
    spikes = rng.random((STEPS, copies * N_PRE)) < 0.05
    weights, bias = rng.normal(0.5, 0.5, (N_POST, N_PRE)), rng.uniform(0.5, 1.5, N_POST)
    together = layer_run(spikes, weights, bias, copies)
    assert together.weights().shape == (copies, N_POST, N_PRE)
    for r in range(copies):
        alone = layer_run(spikes[:, r * N_PRE : (r + 1) * N_PRE], weights, bias, 1)
        np.testing.assert_array_equal(together.weights()[r], alone.weights()[0])
        np.testing.assert_array_equal(together.gradient()[r], alone.gradient()[0])
        np.testing.assert_array_equal(together.neurons.u[r * N_POST : (r + 1) * N_POST], alone.neurons.u[:])
    assert np.abs(together.weights() - weights).min() > 0
    assert np.abs(together.weights()[0] - together.weights()[1]).max() > 0


def test_frozen_weights_still_gather_the_gradient():
    rng = np.random.default_rng(3)
    spikes = rng.random((STEPS, N_PRE)) < 0.1
    weights, bias = rng.normal(0.5, 0.5, (N_POST, N_PRE)), np.ones(N_POST)
    frozen = layer_run(spikes, weights, bias, 1, eta=0.0)
    np.testing.assert_array_equal(frozen.weights()[0], weights)
    learning = layer_run(spikes, weights, bias, 1, eta=1e-9)  # too slow to change any spike
    closed = learning.lpl.synapses.dw_sum[:].reshape(1, N_POST, N_PRE)
    np.testing.assert_allclose((learning.weights() - weights) / 1e-9, closed, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(frozen.gradient(), learning.gradient(), rtol=1e-6)
    assert np.abs(frozen.gradient()).min() > 0


def test_the_terms_of_the_rule_add_up():
    rng = np.random.default_rng(4)
    spikes = rng.random((STEPS, N_PRE)) < 0.1
    weights, bias = rng.normal(0.5, 0.5, (N_POST, N_PRE)), np.ones(N_POST)

    def gradient(lambda_, phi, delta):
        return layer_run(spikes, weights, bias, 1, eta=0.0, lambda_=lambda_, phi=phi, delta=delta).gradient()

    parts = gradient(1.0, 0.0, 0.0) + gradient(0.0, 1.0, 0.0) + gradient(0.0, 0.0, 0.1)
    np.testing.assert_allclose(gradient(1.0, 1.0, 0.1), parts, rtol=1e-9, atol=1e-12 * np.abs(parts).max())


def test_example_in_the_docstring():
    outcome = doctest.testmod(plasticity)
    assert outcome.attempted > 5
    assert outcome.failed == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dt": 1e-4}, "source: its dt"),
        ({"i": [0, 9]}, r"i: must lie in 0\.\.4, got 0\.\.9"),
        ({"i": [0.0, 1.0]}, "i: must be a list of integers"),
        ({"j": [0]}, "i, j: must have the same length"),
        ({"w": [0.1]}, r"w: must be one number or have shape \(2,\)"),
        ({"w": 0.9}, "w: must lie in"),
        ({"potential": "v"}, "potential: the target has no variable 'v'"),
        ({"potential": "t"}, "potential: 't' must be in volt"),
        ({"mean_rate": -1.0}, "mean_rate: must be finite and not negative"),
        ({"sigma2": [1.0, 2.0]}, r"sigma2: must be one number or have shape \(3,\)"),
    ],
)
def test_attach_errors_name_the_argument(changes, message):
    source, target = spike_source(np.ones((4, N_PRE)), DT), prescribed(SILENT, SILENT, DT)
    arguments = {"i": [0, 1], "j": [0, 1], "w": 0.1, "potential": "u", "on_pre": "g_post += w", "dt": DT, **changes}
    with pytest.raises(UsageError, match=message):
        attach_lpl(source, target, RULE, **arguments)


def test_parts_of_groups_and_names_of_the_rule_are_refused():
    source, target = spike_source(np.ones((4, N_PRE)), DT), prescribed(SILENT, SILENT, DT)
    arguments: dict[str, Any] = {"i": [0], "j": [0], "w": 0.1, "potential": "u", "on_pre": "g_post += w", "dt": DT}
    with pytest.raises(UsageError, match="target: give the whole group"):
        attach_lpl(source, target[1:3], RULE, **arguments)
    clash = NeuronGroup(1, "u : 1\ng : 1\npsp_d : 1", threshold="u > 1", reset="u = 0", dt=DT * second)
    with pytest.raises(UsageError, match="'psp_d' bears a name of the rule"):
        attach_lpl(source, clash, RULE, **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": np.zeros(5)}, "weights: must be"),
        ({"weights": np.zeros((3, N_POST, N_PRE))}, r"weights: must be \(n_post, n_pre\) or \(2,"),
        ({"bias": np.zeros(2)}, r"bias: must have shape \(3,\)"),
        ({"copies": 0}, "copies: must be positive"),
        ({"copies": 3}, "source: must have copies"),
    ],
)
def test_layer_errors_name_the_argument(changes, message):
    source = spike_source(np.ones((4, 2 * N_PRE)), DT)
    arguments = {"weights": np.zeros((N_POST, N_PRE)), "bias": np.zeros(N_POST), "copies": 2, **changes}
    with pytest.raises(UsageError, match=message):
        current_layer(source, neuron=CurrentNeuron(), rule=RULE, dt=DT, **arguments)

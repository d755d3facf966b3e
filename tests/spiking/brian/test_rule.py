"""The Brian2 objects against a plain stepping of the rule (lpl-spiking 2.6), and copies against single runs."""

import doctest
from typing import Any

import numpy as np
import pytest
from brian2 import Network, NeuronGroup, SpikeGeneratorGroup, StateMonitor, TimedArray, prefs, second

from foundation.errors import UsageError
from spiking.brian import plasticity
from spiking.brian.current import current_layer
from spiking.brian.plasticity import attach_lpl
from spiking.parameters import CurrentNeuron, LPLSynapse

DT = 5e-4
STEPS, N_PRE, N_POST = 400, 5, 3
RULE = LPLSynapse.current(
    lambda_=0.7, phi=1.3, eta=20.0, delta=1e-3, xi=0.05, tau_mean=0.3, tau_sigma2=0.2, update_interval=0.03,
    prediction_delay=6e-3, axonal_delay=1e-3, w_min=-0.2, w_max=0.3, u_floor=-0.5,
)  # fmt: skip


@pytest.fixture(autouse=True)
def numpy_target():
    previous, prefs.codegen.target = prefs.codegen.target, "numpy"
    yield
    prefs.codegen.target = previous


def spike_source(spikes, dt=DT):
    steps, ids = np.nonzero(spikes)
    return SpikeGeneratorGroup(spikes.shape[1], ids, steps * dt * second, dt=dt * second)


def prescribed(potential, spikes):
    """Neurons whose potential (T, n) and spikes (T, n) are given."""
    arrays = {"u_t": TimedArray(potential, dt=DT * second), "s_t": TimedArray(spikes * 1.0, dt=DT * second)}
    group = NeuronGroup(
        spikes.shape[1], "u : 1\ng : 1", threshold="s_t(t, i) > 0", reset="", dt=DT * second, namespace=arrays
    )
    group.run_regularly("u = u_t(t, i)", when="groups", clock=group.clock)
    return group


def step_by_step(rule, s_in, s_out, u, w, lambda_, phi, tr_mean, sigma2):
    """All states at the end of each step; w is (n_pre, n_post)."""
    d, far, window = (round(x / DT) for x in (rule.axonal_delay, rule.prediction_delay, rule.update_interval))
    n_pre, n_post = w.shape

    def at(x, n):
        return x[n] if n >= 0 else np.zeros(x.shape[1])

    psp, trpre = np.zeros(n_pre), np.zeros(n_pre)
    err, tr_err, tr_err_flt = np.zeros((3, n_post))
    el, el_flt, el_sum, dw_sum = np.zeros((4, n_pre, n_post))
    psp_was, sp_was = [], []
    record: dict[str, list[np.ndarray]] = {}
    for n in range(len(u)):
        sd, sf = at(s_out, n - d), at(s_out, n - far)
        centred = sd - DT / rule.tau_mean * tr_mean
        err = lambda_ * centred / (sigma2 + rule.xi) + rule.delta - phi * sd + phi * sf
        sp = np.where(u[n] < rule.u_floor, 0, rule.beta / (1 + rule.beta * abs(u[n] - rule.theta)) ** 2)
        psp_was.append(psp)
        sp_was.append(sp)
        if n >= d:
            el = el + np.outer(psp_was[n - d], sp_was[n - d])
        el_flt = el_flt + DT / rule.tau_el_decay * (el - el_flt)
        el = el * np.exp(-DT / rule.tau_el_rise)
        el_sum = el_sum + el_flt * tr_err_flt
        if n % window == 0:
            dw_sum = dw_sum + el_sum / window
            w = np.clip(w + rule.eta * el_sum / window, rule.w_min, rule.w_max)
            el_sum = np.zeros_like(el_sum)
        psp = psp + DT / rule.tau_mem * (trpre - psp)
        sigma2 = (sigma2 + centred**2 / rule.tau_sigma2) * np.exp(-DT / rule.tau_sigma2)
        trpre = (trpre + at(s_in, n - d)) * np.exp(-DT / rule.tau_syn)
        tr_mean = (tr_mean + s_out[n]) * np.exp(-DT / rule.tau_mean)
        tr_err = tr_err + DT / rule.tau_err_rise * (err - tr_err)
        tr_err_flt = tr_err_flt + DT / rule.tau_err_decay * (tr_err - tr_err_flt)
        state = {"err": err, "tr_err": tr_err, "tr_err_flt": tr_err_flt, "tr_mean": tr_mean, "sigma2": sigma2,
                 "sigma_prime": sp, "el": el, "el_flt": el_flt, "el_sum": el_sum, "dw_sum": dw_sum, "w": w}  # fmt: skip
        for name, value in state.items():
            record.setdefault(name, []).append(value.ravel())
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
    expected = step_by_step(rule, s_in, s_out, u, w, lambda_, phi, rates * rule.tau_mean, sigma2)

    source, target = spike_source(s_in), prescribed(u, s_out)
    i, j = np.indices((N_PRE, N_POST)).reshape(2, -1)
    lpl = attach_lpl(source, target, rule, i=i, j=j, w=w.ravel(), potential="u", on_pre="g_post += w", dt=DT,
                     mean_rate=rates, sigma2=sigma2)  # fmt: skip
    lpl.post.lambda_i, lpl.post.phi_i = lambda_, phi
    on_synapses = [name for name in expected if expected[name].shape[1] == N_PRE * N_POST]
    on_neurons = [name for name in expected if name not in on_synapses]
    monitors = [
        StateMonitor(group, names, record=True, when="end", dt=DT * second)
        for group, names in ((lpl.synapses, on_synapses), (lpl.post, on_neurons))
    ]
    Network(source, target, lpl, monitors).run(STEPS * DT * second, namespace={})

    for monitor, names in zip(monitors, (on_synapses, on_neurons), strict=True):
        for name in names:
            scale = np.abs(expected[name]).max()
            np.testing.assert_allclose(getattr(monitor, name).T, expected[name], rtol=0, atol=1e-12 * scale)
    changes = np.abs(np.diff(expected["w"], axis=0)).max(axis=1)
    assert (changes > 0).sum() >= 6
    assert expected["w"].min() == rule.w_min
    assert expected["w"].max() == rule.w_max
    np.testing.assert_allclose(lpl.gradient(), expected["dw_sum"][-1] + expected["el_sum"][-1] / 60, rtol=1e-12)


def layer_run(spikes, weights, bias, copies, **changes):
    rule = LPLSynapse(**{**vars(RULE), "w_min": None, "w_max": None, **changes})
    source = spike_source(spikes)
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
    source, target = spike_source(np.ones((4, N_PRE))), prescribed(np.zeros((4, N_POST)), np.zeros((4, N_POST)))
    arguments = {"i": [0, 1], "j": [0, 1], "w": 0.1, "potential": "u", "on_pre": "g_post += w", "dt": DT, **changes}
    with pytest.raises(UsageError, match=message):
        attach_lpl(source, target, RULE, **arguments)


def test_parts_of_groups_and_names_of_the_rule_are_refused():
    source, target = spike_source(np.ones((4, N_PRE))), prescribed(np.zeros((4, N_POST)), np.zeros((4, N_POST)))
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
    source = spike_source(np.ones((4, 2 * N_PRE)))
    arguments = {"weights": np.zeros((N_POST, N_PRE)), "bias": np.zeros(N_POST), "copies": 2, **changes}
    with pytest.raises(UsageError, match=message):
        current_layer(source, neuron=CurrentNeuron(), rule=RULE, dt=DT, **arguments)

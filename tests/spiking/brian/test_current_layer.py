"""The current-based neuron: drive, rate, reset and bounds."""

import numpy as np
import pytest
from brian2 import Network, SpikeGeneratorGroup, SpikeMonitor, StateMonitor, prefs, second

from spiking.brian.current import current_layer
from spiking.parameters import CurrentNeuron, LPLSynapse

DT = 1e-3
RULE = LPLSynapse.current(axonal_delay=DT, eta=0.0)


@pytest.fixture(autouse=True)
def numpy_target():
    previous, prefs.codegen.target = prefs.codegen.target, "numpy"
    yield
    prefs.codegen.target = previous


def run(neuron, weights, bias, periods, duration):
    """A layer whose inputs spike regularly, every `periods` steps (0: never), for `duration` steps."""
    trains = [np.arange(1, duration, p) if p else np.zeros(0, int) for p in periods]
    ids = np.repeat(np.arange(len(trains)), [len(t) for t in trains])
    source = SpikeGeneratorGroup(len(trains), ids, np.concatenate(trains) * DT * second, dt=DT * second)
    layer = current_layer(source, weights, bias, neuron, RULE, dt=DT)
    spikes = SpikeMonitor(layer.neurons)
    state = StateMonitor(layer.neurons, ("u", "g"), record=True, when="end", dt=DT * second)
    Network(source, layer, spikes, state).run(duration * DT * second, namespace={})
    return layer, np.asarray(spikes.count), state


def test_mean_drive_is_the_rate_networks_pre_activation_at_any_dt():
    weights, bias = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.5]]), np.array([0.1, -0.3])
    neuron = CurrentNeuron(r_max=50.0)
    layer, _, state = run(neuron, weights, bias, periods=(20, 40, 10), duration=1000)  # 50, 25, 100 Hz
    drive = layer.neurons.namespace["gain"] * state.g[:, -400:].mean(axis=1) + bias
    np.testing.assert_allclose(drive, weights @ [1.0, 0.5, 2.0] + bias, rtol=1e-12)


def test_rate_without_leak_is_an_exact_relu_and_the_reset_loses_nothing():
    bias, steps = np.array([-2.0, 0.0, 0.013, 0.4, 1.0, 3.7]), 2000
    layer, counts, _ = run(CurrentNeuron(leaky=False), np.zeros((6, 1)), bias, periods=(0,), duration=steps)
    integral = bias * steps * DT / 20e-3
    np.testing.assert_allclose(np.asarray(layer.neurons.u) + counts, integral, rtol=1e-12, atol=1e-12)
    assert np.all(np.abs(counts - np.maximum(integral, 0)) <= 1)
    assert counts[-1] == 369 or counts[-1] == 370


def test_leaky_neuron_relaxes_to_its_drive_and_spikes_only_above_threshold():
    steps = 400
    _, counts, state = run(CurrentNeuron(), np.zeros((2, 1)), np.array([0.9, 1.5]), periods=(0,), duration=steps)
    expected = 0.9 * (1 - (1 - DT / 20e-3) ** np.arange(1, steps + 1))
    np.testing.assert_allclose(state.u[0], expected, rtol=1e-12)
    assert counts[0] == 0
    assert counts[1] > 0


def test_lower_bound_of_the_potential():
    neuron = CurrentNeuron(leaky=False, u_min=-0.5)
    _, _, state = run(neuron, np.zeros((2, 1)), np.array([-3.0, 0.2]), periods=(0,), duration=50)
    assert state.u[0].min() == -0.5
    assert state.u[1].min() > 0


def test_a_spike_reaches_the_membrane_one_step_after_its_delay():
    _, _, state = run(CurrentNeuron(), np.ones((1, 1)), np.zeros(1), periods=(1000,), duration=10)  # spike in step 1
    assert np.flatnonzero(state.g[0])[0] == 2  # delay of one step
    assert np.flatnonzero(state.u[0])[0] == 3


def test_the_surrogate_derivative_sees_the_potential_after_the_reset():
    source = SpikeGeneratorGroup(1, [], [] * second, dt=DT * second)
    layer = current_layer(source, [[0.0]], [1.5], CurrentNeuron(), RULE, dt=DT)
    state = StateMonitor(layer.neurons, "u", record=0, when="end", dt=DT * second)
    derivative = StateMonitor(layer.lpl.post, "sigma_prime", record=0, when="end", dt=DT * second)
    Network(source, layer, state, derivative).run(100 * DT * second, namespace={})
    assert np.any(np.diff(state.u[0]) < -0.5)  # it spiked
    np.testing.assert_allclose(derivative.sigma_prime[0], 20 / (1 + 20 * np.abs(state.u[0] - 1)) ** 2, rtol=1e-12)

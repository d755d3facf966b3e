"""The ladder's rungs against independent programs: Brian2's synapses, torch's autograd, plain loops."""

from dataclasses import replace

import brian2 as b2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bridge.config import CONDUCTANCE, LevelsConfig
from bridge.levels.material import Layer, images_layer, paper_layer
from bridge.levels.neurons import arriving, simulate
from bridge.levels.rule import Synapse, delayed, errors_of
from spiking.brian.conductance import ConductanceLayer, conductance_layer
from spiking.brian.current import CurrentLayer, current_layer
from spiking.brian.feedforward import spike_source
from spiking.brian.running import code_generation, run_network
from spiking.parameters import LPLSynapse
from spiking.stimuli import SpikeEvents

Floats = NDArray[np.float64]
STEPS, UNITS, INPUTS, RATE = 2600, 5, 24, 45.0  # the last window is unfinished
CONFIG = LevelsConfig(lambda_=0.7, delta=0.3)


def _layer(reading: str, rng: np.random.Generator) -> Layer:
    if reading == "current":
        weights, bias = rng.normal(0.05, 0.3, (UNITS, INPUTS)), rng.normal(0, 0.1, UNITS)
        return images_layer(rng.random((2, INPUTS)), weights, bias, frame=0.02, input_rate=RATE)
    weights = np.where(rng.random((UNITS, INPUTS)) < 0.6, 0.35, 0.0)
    layer = paper_layer(duration=0.02, units=UNITS, population=1)
    return replace(
        layer,
        weights=weights,
        bias=np.zeros(UNITS),
        inhibition=None,
        groups=None,
        group_names=(),
        stimulus=images_layer(rng.random((2, INPUTS)), weights, np.zeros(UNITS), input_rate=RATE).stimulus,
    )


def _constant_statistics(rule: LPLSynapse) -> LPLSynapse:
    """Brian2's traces of mean and variance do not move then, as in the ladder."""
    return replace(rule, tau_mean=1e9, tau_sigma2=1e9, eta=0.0)


def _in_brian(layer: Layer, x: NDArray[np.bool_], rule: LPLSynapse, mean: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Spikes (T, M), and the change that frozen synapses would have made, per unit of eta, (M, N)."""
    step, line = np.nonzero(x)
    events, dt = SpikeEvents(line, step, INPUTS, CONFIG.dt, len(x)), CONFIG.dt
    sigma2 = mean * (1 - mean * dt)
    made: CurrentLayer | ConductanceLayer
    gradient = np.zeros(layer.weights.shape)
    with code_generation("numpy"):
        source = spike_source(events)
        if layer.reading == "current":
            neuron = CONFIG.neuron(layer.r_max)
            made = current_layer(source, layer.weights, layer.bias, neuron, rule, dt=dt, mean_rate=mean, sigma2=sigma2)
            start = torch.Generator().manual_seed(CONFIG.seed)
            made.neurons.u = torch.rand((1, UNITS), generator=start, dtype=torch.float64)[0].numpy()
        else:
            made = conductance_layer(
                source, layer.weights, layer.bias, CONDUCTANCE, rule, dt=dt, mean_rate=mean, sigma2=sigma2
            )
        monitor = b2.SpikeMonitor(made.neurons)
        run_network(b2.Network(source, *made, monitor), events.duration, label="Brian2")
        synapses = made.lpl.synapses
        gradient[np.asarray(synapses.j), np.asarray(synapses.i)] = made.lpl.gradient()
    fired = np.zeros((len(x), UNITS), bool)
    fired[np.rint(np.asarray(monitor.t / b2.second) / dt).astype(int), np.asarray(monitor.i)] = True
    return fired, gradient


@pytest.mark.parametrize("reading", ["current", "conductance"])
def test_neurons_and_synapses_do_what_those_of_brian2_do(reading: str, rng: np.random.Generator) -> None:
    """The same spikes in the same steps, and the same change of every synapse, all terms together."""
    layer, rule = _layer(reading, rng), _constant_statistics(CONFIG.rule(reading, 0.02))
    synapse, x = Synapse(rule, CONFIG.dt), rng.random((STEPS, INPUTS)) < RATE * CONFIG.dt
    mean = np.linspace(5, 30, UNITS)
    arrived = arriving(layer.weights, x.astype(float), synapse.delays[0])[:, None]
    spikes, factor = simulate(layer, CONFIG, rule, arrived, None, "ours")
    fired, expected = _in_brian(layer, x, rule, mean)
    assert fired.sum() > 100
    np.testing.assert_array_equal(spikes[:, 0], fired)
    found = synapse.updates(
        x.astype(float), factor[:, 0].astype(float), spikes[:, 0].astype(float), mean, filtered=True
    )["LPL"]
    per_window = rule.update_interval / CONFIG.dt  # Brian2's change is that of the mean over a window, once a window
    exists = layer.weights != 0
    error = np.abs(found * STEPS * CONFIG.dt / per_window - expected)[exists].max()
    assert error < 1e-6 * np.abs(expected).max()  # surrogate derivatives are kept in float32


def test_the_first_rung_is_the_gradient_of_its_loss(rng: np.random.Generator) -> None:
    """Autograd on < phi/2 (z(t) - z(t - Dt))^2 - lambda/2 (z - zbar)^2 / (sigma^2 + xi) - delta z >, with z(t - Dt),
    zbar and sigma^2 as constants: the rule goes down this loss.
    """
    steps, rule = 400, CONFIG.rule("conductance", 0.02)
    synapse = Synapse(rule, CONFIG.dt)
    x = rng.random((steps, INPUTS))
    weights = torch.tensor(rng.normal(size=(UNITS, INPUTS)), requires_grad=True)
    a = torch.tensor(x) @ weights.T
    z = torch.nn.functional.softplus(a)  # any f; its derivative is the logistic function
    lag = synapse.delays[1] - synapse.delays[0]
    assert lag == 40
    now = z.detach().numpy()
    mean = now.mean(0) / CONFIG.dt
    variance = torch.tensor(mean * (1 - np.minimum(mean * CONFIG.dt, 1)))
    old = torch.cat([torch.zeros(lag, UNITS, dtype=torch.float64), z.detach()[:-lag]])
    seconds = steps * CONFIG.dt
    losses = {
        "predictive": ((z - old) ** 2).sum() / 2,
        "Hebbian": -((z - torch.tensor(now.mean(0))) ** 2 / (variance + rule.xi)).sum() / 2,
        "growth": -z.sum(),
    }
    found = synapse.updates(x, torch.sigmoid(a.detach()).numpy(), now, mean, filtered=False)
    for term, loss in losses.items():
        (gradient,) = torch.autograd.grad(loss, weights, retain_graph=True)
        np.testing.assert_allclose(found[term], -gradient.numpy() / seconds, rtol=1e-10, atol=1e-10)
    whole = rule.phi * found["predictive"] + 0.7 * found["Hebbian"] + 0.3 * found["growth"]
    np.testing.assert_allclose(found["LPL"], whole, rtol=1e-12)


def test_filters_are_those_of_a_plain_loop_over_the_synapse(rng: np.random.Generator) -> None:
    """Spec lpl-spiking, 2.6, one synapse, step by step."""
    steps, dt, rule = 500, CONFIG.dt, CONFIG.rule("conductance", 0.02)
    synapse = Synapse(rule, dt)
    d, x = synapse.delays[0], (rng.random((steps, 1)) < 0.1).astype(float)
    factor, z, mean = rng.random((steps, 1)), (rng.random((steps, 1)) < 0.05).astype(float), np.array([9.0])
    found = synapse.updates(x, factor, z, mean, filtered=True)
    for term, errors in errors_of(z, mean, rule, dt, synapse.delays).items():
        trace = psp = el = flt = once = twice = total = 0.0
        past_psp, arrived = [], delayed(x, d)
        for n in range(steps):
            past_psp.append(psp)
            if n >= d:
                el += past_psp[n - d] * factor[n - d, 0]
            flt += dt / rule.tau_el_decay * (el - flt)
            el *= np.exp(-dt / rule.tau_el_rise)
            total += flt * twice
            psp += dt / rule.tau_mem * (trace - psp)
            trace = (trace + arrived[n, 0]) * np.exp(-dt / rule.tau_syn)
            once += dt / rule.tau_err_rise * (errors[n, 0] - once)
            twice += dt / rule.tau_err_decay * (once - twice)
        assert found[term][0, 0] == pytest.approx(total / (steps * dt), rel=1e-10)


def test_the_predictive_error_compares_with_dt_before_and_not_with_the_delay(rng: np.random.Generator) -> None:
    z, rule = rng.random((200, 2)), CONFIG.rule("current", 0.02)
    d, before = Synapse(rule, CONFIG.dt).delays
    assert (before - d) * CONFIG.dt == pytest.approx(0.02)
    error = errors_of(z, np.ones(2), rule, CONFIG.dt, (d, before))["predictive"]
    for step in range(before, 200):
        np.testing.assert_array_equal(error[step], z[step - before] - z[step - d])

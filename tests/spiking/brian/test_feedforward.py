"""A plastic layer run in one go: what goes in, what comes out."""

from collections.abc import Iterator
from typing import Any

import brian2 as b2
import numpy as np
import pytest

from foundation.errors import UsageError
from spiking.brian.feedforward import LayerRun, run_layer
from spiking.brian.running import code_generation
from spiking.parameters import CurrentNeuron, LPLSynapse
from spiking.stimuli import SpikeEvents

DT = 1e-3
INPUTS, UNITS = 5, 3
WEIGHTS = np.random.default_rng(1).normal(0.2, 0.6, (UNITS, INPUTS))
BIAS = np.array([0.3, 0.1, -0.1])
NEURON = CurrentNeuron(leaky=False, r_max=100.0)


@pytest.fixture(autouse=True)
def numpy_target() -> Iterator[None]:
    with code_generation("numpy"):
        yield


def rule(**changes: float) -> LPLSynapse:
    values = {"eta": 0.0, "delta": 0.0, "axonal_delay": DT, "update_interval": 0.05, **changes}
    return LPLSynapse.current(**values)


def train(rng: np.random.Generator, steps: int = 251) -> np.ndarray:
    """Input spikes, (T, N)."""
    return rng.random((steps, INPUTS)) < 0.15


def events_of(*trains: np.ndarray) -> SpikeEvents:
    spikes = np.hstack(trains)
    step, source = np.nonzero(spikes)
    return SpikeEvents(source, step, spikes.shape[1], DT, len(spikes))


def run(spikes: SpikeEvents, plasticity: LPLSynapse | None = None, **changes: Any) -> LayerRun:
    return run_layer(spikes, WEIGHTS, BIAS, NEURON, plasticity or rule(), mean_rate=20.0, sigma2=20.0, **changes)


def test_rates_count_the_spikes_of_every_window_and_copy() -> None:
    shape = (2, 3, 1)  # copies, units, inputs
    source, step = np.array([0, 0, 5, 3, 0, 2]), np.array([0, 4, 4, 5, 9, 14])
    rates = LayerRun(np.zeros(shape), np.zeros(shape), source, step).rates(window=5, windows=3, dt=0.01)
    expected = np.zeros((3, 2, 3))
    expected[0, 0, 0], expected[0, 1, 2], expected[1, 1, 0], expected[1, 0, 0], expected[2, 0, 2] = 2, 1, 1, 1, 1
    np.testing.assert_allclose(rates, expected / 0.05)


def test_a_layer_without_a_spike_has_rates_of_0() -> None:
    nothing = np.zeros(0, int)
    rates = LayerRun(np.zeros((2, 3, 1)), np.zeros((2, 3, 1)), nothing, nothing).rates(window=5, windows=4, dt=0.01)
    np.testing.assert_array_equal(rates, np.zeros((4, 2, 3)))


def test_spikes_are_those_of_the_neurons_equations(rng: np.random.Generator) -> None:
    """Stepped by hand: a spike counts from the second step after it (axonal delay 1), the current decays, no leak."""
    spikes = train(rng)
    result = run(events_of(spikes))
    u, g, fired = np.zeros(UNITS), np.zeros(UNITS), np.zeros((len(spikes), UNITS), bool)
    gain = (1 - np.exp(-DT / NEURON.tau_syn)) / (NEURON.r_max * DT)
    for t in range(len(spikes)):
        u += DT / NEURON.tau_mem * (gain * g + BIAS)
        g *= np.exp(-DT / NEURON.tau_syn)
        fired[t] = u >= 1
        u -= fired[t]
        g += WEIGHTS @ spikes[t - 1] if t else 0
    ours = np.zeros_like(fired)
    ours[result.step, result.source] = True
    assert ours.sum() > 10
    np.testing.assert_array_equal(ours, fired)


def test_frozen_weights_stay_and_tell_what_they_would_have_done(rng: np.random.Generator) -> None:
    result = run(events_of(train(rng)))
    np.testing.assert_array_equal(result.weights, WEIGHTS[None])
    assert np.all(result.gradient != 0)


def test_learned_weights_are_the_learning_rate_times_the_gradient(rng: np.random.Generator) -> None:
    """Over 1 + 5 whole windows; the steps after the last one are in the gradient and not yet in the weights."""
    spikes = train(rng)
    plasticity = rule(eta=0.1)
    learned = run(events_of(spikes), plasticity)
    assert np.abs(learned.weights - WEIGHTS).max() > 0.01
    np.testing.assert_allclose(learned.weights - WEIGHTS, 0.1 * learned.gradient, rtol=1e-9, atol=1e-15)
    unfinished = run(events_of(spikes[:240]), plasticity)
    assert np.abs(unfinished.weights - WEIGHTS - 0.1 * unfinished.gradient).max() > 1e-4


def test_copies_are_the_runs_one_by_one(rng: np.random.Generator) -> None:
    trains = [train(rng) for _ in range(3)]
    together = run(events_of(*trains), rule(eta=0.1), copies=3)
    assert together.weights.shape == together.gradient.shape == (3, UNITS, INPUTS)
    for number, spikes in enumerate(trains):
        alone = run(events_of(spikes), rule(eta=0.1))
        np.testing.assert_allclose(together.weights[number], alone.weights[0], rtol=1e-12)
        np.testing.assert_allclose(together.gradient[number], alone.gradient[0], rtol=1e-12, atol=1e-15)
        mine = together.source // UNITS == number
        np.testing.assert_array_equal(together.source[mine] % UNITS, alone.source)
        np.testing.assert_array_equal(together.step[mine], alone.step)


def test_every_copy_has_its_own_terms_of_the_rule_and_they_add_up(rng: np.random.Generator) -> None:
    spikes = train(rng)
    lambda_, phi = [0.0, 1.0, 0.0, 1.0, 0.5], [0.0, 0.0, 1.0, 1.0, 2.0]
    gradient = run(events_of(*[spikes] * 5), copies=5, lambda_=lambda_, phi=phi).gradient
    none, hebbian, predictive, both, mixed = gradient
    np.testing.assert_array_equal(none, 0)
    size = np.abs(gradient).max()
    assert min(np.abs(hebbian).max(), np.abs(predictive).max()) > 0.01 * size
    np.testing.assert_allclose(both, hebbian + predictive, rtol=0, atol=1e-12 * size)
    np.testing.assert_allclose(mixed, 0.5 * hebbian + 2 * predictive, rtol=0, atol=1e-12 * size)
    np.testing.assert_allclose(both, run(events_of(spikes)).gradient[0], rtol=0, atol=1e-12 * size)


def test_delta_alone_potentiates(rng: np.random.Generator) -> None:
    gradient = run(events_of(train(rng)), rule(delta=1e-3), lambda_=[0.0], phi=[0.0]).gradient
    assert np.all(gradient > 0)


def test_no_input_spikes_leave_the_biases() -> None:
    result = run(events_of(np.zeros((250, INPUTS), bool)))
    np.testing.assert_array_equal(result.gradient, 0)
    counts = np.bincount(result.source, minlength=UNITS)
    np.testing.assert_array_equal(counts, np.floor(np.maximum(BIAS, 0) * 250 * DT / NEURON.tau_mem + 1e-9))


@pytest.mark.parametrize("name", ["lambda_", "phi"])
def test_terms_for_another_number_of_copies_are_refused(name: str, rng: np.random.Generator) -> None:
    changes: dict[str, Any] = {name: [1.0, 0.0, 1.0]}
    with pytest.raises(UsageError, match=rf"{name}: must .*2"):
        run(events_of(train(rng, 20), train(rng, 20)), copies=2, **changes)


def test_spikes_for_another_number_of_inputs_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(UsageError, match="copies \\* n_pre = 10 neurons, got 5"):
        run(events_of(train(rng, 20)), copies=2)


@pytest.mark.parametrize("steps", [1, 20, 251])
def test_a_bar_shows_the_progress_to_its_end(
    steps: int, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    run(events_of(train(rng, steps)), label="my layer")
    said = capsys.readouterr().err
    assert "my layer" in said
    assert "100%" in said.splitlines()[-1]


def test_the_code_generation_target_comes_back() -> None:
    before = b2.prefs.codegen.target
    with code_generation("auto"):
        assert b2.prefs.codegen.target == "auto"
    assert b2.prefs.codegen.target == before
    with pytest.raises(RuntimeError, match="mine"), code_generation("auto"):
        raise RuntimeError("mine")
    assert b2.prefs.codegen.target == before

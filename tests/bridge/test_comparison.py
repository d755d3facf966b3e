"""The comparison of the two levels: its measures on cases with a known answer, then both levels at small size."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bridge.comparison import Comparison, Statistics, agreement, balanced_lambda, compare, cosine, learn
from bridge.config import ComparisonConfig
from foundation.errors import UsageError
from ratenets.lpl.config import EPSILON, Coefficients
from ratenets.lpl.objective import terms
from ratenets.lpl.rule import online_update
from spiking.brian.running import code_generation


# --- cosine and agreement ---------------------------------------------------------------------------------------------
def test_cosine_by_hand() -> None:
    one = np.array([[3.0, 4.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    other = np.array([[3.0, 4.0], [0.0, 2.0], [-2.0, -2.0], [1.0, 5.0]])
    np.testing.assert_allclose(cosine(one, other), [1, 0, -1, 0], atol=1e-15)
    assert cosine(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(np.sqrt(0.5))


@pytest.mark.parametrize("realisations", [2, 8])
@pytest.mark.parametrize("noise", [0.3, 1.0, 2.0])
def test_the_ceiling_predicts_the_cosine_with_the_true_signal(
    realisations: int, noise: float, rng: np.random.Generator
) -> None:
    """1000 units with 300 synapses each, a signal of size 1 and noise in every realisation."""
    signal = rng.normal(size=(1000, 300))
    spiking = signal + noise * rng.normal(size=(realisations, 1000, 300))
    found = agreement(spiking, signal, [signal], [signal])
    expected = 1 / np.sqrt(1 + noise**2 / realisations)
    assert found.cosine.mean() == pytest.approx(expected, rel=0.01)
    assert found.ceiling.mean() == pytest.approx(found.cosine.mean(), rel=0.03)


def test_without_a_signal_the_ceiling_is_low(rng: np.random.Generator) -> None:
    found = agreement(rng.normal(size=(4, 200, 400)), np.ones((200, 400)), [np.ones((200, 400))], [np.ones((200, 400))])
    assert found.ceiling.max() < 0.6  # the halves' cosine has the deviation 0.05, and 0.15 gives 0.51
    assert np.median(found.ceiling) < 0.2


def test_controls_by_hand() -> None:
    spiking = np.array([[[1.0, 0.0], [0.0, 2.0]], [[3.0, 0.0], [0.0, 0.0]]])  # the mean is (2, 0) and (0, 1)
    rate = np.array([[1.0, 1.0], [0.0, 3.0]])
    shuffled = [np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 1.0], [0.0, -1.0]])]
    found = agreement(spiking, rate, shuffled, [-rate])
    half = np.sqrt(0.5)
    np.testing.assert_allclose(found.cosine, [half, 1])
    np.testing.assert_allclose(found.ceiling, [1, 0])
    np.testing.assert_allclose(found.shuffled, [0.5, 0])
    np.testing.assert_allclose(found.reordered, [-half, -1])
    np.testing.assert_allclose(found.other, [0, half])
    assert found.overall == pytest.approx((2 + 3) / np.sqrt(5 * 11))
    assert found.summary() == pytest.approx(
        {
            "cosine": (1 + half) / 2,
            "ceiling": 0.5,
            "shuffled": 0.25,
            "reordered": -(1 + half) / 2,
            "other": half / 2,
            "overall": 5 / np.sqrt(55),
        }
    )


# --- the rate rule ----------------------------------------------------------------------------------------------------
def test_the_online_rule_by_hand() -> None:
    """One unit, three frames: z = 2, 0, 1 and z - z' = 2, -2, 1; the middle frame has no slope."""
    x, drive = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 4.0]]), np.array([[2.0], [-5.0], [1.0]])
    given: dict[str, Any] = {"mean": np.array([0.5]), "variance": np.array([0.25])}
    predictive = online_update(x, drive, lambda_=0, phi=1, xi=0.25, **given)
    np.testing.assert_allclose(predictive, [[-2 / 3, -4 / 3]])
    hebbian = online_update(x, drive, lambda_=1, phi=0, xi=0.25, **given)
    np.testing.assert_allclose(hebbian, [[3 / 3, 4 * 1 / 3]])
    trigger = online_update(x, drive, lambda_=0, phi=0, delta=0.3, xi=0.25, **given)
    np.testing.assert_allclose(trigger, [[0.1, 0.4]])


def test_the_online_rule_is_the_loop_over_frames_and_synapses(rng: np.random.Generator) -> None:
    frames, inputs, units = 7, 4, 3
    x, drive = rng.random((frames, inputs)), rng.normal(size=(frames, units))
    mean, variance, seen = rng.random(units), rng.random(units), rng.random((frames, inputs))
    expected = np.zeros((units, inputs))
    for i in range(units):
        before = 0.0
        for t in range(frames):
            z = max(drive[t, i], 0.0)
            error = -0.7 * (z - before) + 1.3 * (z - mean[i]) / (variance[i] + 0.05) + 0.2
            before = z
            for j in range(inputs):
                expected[i, j] += error * (drive[t, i] > 0) * seen[t, j] / frames
    given: dict[str, Any] = {"lambda_": 1.3, "phi": 0.7, "delta": 0.2, "xi": 0.05, "mean": mean, "variance": variance}
    ours = online_update(x, drive, presynaptic=seen, **given)
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    assert np.abs(ours - online_update(x, drive, **given)).max() > 0.01


# --- what the traces start from, and lambda ---------------------------------------------------------------------------
def test_the_variance_is_what_the_spiking_rules_trace_settles_at(rng: np.random.Generator) -> None:
    """The trace of lpl-spiking, 2.6, stepped over random spikes of the mean rate."""
    config = ComparisonConfig(dt=1e-3, unit_rate=400.0)
    activation = np.array([[0.0, 0.25, 1.0], [0.5, 0.25, 2.0]])
    statistics = Statistics.of(activation, config)
    np.testing.assert_allclose(statistics.mean_rate, [100, 100, 600])
    np.testing.assert_allclose(statistics.sigma2, [90, 90, 240])
    dt, tau, rate = config.dt, 0.5, statistics.mean_rate
    trace, total = statistics.sigma2.copy(), np.zeros(3)
    spikes = rng.random((100_000, 3)) < rate * dt
    for spike in spikes:
        trace = (trace + (spike - dt * rate) ** 2 / tau) * np.exp(-dt / tau)
        total += trace
    np.testing.assert_allclose(total / len(spikes), statistics.sigma2, rtol=0.04)  # 10,000 spikes: 1 %


def test_balanced_lambda_weighs_the_terms_as_the_rate_network_does(rng: np.random.Generator) -> None:
    """Hebbian to predictive, sample by sample: in the loss's gradient, and in the rule on rates in Hz."""
    coefficients, scale, config = Coefficients(pull=0.7, push=1.9, decorr=0), 3.0, ComparisonConfig()
    z, other = (torch.from_numpy(rng.gamma(2.0, size=(5000, 1))) for _ in range(2))
    z.requires_grad_()
    loss = terms(z, other)
    pull, push = (
        torch.autograd.grad(factor * term, z)[0].numpy()
        for factor, term in ((coefficients.pull, loss.pull), (coefficients.push, loss.push))
    )
    activation = z.detach().numpy() / scale
    statistics = Statistics.of(activation, config)
    balance = balanced_lambda(activation, statistics, scale, coefficients.pull, coefficients.push, EPSILON)
    hz, other_hz = activation * config.unit_rate, other.numpy() / scale * config.unit_rate
    predictive, hebbian = hz - other_hz, -balance * (hz - statistics.mean_rate) / (statistics.sigma2 + config.rule().xi)
    np.testing.assert_allclose(hebbian / predictive, push / pull, rtol=1e-3)


def test_balanced_lambda_is_the_median_over_active_units() -> None:
    activation = np.array([[0.0, 1.0, 0.0, 0.0], [2.0, 3.0, 4.0, 0.0]])  # variances 1, 1, 4
    statistics = Statistics(np.array([100.0, 200.0, 100.0, 0.5]), np.array([80.0, 90.0, 40.0, 0.5]))
    expected = np.median([80 / (2 * 1.5), 90 / (2 * 1.5), 40 / (2 * 4.5)])
    assert balanced_lambda(activation, statistics, 1.0, 1.0, 1.0, 0.5) == pytest.approx(expected, rel=1e-3)


def test_lambda_cannot_be_balanced_against_nothing() -> None:
    activation, statistics = np.ones((3, 2)), Statistics(np.full(2, 100.0), np.full(2, 90.0))
    with pytest.raises(UsageError, match="lambda cannot be balanced"):
        balanced_lambda(activation, statistics, 1.0, 0.0, 1.0, EPSILON)
    with pytest.raises(UsageError, match="lambda cannot be balanced"):
        balanced_lambda(activation, Statistics(np.zeros(2), np.zeros(2)), 1.0, 1.0, 1.0, EPSILON)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"realisations": 3}, "realisations: are split into halves, so must be even, got 3"),
        ({"realisations": 0}, "realisations: .* got 0"),
        ({"shuffles": 0}, "shuffles: must be at least 1, got 0"),
        ({"frame": 0.0}, "frame: must be positive, got 0.0"),
        ({"dt": -1e-3}, "dt: must be positive, got -0.001"),
        ({"input_rate": float("nan")}, "input_rate: must be positive, got nan"),
        ({"unit_rate": 0.0}, "unit_rate: must be positive, got 0.0"),
        ({"beta": 0.0}, "beta: must be positive, got 0.0"),
    ],
)
def test_a_config_out_of_range_is_refused(changes: dict[str, float], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        ComparisonConfig(**changes)  # type: ignore[arg-type]  # wrong values are the point


# --- both levels ------------------------------------------------------------------------------------------------------
CONFIG = ComparisonConfig(realisations=2, dt=1e-3, unit_rate=500.0, shuffles=5)


class Problem:
    """Six patterns of twelve inputs, each shown four times with noise, to six units; the last one is dead."""

    def __init__(self, seed: int = 8) -> None:
        rng = np.random.default_rng(seed)
        patterns = rng.random((6, 12)) * (rng.random((6, 12)) < 0.6)
        self.frames = np.clip(np.repeat(patterns, 4, 0) + rng.normal(0, 0.15, (24, 12)), 0, 1)
        self.weights, self.bias = rng.normal(0, 0.9 / np.sqrt(12), (7, 12)), rng.normal(0.05, 0.05, 7)
        self.weights[6], self.bias[6] = 0, -1
        scale = np.percentile(self.activation, 99.9)
        self.weights, self.bias = self.weights / scale, self.bias / scale
        self.statistics = Statistics.of(self.activation, CONFIG)
        self.balance = balanced_lambda(self.activation, self.statistics, 1.0, 1.0, 1.0, EPSILON)

    @property
    def activation(self) -> np.ndarray:
        return np.maximum(self.frames @ self.weights.T + self.bias, 0)

    def compare(self, config: ComparisonConfig = CONFIG) -> Comparison:
        return compare(self.frames, self.weights, self.bias, config, statistics=self.statistics, balance=self.balance)


@pytest.fixture(scope="module", autouse=True)
def numpy_target() -> Iterator[None]:
    with code_generation("numpy"):
        yield


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem()


@pytest.fixture(scope="module")
def comparison(problem: Problem) -> Comparison:
    return problem.compare()


def test_the_spiking_update_is_the_rate_rules_and_far_from_the_shuffled_controls(comparison: Comparison) -> None:
    for term, least in {"predictive": 0.85, "Hebbian": 0.8, "LPL": 0.8}.items():
        found = comparison.terms[term].summary()
        assert found["cosine"] > least
        assert found["cosine"] > found["shuffled"] + 0.25
        assert found["cosine"] > found["other"] + 0.15
        assert found["ceiling"] > 0.95
    predictive = comparison.terms["predictive"].summary()
    assert predictive["cosine"] > predictive["reordered"] + 0.1  # this term alone knows the order
    np.testing.assert_allclose(comparison.terms["Hebbian"].reordered, comparison.terms["Hebbian"].cosine)


def test_dead_units_are_left_out(comparison: Comparison, problem: Problem) -> None:
    np.testing.assert_array_equal(comparison.units, np.arange(6))
    assert all(update.shape == (6, 12) for update in (*comparison.spiking.values(), *comparison.rate.values()))


def test_rates_follow_the_expected_ones(comparison: Comparison, problem: Problem) -> None:
    measured, expected = comparison.rates
    np.testing.assert_allclose(expected, 500 * problem.activation[:, :6], rtol=1e-12)
    assert comparison.rate_correlation > 0.93
    assert measured.mean() == pytest.approx(expected.mean(), rel=0.1)


def test_rates_follow_the_relu_through_frames_of_inhibition() -> None:
    """A drive of -1, then of 1/2, over and over: 25 spikes in every second frame, and none in the others.

    The inputs spike in every step. Both frames' ends are smeared by tau_syn = 5 ms, some 4 spikes' worth of current.
    """
    config = replace(CONFIG, input_rate=1000.0)
    frames = np.tile([[1.0, 0.0], [0.0, 1.0]], (5, 1))
    weights, bias = np.array([[-1.0, 0.5], [0.5, -1.0]]), np.zeros(2)
    statistics = Statistics.of(np.maximum(frames @ weights.T, 0), config)
    measured, expected = compare(frames, weights, bias, config, statistics=statistics).rates
    np.testing.assert_allclose(measured[1:] * 0.1, expected[1:] * 0.1, atol=6)


def test_the_terms_add_up(comparison: Comparison, problem: Problem) -> None:
    for updates in (comparison.spiking, comparison.rate):
        total = updates["predictive"] + problem.balance * updates["Hebbian"]
        np.testing.assert_allclose(updates["LPL"], total, rtol=0, atol=1e-12 * np.abs(total).max())
    expected = online_update(
        problem.frames,
        500 * (problem.frames @ problem.weights[:6].T + problem.bias[:6]),
        lambda_=0,
        phi=1,
        mean=problem.statistics.mean_rate[:6],
        variance=problem.statistics.sigma2[:6],
    )
    np.testing.assert_allclose(comparison.rate["predictive"], expected, rtol=1e-12)


def test_a_seed_decides_the_comparison(comparison: Comparison, problem: Problem) -> None:
    same, other = problem.compare(), problem.compare(replace(CONFIG, seed=1))
    for term in comparison.spiking:
        np.testing.assert_array_equal(same.spiking[term], comparison.spiking[term])
        np.testing.assert_array_equal(same.terms[term].shuffled, comparison.terms[term].shuffled)
        assert np.all(other.terms[term].shuffled != comparison.terms[term].shuffled)
    assert np.mean(other.spiking["LPL"] != comparison.spiking["LPL"]) > 0.9


def test_more_realisations_have_less_noise(comparison: Comparison, problem: Problem) -> None:
    more = problem.compare(replace(CONFIG, realisations=8))
    for term in ("predictive", "Hebbian"):
        assert np.all(1 - more.terms[term].ceiling.mean() < 0.6 * (1 - comparison.terms[term].ceiling.mean()))


def test_learning_in_spikes_goes_where_the_rate_rule_goes(comparison: Comparison, problem: Problem) -> None:
    """One realisation, so noisier than the mean that chose eta; and the last unfinished window does not count."""
    learned = learn(
        problem.frames,
        problem.weights,
        problem.bias,
        problem.statistics,
        CONFIG,
        comparison,
        relative_change=0.02,
    )
    assert learned.weights.shape == problem.weights.shape
    change = (learned.weights - problem.weights)[:6]
    assert learned.relative_change == pytest.approx(0.02, rel=0.35)
    assert learned.relative_change == pytest.approx(np.linalg.norm(change) / np.linalg.norm(problem.weights[:6]))
    assert learned.overall > 0.65
    assert learned.cosine.shape == (6,)
    assert np.median(cosine(change, comparison.rate["LPL"])) > 0.8
    assert np.median(cosine(change, np.roll(comparison.rate["LPL"], 1, axis=0))) < 0.5


def test_a_layer_with_nothing_to_compare_is_refused(problem: Problem) -> None:
    with pytest.raises(UsageError, match="fewer than two units with a mean rate of 1 Hz or more"):
        compare(
            problem.frames, problem.weights[5:], problem.bias[5:], CONFIG, statistics=Statistics(np.ones(2), np.ones(2))
        )


def test_frames_outside_their_range_are_refused(problem: Problem) -> None:
    with pytest.raises(UsageError, match="frames: must lie between 0 and 1"):
        compare(1.5 * problem.frames, problem.weights, problem.bias, CONFIG)

"""ED Fig. 1 and Suppl. Fig. 1: activation functions, weight changes against LPL's loss, and the losses' distances."""

from dataclasses import replace

import numpy as np
import pytest

from foundation.errors import UsageError
from ratenets.toy.rule_curves import FUNCTIONS, SWEEPS, CurvesConfig, State, losses, run, shapes, weight_change

CONFIG = CurvesConfig()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_slope_is_the_derivative_of_the_activity(name):
    h = np.array([0.3, 2.0, 5.9, 6.1, 20.0, 90.0])
    step = 1e-6
    above, below = (FUNCTIONS[name](h + sign * step, CONFIG).z for sign in (1, -1))
    np.testing.assert_allclose(FUNCTIONS[name](h, CONFIG).slope, (above - below) / (2 * step), rtol=1e-7, atol=1e-9)


def test_activities_at_the_threshold_and_far_from_it():
    h = np.array([-1e3, 6.0, 16.0, 1e4])
    np.testing.assert_allclose(FUNCTIONS["tanh"](h, CONFIG).z, [0, 2, 78 * np.tanh(10 / 78) + 2, 80], atol=1e-12)
    np.testing.assert_array_equal(FUNCTIONS["relu"](h, CONFIG).z, [2, 2, 12, 9996])


def test_the_weight_change_by_hand():
    """At h = 16 with ReLU: z = 12; 0.5 * 16 * 1 * ((12 - 10) / 4 - 0.25)."""
    h = np.array([16.0])
    found = weight_change(h, FUNCTIONS["relu"](h, CONFIG), State(mean=10.0, variance=4.0, slope=0.25), eta=0.5)
    assert found == pytest.approx(2.0)


@pytest.mark.parametrize("activation", [0, 1])
def test_the_threshold_between_depression_and_potentiation_moves_with_what_is_swept(activation):
    """It lies at zbar + sigma^2 dz/dt."""
    arrays, state = run(CurvesConfig(points=6001)), State()
    z = arrays["z"][activation]
    for name, values in SWEEPS.items():
        for value, dw in zip(values, arrays[f"dw/{name}"][activation], strict=True):
            own = state._replace(**{name: value})
            threshold = own.mean + own.variance * own.slope
            assert (dw[(z > threshold + 0.1) & (z > 2.1)] > 0).all()
            assert (dw[(z < threshold - 0.1) & (z > 2.1)] < 0).all()
    assert (np.array([20 + 20 * value for value in SWEEPS["slope"]]) > 2.1).sum() == 3  # and there is such a threshold


def test_losses_are_those_of_two_clusters_at_that_distance(rng):
    distance = 3.0
    cluster = rng.choice([-1, 1], 400_000)
    first, second = (distance / 2 * cluster + distance / 4 * rng.standard_normal(cluster.size) for _ in range(2))
    variance = first.var()
    expected = [np.square(second - first).mean(), -variance, -np.log(variance), max(1 - variance**0.5, 0)]
    np.testing.assert_allclose(losses(np.array([distance]))[:, 0], expected, atol=0.03)


def test_lpl_has_its_least_loss_at_the_root_of_eight_and_the_naive_sum_falls_for_ever():
    distance = np.linspace(0.01, 10, 100_000)
    predictive, variance, log, hinge = losses(distance)
    assert distance[np.argmin(predictive + log)] == pytest.approx(8**0.5, abs=1e-3)
    assert (np.diff(predictive + variance) < 0).all()
    assert distance[np.argmin(predictive + hinge)] == pytest.approx(4 / 5**0.5, abs=1e-3)


def test_a_run_gives_the_arrays_that_it_promises():
    config = CurvesConfig(points=7)
    arrays = run(config)
    assert {name: array.shape for name, array in arrays.items()} == shapes(config)
    assert all(np.isfinite(array).all() for array in arrays.values())
    np.testing.assert_allclose(run(replace(config, eta=3.0))["dw/mean"], 3 * arrays["dw/mean"], rtol=1e-12)


@pytest.mark.parametrize("change", [{"r_0": 0.0}, {"r_0": 80.0}, {"h_max": 6.0}, {"eta": 0.0}, {"points": 1}])
def test_settings_out_of_range_are_refused_by_name(change):
    with pytest.raises(UsageError, match=f"^rule: {next(iter(change))} must be"):
        replace(CONFIG, **change)

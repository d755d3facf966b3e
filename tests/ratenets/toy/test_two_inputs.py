"""The two clusters of Fig. 2: the input's statistics, the measures, and what the rules learn."""

from dataclasses import replace
from itertools import islice
from typing import Any, cast

import numpy as np
import pytest

from foundation.errors import UsageError
from ratenets.toy import two_inputs
from ratenets.toy.rules import LPL, OJA, PRED_OFF, update
from ratenets.toy.two_inputs import COURSE_RULES, RULES, Clusters, TwoInputsConfig, learn, outcome, run, shapes

SMALL = TwoInputsConfig(sigmas=3, probabilities=2, repetitions=2, steps=40, samples=10, test_samples=50)
RULE = {rule.name: k for k, rule in enumerate(RULES)}


def test_inputs_have_the_statistics_of_the_paper(rng):
    clusters = Clusters(np.array([0.5, 20.0]), np.array([0.3, 0.0]), 0.1)
    frames = np.array(list(islice(clusters.frames(20_000, rng), 3)))
    assert frames.shape == (3, 2, 2, 20_000)
    cluster = np.sign(frames[:, :, 0])
    np.testing.assert_array_equal(cluster[0].sum(-1), 0)  # half of them in each
    np.testing.assert_allclose((frames[:, :, 0] - cluster).std((0, 2)), 0.1, rtol=0.02)
    np.testing.assert_allclose(frames[:, :, 1].std((0, 2)), clusters.sigma, rtol=0.02)
    changed = (cluster[1:] != cluster[:-1]).mean((0, 2))
    assert changed[0] == pytest.approx(0.3, abs=0.01)
    assert changed[1] == 0
    noise = frames[:, :, 1] / clusters.sigma[:, None]
    assert np.abs((noise[0] * noise[1]).mean(-1)).max() < 0.03  # fresh in every frame


def test_measures_of_known_weights(rng):
    clusters = Clusters(np.array([1.0, 1.0, 1.0, 1.0]), np.zeros(4), 0.0)
    w = np.array([[[2.0, 0.0]], [[0.0, 3.0]], [[1.0, -1.0]], [[np.inf, 1.0]]])
    found = outcome(w, clusters, 10_000, rng)
    assert [array.shape for array in found] == [(4, 1)] * 3
    assert found.selectivity[0, 0] == 1  # without noise in x the clusters are all there is
    assert found.selectivity[1, 0] < 0.02
    assert found.alignment[:3, 0] == pytest.approx([1, 0, 0.5**0.5])
    assert found.activity[0, 0] == 2
    assert found.activity[1, 0] == pytest.approx(3 * (2 / np.pi) ** 0.5, rel=0.03)
    assert all(np.isnan(array[3, 0]) for array in found)  # what has left all bounds is not known


def test_learning_is_the_rules_step_at_a_rate_that_falls_with_sigma(rng):
    clusters = Clusters(np.array([0.5, 4.0]), np.array([0.2, 0.2]), 0.1)
    config = replace(SMALL, steps=3)
    w, course = learn([LPL, OJA], clusters, config, np.random.default_rng(3), None)
    again = np.random.default_rng(3)
    expected = np.repeat(again.uniform(-1, 1, (2, 1, 2)) / 2**0.5, 2, axis=1)
    frames = list(islice(clusters.frames(config.samples, again), 4))
    rate = np.array([0.01, 0.0025])[:, None, None]
    for k in range(3):
        expected, y = update([LPL, OJA], expected, frames[k + 1], frames[k], rate, 0.15)
        np.testing.assert_allclose(course[k], np.abs(y).mean(-1), rtol=1e-12)
    np.testing.assert_allclose(w, expected, rtol=1e-12)


def test_a_run_gives_the_arrays_that_it_promises_and_the_same_ones_again():
    first, second, other = run(SMALL, 4), run(SMALL, 4), run(SMALL, 5)
    assert {name: array.shape for name, array in first.items()} == shapes(SMALL)
    for name, array in first.items():
        assert np.isfinite(array).all(), name
        np.testing.assert_array_equal(array, second[name])
        assert not np.array_equal(array, other[name]), name


def test_both_rows_of_rules_are_the_same_rules_but_for_the_decay_of_the_naive_one():
    assert [rule.name for rule in COURSE_RULES] == [rule.name for rule in RULES]
    assert [rule.decay for rule in COURSE_RULES] == [1, 1, 1, 1, 1, 10]


@pytest.mark.parametrize("sigma", [0.3, 3.0])
def test_lpl_finds_the_cluster_and_the_principal_component_the_larger_variance(sigma):
    clusters = Clusters(np.full(3, sigma), np.zeros(3), 0.1)
    w, _ = learn([LPL, PRED_OFF, OJA], clusters, TwoInputsConfig(steps=3000), np.random.default_rng(1), None)
    found = outcome(w, clusters, 10_000, np.random.default_rng(2))
    assert found.selectivity[:, 0] == pytest.approx(0.73, abs=0.03)
    assert found.alignment[:, 0] == pytest.approx(1, abs=1e-3)
    for v in (1, 2):
        assert found.selectivity[:, v] == pytest.approx(0.73 if sigma < 1 else 0, abs=0.1)
    # LPL's fixed point on x: variance over weight is balanced by the prediction error, 2 * 0.01 w, and the decay
    assert found.activity[:, 0] == pytest.approx((2 / (2 * 0.01 + 0.15)) ** 0.5, rel=0.05)


BAD: dict[str, Any] = {
    "sigmas": 1,
    "probabilities": 0,
    "repetitions": 0,
    "steps": 0,
    "samples": 3,
    "test_samples": 0,
    "learning_rate": -0.1,
    "weight_decay": -1.0,
    "deviation": -0.1,
    "noisy": 1.5,
}


@pytest.mark.parametrize("name", BAD)
def test_settings_out_of_range_are_refused_by_name(name):
    with pytest.raises(UsageError, match=f"^{name}: must"):
        replace(SMALL, **{name: BAD[name]})
    with pytest.raises(UsageError, match=f"{name}: must be a"):
        replace(SMALL, **cast(Any, {name: "many"}))


@pytest.mark.slow
def test_the_sweeps_show_what_the_papers_figure_2_shows():
    """The numbers of the published notebook: lpl-deep.md 1.7."""
    config = TwoInputsConfig(sigmas=13, probabilities=13, repetitions=3)
    arrays = run(config, 0)
    sigma, p = config.sigma_values, config.p_values
    mean = {name: array.mean(-1) for name, array in arrays.items() if name != "course/weights"}
    selectivity, activity = mean["sigma/selectivity"], mean["sigma/activity"]
    assert selectivity[RULE["lpl"], sigma < 60] == pytest.approx(0.73, abs=0.02)
    assert selectivity[RULE["lpl"], -1] == pytest.approx(0.69, abs=0.06)  # at sigma_y = 100, where neurons differ
    assert mean["sigma_noisy/selectivity"][RULE["lpl"], sigma < 10] == pytest.approx(0.73, abs=0.02)
    for name in ("pred_off", "oja"):
        assert selectivity[RULE[name], sigma < 0.9] == pytest.approx(0.73, abs=0.02)
        assert selectivity[RULE[name], sigma > 1.1].max() < 0.02
    noisy = mean["p/selectivity"][RULE["lpl"]]
    assert noisy[p < 0.48] == pytest.approx(0.73, abs=0.02)
    assert noisy[p > 0.55].max() < 0.02
    assert activity[RULE["lpl"], sigma < 5] == pytest.approx(3.43, abs=0.05)
    assert activity[RULE["hebb_off"], sigma < 1.1].max() < 1e-6
    largest = np.finfo(np.float32).max  # beyond it the original, in float32, knows no number
    assert activity[RULE["naive"], sigma < 1.9].min() > largest
    assert activity[RULE["naive"], sigma > 2.2].max() < largest
    course = mean["course/activity"]
    assert course[RULE["lpl"], -1] == pytest.approx(3.43, abs=0.05)
    assert course[RULE["naive"], -1] > 1e9  # in spite of ten times the decay
    assert course[RULE["hebb_off"], -1] < 1e-3


def test_the_documented_sweep_reaches_from_a_hundredth_to_a_hundred():
    config = TwoInputsConfig(sigmas=50, probabilities=50)
    np.testing.assert_allclose(config.sigma_values, np.logspace(-2, 2, 50), rtol=1e-12)
    np.testing.assert_array_equal(config.p_values, np.linspace(0, 1, 50))
    assert two_inputs.course_steps(config)[[0, -1]].tolist() == [0, 9999]

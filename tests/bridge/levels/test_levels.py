"""The two levels compared: the engine against Brian2's synapses and autograd, the ladder's rungs, sweeps, learning."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import brian2 as b2
import numpy as np
import pytest
import torch

from bridge.levels import Layer, LevelsConfig, compare_levels, images_layer, paper_layer, rates_layer
from bridge.levels.ladder import RUNGS
from bridge.levels.learning import by_group, learn_both, linear_cka, participation
from bridge.levels.neurons import Neurons, arriving, drive_of, filtered_drive, measured_curve
from bridge.levels.plots import plasticity
from bridge.levels.results import read_results, report, results_of, write_results
from bridge.levels.rule import TERMS, Synapse
from bridge.levels.sweeps import SweepConfig, sweep
from foundation.errors import RatespikeError, UsageError
from spiking.brian.plasticity import attach_lpl
from spiking.brian.running import code_generation, run_network

CONFIG = LevelsConfig(realisations=4, dt=1e-3, delay=1e-3)


@pytest.fixture(scope="module")
def layer() -> Layer:
    return paper_layer(duration=3.0, dt=1e-3, units=12, population=10)


@pytest.fixture(scope="module")
def ladder(layer: Layer) -> Any:
    return compare_levels(layer, CONFIG)


# --- the engine -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("term", ["predictive", "Hebbian", "growth"])
def test_the_product_form_is_what_brians_synapses_add_up(term: str) -> None:
    """Given spikes of inputs and neurons; statistics that stay where they are. Brian2 steps every synapse."""
    rng, dt, steps = np.random.default_rng(2), 1e-3, 401
    lambda_, phi, delta = {"predictive": (0.0, 1.0, 0.0), "Hebbian": (1.0, 0.0, 0.0), "growth": (0.0, 0.0, 1.0)}[term]
    base = replace(LevelsConfig(dt=dt), delta=delta, lambda_=lambda_).rule("conductance", 20e-3)
    rule = replace(base, phi=phi, tau_mean=1e9, tau_sigma2=1e9, eta=0.0, update_interval=0.4, w_max=None)
    x = rng.random((steps, 3)) < 0.08
    z = rng.random((steps, 2)) < 0.05
    potential = rng.normal(-0.06, 0.01, (steps, 2))
    mean = np.array([30.0, 60.0])
    with code_generation("numpy"):
        clock = dt * b2.second

        def source(spikes: np.ndarray) -> b2.SpikeGeneratorGroup:
            step, line = np.nonzero(spikes)
            return b2.SpikeGeneratorGroup(spikes.shape[1], line, step * clock, dt=clock, sorted=True)

        inputs = source(x)
        forced = b2.TimedArray(z.astype(float), dt=clock)
        level = b2.TimedArray(potential * b2.volt, dt=clock)
        neurons = b2.NeuronGroup(
            2,
            "U : volt\nnow : 1\ng : 1",
            threshold="now > 0.5",
            dt=clock,
            namespace={"forced": forced, "level": level},
            reset="",
        )
        neurons.run_regularly("U = level(t, i)\nnow = forced(t, i)", dt=clock, when="groups")
        pre, post = np.tile(np.arange(3), 2), np.repeat(np.arange(2), 3)
        lpl = attach_lpl(
            inputs,
            neurons,
            rule,
            i=pre,
            j=post,
            w=0.1,
            potential="U",
            on_pre="g_post += w",
            dt=dt,
            mean_rate=mean,
            sigma2=mean * (1 - mean * dt),
        )
        run_network(b2.Network(inputs, neurons, *lpl), steps * dt)
        total = np.asarray(lpl.synapses.dw_sum[:]) * lpl.window + np.asarray(lpl.synapses.el_sum[:])
        # The window of step 0 is a single step, in which there is nothing yet; the later ones are of `window` steps.
    u = potential
    factor = rule.beta / (1 + rule.beta * np.abs(u - rule.theta)) ** 2 * (u >= -0.08)
    found = Synapse(rule, dt).updates(x.astype(float), factor, z.astype(float), mean, filtered=True)[term]
    np.testing.assert_allclose(found.ravel() * steps * dt, total, rtol=1e-7, atol=1e-9 * np.abs(total).max())


def test_the_rate_rule_is_the_gradient_of_its_objective() -> None:
    """-(z(t) - z(t - Dt)) f'(a) x is the step down 1/2 (z - z')^2, z' held; and the Hebbian term the one up the
    variance, with the mean held.
    """
    rng = np.random.default_rng(4)
    dt, lag = 1e-3, 20
    x, weights = rng.random((80, 5)) * 0.05, torch.rand(3, 5, dtype=torch.float64, requires_grad=True)
    rule = LevelsConfig(dt=dt).rule("conductance", lag * dt)
    a = torch.from_numpy(x) @ weights.T
    z = torch.tanh(a)
    mean = z.detach().mean(0)
    before = torch.cat([torch.zeros(lag, 3, dtype=torch.float64), z[:-lag]]).detach()
    variance = mean / dt * (1 - mean)
    predictive = -0.5 * ((z - before) ** 2).sum()
    hebbian = (0.5 * (z - mean) ** 2 / (variance + rule.xi)).sum()
    slope = (1 - z**2).detach().numpy()
    found = Synapse(rule, dt).updates(x, slope, z.detach().numpy(), mean.numpy() / dt, filtered=False)
    for term, objective in (("predictive", predictive), ("Hebbian", hebbian)):
        (gradient,) = torch.autograd.grad(objective, weights, retain_graph=True)
        np.testing.assert_allclose(found[term] * len(x) * dt, gradient.numpy(), rtol=1e-10)


def test_only_errors_since_a_step_count(layer: Layer) -> None:
    """Two halves of a stimulus add up to the whole, if the second remembers the first."""
    rng = np.random.default_rng(1)
    x, z, factor = rng.random((600, 4)) * 0.1, rng.random((600, 2)) * 0.1, rng.random((600, 2))
    synapse, mean = Synapse(CONFIG.rule("conductance", 20e-3), CONFIG.dt), np.array([50.0, 50.0])
    whole = synapse.updates(x, factor, z, mean, filtered=True)["LPL"] * 0.6
    first = synapse.updates(x[:300], factor[:300], z[:300], mean, filtered=True)["LPL"] * 0.3
    second = synapse.updates(x, factor, z, mean, filtered=True, since=300)["LPL"] * 0.3
    np.testing.assert_allclose(first + second, whole, rtol=1e-10)


def test_a_rate_unit_sees_the_mean_of_its_input(layer: Layer) -> None:
    config = CONFIG
    constant = np.full((4000, layer.weights.shape[1]), 8.0)
    a = filtered_drive(layer, config, arriving(layer.weights, constant * config.dt, 1))
    np.testing.assert_allclose(a[-1], drive_of(layer, config, constant)[-1], rtol=1e-6)
    current = images_layer(np.full((4, 5), 0.5), np.ones((3, 5)), np.zeros(3), dt=config.dt)
    x = current.stimulus.values
    a = filtered_drive(current, config, arriving(current.weights, x * config.dt, 1))
    np.testing.assert_allclose(a[-1], drive_of(current, config, x)[-1], rtol=1e-6)


def test_the_measured_curve_is_that_of_the_neurons(layer: Layer) -> None:
    rule = CONFIG.rule("conductance", 20e-3)
    curve = measured_curve(layer, CONFIG, rule, 120.0)
    assert (np.diff(curve.rate) >= 0).all()
    assert curve.rate[0] == 0
    generator = torch.Generator().manual_seed(9)
    weight, drive, steps = 0.3, 100.0, 3000
    neurons, fired = Neurons(CONFIG, rule, (200,)), torch.zeros(200, dtype=torch.float64)
    expected = torch.full((200,), drive * CONFIG.dt / weight, dtype=torch.float64)
    for _ in range(steps):
        fired += neurons.step(weight * torch.poisson(expected, generator=generator))[0]
    assert float(curve.f(np.array(drive))) == pytest.approx(float(fired.mean()) / (steps * CONFIG.dt), rel=0.1)


# --- the ladder -------------------------------------------------------------------------------------------------------
def test_every_rung_is_compared_with_the_first_and_the_one_before(ladder: Any) -> None:
    assert [rung.name for rung in ladder.rungs] == list(RUNGS)
    for rung in ladder.rungs:
        for term in TERMS:
            found = ladder.agreement[rung.name][term]
            assert found.to_first.shape == (len(ladder.units),)
            assert all(np.abs(getattr(found, key)).max() <= 1 + 1e-9 for key in ("to_first", "pearson", "ceiling"))
    first = ladder.agreement["rate"]["LPL"]
    np.testing.assert_allclose(first.to_first, 1)
    np.testing.assert_allclose(first.ceiling, 1)
    sums = {name: ladder.rungs[-1].updates[name] for name in TERMS}
    rule = CONFIG.rule("conductance", 20e-3)
    expected = rule.phi * sums["predictive"] + rule.lambda_ * sums["Hebbian"] + rule.delta * sums["growth"]
    np.testing.assert_allclose(sums["LPL"], expected, rtol=1e-9, atol=1e-12)
    assert ladder.rungs[-1].rates.mean() < ladder.rungs[-2].rates.mean()  # inhibition inhibits


def test_the_same_seed_gives_the_same_updates(layer: Layer, ladder: Any) -> None:
    again = compare_levels(layer, CONFIG)
    np.testing.assert_array_equal(ladder.rungs[-1].updates["LPL"], again.rungs[-1].updates["LPL"])
    other = compare_levels(layer, replace(CONFIG, seed=1))
    assert not np.allclose(ladder.rungs[-1].updates["LPL"], other.rungs[-1].updates["LPL"])


def test_images_through_a_layer_take_the_current_reading(rng: np.random.Generator) -> None:
    frames = rng.random((10, 12)).repeat(2, axis=0)
    layer = images_layer(frames, rng.normal(0.1, 0.3, (6, 12)), np.zeros(6), frame=0.05, dt=1e-3)
    found = compare_levels(layer, replace(CONFIG, realisations=6))
    assert [rung.name for rung in found.rungs] == list(RUNGS[:5])
    assert layer.delta_t == 0.05
    assert np.median(found.agreement["spiking unit"]["predictive"].pearson) > 0.5


# --- sweeps, learning, files ------------------------------------------------------------------------------------------
SWEEPS = SweepConfig(rates=(1.0, 1.5), durations=(1.0, 2.0), steps=(1e-3,), seconds=1.0, realisations=2)


def test_sweeps_have_a_row_for_every_value(layer: Layer) -> None:
    found = sweep(layer, CONFIG, SWEEPS)
    assert {name: [row["value"] for row in rows] for name, rows in found.items()} == {
        "input rate": [1.0, 1.5],
        "duration in s": [1.0, 2.0],
        "step in s": [1e-3],
    }
    assert {"predictive correlation", "Hebbian ceiling", "LPL cosine"} <= set(found["input rate"][0])


def test_a_resampled_stimulus_is_the_same(layer: Layer) -> None:
    finer, coarser = layer.resampled(5e-4), layer.resampled(2e-3)
    np.testing.assert_array_equal(finer.stimulus.values[::2], layer.stimulus.values)
    np.testing.assert_allclose(coarser.stimulus.values[0], layer.stimulus.values[:2].mean(0))
    assert finer.stimulus.duration == pytest.approx(layer.stimulus.duration)


def test_both_levels_learn_as_far_as_they_are_told(ladder: Any) -> None:
    learned = learn_both(ladder, change=0.05, term="Hebbian")
    for level in ("rate", "spiking"):
        assert 0.01 < learned.change[level] < 0.2
        exists = learned.before != 0
        np.testing.assert_array_equal(learned.after[level][~exists], 0)
        assert (learned.after[level] >= 0).all()
    assert learned.overall > 0.5  # the Hebbian terms agree
    assert learned.selectivity is not None
    assert learned.selectivity["rate"].shape == (len(learned.before), 5)
    with pytest.raises(UsageError, match="change: must be positive"):
        learn_both(ladder, change=0.0)


def test_similarity_and_dimensions_by_hand(rng: np.random.Generator) -> None:
    z = rng.normal(size=(500, 4))
    rotation, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    assert linear_cka(z, 3 * z @ rotation + 1) == pytest.approx(1)
    assert linear_cka(z, rng.normal(size=(500, 4))) < 0.05
    assert participation(rng.normal(size=(100_000, 4))) == pytest.approx(4, rel=0.01)
    assert participation(np.asarray(np.outer(rng.normal(size=100), np.ones(4)), dtype=np.float64)) == pytest.approx(1)
    found = by_group(np.array([[1.0, 0.0, 3.0], [2.0, 4.0, 0.0]]), np.array([0, 0, 1]))
    np.testing.assert_array_equal(found, [[1, 3], [3, 0]])


def test_results_come_back_from_their_file_and_are_drawn(ladder: Any, layer: Layer, tmp_path: Path) -> None:
    results = results_of(ladder, sweep(layer, CONFIG, SWEEPS), learn_both(ladder, change=0.05))
    write_results(tmp_path / "comparison.json", results)
    (found,) = read_results(tmp_path / "comparison.json")
    assert found["agreement"]["inhibition"]["LPL"]["to_first"] == results["agreement"]["inhibition"]["LPL"]["to_first"]
    whole = len(plasticity([found]).axes)
    assert whole == 8  # what was not measured has no panel
    text = report(found, ("plasticity.png",))
    assert text.count("| inhibition |") == 4
    assert "## Learning on" in text
    assert 0 < len(plasticity([results_of(ladder)]).axes) < whole


@pytest.mark.parametrize("damage", ["{}", "[1]", "nonsense", '{"kind": "another"}'])
def test_another_file_is_refused_in_one_line(damage: str, tmp_path: Path, ladder: Any) -> None:
    (tmp_path / "x.json").write_text(damage)
    with pytest.raises(RatespikeError, match=r"x\.json") as caught:
        read_results(tmp_path / "x.json")
    assert "\n" not in str(caught.value)
    results = json.loads(json.dumps(results_of(ladder)))
    for key in ("rungs", "curve", "agreement", "realisations"):
        (tmp_path / "x.json").write_text(json.dumps({k: v for k, v in results.items() if k != key}))
        with pytest.raises(RatespikeError):
            read_results(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda layer: compare_levels(layer, LevelsConfig(dt=5e-4)), "dt: the stimulus has steps of 0.001 s"),
        (lambda layer: compare_levels(layer.first(0.02), CONFIG), "stimulus: must last"),
        (lambda layer: compare_levels(layer.scaled(1e-3), CONFIG), "fewer than two units have a mean rate"),
        (lambda _: LevelsConfig(realisations=3), "realisations: are split into halves"),
        (lambda _: LevelsConfig(delay=1.2e-4), "delay: must be a multiple of dt"),
        (lambda _: LevelsConfig(beta=0.0), "beta: must be positive"),
        (lambda _: rates_layer(np.ones((3, 1)), 0.01), r"rates: must be \(inputs, samples\)"),
        (lambda _: images_layer(-np.ones((2, 3)), np.ones((2, 3)), np.zeros(2)), "frames: .*negative"),
        (lambda layer: replace(layer, weights=-layer.weights), "layer: conductances are not negative"),
        (lambda layer: replace(layer, bias=np.zeros(99)), "layer: weights .* need rates"),
    ],
)
def test_what_cannot_be_compared_is_refused(make: Any, complaint: str, layer: Layer) -> None:
    with pytest.raises(UsageError, match=complaint):
        make(layer)

"""The learning rules of the toy: the reference's trajectories, autograd, and what must be so by their equations."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ratenets.toy import rules
from ratenets.toy.rules import HEBB_OFF, LPL, NAIVE, OJA, PRED_OFF, VICREG, Predictive, Rule, errors, update

TOLERANCE = 1e-6  # of the reference, float64: max|difference| / max|reference|
RATE, DECAY = 1e-2, 0.15
VARIANTS: dict[str, Rule] = {
    "lpl": LPL,
    "pred_off": PRED_OFF,
    "hebb_off": HEBB_OFF,
    "naive_var": NAIVE,
    "vic": VICREG,
    "oja": OJA,
    "lpl_noisy_p0.2": LPL,
}


def relative(ours, reference):
    assert ours.shape == reference.shape
    return np.abs(ours - reference).max() / np.abs(reference).max()


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_and_activities_equal_the_reference(data, variant):
    with np.load(data / "lpl/toy2d.npz") as arrays:
        x, w, activity = (arrays[f"{variant}.{name}"] for name in ("x", "w", "activity"))
    inputs = x.swapaxes(1, 2)[:, None]
    weights, activities = [w[0]], []
    for before, after in pairwise(inputs):
        new, y = update([VARIANTS[variant]], weights[-1][None, None], after, before, RATE, DECAY)
        weights.append(new[0, 0])
        activities.append(np.abs(y).mean())
    assert np.abs(w[-1] - w[0]).max() > 1e-2
    assert relative(np.array(weights), w) < TOLERANCE
    assert relative(np.array(activities), activity) < TOLERANCE


def loss_in_torch(rule, w, x, x_before):
    """The loss as a sentence in torch, term by term; no gradient flows through the earlier output."""
    y, before = w @ x, (w @ x_before).detach()
    variance = y.var(unbiased=True)
    hebbian = {
        "none": lambda: torch.zeros(()),
        "log": lambda: -torch.log(variance + 1e-8),
        "variance": lambda: -variance,
        "hinge": lambda: torch.relu(1 - torch.sqrt(variance + 1e-8)),
    }[rule.hebbian]()
    return hebbian + (torch.nn.functional.mse_loss(y, before) if rule.predict else 0.0)


@pytest.mark.parametrize("rule", [LPL, PRED_OFF, HEBB_OFF, NAIVE, VICREG], ids=lambda rule: rule.name)
@given(seed=st.integers(0, 2**31), samples=st.integers(2, 30), inputs=st.integers(1, 5), scale=st.floats(0.05, 3.0))
@settings(deadline=None, max_examples=30)
def test_the_step_is_autograds_and_the_loss_is_torchs(rule, seed, samples, inputs, scale):
    rng = np.random.default_rng(seed)
    w, x, before = rng.normal(size=inputs) * scale, *rng.normal(size=(2, inputs, samples))
    tensor = torch.tensor(w, requires_grad=True)
    loss = loss_in_torch(rule, tensor, torch.tensor(x), torch.tensor(before))
    gradient = np.zeros(inputs)
    if loss.requires_grad:
        (found,) = torch.autograd.grad(loss, tensor)
        gradient = found.numpy()
    new, y = update([rule], w[None, None], x[None], before[None], 1.0, 0.0)
    np.testing.assert_allclose(w - new[0, 0], gradient, rtol=1e-9, atol=1e-9 * (1 + np.abs(gradient).max()))
    assert rule.loss(y[0, 0], w @ before) == pytest.approx(loss.item(), rel=1e-9, abs=1e-12)


def test_neurons_and_rules_side_by_side_are_what_each_is_alone(rng):
    several: list[Rule] = [LPL, OJA, VICREG, Predictive("naive", "naive", "variance", decay=10.0)]
    w, rate = rng.normal(size=(3, 4, 2)), np.array([0.01, 0.1, 0.0])[:, None, None]
    x, before = rng.normal(size=(2, 3, 2, 20))
    new, y = update(several, w, x, before, rate, DECAY)
    for r in range(3):
        for v, rule in enumerate(several):
            alone, own = update([rule], w[r : r + 1, v : v + 1], x[r : r + 1], before[r : r + 1], rate[r].item(), DECAY)
            np.testing.assert_allclose(new[r, v], alone[0, 0], rtol=1e-12)
            np.testing.assert_allclose(y[r, v], own[0, 0], rtol=1e-12)
    np.testing.assert_array_equal(new[2], w[2])


def test_more_neurons_than_are_computed_at_a_time_change_nothing(rng, monkeypatch):
    w, (x, before) = rng.normal(size=(7, 2, 2)), rng.normal(size=(2, 7, 2, 20))
    rate = rng.uniform(size=(7, 1, 1))
    whole = update([LPL, OJA], w, x, before, rate, DECAY)
    monkeypatch.setattr(rules, "BLOCK", 3)
    for one, other in zip(whole, update([LPL, OJA], w, x, before, rate, DECAY), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)


def test_weight_decay_is_in_units_of_the_experiments(rng):
    w, x = rng.normal(size=(1, 1, 2)), np.zeros((1, 2, 10))
    for factor in (1.0, 10.0):
        rule = Predictive("hebb_off", "", "none", decay=factor)
        np.testing.assert_allclose(update([rule], w, x, x, 0.01, 0.2)[0], w * (1 - 0.01 * 0.2 * factor), rtol=1e-14)


@given(seed=st.integers(0, 2**31), shift=st.floats(-5, 5))
@settings(deadline=None, max_examples=30)
def test_only_oja_knows_the_mean(seed, shift):
    """Whatever is added to both outputs, a rule with a loss does the same."""
    y, before = np.random.default_rng(seed).normal(size=(2, 1, 6, 12))
    several: list[Rule] = [LPL, PRED_OFF, HEBB_OFF, NAIVE, VICREG, OJA]
    here, there = errors(several, y, before), errors(several, y + shift, before + shift)
    np.testing.assert_allclose(here.delta[:, :5], there.delta[:, :5], atol=1e-9)
    np.testing.assert_allclose(there.delta[:, 5] - here.delta[:, 5], shift / 12, atol=1e-9)


def test_ojas_rule_ends_at_the_principal_component_of_length_one(rng):
    mixing = np.array([[2.0, 0.5], [0.5, 1.0]])
    x = mixing @ rng.standard_normal((2, 500))
    w = np.array([[[0.1, 0.4]]])
    for _ in range(500):
        w, _ = update([OJA], w, x[None], x[None], 0.05, 0.0)
    values, vectors = np.linalg.eigh(x @ x.T / 500)
    assert abs(w[0, 0] @ vectors[:, values.argmax()]) == pytest.approx(1, abs=1e-9)
    assert np.linalg.norm(w) == pytest.approx(1, abs=1e-9)

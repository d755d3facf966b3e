"""Every rule against plain loops over examples, units and synapses, and against what is proved of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from foundation.errors import UsageError
from ratenets.butd.builders import fc_net
from ratenets.butd.config import WeightConfig
from ratenets.butd.learning import Samples
from ratenets.butd.learning import counter_hebb as counter_hebb_of_butd
from ratenets.butd.losses import LOSSES
from ratenets.butd.networks import ButdNetwork
from ratenets.hebbian.config import ACTIVATIONS, RULE_NAMES, HebbianConfig
from ratenets.hebbian.experiments import EXPERIMENTS
from ratenets.hebbian.network import Network
from ratenets.hebbian.results import EXPERIMENT_NAMES
from ratenets.hebbian.rules import RULES
from ratenets.hebbian.rules.backprop import Backprop
from ratenets.hebbian.rules.kolen_pollack import KolenPollack
from ratenets.hebbian.rules.lpl import TIME_CONSTANT, TwoViews
from ratenets.hebbian.rules.oja import Deflated
from ratenets.hebbian.rules.rule import Batch, Gradient, Outer, Rule
from ratenets.hebbian.rules.weight_perturbation import Along
from ratenets.lpl.objective import terms

Floats = NDArray[np.float64]
B, SIZES = 7, (5, 4, 3, 3)


def setup(rule: str, *, biases: bool = True, activation: str = "sigmoid", **more: Any) -> tuple[Network, Rule, Batch]:
    config = HebbianConfig(rule=rule, hidden=SIZES[1:-1], biases=biases, activation=activation, **more)
    network = Network(SIZES, activation, biases=biases, seed=3).double()
    made = RULES[rule](network, config, 4).double()
    generator = torch.Generator().manual_seed(5)
    images, other = torch.randn(2, B, SIZES[0], generator=generator, dtype=torch.float64)
    return network, made, Batch(images, torch.tensor([0, 1, 2, 0, 1, 2, 1]), other, generator)


def taught(network: Network, rule: Rule, batch: Batch) -> list[tuple[Floats, Floats | None]]:
    """The gradients (weights, biases) that `teach` writes, by layer."""
    with torch.no_grad():
        rule.teach(network, batch, network.activities(batch.images))
    found = []
    for layer in network.linear():
        assert layer.weight.grad is not None
        bias = None if layer.bias is None or layer.bias.grad is None else layer.bias.grad.numpy().copy()
        found.append((layer.weight.grad.numpy().copy(), bias))
    return found


F: dict[str, Callable[[float], float]] = {
    "sigmoid": lambda a: float(1 / (1 + np.exp(-a))),
    "tanh": lambda a: float(np.tanh(a)),
    "relu": lambda a: max(a, 0.0),
    "identity": lambda a: a,
}


def slope(activation: str, a: float) -> float:
    """F', by its own formula."""
    if activation == "sigmoid":
        return float(np.exp(-a) / (1 + np.exp(-a)) ** 2)
    return {"tanh": float(1 / np.cosh(a) ** 2), "relu": float(a > 0), "identity": 1.0}[activation]


def plain_forward(network: Network, image: Floats) -> tuple[list[Floats], list[Floats]]:
    """Inputs and pre-activations of every layer, synapse by synapse."""
    inputs, drives, x = [], [], image
    for number, layer in enumerate(network.linear()):
        W = layer.weight.detach().numpy()
        b = np.zeros(len(W)) if layer.bias is None else layer.bias.detach().numpy()
        a = np.array([b[i] + sum(W[i, j] * x[j] for j in range(len(x))) for i in range(len(W))])
        inputs.append(x)
        drives.append(a)
        if number < len(network.linear()) - 1:
            x = np.array([F[network.activation](value) for value in a])
    return inputs, drives


def softmax(a: Floats) -> Floats:
    e = np.exp(a - a.max())
    result: Floats = e / e.sum()
    return result


def outputs(network: Network, drives: list[Floats]) -> list[Floats]:
    return [*(np.vectorize(F[network.activation])(a) for a in drives[:-1]), softmax(drives[-1])]


def plain(rule: str, network: Network, made: Rule, batch: Batch) -> list[tuple[Floats, Floats]]:
    """What the rule should teach: a loop over examples, layers, units and synapses."""
    weights = [layer.weight.detach().numpy() for layer in network.linear()]
    found = [(np.zeros_like(W), np.zeros(len(W))) for W in weights]
    for image, label in zip(batch.images.numpy(), batch.labels.tolist(), strict=True):
        inputs, drives = plain_forward(network, image)
        ys = outputs(network, drives)
        target = np.eye(SIZES[-1])[label]
        errors = backward(rule, network, made, drives, ys[-1] - target)
        for number, (gW, gb) in enumerate(found):
            layer, last = network.linear()[number], number == len(weights) - 1
            for i in range(len(gW)):
                y = target if last and made.config.clamp else ys[number]
                if rule in ("hebbian", "hybrid") and not (rule == "hybrid" and last):
                    strength = -(y[i] - sum(y) / len(y))
                elif rule != "oja":
                    strength = errors[number][i]
                else:
                    strength = -y[i]
                for j in range(gW.shape[1]):
                    gW[i, j] += (
                        strength * inputs[number][j] + (rule == "oja") * decay(made, y, weights[number], i, j)
                    ) / B
                if layer.bias is not None:
                    b = layer.bias.detach().numpy()[:, None]
                    gb[i] += (strength + (rule == "oja") * decay(made, y, b, i, 0)) / B
    return found


def decay(made: Rule, y: Floats, W: Floats, i: int, j: int) -> float:
    """Oja's y_i^2 w_ij; Sanger's y_i sum_{k <= i} y_k w_kj."""
    return float(sum(y[i] * y[k] * W[k, j] for k in (range(i + 1) if made.config.sanger else (i,))))


def backward(rule: str, network: Network, made: Rule, drives: list[Floats], error: Floats) -> list[Floats]:
    """Delta of every layer, unit by unit, through W^T or the rule's own B."""
    own = (
        [B.numpy() for B in made.backward_weights(network)] if isinstance(made, Backprop) and rule != "backprop" else []
    )
    deltas = [error]
    for number in range(len(drives) - 2, -1, -1):
        W = network.linear()[number + 1].weight.detach().numpy()
        way = own[number] if own else W.T
        delta = [
            slope(network.activation, drives[number][i]) * sum(way[i, k] * deltas[0][k] for k in range(len(deltas[0])))
            for i in range(len(drives[number]))
        ]
        deltas.insert(0, np.array(delta))
    return deltas


FORMULAS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("backprop", {}),
    ("hebbian", {}),
    ("hebbian", {"clamp": True}),
    ("oja", {}),
    ("oja", {"sanger": True}),
    ("hybrid", {}),
    ("feedback-alignment", {}),
    ("kolen-pollack", {}),
    ("kolen-pollack", {"transposed": True}),
    ("counter-hebb", {}),
)


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("rule", "more"), FORMULAS)
def test_a_rule_is_its_formula(rule, more, activation, biases):
    network, made, batch = setup(rule, biases=biases, activation=activation, **more)
    for (W, b), (expected_W, expected_b) in zip(
        taught(network, made, batch), plain(rule, network, made, batch), strict=True
    ):
        np.testing.assert_allclose(W, expected_W, atol=1e-13)
        assert (b is None) == (not biases)
        if b is not None:
            np.testing.assert_allclose(b, expected_b, atol=1e-13)
    if isinstance(made, KolenPollack):
        for backward_weights, layer in zip(made.B, network.linear()[1:], strict=True):
            assert backward_weights.grad is not None
            assert layer.weight.grad is not None
            assert torch.equal(backward_weights.grad, layer.weight.grad.T)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_backprop_and_transposed_backward_weights_give_autograd_s_gradient(activation):
    for rule, more in (
        ("backprop", {}),
        ("kolen-pollack", {"transposed": True}),
        ("counter-hebb", {"transposed": True}),
    ):
        network, made, batch = setup(rule, activation=activation, **more)
        found = taught(network, made, batch)
        loss = torch.nn.functional.cross_entropy(network(batch.images), batch.labels)
        expected = torch.autograd.grad(loss, list(network.parameters()))
        for (W, b), (eW, eb) in zip(found, zip(expected[::2], expected[1::2], strict=True), strict=True):
            np.testing.assert_allclose(W, eW.numpy(), atol=1e-14)
            assert b is not None
            np.testing.assert_allclose(b, eb.numpy(), atol=1e-14)


def test_counter_hebb_is_that_of_bottom_up_top_down_networks():
    network, made, batch = setup("counter-hebb", biases=False, activation="relu")
    weights = WeightConfig(regime="separate")
    core = fc_net((1, 1, SIZES[0]), SIZES[1:-1], weights=weights, bias=False)
    other = ButdNetwork(core, (1, 1, SIZES[0]), SIZES[-1], weights=weights, bias=False).double()
    linear: list[Any] = [layer for layer in other.layers() if getattr(layer, "W", None) is not None]
    assert isinstance(made, KolenPollack)
    with torch.no_grad():
        for number, (layer, mine) in enumerate(zip(linear, network.linear(), strict=True)):
            layer.W.copy_(mine.weight)
            if number:
                layer.V.copy_(made.B[number - 1])
    counter_hebb_of_butd(other, Samples(batch.images.view(B, 1, 1, -1), batch.labels), LOSSES["cross-entropy"])
    for (W, _), layer in zip(taught(network, made, batch), linear, strict=True):
        np.testing.assert_allclose(W, layer.W.grad, atol=1e-13)


def test_lpl_descends_the_layer_local_loss_and_reads_it_out():
    network, made, batch = setup("lpl", activation="tanh")
    found = taught(network, made, batch)
    assert batch.other is not None
    first, second = network.activities(batch.images), network.activities(batch.other)
    for number, layer in enumerate(network.linear()[:-1]):
        z1, z2 = (torch.tanh(layer(view[number].x.detach())) for view in (first, second))
        loss = terms(z1, z2).total(made.config.loss)
        W, b = torch.autograd.grad(loss, (layer.weight, layer.bias))
        np.testing.assert_allclose(found[number][0], W, atol=1e-13)
        assert found[number][1] is not None
        np.testing.assert_allclose(torch.from_numpy(found[number][1]), b, atol=1e-13)
    last = network.linear()[-1]
    loss = torch.nn.functional.cross_entropy(last(first[-1].x.detach()), batch.labels)
    np.testing.assert_allclose(found[-1][0], torch.autograd.grad(loss, last.weight)[0], atol=1e-13)


def test_lpl_needs_two_views():
    network, made, batch = setup("lpl")
    with pytest.raises(UsageError, match="learns from two views"):
        taught(network, made, batch._replace(other=None))


def test_lpl_of_one_image_at_a_time_follows_running_statistics(monkeypatch):
    """They are those of all samples so far, as long as these are fewer than the time constant, and forget then."""
    monkeypatch.setattr("ratenets.hebbian.rules.lpl.TIME_CONSTANT", 6)
    assert TIME_CONSTANT > 6
    network, made, batch = setup("lpl", activation="tanh", batch_size=1)
    assert batch.other is not None
    units, (layer, *_) = SIZES[1], network.linear()
    mean, covariance, seen = np.zeros(units), np.zeros((units, units)), []
    for k in range(B):
        one = Batch(batch.images[k : k + 1], batch.labels[k : k + 1], batch.other[k : k + 1])
        views = [network.activities(x)[0] for x in (one.images, batch.other[k : k + 1])]
        taught(network, made, one)
        zs = [view.y[0].detach().numpy() for view in views]
        for z in zs:
            seen.append(z)
            share = 1 / min(len(seen), 6)
            away = z - mean
            mean = mean + share * away
            covariance = (1 - share) * (covariance + share * np.outer(away, away))
        if len(seen) <= 6:
            np.testing.assert_allclose(mean, np.mean(seen, 0), atol=1e-14)
            np.testing.assert_allclose(covariance, np.cov(np.array(seen).T, bias=True), atol=1e-14)
        np.testing.assert_allclose(made.get_buffer("covariance1"), covariance, atol=1e-14)
        gradient = np.zeros((units, SIZES[0]))
        for here, there, view in ((zs[0], zs[1], views[0]), (zs[1], zs[0], views[1])):
            for i in range(units):
                g = 2 / units * (here[i] - there[i])
                g -= (here[i] - mean[i]) / units / (covariance[i, i] + 1e-4)
                others = sum((here[m] - mean[m]) * covariance[m, i] for m in range(units) if m != i)
                g += 10 * 2 / (units**2 - units) * others
                gradient[i] += g * (1 - here[i] ** 2) * view.x[0].detach().numpy()
        assert layer.weight.grad is not None
        np.testing.assert_allclose(layer.weight.grad, gradient, atol=1e-11)


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("rule", ["weight-perturbation", "node-perturbation"])
def test_the_mean_perturbation_is_the_gradient(rule, biases):
    """Over 40,000 draws, of each of the 42 (32) numbers; |z| above 5 has a chance of 2e-5 in all."""
    network, made, batch = setup(rule, biases=biases, sigma=1e-4)
    reference = RULES["backprop"](network, made.config, 0)
    draws = 40_000
    sums, squares = torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    repeated = Batch(batch.images.repeat(40, 1), batch.labels.repeat(40), None, batch.generator)
    total = 0
    with torch.no_grad():
        for _ in range(draws // 40):
            activities = network.activities(repeated.images)
            each = [g.weight.each() for g in made.single(network, repeated, activities)]
            each += [g.bias.each() for g in made.single(network, repeated, activities) if g.bias is not None]
            # The 40 repetitions of the batch, each averaged over its examples, are independent draws.
            values = torch.cat([g.view(40, B, -1).mean(1) for g in each], 1)
            sums = sums + values.sum(0)
            squares = squares + values.square().sum(0)
            total += len(values)
        expected = reference.gradients(network, batch, network.activities(batch.images))
    gradient = torch.cat(
        [g.weight.mean().flatten() for g in expected]
        + [g.bias.mean().flatten() for g in expected if g.bias is not None]
    )
    mean = sums / total
    error = ((squares / total - mean.square()) / total).sqrt()
    z = (mean - gradient) / error
    assert z.abs().max() < 5
    assert error.max() < 0.1 * gradient.abs().max()  # it could have failed


@pytest.mark.parametrize("biases", [False, True])
def test_weight_perturbation_tries_one_change_on_the_whole_batch(biases):
    network, made, batch = setup("weight-perturbation", biases=biases, sigma=0.1)
    with torch.no_grad():
        layers = made.gradients(network, batch, network.activities(batch.images))
        before = torch.nn.functional.cross_entropy(network(batch.images), batch.labels)
        for layer, gradient in zip(network.linear(), layers, strict=True):
            assert isinstance(gradient.weight, Along)
            layer.weight.add_(gradient.weight.direction)
            if gradient.bias is not None:
                assert isinstance(gradient.bias, Along)
                layer.bias.add_(gradient.bias.direction[:, 0])
        after = torch.nn.functional.cross_entropy(network(batch.images), batch.labels)
        for gradient in layers:
            assert isinstance(gradient.weight, Along)
            np.testing.assert_allclose(gradient.weight.mean(), (after - before) * gradient.weight.direction / 0.01)


def test_kolen_pollack_s_backward_weights_meet_the_forward_ones():
    network, made, batch = setup("kolen-pollack")
    batch = batch._replace(images=3 * batch.images)
    assert isinstance(made, KolenPollack)
    eta, decay, steps = 0.5, 0.005, 3000
    optimizer = torch.optim.SGD([*network.parameters(), *made.parameters()], lr=eta, weight_decay=decay)
    apart = [W.detach() - B.detach().T for W, B in zip(network.weights[1:], made.B, strict=True)]
    for _ in range(steps):
        taught(network, made, batch)
        optimizer.step()
    for start, W, B_ in zip(apart, network.weights[1:], made.B, strict=True):
        np.testing.assert_allclose((W - B_.T).detach(), (1 - eta * decay) ** steps * start, atol=1e-12)
        assert torch.nn.functional.cosine_similarity(W.flatten(), B_.T.flatten(), dim=0) > 0.9999
        assert W.norm() > 1


@pytest.mark.parametrize("sanger", [False, True])
def test_a_linear_unit_finds_the_first_principal_component_and_sanger_s_units_the_others(sanger):
    rng = np.random.default_rng(7)
    axes = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    x = torch.from_numpy(rng.standard_normal((20_000, 6)) * [3, 2.2, 1.5, 0.5, 0.4, 0.3] @ axes.T)
    components = np.linalg.eigh((x.T @ x).numpy())[1][:, ::-1].T  # the data's own
    config = HebbianConfig(rule="oja", activation="identity", hidden=(3,), sanger=sanger)
    network = Network((6, 3, 2), "identity", biases=False, seed=1).double()
    made, (layer, _) = RULES["oja"](network, config, 0), network.linear()
    with torch.no_grad():
        for step in range(4000):
            rows = slice(step * 100 % len(x), step * 100 % len(x) + 100)
            made.teach(network, Batch(x[rows], torch.zeros(100, dtype=torch.int64)), network.activities(x[rows]))
            assert layer.weight.grad is not None
            layer.weight -= (0.02 if step < 2000 else 0.002) * layer.weight.grad
    W = layer.weight.detach().numpy()
    np.testing.assert_allclose(np.linalg.norm(W, axis=1), 1, atol=0.02)
    for unit in range(3):
        component = components[unit if sanger else 0]
        assert abs(component @ W[unit]) / np.linalg.norm(W[unit]) > 0.995


KINDS = ("outer", "leak", "sanger", "perturbation", "shared", "views")


def made_gradient(kind: str, b: int, out: int, inputs: int, seed: int) -> Gradient:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    if kind in ("perturbation", "shared"):
        return Along(draw(b), draw(out, inputs) if kind == "shared" else draw(b, out, inputs))
    if kind == "sanger":
        return Deflated(draw(b, out), draw(b, inputs), draw(out, inputs))
    if kind == "views":
        return TwoViews(Outer(draw(b, out), draw(b, inputs)), Outer(draw(b, out), draw(b, inputs)))
    leak = (draw(b, out), draw(out, inputs)) if kind == "leak" else ()
    return Outer(draw(b, out), draw(b, inputs), *leak)


@given(st.sampled_from(KINDS), st.integers(1, 6), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
@settings(deadline=None)
def test_mean_and_mean_square_are_those_of_single_gradients(kind, b, out, inputs, seed):
    gradient = made_gradient(kind, b, out, inputs, seed)
    each = gradient.each()
    np.testing.assert_allclose(gradient.mean(), each.mean(0), atol=1e-12)
    np.testing.assert_allclose(gradient.mean_square(), each.square().mean(0), atol=1e-11)


def test_names_are_the_same_everywhere():
    assert tuple(RULES) == RULE_NAMES
    assert tuple(EXPERIMENTS) == EXPERIMENT_NAMES
    for rule in RULES.values():
        assert rule.__doc__ or rule.__mro__[1].__doc__

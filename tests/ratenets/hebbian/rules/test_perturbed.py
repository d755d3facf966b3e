"""Perturbation rules against plain loops that draw the same noise."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from foundation.errors import UsageError
from ratenets.hebbian.config import ACTIVATIONS, HebbianConfig
from ratenets.hebbian.network import Network
from ratenets.hebbian.rules import RULES
from ratenets.hebbian.rules.rule import Batch, Rule

Floats = NDArray[np.float64]
SIZES, EXAMPLES, SIGMA, SEED = (5, 4, 3, 3), 6, 0.3, 11
F: dict[str, Callable[[Floats], Floats]] = {
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "identity": lambda a: a,
}


def setup(rule: str, activation: str, biases: bool) -> tuple[Network, Rule, Batch]:
    config = HebbianConfig(rule=rule, hidden=SIZES[1:-1], activation=activation, biases=biases, sigma=SIGMA)
    network = Network(SIZES, activation, biases=biases, seed=3).double()
    images = torch.randn(EXAMPLES, SIZES[0], generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    generator = torch.Generator().manual_seed(SEED)
    return network, RULES[rule](network, config, 4), Batch(images, torch.arange(EXAMPLES) % 3, None, generator)


def drawn(*shapes: tuple[int, ...]) -> list[Floats]:
    """What the batch's generator draws."""
    generator = torch.Generator().manual_seed(SEED)
    return [SIGMA * torch.randn(shape, generator=generator, dtype=torch.float64).numpy() for shape in shapes]


def plain(network: Network) -> list[tuple[Floats, Floats]]:
    """Weights and biases, zeros where there are none."""
    return [
        (
            layer.weight.detach().numpy(),
            np.zeros(len(layer.weight)) if layer.bias is None else layer.bias.detach().numpy(),
        )
        for layer in network.linear()
    ]


def passed(
    weights: list[tuple[Floats, Floats]], activation: str, x: Floats, label: int, nus: list[Floats] | None = None
) -> tuple[float, list[Floats]]:
    """The loss of one example, and the inputs of all layers."""
    inputs = []
    for number, (W, b) in enumerate(weights):
        inputs.append(x)
        a = W @ x + b + (nus[number] if nus else 0)
        x = F[activation](a)
    return float(np.log(np.exp(a).sum()) - a[label]), inputs


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_node_perturbation_is_its_formula(activation, biases):
    network, rule, batch = setup("node-perturbation", activation, biases)
    with torch.no_grad():
        found = rule.gradients(network, batch, network.activities(batch.images))
    weights, nus = plain(network), drawn(*((EXAMPLES, units) for units in SIZES[1:]))
    for b in range(EXAMPLES):
        image, label, mine = batch.images[b].numpy(), int(batch.labels[b]), [nu[b] for nu in nus]
        calm, inputs = passed(weights, activation, image, label)
        change = (passed(weights, activation, image, label, mine)[0] - calm) / SIGMA**2
        for gradient, nu, x in zip(found, mine, inputs, strict=True):
            np.testing.assert_allclose(gradient.weight.each()[b], change * np.outer(nu, x), atol=1e-12)
            assert (gradient.bias is None) == (not biases)
            if gradient.bias is not None:
                np.testing.assert_allclose(gradient.bias.each()[b, :, 0], change * nu, atol=1e-12)


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_weight_perturbation_is_its_formula_with_one_draw_for_all_or_one_for_each(activation, biases, single):
    network, rule, batch = setup("weight-perturbation", activation, biases)
    ask = rule.single if single else rule.gradients
    with torch.no_grad():
        found = ask(network, batch, network.activities(batch.images))
    draws = EXAMPLES if single else 1
    shapes = [
        shape for i, o in pairwise(SIZES) for shape in ([(draws, o, i), (draws, o)] if biases else [(draws, o, i)])
    ]
    noise = iter(drawn(*shapes))
    xis = [(next(noise), next(noise) if biases else np.zeros((draws, o))) for o in SIZES[1:]]
    weights, sums = plain(network), [np.zeros_like(W) for W, _ in plain(network)]
    for b in range(EXAMPLES):
        image, label = batch.images[b].numpy(), int(batch.labels[b])
        mine = [(xi[b % draws], bias[b % draws]) for xi, bias in xis]
        disturbed = [(W + xi, c + bias) for (W, c), (xi, bias) in zip(weights, mine, strict=True)]
        calm, _ = passed(weights, activation, image, label)
        change = (passed(disturbed, activation, image, label)[0] - calm) / SIGMA**2
        for gradient, (xi, bias), total in zip(found, mine, sums, strict=True):
            np.testing.assert_allclose(gradient.weight.each()[b], change * xi, atol=1e-12)
            total += change * xi / EXAMPLES
            if gradient.bias is not None:
                np.testing.assert_allclose(gradient.bias.each()[b, :, 0], change * bias, atol=1e-12)
    for gradient, total in zip(found, sums, strict=True):
        np.testing.assert_allclose(gradient.weight.mean(), total, atol=1e-12)


@pytest.mark.parametrize("rule", ["node-perturbation", "weight-perturbation"])
def test_the_network_is_left_as_it_is_and_noise_asks_for_a_generator(rule):
    network, made, batch = setup(rule, "tanh", True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        made.teach(network, batch, network.activities(batch.images))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with pytest.raises(UsageError, match="the batch needs a generator"):
        made.gradients(network, batch._replace(generator=None), network.activities(batch.images))

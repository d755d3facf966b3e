"""Signal-to-noise ratio and cosine of gradients, against loops over single examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ratenets.hebbian.config import HebbianConfig
from ratenets.hebbian.gradients import cosine, moments, names, parts, per_example, snr
from ratenets.hebbian.network import Network
from ratenets.hebbian.rules import RULES
from ratenets.hebbian.rules.rule import Batch, Rule

EXAMPLES = 23
LONERS = [name for name in RULES if not RULES[name].views and not RULES[name].noise]
"""Rules by which each example teaches the same, whatever else is in its batch, and always."""


def setup(rule: str, biases: bool = True, hidden: tuple[int, ...] = (5, 4), **settings) -> tuple[Network, Rule, Batch]:
    config = HebbianConfig(rule=rule, biases=biases, hidden=hidden, **settings)
    network = Network((6, *hidden, 3), config.activation, biases=biases, seed=1).double()
    made = RULES[rule](network, config, 2).double()
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(EXAMPLES, 6, generator=generator, dtype=torch.float64)
    return network, made, Batch(images, torch.arange(EXAMPLES) % 3, None, generator)


def taught(network: Network, rule: Rule, batch: Batch) -> dict[str, Tensor]:
    """What `teach` writes into `.grad`, by parameter."""
    with torch.no_grad():
        rule.teach(network, batch, network.activities(batch.images))
    found = {}
    for number, layer in enumerate(network.linear(), 1):
        for name, parameter in ((f"W{number}", layer.weight), (f"b{number}", layer.bias)):
            if parameter is not None:
                assert parameter.grad is not None
                found[name] = parameter.grad.clone()
    return found


def looped(network: Network, rule: Rule, batch: Batch) -> dict[str, Tensor]:
    """Gradients of batches of one, one after the other, by what `teach` writes into `.grad`."""
    found: dict[str, list[Tensor]] = {name: [] for name in names(network)}
    for one in parts(batch, 1):
        for name, gradient in taught(network, rule, one).items():
            found[name].append(gradient)
    return {name: torch.stack(gradients) for name, gradients in found.items()}


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("rule", LONERS)
def test_moments_and_ratio_are_those_of_a_loop_over_single_examples(rule, biases):
    network, made, batch = setup(rule, biases)
    expected, found = looped(network, made, batch), moments(network, made, batch)
    ratios = snr(network, made, batch)
    assert found.keys() == expected.keys()
    for name, gradients in expected.items():
        np.testing.assert_allclose(found[name].mean, gradients.mean(0), atol=1e-13)
        np.testing.assert_allclose(found[name].mean_square, gradients.square().mean(0), atol=1e-13)
        ratio = (gradients.mean(0).abs() / (gradients.std(0, correction=0) + 1e-7)).mean()
        assert ratios[name] == pytest.approx(float(ratio), rel=1e-6)
    for name, gradients in per_example(network, made, batch).items():
        np.testing.assert_allclose(gradients.detach(), expected[name], atol=1e-13)


def test_backprop_per_example_is_what_vmap_over_grad_gives():
    network, made, batch = setup("backprop")
    parameters: dict[str, Tensor] = dict(network.named_parameters())

    def loss(values: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return nn.functional.cross_entropy(torch.func.functional_call(network, values, image[None]), label[None])

    expected = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(parameters, batch.images, batch.labels)
    found = per_example(network, made, batch)
    for number in range(3):
        np.testing.assert_allclose(
            found[f"W{number + 1}"].detach(), expected[f"layers.{number}.weight"].detach(), atol=1e-14
        )
        np.testing.assert_allclose(
            found[f"b{number + 1}"].detach(), expected[f"layers.{number}.bias"].detach(), atol=1e-14
        )


def test_the_loop_in_parts_is_the_whole(monkeypatch):
    monkeypatch.setattr("ratenets.hebbian.gradients.DENSE", 100)  # three examples at a time
    network, made, batch = setup("weight-perturbation", sigma=1e-4)
    batch = batch._replace(generator=torch.Generator().manual_seed(5))
    expected = moments(network, made, batch)
    batch = batch._replace(generator=torch.Generator().manual_seed(5))
    each = [per_example(network.double(), made, part) for part in parts(batch, 100 // 30)]
    for name, of in expected.items():
        gradients = torch.cat([found[name] for found in each])
        np.testing.assert_allclose(of.mean, gradients.mean(0).detach(), atol=1e-12)
        np.testing.assert_allclose(of.mean_square, gradients.square().mean(0).detach(), atol=1e-12)


def test_a_parameter_without_any_gradient_has_no_ratio():
    network, made, batch = setup("backprop", biases=False, hidden=(5,), activation="relu")
    with torch.no_grad():
        network.linear()[0].weight.zero_()
    with (
        pytest.warns(UserWarning, match="W1: all gradients are zero"),
        pytest.warns(UserWarning, match="W2: all gradients are zero"),
    ):
        found = snr(network, made, batch)
    assert math.isnan(found["W1"])
    assert math.isnan(found["W2"])


def test_the_cosine_is_of_all_batches_gradients_as_one_vector():
    network, made, batch = setup("feedback-alignment")
    other = RULES["backprop"](network, made.config, 0)
    found = cosine(network, made, lambda: parts(batch, 5))
    columns: dict[str, list[list[Tensor]]] = {name: [[], []] for name in found}
    for part in parts(batch, 5):
        for k, rule in enumerate((made, other)):
            for name, gradient in taught(network, rule, part).items():
                columns[name][k].append(gradient.flatten())
    for name, (ours, theirs) in columns.items():
        expected = nn.functional.cosine_similarity(torch.cat(ours), torch.cat(theirs), dim=0)
        assert found[name] == pytest.approx(float(expected), abs=1e-12)
    assert found["W3"] == pytest.approx(1)
    assert abs(found["W1"]) < 0.99

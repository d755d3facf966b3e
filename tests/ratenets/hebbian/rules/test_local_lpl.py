"""LPL in hidden layers: single images' parts, and what is remembered online."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ratenets.hebbian.config import ACTIVATIONS, HebbianConfig
from ratenets.hebbian.network import Network
from ratenets.hebbian.rules.lpl import LPL
from ratenets.hebbian.rules.rule import Batch
from ratenets.lpl.config import Coefficients
from ratenets.lpl.objective import stale_push, terms

SIZES, EXAMPLES = (5, 4, 3, 3), 6


def setup(
    activation: str = "tanh",
    biases: bool = True,
    hidden: tuple[int, ...] = SIZES[1:-1],
    loss: Coefficients | None = None,
) -> tuple[Network, LPL, Batch]:
    config = HebbianConfig(
        rule="lpl",
        hidden=hidden,
        activation=activation,
        biases=biases,
        loss=loss or Coefficients(0.7, 1.3, 4.0),
        batch_size=1,  # online, where a batch has one image
    )
    network = Network((SIZES[0], *hidden, SIZES[-1]), activation, biases=biases, seed=3).double()
    images, other = torch.randn(2, EXAMPLES, SIZES[0], generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return network, LPL(network, config, 4).double(), Batch(images, torch.arange(EXAMPLES) % 3, other)


@torch.no_grad()
def taught(network: Network, rule: LPL, batch: Batch) -> None:
    rule.teach(network, batch, network.activities(batch.images))


def one(batch: Batch, row: int) -> Batch:
    assert batch.other is not None
    return Batch(batch.images[row : row + 1], batch.labels[row : row + 1], batch.other[row : row + 1])


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("hidden", [(1,), (4, 3)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_batch_teaches_the_gradient_of_each_layer_s_own_loss(activation, biases, hidden):
    network, rule, batch = setup(activation, biases, hidden)
    taught(network, rule, batch)
    assert batch.other is not None
    inputs = [batch.images, batch.other]
    for layer in network.linear()[:-1]:
        found = [None if each.grad is None else each.grad.clone() for each in layer.parameters()]
        f = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "identity": torch.clone}[activation]
        codes = [f(layer(x)) for x in inputs]
        loss = terms(codes[0], codes[1]).total(rule.config.loss)
        for mine, expected in zip(found, torch.autograd.grad(loss, list(layer.parameters())), strict=True):
            assert mine is not None
            np.testing.assert_allclose(mine, expected, atol=1e-12)
        inputs = [code.detach() for code in codes]


def test_single_images_parts_are_of_their_two_views_alone_and_have_the_batch_s_mean():
    network, rule, batch = setup()
    with torch.no_grad():
        parts = rule.single(network, batch, network.activities(batch.images))
    taught(network, rule, batch)
    for layer, part in zip(network.linear(), parts, strict=True):
        assert layer.weight.grad is not None
        np.testing.assert_allclose(part.weight.each().mean(0), layer.weight.grad, atol=1e-13)
        np.testing.assert_allclose(part.weight.mean_square(), part.weight.each().square().mean(0), atol=1e-13)
    assert batch.other is not None
    first = torch.stack([batch.images, batch.other], 1)  # (B, 2, pixels)
    for b, g in enumerate(parts[0].weight.each()):  # rows of the first layer's part lie in the plane of the two views
        outside = g - g @ torch.linalg.pinv(first[b]) @ first[b]
        np.testing.assert_allclose(outside, 0, atol=1e-12)
        assert g.norm() > 0.01


def test_online_push_is_that_of_stale_statistics_and_remembering_is_for_learning_alone():
    network, rule, batch = setup(loss=Coefficients(0.0, 1.0, 0.0))
    for row in range(EXAMPLES):
        taught(network, rule, one(batch, row))
    kept = {name: value.clone() for name, value in rule.state_dict().items()}
    last = one(batch, 2)
    with torch.no_grad():
        found = rule.gradients(network, last, network.activities(last.images))[0].weight.mean()
    assert all(torch.equal(value, kept[name]) for name, value in rule.state_dict().items())
    (layer, *_), expected = network.linear(), torch.zeros(())
    for x in (last.images, last.other):
        z = torch.tanh(layer(x)).repeat(2, 1)  # two equal samples, for a B - 1 of 1
        each = stale_push(z, kept["mean1"], kept["covariance1"].diagonal()) / 2
        expected = expected + each / 2  # of two views
    np.testing.assert_allclose(found, torch.autograd.grad(expected, layer.weight)[0], atol=1e-12)
    taught(network, rule, batch)
    assert all(torch.equal(value, kept[name]) for name, value in rule.state_dict().items())  # a batch has its own


def test_the_first_image_of_all_has_nothing_to_be_compared_with():
    network, rule, batch = setup(loss=Coefficients(0.0, 1.0, 10.0))
    with torch.no_grad():
        found = rule.gradients(network, one(batch, 0), network.activities(batch.images[:1]))
    assert not found[0].weight.mean().any()
    assert not found[1].weight.mean().any()
    assert found[2].weight.mean().any()


@pytest.mark.parametrize("loss", [Coefficients(1, 0, 0), Coefficients(0, 1, 0), Coefficients(0, 0, 1)])
def test_after_many_images_one_by_one_the_mean_gradient_is_that_of_one_large_batch(loss):
    network, rule, _ = setup(loss=loss, hidden=(4,))
    generator = torch.Generator().manual_seed(6)
    images, other = torch.randn(2, 400, SIZES[0], generator=generator, dtype=torch.float64)
    batch = Batch(images, torch.arange(400) % 3, other)
    gradients = []
    for row in range(400):  # nothing learns in between
        taught(network, rule, one(batch, row))
    for row in range(400):
        each = one(batch, row)
        with torch.no_grad():
            gradients.append(rule.gradients(network, each, network.activities(each.images))[0].weight.mean())
    taught(network, rule, batch)
    expected = network.linear()[0].weight.grad
    assert expected is not None
    found = torch.stack(gradients).mean(0)
    assert (found - expected).norm() < 0.1 * expected.norm()

"""Weights of a rule's own, on the way back: where they start, and how they learn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from ratenets.hebbian.config import HebbianConfig
from ratenets.hebbian.network import Network
from ratenets.hebbian.rules import RULES
from ratenets.hebbian.rules.backprop import Backprop
from ratenets.hebbian.rules.rule import Batch

SIZES = (6, 30, 20, 3)
OWN = ("feedback-alignment", "kolen-pollack", "counter-hebb")


def setup(rule: str, seed: int = 4, **more: Any) -> tuple[Network, Backprop, Batch]:
    config = HebbianConfig(rule=rule, hidden=SIZES[1:-1], **more)
    network = Network(SIZES, "tanh", biases=True, seed=3).double()
    made = RULES[rule](network, config, seed).double()
    assert isinstance(made, Backprop)
    images = torch.randn(40, SIZES[0], generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return network, made, Batch(images, (images[:, 0] > 0).long() + (images[:, 1] > 0).long())


def learn(network: Network, made: Backprop, batch: Batch, steps: int, eta: float, decay: float) -> None:
    optimizer = torch.optim.SGD([*network.parameters(), *made.parameters()], lr=eta, weight_decay=decay)
    for _ in range(steps):
        with torch.no_grad():
            made.teach(network, batch, network.activities(batch.images))
        optimizer.step()


@pytest.mark.parametrize("rule", OWN)
def test_they_start_as_another_network_s_weights_would_and_follow_from_the_seed(rule):
    network, made, _ = setup(rule)
    _, again, _ = setup(rule)
    _, another, _ = setup(rule, seed=5)
    for W, B, same, other in zip(
        network.weights[1:], *(each.backward_weights(network) for each in (made, again, another)), strict=True
    ):
        assert B.shape == W.T.shape
        assert torch.equal(B, same)
        assert abs(functional.cosine_similarity(B.flatten(), other.flatten(), dim=0)) < 0.5
        assert abs(functional.cosine_similarity(B.flatten(), W.T.flatten(), dim=0)) < 0.5
        bound = W.shape[1] ** -0.5
        assert 0.9 * bound < B.abs().max() <= bound
        assert B.std() == pytest.approx(bound / 3**0.5, rel=0.2)


@pytest.mark.parametrize("rule", ["kolen-pollack", "counter-hebb"])
def test_transposed_they_start_as_the_forward_weights_and_are_weights_of_their_own(rule):
    network, made, batch = setup(rule, transposed=True)
    for W, B in zip(network.weights[1:], made.backward_weights(network), strict=True):
        assert torch.equal(W.T, B)
        assert W.data_ptr() != B.data_ptr()
    learn(network, made, batch, 20, 0.1, 0.01)
    for W, B in zip(network.weights[1:], made.backward_weights(network), strict=True):
        torch.testing.assert_close(W.T.detach(), B, atol=1e-15, rtol=1e-13)


def test_feedback_alignment_s_stay_and_the_forward_weights_turn_to_them():
    network, made, batch = setup("feedback-alignment")
    before = [B.clone() for B in made.backward_weights(network)]

    @torch.no_grad()
    def cosine() -> float:
        (W, B) = network.weights[-1], made.backward_weights(network)[-1]
        return float(functional.cosine_similarity(W.T.flatten(), B.flatten(), dim=0))

    start = cosine()
    learn(network, made, batch, 500, 0.2, 0.0)
    assert all(torch.equal(B, old) for B, old in zip(made.backward_weights(network), before, strict=True))
    assert cosine() > start + 0.1
    assert not list(made.parameters())
    assert {"B2", "B3"} == made.state_dict().keys()  # its run keeps them


def test_counter_hebb_keeps_what_its_two_networks_have_apart():
    network, made, batch = setup("counter-hebb")
    apart = [W.detach() - B.T for W, B in zip(network.weights[1:], made.backward_weights(network), strict=True)]
    start = [W.detach().clone() for W in network.weights[1:]]
    learn(network, made, batch, 200, 0.2, made.weight_decay)
    for W, B, old, first in zip(network.weights[1:], made.backward_weights(network), apart, start, strict=True):
        torch.testing.assert_close(W.detach() - B.T, old, atol=1e-13, rtol=0)
        assert (W - first).norm() > 0.5 * first.norm()


@pytest.mark.parametrize("rule", RULES)
def test_weights_of_the_rule_s_own_belong_to_the_layer_whose_transpose_they_are(rule):
    config = HebbianConfig(rule=rule, hidden=SIZES[1:-1])
    network = Network(SIZES, "tanh", biases=True, seed=3)
    made = RULES[rule](network, config, 4)
    owned = [made.own(number) for number in range(len(SIZES) - 1)]
    assert [id(each) for group in owned for each in group] == [id(each) for each in made.parameters()]
    for layer, group in zip(network.linear(), owned, strict=True):
        assert all(each.shape == layer.weight.T.shape for each in group)
    assert [len(group) for group in owned] == ([0, 1, 1] if rule in ("kolen-pollack", "counter-hebb") else [0, 0, 0])

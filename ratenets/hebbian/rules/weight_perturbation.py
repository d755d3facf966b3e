"""Weight perturbation: all weights are changed a little, and what helps is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ratenets.hebbian.network import Activity, Network
from ratenets.hebbian.rules.perturbed import loss_changes, normal
from ratenets.hebbian.rules.rule import Batch, LayerGradient, Rule


class WeightPerturbation(Rule):
    """All weights and biases change at once, by xi ~ N(0, sigma^2), the same for the whole batch; then

        dW = - eta (L(W + xi) - L(W)) xi / sigma^2 ,      L the batch's mean loss

    (Jabri & Flower 1992; Cauwenberghs 1993). Its mean over xi is the gradient, up to terms in sigma^2; its variance
    grows with the number of weights, which is why its learning rate has to be so much smaller than backprop's.
    """

    learning_rates = (3e-4, 3e-4)
    noise = True
    one_by_one = True

    def gradients(self, network: Network, batch: Batch, activities: Sequence[Activity]) -> list[LayerGradient]:
        return self._perturb(network, batch, activities, ())

    def single(self, network: Network, batch: Batch, activities: Sequence[Activity]) -> list[LayerGradient]:
        """Each example with a draw of its own."""
        return self._perturb(network, batch, activities, (len(batch.labels),))

    def _perturb(
        self, network: Network, batch: Batch, activities: Sequence[Activity], draws: tuple[int, ...]
    ) -> list[LayerGradient]:
        sigma = self.config.sigma
        noise = []
        for layer in network.linear():
            xi = normal((*draws, *layer.weight.shape), sigma, batch)
            noise.append((xi, None if layer.bias is None else normal((*draws, *layer.bias.shape), sigma, batch)))

        def disturb(number: int, x: Tensor) -> Tensor:
            xi, bias = noise[number]
            drive = x @ xi.T if xi.dim() == 2 else torch.bmm(xi, x[:, :, None])[:, :, 0]
            return drive if bias is None else drive + bias

        changes = loss_changes(network, batch, activities, disturb) / sigma**2
        return [
            LayerGradient(Along(changes, xi), None if bias is None else Along(changes, bias[..., None]))
            for xi, bias in noise
        ]


class Along(NamedTuple):
    """The gradient of a rule that knows but how far to go along a direction it has drawn, g_b = length_b direction_b.

    Attributes:
        length: (B,).
        direction: (B, out, in); or (out, in), one for all.
    """

    length: Tensor
    direction: Tensor

    def mean(self) -> Tensor:
        if self.direction.dim() == 2:
            return self.length.mean() * self.direction
        total: Tensor = torch.tensordot(self.length, self.direction, 1)
        return total / len(self.length)

    def mean_square(self) -> Tensor:
        return Along(self.length.square(), self.direction.square()).mean()

    def each(self) -> Tensor:
        return self.length[:, None, None] * self.direction

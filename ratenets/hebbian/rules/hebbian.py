"""Hebb's rule: what fires together wires together; centred, so that a layer's mean weight stays."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ratenets.hebbian.network import Activity, Network
from ratenets.hebbian.rules.rule import Batch, LayerGradient, Rule, onehot, outer


class Hebbian(Rule):
    """dW = eta mean_b( (y - mean_units y) x^T ) ,      db = eta mean_b( y - mean_units y )

    (Hebb 1949; centring as in the Neuromatch project). Clamped, the last layer has its one-hot target in the place of
    its output y while it learns.
    """

    learning_rates = (1e-4, 1e-4)

    def gradients(self, network: Network, batch: Batch, activities: Sequence[Activity]) -> list[LayerGradient]:
        outputs = [activity.y for activity in activities]
        if self.config.clamp:
            outputs[-1] = onehot(batch.labels, outputs[-1])
        return [
            centred(layer, y, activity.x)
            for layer, y, activity in zip(network.linear(), outputs, activities, strict=True)
        ]


def centred(layer: nn.Linear, y: Tensor, x: Tensor) -> LayerGradient:
    """-(y - mean_units y) x^T of a layer with input x (B, in), whose output is, or is to be, y (B, out)."""
    return outer(layer, y.mean(1, keepdim=True) - y, x)

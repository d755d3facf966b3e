"""Oja's rule: Hebbian growth, and a decay that keeps each unit's weights at length 1; and Sanger's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ratenets.hebbian.network import Activity, Network
from ratenets.hebbian.rules.rule import Batch, LayerGradient, Rule, outer


class Oja(Rule):
    """In all layers, with y the layer's output (softmax on top) and x its input,

        dW_i = eta mean_b( y_i x - y_i^2 W_i )                            (Oja 1982)
        dW_i = eta mean_b( y_i x - y_i sum_{k <= i} y_k W_k )             (Sanger 1989; `sanger`)

    W_i the weights of unit i; biases likewise, from an input of 1. Linear units all end at ± the first principal
    component of x by Oja's rule (of x as it is: nothing centres it); by Sanger's, unit i ends at ± the i-th.
    """

    learning_rates = (1e-4, 1e-4)

    def gradients(self, network: Network, batch: Batch, activities: Sequence[Activity]) -> list[LayerGradient]:
        learn = _sanger if self.config.sanger else _oja
        return [learn(layer, activity) for layer, activity in zip(network.linear(), activities, strict=True)]


class Deflated(NamedTuple):
    """Sanger's gradient, g_b,i = -y_i (x - sum_{k <= i} y_k W_k): what units up to i explain of x, unit i does not see.

    Attributes:
        y: (B, out).
        x: (B, in).
        W: (out, in).
    """

    y: Tensor
    x: Tensor
    W: Tensor

    def mean(self) -> Tensor:
        """By two products: tril( y^T y ) W - y^T x, over B."""
        explained = torch.tril(self.y.T @ self.y) @ self.W
        return (explained - self.y.T @ self.x) / len(self.x)

    def mean_square(self) -> Tensor:
        """Unit after unit, each taking its part from what is left of x, (B, in)."""
        left = self.x.clone()
        squares = torch.empty_like(self.W)
        for unit, (y, w) in enumerate(zip(self.y.T, self.W, strict=True)):
            left.addr_(y, w, alpha=-1)
            squares[unit] = y.square() @ left.square()
        return squares / len(self.x)

    def each(self) -> Tensor:
        explained = (self.y[:, :, None] * self.W).cumsum(1)
        return self.y[:, :, None] * (explained - self.x[:, None, :])


def _oja(layer: nn.Linear, activity: Activity) -> LayerGradient:
    return outer(layer, -activity.y, activity.x, leak=activity.y.square())


def _sanger(layer: nn.Linear, activity: Activity) -> LayerGradient:
    weight = Deflated(activity.y, activity.x, layer.weight.detach())
    if layer.bias is None:
        return LayerGradient(weight, None)
    ones = activity.x.new_ones(len(activity.x), 1)
    return LayerGradient(weight, Deflated(activity.y, ones, layer.bias.detach()[:, None]))

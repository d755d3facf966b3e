"""The network that every rule teaches: layers of weights, one activation, softmax on top."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

ACTIVATE: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "identity": lambda a: a,
}


class Activity(NamedTuple):
    """What a layer has at hand: its input x (B, in), its pre-activation a (B, out), its output y (B, out)."""

    x: Tensor
    a: Tensor
    y: Tensor


class Network(nn.Module):
    """y_0 the image; y_l = f(W_l y_{l-1} + b_l) in hidden layers; probabilities softmax(W_L y_{L-1} + b_L) on top."""

    def __init__(self, sizes: tuple[int, ...], activation: str, *, biases: bool, seed: int) -> None:
        """At torch's own initial weights, uniform in ±1/sqrt(in), on the CPU in float32.

        Args:
            sizes: pixels, units of every hidden layer, classes.
            activation: a name of `ACTIVATE`, of the hidden layers.
            biases: units have biases.
            seed: of the weights.
        """
        super().__init__()
        self.activation = activation
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers = [nn.Linear(inputs, outputs, bias=biases) for inputs, outputs in pairwise(sizes)]
        self.layers = nn.ModuleList(layers)
        self._linear = tuple(layers)  # to go through a ModuleList takes as long as a small layer

    @property
    def weights(self) -> list[Tensor]:
        """W of every layer, (out, in), lowest first."""
        return [layer.weight for layer in self.linear()]

    def linear(self) -> tuple[nn.Linear, ...]:
        """The layers, lowest first."""
        return self._linear

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, pixels)."""
        return self.activities(images)[-1].a

    def activities(self, images: Tensor) -> list[Activity]:
        """What every layer does with images (B, pixels), lowest first."""
        found: list[Activity] = []
        x = images
        layers = self.linear()
        for layer in layers[:-1]:
            a = layer(x)
            found.append(Activity(x, a, ACTIVATE[self.activation](a)))
            x = found[-1].y
        a = layers[-1](x)
        return [*found, Activity(x, a, torch.softmax(a, -1))]

    def slope(self, activity: Activity) -> Tensor:
        """f'(a) of a hidden layer, (B, out), which a unit can tell from its output."""
        y = activity.y
        if self.activation == "sigmoid":
            return y * (1 - y)
        if self.activation == "tanh":
            return 1 - y.square()
        return (y > 0).to(y.dtype) if self.activation == "relu" else torch.ones_like(y)

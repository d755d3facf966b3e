"""What a learning rule is: from a batch to what each layer's weights learn from it.

All rules speak of gradients, so that any optimiser takes them: a weight changes by -eta times what a rule gives,

    dW = - eta g ,      g = mean_b g_b ,      g_b what the rule makes of example b.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ratenets.hebbian.config import HebbianConfig
from ratenets.hebbian.network import Activity, Network


class Batch(NamedTuple):
    """What a step shows.

    Attributes:
        images: (B, pixels).
        labels: (B,), 0 to classes - 1.
        other: second views of the same images, (B, pixels), for rules with `views`; `images` are the first ones then.
        generator: of noise, on the device, for rules with `noise`.
    """

    images: Tensor
    labels: Tensor
    other: Tensor | None = None
    generator: torch.Generator | None = None


class Gradient(Protocol):
    """What B examples teach the weights (out, in) of a layer, or its biases, (out, 1)."""

    def mean(self) -> Tensor:
        """G = mean_b g_b, (out, in)."""

    def mean_square(self) -> Tensor:
        """mean_b g_b^2, (out, in), exact."""

    def each(self) -> Tensor:
        """g_b, (B, out, in): large."""


class Outer(NamedTuple):
    """The gradient of a rule that multiplies two ends of a synapse, g_b = delta_b x_b^T + diag(leak_b) W.

    With the outer product alone mean and mean square are one matrix product each, and no g_b is ever made:

        mean_b g_b = delta^T x / B ,      mean_b g_b^2 = (delta^2)^T (x^2) / B .

    Attributes:
        delta: (B, out).
        x: (B, in).
        leak: (B, out); None: nothing.
        W: (out, in), if there is a leak.
    """

    delta: Tensor
    x: Tensor
    leak: Tensor | None = None
    W: Tensor | None = None

    def mean(self) -> Tensor:
        outer = (self.delta / len(self.x)).T @ self.x  # the smaller of the two is divided
        if self.leak is None or self.W is None:
            return outer
        return outer + self.leak.mean(0)[:, None] * self.W

    def mean_square(self) -> Tensor:
        squares = self.delta.square().T @ self.x.square()
        if self.leak is not None and self.W is not None:
            crossed = (self.delta * self.leak).T @ self.x
            squares += 2 * crossed * self.W + self.leak.square().sum(0)[:, None] * self.W.square()
        return squares / len(self.x)

    def each(self) -> Tensor:
        outer = self.delta[:, :, None] * self.x[:, None, :]
        return outer if self.leak is None or self.W is None else outer + self.leak[:, :, None] * self.W


class LayerGradient(NamedTuple):
    """What a batch teaches a layer; the bias is a weight from an input that is always 1."""

    weight: Gradient
    bias: Gradient | None


def outer(layer: nn.Linear, delta: Tensor, x: Tensor, leak: Tensor | None = None) -> LayerGradient:
    """The `Outer` gradient of a layer's weights, and of its biases, if it has some."""
    weight = Outer(delta, x, leak, None if leak is None else layer.weight.detach())
    if layer.bias is None:
        return LayerGradient(weight, None)
    ones = x.new_ones(len(x), 1)
    return LayerGradient(weight, Outer(delta, ones, leak, None if leak is None else layer.bias.detach()[:, None]))


def delta_rule(network: Network, batch: Batch, activities: Sequence[Activity]) -> LayerGradient:
    """(p - t) x^T, the gradient of the cross-entropy for the last layer alone; p its probabilities, t the target."""
    top = activities[-1]
    return outer(network.linear()[-1], top.y - onehot(batch.labels, top.y), top.x)


def onehot(labels: Tensor, like: Tensor) -> Tensor:
    """Targets (B, classes) for outputs of this shape and type."""
    return torch.zeros_like(like).scatter_(1, labels[:, None], 1)


class Rule(nn.Module, ABC):
    """A learning rule; it may have weights of its own, such as backward ones, which its run keeps.

    Attributes:
        learning_rates: the rule's own, for hidden layers and for the last.
        weight_decay: the rule's own.
        noise: it draws noise: a batch has a generator.
        views: it learns from two views of every image.
        one_by_one: what an example teaches depends on the others of its batch but for `single`, or is kept dense:
            `ratenets.hebbian.gradients` then takes few at a time.
    """

    learning_rates: ClassVar[tuple[float, float]] = (0.01, 0.01)
    weight_decay: ClassVar[float] = 0.0
    noise: ClassVar[bool] = False
    views: ClassVar[bool] = False
    one_by_one: ClassVar[bool] = False

    def __init__(self, network: Network, config: HebbianConfig, seed: int) -> None:
        """A rule for this network.

        Args:
            network: that is to learn, on the CPU.
            config: of the run.
            seed: of weights of the rule's own.
        """
        super().__init__()
        self.config = config

    @classmethod
    def own_rates(cls, config: HebbianConfig) -> tuple[float, float]:
        """Learning rates of hidden layers and of the last, where the configuration names none."""
        return cls.learning_rates

    @abstractmethod
    def gradients(self, network: Network, batch: Batch, activities: Sequence[Activity]) -> list[LayerGradient]:
        """What a batch teaches each layer, lowest first; `activities` are the network's for `batch.images`."""

    def single(self, network: Network, batch: Batch, activities: Sequence[Activity]) -> list[LayerGradient]:
        """What each example would teach if it were alone in a batch; where examples do not mix, `gradients`."""
        return self.gradients(network, batch, activities)

    def own(self, layer: int) -> list[nn.Parameter]:
        """Weights of the rule's own that learn with the network's layer of this number, at its rate."""
        return []

    def teach(self, network: Network, batch: Batch, activities: Sequence[Activity]) -> None:
        """Write what a batch teaches into every `.grad`, weights of the rule's own included."""
        for layer, gradient in zip(network.linear(), self.gradients(network, batch, activities), strict=True):
            layer.weight.grad = gradient.weight.mean().to(layer.weight.dtype)  # of half the bits in autocast
            if layer.bias is not None and gradient.bias is not None:
                layer.bias.grad = gradient.bias.mean()[:, 0].to(layer.bias.dtype)

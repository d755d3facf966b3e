"""Latent predictive learning in every hidden layer, under a linear readout that sends no error down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from foundation.errors import UsageError
from ratenets.hebbian.config import HebbianConfig
from ratenets.hebbian.network import Activity, Network
from ratenets.hebbian.rules.rule import Batch, LayerGradient, Outer, Rule, delta_rule
from ratenets.lpl.config import EPSILON
from ratenets.lpl.objective import Moments, moments
from ratenets.lpl.rule import code_gradient

TIME_CONSTANT = 1000
"""Of the running statistics of online learning, in samples of a unit's activity; an image gives two."""


class LPL(Rule):
    """Each hidden layer goes down its own loss, of its outputs z and z' for two views of each image,

        pull <(z - z')^2>  -  push mean_units log(sigma^2 + eps)  +  decorr sum_{j != k} C_jk^2 / (M^2 - M)

    with sigma^2 and C the layer's variances and covariances over the batch, push and decorr averaged over the views; no
    gradient comes from above (Halvagal & Zenke 2023, doi:10.1038/s41593-023-01460-y; see `ratenets.lpl.objective`). The
    last layer reads out the first view by the delta rule.

    Online, in batches of one image, units take their mean and covariances from a running average over the last
    `TIME_CONSTANT` samples, which carry no gradient. An image that is left over from larger batches teaches the last
    layer alone. `single` gives each image's part at the statistics of its batch.

    Attributes:
        mean{l}, covariance{l}: running statistics of hidden layer l, from 1, (M,) and (M, M); used online alone.
        samples: that they have seen.
    """

    learning_rates = (1.0, 0.01)
    views = True

    @classmethod
    def own_rates(cls, config: HebbianConfig) -> tuple[float, float]:
        """Without a bound on their activity, layers that vary more and more take small steps alone."""
        hidden, last = cls.learning_rates
        return (hidden / 100 if config.activation in ("relu", "identity") else hidden, last)

    def __init__(self, network: Network, config: HebbianConfig, seed: int) -> None:
        super().__init__(network, config, seed)
        for number, units in enumerate(config.hidden, 1):
            self.register_buffer(f"mean{number}", torch.zeros(units))
            self.register_buffer(f"covariance{number}", torch.zeros(units, units))
        self.register_buffer("samples", torch.zeros((), dtype=torch.int64))

    def gradients(self, network: Network, batch: Batch, activities: Sequence[Activity]) -> list[LayerGradient]:
        hidden = [
            self._hidden(network, number, *views)
            for number, views in enumerate(zip(activities[:-1], _second(network, batch)[:-1], strict=True), 1)
        ]
        return [*hidden, delta_rule(network, batch, activities)]

    def teach(self, network: Network, batch: Batch, activities: Sequence[Activity]) -> None:
        if self.config.batch_size == len(batch.labels) == 1:
            self._remember(activities, _second(network, batch))
        super().teach(network, batch, activities)

    def _hidden(self, network: Network, number: int, first: Activity, second: Activity) -> LayerGradient:
        examples = len(first.y)
        deltas = []
        for here, there in ((first, second), (second, first)):
            if examples > 1:
                g = examples * code_gradient(here.y, there.y, moments(here.y), self.config.loss)
            elif self.config.batch_size == 1:
                g = self._online_gradient(number, here.y, there.y)
            else:  # the last of an epoch, alone in its batch
                g = torch.zeros_like(here.y)
            deltas.append(g * network.slope(here))
        weight = TwoViews(Outer(deltas[0], first.x), Outer(deltas[1], second.x))
        if network.linear()[number - 1].bias is None:
            return LayerGradient(weight, None)
        ones = first.x.new_ones(examples, 1)
        return LayerGradient(weight, TwoViews(*(Outer(delta, ones) for delta in deltas)))

    def _online_gradient(self, number: int, z: Tensor, other: Tensor) -> Tensor:
        """`code_gradient` of one example among very many, whose statistics are the running ones; 0 from none yet."""
        units, loss = z.shape[1], self.config.loss
        mean, covariance = self._statistics(number)
        of = Moments((z - mean) * (self.get_buffer("samples") > 0), covariance)
        gradient = loss.pull * 2 / units * (z - other) - loss.push / units * of.centred / (of.variance + EPSILON)
        if units > 1:
            off_diagonal = covariance - torch.diag(of.variance)
            gradient += loss.decorr * 2 / (units * units - units) * of.centred @ off_diagonal
        return gradient

    def _statistics(self, number: int) -> tuple[Tensor, Tensor]:
        return self.get_buffer(f"mean{number}"), self.get_buffer(f"covariance{number}")

    def _remember(self, first: Sequence[Activity], second: Sequence[Activity]) -> None:
        """Take both views into the running statistics: an average over all at first, then one that forgets."""
        samples = self.get_buffer("samples")
        for activities in (first, second):
            samples += 1
            share = 1 / samples.clamp(max=TIME_CONSTANT).to(activities[0].y.dtype)
            for number, activity in enumerate(activities[:-1], 1):
                mean, covariance = self._statistics(number)
                change = activity.y[0] - mean
                mean += share * change
                covariance += share * torch.outer(change, change)
                covariance *= 1 - share


class TwoViews(NamedTuple):
    """The gradient of a rule that sees two views of every example, g_b = delta_b x_b^T + delta'_b x'_b^T.

    Attributes:
        first: delta x^T, without leak.
        second: delta' x'^T, without leak.
    """

    first: Outer
    second: Outer

    def mean(self) -> Tensor:
        return self.first.mean() + self.second.mean()

    def mean_square(self) -> Tensor:
        crossed = Outer(self.first.delta * self.second.delta, self.first.x * self.second.x)
        return self.first.mean_square() + 2 * crossed.mean() + self.second.mean_square()

    def each(self) -> Tensor:
        return self.first.each() + self.second.each()


def _second(network: Network, batch: Batch) -> list[Activity]:
    """Activities for the second views; `UsageError` if there are none."""
    if batch.other is None:
        raise UsageError("lpl: learns from two views of each image, the batch has one")
    return network.activities(batch.other)

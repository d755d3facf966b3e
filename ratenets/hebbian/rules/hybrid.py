"""Hebbian features under a supervised readout."""

from __future__ import annotations

from collections.abc import Sequence

from ratenets.hebbian.network import Activity, Network
from ratenets.hebbian.rules.hebbian import centred
from ratenets.hebbian.rules.rule import Batch, LayerGradient, Rule, delta_rule


class Hybrid(Rule):
    """Hidden layers learn by Hebb's rule, the last one by the delta rule, which is backprop's for it,

        dW_l = eta mean_b( (y - mean_units y) x^T ) ,      dW_L = - eta mean_b( (p - t) x^T )

    with p the probabilities and t the one-hot target; biases likewise, from an input of 1 (Neuromatch project).
    """

    learning_rates = (2e-5, 0.01)

    def gradients(self, network: Network, batch: Batch, activities: Sequence[Activity]) -> list[LayerGradient]:
        layers = network.linear()[:-1]
        hidden = [centred(layer, seen.y, seen.x) for layer, seen in zip(layers, activities[:-1], strict=True)]
        return [*hidden, delta_rule(network, batch, activities)]

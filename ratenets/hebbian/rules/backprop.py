"""Backpropagation: the gradient of the cross-entropy, which needs W^T on the way back."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ratenets.hebbian.network import Activity, Network
from ratenets.hebbian.rules.rule import Batch, LayerGradient, Rule, onehot, outer


class Backprop(Rule):
    """With p the probabilities and t the one-hot target,

        delta_L = p - t ,      delta_l = f'(a_l) (B_{l+1} delta_{l+1}) ,      g_l = delta_l y_{l-1}^T ,      B = W^T

    (Rumelhart, Hinton & Williams 1986). Rules that carry the error back through other weights have others.
    """

    def backward_weights(self, network: Network) -> list[Tensor]:
        """B, (in, out), of every layer but the first, lowest first."""
        return [W.detach().T for W in network.weights[1:]]

    def gradients(self, network: Network, batch: Batch, activities: Sequence[Activity]) -> list[LayerGradient]:
        delta = activities[-1].y - onehot(batch.labels, activities[-1].y)
        deltas = [delta]
        for B, activity in zip(reversed(self.backward_weights(network)), reversed(activities[:-1]), strict=True):
            deltas.append(network.slope(activity) * (deltas[-1] @ B.T))
        return [
            outer(layer, delta, activity.x)
            for layer, delta, activity in zip(network.linear(), reversed(deltas), activities, strict=True)
        ]

"""Feedback alignment: the error comes back through weights that are random and stay as they are."""

from __future__ import annotations

from torch import Tensor

from ratenets.hebbian.config import HebbianConfig
from ratenets.hebbian.network import Network
from ratenets.hebbian.rules.backprop import Backprop


class FeedbackAlignment(Backprop):
    """Backprop with fixed random backward weights B,

        delta_l = f'(a_l) (B_{l+1} delta_{l+1})

    (Lillicrap, Cownden, Tweed & Akerman 2016, Nature Communications 7, 13276). The forward weights come to align with
    them. B is drawn as W^T is: uniform in ±1/sqrt(in), `in` the inputs of the forward layer.
    """

    def __init__(self, network: Network, config: HebbianConfig, seed: int) -> None:
        super().__init__(network, config, seed)
        for number, B in enumerate(random_backward(network, seed), 2):
            self.register_buffer(f"B{number}", B)

    def backward_weights(self, network: Network) -> list[Tensor]:
        return list(self.buffers())


def random_backward(network: Network, seed: int) -> list[Tensor]:
    """B, (in, out), of every layer but the first: as another network's W^T would be."""
    weights = network.weights
    sizes = (weights[0].shape[1], *(len(W) for W in weights))
    other = Network(sizes, network.activation, biases=False, seed=seed)
    return [W.detach().T.contiguous() for W in other.weights[1:]]

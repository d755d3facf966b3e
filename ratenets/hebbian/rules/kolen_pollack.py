"""Kolen-Pollack: backward weights that learn what the forward ones learn, and so come to be their transpose."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ratenets.hebbian.config import HebbianConfig
from ratenets.hebbian.network import Activity, Network
from ratenets.hebbian.rules.backprop import Backprop
from ratenets.hebbian.rules.feedback_alignment import random_backward
from ratenets.hebbian.rules.rule import Batch


class KolenPollack(Backprop):
    """Backprop through backward weights B that take each step of W, transposed, and decay like W,

        dW = - eta (g + lambda W) ,      dB = - eta (g^T + lambda B) ,      W - B^T  ~  (1 - eta lambda)^n

    after n steps (Kolen & Pollack 1994; Akrout, Wilson, Humphreys, Lillicrap & Tweed 2019). B starts at random, or,
    with the setting `transposed`, as W^T.

    Without decay W and B^T turn towards each other, too, as what they learn outgrows where they began. On half of MNIST
    (5 epochs, eta 0.01) their cosine comes to 0.94 so, and to 0.96 with lambda = 0.01, the rule's own, at the cost of
    0.4 % of accuracy; 0.03 costs 1.5 %.
    """

    weight_decay = 0.01

    def __init__(self, network: Network, config: HebbianConfig, seed: int) -> None:
        super().__init__(network, config, seed)
        starts = [W.detach().T for W in network.weights[1:]] if config.transposed else random_backward(network, seed)
        self.B = nn.ParameterList(nn.Parameter(start.contiguous().clone()) for start in starts)

    def backward_weights(self, network: Network) -> list[Tensor]:
        return [B.detach() for B in self.B]

    def own(self, layer: int) -> list[nn.Parameter]:
        return list(self.B)[layer - 1 : layer] if layer else []

    def teach(self, network: Network, batch: Batch, activities: Sequence[Activity]) -> None:
        super().teach(network, batch, activities)
        for B, W in zip(self.B, network.weights[1:], strict=True):
            if W.grad is not None:
                B.grad = W.grad.T.clone()

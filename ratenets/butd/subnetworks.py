"""What instructions select, and how top-down weights come to resemble bottom-up ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ratenets.butd.networks import ButdNetwork


@torch.no_grad()
def alignment(network: ButdNetwork) -> dict[str, float]:
    """Cosine of W and V^T, as vectors, of every layer that has both, lowest first; nothing where they are tied."""
    found = {}
    for layer in network.layers():
        W, V = getattr(layer, "W", None), getattr(layer, "V", None)
        if W is not None and V is not None and not layer.name.startswith("instruction"):
            found[layer.name] = float(nn.functional.cosine_similarity(W.flatten(), like(V, W).flatten(), dim=0))
    return found


def like(V: Tensor, W: Tensor) -> Tensor:
    """V in the layout of W: fully connected layers keep it transposed."""
    return V.T if W.dim() == 2 else V


@torch.no_grad()
def subnetworks(network: ButdNetwork, instructions: Tensor) -> dict[str, Tensor]:
    """Which units each instruction lets through, (instructions, ...), by gated layer, lowest first.

    Batch norm is in its evaluation mode, whatever the network's is, so that no instruction depends on the others.
    """
    training = network.training
    attention = network.eval().attend(instructions)
    network.train(training)
    return {layer.name: attention[layer.name] > 0 for layer in network.gated_layers()}

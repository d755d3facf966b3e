"""What perturbation rules share: the losses of a network that is disturbed, example by example."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from foundation.errors import UsageError
from ratenets.hebbian.network import ACTIVATE, Activity, Network
from ratenets.hebbian.rules.rule import Batch


def loss_changes(
    network: Network, batch: Batch, activities: Sequence[Activity], disturb: Callable[[int, Tensor], Tensor]
) -> Tensor:
    """L~_b - L_b, (B,): the cross-entropy of each example in the disturbed network, less that in the calm one.

    Args:
        network: is left as it is.
        batch: the examples.
        activities: of the calm network.
        disturb: what is added to the pre-activations (B, out) of a layer, given its number, 0 the lowest, and the
            disturbed layer's input (B, in).
    """
    x = batch.images
    for number, layer in enumerate(network.linear()):
        a = layer(x) + disturb(number, x)
        x = ACTIVATE[network.activation](a)
    calm, disturbed = (
        functional.cross_entropy(logits, batch.labels, reduction="none") for logits in (activities[-1].a, a)
    )
    return disturbed - calm


def normal(shape: Sequence[int], sigma: float, batch: Batch) -> Tensor:
    """Noise of standard deviation sigma from the batch's generator.

    Raises:
        UsageError: the batch has none.
    """
    if batch.generator is None:
        raise UsageError("perturbation rules draw noise: the batch needs a generator")
    like = batch.images
    return sigma * torch.randn(tuple(shape), generator=batch.generator, device=like.device, dtype=like.dtype)

"""The LPL objective of one layer: pull, push and decorrelation on two views of a batch.

Latent Predictive Learning: Halvagal & Zenke, Nature Neuroscience 2023, doi:10.1038/s41593-023-01460-y, with the
erratum of January 2024. A code `z` has the shape (B, M): B samples, M units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from foundation.config import setting
from foundation.errors import UsageError

EPSILON = 1e-4
"""Added to the variance in the logarithm of `push`. Deep layers start below it: it sets their first gradients."""


@dataclass(frozen=True)
class Coefficients:
    """Weights of the three terms in the loss of every layer; 0 switches a term off."""

    pull: float = setting(1.0, "weight of the predictive term (pull)", "pull-coeff")
    push: float = setting(1.0, "weight of the Hebbian term (push)", "push-coeff")
    decorr: float = setting(10.0, "weight of the decorrelation term", "decorr-coeff")

    def __post_init__(self) -> None:
        for name in ("pull", "push", "decorr"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"coefficients.{name}: must not be negative, got {getattr(self, name)}")


class Terms(NamedTuple):
    """The three terms of one layer, scalars."""

    pull: Tensor
    push: Tensor
    decorr: Tensor

    def total(self, coefficients: Coefficients) -> Tensor:
        """The layer's loss."""
        return coefficients.pull * self.pull + coefficients.push * self.push + coefficients.decorr * self.decorr


def pull(z1: Tensor, z2: Tensor) -> Tensor:
    """Predictive term: mean over samples and units of (z1 - z2)^2; the gradient flows through both views."""
    return (z1 - z2).square().mean()


def push(z: Tensor) -> Tensor:
    """Hebbian term of one view: -1/M sum_m log(sigma_m^2 + eps), sigma^2 the unbiased variance over the batch."""
    return -torch.log(z.var(0, unbiased=True) + EPSILON).mean()


def decorrelation(z: Tensor) -> Tensor:
    """Decorrelation of one view: sum_{j != k} C_jk^2 / (M^2 - M), C the unbiased covariance over the batch.

    One unit alone has nothing to be decorrelated from: 0.
    """
    batch, units = z.shape
    if units == 1:
        return z.sum() * 0.0
    centred = z - z.mean(0)
    covariance = centred.T @ centred / (batch - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / (units * units - units)


def terms(z1: Tensor, z2: Tensor) -> Terms:
    """The three terms of a layer whose codes for the two views are z1 and z2, both (B, M); push and decorr averaged
    over the views.

    Raises:
        UsageError: the shapes differ, or fewer than two samples, of which no variance can be taken.
    """
    if z1.shape != z2.shape or z1.dim() != 2:
        raise UsageError(f"LPL needs two codes of one shape (B, M), got {tuple(z1.shape)} and {tuple(z2.shape)}")
    if z1.shape[0] < 2:
        raise UsageError("LPL takes variances over the batch: a batch needs at least two samples, got one")
    return Terms(
        pull=pull(z1, z2),
        push=(push(z1) + push(z2)) / 2,
        decorr=(decorrelation(z1) + decorrelation(z2)) / 2,
    )

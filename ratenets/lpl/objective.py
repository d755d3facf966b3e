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


class Moments(NamedTuple):
    """Second moments of one view's code z (B, M), from which push and decorrelation are made.

    Attributes:
        centred: z - zbar, (B, M).
        covariance: unbiased, (M, M); its diagonal is the variance.
    """

    centred: Tensor
    covariance: Tensor

    @property
    def variance(self) -> Tensor:
        """Unbiased, (M,)."""
        return self.covariance.diagonal()


def moments(z: Tensor) -> Moments:
    """Centre a code and take its covariance; a matrix product is quicker than torch's own variance, and gives both."""
    centred = z - z.mean(0)
    return Moments(centred, centred.T @ centred / (len(z) - 1))


def pull(z1: Tensor, z2: Tensor) -> Tensor:
    """Predictive term: mean over samples and units of (z1 - z2)^2; the gradient flows through both views."""
    return (z1 - z2).square().mean()


def push(of: Moments) -> Tensor:
    """Hebbian term of one view: -1/M sum_m log(sigma_m^2 + eps), sigma^2 the unbiased variance over the batch."""
    return -torch.log(of.variance + EPSILON).mean()


def decorrelation(of: Moments) -> Tensor:
    """Decorrelation of one view: sum_{j != k} C_jk^2 / (M^2 - M), C the unbiased covariance over the batch.

    One unit alone has nothing to be decorrelated from: 0.
    """
    units = len(of.covariance)
    off_diagonal = of.covariance.square().sum() - of.variance.square().sum()
    return off_diagonal / max(units * units - units, 1)


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
    return terms_from_moments(z1, z2, moments(z1), moments(z2))


def terms_from_moments(z1: Tensor, z2: Tensor, first: Moments, second: Moments) -> Terms:
    """`terms`, where the moments of both views are at hand."""
    return Terms(
        pull=pull(z1, z2),
        push=(push(first) + push(second)) / 2,
        decorr=(decorrelation(first) + decorrelation(second)) / 2,
    )

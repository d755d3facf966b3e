"""The objectives of one layer, as functions of its codes for two views of a batch.

Latent Predictive Learning: Halvagal & Zenke, Nature Neuroscience 2023, doi:10.1038/s41593-023-01460-y, with the
erratum of January 2024. A code `z` has the shape (B, M): B samples, M units. Which of them a layer has, and what
stands between its code and the objective, is in `ratenets.lpl.losses`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from foundation.errors import UsageError
from ratenets.lpl.config import EPSILON, Coefficients


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


def push(of: Moments, epsilon: float = EPSILON) -> Tensor:
    """Hebbian term of one view: -1/M sum_m log(sigma_m^2 + eps), sigma^2 the unbiased variance over the batch."""
    return -torch.log(of.variance + epsilon).mean()


def stale_push(z: Tensor, mean: Tensor, variance: Tensor, epsilon: float = EPSILON) -> Tensor:
    """Hebbian term of one view with the statistics (M,) of an earlier step, which carry no gradient:

    -1/(M (B - 1)) sum_{b,m} (z - mean)^2 / (variance + eps); its gradient is that of `push` but for their age.
    """
    return -((z - mean).square() / (variance + epsilon)).sum() / (z.shape[1] * (len(z) - 1))


def decorrelation(of: Moments) -> Tensor:
    """Decorrelation of one view: sum_{j != k} C_jk^2 / (M^2 - M), C the unbiased covariance over the batch.

    One unit alone has nothing to be decorrelated from: 0.
    """
    return _off_diagonal(of.covariance.square())


def published_decorrelation(of: Moments) -> Tensor:
    """Decorrelation as first published, before the erratum: 1/(B - 1) sum_b sum_{j != k} c_bj^2 c_bk^2 / (M^2 - M).

    Not a squared covariance: independent units do not bring it to 0, only silent ones do.
    """
    squares = of.centred.square()
    return _off_diagonal(squares.T @ squares) / (len(squares) - 1)


def _off_diagonal(matrix: Tensor) -> Tensor:
    units = len(matrix)
    return (matrix.sum() - matrix.diagonal().sum()) / max(units * units - units, 1)


def check_codes(z1: Tensor, z2: Tensor, dimensions: int = 2) -> None:
    """Raises `UsageError` if the shapes differ, or for fewer than two samples, of which no variance can be taken."""
    if z1.shape != z2.shape or z1.dim() != dimensions:
        wanted = "codes of one shape (B, M)" if dimensions == 2 else "maps of one shape (B, C, H, W)"
        raise UsageError(f"LPL needs two {wanted}, got {tuple(z1.shape)} and {tuple(z2.shape)}")
    if z1.shape[0] < 2:
        raise UsageError("LPL takes variances over the batch: a batch needs at least two samples, got one")


def terms(z1: Tensor, z2: Tensor, epsilon: float = EPSILON) -> Terms:
    """The three terms of a layer whose codes for the two views are z1 and z2, both (B, M); push and decorr averaged
    over the views.

    Raises:
        UsageError: see `check_codes`.
    """
    check_codes(z1, z2)
    return terms_from_moments(z1, z2, moments(z1), moments(z2), epsilon)


def terms_from_moments(z1: Tensor, z2: Tensor, first: Moments, second: Moments, epsilon: float = EPSILON) -> Terms:
    """`terms`, where the moments of both views are at hand."""
    return Terms(
        pull=pull(z1, z2),
        push=(push(first, epsilon) + push(second, epsilon)) / 2,
        decorr=(decorrelation(first) + decorrelation(second)) / 2,
    )


def unpooled_terms(maps1: Tensor, maps2: Tensor, epsilon: float = EPSILON) -> Terms:
    """The three terms on feature maps (B, C, H, W) in place of codes, without their spatial mean.

    Every position of a map is a unit for `pull` and `push`, with its variance over the batch alone; for the
    decorrelation every position is a sample, so that channels are decorrelated over batch and space together.

    Raises:
        UsageError: see `check_codes`.
    """
    check_codes(maps1, maps2, 4)
    views = (maps1, maps2)
    variances = [maps.var(0, unbiased=True) for maps in views]
    rows = [moments(maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])) for maps in views]
    return Terms(
        pull=pull(maps1, maps2),
        push=-sum((torch.log(v + epsilon).mean() for v in variances), maps1.new_zeros(())) / 2,
        decorr=(decorrelation(rows[0]) + decorrelation(rows[1])) / 2,
    )


def negative_sample_terms(z1: Tensor, z2: Tensor) -> Terms:
    """Contrast with the batch's other samples in place of variances; there is no decorrelation.

    pull = -mean_b cos(z1_b, z2_b); push = mean over ordered pairs b != b' of cos^2(z_b, z_b') within a view, averaged
    over the views.

    Raises:
        UsageError: see `check_codes`.
    """
    check_codes(z1, z2)
    directions = [functional.normalize(z, dim=1) for z in (z1, z2)]
    pushes = [_off_diagonal((d @ d.T).square()) for d in directions]
    return Terms(
        pull=-(directions[0] * directions[1]).sum(1).mean(),
        push=(pushes[0] + pushes[1]) / 2,
        decorr=z1.new_zeros(()),
    )

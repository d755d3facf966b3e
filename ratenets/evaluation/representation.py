"""How a code is spread out: its dimensionality, its cosines within and across classes, its class manifolds.

The measures of the paper's reference implementation (Halvagal & Zenke 2023), for codes (N, M) of N samples in double
precision, wherever they lie. A code that never varies has no direction: its measures are NaN.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from foundation.errors import UsageError

Codes: TypeAlias = NDArray[Any] | Tensor
Labels: TypeAlias = NDArray[Any] | Tensor

NAN = float("nan")
SINGLE = torch.finfo(torch.float32).eps
BATCH = 256
"""Test images over which the reference takes a participation ratio."""


class Cosines(NamedTuple):
    """Mean cosines of a code, the mean over all samples taken off first.

    Attributes:
        cross: over pairs of different class.
        within: over pairs of the same class, then over classes. NaN if a class has one sample only.
    """

    cross: float
    within: float

    @property
    def ratio(self) -> float:
        """|within / cross|."""
        return abs(self.within / self.cross) if self.cross else NAN


class Manifolds(NamedTuple):
    """The clouds of the K classes of a code.

    Attributes:
        correlations: of the classes' centres with each other, over units, (K, K).
        radii: mean distance of a class's samples to its centre, (K,).
        dimensions: participation ratio of each class, (K,).
        spreads: distance of the classes' centres to the mean over all samples, (K,).
        global_radius: mean distance of all samples to their mean.
    """

    correlations: Tensor
    radii: Tensor
    dimensions: Tensor
    spreads: Tensor
    global_radius: float

    @property
    def class_correlation(self) -> float:
        """Mean correlation of two different classes' centres."""
        k = len(self.correlations)
        off_diagonal = self.correlations.sum() - self.correlations.diagonal().sum()
        return float(off_diagonal / (k * k - k)) if k > 1 else NAN

    @property
    def relative_radius(self) -> float:
        """Mean radius of the classes, relative to the global one."""
        return float(self.radii.mean()) / self.global_radius if self.global_radius else NAN

    @property
    def mean_class_dim(self) -> float:
        """Mean participation ratio of the classes."""
        return float(self.dimensions.mean())


def centred(codes: Codes) -> Tensor:
    """Samples minus their mean, (N, M), in double precision; exactly 0 where nothing but rounding varies.

    Raises:
        UsageError: not a matrix, or no sample.
    """
    given = torch.as_tensor(codes)
    if given.dim() != 2 or not len(given):
        raise UsageError(f"codes: must be of the shape (N, M), N at least 1, got {tuple(given.shape)}")
    x = given.double()
    shifted = x - x[0]  # sums of what never varies are then exact
    result = shifted - shifted.mean(0)
    # Half precision is too coarse a measure: its codes vary by less than its eps of their mean.
    rounding = min(torch.finfo(given.dtype).eps, SINGLE) if given.is_floating_point() else 0.0
    return result if result.norm() > rounding * x.norm() else torch.zeros_like(x)


def participation_ratio(codes: Codes) -> float:
    """Dimensionality: (sum lambda)^2 / sum lambda^2, lambda the eigenvalues of the covariance.

    Between 1 and min(N - 1, M); NaN for a code that never varies.
    """
    c = centred(codes)
    gram = c.T @ c if c.shape[1] <= c.shape[0] else c @ c.T
    size = gram.square().sum()
    return float(gram.trace() ** 2 / size) if size > 0 else NAN


def batch_participation_ratio(codes: Codes, batch_size: int = BATCH) -> float:
    """The reference's reading: the mean of the participation ratios of batches, unweighted, the last one smaller.

    Smaller than the ratio of all samples, since a batch has no more dimensions than samples. A last batch of one
    sample has none, and does not count. NaN if a batch never varies.
    """
    batches = torch.split(torch.as_tensor(codes), batch_size)
    ratios = [participation_ratio(batch) for batch in batches if len(batch) > 1]
    return sum(ratios) / len(ratios) if ratios else NAN


def cosine_matrix(codes: Codes) -> Tensor:
    """Cosines of all pairs, the mean over samples taken off first, (N, N)."""
    directions = functional.normalize(_varying(centred(codes)), dim=1)
    return directions @ directions.T


def cosines(codes: Codes, labels: Labels) -> Cosines:
    """Mean cosines within and across classes, from sums of directions: no matrix of pairs is made."""
    directions = functional.normalize(_varying(centred(codes)), dim=1)
    parts = by_class(directions, labels)
    number, sizes = len(directions), [len(part) for part in parts]
    inner = [float(part.sum(0).square().sum()) for part in parts]
    apart = number**2 - sum(n * n for n in sizes)
    cross = (float(directions.sum(0).square().sum()) - sum(inner)) / apart if apart else NAN
    within = [
        (total - float(part.square().sum())) / (n * n - n) if n > 1 else NAN
        for total, part, n in zip(inner, parts, sizes, strict=True)
    ]
    return Cosines(cross, sum(within) / len(within))


def manifolds(codes: Codes, labels: Labels) -> Manifolds:
    """Centres, radii and dimensions of the classes, by their labels (N,)."""
    given, c = torch.as_tensor(codes), _varying(centred(codes))
    parts, shifted = by_class(given, labels), by_class(c, labels)
    defined = c.sum() * 0 + 1  # NaN for a code that never varies
    return Manifolds(
        correlations=correlations(torch.stack([part.double().mean(0) for part in parts])) * defined,
        radii=torch.stack([centred(part).norm(dim=1).mean() for part in parts]) * defined,
        dimensions=torch.tensor([participation_ratio(part) for part in parts], dtype=torch.float64),
        spreads=torch.stack([part.mean(0).norm() for part in shifted]),
        global_radius=float(c.norm(dim=1).mean()),
    )


def correlations(rows: Codes) -> Tensor:
    """Correlation of each row with each other, over units: cosines of rows minus their own means. (K, M) -> (K, K)."""
    x = torch.as_tensor(rows).double()
    shifted = x - x.mean(1, keepdim=True)
    directions = shifted / shifted.norm(dim=1, keepdim=True)
    matrix: Tensor = directions @ directions.T
    return matrix


def by_class(rows: Tensor, labels: Labels) -> list[Tensor]:
    """The rows of each class that occurs, in the order of the labels (N,)."""
    of = torch.as_tensor(labels).to(rows.device)
    return [rows[of == label] for label in torch.unique(of)]


def _varying(c: Tensor) -> Tensor:
    """A centred code itself, or NaN in place of one that never varies."""
    return c if c.any() else torch.full_like(c, NAN)

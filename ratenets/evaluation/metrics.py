"""What a code has of each quantity that some rule pulls on or pushes at: the reference's further metrics.

Each takes codes x, (N, M), rows are samples, computes in double precision and gives one number (Halvagal & Zenke
2023, reference implementation). e = 1e-4 throughout; variances are unbiased. A code that never
varies has the numbers that the formulas give it; where all of it is 0, those of directions are NaN.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from foundation.errors import UsageError
from foundation.seeds import derive
from ratenets.evaluation.representation import NAN, Codes, Labels, by_class, centred, cosines, manifolds

E = 1e-4
PAIRS = 2**24
"""Pairs of samples that are looked at at once."""


class Draws(NamedTuple):
    """What sliced metrics compare with.

    Attributes:
        projection: R, (M, K), columns of length 1.
        normal: N(0, 1), (N, M).
        uniform: U(0, 1), (N, M).
    """

    projection: Tensor
    normal: Tensor
    uniform: Tensor


def draws(samples: int, units: int, seed: int, device: torch.device | None = None) -> Draws:
    """As many random directions as units, and draws of each distribution; each from its own stream of `seed`."""

    def generator(purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive(seed, "metrics", purpose))

    directions = torch.randn(units, units, generator=generator("projection"), dtype=torch.float64)
    normal = torch.randn(samples, units, generator=generator("normal"), dtype=torch.float64)
    uniform = torch.rand(samples, units, generator=generator("uniform"), dtype=torch.float64)
    return Draws(*(x.to(device) for x in (functional.normalize(directions, dim=0), normal, uniform)))


def cosine_pull(a: Codes, b: Codes) -> float:
    """- mean_n cos(a_n, b_n), of the codes of two views."""
    if len(a) != len(b):
        raise UsageError(f"cosine_pull: needs two views of the same samples, got {len(a)} and {len(b)}")
    return float(-(_directions(a) * _directions(b)).sum(1).mean())


def cosine_pull_of_classes(a: Codes, b: Codes, labels: Labels) -> float:
    """Sum over classes of half of - mean cos of pairs of the class in view a, plus the same in view b."""
    total = 0.0
    for x in (a, b):
        for part in by_class(_directions(x), labels):
            n = len(part)
            inner = float(part.sum(0).square().sum() - part.square().sum())
            total -= inner / (n * n - n) / 2 if n > 1 else NAN
    return total


def cosine_push(x: Codes) -> float:
    """Mean cos^2 over pairs of different samples."""
    u, n = _directions(x), len(x)
    return float(_square(u) - u.square().sum(1).square().sum()) / (n * n - n) if n > 1 else NAN


def cosine_push_of_classes(x: Codes, labels: Labels) -> float:
    """Mean cos^2 over pairs of different class."""
    u, n = _directions(x), len(x)
    parts = by_class(u, labels)
    apart = n * n - sum(len(part) ** 2 for part in parts)
    return float(_square(u) - sum(_square(part) for part in parts)) / apart if apart else NAN


def cosine_push_to_centroid(x: Codes) -> float:
    """Mean cos^2 of the samples with their mean direction."""
    u = _directions(x)
    return float((u @ functional.normalize(u.mean(0), dim=0)).square().mean())


def uniform_loss(x: Codes, t: float = 2.0) -> float:
    """Log mean over pairs of exp(-t d^2), d the distance of the samples on the unit sphere.

    Wang & Isola, Understanding contrastive representation learning through alignment and uniformity on the
    hypersphere, ICML 2020.
    """
    u = _directions(x)
    n, length = len(u), u.square().sum(1)
    if n < 2:
        return NAN
    total = u.new_zeros(())
    piece = max(1, PAIRS // n)
    for rows, own in zip(torch.split(u, piece), torch.split(length, piece), strict=True):
        total += (-t * (own[:, None] + length - 2 * rows @ u.T)).exp().sum()
    return float(((total - n) / (n * n - n)).log())


def kl_to_std_gaussian(x: Codes) -> float:
    """Mean over units of KL(N(mu, v + e) || N(0, 1)) = (v + e + mu^2 - 1 - log(v + e)) / 2."""
    mean, variance = _double(x).mean(0), _variance(x)
    return float((variance + E + mean.square() - 1 - (variance + E).log()).mean() / 2)


def sliced_kld(x: Codes, projection: Tensor) -> float:
    """`kl_to_std_gaussian` along random directions, the columns of R (M, K)."""
    return kl_to_std_gaussian(_double(x) @ projection)


def abs_logvar(x: Codes) -> float:
    """Mean over units of |log(v + e)|."""
    return float((_variance(x) + E).log().abs().mean())


def radial_push(x: Codes) -> float:
    """Mean over samples of 1 / (|x - c|_2 + e) - 1 / (|x - c|_1 + e), c the mean."""
    c = centred(x)
    return float((1 / (c.norm(dim=1) + E) - 1 / (c.norm(1, dim=1) + E)).mean())


def sparse_filtering(x: Codes) -> float:
    """Mean over samples of sum_m |x|, after each unit, then each sample is brought to length 1.

    Ngiam et al., Sparse filtering, NIPS 2011. Silent units and samples count as 0.
    """
    units = functional.normalize(_sounding(x), dim=0)
    return float(functional.normalize(units, dim=1).abs().sum(1).mean())


def swd_gaussian(x: Codes, draw: Draws) -> float:
    """Sliced squared Wasserstein distance to N(0, 1): mean (sort(x R) - sort(y R))^2, y the draw, column by column."""
    return _sliced(_double(x), draw.normal, draw.projection)


def swd_hypersphere(x: Codes, draw: Draws) -> float:
    """The same between directions: samples of code and normal draw at length 1."""
    return _sliced(_directions(x), functional.normalize(draw.normal, dim=1), draw.projection)


def swd_hypercube(x: Codes, draw: Draws) -> float:
    """The same to the uniform distribution in -1 to 1."""
    return _sliced(_double(x), 2 * draw.uniform - 1, draw.projection)


def representation_metrics(x: Codes, labels: Labels, draw: Draws, views: tuple[Codes, Codes]) -> dict[str, float]:
    """All metrics of a code, by name.

    Args:
        x: codes of the images, (N, M).
        labels: (N,).
        draw: of the same N and M.
        views: codes of two augmented views of the same images, for the pull.
    """
    cosine, clouds = cosines(x, labels), manifolds(x, labels)
    return {
        "cosine_cross": cosine.cross,
        "cosine_within": cosine.within,
        "cosine_ratio": cosine.ratio,
        "class_correlation": clouds.class_correlation,
        "class_radius": clouds.relative_radius,
        "global_radius": clouds.global_radius,
        "cosine_pull": cosine_pull(*views),
        "cosine_pull_labels": cosine_pull_of_classes(*views, labels),
        "cosine_push": cosine_push(x),
        "cosine_push_labels": cosine_push_of_classes(x, labels),
        "cosine_push_to_centroid": cosine_push_to_centroid(x),
        "uniform_loss": uniform_loss(x),
        "kl_to_std_gaussian": kl_to_std_gaussian(x),
        "sliced_kld": sliced_kld(x, draw.projection),
        "abs_logvar": abs_logvar(x),
        "radial_push": radial_push(x),
        "sparse_filtering": sparse_filtering(x),
        "swd_gaussian": swd_gaussian(x, draw),
        "swd_hypersphere": swd_hypersphere(x, draw),
        "swd_hypercube": swd_hypercube(x, draw),
    }


def _double(x: Codes) -> Tensor:
    return torch.as_tensor(x).double()


def _variance(x: Codes) -> Tensor:
    """Of each unit, (M,), unbiased; exactly 0 for a code that never varies."""
    c = centred(x)
    return c.square().sum(0) / (len(c) - 1) if len(c) > 1 else torch.full_like(c[0], NAN)


def _directions(x: Codes) -> Tensor:
    """Samples at length 1; silent ones stay 0, and all are NaN where all are silent."""
    return functional.normalize(_sounding(x), dim=1)


def _sounding(x: Codes) -> Tensor:
    """A code itself, or NaN in place of one that is 0 throughout: it has no lengths to divide by."""
    code = _double(x)
    return code if code.any() else torch.full_like(code, NAN)


def _square(u: Tensor) -> Tensor:
    """Sum of (u_i . u_j)^2 over all pairs, a scalar; from the smaller of the two Gram matrices."""
    gram = u.T @ u if u.shape[1] <= u.shape[0] else u @ u.T
    return gram.square().sum()


def _sliced(x: Tensor, draw: Tensor, projection: Tensor) -> float:
    if x.shape != draw.shape:
        raise UsageError(f"draws: must be as many as the codes, {tuple(x.shape)}, got {tuple(draw.shape)}")
    return float(((x @ projection).sort(0).values - (draw @ projection).sort(0).values).square().mean())

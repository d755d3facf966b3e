"""Does a single unit of a code tell which factor of the pictures' world was held fixed?

The score of Kim & Mnih, Disentangling by Factorising, ICML 2018, arXiv:1802.05983, a majority vote of the units, as
Halvagal & Zenke 2023 use it on Shapes3D (Extended Data Fig. 6).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foundation.data.shapes3d import SIZES
from ratenets.sequences.shapes3d import index_of

Features = NDArray[np.float64]  # (N, M)
Integers = NDArray[np.int64]
Codes = Callable[[NDArray[np.intp]], NDArray[np.floating[Any]]]
"""Codes, (B, M), of pictures by their indices, (B,); in single precision the score takes a tenth of the time."""


class VoteScore(NamedTuple):
    """Shares of right answers, 0 to 1."""

    score: float
    strict: float  # only as many units as a factor has values may stand for it


def vote_score(
    codes: Codes,
    variance: Features,
    generator: np.random.Generator,
    sizes: tuple[int, ...] = SIZES,
    *,
    batch: int = 4000,
    train_batches: int = 10,
    test_batches: int = 10,
) -> VoteScore:
    """Does the unit that varies least tell which factor was held fixed?

    In a batch one factor has one value and the others are random; the unit with the least variance, relative to its
    variance over all pictures, votes for that factor. A unit stands for the factor that gave it the most votes, each
    vote divided by the number of the factor's values (there are as many batches for each value). The score is the
    share of further batches whose unit stands for the factor that was fixed. For the strict score a factor with n
    values keeps only the n units with the most votes for it; other units are wrong whenever they win.

    Units that never vary have no vote.

    Args:
        codes: of pictures, by their indices.
        variance: of each unit over all pictures, (M,).
        generator: of all draws.
        sizes: values of each factor.
        batch: pictures of a batch.
        train_batches: batches that vote, for each value of each factor.
        test_batches: batches that are scored, likewise.
    """
    votes = np.zeros((len(variance), len(sizes)), np.int64)
    winners, fixed = _winners(codes, variance, train_batches, batch, generator, sizes)
    np.add.at(votes, (winners, fixed), 1)
    winners, fixed = _winners(codes, variance, test_batches, batch, generator, sizes)
    plain, strict = (np.mean(stands_for(votes, sizes, strict=strict)[winners] == fixed) for strict in (False, True))
    return VoteScore(float(plain), float(strict))


def stands_for(votes: Integers, sizes: tuple[int, ...], *, strict: bool) -> Integers:
    """The factor that each unit stands for, (M,), given its votes, (M, factors); -1 for a unit that nothing chose."""
    share = votes / np.array(sizes)
    if strict:
        for k, size in enumerate(sizes):
            share[np.argsort(-share[:, k], kind="stable")[size:], k] = 0.0
    return np.where(share.any(1), share.argmax(1), -1)


def _winners(
    codes: Codes,
    variance: Features,
    batches: int,
    batch: int,
    generator: np.random.Generator,
    sizes: tuple[int, ...],
) -> tuple[Integers, Integers]:
    """The unit that varied least, and the factor that was fixed, for so many batches of every value of every factor."""
    winners, fixed = [], []
    for factor, size in enumerate(sizes):
        for value in np.repeat(np.arange(size), batches):
            factors = np.stack([generator.integers(n, size=batch) for n in sizes], axis=1)
            factors[:, factor] = value
            within = codes(index_of(factors, sizes).astype(np.intp)).var(0)
            winners.append(int(ratio(within, variance, np.inf).argmin()))
            fixed.append(factor)
    return np.array(winners, np.int64), np.array(fixed, np.int64)


def ratio(over: NDArray[Any], under: NDArray[Any], otherwise: float) -> Features:
    """The ratio of the two, and `otherwise` where `under` is not positive."""
    result = np.full(np.shape(over), otherwise)
    np.divide(over, under, out=result, where=under > 0)
    return result

"""Are the factors of the pictures' world apart from each other in a code? The analyses of the Shapes3D experiment.

Halvagal & Zenke 2023, Extended Data Figs. 5 and 6. Everything here asks for codes by the indices of pictures, in the
mixed radix of `ratenets.sequences.shapes3d`; the paper's protocol asks for 46 million, so give a look-up in codes that
were computed once.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from foundation.data.shapes3d import FACTORS, SIZES
from foundation.errors import RatespikeError
from foundation.progress import bar
from foundation.seeds import numpy_generator
from ratenets.evaluation.config import FactorConfig
from ratenets.evaluation.factor_votes import Codes, Features, Integers, VoteScore, ratio, vote_score
from ratenets.sequences.shapes3d import Shapes3DSequences, factors_of, index_of

CHUNK = 4096  # pictures at a time
SHOWN_CONTEXTS = 30
"""Of the contexts in which a factor is varied, how many are kept for the figure of its manifold."""


class Statistics(NamedTuple):
    """Of each unit over all pictures."""

    mean: Features  # (M,)
    variance: Features  # (M,), exactly 0 for a unit that never varies


class Projection(NamedTuple):
    """Principal components of a cloud of codes."""

    centre: Features  # (M,)
    axes: Features  # (K, M), orthonormal rows
    explained: Features  # (K,), share of the variance along each

    def __call__(self, features: Features) -> Features:
        """Coordinates, (..., K), of codes, (..., M)."""
        return (features - self.centre) @ self.axes.T


def factor_report(
    codes: Codes,
    sequences: Shapes3DSequences | None = None,
    *,
    config: FactorConfig | None = None,
    sizes: tuple[int, ...] = SIZES,
    seed: int = 0,
) -> dict[str, Any]:
    """Everything that the experiment asks of a code, as plain values for a JSON file and for `factor_plots`.

    Args:
        codes: gives the codes, (B, M), of pictures by their indices, (B,), up to a few ten thousand at a time.
        sequences: what the network was shown, for the transition matrices and the order of the hues.
        config: how much is drawn.
        sizes: values of each factor.
        seed: of all draws.

    Returns:
        ``score`` and ``strict_score`` (mean, deviation and values over the repetitions, 0 to 1), ``units`` and
        ``silent_units``, and by factor ``similarity`` (n, n), ``manifolds`` (see `manifold`); ``scatter`` (see
        `scatter`); with `sequences` also ``transitions`` (n, n) and ``order``, the values of each factor in the order
        in which a sequence goes through them. What is not defined is None.

    Raises:
        RatespikeError: a code is not finite.
    """
    config = config or FactorConfig()
    statistics = code_statistics(codes, math.prod(sizes))
    scores = _repeated(codes, statistics.variance, config, sizes, seed)
    report: dict[str, Any] = {
        "sizes": dict(zip(FACTORS, sizes, strict=True)),
        "units": len(statistics.variance),
        "silent_units": int(np.sum(statistics.variance == 0)),
        "score": _summary([each.score for each in scores]),
        "strict_score": _summary([each.strict for each in scores]),
        "similarity": {},
        "manifolds": {},
        "scatter": scatter(codes, config.scatter, numpy_generator(seed, "factors", "scatter"), sizes),
    }
    for k, name in enumerate(FACTORS):
        generator = numpy_generator(seed, "factors", "contexts", name)
        varied = vary(codes, k, config.contexts, generator, sizes)
        report["similarity"][name] = _plain(similarity(varied, statistics.mean))
        report["manifolds"][name] = manifold(varied)
    if sequences is not None:
        values = factors_of(sequences.frames, sizes)
        matrices = (transition_matrix(values[..., k], size) for k, size in enumerate(sizes))
        report["transitions"] = dict(zip(FACTORS, map(_plain, matrices), strict=True))
        report["order"] = {name: order.tolist() for name, order in zip(FACTORS, sequences.permutations, strict=True)}
    return report


def code_statistics(codes: Codes, number: int) -> Statistics:
    """Mean and variance of each unit over the pictures 0 to `number` - 1.

    Raises:
        RatespikeError: a code is not finite; the message names the unit, from 0.
    """
    first = np.asarray(codes(np.zeros(1, np.intp))[0], np.float64)
    total, squares = np.zeros_like(first), np.zeros_like(first)
    for start in range(0, number, CHUNK):
        # Relative to the first code: sums of what never varies are then exact.
        chunk = codes(np.arange(start, min(start + CHUNK, number), dtype=np.intp))
        finite = np.isfinite(chunk).all(axis=0)
        if not np.all(finite):
            raise RatespikeError(f"codes: unit {np.argmin(finite)} of {first.size} is not finite for every picture")
        shifted = chunk - first
        total += shifted.sum(0)
        squares += np.square(shifted).sum(0)
    mean = total / number
    return Statistics(first + mean, np.maximum(squares / number - np.square(mean), 0.0))


def transition_matrix(values: Integers, size: int) -> Features:
    """How often value a is followed by value b, (size, size), rows a sum to 1; from sequences of values, (S, T).

    The row of a value that is followed by nothing is NaN.
    """
    pairs = values[..., :-1].ravel() * size + values[..., 1:].ravel()
    counts = np.bincount(pairs, minlength=size**2).reshape(size, size)
    followed = counts.sum(1, keepdims=True)
    return ratio(counts.astype(np.float64), followed, np.nan)


def vary(
    codes: Codes, factor: int, contexts: int, generator: np.random.Generator, sizes: tuple[int, ...] = SIZES
) -> Features:
    """Codes, (C, n, M), for all n values of one factor in C random contexts, values of the other factors."""
    factors = np.stack([generator.integers(size, size=contexts) for size in sizes], axis=1)
    factors = np.repeat(factors[:, None], sizes[factor], axis=1)
    factors[..., factor] = np.arange(sizes[factor])
    features = codes(index_of(factors, sizes).ravel().astype(np.intp))
    return features.reshape(contexts, sizes[factor], -1).astype(np.float64)


def similarity(varied: Features, mean: Features) -> Features:
    """Cosine of the codes for any two values of a factor in the same context, averaged over the contexts, (n, n).

    Args:
        varied: codes, (C, n, M), see `vary`.
        mean: of the codes over all pictures, (M,), which is taken off first.

    Returns:
        NaN for values whose code is the mean in every context.
    """
    centred = varied - mean
    length = np.linalg.norm(centred, axis=2, keepdims=True)
    unit = ratio(centred, length, 0.0)
    defined = (length[..., 0] > 0).astype(np.float64)
    number = defined.T @ defined
    total = np.tensordot(unit, unit, axes=((0, 2), (0, 2)))
    return ratio(total, number, np.nan)


def _repeated(
    codes: Codes, variance: Features, config: FactorConfig, sizes: tuple[int, ...], seed: int
) -> list[VoteScore]:
    how = {"batch": config.batch, "train_batches": config.train_batches, "test_batches": config.test_batches}
    return [
        vote_score(codes, variance, numpy_generator(seed, "factors", "votes", repetition), sizes, **how)
        for repetition in bar(range(config.repetitions), label="factor scores", disable=config.repetitions == 1)
    ]


def pca(features: Features, components: int = 2) -> Projection:
    """Principal components of codes, (N, M). The largest entry of each axis is positive.

    The shares of variance are NaN for codes that never vary; axes beyond the rank are zero.
    """
    centre = features.mean(0)
    _, singular, axes = np.linalg.svd(features - centre, full_matrices=False)
    missing = max(components - len(singular), 0)
    axes = np.pad(axes[:components], ((0, missing), (0, 0)))
    signs = np.sign(axes[np.arange(components), np.abs(axes).argmax(1)])
    power = np.pad(np.square(singular), (0, missing))
    share = power[:components] / power.sum() if power.sum() > 0 else np.full(components, np.nan)
    return Projection(centre, axes * np.where(signs == 0, 1.0, signs)[:, None], share)


def manifold(varied: Features) -> dict[str, Any]:
    """The curve that a code describes while one factor goes through its values, in its two principal components.

    Args:
        varied: codes, (C, n, M), see `vary`.

    Returns:
        ``curve`` (n, 2), the mean code of each value; ``contexts`` (c, n, 2), single contexts in the same plane;
        ``explained`` (2,), the share of the curve's variance along each component.
    """
    means = varied.mean(0)
    projection = pca(means)
    return {
        "curve": _plain(projection(means)),
        "contexts": _plain(projection(varied[:SHOWN_CONTEXTS])),
        "explained": _plain(projection.explained),
    }


def scatter(
    codes: Codes, number: int, generator: np.random.Generator, sizes: tuple[int, ...] = SIZES
) -> dict[str, Any]:
    """Codes of random pictures in their two principal components.

    Returns:
        ``points`` (number, 2), ``factors`` (number, 6) and ``explained`` (2,), the share of the variance along each.
    """
    chosen = generator.integers(math.prod(sizes), size=number).astype(np.intp)
    features = codes(chosen).astype(np.float64)
    projection = pca(features)
    return {
        "points": _plain(projection(features)),
        "factors": factors_of(chosen, sizes).tolist(),
        "explained": _plain(projection.explained),
    }


def _summary(values: list[float]) -> dict[str, Any]:
    return {"mean": float(np.mean(values)), "deviation": float(np.std(values)), "values": values}


def _plain(values: Features) -> list[Any]:
    """Nested lists, with None for NaN, which JSON does not know."""
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    nested: list[Any] = plain.tolist()
    return nested

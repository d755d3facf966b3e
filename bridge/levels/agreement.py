"""How well two rungs of the ladder agree on the updates of the synapses that exist, and how well they could."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.comparison import cosine

Floats = NDArray[np.float64]
MEASURES = (
    "to_first", "to_before", "ceiling", "pearson", "pearson_before", "pearson_ceiling",
    "shuffled", "other", "shuffled_pearson", "other_pearson",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Agreement:
    """Of one term at one rung, by unit (M,), and over all synapses.

    Attributes:
        to_first: cosine to the first rung.
        to_before: cosine to the rung before.
        ceiling: what noise allows a cosine: sqrt(2 c / (1 + c)), the root of the mean's reliability (Spearman-Brown),
            from the cosine c of two halves of the realisations; 1 where nothing is drawn.
        pearson: correlation with the first rung: a cosine from which what all synapses of a unit share is taken out.
        pearson_before: correlation with the rung before.
        pearson_ceiling: what noise allows a correlation; lower, since what synapses share is surer than what they do
            not.
        shuffled: control, cosine to the rate rule with its inputs shuffled in time.
        other: control, cosine to another unit's update by the rate rule, at this unit's synapses.
        shuffled_pearson, other_pearson: the same controls, as correlations.
        overall: all of these but the controls, over all synapses at once.
    """

    to_first: Floats
    to_before: Floats
    ceiling: Floats
    pearson: Floats
    pearson_before: Floats
    pearson_ceiling: Floats
    shuffled: Floats
    other: Floats
    shuffled_pearson: Floats
    other_pearson: Floats
    overall: dict[str, float]


def agreement_of(
    updates: Floats, first: Floats, before: Floats, shuffled: list[Floats], exists: NDArray[np.bool_]
) -> Agreement:
    """Compare updates (R, M, N) with those of the first rung and of the one before, (M, N), and with controls (M, N).

    Args:
        updates: of R realisations.
        first: of the first rung.
        before: of the rung before.
        shuffled: of the first rung, with its inputs shuffled.
        exists: (M, N), whether there is a synapse.
    """
    mean, halves = updates.mean(0), _halves(updates)
    others = [np.roll(first, 1, axis=0)]
    plain, centred = _Measure(exists, centre=False), _Measure(exists, centre=True)
    return Agreement(
        to_first=plain.rows(mean, first),
        to_before=plain.rows(mean, before),
        ceiling=reliability(plain.rows(*halves)),
        pearson=centred.rows(mean, first),
        pearson_before=centred.rows(mean, before),
        pearson_ceiling=reliability(centred.rows(*halves)),
        shuffled=plain.mean_rows(mean, shuffled),
        other=plain.mean_rows(mean, others),
        shuffled_pearson=centred.mean_rows(mean, shuffled),
        other_pearson=centred.mean_rows(mean, others),
        overall={
            "to_first": plain.whole(mean, first),
            "to_before": plain.whole(mean, before),
            "ceiling": float(reliability(plain.whole(*halves))),
            "pearson": centred.whole(mean, first),
            "pearson_before": centred.whole(mean, before),
            "pearson_ceiling": float(reliability(centred.whole(*halves))),
        },
    )


def by_number(updates: Floats, first: Floats, exists: NDArray[np.bool_]) -> list[list[float]]:
    """For 2, 4, 8, ... realisations: how many, the correlation over all synapses with the first rung, its ceiling."""
    measure, found, number = _Measure(exists, centre=True), [], 2
    while number <= len(updates):
        part = updates[:number]
        ceiling = float(reliability(measure.whole(*_halves(part))))
        found.append([float(number), measure.whole(part.mean(0), first), ceiling])
        number *= 2
    return found


def reliability(halves: Floats | float) -> Floats:
    """The ceiling, from the agreement of two halves."""
    c = np.maximum(halves, 0.0)
    return np.asarray(np.sqrt(2 * c / (1 + c)))


def flat_cosine(one: Floats, other: Floats) -> float:
    """The cosine over all synapses at once."""
    return float(cosine(one.ravel(), other.ravel()))


class _Measure:
    """A cosine (or, centred, a correlation) at the synapses that exist."""

    def __init__(self, exists: NDArray[np.bool_], *, centre: bool) -> None:
        self.exists, self.centre = exists, centre
        self.number = np.maximum(exists.sum(1, keepdims=True), 1)

    def rows(self, one: Floats, other: Floats) -> Floats:
        """By unit, (M,)."""
        return cosine(self._at(one), self._at(other))

    def mean_rows(self, one: Floats, others: list[Floats]) -> Floats:
        """By unit, (M,), mean over several."""
        return np.asarray(np.mean([self.rows(one, other) for other in others], axis=0))

    def whole(self, one: Floats, other: Floats) -> float:
        """Over all synapses at once."""
        x, y = one[self.exists], other[self.exists]
        return flat_cosine(x - x.mean(), y - y.mean()) if self.centre else flat_cosine(x, y)

    def _at(self, values: Floats) -> Floats:
        held = values * self.exists
        return (held - held.sum(1, keepdims=True) / self.number) * self.exists if self.centre else held


def _halves(updates: Floats) -> tuple[Floats, Floats]:
    if len(updates) == 1:
        return updates[0], updates[0]
    return updates[::2].mean(0), updates[1::2].mean(0)

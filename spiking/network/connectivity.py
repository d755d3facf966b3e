"""Who is connected with whom, and how strongly: what a `Projection` is made with.

Every kind says how many synapses it makes before it makes any, and makes them as arrays, ordered by source and then by
target. The linear maps of `spiking.synapses` (dense, convolution, average pool, gain) are kinds, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foundation.errors import UsageError
from spiking.synapses import AdaptiveAveragePool, AveragePool, Conv, Dense, Gain, Synapses

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Shape = tuple[int, ...]
Map = Dense | Conv | AveragePool | AdaptiveAveragePool | Gain

BLOCK = 2**22  # random numbers that are drawn at once


@dataclass(frozen=True)
class Uniform:
    """Weights that are drawn evenly between two bounds."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise UsageError(f"Uniform: must have finite bounds, low <= high, got {self.low} and {self.high}")

    def draw(self, size: int, rng: np.random.Generator) -> Floats:
        """That many."""
        return rng.uniform(self.low, self.high, size)


@dataclass(frozen=True)
class Normal:
    """Weights with a normal distribution; those beyond a bound are set to it."""

    mean: float
    deviation: float
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.deviation) and self.deviation >= 0):
            raise UsageError(f"Normal: must have a finite mean and a deviation of 0 or more, got {self.deviation}")

    def draw(self, size: int, rng: np.random.Generator) -> Floats:
        """That many."""
        return np.clip(rng.normal(self.mean, self.deviation, size), self.low, self.high)


Weight = float | Uniform | Normal
"""One number for all synapses, or a distribution."""


class Connectivity(Protocol):
    """A kind of connectivity between populations of `source` and `target` units, or shapes where they matter."""

    def count(self, source: Shape, target: Shape) -> float:
        """How many synapses it makes, at most or on average."""
        ...

    def make(self, source: Shape, target: Shape, rng: np.random.Generator) -> Synapses:
        """Its synapses, ordered by source, then by target. Raises `UsageError` where sizes do not fit."""
        ...


def drawn(weight: Weight, size: int, rng: np.random.Generator) -> Floats:
    """Weights of that many synapses."""
    return weight.draw(size, rng) if isinstance(weight, Uniform | Normal) else np.full(size, float(weight))


@dataclass(frozen=True)
class Random:
    """Every pair is connected with probability p, on its own.

    Args:
        p: in [0, 1].
        weight: of the synapses.
        itself: whether a unit may be connected with itself, in a population that projects to itself.
    """

    p: float
    weight: Weight = 1.0
    itself: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise UsageError(f"Random.p: a probability lies in [0, 1], got {self.p}")

    def count(self, source: Shape, target: Shape) -> float:
        """On average."""
        return self.p * math.prod(source) * math.prod(target)

    def make(self, source: Shape, target: Shape, rng: np.random.Generator) -> Synapses:
        """In blocks of rows, so that memory goes with the synapses and not with the pairs."""
        n, m = math.prod(source), math.prod(target)
        rows = max(1, BLOCK // max(m, 1))
        found: list[tuple[Indices, Indices]] = []
        for first in range(0, n, rows):
            pre, post = np.nonzero(rng.random((min(rows, n - first), m)) < self.p)
            pre = pre + first
            keep = slice(None) if self.itself else pre != post
            found.append((pre[keep], post[keep]))
        pre, post = (np.concatenate(part).astype(np.int64) for part in zip(*found, strict=True))
        return Synapses(pre, post, drawn(self.weight, pre.size, rng))


@dataclass(frozen=True)
class FixedNumber:
    """Every target unit has that many inputs, drawn without repetition from those that there are."""

    inputs: int
    weight: Weight = 1.0
    itself: bool = True

    def count(self, source: Shape, target: Shape) -> float:
        """Exactly."""
        return float(self.inputs * math.prod(target))

    def make(self, source: Shape, target: Shape, rng: np.random.Generator) -> Synapses:
        """Target by target."""
        n, m = math.prod(source), math.prod(target)
        least = self.inputs + (not self.itself)
        if self.inputs < 0 or least > n:
            raise UsageError(f"FixedNumber.inputs: {self.inputs} distinct inputs cannot be had from {n} units")
        pre = np.empty((m, self.inputs), np.int64)
        for unit in range(m):
            chosen = rng.choice(n - (not self.itself), self.inputs, replace=False)
            pre[unit] = chosen if self.itself else chosen + (chosen >= unit)
        return sorted_synapses(pre.ravel(), np.repeat(np.arange(m), self.inputs), self.weight, rng)


@dataclass(frozen=True)
class Profile:
    """The probability of a synapse falls with the distance: exp(-(x - c)² / sigma²), both populations spread evenly.

    Source unit x stands at x; target unit k of m stands at c = k n/(m - 1), as in Halvagal & Zenke 2023.
    """

    sigma: float  # in source units
    weight: Weight = 1.0

    def _probability(self, source: Shape, target: Shape) -> Floats:
        n, m = math.prod(source), math.prod(target)
        distance = np.arange(n)[:, None] - np.linspace(0, n, m)
        return np.exp(-(distance**2) / self.sigma**2)

    def count(self, source: Shape, target: Shape) -> float:
        """At most: all of them."""
        return float(math.prod(source) * math.prod(target))

    def make(self, source: Shape, target: Shape, rng: np.random.Generator) -> Synapses:
        """All at once."""
        probability = self._probability(source, target)
        pre, post = np.nonzero(rng.random(probability.shape) < probability)
        return Synapses(pre.astype(np.int64), post.astype(np.int64), drawn(self.weight, pre.size, rng))


@dataclass(frozen=True)
class AllToAll:
    """Every source unit with every target unit."""

    weight: Weight = 1.0
    itself: bool = True

    def count(self, source: Shape, target: Shape) -> float:
        """At most."""
        return float(math.prod(source) * math.prod(target))

    def make(self, source: Shape, target: Shape, rng: np.random.Generator) -> Synapses:
        """Row by row."""
        n, m = math.prod(source), math.prod(target)
        pre, post = np.repeat(np.arange(n), m), np.tile(np.arange(m), n)
        keep = slice(None) if self.itself else pre != post
        return Synapses(pre[keep], post[keep], drawn(self.weight, pre[keep].size, rng))


@dataclass(frozen=True)
class OneToOne:
    """Unit k with unit k."""

    weight: Weight = 1.0

    def count(self, source: Shape, target: Shape) -> float:
        """Exactly."""
        return float(math.prod(source))

    def make(self, source: Shape, target: Shape, rng: np.random.Generator) -> Synapses:
        """As many as there are units."""
        n, m = math.prod(source), math.prod(target)
        if n != m:
            raise UsageError(f"OneToOne: needs as many units on both sides, got {n} and {m}")
        units = np.arange(n)
        return Synapses(units, units, drawn(self.weight, n, rng))


class Pairs:
    """A list of synapses: synapse k leads from pre[k] to post[k] with weight[k].

    Args:
        pre: (S,).
        post: (S,).
        weight: (S,), or one number for all.

    Raises:
        UsageError: the lists differ in length, or an index is negative, or a weight is not finite.
    """

    def __init__(self, pre: ArrayLike, post: ArrayLike, weight: ArrayLike = 1.0) -> None:
        one, other = (np.asarray(x) for x in (pre, post))
        for name, array in (("pre", one), ("post", other)):
            if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
                raise UsageError(f"Pairs.{name}: must be a list of whole numbers, got shape {array.shape}")
            if array.size and array.min() < 0:
                raise UsageError(f"Pairs.{name}: must not be negative, got {array.min()}")
        w = np.asarray(weight, np.float64)
        if one.shape != other.shape or w.shape not in ((), one.shape):
            raise UsageError(f"Pairs: pre, post and weight differ in shape: {one.shape}, {other.shape}, {w.shape}")
        if not np.isfinite(w).all():
            raise UsageError("Pairs.weight: must be finite")
        order = np.lexsort((other, one))
        self.order: Indices = order
        """Which of the given synapses stands where."""
        self.synapses = Synapses(
            one[order].astype(np.int64), other[order].astype(np.int64), np.broadcast_to(w, one.shape)[order].copy()
        )

    def count(self, source: Shape, target: Shape) -> float:
        """Exactly."""
        return float(self.synapses.pre.size)

    def make(self, source: Shape, target: Shape, rng: np.random.Generator) -> Synapses:
        """Those given."""
        for name, indices, size in zip(
            ("pre", "post"), self.synapses[:2], (math.prod(source), math.prod(target)), strict=True
        ):
            if indices.size and indices.max() >= size:
                raise UsageError(f"Pairs.{name}: must lie in 0..{size - 1}, got {indices.max()}")
        return self.synapses


class Mapped:
    """The synapses of linear maps, one after the other, between populations with shapes; their product, if several."""

    def __init__(self, maps: Sequence[Map] | Map) -> None:
        self.maps: tuple[Map, ...] = tuple(maps) if isinstance(maps, Sequence) else (maps,)
        if not self.maps:
            raise UsageError("Mapped: needs one map or more")

    def count(self, source: Shape, target: Shape) -> float:
        """Of the largest of them."""
        most, shape = 0, source
        for each in self.maps:
            most, shape = max(most, each.count(shape)), each.above(shape)
        return float(most)

    def make(self, source: Shape, target: Shape, rng: np.random.Generator) -> Synapses:
        """Multiplied as sparse matrices."""
        from scipy import sparse

        shape, whole = source, None
        for each in self.maps:
            found, above = each.explicit(shape), each.above(shape)
            matrix = sparse.csr_matrix(
                (found.weight, (found.pre, found.post)), shape=(math.prod(shape), math.prod(above))
            )
            whole, shape = matrix if whole is None else whole @ matrix, above
        assert whole is not None
        if math.prod(shape) != math.prod(target):
            raise UsageError(f"{type(self.maps[-1]).__name__}: leads to {shape}, not to {target}")
        whole.sort_indices()
        made = whole.tocoo()
        return Synapses(made.row.astype(np.int64), made.col.astype(np.int64), made.data)


def sorted_synapses(pre: Indices, post: Indices, weight: Weight, rng: np.random.Generator) -> Synapses:
    """In the order that all kinds have."""
    order = np.lexsort((post, pre))
    return Synapses(pre[order], post[order], drawn(weight, pre.size, rng))

"""Synapses as a list, the form in which all exchange files hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foundation.errors import UsageError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_NEURONS = 2**32 - 1
"""Of a population: the largest number of a neuron in Auryn, more than anybody simulates."""
MOST_DENSE = 2**29
"""Entries of a matrix that `Edges.dense` makes: 4 GiB."""


@dataclass(frozen=True, eq=False)
class Edges:
    """Synapse k leads from neuron pre[k] to neuron post[k], has weight[k] and delay[k].

    The order is the user's; files keep it but for `.wmat`, which is written in the order of `ordered`. Several
    synapses may lead from one neuron to another, and a weight may be 0.

    Attributes:
        pre: (E,), 0 to n_pre - 1.
        post: (E,), 0 to n_post - 1.
        weight: (E,), finite, in the unit of the network that it comes from.
        n_pre: presynaptic neurons, those without synapses too.
        n_post: postsynaptic neurons, likewise.
        delay: (E,), s, not negative; None where the connection has none of its own.

    Raises:
        UsageError: an array of another shape or type, a value out of range; the message names the field.
    """

    pre: Integers
    post: Integers
    weight: Floats
    n_pre: int
    n_post: int
    delay: Floats | None = None

    def __post_init__(self) -> None:
        for name in ("n_pre", "n_post"):
            count = getattr(self, name)
            if isinstance(count, bool) or not isinstance(count, int | np.integer) or not 0 <= count <= MOST_NEURONS:
                raise UsageError(f"{name}: must be a whole number from 0 to {MOST_NEURONS}, got {count!r}")
            object.__setattr__(self, name, int(count))
        self._keep("pre", _ids("pre", self.pre, self.n_pre))
        self._keep("post", _ids("post", self.post, self.n_post))
        self._keep("weight", _finite("weight", self.weight))
        if self.delay is not None:
            self._keep("delay", _finite("delay", self.delay))
            if self.delay.size and self.delay.min() < 0:
                raise UsageError(f"delay: must not be negative, got {self.delay.min()} s")
        for name in ("post", "weight", "delay"):
            array = getattr(self, name)
            if array is not None and array.size != self.pre.size:
                raise UsageError(f"{name}: must have an entry for each of {self.pre.size} synapses, has {array.size}")

    def _keep(self, name: str, array: NDArray[Any]) -> None:
        array.flags.writeable = False
        object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return int(self.pre.size)

    def ordered(self) -> Edges:
        """The same synapses by presynaptic neuron, then by postsynaptic one, equals in the order that they had."""
        order = np.lexsort((self.post, self.pre))
        delay = None if self.delay is None else self.delay[order]
        return Edges(self.pre[order], self.post[order], self.weight[order], self.n_pre, self.n_post, delay)

    def repeated(self) -> tuple[int, int] | None:
        """Two neurons (pre, post) with more than one synapse between them; None where there are none."""
        order = np.lexsort((self.post, self.pre))
        pre, post = self.pre[order], self.post[order]
        twice = np.flatnonzero((pre[1:] == pre[:-1]) & (post[1:] == post[:-1]))
        return (int(pre[twice[0]]), int(post[twice[0]])) if twice.size else None

    def dense(self) -> Floats:
        """The weights W (M, N) = (n_post, n_pre) of y = W x, 0 where there is no synapse; delays are not in it.

        Raises:
            UsageError: two neurons have more than one synapse between them, or the matrix exceeds `MOST_DENSE`.
        """
        if self.n_pre * self.n_post > MOST_DENSE:
            raise UsageError(f"dense: a matrix of {self.n_post} x {self.n_pre} takes more than {8 * MOST_DENSE} bytes")
        if (pair := self.repeated()) is not None:
            raise UsageError(f"dense: more than one synapse from {pair[0]} to {pair[1]}, a matrix holds one")
        weight = np.zeros((self.n_post, self.n_pre))
        weight[self.post, self.pre] = self.weight
        return weight

    @classmethod
    def of_dense(cls, weight: ArrayLike) -> Edges:
        """The synapses of a matrix W (M, N) from N neurons to M: its entries other than 0, ordered as in `ordered`.

        Raises:
            UsageError: it is no matrix of finite numbers.
        """
        W = np.asarray(weight)
        if W.ndim != 2:
            raise UsageError(f"weight: must be a matrix (M, N), got shape {W.shape}")
        pre, post = np.nonzero(W.T)
        return cls(pre, post, W[post, pre], W.shape[1], W.shape[0])


def _ids(name: str, values: ArrayLike, count: int) -> Integers:
    ids = np.asarray(values)
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise UsageError(f"{name}: must be a list of whole numbers, got {ids.dtype} of shape {ids.shape}")
    if ids.size and not (ids.min() >= 0 and ids.max() < count):
        wrong = ids.min() if ids.min() < 0 else ids.max()
        raise UsageError(f"{name}: must lie from 0 to {count - 1}, got {wrong}")
    return ids.astype(np.int64)  # a copy, which nobody can change behind our back


def _finite(name: str, values: ArrayLike) -> Floats:
    numbers = np.asarray(values)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iuf"):
        raise UsageError(f"{name}: must be a list of numbers, got {numbers.dtype} of shape {numbers.shape}")
    bad = np.flatnonzero(~np.isfinite(numbers)) if numbers.size else np.empty(0, np.int64)
    if bad.size:
        raise UsageError(f"{name}: must be finite, got {numbers[bad[0]]} for synapse {bad[0]}")
    return numbers.astype(np.float64)

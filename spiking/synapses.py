"""Linear maps between the layers of a network, as a matrix product, a convolution or a pool, and synapse by synapse.

A simulator on torch keeps a convolution a convolution; Brian2 has synapses only, which `explicit` gives as arrays.
Shapes are those of one image: (N,) or (C, H, W). Units are numbered as in the flattened array.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from foundation.errors import UsageError

Array: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]
Shape: TypeAlias = tuple[int, ...]
Pair: TypeAlias = tuple[int, int]


class Synapses(NamedTuple):
    """Synapse k leads from unit pre[k] to unit post[k] with weight[k], each (S,)."""

    pre: Indices
    post: Indices
    weight: Array


def _finite(kind: str, weight: Array, dims: int) -> None:
    if weight.ndim != dims or weight.size == 0:
        raise UsageError(f"{kind}: needs weights in {dims} dimensions, got shape {weight.shape}")
    if not np.isfinite(weight).all():
        raise UsageError(f"{kind}: weights must be finite")


def _pairs(kind: str, least: int, **values: Pair) -> None:
    for name, value in values.items():
        if len(value) != 2 or not all(isinstance(v, int) and v >= least for v in value):
            raise UsageError(f"{kind}: {name} must be two whole numbers of at least {least}, got {value}")


def _map_shape(kind: str, shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise UsageError(f"{kind}: takes maps (C, H, W), got {shape}")
    return shape[0], shape[1], shape[2]


def _windows(kind: str, shape: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> Pair:
    """Rows and columns of windows of that size."""
    rows, columns = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(shape, kernel, stride, padding, dilation, strict=True)
    )
    if min(rows, columns) < 1:
        raise UsageError(f"{kind}: the window {kernel} is larger than maps of {shape}")
    return rows, columns


@dataclass(frozen=True, eq=False)
class Dense:
    """y = W x, weight (M, N); maps are flattened."""

    weight: Array

    def __post_init__(self) -> None:
        _finite("Dense", self.weight, 2)

    def above(self, shape: Shape) -> Shape:
        """The shape of y for an x of `shape`; `UsageError` if x does not fit. So in all maps."""
        if math.prod(shape) != self.weight.shape[1]:
            raise UsageError(f"Dense: takes {self.weight.shape[1]} inputs, got {math.prod(shape)}")
        return self.weight.shape[:1]

    def explicit(self, shape: Shape) -> Synapses:
        """Its synapses for an x of `shape`. So in all maps."""
        post, pre = np.divmod(np.arange(self.weight.size), self.weight.shape[1])
        return Synapses(pre, post, self.weight.ravel())

    def count(self, shape: Shape) -> int:
        """How many synapses that gives, at most. So in all maps."""
        return self.weight.size

    def scaled(self, below: Array, above: Array, shape: Shape) -> Dense:
        """The map from x / below to y / above; scales by channel, or one number."""
        return Dense(self.weight * per_unit(below, shape) / above[:, None])


@dataclass(frozen=True, eq=False)
class Conv:
    """Cross-correlation as in `torch.nn.Conv2d`, weight (O, I / groups, rows, columns), zeros around."""

    weight: Array
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        _finite("Conv", self.weight, 4)
        _pairs("Conv", 1, stride=self.stride, dilation=self.dilation)
        _pairs("Conv", 0, padding=self.padding)
        if self.groups < 1 or self.weight.shape[0] % self.groups:
            raise UsageError(f"Conv: groups must divide {self.weight.shape[0]} channels, got {self.groups}")

    def above(self, shape: Shape) -> Shape:
        channels, *size = _map_shape("Conv", shape)
        if channels != self.weight.shape[1] * self.groups:
            raise UsageError(f"Conv: takes {self.weight.shape[1] * self.groups} channels, got {channels}")
        kernel = self.weight.shape[2], self.weight.shape[3]
        windows = _windows("Conv", (size[0], size[1]), kernel, self.stride, self.padding, self.dilation)
        return self.weight.shape[0], *windows

    def explicit(self, shape: Shape) -> Synapses:
        (_, height, width), (outputs, *size) = shape, self.above(shape)
        inputs = self.weight.shape[1]
        (row, row_in, tap), (column, column_in, column_tap) = self._taps(shape)
        o, i = np.arange(outputs)[:, None, None, None], np.arange(inputs)[:, None, None]
        channel = i + o // (outputs // self.groups) * inputs
        pre = (channel * height + row_in[:, None]) * width + column_in
        post = (o * size[0] + row[:, None]) * size[1] + column
        weight = self.weight[:, :, tap[:, None], column_tap]
        return Synapses(
            np.ascontiguousarray(np.broadcast_to(pre, weight.shape)).ravel(),
            np.ascontiguousarray(np.broadcast_to(post, weight.shape)).ravel(),
            weight.ravel(),
        )

    def count(self, shape: Shape) -> int:
        (rows, _, _), (columns, _, _) = self._taps(shape)
        outputs, inputs = self.weight.shape[:2]
        return int(outputs) * int(inputs) * len(rows) * len(columns)

    def scaled(self, below: Array, above: Array, shape: Shape) -> Conv:
        outputs, inputs = self.weight.shape[:2]
        channel = np.arange(inputs) + np.arange(outputs)[:, None] // (outputs // self.groups) * inputs
        factor = np.broadcast_to(below, inputs * self.groups)[channel] / above[:, None]
        return Conv(self.weight * factor[:, :, None, None], self.stride, self.padding, self.dilation, self.groups)

    def explicit_fan_out(self, shape: Shape) -> Array:
        """How many of its synapses leave each unit below, (N,). So in pools and gains."""
        rows, columns = (
            np.bincount(places, minlength=size)
            for (_, places, _), size in zip(self._taps(shape), shape[1:], strict=True)
        )
        each = len(self.weight) // self.groups * np.outer(rows, columns).ravel()
        return np.tile(each, shape[0]).astype(np.float64)

    def _taps(self, shape: Shape) -> list[tuple[Indices, Indices, Indices]]:
        """Rows, then columns: place above, place below and tap of the kernel, of every pair that is not padding."""
        found = []
        for axis, windows in enumerate(self.above(shape)[1:]):
            tap = np.arange(self.weight.shape[2 + axis])
            place = np.arange(windows)[:, None] * self.stride[axis] - self.padding[axis] + tap * self.dilation[axis]
            above, which = np.nonzero((place >= 0) & (place < shape[1 + axis]))
            found.append((above, place[above, which], tap[which]))
        return found


@dataclass(frozen=True, eq=False)
class AveragePool:
    """Mean over windows, as in `torch.nn.AvgPool2d`: the zeros around count."""

    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)

    def __post_init__(self) -> None:
        _pairs("AveragePool", 1, kernel=self.kernel, stride=self.stride)
        _pairs("AveragePool", 0, padding=self.padding)
        if any(2 * p > k for p, k in zip(self.padding, self.kernel, strict=True)):
            raise UsageError(f"AveragePool: padding must be at most half of the kernel {self.kernel}")

    def above(self, shape: Shape) -> Shape:
        channels, *size = _map_shape("AveragePool", shape)
        return channels, *_windows("AveragePool", (size[0], size[1]), self.kernel, self.stride, self.padding)

    def explicit(self, shape: Shape) -> Synapses:
        return self._as_conv(shape).explicit(shape)

    def count(self, shape: Shape) -> int:
        return self._as_conv(shape).count(shape)

    def explicit_fan_out(self, shape: Shape) -> Array:
        return self._as_conv(shape).explicit_fan_out(shape)

    def _as_conv(self, shape: Shape) -> Conv:
        channels, _, _ = _map_shape("AveragePool", shape)
        weight = np.full((channels, 1, *self.kernel), 1 / math.prod(self.kernel))
        return Conv(weight, self.stride, self.padding, groups=channels)


@dataclass(frozen=True, eq=False)
class AdaptiveAveragePool:
    """Mean over `size` windows that share the map out evenly, as in `torch.nn.AdaptiveAvgPool2d`."""

    size: Pair

    def __post_init__(self) -> None:
        _pairs("AdaptiveAveragePool", 1, size=self.size)

    def above(self, shape: Shape) -> Shape:
        return _map_shape("AdaptiveAveragePool", shape)[0], *self.size

    def explicit(self, shape: Shape) -> Synapses:
        channels, *size = _map_shape("AdaptiveAveragePool", shape)
        rows, columns = (_shares(n, windows) for n, windows in zip(size, self.size, strict=True))
        whole = sparse.kron(sparse.identity(channels), sparse.kron(rows, columns)).tocoo()
        return Synapses(whole.col.astype(np.int64), whole.row.astype(np.int64), whole.data)

    def count(self, shape: Shape) -> int:
        channels, *size = _map_shape("AdaptiveAveragePool", shape)
        rows, columns = (int(_shares(n, w).nnz) for n, w in zip(size, self.size, strict=True))
        return channels * rows * columns


def _shares(places: int, windows: int) -> sparse.csr_matrix:
    """(windows, places): the share of each place in each window."""
    matrix = np.zeros((windows, places))
    for w in range(windows):
        first, last = w * places // windows, -(-(w + 1) * places // windows)
        matrix[w, first:last] = 1 / (last - first)
    return sparse.csr_matrix(matrix)


@dataclass(frozen=True, eq=False)
class Gain:
    """y = g x, with one number, (1,), or one for each channel (or unit), (C,): the shortcut of a residual block."""

    factor: Array

    def __post_init__(self) -> None:
        _finite("Gain", self.factor, 1)

    def above(self, shape: Shape) -> Shape:
        if len(self.factor) not in (1, shape[0]):
            raise UsageError(f"Gain: has {len(self.factor)} factors for {shape[0]} channels")
        return shape

    def explicit(self, shape: Shape) -> Synapses:
        units = np.arange(math.prod(shape))
        return Synapses(units, units, per_unit(self.factor, shape))

    def count(self, shape: Shape) -> int:
        return math.prod(shape)

    def explicit_fan_out(self, shape: Shape) -> Array:
        return np.ones(math.prod(shape))

    def scaled(self, below: Array, above: Array, shape: Shape) -> Gain:
        return Gain(self.factor * below / above)


Weighted: TypeAlias = Dense | Conv | Gain
Map: TypeAlias = Weighted | AveragePool | AdaptiveAveragePool


def per_unit(by_channel: Array, shape: Shape) -> Array:
    """One number for each unit of `shape`, from one, (1,), or from one for each channel, (C,)."""
    return np.repeat(np.broadcast_to(by_channel, shape[0]), math.prod(shape[1:]))


def through(maps: Sequence[Map], shape: Shape) -> list[Shape]:
    """The shapes of what enters each map, and of what leaves the last."""
    shapes = [shape]
    for each in maps:
        shapes.append(each.above(shapes[-1]))
    return shapes


def explicit(maps: Sequence[Map], shape: Shape) -> Synapses:
    """The synapses that do what all maps do one after another to an x of `shape`; none of weight 0."""
    shapes = through(maps, shape)
    parts = [each.explicit(below) for each, below in zip(maps, shapes[:-1], strict=True)]
    found = parts[0]
    if len(parts) > 1:
        whole = sparse.identity(math.prod(shape), format="csr")
        for part, below, above in zip(parts, shapes[:-1], shapes[1:], strict=True):
            size = (math.prod(above), math.prod(below))
            whole = sparse.csr_matrix((part.weight, (part.post, part.pre)), size) @ whole
        whole = whole.tocoo()
        found = Synapses(whole.col.astype(np.int64), whole.row.astype(np.int64), whole.data)
    kept = found.weight != 0
    return found if kept.all() else Synapses(*(values[kept] for values in found))


def count(maps: Sequence[Map], shape: Shape) -> int:
    """How many synapses `explicit` gives at most, without making them; of a single map, exactly."""
    if len(maps) == 1:
        maps[0].above(shape)
        return maps[0].count(shape)
    shapes = through(maps, shape)
    fan_in = math.prod(_most(each, below) for each, below in zip(maps, shapes[:-1], strict=True))
    return min(fan_in, math.prod(shape)) * math.prod(shapes[-1])


def _most(each: Map, shape: Shape) -> int:
    """The largest number of synapses that reach a unit."""
    match each:
        case Dense():
            return int(each.weight.shape[1])
        case Conv():
            return math.prod(each.weight.shape[1:])
        case AveragePool():
            return math.prod(each.kernel)
        case AdaptiveAveragePool():
            return math.prod(n // w + 2 for n, w in zip(shape[1:], each.size, strict=True))
    return 1


def fan_out(maps: Sequence[Map], shape: Shape) -> Array:
    """How many synapses leave each unit of an x of `shape`, (N,); where several maps join, on average over units."""
    units = math.prod(shape)
    each = maps[0]
    if len(maps) > 1 or isinstance(each, AdaptiveAveragePool):
        return np.full(units, count(maps, shape) / units)
    if isinstance(each, Dense):
        return np.full(units, float(len(each.weight)))
    return each.explicit_fan_out(shape)


def macs(maps: Sequence[Map], shape: Shape) -> int:
    """Multiplications with weights for one image, those with zeros around it included."""
    shapes = through(maps, shape)
    found = 0
    for each, above in zip(maps, shapes[1:], strict=True):
        if isinstance(each, Dense):
            found += each.weight.size
        elif isinstance(each, Conv):
            found += each.weight.size * math.prod(above[1:])
    return found


def scaled(maps: Sequence[Map], below: Array, above: Array, shape: Shape) -> tuple[Map, ...]:
    """The maps from x / below to y / above, scales by channel or one number: W <- W s_below / s_above.

    What has weights takes the scales up, the lowest that of x, the highest that of y; without any, a `Gain` does.
    """
    shapes = through(maps, shape)
    top = np.broadcast_to(above, shapes[-1][0])
    weighted = [k for k, each in enumerate(maps) if isinstance(each, Weighted)]
    if not weighted:
        return (*maps, Gain(np.atleast_1d(below / above)))
    made = list(maps)
    for k in {weighted[0], weighted[-1]}:
        each = made[k]
        assert isinstance(each, Weighted)
        under = below if k == weighted[0] else np.ones(1)
        over = top if k == weighted[-1] else np.ones(shapes[k + 1][0])
        made[k] = each.scaled(under, over, shapes[k])
    return tuple(made)

"""Convolutions and pooling, each with its exact counterpart downwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import index

import torch
from torch import Tensor
from torch.nn import functional

from foundation.errors import UsageError
from ratenets.butd.config import WeightConfig
from ratenets.butd.layers import TIED, Layer, Shape, top_down_weight, uniform, with_parameters

Pair = tuple[int, int]


def pair(value: int | Pair, name: str, least: int) -> Pair:
    """One number for both axes, or one for each: rows, columns.

    Raises:
        UsageError: something else, or less than `least`.
    """
    try:
        one, other = map(index, value if isinstance(value, Sequence) else (value, value))
    except (TypeError, ValueError):
        raise UsageError(f"{name}: must be one whole number or two, got {value!r}") from None
    if min(one, other) < least:
        raise UsageError(f"{name}: must be at least {least}, got {value!r}")
    return one, other


def left_over(shape: Shape, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    """Rows and columns of an input, (C, H, W), at its lower right that no window reaches.

    A transposed convolution has to add them to lead back to the size of the input.
    """
    rows, columns = (
        (2 * p + size - (d * (k - 1) + 1)) % s
        for size, k, s, p, d in zip(shape[1:], kernel, stride, padding, dilation, strict=True)
    )
    return rows, columns


class Conv2d(Layer):
    """Cross-correlation upwards, the transposed convolution downwards.

    W is (out, in / groups, k, k), and V has the same layout; tied: V = W. b is one number for each map above, c one
    for each map below. dW = weight gradient of a convolution with input bu and output gradient td, mean over samples;
    db = <sum of td over places>, dV = dW, dc = <sum of bu over places>.

    Args:
        inputs: maps below.
        outputs: maps above.
        kernel: its size, and so on as in `torch.nn.Conv2d`.
        padding_mode: zeros alone.

    Raises:
        UsageError: a padding that cannot be inverted, or numbers that do not fit.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | Pair,
        *,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        td_bias: bool = False,
        padding_mode: str = "zeros",
        weights: WeightConfig = TIED,
    ) -> None:
        super().__init__()
        if padding_mode != "zeros":
            raise UsageError(f"padding_mode: a top-down pass inverts zeros only, got '{padding_mode}'")
        if groups < 1 or inputs % groups or outputs % groups:
            raise UsageError(f"groups: must divide the maps below ({inputs}) and above ({outputs}), got {groups}")
        self.kernel, self.stride = pair(kernel, "kernel", 1), pair(stride, "stride", 1)
        self.padding, self.dilation = pair(padding, "padding", 0), pair(dilation, "dilation", 1)
        self.groups = groups
        fan = inputs // groups * self.kernel[0] * self.kernel[1]
        self.W = uniform((outputs, inputs // groups, *self.kernel), fan)
        self.b = uniform((outputs,), fan) if bias else None
        self.V = top_down_weight(self.W, self.W.detach(), weights)
        self.weights = weights
        self.c = uniform((inputs,), outputs * self.kernel[0] * self.kernel[1]) if td_bias else None

    def up(self, bu: Tensor) -> Tensor:
        return functional.conv2d(bu, self.W, self.b, self.stride, self.padding, self.dilation, self.groups)

    def down(self, td: Tensor) -> Tensor:
        return self._transposed(td, self.c)

    def back(self, td: Tensor, bu: Tensor) -> Tensor:
        return self._transposed(td, None)

    def _transposed(self, td: Tensor, bias: Tensor | None) -> Tensor:
        V = self.W if self.V is None else self.V
        extra = left_over(self.in_shape, self.kernel, self.stride, self.padding, self.dilation)
        return functional.conv_transpose2d(td, V, bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def counter_hebb(self, bu: Tensor, td: Tensor) -> Mapping[str, Tensor]:
        _, dW, db = torch.ops.aten.convolution_backward(  # what torch.nn.grad calls, and b's share in the same go
            td,
            bu.to(td.dtype),
            self.W,
            self.W.shape[:1],
            self.stride,
            self.padding,
            self.dilation,
            False,
            (0, 0),
            self.groups,
            (False, True, self.b is not None),
        )
        return with_parameters(self, W=dW, b=db, V=dW, c=lambda: bu.sum((0, 2, 3)) / len(bu))


class _Pool(Layer):
    """Windows of one size, zeros around; neither ReLU nor gate: what they take has been through these."""

    rectified = None

    def __init__(self, kernel: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0) -> None:
        """Take windows of `kernel`, `stride` apart; None: side by side."""
        super().__init__()
        self.kernel = pair(kernel, "kernel", 1)
        self.stride = self.kernel if stride is None else pair(stride, "stride", 1)
        self.padding = pair(padding, "padding", 0)
        if any(2 * p > k for p, k in zip(self.padding, self.kernel, strict=True)):
            raise UsageError(f"padding: must be at most half of the kernel {self.kernel}, got {self.padding}")

    def _spread(self, td: Tensor, share: float) -> Tensor:
        """`share` of each window's td to every place of the window."""
        ones = td.new_full((td.shape[-3], 1, *self.kernel), share)
        extra = left_over(self.in_shape, self.kernel, self.stride, self.padding, (1, 1))
        return functional.conv_transpose2d(td, ones, None, self.stride, self.padding, extra, td.shape[-3])


class AvgPool2d(_Pool):
    """Average of every window; downwards each place gets its share, in both top-down passes."""

    def up(self, bu: Tensor) -> Tensor:
        return functional.avg_pool2d(bu, self.kernel, self.stride, self.padding)

    def down(self, td: Tensor) -> Tensor:
        return self._spread(td, 1 / (self.kernel[0] * self.kernel[1]))


class MaxPool2d(_Pool):
    """Maximum of every window.

    In the error pass td goes to the place of the maximum. In the attention pass, which comes before anything was seen,
    it goes to every place of the window: each may be the maximum.
    """

    def up(self, bu: Tensor) -> Tensor:
        return functional.max_pool2d(bu, self.kernel, self.stride, self.padding)

    def down(self, td: Tensor) -> Tensor:
        return self._spread(td, 1.0)

    def back(self, td: Tensor, bu: Tensor) -> Tensor:
        _, places = functional.max_pool2d(bu, self.kernel, self.stride, self.padding, return_indices=True)
        return torch.zeros_like(bu).flatten(2).scatter_add(2, places.flatten(2), td.flatten(2)).view_as(bu)

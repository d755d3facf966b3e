"""Batch norm and residual blocks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from foundation.errors import UsageError
from ratenets.butd.config import WeightConfig
from ratenets.butd.convolution import Conv2d
from ratenets.butd.layers import TIED, Activities, ErrorPass, Layer, Shape, by


class BatchNorm2d(Layer):
    """Batch norm, one for each direction: `bu` upwards, and `td`, of its own, in the attention pass.

    The error pass takes the exact adjoint of `bu`, so that Counter-Hebb learning equals backprop; the reference takes
    `td` there, too, and does not. `td` is at its initial scale for good: no signal reaches it.

    Args:
        above: maps of what `bu` normalises.
        below: maps of what `td` normalises.
    """

    rectified = None

    def __init__(self, above: int, below: int) -> None:
        super().__init__()
        self.bu = nn.BatchNorm2d(above)
        self.td = nn.BatchNorm2d(below).requires_grad_(False)

    def up(self, bu: Tensor) -> Tensor:
        normalised: Tensor = self.bu(bu)
        return normalised

    def counter_hebb(self, bu: Tensor, td: Tensor) -> Mapping[str, Tensor]:
        _, *values = self._adjoint(td, bu)
        return dict(zip(("bu.weight", "bu.bias"), values, strict=True))

    def return_error(self, td: Tensor, through: ErrorPass) -> Tensor:
        below, *values = self._adjoint(td, through.enter(self, td))
        if through.learn is not None:
            through.learn(self, dict(zip(("bu.weight", "bu.bias"), values, strict=True)))
        return below

    def _adjoint(self, td: Tensor, bu: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What leaves downwards, through `bu` at the batch's statistics, and the values of its scale and shift."""
        norm, bu = self.bu, bu.to(td.dtype)
        mean = deviation = None
        if norm.training:  # once more what the bottom-up pass has found
            _, mean, deviation = torch.native_batch_norm(bu, norm.weight, norm.bias, None, None, True, 0.0, norm.eps)
        parts: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
            td,
            bu,
            norm.weight,
            norm.running_mean,
            norm.running_var,
            mean,
            deviation,
            norm.training,
            norm.eps,
            (True, True, True),
        )
        return parts


class Normed(Layer):
    """A layer with batch norm: upwards before the ReLU, downwards after the layer."""

    def __init__(self, layer: Conv2d) -> None:
        super().__init__()
        self.layer = layer
        self.layer.at_gate = False
        self.norm = BatchNorm2d(above=layer.W.shape[0], below=layer.W.shape[1] * layer.groups)

    def build(self, name: str, in_shape: Shape, positive: bool) -> tuple[Shape, bool]:
        self.name, self.in_shape, self._gated_below = name, in_shape, positive
        shape, _ = self.layer.build(f"{name}.layer", in_shape, positive)
        self.norm.name, self.norm.in_shape = f"{name}.norm", shape
        return shape, True

    def ascend(self, bu: Tensor, seen: Activities, gates: Activities | None) -> Tensor:
        seen[self.name] = bu
        z = self.layer.ascend(bu, seen, gates)
        return self.norm.ascend(z, seen, gates)

    def descend(self, td: Tensor, seen: Activities) -> Tensor:
        seen[self.name] = td
        normalised: Tensor = self.norm.td(self.layer.descend(td, seen))
        return normalised

    def heed(self, td: Tensor, seen: Activities) -> None:
        seen[self.name] = td
        self.layer.heed(td, seen)

    def return_error(self, td: Tensor, through: ErrorPass) -> Tensor:
        through.enter(self, td)
        return self.layer.return_error(self.norm.return_error(td, through), through)

    def arrive(self, td: Tensor, through: ErrorPass) -> None:
        through.enter(self, td)
        self.layer.arrive(self.norm.return_error(td, through), through)


class Residual(Layer):
    """The basic block: ReLU(conv2 ReLU(conv1 bu) + shortcut bu), with gates at both ReLUs; batch norm on request.

    Downwards: conv1^T ReLU(conv2^T td) + shortcut^T td in the attention pass; in the error pass the inner ReLU is a
    gate by what entered conv2.

    Args:
        inputs: maps below.
        outputs: maps above.
        stride: of conv1 and the shortcut, which is a 1 x 1 convolution if stride or maps change, else the identity.
        norm: batch norm after each convolution.
        weights: regime of all three.
    """

    def __init__(
        self, inputs: int, outputs: int, *, stride: int = 1, norm: bool = False, weights: WeightConfig = TIED
    ) -> None:
        super().__init__()

        def convolution(below: int, kernel: int, stride: int) -> Layer:
            conv = Conv2d(below, outputs, kernel, stride=stride, padding=kernel // 2, bias=False, weights=weights)
            return Normed(conv) if norm else conv

        self.conv1 = convolution(inputs, 3, stride)
        self.conv2 = convolution(outputs, 3, 1)
        self.conv2.at_gate = False
        self.shortcut = convolution(inputs, 1, stride) if stride > 1 or inputs != outputs else None
        if self.shortcut is not None:
            self.shortcut.at_gate = False

    def build(self, name: str, in_shape: Shape, positive: bool) -> tuple[Shape, bool]:
        self.name, self.in_shape, self._gated_below = name, in_shape, positive
        inside, _ = self.conv1.build(f"{name}.conv1", in_shape, positive)
        shape, _ = self.conv2.build(f"{name}.conv2", inside, True)
        beside = in_shape
        if self.shortcut is not None:
            beside, _ = self.shortcut.build(f"{name}.shortcut", in_shape, positive)
        if shape != beside:
            raise UsageError(f"{name}: the shortcut gives {by(beside)}, the convolutions {by(shape)}")
        return shape, True

    def ascend(self, bu: Tensor, seen: Activities, gates: Activities | None) -> Tensor:
        seen[self.name] = bu
        beside = bu if self.shortcut is None else self.shortcut.ascend(bu, seen, gates)
        inside = self.conv1.bottom_up(bu, seen, gates)
        return self.conv2.ascend(inside, seen, gates) + beside

    def descend(self, td: Tensor, seen: Activities) -> Tensor:
        seen[self.name] = td
        beside = td if self.shortcut is None else self.shortcut.descend(td, seen)
        return self.conv1.descend(self.conv2.attend(td, seen), seen) + beside

    def return_error(self, td: Tensor, through: ErrorPass) -> Tensor:
        through.enter(self, td)
        beside = td if self.shortcut is None else self.shortcut.return_error(td, through)
        return self.conv1.return_error(self.conv2.send_back(td, through), through) + beside

    def heed(self, td: Tensor, seen: Activities) -> None:
        self.descend(td, seen)

    def arrive(self, td: Tensor, through: ErrorPass) -> None:
        self.return_error(td, through)

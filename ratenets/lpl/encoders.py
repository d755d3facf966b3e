"""Encoders whose layers learn locally: each block's input is detached, so no gradient crosses a layer.

A block is one layer of synapses and its activation. It has an output, which the next block sees, and a code z
(B, M), on which the LPL loss and the readout stand: the output itself in a dense layer, its spatial mean in a
convolutional one (taken after ReLU and max-pooling; Halvagal & Zenke 2023, Methods).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from foundation.config import setting
from foundation.errors import UsageError

VGG11 = ((64, True), (128, True), (256, False), (256, True), (512, False), (512, True), (512, False), (512, True))
"""Channels of the eight convolutions of VGG-11, and whether a 2 x 2 max-pool follows."""


class Block(nn.Module, ABC):
    """One layer: `synapses` (weight and bias), then an activation."""

    synapses: nn.Linear | nn.Conv2d

    @abstractmethod
    def drive(self, x: Tensor) -> Tensor:
        """The pre-activation a = W x + b."""

    @abstractmethod
    def activation(self, pre: Tensor) -> tuple[Tensor, Tensor]:
        """Output and code z (B, M), from the pre-activation."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Output and code z (B, M), from the input."""
        return self.activation(self.drive(x))


class DenseBlock(Block):
    """Fully connected layer with ReLU: z = relu(W x + b)."""

    synapses: nn.Linear

    def __init__(self, inputs: int, units: int, bias: bool = True) -> None:
        super().__init__()
        self.synapses = nn.Linear(inputs, units, bias)

    def drive(self, x: Tensor) -> Tensor:
        drive: Tensor = self.synapses(x.flatten(1))
        return drive

    def activation(self, pre: Tensor) -> tuple[Tensor, Tensor]:
        output = pre.relu()
        return output, output


class ConvBlock(Block):
    """3 x 3 convolution with padding 1, ReLU, and a 2 x 2 max-pool where `pool` says so; z is the spatial mean."""

    synapses: nn.Conv2d

    def __init__(self, inputs: int, channels: int, pool: bool, bias: bool = True) -> None:
        super().__init__()
        self.synapses = nn.Conv2d(inputs, channels, kernel_size=3, padding=1, bias=bias)
        self.pool = pool

    def drive(self, x: Tensor) -> Tensor:
        drive: Tensor = self.synapses(x)
        return drive

    def activation(self, pre: Tensor) -> tuple[Tensor, Tensor]:
        output = pre.relu()
        if self.pool:
            output = functional.max_pool2d(output, 2)
        return output, output.mean((2, 3))

    def unpool(self, gradient: Tensor, pre: Tensor) -> Tensor:
        """Take a gradient at the output back to the pre-activation's positions, to the winner of each pool window."""
        if not self.pool:
            return gradient
        _, winners = functional.max_pool2d(pre.relu(), 2, return_indices=True)
        return functional.max_unpool2d(gradient, winners, [2, 2], output_size=list(pre.shape[-2:]))


class LayerLocalEncoder(nn.Module):
    """A stack of blocks, each learning by itself."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def __iter__(self) -> Iterator[Block]:
        for block in self.blocks:
            assert isinstance(block, Block)  # nn.ModuleList forgets the type of its items
            yield block

    def forward(self, x: Tensor) -> list[Tensor]:
        """The codes z_i (B, M_i) of all layers, lowest first. Only a layer's own parameters get its gradient."""
        codes = []
        for block in self:
            x, code = block(x.detach())
            codes.append(code)
        return codes


@dataclass(frozen=True)
class EncoderConfig:
    """Which encoder, and how large."""

    kind: str = setting("mlp", "mlp (fully connected) or vgg (VGG-11, images of 32 px or more)", "encoder")
    hidden: tuple[int, ...] = setting((128, 128, 128, 128), "units of the layers of an mlp")
    width: float = setting(1.0, "channels of vgg as a multiple of VGG-11's")
    biases: bool = setting(True, "layers with biases, or without")

    def __post_init__(self) -> None:
        if self.kind not in ("mlp", "vgg"):
            raise UsageError(f"encoder.kind: must be mlp or vgg, got '{self.kind}'")
        if not self.hidden or any(units < 1 for units in self.hidden):
            raise UsageError(f"encoder.hidden: every layer needs at least one unit, got {list(self.hidden)}")
        if not self.width * 64 >= 1:
            raise UsageError(f"encoder.width: leaves the first layer without a channel, got {self.width}")


def build(config: EncoderConfig, image_shape: tuple[int, int, int], generator_seed: int) -> LayerLocalEncoder:
    """Build an encoder with PyTorch's default initialisation, drawn from `generator_seed` alone.

    Args:
        config: which encoder.
        image_shape: (channels, height, width) of its input.
        generator_seed: of the initial weights; the global random state stays as it was.

    Raises:
        UsageError: the images are too small for the encoder's poolings.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_seed)
        return LayerLocalEncoder(_mlp(config, image_shape) if config.kind == "mlp" else _vgg(config, image_shape))


def _mlp(config: EncoderConfig, shape: tuple[int, int, int]) -> list[Block]:
    sizes = (shape[0] * shape[1] * shape[2], *config.hidden)
    return [DenseBlock(inputs, units, config.biases) for inputs, units in pairwise(sizes)]


def _vgg(config: EncoderConfig, shape: tuple[int, int, int]) -> list[Block]:
    smallest = 2 ** sum(pool for _, pool in VGG11)
    if min(shape[1:]) < smallest:
        raise UsageError(
            f"encoder.kind: vgg halves the image five times and needs {smallest} x {smallest} pixels or more, "
            f"got {shape[1]} x {shape[2]}; take mlp, or larger images"
        )
    channels = (shape[0], *(max(1, round(config.width * c)) for c, _ in VGG11))
    return [
        ConvBlock(inputs, outputs, pool, config.biases)
        for (inputs, outputs), (_, pool) in zip(pairwise(channels), VGG11, strict=True)
    ]

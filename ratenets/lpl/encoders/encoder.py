"""Encoders: stacks of blocks, made from a configuration, known by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from foundation.config import setting
from foundation.errors import UsageError
from ratenets.lpl.encoders.blocks import Block, code

Shape: TypeAlias = tuple[int, int, int]
"""Channels, height and width of an image."""


class Encoder(nn.Module):
    """A stack of blocks."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        # Batch norm takes its statistics over one view at a time, as the reference does.
        self.one_view_at_a_time = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.modules())
        self.draws = any(isinstance(m, nn.Dropout) for m in self.modules())

    def __iter__(self) -> Iterator[Block]:
        for block in self.blocks:
            assert isinstance(block, Block)  # nn.ModuleList forgets the type of its items
            yield block

    def outputs(self, x: Tensor, *, local: bool = True) -> Iterator[Tensor]:
        """The outputs of all blocks, lowest first. `local`: only a block's own parameters get its gradient."""
        for block in self:
            x = block(x.detach() if local else x)
            yield x

    def forward(self, x: Tensor, local: bool = True) -> list[Tensor]:
        """The codes z_i (B, M_i) of all layers, lowest first."""
        return [code(output) for output in self.outputs(x, local=local)]


@dataclass(frozen=True)
class EncoderConfig:
    """Which encoder, and how large."""

    kind: str = setting("mlp", "mlp, vgg (VGG-11, 32 px or more), alexnet, resnet (ResNet-50, end to end)", "encoder")
    hidden: tuple[int, ...] = setting((128, 128, 128, 128), "units of the layers of an mlp")
    width: float = setting(1.0, "channels of vgg, alexnet and resnet as a multiple of the original's")
    biases: bool = setting(True, "layers with biases, or without")
    dropout: float = setting(0.5, "of alexnet's two dense layers")
    bottleneck_norms: bool = setting(True, "resnet: batch norm in the bottlenecks, which the paper's program lacks")
    pretrained: bool = setting(False, "resnet: start from torchvision's weights, trained on ImageNet with labels")

    def __post_init__(self) -> None:
        if self.kind not in ENCODERS:
            raise UsageError(f"encoder.kind: must be one of {', '.join(ENCODERS)}, got '{self.kind}'")
        if not self.hidden or any(units < 1 for units in self.hidden):
            raise UsageError(f"encoder.hidden: every layer needs at least one unit, got {list(self.hidden)}")
        if not math.isfinite(self.width):
            raise UsageError(f"encoder.width: must be finite, got {self.width}")
        if self.width * 64 < 1:
            raise UsageError(f"encoder.width: leaves the first layer without a channel, got {self.width}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"encoder.dropout: must be at least 0 and below 1, got {self.dropout}")
        if self.pretrained and self.kind != "resnet":
            raise UsageError(f"encoder.pretrained: there are published weights for resnet only, not for {self.kind}")
        if self.pretrained and (self.width != 1 or not self.bottleneck_norms):
            raise UsageError("encoder.pretrained: the published weights are of width 1, with batch norm throughout")
        if not self.biases and self.kind in ("alexnet", "resnet"):
            raise UsageError(f"encoder.biases: {self.kind} has them as published; --no-biases goes with mlp and vgg")


class Recipe(NamedTuple):
    """How an encoder is made.

    Attributes:
        blocks: gives them, for a configuration and the shape of an image.
        end_to_end_only: it cannot learn layer by layer.
    """

    blocks: Callable[[EncoderConfig, Shape], Sequence[Block]]
    end_to_end_only: bool = False


ENCODERS: dict[str, Recipe] = {}
"""Encoders by name, as `--encoder` takes them."""


def register(
    name: str, blocks: Callable[[EncoderConfig, Shape], Sequence[Block]], *, end_to_end_only: bool = False
) -> None:
    """Make an encoder known by `name`. Raises `UsageError` if there is one of that name."""
    if name in ENCODERS:
        raise UsageError(f"encoder.kind: there is a '{name}' already")
    ENCODERS[name] = Recipe(blocks, end_to_end_only)


def build(config: EncoderConfig, image_shape: Shape, generator_seed: int) -> Encoder:
    """Build an encoder with its initialisation (PyTorch's default but for ResNet), drawn from `generator_seed` alone.

    Args:
        config: which encoder.
        image_shape: (channels, height, width) of its input.
        generator_seed: of the initial weights; the global random state stays as it was.

    Raises:
        UsageError: the images are too small for the encoder.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_seed)
        return Encoder(ENCODERS[config.kind].blocks(config, image_shape))


def need_pixels(config: EncoderConfig, shape: Shape, smallest: int) -> None:
    """Refuse images below `smallest` pixels with `UsageError`."""
    if min(shape[1:]) < smallest:
        raise UsageError(
            f"encoder.kind: {config.kind} needs {smallest} x {smallest} pixels or more, "
            f"got {shape[1]} x {shape[2]}; take mlp, or larger images"
        )


def scaled(config: EncoderConfig, channels: int) -> int:
    """So many channels, times the width."""
    return max(1, round(config.width * channels))

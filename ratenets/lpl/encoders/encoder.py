"""Encoders: stacks of blocks, made from a configuration, known by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from foundation.errors import UsageError
from ratenets.lpl.encoder_config import ENCODERS, EncoderConfig, Shape
from ratenets.lpl.encoders.blocks import Block, code


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

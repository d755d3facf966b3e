"""AlexNet as the paper's reference has it: seven blocks, the two dense layers as convolutions, no batch norm."""

from __future__ import annotations

from torch import nn

from ratenets.lpl.encoder_config import EncoderConfig, Shape
from ratenets.lpl.encoders.blocks import Block, SequentialBlock
from ratenets.lpl.encoders.encoder import need_pixels, scaled

CONVOLUTIONS = (  # channels, kernel, stride, padding, and whether a 3 x 3 max-pool of stride 2 follows
    (64, 11, 4, 2, True),
    (192, 5, 1, 2, True),
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, False),
    (256, 3, 1, 2, True),
)
UNITS = 4096


def blocks(config: EncoderConfig, shape: Shape) -> list[Block]:
    """The seven blocks, for images of 32 px or more (published: 224 px)."""
    need_pixels(config, shape, 32)
    made: list[Block] = []
    channels = shape[0]
    for c, kernel, stride, padding, pool in CONVOLUTIONS:
        units = scaled(config, c)
        convolution = nn.Conv2d(channels, units, kernel, stride, padding)
        pools = [nn.MaxPool2d(3, 2)] if pool else []
        made.append(SequentialBlock(units, convolution, nn.ReLU(), *pools))
        channels = units
    dense = scaled(config, UNITS)
    first = nn.Conv2d(channels, dense, 6)
    made.append(SequentialBlock(dense, nn.AdaptiveAvgPool2d(6), nn.Dropout(config.dropout), first, nn.ReLU()))
    made.append(SequentialBlock(dense, nn.Dropout(config.dropout), nn.Conv2d(dense, dense, 1), nn.ReLU()))
    return made

"""Fully connected encoders, and VGG-11 without batch norm as the paper has it."""

from __future__ import annotations

from itertools import pairwise

from ratenets.lpl.encoder_config import EncoderConfig, Shape
from ratenets.lpl.encoders.blocks import Block, ConvBlock, DenseBlock
from ratenets.lpl.encoders.encoder import need_pixels, scaled

VGG11 = ((64, True), (128, True), (256, False), (256, True), (512, False), (512, True), (512, False), (512, True))
"""Channels of the eight convolutions of VGG-11, and whether a 2 x 2 max-pool follows."""


def mlp_blocks(config: EncoderConfig, shape: Shape) -> list[Block]:
    sizes = (shape[0] * shape[1] * shape[2], *config.hidden)
    return [DenseBlock(inputs, units, config.biases) for inputs, units in pairwise(sizes)]


def blocks(config: EncoderConfig, shape: Shape) -> list[Block]:
    need_pixels(config, shape, 2 ** sum(pool for _, pool in VGG11))
    channels = (shape[0], *(scaled(config, c) for c, _ in VGG11))
    return [
        ConvBlock(inputs, outputs, pool, config.biases)
        for (inputs, outputs), (_, pool) in zip(pairwise(channels), VGG11, strict=True)
    ]

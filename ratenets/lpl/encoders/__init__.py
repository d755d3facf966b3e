"""Encoders: stacks of blocks. What learns locally is a block; in between, the input is detached.

`build` knows encoders by name; `register` adds one: a class or function that gives the blocks, and that one line.
"""

from ratenets.lpl.encoder_config import ENCODERS, EncoderConfig, Shape, register
from ratenets.lpl.encoders import alexnet, resnet, vgg
from ratenets.lpl.encoders.blocks import Block, ConvBlock, DenseBlock, SequentialBlock, code, spread
from ratenets.lpl.encoders.encoder import Encoder, build

__all__ = [
    "ENCODERS",
    "Block",
    "ConvBlock",
    "DenseBlock",
    "Encoder",
    "EncoderConfig",
    "SequentialBlock",
    "Shape",
    "alexnet",
    "build",
    "code",
    "register",
    "resnet",
    "spread",
    "vgg",
]

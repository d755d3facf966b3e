"""The reference's networks, and a builder for others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from foundation.errors import UsageError
from ratenets.butd.config import NetworkConfig, WeightConfig
from ratenets.butd.convolution import Conv2d
from ratenets.butd.layers import TIED, Flatten, Layer, Linear, Sequential, Shape
from ratenets.butd.networks import ButdNetwork
from ratenets.butd.residual import Normed, Residual


def fc_net(
    image_shape: Shape,
    hidden: Sequence[int],
    *,
    bias: bool = True,
    td_bias: bool = False,
    weights: WeightConfig = TIED,
) -> Sequential:
    """Flatten, then fully connected layers of the sizes `hidden`; options as of `Linear`."""
    return conv_net(image_shape, (), (), hidden, bias=bias, td_bias=td_bias, weights=weights)


def conv_net(
    image_shape: Shape,
    channels: Sequence[int],
    kernels: Sequence[int],
    hidden: Sequence[int] = (),
    *,
    bias: bool = True,
    td_bias: bool = False,
    weights: WeightConfig = TIED,
    **convolution: Any,
) -> Sequential:
    """Convolutions, Flatten, then fully connected layers: the generic builder.

    Args:
        image_shape: C, H, W.
        channels: maps of each convolution.
        kernels: sizes of their kernels.
        hidden: units of each fully connected layer.
        bias: bottom-up biases in all layers.
        td_bias: top-down biases in all layers.
        weights: regime of all layers.
        convolution: stride, padding, dilation and groups of all convolutions.

    Raises:
        UsageError: not as many kernels as channels, or they do not fit the image.
    """
    if len(channels) != len(kernels):
        raise UsageError(f"kernels: {len(kernels)} for {len(channels)} convolutions")
    common: dict[str, Any] = {"bias": bias, "td_bias": td_bias, "weights": weights}
    layers: list[Layer] = []
    below = image_shape[0]
    for above, kernel in zip(channels, kernels, strict=True):
        layers.append(Conv2d(below, above, kernel, **common, **convolution))
        below = above
    layers.append(Flatten())
    size = features(Sequential(*layers), image_shape)
    for units in hidden:
        layers.append(Linear(size, units, **common))
        size = units
    return Sequential(*layers)


def features(core: Layer, image_shape: Shape) -> int:
    """How many numbers leave a core that ends in a vector."""
    (size,), _ = core.build("core", image_shape, False)
    return size


def simple_net(
    image_shape: Shape,
    channels: Sequence[int] = (32, 32),
    hidden: int = 50,
    *,
    bias: bool = True,
    td_bias: bool = False,
    weights: WeightConfig = TIED,
) -> Sequential:
    """Twice a convolution and a strided depthwise one in the place of pooling, then a fully connected layer."""
    common: dict[str, Any] = {"bias": bias, "td_bias": td_bias, "weights": weights}
    if len(channels) != 2:
        raise UsageError(f"channels: simple_net has two convolutions, got {len(channels)} numbers")
    first, second = channels
    maps = [
        Conv2d(image_shape[0], first, 5, **common),
        Conv2d(first, first, 2, stride=2, groups=first, **common),
        Conv2d(first, second, 5, **common),
        Conv2d(second, second, 3, stride=2, groups=second, **common),
        Flatten(),
    ]
    return Sequential(*maps, Linear(features(Sequential(*maps), image_shape), hidden, **common))


def resnet18(image_shape: Shape, *, norm: bool = True, weights: WeightConfig = TIED) -> Sequential:
    """ResNet-18 with a 3 x 3 stem of stride 1, without max-pooling, average pooling and biases.

    Unlike the reference's, its 1 x 1 shortcuts have top-down weights of their own where the others do.
    """
    stem = Conv2d(image_shape[0], 64, 3, padding=1, bias=False, weights=weights)
    blocks: list[Layer] = []
    below = 64
    for above, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        blocks.append(Residual(below, above, stride=stride, norm=norm, weights=weights))
        blocks.append(Residual(above, above, norm=norm, weights=weights))
        below = above
    return Sequential(Normed(stem) if norm else stem, *blocks, Flatten())


def tiny_resnet(image_shape: Shape, *, weights: WeightConfig = TIED) -> Sequential:
    """A stem, two residual blocks and a strided convolution in the place of pooling."""
    return Sequential(
        Conv2d(image_shape[0], 32, 3, padding=1, bias=False, weights=weights),
        Residual(32, 64, weights=weights),
        Residual(64, 64, stride=2, weights=weights),
        Conv2d(64, 64, 5, stride=3, padding=1, weights=weights),
        Flatten(),
    )


def _fc(config: NetworkConfig, shape: Shape, **options: Any) -> Sequential:
    return fc_net(shape, (config.hidden or 500,) * config.depth, **options)


def _simple(config: NetworkConfig, shape: Shape, **options: Any) -> Sequential:
    return simple_net(shape, config.channels or (32, 32), config.hidden or 50, **options)


def _conv(config: NetworkConfig, shape: Shape, **options: Any) -> Sequential:
    channels = config.channels or (32,) * 4
    return conv_net(shape, channels, (5,) * len(channels), (config.hidden or 100,), **options)


def _resnet18(config: NetworkConfig, shape: Shape, *, weights: WeightConfig, **_: Any) -> Sequential:
    return resnet18(shape, norm=config.norm, weights=weights)


def _tiny_resnet(config: NetworkConfig, shape: Shape, *, weights: WeightConfig, **_: Any) -> Sequential:
    return tiny_resnet(shape, weights=weights)


BUILDERS: Mapping[str, Callable[..., Sequential]] = {
    "fc": _fc,
    "simple": _simple,
    "conv": _conv,
    "resnet18": _resnet18,
    "tiny-resnet": _tiny_resnet,
}
"""By the names of `ratenets.butd.config.KINDS`."""


def build_network(
    config: NetworkConfig,
    weights: WeightConfig,
    image_shape: Shape,
    n_classes: int,
    seed: int,
    *,
    decoders: int = 1,
    instruction: int = 0,
) -> ButdNetwork:
    """The network of a configuration at its initial weights, on the CPU in float32.

    Args:
        config: of the layers.
        weights: of W and V.
        image_shape: C, H, W.
        n_classes: outputs of each decoder.
        seed: of the weights.
        decoders: prediction heads.
        instruction: entries of an instruction vector; 0: an unguided network.

    Raises:
        UsageError: the layers do not take images of this shape.
    """
    options: dict[str, Any] = {"bias": config.bias, "td_bias": config.td_bias, "weights": weights}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        core = BUILDERS[config.kind](config, image_shape, **options)
        return ButdNetwork(
            core,
            image_shape,
            n_classes,
            decoders=decoders,
            instruction=instruction,
            embedding=config.embedding,
            **options,
        )

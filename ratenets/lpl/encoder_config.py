"""Which encoder, and the names that there are."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from foundation.config import check_choices, setting
from foundation.errors import UsageError

if TYPE_CHECKING:
    from ratenets.lpl.encoders.blocks import Block

Shape: TypeAlias = tuple[int, int, int]
"""Channels, height and width of an image."""


class Recipe(NamedTuple):
    """How an encoder is made.

    Attributes:
        blocks: gives them, for a configuration and the shape of an image.
        end_to_end_only: it cannot learn layer by layer.
    """

    blocks: Callable[[EncoderConfig, Shape], Sequence[Block]]
    end_to_end_only: bool = False


def _ours(module: str, function: str) -> Callable[[EncoderConfig, Shape], Sequence[Block]]:
    """A function of `ratenets.lpl.encoders` that gives blocks; its module is imported when it is called."""

    def blocks(config: EncoderConfig, shape: Shape) -> Sequence[Block]:
        made: Sequence[Block] = getattr(importlib.import_module(f"ratenets.lpl.encoders.{module}"), function)(
            config, shape
        )
        return made

    return blocks


ENCODERS: dict[str, Recipe] = {
    "mlp": Recipe(_ours("vgg", "mlp_blocks")),
    "vgg": Recipe(_ours("vgg", "blocks")),
    "alexnet": Recipe(_ours("alexnet", "blocks")),
    "resnet": Recipe(_ours("resnet", "blocks"), end_to_end_only=True),
}
"""Encoders by name, as `--encoder` takes them."""


def register(
    name: str, blocks: Callable[[EncoderConfig, Shape], Sequence[Block]], *, end_to_end_only: bool = False
) -> None:
    """Make an encoder known by `name`. Raises `UsageError` if there is one of that name."""
    if name in ENCODERS:
        raise UsageError(f"encoder.kind: there is a '{name}' already")
    ENCODERS[name] = Recipe(blocks, end_to_end_only)


@dataclass(frozen=True)
class EncoderConfig:
    """Which encoder, and how large."""

    kind: str = setting(
        "mlp",
        "vgg: VGG-11, 32 px or more; resnet: ResNet-50, end to end; or one of your own (docs/own-encoders.md)",
        "encoder",
        choices=ENCODERS,
    )
    hidden: tuple[int, ...] = setting((128, 128, 128, 128), "units of the layers of an mlp")
    width: float = setting(
        1.0, "channels of vgg, alexnet and resnet, and units of alexnet's dense layers, as a multiple of the original's"
    )
    biases: bool = setting(True, "layers with biases, or without")
    dropout: float = setting(0.5, "of alexnet's two dense layers")
    bottleneck_norms: bool = setting(True, "resnet: batch norm in the bottlenecks, which the paper's program lacks")
    pretrained: bool = setting(False, "resnet: start from torchvision's weights, trained on ImageNet with labels")

    def __post_init__(self) -> None:
        check_choices(self, "encoder")
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

"""Modules with the names that the reference's have, by the plain formulas of butd.md: its checkpoints, made here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Plain(nn.Module):
    """A linear layer or a convolution, by the number of dimensions of its weight; without `separate`, V is W^T."""

    def __init__(self, *shape: int, bias: bool = True, separate: bool = False, td_bias: bool = False, **conv: Any):
        super().__init__()
        self.conv = conv
        groups = conv.get("groups", 1)
        self.weight = nn.Parameter(0.3 * torch.randn(shape))
        self.bias = nn.Parameter(0.3 * torch.randn(shape[0])) if bias else None
        layout = shape if len(shape) == 4 else shape[::-1]
        self.back_weight = nn.Parameter(0.3 * torch.randn(layout)) if separate else None
        self.back_bias = nn.Parameter(0.3 * torch.randn(shape[1] * groups)) if td_bias else None

    def up(self, x: Tensor) -> Tensor:
        self.seen = x.detach()
        if self.weight.dim() == 2:
            return functional.linear(x, self.weight, self.bias)
        return functional.conv2d(x, self.weight, self.bias, **self.conv)

    def down(self, td: Tensor) -> Tensor:
        if self.weight.dim() == 2:
            V = self.weight.T if self.back_weight is None else self.back_weight
            return functional.linear(td, V, self.back_bias)
        V = self.weight if self.back_weight is None else self.back_weight
        x = torch.zeros_like(self.seen).requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(functional.conv2d(x, V, None, **self.conv), x, td)[0]


class Norm(nn.BatchNorm2d):
    """Batch norm for both directions, at some point of its training."""

    def __init__(self, above: int, below: int | None = None):
        super().__init__(above)
        if below is not None:
            self.back_batch_norm = Norm(below)
        for values in (self.weight.data, self.running_var):
            assert values is not None
            values.uniform_(0.5, 1.5)
        for values in (self.bias.data, self.running_mean):
            assert values is not None
            values.normal_(0, 0.3)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 7


class Flat(nn.Module):
    def up(self, x: Tensor) -> Tensor:
        self.shape = x.shape[1:]
        return x.flatten(1)

    def down(self, td: Tensor) -> Tensor:
        return td.reshape(len(td), *self.shape)


class Block(nn.Module):
    """Its shortcut is tied, whatever the others are."""

    def __init__(self, below: int, above: int, stride: int, norm: bool, separate: bool):
        super().__init__()
        common: dict[str, Any] = {"bias": False, "separate": separate, "padding": 1}
        self.conv1 = Plain(above, below, 3, 3, **common, stride=stride)
        self.conv2 = Plain(above, above, 3, 3, **common)
        self.bn1 = Norm(above, below) if norm else None
        self.bn2 = Norm(above, above) if norm else None
        changes = stride > 1 or below != above
        self.downsample = Plain(above, below, 1, 1, bias=False, stride=stride) if changes else None
        self.downsample_norm_layer = Norm(above, below) if norm and changes else None

    def up(self, x: Tensor) -> Tensor:
        h = up(self.conv1, self.bn1, x).relu()
        return up(self.conv2, self.bn2, h) + (x if self.downsample is None else self._beside(x))

    def _beside(self, x: Tensor) -> Tensor:
        assert self.downsample is not None
        return up(self.downsample, self.downsample_norm_layer, x)

    def down(self, td: Tensor) -> Tensor:
        g = down(self.conv2, self.bn2, td).relu()
        beside = td if self.downsample is None else down(self.downsample, self.downsample_norm_layer, td)
        return down(self.conv1, self.bn1, g) + beside


def up(layer: Plain, norm: Norm | None, x: Tensor) -> Tensor:
    z: Tensor = layer.up(x)
    return z if norm is None else norm(z)


def down(layer: Plain, norm: Norm | None, td: Tensor) -> Tensor:
    z = layer.down(td)
    return z if norm is None else norm.back_batch_norm(z)


class Core(nn.Module):
    def __init__(self, layers: Sequence[nn.Module], **others: nn.Module):
        super().__init__()
        for name, module in others.items():
            self.add_module(name, module)
        self.layers = nn.ModuleList(layers)

    def steps(self) -> list[Any]:
        return list(self.layers)

    def up(self, x: Tensor) -> Tensor:
        for layer in self.steps():
            z = layer.up(x)
            x = z if isinstance(layer, Flat) else z.relu()
        return x

    def down(self, td: Tensor) -> Tensor:
        for layer in reversed(self.steps()):
            z = layer.down(td)
            td = z if isinstance(layer, Flat) else z.relu()
        return td


class Stem(nn.Module):
    def __init__(self, conv: Plain, norm: Norm | None):
        super().__init__()
        self.conv, self.norm = conv, norm

    def up(self, x: Tensor) -> Tensor:
        return up(self.conv, self.norm, x)

    def down(self, td: Tensor) -> Tensor:
        return down(self.conv, self.norm, td)


class ResNet(Core):
    """A stem, stages of blocks, and a pooling convolution if there is one; the stages once more as `layers`."""

    def __init__(self, stem: Plain, norm: Norm | None, stages: Sequence[nn.Module], pooling: Plain | None = None):
        named = {f"layer{number}": stage for number, stage in enumerate(stages, 1)}
        others = {"conv1": stem, "bn1": norm, "conv_pooling": pooling}
        kept = {name: module for name, module in others.items() if module is not None}
        super().__init__([*stages, *([pooling] if pooling is not None else [])], **kept, **named)
        blocks = [b for stage in stages for b in (stage if isinstance(stage, nn.ModuleList) else [stage])]
        self.order: list[Any] = [Stem(stem, norm), *blocks, *([pooling] if pooling is not None else []), Flat()]

    def steps(self) -> list[Any]:
        return self.order


class Network(nn.Module):
    """A core, a prediction head and an instruction head."""

    def __init__(self, core: Core, features: int, classes: int, sizes: Sequence[int] = (), **options: Any):
        super().__init__()
        self.core_net = core
        self.head_layer = Plain(classes, features, **options)
        below = [features, *sizes[:-1]]
        heads = [Plain(above, size, **options) for size, above in zip(below, sizes, strict=True)]
        self.task_head = nn.ModuleList(heads)

    def logits(self, x: Tensor) -> Tensor:
        return self.head_layer.up(self.core_net.up(x))

    def attended(self, instruction: Tensor) -> Tensor:
        """What the attention pass leaves at the image, once images were seen."""
        td = instruction
        for head in reversed(self.task_head):
            assert isinstance(head, Plain)
            td = head.down(td).relu()
        return self.core_net.down(td)


def fc(separate: bool, **options: Any) -> Network:
    layers = [Flat(), Plain(7, 12, separate=separate, **options), Plain(5, 7, separate=separate, **options)]
    return Network(Core(layers, _fc=nn.ModuleList(layers)), 5, 3, (4, 2), separate=separate, **options)


def simple(separate: bool, **options: Any) -> Network:
    common: dict[str, Any] = {"separate": separate, **options}
    convs = [
        Plain(3, 1, 5, 5, **common),
        Plain(3, 1, 2, 2, **common, stride=2, groups=3),
        Plain(4, 3, 5, 5, **common),
        Plain(4, 1, 3, 3, **common, stride=2, groups=4),
    ]
    last = Plain(6, 4, **common)
    names = dict(zip(("_conv1", "_conv1_pool", "_conv2", "_conv2_pool"), convs, strict=True))
    return Network(Core([*convs, Flat(), last], **names, _fc=last), 6, 3, (4, 2), **common)


def conv(separate: bool) -> Network:
    convs = [Plain(3, 1 if number == 0 else 3, 5, 5, separate=separate) for number in range(4)]
    last = Plain(6, 48, separate=separate)
    return Network(Core([*convs, Flat(), last]), 6, 3, (4, 2), separate=separate)


def resnet(separate: bool, norm: bool = False) -> Network:
    """The structure of ResNet-18 with few maps: 4, 4, 6, 6, 8, 8, 10, 10."""
    stem = Plain(4, 3, 3, 3, bias=False, separate=separate, padding=1)
    maps = (4, 4, 6, 8, 10)
    stages = [
        nn.ModuleList(
            [
                Block(maps[n], maps[n + 1], 1 if n == 0 else 2, norm, separate),
                Block(maps[n + 1], maps[n + 1], 1, norm, separate),
            ]
        )
        for n in range(4)
    ]
    return Network(ResNet(stem, Norm(4, 3) if norm else None, stages), 10, 3, (4, 2), separate=separate)


def tiny(separate: bool, numbered: bool = True) -> Network:
    """The structure of the tiny ResNet with few maps, its stages of one block with a number or without."""
    stem = Plain(3, 1, 3, 3, bias=False, separate=separate, padding=1)
    blocks = [Block(3, 4, 1, False, separate), Block(4, 4, 2, False, separate)]
    stages: list[nn.Module] = [nn.ModuleList([block]) if numbered else block for block in blocks]
    pooling = Plain(4, 4, 5, 5, separate=separate, stride=3, padding=1)
    return Network(ResNet(stem, None, stages, pooling), 16, 3, (4, 2), separate=separate)

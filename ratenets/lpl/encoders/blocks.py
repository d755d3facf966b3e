"""Blocks: the layers of an encoder, and how each learns from a loss on its own output.

A block is one layer of synapses with its activation and pooling. It has an output, which the next block sees, and a
code z (B, M), on which the loss and the readout stand: the output itself in a dense layer, its spatial mean in a
convolutional one (after ReLU and max-pooling; Halvagal & Zenke 2023, Methods).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

PIECE = 2**22
"""Values of a map that are worked on at once on a CPU: few enough for the allocator to use memory that it has."""

Learn: TypeAlias = Callable[[Tensor], dict[str, Tensor]]
"""Takes the gradient of a loss with respect to a block's output; gives those of its parameters, by name."""


class Block(nn.Module, ABC):
    """One layer of an encoder.

    A block of one's own needs `units` and `forward`, and no more: `respond` is there for those who know their
    gradient in closed form, and so need no graph.

    Attributes:
        units: M, of its code.
        synapses: its weights, in blocks that have one layer of them (dense and VGG's).
    """

    units: int
    synapses: nn.Linear | nn.Conv2d

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """The output, (B, M) or (B, M, H, W)."""

    def respond(self, x: Tensor) -> tuple[Tensor, Learn]:
        """The output for an input that carries no gradient, and what learns from a loss on that output."""
        with torch.enable_grad():
            output = self(x.detach())
        own = {name: p for name, p in self.named_parameters() if p.requires_grad}

        def learn(gradient: Tensor) -> dict[str, Tensor]:
            gradients = torch.autograd.grad(output, list(own.values()), gradient)
            return dict(zip(own, gradients, strict=True))

        return output.detach(), learn


def code(output: Tensor) -> Tensor:
    """The code z (B, M) of a block's output: its mean over space, if it has any."""
    return output.mean((2, 3)) if output.dim() == 4 else output


def spread(gradient: Tensor, output: Tensor) -> Tensor:
    """The gradient with respect to an output, given the one with respect to its code: every position has its share."""
    if output.dim() == 2:
        return gradient
    return (gradient / output[0, 0].numel()).to(output.dtype)[:, :, None, None].expand_as(output)


class DenseBlock(Block):
    """Fully connected layer with ReLU: z = relu(W x + b)."""

    def __init__(self, inputs: int, units: int, bias: bool = True) -> None:
        super().__init__()
        self.units = units
        self.synapses = nn.Linear(inputs, units, bias)

    def forward(self, x: Tensor) -> Tensor:
        drive: Tensor = self.synapses(x.flatten(1))
        return drive.relu_()

    def respond(self, x: Tensor) -> tuple[Tensor, Learn]:
        with torch.no_grad():
            output = self(x)

        @torch.no_grad()
        def learn(gradient: Tensor) -> dict[str, Tensor]:
            delta = torch.ops.aten.threshold_backward(gradient.to(output.dtype), output, 0)
            gradients = {"synapses.weight": delta.T @ x.flatten(1).to(delta.dtype)}
            if self.synapses.bias is not None:
                gradients["synapses.bias"] = delta.sum(0)
            return gradients

        return output, learn


class Response(NamedTuple):
    """What a convolution does with some images.

    Attributes:
        output: after pooling and ReLU.
        size: height and width before pooling.
        drive: before pooling and ReLU, where it has to be kept: on a GPU.
        winners: of each window of the max-pool, if there is one.
    """

    output: Tensor
    size: list[int]
    drive: Tensor | None
    winners: Tensor | None


def _delta(of: Response, gradient: Tensor) -> Tensor:
    """The gradient with respect to the drive: of active units, at the winner of each window."""
    delta: Tensor = torch.ops.aten.threshold_backward(gradient.to(of.output.dtype), of.output, 0)
    if of.winners is None:
        return delta
    if of.drive is None:
        return functional.max_unpool2d(delta, of.winners, [2, 2], output_size=of.size)
    # On a GPU `max_unpool2d` would bring the channels outermost; this needs the drive, which costs memory there is.
    window, none = [2, 2], [0, 0]
    unpooled: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
        delta, of.drive, window, window, none, [1, 1], False, of.winners
    )
    return unpooled


class ConvBlock(Block):
    """3 x 3 convolution with padding 1, ReLU, and a 2 x 2 max-pool where `pool` says so."""

    def __init__(self, inputs: int, channels: int, pool: bool, bias: bool = True) -> None:
        super().__init__()
        self.units = channels
        self.synapses = nn.Conv2d(inputs, channels, kernel_size=3, padding=1, bias=bias)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        drive: Tensor = self.synapses(x)
        # The maximum of rectified values is the rectified maximum, and there are fewer of them to rectify.
        return functional.max_pool2d(drive, 2).relu_() if self.pool else drive.relu_()

    def respond(self, x: Tensor) -> tuple[Tensor, Learn]:
        per_image = self.units * x.shape[2] * x.shape[3]
        piece = max(1, PIECE // per_image) if x.device.type == "cpu" else len(x)
        with torch.no_grad():
            pieces = [self._piece(part) for part in torch.split(x, piece)]
            output = torch.cat([part.output for part in pieces]) if len(pieces) > 1 else pieces[0].output

        @torch.no_grad()
        def learn(gradient: Tensor) -> dict[str, Tensor]:
            parts = zip(torch.split(x, piece), pieces, torch.split(gradient, piece), strict=True)
            gradients = [self._gradients(part, _delta(of, g)) for part, of, g in parts]
            return {name: sum((g[name] for g in gradients[1:]), gradients[0][name]) for name in gradients[0]}

        return output, learn

    def _piece(self, x: Tensor) -> Response:
        drive: Tensor = self.synapses(x)
        size = list(drive.shape[2:])
        if not self.pool:
            return Response(drive.relu_(), size, None, None)
        output, winners = functional.max_pool2d(drive, 2, return_indices=True)
        return Response(output.relu_(), size, drive if x.is_cuda else None, winners)

    def _gradients(self, x: Tensor, delta: Tensor) -> dict[str, Tensor]:
        """dw_ij = sum over samples and positions of delta_i x_j: the synapses' own gradient, none of the input."""
        weight, bias = self.synapses.weight, self.synapses.bias
        _, of_weight, of_bias = torch.ops.aten.convolution_backward(
            delta,
            x.to(delta.dtype),
            weight.to(delta.dtype),
            None if bias is None else list(bias.shape),
            [1, 1],  # stride
            [1, 1],  # padding
            [1, 1],  # dilation
            False,  # not transposed
            [0, 0],
            1,  # group
            [False, True, bias is not None],
        )
        gradients = {"synapses.weight": of_weight, "synapses.bias": of_bias}
        return {name: gradient for name, gradient in gradients.items() if gradient is not None}


class SequentialBlock(Block):
    """Any modules in a row as one block."""

    def __init__(self, units: int, *modules: nn.Module) -> None:
        super().__init__()
        self.units = units
        self.layers = nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layers(x)
        return output

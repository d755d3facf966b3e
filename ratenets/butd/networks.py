"""A bottom-up / top-down network: core, prediction head and instruction head, and its three passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from foundation.errors import UsageError
from ratenets.butd.config import WeightConfig
from ratenets.butd.layers import TIED, Activities, ErrorPass, Layer, Linear, Sequential, Shape, by

INPUT = "input"
"""Under this name a top-down pass gives what leaves the network at the level of the image, if it is asked to."""


class Seen(NamedTuple):
    """A bottom-up pass.

    Attributes:
        logits: of the prediction head, (B, C); with several decoders (B, D, C).
        activities: what entered each layer from below, (B, ...).
    """

    logits: Tensor
    activities: Activities


class ButdNetwork(nn.Module):
    """A core with a prediction head and, for guided networks, an instruction head (Abel & Ullman, arXiv 2306.02415).

    Layers are named "core.0", ..., "head", "instruction.0" (next to the core), ... . The prediction head has neither
    ReLU nor gate. The instruction head is used downwards only.

    Args:
        core: the layers between image and heads; what leaves it upwards is a vector.
        image_shape: C, H, W; or any other shape that the core takes.
        n_classes: outputs of each decoder.
        decoders: prediction heads; a sample's task says which one is read.
        instruction: entries of an instruction vector; 0: the network is unguided.
        embedding: units between instruction and core; 0: none.
        bias, td_bias: of the heads.
        weights: of the heads; None: as those of the core's layers.

    Raises:
        UsageError: the layers do not fit together.
    """

    def __init__(
        self,
        core: Layer,
        image_shape: Shape,
        n_classes: int,
        *,
        decoders: int = 1,
        instruction: int = 0,
        embedding: int = 0,
        bias: bool = True,
        td_bias: bool = False,
        weights: WeightConfig | None = None,
    ) -> None:
        super().__init__()
        image_shape = tuple(image_shape)
        for name, number, least in (
            ("n_classes", n_classes, 1),
            ("decoders", decoders, 1),
            ("instruction", instruction, 0),
            ("embedding", embedding, 0),
        ):
            if number < least:
                raise UsageError(f"{name}: must be at least {least}, got {number}")
        _check_once(core)
        self.image_shape, self.n_classes = image_shape, n_classes
        self.decoders, self.instruction_size = decoders, instruction
        top, positive = core.build("core", image_shape, False)
        if len(top) != 1:
            raise UsageError(f"core: must end in a vector, such as Flatten gives, ends in {by(top)}")

        regime = _of_core(core) if weights is None else weights

        def head(inputs: int, outputs: int) -> Linear:
            return Linear(inputs, outputs, bias=bias, td_bias=td_bias, weights=regime)

        self.core = core
        self.head = head(top[0], decoders * n_classes)
        self.head.rectified = False
        self.head.build("head", top, positive)
        sizes = [top[0], *([embedding] if embedding else []), instruction]
        self.instruction = (
            Sequential(*(head(below, above) for below, above in pairwise(sizes))) if instruction else None
        )
        if self.instruction is not None:
            self.instruction.build("instruction", top, True)

    def attend(self, instruction: Tensor, *, to_input: bool = False) -> Activities:
        """The attention pass: what enters each layer from above, (B, ...); where that is positive, its gates open.

        Args:
            instruction: (B, instruction_size).
            to_input: go on to the level of the image, too, under "input".

        Raises:
            UsageError: the network is unguided, or the vector has another size.
        """
        if self.instruction is None:
            raise UsageError("instruction: the network is unguided, it has no instruction head")
        if instruction.dim() != 2 or instruction.shape[-1] != self.instruction_size:
            raise UsageError(f"instruction: must be (samples, {self.instruction_size}), got {tuple(instruction.shape)}")
        seen: Activities = {}
        top = self.instruction.attend(instruction.to(self.head.W.dtype), seen)
        if to_input:
            seen[INPUT] = self.core.attend(top, seen)
        else:
            self.core.heed(top, seen)
        return seen

    def bottom_up(self, images: Tensor, attention: Activities | None = None) -> Seen:
        """The bottom-up pass, with ReLU; and, given what an attention pass left, on each sample's sub-network.

        Args:
            images: (B, *image_shape).
            attention: of `attend`, for as many samples.

        Raises:
            UsageError: images of another shape, or another number of instructions.
        """
        if tuple(images.shape[1:]) != self.image_shape:
            raise UsageError(f"images: must be {by(self.image_shape)} each, got {by(images.shape[1:])}")
        if not len(images):
            raise UsageError("images: there are none")
        if attention is not None and (gates := next(iter(attention.values()))).shape[0] != len(images):
            raise UsageError(f"instruction: {gates.shape[0]} of them for {len(images)} images")
        seen: Activities = {}
        top = self.core.bottom_up(images, seen, attention)
        logits = self.head.bottom_up(top, seen, None)
        return Seen(logits.view(len(logits), self.decoders, -1) if self.decoders > 1 else logits, seen)

    def send_back(self, errors: Tensor, bottom_up: Activities, *, to_input: bool = False) -> Activities:
        """The error pass: what enters each layer from above, (B, ...); linear in `errors`.

        Args:
            errors: dL/dlogits of each sample, in the shape of the logits.
            bottom_up: the activities of the bottom-up pass.
            to_input: go on to the level of the image, too, under "input". Else it ends at the lowest weights.
        """
        seen: Activities = {}
        self._return(errors, ErrorPass(bottom_up, seen), to_input)
        return seen

    def learn(
        self, errors: Tensor, bottom_up: Activities, learn: Callable[[Layer, Mapping[str, Tensor]], None]
    ) -> None:
        """The error pass, in which each layer learns as soon as it is reached; `bottom_up` is used up.

        Args:
            errors: as in `send_back`, divided by the number of samples.
            bottom_up: the activities of the bottom-up pass; what is used is taken out of it.
            learn: is called with each layer and its update values, see `Layer.counter_hebb`.
        """
        self._return(errors, ErrorPass(bottom_up, learn=learn, keep=False), False)

    def _return(self, errors: Tensor, through: ErrorPass, to_input: bool) -> None:
        td = self.head.send_back(errors.flatten(1), through)
        if not to_input:
            self.core.arrive(td, through)
        elif through.td is not None:
            through.td[INPUT] = self.core.send_back(td, through)

    def counter_hebb(self, bottom_up: Activities, error: Activities) -> dict[str, Tensor]:
        """Counter-Hebb update values by the names of what learns; an optimiser takes them in the place of gradients.

        Args:
            bottom_up: the activities of the bottom-up pass.
            error: of the error pass, `send_back`.
        """
        return {
            f"{layer.name}.{name}": value
            for layer in self.layers()
            if layer.name in error
            for name, value in self._updates(layer, bottom_up, error).items()
            if layer.get_parameter(name).requires_grad
        }

    @staticmethod
    def _updates(layer: Layer, bottom_up: Activities, error: Activities) -> Mapping[str, Tensor]:
        td = error[layer.name]
        return layer.counter_hebb(bottom_up[layer.name], td / len(td))

    def forward(self, images: Tensor, instruction: Tensor | None = None, decoder: Tensor | None = None) -> Tensor:
        """Logits, (B, C), of images, (B, *image_shape).

        Args:
            images: (B, *image_shape).
            instruction: guided networks: (B, instruction_size).
            decoder: networks of several decoders: which of them to read, (B,).

        The attention pass leaves no gradients.
        """
        return self.read(self.bottom_up(images, self.attention(instruction)).logits, decoder)

    def attention(self, instruction: Tensor | None) -> Activities | None:
        """What the attention pass leaves, without gradients; None for a network that is unguided.

        Raises:
            UsageError: instructions for an unguided network, or none for a guided one.
        """
        if instruction is None:
            if self.instruction is not None:
                raise UsageError("instruction: the network is guided; say what it is asked of each image")
            return None
        with torch.no_grad():
            return self.attend(instruction)

    def read(self, logits: Tensor, decoder: Tensor | None) -> Tensor:
        """The logits of each sample's decoder, (B, C), of those of all, (B, D, C).

        Raises:
            UsageError: the network has several decoders, and none is named.
        """
        if self.decoders == 1:
            return logits
        if decoder is None:
            raise UsageError(f"decoder: the network has {self.decoders}; say which one each sample's task reads")
        return logits.gather(1, decoder[:, None, None].expand(-1, 1, self.n_classes)).squeeze(1)

    def scatter(self, errors: Tensor, decoder: Tensor | None) -> Tensor:
        """The errors of what `read` gave, (B, C), in the shape of all logits; those of other decoders are 0."""
        if self.decoders == 1 or decoder is None:
            return errors
        everywhere = errors.new_zeros(len(errors), self.decoders, self.n_classes)
        return everywhere.scatter(1, decoder[:, None, None].expand(-1, 1, self.n_classes), errors[:, None])

    def layers(self) -> list[Layer]:
        """Every layer, composite ones too, lowest first, the instruction head last."""
        return [module for module in self.modules() if isinstance(module, Layer)]

    def gated_layers(self) -> list[Layer]:
        """Those of the core that an attention pass gates, lowest first: their units make the sub-networks."""
        return [part for part in self.core.modules() if isinstance(part, Layer) and part.rectified and part.at_gate]


def _check_once(core: Layer) -> None:
    """Refuse a layer that is used twice: it would be one layer with two names."""
    names: dict[int, str] = {}
    for name, part in core.named_modules(prefix="core", remove_duplicate=False):
        if isinstance(part, Layer) and (before := names.setdefault(id(part), name)) != name:
            raise UsageError(f"{before} and {name}: are one and the same layer; make two")


def _of_core(core: Layer) -> WeightConfig:
    """How W and V of the core's layers began, and learn."""
    found: set[WeightConfig] = {
        weights for part in core.modules() if isinstance(weights := getattr(part, "weights", None), WeightConfig)
    }
    if len(found) > 1:
        regimes = " and ".join(sorted({weights.regime for weights in found}))
        raise UsageError(f"weights: the core's layers differ in theirs ({regimes}); say which the heads have")
    return found.pop() if found else TIED

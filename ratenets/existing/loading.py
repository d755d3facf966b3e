"""Weights of others, put into an encoder of ours: all of them, or none."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from foundation.errors import RatespikeError, UsageError
from foundation.text import one_line
from ratenets.archives import Stored, is_tensor, opened
from ratenets.existing.contents import COUNTERS, contents_of, stored_tensor, values_like
from ratenets.existing.layouts import Sorted, describe, fitting_width, sort
from ratenets.existing.pretrained import resnet50_weights
from ratenets.lpl.encoders import Encoder
from ratenets.run_folder import CHECKPOINT

OPTIONAL = (
    ("batch norm in its bottlenecks", "bottleneck-norms", re.compile(r"layers\.\d+\.bn\d\.")),
    ("biases", "biases", re.compile(r"bias$")),
)
"""Weights that an encoder may have or not: what they are, the flag, and their names."""


@dataclass(frozen=True)
class Loaded:
    """What became of a file.

    Attributes:
        path: the file.
        source: whose weights they are, in words.
        taken: their name for each weight that was taken, and ours.
        left: their name for each that was not, and what it is.
        epoch: of the training, as the file has it; None: it does not say.
    """

    path: Path
    source: str
    taken: Mapping[str, str]
    left: Mapping[str, str]
    epoch: int | None

    def __str__(self) -> str:
        """One line."""
        epoch = "" if self.epoch is None else f", epoch {self.epoch}"
        parts = Counter(self.left.values())
        left = ", ".join(f"{count} of its {part}" for part, count in parts.items())
        return f"{self.path}: {self.source}{epoch}: {len(self.taken)} tensors taken" + (f"; left: {left}" * bool(left))


def start(encoder: Encoder, kind: str, initial_weights: str, pretrained: bool) -> None:
    """Let an encoder start from weights of others, if that is asked for.

    Args:
        encoder: of that kind, at its random weights.
        kind: the encoder's name.
        initial_weights: a file, or a run's folder; "": none.
        pretrained: start from torchvision's published weights.

    Raises:
        UsageError: both are asked for, or the file's encoder is another than this.
        RatespikeError: the weights cannot be had.
    """
    if pretrained and initial_weights:
        raise UsageError("initial_weights: --pretrained names weights already; choose one")
    if pretrained:
        load_existing(resnet50_weights(), encoder, kind)
    elif initial_weights:
        load_existing(Path(initial_weights).expanduser(), encoder, kind)


def load_existing(path: Path, encoder: Encoder, kind: str, prefix: str = "") -> Loaded:
    """Put the weights of a checkpoint into `encoder`; nothing in the file is executed, and only tensors are taken.

    Known are, by what is in them: Lightning checkpoints of the authors' code, those of martinosorb/LPL, torchvision's
    VGG-11, AlexNet and ResNet-50, and ours: in a dictionary under any key, behind any prefix, beside whatever else,
    which is left.

    Args:
        path: a file of `torch.save`, a .safetensors file, or the folder of a run.
        encoder: takes the weights, in its own precision; stays as it was if it cannot.
        kind: the encoder's name, "vgg" say.
        prefix: of the encoder's names, where a file has several encoders: "module.encoder_q" say.

    Raises:
        UsageError: the weights are whole, and of another encoder than this one; the message says which would fit. Or
            there are several encoders, and `prefix` does not say which.
        RatespikeError: the file is missing, damaged or hostile, or holds something else; the message names the key.
    """
    file = path / CHECKPOINT if path.is_dir() else path
    try:
        with opened(file) as archive:
            contents = contents_of(archive.root)
            names = sort(contents.parts, contents.own, prefix)
            state = contents.parts[names.part]
            if names.layout.kind not in ("", kind):
                other = names.layout.kind
                raise UsageError(f"is {describe(names.layout)}, the encoder is {kind}; take --encoder {other}")
            stored = {ours: stored_tensor(archive, name, state[name]) for name, ours in names.taken.items()}
            wanted = encoder.state_dict()
            _compare(names, kind, stored, wanted)
            weights = {ours: values_like(ours, tensor, wanted[ours]) for ours, tensor in stored.items()}
    except RatespikeError as error:
        raise type(error)(f"{file}: {error}") from None
    encoder.load_state_dict({**wanted, **weights})
    return Loaded(file, describe(names.layout), names.taken, _tensors_left(names, state), contents.epoch)


def _tensors_left(names: Sorted, state: Mapping[str, object]) -> dict[str, str]:
    """What is left, but for numbers and words beside the weights."""
    return {name: what for name, what in names.left.items() if is_tensor(state[name])}


def _compare(names: Sorted, kind: str, stored: Mapping[str, Stored], wanted: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not those of an encoder with the weights `wanted`."""
    theirs = {ours: name for name, ours in names.taken.items()}
    misfit = next(
        (name for name in stored if name in wanted and not _fits(stored[name].shape, wanted[name].shape)), None
    )
    if misfit is not None:
        there, here = list(stored[misfit].shape), list(wanted[misfit].shape)
        raise UsageError(f"{one_line(theirs[misfit])}: is {there}, {here} here{_hint(kind, stored, misfit, here)}")
    missing = [name for name in wanted if name not in stored and not name.endswith(COUNTERS)]
    unknown = [name for name in stored if name not in wanted]
    for text, flag, part in OPTIONAL:
        expected = {name for name in wanted if part.search(name) and not name.endswith(COUNTERS)}
        if missing and not unknown and set(missing) == expected:
            raise UsageError(f"has no {text}; --no-{flag} would fit")
        if unknown and not missing and set(unknown) == {name for name in stored if part.search(name)}:
            raise UsageError(f"has {text}; --{flag} would fit")
    if unknown:
        raise RatespikeError(f"{one_line(theirs[unknown[0]])} is no part of {kind}")
    if missing:
        raise RatespikeError(f"lacks {missing[0]}, and {len(missing) - 1} more of {len(wanted)}")


def _hint(kind: str, stored: Mapping[str, Stored], misfit: str, here: list[int]) -> str:
    """What would fit, where a weight does not."""
    there = stored[misfit].shape
    if there[:1] != tuple(here[:1]):
        width = fitting_width(kind, {name: tensor.shape[0] for name, tensor in stored.items() if tensor.shape})
        return "" if width is None else f"; --width {width:g} would fit"
    if misfit.startswith("blocks.0.") and len(there) == 4 and there[1] != here[1]:
        return f"; it is for images of {there[1]} channels, not {here[1]}"
    return ""


def _fits(shape: tuple[int, ...], wanted: torch.Size) -> bool:
    """Are these one weight? A dense layer is a convolution whose kernel is as large as its input."""
    as_dense = (wanted[0], math.prod(wanted[1:])) if len(wanted) == 4 else None
    return shape in (tuple(wanted), as_dense)

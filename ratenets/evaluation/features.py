"""What the layers of an encoder make of images: codes of all layers in one pass, or maps, one layer at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from foundation.devices import free_memory
from foundation.errors import RatespikeError
from foundation.progress import bar
from foundation.threads import multiply_adds, threads_for
from ratenets.lpl.encoders import Encoder

BATCH = 512


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Without gradients, dropout or batch statistics; the network's mode is put back."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)


def pooled(encoder: nn.Module, images: Tensor, batch_size: int = BATCH, label: str = "") -> list[Tensor]:
    """The codes of all layers for images (N, C, H, W) as the encoder takes them, in one pass: a list of (N, M_i).

    With `label`, a progress bar of that name.
    """
    batches = bar(torch.split(images, batch_size), label=label, unit="batch", disable=not label)
    with evaluating(encoder), threads_for(batch_size * multiply_adds(lambda: encoder(images[:1]))):
        parts = [encoder(batch) for batch in batches]
    return [torch.cat(layer) for layer in zip(*parts, strict=True)]


def unpooled(encoder: Encoder, images: Tensor, batch_size: int = BATCH) -> Iterator[Tensor]:
    """The outputs of the layers for images, maps flattened to (N, C H W), lowest layer first.

    Every layer is computed from the one below, so that two of them are in memory at a time, see `unpooled_bytes`.
    """
    outputs, shape = images.flatten(1), images.shape[1:]
    for block in encoder:
        outputs, shape = _through(block, outputs, shape, batch_size)
        yield outputs


def _through(block: nn.Module, inputs: Tensor, shape: torch.Size, batch_size: int) -> tuple[Tensor, torch.Size]:
    """The flat outputs of a block for flat inputs of that shape, and their shape."""
    outputs, start = inputs[:0], 0
    with evaluating(block):
        for batch in torch.split(inputs, batch_size):
            output: Tensor = block(batch.view(-1, *shape))
            if not start:
                outputs = output.new_empty(len(inputs), output[0].numel())
            outputs[start : start + len(output)] = output.flatten(1)
            start += len(output)
    return outputs, output.shape[1:]


def unpooled_bytes(encoder: Encoder, image: Tensor, number: int) -> int:
    """The memory that `unpooled` needs for so many images such as one, (1, C, H, W): its largest two layers."""
    with evaluating(encoder):
        sizes = [0, *(output.numel() for output in encoder.outputs(image))]
    return number * image.element_size() * max(a + b for a, b in pairwise(sizes))


def check_unpooled(encoder: Encoder, image: Tensor, number: int) -> None:
    """Raises `RatespikeError` if the maps of so many images do not fit into the memory."""
    needed, free = unpooled_bytes(encoder, image, number), free_memory(image.device)
    if needed > free:
        raise RatespikeError(
            f"readouts without pooling need {needed / 1e9:.1f} GB for the maps of {number} images, "
            f"{image.device} has {free / 1e9:.1f} GB free; leave out --no-pooling, or take a larger device"
        )

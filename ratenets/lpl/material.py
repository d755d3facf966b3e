"""What a run learns from, and what its readouts are fitted to and tested on."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foundation.data.images import ImageSet
from foundation.errors import UsageError

Rows: TypeAlias = NDArray[np.int64]

SPLIT_SEED = 42
"""Of the published splits: which images are held out does not depend on a run's seed."""

STATISTICS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = MappingProxyType(
    {
        "cifar10": ((125.3 / 255, 123.0 / 255, 113.9 / 255), (63.0 / 255, 62.1 / 255, 66.7 / 255)),
        "stl10": ((0.43, 0.42, 0.39), (0.27, 0.26, 0.27)),
        "image-folder": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    }
)
"""Mean and standard deviation of each channel, as the reference normalises with; other datasets stay in [0, 1]."""


class Labelled(NamedTuple):
    """Images (N, C, H, W), unsigned bytes, and their labels (N,)."""

    images: NDArray[np.uint8]
    labels: Rows


class Material(NamedTuple):
    """The parts of a dataset.

    Attributes:
        pool: images to learn from, among others, (N, C, H, W).
        rows: those of `pool` that are learned from.
        labels: of `rows`; None where there are none.
        readout: what readouts are fitted to.
        test: what they are tested on.
    """

    pool: NDArray[np.uint8]
    rows: Rows
    labels: Rows | None
    readout: Labelled
    test: Labelled


def divide(images: ImageSet, *, held_out: int, first: int, supervised: bool) -> Material:
    """Divide a dataset as the reference does.

    A random part of the training images is held out, and the readouts are fitted to it; with none held out, they are
    fitted to the training images themselves. Where a dataset has unlabelled images (STL-10), LPL learns from 95 % of
    these, and the readouts, as supervision, from 90 % of the labelled ones.

    Args:
        images: the dataset.
        held_out: images of the training part that are not learned from.
        first: learn from so many images only; 0: all.
        supervised: labels teach.

    Raises:
        UsageError: more images asked for than there are.
    """
    test = Labelled(images.test_images, images.test_labels)
    if images.unlabelled_images is not None:
        labelled = _shuffled(len(images.train_images))[: len(images.train_images) * 9 // 10]
        readout = Labelled(images.train_images[labelled], images.train_labels[labelled])
        if supervised:
            return _cut(Material(readout.images, np.arange(len(labelled)), readout.labels, readout, test), first)
        unlabelled = len(images.unlabelled_images)
        rows = _shuffled(unlabelled)[: unlabelled * 95 // 100]
        return _cut(Material(images.unlabelled_images, rows, None, readout, test), first)
    count = len(images.train_images)
    if held_out >= count - 1:
        raise UsageError(f"held_out: {images.name} has {count} training images, got {held_out}")
    rows = _shuffled(count) if held_out else np.arange(count)
    rows, apart = rows[: count - held_out], rows[count - held_out :]
    fitted = apart if held_out else rows
    readout = Labelled(images.train_images[fitted], images.train_labels[fitted])
    return _cut(Material(images.train_images, rows, images.train_labels[rows], readout, test), first)


def _shuffled(count: int) -> Rows:
    """The order in which the reference's libraries split `count` samples."""
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    return np.asarray(torch.randperm(count, generator=generator).numpy(), dtype=np.int64)


def _cut(material: Material, first: int) -> Material:
    if first > len(material.rows):
        raise UsageError(f"train_images: there are {len(material.rows)} to learn from, got {first}")
    if not first:
        return material
    labels = None if material.labels is None else material.labels[:first]
    return material._replace(rows=material.rows[:first], labels=labels)


def normalised(images: Tensor, data: str) -> Tensor:
    """Images in [0, 1], (B, C, H, W), standardised by what is published for the dataset; as they are if nothing is."""
    if data not in STATISTICS:
        return images
    mean, deviation = (torch.tensor(x, dtype=images.dtype, device=images.device) for x in STATISTICS[data])
    return (images - mean[:, None, None]) / deviation[:, None, None]

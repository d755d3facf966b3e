"""Two digits in one image: Multi-MNIST, composed as in the reference of the bottom-up / top-down networks.

One digit lies in the upper left, one in the lower right of a canvas of 36 x 36 pixels. The brighter pixel wins where
they overlap, and the canvas is sampled at the nearest pixels to 28 x 28. Any set of grey images that are not larger
than that can be composed, Fashion-MNIST or the bundled digits, for instance.

After the code of the reference, which follows Sabour, Frosst & Hinton 2017, "Dynamic Routing Between Capsules",
arXiv:1710.09829.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from foundation.data.images import ImageSet
from foundation.errors import UsageError
from foundation.seeds import numpy_generator

SIDE = 28  # px; of a digit and of what is composed
CANVAS = 36  # px
SHIFT = 6  # px; of the right digit, to the right and down
KEPT = ((np.arange(SIDE) + 0.5) * CANVAS / SIDE).astype(np.int64)
"""Rows and columns of the canvas that are left: floor((i + 1/2) 36/28)."""

HELD_OUT = 6
"""One in so many training images, the last ones, is kept apart: 10,000 of MNIST's 60,000, as in the reference."""


class Composites(NamedTuple):
    """Images of two digits each."""

    images: NDArray[np.uint8]  # (N, 1, 28, 28)
    labels: NDArray[np.int64]  # (N, 2): of the left and of the right digit


def compose(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Compose images, both (..., 28, 28), pair by pair, to as many of the same shape."""
    canvas = np.zeros((*left.shape[:-2], CANVAS, CANVAS), np.uint8)
    canvas[..., :SIDE, :SIDE] = left
    lower_right = canvas[..., SHIFT : SHIFT + SIDE, SHIFT : SHIFT + SIDE]
    np.maximum(lower_right, right, out=lower_right)
    return canvas.take(KEPT, axis=-2).take(KEPT, axis=-1)


def pair(images: NDArray[np.uint8], labels: NDArray[np.int64], generator: np.random.Generator) -> Composites:
    """One composite for each image, (N, 1, 28, 28), as the left one; the right one is drawn from all, uniformly.

    `labels` are (N,). An image may be drawn several times, and be paired with itself.
    """
    right = generator.integers(len(images), size=len(images))
    return Composites(compose(images, images[right]), np.stack([labels, labels[right]], axis=1))


def as_digits(images: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Grey images, (N, 1, H, W), as (N, 1, 28, 28): enlarged by repeating pixels, with a dark margin, like MNIST's.

    The bundled digits, 8 x 8, are enlarged three times and get a margin of 2 pixels.

    Raises:
        UsageError: they are not grey, or larger.
    """
    _, channels, height, width = images.shape
    if channels != 1 or max(height, width) > SIDE:
        raise UsageError(
            f"multi-{name}: composed are grey images of at most {SIDE} x {SIDE} pixels; those of {name} have "
            f"{channels} channels and {height} x {width} pixels"
        )
    times = SIDE // max(height, width)
    large = images.repeat(times, axis=2).repeat(times, axis=3)
    margins = [(space // 2, space - space // 2) for space in (SIDE - times * height, SIDE - times * width)]
    return np.pad(large, [(0, 0), (0, 0), *margins])


def multi_images(images: ImageSet, seed: int, *, hold_out: bool = True) -> tuple[Composites, Composites]:
    """The train and the test part, each composed of the images of the same part of a set.

    With `hold_out` the last sixth of the training images is left out: the reference's validation part, which neither
    it nor we use. The right digits are drawn from streams of `seed`, one for each part.

    Raises:
        UsageError: the images cannot be composed.
    """
    n = len(images.train_images)
    kept = n - n // HELD_OUT if hold_out else n
    parts = {
        "train": (images.train_images[:kept], images.train_labels[:kept]),
        "test": (images.test_images, images.test_labels),
    }
    train, test = (
        pair(as_digits(sources, images.name), labels, numpy_generator(seed, "multi", part))
        for part, (sources, labels) in parts.items()
    )
    return train, test

"""Images made smaller, as Pillow does it: bilinear, with a filter as wide as the step, so that nothing aliases.

This is torchvision's ``Resize`` of a Pillow image, which the paper's code applies to downsample its datasets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UsageError
from foundation.progress import bar

if TYPE_CHECKING:
    from PIL.Image import Image

CHUNK = 1024  # images between two updates of the progress bar


def resized_shape(height: int, width: int, shorter: int) -> tuple[int, int]:
    """Height and width once the shorter side has `shorter` pixels; the longer one keeps the ratio, rounded down."""
    if height <= width:
        return shorter, shorter * width // height
    return shorter * height // width, shorter


def check_smaller(shape: tuple[int, int, int], shorter: int, what: str) -> None:
    """Raise `UsageError` if images of `shape`, (C, H, W), cannot be downsampled to `shorter` pixels."""
    if not 1 <= shorter <= min(shape[1:]):
        raise UsageError(f"image_size: must be 1 to {min(shape[1:])}, the pixels of {what}, got {shorter}")


def shrink(image: Image, shorter: int) -> Image:
    """One Pillow image with `shorter` pixels on its shorter side."""
    from PIL.Image import Resampling

    height, width = resized_shape(image.height, image.width, shorter)
    return image if image.size == (width, height) else image.resize((width, height), Resampling.BILINEAR)


def shrink_into(images: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
    """Fill `target`, (N, C, h, w), with `images`, (N, C, H, W), made smaller; C is 1 (grey) or 3 (RGB)."""
    from PIL.Image import fromarray

    shorter = min(target.shape[2:])
    for image, place in zip(images.transpose(0, 2, 3, 1), target, strict=True):
        flat = np.ascontiguousarray(image[..., 0] if image.shape[-1] == 1 else image)
        small = np.asarray(shrink(fromarray(flat), shorter))
        place[...] = small.reshape(*small.shape[:2], -1).transpose(2, 0, 1)


def downsample(images: NDArray[np.uint8], shorter: int, label: str) -> NDArray[np.uint8]:
    """Images, (N, C, H, W), with `shorter` pixels on their shorter side; `label` is the progress bar's.

    Raises:
        UsageError: they are not that large.
    """
    n, channels, height, width = images.shape
    check_smaller((channels, height, width), shorter, label)
    small = np.empty((n, channels, *resized_shape(height, width, shorter)), np.uint8)
    with bar(label=f"{label} to {shorter} pixels", total=n, unit="images", disable=n <= CHUNK) as progress:
        for start in range(0, n, CHUNK):
            rows = slice(start, min(start + CHUNK, n))
            shrink_into(images[rows], small[rows])
            progress.update(rows.stop - rows.start)
    return small

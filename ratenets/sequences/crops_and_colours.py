"""The views that the paper's networks learn from: crop, mirror, colour jitter, grey, blur; each image in its own way.

Halvagal & Zenke 2023, Methods; the distributions are those of SimCLR (Chen et al. 2020) as torchvision draws them.
kornia has these augmentations, too, but draws the order of a colour jitter once per batch instead of per image, and
its crops read across their borders when interpolating; both would change what a network sees. So they are written
out here, and tested against Pillow. What differs from Pillow is that nothing is rounded to bytes in between.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ratenets.sequences.colour import grey, jitter
from ratenets.sequences.config import SMALLEST_BLUR
from ratenets.sequences.resampling import blur, interpolation, resample

ATTEMPTS = 10
"""Crops that are tried before the whole image is taken."""

RATIOS = (3 / 4, 4 / 3)
"""Narrowest and widest aspect ratio (width to height) of a crop."""

JITTER = (0.8, 0.8, 0.8, 0.2)
"""How far brightness, contrast and saturation go from 1, and the hue from 0 (in turns), at strength 1."""


class Crops(NamedTuple):
    """A rectangle for each image, in pixels, each (B,)."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


def uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    """Uniform draws in float64."""
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def draw_crops(batch: int, height: int, width: int, min_area: float, generator: torch.Generator) -> Crops:
    """Draw random crops as torchvision's RandomResizedCrop does.

    The area is uniform in `min_area` to 1 of the image, the logarithm of the aspect ratio uniform between those of 3/4
    and 4/3, the place uniform; a crop that does not fit is drawn anew, ten times, then the largest one about the
    centre is taken whose ratio is allowed.
    """
    tries = (batch, ATTEMPTS)
    area = height * width * uniform(tries, min_area, 1, generator)
    ratio = uniform(tries, math.log(RATIOS[0]), math.log(RATIOS[1]), generator).exp()
    w, h = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.int().argmax(1, keepdim=True)
    w, h, found = (x.gather(1, first)[:, 0] for x in (w, h, fits))
    top = (uniform((batch,), 0, 1, generator) * (height - h + 1)).floor()
    left = (uniform((batch,), 0, 1, generator) * (width - w + 1)).floor()
    whole_w = min(width, round(height * RATIOS[1]))
    whole_h = min(height, round(width / RATIOS[0]))
    whole = ((height - whole_h) // 2, (width - whole_w) // 2, whole_h, whole_w)
    return Crops(*(torch.where(found, x, float(y)) for x, y in zip((top, left, h, w), whole, strict=True)))


def crop_and_mirror(images: Tensor, crops: Crops, mirrored: Tensor) -> Tensor:
    """Resize each crop to the size of the image, and mirror where `mirrored` (B,) says so."""
    height, width = images.shape[-2:]
    crops = Crops(*(x.to(images.device, images.dtype, non_blocking=True) for x in crops))
    mirrored = mirrored.to(images.device, non_blocking=True)
    rows = interpolation(height, crops.top, crops.height, height)
    columns = interpolation(width, crops.left, crops.width, width)
    return resample(images, rows, torch.where(mirrored[:, None, None], columns.flip(1), columns))


def taps(height: int) -> int:
    """Size of the blur's kernel: a tenth of the image, made odd (32 px: 3, 96 px: 9)."""
    tenth = int(0.1 * height)
    return tenth + 1 if tenth % 2 == 0 else tenth


class Draw(NamedTuple):
    """What is drawn for each view of a batch, each (B, ...), on the CPU.

    Attributes:
        crop: top, left, height and width, in pixels, (B, 4).
        mirrored: left to right.
        factors: of brightness, contrast and saturation, and the turn of the hue, (B, 4).
        order: of these changes, (B, 4); -1: none.
        grey: without colour.
        blur: width in pixels, 0: none.
    """

    crop: Tensor
    mirrored: Tensor
    factors: Tensor
    order: Tensor
    grey: Tensor
    blur: Tensor


def draw(
    batch: int,
    size: tuple[int, int],
    *,
    flip: float,
    min_area: float,
    strength: float,
    jitter_probability: float,
    grey_probability: float,
    blur_probability: float,
    max_blur: float,
    generator: torch.Generator,
) -> Draw:
    """Draw the parameters of a batch of views; always on the CPU, so that a seed gives the same on every device.

    The arguments are the fields of `ratenets.sequences.augmentation.ViewConfig`; `size` is height and width.
    """

    def happens(probability: float) -> Tensor:
        return torch.rand(batch, generator=generator) < probability

    crop = torch.stack(draw_crops(batch, *size, min_area, generator), 1)
    mirrored = happens(flip)
    reach = [strength * x for x in JITTER]
    factors = [uniform((batch,), max(0, 1 - x), 1 + x, generator) for x in reach[:3]]
    factors.append(uniform((batch,), -reach[3], reach[3], generator))
    order = torch.rand(batch, 4, generator=generator).argsort(1)
    order[~happens(jitter_probability if strength > 0 else 0.0)] = -1
    grey_ones, blurred = happens(grey_probability), happens(blur_probability)
    sigma = uniform((batch,), SMALLEST_BLUR, max_blur, generator)
    return Draw(crop, mirrored, torch.stack(factors, 1), order, grey_ones, torch.where(blurred, sigma, 0.0))


def apply(images: Tensor, drawn: Draw) -> Tensor:
    """One view of each image, (B, C, H, W) in [0, 1]: crop, mirror, jitter, grey, blur, in this order."""
    height, width = images.shape[-2:]
    views = crop_and_mirror(images, Crops(*drawn.crop.unbind(1)), drawn.mirrored).contiguous()
    jitter(views, drawn.factors, drawn.order)
    rows = torch.nonzero(drawn.grey)[:, 0].to(views.device, non_blocking=True)
    views[rows] = grey(views[rows]).expand(-1, views.shape[1], -1, -1)
    blurred = torch.nonzero(drawn.blur)[:, 0]
    sigma = drawn.blur[blurred].to(views.device, views.dtype, non_blocking=True)
    rows = blurred.to(views.device, non_blocking=True)
    views[rows] = resample(views[rows], blur(height, sigma, taps(height)), blur(width, sigma, taps(height)))
    return views

"""Colours of images in [0, 1], (B, 3, H, W), changed by a factor for each sample: what Pillow's enhancers do, without
their rounding to bytes. Images of one channel have no colour: saturation and hue leave them as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey value (ITU-R 601, as Pillow has them)."""


def grey(images: Tensor) -> Tensor:
    """Grey value of each pixel, (B, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green).add_(blue, alpha=LUMA[2])[:, None]


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Times the factor (B,), clipped."""
    return (images * _each(factor)).clamp_(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Distance from the image's mean grey value, times the factor (B,), clipped."""
    mean = grey(images).mean((1, 2, 3), keepdim=True)
    factor = _each(factor)
    return torch.addcmul(mean * (1 - factor), images, factor).clamp_(0, 1)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Distance of each colour from its grey value, times the factor (B,), clipped."""
    factor = _each(factor)
    return torch.addcmul(grey(images) * (1 - factor), images, factor).clamp_(0, 1)


def hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue by a part (B,) of the colour circle, in turns; value and saturation (HSV) stay."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    value, low = torch.maximum(torch.maximum(red, green), blue), torch.minimum(torch.minimum(red, green), blue)
    chroma = value - low
    scale = 1 / chroma.clamp(min=torch.finfo(images.dtype).tiny)
    sector = torch.where(value == green, (blue - red).mul_(scale).add_(2), (red - green).mul_(scale).add_(4))
    sector = torch.where(value == red, (green - blue).mul_(scale), sector)
    sector = sector.mul_(1 / 6).add_(turn[:, None, None])
    sector = sector.sub_(sector.floor()).mul_(6)  # quicker than a remainder
    turned = torch.empty_like(images)
    for channel, centre in enumerate((3, 2, 4)):  # where red is least, green and blue are most, in sixths of the circle
        part = (sector - centre).abs_()
        part = part.sub_(1) if channel == 0 else part.neg_().add_(2)
        torch.addcmul(low, chroma, part.clamp_(0, 1), out=turned[:, channel])
    return turned


CHANGES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (brightness, contrast, saturation, hue)
"""The four changes of a colour jitter; `jitter` numbers them in this order."""


def jitter(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Apply the four changes to each image in an order of its own.

    Args:
        images: (B, C, H, W), changed in place.
        factors: of the four changes, (B, 4), on the CPU.
        order: which change comes first, second, ...: (B, 4), on the CPU; a row of -1 leaves its image as it is.
    """
    device = images.device
    factors = factors.to(images.dtype)
    for place in order.T:
        for number, change in enumerate(CHANGES):
            rows = torch.nonzero(place == number)[:, 0]
            if len(rows):
                here = rows.to(device, non_blocking=True)
                strengths = factors[rows, number].to(device, non_blocking=True)
                images[here] = change(images[here], strengths)
    return images


def _each(factor: Tensor) -> Tensor:
    return factor[:, None, None, None]

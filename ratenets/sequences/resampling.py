"""Separable resampling as matrices: crops, resizing, mirroring and blur, another one for each sample of a batch.

A resampled image is R_y X R_x^T for every channel X, with one row of weights per output pixel. Interpolation is
Pillow's bilinear one, which torchvision's transforms use on images: a triangle filter that widens where an image
shrinks (antialiasing), cut off and normalised at the borders of the crop.
"""

from __future__ import annotations

import torch
from torch import Tensor


def interpolation(size: int, start: Tensor, length: Tensor, inputs: int) -> Tensor:
    """Weights (B, size, inputs) that resize `length` pixels from `start` on, both (B,), to `size` pixels, in the type
    of `start`.
    """
    start, length = start[:, None, None], length[:, None, None]
    outputs = torch.arange(size, dtype=start.dtype, device=start.device)[None, :, None] + 0.5
    pixels = torch.arange(inputs, dtype=start.dtype, device=start.device)[None, None, :] + 0.5
    scale = length / size
    distance = (pixels - (start + outputs * scale)).abs_().div_(scale.clamp(min=1))
    inside = (pixels > start) & (pixels < start + length)
    weights = torch.where(inside, distance.neg_().add_(1).clamp_(min=0), 0)
    return weights.div_(weights.sum(2, keepdim=True))


def blur(size: int, sigma: Tensor, taps: int) -> Tensor:
    """Weights (B, size, size) of a Gaussian blur of width sigma (B,), in pixels, with an odd number of taps; the image
    is mirrored at its border, without repeating the border itself.
    """
    offsets = torch.arange(taps, device=sigma.device) - taps // 2
    kernel = torch.exp(-0.5 * (offsets / sigma[:, None]).square())
    kernel = kernel / kernel.sum(1, keepdim=True)
    source = (torch.arange(size, device=sigma.device)[:, None] + offsets).abs()
    source = torch.where(source >= size, 2 * (size - 1) - source, source)
    weights = sigma.new_zeros(len(sigma), size, size)
    return weights.scatter_add_(2, source.expand(len(sigma), -1, -1), kernel[:, None, :].expand(-1, size, -1))


def resample(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """R_y X R_x^T for every channel: images (B, C, H, W), `rows` (B or 1, H', H), `columns` (B or 1, W', W)."""
    batch, channels, height, width = images.shape
    rows, columns = (
        w.to(images.device, images.dtype, non_blocking=True).expand(batch, -1, -1) for w in (rows, columns)
    )
    across = torch.bmm(images.reshape(batch, channels * height, width), columns.mT)
    across = across.reshape(batch, channels, height, -1).transpose(1, 2).reshape(batch, height, -1)
    both = torch.bmm(rows, across)
    return both.reshape(batch, rows.shape[1], channels, -1).transpose(1, 2)


def resize_and_crop(images: Tensor, resized: int, cropped: int) -> Tensor:
    """Resize the shorter side of images (B, C, H, W) to `resized` pixels, then cut `cropped` x `cropped` out of the
    centre.
    """
    height, width = images.shape[-2:]
    short = min(height, width)
    matrices = []
    for inputs in (height, width):
        size = resized * inputs // short
        whole = torch.tensor([inputs], dtype=torch.float64)
        weights = interpolation(size, torch.zeros_like(whole), whole, inputs)
        first = round((size - cropped) / 2)
        matrices.append(weights[:, first : first + cropped])
    return resample(images, *matrices)

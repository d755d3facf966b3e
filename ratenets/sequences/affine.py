"""Views of an image as small movements show them: shifted, rotated, mirrored."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Draw(NamedTuple):
    """What is drawn for each view of a batch, each (B,), on the CPU.

    Attributes:
        angle: of rotation, in radians.
        right: shift, in pixels.
        down: shift, in pixels.
        sign: -1 for a view that is mirrored left to right, else 1.
    """

    angle: Tensor
    right: Tensor
    down: Tensor
    sign: Tensor


def draw(batch: int, *, max_shift: float, max_rotation: float, flip: float, generator: torch.Generator) -> Draw:
    """Draw the movements of a batch of views.

    Args:
        batch: B.
        max_shift: along each axis, in pixels; drawn uniformly and independently.
        max_rotation: in degrees, drawn uniformly.
        flip: probability of being mirrored left to right.
        generator: of the draws.
    """

    def uniform(limit: float) -> Tensor:
        return (2 * torch.rand(batch, generator=generator, dtype=torch.float64) - 1) * limit

    angle = torch.deg2rad(uniform(max_rotation))
    right, down = uniform(max_shift), uniform(max_shift)
    mirrored = torch.rand(batch, generator=generator) < flip
    return Draw(angle, right, down, torch.where(mirrored, -1.0, 1.0).double())


def apply(images: Tensor, drawn: Draw) -> Tensor:
    """Move each image (B, C, H, W) float, by bilinear interpolation; what comes in from outside the image is 0."""
    height, width = images.shape[-2:]
    angle, right, down, sign = drawn
    # Rows map output to input positions in coordinates of [-1, 1]; the aspect ratio keeps a rotation a rotation.
    cos, sin = angle.cos(), angle.sin()
    row_x = torch.stack([sign * cos, -sin * height / width, -2 * right / width], 1)
    row_y = torch.stack([sign * sin * width / height, cos, -2 * down / height], 1)
    affine = torch.stack([row_x, row_y], 1).to(images)
    grid = functional.affine_grid(affine, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

"""Two views of one image, as a short sequence would show it: shifted, rotated, optionally mirrored.

Every sample gets its own transformation; a batch is transformed in one go, on the device where it lies.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from foundation.config import setting
from foundation.errors import UsageError


@dataclass(frozen=True)
class ViewConfig:
    """How far a view may be from its image. Parameters are drawn uniformly and independently for each sample."""

    max_shift: float = setting(1.0, "largest shift of a view along each axis, in pixels")
    max_rotation: float = setting(15.0, "largest rotation of a view, in degrees")
    flip: float = setting(0.0, "probability that a view is mirrored left to right (never for digits)")

    def __post_init__(self) -> None:
        if not self.max_shift >= 0:
            raise UsageError(f"views.max_shift: must not be negative (pixels), got {self.max_shift}")
        if not 0 <= self.max_rotation <= 180:
            raise UsageError(f"views.max_rotation: must lie in 0 to 180 (degrees), got {self.max_rotation}")
        if not 0 <= self.flip <= 1:
            raise UsageError(f"views.flip: is a probability, got {self.flip}")


DEFAULT_VIEWS = {
    "digits": ViewConfig(max_shift=1.0, max_rotation=15.0),
    "mnist": ViewConfig(max_shift=3.0, max_rotation=15.0),
    "fashion-mnist": ViewConfig(max_shift=3.0, max_rotation=10.0),
    "cifar10": ViewConfig(max_shift=4.0, max_rotation=10.0, flip=0.5),
}
"""Views that keep what an image shows, by dataset."""


def view(images: Tensor, config: ViewConfig, generator: torch.Generator) -> Tensor:
    """One random view of each image, (B, C, H, W) float; what comes in from outside the image is 0.

    The parameters are drawn on the generator's device, bilinear interpolation runs on that of the images.
    """
    batch, _, height, width = images.shape

    def uniform(limit: float) -> Tensor:
        return (2 * torch.rand(batch, generator=generator, dtype=torch.float64) - 1) * limit

    angle = torch.deg2rad(uniform(config.max_rotation))
    right, down = uniform(config.max_shift), uniform(config.max_shift)
    mirrored = torch.rand(batch, generator=generator) < config.flip
    sign = torch.where(mirrored, -1.0, 1.0).double()
    # Rows map output to input positions in coordinates of [-1, 1]; the aspect ratio keeps a rotation a rotation.
    cos, sin = angle.cos(), angle.sin()
    row_x = torch.stack([sign * cos, -sin * height / width, -2 * right / width], 1)
    row_y = torch.stack([sign * sin * width / height, cos, -2 * down / height], 1)
    affine = torch.stack([row_x, row_y], 1).to(images)
    grid = functional.affine_grid(affine, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def two_views(images: Tensor, config: ViewConfig, generator: torch.Generator) -> Tensor:
    """Two independent views of each image, stacked: the first views, then the second, (2 B, C, H, W)."""
    return view(torch.cat([images, images]), config, generator)


def image_sequence(images: Tensor, views_each: int, config: ViewConfig, generator: torch.Generator) -> Tensor:
    """Each image (K, C, H, W) for `views_each` frames in a row, each frame a new view: (K * views_each, C, H, W)."""
    return view(images.repeat_interleave(views_each, 0), config, generator).clamp(0, 1)

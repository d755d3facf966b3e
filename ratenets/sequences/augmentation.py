"""Views of one image, as a sequence would show it: what belongs together for the predictive term.

Every sample gets its own transformation; a batch is transformed in one go, on the device where it lies.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from foundation.config import setting
from foundation.errors import UsageError
from ratenets.sequences import affine, crops_and_colours
from ratenets.sequences.crops_and_colours import SMALLEST_BLUR
from ratenets.sequences.resampling import resize_and_crop

KINDS = ("affine", "paper")


@dataclass(frozen=True)
class ViewConfig:
    """How far a view may be from its image. Parameters are drawn uniformly and independently for each sample."""

    kind: str = setting("affine", "affine (shift, rotation), or paper (crop, colour jitter, grey, blur)", "views")
    flip: float = setting(0.0, "probability that a view is mirrored left to right (never for digits)")
    max_shift: float = setting(1.0, "affine: largest shift of a view along each axis, in pixels")
    max_rotation: float = setting(15.0, "affine: largest rotation of a view, in degrees")
    min_area: float = setting(0.08, "paper: smallest crop, as a part of the image")
    jitter: float = setting(1.0, "paper: strength of the colour jitter; 1: brightness, contrast, saturation ± 80 %")
    jitter_probability: float = setting(0.8, "paper: probability of the colour jitter")
    grey_probability: float = setting(0.2, "paper: probability that a view has no colour")
    blur_probability: float = setting(0.5, "paper: probability that a view is blurred")
    max_blur: float = setting(2.0, "paper: largest width of the blur, in pixels")

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"views.kind: must be one of {', '.join(KINDS)}, got '{self.kind}'")
        if not self.max_shift >= 0:
            raise UsageError(f"views.max_shift: must not be negative (pixels), got {self.max_shift}")
        if not 0 <= self.max_rotation <= 180:
            raise UsageError(f"views.max_rotation: must lie in 0 to 180 (degrees), got {self.max_rotation}")
        for name in ("flip", "jitter_probability", "grey_probability", "blur_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"views.{name}: is a probability, got {getattr(self, name)}")
        if not 0 < self.min_area <= 1:
            raise UsageError(f"views.min_area: must be more than 0 and at most 1, got {self.min_area}")
        if not 0 <= self.jitter <= 2.5:
            raise UsageError(f"views.jitter: must lie in 0 to 2.5 (beyond, hues repeat), got {self.jitter}")
        if not self.max_blur >= SMALLEST_BLUR:
            raise UsageError(f"views.max_blur: must be {SMALLEST_BLUR} or more (pixels), got {self.max_blur}")


DEFAULT_VIEWS = {
    "digits": ViewConfig(max_shift=1.0, max_rotation=15.0),
    "mnist": ViewConfig(max_shift=3.0, max_rotation=15.0),
    "fashion-mnist": ViewConfig(max_shift=3.0, max_rotation=10.0),
    "cifar10": ViewConfig(kind="paper", flip=0.5),
    "stl10": ViewConfig(kind="paper", flip=0.5),
    "image-folder": ViewConfig(kind="paper", flip=0.5),
}
"""Views that keep what an image shows, by dataset."""


def view(images: Tensor, config: ViewConfig, generator: torch.Generator) -> Tensor:
    """One random view of each image, (B, C, H, W) float in [0, 1]."""
    return _apply(images, _draw(len(images), images, config, generator))


def two_views(
    images: Tensor, config: ViewConfig, generator: torch.Generator, part: slice | None = None, batch: int = 0
) -> Tensor:
    """Two independent views of each image, stacked: the first views, then the second, (2 B, C, H, W).

    With `part`, the images are this part of a batch of `batch` of them: each gets the views that it has in the whole.
    """
    batch = batch or len(images)
    drawn = _draw(2 * batch, images, config, generator)
    if part is not None:
        rows = torch.cat([torch.arange(batch)[part], batch + torch.arange(batch)[part]])
        drawn = type(drawn)(*(parameter[rows] for parameter in drawn))
    return _apply(torch.cat([images, images]), drawn)


Draw = affine.Draw | crops_and_colours.Draw


def _draw(batch: int, images: Tensor, config: ViewConfig, generator: torch.Generator) -> Draw:
    if config.kind == "affine":
        return affine.draw(
            batch,
            max_shift=config.max_shift,
            max_rotation=config.max_rotation,
            flip=config.flip,
            generator=generator,
        )
    return crops_and_colours.draw(
        batch,
        (images.shape[2], images.shape[3]),
        flip=config.flip,
        min_area=config.min_area,
        strength=config.jitter,
        jitter_probability=config.jitter_probability,
        grey_probability=config.grey_probability,
        blur_probability=config.blur_probability,
        max_blur=config.max_blur,
        generator=generator,
    )


def _apply(images: Tensor, drawn: Draw) -> Tensor:
    if not len(images):  # the part of a process for which nothing is left
        return images
    return affine.apply(images, drawn) if isinstance(drawn, affine.Draw) else crops_and_colours.apply(images, drawn)


def plain_view(images: Tensor, config: ViewConfig) -> Tensor:
    """Each image as a readout sees it: itself, or for the paper's views a tenth larger, and the centre cut out."""
    if config.kind == "affine":
        return images
    size = min(images.shape[-2:])
    return resize_and_crop(images, int(1.1 * size), size)


def image_sequence(images: Tensor, views_each: int, config: ViewConfig, generator: torch.Generator) -> Tensor:
    """Each image (K, C, H, W) for `views_each` frames in a row, each frame a new view: (K * views_each, C, H, W)."""
    return view(images.repeat_interleave(views_each, 0), config, generator).clamp(0, 1)

"""Views of one image, as a sequence would show it: what belongs together for the predictive term.

Every sample gets its own transformation; a batch is transformed in one go, on the device where it lies.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ratenets.sequences import affine, crops_and_colours
from ratenets.sequences.config import ViewConfig
from ratenets.sequences.resampling import resize_and_crop


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

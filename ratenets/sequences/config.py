"""Which views of an image are to be had, and how far they may be from it."""

from __future__ import annotations

from dataclasses import dataclass

from foundation.config import check_choices, setting
from foundation.errors import UsageError

SMALLEST_BLUR = 0.1
"""Least width of a blur, pixels."""
KINDS = ("affine", "paper")


@dataclass(frozen=True)
class ViewConfig:
    """How far a view may be from its image. Parameters are drawn uniformly and independently for each sample."""

    kind: str = setting(
        "affine", "affine: shift, rotation; paper: crop, colour jitter, grey, blur", "views", choices=KINDS
    )
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
        check_choices(self, "views")
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

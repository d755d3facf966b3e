"""What a network sees: images, and views of them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from foundation.data.images import load_images
from foundation.figures import styled
from foundation.seeds import derive
from ratenets.sequences.augmentation import plain_view, view
from ratenets.sequences.config import DEFAULT_VIEWS, ViewConfig

IMAGES = 6
PAIRS = 4


class Shown(NamedTuple):
    """Images of a dataset and their views, all in [0, 1].

    Attributes:
        name: of the dataset.
        images: (K, C, H, W).
        plain: as a readout sees them, (K, C, H, W).
        views: pairs of views for the predictive term, (K, pairs, 2, C, H, W).
    """

    name: str
    images: NDArray[np.float64]
    plain: NDArray[np.float64]
    views: NDArray[np.float64]


def read_views(name: str, root: Path | None, seed: int) -> list[Shown]:
    """Draw views of the first training images of a dataset, with its default views."""
    config = DEFAULT_VIEWS.get(name, ViewConfig())
    images = torch.from_numpy(load_images(name, root).train_images[:IMAGES]).double() / 255
    generator = torch.Generator().manual_seed(derive(seed, "views", "figure"))
    views = view(images.repeat_interleave(2 * PAIRS, 0), config, generator)
    shape = (len(images), PAIRS, 2, *images.shape[1:])
    plain = plain_view(images, config)
    return [Shown(name, images.numpy(), plain.numpy(), views.reshape(shape).numpy())]


@styled
def augmentations(shown: list[Shown]) -> Figure:
    """One row per image: itself, as the readout sees it, and pairs of views; one block of rows per dataset."""
    rows = sum(len(each.images) for each in shown)
    columns = 2 + 3 * PAIRS  # the first of three columns is a gap before a pair
    widths = [1, 1] + [0.25, 1, 1] * PAIRS
    engine = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    figure = Figure(figsize=(0.62 * sum(widths), 0.62 * rows + 0.4), layout=engine)
    axes = figure.subplots(rows, columns, squeeze=False, width_ratios=widths)
    for axis in axes.ravel():
        axis.axis("off")
    for column, title in ((0, "image"), (1, "readout"), *((2 + 3 * p + 1, f"pair {p + 1}") for p in range(PAIRS))):
        axes[0, column].set_title(title, loc="left", fontsize=8)
    row = 0
    for each in shown:
        for image, plain, pairs in zip(each.images, each.plain, each.views, strict=True):
            _show(axes[row, 0], image)
            _show(axes[row, 1], plain)
            for p, pair in enumerate(pairs):
                for k in range(2):
                    _show(axes[row, 2 + 3 * p + 1 + k], pair[k])
            row += 1
    return figure


def _show(axis: Axes, image: NDArray[np.float64]) -> None:
    grey = len(image) == 1
    axis.imshow(image[0] if grey else image.transpose(1, 2, 0), cmap="gray" if grey else None, vmin=0, vmax=1)

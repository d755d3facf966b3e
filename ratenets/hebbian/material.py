"""What a local rule learns from: a part of a dataset, split by class, on the run's device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foundation.data.images import ImageSet, load_images
from foundation.errors import UsageError
from foundation.seeds import numpy_generator
from ratenets.butd.material import STATISTICS
from ratenets.hebbian.config import HebbianConfig

SPLIT_SEED = 0
"""Which images are used, and for what, does not depend on a run's seed: networks of all seeds see the same."""

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images (N, C, H, W) and labels (N,), 0 to classes - 1


@dataclass(frozen=True, eq=False)
class Material:
    """Images to learn from, to validate on and to test on, of the classes that are kept.

    Attributes:
        name: of the dataset.
        classes: the labels that are kept, as the dataset counts them; here they are 0 to len(classes) - 1.
        class_names: theirs.
    """

    name: str
    classes: tuple[int, ...]
    class_names: tuple[str, ...]
    train: Part
    validation: Part
    test: Part

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        _, channels, height, width = self.train[0].shape
        return channels, height, width


def load_material(config: HebbianConfig, root: Path | None = None) -> Material:
    """Read the images of a run.

    Raises:
        UsageError: no such dataset or label, or nothing is left to learn from or to validate on.
        RatespikeError: files are missing or wrong.
    """
    if config.data not in STATISTICS:
        raise UsageError(f"data: must be one of {', '.join(STATISTICS)}, got '{config.data}'")
    return part_of(load_images(config.data, root), config)


def part_of(images: ImageSet, config: HebbianConfig) -> Material:
    """The part of a dataset that a run uses: `kept` of the training images of each class, of which `validation` is set
    apart, and `test` of the test images, each rounded to whole images, half to even.

    Of MNIST that makes the published 24,001, 5,999 and 5,000.
    """
    classes = _kept(images, config)
    generator = numpy_generator(SPLIT_SEED, "part", images.name)
    train, validation, test = [], [], []
    for label in range(images.n_classes):  # all are drawn, so that a class's images do not depend on the others kept
        rows = generator.permutation(np.flatnonzero(images.train_labels == label))
        kept = round(len(rows) * config.kept)
        apart = round(kept * config.validation)
        tested = generator.permutation(np.flatnonzero(images.test_labels == label))
        if label in classes:
            validation.append(rows[:apart])
            train.append(rows[apart:kept])
            test.append(tested[: round(len(tested) * config.test)])
    number = np.full(images.n_classes, -1)
    number[list(classes)] = np.arange(len(classes))
    parts = []
    for name, chosen, pictures, labels in (
        ("learn from", train, images.train_images, images.train_labels),
        ("validate on", validation, images.train_images, images.train_labels),
        ("test on", test, images.test_images, images.test_labels),
    ):
        if not all(len(rows) for rows in chosen):
            raise UsageError(f"{images.name}: a class has no image to {name}; raise kept, validation or test")
        rows = np.sort(np.concatenate(chosen))
        parts.append((np.ascontiguousarray(pictures[rows]), number[labels[rows]]))
    return Material(images.name, classes, tuple(images.class_names[label] for label in classes), *parts)


def _kept(images: ImageSet, config: HebbianConfig) -> tuple[int, ...]:
    """The labels that are kept, ascending."""
    for name in ("classes", "drop_classes", "withhold"):
        unknown = [label for label in getattr(config, name) if label >= images.n_classes]
        if unknown:
            raise UsageError(f"{name}: {images.name} has labels 0 to {images.n_classes - 1}, got {unknown[0]}")
    kept = tuple(sorted(set(config.classes or range(images.n_classes)) - set(config.drop_classes)))
    if len(kept) < 2:
        raise UsageError(f"classes: at least two must be left, there are {kept or 'none'}")
    if config.withhold and (not set(config.withhold) < set(kept)):
        raise UsageError(f"withhold: must be some of the classes that are kept, not all, got {config.withhold}")
    return kept


class Placed(NamedTuple):
    """A part on the run's device, its images as bytes: they become numbers where they are used.

    Attributes:
        raw: (N, C, H, W).
        labels: (N,).
        scale, shift: of a byte, (C, 1, 1), that make its normalised value.
    """

    raw: Tensor
    labels: Tensor
    scale: Tensor
    shift: Tensor

    def images(self, rows: Tensor | slice) -> Tensor:
        """Normalised images, (B, pixels)."""
        raw = self.raw[rows] if isinstance(rows, slice) else self.raw.index_select(0, rows)
        return raw.to(self.scale.dtype).mul_(self.scale).add_(self.shift).flatten(1)


def placed(part: Part, config: HebbianConfig) -> Placed:
    """A part of a run's images on its device."""
    device = config.run.torch_device()
    raw, labels = (torch.from_numpy(each).to(device) for each in part)
    mean, std = (torch.tensor(each, dtype=torch.float64)[:, None, None] for each in STATISTICS[config.data])
    scale, shift = (each.to(device, config.run.dtype) for each in (1 / (255 * std), -mean / std))
    return Placed(raw, labels, scale, shift)

"""Where the two views of a step come from: an image twice, or two frames of a sequence."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foundation.seeds import derive
from ratenets.distributed import share
from ratenets.lpl.config import LPLConfig
from ratenets.lpl.material import Material, normalised
from ratenets.sequences.augmentation import plain_view, two_views


class Batch(NamedTuple):
    """What a step learns from.

    Attributes:
        views: the first views, then the second, of this process's part of the batch, (2 b, C, H, W).
        labels: of the whole batch, (B,), for supervision.
        permutation: of the whole batch, (B,), if positives are shuffled.
    """

    views: Tensor
    labels: Tensor | None
    permutation: Tensor | None


class Source(Protocol):
    """What a learner learns from."""

    @property
    def steps_per_epoch(self) -> int: ...

    def batch(self, epoch: int, index: int) -> Batch:
        """One batch, which depends on seed, epoch and index alone."""


def positives(config: LPLConfig, batch: int, epoch: int, index: int) -> Tensor | None:
    """Whose second view is pulled to whose first, (B,), if positives are shuffled; one order for all layers."""
    if not config.loss.shuffle_positives:
        return None
    generator = torch.Generator().manual_seed(derive(config.run.seed, "positives", epoch, index))
    return torch.randperm(batch, generator=generator).to(config.run.torch_device())


class ImageSource:
    """Two augmented views of each image. The images lie on the run's device as bytes, nothing is decoded twice."""

    def __init__(self, config: LPLConfig, material: Material) -> None:
        self.config = config
        self.device = config.run.torch_device()
        self.pool = torch.from_numpy(material.pool).to(self.device)
        self.rows = torch.from_numpy(material.rows)
        self.labels = None if material.labels is None else torch.from_numpy(material.labels)
        # A last batch of one image has no variance and is left out.
        self.steps_per_epoch = len(self.rows) // config.batch_size + (len(self.rows) % config.batch_size > 1)

    def batch(self, epoch: int, index: int) -> Batch:
        """One batch; the order of the images, their views and all else depend on seed, epoch and index alone."""
        config = self.config
        order = torch.randperm(len(self.rows), generator=self._generator("order", epoch))
        chosen = order[index * config.batch_size :][: config.batch_size]
        part = share(len(chosen))
        views = self.views(chosen, self._generator("views", epoch, index), part)
        labels = None
        if config.loss.supervision and self.labels is not None:
            labels = self.labels[chosen].to(self.device)
        return Batch(views, labels, positives(config, len(chosen), epoch, index))

    def views(self, chosen: Tensor, generator: torch.Generator, part: slice = slice(None)) -> Tensor:
        """Two views of a part of the chosen images, by their numbers among those that are learned from, normalised."""
        rows = self.rows[chosen[part]].to(self.device)
        images = self.pool[rows].to(self.config.run.dtype) / 255
        views = two_views(images, self.config.views, generator, part, len(chosen))
        return normalised(views, self.config.data).contiguous(memory_format=self.config.memory_format)

    def _generator(self, *purpose: str | int) -> torch.Generator:
        return torch.Generator().manual_seed(derive(self.config.run.seed, *purpose))


def prepare(images: NDArray[np.uint8], config: LPLConfig) -> Tensor:
    """Images (N, C, H, W) for a readout: on the run's device, in its type, normalised, not augmented."""
    device, dtype = config.run.torch_device(), config.run.dtype
    parts = []
    for start in range(0, len(images), 1024):
        x = torch.from_numpy(images[start : start + 1024]).to(device).to(dtype) / 255
        parts.append(normalised(plain_view(x, config.views), config.data))
    return torch.cat(parts)

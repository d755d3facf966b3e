"""What a bottom-up / top-down network learns from: images, a label for each task, and how images are normalised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foundation.data.catalogue import IMAGE_FOLDER, known_names
from foundation.data.celeba import NAME as CELEBA
from foundation.data.celeba import read_celeba
from foundation.data.images import ImageSet, load_images
from foundation.data.resizing import downsample
from foundation.errors import UsageError
from ratenets.butd.config import ButdConfig
from ratenets.butd.tasks import BinaryAttributes, LeftRight, LeftRightOf, Single, Tasks, check_labels, tasks_of
from ratenets.sequences.multi_mnist import multi_images

COMPOSITION_SEED = 0
"""Which digits meet in an image does not depend on a run's seed: networks of all seeds see the same dataset."""

STATISTICS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = MappingProxyType(
    {
        "digits": ((0.3048,), (0.3755,)),
        "mnist": ((0.1307,), (0.3081,)),
        "fashion-mnist": ((0.1307,), (0.3081,)),
        **dict.fromkeys(("cifar10", CELEBA, "stl10", IMAGE_FOLDER), ((0.5,) * 3, (0.5,) * 3)),
    }
)
"""Mean and standard deviation of each channel, by which images in [0, 1] are normalised.

Those of mnist, fashion-mnist (the same), cifar10 and celeba are those of the reference's code. The digits' are measured
on their training images; stl10 and image-folder, which the reference has not, are treated as its other colour images.
Images composed of two are normalised as the single ones.
"""

MULTI = "multi-"
Part = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images (N, C, H, W) and labels (N, L)

COMPOSED = ("digits", "mnist", "fashion-mnist")
"""Datasets that there are with two images in one, too, by the name multi-NAME."""


@dataclass(frozen=True, eq=False)
class TaskImages:
    """Images with the answers to all tasks.

    Raises:
        UsageError: the arrays do not fit each other, the tasks or the classes.
    """

    name: str
    train_images: NDArray[np.uint8]  # (N_train, C, H, W)
    train_labels: NDArray[np.int64]  # (N_train, L), one label for each task
    test_images: NDArray[np.uint8]  # (N_test, C, H, W)
    test_labels: NDArray[np.int64]  # (N_test, L)
    tasks: Tasks
    n_classes: int  # outputs for a task; 1: a yes or no, yes if the output is above 0
    mean: tuple[float, ...]  # by channel, of images in [0, 1], for `normalised`
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for part, images, labels in (
            ("train", self.train_images, self.train_labels),
            ("test", self.test_images, self.test_labels),
        ):
            if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(labels):
                found = f"{images.dtype} {images.shape}"
                raise UsageError(f"{self.name}: {part} images are {found}, should be uint8 ({len(labels)}, C, H, W)")
            check_labels(labels, self.tasks, self.n_classes)
        if self.test_images.shape[1:] != self.image_shape:
            raise UsageError(
                f"{self.name}: test images are {self.test_images.shape[1:]}, train images {self.image_shape}"
            )
        if not len(self.mean) == len(self.std) == self.image_shape[0]:
            raise UsageError(
                f"{self.name}: mean and std should have {self.image_shape[0]} numbers, one for each channel"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        _, channels, height, width = self.train_images.shape
        return channels, height, width


def load_task_images(config: ButdConfig, root: Path | None = None) -> TaskImages:
    """Read the images of a run, and what is asked about them.

    Args:
        config: its `data`, `task`, `image_size` and `train_images` say which; `guided`, `multi_decoder` and `loss`
            must suit the tasks.
        root: the folder of the datasets; see `foundation.data.catalogue.data_root`.

    Raises:
        UsageError: no such dataset, it has no such tasks or not so many images, or the network cannot learn the tasks.
        RatespikeError: files are missing or wrong.
    """
    kind = _kind(config)
    name, size = config.data.removeprefix(MULTI), config.image_size or None
    mean, std = STATISTICS[name]
    if name == CELEBA:
        faces = read_celeba(root, size, config.train_images or None)
        parts = (faces.train_images, faces.train_attributes, faces.test_images, faces.test_attributes)
        return TaskImages(name, *parts, tasks_of(kind, 1, faces.names), 1, mean, std)
    if name == config.data:
        images = load_images(name, root, image_size=size)
        train = (images.train_images, images.train_labels[:, None])
        test = (images.test_images, images.test_labels[:, None])
    else:
        images = load_images(name, root)
        train, test = _composed(images, size)
    first = config.train_images or len(train[0])
    if first > len(train[0]):
        raise UsageError(f"train_images: {config.data} has {len(train[0])} to train on, got {first}")
    train = (train[0][:first], train[1][:first])
    n = images.n_classes
    return TaskImages(config.data, *train, *test, tasks_of(kind, n), n, mean, std)


def _composed(images: ImageSet, size: int | None) -> tuple[Part, Part]:
    """The two parts with two images in one, resized once they are composed; of the few digits all are used."""
    train, test = multi_images(images, COMPOSITION_SEED, hold_out=images.name != "digits")
    if size is not None:
        train, test = (
            part._replace(images=downsample(part.images, size, MULTI + images.name)) for part in (train, test)
        )
    return train, test


def _kind(config: ButdConfig) -> str:
    """The kind of tasks, once dataset, tasks and network suit each other."""
    offered = _offered(config.data)
    kind = config.task or offered[0]
    if kind not in offered:
        raise UsageError(f"task: {config.data} has {', '.join(offered)}, not '{kind}'")
    if kind == Single.kind and config.guided:
        other = config.data if config.data in COMPOSED else "mnist"
        raise UsageError(f"guided: {config.data} has one task; {MULTI}{other} has two")
    if kind == LeftRightOf.kind and not config.guided:
        raise UsageError(f"task: {kind} names a digit in its instruction, an unguided network takes none: --guided")
    if kind != Single.kind and not config.guided and not config.multi_decoder:
        raise UsageError(f"guided: {config.data} has several tasks: --guided, or --multi-decoder, a head for each task")
    if kind == BinaryAttributes.kind and config.loss == "cross-entropy":
        raise UsageError("loss: an attribute is there or not, one output: bce or mse, got cross-entropy")
    return kind


def _offered(data: str) -> tuple[str, ...]:
    """The kinds of tasks that a dataset has, by its name."""
    composed = [MULTI + name for name in COMPOSED]
    if data == CELEBA:
        return (BinaryAttributes.kind,)
    if data in composed:
        return LeftRight.kind, LeftRightOf.kind
    if data in STATISTICS:
        return (Single.kind,)
    raise UsageError(f"unknown dataset {data!r}; known are {', '.join([known_names(), *composed, CELEBA])}")


def normalised(
    images: Tensor, mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype = torch.float32
) -> Tensor:
    """Images of unsigned bytes, (B, C, H, W), as (images / 255 - mean) / std, channel by channel."""
    shift, scale = _statistics(mean, std, dtype, images.device)
    return (images.to(dtype) / 255 - shift) / scale


@cache
def _statistics(
    mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, (C, 1, 1), made once: a GPU would wait for them in every step."""
    one, other = (torch.tensor(values, dtype=dtype, device=device)[:, None, None] for values in (mean, std))
    return one, other

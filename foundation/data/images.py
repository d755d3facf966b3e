"""Image datasets as arrays, read from their official files and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foundation.data.catalogue import Dataset, OfficialFile, data_root, find
from foundation.data.cifar import parse_batch, parse_meta
from foundation.data.idx import gunzip, parse_images, parse_labels
from foundation.data.official import mending_command, read_official
from foundation.errors import RatespikeError
from foundation.seeds import numpy_generator

Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images (N, C, H, W) and labels (N,)
Reader = Callable[[OfficialFile], bytes]  # the content of a file, checked


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A labelled image dataset in memory, with its train and test part.

    Images are unsigned bytes, (N, C, H, W), 0 (black or background) to 255; labels are (N,), 0 to `n_classes` - 1.
    """

    name: str
    train_images: NDArray[np.uint8]  # (N_train, C, H, W)
    train_labels: NDArray[np.int64]  # (N_train,)
    test_images: NDArray[np.uint8]  # (N_test, C, H, W)
    test_labels: NDArray[np.int64]  # (N_test,)
    class_names: tuple[str, ...]  # by label

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        _, channels, height, width = self.train_images.shape
        return channels, height, width


def load_images(name: str, root: Path | None = None) -> ImageSet:
    """Read a dataset: ``digits``, ``mnist``, ``fashion-mnist`` or ``cifar10``.

    `root` is where it lies (see `data_root`); ``digits`` needs no files. Every file is checked against its official
    md5 first. Raises `UsageError` for another name, `RatespikeError` for a missing or wrong file; that message names
    the file, what is wrong with it, and the command that mends it.
    """
    dataset = find(name)
    if dataset.layout == "bundled":
        train, test = _digits(dataset)
    else:
        read = _reader(dataset, root)
        train, test = (_from_idx if dataset.layout == "idx" else _from_cifar)(dataset, read)
    for part, (images, labels), n in (("train", train, dataset.n_train), ("test", test, dataset.n_test)):
        expected = ((n, *dataset.shape), (n,))
        if (images.shape, labels.shape) != expected:
            raise RatespikeError(f"{name}, {part}: images and labels are {images.shape, labels.shape}, not {expected}")
    return ImageSet(name, *train, *test, dataset.class_names)


def _reader(dataset: Dataset, root: Path | None) -> Reader:
    folder, command = data_root(root), mending_command(dataset, root)
    if not any((folder / file.path).exists() for file in dataset.files):
        raise RatespikeError(f"{dataset.name} is not in {folder}; get it with {command}")

    def read(file: OfficialFile) -> bytes:
        try:
            return read_official(folder / file.path, file)
        except RatespikeError as error:
            raise RatespikeError(f"{error}; mend it with {command}") from None

    return read


def _from_idx(dataset: Dataset, read: Reader) -> tuple[Labelled, Labelled]:
    _, height, width = dataset.shape

    def part(images: OfficialFile, labels: OfficialFile, n: int) -> Labelled:
        pixels = gunzip(read(images), images.path, limit=16 + n * height * width)
        numbers = gunzip(read(labels), labels.path, limit=8 + n)
        return parse_images(pixels, images.path), parse_labels(numbers, labels.path, dataset.n_classes)

    train_images, train_labels, test_images, test_labels = dataset.files
    return part(train_images, train_labels, dataset.n_train), part(test_images, test_labels, dataset.n_test)


def _from_cifar(dataset: Dataset, read: Reader) -> tuple[Labelled, Labelled]:
    *training, testing, meta = dataset.files
    n = len(training)
    titles = [f"training batch {i} of {n}" for i in range(1, n + 1)]
    if (names := parse_meta(read(meta), meta.path)) != dataset.class_names:
        raise RatespikeError(f"{meta.path}: classes {names}, should be {dataset.class_names}")

    def part(files: list[OfficialFile], titles: list[str], n_images: int) -> Labelled:
        batches = [
            parse_batch(read(file), file.path, title, n_images // len(files), dataset.n_classes)
            for file, title in zip(files, titles, strict=True)
        ]
        return np.concatenate([images for images, _ in batches]), np.concatenate([labels for _, labels in batches])

    return part(training, titles, dataset.n_train), part([testing], ["testing batch 1 of 1"], dataset.n_test)


def _digits(dataset: Dataset) -> tuple[Labelled, Labelled]:
    """scikit-learn's 1,797 digits; their 0 to 16 become 0 to 255.

    They come without a split. Ours is fixed: 500 test images drawn once by `stratified_part`, in the original order.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = np.rint(raw.images * (255 / 16)).astype(np.uint8)[:, np.newaxis]
    labels = raw.target.astype(np.int64)
    test = stratified_part(labels, dataset.n_test, numpy_generator(0, "digits", "test part"))
    return (images[~test], labels[~test]), (images[test], labels[test])


def stratified_part(labels: NDArray[np.int64], n_test: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Draw a stratified test part: a mask, (N,), with `n_test` True.

    Each class gives its share of `n_test`, rounded down; what is left over goes to the classes whose share was cut
    most. Within a class the draw is uniform.
    """
    classes, counts = np.unique(labels, return_counts=True)
    share = counts * n_test / len(labels)
    take = np.floor(share).astype(int)
    take[np.argsort(take - share, kind="stable")[: n_test - take.sum()]] += 1
    mask = np.zeros(len(labels), bool)
    for label, n in zip(classes, take, strict=True):
        mask[generator.permutation(np.flatnonzero(labels == label))[:n]] = True
    return mask

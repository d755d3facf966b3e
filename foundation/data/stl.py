"""The binary files of STL-10, read piece by piece: the largest would not fit twice into most computers.

A file of images is a row of 3 x 96 x 96 unsigned bytes, red, green, blue, each channel column by column; a file of
labels is a byte per image, 1 to 10. See https://cs.stanford.edu/~acoates/stl10.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from foundation.data.catalogue import Dataset, OfficialFile
from foundation.data.official import read_official, stream_official
from foundation.data.resizing import resized_shape, shrink_into
from foundation.errors import RatespikeError
from foundation.progress import bar

Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images (N, C, H, W) and labels (N,)
PIECE = 256  # images at a time


def read_stl(dataset: Dataset, folder: Path, image_size: int | None) -> tuple[Labelled, Labelled, NDArray[np.uint8]]:
    """Images and labels of the train and of the test part, and the images without labels.

    With `image_size` they are made smaller as they come. Raises `RatespikeError` that names the file if one is not
    the official one, or the official one is not as it should be.
    """
    train_images, train_labels, test_images, test_labels, unlabelled = dataset.files
    total = dataset.n_train + dataset.n_test + dataset.n_unlabelled
    with bar(label=dataset.name, total=total, unit="images") as progress:

        def images(file: OfficialFile, n: int) -> NDArray[np.uint8]:
            pieces = stream_official(folder / file.path, file, PIECE * math.prod(dataset.shape))
            if file.size != n * math.prod(dataset.shape):
                raise RatespikeError(f"{file.path}: {file.size:,} bytes are not {n:,} images of {dataset.shape}")
            return parse_images(pieces, n, dataset.shape, image_size, progress)

        def labels(file: OfficialFile, n: int) -> NDArray[np.int64]:
            return parse_labels(read_official(folder / file.path, file), file.path, n, dataset.n_classes)

        train = images(train_images, dataset.n_train), labels(train_labels, dataset.n_train)
        test = images(test_images, dataset.n_test), labels(test_labels, dataset.n_test)
        return train, test, images(unlabelled, dataset.n_unlabelled)


def parse_images(
    pieces: Iterator[bytes], n: int, shape: tuple[int, int, int], image_size: int | None, progress: tqdm[None]
) -> NDArray[np.uint8]:
    """Images, (n, C, H, W), from the pieces of a file, each of `PIECE` images, the last one shorter.

    `shape` is that of an image in the file; with `image_size` they are made smaller as they come. `progress` counts
    images.
    """
    channels, height, width = shape
    size = (height, width) if image_size is None else resized_shape(height, width, image_size)
    images = np.empty((n, channels, *size), np.uint8)
    done = 0
    for piece in pieces:
        count = len(piece) // math.prod(shape)  # half an image at the end: too short a file, which `pieces` will say
        raw = np.frombuffer(piece, np.uint8, count * math.prod(shape)).reshape(count, channels, width, height)
        upright, target = raw.swapaxes(2, 3), images[done : done + count]
        if size == (height, width):
            target[...] = upright
        else:
            shrink_into(upright, target)
        done += count
        progress.update(count)
    return images


def parse_labels(content: bytes, where: str, n: int, n_classes: int) -> NDArray[np.int64]:
    """Labels, (n,), 0 to `n_classes` - 1; `where` names the file in errors."""
    labels = np.frombuffer(content, np.uint8).astype(np.int64) - 1
    if len(labels) != n:
        raise RatespikeError(f"{where}: {len(labels):,} labels, should be {n:,}")
    if wrong := labels[(labels < 0) | (labels >= n_classes)].tolist():
        raise RatespikeError(f"{where}: label {wrong[0] + 1}, should be 1 to {n_classes}")
    return labels

"""Image datasets as arrays, read from their official files and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foundation.data import folders
from foundation.data.catalogue import IMAGE_FOLDER, Dataset, OfficialFile, data_root, find
from foundation.data.cifar import parse_batch, parse_meta
from foundation.data.idx import parse_images, parse_labels, unpacked
from foundation.data.official import mending_command, read_official
from foundation.data.places import find_file, is_anywhere
from foundation.data.resizing import check_smaller, downsample
from foundation.data.space import check_memory
from foundation.data.stl import read_stl
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
    unlabelled_images: NDArray[np.uint8] | None = None  # (N, C, H, W); more to learn from, where a dataset has them

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        _, channels, height, width = self.train_images.shape
        return channels, height, width


def load_images(name: str, root: Path | None = None, *, image_size: int | None = None) -> ImageSet:
    """Read a dataset: one of `catalogue.DATASETS`, or ``image-folder``.

    `root` is where it lies (see `data_root`); ``digits`` needs no files. Every official file is checked against its
    md5, wherever below the root it lies (see `places`). With `image_size` every image is made smaller once, to that
    many pixels on its shorter side (bilinear, antialiased); the images of an ``image-folder`` always are, to squares
    of 196 unless told otherwise (see `folders`).
    Raises `UsageError` for another name or size, `RatespikeError` for a missing or wrong file; that message names
    the file, what is wrong with it, and the command that mends it.
    """
    if name == IMAGE_FOLDER:
        contents = folders.read_folder(data_root(root), folders.DEFAULT_SIZE if image_size is None else image_size)
        return ImageSet(name, *contents.train, *contents.test, contents.class_names)
    dataset = find(name)
    if image_size is not None:
        check_smaller(dataset.shape, image_size, name)
    if dataset.layout == "stl":
        return _stl(dataset, root, image_size)
    if dataset.layout == "bundled":
        train, test = _digits(dataset)
    else:
        read = _reader(dataset, root)
        train, test = (_from_idx if dataset.layout == "idx" else _from_cifar)(dataset, read)
    for part, (images, labels), n in (("train", train, dataset.n_train), ("test", test, dataset.n_test)):
        expected = ((n, *dataset.shape), (n,))
        if (images.shape, labels.shape) != expected:
            raise RatespikeError(f"{name}, {part}: images and labels are {images.shape, labels.shape}, not {expected}")
    if image_size is not None:
        train, test = ((downsample(images, image_size, name), labels) for images, labels in (train, test))
    return ImageSet(name, *train, *test, dataset.class_names)


def _folder(dataset: Dataset, root: Path | None) -> Path:
    """The root, where at least one of the dataset's files is, wherever in it."""
    folder = data_root(root)
    if not is_anywhere(dataset, folder):
        raise RatespikeError(f"{dataset.name} is not in {folder}; get it with {mending_command(dataset, root)}")
    return folder


def _reader(dataset: Dataset, root: Path | None) -> Reader:
    folder = _folder(dataset, root)

    def read(file: OfficialFile) -> bytes:
        with _mended_by(dataset, root):
            found = find_file(dataset, file, folder)
            return read_official(folder / file.path, file) if found is None else found  # which says what is wrong

    return read


@contextmanager
def _mended_by(dataset: Dataset, root: Path | None) -> Iterator[None]:
    """Add to an error about an official file the command that mends it."""
    try:
        yield
    except RatespikeError as error:
        raise RatespikeError(f"{error}; mend it with {mending_command(dataset, root)}") from None


def _stl(dataset: Dataset, root: Path | None, image_size: int | None) -> ImageSet:
    folder = _folder(dataset, root)
    check_memory(dataset.n_train + dataset.n_test + dataset.n_unlabelled, dataset.shape, image_size, dataset.name)
    with _mended_by(dataset, root):
        train, test, unlabelled = read_stl(dataset, folder, image_size)
    return ImageSet(dataset.name, *train, *test, dataset.class_names, unlabelled)


def _from_idx(dataset: Dataset, read: Reader) -> tuple[Labelled, Labelled]:
    _, height, width = dataset.shape

    def part(images: OfficialFile, labels: OfficialFile, n: int) -> Labelled:
        shown = parse_images(unpacked(read(images), images.path, limit=16 + n * height * width), images.path)
        packed = read(labels)
        numbers = parse_labels(
            unpacked(packed, labels.path, limit=8 + n), labels.path, dataset.n_classes, dataset.first_label
        )
        return (np.ascontiguousarray(shown.swapaxes(2, 3)) if dataset.transposed else shown), numbers

    train_images, train_labels, test_images, test_labels = dataset.files
    return part(train_images, train_labels, dataset.n_train), part(test_images, test_labels, dataset.n_test)


def _from_cifar(dataset: Dataset, read: Reader) -> tuple[Labelled, Labelled]:
    *training, testing, meta = dataset.files
    n = len(training)
    labels = "labels" if n > 1 else "fine_labels"
    titles = [f"training batch {i} of {n}" for i in range(1, n + 1)]
    if (names := parse_meta(read(meta), meta.path, fine=n == 1)) != dataset.class_names:
        raise RatespikeError(f"{meta.path}: classes {names}, should be {dataset.class_names}")

    def part(files: list[OfficialFile], titles: list[str], n_images: int) -> Labelled:
        batches = [
            parse_batch(read(file), file.path, title, n_images // len(files), dataset.n_classes, labels)
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

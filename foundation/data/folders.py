"""A user's own images, ImageNet's for instance: a folder for each class, in a folder for each part.

``ROOT/image-folder/train/CLASS/*.jpg`` and ``ROOT/image-folder/test/CLASS/*.jpg``; ``val`` will do in the place of
``test``, and ROOT may itself be the folder that holds both. Classes are the folders' names in sorted order.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from foundation.data.catalogue import IMAGE_FOLDER
from foundation.data.decoding import decode_into, opened
from foundation.data.resizing import shrink
from foundation.data.space import check_memory
from foundation.errors import RatespikeError, UsageError
from foundation.progress import bar

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT_SIZE = 196
"""Pixels; what the paper's ImageNet runs see."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")  # in any case
LONGEST = 20
"""Times its shorter side, an image's longer one: what a longer one has beyond is not resized, since it is cut off."""

Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images (N, 3, size, size) and labels (N,)
Files = list[tuple[Path, int]]  # image files and their labels


class FolderContents(NamedTuple):
    """What is in the folder."""

    train: Labelled
    test: Labelled
    class_names: tuple[str, ...]


def find_parts(root: Path) -> tuple[Path, Path] | None:
    """The folders of the train and of the test part below the data root `root`, or in it; None if there are none."""
    for folder in (root / IMAGE_FOLDER, root):
        for test in ("test", "val"):
            if (folder / "train").is_dir() and (folder / test).is_dir():
                return folder / "train", folder / test
    return None


def read_folder(root: Path, size: int = DEFAULT_SIZE) -> FolderContents:
    """Decode every image once: to RGB, the shorter side to `size` pixels (antialiased), and the central square of it.

    Raises:
        UsageError: no such size.
        RatespikeError: no such folders, other classes in one part than in the other, a class without images, more
            images than fit into memory, or one that cannot be read; the message names the folder or file.
    """
    if size < 1:
        raise UsageError(f"image_size: must be at least 1, got {size}")
    parts = find_parts(root)
    if parts is None:
        raise RatespikeError(
            f"{IMAGE_FOLDER} is not in {root}; it should hold {IMAGE_FOLDER}/train/CLASS/ and {IMAGE_FOLDER}/test/"
            f"CLASS/ (or val/CLASS/) with {', '.join(SUFFIXES)} files"
        )
    names = _class_names(*parts)
    train, test = (_files(part, names) for part in parts)
    check_memory(len(train) + len(test), (3, size, size), None, IMAGE_FOLDER)
    with bar(label=IMAGE_FOLDER, total=len(train) + len(test), unit="images") as progress:
        return FolderContents(_decode_all(train, size, progress), _decode_all(test, size, progress), names)


def _class_names(train: Path, test: Path) -> tuple[str, ...]:
    """The folders' names, sorted, the same in both parts."""
    names, others = (
        tuple(sorted(path.name for path in part.iterdir() if path.is_dir() and not path.name.startswith(".")))
        for part in (train, test)
    )
    if different := sorted(set(names) ^ set(others)):
        where = train if different[0] in names else test
        raise RatespikeError(
            f"{train.parent}: class {different[0]!r} is only in {where.name}/; {train.name}/ and {test.name}/ should "
            f"hold the same classes"
        )
    if len(names) < 2:
        raise RatespikeError(f"{train}: should hold a folder for each of at least two classes, holds {len(names)}")
    return names


def _files(part: Path, names: tuple[str, ...]) -> Files:
    """Every image of a part with its label, in sorted order."""
    files: Files = []
    for label, name in enumerate(names):
        found = sorted(
            path
            for path in (part / name).iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        )
        if not found:
            raise RatespikeError(f"{part / name}: holds no image ({', '.join(SUFFIXES)})")
        files += [(path, label) for path in found]
    return files


def _decode_all(files: Files, size: int, progress: tqdm[None]) -> Labelled:
    images = np.empty((len(files), 3, size, size), np.uint8)
    decode_into(images, [path for path, _ in files], lambda path: decode(path, size), progress)
    return images, np.array([label for _, label in files], np.int64)


def decode(path: Path, size: int) -> NDArray[np.uint8]:
    """One image as RGB, (3, size, size). Raises `RatespikeError` that names the file if it cannot be read."""
    with opened(path) as whole:
        image = shrink(_middle(whole), size)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    square = image.crop((left, top, left + size, top + size))
    return np.asarray(square).transpose(2, 0, 1)


def _middle(image: Image) -> Image:
    """An image itself, or of a far too long one what is around its centre."""
    reach = LONGEST * min(image.size)
    if max(image.size) <= reach:
        return image
    left, top = (max(side - reach, 0) // 2 for side in image.size)
    return image.crop((left, top, left + min(image.width, reach), top + min(image.height, reach)))

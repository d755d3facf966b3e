"""CelebA: 202,599 faces with 40 attributes each that are there or not, in the layout of torchvision.

``ROOT/celeba/`` holds ``list_attr_celeba.txt``, ``list_eval_partition.txt`` and the folder ``img_align_celeba`` with
the aligned and cropped images, 218 x 178 pixels (height x width). Nothing here downloads them: they lie on a drive of
their authors (https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html; Liu, Luo, Wang & Tang 2015, ICCV).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from foundation.data.catalogue import data_root
from foundation.data.decoding import decode_into, opened
from foundation.data.resizing import check_smaller, resized_shape, shrink
from foundation.data.space import check_memory
from foundation.errors import RatespikeError, UsageError
from foundation.progress import bar

NAME = "celeba"
ATTRIBUTES, PARTITION, IMAGES = "list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba"
URL = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
SHAPE = (3, 218, 178)  # of an image: channels, height, width
N_ATTRIBUTES = 40
TRAIN, VALIDATION, TEST = 0, 1, 2  # in the partition; the validation part is not used
LONGEST = 40  # characters of what is wrong that an error quotes

Rows = dict[str, bytes]  # what a list says of each image, by its file's name: a byte for each column


@dataclass(frozen=True, eq=False)
class CelebA:
    """The train and the test part, in the order of the lists.

    Images are unsigned bytes, (N, 3, H, W); attributes are (N, 40), 1 where it is there and 0 where it is not.
    """

    train_images: NDArray[np.uint8]
    train_attributes: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_attributes: NDArray[np.int64]
    names: tuple[str, ...]  # of the attributes


class _Lists(NamedTuple):
    """What both lists say, in the order of the first."""

    names: tuple[str, ...]  # of the attributes
    files: list[str]  # of the images
    attributes: NDArray[np.int64]  # (N, 40)
    parts: NDArray[np.uint8]  # (N,)


def read_celeba(root: Path | None = None, image_size: int | None = None, first: int | None = None) -> CelebA:
    """Read the lists, and decode the images of the train and of the test part.

    Args:
        root: the folder that holds ``celeba/``; see `data_root`.
        image_size: pixels of the shorter side, to which images are made smaller (bilinear, antialiased); None: as
            they are. All of them take 21 GB as they are, 2.8 GB with 64 pixels.
        first: read so many training images only, the first ones; None: all.

    Raises:
        UsageError: no such size, or fewer training images than asked for.
        RatespikeError: files are missing, lists are not as they should be or do not fit each other, images do not fit
            into memory, cannot be read or have another size; the message names file and line.
    """
    if image_size is not None:
        check_smaller(SHAPE, image_size, NAME)
    folder = data_root(root) / NAME
    _check_there(folder)
    names, files, attributes, parts = _read_lists(folder / ATTRIBUTES, folder / PARTITION)
    train, test = (np.flatnonzero(parts == part) for part in (TRAIN, TEST))
    if not len(train) or not len(test):
        raise RatespikeError(f"{folder / PARTITION}: {len(train)} train and {len(test)} test images, should have both")
    if first is not None and not 1 <= first <= len(train):
        raise UsageError(f"train_images: must be 1 to {len(train)}, the training images of {NAME}, got {first}")
    train = train[:first]
    _check_images(folder / IMAGES, [files[row] for row in (*train, *test)])
    check_memory(len(train) + len(test), SHAPE, image_size, NAME)
    with bar(label=NAME, total=len(train) + len(test), unit="images") as progress:
        train_images, test_images = (
            _decode_all([folder / IMAGES / files[row] for row in rows], image_size, progress) for rows in (train, test)
        )
    return CelebA(train_images, attributes[train], test_images, attributes[test], names)


def _check_there(folder: Path) -> None:
    """Name what is missing of the layout, and where it comes from."""
    missing = [name for name in (ATTRIBUTES, PARTITION) if not (folder / name).is_file()]
    if not (folder / IMAGES).is_dir():
        missing.append(f"{IMAGES}/")
    if missing:
        raise RatespikeError(
            f"{folder}: misses {', '.join(missing)}; should hold {ATTRIBUTES}, {PARTITION} and {IMAGES}/*.jpg, "
            f"the aligned and cropped images; get them by hand from {URL}"
        )


def _read_lists(of_attributes: Path, of_parts: Path) -> _Lists:
    lines = _lines(of_attributes)
    if lines[0].strip() != str(max(len(lines) - 2, 0)):
        raise RatespikeError(
            f"{of_attributes}, line 1: {_quoted(lines[0])}, should be {max(len(lines) - 2, 0)}, the number of images "
            f"that follow below the names of the attributes"
        )
    names = tuple(" ".join(lines[1:2]).split())
    if not len(names) == len(set(names)) == N_ATTRIBUTES:
        found = f"{len(names)} names, {len(set(names))} different ones"
        raise RatespikeError(f"{of_attributes}, line 2: {found}, should be the {N_ATTRIBUTES} attributes")
    attributes = _rows(of_attributes, lines, 2, N_ATTRIBUTES, {"-1": 0, "1": 1})
    parts = _rows(of_parts, _lines(of_parts), 0, 1, {"0": TRAIN, "1": VALIDATION, "2": TEST})
    if different := sorted(attributes.keys() ^ parts.keys()):
        there, gone = (of_attributes, of_parts) if different[0] in attributes else (of_parts, of_attributes)
        raise RatespikeError(f"{gone}: has no {_quoted(different[0])}, should list the same images as {there.name}")
    values = np.frombuffer(b"".join(attributes.values()), np.uint8).reshape(-1, N_ATTRIBUTES)
    part = np.frombuffer(b"".join(parts[image] for image in attributes), np.uint8)
    return _Lists(names, list(attributes), values.astype(np.int64), part)


def _lines(path: Path) -> list[str]:
    """The lines of a list, without empty ones at its end."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").rstrip().split("\n")
    except OSError as error:
        raise RatespikeError(f"{path}: cannot be read ({error.strerror})") from None


def _rows(path: Path, lines: list[str], skip: int, columns: int, codes: dict[str, int]) -> Rows:
    """What a list says of each image, in its order: `columns` values after the image's name, as their codes."""
    rows: Rows = {}
    for number, line in enumerate(lines[skip:], skip + 1):
        image, *values = line.split() or [""]
        try:
            coded = bytes(codes[value] for value in values)
        except KeyError:
            wrong = next(value for value in values if value not in codes)
            raise RatespikeError(
                f"{path}, line {number}: {_quoted(wrong)}, should be one of {', '.join(codes)}"
            ) from None
        if len(coded) != columns:
            raise RatespikeError(
                f"{path}, line {number}: {len(coded)} values after the image's name, should be {columns}"
            )
        if image in rows:
            raise RatespikeError(f"{path}, line {number}: {_quoted(image)} for the second time, should be there once")
        rows[image] = coded
    return rows


def _quoted(text: str) -> str:
    """What is wrong, as an error quotes it."""
    return repr(text[:LONGEST])


def _check_images(folder: Path, files: list[str]) -> None:
    """Name an image that is not there before hours go into those that are."""
    there = {path.name for path in folder.iterdir()}
    if missing := [file for file in files if file not in there]:
        raise RatespikeError(
            f"{folder}: should hold {len(files):,} images, misses {len(missing):,}, first {_quoted(missing[0])}"
        )


def _decode_all(paths: list[Path], image_size: int | None, progress: tqdm[None]) -> NDArray[np.uint8]:
    height, width = SHAPE[1:] if image_size is None else resized_shape(*SHAPE[1:], image_size)
    images = np.empty((len(paths), 3, height, width), np.uint8)
    decode_into(images, paths, lambda path: _decode(path, min(height, width)), progress)
    return images


def _decode(path: Path, shorter: int) -> NDArray[np.uint8]:
    """One image, (3, H, W), its shorter side made `shorter` pixels."""
    with opened(path) as image:
        if (image.height, image.width) != SHAPE[1:]:
            found, right = f"{image.height} x {image.width}", f"{SHAPE[1]} x {SHAPE[2]}"
            raise RatespikeError(
                f"{path}: has {found} pixels, should have {right} (height x width), aligned and cropped"
            )
        return np.asarray(shrink(image, shorter)).transpose(2, 0, 1)

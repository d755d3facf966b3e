"""Shapes3D: 480,000 pictures of a shape in a room, one for every combination of six factors.

Burgess & Kim, 3D Shapes Dataset, https://github.com/google-deepmind/3d-shapes (2018). The official file 3dshapes.h5
holds ``images``, (480000, 64, 64, 3) unsigned bytes, and ``labels``, (480000, 6), the values of the factors; the last
factor varies fastest. It is compressed in pieces, too slow for random access: `prepare` unpacks it once, to an array
that is mapped into memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from foundation.arrays import mapped
from foundation.data.catalogue import data_root
from foundation.data.official import with_root
from foundation.data.space import check_disk
from foundation.errors import RatespikeError
from foundation.files import whole_file, write_json
from foundation.hdf5 import Source, source_of
from foundation.json_files import parse_json
from foundation.progress import bar

FACTORS = ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation")
SIZES = (10, 10, 10, 8, 4, 15)
"""How many values each factor has."""

SIDE = 64  # pixels
FOLDER, SOURCE, ARRAY, FACTS = "shapes3d", "3dshapes.h5", "images.npy", "images.json"
CHUNK = 4096  # images, 50 MB


@dataclass(frozen=True, eq=False)
class Shapes3D:
    """The prepared dataset; image n shows the factors `np.unravel_index(n, sizes)`.

    Attributes:
        images: (N, 3, 64, 64) unsigned bytes, mapped: what is not looked at is not read.
        mean: of each channel over all images, (3,), on the scale 0 to 1.
        deviation: of each channel, (3,), likewise.
        sizes: values of each factor, in the order of `FACTORS`.
    """

    images: NDArray[np.uint8]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    sizes: tuple[int, ...] = SIZES


def factor_values(sizes: tuple[int, ...] = SIZES) -> list[NDArray[np.float64]]:
    """The values of each factor: hues in turns, scale in units of the room, shape 0 to 3, orientation in degrees."""
    floor, wall, thing, scale, shape, orientation = sizes
    hues: list[NDArray[np.float64]] = [np.arange(n) / n for n in (floor, wall, thing)]
    shapes = np.arange(shape).astype(np.float64)
    return [*hues, np.linspace(0.75, 1.25, scale), shapes, np.linspace(-30.0, 30.0, orientation)]


def prepare(root: Path | None = None, sizes: tuple[int, ...] = SIZES) -> bool:
    """Unpack ``ROOT/shapes3d/3dshapes.h5`` to an array beside it; says whether there was anything to do.

    `sizes` are the numbers of values of the factors. The array appears whole or not at all: a preparation that was
    stopped begins anew.

    Raises:
        RatespikeError: the file is missing, damaged or not the official one, or there is no room on the disk.
    """
    folder = data_root(root) / FOLDER
    if (folder / FACTS).is_file() and _fault(folder, sizes) is None:
        return False
    n = math.prod(sizes)
    with _official(folder / SOURCE, sizes) as (source, images):
        check_disk(folder, n * 3 * SIDE**2, f"the array of {n:,} images")
        (folder / FACTS).unlink(missing_ok=True)  # what it says is not true of the array that comes
        with whole_file(folder / ARRAY) as part, part.open("wb") as stream:
            mean, deviation = _unpack(source, images, stream)
    write_json(folder / FACTS, {"sizes": list(sizes), "mean": mean, "deviation": deviation})
    return True


def load_shapes3d(root: Path | None = None, sizes: tuple[int, ...] = SIZES) -> Shapes3D:
    """The prepared dataset. Raises `RatespikeError`, with the command that prepares it, if it is not there."""
    folder = data_root(root) / FOLDER
    hint = f"prepare it with {with_root('ratespike deep shapes3d prepare', root)}"
    if not (folder / FACTS).is_file():
        raise RatespikeError(f"shapes3d is not ready in {folder}; put {SOURCE} there and {hint}")
    if fault := _fault(folder, sizes):
        raise RatespikeError(f"{fault}; {hint}")
    facts = parse_json((folder / FACTS).read_bytes())
    images = mapped(folder / ARRAY, ARRAY)
    return Shapes3D(images, np.array(facts["mean"], float), np.array(facts["deviation"], float), sizes)


def _fault(folder: Path, sizes: tuple[int, ...]) -> str | None:
    """What is wrong with a prepared array, if anything."""
    try:
        facts = parse_json((folder / FACTS).read_bytes())
        if facts["sizes"] != list(sizes) or np.shape([facts["mean"], facts["deviation"]]) != (2, 3):
            return f"{folder / FACTS}: is not that of {math.prod(sizes):,} images"
        moments = np.array([facts["mean"], facts["deviation"]], np.float64)
        if not np.isfinite(moments).all() or not (moments[1] > 0).all():
            return f"{folder / FACTS}: mean and deviation should be numbers, the deviation above 0"
        images = mapped(folder / ARRAY, ARRAY)
    except (RatespikeError, OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        return f"{folder}: {ARRAY} or {FACTS} cannot be read ({' '.join(str(error).split())})"
    expected = (math.prod(sizes), 3, SIDE, SIDE)
    if images.shape != expected or images.dtype != np.uint8:
        return f"{folder / ARRAY}: holds {images.dtype} {images.shape}, should be uint8 {expected}"
    return None


@contextmanager
def _official(path: Path, sizes: tuple[int, ...]) -> Iterator[tuple[Source, h5py.Dataset]]:
    """The official file and its images, once it is known to be one; nothing outside the file is ever opened."""
    if not path.is_file():
        raise RatespikeError(f"{path}: missing; get it from https://github.com/google-deepmind/3d-shapes")
    n = math.prod(sizes)
    with source_of(path, SOURCE, most=n * SIDE * SIDE * 3) as source:
        images = _plain_dataset(source, "images", (n, SIDE, SIDE, 3), np.dtype(np.uint8))
        _plain_dataset(source, "labels", (n, len(sizes)), np.dtype(np.float64))
        grid = np.stack([axis.ravel() for axis in np.meshgrid(*factor_values(sizes), indexing="ij")], axis=1)
        if not np.allclose(source.array("labels", 2), grid, rtol=0, atol=1e-6):
            raise RatespikeError(f"{path}: labels are not the grid of {', '.join(FACTORS)}, the last one fastest")
        yield source, images


def _plain_dataset(source: Source, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> h5py.Dataset:
    dataset = source.dataset(name)
    with source.naming(name):
        if dataset.shape != shape or dataset.dtype != dtype:
            raise source.error(name, f"is {dataset.dtype} {dataset.shape}, should be {dtype} {shape}")
    return dataset


def _unpack(source: Source, images: h5py.Dataset, stream: IO[bytes]) -> tuple[list[float], list[float]]:
    """Write the images as an .npy file of (N, 3, 64, 64); returns mean and deviation of each channel, 0 to 1.

    Written, not mapped: on a full disk a mapped file kills the process.
    """
    n = len(images)
    header = {"descr": "|u1", "fortran_order": False, "shape": (n, 3, SIDE, SIDE)}
    np.lib.format.write_array_header_1_0(stream, header)
    total, squares = np.zeros(3, np.int64), np.zeros(3, np.int64)  # exact: 480,000 x 64 x 64 x 255^2 < 2^47
    with bar(label="shapes3d", total=n, unit="images") as progress:
        for start in range(0, n, CHUNK):
            with source.naming("images"):
                chunk = images[start : start + CHUNK]
            for channel in range(3):
                counts = np.bincount(chunk[..., channel].ravel(), minlength=256)
                total[channel] += counts @ np.arange(256)
                squares[channel] += counts @ np.arange(256) ** 2
            stream.write(np.ascontiguousarray(chunk.transpose(0, 3, 1, 2)).data)
            progress.update(len(chunk))
    pixels = n * SIDE**2
    mean = total / pixels
    deviation = np.sqrt((squares - total * mean) / (pixels - 1))
    return (mean / 255).tolist(), (deviation / 255).tolist()

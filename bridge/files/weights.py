"""Plain weights by layer name, in .npz or HDF5: arrays of numbers, each with a unit if it has one.

In HDF5, the array "conv1/weight" is the dataset of that path, its unit the attribute `units`. In .npz, it is the entry
of that name, its unit the text "conv1/weight.units".
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from foundation.arrays import opened as opened_arrays
from foundation.errors import RatespikeError, UsageError
from foundation.files import write_bytes
from foundation.hdf5 import CHECKED, MOST_BYTES, MOST_DIMENSIONS, most_of, opened
from foundation.text import one_line

Arrays = dict[str, NDArray[Any]]
Shapes = Mapping[str, tuple[int, ...]]

HDF5 = (".h5", ".hdf5")
UNITS = ".units"


def write_weights(path: Path, weights: Mapping[str, ArrayLike], units: Mapping[str, str] | None = None) -> None:
    """Write arrays by name, as .npz or as HDF5 (.h5, .hdf5), whichever the suffix of `path` says.

    Args:
        path: of the file.
        weights: arrays of finite numbers, of any shape. A "/" in a name is a folder.
        units: by name of the array, "leak conductance", "s", "1"; for those that have one.

    Raises:
        UsageError: another suffix, a name that is no path, an array that is not finite numbers, a unit of no array.
    """
    units = units or {}
    _check_suffix(path)
    arrays = {name: np.asarray(array) for name, array in weights.items()}
    for name, array in arrays.items():
        _check_name(name, arrays)
        _check_array(name, array)
    for name, unit in units.items():
        if name not in arrays:
            raise UsageError(f"units: {name!r} is none of the weights; known: {', '.join(arrays)}")
        if not unit or not unit.isprintable() or len(unit) > 100:
            raise UsageError(f"units: {name}: should be a short text, is {unit!r}")
    buffer = BytesIO()
    (_write_hdf5 if path.suffix in HDF5 else _write_npz)(buffer, arrays, units)
    write_bytes(path, buffer.getbuffer())


def read_weights(path: Path, shapes: Shapes | None = None) -> Arrays:
    """Read arrays by name, from .npz or HDF5: all those in the file, which holds nothing else.

    Args:
        path: of the file.
        shapes: by name, of those that are wanted; others are refused before memory is taken. None: whatever there is.

    Raises:
        UsageError: another suffix.
        RatespikeError: no such file, damaged, or with something else in it; the message names the entry.
    """
    return _read(path, shapes)[0]


def read_units(path: Path) -> dict[str, str]:
    """The units of arrays by name, of those that have one. Raises as `read_weights`."""
    return _read(path, None)[1]


def _read(path: Path, shapes: Shapes | None) -> tuple[Arrays, dict[str, str]]:
    _check_suffix(path)
    arrays, units = (_read_hdf5 if path.suffix in HDF5 else _read_npz)(path, shapes)
    for name, array in arrays.items():
        try:
            _check_array(name, array)
        except UsageError as error:
            raise RatespikeError(f"{path}: {error}") from None
    return arrays, units


def _check_suffix(path: Path) -> None:
    if path.suffix not in (".npz", *HDF5):
        raise UsageError(f"{path}: should end in .npz, .h5 or .hdf5")


def _check_name(name: str, names: Mapping[str, object]) -> None:
    parts = name.split("/")
    if not name.isprintable() or any(part in ("", ".", "..") for part in parts) or len(parts) > 16:
        raise UsageError(f"weights: {name!r} is no name; use letters and digits, and '/' between folders")
    if name.endswith(UNITS):
        raise UsageError(f"weights: {name!r}: the ending {UNITS} is that of a unit")
    for k in range(1, len(parts)):
        if (folder := "/".join(parts[:k])) in names:
            raise UsageError(f"weights: {folder!r} is both an array and the folder of {name!r}")


def _check_array(name: str, array: NDArray[Any]) -> None:
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8 or array.ndim > MOST_DIMENSIONS:
        raise UsageError(f"{name}: should be plain numbers, is of type {array.dtype}, shape {array.shape}")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        index = tuple(int(k) for k in bad[0])
        raise UsageError(f"{name}: should be finite, is {array[index]} at {index}")


# --- HDF5 -------------------------------------------------------------------------------------------------------------
def _write_hdf5(buffer: BytesIO, arrays: Arrays, units: Mapping[str, str]) -> None:
    with h5py.File(buffer, "w") as file:
        for name, array in arrays.items():
            dataset = file.create_dataset(name, data=array, **(CHECKED if array.ndim and array.size else {}))
            if name in units:
                dataset.attrs["units"] = np.bytes_(units[name].encode())


def _read_hdf5(path: Path, shapes: Shapes | None) -> tuple[Arrays, dict[str, str]]:
    arrays: Arrays = {}
    units: dict[str, str] = {}
    with opened(path, "weights") as source:
        total = 0
        for where in source.datasets():
            name = where.removeprefix("/")
            _check_shapes(path, {name: source.shape(where)}, shapes)
            arrays[name] = source.array(where, None)
            total += arrays[name].nbytes
            if total > MOST_BYTES:
                raise source.error(where, f"makes the weights exceed {MOST_BYTES:,} bytes")
            unit = source.attribute(where, "units")
            if not isinstance(unit, str | None):
                raise source.error(where, f"attribute units: should be a text, is {one_line(unit)}")
            if unit is not None:
                units[name] = unit
    return arrays, units


# --- npz --------------------------------------------------------------------------------------------------------------
def _write_npz(buffer: BytesIO, arrays: Arrays, units: Mapping[str, str]) -> None:
    """Entry by entry: `np.savez` takes names as arguments, of which it needs some for itself."""
    texts = {f"{name}{UNITS}": np.array(unit) for name, unit in units.items()}
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in (*arrays.items(), *texts.items()):
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def _read_npz(path: Path, shapes: Shapes | None) -> tuple[Arrays, dict[str, str]]:
    most = most_of(path) if shapes is None else _bytes_of(shapes)
    with opened_arrays(path, "weights", most) as file:
        texts = {name for name in file.shapes if name.endswith(UNITS)}
        _check_shapes(path, {name: shape for name, shape in file.shapes.items() if name not in texts}, shapes)
        arrays = {name: file.array(name) for name in file.shapes if name not in texts}
        units = {}
        for name in sorted(texts):
            owner = name.removesuffix(UNITS)
            if owner not in arrays or file.shapes[name]:
                raise RatespikeError(f"{path}: {one_line(name)}: should be the unit, a text, of an array")
            units[owner] = str(file.array(name, "U"))
    return arrays, units


def _bytes_of(shapes: Shapes) -> int:
    """Bytes that arrays of those shapes have at most, with room for their heads, and for units."""
    return sum(8 * math.prod(shape) + 10_000 for shape in shapes.values())


def _check_shapes(path: Path, held: Mapping[str, tuple[int, ...]], shapes: Shapes | None) -> None:
    for name, shape in held.items():
        if shapes is not None and name not in shapes:
            raise RatespikeError(f"{path}: {one_line(name)}: there are no such weights; known: {', '.join(shapes)}")
        if shapes is not None and shape != shapes[name]:
            raise RatespikeError(f"{path}: {one_line(name)}: has the shape {shape}, should have {shapes[name]}")

"""Plain weights by layer name, in .npz or HDF5: arrays of numbers, each with a unit if it has one.

In HDF5, the array "conv1/weight" is the dataset of that path, its unit the attribute `units`. In .npz, it is the entry
of that name, its unit the text "conv1/weight.units".
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from bridge.files.reading import MOST_BYTES, MOST_DIMENSIONS, MOST_RATIO, check_file, one_line, opened
from bridge.files.texts import MOST_TEXT
from foundation.errors import RatespikeError, UsageError
from foundation.files import write_bytes
from spiking.hdf5 import CHECKED

Arrays = dict[str, NDArray[Any]]

HDF5 = (".h5", ".hdf5")
UNITS = ".units"
MOST_ENTRIES = 100_000


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


def read_weights(path: Path) -> Arrays:
    """Read arrays by name, from .npz or HDF5: all those in the file, which holds nothing else.

    Raises:
        UsageError: another suffix.
        RatespikeError: no such file, damaged, or with something else in it; the message names the entry.
    """
    return _read(path)[0]


def read_units(path: Path) -> dict[str, str]:
    """The units of arrays by name, of those that have one. Raises as `read_weights`."""
    return _read(path)[1]


def _read(path: Path) -> tuple[Arrays, dict[str, str]]:
    _check_suffix(path)
    check_file(path)
    arrays, units = _read_hdf5(path) if path.suffix in HDF5 else _read_npz(path)
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


def _read_hdf5(path: Path) -> tuple[Arrays, dict[str, str]]:
    arrays: Arrays = {}
    units: dict[str, str] = {}
    with opened(path, "weights") as source:
        total = 0
        for where in source.datasets():
            name = where.removeprefix("/")
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


def _read_npz(path: Path) -> tuple[Arrays, dict[str, str]]:
    with _naming(path, "not a whole .npz file"), zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        _check_entries(path, entries)
        held = {entry.filename.removesuffix(".npy"): _read_entry(path, archive, entry) for entry in entries}
    texts = {name: array for name, array in held.items() if name.endswith(UNITS)}
    arrays = {name: array for name, array in held.items() if name not in texts}
    units = {}
    for name, text in texts.items():
        owner = name.removesuffix(UNITS)
        if owner not in arrays or text.dtype.kind != "U" or text.ndim:
            raise RatespikeError(f"{path}: {one_line(name)}: should be the unit, a text, of an array")
        units[owner] = str(text)
    return arrays, units


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    names = {entry.filename for entry in entries}
    if len(names) < len(entries) or len(entries) > MOST_ENTRIES:
        raise RatespikeError(f"{path}: {len(entries):,} entries with {len(names):,} names; should be one array a name")
    for name in names:
        if not name.endswith(".npy"):
            raise RatespikeError(f"{path}: {one_line(name)}: should be an array (.npy)")
    declared = sum(entry.file_size for entry in entries)
    if declared > min(MOST_BYTES, MOST_RATIO * path.stat().st_size):
        raise RatespikeError(f"{path}: declares {declared:,} bytes, more than it can hold, or than {MOST_BYTES:,}")


def _read_entry(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    """An array, after its header has been compared with the size of the entry."""
    name = one_line(entry.filename.removesuffix(".npy"))
    with _naming(path, f"{name}: not a whole array"):
        with archive.open(entry) as stream:
            shape, dtype, start = _header(stream)
        if dtype.kind not in "iufU" or (dtype.kind == "U" and dtype.itemsize > 4 * MOST_TEXT):
            raise RatespikeError(f"{path}: {name}: should be plain numbers, is of type {one_line(dtype)}")
        declared = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or start + declared != entry.file_size:
            kept = entry.file_size - start
            raise RatespikeError(f"{path}: {name}: declares {declared:,} bytes, shape {shape}, and holds {kept:,}")
        with archive.open(entry) as stream:
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _header(stream: Any) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, type and length of the head of an array."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"version {version} of the format")
    return shape, dtype, stream.tell()


@contextmanager
def _naming(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except RatespikeError:
        raise
    except Exception as error:  # a damaged file makes zipfile and numpy raise errors of a dozen kinds
        raise RatespikeError(f"{path}: {what} ({one_line(error)})") from None

"""What every SONATA file in HDF5 has: a magic number, a version, and populations by name.

Source: the SONATA developer guide 0.1, https://github.com/AllenInstitute/sonata.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from foundation.errors import UsageError
from foundation.hdf5 import CHECKED, Source
from foundation.text import one_line

MAGIC = 0x0A7A
VERSION = (0, 1)


def new_file(buffer: BinaryIO) -> h5py.File:
    """An empty SONATA file in a buffer, to be filled."""
    file = h5py.File(buffer, "w")
    file.attrs["magic"] = np.uint32(MAGIC)
    file.attrs["version"] = np.array(VERSION, np.uint32)
    return file


def put(group: h5py.Group, name: str, array: NDArray[np.generic]) -> h5py.Dataset:
    """A dataset that notices damage when it is read."""
    return group.create_dataset(name, data=array, **(CHECKED if array.size else {}))


def check_version(source: Source) -> None:
    """Refuse what says that it is something else; many programs leave the magic number out."""
    magic = source.attribute("/", "magic")
    if magic is not None and magic != MAGIC:
        raise source.error("/", f"attribute magic: should be {MAGIC} in SONATA, is {one_line(magic)}")


def populations_of(source: Source, where: str) -> list[str]:
    """The names of the populations in a group, at least one."""
    names = source.names(where)
    if not names:
        raise source.error(where, "should hold a population, is empty")
    for name in names:
        source.group(f"{where}/{name}")
    return names


def check_population_names(names: Iterable[str]) -> None:
    """Refuse names that cannot be a population's: they stand in HDF5 paths and in space-separated CSV.

    Raises:
        UsageError: one is empty, or has another character than ASCII letters, digits, `_`, `-`, `.`; or there is none.
    """
    listed = list(names)
    if not listed:
        raise UsageError("populations: there is none")
    for name in listed:
        if not name.isascii() or not name.replace("_", "").replace("-", "").replace(".", "").isalnum():
            raise UsageError(f"population {name!r}: should consist of letters, digits, '_', '-' and '.'")


def check_word(text: str) -> None:
    """Refuse what cannot stand unquoted in SONATA's CSV. Raises `UsageError`."""
    if not (text and text.isascii() and text.isprintable()) or set(text) & set(" \"'"):
        raise UsageError(f"{text!r}: should be one word without quotes")

"""NumPy's files, .npy and .npz, which anybody may have written: sizes are compared with what the file can hold, and
with what its reader can need, before memory is taken; no pickle is opened. Every error is one line that names the file.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from foundation.errors import RatespikeError
from foundation.files import check_file
from foundation.memory import MOST_RATIO, check_fits
from foundation.text import check_text, one_line

MOST_ENTRIES = 100_000
MOST_HEAD = 10_012  # bytes of the head of an array; numpy reads no longer ones
MOST_TEXT = 100_000  # characters of a text

NUMBERS = "iuf"
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Entry:
    """An array in a file: what its head declares."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    member: zipfile.ZipInfo | None


@dataclass(frozen=True, eq=False)
class ArrayFile:
    """An open file of arrays, which are read one by one."""

    path: Path
    _stream: IO[bytes]
    _archive: zipfile.ZipFile | None
    _entries: Mapping[str, _Entry]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the arrays, by name; that of a .npy file is called ""."""
        return {name: entry.shape for name, entry in self._entries.items()}

    def array(self, name: str, kinds: str = NUMBERS) -> NDArray[Any]:
        """An array, of the kinds that numpy's dtype.kind has: "iuf" for plain numbers, "U" for texts.

        Raises:
            RatespikeError: there is none, of another kind, damaged, or larger than the memory.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise RatespikeError(f"{self.path}: {one_line(name)}: is missing")
        with naming(self.path, f"{one_line(name)}: not a whole array" if name else "not a whole array"):
            if entry.dtype.kind not in kinds or not 0 < entry.dtype.itemsize <= (4 * MOST_TEXT if "U" in kinds else 8):
                wanted = "plain numbers" if "f" in kinds else "texts" if kinds == "U" else "whole numbers"
                raise self._error(name, f"should be {wanted}, is of type {one_line(entry.dtype)}")
            check_fits(math.prod(entry.shape) * entry.dtype.itemsize, f"{self.path}: {one_line(name)}")
            array = self._read(entry)
            if array.dtype.kind == "U":
                for text in array.ravel().tolist():
                    check_text(text)
            return array

    def arrays(self, kinds: str = NUMBERS) -> dict[str, NDArray[Any]]:
        """All arrays by name, see `array`."""
        return {name: self.array(name, kinds) for name in self._entries}

    def _read(self, entry: _Entry) -> NDArray[Any]:
        if self._archive is None or entry.member is None:
            self._stream.seek(0)
            return np.asarray(np.lib.format.read_array(self._stream, allow_pickle=False))
        with self._archive.open(entry.member) as stream:
            array = np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
            if stream.read(1):  # at the end its checksum is looked at, too
                raise ValueError("more than an array")
            return array

    def _error(self, name: str, what: str) -> RatespikeError:
        return RatespikeError(f"{self.path}: {one_line(name) + ': ' if name else ''}{what}")


@contextmanager
def opened(path: Path, kind: str, most: int) -> Iterator[ArrayFile]:
    """Open a .npy or .npz file, whatever its suffix; nothing but the heads of its arrays is read yet.

    Args:
        path: of the file.
        kind: what it should hold, for errors: "rates".
        most: bytes that its packed arrays may have together, unpacked: what the caller can need. Those that are not
            packed are no larger than the file.

    Raises:
        RatespikeError: no such file, damaged, of another kind, or declared larger than that.
    """
    check_file(path)
    with ExitStack() as stack:
        with naming(path, f"not a whole .npy or .npz file of {kind}"):
            stream = stack.enter_context(path.open("rb"))
            start = stream.read(len(np.lib.format.MAGIC_PREFIX))
            stream.seek(0)
            if start == np.lib.format.MAGIC_PREFIX:
                archive, entries = None, {"": _head(path, "", stream, path.stat().st_size, None)}
            elif start.startswith(b"PK"):
                archive = stack.enter_context(zipfile.ZipFile(stream))
                entries = _heads(path, archive, most)
            else:
                raise ValueError("neither .npy nor .npz")
        yield ArrayFile(path, stream, archive, entries)


def read_arrays(path: Path, kind: str, most: int, kinds: str = NUMBERS) -> dict[str, NDArray[Any]]:
    """All arrays of a file by name, see `opened`; that of a .npy file is called ""."""
    with opened(path, kind, most) as file:
        return file.arrays(kinds)


def mapped(path: Path, kind: str) -> NDArray[Any]:
    """The array of a .npy file of plain numbers, mapped: what is not looked at is not read. Raises as `opened`."""
    with opened(path, kind, 0) as file, naming(path, f"not a whole .npy or .npz file of {kind}"):
        if list(file.shapes) != [""]:
            raise ValueError("no .npy file")
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
        return array


@contextmanager
def naming(path: Path, what: str) -> Iterator[None]:
    """Whatever is raised inside as one line that names the file."""
    try:
        yield
    except (RatespikeError, MemoryError):
        raise
    except Exception as error:  # a damaged file makes zipfile and numpy raise errors of a dozen kinds
        raise RatespikeError(f"{path}: {what} ({one_line(error, 100)})") from None


def _heads(path: Path, archive: zipfile.ZipFile, most: int) -> dict[str, _Entry]:
    members = archive.infolist()
    names = {member.filename for member in members}
    if len(names) < len(members) or len(members) > MOST_ENTRIES:
        raise RatespikeError(f"{path}: {len(members):,} entries with {len(names):,} names; should be one array a name")
    _check_sizes(path, members, most)
    found = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        if name == member.filename:
            raise RatespikeError(f"{path}: {one_line(name)}: should be an array (.npy)")
        with naming(path, f"{one_line(name)}: not a whole array"), archive.open(member) as stream:
            check_text(name)
            found[name] = _head(path, name, stream, member.file_size, member)
    return found


def _check_sizes(path: Path, members: list[zipfile.ZipInfo], most: int) -> None:
    """Refuse, by the directory of the archive, what would be larger than the file can hold or its reader needs."""
    held, kinds = path.stat().st_size, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if wrong := [member for member in members if member.compress_type not in kinds]:
        raise RatespikeError(f"{path}: {one_line(wrong[0].filename)}: is packed in another way than numpy's")
    for kind, limit in zip(kinds, (held, min(most, MOST_RATIO * held)), strict=True):
        declared = sum(member.file_size for member in members if member.compress_type == kind)
        if declared > max(limit, 0):
            reason = "more than it can hold, or is needed here"
            raise RatespikeError(f"{path}: declares {declared:,} bytes, {reason} ({limit:,})")


def _head(path: Path, name: str, stream: IO[bytes], size: int, member: zipfile.ZipInfo | None) -> _Entry:
    """Shape and type, once compared with the `size` in bytes of all that there is."""
    head = BytesIO(stream.read(min(size, MOST_HEAD)))
    version = np.lib.format.read_magic(head)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format")
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(head)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(head)
    declared, kept = math.prod(shape) * dtype.itemsize, size - head.tell()
    if dtype.hasobject:  # a pickle, of any length
        return _Entry(shape, dtype, member)
    if min(shape, default=0) < 0 or declared > kept or (declared < kept and member is not None):
        where = f"{one_line(name)}: " if name else ""
        raise RatespikeError(f"{path}: {where}declares {declared:,} bytes, shape {shape}, and holds {kept:,}")
    return _Entry(shape, dtype, member)

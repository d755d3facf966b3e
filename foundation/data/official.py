"""Is a file the official one, and if not, what is wrong with it?"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator
from pathlib import Path

from foundation.data.catalogue import DATASETS, Dataset, OfficialFile
from foundation.errors import RatespikeError
from foundation.progress import bar

CHUNK = 1 << 20  # bytes
LARGE = 1 << 28  # bytes; reading more than this takes seconds


def mending_command(dataset: Dataset, root: Path | None) -> str:
    """The command that gets the dataset to where it is looked for; `root` is what the user gave, if anything."""
    return with_root(f"ratespike data get {dataset.name}", root)


def with_root(command: str, root: Path | None) -> str:
    """A command as errors quote it, with the user's root if there is one."""
    return f"`{command}`" if root is None else f"`{command} --root {shlex.quote(str(root))}`"


def read_official(path: Path, file: OfficialFile) -> bytes:
    """The content of `path`, which is known to be `file` byte by byte.

    Raises `RatespikeError` that names the path and says what is wrong: missing, unreadable, cut short, too long,
    another official file under this name, or corrupt. Never reads more than the official size and one byte.
    """
    return b"".join(stream_official(path, file, chunk=file.most + 1))


def stream_official(path: Path, file: OfficialFile, chunk: int = CHUNK) -> Iterator[bytes]:
    """The content of `path` in pieces of `chunk` bytes, the last one shorter; for files that are large.

    What came is known to be `file` only once the last piece is taken and nothing was raised; raises as
    `read_official`.
    """
    digest, left = hashlib.md5(usedforsecurity=False), file.most
    try:
        with path.open("rb") as stream:
            while piece := stream.read(min(chunk, left + 1)):
                digest.update(piece)
                left -= len(piece)
                if left < 0:
                    break
                yield piece
        if (left and file.size is not None) or digest.hexdigest() != file.md5:
            raise RatespikeError(f"{path}: {_what_is_wrong(path, file)}")
    except FileNotFoundError:
        raise RatespikeError(f"{path}: missing") from None
    except OSError as error:
        raise RatespikeError(f"{path}: cannot be read ({error.strerror})") from None


def is_official(path: Path, file: OfficialFile) -> bool:
    """Is `path` there, and `file` byte by byte?"""
    small = file.size is not None and file.size < LARGE
    progress = bar(label=f"checking {file.name}", total=file.size, unit="B", unit_scale=True, disable=small)
    with progress:
        try:
            for piece in stream_official(path, file):
                progress.update(len(piece))
        except RatespikeError:
            return False
    return True


def cheap_fault(path: Path, file: OfficialFile) -> str | None:
    """What existence and size tell about `path` without reading it: None if nothing is wrong."""
    if not path.is_file():
        return f"{path.name} missing"
    size = path.stat().st_size
    return None if file.size in (None, size) else f"{path.name} has {size:,} bytes instead of {file.size:,}"


def _what_is_wrong(path: Path, file: OfficialFile) -> str:
    size = path.stat().st_size
    for dataset in DATASETS.values():
        for other in dataset.files:
            if other.size == size and other != file and _md5(path) == other.md5:
                return f"holds {other.name} of {dataset.name} instead of {file.name}"
    if file.size is None:
        return f"is not the official one, its md5 is not {file.md5}"
    if size < file.size:
        return f"cut short, {size:,} bytes instead of {file.size:,}"
    if size > file.size:
        return f"too long, {size:,} bytes instead of {file.size:,}"
    return f"corrupt, its md5 is not the official {file.md5}"


def _md5(path: Path) -> str:
    """The md5 as hexadecimal text. It guards against accidents and mix-ups, and is what the authors published."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

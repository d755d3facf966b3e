"""Files are written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foundation.errors import RatespikeError, UsageError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path` in one step, on any error it vanishes.

    The temporary name keeps the suffix of `path`, since writers such as matplotlib choose the format by it.
    A reader therefore sees the old file or the new one, never a part.
    """
    check_target(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=f".part{path.suffix}", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.chmod(0o666 & ~_umask())  # mkstemp makes private files
        part.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(part)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk, say: where?
    finally:
        part.unlink(missing_ok=True)


def check_target(path: Path, *others: Path) -> None:
    """Make sure that a file could be written at `path`, before any work starts; nothing is made.

    `others` are files that are read, or written as well: `path` must not be one of them.

    Raises:
        UsageError: it is a folder, a device, one of the others, or lies below a file.
        RatespikeError: no permission.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; name a file")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: is not a plain file; name one")
    for other in others:
        if path.resolve() == other.resolve():
            raise UsageError(f"{path}: would overwrite what is read from, or written to, the same file; name another")
    _check_folder(path, next(p for p in path.absolute().parents if p.exists()))


def _check_folder(path: Path, folder: Path) -> None:
    if not folder.is_dir():
        raise UsageError(f"{path}: {folder} is not a folder")
    if not os.access(folder, os.W_OK):
        raise RatespikeError(f"{path}: no permission to write in {folder}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a binary file whole. Libraries that crash on a full disk are given a buffer, and this its content."""
    with whole_file(path) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, in UTF-8."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_new_text(path: Path, text: str) -> None:
    """Write a text file whole that must not exist yet; of two writers at once, one gets FileExistsError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}-", suffix=".part", dir=path.parent) as folder:
        part = Path(folder) / path.name
        write_text(part, text)
        os.link(part, path)


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, whole. Raises ValueError for NaN and infinity, which JSON does not know."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def claim_folder(path: Path, marker: str) -> None:
    """Make sure that results may go into the folder `path`, before any work starts.

    Allowed are a folder that does not exist (it is not made here), an empty one, and one that an earlier call of the
    same kind filled, recognised by its file `marker`. Anything else raises `UsageError`, so that nobody's files are
    ever mixed with ours; what a killed writer of ours left does not count.
    """
    if not path.exists():
        _check_folder(path, next(p for p in path.absolute().parents if p.exists()))
        return
    if not path.is_dir():
        raise UsageError(f"{path}: exists and is not a folder; choose another --out")
    _check_folder(path, path)
    own = (path / marker).is_file()
    if not own and any(not is_part(file) for file in path.iterdir()):
        raise UsageError(f"{path}: exists, is not empty and holds no {marker}; choose another --out")


def sweep(path: Path) -> None:
    """Remove what killed writers left in a folder of ours."""
    for file in path.iterdir():
        if is_part(file):
            shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)


def is_part(file: Path) -> bool:
    """Whether a writer of ours left it, killed in between."""
    return file.name.startswith(".") and ".part" in file.suffixes

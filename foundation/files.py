"""Files are written whole or not at all."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from foundation.errors import RatespikeError, UsageError
from foundation.locks import LOCK, Lock, take

PART = ".part"
"""The ending of a folder in which something is being written."""
ABANDONED = 600.0
"""Seconds after its last byte from which on a file that knows no lock is given up; live writers write more often."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write at; on success it becomes `path` in one step, on any error it vanishes.

    It has the name of `path`, by whose suffix writers such as matplotlib choose the format, and lies in a
    `private_folder`. A reader therefore sees the old file or the new one, never a part. An error of the system that
    names no file, such as that of a full disk, names `path`.
    """
    check_target(path)
    with private_folder(path) as folder:
        part = folder / path.name
        try:
            yield part
            with part.open("rb") as written:
                os.fsync(written.fileno())
            part.replace(path)
            _sync(path.parent)
        except OSError as error:
            if error.errno is not None and error.filename in (None, str(part)):
                raise OSError(error.errno, error.strerror, str(path)) from error
            raise


@contextmanager
def private_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`, locked, in which to make it; it goes with the context.

    What killed processes left of such folders for the same path is removed first: nobody holds their locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep_beside(path)
    lock = None
    while lock is None:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.stem}-", suffix=PART, dir=path.parent))
        with suppress(FileNotFoundError):  # somebody took it for a dead one before it was locked
            lock = take(folder)
    try:
        yield folder
    finally:
        _remove(folder, lock)


def _remove(folder: Path, lock: Lock) -> None:
    """Remove a folder whose lock is held; the lock's file last, for some file systems keep what is open."""
    try:
        for file in folder.iterdir():
            if file.name != LOCK:
                shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink(missing_ok=True)
    except OSError:  # what cannot be removed is left to the next sweep
        pass
    finally:
        lock.release()
    with suppress(OSError):
        folder.rmdir()


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to fill; on success it becomes `path`, where nothing is yet, in one step."""
    with private_folder(path) as private:
        new = private / path.name
        new.mkdir()
        yield new
        new.replace(path)
        _sync(path.parent)


def _sync(folder: Path) -> None:
    """Make a new name in a folder outlive a loss of power, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def check_file(path: Path) -> None:
    """Make sure that there is a plain file to be read; opening a pipe would wait for its writer.

    Raises:
        RatespikeError: there is none.
    """
    if not path.is_file():
        what = (
            "is a folder, not a file" if path.is_dir() else "is not a plain file" if path.exists() else "no such file"
        )
        raise RatespikeError(f"{path}: {what}")


def check_target(path: Path, *others: Path, new: bool = False) -> None:
    """Make sure that a file could be written at `path`, before any work starts; nothing is made.

    `others` are files that are read, or written as well: `path` must not be one of them. With `new` there must not be
    such a file yet.

    Raises:
        UsageError: it is a folder, a device, one of the others, exists and should be new, or lies below a file.
        RatespikeError: no permission.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; name a file")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: is not a plain file; name one")
    for other in others:
        if path.resolve() == other.resolve() or (path.exists() and other.exists() and path.samefile(other)):
            raise UsageError(f"{path}: would overwrite what is read from, or written to, the same file; name another")
    if new and (path.exists() or path.is_symlink()):
        raise UsageError(f"{path}: exists; name another file, or overwrite it with --force")
    _check_folder(path, next(p for p in path.absolute().parents if p.exists()))


def _check_folder(path: Path, folder: Path) -> None:
    if not folder.is_dir():
        raise UsageError(f"{path}: {folder} is not a folder")
    if not os.access(folder, os.W_OK):
        raise RatespikeError(f"{path}: no permission to write in {folder}")


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a binary file whole. Libraries that crash on a full disk are given a buffer, and this its content."""
    with whole_file(path) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, in UTF-8."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, whole. Raises ValueError for NaN and infinity, which JSON does not know."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def claim_folder(path: Path, marker: str, *, new: bool = False) -> None:
    """Make sure that results may go into the folder `path`, before any work starts.

    Allowed are a folder that does not exist (it is not made here), an empty one, and one that an earlier call of the
    same kind filled, recognised by its file `marker`. Anything else raises `UsageError`, so that nobody's files are
    ever mixed with ours; what a killed writer of ours left does not count. With `new`, what an earlier call filled
    raises it, too.
    """
    if not path.exists():
        _check_folder(path, next(p for p in path.absolute().parents if p.exists()))
        return
    if not path.is_dir():
        raise UsageError(f"{path}: exists and is not a folder; choose another --out")
    _check_folder(path, path)
    own = (path / marker).is_file()
    if own and new:
        raise UsageError(f"{path}: holds a {marker}; choose another --out, or replace what is there with --force")
    if not own and any(not is_part(file) and file.name != LOCK for file in path.iterdir()):
        raise UsageError(f"{path}: exists, is not empty and holds no {marker}; choose another --out")


def sweep(path: Path) -> None:
    """Remove what killed writers left in a folder of ours, whose lock the caller holds."""
    _sweep([file for file in path.iterdir() if is_part(file)], alone=True)


def sweep_beside(path: Path) -> None:
    """Remove what killed writers of a file or folder left beside it."""
    _sweep(file for file in path.parent.glob(f".{glob.escape(path.stem)}-*") if is_part(file))


def _sweep(parts: Iterable[Path], *, alone: bool = False) -> None:
    """Remove those that nobody writes to: whose lock is free; of what has no lock, all if `alone`, else what is old."""
    for part in parts:
        with suppress(OSError):  # somebody else's, or gone by now
            old = time.time() - part.stat().st_mtime > ABANDONED
            if not part.is_dir():
                if alone or old:
                    part.unlink()
            elif (part / LOCK).exists() or not any(part.iterdir()):  # nobody else's folder of such a name
                lock = take(part)
                if lock is not None and (lock.certain or old):
                    _remove(part, lock)
                elif lock is not None:
                    lock.release()


def is_part(file: Path) -> bool:
    """Whether a writer of ours left it, killed in between."""
    return re.fullmatch(r"\..+-\w+\.part(\.\w+)?", file.name) is not None

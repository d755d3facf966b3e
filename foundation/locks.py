"""One process at a time at work in a folder: a lock that goes with the process that holds it, however it ends."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from foundation.errors import Notice, RatespikeError

LOCK = ".lock"
"""The locked file in a folder; it is removed when the work is done, and means nothing when nobody holds it."""

AT_WORK = "another process is at work there; wait for its end, or choose another --out"
_held: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())
"""The folders that this process works in, in this context."""


class Lock:
    """A lock on a folder that is held; `release` gives it back.

    Attributes:
        certain: whether others are kept out; a file system may know no locks.
    """

    def __init__(self, path: Path, handle: int, certain: bool) -> None:
        self._path, self._handle, self.certain = path, handle, certain

    def release(self) -> None:
        """Remove the file, and let others in."""
        with suppress(OSError):  # the folder may be gone
            self._path.unlink()
        os.close(self._handle)


def take(folder: Path) -> Lock | None:
    """Lock a folder that exists; None if somebody else holds it.

    A file system that knows no locks is worked on without, see `Lock.certain`. Raises OSError where the folder is not
    there or cannot be written.
    """
    path = folder / LOCK
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            certain = _lock(handle)
        except BlockingIOError:
            os.close(handle)
            return None
        if _same(handle, path):
            return Lock(path, handle, certain)
        os.close(handle)  # whoever held it has removed the file meanwhile: what was locked is no file of this folder


@contextmanager
def locked(folder: Path | None) -> Iterator[None]:
    """Be the only process at work in a folder for as long as the context lasts; the folder is made if need be.

    Within one another, the inner one is part of the outer one. None: nothing is locked.

    Raises:
        RatespikeError: another process is at work there.
    """
    if folder is None or (place := folder.absolute()) in _held.get():
        yield
        return
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = take(folder)
    if lock is None:
        raise RatespikeError(f"{folder}: {AT_WORK}")
    if not lock.certain:
        text = f"{folder}: its file system knows no locks; nothing keeps a second process from working there"
        warnings.warn(text, Notice, stacklevel=3)
    token = _held.set(_held.get() | {place})
    try:
        yield
    finally:
        _held.reset(token)
        lock.release()
        if new:
            with suppress(OSError):  # nothing came of it, so nothing stays
                folder.rmdir()


def check_free(folder: Path) -> None:
    """Make sure that no other process is at work in a folder. Raises `RatespikeError`."""
    if not (folder / LOCK).exists() or folder.absolute() in _held.get():
        return
    lock = take(folder)
    if lock is None:
        raise RatespikeError(f"{folder}: {AT_WORK}")
    lock.release()


def _lock(handle: int) -> bool:
    """Lock an open file; False where that is not possible at all. Raises BlockingIOError if somebody else has."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except (ImportError, OSError):  # such a system, or such a file system
        return False
    return True


def _same(handle: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    held = os.fstat(handle)
    return (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino)

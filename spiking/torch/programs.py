"""Compiled programs, kept in the user's cache folder for the next time.

What is loaded is what was checked: a program ends with a digest of itself and of what it was made from, is read once,
and is loaded from a private copy of what was read. One that is damaged, that somebody else could have put there, or
that belongs to another source is compiled again.
"""

from __future__ import annotations

import ctypes
import os
import platform
import stat
import warnings
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

import pooch

from foundation.errors import Notice, RatespikeError, UsageError
from foundation.files import write_bytes
from foundation.scratch import scratch
from spiking.compilers import compile_library, compiler

# Every floating-point operation as it stands, so that results do not depend on what a compiler contracts.
FLAGS = ("-O3", "-march=native", "-std=c++17", "-fPIC", "-shared", "-ffp-contract=off", "-fno-math-errno",
         "-fno-trapping-math")  # fmt: skip
OTHERS = stat.S_IWGRP | stat.S_IWOTH


@cache
def load(source: str) -> ctypes.CDLL:
    """A C++ program as a library, compiled unless that has been done on a machine like this one.

    Raises:
        RatespikeError: there is no compiler, or it fails.
    """
    command = compiler()
    if command is None:
        raise RatespikeError("no C++ compiler (g++) found")
    made_from = "\n".join([source, *FLAGS, *command, platform.platform(), _processor()])
    key = sha256(made_from.encode()).digest()
    folder = Path(pooch.os_cache("ratespike")) / "programs"
    path = folder / f"{key.hex()[:32]}.so"
    ours = _private(folder)
    with scratch() as private:
        if ours and (kept := _read(path, key)) is not None:
            copy = private.path / "kept.so"
            copy.write_bytes(kept)
            with suppress(RatespikeError):  # it was made where other libraries are
                return _loaded(copy, path)
        made = compile_library([*command, *FLAGS], source, private)
        program = made.read_bytes()
        if ours:
            with suppress(OSError, RatespikeError, UsageError):  # a full disk, say: then without it
                write_bytes(path, program + _digest(program, key))  # what follows a program is not looked at
                path.chmod(0o600)
        return _loaded(made, path) if ours else _loaded(made)


def _loaded(*paths: Path) -> ctypes.CDLL:
    """The first that the system loads: programs may not be run from its temporary folder, and ours is but ours."""
    reason = ""
    for path in paths:
        try:
            return ctypes.CDLL(str(path))  # stays loaded when the file goes
        except OSError as error:
            reason = reason or str(error)
    raise RatespikeError(f"a compiled program cannot be loaded: {reason}")


def _digest(program: bytes, key: bytes) -> bytes:
    return sha256(key + program).digest()


def _private(folder: Path) -> bool:
    """Whether the folder, made if it is not there, is such that nobody else can put a program into it."""
    try:
        for place in (folder.parent, folder):
            place.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                place.mkdir(mode=0o700)
            found = place.lstat()
            if not stat.S_ISDIR(found.st_mode):
                raise NotADirectoryError
            others = OTHERS if place == folder else stat.S_IWOTH  # a group of one is usual, and files are checked
            if found.st_uid != os.geteuid() or found.st_mode & others:
                warnings.warn(
                    f"{place}: others may write there, so no compiled program is kept; `chmod go-w` it, or remove it",
                    Notice,
                    stacklevel=2,
                )
                return False
    except OSError:  # no place for a cache, or a read-only one
        return False
    return True


def _read(path: Path, key: bytes) -> bytes | None:
    """The program in a file; None for one that is not there, not ours alone, damaged, or of another source."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & OTHERS:
                return None
            content = file.read()
    except OSError:
        return None
    program, digest = content[:-32], content[-32:]
    return program if digest == _digest(program, key) else None


def _processor() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("flags")), platform.machine())

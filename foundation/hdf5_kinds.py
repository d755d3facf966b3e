"""What an HDF5 file says that it is: those of ours carry a kind and a version, others can be told by their nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foundation.errors import RatespikeError
from foundation.files import check_file
from foundation.hdf5 import Source, opened, source_of
from foundation.text import one_line


@contextmanager
def opened_as(path: Path, kind: str, version: int) -> Iterator[Source]:
    """As `opened`, for a file of ours, which says of which kind and version it is.

    Raises:
        RatespikeError: as `opened`, or it is of another kind or version.
    """
    with source_of(path, kind) as source:
        with _damage(path, kind):
            held, number = source.attribute("/", "kind"), source.attribute("/", "format")
        if not isinstance(held, str) or held != kind:
            other = f"a file of {one_line(held)}" if isinstance(held, str) else "an HDF5 file of another program"
            raise RatespikeError(f"{path}: is {other}, not a file of {kind}")
        if not isinstance(number, int) or number != version:
            form = f"its format is {one_line(number)}, not {version}"
            raise RatespikeError(f"{path}: not a file of {kind} of this version of ratespike ({form})")
        with _damage(path, kind):
            yield source


@contextmanager
def _damage(path: Path, kind: str) -> Iterator[None]:
    """What is wrong with the content of a file of ours, as one line that says that it is damaged."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # see `opened`
        reason = one_line(error).removeprefix(f"{path}: ")
        raise RatespikeError(f"{path}: damaged, or not a file of {kind} ({reason})") from None


def kind_of(path: Path) -> str:
    """The kind that an HDF5 file of ours says it is; "" for any other file.

    Raises:
        RatespikeError: no such file.
    """
    return _asked(path, lambda source: source.attribute("/", "kind")) or ""


def has_node(path: Path, name: str) -> bool:
    """Whether a file is HDF5 and has that node. Raises `RatespikeError`: no such file."""
    return _asked(path, lambda source: name if source.has(name) else None) == name


def _asked(path: Path, question: Callable[[Source], Any]) -> str | None:
    check_file(path)
    try:
        with opened(path, "any kind") as source:
            answer = question(source)
    except RatespikeError:  # not HDF5, or damaged, and its reader will say so
        return None
    return answer if isinstance(answer, str) else None

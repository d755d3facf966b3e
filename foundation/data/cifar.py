"""The Python version of CIFAR-10 and CIFAR-100: pickles written by Python 2, read without letting them run anything.

A pickle may call whatever it names. Here it can name three things, the ones in the official files, and gets
stand-ins for them that only write down what they were called with; the array is built from those notes by us.
See https://www.cs.toronto.edu/~kriz/cifar.html for what a batch holds.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from foundation.errors import RatespikeError
from foundation.text import one_line

T = TypeVar("T")


class _Noted:
    """A call in a pickle: what was called, with which arguments, and the state that was then set."""

    __slots__ = ("arguments", "state", "what")

    def __init__(self, what: str, arguments: tuple[object, ...]) -> None:
        self.what = what
        self.arguments = arguments
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _NotingUnpickler(pickle.Unpickler):
    """Knows numpy's reconstruct, ndarray and dtype by name, makes none of them, and refuses all other names."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            "numpy.core.multiarray._reconstruct": self._array,
            "numpy.dtype": self._dtype,
            "numpy.ndarray": "ndarray",  # only ever an argument
        }
        full_name = f"{module}.{name}"
        if full_name not in known:
            raise pickle.UnpicklingError(f"names {full_name}, which a CIFAR-10 file does not need")
        return known[full_name]

    def _array(self, *arguments: object) -> _Noted:
        return _Noted("array", arguments)

    def _dtype(self, *arguments: object) -> _Noted:
        return _Noted("dtype", arguments)


def parse_batch(
    content: bytes, where: str, title: str, n_images: int, n_classes: int, labels: str = "labels"
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images, (N, 3, 32, 32), and labels, (N,), of one batch.

    `title` is the batch's own label, e.g. ``training batch 1 of 5``; `labels` the name of its labels, ``fine_labels``
    in CIFAR-100, which has coarse ones, too. Raises `RatespikeError` that begins with `where` if anything in the file
    is not as in the official ones.
    """
    coarse = {b"coarse_labels"} if labels == "fine_labels" else set()
    batch = _read_pickle(content, where, {b"batch_label", labels.encode(), b"data", b"filenames", *coarse})
    if batch[b"batch_label"] != title.encode():
        raise RatespikeError(f"{where}: is {_short(batch[b'batch_label'])}, should be {title.encode()!r}")
    names = _list_of(batch[b"filenames"], bytes, f"{where}: filenames")
    numbers = _list_of(batch[labels.encode()], int, f"{where}: {labels}")
    if wrong := [number for number in numbers if not 0 <= number < n_classes]:
        raise RatespikeError(f"{where}: label {_short(wrong[0])}, should be 0 to {n_classes - 1}")
    pixels = _pixels(batch[b"data"], where)
    counts = (len(pixels), len(numbers), len(names))
    if counts != (n_images,) * 3:
        found = "{} images, {} labels and {} file names".format(*counts)
        raise RatespikeError(f"{where}: holds {found}, should be {n_images} of each")
    return pixels.reshape(-1, 3, 32, 32), np.array(numbers, np.int64)


def parse_meta(content: bytes, where: str, fine: bool = False) -> tuple[str, ...]:
    """The names of the classes, in the order of their labels; `fine`: of CIFAR-100."""
    key = "fine_label_names" if fine else "label_names"
    others = {b"coarse_label_names"} if fine else {b"num_cases_per_batch", b"num_vis"}
    meta = _read_pickle(content, where, {key.encode(), *others})
    names = _list_of(meta[key.encode()], bytes, f"{where}: {key}")
    return tuple(name.decode("ascii", "replace") for name in names)


def _read_pickle(content: bytes, where: str, keys: set[bytes]) -> dict[bytes, object]:
    stream = io.BytesIO(content)
    try:
        value = _NotingUnpickler(stream, encoding="bytes").load()
    except Exception as error:  # a broken pickle can raise nearly anything
        reason = str(error) or type(error).__name__
        raise RatespikeError(f"{where}: not a whole CIFAR-10 pickle ({_short(reason)})") from None
    if left := len(content) - stream.tell():
        raise RatespikeError(f"{where}: {left:,} trailing bytes after the pickle")
    if not isinstance(value, dict) or set(value) != keys:
        raise RatespikeError(f"{where}: should be a dict of {', '.join(sorted(key.decode() for key in keys))}")
    return value


def _list_of(value: object, kind: type[T], where: str) -> list[T]:
    if not isinstance(value, list) or any(type(item) is not kind for item in value):
        raise RatespikeError(f"{where} should be a list of {kind.__name__}")
    return value


def _pixels(data: object, where: str) -> NDArray[np.uint8]:
    """The (N, 3072) array of unsigned bytes that the notes describe."""
    # What numpy writes: array state = version, shape, dtype, Fortran order, bytes; dtype('u1') has no byte order.
    match data:
        case _Noted(
            what="array",
            arguments=("ndarray", (0,), b"b"),
            state=(1, (int(n), 3072), _Noted(what="dtype", arguments=(b"u1", 0, 1)), False, bytes(raw)),
        ) if len(raw) == 3072 * n:
            return np.frombuffer(raw, np.uint8).reshape(n, 3072)
    raise RatespikeError(f"{where}: data should be an array of N x 3072 unsigned bytes")


def _short(value: object) -> str:
    """At most 60 characters of one line."""
    return one_line(value if isinstance(value, str) else repr(value), 60)

"""HDF5 files of ours: what they say of themselves, and reading them without trusting them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from foundation.errors import RatespikeError, UsageError

CHECKED: dict[str, Any] = {"fletcher32": True}
"""Options of a dataset that make damage noticed when it is read."""


@contextmanager
def reading(path: Path, kind: str, version: int) -> Iterator[h5py.File]:
    """Open a file of that kind; whatever is wrong with it is one line.

    Raises:
        RatespikeError: no such file, or one of another kind or version, or damaged.
    """
    if not path.is_file():
        raise RatespikeError(f"{path}: " + ("is a folder, not a file" if path.is_dir() else "no such file"))
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("kind") != kind or file.attrs["format"] != version:
                raise RatespikeError(f"{path}: not a file of {kind} of this version of ratespike")
            yield file
    except (OSError, KeyError, TypeError, ValueError, IndexError, RuntimeError, AttributeError, UsageError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RatespikeError(f"{path}: damaged, or not a file of {kind} ({reason})") from None


def stored(dataset: h5py.Dataset) -> NDArray[Any]:
    """A dataset's content, if the file is large enough to hold what it declares."""
    if dataset.id.get_storage_size() < dataset.nbytes:
        raise ValueError(f"{dataset.name} declares {dataset.nbytes:,} bytes and stores fewer")
    return np.asarray(dataset)

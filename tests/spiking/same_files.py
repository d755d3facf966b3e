"""Are two run files the same? Their bytes may differ (HDF5 notes times and gaps), what they hold may not."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np


def contents(path: Path) -> dict[str, Any]:
    """Every dataset and every attribute of a file, by name."""
    found: dict[str, Any] = {}

    def note(name: str, item: Any) -> None:
        found.update({f"{name}@{key}": value for key, value in item.attrs.items()})
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item)

    with h5py.File(path) as file:
        file.visititems(note)
    return found


def assert_same_file(one: Path, other: Path) -> None:
    first, second = contents(one), contents(other)
    assert first.keys() == second.keys()
    assert len(first) > 60
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value, err_msg=name)

"""What a single run keeps for its figures: some images and what the network says of them, and all weights."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.arrays import naming, read_arrays
from foundation.errors import RatespikeError, UsageError
from foundation.files import write_bytes
from foundation.text import one_line

KIND, FORMAT = "ratespike pictures of a local rule", 1
MOST_BYTES = 2**30
"""Of all weights and images, before they are packed: 130 million weights of each time."""

Weights = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True, eq=False)
class Pictures:
    """Of one network.

    Attributes:
        examples: images, (n, C, H, W), uint8.
        labels: what they are, (n,), 0 to classes - 1.
        predictions: what the network says, (n,), 0 to classes - 1.
        class_names: of the classes.
        before: W of every layer before learning, lowest first, (out, in), float32.
        after: the same after learning.

    Raises:
        UsageError: parts that do not go with each other; the message names one.
    """

    examples: NDArray[np.uint8]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    class_names: tuple[str, ...]
    before: Weights
    after: Weights

    def __post_init__(self) -> None:
        if self.examples.ndim != 4 or self.examples.dtype != np.uint8 or not self.examples.size:
            raise UsageError(f"examples: must be bytes (n, C, H, W), got {_kind(self.examples)}")
        if not self.class_names:
            raise UsageError("class_names: must be at least one")
        for name in ("labels", "predictions"):
            values = getattr(self, name)
            if values.shape != (len(self.examples),) or values.dtype.kind not in "iu":
                raise UsageError(f"{name}: must be {len(self.examples)} whole numbers, got {_kind(values)}")
            if values.min() < 0 or values.max() >= len(self.class_names):
                raise UsageError(f"{name}: must be from 0 to {len(self.class_names) - 1}")
        self._check_weights()

    def _check_weights(self) -> None:
        if not self.before or [W.shape for W in self.before] != [W.shape for W in self.after]:
            raise UsageError("before, after: must be weights of the same layers, of one at least")
        for number, W in enumerate((*self.before, *self.after)):
            if W.ndim != 2 or W.dtype != np.float32:
                raise UsageError(f"W{number % len(self.before) + 1}: must be float32 (out, in), got {_kind(W)}")
        inputs = [int(np.prod(self.image_shape)), *(len(W) for W in self.before)]
        for number, (W, n) in enumerate(zip(self.before, inputs, strict=False), 1):
            if W.shape[1] != n:
                raise UsageError(f"W{number}: must have {n} inputs, has {W.shape[1]}")
        if inputs[-1] != len(self.class_names):
            raise UsageError(f"class_names: need one for each of {inputs[-1]} units of the last layer")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        _, channels, height, width = self.examples.shape
        return channels, height, width


def _kind(values: NDArray[Any]) -> str:
    return f"{values.dtype} {values.shape}"


def write_pictures(path: Path, pictures: Pictures) -> None:
    """Write them to a file, compressed and whole."""
    layers = {
        f"{when}:{number}": W for when in ("before", "after") for number, W in enumerate(getattr(pictures, when), 1)
    }
    buffer = BytesIO()
    np.savez_compressed(
        buffer,
        kind=np.array(KIND),
        format=np.array(FORMAT),
        layers=np.array(len(pictures.before)),
        examples=pictures.examples,
        labels=pictures.labels,
        predictions=pictures.predictions,
        class_names=np.array(pictures.class_names, np.str_),
        **layers,
    )
    write_bytes(path, buffer.getvalue())


def read_pictures(path: Path) -> list[Pictures]:
    """The pictures in a file, as a list of one.

    Raises:
        RatespikeError: no such file, one of another kind or version, or damaged.
    """
    what = "pictures.npz of `ratespike deep hebbian`"
    found = read_arrays(path, "pictures of a local rule", MOST_BYTES, "iufU")
    if (kind := found.get("kind")) is None or str(kind) != KIND:
        raise RatespikeError(f"{path}: is a .npz file of something else, not {what}")
    if str(found.get("format")) != str(FORMAT):
        raise RatespikeError(f"{path}: is of format {one_line(found.get('format'))} of {what}; {FORMAT} can be read")
    with naming(path, f"damaged, or not a file {what}"):
        try:
            return [_pictures(found)]
        except UsageError as error:  # of the parts, which here come from the file
            raise RatespikeError(f"{path}: damaged: {error}") from None


def _pictures(found: dict[str, NDArray[Any]]) -> Pictures:
    names = found["class_names"]
    if names.ndim != 1 or names.dtype.kind != "U":
        raise ValueError(f"class_names: must be texts, got {_kind(names)}")
    before, after = (
        tuple(found[f"{when}:{number}"] for number in range(1, int(found["layers"]) + 1))
        for when in ("before", "after")
    )
    return Pictures(found["examples"], found["labels"], found["predictions"], tuple(names.tolist()), before, after)

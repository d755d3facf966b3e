"""What is in a checkpoint: the weights among other things, by name, and their values on demand."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from foundation.errors import RatespikeError
from foundation.text import one_line
from ratenets.archives import Archive, Stored, is_tensor
from ratenets.pickles import Object, mapping

MOST_DEPTH = 5  # of dictionaries in dictionaries; a pickle may hold itself
MOST_PARTS = 10_000  # dictionaries

COUNTERS = "num_batches_tracked"
"""Of batch norm: how many batches its statistics saw. Files before torch 0.4.1 lack it, and nothing here uses it."""


class Contents(NamedTuple):
    """What a file holds.

    Attributes:
        parts: all dictionaries with names in them, by the keys under which they lie, "state_dict" say; "" is the root.
        own: whether it is a checkpoint of ours.
        epoch: of the training, as it says; None: it does not.
    """

    parts: dict[str, dict[str, Any]]
    own: bool
    epoch: int | None


def contents_of(root: Any) -> Contents:
    """The dictionaries in a file, under whatever key they lie.

    Raises:
        RatespikeError: it holds no weights by name.
    """
    content = mapping(root)
    if content is None:
        if isinstance(root, Object):
            made = one_line(root.maker)
            if made.startswith("torch._utils."):
                raise RatespikeError("holds one tensor, not weights by name")
            raise RatespikeError(f"holds a whole {made}, not weights; save its state_dict() instead")
        raise RatespikeError("holds no weights")
    parts: dict[str, dict[str, Any]] = {}
    others: list[object] = []
    seen: set[int] = set()
    left = [("", content, 0)]
    while left and len(seen) < MOST_PARTS:
        path, part, depth = left.pop(0)
        seen.add(id(part))
        names = {}
        for key, value in part.items():
            inner = mapping(value)
            if inner and id(inner) not in seen and depth < MOST_DEPTH:
                left.append((f"{path}.{key}" if path else str(key), inner, depth + 1))
            elif inner is None and isinstance(key, str):
                names[key] = value
            elif inner is None:
                others.append(key)
        if names:
            parts[path] = names
    if not parts:
        raise RatespikeError(
            f"holds no weights by name, but under a {type(others[0]).__name__}" if others else "holds no weights"
        )
    epoch = next((value["epoch"] for value in parts.values() if type(value.get("epoch")) is int), None)
    return Contents(parts, "network" in content and "format" in content, epoch)


def state_of(root: Any) -> tuple[dict[str, Any], bool, int | None]:
    """The weights in a file, the dictionary with the most tensors in it; whether they are a run's of ours; the epoch.

    Raises:
        RatespikeError: it holds no weights by name, or two dictionaries of as many.
    """
    contents = contents_of(root)
    if contents.own:
        return contents.parts.get("network", {}), True, contents.epoch
    counts = {path: sum(map(is_tensor, part.values())) for path, part in contents.parts.items()}
    most = max(counts.values())
    largest = [path for path, count in counts.items() if count == most]
    if len(largest) > 1 and most:
        raise RatespikeError(f"holds {one_line(' and '.join(largest))}, each with weights; save one of them alone")
    return contents.parts[largest[0]], False, contents.epoch


def stored_tensor(archive: Archive, name: str, value: Any) -> Stored:
    """The tensor that stands under `name`. Raises `RatespikeError`, which names it, if there is none."""
    try:
        stored = archive.stored(value)
    except RatespikeError as error:
        raise RatespikeError(f"{one_line(name)}: {error}") from None
    if stored is None:
        what = one_line(value.maker) if isinstance(value, Object) else type(value).__name__
        raise RatespikeError(f"{one_line(name)}: is no tensor, but {what}")
    return stored


def values_like(name: str, stored: Stored, wanted: Tensor) -> Tensor:
    """The values of a tensor, in shape and type of the one they are for.

    Raises:
        RatespikeError: they are not finite, or whole numbers where others are wanted; the message names the tensor.
    """
    if stored.dtype.is_floating_point != wanted.dtype.is_floating_point:
        raise RatespikeError(f"{name}: is of {stored.dtype}, not of {wanted.dtype}")
    values = stored.tensor().reshape(wanted.shape).to(wanted.dtype)
    if not torch.isfinite(values).all():
        raise RatespikeError(f"{name}: is not finite")
    return values

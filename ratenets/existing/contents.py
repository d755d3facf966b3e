"""What is in a checkpoint: the weights among other things, by name, and their values on demand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from foundation.errors import RatespikeError
from ratenets.existing.archives import Archive, Stored
from ratenets.existing.pickles import Object, mapping, printable

WRAPPERS = ("state_dict", "network", "model_state_dict", "model", "net")
"""Keys under which programs keep the weights among other things: Lightning's, ours, and what is usual."""

COUNTERS = "num_batches_tracked"
"""Of batch norm: how many batches its statistics saw. Files before torch 0.4.1 lack it, and nothing here uses it."""


def state_of(root: Any) -> tuple[dict[str, Any], bool, int | None]:
    """The weights among what a file holds; whether they are a run's of ours; and its epoch.

    Raises:
        RatespikeError: it holds no weights by name.
    """
    content, own, epoch = mapping(root), False, None
    if content is None:
        if isinstance(root, Object):
            made = printable(root.maker)
            if made.startswith("torch._utils."):
                raise RatespikeError("holds one tensor, not weights by name")
            raise RatespikeError(f"holds a whole {made}, not weights; save its state_dict() instead")
        raise RatespikeError("holds no weights")
    for _ in WRAPPERS:  # no deeper: a pickle may hold itself
        wrapper = next((key for key in WRAPPERS if mapping(content.get(key)) is not None), None)
        if wrapper is None:
            break
        own = own or (wrapper == "network" and "format" in content)
        epoch = content["epoch"] if type(content.get("epoch")) is int else epoch
        content = mapping(content[wrapper]) or {}
    if not content:
        raise RatespikeError("holds no weights")
    for name in content:
        if not isinstance(name, str):
            raise RatespikeError(f"holds no weights by name, but under a {type(name).__name__}")
    return content, own, epoch


def stored_tensor(archive: Archive, name: str, value: Any) -> Stored:
    """The tensor that stands under `name`. Raises `RatespikeError`, which names it, if there is none."""
    try:
        stored = archive.stored(value)
    except RatespikeError as error:
        raise RatespikeError(f"{printable(name)}: {error}") from None
    if stored is None:
        what = printable(value.maker) if isinstance(value, Object) else type(value).__name__
        raise RatespikeError(f"{printable(name)}: is no tensor, but {what}")
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

"""Is the checkpoint of a run safe to load, looked at as data? And is its content what was written?"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foundation.errors import RatespikeError
from foundation.text import one_line
from ratenets.archives import Archive, is_tensor, opened
from ratenets.pickles import Object

PLAIN = (str, int, float, bool, type(None))
DICTIONARY = "collections.OrderedDict"


def check_checkpoint(path: Path) -> None:
    """Refuse a checkpoint that `torch.load` should not see.

    Everything in it has to lie in the file as it is, nothing compressed; tensors are no larger than their storages, and
    these are as large as they say; beside tensors there are dictionaries, lists, numbers and texts alone.

    Raises:
        RatespikeError: there is none, it is damaged, or it holds something else; the message names the file.
    """
    try:
        with opened(path) as archive:
            storages = _storages(archive)
        _check_storages(path, storages)
    except RatespikeError as error:
        raise RatespikeError(f"{path}: {error}") from None


def _storages(archive: Archive) -> dict[str, int]:
    """The storages that its tensors name, and how many bytes each should have."""
    seen: set[int] = set()
    storages: dict[str, int] = {}
    left: list[Any] = [archive.root]
    while left:
        value = left.pop()
        if isinstance(value, PLAIN) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            left += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            left += value
        elif is_tensor(value):
            stored = archive.stored(value)
            if stored is not None and math.prod(stored.shape) > stored.numel:
                raise RatespikeError(f"damaged: a tensor {list(stored.shape)} in a storage of {stored.numel} values")
            if stored is not None and storages.setdefault(stored.key, stored.bytes) != stored.bytes:
                raise RatespikeError(f"damaged: the storage {one_line(stored.key)} is of two sizes")
        elif isinstance(value, Object) and str(value.maker) == DICTIONARY:
            left += [value.arguments, value.items, value.state]
        else:
            what = value.maker if isinstance(value, Object) else type(value).__name__
            raise RatespikeError(f"damaged: holds {one_line(what)}, which no checkpoint of ours does")
    return storages


def _check_storages(path: Path, storages: dict[str, int]) -> None:
    """Compare sizes and checksums, piece by piece: a storage may be larger than the memory."""
    try:
        with zipfile.ZipFile(path) as file:
            sizes = {name.partition("/data/")[2]: file.getinfo(name).file_size for name in file.namelist()}
            for key, length in storages.items():
                if sizes.get(key) != length:
                    held = f"{sizes.get(key, 0):,} bytes, not {length:,}"
                    raise RatespikeError(f"damaged: the storage {one_line(key)} has {held}")
            damaged = file.testzip()
    except RatespikeError:
        raise
    except Exception as error:  # a damaged archive makes zipfile raise errors of a dozen kinds
        raise RatespikeError(f"damaged, or in the format before torch 1.6 ({one_line(error)})") from None
    if damaged is not None:
        raise RatespikeError(f"damaged: the checksum of {one_line(damaged)} is wrong")


def digest_of(value: Any) -> str:
    """SHA-256 of numbers, texts and tensors in dictionaries and lists."""
    found = sha256()

    def feed(value: Any) -> None:
        if isinstance(value, Tensor):
            found.update(f"{value.dtype}{tuple(value.shape)}".encode())
            found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(value, Mapping):
            found.update(f"{{{len(value)}".encode())
            for key, inner in value.items():
                feed(key)
                feed(inner)
        elif isinstance(value, list | tuple):
            found.update(f"[{len(value)}".encode())
            for inner in value:
                feed(inner)
        else:
            found.update(f"{type(value).__name__}{value!r};".encode())

    feed(value)
    return found.hexdigest()

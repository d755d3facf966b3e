"""Is there room for what is about to be read or written?"""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from foundation.data.resizing import resized_shape
from foundation.errors import RatespikeError
from foundation.memory import free_memory, size


def check_disk(folder: Path, needed: int, what: str) -> None:
    """Raise `RatespikeError` if the disk of `folder`, which need not exist, cannot take `needed` bytes for `what`."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if (free := shutil.disk_usage(there).free) < needed:
        raise RatespikeError(f"{folder}: {what} takes {size(needed)} of disk space, {size(free)} are free")


def check_memory(n: int, shape: tuple[int, int, int], image_size: int | None, what: str) -> None:
    """Raise `RatespikeError`, with an image size that would fit, if there is no memory for so many images.

    Images are `n` times (C, H, W) unsigned bytes; with `image_size` their shorter side is made that long.
    """
    channels, height, width = shape
    side = (height, width) if image_size is None else resized_shape(height, width, image_size)
    needed, free = n * channels * math.prod(side), free_memory()
    if needed > free:
        fits = int(min(side) * math.sqrt(free / needed))
        hint = f"image_size {fits} would fit" if fits else "choose fewer"
        raise RatespikeError(
            f"{what}: {n:,} images of {side[0]} x {side[1]} pixels take {size(needed)} of memory, "
            f"{size(free)} are free; {hint}"
        )

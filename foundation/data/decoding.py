"""Image files as arrays, many at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from foundation.errors import RatespikeError
from foundation.text import one_line

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM")  # whatever a file's suffix says: one of ImageNet's .JPEG is a PNG
CHUNK = 1024  # files that are handed to the threads at a time


@contextmanager
def opened(path: Path) -> Iterator[Image]:
    """An image file, decoded to RGB.

    Raises:
        RatespikeError: it cannot be read, or Pillow failed before the block's end; the message names the file.
    """
    from PIL import Image

    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
            raise RatespikeError(f"{path}: cannot be read as an image (not a plain file)")
        with Image.open(path, formats=FORMATS) as image:
            yield image.convert("RGB")
    except (RatespikeError, MemoryError):
        raise
    except Exception as error:  # a damaged image makes Pillow raise errors of a dozen kinds
        reason = one_line(getattr(error, "strerror", None) or error)
        raise RatespikeError(f"{path}: cannot be read as an image ({reason})") from None


def decode_into(
    images: NDArray[np.uint8],
    paths: Sequence[Path],
    decode: Callable[[Path], NDArray[np.uint8]],
    progress: tqdm[None],
) -> None:
    """Fill `images`, (N, C, H, W), with what `decode` makes of each of N files; `progress` counts them."""

    def fill(row: int) -> None:
        images[row] = decode(paths[row])

    with ThreadPoolExecutor(os.cpu_count()) as threads:  # Pillow decodes without holding Python's lock
        for start in range(0, len(paths), CHUNK):
            for _ in threads.map(fill, range(start, min(start + CHUNK, len(paths)))):
                progress.update()

"""The IDX format of MNIST and Fashion-MNIST, read strictly.

A file is a magic number (two zero bytes, the type 0x08 for unsigned bytes, the number of dimensions), each dimension
as a big-endian 32-bit number, and the values; see http://yann.lecun.com/exdb/mnist.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from foundation.errors import RatespikeError

KINDS = {1: "labels", 3: "images"}  # by number of dimensions


def gunzip(content: bytes, where: str, limit: int) -> bytes:
    """Unpack a gzip file to at most `limit` bytes. Raises `RatespikeError` if it is broken or holds more."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            payload = stream.read(limit + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise RatespikeError(f"{where}: not a whole gzip file ({error})") from None
    if len(payload) > limit:
        raise RatespikeError(f"{where}: unpacks to more than the {limit:,} bytes that it should hold")
    return payload


def unpacked(content: bytes, where: str, limit: int) -> bytes:
    """The content of a file that may be packed by gzip, see `gunzip`, or not."""
    return gunzip(content, where, limit) if content.startswith(b"\x1f\x8b") else content


def parse_idx(payload: bytes, where: str, n_dimensions: int) -> NDArray[np.uint8]:
    """An array of unsigned bytes with `n_dimensions` dimensions; `where` names the file in errors.

    Raises `RatespikeError` on another magic number, and where the declared sizes and the length do not agree.
    """
    start = 4 * (1 + n_dimensions)
    magic = payload[:4]
    if magic != bytes([0, 0, 8, n_dimensions]):
        found = next((f" ({kind})" for n, kind in KINDS.items() if magic == bytes([0, 0, 8, n])), "")
        wanted = f"0x0000080{n_dimensions} ({KINDS.get(n_dimensions, 'bytes')})"
        raise RatespikeError(f"{where}: magic number 0x{magic.hex() or '-'}{found}, should be {wanted}")
    if len(payload) < start:
        raise RatespikeError(f"{where}: header cut short, {len(payload)} bytes instead of {start}")
    sizes = struct.unpack(f">{n_dimensions}I", payload[4:start])
    declared, actual = math.prod(sizes), len(payload) - start
    if declared != actual:
        shape = " x ".join(str(size) for size in sizes)
        fault = "is cut short" if actual < declared else "has trailing bytes"
        raise RatespikeError(f"{where}: {fault}: declares {shape} = {declared:,} bytes, holds {actual:,}")
    # A copy, because torch.from_numpy wants memory that may be written to.
    return np.frombuffer(payload, np.uint8, offset=start).reshape(sizes).copy()


def parse_images(payload: bytes, where: str) -> NDArray[np.uint8]:
    """Images, (N, 1, H, W), from an IDX file of three dimensions."""
    return parse_idx(payload, where, 3)[:, np.newaxis]


def parse_labels(payload: bytes, where: str, n_classes: int, first: int = 0) -> NDArray[np.int64]:
    """Labels, (N,), 0 to `n_classes` - 1, from an IDX file of one dimension in which they count from `first`."""
    labels = parse_idx(payload, where, 1).astype(np.int64) - first
    if wrong := labels[(labels < 0) | (labels >= n_classes)].tolist():
        raise RatespikeError(f"{where}: label {max(wrong) + first}, should be {first} to {n_classes - 1 + first}")
    return labels

"""Texts of variable length in HDF5, read from the bytes of the file.

HDF5 (2.0) is not asked for them: in a damaged file it takes as much memory as a text says that it is long (up to
4 GiB), walks for ever over an object of size 0, or dies. Layouts: HDF5 File Format Specification 3.0, III.E (global
heap), IV.A.1 (object headers), IV.A.2.m (attributes); all numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from mmap import mmap
from typing import TypeAlias

Content: TypeAlias = mmap | bytes

ELEMENT = struct.Struct("<IQI")
"""What stands in place of a text: its length, the address of its heap, its number there."""
HEAD = 16  # bytes, of a heap and of each object in it
CONTINUATION, ATTRIBUTE = 0x10, 0x0C  # kinds of message in an object header
SHARED = 0x02
MOST_MESSAGES = 100_000  # of an object header
MOST_OBJECTS = 2**16  # of a heap; their numbers have 16 bits
MOST_TEXT = 100_000  # bytes of a text
MOST_TEXTS = 100 * MOST_TEXT  # of all texts of a dataset


def heap_texts(content: Content, elements: bytes) -> list[str]:
    """The texts for which elements of 16 bytes each stand. Raises ValueError where there is none, or too much."""
    heaps: dict[int, dict[int, tuple[int, int]]] = {}
    texts, total = [], 0
    for length, address, number in ELEMENT.iter_unpack(elements):
        if length == 0:
            texts.append("")
            continue
        if address not in heaps:
            heaps[address] = _objects(content, address)
        start, size = heaps[address].get(number, (0, 0))
        total += length
        if length > size:
            raise ValueError("no such text in its heap")
        if length > MOST_TEXT or total > MOST_TEXTS:
            raise ValueError(f"texts of {total:,} bytes, at most {MOST_TEXT:,} each and {MOST_TEXTS:,} can be read")
        texts.append(content[start : start + length].rstrip(b"\0").decode())
    return texts


def _objects(content: Content, address: int) -> dict[int, tuple[int, int]]:
    """Start and size of the objects of a heap, by number, as far as they lie within it."""
    if content[address : address + 5] != b"GCOL\1":
        raise ValueError("no heap of texts where one should be")
    end = min(address + int.from_bytes(content[address + 8 : address + 16], "little"), len(content))
    place = address + HEAD
    objects: dict[int, tuple[int, int]] = {}
    while place + HEAD <= end and len(objects) < MOST_OBJECTS:
        index, _, _, size = struct.unpack("<HHIQ", content[place : place + HEAD])
        if index == 0 or index in objects or size > end - place - HEAD:  # free space, to the end; or damage
            break
        objects[index] = (place + HEAD, size)
        place += HEAD + -(-size // 8) * 8
    return objects


def attribute_elements(content: Content, address: int, name: str, count: int) -> bytes:
    """The elements of an attribute of `count` texts, from the header of its object. Raises ValueError without it.

    Only attributes in the header itself are found; HDF5 puts them elsewhere when there are many, if it is asked to.
    """
    for kind, flags, body in _messages(content, address):
        if kind != ATTRIBUTE or flags & SHARED:
            continue
        version, _, *sizes = struct.unpack("<BBHHH", body[:8])
        start = 9 if version == 3 else 8
        lengths = [-(-size // 8) * 8 for size in sizes] if version == 1 else sizes
        if body[start : start + sizes[0]].rstrip(b"\0") == name.encode():
            elements = body[start + sum(lengths) :][: count * ELEMENT.size]
            if len(elements) == count * ELEMENT.size:
                return elements
    raise ValueError("not in the header of its object")


def _messages(content: Content, address: int) -> Iterator[tuple[int, int, bytes]]:
    """The messages of an object header: kind, flags, body."""
    old = content[address : address + 4] != b"OHDR"
    if old:
        start, tracked = address + 16, False
        blocks = [(start, start + int.from_bytes(content[address + 8 : address + 12], "little"))]
    else:
        flags = content[address + 5]
        start = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width, tracked = 1 << (flags & 3), bool(flags & 4)
        blocks = [(start + width, start + width + int.from_bytes(content[start : start + width], "little"))]
    head = struct.Struct("<HHBxxx" if old else "<BHBH" if tracked else "<BHB")
    count = 0
    for place, end in blocks:  # which grow on the way
        while place + head.size <= min(end, len(content)):
            kind, size, flags, *_ = head.unpack(content[place : place + head.size])
            body = content[place + head.size : min(place + head.size + size, end)]
            yield kind, flags, body
            count += 1
            if count > MOST_MESSAGES:
                raise ValueError("a header without end")
            if kind == CONTINUATION and len(body) >= 16:
                offset, length = struct.unpack("<QQ", body[:16])
                margin = 0 if old else 4  # a signature before, a checksum behind
                blocks.append((offset + margin, offset + length - margin))
            place += head.size + size

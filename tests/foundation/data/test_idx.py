import gzip
import struct

import numpy as np
import pytest

from foundation.data.idx import gunzip, parse_images, parse_labels
from foundation.errors import RatespikeError

IMAGES = struct.pack(">IIII", 0x803, 2, 3, 4) + bytes(range(24))
LABELS = struct.pack(">II", 0x801, 3) + bytes([0, 9, 5])


def test_reads_images_and_labels() -> None:
    images = parse_images(IMAGES, "f")
    assert images.shape == (2, 1, 3, 4)
    assert images.dtype == np.uint8
    assert images.flags.writeable
    assert images[1, 0, 2, 3] == 23
    labels = parse_labels(LABELS, "f", 10)
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 9, 5]


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        (LABELS, r"magic number 0x00000801 \(labels\), should be 0x00000803 \(images\)"),
        (b"\x00\x00\x0d\x03" + IMAGES[4:], "magic number 0x00000d03, should be"),
        (b"", "magic number 0x-"),
        (IMAGES[:10], "header cut short, 10 bytes instead of 16"),
        (IMAGES[:-1], "is cut short: declares 2 x 3 x 4 = 24 bytes, holds 23"),
        (IMAGES + b"\0", "has trailing bytes: declares 2 x 3 x 4 = 24 bytes, holds 25"),
        (struct.pack(">IIII", 0x803, *[2**32 - 1] * 3), "is cut short"),
    ],
)
def test_refuses_images(payload: bytes, complaint: str) -> None:
    with pytest.raises(RatespikeError, match=f"^some-file: {complaint}"):
        parse_images(payload, "some-file")


def test_refuses_images_in_place_of_labels() -> None:
    with pytest.raises(RatespikeError, match=r"0x00000803 \(images\), should be 0x00000801 \(labels\)"):
        parse_labels(IMAGES, "f", 10)


def test_refuses_labels_out_of_range() -> None:
    with pytest.raises(RatespikeError, match=r"^f: label 9, should be 0 to 8"):
        parse_labels(LABELS, "f", 9)


def test_unpacks_exactly_up_to_the_limit() -> None:
    packed = gzip.compress(IMAGES)
    assert gunzip(packed, "f", len(IMAGES)) == IMAGES
    with pytest.raises(RatespikeError, match=r"^f: unpacks to more than the 39 bytes"):
        gunzip(packed, "f", len(IMAGES) - 1)


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    with pytest.raises(RatespikeError, match="more than the 1,000 bytes"):
        gunzip(bomb, "f", 1000)


@pytest.mark.parametrize("cut", [0, 5, 15, -1, -8])
def test_refuses_a_truncated_gzip_file(cut: int) -> None:
    packed = gzip.compress(IMAGES)[:cut]
    if not packed:  # an empty file unpacks to nothing, which has no magic number
        assert gunzip(packed, "f", 100) == b""
        return
    with pytest.raises(RatespikeError, match=r"^f: not a whole gzip file"):
        gunzip(packed, "f", 100)


@pytest.mark.parametrize("change", ["plain", "flipped", "junk behind"])
def test_refuses_a_broken_gzip_file(change: str) -> None:
    packed = gzip.compress(IMAGES)
    broken = {"plain": IMAGES, "flipped": packed[:-6] + b"\xff" + packed[-5:], "junk behind": packed + b"junk"}[change]
    with pytest.raises(RatespikeError, match=r"^f: not a whole gzip file"):
        gunzip(broken, "f", 100)

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from foundation.data import DATASETS, load_images, stl
from foundation.data.catalogue import OfficialFile
from foundation.data.official import stream_official
from foundation.errors import RatespikeError

Small = Any  # conftest.Published
UNLABELLED = "stl10_binary/unlabeled_X.bin"


def test_pixels_are_upright_and_labels_begin_at_zero(published: Small, tmp_path: Path) -> None:
    published.lay_out(tmp_path, "stl10")
    images = load_images("stl10", tmp_path)
    assert images.train_images.shape == (6, 3, 96, 96)
    assert images.test_images.shape == (4, 3, 96, 96)
    assert images.train_labels.tolist() == [9, 8, 7, 6, 5, 4]
    assert images.test_labels.dtype == np.int64
    assert images.class_names[7] == "monkey"
    raw = published.contents["stl10_binary/test_X.bin"]
    for image, channel, row, column in ((0, 0, 0, 0), (1, 2, 5, 90), (3, 1, 95, 0)):
        place = ((image * 3 + channel) * 96 + column) * 96 + row  # column by column
        assert images.test_images[image, channel, row, column] == raw[place]
    assert images.unlabelled_images is not None
    columns = np.frombuffer(published.contents[UNLABELLED], np.uint8).reshape(5, 3, 96, 96)
    assert np.array_equal(images.unlabelled_images, columns.swapaxes(2, 3))


@pytest.mark.parametrize("image_size", [None, 32])
def test_the_pieces_do_not_matter(
    published: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image_size: int | None
) -> None:
    published.lay_out(tmp_path, "stl10")
    whole = load_images("stl10", tmp_path, image_size=image_size)
    monkeypatch.setattr(stl, "PIECE", 2)
    pieces = load_images("stl10", tmp_path, image_size=image_size)
    for name in ("train_images", "test_images", "unlabelled_images"):
        assert np.array_equal(getattr(whole, name), getattr(pieces, name))


def test_downsampled_while_reading_is_what_pillow_makes(published: Small, tmp_path: Path) -> None:
    published.lay_out(tmp_path, "stl10")
    large, small = (load_images("stl10", tmp_path, image_size=size) for size in (None, 32))
    assert small.unlabelled_images is not None
    assert large.unlabelled_images is not None
    assert small.train_images.shape == (6, 3, 32, 32)
    for image, expected in zip(small.unlabelled_images, large.unlabelled_images, strict=True):
        resized = Image.fromarray(expected.transpose(1, 2, 0)).resize((32, 32), Image.Resampling.BILINEAR)
        assert np.array_equal(image.transpose(1, 2, 0), np.asarray(resized))


def complaint(root: Path) -> str:
    with pytest.raises(RatespikeError) as caught:
        load_images("stl10", root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_wrong_file_is_refused_by_name(published: Small, tmp_path: Path) -> None:
    mend = f"; mend it with `ratespike data get stl10 --root {tmp_path}`"
    path, good = tmp_path / UNLABELLED, published.contents[UNLABELLED]
    n = len(good)
    for content, fault in (
        (good[:-5], f"cut short, {n - 5:,} bytes instead of {n:,}"),
        (good + b"1", f"too long, {n + 1:,} bytes instead of {n:,}"),
        (good[::-1], "corrupt, its md5 is not the official"),
        (published.contents["stl10_binary/train_X.bin"], "holds train_X.bin of stl10 instead of unlabeled_X.bin"),
    ):
        published.lay_out(tmp_path, "stl10")
        path.write_bytes(content)
        assert complaint(tmp_path).startswith(f"{path}: {fault}")
        assert complaint(tmp_path).endswith(mend)
    path.unlink()
    assert complaint(tmp_path) == f"{path}: missing{mend}"


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("stl10_binary/train_y.bin", bytes([1, 2, 3, 4, 5, 11]), "train_y.bin: label 11, should be 1 to 10"),
        ("stl10_binary/train_y.bin", bytes([0, 2, 3, 4, 5, 6]), "train_y.bin: label 0, should be 1 to 10"),
        ("stl10_binary/train_y.bin", bytes([1, 2, 3]), "train_y.bin: 3 labels, should be 6"),
        ("stl10_binary/test_X.bin", bytes(27_648), "test_X.bin: 27,648 bytes are not 4 images of (3, 96, 96)"),
    ],
)
def test_the_parsers_stand_behind_the_md5(
    published: Small, tmp_path: Path, path: str, content: bytes, expected: str
) -> None:
    published.republish("stl10", path, content)
    published.lay_out(tmp_path, "stl10")
    assert expected in complaint(tmp_path)


def test_no_memory_is_said_before_reading(published: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published.lay_out(tmp_path, "stl10")
    monkeypatch.setattr("foundation.data.space.free_memory", lambda: 15 * 3 * 48 * 48)
    said = "stl10: 15 images of 96 x 96 pixels take 414.7 kB of memory, 103.7 kB are free; image_size 48 would fit"
    assert complaint(tmp_path) == said
    assert load_images("stl10", tmp_path, image_size=48).image_shape == (3, 48, 48)


def test_a_file_that_is_streamed_is_never_held_as_a_whole(published: Small, tmp_path: Path) -> None:
    published.lay_out(tmp_path, "stl10")
    file = DATASETS["stl10"].files[-1]
    pieces = list(stream_official(tmp_path / file.path, file, chunk=1000))
    assert b"".join(pieces) == published.contents[UNLABELLED]
    assert {len(piece) for piece in pieces[:-1]} == {1000}
    shorter: OfficialFile = replace(file, size=file.most - 1500)
    taken: list[bytes] = []
    with pytest.raises(RatespikeError):
        taken.extend(stream_official(tmp_path / file.path, shorter, chunk=1000))
    assert 0 < sum(map(len, taken)) <= shorter.most


def test_the_sizes_are_those_of_the_counts() -> None:
    dataset = DATASETS["stl10"]
    counts = (dataset.n_train, dataset.n_test, dataset.n_unlabelled)
    assert [file.size for file in dataset.files[::2]] == [n * math.prod(dataset.shape) for n in counts]
    assert [file.size for file in dataset.files[1::2]] == [5_000, 8_000]

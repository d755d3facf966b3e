import gzip
import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.data import DATASETS, data_root, load_images
from foundation.data.catalogue import Dataset
from foundation.data.images import stratified_part
from foundation.errors import RatespikeError, UsageError
from foundation.seeds import numpy_generator

Small = Any  # conftest.Published


def test_digits_are_complete_and_the_split_is_fixed() -> None:
    digits = load_images("digits")
    assert digits.train_images.shape == (1297, 1, 8, 8)
    assert digits.test_images.shape == (500, 1, 8, 8)
    assert digits.image_shape == (1, 8, 8)
    assert digits.n_classes == 10
    assert digits.train_images.dtype == np.uint8
    assert digits.train_labels.dtype == np.int64
    both = np.concatenate([digits.train_images, digits.test_images])
    assert np.unique(both).tolist() == [round(x * 255 / 16) for x in range(17)]
    assert np.bincount(digits.test_labels).tolist() == [50, 51, 49, 51, 50, 51, 50, 50, 48, 50]
    # Numbers in people's papers depend on who is in which part.
    assert hashlib.md5(digits.test_images.tobytes()).hexdigest() == "8eed0c346d133992140350daeb6193b4"


def test_a_stratified_part_keeps_the_shares() -> None:
    labels = np.repeat([0, 1, 2], [10, 20, 31])
    part = stratified_part(labels, 12, numpy_generator(1))
    assert part.sum() == 12
    assert np.bincount(labels[part]).tolist() == [2, 4, 6]
    assert np.array_equal(part, stratified_part(labels, 12, numpy_generator(1)))
    assert not np.array_equal(part, stratified_part(labels, 12, numpy_generator(2)))


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_reads_idx_datasets(published: Small, tmp_path: Path, name: str) -> None:
    published.lay_out(tmp_path, name)
    images = load_images(name, tmp_path)
    assert images.name == name
    assert images.train_images.shape == (30, 1, 28, 28)
    assert images.test_images.shape == (20, 1, 28, 28)
    assert images.train_labels.tolist() == [*range(10)] * 3
    raw = gzip.decompress(published.contents[f"{name}/t10k-images-idx3-ubyte.gz"])
    assert images.test_images.tobytes() == raw[16:]


def test_reads_cifar10(published: Small, tmp_path: Path) -> None:
    published.lay_out(tmp_path, "cifar10")
    images = load_images("cifar10", tmp_path)
    assert images.train_images.shape == (20, 3, 32, 32)
    assert images.train_images[::4, 0, 0, 0].tolist() == [1, 2, 3, 4, 5]
    assert images.test_images[0, 0, 0, 0] == 6
    assert images.train_labels[::4].tolist() == [0, 1, 2, 3, 4]
    assert images.class_names[3] == "cat"
    assert images.train_images.flags.writeable
    assert images.test_images.flags.writeable


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'imagenet'; known are digits, mnist, .*, stl10, image-folder"):
        load_images("imagenet")


def test_root_is_argument_then_environment_then_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RATESPIKE_DATA", "~/pictures")
    assert data_root(tmp_path) == tmp_path
    assert data_root() == Path.home() / "pictures"
    monkeypatch.setenv("RATESPIKE_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "ratespike" in str(data_root())


def complaint(name: str, root: Path | None) -> str:
    with pytest.raises(RatespikeError) as caught:
        load_images(name, root)
    assert not isinstance(caught.value, UsageError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_dataset_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = tmp_path / "my data"
    assert complaint("mnist", root).endswith(f"get it with `ratespike data get mnist --root '{root}'`")
    monkeypatch.setenv("RATESPIKE_DATA", str(root))
    assert complaint("cifar10", None) == f"cifar10 is not in {root}; get it with `ratespike data get cifar10`"


def swap(a: Path, b: Path) -> None:
    content = a.read_bytes()
    b.replace(a)
    b.write_bytes(content)


def test_a_wrong_file_is_refused_by_name(published: Small, tmp_path: Path) -> None:
    train, labels = (tmp_path / "mnist" / f"train-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))
    mend = f"; mend it with `ratespike data get mnist --root {tmp_path}`"

    def spoiled(path: Path, content: bytes) -> str:
        published.lay_out(tmp_path, "mnist")
        path.write_bytes(content)
        return complaint("mnist", tmp_path)

    good = published.contents["mnist/train-images-idx3-ubyte.gz"]
    n = len(good)
    assert spoiled(train, good[:1000]) == f"{train}: cut short, 1,000 bytes instead of {n:,}{mend}"
    assert spoiled(train, b"") == f"{train}: cut short, 0 bytes instead of {n:,}{mend}"
    assert spoiled(train, good + b"12") == f"{train}: too long, {n + 2:,} bytes instead of {n:,}{mend}"
    flipped = good[:500] + bytes([good[500] ^ 1]) + good[501:]
    assert spoiled(train, flipped).startswith(f"{train}: corrupt, its md5 is not the official ")
    published.lay_out(tmp_path, "mnist")
    labels.unlink()
    assert complaint("mnist", tmp_path) == f"{labels}: missing{mend}"
    labels.mkdir()
    assert complaint("mnist", tmp_path).startswith(f"{labels}: cannot be read (")


def test_swapped_files_are_recognised(published: Small, tmp_path: Path) -> None:
    folder = tmp_path / "mnist"
    images, labels, test_images, _ = (tmp_path / file.path for file in DATASETS["mnist"].files)
    published.lay_out(tmp_path, "mnist")
    swap(images, labels)
    assert f"{images}: holds train-labels-idx1-ubyte.gz of mnist instead of train-images" in complaint(
        "mnist", tmp_path
    )
    published.lay_out(tmp_path, "mnist")
    swap(images, test_images)
    assert "holds t10k-images-idx3-ubyte.gz of mnist instead of train-images" in complaint("mnist", tmp_path)
    published.lay_out(tmp_path, "fashion-mnist")
    (tmp_path / "fashion-mnist").replace(tmp_path / "moved")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    (tmp_path / "moved").replace(folder)
    assert "holds train-images-idx3-ubyte.gz of fashion-mnist instead of" in complaint("mnist", tmp_path)
    published.lay_out(tmp_path, "cifar10")
    swap(*(tmp_path / "cifar-10-batches-py" / name for name in ("data_batch_2", "test_batch")))
    assert "data_batch_2: holds test_batch of cifar10 instead of data_batch_2" in complaint("cifar10", tmp_path)


def test_nothing_larger_than_the_official_file_is_read(published: Small, tmp_path: Path) -> None:
    published.lay_out(tmp_path, "mnist")
    with (tmp_path / "mnist/train-images-idx3-ubyte.gz").open("wb") as stream:
        stream.truncate(1 << 40)  # a sparse terabyte
    assert "too long, 1,099,511,627,776 bytes" in complaint("mnist", tmp_path)


def repack(content: bytes, *changes: tuple[int, bytes]) -> bytes:
    payload = bytearray(gzip.decompress(content))
    for start, new in changes:
        payload[start : start + len(new)] = new
    return gzip.compress(bytes(payload), mtime=0)


@pytest.mark.parametrize(
    ("path", "change", "expected"),
    [
        ("mnist/train-images-idx3-ubyte.gz", lambda c: c[:-20], "not a whole gzip file"),
        ("mnist/train-images-idx3-ubyte.gz", lambda c: repack(c, (3, b"\x04")), "magic number 0x00000804"),
        ("mnist/train-images-idx3-ubyte.gz", lambda c: repack(c, (7, b"\x1f")), "declares 31 x 28 x 28"),
        ("mnist/train-images-idx3-ubyte.gz", lambda c: repack(c, (11, b"\x0e\0\0\0\x38")), "mnist, train: images and"),
        ("mnist/train-labels-idx1-ubyte.gz", lambda c: repack(c, (9, b"\x0a")), "label 10, should be 0 to 9"),
        ("mnist/t10k-images-idx3-ubyte.gz", lambda _: gzip.compress(bytes(10_000_000)), "unpacks to more than the"),
        ("cifar-10-batches-py/data_batch_3", lambda c: c[:-1], "not a whole CIFAR-10 pickle"),
        ("cifar-10-batches-py/batches.meta", lambda c: c.replace(b"frog", b"toad"), "'toad'.* should be"),
    ],
)
def test_the_parsers_stand_behind_the_md5(
    published: Small, tmp_path: Path, path: str, change: Any, expected: str
) -> None:
    """Even a file whose md5 is right is not believed."""
    name = "mnist" if path.startswith("mnist") else "cifar10"
    published.republish(name, path, change(published.contents[path]))
    published.lay_out(tmp_path, name)
    assert re.search(expected, complaint(name, tmp_path))


def test_images_and_labels_must_be_equally_many(published: Small, tmp_path: Path) -> None:
    path = "mnist/train-labels-idx1-ubyte.gz"
    payload = gzip.decompress(published.contents[path])
    published.republish("mnist", path, gzip.compress(payload[:7] + b"\x1d" + payload[8:-1]))
    published.lay_out(tmp_path, "mnist")
    assert "mnist, train: images and labels are" in complaint("mnist", tmp_path)


def test_the_catalogue_is_whole() -> None:
    files = [file for dataset in DATASETS.values() for file in dataset.files]
    assert len(files) == 51
    assert len({file.md5 for file in files}) == 51
    assert all(re.fullmatch("[0-9a-f]{32}", file.md5) for file in files)
    for dataset in DATASETS.values():
        assert isinstance(dataset, Dataset)
        assert dataset.n_classes == {"cifar100": 100, "emnist-letters": 26, "emnist-byclass": 62}.get(
            dataset.name, 47 if dataset.name in ("emnist-balanced", "emnist-bymerge") else 10
        )
        assert dataset.layout == "bundled" or dataset.url.endswith("/")


def test_import_is_light() -> None:
    heavy = "{'torch', 'brian2', 'sklearn', 'pooch', 'matplotlib'}"
    code = f"import sys, foundation.data; assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

"""Small datasets in the official formats, put into the catalogue in the place of the real ones."""

import gzip
import hashlib
import io
import struct
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from foundation.data.catalogue import DATASETS, Dataset, OfficialFile
from foundation.seeds import numpy_generator

IDX_NAMES = [f"{split}-{kind}-ubyte.gz" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
CIFAR_NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]


def py2_str(text: bytes) -> bytes:
    """A str as Python 2 pickled it: opcode U up to 255 bytes, T beyond."""
    return b"U" + bytes([len(text)]) + text if len(text) < 256 else b"T" + struct.pack("<i", len(text)) + text


def cifar_pickle(
    labels: list[int], *, title: str, pixels: bytes | None = None, width: int = 3072, dtype: bytes = b"u1"
) -> bytes:
    """A batch as Python 2's protocol 2 wrote it: numpy by its old names, strings as bytes, no framing."""
    raw = bytes(range(256)) * (12 * len(labels)) if pixels is None else pixels
    rows = struct.pack("<i", len(raw) // width)
    names = b"".join(py2_str(b"name_%d.png" % i) for i in range(len(labels)))
    return b"".join(
        [
            b"\x80\x02}q\x01(U\x0bbatch_label" + py2_str(title.encode()),
            b"U\x06labels](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e",
            b"U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R",
            b"(K\x01J" + rows + b"M" + struct.pack("<H", width) + b"\x86cnumpy\ndtype\n" + py2_str(dtype),
            b"K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + py2_str(raw) + b"tb",
            b"U\tfilenames](" + names + b"eu.",
        ]
    )


def cifar_meta(names: tuple[str, ...]) -> bytes:
    listed = b"".join(py2_str(name.encode()) for name in names)
    return b"\x80\x02}(U\x13num_cases_per_batchM\x10'U\x0blabel_names](" + listed + b"eU\x07num_visM\x00\x0cu."


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


def tar_gz(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@dataclass(frozen=True)
class Published:
    """What the authors of the small datasets published: every file (and archive) by its path."""

    contents: dict[str, bytes]

    def lay_out(self, root: Path, name: str) -> None:
        for file in DATASETS[name].files:
            (root / file.path).parent.mkdir(parents=True, exist_ok=True)
            (root / file.path).write_bytes(self.contents[file.path])

    def republish(self, name: str, path: str, content: bytes) -> None:
        """Make `content` the official one of `path`, so that it gets past the md5 and on to the parsers."""
        self.contents[path] = content
        files = tuple(official(path, content) if f.path == path else f for f in DATASETS[name].files)
        DATASETS[name] = replace(DATASETS[name], files=files)


def official(path: str, content: bytes) -> OfficialFile:
    return OfficialFile(path, len(content), hashlib.md5(content).hexdigest())


@cache
def small_idx(name: str) -> tuple[Dataset, dict[str, bytes]]:
    """30 train and 20 test images of 28 x 28 noise."""
    generator = numpy_generator(0, name)
    contents = {}
    for split, n in (("train", 30), ("t10k", 20)):
        images, labels = generator.integers(0, 256, (n, 28, 28)), np.arange(n) % 10
        contents[f"{name}/{split}-images-idx3-ubyte.gz"] = gzip.compress(idx(images), mtime=0)
        contents[f"{name}/{split}-labels-idx1-ubyte.gz"] = gzip.compress(idx(labels), mtime=len(name))
    files = tuple(official(path, contents[path]) for path in (f"{name}/{file}" for file in IDX_NAMES))
    return replace(DATASETS[name], n_train=30, n_test=20, files=files), contents


@cache
def small_cifar() -> tuple[Dataset, dict[str, bytes]]:
    """Five train batches of 4 images, and 4 test images; the pixels of batch i begin with the byte i."""
    titles = [*(f"training batch {i} of 5" for i in range(1, 6)), "testing batch 1 of 1"]
    noise = numpy_generator(0, "cifar10").bytes(4 * 3072 - 1)
    batches = [cifar_pickle([i, 9, 0, 1], title=title, pixels=bytes([i + 1]) + noise) for i, title in enumerate(titles)]
    paths = [f"cifar-10-batches-py/{name}" for name in CIFAR_NAMES]
    contents = dict(zip(paths, [*batches, cifar_meta(DATASETS["cifar10"].class_names)], strict=True))
    files = tuple(official(path, content) for path, content in contents.items())
    contents["cifar-10-python.tar.gz"] = tar_gz({"cifar-10-batches-py/readme.html": b"hello", **contents})
    archive = official("cifar-10-python.tar.gz", contents["cifar-10-python.tar.gz"])
    return replace(DATASETS["cifar10"], n_train=20, n_test=4, files=files, archive=archive), contents


@cache
def small_stl() -> tuple[Dataset, dict[str, bytes]]:
    """Six train, four test and five unlabelled images of noise; labels count down from 10."""
    generator, contents = numpy_generator(0, "stl10"), {}
    for part, n in (("train", 6), ("test", 4), ("unlabeled", 5)):
        contents[f"stl10_binary/{part}_X.bin"] = generator.bytes(n * 3 * 96 * 96)
        contents[f"stl10_binary/{part}_y.bin"] = bytes(range(10, 10 - n, -1))
    del contents["stl10_binary/unlabeled_y.bin"]
    files = tuple(official(path, content) for path, content in contents.items())
    contents["stl10_binary.tar.gz"] = tar_gz({"stl10_binary/class_names.txt": b"hello", **contents})
    archive = official("stl10_binary.tar.gz", contents["stl10_binary.tar.gz"])
    return replace(DATASETS["stl10"], n_train=6, n_test=4, n_unlabelled=5, files=files, archive=archive), contents


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Published:
    """Small stand-ins for mnist, fashion-mnist, cifar10 and stl10 in the catalogue, and the bytes of their files."""
    contents: dict[str, bytes] = {}
    for dataset, files in (small_idx("mnist"), small_idx("fashion-mnist"), small_cifar(), small_stl()):
        monkeypatch.setitem(DATASETS, dataset.name, dataset)
        contents |= files
    return Published(contents)


@pytest.fixture
def make_batch() -> Callable[..., bytes]:
    return cifar_pickle


@pytest.fixture
def make_meta() -> Callable[..., bytes]:
    return cifar_meta


@pytest.fixture
def make_archive() -> Callable[..., bytes]:
    return tar_gz

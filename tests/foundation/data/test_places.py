"""Official files where other programs left them: found by their md5, packed or not."""

import gzip
import io
import shutil
import zipfile
from dataclasses import replace
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest

from foundation.data.catalogue import DATASETS, OfficialFile
from foundation.data.downloads import get
from foundation.data.images import load_images
from foundation.errors import RatespikeError
from tests.foundation.data.conftest import Published, cifar_pickle, idx, py2_str

FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}


@pytest.fixture
def known(published: Published) -> Published:
    """The small datasets, with the md5s of what is in their files."""
    for name in FOLDERS:
        files = tuple(
            replace(file, unpacked_md5=md5(gzip.decompress(published.contents[file.path])).hexdigest())
            for file in DATASETS[name].files
        )
        DATASETS[name] = replace(DATASETS[name], files=files)
    return published


def lay_out(known: Published, name: str, folder: Path, packed: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in DATASETS[name].files:
        content = known.contents[file.path]
        path = folder / (file.name if packed else file.name.removesuffix(".gz"))
        path.write_bytes(content if packed else gzip.decompress(content))


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("place", ["{}/raw", "{}", "raw", "", "belongs"])
def test_torchvisions_folders_and_unpacked_files_are_found(
    known: Published, tmp_path: Path, name: str, packed: bool, place: str
) -> None:
    known.lay_out(tmp_path / "expected", name)
    expected = load_images(name, tmp_path / "expected")
    folder = tmp_path / (name if place == "belongs" else place.format(FOLDERS[name]))
    lay_out(known, name, folder, packed)
    found = load_images(name, tmp_path)
    np.testing.assert_array_equal(found.train_images, expected.train_images)
    np.testing.assert_array_equal(found.test_labels, expected.test_labels)
    assert get(DATASETS[name], tmp_path) == ()


def test_files_of_another_dataset_under_the_same_names_are_not_taken(known: Published, tmp_path: Path) -> None:
    lay_out(known, "fashion-mnist", tmp_path / "raw", packed=False)
    with pytest.raises(RatespikeError, match="mnist is not in"):
        load_images("mnist", tmp_path)
    shutil.rmtree(tmp_path / "raw")
    lay_out(known, "mnist", tmp_path / "MNIST/raw", packed=False)
    path = tmp_path / "MNIST/raw/train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\7")
    with pytest.raises(RatespikeError, match=r"train-labels-idx1-ubyte\.gz: missing; mend it with"):
        load_images("mnist", tmp_path)


def test_cifar_is_found_in_its_own_folder(known: Published, tmp_path: Path) -> None:
    known.lay_out(tmp_path, "cifar10")
    for root in (tmp_path, tmp_path / "cifar-10-batches-py"):
        assert len(load_images("cifar10", root).train_images) == 20


def official(path: str, content: bytes) -> OfficialFile:
    return OfficialFile(path, None, md5(content).hexdigest())


def test_cifar100_has_its_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def batch(title: str) -> bytes:
        content = cifar_pickle([3, 99], title=title).replace(b"U\x06labels", b"U\x0bfine_labels")
        return content.replace(b"U\tfilenames", b"U\rcoarse_labels](K\x01K\x02eU\tfilenames")

    dataset = DATASETS["cifar100"]
    names = b"".join(py2_str(name.encode()) for name in dataset.class_names)
    meta = b"\x80\x02}(U\x10fine_label_names](" + names + b"eU\x12coarse_label_names](eu."
    contents = [batch("training batch 1 of 1"), batch("testing batch 1 of 1"), meta]
    files = tuple(official(file.path, content) for file, content in zip(dataset.files, contents, strict=True))
    monkeypatch.setitem(DATASETS, "cifar100", replace(dataset, n_train=2, n_test=2, files=files))
    for file, content in zip(files, contents, strict=True):
        (tmp_path / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file.path).write_bytes(content)
    found = load_images("cifar100", tmp_path)
    assert found.train_labels.tolist() == [3, 99]
    assert (found.class_names[3], found.class_names[99]) == ("bear", "worm")


@pytest.mark.parametrize("place", ["zip", "raw"])
def test_emnist_is_upright_and_counts_from_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    images = np.arange(2 * 28 * 28).reshape(2, 28, 28) % 251
    dataset = DATASETS["emnist-letters"]
    contents: dict[str, bytes] = {}
    for file in dataset.files:
        values = images.swapaxes(1, 2) if "images" in file.path else np.array([1, 26])
        contents[file.path] = gzip.compress(idx(values) + b"" * len(file.path), mtime=len(contents))
    files = tuple(official(path, content) for path, content in contents.items())
    monkeypatch.setitem(DATASETS, "emnist-letters", replace(dataset, n_train=2, n_test=2, files=files))
    raw = tmp_path / "EMNIST/raw"
    raw.mkdir(parents=True)
    if place == "zip":  # which is what torchvision leaves, beside unpacked files
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for path, content in contents.items():
                archive.writestr(f"gzip/{Path(path).name}", content)
        (raw / "gzip.zip").write_bytes(buffer.getvalue())
    else:
        for path, content in contents.items():
            (raw / Path(path).name).write_bytes(content)
    found = load_images("emnist-letters", tmp_path)
    np.testing.assert_array_equal(found.train_images[:, 0], images)
    assert found.train_labels.tolist() == [0, 25]
    assert found.class_names[25] == "z"
    assert get(DATASETS["emnist-letters"], tmp_path) == ()

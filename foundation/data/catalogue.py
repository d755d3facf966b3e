"""The datasets that ratespike knows, their official files, and where those lie."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from foundation.errors import UsageError


@dataclass(frozen=True)
class OfficialFile:
    """One file as its authors published it."""

    path: str  # below the root, with forward slashes; the same below a mirror
    size: int  # bytes
    md5: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Dataset:
    """What is known of a dataset before any of its files is opened."""

    name: str
    layout: Literal["bundled", "idx", "cifar", "stl"]
    shape: tuple[int, int, int]  # one image: channels, height, width
    n_train: int
    n_test: int
    class_names: tuple[str, ...]
    licence: str
    url: str = ""  # the official address, up to and with the last slash; a file's name (without folder) follows
    files: tuple[
        OfficialFile, ...
    ] = ()  # idx, stl: images and labels of train, then of test; cifar: batches, test, meta
    archive: OfficialFile | None = None  # what is downloaded where the files come in one archive
    n_unlabelled: int = 0  # images without a label, in one more file

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    @property
    def download_size(self) -> int:
        """Bytes to download for the whole dataset."""
        return self.archive.size if self.archive else sum(file.size for file in self.files)


DIGITS = tuple("0123456789")
FASHION = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
STL10 = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def _idx_files(folder: str, *sizes_and_md5s: tuple[int, str]) -> tuple[OfficialFile, ...]:
    names = (f"{split}-{kind}-ubyte.gz" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
    return tuple(OfficialFile(f"{folder}/{name}", *known) for name, known in zip(names, sizes_and_md5s, strict=True))


_ALL = (
    Dataset(
        name="digits",
        layout="bundled",
        shape=(1, 8, 8),
        n_train=1297,
        n_test=500,
        class_names=DIGITS,
        licence="CC BY 4.0 (UCI optdigits), by way of scikit-learn (BSD-3)",
    ),
    Dataset(
        name="mnist",
        layout="idx",
        shape=(1, 28, 28),
        n_train=60_000,
        n_test=10_000,
        class_names=DIGITS,
        licence="CC BY-SA 3.0",
        url="https://ossci-datasets.s3.amazonaws.com/mnist/",
        files=_idx_files(
            "mnist",
            (9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            (28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
            (1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
            (4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
        ),
    ),
    Dataset(
        name="fashion-mnist",
        layout="idx",
        shape=(1, 28, 28),
        n_train=60_000,
        n_test=10_000,
        class_names=FASHION,
        licence="MIT",
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        files=_idx_files(
            "fashion-mnist",
            (26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            (29_515, "25c81989df183df01b3e8a0aad5dffbe"),
            (4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
            (5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
    ),
    Dataset(
        name="cifar10",
        layout="cifar",
        shape=(3, 32, 32),
        n_train=50_000,
        n_test=10_000,
        class_names=CIFAR10,
        licence="none stated; cite Krizhevsky (2009)",
        url="https://www.cs.toronto.edu/~kriz/",
        files=(
            OfficialFile("cifar-10-batches-py/data_batch_1", 31_035_704, "c99cafc152244af753f735de768cd75f"),
            OfficialFile("cifar-10-batches-py/data_batch_2", 31_035_320, "d4bba439e000b95fd0a9bffe97cbabec"),
            OfficialFile("cifar-10-batches-py/data_batch_3", 31_035_999, "54ebc095f3ab1f0389bbae665268c751"),
            OfficialFile("cifar-10-batches-py/data_batch_4", 31_035_696, "634d18415352ddfa80567beed471001a"),
            OfficialFile("cifar-10-batches-py/data_batch_5", 31_035_623, "482c414d41f54cd18b22e5b47cb7c3cb"),
            OfficialFile("cifar-10-batches-py/test_batch", 31_035_526, "40351d587109b95175f43aff81a1287e"),
            OfficialFile("cifar-10-batches-py/batches.meta", 158, "5ff9c542aee3614f3951f8cda6e48888"),
        ),
        archive=OfficialFile("cifar-10-python.tar.gz", 170_498_071, "c58f30108f718f92721af3b95e74349a"),
    ),
    Dataset(
        name="stl10",
        layout="stl",
        shape=(3, 96, 96),
        n_train=5_000,
        n_test=8_000,
        n_unlabelled=100_000,
        class_names=STL10,
        licence="none stated; cite Coates et al. (2011)",
        url="http://ai.stanford.edu/~acoates/stl10/",
        files=(
            OfficialFile("stl10_binary/train_X.bin", 138_240_000, "918c2871b30a85fa023e0c44e0bee87f"),
            OfficialFile("stl10_binary/train_y.bin", 5_000, "5a34089d4802c674881badbb80307741"),
            OfficialFile("stl10_binary/test_X.bin", 221_184_000, "7f263ba9f9e0b06b93213547f721ac82"),
            OfficialFile("stl10_binary/test_y.bin", 8_000, "36f9794fa4beb8a2c72628de14fa638e"),
            OfficialFile("stl10_binary/unlabeled_X.bin", 2_764_800_000, "5242ba1fed5e4be9e1e742405eb56ca4"),
        ),
        archive=OfficialFile("stl10_binary.tar.gz", 2_640_397_119, "91f7769df0f17e558f3565bffb0c7dfb"),
    ),
)
DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in _ALL}
"""What somebody published: counts, classes and files are known."""

IMAGE_FOLDER = "image-folder"
"""A user's own images, a folder for each class; what is in it only the folder knows (see `foundation.data.folders`)."""


def known_names() -> str:
    """The names that `load_images` takes, as errors list them."""
    return ", ".join([*DATASETS, IMAGE_FOLDER])


def find(name: str) -> Dataset:
    """The published dataset of that name.

    Raises:
        UsageError: there is none of that name, and the message lists those there are; or it is a user's own folder.
    """
    if name == IMAGE_FOLDER:
        raise UsageError(
            f"{name} is a folder of your own images, there is nothing to download; "
            f"it holds {name}/train/CLASS/ and {name}/test/CLASS/ below the root"
        )
    if name not in DATASETS:
        raise UsageError(f"unknown dataset {name!r}; known are {known_names()}")
    return DATASETS[name]


def data_root(root: Path | None = None) -> Path:
    """The folder that holds the datasets: `root`, else ``$RATESPIKE_DATA``, else the user's cache folder."""
    if root is not None:
        return root
    if from_environment := os.environ.get("RATESPIKE_DATA"):
        return Path(from_environment).expanduser()
    import pooch

    return Path(pooch.os_cache("ratespike"))

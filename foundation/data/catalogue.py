"""The datasets that ratespike knows, their official files, and where those lie."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import Literal

from foundation.errors import UsageError

MOST_BYTES = 2**30
"""Of an official file whose size is not known."""


@dataclass(frozen=True)
class OfficialFile:
    """One file as its authors published it."""

    path: str  # below the root, with forward slashes; the same below a mirror
    size: int | None  # bytes; None: nobody says, and the md5 alone decides
    md5: str
    unpacked_md5: str = ""  # of what is in a .gz file, where it is known

    @property
    def most(self) -> int:
        """Bytes that it can have."""
        return MOST_BYTES if self.size is None else self.size

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
    folder: str = ""  # of torchvision, that holds the files in its folder raw
    first_label: int = 0  # in the files; here labels begin at 0
    transposed: bool = False  # images lie in the files column by column

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    @property
    def download_size(self) -> int:
        """Bytes to download for the whole dataset, as far as sizes are known."""
        return sum(file.size or 0 for file in ((self.archive,) if self.archive else self.files))


DIGITS = tuple("0123456789")
FASHION = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
STL10 = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
MERGED = (*DIGITS, *ascii_uppercase, *"abdefghnqrt")
"""Of EMNIST, where a small letter that looks like its capital is one class with it."""
_OF_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree
wolf woman worm
"""
CIFAR100 = tuple(_OF_CIFAR100.split())
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def _idx_files(
    folder: str, *known: tuple[int | None, str] | tuple[int | None, str, str], form: str = "{}", test: str = "t10k"
) -> tuple[OfficialFile, ...]:
    """Files of size and md5, perhaps also that of what is in them: images and labels of train, then of test."""
    names = (
        form.format(f"{split}-{kind}-ubyte.gz") for split in ("train", test) for kind in ("images-idx3", "labels-idx1")
    )
    return tuple(OfficialFile(f"{folder}/{name}", *each) for name, each in zip(names, known, strict=True))


def _emnist(split: str, n_train: int, n_test: int, class_names: tuple[str, ...], *md5s: str) -> Dataset:
    """One of the splits of EMNIST; all come in one archive."""
    return Dataset(
        name=f"emnist-{split}",
        layout="idx",
        shape=(1, 28, 28),
        n_train=n_train,
        n_test=n_test,
        class_names=class_names,
        licence="none stated; cite Cohen et al. (2017)",
        url="https://biometrics.nist.gov/cs_links/EMNIST/",
        files=_idx_files("emnist", *((None, md5) for md5 in md5s), form=f"emnist-{split}-{{}}", test="test"),
        archive=OfficialFile("gzip.zip", None, "58c8d27c78d21e728a6bc7b3cc06412e"),
        folder="EMNIST",
        first_label=1 if split == "letters" else 0,
        transposed=True,
    )


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
            (9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"),
            (28_881, "d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"),
            (1_648_877, "9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
            (4_542, "ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
        ),
        folder="MNIST",
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
            (26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
            (29_515, "25c81989df183df01b3e8a0aad5dffbe", "9018921c3c673c538a1fc5bad174d6f9"),
            (4_422_102, "bef4ecab320f06d8554ea6380940ec79", "8181f5470baa50b63fa0f6fddb340f0a"),
            (5_148, "bb300cfdad3c16e7a12a480ee83cd310", "15d484375f8d13e6eb1aabb0c3f46965"),
        ),
        folder="FashionMNIST",
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
        name="kmnist",
        layout="idx",
        shape=(1, 28, 28),
        n_train=60_000,
        n_test=10_000,
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        licence="CC BY-SA 4.0",
        url="http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        files=_idx_files(
            "kmnist",
            (None, "bdb82020997e1d708af4cf47b453dcf7"),
            (None, "e144d726b3acfaa3e44228e80efcd344"),
            (None, "5c965bf0a639b31b8f53240b1b52f4d7"),
            (None, "7320c461ea6c1c855c0b718fb2a4b134"),
        ),
        folder="KMNIST",
    ),
    Dataset(
        name="cifar100",
        layout="cifar",
        shape=(3, 32, 32),
        n_train=50_000,
        n_test=10_000,
        class_names=CIFAR100,
        licence="none stated; cite Krizhevsky (2009)",
        url="https://www.cs.toronto.edu/~kriz/",
        files=(
            OfficialFile("cifar-100-python/train", None, "16019d7e3df5f24257cddd939b257f8d"),
            OfficialFile("cifar-100-python/test", None, "f0ef6b0ae62326f3e7ffdfab6717acfc"),
            OfficialFile("cifar-100-python/meta", None, "7973b15100ade9c7d40fb424638fde48"),
        ),
        archive=OfficialFile("cifar-100-python.tar.gz", 169_001_437, "eb9058c3a382ffc7106e4002c42a8d85"),
    ),
    _emnist(
        "balanced",
        112_800,
        18_800,
        MERGED,
        "4041b0d6f15785d3fa35263901b5496b",
        "7a35cc7b2b7ee7671eddf028570fbd20",
        "6818d20fe2ce1880476f747bbc80b22b",
        "acd3694070dcbf620e36670519d4b32f",
    ),
    _emnist(
        "letters",
        124_800,
        20_800,
        tuple(ascii_lowercase),
        "8795078f199c478165fe18db82625747",
        "c16de4f1848ddcdddd39ab65d2a7be52",
        "382093a19703f68edac6d01b8dfdfcad",
        "d4108920cd86601ec7689a97f2de7f59",
    ),
    _emnist(
        "digits",
        240_000,
        40_000,
        DIGITS,
        "d2662ecdc47895a6bbfce25de9e9a677",
        "2223fcfee618ac9c89ef20b6e48bcf9e",
        "a159b8b3bd6ab4ed4793c1cb71a2f5cc",
        "8afde66ea51d865689083ba6bb779fac",
    ),
    _emnist(
        "mnist",
        60_000,
        10_000,
        DIGITS,
        "3663598a39195d030895b6304abb5065",
        "6c092f03c9bb63e678f80f8bc605fe37",
        "fb51b6430fc4dd67deaada1bf25d4524",
        "ae7f6be798a9a5d5f2bd32e078a402dd",
    ),
    _emnist(
        "byclass",
        697_932,
        116_323,
        (*DIGITS, *ascii_uppercase, *ascii_lowercase),
        "712dda0bd6f00690f32236ae4325c377",
        "ee299a3ee5faf5c31e9406763eae7e43",
        "1435209e34070a9002867a9ab50160d7",
        "7a0f934bd176c798ecba96b36fda6657",
    ),
    _emnist(
        "bymerge",
        697_932,
        116_323,
        MERGED,
        "4a792d4df261d7e1ba27979573bf53f3",
        "491be69ef99e1ab1f5b7f9ccc908bb26",
        "8eb5d34c91f1759a55831c37ec2a283f",
        "c13f4cd5211cdba1b8fa992dae2be992",
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

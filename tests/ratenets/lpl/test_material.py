"""How a dataset is divided, and what an image is normalised by."""

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset, random_split

from foundation.data.images import ImageSet
from foundation.errors import UsageError
from ratenets.lpl.material import divide, normalised


def numbered(train: int, test: int = 4, unlabelled: int = 0) -> ImageSet:
    """Images whose one pixel is their number, labels likewise."""

    def pixels(count: int) -> np.ndarray:
        return np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)

    more = pixels(unlabelled) if unlabelled else None
    return ImageSet("x", pixels(train), np.arange(train), pixels(test), np.arange(test), ("a",), more)


def test_without_images_held_out_the_readout_sees_what_is_learned_from():
    parts = divide(numbered(9), held_out=0, first=0, supervised=False)
    assert parts.rows.tolist() == list(range(9))
    assert parts.readout.labels.tolist() == list(range(9))
    assert parts.test.labels.tolist() == list(range(4))


def test_held_out_images_are_the_last_of_the_published_permutation():
    """Torch's random_split with seed 42: the first part is learned from, the rest is for the readout."""
    generator = torch.Generator().manual_seed(42)
    numbers = TensorDataset(torch.arange(50))
    parts_of = random_split(numbers, [40, 10], generator=generator)
    learned, held = ([int(part[i][0]) for i in range(len(part))] for part in parts_of)
    parts = divide(numbered(50), held_out=10, first=0, supervised=True)
    assert parts.rows.tolist() == learned
    assert parts.labels is not None
    assert parts.labels.tolist() == learned
    assert parts.readout.labels.tolist() == held
    assert parts.readout.images.ravel().tolist() == held
    fewer = divide(numbered(50), held_out=10, first=7, supervised=True)
    assert fewer.rows.tolist() == learned[:7]
    assert fewer.labels is not None
    assert fewer.labels.tolist() == learned[:7]
    assert fewer.readout.labels.tolist() == held


def test_unlabelled_images_are_learned_from_and_labelled_ones_read_out():
    images = numbered(20, unlabelled=100)
    parts = divide(images, held_out=0, first=0, supervised=False)
    assert len(parts.rows) == 95
    assert parts.labels is None
    assert parts.pool is images.unlabelled_images
    assert len(set(parts.readout.labels.tolist())) == 18
    taught = divide(images, held_out=0, first=0, supervised=True)
    assert taught.labels is not None
    assert taught.pool[taught.rows].ravel().tolist() == taught.labels.tolist() == taught.readout.labels.tolist()


@pytest.mark.parametrize(
    ("held_out", "first", "message"), [(9, 0, "held_out"), (20, 0, "held_out"), (4, 7, "there are 6")]
)
def test_more_than_there_are_is_refused(held_out, first, message):
    with pytest.raises(UsageError, match=message):
        divide(numbered(10), held_out=held_out, first=first, supervised=False)


def test_images_are_normalised_by_channel_where_a_dataset_has_statistics():
    images = torch.rand(5, 3, 2, 2, dtype=torch.float64)
    ours = normalised(images, "stl10")
    torch.testing.assert_close(ours[:, 1], (images[:, 1] - 0.42) / 0.26)
    torch.testing.assert_close(normalised(images, "cifar10")[:, 2], (images[:, 2] - 113.9 / 255) / (66.7 / 255))
    assert normalised(images, "mnist") is images

"""What a local rule learns from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foundation.data.images import ImageSet
from foundation.errors import UsageError
from ratenets.hebbian.config import HebbianConfig
from ratenets.hebbian.material import load_material, part_of, placed

MNIST_TRAIN = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
MNIST_TEST = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
"""Images of each digit in MNIST."""


def of_size(train: tuple[int, ...], test: tuple[int, ...]) -> ImageSet:
    """Images of one pixel pair; the first is the number of the image, the second its label."""
    rng = np.random.default_rng(1)
    parts = []
    for counts in (train, test):
        labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
        images = np.stack([np.arange(len(labels)) % 256, labels], 1).astype(np.uint8)
        parts += [images.reshape(-1, 1, 1, 2), labels]
    return ImageSet("mnist", parts[0], parts[1], parts[2], parts[3], tuple(map(str, range(len(train)))))


def test_mnist_gives_the_published_numbers():
    material = part_of(of_size(MNIST_TRAIN, MNIST_TEST), HebbianConfig())
    assert [len(part[1]) for part in (material.train, material.validation, material.test)] == [24_001, 5_999, 5_000]
    for images, labels in (material.train, material.validation, material.test):
        assert np.array_equal(images[:, 0, 0, 1], labels)


def test_no_image_is_learned_from_and_validated_on():
    labels = np.repeat(np.arange(2), 100)
    images = np.arange(200, dtype=np.uint8).reshape(-1, 1, 1, 1)
    whole = ImageSet("mnist", images, labels, images, labels, ("0", "1"))
    material = part_of(whole, HebbianConfig(kept=1.0, validation=0.3, test=1.0))
    train, validation = material.train[0].ravel(), material.validation[0].ravel()
    assert sorted([*train, *validation]) == list(range(200))
    assert np.bincount(material.validation[1]).tolist() == [30, 30]


def test_classes_that_are_kept_have_the_images_that_they_have_among_all():
    everything = of_size((30,) * 5, (10,) * 5)
    whole = part_of(everything, HebbianConfig())
    some = part_of(everything, HebbianConfig(classes=(4, 1, 2), drop_classes=(2,)))
    assert (some.classes, some.class_names) == ((1, 4), ("1", "4"))
    for name in ("train", "validation", "test"):
        for new, old in enumerate(some.classes):
            one, other = getattr(some, name), getattr(whole, name)
            assert np.array_equal(one[0][one[1] == new], other[0][other[1] == old])


def test_images_are_normalised_as_published():
    material = load_material(HebbianConfig(data="digits"))
    part = placed(material.train, HebbianConfig(data="digits"))
    images = part.images(slice(None))
    assert images.shape == (len(part.labels), 64)
    assert torch.equal(part.images(torch.tensor([7, 5])), images[[7, 5]])
    expected = (material.train[0][5].ravel() / 255 - 0.3048) / 0.3755
    np.testing.assert_allclose(images[5].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"classes": (1,)}, "at least two must be left, there are (1,)"),
        ({"classes": (1, 2), "drop_classes": (1, 2)}, "there are none"),
        ({"classes": (1, 10)}, "classes: digits has labels 0 to 9, got 10"),
        ({"withhold": (3,), "classes": (1, 2)}, "withhold: must be some of the classes"),
        ({"withhold": (1, 2), "classes": (1, 2)}, "withhold: must be some of the classes"),
        ({"kept": 0.001}, "a class has no image to"),
        ({"data": "shapes3d"}, "data: must be one of digits, mnist"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(settings, reason):
    with pytest.raises(UsageError) as caught:
        load_material(HebbianConfig(**{"data": "digits", **settings}))
    assert reason in str(caught.value)

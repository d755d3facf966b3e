from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foundation.data.images import ImageSet, load_images
from foundation.errors import UsageError
from ratenets.sequences.multi_mnist import KEPT, as_digits, compose, multi_images, pair


@pytest.fixture
def reference(data: Path) -> dict[str, np.ndarray]:
    with np.load(data / "butd" / "multi_mnist_compose.npz") as arrays:
        return dict(arrays)


def noise(rng: np.random.Generator, n: int, side: int = 28) -> np.ndarray:
    return rng.integers(0, 256, (n, 1, side, side)).astype(np.uint8)


def image_set(rng: np.random.Generator, n_train: int, n_test: int, side: int = 28, name: str = "mnist") -> ImageSet:
    """Noise, each image labelled by its number modulo 10."""
    return ImageSet(
        name,
        noise(rng, n_train, side),
        np.arange(n_train) % 10,
        noise(rng, n_test, side),
        np.arange(n_test) % 10,
        tuple("0123456789"),
    )


def test_composites_are_the_references(reference: dict[str, np.ndarray]) -> None:
    composed = compose(reference["left"], reference["right"])
    assert composed.dtype == np.uint8
    assert np.array_equal(composed, reference["composed"])
    with_channel = compose(reference["left"][:, None], reference["right"][:, None])
    assert np.array_equal(with_channel[:, 0], composed)
    assert with_channel.flags.c_contiguous  # batches are taken from it


def test_the_references_right_digits_are_numpys_first_draws(reference: dict[str, np.ndarray]) -> None:
    """How the reference draws: as many as there are to draw from, of which the first are used."""
    drawn = np.random.RandomState(123).randint(0, 10_000, 10_000)
    assert np.array_equal(drawn[:1000], reference["right_index_first1000"])


def test_kept_pixels_are_those_that_pillow_keeps() -> None:
    columns = np.broadcast_to(np.arange(36, dtype=np.uint8), (36, 36))
    kept = Image.fromarray(np.ascontiguousarray(columns)).resize((28, 28), Image.Resampling.NEAREST)
    assert np.array_equal(np.asarray(kept)[0], KEPT)


def test_each_image_is_once_on_the_left(rng: np.random.Generator) -> None:
    images, labels = noise(rng, 40), np.arange(40)
    pairs = pair(images, labels, np.random.default_rng(3))
    assert np.array_equal(pairs.labels[:, 0], labels)
    right = pairs.labels[:, 1]
    assert np.array_equal(pairs.images, compose(images, images[right]))
    assert pairs.images.shape == images.shape
    assert 15 < len(set(right.tolist())) < 40  # with replacement; 40 (1 - 1/e) = 25 are expected


def test_right_digits_are_drawn_uniformly() -> None:
    n = 20_000
    images, labels = np.zeros((n, 1, 28, 28), np.uint8), np.arange(n) * 10 // n
    counts = np.bincount(pair(images, labels, np.random.default_rng(0)).labels[:, 1], minlength=10)
    assert np.abs(counts - n / 10).max() < 5 * np.sqrt(n * 0.1 * 0.9)


def test_the_last_sixth_is_held_out_and_parts_do_not_mix(rng: np.random.Generator) -> None:
    source = image_set(rng, 60, 20)
    source.test_labels[:] = 11
    train, test = multi_images(source, 0)
    assert train.images.shape == (50, 1, 28, 28)
    assert np.array_equal(train.labels[:, 0], source.train_labels[:50])
    assert train.labels.max() <= 9
    assert test.images.shape == (20, 1, 28, 28)
    assert (test.labels == 11).all()
    everything, _ = multi_images(source, 0, hold_out=False)
    assert len(everything.images) == len(everything.labels) == 60


def test_a_seed_is_a_dataset(rng: np.random.Generator) -> None:
    source = image_set(rng, 60, 20)
    first, again, other = (multi_images(source, seed) for seed in (1, 1, 2))
    for part in (0, 1):
        assert np.array_equal(first[part].images, again[part].images)
        assert np.array_equal(first[part].labels, again[part].labels)
        assert not np.array_equal(first[part].labels, other[part].labels)


def test_small_digits_are_enlarged(rng: np.random.Generator) -> None:
    small = noise(rng, 5, 8)
    large = as_digits(small, "digits")
    assert large.shape == (5, 1, 28, 28)
    for i in range(3):
        for j in range(3):
            assert np.array_equal(large[:, :, 2 + i : 26 : 3, 2 + j : 26 : 3], small)
    assert large.sum(dtype=int) == 9 * small.sum(dtype=int)  # nothing is in the margin
    full = noise(rng, 2, 28)
    assert np.array_equal(as_digits(full, "mnist"), full)


def test_the_bundled_digits_can_be_composed() -> None:
    digits = load_images("digits")
    train, test = multi_images(digits, 0, hold_out=False)
    assert (train.images.shape, test.images.shape) == ((1297, 1, 28, 28), (500, 1, 28, 28))
    assert np.array_equal(train.labels[:, 0], digits.train_labels)


def test_colour_and_large_images_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(UsageError, match=r"^multi-mnist: composed are grey .* have 1 channels and 29 x 29 pixels$"):
        multi_images(image_set(rng, 6, 2, 29), 0)
    with pytest.raises(UsageError, match=r"^multi-cifar10: .* of cifar10 have 3 channels and 8 x 8 pixels$"):
        as_digits(np.zeros((1, 3, 8, 8), np.uint8), "cifar10")

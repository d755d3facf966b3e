from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from foundation.data import load_images
from foundation.data.resizing import downsample, resized_shape
from foundation.errors import UsageError

Small = Any  # conftest.Published


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 500))
def test_the_shorter_side_gets_the_size_and_the_ratio_stays(height: int, width: int, shorter: int) -> None:
    h, w = resized_shape(height, width, shorter)
    assert min(h, w) == shorter
    exact = shorter * max(height, width) / min(height, width)
    assert max(h, w) <= exact < max(h, w) + 1


def test_downsampling_is_antialiased_and_rounds_once(rng: np.random.Generator) -> None:
    """By four: Pillow's triangle of half width four pixels about each centre, in plain formulas."""
    image = rng.integers(0, 256, (1, 1, 32, 32)).astype(np.uint8)
    centre = 4 * (np.arange(8)[:, None] + 0.5)
    weight = np.maximum(1 - np.abs(np.arange(32) + 0.5 - centre) / 4, 0)
    weight /= weight.sum(1, keepdims=True)
    expected = weight @ image[0, 0] @ weight.T
    assert np.abs(downsample(image, 8, "test")[0, 0] - expected).max() <= 1.0


def test_colours_and_oblong_images(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (3, 3, 40, 60)).astype(np.uint8)
    small = downsample(images, 10, "test")
    assert small.shape == (3, 3, 10, 15)
    for image, made in zip(images, small, strict=True):
        expected = Image.fromarray(image.transpose(1, 2, 0)).resize((15, 10), Image.Resampling.BILINEAR)
        assert np.array_equal(made.transpose(1, 2, 0), np.asarray(expected))
    assert np.array_equal(downsample(images, 40, "test"), images)


def test_a_dataset_is_downsampled_once_at_loading(published: Small, tmp_path: Path) -> None:
    published.lay_out(tmp_path, "mnist")
    whole, small = (load_images("mnist", tmp_path, image_size=size) for size in (None, 14))
    assert small.image_shape == (1, 14, 14)
    assert np.array_equal(small.train_images, downsample(whole.train_images, 14, "test"))
    assert np.array_equal(small.test_images, downsample(whole.test_images, 14, "test"))
    assert np.array_equal(small.train_labels, whole.train_labels)


@pytest.mark.parametrize("size", [0, -3, 9])
def test_a_size_that_cannot_be_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match=f"^image_size: must be 1 to 8, the pixels of digits, got {size}$"):
        load_images("digits", image_size=size)

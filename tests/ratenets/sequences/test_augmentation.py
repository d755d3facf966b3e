"""Views of images: what moves, how far, and for whom."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import UsageError
from ratenets.sequences.augmentation import image_sequence, two_views, view
from ratenets.sequences.config import DEFAULT_VIEWS, ViewConfig
from ratenets.sequences.plots import augmentations, read_views
from tests.figures import faults


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dot(size: int = 33) -> torch.Tensor:
    """One bright blob at the centre of an odd-sized image."""
    image = torch.zeros(1, 1, size, size, dtype=torch.float64)
    image[..., size // 2 - 1 : size // 2 + 2, size // 2 - 1 : size // 2 + 2] = 1
    return image


def centre(images: torch.Tensor) -> torch.Tensor:
    """Centre of mass from the image's centre, (B, 2) as (right, down), in pixels."""
    mass = images[:, 0]
    place = torch.arange(mass.shape[-1], dtype=mass.dtype) - mass.shape[-1] // 2
    total = mass.sum((1, 2))
    return torch.stack([(mass.sum(1) * place).sum(1) / total, (mass.sum(2) * place).sum(1) / total], 1)


def test_a_view_without_freedom_is_the_image(rng, each_device):
    images = torch.from_numpy(rng.random((3, 2, 7, 9))).to(each_device)
    still = ViewConfig(max_shift=0, max_rotation=0, flip=0)
    torch.testing.assert_close(view(images, still, generator()), images, rtol=0, atol=1e-12)


def test_shifts_are_uniform_in_pixels_and_independent():
    moved = centre(view(dot().expand(4000, -1, -1, -1), ViewConfig(max_shift=3, max_rotation=0), generator()))
    assert moved.abs().max() <= 3 + 1e-9
    torch.testing.assert_close(moved.mean(0), torch.zeros(2).double(), rtol=0, atol=4 * 3**0.5 / 4000**0.5)
    torch.testing.assert_close(moved.var(0), torch.full((2,), 3.0).double(), rtol=0.08, atol=0)  # (2 * 3)^2 / 12
    assert abs(torch.corrcoef(moved.T)[0, 1]) < 4 / 4000**0.5


def test_rotations_are_rotations_also_in_oblong_images():
    """A dot beside the centre keeps its distance from it, at angles uniform in the range."""
    image = torch.zeros(2000, 1, 41, 61, dtype=torch.float64)
    image[..., 19:22, 39:42] = 1  # 10 pixels to the right
    rotated = view(image, ViewConfig(max_shift=0, max_rotation=40), generator())[:, 0]
    x = torch.arange(61).double() - 30
    y = torch.arange(41).double() - 20
    total = rotated.sum((1, 2))
    right, down = (rotated.sum(1) * x).sum(1) / total, (rotated.sum(2) * y).sum(1) / total
    distance, angle = torch.hypot(right, down), torch.rad2deg(torch.atan2(down, right))
    torch.testing.assert_close(distance, torch.full_like(distance, 10.0), rtol=0.02, atol=0)
    assert 38 < angle.abs().max() < 40.5
    assert angle.std() == pytest.approx(80 / 12**0.5, rel=0.05)


def test_flips_happen_as_often_as_asked_and_only_left_to_right(rng):
    images = torch.from_numpy(rng.random((1, 1, 6, 6))).expand(3000, -1, -1, -1)
    views = view(images, ViewConfig(max_shift=0, max_rotation=0, flip=0.3), generator())
    flipped = torch.isclose(views, images.flip(3)).flatten(1).all(1)
    same = torch.isclose(views, images).flatten(1).all(1)
    assert bool((flipped ^ same).all())
    assert flipped.double().mean() == pytest.approx(0.3, abs=4 * (0.21 / 3000) ** 0.5)


@given(seed=st.integers(0, 2**31), batch=st.integers(1, 5))
@settings(deadline=None, max_examples=20)
def test_views_come_from_the_generator_alone_and_stay_in_range(seed, batch):
    images = torch.rand(batch, 1, 8, 8, generator=generator(seed))
    config = DEFAULT_VIEWS["digits"]
    views = two_views(images, config, generator(seed))
    assert views.shape == (2 * batch, 1, 8, 8)
    assert torch.equal(views, two_views(images, config, generator(seed)))
    assert 0 <= views.min() <= views.max() <= 1 + 1e-6
    assert not torch.equal(views[:batch], views[batch:])


def test_every_sample_has_its_own_transformation(rng):
    images = torch.from_numpy(rng.random((1, 1, 8, 8))).expand(6, -1, -1, -1)
    views = view(images, ViewConfig(), generator())
    assert len({tuple(v.flatten().tolist()) for v in views}) == 6


def test_a_sequence_shows_each_image_in_a_row(rng):
    images = torch.from_numpy(rng.random((3, 1, 8, 8)))
    frames = image_sequence(images, 4, ViewConfig(max_shift=0, max_rotation=0), generator())
    torch.testing.assert_close(frames, images.repeat_interleave(4, 0))


def test_digits_are_never_mirrored():
    assert DEFAULT_VIEWS["digits"].flip == DEFAULT_VIEWS["mnist"].flip == 0


@pytest.mark.parametrize(
    "changes", [{"max_shift": -1.0}, {"max_rotation": 181.0}, {"flip": 1.1}, {"max_shift": float("nan")}]
)
def test_impossible_views_are_refused(changes):
    (name,) = changes
    with pytest.raises(UsageError, match=f"views.{name}"):
        ViewConfig(**changes)


def test_the_figure_of_views_is_legible():
    shown = read_views("digits", None, 0)
    assert faults(augmentations(shown)) == []
    assert faults(augmentations(shown * 2)) == []

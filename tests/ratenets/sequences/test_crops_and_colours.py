"""The paper's augmentations: each against Pillow or a plain formula, and their distributions."""

import colorsys
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from foundation.errors import UsageError
from ratenets.sequences import colour, crops_and_colours
from ratenets.sequences.augmentation import plain_view, two_views, view
from ratenets.sequences.config import DEFAULT_VIEWS, ViewConfig
from ratenets.sequences.crops_and_colours import crop_and_mirror, draw, draw_crops
from ratenets.sequences.resampling import blur, interpolation, resample, resize_and_crop

PAPER = DEFAULT_VIEWS["cifar10"]
BYTE = 1 / 255


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(
    rng: np.random.Generator, count: int, height: int = 32, width: int = 32
) -> tuple[list[Image.Image], torch.Tensor]:
    """Random images, smooth enough to have all hues, for Pillow and for us."""
    small = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    images = [Image.fromarray(x).resize((width, height), Image.Resampling.BICUBIC) for x in small]
    stacked = np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2)
    return images, torch.from_numpy(stacked.copy()).double() / 255


def as_tensor(images: list[Image.Image]) -> torch.Tensor:
    return (
        torch.from_numpy(np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2).copy()).double() / 255
    )


def test_crops_are_pillows_crops_resized(rng):
    images, ours = pictures(rng, 30)
    crops = draw_crops(30, 32, 32, 0.08, generator())
    top, left, height, width = (x.int().tolist() for x in crops)
    boxes = [(x, y, x + w, y + h) for x, y, w, h in zip(left, top, width, height, strict=True)]
    theirs = [
        image.crop(box).resize((32, 32), Image.Resampling.BILINEAR) for image, box in zip(images, boxes, strict=True)
    ]
    made = crop_and_mirror(ours, crops, torch.zeros(30, dtype=torch.bool))
    assert (made - as_tensor(theirs)).abs().max() <= 1.01 * BYTE  # Pillow rounds twice
    mirrored = crop_and_mirror(ours, crops, torch.arange(30) % 2 == 0)
    torch.testing.assert_close(mirrored[0::2], made[0::2].flip(3))
    torch.testing.assert_close(mirrored[1::2], made[1::2])


@pytest.mark.parametrize(("size", "resized", "cropped"), [(32, 35, 32), (96, 105, 96), (96, 32, 32)])
def test_readout_images_are_pillows(rng, size, resized, cropped):
    """Resize to a tenth more and cut the centre out; shrinking is antialiased."""
    images, ours = pictures(rng, 3, size, size)
    first = round((resized - cropped) / 2)
    box = (first, first, first + cropped, first + cropped)
    theirs = [image.resize((resized, resized), Image.Resampling.BILINEAR).crop(box) for image in images]
    assert (resize_and_crop(ours, resized, cropped) - as_tensor(theirs)).abs().max() <= 1.01 * BYTE


def test_the_readout_sees_affine_images_as_they_are_and_others_a_tenth_larger(rng):
    images = torch.from_numpy(rng.random((2, 3, 32, 32)))
    assert plain_view(images, ViewConfig()) is images
    torch.testing.assert_close(plain_view(images, PAPER), resize_and_crop(images, 35, 32))


@given(start=st.integers(0, 20), length=st.integers(1, 30), size=st.integers(1, 40))
@settings(deadline=None, max_examples=60)
def test_interpolation_keeps_constants_and_looks_at_the_crop_alone(start, length, size):
    weights = interpolation(size, torch.tensor([float(start)]), torch.tensor([float(length)]), 50)[0].double()
    torch.testing.assert_close(weights.sum(1), torch.ones(size).double(), rtol=0, atol=1e-6)
    assert weights[:, :start].abs().sum() == 0
    assert weights[:, start + length :].abs().sum() == 0


@pytest.mark.parametrize(
    ("change", "enhancer"),
    [
        (colour.brightness, ImageEnhance.Brightness),
        (colour.contrast, ImageEnhance.Contrast),
        (colour.saturation, ImageEnhance.Color),
    ],
)
def test_brightness_contrast_and_saturation_are_pillows(rng, change, enhancer):
    images, ours = pictures(rng, 12)
    factors = torch.linspace(0.2, 1.8, 12).double()
    theirs = [enhancer(image).enhance(factor) for image, factor in zip(images, factors.tolist(), strict=True)]
    assert (change(ours, factors) - as_tensor(theirs)).abs().max() <= 2.01 * BYTE  # grey is rounded, then the blend


def test_hues_turn_as_in_hsv(rng):
    images = torch.from_numpy(rng.random((8, 3, 5, 4)))
    images[0, :, 0, 0] = 0.4  # grey has no hue
    images[1, :, 0, 0] = 0.0
    turns = torch.linspace(-0.2, 0.2, 8).double()
    ours = colour.hue(images, turns)
    for image, turned, turn in zip(images, ours, turns.tolist(), strict=True):
        for y in range(5):
            for x in range(4):
                h, s, v = colorsys.rgb_to_hsv(*image[:, y, x].tolist())
                expected = colorsys.hsv_to_rgb((h + turn) % 1, s, v)
                assert turned[:, y, x].tolist() == pytest.approx(expected, abs=1e-12)


def test_each_image_is_changed_in_its_own_order(rng):
    images = torch.from_numpy(rng.random((40, 3, 6, 6)))
    factors = torch.from_numpy(np.stack([*rng.uniform(0.2, 1.8, (3, 40)), rng.uniform(-0.2, 0.2, 40)], 1))
    order = torch.rand(40, 4, generator=generator()).argsort(1)
    order[::5] = -1
    assert len({tuple(row) for row in order.tolist()}) > 10
    ours = colour.jitter(images.clone(), factors, order)
    for k in range(40):
        expected = images[k : k + 1]
        for number in order[k].tolist():
            if number >= 0:
                expected = colour.CHANGES[number](expected, factors[k : k + 1, number])
        torch.testing.assert_close(ours[k : k + 1], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("taps", [3, 9])
def test_a_blur_is_a_gaussian_kernel_on_the_mirrored_image(rng, taps):
    images, sigma = rng.random((4, 2, 11, 13)), np.array([0.1, 0.5, 1.3, 2.0])
    ours = resample(torch.from_numpy(images), *(blur(n, torch.from_numpy(sigma), taps) for n in (11, 13)))
    half = taps // 2
    for image, s, made in zip(images, sigma, ours.numpy(), strict=True):
        kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / s) ** 2)
        kernel /= kernel.sum()
        padded = np.pad(image, ((0, 0), (half, half), (half, half)), mode="reflect")
        shifted = [padded[:, i : i + 11, j : j + 13] * kernel[i] * kernel[j] for i in range(taps) for j in range(taps)]
        np.testing.assert_allclose(made, np.sum(shifted, 0), atol=1e-12)


def test_the_kernel_is_a_tenth_of_the_image_made_odd():
    assert [crops_and_colours.taps(h) for h in (28, 32, 64, 96, 196)] == [3, 3, 7, 9, 19]


class TestDistributions:
    """Every drawn parameter has the published distribution, and no two of a view hang together."""

    batch = 20_000

    def drawn(self, **changes) -> crops_and_colours.Draw:
        config = {
            "flip": 0.5,
            "min_area": 0.08,
            "strength": 1.0,
            "jitter_probability": 0.8,
            "grey_probability": 0.2,
            "blur_probability": 0.5,
            "max_blur": 2.0,
        }
        return draw(self.batch, (96, 96), **{**config, **changes}, generator=generator(7))

    def uniform(self, values: torch.Tensor, low: float, high: float) -> None:
        """Kolmogorov-Smirnov: the largest gap to the uniform distribution is below its 0.1 % quantile."""
        ordered = (values.double().sort().values - low) / (high - low)
        assert ordered[0] >= -1e-3  # what is rounded to pixels may be out by a bit
        assert ordered[-1] <= 1 + 1e-3
        gap = (ordered - torch.linspace(0, 1, len(ordered)).double()).abs().max()
        assert gap < 1.95 / math.sqrt(len(ordered))

    def share(self, chosen: torch.Tensor, probability: float) -> None:
        error = math.sqrt(probability * (1 - probability) / len(chosen))
        assert abs(chosen.double().mean() - probability) < 4 * error

    def test_areas_and_ratios_of_crops(self):
        """Rounding to pixels aside, areas are uniform and ratios log-uniform, among crops that fit."""
        crops = draw_crops(self.batch, 4000, 4000, 0.08, generator(1))
        area = crops.height * crops.width / 4000**2
        fits = area < 0.74  # every ratio fits below 3/4
        self.uniform(area[fits], 0.08, 0.74)
        self.uniform((crops.width / crops.height)[fits].log(), math.log(3 / 4), math.log(4 / 3))
        self.uniform((crops.top / (4000 - crops.height))[fits], 0, 1)
        self.uniform((crops.left / (4000 - crops.width))[fits], 0, 1)
        for crop in (crops, draw_crops(self.batch, 32, 32, 0.08, generator(2))):
            assert (crop.height >= 1).all()
            assert ((crop.top + crop.height) <= (4000 if crop is crops else 32)).all()

    def test_a_crop_that_never_fits_is_the_widest_allowed_about_the_centre(self):
        crops = draw_crops(50, 8, 100, 1.0, generator())
        assert [x[0].item() for x in crops] == [0, 44, 8, 11]
        assert all((x == x[0]).all() for x in crops)

    def test_colours(self):
        drawn = self.drawn()
        for column in range(3):
            self.uniform(drawn.factors[:, column], 0.2, 1.8)
        self.uniform(drawn.factors[:, 3], -0.2, 0.2)
        changed = drawn.order[:, 0] >= 0
        self.share(changed, 0.8)
        codes, counts = torch.unique((drawn.order[changed] * torch.tensor([64, 16, 4, 1])).sum(1), return_counts=True)
        assert len(codes) == 24
        expected = int(changed.sum()) / 24
        assert ((counts - expected).abs() < 5 * math.sqrt(expected)).all()

    def test_strength_scales_them(self):
        drawn = self.drawn(strength=0.5)
        self.uniform(drawn.factors[:, 0], 0.6, 1.4)
        self.uniform(drawn.factors[:, 3], -0.1, 0.1)
        assert (self.drawn(strength=0.0).order == -1).all()

    def test_the_rest(self):
        drawn = self.drawn()
        self.share(drawn.mirrored, 0.5)
        self.share(drawn.grey, 0.2)
        self.share(drawn.blur > 0, 0.5)
        self.uniform(drawn.blur[drawn.blur > 0], 0.1, 2.0)

    def test_nothing_hangs_together(self):
        drawn = self.drawn()
        columns = [
            drawn.mirrored,
            drawn.grey,
            drawn.blur > 0,
            drawn.order[:, 0] >= 0,
            *drawn.factors.T,
            *drawn.crop.T[2:3],
        ]
        correlation = torch.corrcoef(torch.stack([x.double() for x in columns]))
        correlation.fill_diagonal_(0)
        assert correlation.abs().max() < 4.5 / math.sqrt(self.batch)


def test_views_of_a_part_are_those_of_the_whole(rng, each_device):
    """So that several processes see together what one sees."""
    images = torch.from_numpy(rng.random((7, 3, 32, 32))).to(each_device)
    for config in (PAPER, ViewConfig()):
        whole = two_views(images, config, generator(3))
        part = two_views(images[2:5], config, generator(3), slice(2, 5), 7)
        torch.testing.assert_close(part, torch.cat([whole[2:5], whole[9:12]]), rtol=0, atol=1e-12)


def test_views_stay_in_range_and_leave_the_images_alone(rng, each_device):
    images = torch.from_numpy(rng.random((64, 3, 32, 32))).float().to(each_device)
    before = images.clone()
    views = view(images, PAPER, generator())
    assert torch.equal(images, before)
    assert views.min() >= -1e-6
    assert views.max() <= 1 + 1e-6
    assert not torch.equal(views, view(images, PAPER, generator(1)))
    torch.testing.assert_close(views.cpu(), view(images.cpu(), PAPER, generator()), rtol=0, atol=1e-5)


def test_images_of_one_channel_keep_one(rng):
    views = view(torch.from_numpy(rng.random((16, 1, 28, 28))), PAPER, generator())
    assert views.shape == (16, 1, 28, 28)


@pytest.mark.parametrize(
    "changes",
    [{"kind": "x"}, {"min_area": 0.0}, {"jitter": -1.0}, {"jitter_probability": 1.5}, {"blur_probability": -0.1},
     {"grey_probability": 2.0}, {"max_blur": 0.0}, {"jitter": 3.0}],
)  # fmt: skip
def test_impossible_views_are_refused(changes):
    with pytest.raises(UsageError, match=rf"views\.{next(iter(changes))}"):
        ViewConfig(**changes)

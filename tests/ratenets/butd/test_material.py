from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foundation.data.celeba import CelebA
from foundation.data.images import ImageSet, load_images
from foundation.errors import UsageError
from ratenets.butd import material
from ratenets.butd.config import ButdConfig
from ratenets.butd.material import STATISTICS, TaskImages, load_task_images, normalised
from ratenets.butd.tasks import BinaryAttributes, LeftRight, LeftRightOf, Single
from ratenets.run_config import RunConfig
from ratenets.sequences.multi_mnist import multi_images


def noise_set(name: str, shape: tuple[int, int, int]) -> ImageSet:
    """60 train and 12 test images of noise."""
    noise = np.random.default_rng(len(name)).integers(0, 256, (72, *shape)).astype(np.uint8)
    labels = np.arange(72) % 10
    return ImageSet(name, noise[:60], labels[:60], noise[60:], labels[60:], tuple("abcdefghij"))


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Noise in the place of the datasets; what they were asked for."""
    asked: list[tuple[Any, ...]] = []

    def images(name: str, root: Path | None = None, *, image_size: int | None = None) -> ImageSet:
        asked.append((name, root, image_size))
        return noise_set(name, (1, 28, 28) if "mnist" in name else (3, 32, 32))

    def faces(root: Path | None, image_size: int | None, first: int | None) -> CelebA:
        asked.append(("celeba", root, image_size, first))
        bits = np.arange(15 * 3).reshape(15, 3) % 2
        pixels = np.zeros((15, 3, 6, 5), np.uint8)
        return CelebA(pixels[:10], bits[:10], pixels[10:], bits[10:], ("bald", "male", "young"))

    monkeypatch.setattr(material, "load_images", images)
    monkeypatch.setattr(material, "read_celeba", faces)
    return asked


def refused(**settings: Any) -> str:
    with pytest.raises(UsageError) as caught:
        load_task_images(ButdConfig(**settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_bundled_digits_have_one_task() -> None:
    images, digits = load_task_images(ButdConfig()), load_images("digits")
    assert (images.name, images.tasks, images.n_classes) == ("digits", Single(), 10)
    assert images.image_shape == (1, 8, 8)
    assert np.array_equal(images.train_images, digits.train_images)
    assert np.array_equal(images.train_labels[:, 0], digits.train_labels)
    assert images.test_labels.shape == (500, 1)


def test_the_digits_are_normalised_by_their_own_moments() -> None:
    pixels = load_images("digits").train_images / 255
    assert STATISTICS["digits"] == ((round(pixels.mean(), 4),), (round(pixels.std(), 4),))


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "stl10", "image-folder"])
def test_other_sets_have_one_task(stand_ins: list[tuple[Any, ...]], name: str) -> None:
    images = load_task_images(ButdConfig(data=name, image_size=20), Path("root"))
    assert stand_ins == [(name, Path("root"), 20)]
    grey = "mnist" in name
    assert (images.mean, images.std) == (((0.1307,), (0.3081,)) if grey else ((0.5,) * 3, (0.5,) * 3))
    assert (images.tasks, images.n_classes, images.train_labels.shape) == (Single(), 10, (60, 1))


@pytest.mark.parametrize("single", ["mnist", "fashion-mnist"])
def test_composed_sets_are_the_references_and_have_two_tasks(stand_ins: list[tuple[Any, ...]], single: str) -> None:
    images = load_task_images(ButdConfig(data=f"multi-{single}", guided=True))
    assert stand_ins == [(single, None, None)]
    train, test = multi_images(noise_set(single, (1, 28, 28)), 0)
    assert np.array_equal(images.train_images, train.images)
    assert np.array_equal(images.train_labels, train.labels)
    assert np.array_equal(images.test_images, test.images)
    assert np.array_equal(images.test_labels, test.labels)
    assert len(images.train_images) == 50
    assert (images.tasks, images.n_classes, images.image_shape) == (LeftRight(), 10, (1, 28, 28))
    assert (images.mean, images.std) == ((0.1307,), (0.3081,))


def test_of_the_bundled_digits_all_are_composed_and_every_run_sees_the_same() -> None:
    first, second = (
        load_task_images(ButdConfig(data="multi-digits", guided=True, run=RunConfig(seed=seed))) for seed in (0, 1)
    )
    assert first.train_images.shape == (1297, 1, 28, 28)
    assert np.array_equal(first.train_labels, second.train_labels)
    assert np.array_equal(first.test_images, second.test_images)
    assert (first.mean, first.std) == STATISTICS["digits"]


def test_neighbours_can_be_asked_for() -> None:
    images = load_task_images(ButdConfig(data="multi-digits", guided=True, task="left/right-of"))
    assert images.tasks == LeftRightOf(10)


def test_two_heads_need_no_instruction() -> None:
    images = load_task_images(ButdConfig(data="multi-digits", multi_decoder=True))
    assert images.tasks == LeftRight()


def test_composites_are_resized_once_composed(stand_ins: list[tuple[Any, ...]]) -> None:
    config = ButdConfig(data="multi-mnist", guided=True)
    large, small = load_task_images(config), load_task_images(replace(config, image_size=14))
    assert small.image_shape == (1, 14, 14)
    assert np.array_equal(small.train_labels, large.train_labels)
    expected = large.test_images.reshape(-1, 14, 2, 14, 2).mean((2, 4))
    assert np.corrcoef(small.test_images.ravel(), expected.ravel())[0, 1] > 0.9
    assert "image_size: must be 1 to 28" in refused(data="multi-mnist", guided=True, image_size=29)


def test_faces_have_a_task_for_each_attribute(stand_ins: list[tuple[Any, ...]]) -> None:
    config = ButdConfig(data="celeba", guided=True, loss="bce", image_size=6, train_images=10)
    images = load_task_images(config, Path("root"))
    assert stand_ins == [("celeba", Path("root"), 6, 10)]
    assert images.tasks == BinaryAttributes(("bald", "male", "young"))
    assert (images.n_classes, images.image_shape, images.mean) == (1, (3, 6, 5), (0.5,) * 3)
    assert (images.train_labels.shape, images.test_labels.shape) == ((10, 3), (5, 3))
    load_task_images(ButdConfig(data="celeba", guided=True, loss="mse"))
    assert stand_ins[-1] == ("celeba", None, None, None)


def test_the_first_training_images_are_taken() -> None:
    for settings in ({"data": "digits"}, {"data": "multi-digits", "guided": True}):
        whole = load_task_images(ButdConfig(**settings))
        some = load_task_images(ButdConfig(**settings, train_images=7))
        assert np.array_equal(some.train_images, whole.train_images[:7])
        assert np.array_equal(some.train_labels, whole.train_labels[:7])
        assert len(some.test_images) == 500
        assert refused(**settings, train_images=1298) == f"train_images: {whole.name} has 1297 to train on, got 1298"


ONE_TASK = "guided: {} has one task; multi-{} has two"
OFFERED = "task: multi-digits has left/right, left/right-of, not 'attribute'"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"guided": True}, ONE_TASK.format("digits", "digits")),
        ({"data": "cifar10", "guided": True}, ONE_TASK.format("cifar10", "mnist")),
        ({"data": "digits", "task": "left/right"}, "task: digits has class, not 'left/right'"),
        ({"data": "multi-digits", "guided": True, "task": "attribute"}, OFFERED),
        ({"data": "celeba", "guided": True, "task": "class"}, "task: celeba has attribute, not 'class'"),
    ],
)
def test_tasks_that_a_dataset_lacks_are_refused(settings: dict[str, Any], said: str) -> None:
    assert refused(**settings) == said


@pytest.mark.parametrize("data", ["multi-digits", "celeba"])
def test_several_tasks_need_guidance_or_a_head_each(data: str) -> None:
    said = f"guided: {data} has several tasks: --guided, or --multi-decoder, a head for each task"
    assert refused(data=data, loss="bce") == said


def test_an_unguided_network_knows_no_named_digit() -> None:
    said = refused(data="multi-digits", task="left/right-of", multi_decoder=True)
    assert said == "task: left/right-of names a digit in its instruction, an unguided network takes none: --guided"


def test_the_loss_of_a_yes_or_no_is_no_cross_entropy() -> None:
    assert refused(data="celeba", guided=True).startswith("loss: an attribute is there or not, one output: bce or mse")


@pytest.mark.parametrize("data", ["minst", "multi-cifar10", "multi-", "multi-multi-mnist", "multi-celeba", ""])
def test_an_unknown_dataset_is_refused_with_those_there_are(data: str) -> None:
    said = refused(data=data, guided=True)
    assert said.startswith(f"unknown dataset {data!r}; known are digits, mnist, ")
    assert said.endswith("image-folder, multi-digits, multi-mnist, multi-fashion-mnist, celeba")


def test_normalised_composites_are_the_references(data: Path) -> None:
    with np.load(data / "butd" / "multi_mnist_compose.npz") as arrays:
        composed, expected = arrays["composed"].astype(np.uint8), arrays["composed_u8_normalised"]
    found = normalised(torch.from_numpy(composed[:, None]), *STATISTICS["mnist"], torch.float32)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found[:, 0].numpy(), expected, rtol=0, atol=1e-6)


def test_every_channel_has_its_own_moments() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    found = normalised(images, (0.0, 0.1, 0.5), (1.0, 0.2, 0.25), torch.float64)
    assert found.flatten().tolist() == pytest.approx([0, 0.5, 2], abs=1e-15)


def fitting() -> dict[str, Any]:
    images, labels = np.zeros((4, 1, 5, 6), np.uint8), np.zeros((4, 2), np.int64)
    parts = {"train_images": images, "train_labels": labels, "test_images": images[:2], "test_labels": labels[:2]}
    return {"name": "own", **parts, "tasks": LeftRight(), "n_classes": 3, "mean": (0.5,), "std": (0.5,)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train_labels": np.full((4, 2), 3)}, "labels: 3 at row 0 is not one of 3 classes"),
        ({"test_labels": np.zeros((2, 1), np.int64)}, "labels: are int64 (2, 1), should be int64 (N, 2), one for each"),
        ({"test_images": np.zeros((2, 1, 6, 5), np.uint8)}, "own: test images are (1, 6, 5), train images (1, 5, 6)"),
        (
            {"test_images": np.zeros((3, 1, 5, 6), np.uint8)},
            "own: test images are uint8 (3, 1, 5, 6), should be uint8 (2",
        ),
        ({"train_images": np.zeros((4, 1, 5, 6))}, "own: train images are float64 (4, 1, 5, 6), should be uint8 (4, C"),
        ({"train_images": np.zeros((4, 5, 6), np.uint8)}, "own: train images are uint8 (4, 5, 6), should be uint8 (4,"),
        ({"mean": (0.5, 0.5)}, "own: mean and std should have 1 numbers, one for each channel"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, Any], said: str) -> None:
    assert TaskImages(**fitting()).image_shape == (1, 5, 6)
    with pytest.raises(UsageError) as caught:
        TaskImages(**{**fitting(), **change})
    assert str(caught.value).startswith(said)

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foundation.data.celeba import CelebA, read_celeba
from foundation.errors import RatespikeError, UsageError

NAMES = tuple(f"Attribute_{k}" for k in range(40))
PARTS = (0, 2, 1, 0, 2, 0)  # of the six images
SIDES = (178, 218)  # width, height


def smooth(seed: int, size: tuple[int, int] = SIDES) -> Image.Image:
    """A picture of large blobs, which JPEG keeps nearly as they are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 3, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def name(k: int) -> str:
    return f"{k + 1:06d}.jpg"


@pytest.fixture
def attributes(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 2, (len(PARTS), 40))


@pytest.fixture
def root(tmp_path: Path, attributes: np.ndarray) -> Path:
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    for k in range(len(PARTS)):
        smooth(k).save(folder / "img_align_celeba" / name(k), quality=95)
    rows = [f"{name(k)} " + " ".join(f"{2 * bit - 1:2d}" for bit in bits) for k, bits in enumerate(attributes)]
    (folder / "list_attr_celeba.txt").write_text("\n".join([str(len(PARTS)), " ".join(NAMES) + " ", *rows]) + "\n")
    (folder / "list_eval_partition.txt").write_text("".join(f"{name(k)} {part}\n" for k, part in enumerate(PARTS)))
    return tmp_path


def complaint(root: Path) -> str:
    with pytest.raises(RatespikeError) as caught:
        read_celeba(root)
    assert not isinstance(caught.value, UsageError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change(path: Path, number: int, line: str | None) -> None:
    """Put a line in the place of line `number`, counted from 1; None: take it away."""
    lines = path.read_text().splitlines()
    lines[number - 1 : number] = [] if line is None else [line]
    path.write_text("\n".join(lines) + "\n")


def test_parts_images_and_attributes_belong_together(root: Path, attributes: np.ndarray) -> None:
    faces = read_celeba(root)
    assert faces.names == NAMES
    for part, images, found in (
        (0, faces.train_images, faces.train_attributes),
        (2, faces.test_images, faces.test_attributes),
    ):
        rows = np.flatnonzero(np.array(PARTS) == part)
        assert images.shape == (len(rows), 3, 218, 178)
        assert images.dtype == np.uint8
        assert found.dtype == np.int64
        assert np.array_equal(found, attributes[rows])
        for image, k in zip(images, rows, strict=True):
            assert np.abs(image.transpose(1, 2, 0) - np.asarray(smooth(k)).astype(float)).mean() < 2


def test_the_order_of_the_partition_does_not_matter(root: Path) -> None:
    expected = read_celeba(root)
    path = root / "celeba/list_eval_partition.txt"
    path.write_text("\r\n".join(reversed(path.read_text().splitlines())) + "\r\n\r\n")
    found = read_celeba(root)
    assert np.array_equal(found.train_images, expected.train_images)
    assert np.array_equal(found.test_attributes, expected.test_attributes)


@pytest.mark.parametrize(("size", "shape"), [(64, (78, 64)), (1, (1, 1)), (178, (218, 178))])
def test_the_shorter_side_is_resized(root: Path, size: int, shape: tuple[int, int]) -> None:
    faces = read_celeba(root, image_size=size)
    assert faces.train_images.shape == (3, 3, *shape)
    assert faces.test_images.shape == (2, 3, *shape)
    with Image.open(root / "celeba/img_align_celeba" / name(3)) as image:
        small = image.resize(shape[::-1], Image.Resampling.BILINEAR)
    assert np.array_equal(faces.train_images[1].transpose(1, 2, 0), np.asarray(small))


def test_the_first_training_images_are_read_alone(root: Path) -> None:
    whole = read_celeba(root)
    (root / "celeba/img_align_celeba" / name(5)).unlink()  # the third training image
    (root / "celeba/img_align_celeba" / name(2)).unlink()  # of the validation part
    faces = read_celeba(root, first=2)
    assert np.array_equal(faces.train_images, whole.train_images[:2])
    assert np.array_equal(faces.train_attributes, whole.train_attributes[:2])
    assert np.array_equal(faces.test_images, whole.test_images)
    for first in (0, 4):
        with pytest.raises(UsageError, match=rf"^train_images: must be 1 to 3, .* of celeba, got {first}$"):
            read_celeba(root, first=first)


def test_what_is_missing_is_named(root: Path) -> None:
    folder = root / "celeba"
    said = complaint(root / "other")
    assert said.startswith(f"{root / 'other/celeba'}: misses list_attr_celeba.txt, list_eval_partition.txt, img_align")
    assert said.endswith("get them by hand from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html")
    (folder / "img_align_celeba" / name(4)).unlink()
    assert complaint(root) == f"{folder / 'img_align_celeba'}: should hold 5 images, misses 1, first '000005.jpg'"
    (folder / "list_eval_partition.txt").unlink()
    assert complaint(root).startswith(f"{folder}: misses list_eval_partition.txt; should hold list_attr_celeba.txt, ")


BITS = " 1" * 40


@pytest.mark.parametrize(
    ("list_name", "number", "line", "said"),
    [
        ("attr_celeba", 1, "7", "line 1: '7', should be 6, the number of images that follow"),
        ("attr_celeba", 1, "six", "line 1: 'six', should be 6, the number of images that follow"),
        ("attr_celeba", 8, None, "line 1: '6', should be 5, the number of images that follow"),
        ("attr_celeba", 2, "Bald Male Male", "line 2: 3 names, 2 different ones, should be the 40 attributes"),
        ("attr_celeba", 2, " ".join(["Bald"] * 40), "line 2: 40 names, 1 different ones, should be the 40 attributes"),
        ("attr_celeba", 4, "000002.jpg" + BITS[2:], "line 4: 39 values after the image's name, should be 40"),
        ("attr_celeba", 4, "000002.jpg" + BITS + " -1", "line 4: 41 values after the image's name, should be 40"),
        ("attr_celeba", 4, "", "line 4: 0 values after the image's name, should be 40"),
        ("attr_celeba", 5, "000003.jpg 0" + BITS[2:], "line 5: '0', should be one of -1, 1"),
        ("attr_celeba", 5, "000001.jpg" + BITS, "line 5: '000001.jpg' for the second time, should be there once"),
        ("attr_celeba", 5, "a.jpg" + BITS, "has no '000003.jpg', should list the same images as list_eval_"),
        ("eval_partition", 2, "000002.jpg 3", "line 2: '3', should be one of 0, 1, 2"),
        ("eval_partition", 2, "000002.jpg", "line 2: 0 values after the image's name, should be 1"),
        ("eval_partition", 2, None, "has no '000002.jpg', should list the same images as list_attr_celeba.txt"),
        ("eval_partition", 6, "z.jpg 1", "has no '000006.jpg', should list the same images as list_attr_celeba.txt"),
    ],
)
def test_a_wrong_list_is_named_with_its_line(
    root: Path, list_name: str, number: int, line: str | None, said: str
) -> None:
    path = root / "celeba" / f"list_{list_name}.txt"
    change(path, number, line)
    found = complaint(root)
    assert found.startswith(str(path))
    assert said in found


@pytest.mark.parametrize("list_name", ["list_attr_celeba.txt", "list_eval_partition.txt"])
@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\x00\xfe" * 100, b"0\n"])
def test_lists_that_are_no_text_or_empty_are_refused(root: Path, list_name: str, content: bytes) -> None:
    path = root / "celeba" / list_name
    path.write_bytes(content)
    assert complaint(root).startswith(f"{path}, line ")


def test_a_part_without_images_is_refused(root: Path) -> None:
    path = root / "celeba/list_eval_partition.txt"
    path.write_text("".join(f"{name(k)} 1\n" for k in range(6)))
    assert complaint(root) == f"{path}: 0 train and 0 test images, should have both"


def test_a_broken_image_is_named(root: Path) -> None:
    path = root / "celeba/img_align_celeba" / name(1)
    smooth(1, (218, 178)).save(path)
    assert (
        complaint(root) == f"{path}: has 178 x 218 pixels, should have 218 x 178 (height x width), aligned and cropped"
    )
    path.write_bytes(path.read_bytes()[:300])
    assert complaint(root).startswith(f"{path}: cannot be read as an image (")


def test_no_memory_is_said_before_decoding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "celeba/img_align_celeba" / name(0)).write_bytes(b"no image")
    monkeypatch.setattr("foundation.data.space.free_memory", lambda: 5 * 3 * 78 * 64)
    said = "celeba: 5 images of 218 x 178 pixels take 582.1 kB of memory, 74.9 kB are free; "
    assert complaint(root).startswith(said)
    with pytest.raises(RatespikeError, match="cannot be read as an image"):
        read_celeba(root, image_size=64)


@pytest.mark.parametrize("size", [0, 179])
def test_a_size_that_is_none_is_refused(root: Path, size: int) -> None:
    with pytest.raises(UsageError, match=rf"^image_size: must be 1 to 178, the pixels of celeba, got {size}$"):
        read_celeba(root, image_size=size)


def test_the_root_comes_from_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATESPIKE_DATA", str(root))
    assert isinstance(read_celeba(image_size=4), CelebA)

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foundation.data import folders, load_images, resizing
from foundation.errors import RatespikeError, UsageError


def draw(path: Path, seed: int, *, size: tuple[int, int] = (30, 20), mode: str = "RGB") -> Image.Image:
    """A picture of noise, `size` its width and height, in a file of that suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3)).astype(np.uint8)
    image = Image.fromarray(noise).convert(mode)
    image.save(path)
    return image


def pictures(folder: Path, test: str = "test") -> None:
    """Two classes, two train images and one test image of each."""
    for k, name in enumerate(("zebra", "ant")):
        for i in range(2):
            draw(folder / "train" / name / f"{i}.png", 10 * k + i)
        draw(folder / test / name / "only.PNG", 10 * k + 5)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    pictures(tmp_path / "image-folder")
    return tmp_path


def complaint(root: Path, size: int | None = 8) -> str:
    with pytest.raises(RatespikeError) as caught:
        load_images("image-folder", root, image_size=size)
    assert not isinstance(caught.value, UsageError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_classes_are_the_sorted_folders(root: Path) -> None:
    images = load_images("image-folder", root, image_size=8)
    assert images.class_names == ("ant", "zebra")
    assert images.train_images.shape == (4, 3, 8, 8)
    assert images.train_labels.tolist() == [0, 0, 1, 1]
    assert images.test_labels.tolist() == [0, 1]
    assert images.train_images.dtype == np.uint8
    assert images.unlabelled_images is None


def test_an_image_is_resized_and_its_centre_kept(tmp_path: Path) -> None:
    pictures(tmp_path / "image-folder")
    tall = draw(tmp_path / "image-folder/train/ant/0.png", 3, size=(20, 61))
    image = load_images("image-folder", tmp_path, image_size=10).train_images[0]
    resized = np.asarray(tall.resize((10, 30), Image.Resampling.BILINEAR))
    assert np.array_equal(image.transpose(1, 2, 0), resized[10:20])
    small = load_images("image-folder", tmp_path, image_size=40)  # larger than the files
    assert small.image_shape == (3, 40, 40)
    assert load_images("image-folder", tmp_path).image_shape == (3, 196, 196)


def test_every_format_is_read(tmp_path: Path) -> None:
    pictures(tmp_path / "image-folder")
    folder = tmp_path / "image-folder/train/zebra"
    names = ["a.bmp", "b.JPEG", "c.jpg", "d.png", "e.Ppm", "f.webp"]
    expected = [np.asarray(draw(folder / name, 7, size=(8, 8))) for name in names]
    Image.fromarray(expected[0]).save(folder / "g.jpg", format="PNG")  # not what it says, as one of ImageNet
    draw(folder / "h.png", 7, size=(8, 8), mode="L")
    draw(folder / "i.png", 7, size=(8, 8), mode="P")
    draw(folder / "j.png", 7, size=(8, 8), mode="RGBA")
    draw(folder / "k.jpg", 7, size=(8, 8), mode="CMYK")
    (folder / "notes.txt").write_text("not an image")
    (folder / "._a.jpg").write_bytes(b"what a Mac leaves")
    images = load_images("image-folder", tmp_path, image_size=8)
    zebras = images.train_images[images.train_labels == 1].transpose(0, 2, 3, 1)
    assert len(zebras) == 2 + 11
    lossless = [zebras[names_and_two.index(name)] for name in ("a.bmp", "d.png", "e.Ppm", "g.jpg", "j.png")]
    assert all(np.array_equal(image, expected[0]) for image in lossless)
    grey = zebras[names_and_two.index("h.png")]
    assert np.array_equal(grey[..., 0], grey[..., 2])


names_and_two = ["0.png", "1.png", "a.bmp", "b.JPEG", "c.jpg", "d.png", "e.Ppm", "f.webp", "g.jpg", "h.png"]
names_and_two += ["i.png", "j.png", "k.jpg"]


@pytest.mark.parametrize(("inside", "test"), [("image-folder", "val"), (".", "test"), (".", "val")])
def test_the_layouts_that_people_have(tmp_path: Path, inside: str, test: str) -> None:
    pictures(tmp_path / inside, test)
    assert len(load_images("image-folder", tmp_path, image_size=8).test_labels) == 2


def test_test_goes_before_val(root: Path) -> None:
    before = load_images("image-folder", root, image_size=8)
    draw(root / "image-folder/val/ant/other.png", 99)
    assert np.array_equal(load_images("image-folder", root, image_size=8).test_images, before.test_images)


def test_what_is_missing_is_named(root: Path) -> None:
    folder = root / "image-folder"
    assert complaint(root / "other").startswith(f"image-folder is not in {root / 'other'}; it should hold image-folder")
    draw(folder / "test/cat/1.png", 1)
    expected = "class 'cat' is only in test/; train/ and test/ should hold the same classes"
    assert complaint(root) == f"{folder}: {expected}"
    (folder / "train/cat").mkdir()
    assert complaint(root).startswith(f"{folder / 'train/cat'}: holds no image (.jpg, .jpeg, ")


def test_one_class_is_none(tmp_path: Path) -> None:
    for part in ("train", "test"):
        draw(tmp_path / part / "ant/1.png", 1)
    assert "at least two classes, holds 1" in complaint(tmp_path)


def test_a_broken_image_is_named(root: Path) -> None:
    path = root / "image-folder/train/ant/1.png"
    whole = path.read_bytes()
    Image.new("RGB", (9, 9)).save(root / "other.gif")
    for content in (b"", b"no image", whole[:200], whole[:-200], (root / "other.gif").read_bytes()):
        path.write_bytes(content)
        assert complaint(root).startswith(f"{path}: cannot be read as an image (")
    path.unlink()
    path.symlink_to(root / "nowhere.png")
    assert complaint(root) == f"{path}: cannot be read as an image (No such file or directory)"


def test_a_pipe_is_refused_not_waited_for(root: Path) -> None:
    path = root / "image-folder/train/ant/1.png"
    path.unlink()
    os.mkfifo(path)
    assert complaint(root) == f"{path}: cannot be read as an image (not a plain file)"


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000), (30_000, 2)])
def test_of_an_image_that_is_far_too_long_only_the_middle_is_resized(
    tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    resized = []

    def shrink(image: Image.Image, shorter: int) -> Image.Image:
        resized.append(image.size)
        return resizing.shrink(image, shorter)

    monkeypatch.setattr(folders, "shrink", shrink)
    thin = draw(tmp_path / "thin.png", 3, size=size)
    square = folders.decode(tmp_path / "thin.png", 16).transpose(1, 2, 0)
    ((width, height),) = resized
    assert max(width, height) == folders.LONGEST * min(size)
    whole = thin.resize((16 * size[0] // min(size), 16 * size[1] // min(size)), Image.Resampling.BILINEAR)
    left, top = (round((side - 16) / 2) for side in whole.size)
    expected = np.asarray(whole.crop((left, top, left + 16, top + 16))).astype(int)
    assert np.abs(square - expected).max() <= 1


def test_no_memory_is_said_before_decoding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foundation.data.space.free_memory", lambda: 6 * 3 * 20 * 20 + 5)
    (root / "image-folder/train/ant/1.png").write_bytes(b"no image")
    said = "image-folder: 6 images of 196 x 196 pixels take 691.5 kB of memory, 7.2 kB are free; "
    assert complaint(root, None) == f"{said}image_size 20 would fit"
    assert "cannot be read" in complaint(root, 20)


def test_a_size_of_nothing_is_refused(root: Path) -> None:
    with pytest.raises(UsageError, match=r"^image_size: must be at least 1, got 0$"):
        load_images("image-folder", root, image_size=0)

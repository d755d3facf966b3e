import itertools
import json
import os
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from foundation.data import shapes3d
from foundation.data.shapes3d import FACTORS, factor_values, load_shapes3d, prepare
from foundation.errors import RatespikeError

SIZES = (2, 3, 2, 2, 2, 3)
N = 144
VALUES = ([0, 1 / 2], [0, 1 / 3, 2 / 3], [0, 1 / 2], [0.75, 1.25], [0, 1], [-30, 0, 30])
IMAGES = np.random.default_rng(3).integers(0, 256, (N, 64, 64, 3)).astype(np.uint8)
LABELS = np.array(list(itertools.product(*VALUES)))


def official(root: Path, images: np.ndarray = IMAGES, labels: np.ndarray = LABELS) -> Path:
    """A small file of the official kind."""
    path = root / "shapes3d" / "3dshapes.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, chunks=(10, *images.shape[1:]), compression="gzip")
        file.create_dataset("labels", data=labels, compression="gzip")
    return path


def left(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "shapes3d").iterdir())


def test_the_full_grid_is_the_documented_one(data: Path) -> None:
    reference = np.load(data / "lpl" / "shapes3d_sequences.npz")
    for name, values in zip(FACTORS, factor_values(), strict=True):
        assert np.allclose(values, reference[f"labelgrid_{name}"], rtol=0, atol=1e-12)
    assert tuple(reference["factor_sizes"]) == shapes3d.SIZES


@pytest.mark.parametrize("chunk", [50, 4096])
def test_unpacked_whole_and_channels_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(shapes3d, "CHUNK", chunk)
    official(tmp_path)
    assert prepare(tmp_path, SIZES)
    loaded = load_shapes3d(tmp_path, SIZES)
    assert isinstance(loaded.images, np.memmap)
    assert loaded.images.dtype == np.uint8
    assert np.array_equal(loaded.images, IMAGES.transpose(0, 3, 1, 2))
    scaled = IMAGES.astype(np.float64) / 255
    assert np.allclose(loaded.mean, scaled.mean((0, 1, 2)), rtol=1e-12)
    assert np.allclose(loaded.deviation, scaled.std((0, 1, 2), ddof=1), rtol=1e-10)
    assert left(tmp_path) == ["3dshapes.h5", "images.json", "images.npy"]


def test_what_is_ready_is_kept_and_what_is_not_is_made_again(tmp_path: Path) -> None:
    official(tmp_path)
    prepare(tmp_path, SIZES)
    array = tmp_path / "shapes3d" / "images.npy"
    before = array.stat().st_mtime_ns
    assert not prepare(tmp_path, SIZES)
    assert array.stat().st_mtime_ns == before
    array.write_bytes(array.read_bytes()[:-1])
    assert prepare(tmp_path, SIZES)
    (tmp_path / "shapes3d" / "images.json").unlink()  # killed in between
    assert prepare(tmp_path, SIZES)
    assert np.array_equal(load_shapes3d(tmp_path, SIZES).images[-1], IMAGES[-1].transpose(2, 0, 1))


def test_what_a_killed_preparation_left_goes_away(tmp_path: Path) -> None:
    folder = official(tmp_path).parent
    old, new = (folder / f".images-{name}.part.npy" for name in ("old", "new"))
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    prepare(tmp_path, SIZES)
    assert not old.exists()
    assert new.exists()  # somebody may be at it


def complaint(root: Path) -> str:
    with pytest.raises(RatespikeError) as caught:
        prepare(root, SIZES)
    assert "\n" not in str(caught.value)
    assert not (root / "shapes3d" / "images.npy").exists()
    assert not list((root / "shapes3d").glob(".*"))
    return str(caught.value)


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "shapes3d" / "3dshapes.h5"
    assert complaint(tmp_path) == f"{path}: missing; get it from https://github.com/google-deepmind/3d-shapes"
    content = official(tmp_path).read_bytes()
    for wrong in (b"", b"no HDF5", content[: len(content) // 2]):
        path.write_bytes(wrong)
        assert complaint(tmp_path).startswith(f"{path}: damaged, or not a file of 3dshapes.h5 (")


def test_damage_that_shows_late_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes3d, "CHUNK", 20)
    path = official(tmp_path)
    with h5py.File(path) as file:
        chunk = file["images"].id.get_chunk_info(12)
    with path.open("r+b") as stream:
        stream.seek(chunk.byte_offset)
        stream.write(bytes(chunk.size))
    assert complaint(tmp_path).startswith(f"{path}: images: cannot be read (")


def test_other_contents_are_refused(tmp_path: Path) -> None:
    def said(images: np.ndarray = IMAGES, labels: np.ndarray = LABELS) -> str:
        path = official(tmp_path, images, labels)
        return complaint(tmp_path).removeprefix(f"{path}: ")

    assert said(IMAGES[1:]) == f"images: is uint8 (143, 64, 64, 3), should be uint8 ({N}, 64, 64, 3)"
    assert said(IMAGES.transpose(0, 3, 1, 2)).startswith("images: is uint8 (144, 3, 64, 64), should be")
    assert said(IMAGES.astype(np.int16)).startswith("images: declares 3,538,944 bytes, should be 1,769,472 at most")
    assert said(labels=LABELS.astype(np.float32)).startswith("labels: is float32")
    slowest_last = np.array([row[::-1] for row in itertools.product(*VALUES[::-1])])
    off, unknown = LABELS.copy(), LABELS.copy()
    off[77, 3] += 0.01
    unknown[3, 2] = np.nan
    for labels in (slowest_last, off, unknown):
        assert said(labels=labels).startswith("labels are not the grid of floor_hue, wall_hue, object_hue, scale,")


def test_nothing_outside_the_file_is_opened(tmp_path: Path) -> None:
    other = official(tmp_path / "other")
    path = official(tmp_path)
    raw = tmp_path / "raw"
    raw.write_bytes(IMAGES.tobytes())

    def replaced(make: object) -> str:
        with h5py.File(path, "r+") as file:
            del file["images"]
            make(file)  # type: ignore[operator]
        return complaint(tmp_path).removeprefix(f"{path}: ")

    def external_link(file: h5py.File) -> None:
        file["images"] = h5py.ExternalLink(str(other), "images")

    def soft_link(file: h5py.File) -> None:
        file["images"] = h5py.SoftLink("/labels")

    def external_data(file: h5py.File) -> None:
        file.create_dataset("images", IMAGES.shape, np.uint8, external=[(str(raw), 0, IMAGES.nbytes)])

    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout(IMAGES.shape, np.uint8)
        layout[:] = h5py.VirtualSource(str(other), "images", IMAGES.shape)
        file.create_virtual_dataset("images", layout)

    def group(file: h5py.File) -> None:
        file.create_group("images")

    for make, said in (
        (external_link, "/images: is a link out of the file; should lie in the file itself"),
        (soft_link, "images: is float64 (144, 6), should be uint8 (144, 64, 64, 3)"),
        (external_data, "images: is stored in another file; should lie in this one"),
        (virtual, "images: is virtual, made of other datasets; should lie in this file"),
        (group, "images: should be a dataset"),
    ):
        assert replaced(make) == said


def test_a_disk_that_is_too_small_is_noticed_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    official(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10**6))
    folder = tmp_path / "shapes3d"
    assert complaint(tmp_path) == f"{folder}: the array of 144 images takes 1.8 MB of disk space, 1.0 MB are free"


def test_what_is_not_prepared_names_the_command(tmp_path: Path) -> None:
    official(tmp_path)
    folder, hint = tmp_path / "shapes3d", f"prepare it with `ratespike deep shapes3d prepare --root {tmp_path}`"

    def said() -> str:
        with pytest.raises(RatespikeError) as caught:
            load_shapes3d(tmp_path, SIZES)
        return str(caught.value)

    assert said() == f"shapes3d is not ready in {folder}; put 3dshapes.h5 there and {hint}"
    prepare(tmp_path, SIZES)
    facts, array = folder / "images.json", folder / "images.npy"
    good = facts.read_text()
    facts.write_text(json.dumps(json.loads(good) | {"sizes": [1, 2, 3]}))
    assert said() == f"{facts}: is not that of 144 images; {hint}"
    for wrong in ("[]", "{", '{"sizes": [2, 3, 2, 2, 2, 3]}', "[" * 100_000):
        facts.write_text(wrong)
        assert said().startswith(f"{folder}: images.npy or images.json cannot be read (")
    texts = (["a", "b", "c"], [10**400] * 3)
    undefined = ([None] * 3, [float("inf"), 0, 0])
    for key, value in (*(("mean", v) for v in (*texts, *undefined)), ("deviation", [0, 1, 1]), ("deviation", [-1] * 3)):
        facts.write_text(json.dumps(json.loads(good) | {key: value}))
        wrong = "images.npy or images.json cannot be read (" if value in texts else "mean and deviation should be"
        assert wrong in said()
        assert said().endswith(hint)
    facts.write_text(good)
    np.save(array, IMAGES)
    assert said() == f"{array}: holds uint8 (144, 64, 64, 3), should be uint8 (144, 3, 64, 64); {hint}"
    array.write_bytes(b"")
    assert said().startswith(f"{folder}: images.npy or images.json cannot be read (")

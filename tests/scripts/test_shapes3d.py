"""`ratespike deep shapes3d`, on a small file of the official kind."""

import itertools
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from foundation.data import shapes3d
from foundation.data.shapes3d import factor_values, load_shapes3d
from foundation.errors import RatespikeError, UsageError
from ratespike.shapes3d import command

SIZES = (2, 1, 1, 2, 2, 2)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shapes3d, "SIZES", SIZES)
    path = tmp_path / "shapes3d" / "3dshapes.h5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file["images"] = np.arange(16 * 64 * 64 * 3, dtype=np.uint8).reshape(16, 64, 64, 3)
        file["labels"] = np.array(list(itertools.product(*factor_values(SIZES))))
    return path


def test_prepare_unpacks_once(source: Path, tmp_path: Path) -> None:
    array = source.parent / "images.npy"
    runner = CliRunner()
    first = runner.invoke(command, ["prepare", "--root", str(tmp_path)])
    assert (first.exit_code, first.stdout) == (0, f"{array}: 16 images\n")
    assert load_shapes3d(tmp_path, SIZES).images.shape == (16, 3, 64, 64)
    again = runner.invoke(command, ["prepare", "--root", str(tmp_path)])
    assert (again.exit_code, again.stdout) == (0, f"{array}: 16 images, was there already\n")


def test_the_root_comes_from_the_environment(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATESPIKE_DATA", str(tmp_path))
    assert CliRunner().invoke(command, ["prepare"]).exit_code == 0
    assert (source.parent / "images.npy").is_file()


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    failed = CliRunner().invoke(command, ["prepare", "--root", str(tmp_path)])
    assert isinstance(failed.exception, RatespikeError)
    expected = f"{tmp_path}/shapes3d/3dshapes.h5: missing; get it from https://github.com/google-deepmind/3d-shapes"
    assert str(failed.exception) == expected


@pytest.mark.parametrize("name", ["checkpoint.pt", "config.toml"])
def test_scores_never_overwrite_their_run(tmp_path: Path, name: str) -> None:
    for file in ("checkpoint.pt", "config.toml"):
        (tmp_path / file).write_text("precious")
    failed = CliRunner().invoke(command, ["score", str(tmp_path), "--json", str(tmp_path / name)])
    assert isinstance(failed.exception, UsageError)
    assert "would overwrite what is read from" in str(failed.exception)
    assert (tmp_path / name).read_text() == "precious"

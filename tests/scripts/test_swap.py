"""A folder of images, from training to the swap experiment and its figure, by commands alone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ratenets.lpl.swap_results import read_results


@pytest.fixture
def root(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Pictures of two classes in the layout of an ImageFolder."""
    for part, count in (("train", 9), ("test", 8)):
        for name in ("cats", "dogs"):
            folder = tmp_path / "image-folder" / part / name
            folder.mkdir(parents=True)
            for k in range(count):
                Image.fromarray(rng.integers(0, 256, (40, 44, 3), dtype=np.uint8)).save(folder / f"{k}.png")
    return tmp_path


def test_from_pictures_to_the_figure(root, run, monkeypatch):
    monkeypatch.chdir(root)
    train = ["deep", "lpl", "--data", "image-folder", "--root", root, "--downsample-images", "--width", 1 / 32]
    train += ["--batch-size", 6, "--epochs", 2, "--warmup-epochs", 0]
    status, _, errors = run(*train, "--no-biases", "--out", "run")
    assert status == 0, errors
    few = ["--pairs", 2, "--units", 4, "--epochs", 1, "--batch-size", 8, "--exposures", 3, "--every", 2]
    status, said, errors = run("deep", "swap", "run", "--root", root, *few, "--out", "swap.json")
    assert status == 0, errors
    assert "non-swap" in said
    (result,) = read_results(Path("swap.json"))
    assert result.course.exposures.tolist() == [0, 2, 3]
    assert run("figure", "swap", "swap.json", "--out", "swap.png")[0] == 0
    status, said, errors = run("deep", "readout", "run", "--root", root, "--protocol", "paper", "--json", "r.json")
    assert status == 0, errors
    assert run("figure", "layerwise", "r.json", "--out", "r.png")[0] == 0
    assert run("figure", "augmentations", "cifar10", "--root", root, "--out", "a.png")[0] == 1

    status, _, errors = run(*train, "--out", "biased")
    assert status == 0, errors
    status, _, errors = run("deep", "swap", "biased", "--root", root, *few, "--out", "no.json")
    assert status == 2
    assert "train one with --no-biases" in errors
    assert not Path("no.json").exists()

"""A folder of images, from training to the swap experiment and its figure, by commands alone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ratenets.lpl.swap import Course
from ratenets.lpl.swap_config import SwapConfig
from ratenets.lpl.swap_results import SwapResult, read_results, swap
from tests.figures import faults


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


@pytest.mark.parametrize("number", [1, 3])
def test_names_of_runs_are_whole_and_the_legend_covers_nothing(number):
    course = Course(np.arange(4), np.array([[0.5], [0.1], [0.2]]) * np.ones((3, 4)), np.full((3, 4), 0.1))
    names = [f"a-rather-long-$name$-of-a-run-{n}-with-words" for n in range(number)]
    figure = swap([SwapResult(f"runs/{name}", "fashion-mnist", SwapConfig(), course) for name in names])
    assert faults(figure) == []
    titles = [axis.get_title().replace(r"\$", "$").replace("\n", "") for axis in figure.axes]
    assert [title.startswith(name) for title, name in zip(titles, names, strict=True)] == [True] * number

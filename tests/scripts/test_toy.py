"""`ratespike deep toy`: the experiments from the command line, and what it refuses."""

import json

import numpy as np
import pytest

from foundation.data.images import ImageSet
from ratenets.toy import two_inputs
from ratenets.toy.results import read_results

SIZES = {"sigmas": 3, "probabilities": 2, "repetitions": 2, "steps": 20, "samples": 10, "test-samples": 50}
TWO = [part for name, n in SIZES.items() for part in (f"--{name}", n)]


@pytest.fixture
def command(run):
    return lambda *arguments: run("deep", "toy", *arguments)


def test_the_sweeps_leave_one_file_and_a_table(command, tmp_path):
    path = tmp_path / "toy.json"
    status, said, errors = command(*TWO, "--seed", "5", "--out", path)
    assert status == 0, errors
    assert [file.name for file in tmp_path.iterdir()] == ["toy.json"]
    (result,) = read_results(path)
    assert (result.experiment, result.seed, result.config.sigmas, result.config.steps) == ("two-inputs", 5, 3, 20)
    lines = said.splitlines()
    assert lines[0].split() == ["selectivity", "by", "sigma_y", "0.01", "1", "100"]
    mean = result.arrays["sigma/selectivity"][0].mean(-1)
    assert lines[1].split() == ["lpl", *(f"{value:.3f}" for value in mean)]
    assert lines[-1] == f"{path}: now `ratespike figure toy {path} --out toy.png`"


def test_the_rule_needs_no_seed(command, tmp_path):
    status, said, errors = command("--experiment", "rule", "--points", "800", "--out", tmp_path / "toy.json")
    assert status == 0, errors
    assert "log       is least at the distance 2.8" in said
    assert "variance  is least at the largest distance" in said
    (result,) = read_results(tmp_path / "toy.json")
    assert result.arrays["dw/mean"].shape == (2, 5, 800)


def test_digit_sequences_read_mnist_from_the_root(command, tmp_path, monkeypatch):
    asked = []

    def load(name, root):
        rng = np.random.default_rng(0)
        asked.append((name, root))
        labels = np.tile([5, 6], 10)
        images = rng.integers(0, 256, (20, 1, 28, 28), np.uint8)
        return ImageSet(name, images, labels, images[:0], labels[:0], tuple("0123456789"))

    monkeypatch.setattr("foundation.data.images.load_images", load)
    sizes = ["--runs", "2", "--images", "3", "--digit-steps", "4", "--digit-samples", "6"]
    status, said, errors = command(
        "--experiment", "digit-sequences", *sizes, "--root", tmp_path, "--out", tmp_path / "toy.json"
    )
    assert status == 0, errors
    assert asked == [("mnist", tmp_path)]
    assert "digit sequences, untrained" in said
    (result,) = read_results(tmp_path / "toy.json")
    assert result.arrays["selectivity"].shape == (2, 4, 2, 2)
    assert (result.config.steps, result.config.samples) == (4, 6)


def test_the_paper_preset_has_the_published_sizes_and_options_win_over_it(command, tmp_path, monkeypatch):
    known = []

    def run(config, seed, *, progress):
        known.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(two_inputs, "run", run)
    for more in ([], ["--repetitions", "4"]):
        status, _, errors = command("--preset", "paper", *more, "--out", tmp_path / "toy.json")
        assert (status, errors.strip()) == (130, "stopped")
    assert [(c.sigmas, c.probabilities, c.repetitions, c.steps) for c in known] == [
        (50, 50, 10, 10_000),
        (50, 50, 4, 10_000),
    ]
    assert list(tmp_path.iterdir()) == []  # and Ctrl-C leaves nothing


REFUSED = {
    "unknown experiment": (["--experiment", "swap"], 2, "'swap' is not one of"),
    "odd samples": (["--samples", "9"], 2, "samples: must be even, half for each cluster, got 9"),
    "negative seed": (["--seed", "-1"], 2, "seed: must not be negative, got -1"),
    "of another experiment": (["--experiment", "rule", "--sigmas", "3"], 2, "sigmas: not for --experiment rule"),
    "root": (["--root", "x"], 2, "--root: two-inputs reads no dataset"),
    "no mnist": (["--experiment", "digit-sequences", "--root", "x"], 1, "mnist is not in x"),
    "a folder": (["--out", "."], 2, "is a folder; name a file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_refuses_in_one_line_and_leaves_nothing(case, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, status, complaint = REFUSED[case]
    found, said, errors = command("--out", "toy.json", *arguments)
    assert (found, said, len(errors.splitlines())) == (status, "", 1), errors
    assert complaint in errors
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_plain_json(command, tmp_path):
    assert command("--experiment", "rule", "--points", "3", "--out", tmp_path / "toy.json")[0] == 0
    content = json.loads((tmp_path / "toy.json").read_text())
    assert (content["kind"], content["format"], content["experiment"]) == ("ratespike toy", 1, "rule")
    assert content["config"]["points"] == 3
    assert len(content["arrays"]["distance"]) == 3

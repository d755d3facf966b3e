"""`ratespike bridge compare` and `figure plasticity`, in settings that take seconds, and what they refuse."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Run = Callable[..., tuple[int, str, str]]
QUICK = ("--realisations", 2, "--dt", 1e-3, "--no-sweeps")


def test_the_papers_stimulus_gives_a_report_numbers_and_a_figure(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "paper"
    status, text, errors = run("bridge", "compare", "--seconds", 2, "--units", 8, *QUICK, "--out", out)
    assert status == 0, errors
    assert sorted(path.name for path in out.iterdir()) == ["comparison.json", "plasticity.png", "report.md"]
    assert "| spiking unit |" in text
    found = json.loads((out / "comparison.json").read_text())
    assert found["rungs"][-1] == "inhibition"
    assert found["learned"]["populations"] == ["P0", "P1", "P1ctl", "P2", "P2ctl"]
    status, _, errors = run("figure", "plasticity", out / "comparison.json", "--out", tmp_path / "again.pdf")
    assert status == 0, errors
    assert (tmp_path / "again.pdf").stat().st_size > 10_000


def test_rates_of_ones_own(run: Run, tmp_path: Path, rng: np.random.Generator) -> None:
    np.save(tmp_path / "rates.npy", 60 * rng.random((20, 150)))
    arguments = ("--stimulus", "rates", "--rates", tmp_path / "rates.npy", "--units", 5, "--no-learning")
    status, _, errors = run("bridge", "compare", *arguments, *QUICK, "--out", tmp_path / "out")
    assert status == 0, errors
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert (found["inputs"], found["learned"], found["rungs"][-1]) == (20, None, "spiking unit")


def test_images_through_a_trained_layer(run: Run, tmp_path: Path) -> None:
    status, _, errors = run("deep", "lpl", "--epochs", 1, "--hidden", "12,8", "--out", tmp_path / "run")
    assert status == 0, errors
    status, _, errors = run("bridge", "convert", tmp_path / "run", "--steps", 2, "--out", tmp_path / "net.h5")
    assert status == 0, errors
    arguments = ("--stimulus", "images", "--network", tmp_path / "net.h5", "--images", 4, "--frame", 0.05, *QUICK)
    status, _, errors = run("bridge", "compare", *arguments, "--layer", 2, "--out", tmp_path / "out")
    assert status == 0, errors
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert (found["reading"], found["stimulus"]) == ("current", "4 images through layer 2")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--realisations", 3), "realisations: are split into halves"),
        (("--stimulus", "rates"), "--stimulus rates: say which, with --rates"),
        (("--stimulus", "images"), "--stimulus images: say which, with --network"),
        (("--rates", "x.npy"), "--stimulus paper: --rates goes with --stimulus rates"),
        (("--stimulus", "rates", "--rates", "nothing.npy"), "nothing.npy: no such file"),
        (("--seconds", 0), "--seconds: must lie in 0 to 10,000"),
        (("--units", 1), "--units: must lie in 2 to 10,000"),
        (("--seconds", 0.01), "stimulus: must last"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_folder(
    arguments: tuple[object, ...], complaint: str, run: Run, tmp_path: Path
) -> None:
    status, _, errors = run("bridge", "compare", *arguments, "--out", tmp_path / "out")
    assert status in (1, 2)
    assert complaint in errors
    assert not list(tmp_path.iterdir())

"""`ratespike figure`: files in, a figure out, and what it refuses before it works."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from foundation.errors import RatespikeError
from ratespike.figure import FIGURES
from spiking.recording import PairingCurve

Run = Callable[..., tuple[int, str, str]]
CURVE = PairingCurve(
    frequency=10.0,
    initial_mean=10.0,
    initial_variance=0.1,
    max_interval=0.05,
    variant="as_simulated",
    delta_t=np.linspace(0.05, -0.05, 10, dtype=np.float64),
    relative_delta_w=np.linspace(-0.1, 0.4, 10, dtype=np.float64),
    postsynaptic_spikes=100,
)
STARTS = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with two run files whose readers make a curve of each."""

    def read(path: Path) -> list[PairingCurve]:
        return [dataclasses.replace(CURVE, initial_variance=float(path.read_text()))]

    monkeypatch.chdir(tmp_path)
    for recipe in FIGURES.values():
        monkeypatch.setattr(recipe.reader.replace(":", "."), read)
    for name, text in (("one.h5", "0.1"), ("two.h5", "1")):
        (tmp_path / name).write_text(text)
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize("suffix", STARTS)
def test_curves_of_all_files_become_one_figure(folder: Path, run: Run, suffix: str) -> None:
    status, said, errors = run("figure", "stdp", "one.h5", "two.h5", "--out", f"new/stdp{suffix}")
    assert (status, said) == (0, f"new/stdp{suffix}: stdp, from 2 runs\n"), errors
    content = (folder / f"new/stdp{suffix}").read_bytes()
    assert content.startswith(STARTS[suffix])
    assert len(content) > 5000


def test_the_drawer_gets_the_runs_in_the_order_of_the_files(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []

    def draw(records: Sequence[PairingCurve]) -> Figure:
        drawn.extend(record.initial_variance for record in records)
        return Figure()

    monkeypatch.setattr("spiking.plots.lpl_network", draw)
    status, said, errors = run("figure", "lpl-network", "two.h5", "one.h5", "--out", "network.png")
    assert (status, drawn) == (0, [1.0, 0.1]), errors
    assert "from 2 runs" in said


def test_help_names_every_figure(run: Run) -> None:
    status, said, _ = run("figure", "--help")
    assert status == 0
    for name, recipe in FIGURES.items():
        assert name in said
        assert recipe.inputs in said


REFUSED: dict[str, tuple[list[str], int, str]] = {
    "unknown figure": (["raster", "one.h5", "--out", "x.png"], 2, "'raster' is not one of 'lpl-network', 'stdp', "),
    "no input": (["stdp", "--out", "x.png"], 2, "Missing argument 'INPUT...'"),
    "no target": (["stdp", "one.h5"], 2, "Missing option '--out'"),
    "suffix": (["stdp", "none.h5", "--out", "x.jpeg"], 2, "x.jpeg: a figure is written as one of .png, .pdf, .svg"),
    "no suffix": (["stdp", "one.h5", "--out", "x"], 2, "x: a figure is written as one of"),
    "target below a file": (["stdp", "one.h5", "--out", "one.h5/x.png"], 2, "one.h5 is not a folder"),
    "no such file": (["stdp", "one.h5", "none.h5", "--out", "x.png"], 1, "none.h5: no such file"),
    "a folder": (["stdp", "folder", "--out", "x.png"], 2, "folder: is a folder; name a run file"),
    "twice": (["stdp", "one.h5", "folder/../one.h5", "--out", "x.png"], 2, "one.h5: given twice"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_refuses_in_one_line_before_it_works(case: str, folder: Path, run: Run) -> None:
    arguments, status, complaint = REFUSED[case]
    before = sorted(folder.rglob("*"))
    found, said, errors = run("figure", *arguments)
    assert (found, said, len(errors.splitlines())) == (status, "", 1)
    assert "ratespike" in errors.split(":")[0]
    assert complaint in errors
    assert sorted(folder.rglob("*")) == before


def test_it_does_not_overwrite_what_it_reads(folder: Path, run: Run) -> None:
    (folder / "run.png").write_text("0.1")
    status, _, errors = run("figure", "stdp", "run.png", "--out", "folder/../run.png")
    assert status == 2
    assert "would overwrite" in errors
    assert (folder / "run.png").read_text() == "0.1"


def test_a_file_that_cannot_be_read_leaves_nothing(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path) -> list[PairingCurve]:
        raise RatespikeError(f"{path}: not a file of `ratespike spike stdp`")

    monkeypatch.setattr(FIGURES["stdp"].reader.replace(":", "."), read)
    status, said, errors = run("figure", "stdp", "one.h5", "--out", "new/x.png")
    assert (status, said) == (1, "")
    assert errors.splitlines()[-1] == "ratespike: one.h5: not a file of `ratespike spike stdp`"
    assert not (folder / "new").exists()

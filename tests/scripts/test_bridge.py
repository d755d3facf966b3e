"""`ratespike bridge`: convert and simulate, and what they refuse."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spiking.network_file import load

Run = Callable[..., tuple[int, str, str]]
Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shell: Shell) -> Path:
    """With a trained run in it, `run`, and its spiking network, `net.h5`, with the report in `net.json`."""
    folder = tmp_path_factory.mktemp("bridge")
    done = shell("deep", "lpl", "--epochs", 1, "--hidden", "8,8", "--out", folder / "run")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def converted(folder: Path, shell: Shell) -> str:
    """What `convert` said, from a shell."""
    done = shell(
        "bridge", "convert", folder / "run", "--steps", 16, "--json", folder / "net.json", "--out", folder / "net.h5"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_convert_writes_the_network_and_the_report(folder: Path, converted: str) -> None:
    network = load(folder / "net.h5")
    assert [layer.weight.shape for layer in (*network.neurons, network.readout)] == [(8, 64), (8, 8), (10, 8)]
    report = json.loads((folder / "net.json").read_text())
    assert (report["images"], report["steps"], report["input_coding"]) == (500, 16, "analog")
    assert len(report["spiking_accuracy"]) == 16
    assert report["spiking_accuracy"][-1] > 0.5  # ten classes
    assert [layer["macs"] for layer in report["layers"]] == [512, 64]
    table = converted.splitlines()
    assert [line.split("|")[1].strip() for line in table[:4]] == ["layer", "---", "layer 1", "layer 2"]
    assert f"{100 * report['rate_accuracy']:.2f} %" in converted
    assert f"{report['flips']} of 500 images are classified differently after 16 steps" in converted


def test_simulate_in_either_backend_says_what_convert_reported(
    shell: Shell, folder: Path, converted: str, run: Run
) -> None:
    done = shell("bridge", "simulate", folder / "net.h5", "--steps", 16, "--json", folder / "all.json")
    assert done.returncode == 0, done.stderr
    report, values = (json.loads((folder / name).read_text()) for name in ("net.json", "all.json"))
    # convert shows float32 pixels, simulate float64 ones: a threshold tie may fall either way
    np.testing.assert_allclose(values["accuracy"], report["spiking_accuracy"], atol=1.5 / 500)
    np.testing.assert_allclose(
        list(values["spikes_per_image"].values()), [layer["spikes"] for layer in report["layers"]], rtol=1e-3
    )
    said = {}
    for backend in ("snntorch", "brian2"):
        status, said[backend], errors = run(
            "bridge", "simulate", folder / "net.h5", "--images", 20, "--steps", 9, "--backend", backend
        )
        assert status == 0, errors
    assert said["snntorch"] == said["brian2"]
    assert "accuracy on 20 images of digits" in said["brian2"]


def test_poisson_input_follows_the_seed(folder: Path, converted: str, run: Run) -> None:
    out = folder / "poisson.h5"
    arguments = ("bridge", "convert", folder / "run", "--input-coding", "poisson", "--per-channel", "--percentile", 99)
    status, _, errors = run(*arguments, "--steps", 4, "--out", out)
    assert status == 0, errors
    assert load(out).input_coding == "poisson"
    assert load(out).neurons[0].scale.shape == (8,)
    one, same, other = (
        run("bridge", "simulate", out, "--images", 40, "--steps", 4, "--seed", seed)[1] for seed in (1, 1, 2)
    )
    assert one == same != other


def test_from_a_shell_an_error_is_one_line_and_its_status(folder: Path, converted: str, shell: Shell) -> None:
    done = shell("bridge", "simulate", folder / "run" / "config.toml")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    done = shell("bridge", "convert", folder / "run", "--percentile", 0, "--out", folder / "never.h5")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert not (folder / "never.h5").exists()


CONVERT: dict[str, tuple[list[str], int, str]] = {
    "no run": (["nothing"], 1, "no such file"),
    "an empty folder": (["empty"], 1, "no such file"),
    "percentile": (["run", "--percentile", "101"], 2, "percentile: must lie above 0 and up to 100"),
    "coding": (["run", "--input-coding", "latency"], 2, "input_coding: must be analog or poisson"),
    "no steps": (["run", "--steps", "0"], 2, "--steps: must lie in 1 to 100,000, got 0"),
    "negative steps": (
        ["run", "--steps", "-3", "--input-coding", "poisson"],
        2,
        "--steps: must lie in 1 to 100,000, got -3",
    ),
    "unknown data": (["run", "--data", "imagenet"], 2, "unknown dataset 'imagenet'"),
    "no such data": (["run", "--data", "mnist", "--root", "empty"], 1, "mnist is not in"),
    "report into a folder": (["run", "--json", "empty"], 2, "is a folder"),
    "report below a file": (["run", "--json", "run/config.toml/x.json"], 2, "config.toml"),
}


def assert_refused(result: tuple[int, str, str], status: int, complaint: str) -> None:
    assert (result[0], result[1]) == (status, "")
    last = result[2].splitlines()[-1]  # after progress bars, if it came that far
    assert last.startswith("ratespike")
    assert complaint in last


@pytest.mark.parametrize("case", CONVERT)
def test_convert_refuses_in_one_line_and_writes_nothing(
    case: str, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    Path("empty").mkdir(exist_ok=True)
    arguments, status, complaint = CONVERT[case]
    out = Path(f"{case}.h5")
    assert_refused(run("bridge", "convert", *arguments, "--out", out), status, complaint)
    assert not out.exists()
    assert not any(Path("empty").iterdir())


@pytest.mark.parametrize(
    ("out", "status", "complaint"), [("run", 2, "is a folder"), ("run/config.toml/net.h5", 2, "config.toml")]
)
def test_convert_refuses_an_out_that_cannot_be_written_before_it_works(
    out: str, status: int, complaint: str, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    result = run("bridge", "convert", "run", "--out", out)
    assert_refused(result, status, complaint)
    assert len(result[2].splitlines()) == 1


SIMULATE: dict[str, tuple[list[str], int, str]] = {
    "no file": (["nothing.h5"], 1, "nothing.h5: no such file"),
    "a folder": (["run"], 1, "run: "),
    "no network": (["run/config.toml"], 1, "not a file of ratespike integrate-and-fire network"),
    "no steps": (["net.h5", "--steps", "0"], 2, "--steps: must lie in 1 to 100,000, got 0"),
    "negative images": (["net.h5", "--images", "-1"], 2, "--images: must not be negative, got -1"),
    "unknown data": (["net.h5", "--data", "imagenet"], 2, "unknown dataset 'imagenet'"),
    "unknown backend": (["net.h5", "--backend", "nest"], 2, "'nest' is not one of"),
    "Brian2 on a GPU": (["net.h5", "--backend", "brian2", "--device", "cuda"], 2, "--device: Brian2 runs on the cpu"),
    "unknown device": (["net.h5", "--device", "abacus"], 2, "abacus"),
    "result into a folder": (["net.h5", "--images", "2", "--json", "run"], 2, "is a folder"),
}


@pytest.mark.parametrize("case", SIMULATE)
def test_simulate_refuses_in_one_line(
    case: str, folder: Path, converted: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    arguments, status, complaint = SIMULATE[case]
    assert_refused(run("bridge", "simulate", *arguments), status, complaint)

"""`ratespike bridge`: convert and simulate, and what they refuse."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bridge.files.weights import read_weights, write_weights
from foundation.data.images import load_images
from spiking.network_file import load
from spiking.stimuli import load_rates
from spiking.torch.integrate_and_fire import simulate

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
    command = [sys.executable, "-m", "ratespike.cli", "bridge", "simulate", str(folder / "run" / "config.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    done = shell("bridge", "convert", folder / "run", "--percentile", 0, "--out", folder / "never.h5")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert not (folder / "never.h5").exists()


CONVERT: dict[str, tuple[list[str], int, str]] = {
    "no run": (["nothing"], 1, "no such file"),
    "an empty folder": (["empty"], 1, "no such file"),
    "percentile": (["run", "--percentile", "101"], 2, "percentile: must lie above 0 and up to 100"),
    "coding": (
        ["run", "--input-coding", "latency"],
        2,
        "'--input-coding': 'latency' is not one of 'analog', 'poisson'",
    ),
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


# --- learning on, and the way back ------------------------------------------------------------------------------------
LEARN = ("--images", 4, "--views-each", 2, "--frame", 0.02, "--dt", 1e-3)


@pytest.fixture(scope="module")
def learned(folder: Path, converted: str, shell: Shell) -> Path:
    out = folder / "learned.h5"
    done = shell("bridge", "learn", folder / "net.h5", "--layer", 2, *LEARN, "--json", folder / "l.json", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "layer 2: weights moved by" in done.stdout
    return out


def test_one_layer_learns_and_the_others_stay(folder: Path, learned: Path) -> None:
    before, after = load(folder / "net.h5").neurons, load(learned).neurons
    np.testing.assert_array_equal(before[0].weight, after[0].weight)
    moved = np.linalg.norm(after[1].weight - before[1].weight) / np.linalg.norm(before[1].weight)
    assert json.loads((folder / "l.json").read_text())["relative change"] == pytest.approx(moved)
    assert 0.002 < moved < 0.2


def test_what_was_learned_comes_back_into_the_rate_network(folder: Path, learned: Path, run: Run) -> None:
    out = folder / "back"
    status, text, errors = run("bridge", "import", learned, "--into", folder / "run", "--out", out)
    assert status == 0, errors
    assert "test accuracy of the rate network" in text
    one, other = (torch.load(path / "checkpoint.pt", weights_only=True)["network"] for path in (folder / "run", out))
    changed = [name for name in one if not torch.equal(one[name], other[name])]
    assert changed == ["encoder.blocks.1.synapses.weight"]
    network, scale = load(learned), [layer.scale for layer in load(learned).neurons]
    weight = network.neurons[1].weight * scale[1] / scale[0]
    np.testing.assert_allclose(other[changed[0]].numpy(), weight, rtol=1e-6)
    status, text, errors = run("deep", "readout", out, "--protocol", "few-labels")  # it is a run like any other
    assert status == 0, errors


# --- other formats ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["sonata", "auryn", "npz"])
def test_weights_come_back_from_other_formats(
    folder: Path, converted: str, form: str, run: Run, tmp_path: Path
) -> None:
    out = tmp_path / ("weights.h5" if form == "npz" else form)
    status, _, errors = run("bridge", "export", folder / "net.h5", "--format", form, "--out", out)
    assert status == 0, errors
    weight = load(folder / "net.h5").neurons[1].weight
    back = tmp_path / "back.npz"
    if form == "npz":
        np.testing.assert_array_equal(read_weights(out)["layer 2/weight"], weight)
        changed = {"layer 2/weight": 2 * weight}
        write_weights(tmp_path / "other.npz", changed)
        arguments = ("--network", folder / "net.h5", "--out", tmp_path / "new.h5")
        status, _, errors = run("bridge", "import", tmp_path / "other.npz", "--format", "npz", *arguments)
        assert status == 0, errors
        np.testing.assert_array_equal(load(tmp_path / "new.h5").neurons[1].weight, 2 * weight)
        return
    file = out / ("edges.h5" if form == "sonata" else "layer_1_to_layer_2.wmat")
    status, _, errors = run("bridge", "import", file, "--format", form, "--out", back)
    assert status == 0, errors
    found = read_weights(back)
    name = "layer_1_to_layer_2"
    dense = np.zeros(found[f"{name}/shape"])
    dense[found[f"{name}/post"], found[f"{name}/pre"]] = found[f"{name}/weight"]
    np.testing.assert_array_equal(dense, weight)


def test_a_script_runs_on_images_of_the_run(folder: Path, converted: str, run: Run, tmp_path: Path) -> None:
    script = tmp_path / "net.py"
    arguments = ("--format", "brian2", "--steps", 5, "--out", script)
    status, _, errors = run("bridge", "export", folder / "net.h5", *arguments)
    assert status == 0, errors
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    said = [int(k) for k in done.stdout.split("answers:")[1].split()]
    test = load_images("digits").test_images[:10].reshape(10, -1) / np.float32(255)
    assert said == simulate(load(folder / "net.h5"), test.astype(float), 5).predictions()[:, -1].tolist()


def test_spikes_and_rates_of_auryn_are_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "exc.ras").write_text("0.001 0\n0.002 3\n0.0045 1\n")
    (tmp_path / "stim.rate").write_text("0.0 5.0\n0.01 6.0\n0.02 7.5\n")
    ras, rates = tmp_path / "exc.h5", tmp_path / "rates.npz"
    status, text, errors = run(
        "bridge", "import", tmp_path / "exc.ras", "--format", "auryn", "--dt", 5e-4, "--out", ras
    )
    assert (status, "3 spikes of 4 neurons" in text) == (0, True), errors
    status, _, errors = run("bridge", "import", ras, "--format", "sonata", "--dt", 5e-4, "--out", tmp_path / "b.ras")
    assert status == 0, errors
    np.testing.assert_allclose(np.loadtxt(tmp_path / "b.ras"), [[0.001, 0], [0.002, 3], [0.0045, 1]], atol=1e-12)
    status, _, errors = run("bridge", "import", tmp_path / "stim.rate", "--format", "auryn", "--out", rates)
    assert status == 0, errors
    (trace,) = load_rates(rates)
    assert (trace.values.tolist(), trace.interval) == ([5.0, 6.0, 7.5], 0.01)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("learn", "{net}", "--layer", 3, "--out", "{out}"), "layer: the network has 1 to 2, got 3"),
        (("learn", "{net}", "--images", 0, "--out", "{out}"), "images: must be at least 1, got 0"),
        (("learn", "{net}", "--frame", 0, "--out", "{out}"), "frame: must be positive, got 0.0"),
        (
            ("learn", "{net}", "--reading", "voltage", "--out", "{out}"),
            "'--reading': 'voltage' is not one of 'current', 'conductance'",
        ),
        (("learn", "{net}", "--inhibition", "symmetric", "--out", "{out}"), "inhibition: the symmetric rule goes with"),
        (("learn", "{net}", "--out", "{net}"), "net.h5"),
        (("import", "{net}", "--out", "{out}"), "say either --format, or --into RUN"),
        (("import", "{net}", "--into", "{run}", "--out", "{out}"), "no layer of this network went on learning"),
        (("import", "{net}", "--format", "npz", "--out", "{out}"), "--network: say which converted network"),
        (("import", "{net}", "--format", "auryn", "--out", "{out}"), "net.h5"),
        (("export", "{net}", "--format", "brian2", "--out", "{out}"), "a script's name ends in .py"),
        (("export", "{run}/metrics.jsonl", "--format", "sonata", "--out", "{out}"), "metrics.jsonl"),
        (("export", "{run}", "--format", "npz", "--out", "{out}"), "is a folder, not a file"),
    ],
)
def test_what_cannot_be_moved_is_one_line_and_leaves_no_file(
    folder: Path, converted: str, arguments: tuple[object, ...], complaint: str, run: Run, tmp_path: Path
) -> None:
    places = {"net": folder / "net.h5", "run": folder / "run", "out": tmp_path / "out.h5"}
    given = [str(a).format(**places) for a in arguments]
    status, _, errors = run("bridge", *given)
    assert status in (1, 2)
    assert complaint in errors
    assert len([line for line in errors.splitlines() if line.startswith("ratespike")]) == 1
    assert not list(tmp_path.iterdir())

"""`ratespike spike`: the network and the pairing protocol from the command line, what they refuse, and being killed."""

import csv
import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import h5py
import numpy as np
import pytest

from ratespike.spike_summary import differing
from spiking.compilers import trouble
from spiking.run_file import read_configs, read_networks, read_pairings
from tests.spiking.same_files import assert_same_file

SIZES = ["--exc", "12", "--inh", "4", "--population", "8", "--p-ext", "0.5", "--w-ext", "0.6"]
TINY = [*SIZES, "--codegen", "numpy"]
TIMES = ["--priming", "0.5", "--duration", "1.2", "--weights-every", "0.5", "--rate-bin", "0.4"]
RUN = [*TINY, *TIMES]
TORCH = [*SIZES, *TIMES, "--backend", "torch", "--networks", "3"]


@pytest.fixture(scope="module")
def network(tmp_path_factory, shell):
    path = tmp_path_factory.mktemp("spike") / "net.h5"
    done = shell("spike", "network", *RUN, "--out", path)
    assert done.returncode == 0, done.stderr
    return path, done.stdout


def test_a_run_leaves_one_file_and_says_what_is_in_it(network, run):
    path, output = network
    assert [file.name for file in path.parent.iterdir()] == ["net.h5"]
    assert "LPL" in output
    assert "ratespike figure lpl-network" in output
    (record,) = read_networks(path)
    (config,) = read_configs(path)
    assert (config.augment_gradient, config.tau_mean, config.exc) == (True, 20.0, 12)  # the short preset
    assert record.weight_time.tolist() == pytest.approx([0.0, 0.5, 1.0, 1.2])
    assert record.exc.time.size > 10
    assert np.abs(record.weights[-1] - record.weights[0]).max() > 1e-3
    table = path.parent / "summary.csv"
    status, output, _ = run("spike", "summary", path, "--json", path.parent / "summary.json", "--csv", table)
    assert status == 0
    assert f"LPL: {path}, seed {config.seed}" in output.splitlines()
    assert output.splitlines()[-1].startswith("all: lambda 1.0, phi 1.0, inhibition plastic, ")
    (values,) = json.loads((path.parent / "summary.json").read_text())
    assert (values["file"], values["seed"], values["settings"]["eta"]) == (str(path), config.seed, config.eta)
    assert {"seed", *values["settings"]} == {field.name for field in fields(config)}
    (row,) = csv.DictReader(table.read_text().splitlines())
    assert (row["file"], row["seed"], row["label"]) == (str(path), str(config.seed), "LPL")
    assert float(row["exc_rate/mean"]) == values["exc_rate"]["mean"]
    assert float(row["r2/0"]) == values["r2"][0]
    assert float(row["settings/eta"]) == config.eta
    table.unlink()
    assert values["label"] == "LPL"
    assert values["exc_rate"]["mean"] == pytest.approx(record.exc.time.size / 12 / 1.7)
    (path.parent / "summary.json").unlink()
    status, _, errors = run("figure", "lpl-network", path, "--out", path.parent / "network.png")
    assert status == 0, errors
    (path.parent / "network.png").unlink()


def test_networks_are_told_apart_by_the_settings_in_which_they_differ():
    assert differing([{"eta": 0.1, "phi": 1.0}, {"eta": 0.2, "phi": 1.0}]) == ["eta"]
    assert differing([{"eta": 0.1}]) == []


def test_ones_own_populations_keep_their_names(tmp_path, run):
    """Five of a user's are not the paper's, and three are no 'nan nan'."""
    own = [*SIZES, *TIMES, "--backend", "torch"]
    for number in (5, 3):
        rates = tmp_path / f"rates{number}.npz"
        names = [f"odour {k}" for k in range(number)]
        np.savez(rates, rates=np.full((number, 40), 20.0), interval=0.1, names=names)
        out = tmp_path / f"{number}.h5"
        status, output, errors = run("spike", "network", *own, "--rates", rates, "--out", out)
        assert status == 0, errors
        assert f"{number} populations, 40 samples of 0.1 s, 4 s in all" in errors
        assert "transpose" not in errors
        assert "R2 odour 2" in output
        assert "P1ctl" not in output
        assert "selectivity" not in output
        (record,) = read_networks(out)
        assert record.names == tuple(names)
    np.save(tmp_path / "swapped.npy", np.full((40, 3), 20.0))
    _, _, errors = run("spike", "network", *own, "--rates", tmp_path / "swapped.npy", "--out", tmp_path / "s.h5")
    assert "40 populations, 3 samples" in errors
    assert "transpose" in errors


def stop_after_the_first_piece(arguments, path, number):
    """Send a running `spike network` a signal when its first piece is safe; its status and what it said."""
    command = [sys.executable, "-c", "from ratespike.cli import main; main()", "spike", "network", *arguments]
    with subprocess.Popen([*command, "--out", str(path)], stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not (path.parent / f"{path.name}.partial/0/state.npz").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert not path.exists()
    return process.returncode, errors


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_file(network, tmp_path, shell):
    path = tmp_path / "net.h5"
    stop_after_the_first_piece(RUN, path, signal.SIGKILL)
    refused = shell("spike", "network", *RUN, "--out", path)
    assert refused.returncode == 2
    assert "go on with --resume" in refused.stderr
    other = shell("spike", "network", *RUN, "--eta", "0.5", "--out", path, "--resume")
    assert other.returncode == 2
    assert "differs in network.eta" in other.stderr
    done = shell("spike", "network", *RUN, "--out", path, "--resume")
    assert done.returncode == 0, done.stderr
    assert_same_file(path, network[0])
    assert [file.name for file in tmp_path.iterdir()] == ["net.h5"]


@pytest.mark.slow
@pytest.mark.skipif(bool(trouble()), reason="there is no C++ compiler")
def test_a_killed_program_goes_on_to_the_same_file(tmp_path, shell):
    compiled = [*RUN, "--codegen", "standalone"]
    assert shell("spike", "network", *compiled, "--out", tmp_path / "whole.h5").returncode == 0
    stop_after_the_first_piece(compiled, tmp_path / "net.h5", signal.SIGKILL)
    done = shell("spike", "network", *compiled, "--out", tmp_path / "net.h5", "--resume")
    assert done.returncode == 0, done.stderr
    assert_same_file(tmp_path / "net.h5", tmp_path / "whole.h5")


@pytest.mark.parametrize("asked", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_ctrl_c_or_sigterm_leaves_a_run_that_can_go_on(tmp_path, asked):
    path = tmp_path / "net.h5"
    long = [*TINY, "--priming", "0", "--duration", "600", "--weights-every", "0.5"]
    status, errors = stop_after_the_first_piece(long, path, asked)
    assert status == 130
    assert "go on with --resume" in errors.splitlines()[-1]


def test_torch_runs_several_networks_together(tmp_path, run):
    found = {}
    for precision in ("float32", "float64"):
        path = tmp_path / f"{precision}.h5"
        status, output, errors = run("spike", "network", *TORCH, "--precision", precision, "--out", path)
        assert status == 0, errors
        assert output.count("LPL ") == 3
        assert [config.seed for config in read_configs(path)] == [0, 1, 2]
        found[precision] = read_networks(path)
        assert all(record.exc.time.size > 10 for record in found[precision])
        assert all(np.abs(record.weights[-1] - record.weights[0]).max() > 1e-3 for record in found[precision])
    for single, double in zip(*found.values(), strict=True):
        np.testing.assert_array_equal(single.inputs.time, double.inputs.time)
        assert np.abs(single.weights - double.weights).max() > 0
        np.testing.assert_allclose(single.weights, double.weights, atol=1e-2)


def test_torch_and_brian_do_the_same(network, tmp_path, run):
    """The same wiring, input and spikes; the weights of the last update."""
    path = tmp_path / "net.h5"
    alike = [*SIZES, *TIMES, "--backend", "torch", "--precision", "float64"]
    status, _, errors = run("spike", "network", *alike, "--out", path)
    assert status == 0, errors
    (ours,), (theirs,) = read_networks(path), read_networks(network[0])
    np.testing.assert_allclose(ours.exc.time, theirs.exc.time, atol=1e-9)
    np.testing.assert_array_equal(ours.exc.unit, theirs.exc.unit)
    np.testing.assert_allclose(ours.weights, theirs.weights, rtol=0, atol=1e-6)


def test_a_killed_run_in_torch_goes_on_to_the_same_file(tmp_path, shell):
    """It is killed as soon as the first of three networks has its first piece."""
    long = [*TORCH, "--duration", "3.2", "--precision", "float64"]
    assert shell("spike", "network", *long, "--out", tmp_path / "whole.h5").returncode == 0
    (tmp_path / "killed").mkdir()
    path = tmp_path / "killed" / "net.h5"
    stop_after_the_first_piece(long, path, signal.SIGKILL)
    other = shell("spike", "network", *long, "--precision", "float32", "--out", path, "--resume")
    assert other.returncode == 2
    assert "another run; it differs in backend" in other.stderr
    done = shell("spike", "network", *long, "--out", path, "--resume")
    assert done.returncode == 0, done.stderr
    assert_same_file(path, tmp_path / "whole.h5")
    assert [file.name for file in path.parent.iterdir()] == ["net.h5"]


def test_sweep_runs_all_conditions_into_one_file(tmp_path, run):
    path = tmp_path / "sweep.h5"
    short = [*SIZES, "--priming", "0", "--duration", "0.5", "--weights-every", "0.5", "--networks", "2"]
    status, output, errors = run("spike", "sweep", *short, "--out", path)
    assert status == 0, errors
    labels = [label for label in ("LPL", "Pred. off", "Hebb off", "Inhib. off", "Inhib. fixed") for _ in range(2)]
    assert [record.label for record in read_networks(path)] == labels
    configs = read_configs(path)
    assert [config.seed for config in configs] == [0, 1] * 5
    assert {(config.augment_gradient, config.float32_traces) for config in configs} == {(True, True)}
    assert all(label in output for label in labels)
    assert "per s: about" not in output  # it is over at once
    assert [file.name for file in tmp_path.iterdir()] == ["sweep.h5"]


def test_a_sweep_of_chosen_conditions(tmp_path, run):
    path = tmp_path / "sweep.h5"
    short = [*SIZES, "--priming", "0", "--duration", "0.5", "--weights-every", "0.5", "--networks", "1"]
    status, _, errors = run("spike", "sweep", *short, "--conditions", "Hebb off,LPL", "--out", path)
    assert status == 0, errors
    assert [record.label for record in read_networks(path)] == ["Hebb off", "LPL"]


def test_how_long_a_long_run_takes_is_said_before_it_starts(tmp_path, run, monkeypatch):
    monkeypatch.setattr("ratespike.backends.LONG_RUN", 2.0)
    short = [*SIZES, "--priming", "0", "--duration", "0.5", "--weights-every", "0.5", "--networks", "1"]
    status, output, errors = run("spike", "sweep", *short, "--out", tmp_path / "x.h5")
    assert status == 0, errors
    line = r"5 networks, 2\.5 simulated s, \d+ of them per s: about \d+(\.\d)? (s|min|h) in all"
    assert re.fullmatch(line, output.splitlines()[0])


def test_several_networks_share_a_file_and_differ_in_their_seed(tmp_path, run):
    path = tmp_path / "two.h5"
    short = [*TINY, "--priming", "0", "--duration", "0.5", "--weights-every", "0.5"]
    status, output, errors = run("spike", "network", *short, "--networks", 2, "--seed", 7, "--out", path)
    assert status == 0, errors
    assert output.count("LPL ") == 2
    assert [config.seed for config in read_configs(path)] == [7, 8]
    one, two = read_networks(path)
    assert one.inputs.time.tolist() != two.inputs.time.tolist()


def test_own_rates(tmp_path, run):
    np.save(tmp_path / "rates.npy", np.stack([np.zeros(50), np.full(50, 200.0), np.full(50, 50.0)]))
    path = tmp_path / "own.h5"
    short = [*TINY, "--priming", "0", "--duration", "0.5", "--weights-every", "0.5", "--inhibition", "none"]
    status, _, errors = run("spike", "network", *short, "--rates", tmp_path / "rates.npy", "--out", path)
    assert status == 0, errors
    (record,) = read_networks(path)
    counts = np.bincount(record.population[record.inputs.unit], minlength=3)
    assert counts[0] == 0
    assert counts[1] == pytest.approx(8 * 200 * 0.5, rel=0.15)
    assert counts[2] == pytest.approx(8 * 50 * 0.5, rel=0.3)
    assert record.label == "Inhib. off"
    assert record.inh.size == 0


def test_stdp_writes_the_curve_and_its_figure(tmp_path, run):
    path = tmp_path / "curve.h5"
    arguments = ["--pairings", 3, "--inputs", 5, "--frequency", 40, "--initial-variance", 2, "--codegen", "numpy"]
    status, output, errors = run("spike", "stdp", *arguments, "--out", path)
    assert status == 0, errors
    assert "3 postsynaptic spikes" in output
    (curve,) = read_pairings(path)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["delta_t"], np.linspace(0.02, -0.02, 5))
        np.testing.assert_array_equal(file["relative_delta_w"], curve.relative_delta_w)
    assert np.abs(curve.relative_delta_w).min() > 0
    status, _, errors = run("figure", "stdp", path, "--out", tmp_path / "stdp.pdf")
    assert status == 0, errors


def test_stdp_in_torch_is_that_of_brian(tmp_path, run):
    arguments = ["--pairings", 3, "--inputs", 5, "--frequency", 40, "--initial-variance", 2, "--delta", 0.01]
    found = {}
    for name, how in {
        "brian": ["--codegen", "numpy"],
        "double": ["--backend", "torch", "--precision", "float64"],
        "single": ["--backend", "torch"],
    }.items():
        status, output, errors = run("spike", "stdp", *arguments, *how, "--out", tmp_path / f"{name}.h5")
        assert status == 0, errors
        assert "3 postsynaptic spikes" in output
        (curve,) = read_pairings(tmp_path / f"{name}.h5")
        found[name] = curve.relative_delta_w
    largest = np.abs(found["brian"]).max()
    assert largest > 1e-6
    np.testing.assert_allclose(found["double"], found["brian"], rtol=0, atol=1e-9 * largest)
    np.testing.assert_allclose(found["single"], found["brian"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["network", "--duration", "0.00005"], 2, "duration: must be a multiple of dt"),
        (["network", "--priming", "0.3"], 2, "priming: must be a multiple of the interval between weight updates"),
        (["network", "--p-ext", "1.5"], 2, "p_ext: a probability lies in [0, 1], got 1.5"),
        (["network", "--p-ext", "0"], 2, "--p-ext: no input synapse"),
        (["network", "--duration", "nan"], 2, "duration"),
        (["network", "--inhibition", "some"], 2, "'--inhibition': 'some' is not one of 'plastic', 'fixed', 'none'"),
        (
            ["network", "--variant", "as_imagined"],
            2,
            "'--variant': 'as_imagined' is not one of 'as_simulated', 'as_reported'",
        ),
        (["network", "--networks", "0"], 2, "networks: must be at least 1"),
        (["network", "--weights-every", "0.3"], 2, "--weights-every"),
        (["network", "--resume"], 2, "no run to resume"),
        (["network", "--out", "mine.txt"], 2, "mine.txt: exists"),
        (["network", "--rates", "none.npy"], 1, "none.npy: no such file"),
        (["network", "--rates", "negative.npy"], 1, "negative"),
        (["network", "--rates", "fast.npy"], 2, "more than one spike in a step"),
        (["network", "--rates", "mine.txt"], 1, "mine.txt"),
        (["network", "--out", "foreign.h5"], 2, "no unfinished run"),
        (["network", "--backend", "abacus"], 2, "--backend"),
        (["network", "--device", "cuda"], 2, "--device: brian2 runs on the cpu"),
        (
            ["network", "--backend", "torch", "--codegen", "numpy"],
            2,
            "--codegen: must be one of auto, compiled, eager wi",
        ),
        (["network", "--codegen", "eager"], 2, "--codegen: must be one of auto, standalone, cython, numpy with brian2"),
        (["stdp", "--backend", "torch", "--codegen", "cython"], 2, "--codegen: must be one of auto, compiled, eager w"),
        (["sweep", "--backend", "brian2", "--codegen", "compiled"], 2, "--codegen: must be one of auto, standalone"),
        (["network", "--precision", "float32"], 2, "--precision: brian2 runs in float64; use --backend torch"),
        (["stdp", "--precision", "float32"], 2, "--precision: brian2 runs in float64; use --backend torch"),
        (["network", "--backend", "torch", "--precision", "float16"], 2, "--precision"),
        (["network", "--backend", "torch", "--device", "cuda:7"], 1, "--device: cuda:7 is absent; this machine has"),
        (["sweep", "--device", "cuda:7"], 1, "--device: cuda:7 is absent; this machine has"),
        (["stdp", "--backend", "torch", "--device", "cuda:7"], 1, "--device: cuda:7 is absent; this machine has"),
        (["network", "--backend", "torch", "--device", "gpu"], 2, "--device: must be cpu, cuda or cuda:N, got 'gpu'"),
        (["network", "--backend", "torch", "--device", "meta"], 2, "--device: must be cpu, cuda or cuda:N, got 'me"),
        (["sweep", "--conditions", "some"], 2, "conditions: must be all, or some of LPL, Pred. off, Hebb off, Inhib"),
        (["sweep", "--conditions", "LPL,LPL"], 2, "conditions: each once"),
        (["network", "--dt", "0.0008"], 2, "rates: the interval between samples: must be a multiple of dt"),
        (["stdp", "--frequency", "200"], 2, "frequency: must be at most 140 Hz"),
        (["stdp", "--pairings", "0"], 2, "pairings: must be at least 1"),
        (["stdp", "--max-interval", "0.5"], 2, "max_interval: must be at most 0.1 s"),
        (["stdp", "--out", "mine.txt"], 2, "mine.txt: exists"),
        (["summary", "mine.txt"], 1, "mine.txt: damaged, or not a file of ratespike network runs"),
        (["summary", "none.h5"], 1, "none.h5: no such file"),
    ],
)
def test_bad_input_is_one_line_before_any_work(tmp_path, monkeypatch, run, arguments, status, message):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "foreign.h5.partial/0").mkdir(parents=True)
    (tmp_path / "foreign.h5.partial/0/mine.txt").write_text("mine")
    np.save(tmp_path / "negative.npy", np.array([[1.0, -1.0]]))
    np.save(tmp_path / "fast.npy", np.array([[1e5, 1e5]]))
    before = sorted(path.name for path in tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    if "--out" not in arguments and arguments[0] != "summary":
        arguments = [*arguments, "--out", "x.h5"]
    actual, output, errors = run("spike", *arguments)
    assert message in " ".join(errors.split())
    assert actual == status
    assert len(errors.strip().splitlines()) == 1
    assert output == ""
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_networks_that_do_not_fit_into_memory_are_refused_before_any_work(tmp_path, run, monkeypatch):
    from spiking.torch import network_simulator

    monkeypatch.setattr(network_simulator, "free_memory", lambda device: 100_000_000)
    status, output, errors = run("spike", "sweep", "--networks", "10", "--out", tmp_path / "x.h5")
    assert (status, output, list(tmp_path.iterdir())) == (1, "", [])
    line = r"networks: 50 of them need about \d+\.\d GB, cpu has 0\.1 GB left; at most \d+ fit\n"
    assert re.search(line, errors)
    assert len(errors.strip().splitlines()) == 1


def test_help_says_what_the_preset_makes_of_a_default(run):
    status, output, _ = run("spike", "network", "--help")
    assert status == 0
    assert "time constant of the mean rate, in s [default: 600.0; short: 20.0]" in " ".join(output.split())


def test_a_config_file_stands_on_the_papers_settings(tmp_path, run):
    (tmp_path / "own.toml").write_text("[network]\nduration = 0.5\npriming = 0.0\n")
    status, _, errors = run("spike", "network", *TINY, "--config", tmp_path / "own.toml", "--out", tmp_path / "x.h5")
    assert status == 0, errors
    (config,) = read_configs(tmp_path / "x.h5")
    assert (config.tau_mean, config.augment_gradient) == (600.0, False)


def test_the_run_file_is_found_by_figure(tmp_path, run):
    (tmp_path / "x.h5").write_bytes(b"no HDF5")
    status, _, errors = run("figure", "lpl-network", tmp_path / "x.h5", "--out", tmp_path / "x.png")
    assert status == 1
    assert "damaged, or not a file of ratespike network runs" in errors
    assert not Path(tmp_path / "x.png").exists()

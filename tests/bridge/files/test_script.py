"""The exported script runs where nothing of ours is, and gives the spikes and answers that the network gives."""

import ast
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from bridge.files.script import script_files, write_script
from foundation.errors import UsageError
from spiking.brian import integrate_and_fire as brian
from spiking.integrate_and_fire import IFNetwork
from spiking.torch.integrate_and_fire import simulate
from tests.spiking.test_if_graphs import STEPS, network_of, stimulus_of

BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in "ratespike ratenets spiking bridge foundation scripts torch nir".split():
            raise ImportError(f"{name} is out of reach")

sys.meta_path.insert(0, Blocked())
sys.argv = sys.argv[1:]
import runpy
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(script: Path, *arguments: Path) -> str:
    """From a folder of its own, with the packages of ours out of reach."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", BLOCK, script, *arguments],
        capture_output=True,
        text=True,
        cwd=script.parent,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def said(output: str) -> tuple[dict[str, float], list[int]]:
    spikes = {name: float(number) for name, number in re.findall(r"^(.*): ([\d.]+) spikes per image$", output, re.M)}
    answers = re.search(r"^answers: (.*)$", output, re.M)
    assert answers is not None
    return spikes, [int(k) for k in answers[1].split()]


def expected(network: IFNetwork, x: np.ndarray) -> tuple[dict[str, float], list[int]]:
    result = simulate(network, x, STEPS)
    names = [layer.name for layer in network.layers]
    counts = {name: float(each.sum() / len(x)) for name, each in zip(names, result.counts, strict=True)}
    return {k: round(v, 1) for k, v in counts.items()}, result.predictions()[:, -1].tolist()


@pytest.mark.parametrize("gate", ["count", pytest.param("potential", marks=pytest.mark.slow)])
def test_the_script_gives_the_networks_spikes_and_answers(tmp_path: Path, gate: str, rng: np.random.Generator) -> None:
    network, x = network_of(rng, gate), stimulus_of(rng, "analog", images=4)
    script = tmp_path / "net.py"
    write_script(script, network, x, steps=STEPS)
    assert said(run(script)) == expected(network, x)
    other = stimulus_of(rng, "analog", images=3)
    np.save(tmp_path / "images.npy", other)
    assert said(run(script, tmp_path / "images.npy")) == expected(network, other)


@pytest.mark.slow
def test_a_reset_to_zero_and_poisson_input_are_exported(tmp_path: Path, rng: np.random.Generator) -> None:
    network, x = replace(network_of(rng, reset="zero"), initial_potential=0.25), stimulus_of(rng, "analog")
    write_script(tmp_path / "zero.py", network, x, steps=STEPS)
    assert said(run(tmp_path / "zero.py")) == expected(network, x)
    write_script(tmp_path / "poisson.py", replace(network, input_coding="poisson"), x, steps=STEPS)
    spikes, answers = said(run(tmp_path / "poisson.py"))
    drawn = np.random.default_rng(0).random((3, STEPS, 128)) < x.reshape(3, 1, -1)  # as the script draws
    assert (spikes, answers) == expected(replace(network, input_coding="poisson"), drawn)


def test_the_script_can_be_read(tmp_path: Path, rng: np.random.Generator) -> None:
    write_script(tmp_path / "net.py", network_of(rng), stimulus_of(rng, "analog"), title="Digits, two layers")
    text = (tmp_path / "net.py").read_text()
    compile(text, "net.py", "exec")
    assert text.startswith('"""Digits, two layers\n')
    assert max(map(len, text.splitlines())) <= 200
    assert "# --- residual: 6 x 4 x 4" in text
    with h5py.File(tmp_path / "net.data.h5") as file:
        assert file["layer_0/projection_0/w"].attrs["units"] == "threshold"
        assert len(file["layer_0/projection_0/w"]) == len(file["layer_0/projection_0/pre"])


def test_what_has_no_script_is_refused_and_leaves_no_file(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, x = network_of(rng), stimulus_of(rng, "analog")
    with pytest.raises(UsageError, match=r"net.txt: a script's name ends in .py"):
        write_script(tmp_path / "net.txt", network, x)
    with pytest.raises(UsageError, match="a network with gates for tasks has no script"):
        write_script(tmp_path / "net.py", network_of(rng, tasks=2), x)
    with pytest.raises(UsageError, match="images: Poisson input needs values between 0 and 1"):
        write_script(tmp_path / "net.py", replace(network, input_coding="poisson"), 2 * x)
    monkeypatch.setattr(brian, "MOST_SYNAPSES", 100)
    with pytest.raises(UsageError, match="Brian2 would need"):
        write_script(tmp_path / "net.py", network, x)
    assert not list(tmp_path.iterdir())


HOSTILE = [
    '"""; import os; os.mkdir("executed"); """',
    "a\nos.mkdir('executed')",
    '": os.mkdir("executed"), "',
    "\\",
    'x"',
    "{name}",
]
"""Names and titles that would end the literal or the comment in which they stand."""


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_file_becomes_code(tmp_path: Path, rng: np.random.Generator, text: str) -> None:
    network = network_of(rng)
    first = replace(network.layers[0], name=text)
    path = tmp_path / f"{text.replace('/', '')[:40]}.py"
    write_script(path, replace(network, layers=(first, *network.layers[1:])), np.ones((2, 2, 6, 6)), title=text)
    plain = tmp_path / "plain.py"
    write_script(plain, network, np.ones((2, 2, 6, 6)))

    def calls(script: Path) -> list[str]:
        tree = ast.parse(script.read_text().replace(repr(text), repr("first")))
        return [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]

    assert calls(path) == calls(plain)
    assert script_files(path) == (path, path.with_suffix(".data.h5"))
    assert all(each.is_file() for each in script_files(path))
    assert repr(text) in path.read_text()

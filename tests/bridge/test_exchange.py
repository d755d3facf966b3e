"""Weights by layer: of every kind of network they come out, and go in again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bridge.exchange import export_network, files_of, layer_weights, with_weights, word
from bridge.files.folders import check_folder, export_folder
from foundation.errors import UsageError
from spiking.network_file import NetworkFile
from spiking.torch.integrate_and_fire import simulate
from tests.spiking.test_if_graphs import STEPS, network_of, stimulus_of


def test_all_weights_of_a_network_with_a_residual_block_can_be_replaced(rng: np.random.Generator) -> None:
    one, other = NetworkFile(network_of(rng)), NetworkFile(network_of(np.random.default_rng(99)))
    weights = layer_weights(other.network)
    assert {"first/weight", "residual/0/weight", "residual/1/gain", "dense/1/weight", "readout/bias"} <= set(weights)
    changed = with_weights(one, weights).network
    for name, values in layer_weights(changed).items():
        np.testing.assert_array_equal(values, weights[name])
    x = stimulus_of(rng, "analog")
    np.testing.assert_array_equal(simulate(changed, x, STEPS).readout, simulate(other.network, x, STEPS).readout)


def test_weights_that_the_network_has_not_are_refused_by_name(rng: np.random.Generator) -> None:
    file = NetworkFile(network_of(rng))
    with pytest.raises(UsageError, match="second/weight: the network has no such weights; it has first/weight"):
        with_weights(file, {"second/weight": np.ones((2, 2))})
    with pytest.raises(UsageError, match=r"first/weight: has the shape \(4, 2, 3, 3\), got \(2, 2\)"):
        with_weights(file, {"first/weight": np.ones((2, 2))})


def test_layers_of_like_names_are_files_of_their_own(rng: np.random.Generator, tmp_path: Path) -> None:
    network = network_of(rng)
    names = iter(["a b", "a_b", "a-b", "a b", "a.b", "é" * 200, "ü" * 200])
    layers = tuple(replace(layer, name=next(names)) for layer in network.layers)
    file = NetworkFile(replace(network, layers=layers))
    export_network(file, "auryn", tmp_path / "out", images=np.zeros(0))
    count = sum(len(network.sources(number)) for number in range(len(network.layers) + 1))
    assert len(list((tmp_path / "out").glob("*.wmat"))) == count


def test_an_export_says_which_files_it_writes(tmp_path: Path) -> None:
    assert files_of("brian2", tmp_path / "net.py") == (tmp_path / "net.py", tmp_path / "net.data.h5")
    assert files_of("npz", tmp_path / "net.npz") == (tmp_path / "net.npz",)
    assert files_of("sonata", tmp_path / "folder") == ()
    with pytest.raises(UsageError, match=r"net\.h5: a script's name ends in \.py"):
        files_of("brian2", tmp_path / "net.h5")


def test_a_layers_name_becomes_a_word() -> None:
    assert word("../../x") == "x"
    assert word("\x1b[31m") == "31m"
    assert word("layer 1, max-pool") == "layer_1_max_pool"


def test_an_export_replaces_its_own_files_alone(tmp_path: Path) -> None:
    """Its marker says which they are, and may be a stranger's: no name in it leads out of the folder."""
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "important").write_text("mine")
    (out / "README.txt").write_text("written by ratespike\n    ../important\n    old.wmat\n")
    (out / "old.wmat").write_text("")
    with export_folder(out, "Weights, written by ratespike.") as folder:
        (folder / "new.wmat").write_text("1")
    assert sorted(p.name for p in out.iterdir()) == ["README.txt", "new.wmat"]
    assert (tmp_path / "important").read_text() == "mine"
    check_folder(out, new=False)
    (out / "mine.ras").write_text("mine")
    with pytest.raises(UsageError, match=r"holds mine\.ras, which no export wrote"):
        check_folder(out, new=False)
    with pytest.raises(UsageError, match="replace what is there with --force"):
        check_folder(out, new=True)

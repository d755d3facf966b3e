"""`ratespike bridge export` and `bridge import`: files of others, and nothing that is overwritten."""

from pathlib import Path

import h5py
import numpy as np

from bridge.files import sonata_network
from bridge.files.edges import Edges
from spiking.network_file import save
from spiking.stimuli import load_rates
from tests.spiking.if_networks import network_of


def test_an_exported_script_does_not_overwrite_what_it_comes_from(tmp_path: Path, run, rng) -> None:
    save(network_of((6, 5, 3), rng), tmp_path / "net.h5")
    before = (tmp_path / "net.h5").read_bytes()
    status, out, _ = run("bridge", "export", tmp_path / "net.h5", "--format", "brian2", "--out", tmp_path / "net.py")
    assert status == 0
    assert f"{tmp_path / 'net.py'} and {tmp_path / 'net.data.h5'}: brian2" in out
    assert (tmp_path / "net.h5").read_bytes() == before
    (tmp_path / "net.h5").rename(tmp_path / "net.data.h5")
    status, _, err = run(
        "bridge", "export", tmp_path / "net.data.h5", "--format", "brian2", "--out", tmp_path / "net.py", "--force"
    )
    assert (status, "would overwrite what is read" in err) == (2, True)
    assert (tmp_path / "net.data.h5").read_bytes() == before


def test_spike_times_off_the_grid_are_rounded_if_that_is_asked_for(tmp_path, run) -> None:
    (tmp_path / "t.ras").write_text("0.000407 3\n0.001527 0\n0.005132 2\n")
    given = ("bridge", "import", tmp_path / "t.ras", "--format", "auryn", "--dt", "1e-4", "--out", tmp_path / "t.h5")
    status, _, err = run(*given)
    assert (status, "--round-times" in err, "round_times" in err) == (1, True, False)
    status, out, _ = run(*given, "--round-times")
    assert (status, "3 spikes (rounded to steps of 0.0001 s) of 4 neurons" in out) == (0, True)
    given = ("bridge", "import", tmp_path / "t.h5", "--format", "sonata", "--dt", "1e-3", "--out", tmp_path / "u.ras")
    status, _, err = run(*given)
    assert (status, "--round-times" in err) == (1, True)
    assert run(*given, "--round-times")[0] == 0
    assert (tmp_path / "u.ras").read_text() == "0.0 3\n0.002 0\n0.005 2\n"


def test_several_files_of_rates_become_those_of_one_network(tmp_path, run) -> None:
    (tmp_path / "a.dat").write_text("0 5\n100 5\n")
    (tmp_path / "b.dat").write_text("".join(f"{k / 100} {k}\n" for k in range(7)))
    files = (tmp_path / "a.dat", tmp_path / "b.dat")
    status, out, _ = run("bridge", "import", *files, "--format", "auryn", "--out", tmp_path / "rates.npz")
    assert (status, "2 rates of 7 samples, 0.01 s apart" in out) == (0, True)
    assert [trace.values.tolist() for trace in load_rates(tmp_path / "rates.npz")] == [
        [5.0] * 7,
        [*map(float, range(7))],
    ]
    status, _, err = run("bridge", "import", *files, "--format", "sonata", "--out", tmp_path / "x.npz")
    assert (status, "one file at a time" in err) == (2, True)


def test_weights_of_edge_types_are_taken(tmp_path, run) -> None:
    edges = Edges(np.array([0, 1]), np.array([1, 0]), np.zeros(2), 2, 2)
    sonata_network.write_edges(tmp_path / "e.h5", {"a_to_b": sonata_network.EdgePopulation(edges, "a", "b")})
    with h5py.File(tmp_path / "e.h5", "a") as file:
        del file["edges/a_to_b/0/syn_weight"]
    (tmp_path / "types.csv").write_text("edge_type_id syn_weight delay\n0 0.25 2.0\n")
    given = ("bridge", "import", tmp_path / "e.h5", "--format", "sonata", "--out", tmp_path / "e.npz")
    assert run(*given)[0] == 1
    assert run(*given, "--edge-types", tmp_path / "types.csv")[0] == 0
    assert np.load(tmp_path / "e.npz")["a_to_b/weight"].tolist() == [0.25, 0.25]

"""The run file: what a run leaves comes back, in the right places; damaged and foreign files are refused."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from foundation.errors import RatespikeError
from spiking import simulation
from spiking.pairing import PairingProtocol
from spiking.paper.network import NetworkConfig, Wiring
from spiking.recording import NetworkRecord, PairingCurve
from spiking.run_config import RecordingConfig
from spiking.run_file import read_configs, read_networks, read_pairings, write_networks, write_pairings
from spiking.run_folder import RunFolder
from spiking.simulation import Piece, Run, State
from spiking.stimuli import RateTrace, SpikeEvents

DT = 1e-4
RATES = (RateTrace(np.array([60.0])), RateTrace(np.array([0.0, 90.0, 20.0, 60.0, 0.0]), interval=0.06))
CONFIG = NetworkConfig(exc=6, inh=2, population=5, p_ext=0.5, priming=1.0, duration=3.27, recurrence=True)
RECORDING = RecordingConfig(keep_spikes=1.3, weights_every=1.0, rate_bin=0.4)
STEPS = 42_700


class Script:
    """A network whose spikes are written down, and whose weights say which step it is."""

    def __init__(self, config: NetworkConfig, wiring: Wiring, lines: int) -> None:
        self.sizes = {"exc": config.exc} | ({"inh": config.inh} if config.inhibition != "none" else {})
        self.weights = {"ext/w": wiring.ext.pre.size, "ee/w": wiring.ee.pre.size, "ie/w": wiring.ie.pre.size}
        self.weights = {name: size for name, size in self.weights.items() if size}

    def __enter__(self) -> "Script":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def at(self, step: int) -> State:
        state: State = {name: step + np.arange(size) / size for name, size in self.weights.items()}
        return {**state, "clock": np.array([step]), "empty": np.zeros(0)}

    def start(self) -> State:
        return self.at(0)

    def advance(self, state: State, arrivals: SpikeEvents, learning: bool) -> Piece:
        first = int(state["clock"][0])
        spikes = {}
        for name, size in self.sizes.items():
            step, unit = script(size)
            inside = (step >= first) & (step < first + arrivals.steps)
            spikes[name] = step[inside] - first, unit[inside]
        return Piece(self.at(first + arrivals.steps), spikes, {})


def script(size: int) -> tuple[Any, Any]:
    """Spikes in the very first and the very last step, and of all units in every thirtieth."""
    step, unit = np.nonzero(np.tile((np.arange(STEPS) % 30 == 0) | (np.arange(STEPS) == STEPS - 1), (size, 1)).T)
    late = (step + unit * 7) % 11 != 3
    return step[late], unit[late]


def finished(path: Path, config: NetworkConfig = CONFIG, recording: RecordingConfig = RECORDING) -> Run:
    run = Run(config, RATES, recording, RunFolder(path, {}, resume=False))
    run.finish(Script)
    return run


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch):
    monkeypatch.setattr(simulation, "LONGEST", 0.5)


@pytest.fixture
def run(tmp_path):
    return finished(tmp_path / "run")


@pytest.fixture
def path(tmp_path, run):
    write_networks(tmp_path / "run.h5", [run.finished()])
    return tmp_path / "run.h5"


@pytest.fixture
def record(path) -> NetworkRecord:
    (record,) = read_networks(path)
    return record


# --- what comes back --------------------------------------------------------------------------------------------------
def test_the_last_spikes_are_kept(record, run) -> None:
    assert (record.start, record.end) == (pytest.approx(2.97), pytest.approx(4.27))
    inputs = run.input.fired(0, STEPS)
    for name, (step, unit), size in (
        ("exc", script(6), 6),
        ("inh", script(2), 2),
        ("inputs", (inputs.step, inputs.source), 10),
    ):
        spikes = getattr(record, name)
        kept = step >= 29_700
        assert 100 < kept.sum() < step.size
        np.testing.assert_array_equal(np.rint(spikes.time / DT), step[kept])
        np.testing.assert_array_equal(spikes.unit, unit[kept])
        assert spikes.size == size
        assert spikes.unit.dtype == np.int64


def test_weights_are_those_of_the_start_of_training_of_every_interval_and_of_the_end(record, run, path) -> None:
    np.testing.assert_allclose(record.weight_time, [0.0, 1.0, 2.0, 3.0, 3.27], rtol=1e-12)
    assert record.weights.shape == (5, run.wiring.ext.pre.size)
    np.testing.assert_array_equal(record.weights[:, 0], [10_000, 20_000, 30_000, 40_000, 42_700])
    np.testing.assert_array_equal(record.weights[2], 30_000 + np.arange(record.pre.size) / record.pre.size)
    with h5py.File(path) as file:
        for name in ("ee", "ie"):
            weights = np.asarray(file[f"networks/0/weights/{name}"])
            assert weights.shape == (5, getattr(run.wiring, name).pre.size)
            np.testing.assert_array_equal(weights[:, 0], record.weights[:, 0])


@pytest.mark.parametrize(
    ("duration", "every", "times"),
    [(3.0, 1.0, [0, 1, 2, 3]), (0.3, 1.0, [0, 0.3]), (1.2, 0.5, [0, 0.5, 1, 1.2]), (0.5, 250.0, [0, 0.5])],
)
def test_no_snapshot_is_missing_and_none_comes_twice(tmp_path, duration, every, times) -> None:
    config, recording = replace(CONFIG, duration=duration), replace(RECORDING, weights_every=every)
    write_networks(tmp_path / "x.h5", [finished(tmp_path / "run", config, recording).finished()])
    (record,) = read_networks(tmp_path / "x.h5")
    np.testing.assert_allclose(record.weight_time, times)
    np.testing.assert_array_equal(record.weights[:, 0], np.rint(10_000 + np.array(times) / DT))


def test_rates_are_those_of_all_spikes_also_in_the_last_bin_which_is_shorter(record, run) -> None:
    edges = np.append(np.arange(0, STEPS, 4000), STEPS)
    np.testing.assert_allclose(record.rate_time, edges[1:] * DT)
    seconds = np.diff(edges) * DT
    assert seconds[-1] == pytest.approx(0.27)
    for name, size in (("exc", 6), ("inh", 2)):
        expected = np.histogram(script(size)[0], edges)[0] / seconds / size
        np.testing.assert_allclose(record.rates[name], expected)
    inputs = run.input.fired(0, STEPS)
    for population in (0, 1):
        steps = inputs.step[inputs.source // 5 == population]
        np.testing.assert_allclose(record.rates["inputs"][:, population], np.histogram(steps, edges)[0] / seconds / 5)
    assert record.rates["inputs"].shape == (11, 2)


def test_bins_that_no_piece_ends_with(tmp_path) -> None:
    """Bins of 0.7 s in pieces of 0.5 s, and one bin longer than the run."""
    for bin_width, bins in ((0.7, 7), (0.0001, 42_700), (60.0, 1)):
        recording = replace(RECORDING, rate_bin=bin_width)
        folder = tmp_path / str(bins)
        write_networks(tmp_path / f"{bins}.h5", [finished(folder, CONFIG, recording).finished()])
        (record,) = read_networks(tmp_path / f"{bins}.h5")
        assert record.rate_time.size == bins
        seconds = np.diff(record.rate_time, prepend=0)
        assert (record.rates["exc"] * seconds).sum() * 6 == pytest.approx(script(6)[0].size)


def test_who_is_connected_with_whom_and_what_came_in(path, run, record) -> None:
    np.testing.assert_array_equal(record.pre, run.wiring.ext.pre)
    np.testing.assert_array_equal(record.post, run.wiring.ext.post)
    np.testing.assert_array_equal(record.population, [0] * 5 + [1] * 5)
    assert record.label == "LPL"
    with h5py.File(path) as file:
        network = file["networks/0"]
        for name in ("ext", "ei", "ie", "ii", "ee"):
            for key in ("pre", "post", "w"):
                values = getattr(getattr(run.wiring, name), key)
                np.testing.assert_array_equal(np.asarray(network[f"wiring/{name}/{key}"]), values)
        np.testing.assert_array_equal(np.asarray(network["wiring/U"]), run.wiring.U)
        for number, trace in enumerate(RATES):
            np.testing.assert_array_equal(np.asarray(network[f"input/{number}"]), trace.values)
            assert network[f"input/{number}"].attrs["interval"] == trace.interval
        assert run.folder.state is not None
        for name, value in run.folder.state.items():
            np.testing.assert_array_equal(np.asarray(network[f"state/{name}"]), value)
        assert network["state/clock"][0] == STEPS


def test_configs_come_back(path, run) -> None:
    assert read_configs(path) == [CONFIG]


def test_several_networks_in_order(tmp_path) -> None:
    configs = [replace(CONFIG, seed=seed, lambda_=lambda_) for seed, lambda_ in ((3, 1.0), (4, 0.0))]
    runs = [finished(tmp_path / str(config.seed), config).finished() for config in configs]
    write_networks(tmp_path / "two.h5", runs)
    assert read_configs(tmp_path / "two.h5") == configs
    assert [record.label for record in read_networks(tmp_path / "two.h5")] == ["LPL", "Hebb off"]
    one, other = read_networks(tmp_path / "two.h5")
    assert one.pre.tolist() != other.pre.tolist()


def test_a_network_without_inhibition(tmp_path) -> None:
    config = replace(CONFIG, inhibition="none", recurrence=False)
    write_networks(tmp_path / "x.h5", [finished(tmp_path / "run", config).finished()])
    (record,) = read_networks(tmp_path / "x.h5")
    assert (record.inh.size, record.inh.time.size, record.label) == (0, 0, "Inhib. off")
    np.testing.assert_array_equal(record.rates["inh"], np.zeros(11))
    with h5py.File(tmp_path / "x.h5") as file:
        assert set(file["networks/0/weights"]) == {"time", "ext"}


def test_a_run_without_a_spike(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(globals(), "script", lambda size: (np.zeros(0, int), np.zeros(0, int)))
    write_networks(tmp_path / "x.h5", [finished(tmp_path / "run").finished()])
    (record,) = read_networks(tmp_path / "x.h5")
    assert record.exc.time.size == record.inh.time.size == 0
    assert not record.rates["exc"].any()


def test_spikes_of_the_whole_run_if_they_are_asked_for(tmp_path) -> None:
    recording = replace(RECORDING, keep_spikes=1e6)
    write_networks(tmp_path / "x.h5", [finished(tmp_path / "run", CONFIG, recording).finished()])
    (record,) = read_networks(tmp_path / "x.h5")
    assert (record.start, record.exc.time[0]) == (0.0, 0.0)
    np.testing.assert_array_equal(np.rint(record.exc.time / DT), script(6)[0])


# --- what is refused --------------------------------------------------------------------------------------------------
def refused(path: Path, message: str, read: Any = read_networks) -> None:
    with pytest.raises(RatespikeError, match=message) as error:
        read(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < len(str(path)) + 500


def test_files_of_something_else_are_refused(tmp_path, path) -> None:
    refused(tmp_path / "none.h5", "no such file")
    refused(tmp_path, "is a folder, not a file")
    (tmp_path / "text.h5").write_text("a file")
    (tmp_path / "empty.h5").write_bytes(b"")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["networks/0/weights/ext"] = np.zeros((3, 4))
    protocol = PairingProtocol(pairings=2, inputs=3)
    curve = PairingCurve(10.0, 0.0, 1.0, 0.02, "as_simulated", np.zeros(3), np.zeros(3), 2)
    write_pairings(tmp_path / "curve.h5", [protocol], [curve])
    for name in ("text", "empty", "foreign", "curve"):
        refused(tmp_path / f"{name}.h5", "not a file of ratespike network runs")
        refused(tmp_path / f"{name}.h5", "not a file of ratespike network runs", read_configs)
    refused(path, "not a file of ratespike pairing curves", read_pairings)


def test_files_of_another_version_are_refused(path) -> None:
    with h5py.File(path, "a") as file:
        file.attrs["format"] = 99
    refused(path, "not a file of ratespike network runs of this version of ratespike")


@pytest.mark.parametrize(
    "name",
    ["networks", "networks/0/wiring", "networks/0/spikes/exc", "networks/0/spikes/exc/step", "networks/0/weights/ext",
     "networks/0/weights/time", "networks/0/rates/inputs", "networks/0/rates/time", "networks/0/input"],
)  # fmt: skip
def test_a_file_that_lacks_something_is_refused(path, name) -> None:
    with h5py.File(path, "a") as file:
        del file[name]
    refused(path, "damaged")


@pytest.mark.parametrize("attribute", ["config", "label", "dt", "steps", "kept_from"])
def test_a_file_that_lacks_an_attribute_is_refused(path, attribute) -> None:
    with h5py.File(path, "a") as file:
        del file["networks/0"].attrs[attribute]
    refused(path, "damaged", read_configs if attribute == "config" else read_networks)


def test_a_config_that_is_none_is_refused(path) -> None:
    for text in ("exc = ", "exc = 0", "exc = 'many'", "neurons = 3"):
        with h5py.File(path, "a") as file:
            file["networks/0"].attrs["config"] = text
        refused(path, "damaged", read_configs)


def test_steps_without_units_are_refused(path) -> None:
    with h5py.File(path, "a") as file:
        file["networks/0/spikes/exc/unit"].resize(10, axis=0)
    refused(path, "spikes/exc: steps and units do not match")


def test_nothing_is_followed_out_of_the_file(path, tmp_path) -> None:
    (tmp_path / "secret").write_bytes(bytes(10_000))
    with h5py.File(path, "a") as file:
        size = file["networks/0/wiring/ext/pre"].size
        del file["networks/0/wiring/ext/pre"]
        stored = [(str(tmp_path / "secret"), 0, 8 * size)]
        file["networks/0/wiring/ext"].create_dataset("pre", (size,), "i8", external=stored)
    refused(path, "wiring/ext/pre: is stored in another file")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("wiring/ext/post", lambda values: values + 1000, "wiring/ext: damaged"),
        ("weights/ext", lambda values: values * np.nan, "should be finite"),
        ("rates/time", lambda values: values * 2, "steps: damaged"),
        ("rates/exc", lambda values: values[:-1], "rates: damaged"),
        ("spikes/exc/unit", lambda values: values + 1000, "steps and units do not match"),
        ("spikes/exc/step", lambda values: values[::-1], "should have steps that ascend"),
    ],
)
def test_parts_that_do_not_go_with_each_other_are_refused(path, name, change, said) -> None:
    with h5py.File(path, "a") as file:
        values = file[f"networks/0/{name}"][()]
        del file[f"networks/0/{name}"]
        file[f"networks/0/{name}"] = change(values)
    refused(path, said)


def test_files_cut_short_are_refused(path) -> None:
    whole = path.read_bytes()
    for part in (0.1, 0.5, 0.9, 0.99):
        path.write_bytes(whole[: int(len(whole) * part)])
        refused(path, "damaged")
    path.write_bytes(whole[:-1])
    refused(path, "damaged")


@pytest.mark.parametrize(
    "name", ["spikes/exc/step", "spikes/inputs/unit", "weights/ext", "wiring/ext/pre", "rates/exc"]
)
def test_a_flipped_bit_in_the_numbers_is_noticed(path, name) -> None:
    with h5py.File(path) as file:
        at = file[f"networks/0/{name}"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[at + 5] ^= 16
    path.write_bytes(content)
    refused(path, "damaged")


def test_a_disk_without_room_is_noticed_before_anything_is_written(tmp_path, run, monkeypatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10_000_000))
    with pytest.raises(RatespikeError, match=r"x\.h5: needs 1\d MB, the disk has 10 MB left"):
        write_networks(tmp_path / "x.h5", [run.finished()])
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_a_run_that_lacks_a_piece_leaves_no_file(tmp_path, run) -> None:
    (tmp_path / "run" / "pieces" / "3.npz").unlink()
    with pytest.raises(RatespikeError, match=r"3\.npz: is missing"):
        write_networks(tmp_path / "x.h5", [run.finished()])
    assert [file.name for file in tmp_path.iterdir()] == ["run"]

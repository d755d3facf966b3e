"""Runs of networks in torch, all together: killed, stopped and resumed; what stops them, and what is too large."""

import os
import signal
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foundation.errors import RatespikeError, StoppedError, UsageError
from foundation.files import write_bytes
from spiking import run_folder
from spiking.compilers import trouble
from spiking.paper.network import NetworkConfig
from spiking.run_config import RecordingConfig, RunConfig
from spiking.run_file import read_networks
from spiking.run_folder import RunFolder
from spiking.simulation import Piece, State, partial_folder, run_networks
from spiking.stimuli import SpikeEvents
from spiking.torch import network_simulator
from spiking.torch.network_simulator import TorchNetworks, check_memory, measure_speed, memory_needed
from tests.spiking.killed import KilledError, write_then_die
from tests.spiking.network_cases import RATES, SMALL
from tests.spiking.same_files import assert_same_file

NETWORK = NetworkConfig(**{**SMALL, "priming": 0.5, "duration": 1.2, "recurrence": True, "augment_gradient": True,
                           "eta": 0.03})  # fmt: skip
CONFIG = RunConfig(NETWORK, RecordingConfig(keep_spikes=5.0, weights_every=0.5, rate_bin=0.4), networks=3)
PIECES = 4  # of each network: the priming, two of 0.5 s, one of 0.2 s
CPU = torch.device("cpu")
SETTINGS: dict[str, Any] = {"precision": "float32", "engine": "auto"}


def run(out: Path, simulate: Any = None, *, config: RunConfig = CONFIG, resume: bool = False, **settings: Any) -> None:
    chosen = partial(TorchNetworks, **{**SETTINGS, **settings}) if simulate is None else simulate
    run_networks(config, RATES, out, chosen, together=True, backend="torch", resume=resume)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The file of a run that was never stopped."""
    path = tmp_path_factory.mktemp("straight") / "run.h5"
    run(path)
    return path


def stored(out: Path, number: int) -> RunFolder:
    path = partial_folder(out) / str(number)
    found = tomllib.loads((path / "run.toml").read_text())
    return RunFolder(path, {k: v for k, v in found.items() if k not in ("format", "ratespike")}, resume=True)


# --- killed and stopped -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("writes", range(0, 6 * PIECES, 11 if trouble() else 5))
def test_killed_between_the_pieces_of_the_networks_it_ends_where_it_would(tmp_path, straight, monkeypatch, writes):
    """Six files after every step, two of each network."""
    out = tmp_path / "run.h5"
    monkeypatch.setattr(run_folder, "write_bytes", write_then_die(writes))
    with pytest.raises(KilledError):
        run(out)
    monkeypatch.setattr(run_folder, "write_bytes", write_bytes)
    if (partial_folder(out) / "2" / "run.toml").exists():
        done = [stored(out, k).done for k in range(3)]
        assert done == [(writes - 2 * k + 4) // 6 for k in range(3)]
    run(out, resume=True)
    assert_same_file(out, straight)
    assert [path.name for path in tmp_path.iterdir()] == ["run.h5"]


def test_in_tensor_operations_too(tmp_path, monkeypatch):
    config = replace(CONFIG, networks=2, network=replace(NETWORK, priming=0.0, duration=0.56))
    run(tmp_path / "whole.h5", config=config, engine="eager")
    out = tmp_path / "run.h5"
    monkeypatch.setattr(run_folder, "write_bytes", write_then_die(6))  # the first network has a piece more
    with pytest.raises(KilledError):
        run(out, config=config, engine="eager")
    monkeypatch.setattr(run_folder, "write_bytes", write_bytes)
    assert [stored(out, k).done for k in range(2)] == [2, 1]
    run(out, config=config, engine="eager", resume=True)
    assert_same_file(out, tmp_path / "whole.h5")


class Asked(TorchNetworks):
    """Asked to stop in the second piece."""

    calls = 0

    def advance(self, states: Sequence[State], arrivals: Sequence[SpikeEvents], learning: bool) -> list[Piece]:
        Asked.calls += 1
        if Asked.calls == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return super().advance(states, arrivals, learning)


def test_asked_to_stop_it_finishes_the_piece_of_all(tmp_path, straight, monkeypatch):
    monkeypatch.setattr(Asked, "calls", 0)
    out = tmp_path / "run.h5"
    with pytest.raises(StoppedError, match="go on with --resume"):
        run(out, partial(Asked, **SETTINGS))
    assert [stored(out, k).done for k in range(3)] == [2, 2, 2]
    run(out, resume=True)
    assert_same_file(out, straight)


def test_a_network_of_a_run_is_that_network_run_alone(tmp_path):
    both, single = tmp_path / "both.h5", tmp_path / "one.h5"
    run(both, precision="float64")
    run(single, config=replace(CONFIG, network=replace(NETWORK, seed=1), networks=1), precision="float64")
    (expected,), found = read_networks(single), read_networks(both)[1]
    assert expected.exc.time.size > 200
    np.testing.assert_array_equal(found.exc.time, expected.exc.time)
    np.testing.assert_array_equal(found.inh.unit, expected.inh.unit)
    np.testing.assert_allclose(found.weights, expected.weights, rtol=0, atol=1e-9)
    assert np.abs(expected.weights[-1] - expected.weights[0]).max() > 1e-2


# --- what is not finite -----------------------------------------------------------------------------------------------
class Exploding(TorchNetworks):
    """A conductance of the second network is no number any more in the third piece."""

    calls = 0

    def advance(self, states: Sequence[State], arrivals: Sequence[SpikeEvents], learning: bool) -> list[Piece]:
        Exploding.calls += 1
        if Exploding.calls == 3:
            states[1]["exc/g_ampa"][4] = np.nan
        return super().advance(states, arrivals, learning)


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_what_is_not_finite_stops_the_run_and_is_named(tmp_path, monkeypatch, straight, engine):
    monkeypatch.setattr(Exploding, "calls", 0)
    out, config = tmp_path / "run.h5", CONFIG if engine == "auto" else replace(CONFIG, networks=2)
    with pytest.raises(
        RatespikeError, match=r"^LPL, seed 1: exc/.* is not finite any more; the last good state"
    ) as error:
        run(out, partial(Exploding, precision="float32", engine=engine), config=config)
    assert "\n" not in str(error.value)
    for k in range(config.networks):
        folder = stored(out, k)
        assert folder.done == 2
        assert folder.state is not None
        assert all(np.isfinite(value).all() for value in folder.state.values())
    if engine == "auto":
        run(out, resume=True)
        assert_same_file(out, straight)


# --- what does not fit ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("fitting", "shown"), [(2.5, "2"), (0.3, "0")])
def test_what_does_not_fit_into_memory_is_refused_before_anything_is_done(tmp_path, monkeypatch, fitting, shown):
    each = memory_needed(NETWORK, 16, precision="float32", device=CPU, engine="auto")
    monkeypatch.setattr(network_simulator, "free_memory", lambda device: int(fitting * each))
    message = rf"^networks: 3 of them need about 0\.\d GB, cpu has -?0\.\d GB left; at most {shown} fit$"
    with pytest.raises(RatespikeError, match=message):
        run(tmp_path / "run.h5")
    assert list(tmp_path.iterdir()) == []


def test_the_largest_number_that_is_named_does_fit(monkeypatch):
    each = memory_needed(NETWORK, 16, precision="float32", device=CPU, engine="auto")
    monkeypatch.setattr(network_simulator, "free_memory", lambda device: 7 * each)
    check_memory({NETWORK: 7}, 16, device=CPU, **SETTINGS)
    with pytest.raises(RatespikeError, match="at most 7 fit"):
        check_memory({NETWORK: 8}, 16, device=CPU, **SETTINGS)


def test_memory_grows_with_all_that_takes_it():
    paper = NetworkConfig()

    def needed(config: NetworkConfig = paper, lines: int = 500, **changes: Any) -> int:
        return memory_needed(config, lines, **{"precision": "float32", "device": CPU, "engine": "eager", **changes})

    assert needed() > 1e6
    assert needed(precision="float64") > needed()
    assert needed(lines=1000) > needed()
    assert needed(replace(paper, recurrence=True)) > needed()
    assert needed(replace(paper, exc=200)) > needed()
    if not trouble():
        assert needed(engine="compiled") < needed()


def test_a_sweep_of_the_paper_fits_into_this_machine():
    """20 networks in a few hundred MB."""
    assert 20 * memory_needed(NetworkConfig(), 500, precision="float32", device=CPU, engine="auto") < 1e9


# --- the rest ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("setting", "value"), [("precision", "float16"), ("engine", "magic"), ("threads", 0)])
def test_settings_that_do_not_exist_write_nothing(tmp_path, setting, value):
    with pytest.raises(UsageError, match=f"^{setting}: .*, got '?{value}'?"):
        run(tmp_path / "run.h5", **{setting: value})
    assert list(tmp_path.iterdir()) == []


def test_a_trial_says_how_fast_it_is():
    configs = [replace(NETWORK, seed=seed) for seed in range(2)]
    speed = measure_speed(configs, RATES, partial(TorchNetworks, **SETTINGS))
    assert 0.1 < speed < 1e6


def test_a_run_shorter_than_the_axonal_delay(tmp_path):
    """No input arrives, and no spike comes back."""
    short = RunConfig(replace(NETWORK, priming=0.0, duration=8e-4, dt=4e-4), RecordingConfig(rate_bin=0.4), networks=2)
    run(tmp_path / "run.h5", config=short)
    assert len(read_networks(tmp_path / "run.h5")) == 2

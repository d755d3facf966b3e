"""The compiled program: without a compiler, with one that fails, kept for the next time, and in several threads."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foundation.errors import RatespikeError
from spiking.network import InputSpikes, NetworkConfig, draw_wiring
from spiking.torch import engines, native
from spiking.torch.native import NativeStepper, compiler
from spiking.torch.network_simulator import TorchNetworks
from spiking.torch.stepping import TensorStepper
from tests.spiking.network_cases import RATES, SMALL

CONFIGS = [NetworkConfig(**{**SMALL, "dt": 4e-4, "seed": seed, "recurrence": seed > 2}) for seed in range(5)]
NEEDS_COMPILER = pytest.mark.skipif(compiler() is None, reason="no C++ compiler on this machine")


def networks(count: int = 1, **settings: Any) -> TorchNetworks:
    wirings = [draw_wiring(config, 16) for config in CONFIGS[:count]]
    return TorchNetworks(CONFIGS[:count], wirings, 16, **settings)


@pytest.fixture
def no_program(monkeypatch, tmp_path):
    """Nothing was compiled before."""
    native._load.cache_clear()
    monkeypatch.setattr("spiking.torch.native.pooch.os_cache", lambda name: str(tmp_path / name))
    yield tmp_path / "ratespike" / "programs"
    native._load.cache_clear()


# --- the compiler -----------------------------------------------------------------------------------------------------
def test_the_compiler_is_the_one_of_cxx_or_gcc(monkeypatch, tmp_path):
    own = tmp_path / "my-c++"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("CXX", f"{own} --fast")
    assert compiler() == [str(own), "--fast"]
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    assert compiler() is None
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compiler() is None


def test_without_a_compiler_compiled_is_refused_and_auto_is_eager(monkeypatch, no_program):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RatespikeError, match=r"no C\+\+ compiler \(g\+\+\) found") as error:
        networks(engine="compiled")
    assert "\n" not in str(error.value)
    assert isinstance(networks(engine="auto").stepper, TensorStepper)
    assert not engines.native(torch.device("cpu"), "auto")


@NEEDS_COMPILER
def test_with_a_compiler_auto_is_compiled():
    assert isinstance(networks(engine="auto").stepper, NativeStepper)
    assert isinstance(networks(engine="eager").stepper, TensorStepper)


def test_a_compiler_that_fails_is_one_line_with_its_first_error(monkeypatch, no_program, tmp_path):
    bad = tmp_path / "bad"
    bad.write_text("#!/bin/sh\necho first words >&2\necho error: out of luck >&2\necho last words >&2\nexit 1\n")
    bad.chmod(0o755)
    monkeypatch.setenv("CXX", str(bad))
    with pytest.raises(RatespikeError, match=r"bad fails: error: out of luck$") as error:
        networks(engine="compiled")
    assert "\n" not in str(error.value)
    assert not no_program.exists()


def test_a_compiler_that_fails_without_a_word(monkeypatch, no_program):
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(RatespikeError, match="false fails: without a word"):
        networks(engine="compiled")


# --- the program ------------------------------------------------------------------------------------------------------
@NEEDS_COMPILER
def test_a_program_is_compiled_once(monkeypatch, no_program):
    """For networks that differ in all their numbers; kept on disk for other processes, each precision and processor."""
    made: list[Path] = []
    compiled = subprocess.run

    def count(command: Any, **options: Any) -> Any:
        made.append(command[command.index("-o") + 1])
        if len(made) == 1:
            return compiled(command, **options)
        made[-1].write_bytes(first.read_bytes())  # saves seconds; it is not run
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", count)
    networks(engine="compiled")
    (first,) = no_program.iterdir()
    assert first.suffix == ".so"
    networks(2, engine="compiled")
    native._load.cache_clear()  # as in another process
    networks(engine="compiled")
    assert len(made) == 1
    networks(engine="compiled", precision="float64")
    assert len(made) == len([*no_program.iterdir()]) == 2
    native._load.cache_clear()
    monkeypatch.setattr(native, "_processor", lambda: "another")  # the folder may be shared; -march=native is not
    networks(engine="compiled")
    assert len(made) == len([*no_program.iterdir()]) == 3


def advance(simulator: TorchNetworks, count: int, steps: int = 2000) -> list[Any]:
    arrivals = [InputSpikes(config, RATES).fired(-2, steps) for config in CONFIGS[:count]]
    return simulator.advance(simulator.start(), arrivals, True)


@NEEDS_COMPILER
@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_change_no_bit(threads):
    one, several = (advance(networks(5, engine="compiled", threads=n), 5) for n in (1, threads))
    assert sum(piece.spikes["exc"][0].size for piece in one) > 300
    for first, second in zip(one, several, strict=True):
        for name in ("exc", "inh"):
            for x, y in zip(first.spikes[name], second.spikes[name], strict=True):
                np.testing.assert_array_equal(x, y)
        for name, value in first.state.items():
            np.testing.assert_array_equal(second.state[name], value, err_msg=name)


@NEEDS_COMPILER
def test_spikes_come_in_the_order_of_time_and_units():
    for piece in advance(networks(5, engine="compiled"), 5):
        for step, unit in piece.spikes.values():
            order = np.lexsort((unit, step))
            np.testing.assert_array_equal(order, np.arange(step.size))


def test_the_template_is_filled_in_completely():
    source = native._source(networks(engine="eager").batch)
    assert "{{" not in source
    assert "{{STEP}}" in (Path(native.__file__).parent / "native.cpp").read_text()

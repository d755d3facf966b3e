"""The compiled program: without a compiler, with one that fails, kept for the next time, and in several threads."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foundation.errors import Notice, RatespikeError
from foundation.scratch import Scratch
from spiking.compilers import compile_library, compiler, trouble
from spiking.paper.network import InputSpikes, NetworkConfig, draw_wiring
from spiking.torch import engines, native, programs
from spiking.torch.native import NativeStepper
from spiking.torch.network_simulator import TorchNetworks
from spiking.torch.stepping import TensorStepper
from tests.spiking.network_cases import RATES, SMALL

CONFIGS = [NetworkConfig(**{**SMALL, "dt": 4e-4, "seed": seed, "recurrence": seed > 2}) for seed in range(5)]
NEEDS_COMPILER = pytest.mark.skipif(bool(trouble()), reason="no C++ compiler on this machine")


def networks(count: int = 1, **settings: Any) -> TorchNetworks:
    wirings = [draw_wiring(config, 16) for config in CONFIGS[:count]]
    return TorchNetworks(CONFIGS[:count], wirings, 16, **settings)


@pytest.fixture
def no_program(monkeypatch, tmp_path):
    """Nothing was compiled before."""
    programs.load.cache_clear()
    monkeypatch.setattr("spiking.torch.programs.pooch.os_cache", lambda name: str(tmp_path / name))
    yield tmp_path / "ratespike" / "programs"
    programs.load.cache_clear()


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
    assert not list(no_program.iterdir())


def test_a_compiler_that_fails_without_a_word(monkeypatch, no_program):
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(RatespikeError, match="false fails: without a word"):
        networks(engine="compiled")
    assert trouble() == "false fails: without a word"
    assert isinstance(networks(engine="auto").stepper, TensorStepper)


# --- what is kept -----------------------------------------------------------------------------------------------------
def kept(no_program: Path) -> Path:
    """A program that was compiled before, as another process finds it."""
    networks(engine="compiled")
    programs.load.cache_clear()
    (path,) = no_program.iterdir()
    return path


COMPILED: dict[str, bytes] = {}
"""What was compiled before, by source: it takes seconds."""


@pytest.fixture
def compilations(monkeypatch):
    """What is compiled."""
    made: list[str] = []

    def count(command: list[str], source: str, where: Scratch) -> Path:
        made.append(source)
        if source not in COMPILED:
            COMPILED[source] = compile_library(command, source, where).read_bytes()
        (where.path / "program.so").write_bytes(COMPILED[source])
        return where.path / "program.so"

    monkeypatch.setattr(programs, "compile_library", count)
    return made


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def foreign(path: Path) -> None:
    """A library of others: valid, but nobody knows what it does."""
    path.write_bytes(path.read_bytes()[:-32])


def of_another_source(path: Path) -> None:
    """One of ours under a wrong name."""
    content = path.read_bytes()[:-32]
    path.write_bytes(content + programs._digest(content, b"another source"))


def open_to_others(path: Path) -> None:
    path.chmod(0o666)


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@NEEDS_COMPILER
@pytest.mark.parametrize("change", [halved, flipped, foreign, of_another_source, open_to_others, linked])
def test_a_program_that_is_not_as_it_was_left_is_compiled_again(change, no_program, compilations):
    path = kept(no_program)
    sound = path.read_bytes()
    networks(engine="compiled")
    assert len(compilations) == 1  # a sound one is used
    change(path)
    for _ in range(2):
        programs.load.cache_clear()
        assert advance(networks(engine="compiled"), 1, 100)
        assert len(compilations) == 2  # and is sound again
    assert not path.is_symlink()
    assert path.stat().st_size == len(sound)
    assert path.stat().st_mode & 0o777 == 0o600


@NEEDS_COMPILER
def test_what_is_kept_belongs_to_its_user_alone(no_program, compilations):
    before = os.umask(0)
    try:
        path = kept(no_program)
    finally:
        os.umask(before)
    for place, mode in ((path, 0o600), (no_program, 0o700), (no_program.parent, 0o700)):
        assert place.stat().st_mode & 0o777 == mode


@NEEDS_COMPILER
@pytest.mark.parametrize("above", [False, True])
def test_a_folder_into_which_others_may_write_is_not_used(above, no_program, compilations):
    path = kept(no_program)
    (no_program.parent if above else no_program).chmod(0o777)
    foreign(path)
    left = path.read_bytes()
    with pytest.warns(Notice, match="others may write there, so no compiled program is kept"):
        networks(engine="compiled")
    assert len(compilations) == 2
    assert path.read_bytes() == left


@NEEDS_COMPILER
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_others_own_is_not_used(no_program, compilations):
    path = kept(no_program)
    os.chown(path, 12345, -1)
    networks(engine="compiled")
    assert len(compilations) == 2
    assert path.stat().st_uid == 0
    os.chown(no_program, 12345, -1)
    programs.load.cache_clear()
    with pytest.warns(Notice, match="others may write there"):
        networks(engine="compiled")
    assert len(compilations) == 3


@NEEDS_COMPILER
def test_a_file_in_the_place_of_the_folder_does_no_harm(no_program, compilations):
    no_program.parent.mkdir(parents=True)
    no_program.touch()
    assert isinstance(networks(engine="compiled").stepper, NativeStepper)


# --- the program ------------------------------------------------------------------------------------------------------
@NEEDS_COMPILER
def test_a_program_is_compiled_once(monkeypatch, no_program, compilations) -> None:
    networks(engine="compiled")
    (first,) = no_program.iterdir()
    assert first.suffix == ".so"
    networks(2, engine="compiled")
    programs.load.cache_clear()  # as in another process
    networks(engine="compiled")
    assert len(compilations) == 1
    networks(engine="compiled", precision="float64")
    assert len(compilations) == len([*no_program.iterdir()]) == 2
    programs.load.cache_clear()
    monkeypatch.setattr(programs, "_processor", lambda: "another")  # the folder may be shared; -march=native is not
    networks(engine="compiled")
    assert len(compilations) == len([*no_program.iterdir()]) == 3


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

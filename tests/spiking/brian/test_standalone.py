"""Compiled programs: the same results as Brian2's own loop, to the last bit in pieces, and what can go wrong."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import brian2 as b2
import numpy as np
import pytest
from brian2.devices.device import get_device

from foundation.errors import RatespikeError
from foundation.scratch import Scratch
from spiking.brian import network_simulator, standalone
from spiking.brian.network_simulator import BrianNetwork
from spiking.brian.simulator import Probe, RuntimeSimulator, initial_state
from spiking.brian.standalone import StandaloneSimulator, no_standalone
from spiking.compilers import trouble
from spiking.paper.network import InputSpikes, NetworkConfig, draw_wiring
from spiking.simulation import Piece, State
from spiking.stimuli import RateTrace, SpikeEvents

compiled = pytest.mark.skipif(bool(trouble()), reason="no C++ compiler on this machine")

# What the step trace does not have: augmented gradient, weight decay, float32 traces, no inhibition; and recurrence.
FORWARD = NetworkConfig(
    exc=12, inh=4, inhibition="none", population=8, p_ext=0.5, w_ext=0.5, sigma_ei=6.0, priming=0.0, duration=1.6,
    dt=4e-4, tau_mean=0.5, tau_sigma2=0.3, eta=0.03, zeta=0.05, augment_gradient=True, tau_weights=2.0,
    float32_traces=True,
)  # fmt: skip
RECURRENT = replace(FORWARD, inhibition="plastic", recurrence=True)
RATES = (RateTrace(np.array([30.0])), RateTrace(np.array([0.0, 90.0, 20.0, 60.0, 0.0]), interval=0.06))
DELAY, STEPS = 2, 4000
PROBES = {"neuron": Probe("exc", ("U", "thr"), (3, 7)), "synapses": Probe("ext", ("w", "el_sum"), (0, 1, 5), every=10)}


def network(config: NetworkConfig, codegen: str) -> BrianNetwork:
    return BrianNetwork(config, draw_wiring(config, 16), 16, codegen, PROBES)


def start(simulator: BrianNetwork) -> State:
    """Traces of mean and variance that are not 0, and no numbers of float32."""
    state = simulator.start()
    for name in [name for name in state if name.endswith(".post/tr_mean")]:
        state[name] = np.linspace(5.0, 20.0, 12)
        state[name.replace("tr_mean", "sigma2")] = np.linspace(40.0, 10.0, 12)
    return state


def in_pieces(config: NetworkConfig, simulator: BrianNetwork, *cuts: int) -> tuple[State, dict[str, Any]]:
    """The state at the end, and all spikes and probes."""
    inputs, state = InputSpikes(config, RATES), start(simulator)
    found: dict[str, list[Any]] = {}
    for first, end in zip((0, *cuts), (*cuts, STEPS), strict=True):
        piece = simulator.advance(state, inputs.fired(first - DELAY, end - first), learning=first >= 1250)
        state = piece.state
        for name, (step, unit) in piece.spikes.items():
            found.setdefault(name, []).append(np.stack([step + first, unit], 1))
        for probe, values in piece.probes.items():
            for name, value in values.items():
                found.setdefault(f"{probe}.{name}", []).append(value)
    return state, {name: np.concatenate(parts) for name, parts in found.items()}


@pytest.fixture(scope="module", params=["forward", pytest.param("recurrent", marks=pytest.mark.slow)])
def config(request) -> NetworkConfig:
    return FORWARD if request.param == "forward" else RECURRENT


@pytest.fixture(scope="module")
def program(config) -> Iterator[BrianNetwork]:
    """It is compiled for ten input spikes, and so anew for the first piece."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network_simulator, "CAPACITY", 10)
        simulator = network(config, "standalone")
    with simulator:
        yield simulator


def assert_like_numpy(config: NetworkConfig, simulator: BrianNetwork) -> None:
    ours, recorded = in_pieces(config, simulator, 1250)
    with network(config, "numpy") as other:
        expected, theirs = in_pieces(config, other, 1250)
    for name in recorded.keys() & {"exc", "inh"}:
        np.testing.assert_array_equal(recorded[name], theirs[name])
        assert len(recorded[name]) > 200
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        assert (ours[name].dtype, ours[name].shape) == (value.dtype, value.shape)
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=1e-12 * np.abs(value).max(initial=0), err_msg=name)
    for name in ("ext.post/tr_mean", "ext.post/sigma2"):
        np.testing.assert_array_equal(np.float32(ours[name]), ours[name])
        np.testing.assert_array_equal(ours[name], expected[name])
    assert all(np.ptp(ours[name]) > 0.05 for name in ("ext/w", "ee/w", "ie/w") if name in ours)
    for name in ("neuron.U", "neuron.thr", "synapses.w", "synapses.el_sum"):
        assert recorded[name].shape == theirs[name].shape
        assert len(recorded[name]) in (4000, 400)
        scale = np.abs(theirs[name]).max()
        np.testing.assert_allclose(recorded[name], theirs[name], rtol=0, atol=1e-12 * scale, err_msg=name)


@compiled
def test_a_program_and_numpy_give_the_same(config, program):
    assert_like_numpy(config, program)


@compiled
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_cython_and_numpy_give_the_same():
    with network(RECURRENT, "cython") as simulator:
        assert_like_numpy(RECURRENT, simulator)


@compiled
def test_a_program_in_pieces_gives_the_same_bits(config, program):
    """Pieces begin with a weight update, in steps 0, 1250, ...; the last may have any length."""
    whole, recorded = in_pieces(config, program, 1250)
    for cuts in ((1250, 2500), (1250, 2500, 3750)):
        state, again = in_pieces(config, program, *cuts)
        for name, value in recorded.items():
            np.testing.assert_array_equal(again[name], value, err_msg=name)
        for name, value in whole.items():
            np.testing.assert_array_equal(state[name], value, err_msg=name)


@compiled
def test_a_program_does_not_remember_the_call_before(config, program):
    inputs = InputSpikes(config, RATES)
    state = start(program)
    one = program.advance(state, inputs.fired(-DELAY, 500), learning=True)
    for steps in (30, 1):
        program.advance(dict(one.state), inputs.fired(700, steps), learning=False)  # within a window
    two = program.advance(state, inputs.fired(-DELAY, 500), learning=True)
    for name, value in one.state.items():
        np.testing.assert_array_equal(two.state[name], value)


@compiled
def test_a_piece_without_input(config, program):
    inputs = InputSpikes(config, (RateTrace(np.zeros(1)),) * 2)
    state = start(program)
    quiet = program.advance(state, inputs.fired(0, 300), learning=True).state
    with network(config, "numpy") as simulator:
        expected = simulator.advance(state, inputs.fired(0, 300), learning=True).state
    np.testing.assert_allclose(quiet["exc/U"], expected["exc/U"], rtol=1e-12)
    assert not quiet["ext.pre/trpre"].any()


# --- a small model ----------------------------------------------------------------------------------------------------
class Counter:
    """Neurons that count the spikes that arrive, and fire at every fourth."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.group = b2.NeuronGroup(source.N, "x : 1", threshold="x > 3.5", reset="x = 0", clock=source.clock)
        self.synapses = b2.Synapses(source, self.group, on_pre="x_post += 1", clock=source.clock)
        self.synapses.connect(j="i", namespace={})

    def __iter__(self) -> Iterator[Any]:
        return iter((self.source, self.group, self.synapses))

    def groups(self) -> dict[str, Any]:
        return {"counter": self.group}

    neurons = groups


def events(source: Any, step: Any, steps: int = 100) -> SpikeEvents:
    return SpikeEvents(np.asarray(source, np.int64), np.asarray(step, np.int64), 3, 1e-3, steps)


NONE = events([], [])
TEN = events([0, 1, 2] * 3 + [0], np.arange(10) * 11)
TWENTY = events([0, 0, 0, 1] * 5, np.arange(20) * 5 + 4)  # the last one in the last step


def test_a_program_that_is_too_small_gives_way_to_a_larger_one(monkeypatch):
    made: list[Any] = []

    class Program:
        def __init__(self, simulator: StandaloneSimulator, where: Scratch, lines: int, dt: float) -> None:
            assert where.path.is_dir()
            assert all(not other.folder.exists() for other in made)
            self.folder, self.capacity, self.calls = where.path, simulator.capacity, 0
            made.append(self)

        def run(self, state: State, arrivals: SpikeEvents) -> Piece:
            assert arrivals.source.size <= self.capacity
            self.calls += 1
            return Piece(state, {}, {})

    monkeypatch.setattr(standalone, "_compile", Program)
    with StandaloneSimulator(Counter, 10) as simulator:
        for given in (NONE, TEN, TWENTY, TEN, NONE):
            simulator.advance({}, given)
        assert [(program.capacity, program.calls) for program in made] == [(10, 2), (40, 3)]
        assert made[-1].folder.exists()
    assert not made[-1].folder.exists()


# --- what can go wrong ------------------------------------------------------------------------------------------------
def refused(message: str) -> None:
    """In one line; no folder stays behind, and Brian2 is as it was."""
    before, device = set(Path(tempfile.gettempdir()).glob("ratespike-*")), get_device()
    with pytest.raises(RatespikeError, match=message) as error, StandaloneSimulator(Counter, 10) as simulator:
        simulator.advance(initial_state(Counter, 3, 1e-3), TEN)
    assert "\n" not in str(error.value)
    assert set(Path(tempfile.gettempdir()).glob("ratespike-*")) <= before
    assert get_device() is device


def test_without_a_compiler(monkeypatch, tmp_path):
    message = "C\\+\\+ standalone mode needs make and a C\\+\\+ compiler"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert no_standalone() == "no C++ compiler (g++) found"
    refused(message)
    monkeypatch.setattr(standalone, "trouble", lambda: "")
    assert no_standalone() == "no `make` found"  # one of the two is not enough
    refused(message)
    (tmp_path / "make").touch(mode=0o755)
    assert not no_standalone()


@compiled
def test_a_compiler_that_fails(monkeypatch):
    monkeypatch.setenv("CXX", "false")
    refused("or the one named in CXX\\): false fails: without a word")


def test_a_program_that_fails(monkeypatch, tmp_path):
    def compiled_to_nothing(simulator: StandaloneSimulator, where: Scratch, lines: int, dt: float) -> Any:
        (where.path / "main").write_text("#!/bin/sh\necho First line >&2\necho Error: no more >&2\nexit 3\n")
        (where.path / "main").chmod(0o755)
        program = standalone._Program(where, simulator.capacity, dt)
        program.inputs, program.last = ("source", "step"), "last"
        return program

    monkeypatch.setattr(standalone, "_compile", compiled_to_nothing)
    refused("C\\+\\+ standalone mode: the simulation failed: Error: no more")


def test_models_can_be_built_again_after_a_program_was(monkeypatch):
    """Brian2's device for programs is left, whatever happens, and so is its preference."""
    monkeypatch.setattr(standalone, "call", lambda *arguments: None)
    before = b2.prefs["core.stop_on_keyboard_interrupt"]
    with StandaloneSimulator(Counter, 10) as simulator, pytest.raises(FileNotFoundError):
        simulator.advance(initial_state(Counter, 3, 1e-3), TEN)
    assert b2.prefs["core.stop_on_keyboard_interrupt"] == before
    piece = RuntimeSimulator(Counter).advance(initial_state(Counter, 3, 1e-3), TEN)
    assert piece.state["counter/x"].tolist() == [4, 3, 3]

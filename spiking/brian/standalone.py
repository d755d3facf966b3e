"""A model as a compiled C++ program (Brian2's standalone mode) that is called once per piece."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import brian2 as b2
import numpy as np
from brian2.core.functions import Function
from brian2.devices.device import get_device, reset_device, set_device
from numpy.typing import NDArray

from foundation.errors import RatespikeError
from foundation.scratch import Scratch, scratch
from spiking.brian.simulator import Build, Probe, spike_steps, state_variables
from spiking.compilers import trouble
from spiking.simulation import Array, Piece, State
from spiking.stimuli import SpikeEvents

# Brian2's hundred small sources include the same headers: compiled once, they make it twice as fast, and the program is
# the same. objects.cpp sets variables by name, at the start; it is large, and nothing in it has to be quick.
MAKEFILE = """include makefile
objects.h.gch: objects.h
\t$(CXX) $(CXXFLAGS) -x c++-header $< -o $@
$(OBJS): objects.h.gch
$(OBJS): CXXFLAGS += -include objects.h
objects.o: CXXFLAGS += -O1
"""
FOREVER = 1e6  # s, longer than any piece; the program stops when it is told
NEVER = np.iinfo(np.int32).max  # the step of an input spike that does not come


def no_standalone() -> str:
    """Why C++ standalone mode cannot be had here, in a line; nothing, if it can."""
    return trouble() or ("" if shutil.which("make") else "no `make` found")


def check_standalone() -> None:
    """Raise `RatespikeError` where there is none."""
    if reason := no_standalone():
        needs = "C++ standalone mode needs make and a C++ compiler (g++, or the one named in CXX)"
        raise RatespikeError(f"{needs}: {reason}")


class StandaloneSimulator:
    """A `spiking.brian.simulator.Simulator` in C++ standalone mode.

    The program is compiled when it is first needed, in a temporary folder that goes with the context. It takes at
    most `capacity` input spikes per piece, and is compiled anew if there are more.
    """

    def __init__(self, build: Build, capacity: int, probes: Mapping[str, Probe] | None = None) -> None:
        self.build, self.capacity, self.probes = build, capacity, probes or {}
        self._program: _Program | None = None
        self._open = ExitStack()

    def __enter__(self) -> StandaloneSimulator:
        return self

    def __exit__(self, *error: object) -> None:
        self._program = None
        self._open.close()

    def advance(self, state: State, arrivals: SpikeEvents) -> Piece:
        """Run on from `state`.

        Raises:
            RatespikeError: there is no compiler, or the program fails.
        """
        if self._program is None or arrivals.source.size > self.capacity:
            self.__exit__()
            self.capacity = max(self.capacity, 2 * arrivals.source.size if arrivals.source.size > self.capacity else 0)
            self._program = _compile(self, self._open.enter_context(scratch()), arrivals.lines, arrivals.dt)
        return self._program.run(state, arrivals)


class _Program:
    """A compiled model: where it lies, and in which files it writes what."""

    def __init__(self, where: Scratch, capacity: int, dt: float) -> None:
        self.where, self.capacity, self.dt = where, capacity, dt
        self.arguments: dict[str, tuple[str, np.dtype[Any]]] = {}  # state variable -> name in the program, type
        self.files: dict[str, tuple[str, np.dtype[Any]]] = {}  # result -> file, type
        self.inputs: tuple[str, str] = ("", "")
        self.last = ""
        self.neurons: tuple[str, ...] = ()
        self.probes: dict[str, Probe] = {}

    def run(self, state: State, arrivals: SpikeEvents) -> Piece:
        with tempfile.TemporaryDirectory(dir=self.where.path) as folder:
            return self._run(Path(folder), state, arrivals)

    def _run(self, folder: Path, state: State, arrivals: SpikeEvents) -> Piece:
        results = folder / "results"
        results.mkdir()
        command = ["./main", "--results_dir", f"{results}/"]
        for name, (variable, kind) in self.arguments.items():
            (folder / variable).write_bytes(np.ascontiguousarray(state[name], kind).tobytes())
            command.append(f"{variable}={folder / variable}")
        padding = self.capacity - arrivals.source.size
        for variable, values, rest in zip(self.inputs, (arrivals.source, arrivals.step), (0, NEVER), strict=True):
            padded = np.pad(values, (0, padding), constant_values=rest).astype(np.int32)
            (folder / variable).write_bytes(padded.tobytes())
            command.append(f"{variable}={folder / variable}")
        command.append(f"{self.last}={arrivals.steps - 1}")
        call(command, self.where, "the simulation failed")

        def result(name: str) -> Array:
            file, kind = self.files[name]
            return np.fromfile(results / file, kind)

        return Piece(
            {name: result(name) for name in self.arguments},
            {name: spike_steps(result(f"{name}.t"), result(f"{name}.i"), self.dt) for name in self.neurons},
            {
                name: {v: result(f"{name}.{v}").reshape(-1, len(probe.index)) for v in probe.variables}
                for name, probe in self.probes.items()
            },
        )


def _compile(simulator: StandaloneSimulator, where: Scratch, lines: int, dt: float) -> _Program:
    check_standalone()
    folder, program = where.path, _Program(where, simulator.capacity, dt)
    with standalone_device(folder) as device:
        source = _source(lines, simulator.capacity, dt)
        model = simulator.build(source)
        stop = halt(source.clock)
        monitors = {name: b2.SpikeMonitor(group) for name, group in model.neurons().items()}
        watching = {name: probe.monitor(model, dt) for name, probe in simulator.probes.items()}
        network = b2.Network(*model, stop, *monitors.values(), *watching.values())
        network.run(FOREVER * b2.second, namespace={})
        device.build(directory=str(folder), compile=False, run=False)

        def argument(variable: Any) -> str:
            return f"{variable.owner.name}.{variable.name}"

        def file(variable: Any) -> tuple[str, np.dtype[Any]]:
            return Path(device.get_array_filename(variable)).name, np.dtype(variable.dtype)

        for name, variable in state_variables(model).items():
            program.arguments[name] = argument(variable), np.dtype(variable.dtype)
            program.files[name] = file(variable)
        for name, monitor in monitors.items():
            program.files |= {f"{name}.{key}": file(monitor.variables[key]) for key in ("t", "i")}
        for name, monitor in watching.items():
            for key in simulator.probes[name].variables:
                program.files[f"{name}.{key}"] = file(monitor.variables[key])
        program.inputs = argument(source.variables["neuron_index"]), argument(source.variables["_timebins"])
        program.last = argument(stop.variables["last"])
    program.neurons, program.probes = tuple(monitors), dict(simulator.probes)
    make(where)
    return program


def make(where: Scratch) -> None:
    """Compile the sources in a folder."""
    (where.path / "quick.mk").write_text(MAKEFILE)
    (where.path / "make.deps").touch()  # what depends on what only matters where sources change
    call(["make", "-f", "quick.mk", f"-j{os.cpu_count() or 1}"], where, "the model does not compile")


@contextmanager
def standalone_device(folder: Path) -> Iterator[Any]:
    """Brian2's standalone device for as long as it takes to compile; the program does not need it."""
    set_device("cpp_standalone", directory=str(folder), build_on_run=False)
    device = get_device()
    interrupt = b2.prefs["core.stop_on_keyboard_interrupt"]
    b2.prefs["core.stop_on_keyboard_interrupt"] = False  # a program that stops early must not look finished
    try:
        yield device
    finally:
        b2.prefs["core.stop_on_keyboard_interrupt"] = interrupt
        device.reinit()
        reset_device()


def _source(lines: int, capacity: int, dt: float) -> Any:
    """A source of up to `capacity` spikes that are not known yet.

    Brian2 takes them for constants; declared as variables they can be given to the program like any other state.
    """
    source = b2.SpikeGeneratorGroup(
        lines, np.zeros(capacity, np.int32), np.arange(capacity) * dt * b2.second, dt=dt * b2.second, sorted=True
    )
    for name in ("neuron_index", "_timebins"):
        source.variables[name].read_only = False
    return source


def halt(clock: Any) -> Any:
    """Stops the program after step ``last``: how long it runs is compiled in, and pieces differ in length."""
    group = b2.NeuronGroup(
        1,
        "begin : 1 (shared)\nlast : integer (shared)\nhalted : integer",
        clock=clock,
        namespace={"stop_after": stop_after},
    )
    group.run_regularly("halted = stop_after(t_in_timesteps, last)", clock=clock, when="end", order=1)
    return group


def _stop_after(step: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
    raise RuntimeError("only C++ programs stop themselves")


stop_after = Function(_stop_after, arg_units=[1, 1], return_unit=1, arg_names=["step", "last"], return_type="integer")
stop_after.implementations.add_implementation(
    "cpp",
    """
    static inline int stop_after(const int64_t step, const int64_t last) {
        if (step >= last) Network::_globally_stopped = true;
        return step >= last;
    }
    """,
    name="stop_after",
)


def call(command: list[str], where: Scratch, failure: str) -> None:
    """Run a program; Ctrl-C and the end of a job end it."""
    done = where.run(command)
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if "rror" in line), f"status {done.returncode}")
        raise RatespikeError(f"C++ standalone mode: {failure}: {reason}")

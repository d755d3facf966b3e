"""Any declared network as a compiled C++ program (Brian2's standalone mode) that is called once per piece."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import brian2 as b2
import numpy as np
from brian2 import second

from foundation.errors import UsageError
from foundation.scratch import Scratch, scratch
from spiking.brian.declared import Builder, sorted_spikes
from spiking.brian.declared_neurons import arriving
from spiking.brian.standalone import NEVER, call, check_standalone, halt, make, standalone_device
from spiking.network.network import Network
from spiking.network.parts import Array, Population, State
from spiking.network.state import Recorded, Result, check_state, initial_state
from spiking.parameters import whole_steps
from spiking.rule import ThreeFactorRule
from spiking.simulation import LONGEST
from spiking.stimuli import SpikeEvents

FOREVER = 1e6  # s, longer than any piece; the program stops when it is told
# LONGEST, s: clocks of steps and of intervals are the same to 1e-14 s or not at all
SPARE = 1.5
"""How many times the spikes of its first piece a program takes in one; for more it is compiled anew."""


class DeclaredProgram:
    """Runs a declared network piece by piece; a context manager, whose end removes the program.

    Args:
        network: what to run.
        record: variables to keep beside all spikes.
        frozen: plastic projections whose weights stay as they are.

    Raises:
        UsageError: what does not fit, or what Brian2 cannot do.
        RatespikeError: there is no compiler.
    """

    def __init__(self, network: Network, record: Sequence[Recorded] = (), frozen: Sequence[str] = ()) -> None:
        check_standalone()
        self.network, self.record, self.frozen = network, tuple(record), tuple(frozen)
        self.round = math.lcm(*_intervals(network), *(each.every for each in record), 1)
        if self.round * network.dt > LONGEST:
            raise UsageError(f"intervals: in a program they need a common multiple of {LONGEST:g} s at most")
        self._open = ExitStack()
        self._capacity: dict[tuple[str, int], int] = {}
        self._built: _Built | None = None

    def __enter__(self) -> DeclaredProgram:
        return self

    def __exit__(self, *error: object) -> None:
        self._built = None
        self._open.close()

    def run(self, steps: int, state: State | None = None) -> Result:
        """As `spiking.network.stepper.run`. Raises also `RatespikeError`: the program fails."""
        start = initial_state(self.network)
        before = start if state is None else state
        check_state(before, start)
        if steps * self.network.dt > LONGEST:
            raise UsageError(
                f"steps: a piece of a program lasts {LONGEST:g} s at most, got {steps * self.network.dt} s"
            )
        first, arrivals = int(before["step"]), dict[tuple[str, int], SpikeEvents]()
        for name, delay in _pathways(self.network):
            source = self.network.populations[name]
            arrivals[name, delay] = arriving(self.network, source, delay, first, steps)
        sizes = {key: events.source.size for key, events in arrivals.items()}
        if self._built is None or any(size > self._capacity[key] for key, size in sizes.items()):
            self.__exit__()
            self._capacity = {key: int(SPARE * size) + 1000 for key, size in sizes.items()}
            self._built = _Built(self, self._open.enter_context(scratch()), self._capacity)
        return self._built.run(before, steps, arrivals)


def _intervals(network: Network) -> list[int]:
    found = []
    for projection in network.projections.values():
        if projection.intervals:
            found.append(whole_steps("interval", projection.intervals.interval, network.dt))
        if isinstance(projection.rule, ThreeFactorRule):
            found.append(projection.rule.steps(network.dt).interval)
    return found


def _pathways(network: Network) -> list[tuple[str, int]]:
    """Sources that spike, with the delays after which their spikes arrive somewhere, and 0."""
    found = []
    for p in network.populations.values():
        if p.spikes and p.neuron is None:
            delays = {int(d) for q in network.projections.values() if q.source is p for d in np.unique(q.delay)}
            found += [(p.name, delay) for delay in sorted({0, *delays})]
    return found


class _Builder(Builder):
    """With sources of spikes that are not known yet. Brian2 takes them for constants; here they are variables."""

    capacity: dict[tuple[str, int], int]

    def _make_generator(self, p: Population, delay: int, source: Array, step: Array) -> Any:
        capacity = self.capacity[p.name, delay]
        made = super()._make_generator(p, delay, np.zeros(capacity, np.int32), np.arange(capacity))
        for name in ("neuron_index", "_timebins"):
            made.variables[name].read_only = False
        return made


class _Built:
    """A compiled program: where it lies, and in which files it writes what."""

    def __init__(self, of: DeclaredProgram, where: Scratch, capacity: dict[tuple[str, int], int]) -> None:
        self.of, self.where, self.capacity = of, where, capacity
        network = of.network
        with standalone_device(where.path) as device:
            _Builder.capacity = capacity
            self.builder = _Builder(network, 0, 1, of.frozen)
            self.halt = halt(self.builder.clock)
            self.spikes, self.watching = self.builder.monitors(of.record)
            objects = b2.Network(
                *self.builder.objects, self.halt, *self.spikes.values(), *self.watching.values(), name="declared"
            )
            begin = device.get_array_name(self.halt.variables["begin"])
            # Arguments are read first, or the program would begin at 0; and clocks do not set their time themselves.
            clocks = {each.clock.name for each in (*self.builder.objects, *self.watching.values())}
            clocks |= {part.clock.name for each in self.builder.objects for part in each.contained_objects}
            start = [_begin(f"brian::{name}", begin) for name in sorted(clocks)]
            code = ["set_from_command_line(args);", f"declared.t = {begin}[0];", *start]
            device.insert_code("before_network_run", "\n".join(code))
            objects.run(FOREVER * second, namespace={})
            device.build(directory=str(where.path), compile=False, run=False)
            self.files: dict[tuple[str, str], tuple[str, np.dtype[Any]]] = {}
            monitors = [(m, name) for m in self.spikes.values() for name in ("t", "i")]
            known = {**self.builder.places, **self.builder.passing}
            monitors += [(m, known[name][1]) for name, m in self.watching.items()]
            places = [(group, variable) for group, variable, _ in self.builder.arrays(initial_state(network))]
            for owner, name in [*monitors, *places]:
                variable = owner.variables[name]
                file = Path(device.get_array_filename(variable)).name
                self.files[owner.name, name] = file, np.dtype(variable.dtype)
            self.kinds = {
                f"{g.name}.{name}": np.dtype(g.variables[name].dtype)
                for g in self.builder.generators.values()
                for name in ("neuron_index", "_timebins")
            }
        make(where)

    def run(self, before: State, steps: int, arrivals: dict[tuple[str, int], SpikeEvents]) -> Result:
        with tempfile.TemporaryDirectory(dir=self.where.path) as name:
            return self._run(Path(name), before, steps, arrivals)

    def _run(self, folder: Path, before: State, steps: int, arrivals: dict[tuple[str, int], SpikeEvents]) -> Result:
        network, first = self.of.network, int(before["step"])
        begin = first % self.of.round
        command = ["./main", "--results_dir", f"{folder / 'results'}/"]
        (folder / "results").mkdir()

        def give(name: str, values: Array) -> None:
            (folder / name).write_bytes(np.ascontiguousarray(values).tobytes())
            command.append(f"{name}={folder / name}")

        for group, variable, values in self.builder.arrays(before):
            give(f"{group.name}.{variable}", values.astype(self.files[group.name, variable][1]))
        for (name, delay), generator in self.builder.generators.items():
            events, capacity = arrivals[name, delay], self.capacity[name, delay]
            for variable, values, rest in (
                ("neuron_index", events.source, 0),
                ("_timebins", events.step + begin, NEVER),
            ):
                padded = np.pad(values, (0, capacity - values.size), constant_values=rest)
                give(f"{generator.name}.{variable}", padded.astype(self.kinds[f"{generator.name}.{variable}"]))
        for group in self.builder.shifted:
            command.append(f"{group.name}.shift={(first - begin) * network.dt!r}")
        command.append(f"{self.halt.name}.begin={begin * network.dt!r}")
        command.append(f"{self.halt.name}.last={begin + steps - 1}")
        call(command, self.where, "the simulation failed")

        def read(group: Any, variable: str) -> Array:
            file, kind = self.files[group.name, variable]
            return np.fromfile(folder / "results" / file, kind)

        spikes = {}
        for name, m in self.spikes.items():
            spikes[name] = sorted_spikes(read(m, "t") + (first - begin) * network.dt, read(m, "i"), network.dt)
        recorded = {name: self.builder.watched(name, partial(read, m), before) for name, m in self.watching.items()}
        after = self.builder.state(lambda g, v: read(g, v).astype(np.float64), before, steps)
        return Result(after, spikes, recorded)


def _begin(clock: str, time: str) -> str:
    """C++ that sets a clock to its first step from a time on."""
    return f"{clock}.t[0] = std::ceil({time}[0]/{clock}.dt[0] - 1e-6)*{clock}.dt[0];"

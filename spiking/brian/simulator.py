"""Run a Brian2 model piece by piece, as a function from its state at the start of a piece to that at the end.

The same objects run in Brian2's runtime mode (numpy, or compiled with Cython) and in C++ standalone mode, where one
compiled program is called once per piece. Nothing but the state connects two pieces, so a run can stop after any of
them and go on later, in another process or on another machine.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import brian2 as b2
import numpy as np
from brian2.core.variables import ArrayVariable
from numpy.typing import NDArray

from spiking.brian.running import code_generation, run_network
from spiking.simulation import Array, Piece, State
from spiking.stimuli import SpikeEvents


class Model(Protocol):
    """Brian2 objects that can be run in pieces. Iterating over it gives all of them."""

    def __iter__(self) -> Iterator[Any]: ...

    def groups(self) -> Mapping[str, Any]:
        """Every group whose variables are state, by a name that does not depend on Brian2's numbering."""
        ...

    def neurons(self) -> Mapping[str, Any]:
        """The groups whose spikes are recorded."""
        ...


Build = Callable[[Any], Model]
"""Makes a model around a source of input spikes."""


@dataclass(frozen=True)
class Probe:
    """Record variables of a group (as named by `Model.groups`) at the end of every `every`-th step."""

    group: str
    variables: tuple[str, ...]
    index: tuple[int, ...]
    every: int = 1

    def monitor(self, model: Model, dt: float) -> Any:
        group = model.groups()[self.group]
        return b2.StateMonitor(group, self.variables, record=self.index, when="end", dt=self.every * dt * b2.second)


class Simulator(Protocol):
    """Advances a model by the duration of the input that arrives; a context manager."""

    def advance(self, state: State, arrivals: SpikeEvents) -> Piece: ...

    def __enter__(self) -> Simulator: ...

    def __exit__(self, *error: object) -> None: ...


class RuntimeSimulator:
    """In Brian2's runtime mode; `target` is numpy (nothing is compiled) or cython."""

    def __init__(self, build: Build, target: str = "numpy", probes: Mapping[str, Probe] | None = None) -> None:
        self.build, self.target, self.probes = build, target, probes or {}

    def __enter__(self) -> RuntimeSimulator:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def advance(self, state: State, arrivals: SpikeEvents) -> Piece:
        """Run on from `state`. Every piece has new objects, so that memory does not grow with the recorded spikes."""
        gc.collect()  # frees the names of the last piece's objects: the same names make the same code, compiled once
        with code_generation(self.target):
            model = self.build(_source(arrivals))
            for name, variable in state_variables(model).items():
                variable.set_value(state[name])
            monitors = {name: b2.SpikeMonitor(group) for name, group in model.neurons().items()}
            watching = {name: probe.monitor(model, arrivals.dt) for name, probe in self.probes.items()}
            network = b2.Network(*model, *monitors.values(), *watching.values())
            run_network(network, arrivals.duration)
            return Piece(
                {name: np.array(variable.get_value()) for name, variable in state_variables(model).items()},
                {name: spike_steps(m.t / b2.second, m.i, arrivals.dt) for name, m in monitors.items()},
                {
                    name: {v: np.array(getattr(monitor, f"{v}_")).T for v in self.probes[name].variables}
                    for name, monitor in watching.items()
                },
            )


def initial_state(build: Build, lines: int, dt: float) -> State:
    """The state in which `build` leaves a model with `lines` inputs."""
    none = np.zeros(0, np.int64)
    with code_generation("numpy"):
        model = build(_source(SpikeEvents(none, none, lines, dt, 1)))
        for part in model:
            part._network = "none"  # or Brian2 warns of objects that no network runs
        return {name: np.array(variable.get_value()) for name, variable in state_variables(model).items()}


def state_variables(model: Model) -> dict[str, Any]:
    """Every variable that a model's code may change, by name."""
    return {
        f"{group_name}/{name}": variable
        for group_name, group in model.groups().items()
        for name, variable in sorted(group.variables.items())
        if isinstance(variable, ArrayVariable)
        and variable.owner is not None
        and variable.owner.name == group.name
        and not (variable.read_only or variable.constant or name.startswith("_"))
    }


def spike_steps(time: Array, unit: Array, dt: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Spikes of a monitor, (step, unit), from its times in s."""
    return np.rint(np.asarray(time) / dt).astype(np.int64), np.array(unit, dtype=np.int64)


def _source(arrivals: SpikeEvents) -> Any:
    return b2.SpikeGeneratorGroup(
        arrivals.lines,
        arrivals.source,
        arrivals.step * arrivals.dt * b2.second,
        dt=arrivals.dt * b2.second,
        sorted=True,
    )

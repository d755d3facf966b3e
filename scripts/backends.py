"""What simulates spiking networks: the options that say so, checked, and the simulators that they mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from foundation.errors import UsageError

from .options import device_option

if TYPE_CHECKING:
    from spiking.brian.network_simulator import BrianNetwork
    from spiking.run_config import RunConfig
    from spiking.simulation import BatchSimulator, SimulateBatch
    from spiking.stimuli import RateTrace

BACKENDS = {"brian2": ("auto", "standalone", "cython", "numpy"), "torch": ("auto", "compiled", "eager")}
CODEGEN = tuple(dict.fromkeys(name for names in BACKENDS.values() for name in names))
LONG_RUN = 1000.0  # simulated s, from which on it is worth while to say how long a run will take
TRIAL = 64  # networks of which the speed is measured


def backend_options(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that say what simulates, and how."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        options = (
            click.option(
                "--backend",
                type=click.Choice(list(BACKENDS)),
                default=default,
                show_default=True,
                help="what simulates: brian2, the definition; torch, much faster, many networks at once",
            ),
            click.option(
                "--codegen",
                type=click.Choice(CODEGEN),
                default="auto",
                show_default=True,
                help="how. brian2: a C++ program, cython, or numpy; torch: compiled or eager; auto: compiled, if it "
                "pays and a compiler is found",
            ),
            device_option,
            click.option(
                "--precision",
                type=click.Choice(["float32", "float64"]),
                help="of torch; brian2 has float64  [default: float32]",
            ),
        )
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@dataclass(frozen=True)
class Simulator:
    """What was asked for, checked."""

    backend: str
    codegen: str
    device: str
    precision: str | None

    def __post_init__(self) -> None:
        if self.codegen not in BACKENDS[self.backend]:
            known = ", ".join(BACKENDS[self.backend])
            raise UsageError(f"--codegen: must be one of {known} with {self.backend}, got '{self.codegen}'")
        if self.backend == "brian2" and self.device != "cpu":
            raise UsageError(f"--device: brian2 runs on the cpu, got '{self.device}'; use --backend torch")
        if self.backend == "brian2" and self.precision == "float32":
            raise UsageError("--precision: brian2 runs in float64; use --backend torch")
        if self.backend == "torch":
            from foundation.devices import find_device

            find_device(self.device, "--device")

    def torch(self) -> dict[str, Any]:
        """Arguments of the torch backend."""
        from foundation.devices import find_device

        return {
            "precision": self.precision or "float32",
            "device": find_device(self.device, "--device"),
            "engine": self.codegen,
        }


def prepare(asked: Simulator, config: RunConfig, traces: Sequence[RateTrace]) -> tuple[SimulateBatch, str]:
    """A backend for `spiking.simulation.run_networks`, and its name; says how long a long run will take."""
    return (_in_torch if asked.backend == "torch" else _in_brian)(asked, config, traces)


def _in_brian(asked: Simulator, config: RunConfig, traces: Sequence[RateTrace]) -> tuple[SimulateBatch, str]:
    from spiking.brian.network_simulator import backend, choose
    from spiking.simulation import alone

    chosen, note = choose(asked.codegen, config.seconds)

    def simulate(*network: Any) -> BrianNetwork:
        if note:
            click.echo(note, err=True)
        return backend(chosen)(*network)

    return alone(simulate), f"brian2, {chosen}"


def _in_torch(asked: Simulator, config: RunConfig, traces: Sequence[RateTrace]) -> tuple[SimulateBatch, str]:
    import torch

    from spiking.compilers import trouble
    from spiking.torch.engines import compiled
    from spiking.torch.network_simulator import backend, check_memory, measure_speed

    arguments = asked.torch()
    rate = sum(float(trace.values.mean()) for trace in traces) / len(traces)
    counts = dict.fromkeys(config.variants, config.networks)
    check_memory(counts, len(traces) * config.network.population, **arguments, input_rate=rate)
    where, engine, members = arguments["device"], arguments["engine"], config.members
    fast = compiled(where, engine)
    make = backend(**arguments, threads=torch.get_num_threads())

    def simulate(*networks: Any) -> BatchSimulator:
        if not fast and engine == "auto":
            click.echo(f"{trouble()}: running eagerly, fifty times slower or worse", err=True)
        if config.seconds >= LONG_RUN:
            speed = measure_speed(members if where.type == "cuda" else members[:TRIAL], traces, make)
            click.echo(
                f"{len(members)} networks, {config.seconds:g} simulated s, {speed:.0f} of them per s: "
                f"about {_duration(config.seconds / speed)} in all"
            )
        return make(*networks)

    return simulate, f"torch, {arguments['precision']}, {where.type}, {'compiled' if fast else 'eager'}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

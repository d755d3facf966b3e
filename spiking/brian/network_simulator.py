"""The network of the paper's Fig. 5 as a backend of `spiking.simulation`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from foundation.errors import UsageError
from spiking.brian.network import build_network
from spiking.brian.simulator import Probe, RuntimeSimulator, Simulator, initial_state
from spiking.brian.standalone import StandaloneSimulator, no_standalone
from spiking.paper.network import NetworkConfig, Wiring
from spiking.simulation import Piece, State, Windows
from spiking.stimuli import SpikeEvents

CODEGEN = ("standalone", "cython", "numpy")
LONG_RUN = 20.0  # s
CAPACITY = 200_000  # input spikes that a program takes in one piece: 50 s of 500 inputs at 5 Hz are 125,000


class BrianNetwork:
    """A `spiking.simulation.NetworkSimulator` in Brian2.

    Args:
        config: the network.
        wiring: its synapses.
        lines: number of inputs.
        codegen: "standalone" (a compiled C++ program), "cython", or "numpy".
        probes: what to record at every step, for short runs.
    """

    def __init__(
        self,
        config: NetworkConfig,
        wiring: Wiring,
        lines: int,
        codegen: str,
        probes: Mapping[str, Probe] | None = None,
    ) -> None:
        self._build = partial(build_network, config=config, wiring=wiring)
        self._pieces = Windows(config.rule.steps(config.dt).update_interval)
        self._lines, self._dt, self._eta = lines, config.dt, config.rule.eta
        if codegen not in CODEGEN:
            raise UsageError(f"codegen: must be one of {', '.join(CODEGEN)}, got '{codegen}'")
        self._simulator: Simulator = (
            StandaloneSimulator(self._build, CAPACITY, probes)
            if codegen == "standalone"
            else RuntimeSimulator(self._build, codegen, probes)
        )

    def __enter__(self) -> BrianNetwork:
        self._simulator.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._simulator.__exit__(*error)

    def start(self) -> State:
        """The state at step 0."""
        return initial_state(self._build, self._lines, self._dt)

    def advance(self, state: State, arrivals: SpikeEvents, learning: bool) -> Piece:
        """The state after the steps of `arrivals`: input spikes, in the steps in which they arrive."""
        rates = {name: np.full_like(value, self._eta * learning) for name, value in state.items() if "/eta" in name}
        self._pieces.begin([state])
        piece = self._simulator.advance({**state, **rates}, arrivals)
        self._pieces.end([piece.state], arrivals.steps)
        return piece


def backend(codegen: str) -> Callable[[NetworkConfig, Wiring, int], BrianNetwork]:
    """What `spiking.simulation.Run.finish` takes."""
    return partial(BrianNetwork, codegen=codegen)


def choose(codegen: str, seconds: float) -> tuple[str, str]:
    """Resolve "auto" for a run of that many s: how to run, and what the user should know about it (or "").

    To compile takes as long as numpy code takes for LONG_RUN.
    """
    if codegen != "auto":
        return codegen, ""
    if seconds < LONG_RUN:
        return "numpy", ""
    if reason := no_standalone():
        return "numpy", f"{reason}: running numpy code, some forty times slower"
    return "standalone", ""

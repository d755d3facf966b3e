"""The network of the paper's Fig. 5 in torch, many at once, as a backend of `spiking.simulation`."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foundation.devices import free_memory
from foundation.errors import RatespikeError, UsageError
from foundation.threads import threads_for
from spiking.paper.network import INPUT_BLOCK, InputSpikes, NetworkConfig, Wiring, draw_wiring
from spiking.simulation import LONGEST, Piece, SimulateBatch, Windows
from spiking.simulation import State as Arrays
from spiking.stimuli import RateTrace, SpikeEvents
from spiking.torch.batch import PLASTIC, Batch, Member, State
from spiking.torch.engines import dtype_of, make_stepper, native
from spiking.torch.neuron import NeuronState
from spiking.torch.plasticity import Events
from spiking.torch.stepping import Spikes

SYNAPSE = ("w", "el", "el_flt", "el_sum", "g2")
INPUT_RATE = 8.0  # Hz per input, with which memory is reckoned where nobody knows better
OUTPUT_RATE = 20.0  # Hz per neuron, likewise


class TorchNetworks:
    """A `spiking.simulation.BatchSimulator`.

    Args:
        configs: the networks; they may differ in everything but sizes, dt, delays and `float32_traces`.
        wirings: their synapses.
        lines: number of inputs of each.
        precision: float32 or float64; statistics are kept in double precision anyway.
        device: where to compute.
        engine: "compiled" (on the CPU a program in C++, which needs a compiler; on a GPU torch.compile), "eager" (torch
            operations), or "auto": compiled where that is possible.
        threads: on the CPU, how many networks to advance at a time.

    Raises:
        UsageError: the networks do not fit together.
        RatespikeError: they do not fit into memory; the message says how many would.
    """

    def __init__(
        self,
        configs: Sequence[NetworkConfig],
        wirings: Sequence[Wiring],
        lines: int,
        *,
        precision: str = "float32",
        device: torch.device | str = "cpu",
        engine: str = "auto",
        threads: int = 1,
    ) -> None:
        if not configs:
            raise UsageError("networks: there is none")
        if len(wirings) != len(configs):
            raise UsageError(f"wirings: {len(wirings)} of them for {len(configs)} networks")
        if any(config.dt != configs[0].dt for config in configs):
            raise UsageError("dt: must be the same in all networks of a batch")
        where, dtype = torch.device(device), dtype_of(precision)
        check_memory(Counter(configs), lines, precision=precision, device=where, engine=engine)
        members = [Member.of(config, wiring, lines) for config, wiring in zip(configs, wirings, strict=True)]
        self.batch = Batch(members, configs[0].neuron, configs[0].dt, dtype, where)
        self.stepper = make_stepper(self.batch, engine, threads)
        self._pieces = Windows(self.batch.steps.interval)

    def __enter__(self) -> TorchNetworks:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def start(self) -> list[Arrays]:
        """The states at step 0."""
        return list(self._split(self.batch.start()))

    def advance(self, states: Sequence[Arrays], arrivals: Sequence[SpikeEvents], learning: bool) -> list[Piece]:
        """The networks after the steps of `arrivals`, which begin with one in which weights are written."""
        self._check(states, arrivals)
        self._pieces.begin(states)
        state, interval = self._join(states), self.batch.steps.interval
        cuts = sorted({0, *range(1, arrivals[0].steps, interval), arrivals[0].steps})
        found: list[Spikes] = []
        with threads_for(self.batch.size * self.batch.exc * self.batch.lines):
            for first, end, events in self._windows(arrivals, cuts):
                spikes = self.stepper.advance(state, events, end - first)
                found.append(spikes._replace(step=spikes.step + first))
                if (end - 1) % interval == 0:
                    self.batch.update(state, learning)
        spikes_of, after = self._spikes(found), list(self._split(state))
        self._pieces.end(after, arrivals[0].steps)
        return [Piece(each, spikes, {}) for each, spikes in zip(after, spikes_of, strict=True)]

    def _check(self, states: Sequence[Arrays], arrivals: Sequence[SpikeEvents]) -> None:
        if not len(states) == len(arrivals) == self.batch.size:
            raise UsageError(f"{len(states)} states and {len(arrivals)} arrivals for {self.batch.size} networks")
        for number, events in enumerate(arrivals):
            if (events.lines, events.steps) != (self.batch.lines, arrivals[0].steps):
                raise UsageError(
                    f"arrivals: network {number} has {events.lines} lines and {events.steps} steps, should have "
                    f"{self.batch.lines} and {arrivals[0].steps}"
                )

    def _windows(self, arrivals: Sequence[SpikeEvents], cuts: list[int]) -> Iterator[tuple[int, int, Events]]:
        """First step, end and events of every stretch between two cuts; events by network, then by time."""
        bounds = [np.searchsorted(events.step, cuts) for events in arrivals]
        for number, (first, end) in enumerate(pairwise(cuts)):
            parts = [slice(bound[number], bound[number + 1]) for bound in bounds]
            line = [a.source[p] + k * self.batch.lines for k, (a, p) in enumerate(zip(arrivals, parts, strict=True))]
            step = [a.step[p] - first for a, p in zip(arrivals, parts, strict=True)]
            yield first, end, Events(*(self._tensor(np.concatenate(part)) for part in (line, step)))

    def _tensor(self, values: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(values).to(self.batch.device)

    def _spikes(self, found: list[Spikes]) -> Iterator[dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]]:
        """Steps and units of the spikes of every network, by group."""
        network, step, unit = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
        order = np.argsort(network, kind="stable")
        ends = np.searchsorted(network[order], np.arange(self.batch.size + 1))
        for low, high in pairwise(ends):
            steps, units = step[order[low:high]], unit[order[low:high]]
            inh = units >= self.batch.exc
            yield {"exc": (steps[~inh], units[~inh]), "inh": (steps[inh], units[inh] - self.batch.exc)}

    # --- the state of one network, as arrays --------------------------------------------------------------------------
    def _views(self, arrays: Arrays, k: int) -> Iterator[tuple[str, NDArray[Any], Any]]:
        """Name of every array of network k, and where it stands in the arrays of the batch: array and index."""
        b, wiring = self.batch, self.batch.members[k].wiring
        for name in NeuronState._fields:
            yield f"exc/{name}", arrays[name], (k, slice(0, b.exc))
            yield f"inh/{name}", arrays[name], (k, slice(b.exc, None))
        for name in b.rule.signal.variables:
            yield f"ext.post/{name}", arrays[f"signal/{name}"], k
        for name in ("tr_err", "tr_err_flt"):
            yield f"ext.post/{name}", arrays[name], k
        yield "ext.post/factor_past", arrays["factor"], k
        yield "spikes_past", arrays["spikes"], k
        if wiring.ie.pre.size:
            yield "ie/w", arrays["inhibition"], (k, wiring.ie.pre, wiring.ie.post)
        yield "ie.post/x", arrays["x"], k
        yield "ie.pre/y", arrays["y"], k
        for name in PLASTIC:
            if not getattr(wiring, name).pre.size:
                continue
            for key in SYNAPSE:
                yield f"{name}/{key}", arrays[f"{name}/{key}"], self._places[name][k]
            for key in ("trace", "psp"):
                yield f"{name}.pre/{key}_aligned", arrays[f"{name}/{key}"].reshape(b.size, -1), k
            yield f"{name}.pre/arrived", arrays[f"{name}/pending"], k

    def _split(self, state: State) -> Iterator[Arrays]:
        arrays = {name: value.cpu().numpy() for name, value in state.items()}
        for k in range(self.batch.size):
            yield {name: np.array(array[index]) for name, array, index in self._views(arrays, k)}

    def _join(self, states: Sequence[Arrays]) -> State:
        joined = {name: value.cpu().numpy() for name, value in self.batch.start().items()}
        for k, own in enumerate(states):
            for name, array, index in self._views(joined, k):
                array[index] = own[name]
        return {name: torch.from_numpy(value).to(self.batch.device) for name, value in joined.items()}

    @cached_property
    def _places(self) -> dict[str, list[NDArray[np.int64]]]:
        """Where the synapses of each network stand in the batch, in the order of its wiring."""
        places: dict[str, list[NDArray[np.int64]]] = {}
        for name in PLASTIC:
            first, places[name] = 0, []
            for order in self.batch.orders[name]:
                place = np.empty_like(order)
                place[order] = np.arange(first, first + order.size)
                places[name].append(place)
                first += order.size
        return places


def backend(*, precision: str, device: torch.device, engine: str, threads: int) -> SimulateBatch:
    """What `spiking.simulation.run_networks` takes, to run all networks together."""
    return partial(TorchNetworks, precision=precision, device=device, engine=engine, threads=threads)


def memory_needed(
    config: NetworkConfig,
    lines: int,
    *,
    precision: str,
    device: torch.device,
    engine: str,
    input_rate: float = INPUT_RATE,
) -> int:
    """Bytes that a network takes, roughly: on a GPU of its memory, on the CPU with input and output of a piece.

    Args:
        config: of the network.
        lines: number of inputs.
        precision: as in `TorchNetworks`; likewise device and engine.
        device: where it runs.
        engine: what steps it.
        input_rate: of the inputs, mean, in Hz.
    """
    number = 4 if precision == "float32" else 8
    exc, neurons = config.exc, config.exc + config.inh
    synapses = config.p_ext * exc * (lines + exc * config.recurrence)
    needed = synapses * (200 + 15 * number) + exc * (neurons + 2 * config.inh) * 2 * number
    if device.type == "cpu":
        needed += 1.2 * lines * input_rate * 16 * (LONGEST + 8 * INPUT_BLOCK)
        needed += neurons * OUTPUT_RATE * LONGEST * 80
    if not native(device, engine):
        interval = config.rule.steps(config.dt).update_interval
        pairs = lines * input_rate * interval * config.dt * config.p_ext * exc
        needed += interval * (3 * neurons + 6 * exc) * number + 80 * pairs
    return int(needed)


def check_memory(
    counts: Mapping[NetworkConfig, int],
    lines: int,
    *,
    precision: str,
    device: torch.device,
    engine: str,
    input_rate: float = INPUT_RATE,
) -> None:
    """Raise `RatespikeError` if so many networks of each kind do not fit into memory, with how many would.

    Args:
        counts: how many networks of each config.
        lines: number of inputs; this and what follows as in `memory_needed`.
        precision: of the numbers.
        device: where they run.
        engine: what steps them.
        input_rate: in Hz.
    """
    kind: dict[str, Any] = {"precision": precision, "device": device, "engine": engine, "input_rate": input_rate}
    needed = sum(count * memory_needed(config, lines, **kind) for config, count in counts.items())
    free, total = free_memory(device), sum(counts.values())
    if needed > free:
        raise RatespikeError(
            f"networks: {total} of them need about {needed / 1e9:.1f} GB, {device} has {free / 1e9:.1f} GB left; at "
            f"most {int(free / needed * total)} fit"
        )


def measure_speed(configs: Sequence[NetworkConfig], traces: Sequence[RateTrace], simulate: SimulateBatch) -> float:
    """Simulated s per s that networks like these take together, from a trial of half a second."""
    inputs = [InputSpikes(config, traces) for config in configs]
    wirings = [draw_wiring(config, each.lines) for config, each in zip(configs, inputs, strict=True)]
    steps = configs[0].rule.steps(configs[0].dt)
    with simulate(configs, wirings, inputs[0].lines) as simulator:
        states, seconds = simulator.start(), 0.0
        arrivals = [each.fired(-steps.axonal_delay, steps.update_interval + 1) for each in inputs]
        for _ in range(2):  # the first compiles, and warms up
            begin = time.perf_counter()
            simulator.advance(states, arrivals, True)
            seconds = time.perf_counter() - begin
    del simulator, states
    gc.collect()  # or what the trial holds would be missing when the memory of the run is reckoned with
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return len(configs) * steps.update_interval * configs[0].dt / seconds

"""Run a network for as long as it takes, in pieces, whichever backend computes them; stop and resume anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from foundation.errors import RatespikeError, StoppedError, UsageError
from foundation.files import check_target, sweep_beside
from foundation.locks import locked
from foundation.progress import bar
from foundation.stopping import stop_requests
from spiking.paper.network import InputSpikes, NetworkConfig, Segment, Wiring, draw_wiring, segments
from spiking.parameters import whole_steps
from spiking.run_config import RecordingConfig, RunConfig
from spiking.run_file import FinishedRun, check_same, write_networks
from spiking.run_folder import RunFolder, discard, is_of, replaces
from spiking.stimuli import RateTrace, SpikeEvents

Array = NDArray[Any]
State = dict[str, Array]
"""Every variable of a model that changes, named <group>/<variable>."""

LONGEST = 50.0  # s, of a piece; what a kill can cost


@dataclass(frozen=True, eq=False)
class Piece:
    """What happened in a piece of a run.

    Attributes:
        state: at its end.
        spikes: (step, unit) of every spike, each (n,), by name of the neurons; steps since the start of the piece.
        probes: values (times, index) of each probed variable, by name of the probe and of the variable.
    """

    state: State
    spikes: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]
    probes: dict[str, dict[str, Array]]


class NetworkSimulator(Protocol):
    """A backend that advances one network; a context manager.

    Its states hold, whatever else, ``ext/w`` and, where there is plastic inhibition, ``ie/w``.
    """

    def start(self) -> State:
        """The state at step 0."""
        ...

    def advance(self, state: State, arrivals: SpikeEvents, learning: bool) -> Piece:
        """The state after the steps of `arrivals`: input spikes, in the steps in which they arrive."""
        ...

    def __enter__(self) -> NetworkSimulator: ...

    def __exit__(self, *error: object) -> None: ...


class BatchSimulator(Protocol):
    """A backend that advances several networks in step: as `NetworkSimulator`, with a list in place of each."""

    def start(self) -> list[State]: ...

    def advance(self, states: Sequence[State], arrivals: Sequence[SpikeEvents], learning: bool) -> list[Piece]: ...

    def __enter__(self) -> BatchSimulator: ...

    def __exit__(self, *error: object) -> None: ...


Simulate = Callable[[NetworkConfig, Wiring, int], NetworkSimulator]
"""Makes a backend for a network, its wiring and its number of inputs."""
SimulateBatch = Callable[[Sequence[NetworkConfig], Sequence[Wiring], int], BatchSimulator]
"""The same for several networks at once."""


def run_networks(
    config: RunConfig,
    traces: Sequence[RateTrace],
    out: Path,
    simulate: SimulateBatch,
    *,
    together: bool = False,
    backend: str,
    resume: bool = False,
    force: bool = False,
) -> None:
    """Run all networks of a config and write them to the run file `out`.

    Until then everything is in the folder ``<out>.partial``, which one process at a time works in: a run that was
    stopped or killed goes on from there with `resume`, and ends where it would have ended. To resume one that is
    finished is to leave it as it is.

    Args:
        config: what to run.
        traces: rates of the input populations.
        out: the file (`spiking.run_file`).
        simulate: the backend; `alone` makes one of a backend for a single network.
        together: run all networks at once, not one after the other.
        backend: its name; results of two backends differ in the last digits, so a run stays with one.
        resume: go on with what is in the folder.
        force: replace what is at `out`, and an unfinished run in the folder.

    Raises:
        UsageError: `out` exists, or there is nothing to resume, or what there is belongs to another run.
        RatespikeError: another process is at work there.
        StoppedError: Ctrl-C.
    """
    check_target(out, new=not (resume or force))
    base = partial_folder(out)
    identity = {
        "recording": asdict(config.recording),
        "networks": config.networks,
        "conditions": config.conditions,
        "rates": _digest(traces),
        "backend": backend,
    }
    identities = [{**identity, "network": asdict(network)} for network in config.members]
    with locked(base):
        sweep_beside(out)
        check_target(out, new=not (resume or force))  # again: somebody may have finished meanwhile
        if resume and out.exists() and not replaces(base / "0", identities[0]):
            check_same(out, identities)
        else:
            if resume and not any(base.glob("*/run.toml")):
                raise UsageError(f"{out}: no run to resume, there is no {base.name}")
            runs = []
            for k, (network, whose) in enumerate(zip(config.members, identities, strict=True)):
                folder = RunFolder(base / str(k), whose, resume=resume, force=force, replaces=out.exists())
                runs.append(Run(network, traces, config.recording, folder))
            _run_and_write(runs, out, simulate, together=together)
        _discard(base, identities)
    with suppress(OSError):  # another run, or something else, is in it
        base.rmdir()


def _discard(base: Path, identities: Sequence[dict[str, Any]]) -> None:
    """Remove the pieces of a finished run, and nobody else's; a kill in between is made good by the next `resume`."""
    for k, whose in enumerate(identities):
        if is_of(base / str(k), whose):
            discard(base / str(k))
        with suppress(OSError):  # it is not empty, or not there
            (base / str(k)).rmdir()


def _run_and_write(runs: Sequence[Run], out: Path, simulate: SimulateBatch, *, together: bool) -> None:
    try:
        with stop_requests() as stopped:
            for group in [runs] if together else [[run] for run in runs]:
                if stopped():
                    raise KeyboardInterrupt
                finish(group, simulate)
        write_networks(out, [run.finished() for run in runs])
    except KeyboardInterrupt:
        if not any(run.folder.done for run in runs):
            raise StoppedError("stopped before anything was done; nothing was written", begun=False) from None
        raise StoppedError(f"stopped; go on with --resume, everything so far is in {partial_folder(out)}") from None


def partial_folder(out: Path) -> Path:
    """Where a run lies until its file is written."""
    return out.with_name(f"{out.name}.partial")


def _digest(traces: Sequence[RateTrace]) -> str:
    content = sha256()
    for trace in traces:
        content.update(np.float64(trace.interval).tobytes() + np.int64(trace.values.size).tobytes())
        content.update(np.ascontiguousarray(trace.values, np.float64).tobytes())
    return content.hexdigest()


class Run:
    """One network, from its first piece (or where its folder stopped) to its last.

    Everything is checked when it is made, and nothing is written or built before `finish`.

    Args:
        config: the network.
        traces: rates of the input populations.
        recording: what to keep.
        folder: where the pieces go; one that holds pieces of the same run is gone on with.
        wiring: synapses and initial potentials; None: those that the config's seed draws.
    """

    def __init__(
        self,
        config: NetworkConfig,
        traces: Sequence[RateTrace],
        recording: RecordingConfig,
        folder: RunFolder,
        wiring: Wiring | None = None,
    ) -> None:
        self.config, self.recording, self.folder = config, recording, folder
        self.input = InputSpikes(config, traces)
        self.wiring = draw_wiring(config, self.input.lines) if wiring is None else wiring
        if not self.wiring.ext.pre.size:
            raise UsageError(f"p_ext: no input synapse was drawn at {config.p_ext}; raise it")
        self.pieces = segments(config, LONGEST, recording.weights_every)
        self.steps = self.pieces[-1].end
        self.bin = whole_steps("rate_bin", recording.rate_bin, config.dt)
        self.kept_from = max(0, self.steps - whole_steps("keep_spikes", recording.keep_spikes, config.dt))

    def finished(self) -> FinishedRun:
        """What `spiking.run_file` writes."""
        return FinishedRun(
            self.config, self.input.traces, self.wiring, self.folder, self.steps, self.kept_from, self.bin
        )

    def finish(self, simulate: Simulate) -> None:
        """Run what is left of this network alone, see `finish`."""
        finish([self], alone(simulate))

    def arrivals(self, segment: Segment) -> SpikeEvents:
        """The input spikes of a segment, in the steps in which they arrive."""
        delay = self.config.rule.steps(self.config.dt).axonal_delay
        return self.input.fired(segment.first - delay, segment.steps)

    def chunk(self, segment: Segment, before: State, piece: Piece) -> dict[str, Array]:
        """What is kept of a piece: spikes in absolute steps, spike counts in absolute bins, a snapshot of weights."""
        fired = self.input.fired(segment.first, segment.steps)
        spikes = {**piece.spikes, "inputs": (fired.step, fired.source)}
        chunk: dict[str, Array] = {"first_bin": np.array(segment.first // self.bin)}
        bins = (segment.end - 1) // self.bin - segment.first // self.bin + 1
        for name, (step, unit) in spikes.items():
            absolute = step + segment.first
            column = unit // self.config.population if name == "inputs" else np.zeros_like(unit)
            columns = len(self.input.traces) if name == "inputs" else 1
            index = (absolute // self.bin - segment.first // self.bin) * columns + column
            chunk[f"{name}_counts"] = np.bincount(index, minlength=bins * columns).reshape(bins, columns)
            kept = absolute >= self.kept_from
            chunk[f"{name}_step"], chunk[f"{name}_unit"] = absolute[kept], unit[kept].astype(np.int32)
        every = whole_steps("weights_every", self.recording.weights_every, self.config.dt)
        trained = segment.first - whole_steps("priming", self.config.priming, self.config.dt)
        if trained >= 0 and trained % every == 0:
            chunk |= _weights(before, trained)
        if segment.end == self.steps:
            chunk |= {f"last_{name}": value for name, value in _weights(piece.state, trained + segment.steps).items()}
        return chunk


def finish(runs: Sequence[Run], simulate: SimulateBatch) -> None:
    """Run what is left of some networks, in step, with a progress bar; every piece is safe in its folder when it ends.

    Raises:
        RatespikeError: a variable is not finite any more, or the backend fails.
        KeyboardInterrupt: Ctrl-C or SIGTERM.
    """
    first = runs[0]
    dt, pieces = first.config.dt, first.pieces
    for run in runs:
        if run.pieces != pieces or run.config.dt != dt:
            raise UsageError("networks: those that advance together must have the same duration, priming and pieces")
    done = min(run.folder.done for run in runs)
    if done == len(pieces):
        return
    for run in runs:
        run.folder.back_to(done)  # killed while the pieces of the others were written
    label = f"{first.config.label}, seed {first.config.seed}" if len(runs) == 1 else f"{len(runs)} networks"
    with (
        stop_requests() as stopped,
        simulate([run.config for run in runs], [run.wiring for run in runs], first.input.lines) as simulator,
        _bar(label, len(runs) * first.steps * dt, len(runs) * pieces[done].first * dt) as advance_bar,
    ):
        start = simulator.start()
        states = [
            initial if run.folder.state is None else check_state(run.folder.state, initial)
            for run, initial in zip(runs, start, strict=True)
        ]
        for segment in pieces[done:]:
            if stopped():
                raise KeyboardInterrupt
            results = simulator.advance(states, [run.arrivals(segment) for run in runs], segment.learning)
            for run, piece, initial in zip(runs, results, start, strict=True):
                _check_good(run, piece, initial, len(runs))
            for run, piece, state in zip(runs, results, states, strict=True):
                run.folder.add(segment.number, run.chunk(segment, state, piece), piece.state)
            states = [piece.state for piece in results]
            del results, piece
            advance_bar(len(runs) * segment.steps * dt)
        if stopped():
            raise KeyboardInterrupt


def _check_good(run: Run, piece: Piece, initial: State, networks: int) -> None:
    try:
        check_state(piece.state, initial)
    except RatespikeError as error:
        where = "" if networks == 1 else f"{run.config.label}, seed {run.config.seed}: "
        raise RatespikeError(f"{where}{error}") from None


def alone(simulate: Simulate) -> SimulateBatch:
    """A backend for one network as one for batches of a single network."""
    return partial(_Alone, simulate)


class _Alone:
    """A backend for one network as one for several."""

    def __init__(
        self, simulate: Simulate, configs: Sequence[NetworkConfig], wirings: Sequence[Wiring], lines: int
    ) -> None:
        ((config, wiring),) = zip(configs, wirings, strict=True)
        self._simulator = simulate(config, wiring, lines)

    def __enter__(self) -> _Alone:
        self._simulator.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._simulator.__exit__(*error)

    def start(self) -> list[State]:
        return [self._simulator.start()]

    def advance(self, states: Sequence[State], arrivals: Sequence[SpikeEvents], learning: bool) -> list[Piece]:
        return [self._simulator.advance(states[0], arrivals[0], learning)]


def _weights(state: State, step: int) -> dict[str, Array]:
    names = [name for name in ("ext", "ie", "ee") if f"{name}/w" in state]
    return {"weights_step": np.array(step), **{f"{name}_w": state[f"{name}/w"] for name in names}}


class Windows:
    """Keeps pieces from beginning within a window: weights are written at steps counted from a piece's first one.

    Args:
        interval: steps between weight updates.
    """

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._within: list[State] = []

    def begin(self, states: Sequence[State]) -> None:
        """Raise `UsageError` if one of the states is that at the end of a piece that ended within a window."""
        if any(state is other for state in states for other in self._within):
            raise UsageError(f"arrivals: go on within a window; pieces must be multiples of {self._interval} steps")

    def end(self, states: Sequence[State], steps: int) -> None:
        """Note the states after so many steps."""
        self._within = list(states) if steps % self._interval else []


def check_state(state: State, expected: State) -> State:
    """The state, if it is one of this model. Raises `RatespikeError`, naming the variable."""
    for name in sorted(state.keys() ^ expected.keys()):
        raise RatespikeError(f"state: variable {name} is {'missing' if name in expected else 'unknown'}")
    for name, value in expected.items():
        if state[name].shape != value.shape or state[name].dtype != value.dtype:
            raise RatespikeError(
                f"state: {name} must be {value.dtype} {value.shape}, got {state[name].dtype} {state[name].shape}"
            )
        if not np.isfinite(state[name]).all():
            raise RatespikeError(f"{name} is not finite any more; the last good state is kept")
    return state


@contextmanager
def _bar(label: str, total: float, initial: float) -> Iterator[Callable[[float], object]]:
    with bar(label=label, total=round(total, 3), initial=round(initial, 3), unit=" simulated s") as progress:
        yield lambda seconds: progress.update(round(seconds, 3))

"""Run a declared network on any backend, in pieces, with a checkpoint after each.

>>> from spiking.network.connectivity import AllToAll
>>> from spiking.network.models import lif
>>> from spiking.network.network import Network
>>> from spiking.network.sources import PoissonInput
>>> net = Network(dt=1e-3, seed=1)
>>> inputs = net.population("inputs", PoissonInput(50.0), 20)
>>> out = net.population("out", lif(), 3)
>>> _ = net.connect(inputs, out, AllToAll(0.2), receptor="delta")
>>> result = simulate(net, 0.5)
>>> bool(len(result.spikes["out"]) > 10)
True
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np

from foundation.arrays import read_arrays
from foundation.errors import RatespikeError, StoppedError, UsageError
from foundation.files import check_target, write_bytes
from foundation.progress import bar
from foundation.stopping import stop_requests
from foundation.text import one_line
from spiking.network import stepper
from spiking.network.network import Network
from spiking.network.parts import State
from spiking.network.state import Recorded, Result, check_state, initial_state
from spiking.parameters import whole_steps
from spiking.simulation import LONGEST

BACKENDS = ("numpy", "brian2")
CODEGEN = ("auto", "numpy", "cython", "standalone")
PIECE = 10_000
"""Steps that are run at once, and what a kill can cost."""


def simulate(
    network: Network,
    seconds: float,
    *,
    backend: str = "brian2",
    codegen: str = "auto",
    record: Sequence[Recorded] = (),
    frozen: Sequence[str] = (),
    state: State | None = None,
    checkpoint: Path | None = None,
    label: str | None = None,
) -> Result:
    """Run a network.

    Args:
        network: what to run.
        seconds: how long.
        backend: "brian2", or "numpy", the plain stepper that defines what a step is: slow, for small networks.
        codegen: of Brian2: "numpy", "cython", "standalone" (a compiled program), or "auto", by the length of the run.
        record: variables to keep beside all spikes.
        frozen: plastic projections whose weights stay as they are.
        state: where to go on: the state of another result, or what `read_state` gives; None: from the start.
        checkpoint: a file for the state, written after every 10,000 steps; it replaces what such a run has written.
        label: of a progress bar.

    Returns:
        spikes by population, as rows of step, sample and unit; what was recorded; the state at the end.

    Raises:
        UsageError: an argument does not fit.
        RatespikeError: a variable is not finite any more; the checkpoint stays as it was before.
        StoppedError: Ctrl-C; the checkpoint says how far the run has come.
    """
    for name, value, known in (("backend", backend, BACKENDS), ("codegen", codegen, CODEGEN)):
        if value not in known:
            raise UsageError(f"{name}: must be one of {', '.join(known)}, got {value!r}")
    steps = whole_steps("seconds", seconds, network.dt)
    if checkpoint is not None:
        check_target(checkpoint, new=state is None)
    results = []
    with (
        _runner(network, backend, codegen, steps, record, frozen) as run,
        stop_requests() as stopped,
        bar(total=steps, label=label or "", unit="step", disable=label is None) as progress,
    ):
        most = max(1, min(PIECE, int(LONGEST / network.dt)))
        for first in range(0, steps, most):
            piece = min(most, steps - first)
            try:
                if stopped():
                    raise KeyboardInterrupt
                results.append(run(piece, state))
            except KeyboardInterrupt:  # amid a piece, too
                where = f"; {checkpoint} says how far it has come" if checkpoint and first else ""
                raise StoppedError(f"stopped after {first} of {steps} steps{where}", begun=first > 0) from None
            state = results[-1].state
            if checkpoint is not None:
                write_state(checkpoint, state)
            progress.update(piece)
    if not results:
        return stepper.run(network, 0, state, record=record, frozen=frozen)
    return joined(results)


def joined(results: Sequence[Result]) -> Result:
    """The results of pieces as one."""
    return Result(
        results[-1].state,
        {name: np.concatenate([each.spikes[name] for each in results]) for name in results[0].spikes},
        {name: np.concatenate([each.recorded[name] for each in results]) for name in results[0].recorded},
    )


@contextmanager
def _runner(
    network: Network, backend: str, codegen: str, steps: int, record: Sequence[Recorded], frozen: Sequence[str]
) -> Iterator[Callable[[int, State | None], Result]]:
    """What runs a piece from a state."""
    if backend == "numpy":
        yield partial(stepper.run, network, record=record, frozen=frozen)
        return
    from spiking.brian import declared  # Brian2 takes seconds to import
    from spiking.brian.running import code_for

    if codegen == "standalone":
        from spiking.brian.declared_program import DeclaredProgram

        with DeclaredProgram(network, record, frozen) as program:
            yield program.run
        return
    with code_for(steps, codegen):
        yield partial(declared.run, network, record=record, frozen=frozen, codegen="")


# --- states in files --------------------------------------------------------------------------------------------------
def write_state(path: Path, state: State) -> None:
    """Write a state (.npz), whole, with a digest of its content; it replaces a file that is there."""
    names = np.array(list(state))
    arrays = {f"array{k}": np.asarray(value) for k, value in enumerate(state.values())}
    buffer = BytesIO()
    np.savez(buffer, allow_pickle=False, names=names, digest=np.array(_digest(state)), **arrays)
    write_bytes(path, buffer.getvalue())


def read_state(path: Path, network: Network) -> State:
    """A state that `write_state` wrote, if it is one of this network.

    Raises:
        RatespikeError: the file is damaged or no such state.
        UsageError: it is that of another network.
    """
    found = read_arrays(path, "the state of a network", 0, "biufU")
    try:
        names = [str(name) for name in found.pop("names")]
        digest = str(found.pop("digest"))
        state = {name: found[f"array{k}"] for k, name in enumerate(names)}
    except (KeyError, TypeError) as error:
        raise RatespikeError(f"{path}: holds no state of a network ({one_line(error)} is missing)") from None
    if digest != _digest(state):
        raise RatespikeError(f"{path}: damaged, its digest is not that of its content")
    samples = next((v.shape[0] for n, v in state.items() if v.ndim == 2 and not n.startswith("past")), 1)
    with suppress(RatespikeError):
        check_state(state, initial_state(network, samples))
        return state
    raise UsageError(f"{path}: is the state of another network")


def _digest(state: State) -> str:
    content = sha256()
    for name, value in state.items():
        array = np.ascontiguousarray(value)
        content.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return content.hexdigest()

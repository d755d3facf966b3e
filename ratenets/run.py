"""The run engine: one training loop for every rate network, whatever its rule.

A run is a folder: config.toml (what was asked for), metrics.jsonl (one line per epoch), tensorboard/, checkpoint.pt
(everything needed to go on, tensors and plain values only). A run that was stopped, or killed, goes on from its last
checkpoint and ends, on the CPU, bit for bit where it would have ended. That needs no saved generators: every draw of
a step comes from (seed, purpose, epoch, step), see `foundation.seeds`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from foundation.errors import RatespikeError, StoppedError
from foundation.locks import locked
from foundation.progress import bar
from foundation.stopping import stop_requests
from foundation.threads import multiply_adds
from ratenets import run_folder
from ratenets.distributed import anywhere, rank, ranks
from ratenets.run_config import RunConfig
from ratenets.run_folder import CHECKPOINT, METRICS, TENSORBOARD, State
from ratenets.scalars import scalar_writer

BETWEEN_CHECKPOINTS = 5.0
"""Seconds at least; on a GPU an epoch may be over sooner than a checkpoint is written."""


class Learner(Protocol):
    """What a rate network and its rule offer to the engine.

    A learner keeps no random state: what it draws for a step comes from the seed, the epoch and the step's index.
    """

    @property
    def network(self) -> nn.Module: ...

    @property
    def optimizer(self) -> torch.optim.Optimizer: ...

    @property
    def steps_per_epoch(self) -> int: ...

    def learning_rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0; of a parameter group with a `scale`, so many times that."""

    def step(self, epoch: int, index: int) -> Mapping[str, Tensor]:
        """Fill every parameter's `.grad` for one batch, by whatever rule; return scalars to be averaged."""

    def evaluate(self, epoch: int) -> Mapping[str, float]:
        """What else to note after an epoch; nothing, if it is not due."""


def train(
    learner: Learner, config: RunConfig, folder: Path | None = None, *, resume: bool = False, label: str = "training"
) -> list[dict[str, Any]]:
    """Train to the end of `config.epochs`; return one dictionary of mean metrics per epoch.

    Args:
        learner: the network with its rule, on the device of `config`.
        config: of the run.
        folder: the run's folder, opened by `open_run`; None trains in memory and writes nothing.
        resume: go on from the checkpoint in `folder`, if there is one.
        label: of the progress bar.

    Raises:
        RatespikeError: a metric or a weight became NaN or infinite (the checkpoint before stays), or the checkpoint
            does not fit, or another process is at work in the folder.
        StoppedError: by Ctrl-C or SIGTERM, after a checkpoint.
    """
    with locked(folder if rank() == 0 else None):
        return _train(learner, config, folder, resume=resume, label=label)


def _train(
    learner: Learner, config: RunConfig, folder: Path | None, *, resume: bool, label: str
) -> list[dict[str, Any]]:
    state = State()
    if folder is not None and resume and (folder / CHECKPOINT).is_file():
        state = run_folder.load(folder, learner, config.torch_device())
    listen = folder is not None
    if rank() > 0:
        folder = None  # the first process writes for all
    if folder is not None:
        state.settings = run_folder.settings_of(folder)  # read once: what is edited later is not what it learns by
        _begin(folder, learner, state)
    saved = time.monotonic()
    done = state.epoch * learner.steps_per_epoch + state.index
    total = min(config.epochs * learner.steps_per_epoch, config.max_steps or 2**62)
    with (
        _writer(folder, done + 1 if resume else None) as write_scalar,
        stop_requests(listen=listen) as stopped,
        _no_subnormals(),
        bar(label=label, total=total, unit="step", initial=done, disable=rank() > 0) as progress,
    ):
        while steps := config.steps_in(state.epoch, learner.steps_per_epoch):
            started = time.perf_counter()
            for _ in _steps(learner, state, steps):
                progress.update()
                due = config.checkpoint_every and state.index % config.checkpoint_every == 0
                # Several processes have to agree: where a checkpoint is due, and at the end of an epoch.
                stop = stopped() if ranks() == 1 else bool(due) and anywhere(stopped())
                if folder is not None and (stop or due) and state.index < steps:
                    _means(state)  # a broken state must not replace a good one
                    run_folder.save(folder, learner, state)
                    saved = time.monotonic()
                if stop and state.index < steps:
                    raise StoppedError(f"stopped in epoch {state.epoch + 1}; --resume goes on from there")
            measured = learner.evaluate(state.epoch) if rank() == 0 else {}
            means = {**_means(state), **{name: float(value) for name, value in measured.items()}}
            seconds = round(time.perf_counter() - started, 3)
            line = {"epoch": state.epoch + 1, **means, "seconds": seconds}
            state = State(state.epoch + 1, metrics=[*state.metrics, line], settings=state.settings)
            if folder is not None:
                run_folder.append_metrics(folder / METRICS, line)
                for name, value in means.items():
                    write_scalar(name, value, state.epoch * learner.steps_per_epoch)
            stop, more = anywhere(stopped()), config.steps_in(state.epoch, learner.steps_per_epoch) > 0
            if folder is not None and (stop or not more or time.monotonic() - saved > BETWEEN_CHECKPOINTS):
                run_folder.save(folder, learner, state)
                saved = time.monotonic()
            if stop and more:
                raise StoppedError(f"stopped after epoch {state.epoch}; --resume goes on from there")
    return [{name: value for name, value in line.items() if name != "seconds"} for line in state.metrics]


@contextmanager
def _no_subnormals() -> Iterator[None]:
    """Take numbers below 1e-38 for 0: a layer that falls silent is full of them, and a CPU six times slower."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _begin(folder: Path, learner: Learner, state: State) -> None:
    """Make a folder ready for the epochs to come: a checkpoint, and the metrics of the epochs that it has."""
    if not (folder / CHECKPOINT).is_file():
        if (folder / METRICS).is_file():
            raise RatespikeError(f"{folder}: has metrics but no {CHECKPOINT}; the run cannot go on")
        run_folder.save(folder, learner, state)
    run_folder.write_metrics(folder, state.metrics)


def _steps(learner: Learner, state: State, steps: int) -> Iterator[None]:
    """The remaining ones of the `steps` of the state's epoch."""
    for group in learner.optimizer.param_groups:
        group["lr"] = learner.learning_rate(state.epoch) * group.get("scale", 1.0)
    for index in range(state.index, steps):
        state.sums = _add(state.sums, _step(learner, state.epoch, index))
        try:
            learner.optimizer.step()
        except RuntimeError as error:
            raise RatespikeError(f"the optimiser failed in epoch {state.epoch + 1}: {error}") from None
        state.index = index + 1
        yield


class MemoryFullError(RatespikeError):
    """A step does not fit into the memory of its device."""


def out_of_memory(error: Exception) -> bool:
    """Is this one of the ways in which torch says that memory is short?"""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)


def rehearse(learner: Learner, *, count: bool = True) -> float:
    """Take one step without learning from it: does it compile, does it fit into memory? Before anything is written.

    Returns:
        the multiply-adds of a step; infinity, if they are not to be counted, as a compiled step's cannot.

    Raises:
        RatespikeError: it does not.
    """
    before = {name: buffer.clone() for name, buffer in learner.network.named_buffers()}
    work = math.inf
    if count:
        work = multiply_adds(lambda: _step(learner, 0, 0))
    else:
        _step(learner, 0, 0)
    for name, buffer in learner.network.named_buffers():  # such as the statistics of batch norm
        buffer.copy_(before[name])
    return work


def _step(learner: Learner, epoch: int, index: int) -> Mapping[str, Tensor]:
    try:
        return learner.step(epoch, index)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise MemoryFullError("the memory is full; take a smaller batch or a narrower network") from None
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = str(error).strip().splitlines()[0]
        raise RatespikeError(f"torch.compile failed ({reason}); run without --compile") from None


def _add(sums: dict[str, Tensor] | None, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Running sums in float64, where the values are: no step waits for the device."""
    if sums is None:
        return {name: value.detach().double() for name, value in values.items()}
    return {name: sums[name] + value.detach().double() for name, value in values.items()}


def _means(state: State) -> dict[str, float]:
    means = {name: float(value) / state.index for name, value in (state.sums or {}).items()}
    for name, value in means.items():
        if not abs(value) < float("inf"):
            raise RatespikeError(
                f"{name} became {value} in epoch {state.epoch + 1}; the checkpoint before is kept. "
                "A smaller learning rate may help"
            )
    return means


def _writer(folder: Path | None, step: int | None) -> AbstractContextManager[Callable[[str, float, int], None]]:
    """TensorBoard's scalars; what was written after the checkpoint is purged by the step."""
    if folder is None:
        return nullcontext(lambda name, value, at: None)
    return scalar_writer(folder / TENSORBOARD, step)

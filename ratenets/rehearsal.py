"""A run from its settings to its end: does one step fit into the memory? Only then is anything written."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from foundation.locks import locked
from foundation.threads import threads_for
from ratenets.distributed import rank, ranks
from ratenets.run import Learner, MemoryFullError, out_of_memory, rehearse, train
from ratenets.run_config import RunConfig


class BatchConfig(Protocol):
    """What the settings of a run have in common, whatever learns; a dataclass."""

    @property
    def data(self) -> str: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def run(self) -> RunConfig: ...


Config = TypeVar("Config", bound=BatchConfig)
Kind = TypeVar("Kind", bound=Learner)


def fit(
    learner_of: Callable[[Config], Kind],
    config: Config,
    folder: Path | None,
    *,
    resume: bool,
    label: str,
    open_folder: Callable[[Path], None],
    least: int = 1,
) -> tuple[Kind, list[dict[str, Any]]]:
    """Rehearse a step, open the folder, train; return the learner and its metrics by epoch.

    Args:
        learner_of: makes the learner of a configuration.
        config: of the run.
        folder: of the run; None: train in memory.
        resume: go on with the run in the folder.
        label: of the progress bar.
        open_folder: makes the folder that of the run, or checks it.
        least: the smallest batch that makes sense.

    Raises:
        RatespikeError: the batch does not fit into the memory; the message says which would. See also `train`.
    """
    learner, work = _rehearsed(learner_of, config)
    if learner is None:  # outside of the handler, whose traceback would keep the memory
        raise _too_large(learner_of, config, least)
    # from before the folder is this run's until the run ends
    with locked(folder if rank() == 0 else None), threads_for(work):
        if folder is not None:
            open_folder(folder)
        return learner, train(learner, config.run, folder, resume=resume, label=label)


def _rehearsed(learner_of: Callable[[Config], Kind], config: Config) -> tuple[Kind | None, float]:
    """A learner whose step fits into the memory, None if it does not; and the multiply-adds of a step.

    Raises:
        RatespikeError: not even what it learns from does.
    """
    try:
        learner = learner_of(config)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise MemoryFullError(f"{config.data}: the images do not fit into the memory of {config.run.device}") from None
    try:
        counted = not config.run.compile and config.run.torch_device().type == "cpu" and ranks() == 1
        return learner, rehearse(learner, count=counted)
    except MemoryFullError:
        return None, math.inf


def _too_large(learner_of: Callable[[Config], Kind], config: Config, least: int) -> MemoryFullError:
    """Find the largest batch that fits, by halves, and say so; several processes are not asked again."""
    size, asked, where = config.batch_size // 2, config.batch_size, config.run.device
    while size >= least and ranks() == 1:
        smaller: Any = replace(config, batch_size=size)  # type: ignore[type-var]  # a protocol cannot ask for a dataclass
        if _rehearsed(learner_of, smaller)[0] is not None:
            return MemoryFullError(f"batch_size: {asked} images do not fit into the memory of {where}; {size} would")
        size //= 2
    if ranks() > 1:
        return MemoryFullError(f"batch_size: {asked} images do not fit into the memory of {ranks()} processes")
    return MemoryFullError(f"batch_size: not even a batch of {least} fits into the memory; take a narrower network")

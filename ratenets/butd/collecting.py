"""From the folder of a run to its result."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foundation.errors import RatespikeError
from foundation.json_files import DAMAGE, parse_json
from foundation.text import one_line
from foundation.threads import threads_for
from ratenets.butd.material import TaskImages
from ratenets.butd.networks import ButdNetwork
from ratenets.butd.results import RunResult, SubNetworks, compared, evaluations
from ratenets.butd.subnetworks import subnetworks
from ratenets.butd.tasks import LeftRightOf, Tasks
from ratenets.butd.training import ButdLearner, run_config
from ratenets.run import rehearse
from ratenets.run_folder import START, load_weights, metrics_of


def collect(folder: Path, material: TaskImages, device: str = "cpu") -> RunResult:
    """What a run has come to: its evaluations, one before learning among them, and the sub-networks of its tasks.

    A run that is not finished counts as far as its checkpoint goes.

    Args:
        folder: of the run.
        material: what it learns from.
        device: where the network is evaluated, before learning, and at the end, if that was not done.

    Raises:
        RatespikeError: the folder is no run, or its checkpoint or its metrics are damaged.
    """
    config = run_config(folder, device)
    metrics, start = metrics_of(folder), _start(folder / START)
    learner = ButdLearner(dataclasses.replace(config, initial_weights=""), material)
    names, done = material.tasks.names, len(metrics)
    lines = [*(start or [{"epoch": 0}] * (not metrics)), *metrics]
    load_weights(folder, learner.network)
    if f"test/{names[0]}" not in lines[-1]:
        with threads_for(rehearse(learner, count=not config.run.compile)):
            lines[-1] |= learner.measured()
    try:
        history = evaluations(lines, names)
    except DAMAGE as error:
        raise RatespikeError(f"{folder}: its metrics are damaged ({one_line(error)})") from None
    return RunResult(
        run=str(folder),
        name=config.name,
        data=config.data,
        seed=config.run.seed,
        epochs=done,
        tasks=names,
        settings=dataclasses.asdict(config),
        history=history,
        subnetworks=selected(learner.network, material.tasks) if config.guided else None,
    )


def _start(path: Path) -> list[dict[str, Any]]:
    """What was measured before the first epoch; nothing, if there is no such file."""
    try:
        start = parse_json(path.read_text(encoding="utf-8")) if path.exists() else None
        if start is not None and start["epoch"] != 0:
            raise ValueError("is of another epoch than 0")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RatespikeError(f"{path}: damaged ({one_line(error)})") from None
    return [] if start is None else [start]


def selected(network: ButdNetwork, tasks: Tasks) -> SubNetworks:
    """The sub-networks of a guided network's tasks; where a task has many instructions, their averages."""
    device = network.head.W.device
    if not isinstance(tasks, LeftRightOf):
        eye = torch.arange(len(tasks.names), device=device)
        labels = eye.new_zeros(len(eye), len(tasks.names))
        return compared(subnetworks(network, tasks.instructions(labels, eye)))
    task, named = torch.cartesian_prod(torch.arange(2, device=device), torch.arange(tasks.n_classes, device=device)).T
    every = compared(subnetworks(network, tasks.instructions(named[:, None].expand(-1, 2), task)))
    return _averaged(every, task.cpu())


def _averaged(every: SubNetworks, task: Tensor) -> SubNetworks:
    """The average over all instructions to a task, and over all pairs of instructions to two that open anything."""
    member = torch.nn.functional.one_hot(task).double()
    active = torch.tensor(every.active, dtype=torch.float64) @ member / member.sum(0)
    overlap = torch.tensor(
        [[[float("nan") if v is None else v for v in row] for row in layer] for layer in every.overlap],
        dtype=torch.float64,
    )
    pairs = member.T @ torch.isfinite(overlap).double() @ member
    mean = member.T @ overlap.nan_to_num(0) @ member / pairs  # NaN without a pair
    return SubNetworks(
        every.layers,
        tuple(tuple(layer) for layer in active.tolist()),
        tuple(tuple(tuple(None if v != v else min(v, 1.0) for v in row) for row in layer) for layer in mean.tolist()),
    )

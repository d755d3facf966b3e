"""What runs of bottom-up / top-down networks gave, and their file: JSON, written whole, checked when read.

    {"kind": "ratespike butd", "format": 1, "runs": [{"run": ..., "name": ..., ..., "history": [{...}, ...]}, ...]}

What is not defined, or was not measured, is null.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foundation.config import from_mapping
from foundation.errors import UsageError
from foundation.files import write_json
from foundation.json_files import read_json

KIND, FORMAT = "ratespike butd", 1
MOST_EPOCHS = 10**9
ROUNDING = 1e-6
"""By which a cosine may be beyond 1."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a network.

    Attributes:
        epoch: that are done.
        train: accuracy on the training images, 0 to 1, by task.
        test: accuracy on the test images.
        train_loss: mean over images and tasks.
        test_loss: the same, of test images.
        alignment: cosine of W and V^T by layer, lowest first; nothing where weights are tied.
    """

    epoch: int
    train: tuple[float | None, ...]
    test: tuple[float, ...]
    train_loss: float | None = None
    test_loss: float | None = None
    alignment: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.epoch < 0:
            raise UsageError(f"epoch: must not be negative, got {self.epoch}")
        for name in ("train", "test"):
            _check_range(name, getattr(self, name), 0, 1)
        for layer, cosine in self.alignment.items():
            _check_range(f"alignment.{layer}", (cosine,), -1 - ROUNDING, 1 + ROUNDING)


@dataclass(frozen=True)
class SubNetworks:
    """The units that each task's instruction lets through, on all images alike: those with td > 0.

    Attributes:
        layers: their names, lowest first.
        active: share of a layer's units, 0 to 1, by layer and task.
        overlap: cosine similarity of the binary masks of two tasks, 0 to 1, by layer, task and task; None where one of
            them is empty.
    """

    layers: tuple[str, ...]
    active: tuple[tuple[float, ...], ...]
    overlap: tuple[tuple[tuple[float | None, ...], ...], ...]

    def __post_init__(self) -> None:
        if not self.layers or {len(self.active), len(self.overlap)} != {len(self.layers)}:
            raise UsageError("active, overlap: need one entry for each layer, and at least one")
        tasks = len(self.active[0])
        for layer, active, overlap in zip(self.layers, self.active, self.overlap, strict=True):
            if {len(active), len(overlap), *map(len, overlap)} != {tasks}:
                raise UsageError(f"{layer}: needs an active share for each task, and an overlap for any two")
            _check_range(f"active.{layer}", active, 0, 1)
            for row in overlap:
                _check_range(f"overlap.{layer}", row, 0, 1 + ROUNDING)


@dataclass(frozen=True)
class RunResult:
    """A run and its evaluations.

    Attributes:
        run: its folder.
        name: what it is, in words, e.g. "Counter-Hebb, separate, guided".
        data: the dataset.
        seed: of the run.
        epochs: that are done.
        tasks: their names.
        settings: the run's configuration, nested; with lists in the place of tuples, as a file gives it back.
        history: at least one evaluation, the earliest first.
        subnetworks: None: the network is unguided.
    """

    run: str
    name: str
    data: str
    seed: int
    epochs: int
    tasks: tuple[str, ...]
    settings: dict[str, Any]
    history: tuple[Evaluation, ...]
    subnetworks: SubNetworks | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", json.loads(json.dumps(self.settings)))
        if not 0 <= self.epochs <= MOST_EPOCHS:
            raise UsageError(f"epochs: must be from 0 to {MOST_EPOCHS:,}, got {self.epochs}")
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise UsageError("tasks: must be at least one, and not one twice")
        if not self.history:
            raise UsageError("history: holds no evaluation; set evaluate_every")
        epochs = [evaluation.epoch for evaluation in self.history]
        if any(b <= a for a, b in pairwise(epochs)) or epochs[-1] > self.epochs:
            raise UsageError(f"history: its epochs must ascend to {self.epochs} at most, are {epochs}")
        for evaluation in self.history:
            for name in ("train", "test"):
                if len(getattr(evaluation, name)) != len(self.tasks):
                    raise UsageError(f"epoch {evaluation.epoch}: {name}: needs an accuracy for each task")
            if list(evaluation.alignment) != list(self.history[0].alignment):
                raise UsageError(f"epoch {evaluation.epoch}: alignment: is of other layers than before")
        if self.subnetworks is not None and len(self.subnetworks.active[0]) != len(self.tasks):
            raise UsageError(f"subnetworks: are of {len(self.subnetworks.active[0])} tasks, not {len(self.tasks)}")


def _check_range(name: str, values: Sequence[float | None], least: float, most: float) -> None:
    for value in values:
        if value is not None and not least <= value <= most:
            raise UsageError(f"{name}: must be from {least:.0f} to {most:.0f}, got {value}")


def active_fraction(masks: Tensor) -> Tensor:
    """Share of the units that are in each mask.

    Args:
        masks: (tasks, units...), bool.

    Returns:
        (tasks,), 0 to 1, float64.

    Raises:
        UsageError: no units, or no booleans.
    """
    return _flat(masks).mean(1)


def mask_overlap(masks: Tensor) -> Tensor:
    """Cosine similarity of any two masks as binary vectors: |a and b| / sqrt(|a| |b|).

    Args:
        masks: (tasks, units...), bool.

    Returns:
        (tasks, tasks), 0 to 1, float64; NaN where one of the two is empty.

    Raises:
        UsageError: no units, or no booleans.
    """
    flat = _flat(masks)
    size = flat.sum(1)
    return flat @ flat.T / (size[:, None] * size).sqrt()


def _flat(masks: Tensor) -> Tensor:
    if masks.dtype != torch.bool or masks.dim() < 2 or not masks.numel():
        raise UsageError(f"masks: must be booleans (tasks, units...), got {masks.dtype} {tuple(masks.shape)}")
    return masks.flatten(1).double()


def compared(masks: Mapping[str, Tensor]) -> SubNetworks:
    """The sub-networks that `ratenets.butd.subnetworks` finds: masks (tasks, units...) by layer, the lowest first."""
    active = tuple(tuple(active_fraction(each).tolist()) for each in masks.values())
    overlap = tuple(
        tuple(tuple(None if math.isnan(value) else value for value in row) for row in mask_overlap(each).tolist())
        for each in masks.values()
    )
    return SubNetworks(tuple(masks), active, overlap)


def evaluations(metrics: Iterable[Mapping[str, Any]], tasks: Sequence[str]) -> tuple[Evaluation, ...]:
    """The evaluations among the lines of a run's metrics, as `train_butd` returns them.

    Raises:
        UsageError: a line is no such evaluation.
    """
    found = []
    for line in metrics:
        if f"test/{tasks[0]}" not in line:
            continue
        accuracies = {
            split: tuple(_number(line.get(f"{split}/{task}")) for task in tasks) for split in ("train", "test")
        }
        losses = {f"{split}_loss": _number(line.get(f"{split}/loss")) for split in ("train", "test")}
        prefix = "alignment/"
        alignment = {k.removeprefix(prefix): _number(v) for k, v in line.items() if k.startswith(prefix)}
        values = {"epoch": line["epoch"], **accuracies, **losses, "alignment": alignment}
        found.append(from_mapping(Evaluation, values, "metrics"))
    return tuple(found)


def _number(value: Any) -> Any:
    """What JSON can hold: None for a number that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_results(path: Path, results: Sequence[RunResult]) -> None:
    """Write runs to a file, whole."""
    write_json(path, {"kind": KIND, "format": FORMAT, "runs": [dataclasses.asdict(result) for result in results]})


def read_results(path: Path) -> list[RunResult]:
    """The runs in a file.

    Raises:
        RatespikeError: no such file, one of another kind or version, or damaged.
    """
    return read_json(path, KIND, FORMAT, "ratespike deep butd", _results)


def _results(content: Mapping[str, Any]) -> list[RunResult]:
    if not content["runs"]:
        raise ValueError("holds no run")
    return [_result(run, f"run {number}") for number, run in enumerate(content["runs"], 1)]


def _result(content: Mapping[str, Any], source: str) -> RunResult:
    for evaluation in content["history"]:  # their keys and types: what is within is not checked as strictly
        from_mapping(Evaluation, evaluation, f"{source}: history")
    if content["subnetworks"] is not None:
        from_mapping(SubNetworks, content["subnetworks"], f"{source}: subnetworks")
    return from_mapping(RunResult, content, source)

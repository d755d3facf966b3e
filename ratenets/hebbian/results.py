"""What networks taught by local rules have come to, and their file: JSON, written whole, checked when read.

    {"kind": "ratespike local rules", "format": 1, "runs": [{"run": ..., "rule": ..., ..., "history": [...]}, ...]}

What is not defined, or was not measured, is null.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from foundation.config import from_mapping
from foundation.errors import UsageError
from foundation.files import write_json
from foundation.json_files import read_json

KIND, FORMAT = "ratespike local rules", 1
EXPERIMENT_NAMES = ("two-classes", "three-classes", "ten-classes", "snr", "bias", "harder", "which-rule")
"""Of `ratenets.hebbian.experiments`, which this file can do without."""
MOST_EPOCHS = 10**9
ROUNDING = 1e-6
"""By which a cosine may be beyond 1."""


@dataclass(frozen=True)
class Epoch:
    """What was measured after an epoch; None, also in the place of a number that is not finite: nothing.

    Attributes:
        epoch: that are done; 0: before learning.
        train_loss: mean cross entropy of the training images, nats.
        train_accuracy: share of them that is named rightly, 0 to 1.
        validation_loss: the same, of validation images.
        validation_accuracy: the same, of validation images.
        snr: signal-to-noise ratio of single examples' gradients, by parameter: "W1", "W2", ..., "b1", ...
        cosine: of the rule's gradients and backprop's, -1 to 1, by parameter.
    """

    epoch: int
    train_loss: float | None = None
    train_accuracy: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    snr: dict[str, float | None] = field(default_factory=dict)
    cosine: dict[str, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self)[1:]:
            value = getattr(self, each.name)
            object.__setattr__(self, each.name, _defined(value) if isinstance(value, dict) else _number(value))
        if not 0 <= self.epoch <= MOST_EPOCHS:
            raise UsageError(f"epoch: must be from 0 to {MOST_EPOCHS:,}, got {self.epoch}")
        for name in ("train", "validation"):
            _check_range(f"{name}_loss", getattr(self, f"{name}_loss"), 0, math.inf)
            _check_range(f"{name}_accuracy", getattr(self, f"{name}_accuracy"), 0, 1)
        for layer, value in self.snr.items():
            _check_range(f"snr.{layer}", value, 0, math.inf)
        for layer, value in self.cosine.items():
            _check_range(f"cosine.{layer}", value, -1 - ROUNDING, 1 + ROUNDING)


@dataclass(frozen=True)
class LocalResult:
    """A network and how it learned.

    Attributes:
        run: its folder, or what else it is known by.
        experiment: of `EXPERIMENT_NAMES`; "": a single run.
        condition: what it is, in words, e.g. "hebbian, clamped". In the experiments snr, bias and harder, which ask
            all rules in several settings, the setting is behind the last comma: "hebbian, clamped, 2 classes".
        rule: by which it learned.
        data: the dataset.
        seed: of the run.
        settings: the run's configuration, nested; with lists in the place of tuples, as a file gives it back.
        classes: labels that are kept.
        history: at least one epoch, the earliest first.
        correct: validation images of each class that are named rightly at the end.
        seen: validation images of each class.
        test_accuracy: at the end, 0 to 1.
        metrics: what else was measured at the end, by name.
    """

    run: str
    experiment: str
    condition: str
    rule: str
    data: str
    seed: int
    settings: dict[str, Any]
    classes: tuple[int, ...]
    history: tuple[Epoch, ...]
    correct: tuple[int, ...]
    seen: tuple[int, ...]
    test_accuracy: float | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", json.loads(json.dumps(self.settings)))
        object.__setattr__(self, "test_accuracy", _number(self.test_accuracy))
        object.__setattr__(self, "metrics", _defined(self.metrics))
        if self.experiment and self.experiment not in EXPERIMENT_NAMES:
            raise UsageError(f"experiment: must be one of {', '.join(EXPERIMENT_NAMES)}, got '{self.experiment}'")
        for name in ("condition", "rule"):
            if not getattr(self, name):
                raise UsageError(f"{name}: must not be empty")
        self._check_classes()
        epochs = [each.epoch for each in self.history]
        if not epochs or any(b <= a for a, b in pairwise(epochs)):
            raise UsageError(f"history: must hold at least one epoch, ascending, holds {epochs}")
        _check_range("test_accuracy", self.test_accuracy, 0, 1)

    def _check_classes(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes) or min(self.classes) < 0:
            raise UsageError(f"classes: must be at least two labels, 0 and up, none twice, got {self.classes}")
        if {len(self.correct), len(self.seen)} != {len(self.classes)}:
            raise UsageError(f"correct, seen: need a number for each of {len(self.classes)} classes")
        if not all(0 <= right <= n for right, n in zip(self.correct, self.seen, strict=True)):
            raise UsageError(f"correct: must be from 0 to the number seen, got {self.correct} of {self.seen}")

    @property
    def name(self) -> str:
        """The condition's."""
        return self.condition


def _number(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None


def _defined(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


def _check_range(name: str, value: float | None, least: float, most: float) -> None:
    if value is not None and not least <= value <= most:
        wanted = "must not be negative" if most == math.inf else f"must be from {least:.0f} to {most:.0f}"
        raise UsageError(f"{name}: {wanted}, got {value}")


def write_results(path: Path, results: Sequence[LocalResult]) -> None:
    """Write runs to a file, whole."""
    write_json(path, {"kind": KIND, "format": FORMAT, "runs": [dataclasses.asdict(result) for result in results]})


def read_results(path: Path) -> list[LocalResult]:
    """The runs in a file.

    Raises:
        RatespikeError: no such file, one of another kind or version, or damaged.
    """
    return read_json(path, KIND, FORMAT, "ratespike deep hebbian", _results)


def _results(content: Mapping[str, Any]) -> list[LocalResult]:
    if not content["runs"]:
        raise ValueError("holds no run")
    return [_result(run, f"run {number}") for number, run in enumerate(content["runs"], 1)]


def _result(content: Mapping[str, Any], source: str) -> LocalResult:
    for epoch in content["history"]:  # their keys and types: what is within is not checked as strictly
        from_mapping(Epoch, epoch, f"{source}: history")
    return from_mapping(LocalResult, content, source)

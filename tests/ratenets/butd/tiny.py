"""Images and networks of a few numbers, for tests of training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import Tensor

from ratenets.butd.builders import BUILDERS
from ratenets.butd.config import ButdConfig, NetworkConfig, WeightConfig
from ratenets.butd.convolution import Conv2d
from ratenets.butd.layers import Flatten, Sequential
from ratenets.butd.material import TaskImages
from ratenets.butd.residual import Normed, Residual
from ratenets.butd.tasks import LeftRight
from ratenets.butd.training import ButdLearner
from ratenets.run_config import RunConfig

SHAPES = {"fc": (1, 4, 3), "simple": (1, 18, 18), "tiny-resnet": (1, 8, 8), "resnet18": (3, 12, 12)}


def images(n: int = 11, kind: str = "fc", n_classes: int = 3) -> TaskImages:
    """Noise with labels for two tasks."""
    rng = np.random.default_rng(5)
    shape = SHAPES[kind]

    def part(count: int) -> tuple[Any, Any]:
        labels = rng.integers(0, n_classes, (count, 2))
        return rng.integers(0, 256, (count, *shape), dtype=np.uint8), labels

    return TaskImages("noise", *part(n), *part(7), LeftRight(), n_classes, (0.3,) * shape[0], (0.4,) * shape[0])


def config(kind: str = "fc", *, run: dict[str, Any] | None = None, **changes: Any) -> ButdConfig:
    """A guided network in float64; `run` changes its `RunConfig`."""
    network = NetworkConfig(
        kind=kind,
        hidden=0 if kind.endswith("resnet") else 6,
        channels=(4, 3) if kind == "simple" else (),
        embedding=5,
        norm=kind == "resnet18",
    )
    given = {"network": network, "guided": True, "batch_size": 4, "learning_rate": 0.01, **changes}
    return ButdConfig(**given, run=RunConfig(**{"epochs": 2, "precision": "float64", **(run or {})}))


def shrink_resnet18(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let resnet18 be one block with batch norm: its eleven million weights take seconds."""

    def small(network: NetworkConfig, shape: tuple[int, ...], *, weights: WeightConfig, **_: Any) -> Sequential:
        stem = Normed(Conv2d(shape[0], 4, 3, padding=1, bias=False, weights=weights))
        return Sequential(stem, Residual(4, 6, stride=2, norm=True, weights=weights), Flatten())

    monkeypatch.setitem(BUILDERS, "resnet18", small)


def gradients(learner: ButdLearner) -> dict[str, Tensor]:
    """What a step has left in `.grad`, by the parameters' names."""
    return {name: p.grad.clone() for name, p in learner.network.named_parameters() if p.grad is not None}

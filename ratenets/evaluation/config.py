"""What is read out of a network, and how much is drawn for the scores of its factors."""

from __future__ import annotations

from dataclasses import dataclass

from foundation.config import check_choices, check_kinds, setting
from foundation.errors import UsageError


@dataclass(frozen=True)
class ReadoutConfig:
    """What is read out, and how."""

    pooling: bool = setting(True, "readouts of codes alone; --no-pooling: of the flattened maps, too")
    folds: int = setting(0, "parts for a cross-validation on what the readouts are fitted to (paper: 10); 0: none")
    layers: str = setting("all", "which are read out", choices=("all", "last"))
    metrics: bool = setting(False, "cosine, manifold and push metrics of every layer")
    pixels: bool = setting(True, "the same readout of the pixels, as the encoder is given them")

    def __post_init__(self) -> None:
        check_choices(self)
        if self.folds < 0 or self.folds == 1:
            raise UsageError(f"folds: must be 2 or more, or 0 for none, got {self.folds}")

    def chosen(self, number: int) -> list[int]:
        """Which of so many layers are read out, counted from 0."""
        return list(range(number)) if self.layers == "all" else [number - 1]


@dataclass(frozen=True)
class FactorConfig:
    """How much is drawn; the defaults are the paper's."""

    batch: int = setting(4000, "pictures with one factor in common, for one vote")
    train_batches: int = setting(10, "votes of each factor value")
    test_batches: int = setting(10, "tests of each factor value")
    repetitions: int = setting(10, "scores, each with votes and tests of its own")
    contexts: int = setting(1100, "values of the other factors in which one is varied")
    scatter: int = setting(2000, "pictures of the scatter plot")

    def __post_init__(self) -> None:
        check_kinds(self)
        least = {"batch": 2, "scatter": 3}
        for name in self.__dataclass_fields__:
            if getattr(self, name) < least.get(name, 1):
                raise UsageError(f"{name}: must be at least {least.get(name, 1)}, got {getattr(self, name)}")

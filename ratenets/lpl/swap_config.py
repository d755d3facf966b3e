"""What the swap experiment is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from foundation.config import check_kinds, setting
from foundation.errors import UsageError


@dataclass(frozen=True)
class SwapConfig:
    """Settings of the swap experiment; the defaults are the paper's."""

    images: int = setting(0, "training images of the readout, the first ones; 0: all")
    epochs: int = setting(10, "epochs of the readout before the exposures")
    batch_size: int = setting(128, "images of a step of the readout")
    learning_rate: float = setting(1e-3, "of the readout before the exposures (Adam)")
    units: int = setting(512, "of the readout")
    pairs: int = setting(8, "pairs P, N of each group: swapped at the top, at the bottom, control")
    exposures: int = setting(400, "steps of learning while images are swapped")
    readout_rate: float = setting(2e-2, "learning rate of the readout during exposures (SGD)")
    encoder_rate: float = setting(1e-7, "learning rate of the encoder during exposures (Adam)")
    decorr: float = setting(10.0, "weight of the decorrelation term")
    weight_decay: float = setting(1.5e-6, "L2 penalty on all weights but biases")
    every: int = setting(20, "exposures between two measurements")
    seed: int = setting(0, "of all draws")

    def __post_init__(self) -> None:
        check_kinds(self)
        for name, least in (("batch_size", 2), ("units", 1), ("pairs", 1), ("every", 1), ("epochs", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name}: must be at least {least}, got {getattr(self, name)}")
        for name in (
            "images",
            "exposures",
            "learning_rate",
            "readout_rate",
            "encoder_rate",
            "decorr",
            "weight_decay",
            "seed",
        ):
            if getattr(self, name) < 0:
                raise UsageError(f"{name}: must not be negative, got {getattr(self, name)}")

"""What a training run of a bottom-up / top-down network is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from foundation.config import check_choices, from_mapping, setting
from foundation.errors import UsageError
from ratenets.run_config import RunConfig

KINDS = ("fc", "simple", "conv", "resnet18", "tiny-resnet")
REGIMES = ("tied", "separate", "symmetric")
LEARNING = ("counter-hebb", "backprop")
MOST_UNITS = 1_000_000
LOSSES = ("cross-entropy", "mse", "bce")


@dataclass(frozen=True)
class NetworkConfig:
    """The layers of a network; which of the settings matter is a question of its kind."""

    kind: str = setting("fc", "layers and how they are connected", flag="network", choices=KINDS)
    hidden: int = setting(0, "units of the fully connected layers; 0: the kind's, fc 500, simple 50, conv 100")
    depth: int = setting(1, "fully connected layers of fc")
    channels: tuple[int, ...] = setting(
        (), "maps of the convolutions", empty="the kind's, simple 32,32, conv 32,32,32,32"
    )
    embedding: int = setting(0, "units between instruction and core; 0: none")
    norm: bool = setting(False, "batch norm in a resnet18, one for each direction")
    bias: bool = setting(True, "bottom-up biases; in ResNets of the heads alone")
    td_bias: bool = setting(False, "top-down biases, which the attention pass alone adds")

    def __post_init__(self) -> None:
        check_choices(self, "network")
        for name, least, most in (("depth", 1, 1000), ("hidden", 0, MOST_UNITS), ("embedding", 0, MOST_UNITS)):
            if not least <= getattr(self, name) <= most:
                raise UsageError(f"network.{name}: must be from {least} to {most}, got {getattr(self, name)}")
        if min(self.channels, default=1) < 1 or max(self.channels, default=1) > MOST_UNITS:
            raise UsageError(f"network.channels: must be from 1 to {MOST_UNITS}, got {self.channels}")
        if self.kind == "simple" and len(self.channels) not in (0, 2):
            raise UsageError(f"network.channels: simple has two convolutions, got {len(self.channels)} numbers")
        if self.norm and self.kind != "resnet18":
            raise UsageError(f"network.norm: resnet18 alone has batch norm, not {self.kind}")


@dataclass(frozen=True)
class WeightConfig:
    """How top-down weights V begin and learn beside the bottom-up weights W."""

    regime: str = setting(
        "separate",
        "tied: V is W; separate: two random starts; symmetric: separate, V starts as W",
        flag="weights",
        choices=REGIMES,
    )
    start_noise: float = setting(0.0, "symmetric: V starts as W (1 + this much Gaussian noise), element by element")
    update_noise: float = setting(
        0.0, "each weight's whole update times 1 + this much Gaussian noise; W's and V's apart"
    )
    feedback_alignment: bool = setting(False, "V stays at its start")
    initial_scale: float = setting(1.0, "of all weights W and V at the start")

    def __post_init__(self) -> None:
        check_choices(self, "weights")
        for name in ("start_noise", "update_noise"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"weights.{name}: must not be negative, got {getattr(self, name)}")
        if not self.initial_scale > 0:
            raise UsageError(f"weights.initial_scale: must be positive, got {self.initial_scale}")
        if self.start_noise and self.regime != "symmetric":
            raise UsageError("weights.start_noise: is of a symmetric start: --weights symmetric")
        if self.feedback_alignment and self.regime == "tied":
            raise UsageError("weights.feedback_alignment: tied weights are one; --weights separate, or symmetric")


@dataclass(frozen=True)
class ButdConfig:
    """A training run of a bottom-up / top-down network."""

    data: str = setting("digits", "name of the dataset; multi-NAME: two images of it in one; celeba: attributes")
    train_images: int = setting(0, "train on this many images, the first ones; 0: all")
    image_size: int = setting(0, "resize images to this many px on their shorter side; 0: leave them")
    task: str = setting(
        "", "left/right or left/right-of (multi-NAME), attribute (celeba), class", empty="what the data has first"
    )
    guided: bool = setting(
        False, "an attention pass selects each sample's sub-network by its instruction; for datasets with several tasks"
    )
    multi_decoder: bool = setting(False, "a prediction head for each task")
    all_tasks: bool = setting(False, "every sample learns all its tasks in a step, not one at random")
    train_instruction: bool = setting(False, "the instruction head learns, too (not in the paper)")
    learning: str = setting("counter-hebb", "what makes gradients", choices=LEARNING)
    loss: str = setting("cross-entropy", "of the prediction head", choices=LOSSES)
    batch_size: int = setting(20, "images per step")
    optimizer: str = setting("adam", "what makes steps of gradients", choices=("adam", "sgd"))
    momentum: float = setting(0.0, "of sgd")
    learning_rate: float = setting(1e-4, "of the optimiser")
    lr_decay: float = setting(0.95, "factor of the learning rate from epoch to epoch")
    weight_decay: float = setting(0.0, "L2 penalty inside the optimiser, on all that learns")
    evaluate_every: int = setting(2, "epochs between evaluations on train and test images, and after the last; 0: none")
    initial_weights: str = setting(
        "", "file of weights to start from: a run's folder, or a reference's checkpoint", metavar="FILE"
    )
    network: NetworkConfig = field(default_factory=NetworkConfig)
    weights: WeightConfig = field(default_factory=WeightConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        check_choices(self)
        if self.batch_size < 1:
            raise UsageError(f"batch_size: must be at least 1, got {self.batch_size}")
        for name in ("train_images", "image_size", "momentum", "learning_rate", "weight_decay", "evaluate_every"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name}: must not be negative, got {getattr(self, name)}")
        if not 0 < self.lr_decay <= 1:
            raise UsageError(f"lr_decay: must be above 0 and at most 1, got {self.lr_decay}")
        if self.momentum and self.optimizer != "sgd":
            raise UsageError(f"momentum: is of sgd, not of {self.optimizer}")
        if "\0" in self.initial_weights:
            raise UsageError(f"initial_weights: is no path: {self.initial_weights!r}")
        if self.train_instruction and not self.guided:
            raise UsageError("train_instruction: an unguided network has no instruction head: --guided")
        if self.learning == "backprop" and self.weights.update_noise:
            raise UsageError("weights.update_noise: is of Counter-Hebb updates, not of backprop's")

    @property
    def name(self) -> str:
        """What the run is, in words: how it learns, its weights, and what it is asked."""
        weights = self.weights
        regime = f"{weights.regime}, feedback alignment" if weights.feedback_alignment else weights.regime
        also = {
            "noisy start": weights.start_noise,
            "noisy updates": weights.update_noise,
            "weight decay": self.weight_decay,
            "guided": self.guided,
            "a head for each task": self.multi_decoder,
            "all tasks at once": self.all_tasks,
            "learning instruction head": self.train_instruction,
        }
        rule = "Counter-Hebb" if self.learning == "counter-hebb" else "backprop"
        return ", ".join([rule, regime, *(text for text, on in also.items() if on)])


_FC = {"network": {"kind": "fc", "hidden": 500}}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "mnist": {**_FC, "data": "mnist"},
    "fashion_mnist": {**_FC, "data": "fashion-mnist"},
    "cifar": {"network": {"kind": "fc", "hidden": 1000}, "data": "cifar10"},
    "multi_mnist": {
        "data": "multi-mnist",
        "guided": True,
        "learning": "backprop",
        "network": {"kind": "simple", "hidden": 50, "channels": [32, 32], "embedding": 50},
        "weights": {"regime": "tied"},
        "batch_size": 64,
        "learning_rate": 5e-4,
        "run": {"epochs": 100},
    },
    "celeb_a": {
        "data": "celeba",
        "guided": True,
        "learning": "backprop",
        "loss": "bce",
        "network": {"kind": "resnet18", "embedding": 200, "norm": True},
        "weights": {"regime": "tied"},
        "batch_size": 64,
        "learning_rate": 5e-4,
    },
    "resnet": {"data": "cifar10", "network": {"kind": "resnet18"}, "batch_size": 128},
}
"""The reference's experiments, by the names of their files NAME_config.json; resnet is its plain config.json."""


FOR_DATA: Mapping[str, str] = {
    "mnist": "mnist",
    "fashion-mnist": "fashion_mnist",
    "cifar10": "cifar",
    "multi-mnist": "multi_mnist",
    "multi-fashion-mnist": "multi_mnist",
    "multi-digits": "multi_mnist",
    "celeba": "celeb_a",
}
"""Whose settings a dataset gets that is named without a preset."""


def preset(name: str, **changes: Any) -> ButdConfig:
    """The settings of one of the reference's experiments.

    Raises:
        UsageError: no such preset.
    """
    if name not in PRESETS:
        raise UsageError(f"preset: must be one of {', '.join(PRESETS)}, got '{name}'")
    values = {"run": {"epochs": 50}, **PRESETS[name]}
    return replace(from_mapping(ButdConfig, values, f"preset {name}"), **changes)


def for_data(data: str) -> ButdConfig:
    """The settings for a dataset: those of the reference's experiment with it, or with one like it."""
    if data in FOR_DATA:
        return preset(FOR_DATA[data], data=data)
    return ButdConfig(data=data, run=RunConfig(epochs=50))

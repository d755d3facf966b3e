"""What a training run of LPL is asked to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from foundation.config import check_choices, from_mapping, setting
from foundation.errors import UsageError
from ratenets.lpl.encoder_config import ENCODERS, EncoderConfig
from ratenets.run_config import RunConfig
from ratenets.sequences.config import DEFAULT_VIEWS, ViewConfig

if TYPE_CHECKING:
    import torch

PAPER: Mapping[str, Any] = {"encoder": {"kind": "vgg"}, "batch_size": 1024, "warmup_epochs": 10, "run": {"epochs": 800}}
"""The paper's training of VGG-11."""

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "mnist": {"held_out": 10_000},
    "fashion-mnist": {"held_out": 10_000},
    "cifar10": {**PAPER, "held_out": 10_000},
    "stl10": PAPER,
    "image-folder": PAPER,
    "shapes3d": {**PAPER, "learning_rate": 1e-5, "run": {"epochs": 400}},
}
"""What a dataset changes in the defaults, beside its views."""


OPTIMIZERS, GRADIENTS = ("adam", "sgd"), ("local", "autograd")

EPSILON = 1e-4
"""Added to the variance in the logarithm of `push`. Deep layers start below it: it sets their first gradients."""


@dataclass(frozen=True)
class Coefficients:
    """Weights of the three terms in the loss of every layer; 0 switches a term off."""

    pull: float = setting(1.0, "weight of the predictive term (pull)", "pull-coeff")
    push: float = setting(1.0, "weight of the Hebbian term (push)", "push-coeff")
    decorr: float = setting(10.0, "weight of the decorrelation term", "decorr-coeff")

    def __post_init__(self) -> None:
        for name in ("pull", "push", "decorr"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"coefficients.{name}: must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class LossConfig:
    """Which loss, on what, and where. Combinations without a meaning are refused with the reason."""

    supervision: bool = setting(False, "labels teach every trained layer, in place of LPL", "train-with-supervision")
    negative_samples: bool = setting(False, "contrast with other samples, in place of LPL", "use-negative-samples")
    end_to_end: bool = setting(False, "one loss on the last layer, its gradient goes to all", "train-end-to-end")
    pooling: bool = setting(True, "losses on the spatial mean of a layer's maps, or on the maps themselves")
    stale_estimates: bool = setting(False, "the Hebbian term uses mean and variance of the step before")
    shuffle_positives: bool = setting(False, "pull together views of different images: a control")
    projector: bool = setting(False, "the loss stands on an MLP on top of the layer", "use-projector-mlp")
    projection_size: int = setting(256, "units of the projector's output")
    mlp_hidden_size: int = setting(2048, "units of the projector's hidden layer")
    epsilon: float = setting(EPSILON, "added to the variance in the logarithm of the Hebbian term")
    summed_pull: bool = setting(False, "predictive term summed over the batch (a known failure)")
    published_decorr: bool = setting(False, "decorrelation as first published, without the erratum")
    one_view: bool = setting(False, "gradient through the second view alone, the first one is a constant")
    coefficients: Coefficients = field(default_factory=Coefficients)

    def __post_init__(self) -> None:
        for name in ("projection_size", "mlp_hidden_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"loss.{name}: must be at least 1, got {getattr(self, name)}")
        if not self.epsilon > 0:
            raise UsageError(f"loss.epsilon: must be positive, got {self.epsilon}")
        for clash, reason in self._clashes():
            if clash:
                raise UsageError(f"loss: {reason}")

    @property
    def plain(self) -> bool:
        """Is it plain LPL, for which the local rule is known in closed form (`ratenets.lpl.rule`)?"""
        others = self.supervision or self.negative_samples or self.projector or not self.pooling
        variants = self.summed_pull or self.published_decorr or self.one_view
        return not (others or variants or self.stale_estimates or self.shuffle_positives)

    def _clashes(self) -> list[tuple[bool, str]]:
        contrast_or_labels = self.supervision or self.negative_samples
        variants = self.summed_pull or self.published_decorr or self.one_view
        unpooled = not self.pooling
        coefficients = self.coefficients
        nothing = not (coefficients.pull or coefficients.push or coefficients.decorr)
        return [
            (nothing and not self.supervision, "all coefficients are 0, there is nothing to learn"),
            (self.supervision and self.negative_samples, "supervision and negative samples exclude each other"),
            (contrast_or_labels and self.stale_estimates, "only LPL's Hebbian term has stale estimates"),
            (contrast_or_labels and unpooled, "losses without pooling are defined for LPL alone"),
            (contrast_or_labels and variants, "the variants of the terms are LPL's alone"),
            (self.supervision and self.shuffle_positives, "supervision has no positive pairs to shuffle"),
            (
                self.negative_samples and self.coefficients.decorr != 0,
                "negative samples go without decorrelation: --decorr-coeff 0",
            ),
            (unpooled and self.end_to_end, "losses without pooling are layer-local, not end to end"),
            (unpooled and self.projector, "a projector stands on the pooled code, not on maps"),
            (unpooled and self.stale_estimates, "stale estimates are of the pooled code, not of maps"),
            (unpooled and variants, "the variants of the terms are defined on the pooled code, not on maps"),
            (self.stale_estimates and self.one_view, "stale estimates are of both views, not of one"),
        ]


@dataclass(frozen=True)
class LPLConfig:
    """A training run of LPL, supervised learning or learning from negative samples."""

    data: str = setting("digits", "name of the dataset, see `ratespike data list`")
    train_images: int = setting(0, "train on this many images, the first ones; 0: all")
    held_out: int = setting(0, "training images to hold out, at random; the readout is fitted to them")
    downsample_images: bool = setting(False, "resize all images to 32 px")
    batch_size: int = setting(256, "images per step; each gives two views")
    optimizer: str = setting("adam", "what makes steps of gradients", choices=OPTIMIZERS)
    momentum: float = setting(0.9, "of sgd")
    learning_rate: float = setting(1e-3, "of the optimiser")
    warmup_epochs: int = setting(0, "epochs of linear warm-up from --start-lr; if any, a cosine to --final-lr follows")
    start_lr: float = setting(0.0, "learning rate in the first epoch of the warm-up")
    final_lr: float = setting(1e-6, "learning rate at the end of the cosine")
    weight_decay: float = setting(1.5e-6, "L2 penalty on the weights, not on biases and norms")
    greedy: bool = setting(False, "train layer after layer, each for its share of the epochs")
    gradients: str = setting(
        "local", "local: layer by layer, no graph across layers; autograd: one graph", choices=GRADIENTS
    )
    readout_every: int = setting(0, "epochs between readouts of the last layer while training; 0: none")
    initial_weights: str = setting(
        "", "file of weights to start from, also of others (docs/own-encoders.md)", metavar="FILE"
    )
    loss: LossConfig = field(default_factory=LossConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    views: ViewConfig = field(default_factory=ViewConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        check_choices(self)
        if self.batch_size < 2:
            raise UsageError(f"batch_size: LPL takes variances over a batch of two or more, got {self.batch_size}")
        if self.train_images < 0 or self.train_images == 1:
            raise UsageError(f"train_images: must be two or more, or 0 for all, got {self.train_images}")
        names = ("learning_rate", "start_lr", "final_lr", "weight_decay", "warmup_epochs", "readout_every", "held_out")
        for name in (*names, "momentum"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name}: must not be negative, got {getattr(self, name)}")
        if ENCODERS[self.encoder.kind].end_to_end_only and not self.loss.end_to_end:
            raise UsageError(f"encoder.kind: {self.encoder.kind} learns end to end only: --train-end-to-end")
        if self.encoder.kind == "mlp" and not self.loss.pooling:
            raise UsageError("loss: an mlp has no maps; --no-pooling goes with convolutional encoders")
        if self.greedy and self.loss.end_to_end:
            raise UsageError("greedy: layer after layer is local, not end to end")
        if self.greedy and self.run.max_steps:
            raise UsageError("greedy: the upper layers would never learn with --max-steps; choose --epochs")

    @classmethod
    def for_data(cls, name: str, **changes: Any) -> LPLConfig:
        """The defaults for a dataset: its views, and for the paper's datasets the paper's encoder and training."""
        views = dataclasses.asdict(DEFAULT_VIEWS.get(name, ViewConfig()))
        values = {"data": name, "views": views, **DEFAULTS.get(name, {})}
        return replace(from_mapping(cls, values, f"the defaults of {name}"), **changes)

    @property
    def name(self) -> str:
        """What the run is, in words: LPL, or which control."""
        loss = self.loss
        if loss.supervision or loss.negative_samples:
            words = ["supervised learning" if loss.supervision else "negative samples"]
        else:
            off = {"predictive": "pull", "Hebbian": "push", "decorrelation": "decorr"}
            words = ["LPL", *(f"{word} off" for word, term in off.items() if not vars(loss.coefficients)[term])]
        also = {
            "shuffled positives": loss.shuffle_positives,
            "end to end": loss.end_to_end,
            "no pooling": not loss.pooling,
            "projector": loss.projector,
            "stale estimates": loss.stale_estimates,
            "no biases": not self.encoder.biases,
            "summed predictive term": loss.summed_pull,
            "published decorrelation": loss.published_decorr,
            "one view": loss.one_view,
            "greedy": self.greedy,
        }
        return ", ".join([*words, *(text for text, on in also.items() if on)])

    @property
    def image_size(self) -> int | None:
        """To which images are resized when they are read; None: not at all."""
        return 32 if self.downsample_images else None

    @property
    def memory_format(self) -> torch.memory_format:
        """How images and maps lie in memory: convolutions are quickest with channels innermost."""
        import torch

        return torch.contiguous_format if self.encoder.kind == "mlp" else torch.channels_last

"""Training an encoder with layer-local LPL: the learner that the run engine trains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foundation import config as configs
from foundation.config import setting
from foundation.data.images import ImageSet, load_images
from foundation.errors import RatespikeError, UsageError
from foundation.seeds import derive
from ratenets.lpl import encoders
from ratenets.lpl.encoders import EncoderConfig, LayerLocalEncoder
from ratenets.lpl.objective import Coefficients, terms
from ratenets.lpl.rule import local_gradient
from ratenets.run import RunConfig, rehearse, train
from ratenets.run_folder import CONFIG, load_weights, open_run
from ratenets.sequences.augmentation import DEFAULT_VIEWS, ViewConfig, two_views


@dataclass(frozen=True)
class LPLConfig:
    """A training run of layer-local LPL."""

    data: str = setting("digits", "name of the dataset, see `ratespike data list`")
    train_images: int = setting(0, "train on this many images, the first ones; 0: all")
    batch_size: int = setting(256, "images per step; each gives two views")
    learning_rate: float = setting(1e-3, "of Adam")
    warmup_epochs: int = setting(0, "epochs of linear warm-up from 0; if any, a cosine to --final-lr follows")
    final_lr: float = setting(1e-6, "learning rate at the end of the cosine")
    weight_decay: float = setting(1.5e-6, "L2 penalty on the weights, not on the biases")
    gradients: str = setting("autograd", "autograd, or closed-form: the local rule itself, no graph is kept")
    coefficients: Coefficients = field(default_factory=Coefficients)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    views: ViewConfig = field(default_factory=ViewConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if self.batch_size < 2:
            raise UsageError(f"batch_size: LPL takes variances over a batch of two or more, got {self.batch_size}")
        if self.train_images < 0 or self.train_images == 1:
            raise UsageError(f"train_images: must be two or more, or 0 for all, got {self.train_images}")
        for name in ("learning_rate", "final_lr", "weight_decay", "warmup_epochs"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name}: must not be negative, got {getattr(self, name)}")
        if self.gradients not in ("autograd", "closed-form"):
            raise UsageError(f"gradients: must be autograd or closed-form, got '{self.gradients}'")

    @classmethod
    def for_data(cls, name: str, **changes: Any) -> LPLConfig:
        """The defaults for a dataset: its views, and VGG-11 where the images are large enough for it."""
        encoder = EncoderConfig(kind="vgg") if name == "cifar10" else EncoderConfig()
        return cls(data=name, **{"encoder": encoder, "views": DEFAULT_VIEWS.get(name, ViewConfig()), **changes})


def prepare(images: NDArray[np.uint8], config: RunConfig) -> Tensor:
    """Images (N, C, H, W) as the encoder takes them: on the run's device, in its type, in [0, 1]."""
    return torch.from_numpy(images).to(config.torch_device()).to(config.dtype) / 255


def warmup_cosine(epoch: int, *, base: float, final: float, warmup: int, epochs: int) -> float:
    """Learning rate of an epoch counted from 0: 0 in the first, linear to `base` in epoch warmup - 1, then a cosine
    that would reach `final` at epoch `epochs` (Halvagal & Zenke 2023, Methods; `lr_schedule.npz`).
    """
    if epoch < warmup:
        return base * epoch / max(warmup - 1, 1)
    phase = (epoch - warmup) / (epochs - warmup)
    return final + (base - final) * (1 + math.cos(math.pi * phase)) / 2


class LPLLearner:
    """Layer-local LPL on two views of each image; a `ratenets.run.Learner`."""

    def __init__(self, config: LPLConfig, images: NDArray[np.uint8]) -> None:
        """Build the network and keep the training images (N, C, H, W) on the run's device."""
        rows = config.train_images or len(images)
        if rows > len(images):
            raise UsageError(f"train_images: {config.data} has {len(images)}, got {rows}")
        if config.gradients == "closed-form" and (config.run.compile or config.run.precision == "bfloat16"):
            raise UsageError("run.compile and bfloat16 go with gradients = autograd")
        self.config = config
        self.images = prepare(images[:rows], config.run)
        self.network = build_network(config, images.shape[1:])
        decayed = [p for name, p in self.network.named_parameters() if not name.endswith("bias")]
        others = [p for name, p in self.network.named_parameters() if name.endswith("bias")]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.Adam([g for g in groups if g["params"]], lr=config.learning_rate)
        # A last batch of one image has no variance and is left out.
        self.steps_per_epoch = rows // config.batch_size + (rows % config.batch_size > 1)
        self._autograd = config.run.compiled(self._loss)

    def learning_rate(self, epoch: int) -> float:
        config = self.config
        if not config.warmup_epochs:
            return config.learning_rate
        return warmup_cosine(
            epoch,
            base=config.learning_rate,
            final=config.final_lr,
            warmup=config.warmup_epochs,
            epochs=config.run.epochs,
        )

    def batch(self, epoch: int, index: int) -> Tensor:
        """Two views of a batch, (2 B, C, H, W); the order of the images and the views depend on epoch and index."""
        config = self.config
        order = torch.Generator().manual_seed(derive(config.run.seed, "order", epoch))
        rows = torch.randperm(len(self.images), generator=order)[index * config.batch_size :][: config.batch_size]
        generator = torch.Generator().manual_seed(derive(config.run.seed, "views", epoch, index))
        return two_views(self.images[rows.to(self.images.device)], config.views, generator)

    def step(self, epoch: int, index: int) -> Mapping[str, Tensor]:
        views = self.batch(epoch, index)
        if self.config.gradients == "closed-form":
            return self._closed_form(views)
        self.optimizer.zero_grad()
        loss, metrics = self._autograd(views)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return metrics

    def _loss(self, views: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        total = views.new_zeros(())
        metrics: dict[str, Tensor] = {}
        with self.config.run.autocast():
            codes = self.network(views)
        for layer, code in enumerate(codes, start=1):
            z1, z2 = code.float().chunk(2) if code.dtype == torch.bfloat16 else code.chunk(2)
            layer_terms = terms(z1, z2)
            total = total + layer_terms.total(self.config.coefficients)
            metrics |= {f"layer{layer}/{name}": value.detach() for name, value in layer_terms._asdict().items()}
        return total, metrics

    @torch.no_grad()
    def _closed_form(self, views: Tensor) -> dict[str, Tensor]:
        metrics: dict[str, Tensor] = {}
        x = views
        for layer, block in enumerate(self.network, start=1):
            gradient = local_gradient(block, x, self.config.coefficients)
            block.synapses.weight.grad = gradient.weight
            if block.synapses.bias is not None:
                block.synapses.bias.grad = gradient.bias
            metrics |= {f"layer{layer}/{name}": value for name, value in gradient.terms._asdict().items()}
            x = gradient.output
        return metrics


def build_network(config: LPLConfig, image_shape: tuple[int, ...]) -> LayerLocalEncoder:
    """The encoder of a configuration at its initial weights, for images of shape (C, H, W)."""
    channels, height, width = image_shape
    try:
        network = encoders.build(config.encoder, (channels, height, width), derive(config.run.seed, "weights"))
        return network.to(config.run.torch_device(), config.run.dtype)
    except RuntimeError as error:
        if "allocate" not in str(error) and not isinstance(error, torch.OutOfMemoryError):
            raise
        raise RatespikeError("the network does not fit into memory; take fewer units, or a smaller width") from None


def train_lpl(
    config: LPLConfig, images: ImageSet, folder: Path | None = None, *, resume: bool = False, label: str = "LPL"
) -> tuple[LayerLocalEncoder, list[dict[str, Any]]]:
    """Train an encoder; return it with the mean terms of each layer by epoch ("layer1/pull", ...).

    With `folder`, the run is kept there (see `ratenets.run`), and `resume` goes on with one that was stopped.
    """
    learner = LPLLearner(config, images.train_images)
    if folder is not None:
        rehearse(learner)
        open_run(folder, config, resume=resume, extendable=not config.warmup_epochs)
    history = train(learner, config.run, folder, resume=resume, label=label)
    return learner.network, history


class Trained(NamedTuple):
    """A trained encoder, its configuration on the device at hand, and a dataset that it takes."""

    encoder: LayerLocalEncoder
    config: LPLConfig
    images: ImageSet


def load_lpl(folder: Path, *, data: str | None = None, root: Path | None = None, device: str = "cpu") -> Trained:
    """Load a run, wherever it was trained, with its dataset, or with another of the same image shape.

    Args:
        folder: of the run.
        data: name of the dataset; None: the run's own.
        root: of the datasets.
        device: where the encoder is to be.

    Raises:
        RatespikeError: the folder is no run, its checkpoint is damaged or of another network, the data are missing.
    """
    path = folder / CONFIG
    config = configs.loads(LPLConfig, configs.read_text(path), str(path))
    config = replace(config, run=replace(config.run, device=device))
    config.run.torch_device()
    images = load_images(data or config.data, root)
    network = build_network(config, images.image_shape)
    load_weights(folder, network)
    return Trained(network, config, images)

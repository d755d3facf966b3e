"""Training an encoder with LPL or one of its controls: the learner that the run engine trains."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from foundation.data.images import ImageSet, load_images
from foundation.errors import Notice, RatespikeError, UsageError
from foundation.seeds import derive
from ratenets import run_folder
from ratenets.distributed import rank, ranks
from ratenets.evaluation.features import pooled
from ratenets.evaluation.linear_readout import read_codes
from ratenets.existing import start
from ratenets.lpl import encoders
from ratenets.lpl.config import LPLConfig
from ratenets.lpl.encoders import Encoder
from ratenets.lpl.material import Labelled, Material, divide
from ratenets.lpl.network import LPLNetwork
from ratenets.lpl.sources import Batch, ImageSource, Source, prepare
from ratenets.rehearsal import fit
from ratenets.run import out_of_memory
from ratenets.run_folder import CHECKPOINT, load_weights, open_run

UNDECAYED = ("bias", "bn", "norm")
"""Parts of a parameter's name that keep it from weight decay, as in the reference."""


def warmup_cosine(epoch: int, *, base: float, final: float, warmup: int, epochs: int, start: float = 0.0) -> float:
    """Learning rate of an epoch counted from 0: `start` in the first, linear to `base` in epoch warmup - 1, then a
    cosine that would reach `final` at epoch `epochs` (Halvagal & Zenke 2023, Methods; `lr_schedule.npz`).
    """
    if epoch < warmup:
        return start + (base - start) * epoch / max(warmup - 1, 1)
    phase = (epoch - warmup) / (epochs - warmup)
    return final + (base - final) * (1 + math.cos(math.pi * phase)) / 2


class LPLLearner:
    """LPL on two views of each image, or on consecutive frames; a `ratenets.run.Learner`."""

    def __init__(self, config: LPLConfig, network: LPLNetwork, source: Source, material: Material | None) -> None:
        """Join a network, on the device of the run, with what it learns from, and what a readout is fitted to."""
        self.config = config
        self.device = config.run.torch_device()
        self.network = network
        self.source = source
        self.material = material
        layers = len(network.encoder.blocks)
        if config.greedy and config.run.epochs < layers:
            raise UsageError(f"greedy: {layers} layers need as many epochs at least, got {config.run.epochs}")
        self.steps_per_epoch = self.source.steps_per_epoch
        self.optimizer = optimizer(config, self.network)
        reasons = {
            "with torch.compile": config.run.compile,
            "with batch norm": self.network.encoder.one_view_at_a_time,
            "on several processes": ranks() > 1,
        }
        why = next((reason for reason, holds in reasons.items() if holds), None)
        self.local = config.gradients == "local" and not config.loss.end_to_end and why is None
        if why and config.gradients == "local" and not config.loss.end_to_end:
            text = f"gradients: {why} there is one graph, not one for each layer; it gives the same, in more memory"
            warnings.warn(text, Notice, stacklevel=2)
        self._graph = config.run.compiled(self._parallel())

    @classmethod
    def of_images(cls, config: LPLConfig, images: ImageSet) -> LPLLearner:
        """Build the network, and put the images that it learns from on the run's device, as bytes."""
        material = material_of(config, images)
        network = build_network(config, images.image_shape, images.n_classes)
        return cls(config, network, ImageSource(config, material), material)

    def _parallel(self) -> nn.Module:
        """The network, or on several processes what averages its gradients over them."""
        if ranks() == 1:
            return self.network
        if self.network.encoder.one_view_at_a_time:
            if self.device.type != "cuda":
                raise UsageError("encoder.kind: batch norm over several processes needs GPUs, torch has it there only")
            self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
        return DistributedDataParallel(self.network, find_unused_parameters=self.config.greedy)

    def learning_rate(self, epoch: int) -> float:
        """The rate of an epoch; greedy training goes through the schedule once for every layer."""
        config = self.config
        if not config.warmup_epochs:
            return config.learning_rate
        first, last = self._epochs_of(self._growing(epoch))
        return warmup_cosine(
            epoch - first,
            base=config.learning_rate,
            start=config.start_lr,
            final=config.final_lr,
            warmup=config.warmup_epochs,
            epochs=last - first,
        )

    def batch(self, epoch: int, index: int) -> Batch:
        """One batch; it depends on seed, epoch and index alone."""
        return self.source.batch(epoch, index)

    def step(self, epoch: int, index: int) -> Mapping[str, Tensor]:
        views, labels, permutation = self.batch(epoch, index)
        self.network.train()
        self.optimizer.zero_grad()
        with self._dropout(epoch, index), self.config.run.autocast():
            only = self._growing(epoch)
            if self.local:
                return self.network.learn(views, labels, permutation, only)
            loss, metrics = self._graph(views, labels, permutation, only)
            loss.backward()
        return dict(metrics)

    def _growing(self, epoch: int) -> int | None:
        """Which layer learns in this epoch, where they learn one after the other."""
        layers = len(self.network.encoder.blocks)
        return min(epoch * layers // self.config.run.epochs, layers - 1) if self.config.greedy else None

    def _epochs_of(self, layer: int | None) -> tuple[int, int]:
        """The first epoch in which a layer learns, and the one after its last."""
        epochs, layers = self.config.run.epochs, len(self.network.encoder.blocks)
        if layer is None:
            return 0, epochs
        return -(-layer * epochs // layers), -(-(layer + 1) * epochs // layers)

    @contextmanager
    def _dropout(self, epoch: int, index: int) -> Iterator[None]:
        """Dropout knows the global generator only: it is set for a step, and put back.

        Every process draws masks of its own, so these alone depend on how many there are.
        """
        if not self.network.encoder.draws:
            yield
            return
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derive(self.config.run.seed, "dropout", epoch, index, rank()))
            yield

    def evaluate(self, epoch: int) -> Mapping[str, float]:
        """The paper's readout of the last layer after an epoch, counted from 0, if it is due."""
        every = self.config.readout_every
        if not every or (epoch + 1) % every or self.material is None:
            return {}
        return {"readout": last_layer_accuracy(self.network.encoder, self.config, self.material)}


def last_layer_accuracy(encoder: Encoder, config: LPLConfig, material: Material) -> float:
    """Test accuracy (0 to 1) of the paper's linear readout of the last layer."""

    def part(of: Labelled) -> tuple[list[Tensor], Tensor]:
        with config.run.exact():
            code = pooled(encoder, prepare(of.images, config))[-1]
        return [code], torch.from_numpy(of.labels).to(code.device)

    classes = int(max(material.readout.labels.max(), material.test.labels.max())) + 1
    (found,) = read_codes(*part(material.readout), *part(material.test), classes, config.run.seed)
    return found.top1


def optimizer(config: LPLConfig, network: nn.Module) -> torch.optim.Optimizer:
    """Adam or SGD, with L2 weight decay on all parameters but biases and norms."""
    named = list(network.named_parameters())
    spared = [p for name, p in named if any(part in name for part in UNDECAYED)]
    decayed = [p for name, p in named if not any(part in name for part in UNDECAYED)]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    filled = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(filled, lr=config.learning_rate, momentum=config.momentum)
    return torch.optim.Adam(filled, lr=config.learning_rate, fused=True)


def build_network(config: LPLConfig, image_shape: tuple[int, int, int], classes: int) -> LPLNetwork:
    """Encoder and losses of a configuration at their initial weights, for images of shape (C, H, W)."""
    try:
        encoder = build_encoder(config, image_shape)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(config.run.seed, "losses"))
            network = LPLNetwork(encoder, config.loss, classes, config.encoder.biases)
        network.to(memory_format=config.memory_format)  # type: ignore[call-overload]  # torch's stubs lack it
        return network.to(config.run.torch_device(), config.run.dtype)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise RatespikeError("the network does not fit into memory; take fewer units, or a smaller width") from None


def build_encoder(config: LPLConfig, image_shape: tuple[int, int, int]) -> Encoder:
    """The encoder of a configuration at its initial weights, on the CPU."""
    encoder = encoders.build(config.encoder, image_shape, derive(config.run.seed, "weights"))
    start(encoder, config.encoder.kind, config.initial_weights, config.encoder.pretrained)
    return encoder


def material_of(config: LPLConfig, images: ImageSet) -> Material:
    """The parts of a dataset that a run uses."""
    return divide(images, held_out=config.held_out, first=config.train_images, supervised=config.loss.supervision)


def train_lpl(
    config: LPLConfig,
    images: ImageSet,
    folder: Path | None = None,
    *,
    resume: bool = False,
    force: bool = False,
    label: str = "LPL",
) -> tuple[Encoder, list[dict[str, Any]]]:
    """Train an encoder on images; return it with the mean terms of each layer by epoch ("layer1/pull", ...).

    With `folder`, the run is kept there (see `ratenets.run`); `resume` goes on with one that was stopped, and `force`
    replaces one.
    """
    return train_with(
        lambda config: LPLLearner.of_images(config, images), config, folder, resume=resume, force=force, label=label
    )


def open_lpl(folder: Path, config: LPLConfig, *, resume: bool, write: bool = True, force: bool = False) -> None:
    """`open_run` for LPL, by the first of several processes; without `write` nothing is written yet."""
    if rank() == 0:
        extendable = not config.warmup_epochs and not config.greedy
        open_run(folder, config, resume=resume, extendable=extendable, write=write, force=force)


def train_with(
    learner_of: Callable[[LPLConfig], LPLLearner],
    config: LPLConfig,
    folder: Path | None = None,
    *,
    resume: bool = False,
    force: bool = False,
    label: str = "LPL",
) -> tuple[Encoder, list[dict[str, Any]]]:
    """`train_lpl` for any source: `learner_of` makes the learner of a configuration.

    Raises:
        RatespikeError: the batch does not fit into the memory; the message says which would. See also `train`.
    """
    begun = resume and folder is not None and (folder / CHECKPOINT).is_file()
    learner, history = fit(
        lambda changed: learner_of(without_start(changed) if begun else changed),
        config,
        folder,
        resume=resume,
        label=label,
        open_folder=lambda path: open_lpl(path, config, resume=resume, force=force),
        least=2,
    )
    return learner.network.encoder, history


def run_config(folder: Path, device: str = "cpu") -> LPLConfig:
    """The settings of a run, for a device at hand; the weights that it began with are not needed any more.

    Raises:
        RatespikeError: the folder is no run, or there is no such device.
    """
    config = run_folder.run_config(LPLConfig, folder)
    config = replace(config, run=replace(config.run, device=device))
    config.run.torch_device()
    return config


def without_start(config: LPLConfig) -> LPLConfig:
    """A configuration whose network begins at random weights, for one that takes others right away."""
    return replace(config, initial_weights="", encoder=replace(config.encoder, pretrained=False))


class Trained(NamedTuple):
    """A trained encoder, its configuration on the device at hand, and a dataset that it takes."""

    encoder: Encoder
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
    config = run_config(folder, device)
    images = load_images(data or config.data, root, image_size=config.image_size)
    network = build_network(without_start(config), images.image_shape, images.n_classes)
    load_weights(folder, network)
    return Trained(network.encoder.eval(), config, images)

"""Training a bottom-up / top-down network: the learner that the run engine trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foundation.errors import RatespikeError, UsageError
from foundation.files import write_json
from foundation.seeds import derive, numpy_generator
from ratenets import run_folder
from ratenets.butd.builders import build_network
from ratenets.butd.config import ButdConfig
from ratenets.butd.existing import load_weights
from ratenets.butd.learning import Samples, backprop, counter_hebb
from ratenets.butd.losses import LOSSES, predictions
from ratenets.butd.material import TaskImages, load_task_images, normalised
from ratenets.butd.networks import ButdNetwork
from ratenets.butd.parallel import Step
from ratenets.butd.subnetworks import alignment
from ratenets.distributed import rank, ranks, share
from ratenets.rehearsal import fit
from ratenets.run import MemoryFullError, out_of_memory
from ratenets.run_folder import CHECKPOINT, START, open_run
from ratenets.run_folder import load_weights as load_checkpoint

TEST_BATCH = 1000
"""Images of 32 x 32 at a time where nothing learns; of larger ones, fewer."""


class ButdLearner:
    """Counter-Hebb learning or backprop, guided or not; a `ratenets.run.Learner`."""

    def __init__(self, config: ButdConfig, material: TaskImages) -> None:
        """Build the network on the device of the run, and put the images there, as bytes."""
        self.config, self.material = config, material
        self.device = config.run.torch_device()
        self.network = initial_network(config, material).to(self.device)
        freeze(self.network, config)
        self.loss = LOSSES[config.loss]
        self.optimizer = optimizer(config, self.network)
        self._train = self._placed(material.train_images, material.train_labels)
        self._test = self._placed(material.test_images, material.test_labels)
        self.steps_per_epoch = -(-len(material.train_images) // config.batch_size)
        self._drawn: tuple[int, Tensor, Tensor] | None = None
        self._whole = Step(self.network, self.loss, config) if ranks() > 1 or config.run.compile else None

    def _placed(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(images).to(self.device), torch.from_numpy(labels).to(self.device)

    def learning_rate(self, epoch: int) -> float:
        """It decays exponentially from epoch to epoch."""
        return self.config.learning_rate * self.config.lr_decay**epoch

    def step(self, epoch: int, index: int) -> Mapping[str, Tensor]:
        self.network.train()
        self.optimizer.zero_grad()
        rows, task = self._batch(epoch, index)
        n_tasks = len(self.material.tasks.names)
        every = range(n_tasks) if self.config.all_tasks else [None]
        losses = []
        for number in every:
            asked = task if number is None else torch.full_like(task, number)
            with self.config.run.autocast():
                losses.append(self._learn(self.samples(self._train, rows, asked), 1 / len(every), epoch, index))
        return {"loss": torch.stack(losses).mean()}

    def _learn(self, samples: Samples, part: float, epoch: int, index: int) -> Tensor:
        """Add the values of these samples, a part of the step, to every `.grad`; return their mean loss."""
        config = self.config
        if self._whole is not None:
            return self._whole.learn(samples, self._size(index), part, self._noise(epoch, index))
        if config.learning == "backprop":
            return backprop(self.network, samples, self.loss, share=part, instruct=config.train_instruction)
        return counter_hebb(
            self.network,
            samples,
            self.loss,
            share=part,
            noise=self._noise(epoch, index),
            instruct=config.train_instruction,
        )

    def _noise(self, epoch: int, index: int) -> Callable[[], float] | None:
        spread = self.config.weights.update_noise
        generator = numpy_generator(self.config.run.seed, "update noise", epoch, index) if spread else None
        return None if generator is None else lambda: 1 + spread * generator.standard_normal()

    def _batch(self, epoch: int, index: int) -> tuple[Tensor, Tensor]:
        """Which images a step sees, and which task each has there: one at random, anew in every epoch."""
        if self._drawn is None or self._drawn[0] != epoch:
            n, seed = len(self.material.train_images), self.config.run.seed
            order = torch.from_numpy(numpy_generator(seed, "order", epoch).permutation(n))
            drawn = torch.from_numpy(
                numpy_generator(seed, "tasks", epoch).integers(len(self.material.tasks.names), size=n)
            )
            self._drawn = (epoch, order.to(self.device), drawn.to(self.device))
        _, rows, tasks = self._drawn
        first, mine = index * self.config.batch_size, share(self._size(index))
        batch = slice(first + mine.start, first + mine.stop)
        return rows[batch], tasks[batch]

    def _size(self, index: int) -> int:
        """Images of a step: all processes' together."""
        return min(self.config.batch_size, len(self.material.train_images) - index * self.config.batch_size)

    def samples(self, part: tuple[Tensor, Tensor], rows: Tensor | slice, task: Tensor) -> Samples:
        """Images of a part of the dataset, each with one of its tasks."""
        images, labels = part[0][rows], part[1][rows]
        tasks, material = self.material.tasks, self.material
        targets = self.loss.targets(tasks.answers(labels, task), material.n_classes)
        return Samples(
            normalised(images, material.mean, material.std, self.config.run.dtype),
            targets,
            tasks.instructions(labels, task) if self.config.guided else None,
            task if self.config.multi_decoder else None,
        )

    def evaluate(self, epoch: int) -> Mapping[str, float]:
        """What was `measured`, if it is due."""
        every, after = self.config.evaluate_every, self.config.run.steps_in(epoch + 1, self.steps_per_epoch)
        if not every or ((epoch + 1) % every and after):
            return {}
        return self.measured()

    def measured(self) -> dict[str, float]:
        """Accuracy of every task and mean loss, on train and test images, and how well W and V are aligned."""
        found = {**self.accuracies("train", self._train), **self.accuracies("test", self._test)}
        return found | {f"alignment/{layer}": value for layer, value in alignment(self.network).items()}

    @torch.no_grad()
    def accuracies(self, name: str, part: tuple[Tensor, Tensor]) -> dict[str, float]:
        """Accuracy (0 to 1) of every task under "NAME/TASK", and the mean loss under "NAME/loss"."""
        self.network.eval()
        names, n = self.material.tasks.names, len(part[0])
        right = torch.zeros(len(names), device=self.device, dtype=torch.float64)
        losses = torch.zeros((), device=self.device, dtype=torch.float64)
        height, width = self.material.image_shape[1:]
        size = max(1, TEST_BATCH * 32**2 // max(height * width, 32**2))
        for start in range(0, n, size):
            rows = slice(start, min(start + size, n))
            for number in range(len(names)):
                task = torch.full((rows.stop - rows.start,), number, device=self.device)
                samples = self.samples(part, rows, task)
                with self.config.run.autocast():
                    logits = self.network(samples.images, samples.instruction, samples.decoder).to(samples.images.dtype)
                answers = self.material.tasks.answers(part[1][rows], task)
                right[number] += (predictions(logits) == answers).sum()
                losses += self.loss.value(logits, samples.targets) * len(logits)
        found = dict(zip([f"{name}/{task_name}" for task_name in names], (right / n).tolist(), strict=True))
        return {**found, f"{name}/loss": float(losses) / (n * len(names))}


def optimizer(config: ButdConfig, network: ButdNetwork) -> torch.optim.Optimizer:
    """Adam or SGD on all that learns, with the decay of weights inside."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            learning, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
        )
    return torch.optim.Adam(learning, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


def freeze(network: ButdNetwork, config: ButdConfig) -> None:
    """Take what never learns out of learning: the instruction head, unless asked for; with backprop, V and c."""
    if network.instruction is not None:  # with feedback alignment, too: no error goes through its V
        network.instruction.requires_grad_(config.train_instruction)
    for name, parameter in network.named_parameters():
        if config.learning == "backprop" and name.endswith((".V", ".c")) and not name.startswith("instruction."):
            parameter.requires_grad_(False)


def initial_network(config: ButdConfig, material: TaskImages) -> ButdNetwork:
    """The network of a configuration as its training begins, on the CPU in the run's precision.

    Raises:
        RatespikeError: it does not fit into the memory, or the weights to begin with cannot be read.
    """
    tasks = material.tasks
    try:
        network = build_network(
            config.network,
            config.weights,
            material.image_shape,
            material.n_classes,
            derive(config.run.seed, "weights"),
            decoders=len(tasks.names) if config.multi_decoder else 1,
            instruction=tasks.size if config.guided else 0,
        ).to(config.run.dtype)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise RatespikeError("the network does not fit into memory; take fewer units, or smaller images") from None
    if config.initial_weights:
        load_weights(weights_path(config), network)
    return network


def weights_path(config: ButdConfig) -> Path:
    """Where the weights are that a run begins with.

    Raises:
        UsageError: the path begins with the home folder of nobody.
    """
    try:
        return Path(config.initial_weights).expanduser()
    except RuntimeError:
        raise UsageError(f"initial_weights: {config.initial_weights}: no such home folder") from None


def open_butd(folder: Path, config: ButdConfig, *, resume: bool, write: bool = True, force: bool = False) -> None:
    """`open_run`, by the first of several processes; without `write` nothing is written yet."""
    if rank() == 0:
        open_run(folder, config, resume=resume, write=write, force=force)


def check_processes(config: ButdConfig, images: int = 0) -> None:
    """Refuse what several processes, or a compiled step, cannot train.

    Args:
        config: of the run.
        images: to train on, 0 as long as that is not known.

    Raises:
        UsageError: a learning instruction head; on several processes batch norm, whose statistics would be of a share
            of the batch, or a batch, such as the last of an epoch, of fewer images than there are processes.
    """
    fewest = min(config.batch_size, images % config.batch_size or config.batch_size)
    if fewest < ranks():
        which = "a batch" if fewest == config.batch_size else f"the last batch of {images} images"
        raise UsageError(f"batch_size: {which} has {fewest} for {ranks()} processes; choose another")
    if config.network.norm and ranks() > 1:
        raise UsageError("network.norm: does not go with several processes")
    if config.train_instruction and (ranks() > 1 or config.run.compile):
        what = "several processes" if ranks() > 1 else "torch.compile"
        raise UsageError(f"train_instruction: does not go with {what}")


def train_butd(
    config: ButdConfig,
    material: TaskImages,
    folder: Path | None = None,
    *,
    resume: bool = False,
    force: bool = False,
    label: str = "BU-TD",
) -> tuple[ButdNetwork, list[dict[str, Any]]]:
    """Train a network; return it with its metrics by epoch: "loss", and where due "test/TASK" (accuracy, 0 to 1), ... .

    With `folder`, the run is kept there (see `ratenets.run`); `resume` goes on with one that was stopped, and `force`
    replaces one.

    Raises:
        UsageError: see `check_processes`.
        RatespikeError: see `ratenets.rehearsal.fit` and `ratenets.run.train`.
    """
    check_processes(config, len(material.train_images))
    begun = resume and folder is not None and (folder / CHECKPOINT).is_file()
    made: list[ButdLearner] = []

    def learner_of(changed: ButdConfig) -> ButdLearner:
        made[:] = [ButdLearner(replace(changed, initial_weights="") if begun else changed, material)]
        return made[0]

    def open_folder(path: Path) -> None:
        start = _before_learning(made[0]) if rank() == 0 and not begun and config.evaluate_every else None
        open_butd(path, config, resume=resume, force=force)
        if start is not None:
            write_json(path / START, {"epoch": 0, **start})

    learner, history = fit(learner_of, config, folder, resume=resume, label=label, open_folder=open_folder)
    return learner.network, history


def _before_learning(learner: ButdLearner) -> dict[str, float]:
    """What is measured before anything is written: evaluation has to fit into the memory, too."""
    try:
        return learner.measured()
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        where = learner.config.run.device
        raise MemoryFullError(
            f"the evaluation does not fit into the memory of {where}; take a narrower network"
        ) from None


class Trained(NamedTuple):
    """A trained network, its configuration on the device at hand, and what it learned from."""

    network: ButdNetwork
    config: ButdConfig
    material: TaskImages


def run_config(folder: Path, device: str = "cpu") -> ButdConfig:
    """The settings of a run, for a device at hand.

    Raises:
        RatespikeError: the folder is no run, or there is no such device.
    """
    config = run_folder.run_config(ButdConfig, folder)
    config = replace(config, run=replace(config.run, device=device))
    config.run.torch_device()
    return config


def load_butd(folder: Path, *, root: Path | None = None, device: str = "cpu") -> Trained:
    """Load a run, wherever it was trained, with its dataset.

    Args:
        folder: of the run.
        root: of the datasets.
        device: where the network is to be.

    Raises:
        RatespikeError: the folder is no run, its checkpoint is damaged or of another network, the data are missing.
    """
    config = run_config(folder, device)
    material = load_task_images(config, root)
    network = initial_network(replace(config, initial_weights=""), material)
    load_checkpoint(folder, network)
    return Trained(network.to(config.run.torch_device()).eval(), config, material)

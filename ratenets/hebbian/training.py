"""Training a network by a local rule: the learner that the run engine trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from foundation.errors import UsageError
from foundation.seeds import derive, numpy_generator
from ratenets import run_folder
from ratenets.butd.material import STATISTICS, normalised
from ratenets.distributed import launched
from ratenets.hebbian.config import HebbianConfig
from ratenets.hebbian.gradients import parts
from ratenets.hebbian.material import Material, Placed, load_material, placed
from ratenets.hebbian.network import Network
from ratenets.hebbian.rules import RULES
from ratenets.hebbian.rules.rule import Batch, Rule
from ratenets.rehearsal import fit
from ratenets.run_folder import open_run
from ratenets.sequences.augmentation import two_views

TEST_BATCH = 10_000
"""Images at a time where nothing learns."""


class Model(nn.Module):
    """A network and its rule, whose own weights are kept with the network's."""

    def __init__(self, network: Network, rule: Rule) -> None:
        super().__init__()
        self.network, self.rule = network, rule


class LocalLearner:
    """A network and its rule; a `ratenets.run.Learner`."""

    def __init__(
        self,
        config: HebbianConfig,
        material: Material,
        measure: Callable[[LocalLearner], Mapping[str, float]] | None = None,
    ) -> None:
        """Build the network on the device of the run, and put the images there.

        Args:
            config: of the run.
            material: what it learns from.
            measure: what to note of the learner after every epoch, besides losses and accuracies.
        """
        if launched():
            raise UsageError("deep hebbian trains on one process; start it without torchrun")
        self.config, self.material, self.measure = config, material, measure
        self.device = config.run.torch_device()
        self.network = initial_model(config, material).to(self.device)
        self.optimizer = optimizer(config, self.network)
        self.train, self.validation, self.test = (
            placed(part, config) for part in (material.train, material.validation, material.test)
        )
        withheld = np.isin(np.array(material.classes)[material.train[1]], config.withhold)
        self._shown = np.flatnonzero(~withheld)
        self.steps_per_epoch = -(-len(material.train[1]) // config.batch_size)
        self._order: tuple[int, Tensor] | None = None
        self._teach = config.run.compiled(self._teach_batch)

    @property
    def net(self) -> Network:
        """What learns."""
        return self.network.network

    @property
    def rule(self) -> Rule:
        """By which it does."""
        return self.network.rule

    def learning_rate(self, epoch: int) -> float:
        """In units of each layer's own, the `scale` of its parameter group."""
        return 1.0

    @torch.no_grad()
    def step(self, epoch: int, index: int) -> Mapping[str, Tensor]:
        batch = self.batch(epoch, index)
        with self.config.run.autocast():
            logits = self._teach(batch)
        # A smaller last batch counts by its images.
        part = len(batch.labels) * self.steps_per_epoch / len(self.train.labels)
        loss = nn.functional.cross_entropy(logits, batch.labels)
        return {"loss": part * loss, "accuracy": part * (logits.argmax(1) == batch.labels).to(loss.dtype).mean()}

    def _teach_batch(self, batch: Batch) -> Tensor:
        activities = self.net.activities(batch.images)
        self.rule.teach(self.net, batch, activities)
        return activities[-1].a

    def batch(self, epoch: int, index: int) -> Batch:
        """What a step sees: order of the images, views and noise depend on seed, epoch and index alone."""
        size = self.config.batch_size
        rows = self._rows(epoch)[index * size : (index + 1) * size]
        labels = self.train.labels.index_select(0, rows)
        generator = self.generator(epoch, index) if self.rule.noise else None
        if not self.rule.views:
            return Batch(self.train.images(rows), labels, None, generator)
        first, second = self.views(self.train.raw[rows], "views", epoch, index)
        return Batch(first, labels, second, generator)

    def views(self, raw: Tensor, *purpose: int | str) -> tuple[Tensor, Tensor]:
        """Two views of images of unsigned bytes (B, C, H, W), normalised, (B, pixels) each."""
        generator = torch.Generator().manual_seed(derive(self.config.run.seed, *purpose))
        views = two_views(raw.to(self.config.run.dtype) / 255, self.config.views, generator)
        mean, std = STATISTICS[self.config.data]
        first, second = (normalised(255 * views, mean, std, views.dtype)).flatten(1).chunk(2)
        return first, second

    def generator(self, *purpose: int | str) -> torch.Generator:
        """Of the noise of a step, on the run's device."""
        return torch.Generator(self.device).manual_seed(derive(self.config.run.seed, "noise", *purpose))

    def _rows(self, epoch: int) -> Tensor:
        """The order of an epoch's images: all once, or, while labels are withheld, as many of the others."""
        if self._order is None or self._order[0] != epoch:
            n = len(self.train.labels)
            generator = numpy_generator(self.config.run.seed, "order", epoch)
            hidden = self.config.withhold and not 0 < self.config.introduce <= epoch + 1
            if hidden:
                whole, rest = divmod(n, len(self._shown))
                rounds = [generator.permutation(self._shown) for _ in range(whole + 1)]
                order = np.concatenate([*rounds[:whole], rounds[whole][:rest]])
            else:
                order = generator.permutation(n)
            self._order = (epoch, torch.from_numpy(order).to(self.device))
        return self._order[1]

    def validation_batches(self, size: int = 0) -> Iterator[Batch]:
        """The validation images in batches of `size`, or all in one, always with the same views and noise."""
        part, other = self.validation, None
        generator = self.generator("validation") if self.rule.noise else None
        if self.rule.views:
            first, other = self.views(part.raw, "validation views")
        else:
            first = part.images(slice(None))
        yield from parts(Batch(first, part.labels, other, generator), size or len(part.labels))

    def evaluate(self, epoch: int) -> Mapping[str, float]:
        """Loss, accuracy and right answers by class on the validation images; at the end, on the test images, too."""
        found = self.accuracies("validation", self.validation)
        if not self.config.run.steps_in(epoch + 1, self.steps_per_epoch):
            found |= self.accuracies("test", self.test)
        return {**found, **(self.measure(self) if self.measure else {})}

    def baseline(self) -> dict[str, float]:
        """The line of epoch 0: evaluated, not trained."""
        trained = self.accuracies("train", self.train)
        found = self.accuracies("validation", self.validation)
        line = {"epoch": 0, "loss": trained["train/loss"], "accuracy": trained["train/accuracy"], **found}
        return {**line, **(self.measure(self) if self.measure else {})}

    @torch.no_grad()
    def accuracies(self, name: str, part: Placed) -> dict[str, float]:
        """Mean loss, accuracy (0 to 1) and, under "NAME/correct/LABEL", the number of right answers."""
        labels = part.labels
        losses, right = torch.zeros((), device=self.device, dtype=torch.float64), []
        for start in range(0, len(labels), TEST_BATCH):
            rows = slice(start, start + TEST_BATCH)
            with self.config.run.autocast():
                logits = self.net(part.images(rows)).to(part.scale.dtype)
            losses += nn.functional.cross_entropy(logits, labels[rows], reduction="sum")
            right.append(logits.argmax(1) == labels[rows])
        correct = torch.bincount(labels[torch.cat(right)], minlength=len(self.material.classes)).tolist()
        counts = {f"{name}/correct/{k}": float(n) for k, n in zip(self.material.classes, correct, strict=True)}
        return {
            f"{name}/loss": float(losses) / len(labels),
            f"{name}/accuracy": sum(correct) / len(labels),
            **(counts if name == "validation" else {}),
        }


def initial_model(config: HebbianConfig, material: Material) -> Model:
    """The network of a configuration as its training begins, and its rule, on the CPU in the run's precision."""
    sizes = (int(np.prod(material.image_shape)), *config.hidden, len(material.classes))
    network = Network(sizes, config.activation, biases=config.biases, seed=derive(config.run.seed, "weights"))
    rule = RULES[config.rule](network, config, derive(config.run.seed, "rule"))
    return Model(network, rule).to(config.run.dtype)


def learning_rates(config: HebbianConfig) -> list[float]:
    """Of every layer, lowest first."""
    if len(config.learning_rate) == config.layers:
        return list(config.learning_rate)
    if config.learning_rate:
        return list(config.learning_rate) * config.layers
    hidden, last = RULES[config.rule].own_rates(config)
    return [hidden] * (config.layers - 1) + [last]


def resolved(config: HebbianConfig) -> HebbianConfig:
    """The same run with all that it takes from its rule written out."""
    decay = config.weight_decay if config.weight_decay >= 0 else RULES[config.rule].weight_decay
    return replace(config, learning_rate=tuple(learning_rates(config)), weight_decay=decay)


def optimizer(config: HebbianConfig, model: Model) -> torch.optim.Optimizer:
    """Plain SGD, each layer with its learning rate, which weights of the rule's own that belong to it share."""
    config = resolved(config)
    groups = [
        {"params": [*layer.parameters(), *model.rule.own(number)], "scale": rate}
        for number, (layer, rate) in enumerate(zip(model.network.linear(), config.learning_rate, strict=True))
    ]
    return torch.optim.SGD(groups, lr=1.0, weight_decay=config.weight_decay, foreach=False)


def train_hebbian(
    config: HebbianConfig,
    material: Material,
    folder: Path | None = None,
    *,
    resume: bool = False,
    force: bool = False,
    label: str = "local rule",
    measure: Callable[[LocalLearner], Mapping[str, float]] | None = None,
) -> tuple[LocalLearner, list[dict[str, Any]]]:
    """Train a network; return its learner and its metrics by epoch, epoch 0, before learning, among them.

    A line has "loss" and "accuracy" (0 to 1) of the training images as they were learned from (evaluated, in epoch 0),
    and "validation/loss", "validation/accuracy", "validation/correct/LABEL"; the last has "test/accuracy", too.

    With `folder`, the run is kept there (see `ratenets.run`); `resume` goes on with one that was stopped, and `force`
    replaces one.

    Raises:
        RatespikeError: see `ratenets.rehearsal.fit` and `ratenets.run.train`.
    """
    baseline: list[dict[str, float]] = []

    def learner_of(changed: HebbianConfig) -> LocalLearner:
        learner = LocalLearner(changed, material, measure)
        baseline[:] = [learner.baseline()]
        return learner

    learner, history = fit(
        learner_of,
        config,
        folder,
        resume=resume,
        label=label,
        open_folder=lambda path: open_run(path, config, resume=resume, force=force),
    )
    if not history:  # nothing was learned; what is measured at the end is measured now
        baseline[0] |= learner.accuracies("test", learner.test)
    return learner, [*baseline, *history]


class Trained(NamedTuple):
    """A trained network, its configuration on the device at hand, and what it learned from."""

    network: Network
    config: HebbianConfig
    material: Material


def load_hebbian(folder: Path, *, root: Path | None = None, device: str = "cpu") -> Trained:
    """Load a run, wherever it was trained, with its dataset.

    Args:
        folder: of the run.
        root: of the datasets.
        device: where the network is to be.

    Raises:
        RatespikeError: the folder is no run, its checkpoint is damaged or of another network, the data are missing.
    """
    config = run_folder.run_config(HebbianConfig, folder)
    config = replace(config, run=replace(config.run, device=device))
    where = config.run.torch_device()
    material = load_material(config, root)
    model = initial_model(config, material)
    run_folder.load_weights(folder, model)
    return Trained(model.network.to(where).eval(), config, material)

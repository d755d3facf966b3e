"""`ratespike benchmark hebbian`: gradients of single examples against a loop, training against single images."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from foundation.data.images import ImageSet
from foundation.devices import find_device
from foundation.progress import bar
from ratenets.hebbian.config import HebbianConfig
from ratenets.hebbian.gradients import moments
from ratenets.hebbian.material import Material, part_of
from ratenets.hebbian.training import LocalLearner, initial_model, train_hebbian
from ratenets.run_config import RunConfig

from .racing import Timed, peak_memory, race, report

LOOP, LOADER = "loop over examples", "DataLoader of images"
MEAN, STD = 0.1307, 0.3081
EPOCHS = 5


def run(device: str, repeats: int, json_file: Path | None) -> None:
    """See `ratespike benchmark hebbian --help`."""
    where = find_device(device, "--device")
    torch.set_num_threads(1)
    material = made_up(60_000, 10_000)
    learner = LocalLearner(HebbianConfig(run=RunConfig(epochs=EPOCHS, device=device)), material)
    (batch,) = learner.validation_batches()
    model = _plain(learner.config, material).to(where)
    single: dict[str, Timed] = {
        LOOP: partial(looped_moments, model, batch.images, batch.labels),
        "two products": partial(moments, learner.net, learner.rule, batch),
    }
    rows = {"moments of 6,000 gradients": race(single, repeats, where, "gradients of single examples")}
    training: dict[str, Timed] = {
        LOADER: partial(loader_epochs, learner.config, material, where),
        "ours": partial(train_hebbian, learner.config, material, label="5 epochs"),
    }
    rows["5 epochs of backprop"] = race(training, max(1, repeats // 5), where, "training")
    report("hebbian, gradients", {k: v for k, v in rows.items() if LOOP in v}, LOOP, "s", 1, None)
    report("hebbian", {k: v for k, v in rows.items() if LOADER in v}, LOADER, "s", 1, json_file)
    size = peak_memory(single["two products"], where)
    stored = len(batch.labels) * sum(weight.numel() for weight in learner.net.weights) * 4
    click.echo(f"two products: {size / 1e6:.1f} MB at the peak; stored gradients would take {stored / 1e6:.0f} MB")


def made_up(n_train: int, n_test: int) -> Material:
    """Random images of 28 x 28 of ten classes, split as a run splits them."""
    rng = np.random.default_rng(0)
    parts = [
        (rng.integers(0, 256, (n, 1, 28, 28), dtype=np.uint8), rng.permutation(np.arange(n) % 10))
        for n in (n_train, n_test)
    ]
    return part_of(ImageSet("mnist", *parts[0], *parts[1], tuple("0123456789")), HebbianConfig())


def _plain(config: HebbianConfig, material: Material) -> nn.Sequential:
    """The network as a user of torch would write it, at the same weights."""
    first, second = initial_model(config, material).network.linear()
    return nn.Sequential(first, nn.Sigmoid(), second)


def looped_moments(model: nn.Sequential, images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Mean and mean square of the gradients, one backward pass for each image."""
    sums = [(torch.zeros_like(p), torch.zeros_like(p)) for p in model.parameters()]
    for image, label in zip(images, labels, strict=True):
        model.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(image[None]), label[None]))
        for parameter, (total, squares) in zip(model.parameters(), sums, strict=True):
            if parameter.grad is not None:
                total += parameter.grad
                squares += parameter.grad.square()
    return [(total / len(labels), squares / len(labels)) for total, squares in sums]


class SingleImages(Dataset[tuple[Tensor, int]]):
    """Images one by one, each by way of a PIL image, as torchvision's MNIST, ToTensor and Normalize give them."""

    def __init__(self, material: Material) -> None:
        self.images, self.labels = material.train
        self.mean, self.std = (torch.tensor([value]).view(-1, 1, 1) for value in (MEAN, STD))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        picture = Image.fromarray(self.images[row, 0])
        image = torch.from_numpy(np.array(picture)[None]).float().div(255)
        return image.sub_(self.mean).div_(self.std).flatten(), int(self.labels[row])


def loader_epochs(config: HebbianConfig, material: Material, device: torch.device) -> None:
    """Backprop as a user of torch would write it."""
    model = _plain(config, material).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loader = DataLoader(SingleImages(material), batch_size=config.batch_size, shuffle=True)
    for _ in bar(range(config.run.epochs), label="DataLoader", unit="epoch"):
        for images, labels in loader:
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(model(images.to(device)), labels.to(device)))
            optimizer.step()

"""Trained runs of any kind as the bridge sees them: one network of one form, and images with questions about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bridge.lowering import lower_butd, lower_encoder, lower_local
from foundation import config as configs
from foundation.data.images import ImageSet, load_images
from foundation.errors import RatespikeError, UsageError
from foundation.seeds import derive, numpy_generator
from ratenets.butd.config import ButdConfig
from ratenets.butd.material import TaskImages, load_task_images
from ratenets.butd.material import normalised as butd_normalised
from ratenets.butd.tasks import LeftRightOf
from ratenets.butd.training import load_butd
from ratenets.evaluation.readout import codes, fit
from ratenets.hebbian.config import HebbianConfig
from ratenets.hebbian.material import load_material, placed
from ratenets.hebbian.training import load_hebbian
from ratenets.lpl.config import LPLConfig
from ratenets.lpl.material import normalised
from ratenets.lpl.sources import prepare
from ratenets.lpl.training import load_lpl
from ratenets.run_folder import CONFIG
from ratenets.sequences.augmentation import image_sequence
from spiking.integrate_and_fire import IFNetwork

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Trials:
    """Images, and what is asked about them: a trial is a question about one image.

    Attributes:
        images: (N, C, H, W), bytes.
        row: which image a trial shows, (B,).
        answer: the right one, (B,).
        decoder: which prediction head answers, (B,).
        task: which set of gates is open, (B,); None: the network has none.
        prepare: makes of images what the network takes, (B, *input_shape), float32 or float64.
        classes: outputs of a prediction head; a single one says yes above 0.
    """

    images: Bytes
    row: Integers
    answer: Integers
    decoder: Integers
    task: Integers | None
    prepare: Callable[[Bytes], Tensor]
    classes: int

    @classmethod
    def of_images(cls, images: Bytes, labels: Integers, prepare: Callable[[Bytes], Tensor], classes: int) -> Trials:
        """One question about each image, and one network to answer it: of which class is it?"""
        rows = np.arange(len(images))
        return cls(images, rows, labels, np.zeros_like(rows), None, prepare, classes)

    def __len__(self) -> int:
        return len(self.row)

    def shown(self, rows: slice) -> Tensor:
        """The images of some trials, as the network takes them."""
        return self.prepare(self.images[self.row[rows]])

    def predictions(self, readout: NDArray[np.float64], rows: slice) -> Integers:
        """What the readout, (b, ..., decoders * classes), of some trials says, (b, ...)."""
        heads = readout.reshape(*readout.shape[:-1], -1, self.classes)
        of = self.decoder[rows].reshape(-1, *[1] * (heads.ndim - 1))
        logits = np.take_along_axis(heads, of, axis=-2)[..., 0, :]
        if self.classes == 1:
            return (logits[..., 0] > 0).astype(np.int64)
        return np.asarray(logits.argmax(-1), dtype=np.int64)

    def first(self, number: int) -> Trials:
        """The first so many trials; 0: all.

        Raises:
            UsageError: there are not so many.
        """
        if not 0 <= number <= len(self):
            raise UsageError(f"images: there are {len(self)}, got {number}")
        rows = slice(number or None)
        task = None if self.task is None else self.task[rows]
        return replace(self, row=self.row[rows], answer=self.answer[rows], decoder=self.decoder[rows], task=task)


@dataclass(frozen=True, eq=False)
class RateRun:
    """A trained network with its images.

    Attributes:
        lowered: gives the network, see `bridge.lowering`, for what its max-pools are to become.
        train: training images, (N, C, H, W), bytes.
        test: what it is tested on.
        origin: where it comes from, for the file of a converted network.
    """

    lowered: Callable[[str], IFNetwork]
    train: Bytes
    test: Trials
    origin: Mapping[str, str]

    @cached_property
    def rate(self) -> IFNetwork:
        """The trained network itself, with max-pools where it has them."""
        return self.lowered("count")

    def calibration(self, number: int) -> Tensor:
        """Images to measure activations on, (number, *input_shape): the first training images; 0: all."""
        return self.test.prepare(self.train[: number or None])


def open_run(folder: Path, *, data: str | None = None, root: Path | None = None, device: str = "cpu") -> RateRun:
    """Load a run of `ratespike deep lpl`, `deep butd` or `deep hebbian` and turn its network into layers of one form.

    An LPL run gets a linear readout of its last layer, fitted to all training labels.

    Args:
        folder: of the run.
        data: another dataset of the same image shape; None: the run's own.
        root: of the datasets.
        device: where to compute.

    Raises:
        RatespikeError: the folder is no run, or damaged, or the data are missing.
    """
    kind = kind_of(configs.parse(configs.read_text(folder / CONFIG), str(folder / CONFIG)), str(folder))
    return KINDS[kind].open(folder, data, root, device)


def kind_of(settings: Mapping[str, Any], where: str) -> str:
    """Which command made a run, by its settings: "lpl", "butd" or "hebbian"."""
    for kind, mark in (("lpl", "encoder"), ("butd", "network"), ("hebbian", "rule")):
        if mark in settings:
            return kind
    raise RatespikeError(f"{where}: no run of `ratespike deep lpl`, `deep butd` or `deep hebbian`")


def trials_of(origin: Mapping[str, str], data: str | None, root: Path | None, device: str = "cpu") -> Trials:
    """What a converted network is tested on, from its file alone: the run is not needed any more.

    Raises:
        RatespikeError: the data are missing, or the file says nothing of its origin that is known here.
    """
    return _kind(origin).images(origin["config"], data, root, device)[1]


def frames_of(
    origin: Mapping[str, str], images: int, views_each: int, seed: int, *, root: Path | None = None, device: str = "cpu"
) -> Tensor:
    """A sequence of training images, as a converted network takes them: each for `views_each` frames in a row.

    The frames of an image are new views of it where the run learned from views (LPL), and else the same.

    Returns:
        (images * views_each, *input_shape).

    Raises:
        UsageError: there are not so many images.
        RatespikeError: as `trials_of`.
    """
    kind = _kind(origin)
    train, test = kind.images(origin["config"], None, root, device)
    for name, number in (("images", images), ("views_each", views_each)):
        if number < 1:
            raise UsageError(f"{name}: must be at least 1, got {number}")
    if images > len(train):
        raise UsageError(f"images: there are {len(train)} to learn from, got {images}")
    rows = numpy_generator(seed, "sequence").permutation(len(train))[:images]
    if origin["kind"] != "lpl":
        return test.prepare(train[rows]).repeat_interleave(views_each, 0)
    config = configs.loads(LPLConfig, origin["config"], "origin")
    generator = torch.Generator().manual_seed(derive(seed, "views"))
    shown = torch.from_numpy(train[rows]).float() / 255
    return normalised(image_sequence(shown, views_each, config.views, generator), config.data)


def _kind(origin: Mapping[str, str]) -> Kind:
    if origin.get("kind") not in KINDS or "config" not in origin:
        raise RatespikeError("the file does not say which run of ours it comes from")
    return KINDS[origin["kind"]]


def plain_trials(data: str, root: Path | None, network: IFNetwork) -> Trials:
    """The test images of a dataset in [0, 1], for a network of unknown origin.

    Raises:
        UsageError: the network takes inputs of another size, or has another number of outputs.
    """
    images = load_images(data, root)
    if np.prod(images.image_shape) != network.inputs:
        raise UsageError(
            f"{data}: images have {np.prod(images.image_shape)} pixels, the network takes {network.inputs}"
        )
    if np.prod(network.shapes[-1]) != images.n_classes:
        raise UsageError(f"{data}: has {images.n_classes} classes, the network {np.prod(network.shapes[-1])} outputs")

    def shaped(batch: Bytes) -> Tensor:
        return torch.from_numpy(batch.reshape(len(batch), *network.input_shape)).double() / 255

    return Trials.of_images(images.test_images, images.test_labels, shaped, images.n_classes)


# --- the three kinds of runs ------------------------------------------------------------------------------------------
def _open_lpl(folder: Path, data: str | None, root: Path | None, device: str) -> RateRun:
    encoder, config, images = load_lpl(folder, data=data, root=root, device=device)
    z = codes(encoder, prepare(images.train_images, config))[-1]
    readout = fit(z, images.train_labels)

    def lowered(max_pooling: str) -> IFNetwork:
        return lower_encoder(encoder, readout, images.image_shape, max_pooling=max_pooling)

    config = replace(config, data=data or config.data)
    return RateRun(lowered, images.train_images, _lpl_test(images, config), _origin("lpl", config))


def _lpl_test(images: ImageSet, config: LPLConfig) -> Trials:
    return Trials.of_images(images.test_images, images.test_labels, partial(prepare, config=config), images.n_classes)


def _lpl_images(text: str, data: str | None, root: Path | None, device: str) -> tuple[Bytes, Trials]:
    config = _on(configs.loads(LPLConfig, text, "origin"), device)
    images = load_images(data or config.data, root, image_size=config.image_size)
    return images.train_images, _lpl_test(images, config)


def _open_butd(folder: Path, data: str | None, root: Path | None, device: str) -> RateRun:
    network, config, material = load_butd(folder, root=root, device=device)
    if data is not None:
        config = replace(config, data=data)
        material = load_task_images(config, root)
    named = _instructions(material) if config.guided else None

    def lowered(max_pooling: str) -> IFNetwork:
        return lower_butd(network, named, max_pooling=max_pooling)

    return RateRun(lowered, material.train_images, _butd_test(material, config), _origin("butd", config))


def _instructions(material: TaskImages) -> dict[str, Tensor]:
    """The instruction of every task by its name; one that names a digit is one for each of them."""
    tasks = material.tasks
    if not isinstance(tasks, LeftRightOf):
        return {name: torch.eye(tasks.size)[number] for number, name in enumerate(tasks.names)}
    digits = range(material.n_classes)
    vectors = torch.eye(tasks.size)
    return {
        f"{name} {digit}": vectors[number] + vectors[len(tasks.names) + digit]
        for (number, name), digit in product(enumerate(tasks.names), digits)
    }


def _butd_test(material: TaskImages, config: ButdConfig) -> Trials:
    """Every question about every image."""
    tasks, labels = material.tasks, torch.from_numpy(material.test_labels)
    rows, asked = np.divmod(np.arange(len(labels) * len(tasks.names)), len(tasks.names))
    task = torch.from_numpy(asked)
    answer = tasks.answers(labels[rows], task).numpy()
    gates = None
    if config.guided:
        gates = asked
        if isinstance(tasks, LeftRightOf):
            gates = asked * material.n_classes + tasks.answers(labels[rows], 1 - task).numpy()
    decoder = asked if config.multi_decoder else np.zeros_like(asked)
    device = config.run.torch_device()

    def ready(batch: Bytes) -> Tensor:
        shown = torch.from_numpy(batch).to(device)
        return butd_normalised(shown, material.mean, material.std, config.run.dtype)

    return Trials(material.test_images, rows, answer, decoder, gates, ready, material.n_classes)


def _butd_images(text: str, data: str | None, root: Path | None, device: str) -> tuple[Bytes, Trials]:
    config = _on(configs.loads(ButdConfig, text, "origin"), device)
    config = replace(config, data=data or config.data)
    material = load_task_images(config, root)
    return material.train_images, _butd_test(material, config)


def _open_hebbian(folder: Path, data: str | None, root: Path | None, device: str) -> RateRun:
    network, config, material = load_hebbian(folder, root=root, device=device)
    if data is not None:
        config = replace(config, data=data)
        material = load_material(config, root)
    pixels = int(np.prod(material.image_shape))
    return RateRun(
        lambda _: lower_local(network, pixels),
        material.train[0],
        _hebbian_test(material.test, config),
        _origin("hebbian", config),
    )


def _hebbian_test(part: tuple[Bytes, Integers], config: HebbianConfig) -> Trials:
    def ready(batch: Bytes) -> Tensor:
        return placed((batch, np.zeros(len(batch), np.int64)), config).images(slice(None))

    return Trials.of_images(*part, ready, int(part[1].max()) + 1)


def _hebbian_images(text: str, data: str | None, root: Path | None, device: str) -> tuple[Bytes, Trials]:
    config = _on(configs.loads(HebbianConfig, text, "origin"), device)
    config = replace(config, data=data or config.data)
    material = load_material(config, root)
    return material.train[0], _hebbian_test(material.test, config)


def _on(config: Any, device: str) -> Any:
    """The configuration on a device at hand."""
    config = replace(config, run=replace(config.run, device=device))
    config.run.torch_device()
    return config


def _origin(kind: str, config: Any) -> dict[str, str]:
    return {"kind": kind, "data": config.data, "config": configs.dumps(config)}


@dataclass(frozen=True)
class Kind:
    """How a kind of run is opened; and how its training images and what it is tested on are found."""

    open: Callable[[Path, str | None, Path | None, str], RateRun]
    images: Callable[[str, str | None, Path | None, str], tuple[Bytes, Trials]]


KINDS: Mapping[str, Kind] = {
    "lpl": Kind(_open_lpl, _lpl_images),
    "butd": Kind(_open_butd, _butd_images),
    "hebbian": Kind(_open_hebbian, _hebbian_images),
}

"""The paper's evaluation of a run: its network, what its readouts are fitted to and tested on, and its report."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foundation.data.catalogue import DATASETS
from foundation.errors import RatespikeError
from foundation.seeds import derive
from ratenets.evaluation.config import ReadoutConfig
from ratenets.evaluation.protocol import Part, read_out
from ratenets.evaluation.report import Origin, RunReport
from ratenets.lpl.config import LPLConfig
from ratenets.lpl.material import Labelled, normalised
from ratenets.lpl.sources import prepare
from ratenets.lpl.training import Trained, build_network, material_of
from ratenets.run import out_of_memory
from ratenets.sequences.augmentation import two_views

CHUNK = 1024


def has_own_part(config: LPLConfig) -> bool:
    """Has the readout images apart, held out by the run, or the labelled ones of a dataset that has others, too?"""
    dataset = DATASETS.get(config.data)
    return config.held_out > 0 or (dataset is not None and dataset.n_unlabelled > 0)


def at_initial_weights(trained: Trained) -> Trained:
    """The same network before it learned anything."""
    network = build_network(trained.config, trained.images.image_shape, trained.images.n_classes)
    return trained._replace(encoder=network.encoder.eval())


def report_of(
    run: Path, trained: Trained, config: ReadoutConfig, *, epochs: int, untrained: bool = False, progress: bool = False
) -> RunReport:
    """Read out a network.

    Args:
        run: its folder.
        trained: the network, its configuration and its dataset.
        config: what is read out.
        epochs: that the network has learned.
        untrained: the network is at its initial weights.
        progress: show bars.

    Raises:
        UsageError: more parts for a cross-validation than images.
        RatespikeError: the memory is too small.
    """
    encoder, settings, images = trained
    material = material_of(settings, images)
    origin = Origin(
        run=str(run),
        name=settings.name,
        data=settings.data,
        seed=settings.run.seed,
        epochs=epochs,
        untrained=untrained,
        classes=images.n_classes,
        fitted_to=len(material.readout.labels),
        tested_on=len(material.test.labels),
        settings=asdict(settings),
    )
    try:
        fitted, tested = _part(material.readout, settings), _part(material.test, settings)
        views = views_of(material.test.images, settings) if config.metrics else None
        seed = settings.run.seed
        with settings.run.exact():
            rows = read_out(encoder, fitted, tested, origin.classes, config, seed=seed, views=views, progress=progress)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise RatespikeError(f"{run}: the memory of {settings.run.device} is too small to read it out") from None
    return RunReport(origin, tuple(rows))


def views_of(images: NDArray[np.uint8], config: LPLConfig) -> tuple[Tensor, Tensor]:
    """Two augmented views of each image, (N, C, H, W) each, as the run's loss sees them; drawn from its seed."""
    device, parts = config.run.torch_device(), []
    for start in range(0, len(images), CHUNK):
        generator = torch.Generator().manual_seed(derive(config.run.seed, "readout", "views", start))
        x = torch.from_numpy(images[start : start + CHUNK]).to(device).to(config.run.dtype) / 255
        parts.append(normalised(two_views(x, config.views, generator), config.data).chunk(2))
    first, second = (torch.cat(views) for views in zip(*parts, strict=True))
    return first, second


def _part(part: Labelled, config: LPLConfig) -> Part:
    images = prepare(part.images, config)
    return Part(images, torch.from_numpy(part.labels).to(images.device))

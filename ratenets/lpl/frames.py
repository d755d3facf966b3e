"""Learning from Shapes3D sequences: the two views of a step are successive frames, nothing is augmented.

Halvagal & Zenke 2023, Extended Data Figs. 5 and 6; see `ratenets.sequences.shapes3d`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foundation.data import shapes3d
from foundation.data.shapes3d import Shapes3D
from foundation.devices import free_memory
from foundation.errors import UsageError
from foundation.progress import bar
from ratenets.distributed import share
from ratenets.evaluation.factor_votes import Codes
from ratenets.lpl.config import LPLConfig
from ratenets.lpl.encoders import Encoder
from ratenets.lpl.sources import Batch, positives
from ratenets.lpl.training import LPLLearner, build_network, run_config, without_start
from ratenets.run_folder import load_weights
from ratenets.sequences.shapes3d import SequenceConfig, Shapes3DSequences

DATA = "shapes3d"
"""The name that `--data` knows the sequences by."""

SHAPE = (3, 64, 64)
"""Of a frame."""


@dataclass(frozen=True, eq=False)
class Frames:
    """The pictures, and the order in which they are shown."""

    pictures: Shapes3D
    sequences: Shapes3DSequences


def load_frames(config: LPLConfig, root: Path | None) -> Frames:
    """The prepared pictures, and the sequences of the run's seed and batch size.

    Raises:
        RatespikeError: the pictures are not there, or not prepared.
        UsageError: settings that sequences have no use for.
    """
    refused = {
        "loss.supervision": config.loss.supervision,
        "train_images": config.train_images > 0,
        "held_out": config.held_out > 0,
        "readout_every": config.readout_every > 0,
        "downsample_images": config.downsample_images,
    }
    for name, given in refused.items():
        if given:
            raise UsageError(f"{name}: means nothing for the sequences of {DATA}; leave it out")
    pictures = shapes3d.load_shapes3d(root, shapes3d.SIZES)
    sequences = SequenceConfig(batch_size=config.batch_size)
    return Frames(pictures, Shapes3DSequences.draw(config.run.seed, sequences, pictures.sizes))


class FrameSource:
    """Successive frames of Shapes3D sequences."""

    def __init__(self, config: LPLConfig, frames: Frames) -> None:
        self.config = config
        self.pictures, self.sequences = frames.pictures, frames.sequences
        self.steps_per_epoch = self.sequences.config.steps
        self._blocks = lru_cache(maxsize=1)(self.sequences.epoch)
        device, size = config.run.torch_device(), self.pictures.images.nbytes
        fits = device.type == "cuda" and size < free_memory(device) / 2
        self._resident = torch.from_numpy(np.array(self.pictures.images)).to(device) if fits else None

    def batch(self, epoch: int, index: int) -> Batch:
        """The frames of one block but the last, and those that follow them."""
        block = self._blocks(epoch)[index]
        part = share(len(block) - 1)
        first, second = block[:-1][part], block[1:][part]
        views = presented(self.pictures, np.concatenate([first, second]), self.config, self._resident)
        return Batch(views, None, positives(self.config, len(block) - 1, epoch, index))


def learner(frames: Frames, config: LPLConfig) -> LPLLearner:
    """What learns from the sequences."""
    return LPLLearner(config, build_network(config, SHAPE, 0), FrameSource(config, frames), None)


def presented(
    pictures: Shapes3D, indices: NDArray[np.integer], config: LPLConfig, resident: Tensor | None = None
) -> Tensor:
    """Pictures as the encoder takes them, standardised by channel over the whole dataset, (N, 3, 64, 64).

    They travel to the device as bytes, or, with `resident` (all of them, there already), not at all.
    """
    device, dtype = config.run.torch_device(), config.run.dtype
    if resident is not None:
        frames = resident[torch.from_numpy(indices).to(device)]
    else:
        frames = torch.from_numpy(pictures.images[indices]).to(device)
    mean, deviation = (
        torch.from_numpy(x).to(device, dtype)[:, None, None] for x in (pictures.mean, pictures.deviation)
    )
    scaled = (frames.to(dtype) / 255 - mean) / deviation
    return scaled.contiguous(memory_format=config.memory_format)


class Scored(NamedTuple):
    """What is scored: a code of every picture.

    Attributes:
        name: of the condition.
        codes: gives the codes, (B, M), of pictures by their indices.
        sequences: that the network was shown, if there is one.
        sizes: values of each factor.
    """

    name: str
    codes: Codes
    sequences: Shapes3DSequences | None
    sizes: tuple[int, ...]


def scored(folder: Path | None, root: Path | None, *, device: str = "cpu", untrained: bool = False) -> Scored:
    """The last layer's codes of a run on Shapes3D, trained or at its initial weights; of the pixels without a run.

    Raises:
        RatespikeError: no such run, its checkpoint is damaged, or the pictures are not there.
        UsageError: a run on other data.
    """
    if folder is None:
        pictures = shapes3d.load_shapes3d(root, shapes3d.SIZES)
        return Scored("pixels", pixels_of(pictures), None, pictures.sizes)
    config = run_config(folder, device)
    if config.data != DATA:
        raise UsageError(f"{folder}: a run on {config.data}; factors are read out of runs on {DATA}")
    shown = load_frames(config, root)
    network = build_network(config if untrained else without_start(config), SHAPE, 0)
    if not untrained:
        load_weights(folder, network)
    codes = codes_of(network.encoder.eval(), shown.pictures, config)
    return Scored("untrained" if untrained else config.name, codes, shown.sequences, shown.pictures.sizes)


def codes_of(encoder: Encoder, pictures: Shapes3D, config: LPLConfig) -> Codes:
    """What gives the last layer's code of a picture: every picture is encoded here, the codes are kept (float32)."""
    number, size = len(pictures.images), 512
    table = np.empty((number, list(encoder)[-1].units), np.float32)
    for start in bar(range(0, number, size), label="codes", unit="batch"):
        rows = np.arange(start, min(start + size, number))
        with torch.no_grad(), config.run.exact():
            table[rows] = encoder(presented(pictures, rows, config))[-1].float().cpu().numpy()
    return lambda indices: table[indices]


def pixels_of(pictures: Shapes3D) -> Codes:
    """The pictures themselves in place of a code, (B, 3 * 64 * 64), 0 to 1: the baseline."""
    return lambda indices: (pictures.images[indices].reshape(len(indices), -1) / 255).astype(np.float32)

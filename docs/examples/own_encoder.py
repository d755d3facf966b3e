"""An encoder of one's own learns by LPL, is saved, and loaded again: `python own_encoder.py`.

Its layers are convolutions whose rates are divided by what all channels do at the same place. Measured are a linear
readout of every layer after training, and of the layers as they were.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from foundation.data.images import ImageSet, load_images
from ratenets.evaluation.readout import codes, fit
from ratenets.lpl.config import LPLConfig
from ratenets.lpl.encoders import Block, Encoder, EncoderConfig, Shape, register
from ratenets.lpl.sources import prepare
from ratenets.lpl.training import build_encoder, load_lpl, train_lpl
from ratenets.run_config import RunConfig


class NormalisedBlock(Block):
    """3 x 3 convolution, ReLU, divisive normalisation (Carandini & Heeger 2012, doi:10.1038/nrn3136), max-pool."""

    def __init__(self, inputs: int, units: int, pool: bool, sigma: float = 0.1) -> None:
        super().__init__()
        self.units = units
        self.conv = nn.Conv2d(inputs, units, 3, padding=1)
        self.pool, self.sigma = pool, sigma

    def forward(self, x: Tensor) -> Tensor:
        drive = self.conv(x).relu()
        rate: Tensor = drive / (self.sigma + drive.mean(1, keepdim=True))
        return functional.max_pool2d(rate, 2) if self.pool else rate


def blocks(config: EncoderConfig, shape: Shape) -> list[Block]:
    """As many layers as `hidden` has numbers; all but the first halve the image."""
    made: list[Block] = []
    for inputs, units in zip((shape[0], *config.hidden), config.hidden, strict=False):
        made.append(NormalisedBlock(inputs, units, pool=bool(made)))
    return made


register("normalised", blocks)


def accuracies(encoder: Encoder, config: LPLConfig, images: ImageSet) -> list[float]:
    """Share of the test images that a linear readout names rightly, by layer."""
    train, test = (codes(encoder, prepare(x, config)) for x in (images.train_images, images.test_images))
    return [fit(a, images.train_labels).accuracy(b, images.test_labels) for a, b in zip(train, test, strict=True)]


def main(arguments: list[str] | None = None) -> None:
    """Train, save, load, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30, help="passes over 1297 images  [default: 30]")
    parser.add_argument("--out", type=Path, help="the run's folder  [default: a temporary one]")
    settings = parser.parse_args(arguments)

    images = load_images("digits")
    encoder = EncoderConfig(kind="normalised", hidden=(32, 48, 64))
    config = LPLConfig.for_data("digits", encoder=encoder, run=RunConfig(epochs=settings.epochs))
    with tempfile.TemporaryDirectory() as temporary:
        folder = settings.out or Path(temporary) / "run"
        trained, _ = train_lpl(config, images, folder, label="LPL with normalisation")
        loaded = load_lpl(folder)
    same = all(
        np.array_equal(a.detach(), b.detach())
        for a, b in zip(trained.parameters(), loaded.encoder.parameters(), strict=True)
    )
    print("loaded as it was saved" if same else "something was lost on the way")
    for name, network in (("untrained", build_encoder(config, images.image_shape)), ("LPL", loaded.encoder)):
        layers = ", ".join(f"{accuracy:.3f}" for accuracy in accuracies(network, config, images))
        print(f"{name}: test accuracy of layers 1 to {len(config.encoder.hidden)}: {layers}")


if __name__ == "__main__":
    main()

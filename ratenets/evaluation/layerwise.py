"""What can be read out of each layer of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from torch import Tensor

from foundation.data.images import ImageSet
from foundation.seeds import numpy_generator
from ratenets.evaluation.readout import Features, codes, few_labels, fit
from ratenets.evaluation.representation import participation_ratio
from ratenets.lpl.encoders import Encoder


@dataclass(frozen=True)
class LayerReadout:
    """One layer: test accuracies (0 to 1), dimensionality and mean activity of its code for the test images.

    Attributes:
        name: "layer 1", ... or "pixels".
        few: accuracy with few labels, mean over several random choices of them.
        few_deviation: standard deviation over these choices.
        all: accuracy with all training labels.
        participation_ratio: of the code.
        mean_activity: of the code.
    """

    name: str
    few: float
    few_deviation: float
    all: float
    participation_ratio: float
    mean_activity: float

    def to_json(self) -> dict[str, object]:
        """Plain values; NaN becomes null."""
        return {k: None if v != v else v for k, v in asdict(self).items()}


def layerwise(
    encoder: Encoder, train: Tensor, test: Tensor, images: ImageSet, labels: int, draws: int, seed: int
) -> list[LayerReadout]:
    """Read out every layer.

    Args:
        encoder: the network.
        train: the training images (N, C, H, W) as the encoder takes them.
        test: the test images, likewise.
        images: the dataset, for its labels.
        labels: how many labels the few-label readout gets, evenly over the classes.
        draws: random choices of these labels to average over; the same ones for every layer and network.
        seed: of these choices.
    """
    pairs = zip(codes(encoder, train), codes(encoder, test), strict=True)
    return [_read(f"layer {n}", a, b, images, labels, draws, seed) for n, (a, b) in enumerate(pairs, start=1)]


def pixel_baseline(images: ImageSet, labels: int, draws: int, seed: int) -> LayerReadout:
    """The same readout on raw pixels: what no network is needed for."""
    train, test = (x.reshape(len(x), -1) / 255 for x in (images.train_images, images.test_images))
    return _read("pixels", train, test, images, labels, draws, seed)


def few_label_accuracy(
    train: Features, test: Features, images: ImageSet, labels: int, draws: int, seed: int
) -> tuple[float, float]:
    """Test accuracy of readouts that each got `labels` labels: mean and standard deviation over `draws` choices."""
    accuracies = []
    for draw in range(draws):
        rows = few_labels(images.train_labels, labels, numpy_generator(seed, "labels", draw))
        accuracies.append(fit(train[rows], images.train_labels[rows]).accuracy(test, images.test_labels))
    return float(np.mean(accuracies)), float(np.std(accuracies))


def _read(
    name: str, train: Features, test: Features, images: ImageSet, labels: int, draws: int, seed: int
) -> LayerReadout:
    few, deviation = few_label_accuracy(train, test, images, labels, draws, seed)
    return LayerReadout(
        name=name,
        few=few,
        few_deviation=deviation,
        all=fit(train, images.train_labels).accuracy(test, images.test_labels),
        participation_ratio=participation_ratio(test),
        mean_activity=float(test.mean()),
    )


def table(rows: Sequence[LayerReadout], labels: int) -> str:
    """The readouts as a text table, accuracies in per cent."""
    lines = [f"{'':8} {f'{labels} labels, %':>14} {'all labels, %':>14} {'dimensions':>11} {'mean activity':>14}"]
    lines += [
        f"{row.name:8} {100 * row.few:8.1f} ± {100 * row.few_deviation:3.1f} {100 * row.all:14.1f} "
        f"{row.participation_ratio:11.1f} {row.mean_activity:14.3f}"
        for row in rows
    ]
    return "\n".join(lines)

"""The paper's evaluation of a network: readouts of every layer, their dimensionality, activity and further metrics.

Readouts are fitted to images that the network has not learned from, and tested on the test images, all without
augmentation (Halvagal & Zenke 2023, Methods).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from foundation.errors import UsageError
from foundation.progress import bar
from ratenets.evaluation.config import ReadoutConfig
from ratenets.evaluation.features import check_unpooled, pooled, unpooled
from ratenets.evaluation.linear_readout import cross_validate, read_codes
from ratenets.evaluation.metrics import draws, representation_metrics
from ratenets.evaluation.report import PIXELS, LayerReport
from ratenets.evaluation.representation import batch_participation_ratio, manifolds, participation_ratio
from ratenets.lpl.encoders import Encoder


class Part(NamedTuple):
    """Images as the encoder takes them, (N, C, H, W), and their labels, (N,), on one device."""

    images: Tensor
    labels: Tensor


def read_out(
    encoder: Encoder,
    fitted: Part,
    tested: Part,
    classes: int,
    config: ReadoutConfig | None = None,
    *,
    seed: int = 0,
    views: tuple[Tensor, Tensor] | None = None,
    progress: bool = False,
) -> list[LayerReport]:
    """Read out a network.

    Args:
        encoder: the network.
        fitted: what the readouts are fitted to.
        tested: what they, and all measures, are tested on.
        classes: of the labels.
        config: what is read out.
        seed: of the readouts' initial weights, of the parts of a cross-validation and of the metrics' draws.
        views: two augmented views of the test images, if metrics are asked for.
        progress: show bars.

    Returns:
        the pixels, if they are asked for, and the layers, lowest first.

    Raises:
        UsageError: more parts for the cross-validation than images.
        RatespikeError: the maps do not fit into the memory.
    """
    config = config or ReadoutConfig()
    _check(encoder, fitted, tested, config)
    readouts = _Readouts(fitted.labels, tested.labels, classes, config.folds, seed)
    train = pooled(encoder, fitted.images, label="codes to fit to" if progress else "")
    test = pooled(encoder, tested.images, label="codes to test on" if progress else "")
    chosen = config.chosen(len(test))
    names = [f"layer {number + 1}" for number in chosen]
    rows = readouts.rows(names, [train[k] for k in chosen], [test[k] for k in chosen])
    del train
    both = None if views is None or not config.metrics else tuple(pooled(encoder, view) for view in views)
    measured = []
    for row, k in zip(bar(rows, label="dimensions", disable=not progress), chosen, strict=True):
        pair = None if both is None else (both[0][k], both[1][k])
        measured.append(_measured(row, test[k], tested.labels, seed, pair))
    if not config.pooling:
        measured = _with_maps(encoder, fitted, tested, readouts, measured, chosen, progress)
    if config.pixels:
        measured[:0] = readouts.rows([PIXELS], [fitted.images.flatten(1)], [tested.images.flatten(1)])
    return measured


def _check(encoder: Encoder, fitted: Part, tested: Part, config: ReadoutConfig) -> None:
    if config.folds > len(fitted.labels):
        raise UsageError(f"folds: must be at most {len(fitted.labels)}, the number of images, got {config.folds}")
    if not config.pooling:
        check_unpooled(encoder, tested.images[:1], len(fitted.images) + len(tested.images))


class _Readouts(NamedTuple):
    """How codes are read out: the same way for all."""

    train_labels: Tensor
    test_labels: Tensor
    classes: int
    folds: int
    seed: int

    def rows(self, names: list[str], train: Sequence[Tensor], test: Sequence[Tensor]) -> list[LayerReport]:
        """The readouts of some codes, side by side."""
        found = read_codes(train, self.train_labels, test, self.test_labels, self.classes, self.seed)
        folds = [[] for _ in train] if not self.folds else self._cross_validate(train)
        return [
            LayerReport(name, code.shape[1], one.top1, one.top5, tuple(parts))
            for name, code, one, parts in zip(names, test, found, folds, strict=True)
        ]

    def _cross_validate(self, codes: Sequence[Tensor]) -> list[list[float]]:
        return cross_validate(codes, self.train_labels, self.classes, self.folds, self.seed)


def _measured(
    row: LayerReport, code: Tensor, labels: Tensor, seed: int, views: tuple[Tensor, Tensor] | None
) -> LayerReport:
    """A row with the measures of its code for the test images."""
    values: dict[str, float] = {}
    if views is not None:
        draw = draws(len(code), code.shape[1], seed, code.device)
        values = representation_metrics(code, labels, draw, views)
    return replace(
        row,
        mean_activity=_known(float(code.double().mean())),
        participation_ratio=_known(participation_ratio(code)),
        participation_ratio_batches=_known(batch_participation_ratio(code)),
        mean_class_dim=_known(manifolds(code, labels).mean_class_dim),
        metrics={name: _known(value) for name, value in values.items()},
    )


def _with_maps(
    encoder: Encoder,
    fitted: Part,
    tested: Part,
    readouts: _Readouts,
    rows: list[LayerReport],
    chosen: list[int],
    progress: bool,
) -> list[LayerReport]:
    """Rows with the readouts of the flattened maps, of which one layer is in memory at a time."""
    result = []
    layers = zip(unpooled(encoder, fitted.images), unpooled(encoder, tested.images), strict=True)
    total = len(encoder.blocks)
    for number, (train, test) in enumerate(bar(layers, label="maps", total=total, disable=not progress)):
        if number not in chosen:
            continue
        row = rows[chosen.index(number)]
        (found,) = readouts.rows([row.name], [train], [test])
        result.append(
            replace(
                row,
                unpooled_units=found.units,
                unpooled_accuracy=found.accuracy,
                unpooled_top5=found.top5,
                unpooled_folds=found.folds,
            )
        )
    return result


def _known(value: float) -> float | None:
    """A number, or None where it is not defined."""
    return value if math.isfinite(value) else None

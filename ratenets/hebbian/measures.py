"""What the experiments measure of a learner."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from ratenets.hebbian.gradients import cosine, names, snr
from ratenets.hebbian.training import LocalLearner, initial_model

BATCH = 32
"""Images of a batch whose gradients are compared."""


def snr_of(learner: LocalLearner) -> dict[str, float]:
    """Signal-to-noise ratio of the gradients of single validation images, as "snr/W1", ...; NaN is left out."""
    (batch,) = learner.validation_batches()
    return _defined("snr", snr(learner.net, learner.rule, batch))


def cosine_of(learner: LocalLearner) -> dict[str, float]:
    """Cosine of the rule's gradients to backprop's over all validation batches, "cosine/W1", ...; NaN is left out."""
    return _defined("cosine", cosine(learner.net, learner.rule, lambda: learner.validation_batches(BATCH)))


def _defined(kind: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{kind}/{name}": value for name, value in values.items() if math.isfinite(value)}


@torch.no_grad()
def metrics_of(learner: LocalLearner) -> dict[str, float]:
    """What a trained network looks like, for the question which rule has made it.

    Losses and accuracies on validation images; by layer signal-to-noise ratio and cosine of the gradients, how far the
    weights have moved, |W - W_0| / |W_0|, in which direction their mean has, and in how many dimensions (participation
    ratio of the singular values of W - W_0); mean and spread of hidden activity.
    """
    found = learner.accuracies("validation", learner.validation)
    correct = [found.pop(f"validation/correct/{label}") for label in learner.material.classes]
    seen = torch.bincount(learner.validation.labels, minlength=len(correct)).tolist()
    shares = [right / n for right, n in zip(correct, seen, strict=True)]
    found |= {"accuracy of the worst class": min(shares), "accuracy of the best class": max(shares)}
    found |= snr_of(learner) | cosine_of(learner)
    before = initial_model(learner.config, learner.material).network.to(learner.device)
    for name, W, start in zip(names(learner.net), learner.net.weights, before.weights, strict=False):
        change = (W - start).double()
        values = torch.linalg.svdvals(change).square()
        found[f"change/{name}"] = float(change.norm() / start.double().norm())
        found[f"mean change/{name}"] = float(change.mean())
        if values.any():
            found[f"dimensions of change/{name}"] = float(values.sum() ** 2 / values.square().sum())
    for number, activity in enumerate(learner.net.activities(learner.validation.images(slice(None)))[:-1], 1):
        found[f"activity/y{number}"] = float(activity.y.mean())
        found[f"spread/y{number}"] = float(activity.y.std(0).mean())
    return found

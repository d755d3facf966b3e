"""Linear readout of each layer: what a downstream neuron could learn from the code, nothing more.

Here it is fitted to convergence; `linear_readout` has the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from foundation.errors import RatespikeError, UsageError
from foundation.threads import threads_for
from ratenets.evaluation.features import BATCH, pooled

Features = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Readout:
    """Softmax regression: logits = z weight^T + bias, weight (classes, M), bias (classes,)."""

    weight: Features
    bias: Features

    def predict(self, features: Features) -> Labels:
        """The most likely class of each row, (N,)."""
        return np.asarray(np.argmax(features @ self.weight.T + self.bias, axis=1), dtype=np.int64)

    def accuracy(self, features: Features, labels: Labels) -> float:
        """Share of rows whose class is predicted."""
        return float(np.mean(self.predict(features) == labels))


def fit(features: Features, labels: Labels, strength: float = 1.0) -> Readout:
    """Fit to convergence, whatever the scale of the features: they are standardised, the scaling is folded back.

    Args:
        features: (N, M), a code per sample. A unit that never varies gets no weight.
        labels: (N,) in 0 .. classes - 1; every class must occur, else `UsageError`.
        strength: inverse of the L2 penalty, as C in scikit-learn's `LogisticRegression`, which fits it.

    Raises:
        RatespikeError: features that are not finite.
    """
    from sklearn.linear_model import LogisticRegression

    classes = np.unique(labels)
    if len(classes) < 2 or classes[-1] != len(classes) - 1:
        raise UsageError(f"readout: every class needs a label to learn from, got only {classes.tolist()}")
    mean, deviation = features.mean(0), features.std(0)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    standard = (features - mean) * scale
    if not np.isfinite(standard).all():
        raise RatespikeError("readout: the activity is not finite; the weights are damaged, or diverged")
    with threads_for(features.size * len(classes)):
        model = LogisticRegression(C=strength, max_iter=2000).fit(standard, labels)
    weight, bias = model.coef_ * scale, model.intercept_
    if len(classes) == 2:  # scikit-learn then gives the second class's logit over the first's alone
        weight, bias = np.vstack([np.zeros_like(weight), weight]), np.array([0.0, *bias])
    return Readout(weight, bias - weight @ mean)


def codes(encoder: nn.Module, images: Tensor, batch_size: int = BATCH) -> list[Features]:
    """The code of every layer for images (N, C, H, W) as the encoder takes them: a list of (N, M_i), float64."""
    return [code.double().cpu().numpy() for code in pooled(encoder, images, batch_size)]


def few_labels(labels: Labels, number: int, generator: np.random.Generator) -> NDArray[np.intp]:
    """Rows of a random subset of `number` samples in which every class has the same share.

    Raises:
        UsageError: `number` is no multiple of the number of classes, or a class has too few samples.
    """
    classes = np.unique(labels)
    each, rest = divmod(number, len(classes))
    if rest or each < 1 or each > np.bincount(labels)[classes].min():
        raise UsageError(f"labels: {number} cannot be shared out evenly over {len(classes)} classes of this dataset")
    rows = [generator.choice(np.flatnonzero(labels == c), each, replace=False) for c in classes]
    return np.concatenate(rows)

"""Linear readout of each layer: what a downstream neuron could learn from the code, nothing more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from foundation.errors import UsageError

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
    """
    from sklearn.linear_model import LogisticRegression

    classes = np.unique(labels)
    if len(classes) < 2 or classes[-1] != len(classes) - 1:
        raise UsageError(f"readout: every class needs a label to learn from, got only {classes.tolist()}")
    mean, deviation = features.mean(0), features.std(0)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    model = LogisticRegression(C=strength, max_iter=2000).fit((features - mean) * scale, labels)
    weight, bias = model.coef_ * scale, model.intercept_
    if len(classes) == 2:  # scikit-learn then gives the second class's logit over the first's alone
        weight, bias = np.vstack([np.zeros_like(weight), weight]), np.array([0.0, *bias])
    return Readout(weight, bias - weight @ mean)


def fit_like_paper(
    features: Features,
    labels: Labels,
    initial: nn.Linear,
    *,
    epochs: int = 20,
    batch_size: int = 512,
    learning_rate: float = 1e-3,
) -> tuple[Readout, list[float]]:
    """The published protocol: Adam, no regularisation, samples in their given order, raw features, float32.

    It stops long before convergence, so small features are under-fitted: absolute scale matters (Halvagal & Zenke
    2023, Methods). `initial` (M -> classes) gives the starting weights and is left as it was.

    Returns:
        the readout and the loss of every batch.
    """
    weight = initial.weight.detach().float().clone().requires_grad_()
    bias = initial.bias.detach().float().clone().requires_grad_()
    optimizer = torch.optim.Adam([weight, bias], lr=learning_rate)
    x, y = torch.from_numpy(features).float(), torch.from_numpy(labels)
    losses = []
    for _ in range(epochs):
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            loss = functional.cross_entropy(functional.linear(x[rows], weight, bias), y[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            losses.append(loss.item())
    return Readout(weight.detach().double().numpy(), bias.detach().double().numpy()), losses


@torch.no_grad()
def codes(encoder: nn.Module, images: Tensor, batch_size: int = 512) -> list[Features]:
    """The code of every layer for images (N, C, H, W) as the encoder takes them: a list of (N, M_i), float64."""
    parts = [encoder(images[start : start + batch_size]) for start in range(0, len(images), batch_size)]
    return [torch.cat(layer).double().cpu().numpy() for layer in zip(*parts, strict=True)]


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

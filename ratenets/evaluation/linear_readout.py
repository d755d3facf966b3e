"""The paper's linear readout: softmax regression on raw codes that stops long before convergence.

Adam at 1e-3 without a penalty, 20 epochs, batches of 512, samples in their given order, float32. Small features are
therefore under-fitted: the absolute scale of a code matters (Halvagal & Zenke 2023, Methods). Readouts of several
codes are fitted side by side, each as if it were alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from foundation.errors import UsageError
from foundation.seeds import derive
from foundation.threads import threads_for

EPOCHS, BATCH, LEARNING_RATE = 20, 512, 1e-3


class Accuracy(NamedTuple):
    """Shares of samples, 0 to 1, whose class is the most likely one, or among the five most likely.

    Up to five classes are all among these, and `top5` is `top1`, as in the reference implementation.
    """

    top1: float
    top5: float


def initial_readout(units: int, classes: int, seed: int) -> nn.Linear:
    """Weights before training, PyTorch's default, from the stream "readout" of `seed`; the same for equal sizes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "readout"))
        return nn.Linear(units, classes)


def fit_like_paper(
    codes: Sequence[Tensor],
    labels: Tensor,
    initial: Sequence[nn.Linear],
    rows: Tensor | None = None,
    *,
    epochs: int = EPOCHS,
    batch_size: int = BATCH,
    learning_rate: float = LEARNING_RATE,
) -> tuple[list[nn.Linear], Tensor]:
    """Fit a readout to each code.

    Args:
        codes: (N, M_i) each, on one device.
        labels: (N,), 0 to classes - 1, there as well.
        initial: their starting weights (M_i -> classes), which are left as they were.
        rows: fit to these samples only, in this order; None: to all.
        epochs: passes over the samples.
        batch_size: samples per step; a last batch is smaller.
        learning_rate: of Adam.

    Returns:
        the readouts, and the loss of every batch, (steps, codes).
    """
    device = labels.device
    readouts = [deepcopy(one).to(device, torch.float32) for one in initial]
    parameters = [p for readout in readouts for p in readout.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, fused=True)
    batches = _batches(len(labels), rows, batch_size, device)
    history = []
    with threads_for(2 * batch_size * sum(parameter.numel() for parameter in parameters)):
        for batch in (batch for _ in range(epochs) for batch in batches):
            with torch.enable_grad():
                losses = torch.stack(
                    [
                        functional.cross_entropy(readout(code[batch].float()), labels[batch])
                        for readout, code in zip(readouts, codes, strict=True)
                    ]
                )
            optimizer.zero_grad()
            losses.sum().backward()
            optimizer.step()
            history.append(losses.detach())
    return readouts, torch.stack(history)


def _batches(number: int, rows: Tensor | None, size: int, device: torch.device) -> list[slice] | list[Tensor]:
    if rows is None:
        return [slice(start, start + size) for start in range(0, number, size)]
    return list(torch.split(rows.to(device), size))


@torch.no_grad()
def accuracy(readout: nn.Linear, code: Tensor, labels: Tensor, rows: Tensor | None = None) -> Accuracy:
    """Of a readout on a code (N, M) with its labels (N,), or on some rows of them."""
    code, labels = (code, labels) if rows is None else (code[rows], labels[rows])
    best = readout(code.float()).topk(min(5, readout.out_features), dim=1).indices
    right = best == labels[:, None]
    top1, top5 = (float(found.double().mean()) for found in (right[:, 0], right.any(1)))
    return Accuracy(top1, top5 if readout.out_features > 5 else top1)


def read_codes(
    train: Sequence[Tensor], train_labels: Tensor, test: Sequence[Tensor], test_labels: Tensor, classes: int, seed: int
) -> list[Accuracy]:
    """Test accuracy of the readout of each code, (N, M_i) for training and (N', M_i) for test."""
    initial = [initial_readout(code.shape[1], classes, seed) for code in train]
    readouts, _ = fit_like_paper(train, train_labels, initial)
    return [accuracy(readout, code, test_labels) for readout, code in zip(readouts, test, strict=True)]


def cross_validate(codes: Sequence[Tensor], labels: Tensor, classes: int, folds: int, seed: int) -> list[list[float]]:
    """Top-1 accuracy of every code on each of so many random parts of the samples, fitted to all the others.

    The parts are of one size, or differ by one; samples stay in their given order. The paper takes ten.

    Raises:
        UsageError: fewer than two parts, or more than samples.
    """
    if not 2 <= folds <= len(labels):
        raise UsageError(f"folds: must lie in 2 to {len(labels)}, the number of samples, got {folds}")
    generator = torch.Generator().manual_seed(derive(seed, "readout", "folds"))
    part = (torch.randperm(len(labels), generator=generator) % folds).to(labels.device)
    initial = [initial_readout(code.shape[1], classes, seed) for code in codes]
    accuracies: list[list[float]] = [[] for _ in codes]
    for fold in range(folds):
        inside, outside = (part == fold).nonzero()[:, 0], (part != fold).nonzero()[:, 0]
        readouts, _ = fit_like_paper(codes, labels, initial, outside)
        for found, readout, code in zip(accuracies, readouts, codes, strict=True):
            found.append(accuracy(readout, code, labels, inside).top1)
    return accuracies

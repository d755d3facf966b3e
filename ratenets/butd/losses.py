"""Losses, and what they send into the top-down network.

The error pass begins with each sample's own loss derivative with respect to the outputs, not divided by the number of
samples; Counter-Hebb updates take the mean.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from foundation.errors import UsageError


def check_classes(labels: Tensor, n_classes: int) -> None:
    """Raise `UsageError` for a label beyond 0 to `n_classes` - 1; on a GPU nobody looks, since all would wait."""
    if labels.device.type == "cuda" or not labels.numel():
        return
    for extreme in torch.aminmax(labels):
        if not 0 <= (label := int(extreme)) < n_classes:
            raise UsageError(f"labels: {label} is not one of {n_classes} classes")


class CrossEntropy:
    """Softmax cross-entropy; dL/do = softmax(o) - onehot(y)."""

    def targets(self, answers: Tensor, n_classes: int) -> Tensor:
        """Class ids, (B,), as they are. Raises `UsageError` for one out of range."""
        check_classes(answers, n_classes)
        return answers

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean over samples; outputs (B, C), targets (B,). Raises `UsageError` for a target out of range."""
        if targets.dim() != 1 or targets.is_floating_point():
            raise UsageError(f"targets: must be class ids, (samples,), got {targets.dtype} {tuple(targets.shape)}")
        check_classes(targets, outputs.shape[-1])
        return functional.cross_entropy(outputs, targets.long())

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """dL/do of each sample, (B, C)."""
        onehot = functional.one_hot(targets.long(), outputs.shape[-1])
        return outputs.softmax(-1) - onehot.to(outputs.dtype)


class _OnVectors:
    """A loss whose targets are vectors."""

    def targets(self, answers: Tensor, n_classes: int) -> Tensor:
        """Class ids, (B,), one-hot, (B, C); for a single output 0 or 1, (B, 1). Raises `UsageError` for others."""
        check_classes(answers, max(n_classes, 2))
        return answers[..., None] if n_classes == 1 else functional.one_hot(answers.long(), n_classes)

    @staticmethod
    def _fitting(outputs: Tensor, targets: Tensor) -> Tensor:
        """The targets in the type of the outputs; refused in another shape, which would be broadcast."""
        if targets.shape != outputs.shape:
            raise UsageError(f"targets: must be {tuple(outputs.shape)}, as the outputs, got {tuple(targets.shape)}")
        return targets.to(outputs.dtype)


class MeanSquaredError(_OnVectors):
    """Mean over outputs of (o - y)^2; dL/do = 2 (o - y) / C."""

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean over samples and outputs; both (B, C)."""
        return functional.mse_loss(outputs, self._fitting(outputs, targets))

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """dL/do of each sample, (B, C)."""
        return (outputs - self._fitting(outputs, targets)) * (2 / outputs.shape[-1])


class BinaryCrossEntropy(_OnVectors):
    """Mean over outputs of the cross-entropy of sigmoid(o) and y; dL/do = (sigmoid(o) - y) / C."""

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean over samples and outputs; both (B, C)."""
        return functional.binary_cross_entropy_with_logits(outputs, self._fitting(outputs, targets))

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """dL/do of each sample, (B, C)."""
        return (outputs.sigmoid() - self._fitting(outputs, targets)) / outputs.shape[-1]


Loss = CrossEntropy | MeanSquaredError | BinaryCrossEntropy

LOSSES: dict[str, Loss] = {"cross-entropy": CrossEntropy(), "mse": MeanSquaredError(), "bce": BinaryCrossEntropy()}
"""By the names of `ratenets.butd.config.LOSSES`."""


def predictions(outputs: Tensor) -> Tensor:
    """Which class the outputs, (B, C), say: the largest, or for a single one whether it is positive; (B,)."""
    return (outputs[..., 0] > 0).long() if outputs.shape[-1] == 1 else torch.argmax(outputs, -1)

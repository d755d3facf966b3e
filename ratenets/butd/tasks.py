"""What a bottom-up / top-down network can be asked about an image: the instruction, and the right answer.

An image has a row of labels, one for each task, and the answer to task k is label k. What differs between the kinds is
the instruction: the vector that the instruction head takes, which tells the network what to look for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foundation.errors import UsageError


@dataclass(frozen=True)
class Tasks:
    """A kind of task: as it is here, the instruction to task k is a one-hot vector.

    All methods take labels (..., L) and tasks (...), whole numbers, on any device, and work in `torch.func.vmap`, too.

    Attributes:
        kind: its name.
        names: of its L tasks.
    """

    kind: ClassVar[str]
    names: tuple[str, ...]

    @property
    def size(self) -> int:
        """Entries of an instruction."""
        return len(self.names)

    def instructions(self, labels: Tensor, task: Tensor) -> Tensor:
        """Instructions, (..., `size`), zeros and ones of torch's default dtype."""
        return _one_hot(task, len(self.names))

    def answers(self, labels: Tensor, task: Tensor) -> Tensor:
        """The right answer to the task of each image, (...)."""
        return labels.gather(-1, task[..., None])[..., 0]


@dataclass(frozen=True)
class Single(Tasks):
    """One task: the class of the image. There is nothing to instruct, the network is unguided."""

    kind: ClassVar[str] = "class"
    names: tuple[str, ...] = field(default=("class",), init=False)


@dataclass(frozen=True)
class LeftRight(Tasks):
    """Which digit is on the left, which one on the right? Labels are (left, right)."""

    kind: ClassVar[str] = "left/right"
    names: tuple[str, ...] = field(default=("left", "right"), init=False)


@dataclass(frozen=True)
class BinaryAttributes(Tasks):
    """Is an attribute there? Labels, and answers, are 1 for yes and 0 for no."""

    kind: ClassVar[str] = "attribute"


@dataclass(frozen=True)
class LeftRightOf(Tasks):
    """Which digit is the neighbour of a named one? Labels are (left, right).

    An instruction is the direction, (1, 0) left of or (0, 1) right of, and then, one-hot, the class of the digit whose
    neighbour is asked for. Left of the right digit is the left one, and the other way round: each image has both tasks,
    where the reference draws one of them.
    """

    kind: ClassVar[str] = "left/right-of"
    names: tuple[str, ...] = field(default=("left of", "right of"), init=False)
    n_classes: int  # of digits

    @property
    def size(self) -> int:
        return len(self.names) + self.n_classes

    def instructions(self, labels: Tensor, task: Tensor) -> Tensor:
        named = self.answers(labels, 1 - task)
        return torch.cat([super().instructions(labels, task), _one_hot(named, self.n_classes)], dim=-1)


def _one_hot(index: Tensor, n: int) -> Tensor:
    """(..., n). Torch's own looks at the values first, and so waits for the GPU in every step."""
    places = torch.arange(n, device=index.device)
    return (index[..., None] == places).to(torch.get_default_dtype())


KINDS = (Single.kind, LeftRight.kind, LeftRightOf.kind, BinaryAttributes.kind)


def tasks_of(kind: str, n_classes: int, attributes: tuple[str, ...] = ()) -> Tasks:
    """The tasks of a kind: one of `KINDS`, as configs name it.

    Args:
        kind: its name.
        n_classes: of digits.
        attributes: their names, where the kind is ``attribute``.

    Raises:
        UsageError: no such kind.
    """
    match kind:
        case Single.kind:
            return Single()
        case LeftRight.kind:
            return LeftRight()
        case LeftRightOf.kind:
            return LeftRightOf(n_classes)
        case BinaryAttributes.kind:
            return BinaryAttributes(attributes)
    raise UsageError(f"task: must be one of {', '.join(KINDS)}, got '{kind}'")


def check_labels(labels: Tensor | NDArray[np.int64], tasks: Tasks, n_classes: int) -> None:
    """Raise `UsageError` if labels are not (N, L), whole numbers from 0 to `n_classes` - 1.

    One class is a yes or no, whose labels are 0 and 1.
    """
    rows = torch.as_tensor(labels)
    if rows.dtype != torch.int64 or rows.ndim != 2 or rows.shape[1] != len(tasks.names):
        found = f"{str(rows.dtype).removeprefix('torch.')} {tuple(rows.shape)}"
        raise UsageError(f"labels: are {found}, should be int64 (N, {len(tasks.names)}), one for each {tasks.kind}")
    n = max(n_classes, 2)
    if len(wrong := ((rows < 0) | (rows >= n)).nonzero()):
        row, column = wrong[0].tolist()
        raise UsageError(f"labels: {rows[row, column].item()} at row {row} is not one of {n} classes")

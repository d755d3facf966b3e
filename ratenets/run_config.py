"""What every training run is asked to do. Read for help pages, too, so torch is imported where it is needed alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from foundation.config import check_choices, setting
from foundation.errors import UsageError

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "float64", "bfloat16")

Result = TypeVar("Result")


@dataclass(frozen=True)
class RunConfig:
    """What every run has, whatever it trains."""

    epochs: int = setting(100, "passes over the training images")
    seed: int = setting(0, "of all random draws")
    device: str = setting("cpu", "cpu, cuda, or cuda:N")
    precision: str = setting(
        "float32", "of the numbers; bfloat16 is mixed: float32 weights, bfloat16 products", choices=PRECISIONS
    )
    compile: bool = setting(False, "compile the step with torch.compile (needs a C++ compiler)")
    checkpoint_every: int = setting(
        0, "steps between checkpoints; 0: at the end of an epoch, every five seconds at most"
    )
    max_steps: int = setting(0, "stop after so many steps, even within an epoch; 0: no limit")

    def __post_init__(self) -> None:
        check_choices(self, "run")
        if self.epochs < 0:
            raise UsageError(f"run.epochs: must not be negative, got {self.epochs}")
        if self.seed < 0:
            raise UsageError(f"run.seed: must not be negative, got {self.seed}")
        for name in ("checkpoint_every", "max_steps"):
            if getattr(self, name) < 0:
                raise UsageError(f"run.{name}: must not be negative (steps), got {getattr(self, name)}")

    def steps_in(self, epoch: int, steps_per_epoch: int) -> int:
        """How many of an epoch's steps the run makes; the epoch is counted from 0."""
        if epoch >= self.epochs:
            return 0
        return max(0, min(steps_per_epoch, (self.max_steps or 2**62) - epoch * steps_per_epoch))

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        import torch

        return torch.float64 if self.precision == "float64" else torch.float32

    def torch_device(self) -> torch.device:
        """The device, checked: `UsageError` for a name that torch does not know, `RatespikeError` for one not here."""
        from foundation.devices import find_device

        return find_device(self.device, "run.device")

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which a step is computed: mixed precision, or `exact`."""
        if self.precision == "bfloat16":
            import torch

            return torch.autocast(self.torch_device().type, dtype=torch.bfloat16)
        return self.exact()

    def exact(self) -> AbstractContextManager[Any]:
        """The context in which a GPU convolves in the precision of its numbers, without the ten bits of TF32."""
        if self.torch_device().type != "cuda":
            return nullcontext()
        import torch

        without_tf32: AbstractContextManager[Any] = torch.backends.cudnn.flags(
            enabled=True, benchmark=torch.backends.cudnn.benchmark, allow_tf32=False
        )
        return without_tf32

    def compiled(self, function: Callable[..., Result]) -> Callable[..., Result]:
        """`function`, compiled if the run asks for it."""
        if not self.compile:
            return function
        import torch

        return torch.compile(function)

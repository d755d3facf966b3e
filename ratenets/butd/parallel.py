"""A step on several processes, or compiled: Counter-Hebb values travel the way of gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ratenets.butd.config import ButdConfig
from ratenets.butd.learning import Noise, Samples, counter_hebb_values
from ratenets.butd.losses import Loss
from ratenets.butd.networks import ButdNetwork
from ratenets.distributed import ranks


class _Delivered(torch.autograd.Function):
    """Forward: the loss. Backward: values that are known already, for the parameters that follow them."""

    @staticmethod
    def forward(context: Any, loss: Tensor, values: list[Tensor], *parameters: Tensor) -> Tensor:
        context.values = values
        return loss.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, *(value * gradients[0] for value in context.values))


class Parallel(nn.Module):
    """A network and its rule as one module, whose result is a loss with a backward pass.

    With backprop that is autograd's. With Counter-Hebb learning it hands out values that the passes have found, so that
    whoever waits for gradients, as DistributedDataParallel does to average them over processes, gets these.
    """

    def __init__(self, network: ButdNetwork, loss: Loss, config: ButdConfig) -> None:
        """Join what is needed for a step; `run.compile` compiles it."""
        super().__init__()
        self.network, self.loss = network, loss
        self.backprop = config.learning == "backprop"
        self._reached = parameters_as_reached(network)
        self._values = config.run.compiled(counter_hebb_values)
        self._forward = config.run.compiled(self._mean_loss)

    def forward(self, samples: Samples, noise: Noise | None) -> Tensor:
        """The mean loss of the samples."""
        if self.backprop:
            return self._forward(samples)
        loss, values = self._values(self.network, samples, self.loss)
        learning = {name: p for name, p in self._reached.items() if name in values}  # the instruction head has none
        noisy = [
            values[name] * noise() if noise is not None and p.dim() > 1 else values[name]
            for name, p in learning.items()
        ]
        delivered: Tensor = _Delivered.apply(loss, noisy, *learning.values())  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return delivered

    def _mean_loss(self, samples: Samples) -> Tensor:
        logits, _ = self.network.bottom_up(samples.images, self.network.attention(samples.instruction))
        return self.loss.value(self.network.read(logits, samples.decoder), samples.targets)


def parameters_as_reached(network: ButdNetwork) -> dict[str, nn.Parameter]:
    """Parameters that learn, by name, as an error pass reaches them, the head's first: noise is drawn in this order."""
    return {
        f"{layer.name}.{name}": parameter  # again where a composite layer has it; its place is that of the first time
        for layer in reversed(network.layers())
        for name, parameter in layer.named_parameters()
        if parameter.requires_grad
    }


class Step:
    """`Parallel` at work, on all processes: every one has a share of each batch, and all make the same step."""

    def __init__(self, network: ButdNetwork, loss: Loss, config: ButdConfig) -> None:
        """Join the processes, if there are several."""
        module = Parallel(network, loss, config)
        self._module: nn.Module = module if ranks() == 1 else DistributedDataParallel(module)

    def learn(self, samples: Samples, batch: int, part: float, noise: Noise | None) -> Tensor:
        """Add the values of a batch to every `.grad`; return its mean loss.

        Args:
            samples: this process's share of the batch; on no process is it empty.
            batch: how many samples all processes have.
            part: factor of all values.
            noise: as of `counter_hebb`; the same draws on all processes.
        """
        share = ranks() * len(samples.images) / batch  # their averages of unequal shares would be wrong
        loss: Tensor = self._module(samples, noise) * share
        (loss * part).backward()
        loss = loss.detach().clone()
        if ranks() > 1:
            dist.all_reduce(loss)
        return loss / ranks()

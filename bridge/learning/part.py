"""The layer that goes on learning, and what it is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bridge.config import LearningConfig
from foundation.errors import RatespikeError, UsageError
from spiking.integrate_and_fire import IFLayer, IFNetwork
from spiking.network_file import NetworkFile
from spiking.synapses import Conv, Dense
from spiking.torch.integrate_and_fire import SnnTorchNetwork, evaluate, module_of

Floats = NDArray[np.float64]
Levels = tuple[Floats, Floats]
"""Mean rate and variance of the spikes that traces start from, in Hz, by unit or channel."""


@dataclass(frozen=True, eq=False)
class Part:
    """A layer with one projection that ends in weights."""

    network: IFNetwork
    number: int
    layer: IFLayer
    main: Dense | Conv

    @property
    def name(self) -> str:
        return self.layer.name

    @cached_property
    def _outputs(self) -> Callable[[Tensor], list[Tensor]]:
        module = SnnTorchNetwork(self.network, torch.float64)

        def outputs(images: Tensor) -> list[Tensor]:
            x = images.double().cpu().view(len(images), *self.network.input_shape)
            with torch.no_grad():
                return [*evaluate(module, x), x]

        return outputs

    def frames(self, images: Tensor) -> Floats:
        """What enters the weights, (F, ...), as shares of one spike per step, at most 1."""
        if len(images) < 2:
            raise UsageError(f"images: a sequence of two frames or more is needed, got {len(images)}")
        below = self._outputs(images)[self.network.sources(self.number)[0]]
        pools = nn.Sequential(*(module_of(each, torch.float64) for each in self.layer.projections[0].maps[:-1]))
        found: Floats = pools(below).numpy()
        if isinstance(self.main, Dense):
            found = found.reshape(len(found), -1)
        if found.min() < 0:
            raise UsageError(f"{self.name}: its input is negative in places, and spikes cannot be; normalise to [0, 1]")
        return np.minimum(found, 1.0)

    def expected(self, images: Tensor) -> Floats:
        """The layer's activation, (F, *shape)."""
        found: Floats = self._outputs(images)[self.number].numpy()
        return found

    def statistics(self, file: NetworkFile, config: LearningConfig) -> Levels:
        """Mean rate and variance of the spikes, in Hz, by unit or channel (see `bridge.comparison.Statistics`)."""
        if self.number not in file.statistics:
            raise RatespikeError(f"{self.name}: the file has no statistics of the rate network; convert it anew")
        mean = file.statistics[self.number].mean
        hertz = mean.reshape(len(mean), -1).mean(1) * config.unit_rate
        return hertz, hertz * (1 - np.minimum(hertz * config.dt, 1))


def part_of(file: NetworkFile, layer: int) -> Part:
    spiking = list(file.network.spiking.items())
    if not 1 <= layer <= len(spiking):
        raise UsageError(f"layer: the network has 1 to {len(spiking)}, got {layer}")
    number, found = spiking[layer - 1]
    main = found.projections[0].maps[-1]
    if len(found.projections) > 1 or not isinstance(main, Dense | Conv):
        raise UsageError(f"{found.name}: a layer learns that has one projection, of weights; this one has others")
    if found.gates is not None:
        raise UsageError(f"{found.name}: a layer with gates for tasks cannot go on learning")
    return Part(file.network, number, found, main)

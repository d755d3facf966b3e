"""`spiking.integrate_and_fire` as snnTorch layers: batched, on CPU or GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import snntorch
import torch
from torch import Tensor, nn

from foundation.errors import UsageError
from spiking.integrate_and_fire import IFLayer, IFNetwork, IFResult, Stimulus


def _at_threshold(distance: Tensor) -> Tensor:
    """A spike at the threshold itself, too; snnTorch's own surrogates need more than it."""
    return (distance >= 0).to(distance.dtype)


class IFDense(nn.Module):
    """Synapses and snnTorch neurons of one layer.

    The neurons integrate and fire (`snntorch.Leaky`, beta 1); the soft reset is done here. snnTorch's own would hold
    a neuron back whose potential is still above the threshold after a spike: it subtracts before it compares.
    """

    def __init__(self, layer: IFLayer, dtype: torch.dtype) -> None:
        super().__init__()
        self.synapses = nn.Linear(layer.weight.shape[1], layer.units, dtype=dtype)
        with torch.no_grad():
            self.synapses.weight.copy_(torch.from_numpy(layer.weight))
            self.synapses.bias.copy_(torch.from_numpy(layer.bias))
        self.neurons = snntorch.Leaky(beta=1.0, threshold=1.0, spike_grad=_at_threshold, reset_mechanism="none")
        snntorch.SpikingNeuron.instances.remove(self.neurons)  # snnTorch would keep every layer alive for ever

    def forward(self, drive: Tensor, potential: Tensor) -> tuple[Tensor, Tensor]:
        """One step: spikes and potential from the drive W s + b and the potential before."""
        spikes, potential = self.neurons(drive, potential)
        return spikes, potential - spikes


class State(NamedTuple):
    """Potentials of the spiking layers and of the readout, each (B, M)."""

    potentials: tuple[Tensor, ...]
    readout: Tensor


class SnnTorchNetwork(nn.Module):
    """An `IFNetwork` as snnTorch layers. One call of it is one step."""

    def __init__(self, network: IFNetwork, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.initial_potential = network.initial_potential
        self.layers = nn.ModuleList(IFDense(layer, dtype) for layer in network.layers)
        self.readout = nn.Linear(network.readout.weight.shape[1], network.readout.units, dtype=dtype)
        with torch.no_grad():
            self.readout.weight.copy_(torch.from_numpy(network.readout.weight))
            self.readout.bias.copy_(torch.from_numpy(network.readout.bias))

    def __iter__(self) -> Iterator[IFDense]:
        for layer in self.layers:
            assert isinstance(layer, IFDense)  # nn.ModuleList forgets the type of its items
            yield layer

    def initial_state(self, batch: int) -> State:
        """The state at the start of an image."""
        weight = self.readout.weight
        return State(
            tuple(weight.new_full((batch, layer.synapses.out_features), self.initial_potential) for layer in self),
            weight.new_zeros(batch, self.readout.out_features),
        )

    def drive(self, x: Tensor) -> Tensor:
        """The first layer's drive by an input (B, N): a constant current needs it only once."""
        drive: Tensor = next(iter(self)).synapses(x)
        return drive

    def forward(self, drive: Tensor, state: State) -> tuple[list[Tensor], State]:
        """One step from the first layer's drive: the spikes of every layer, and the state after it."""
        spikes: list[Tensor] = []
        potentials: list[Tensor] = []
        for layer, potential in zip(self, state.potentials, strict=True):
            if spikes:
                drive = layer.synapses(spikes[-1])
            spike, potential = layer(drive, potential)
            spikes.append(spike)
            potentials.append(potential)
        return spikes, State(tuple(potentials), state.readout + self.readout(spikes[-1]))


@torch.no_grad()
def simulate(
    network: IFNetwork,
    stimulus: Stimulus,
    steps: int,
    *,
    spikes: bool = False,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    batch_size: int = 1000,
) -> IFResult:
    """Run the network in snnTorch; a `spiking.integrate_and_fire.Simulator`. `batch_size` images run at a time."""
    network.check(stimulus, steps)
    if batch_size < 1:
        raise UsageError(f"batch_size: must be at least 1, got {batch_size}")
    module = SnnTorchNetwork(network, dtype).to(device)
    parts = [
        _simulate(module, torch.tensor(np.ascontiguousarray(part), device=device).to(dtype), steps, spikes)
        for part in np.split(stimulus, range(batch_size, len(stimulus), batch_size))
    ]
    return IFResult(
        [np.concatenate(layer) for layer in zip(*(p.spikes for p in parts), strict=True)],
        [np.concatenate(layer) for layer in zip(*(p.counts for p in parts), strict=True)],
        np.concatenate([p.readout for p in parts]),
    )


def _simulate(module: SnnTorchNetwork, stimulus: Tensor, steps: int, keep: bool) -> IFResult:
    state = module.initial_state(len(stimulus))
    counts = [torch.zeros_like(potential) for potential in state.potentials]
    kept: list[list[Tensor]] = [[] for _ in counts]
    readout = []
    constant = module.drive(stimulus) if stimulus.dim() == 2 else None
    for step in range(steps):
        spikes, state = module(constant if constant is not None else module.drive(stimulus[:, step]), state)
        readout.append(state.readout)
        for count, layer, spike in zip(counts, kept, spikes, strict=True):
            count += spike
            if keep:
                layer.append(spike.bool())
    return IFResult(
        [torch.stack(layer, 1).cpu().numpy() for layer in kept if layer],
        [count.double().cpu().numpy() for count in counts],
        torch.stack(readout, 1).double().cpu().numpy(),
    )

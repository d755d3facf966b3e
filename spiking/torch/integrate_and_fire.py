"""`spiking.integrate_and_fire` as snnTorch layers: batched, on CPU or GPU; convolutions stay convolutions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias, cast

import numpy as np
import snntorch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from foundation.threads import threads_for
from spiking.integrate_and_fire import IFLayer, IFNetwork, IFResult, MaxPool, Stimulus
from spiking.synapses import AdaptiveAveragePool, Array, AveragePool, Conv, Dense, Map

Outputs: TypeAlias = list[Tensor]
"""Of the layers so far, (B, *shape), and last that of the input, which so has the number -1."""


class Amplify(nn.Module):
    """`spiking.synapses.Gain`."""

    def __init__(self, factor: Array, dtype: torch.dtype) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.from_numpy(factor).to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Of (B, C, ...)."""
        return x * self.factor.view(-1, *[1] * (x.dim() - 2))


def module_of(each: Map, dtype: torch.dtype) -> nn.Module:
    """A map as a module of torch, without bias; it takes (B, C, H, W), or (B, N)."""
    if isinstance(each, AveragePool):
        return nn.AvgPool2d(each.kernel, each.stride, each.padding)
    if isinstance(each, AdaptiveAveragePool):
        return nn.AdaptiveAvgPool2d(each.size)
    if isinstance(each, Dense):
        units, inputs = each.weight.shape
        linear = nn.Linear(inputs, units, bias=False, dtype=dtype)
        linear.weight.data.copy_(torch.from_numpy(each.weight))
        return nn.Sequential(nn.Flatten(), linear)
    if isinstance(each, Conv):
        outputs, inputs, *kernel = each.weight.shape
        geometry = (each.stride, each.padding, each.dilation, each.groups)
        size = (kernel[0], kernel[1])
        convolution = nn.Conv2d(inputs * each.groups, outputs, size, *geometry, bias=False, dtype=dtype)
        convolution.weight.data.copy_(torch.from_numpy(each.weight))
        return convolution
    return Amplify(each.factor, dtype)


def _at_threshold(distance: Tensor) -> Tensor:
    """A spike at the threshold itself, too; snnTorch's own surrogates need more than it."""
    return (distance >= 0).to(distance.dtype)


class Synapses(nn.Module):
    """All that drives one layer: its projections, and its bias."""

    def __init__(self, layer: IFLayer, sources: Sequence[int], dtype: torch.dtype) -> None:
        super().__init__()
        self.sources = tuple(sources)
        self.maps = nn.ModuleList(
            nn.Sequential(*(module_of(each, dtype) for each in projection.maps)) for projection in layer.projections
        )
        self.bias = nn.Parameter(torch.from_numpy(layer.bias).to(dtype)) if layer.bias.any() else None

    def forward(self, outputs: Outputs) -> Tensor:
        """The drive, (B, *shape), in one step."""
        first, *others = (maps(outputs[source]) for maps, source in zip(self.maps, self.sources, strict=True))
        drive: Tensor = first
        for other in others:
            drive = drive + other
        return drive if self.bias is None else drive + self.bias.view(-1, *[1] * (drive.dim() - 2))


class IFNeurons(nn.Module):
    """Synapses and snnTorch neurons of one layer.

    The neurons integrate and fire (`snntorch.Leaky`, beta 1); the soft reset is done here. snnTorch's own would hold
    a neuron back whose potential is still above the threshold after a spike: it subtracts before it compares.
    """

    def __init__(self, layer: IFLayer, sources: Sequence[int], reset: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.synapses, self.reset = Synapses(layer, sources, dtype), reset
        self.neurons = snntorch.Leaky(beta=1.0, threshold=1.0, spike_grad=_at_threshold, reset_mechanism="none")
        snntorch.SpikingNeuron.instances.remove(self.neurons)  # snnTorch would keep every layer alive for ever
        self.gates = None if layer.gates is None else nn.Parameter(torch.from_numpy(layer.gates), requires_grad=False)

    def forward(self, drive: Tensor, potential: Tensor) -> tuple[Tensor, Tensor]:
        """One step: spikes and potential from the drive and the potential before."""
        spikes, potential = self.neurons(drive, potential)
        return spikes, potential - spikes if self.reset == "subtract" else potential * (1 - spikes)


class Gate(nn.Module):
    """`spiking.integrate_and_fire.MaxPool`."""

    def __init__(self, layer: MaxPool, source: int) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = layer.kernel, layer.stride, layer.padding
        self.by_potential, self.source = layer.gate == "potential", source

    def forward(self, spikes: Tensor, below: Tensor, counts: Tensor) -> Tensor:
        """The spikes that come through in a step.

        Args:
            spikes: of the layer below in this step, (B, C, H, W).
            below: what has accumulated there: its spikes so far, or its potential and its spikes so far.
            counts: spikes that have come through so far, (B, C, H', W').
        """
        if not self.by_potential:
            return self.largest(below) - counts
        # Of equal potentials any may fire: which one comes first is nothing that simulators agree on.
        fired = torch.zeros_like(counts)
        largest = self.largest(below)
        for level, spike in zip(self._places(below, -torch.inf), self._places(spikes, 0.0), strict=True):
            fired = torch.maximum(fired, spike * (level >= largest))
        return fired

    def largest(self, x: Tensor) -> Tensor:
        """The maximum of each window."""
        largest: Tensor = functional.max_pool2d(x, self.kernel, self.stride, self.padding)
        return largest

    def _places(self, x: Tensor, outside: float) -> Iterator[Tensor]:
        """The values at each place of all windows, (B, C, H', W') each."""
        rows, columns = self.padding
        padded = functional.pad(x, (columns, columns, rows, rows), value=outside)
        for row in range(self.kernel[0]):
            for column in range(self.kernel[1]):
                last = padded.shape[2] - self.kernel[0] + row + 1, padded.shape[3] - self.kernel[1] + column + 1
                yield padded[:, :, row : last[0] : self.stride[0], column : last[1] : self.stride[1]]


class State(NamedTuple):
    """After a step, by layer: potentials, and spikes fired so far, (B, *shape) (a gate has no potential); and the
    readout's potential.
    """

    potentials: tuple[Tensor | None, ...]
    counts: tuple[Tensor, ...]
    readout: Tensor


class SnnTorchNetwork(nn.Module):
    """The whole network, one step at a time: layers in order, so that a spike reaches the next in the same step.

    Args:
        network: what it is made of.
        dtype: of weights and state.
    """

    def __init__(self, network: IFNetwork, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.layers = nn.ModuleList(
            Gate(layer, network.sources(number)[0])
            if isinstance(layer, MaxPool)
            else IFNeurons(layer, network.sources(number), network.reset, dtype)
            for number, layer in enumerate(network.layers)
        )
        self.readout = Synapses(network.readout, network.sources(len(network.layers)), dtype)
        self.by_potential = any(isinstance(layer, Gate) and layer.by_potential for layer in self.layers)
        self.driven_by_input = {
            number
            for number in range(len(network.layers))
            if set(network.sources(number)) == {-1} and isinstance(network.layers[number], IFLayer)
        }

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Before the first step, for so many images, on the device and of the type of `like`."""
        potentials: list[Tensor | None] = []
        for layer, shape in zip(self.network.layers, self.network.shapes[:-1], strict=True):
            spiking = isinstance(layer, IFLayer)
            potentials.append(like.new_full((batch, *shape), self.network.initial_potential) if spiking else None)
        counts = tuple(like.new_zeros(batch, *shape) for shape in self.network.shapes[:-1])
        return State(tuple(potentials), counts, like.new_zeros(batch, *self.network.shapes[-1]))

    def constant(self, x: Tensor) -> dict[int, Tensor]:
        """The drive of the layers that see a constant input alone, by their numbers: it is needed once."""
        return {number: self._neurons(number).synapses([x]) for number in self.driven_by_input}

    def _neurons(self, number: int) -> IFNeurons:
        return cast(IFNeurons, self.layers[number])

    def forward(
        self, x: Tensor, state: State, constant: dict[int, Tensor] | None = None, task: Tensor | None = None
    ) -> tuple[list[Tensor], State]:
        """One step from the input's current or spikes: the spikes of every layer, and the state after it.

        Args:
            x: (B, *input_shape).
            state: before.
            constant: of `constant`, where the input is one.
            task: (B,), of networks with gates.
        """
        spikes, state = self._fire(len(self.layers), x, state, constant, task)
        return spikes, state._replace(readout=state.readout + self.readout([*spikes, x]))

    def drive_of(
        self, number: int, x: Tensor, state: State, constant: dict[int, Tensor] | None, task: Tensor | None
    ) -> tuple[Tensor, State]:
        """One step of the layers below one of neurons, and what drives it, (B, *shape); arguments as `forward`."""
        spikes, state = self._fire(number, x, state, constant, task)
        known = None if constant is None else constant.get(number)
        return self._neurons(number).synapses([*spikes, x]) if known is None else known, state

    def _fire(
        self, number_of_layers: int, x: Tensor, state: State, constant: dict[int, Tensor] | None, task: Tensor | None
    ) -> tuple[list[Tensor], State]:
        """One step of the lowest layers."""
        spikes: Outputs = []
        potentials, counts, initial = list(state.potentials), list(state.counts), self.network.initial_potential
        for number, layer in enumerate(list(self.layers)[:number_of_layers]):
            if isinstance(layer, Gate):
                fired = self._gate(layer, [*spikes, x], potentials, counts, counts[number])
            else:
                neurons, before = self._neurons(number), cast(Tensor, potentials[number])
                known = None if constant is None else constant.get(number)
                drive = neurons.synapses([*spikes, x]) if known is None else known
                fired, after = neurons(drive, before)
                if neurons.gates is not None and task is not None:
                    gate = neurons.gates[task]
                    fired, after = fired * gate, torch.where(gate, after, initial)
                potentials[number] = after
            spikes.append(fired)
            counts[number] = counts[number] + fired
        return spikes, State(tuple(potentials), tuple(counts), state.readout)

    def _gate(
        self, gate: Gate, outputs: Outputs, potentials: list[Tensor | None], counts: list[Tensor], passed: Tensor
    ) -> Tensor:
        """What a max-pool lets through of its source's spikes; a gate, as a source, has no potential."""
        spikes, source = outputs[gate.source], gate.source
        potential = potentials[source]
        level = counts[source] if potential is None or not gate.by_potential else counts[source] + potential
        fired: Tensor = gate(spikes, level, passed)
        return fired


@torch.no_grad()
def simulate(
    network: IFNetwork,
    stimulus: Stimulus,
    steps: int,
    *,
    spikes: bool = False,
    task: NDArray[np.int64] | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    batch_size: int = 100,
) -> IFResult:
    """Run the network in snnTorch; a `spiking.integrate_and_fire.Simulator`. `batch_size` images run at a time."""
    stimulus = network.shown(stimulus, steps)
    tasks = network.tasked(task, len(stimulus), steps)
    module = SnnTorchNetwork(network, dtype).to(device)
    parts = []
    with threads_for(batch_size * network.macs()):
        for start in range(0, len(stimulus), batch_size):
            rows = slice(start, start + batch_size)
            x = torch.from_numpy(np.ascontiguousarray(stimulus[rows])).to(device)
            of = None if tasks is None else torch.tensor(tasks[rows], device=device)
            parts.append(_simulate(module, x, steps, spikes, of, dtype))
    return IFResult.joined(parts)


def _simulate(
    module: SnnTorchNetwork, stimulus: Tensor, steps: int, keep: bool, tasks: Tensor | None, dtype: torch.dtype
) -> IFResult:
    constant_input = stimulus.dim() == 1 + len(module.network.input_shape)
    first = (stimulus if constant_input else stimulus[:, 0]).to(dtype)
    state = module.initial_state(len(stimulus), first)
    constant = module.constant(first) if constant_input else None
    kept: list[list[Tensor]] = [[] for _ in module.layers]
    readout = []
    for step in range(steps):
        x = first if constant_input else stimulus[:, step].to(dtype)
        task = None if tasks is None else tasks[:, step]
        if tasks is not None and step and not torch.equal(tasks[:, step], tasks[:, step - 1]):
            same = (tasks[:, step] == tasks[:, step - 1])[:, None]
            state = state._replace(readout=state.readout * same)  # the answer to the task before is history
        spikes, state = module(x, state, constant, task)
        readout.append(state.readout)
        if keep:
            for layer, fired in zip(kept, spikes, strict=True):
                layer.append(fired.bool())
    return IFResult(
        [torch.stack(layer, 1).cpu().numpy() for layer in kept if layer],
        [count.double().cpu().numpy() for count in state.counts],
        torch.stack(readout, 1).double().cpu().numpy(),
    )


@torch.no_grad()
def rates(
    network: IFNetwork, x: Array | Tensor, *, task: int | Tensor | None = None, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """What the rates of all layers approach, and the logits: the same network with ReLU units and true max-pools.

    Args:
        network: which.
        x: (B, *input_shape), or flat images.
        task: of a network with gates, one for all or (B,); None: all gates are open.
        dtype: to compute in.

    Returns:
        of each layer, (B, *shape), and of the readout, (B, classes).
    """
    given = torch.as_tensor(x).to(dtype)
    return evaluate(
        SnnTorchNetwork(network, dtype).to(given.device), given.view(len(given), *network.input_shape), task
    )


def evaluate(module: SnnTorchNetwork, x: Tensor, task: int | Tensor | None = None) -> list[Tensor]:
    """`rates`, of a network that has been made; the task of all images, or of each, (B,)."""
    outputs: Outputs = []
    for layer in module.layers:
        if isinstance(layer, Gate):
            outputs.append(layer.largest([*outputs, x][layer.source]))
            continue
        neurons = cast(IFNeurons, layer)
        activity = neurons.synapses([*outputs, x]).relu()
        outputs.append(activity if neurons.gates is None or task is None else activity * neurons.gates[task])
    return [*outputs, module.readout([*outputs, x])]

"""A trained network of any kind of ours, as layers of one form: products, convolutions and pools, then a ReLU.

What comes out is an `IFNetwork` whose scales are all 1. With ReLU units (`spiking.torch.integrate_and_fire.rates`) it
is the trained network itself; rescaled (`bridge.conversion`), its neurons can take the place of the units. Batch norm,
at its running statistics, is folded into the weights below; dropout is left out. A layer that has no counterpart is
refused with its name and the reason, never skipped.

A new kind of layer is one function registered with `lower`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from foundation.errors import UsageError
from ratenets.butd import convolution, residual
from ratenets.butd import layers as butd
from ratenets.butd.networks import ButdNetwork
from ratenets.evaluation.readout import Readout
from ratenets.hebbian.network import Network
from ratenets.lpl.encoders import ConvBlock, DenseBlock, Encoder, SequentialBlock
from ratenets.lpl.encoders.resnet import Bottleneck, Stem
from spiking.integrate_and_fire import INPUT, Bools, IFLayer, IFNetwork, Layer, MaxPool, Projection
from spiking.synapses import AdaptiveAveragePool, Array, AveragePool, Conv, Dense, Gain, Map, Pair, Shape

ONE = np.ones(1)


@dataclass(frozen=True)
class Signal:
    """What passes between modules: a sum of linear maps of layers, and a bias (C,); None: no bias."""

    parts: tuple[tuple[int, tuple[Map, ...]], ...]
    bias: Array | None = None

    @property
    def weighted(self) -> bool:
        """Have weights been applied since the last ReLU?"""
        return any(isinstance(each, Dense | Conv | Gain) for _, maps in self.parts for each in maps)


@dataclass
class Lowering:
    """The layers so far.

    Attributes:
        max_pooling: what a max-pool becomes: "count", "potential" (see `MaxPool`), or "average".
        gates: of each task by layer, (tasks, *shape); see `IFLayer`.
    """

    max_pooling: str = "count"
    gates: Mapping[str, Bools] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)

    def linear(self, signal: Signal, each: Dense | Conv, bias: Array | None, name: str) -> Signal:
        """Weights on top of a signal."""
        if signal.weighted or signal.bias is not None:
            raise UsageError(f"{name} cannot be converted: there is no ReLU between it and the weights below")
        return Signal(tuple((source, (*maps, each)) for source, maps in signal.parts), bias)

    def pooled(self, signal: Signal, pool: AveragePool | AdaptiveAveragePool, name: str) -> Signal:
        """An average over places; of ReLU units, whose firing rates can be averaged."""
        if signal.weighted or signal.bias is not None:
            raise UsageError(f"{name} cannot be converted: it pools before the ReLU; spikes can be pooled after it")
        return Signal(tuple((source, (*maps, pool)) for source, maps in signal.parts))

    def max_pooled(self, signal: Signal, windows: tuple[Pair, Pair, Pair], name: str) -> Signal:
        """A maximum over places, or what takes its part."""
        if self.max_pooling == "average":
            return self.pooled(signal, AveragePool(*windows), name)
        ((source, maps),) = signal.parts if len(signal.parts) == 1 else ((INPUT, ()),)
        if maps or source == INPUT:
            raise UsageError(f"{name} cannot be converted: a max-pool gates the spikes of a layer with ReLU below it")
        self.layers.append(MaxPool(name, *windows, self.max_pooling, source))
        return Signal(((len(self.layers) - 1, ()),))

    def normed(self, signal: Signal, norm: nn.BatchNorm1d | nn.BatchNorm2d, name: str) -> Signal:
        """Batch norm at its running statistics, folded into the weights below it."""
        if norm.running_mean is None or norm.running_var is None:
            raise UsageError(f"{name} cannot be converted: batch norm without running statistics")
        mean, variance = array(norm.running_mean), array(norm.running_var)
        gain = 1 / np.sqrt(variance + norm.eps)
        gain = gain if norm.weight is None else gain * array(norm.weight)
        shift = np.zeros_like(mean) if norm.bias is None else array(norm.bias)
        before = np.zeros_like(mean) if signal.bias is None else signal.bias
        parts = tuple((source, _multiplied(maps, gain)) for source, maps in signal.parts)
        return Signal(parts, (before - mean) * gain + shift)

    def rectified(self, signal: Signal, name: str) -> Signal:
        """A ReLU: a layer of neurons."""
        self.layers.append(self._neurons(signal, name, self.gates.get(name)))
        return Signal(((len(self.layers) - 1, ()),))

    def read_out(self, signal: Signal, input_shape: Shape, tasks: tuple[str, ...] = ()) -> IFNetwork:
        """The network, with the signal as its readout."""
        if not self.layers:
            raise UsageError("the network has no hidden layer, and so nothing that could spike")
        readout = self._neurons(signal, "readout", None)
        return IFNetwork(tuple(self.layers), readout, input_shape=input_shape, tasks=tasks)

    @staticmethod
    def _neurons(signal: Signal, name: str, gates: Bools | None) -> IFLayer:
        weights = [m for _, maps in signal.parts for m in maps if isinstance(m, Dense | Conv)]
        units = len(weights[-1].weight) if weights else 0
        if not weights:
            raise UsageError(f"{name} cannot be converted: there are no weights below its ReLU")
        projections = tuple(Projection(maps or (Gain(ONE),), source) for source, maps in signal.parts)
        return IFLayer(name, projections, np.zeros(units) if signal.bias is None else signal.bias, ONE, gates)


def added(one: Signal, other: Signal) -> Signal:
    """The sum of two signals, such as a residual block's."""
    biases = [bias for bias in (one.bias, other.bias) if bias is not None]
    return Signal((*one.parts, *other.parts), sum(biases[1:], biases[0]) if biases else None)


def array(values: Tensor) -> Array:
    """A parameter as float64."""
    return values.detach().double().cpu().numpy()


def _multiplied(maps: tuple[Map, ...], gain: Array) -> tuple[Map, ...]:
    """The maps, with each channel of what leaves them multiplied."""
    last = maps[-1] if maps else None
    match last:
        case Conv():
            weight = last.weight * gain[:, None, None, None]
            return (*maps[:-1], Conv(weight, last.stride, last.padding, last.dilation, last.groups))
        case Dense():
            return (*maps[:-1], Dense(last.weight * gain[:, None]))
        case Gain():
            return (*maps[:-1], Gain(last.factor * gain))
    return (*maps, Gain(gain))


def pair(value: int | tuple[int, ...] | str, name: str) -> Pair:
    """One number for both axes, or two."""
    if isinstance(value, str):
        raise UsageError(f"{name} cannot be converted: padding '{value}'; give it in pixels")
    one, other = (value, value) if isinstance(value, int) else value
    return int(one), int(other)


@singledispatch
def lower(module: nn.Module, lowering: Lowering, signal: Signal, name: str) -> Signal:
    """What leaves a module for what enters it, with the layers that it makes on the way.

    Raises:
        UsageError: it has no counterpart in spikes.
    """
    raise UsageError(f"{name} ({type(module).__name__}) cannot be converted: nothing in spikes corresponds to it")


def _chain(modules: Iterable[tuple[str, nn.Module]], lowering: Lowering, signal: Signal, name: str) -> Signal:
    for part, module in modules:
        signal = lower(module, lowering, signal, f"{name}.{part}" if name else part)
    return signal


# --- torch's own modules ----------------------------------------------------------------------------------------------
@lower.register
def _(module: nn.Sequential, lowering: Lowering, signal: Signal, name: str) -> Signal:
    return _chain(module.named_children(), lowering, signal, name)


@lower.register(nn.Identity)
@lower.register(nn.Dropout)
@lower.register(nn.Dropout2d)
@lower.register(nn.Flatten)
def _(module: nn.Module, lowering: Lowering, signal: Signal, name: str) -> Signal:
    return signal


@lower.register
def _(module: nn.Linear, lowering: Lowering, signal: Signal, name: str) -> Signal:
    return lowering.linear(signal, Dense(array(module.weight)), _bias(module.bias), name)


@lower.register
def _(module: nn.Conv2d, lowering: Lowering, signal: Signal, name: str) -> Signal:
    if module.padding_mode != "zeros":
        raise UsageError(f"{name} cannot be converted: it is padded with {module.padding_mode}, not with zeros")
    stride, padding, dilation = (pair(value, name) for value in (module.stride, module.padding, module.dilation))
    each = Conv(array(module.weight), stride, padding, dilation, module.groups)
    return lowering.linear(signal, each, _bias(module.bias), name)


@lower.register
def _(module: nn.ReLU, lowering: Lowering, signal: Signal, name: str) -> Signal:
    return lowering.rectified(signal, name)


@lower.register
def _(module: nn.MaxPool2d, lowering: Lowering, signal: Signal, name: str) -> Signal:
    if module.ceil_mode or pair(module.dilation, name) != (1, 1):
        raise UsageError(f"{name} cannot be converted: a max-pool with ceil_mode or dilation")
    return lowering.max_pooled(signal, _windows(module.kernel_size, module.stride, module.padding, name), name)


@lower.register
def _(module: nn.AvgPool2d, lowering: Lowering, signal: Signal, name: str) -> Signal:
    windows = _windows(module.kernel_size, module.stride, module.padding, name)
    if module.ceil_mode or module.divisor_override or (windows[2] != (0, 0) and not module.count_include_pad):
        raise UsageError(f"{name} cannot be converted: an average over windows of different weight")
    return lowering.pooled(signal, AveragePool(*windows), name)


@lower.register
def _(module: nn.AdaptiveAvgPool2d, lowering: Lowering, signal: Signal, name: str) -> Signal:
    size = module.output_size
    if isinstance(size, tuple) and None in size:
        raise UsageError(f"{name} cannot be converted: its size {size} depends on the image")
    return lowering.pooled(signal, AdaptiveAveragePool(pair(cast(int | Pair, size), name)), name)


@lower.register(nn.BatchNorm1d)
@lower.register(nn.BatchNorm2d)
def _(module: nn.BatchNorm1d | nn.BatchNorm2d, lowering: Lowering, signal: Signal, name: str) -> Signal:
    return lowering.normed(signal, module, name)


def _bias(bias: Tensor | None) -> Array | None:
    return None if bias is None else array(bias)


def _windows(kernel: int | Pair, stride: int | Pair, padding: int | Pair, name: str) -> tuple[Pair, Pair, Pair]:
    return pair(kernel, name), pair(stride, name), pair(padding, name)


# --- encoders of latent predictive learning ---------------------------------------------------------------------------
@lower.register
def _(block: DenseBlock, lowering: Lowering, signal: Signal, name: str) -> Signal:
    return lowering.rectified(lower(block.synapses, lowering, signal, name), name)


@lower.register
def _(block: ConvBlock, lowering: Lowering, signal: Signal, name: str) -> Signal:
    signal = lowering.rectified(lower(block.synapses, lowering, signal, name), name)
    return lowering.max_pooled(signal, ((2, 2), (2, 2), (0, 0)), f"{name}, max-pool") if block.pool else signal


@lower.register
def _(block: SequentialBlock, lowering: Lowering, signal: Signal, name: str) -> Signal:
    return lower(block.layers, lowering, signal, name)


@lower.register
def _(block: Stem, lowering: Lowering, signal: Signal, name: str) -> Signal:
    signal = lower(block.bn1, lowering, lower(block.conv1, lowering, signal, name), name)
    return lower(block.pool, lowering, lowering.rectified(signal, name), f"{name}, max-pool")


@lower.register
def _(block: Bottleneck, lowering: Lowering, signal: Signal, name: str) -> Signal:
    beside = lower(block.downsample, lowering, signal, f"{name}.downsample")
    for number, (conv, norm) in enumerate(((block.conv1, block.bn1), (block.conv2, block.bn2)), start=1):
        weighted = lower(conv, lowering, signal, f"{name}.conv{number}")
        signal = lowering.rectified(lower(norm, lowering, weighted, f"{name}.bn{number}"), f"{name}.conv{number}")
    last = lower(block.conv3, lowering, signal, f"{name}.conv3")
    return lowering.rectified(added(lower(block.bn3, lowering, last, f"{name}.bn3"), beside), name)


def lower_encoder(encoder: Encoder, readout: Readout, input_shape: Shape, *, max_pooling: str = "count") -> IFNetwork:
    """An encoder with a readout of its last layer's code, the mean over places.

    Args:
        encoder: of any blocks; layer-local or end to end is the same here, a projector is not part of it.
        readout: on the last layer's code.
        input_shape: of an image, (C, H, W).
        max_pooling: what a max-pool becomes: "count", "potential" (`MaxPool`), or "average".

    Raises:
        UsageError: a layer cannot be converted, or the readout is of another layer.
    """
    lowering, signal = Lowering(max_pooling), Signal(((INPUT, ()),))
    for number, block in enumerate(encoder, start=1):
        signal = lower(block, lowering, signal, f"layer {number}")
    units = list(encoder)[-1].units
    if readout.weight.shape[1] != units:
        raise UsageError(f"readout: takes {readout.weight.shape[1]} units, the last layer has {units}")
    if not isinstance(list(encoder)[-1], DenseBlock):
        signal = lowering.pooled(signal, AdaptiveAveragePool((1, 1)), "readout")
    signal = lowering.linear(signal, Dense(readout.weight), readout.bias, "readout")
    return lowering.read_out(signal, input_shape)


# --- bottom-up halves of bottom-up / top-down networks ----------------------------------------------------------------
@lower.register
def _(layer: butd.Sequential, lowering: Lowering, signal: Signal, name: str) -> Signal:
    for part in layer:
        signal = lower(part, lowering, signal, part.name)
    return signal


@lower.register
def _(layer: butd.Flatten, lowering: Lowering, signal: Signal, name: str) -> Signal:
    return signal


@lower.register
def _(layer: convolution.AvgPool2d, lowering: Lowering, signal: Signal, name: str) -> Signal:
    return lowering.pooled(signal, AveragePool(layer.kernel, layer.stride, layer.padding), name)


@lower.register
def _(layer: convolution.MaxPool2d, lowering: Lowering, signal: Signal, name: str) -> Signal:
    return lowering.max_pooled(signal, (layer.kernel, layer.stride, layer.padding), name)


@lower.register(butd.Linear)
@lower.register(convolution.Conv2d)
@lower.register(residual.Normed)
@lower.register(residual.Residual)
def _(layer: butd.Layer, lowering: Lowering, signal: Signal, name: str) -> Signal:
    signal = ascend(layer, lowering, signal)
    return lowering.rectified(signal, layer.name) if layer.rectified else signal


@singledispatch
def ascend(layer: butd.Layer, lowering: Lowering, signal: Signal) -> Signal:
    """`lower` for a layer without its own ReLU and gate."""
    raise UsageError(f"{layer.name} ({type(layer).__name__}) cannot be converted: nothing in spikes corresponds to it")


@ascend.register
def _(layer: butd.Linear, lowering: Lowering, signal: Signal) -> Signal:
    return lowering.linear(signal, Dense(array(layer.W)), _bias(layer.b), layer.name)


@ascend.register
def _(layer: convolution.Conv2d, lowering: Lowering, signal: Signal) -> Signal:
    each = Conv(array(layer.W), layer.stride, layer.padding, layer.dilation, layer.groups)
    return lowering.linear(signal, each, _bias(layer.b), layer.name)


@ascend.register
def _(layer: residual.Normed, lowering: Lowering, signal: Signal) -> Signal:
    return lowering.normed(ascend(layer.layer, lowering, signal), layer.norm.bu, layer.name)


@ascend.register
def _(layer: residual.Residual, lowering: Lowering, signal: Signal) -> Signal:
    beside = signal if layer.shortcut is None else ascend(layer.shortcut, lowering, signal)
    inside = lower(layer.conv1, lowering, signal, layer.conv1.name)
    return added(ascend(layer.conv2, lowering, inside), beside)


@torch.no_grad()
def lower_butd(
    network: ButdNetwork, instructions: Mapping[str, Tensor] | None = None, *, max_pooling: str = "count"
) -> IFNetwork:
    """The bottom-up half of a network, with the prediction head as its readout (all decoders of it, one after another).

    A guided network's sub-network depends on the instruction alone: its gates come along, for every task.

    Args:
        network: trained.
        instructions: guided networks: of every task by its name, (instruction_size,).
        max_pooling: as in `lower_encoder`.

    Raises:
        UsageError: a layer cannot be converted; or instructions for an unguided network, or none for a guided one.
    """
    guided = network.instruction is not None
    if guided != bool(instructions):
        raise UsageError(f"instructions: the network is {'guided, name its tasks' if guided else 'unguided'}")
    gates: dict[str, Bools] = {}
    if instructions:
        attention = network.attend(torch.stack(list(instructions.values())).to(network.head.W.device))
        gates = {
            layer.name: (attention[layer.name] > 0).cpu().numpy()
            for layer in network.gated_layers()
            if layer.name in attention
        }
    lowering = Lowering(max_pooling, gates)
    signal = lower(network.core, lowering, Signal(((INPUT, ()),)), "core")
    return lowering.read_out(ascend(network.head, lowering, signal), network.image_shape, tuple(instructions or ()))


def lower_local(network: Network, image_size: int) -> IFNetwork:
    """A network of `ratenets.hebbian`, whose images are (image_size,).

    Raises:
        UsageError: its units are no ReLUs.
    """
    if network.activation != "relu":
        raise UsageError(
            f"layer 1 cannot be converted: its units are {network.activation}; firing rates are at least 0 and grow "
            "with the drive, as ReLUs do: train with --activation relu"
        )
    lowering, signal = Lowering(), Signal(((INPUT, ()),))
    *hidden, last = network.linear()
    for number, layer in enumerate(hidden, start=1):
        signal = lowering.rectified(lower(layer, lowering, signal, f"layer {number}"), f"layer {number}")
    return lowering.read_out(lower(last, lowering, signal, "readout"), (image_size,))

"""A trained rate network becomes a spiking one: rescaled, so that every layer's rates fit below one spike per step.

With s_l the scale of layer l (a high percentile of its activations) and s_0 = 1,

    W_l <- W_l s_(l-1) / s_l ,      b_l <- b_l / s_l ,      readout: W <- W s_L

which, with ReLU units, changes no decision at all; what a conversion loses, it loses to spikes and to rates above 1.
(Rueckauer et al. 2017, doi:10.3389/fnins.2017.00682.) It is the same to leave the weights as they are and to give the
neurons of layer l the threshold s_l / s_(l-1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bridge.config import ConversionConfig
from bridge.lowering import lower_encoder
from foundation.errors import UsageError
from foundation.progress import bar
from foundation.threads import threads_for
from ratenets.evaluation.readout import Readout
from ratenets.lpl.encoders import Encoder
from spiking.integrate_and_fire import INPUT, IFLayer, IFNetwork, MaxPool, Projection
from spiking.network_file import NetworkFile, Statistics
from spiking.synapses import Array, Shape, scaled
from spiking.torch.integrate_and_fire import SnnTorchNetwork, evaluate

BATCH = 50


def convert(
    encoder: Encoder, readout: Readout, calibration: Tensor, config: ConversionConfig | None = None
) -> IFNetwork:
    """Convert an encoder with a readout of its last layer's code.

    Args:
        encoder: of any layers that have a counterpart in spikes.
        readout: on the last layer's code.
        calibration: images (N, C, H, W) as the encoder takes them, over which activations are measured.
        config: percentile, scaling per layer or per channel, input coding, ...

    Raises:
        UsageError: a layer cannot be converted (it is named, with the reason), or the readout is of another layer.
    """
    config = config or ConversionConfig()
    shape = tuple(calibration.shape[1:])
    rate = lower_encoder(encoder, readout, shape, max_pooling=config.max_pooling)
    return convert_network(rate, calibration, config).network


def convert_network(
    rate: IFNetwork,
    calibration: Tensor,
    config: ConversionConfig,
    *,
    origin: Mapping[str, str] | None = None,
    batch_size: int = BATCH,
) -> NetworkFile:
    """Convert what `bridge.lowering` made of a trained network.

    Args:
        rate: the network with ReLU units; all of its scales are 1.
        calibration: images, (N, *input_shape), on any device; those of a network with gates are shown for every task.
        config: how.
        origin: what the file is to say of where the network comes from.
        batch_size: images at a time.

    Raises:
        UsageError: images of another shape, or none, or, for Poisson input, outside [0, 1].
    """
    if len(calibration) == 0 or tuple(calibration.shape[1:]) != rate.input_shape:
        raise UsageError(f"calibration: needs images of {rate.input_shape}, got {tuple(calibration.shape)}")
    low, high = float(calibration.min()), float(calibration.max())
    if config.input_coding == "poisson" and not 0 <= low <= high <= 1:
        raise UsageError(
            f"input_coding: Poisson spikes need images in [0, 1], these lie in {low:.3g} to {high:.3g}; take analog"
        )
    measured = measure(rate, calibration, config, batch_size=batch_size)
    scales = {number: found.scale for number, found in measured.items()}
    if config.balancing == "spikes":
        with threads_for(batch_size * rate.macs()):
            scales = balanced(rate, calibration, scales, config, batch_size=batch_size)
    network = _prepared(rescaled(rate, scales), config)
    statistics = {
        number: Statistics(
            of.mean / _by_channel(scales[number], of), of.variance / _by_channel(scales[number], of) ** 2
        )
        for number, of in measured.items()
    }
    return NetworkFile(network, dict(origin or {}), statistics)


def _prepared(network: IFNetwork, config: ConversionConfig) -> IFNetwork:
    return replace(
        network,
        initial_potential=config.initial_potential,
        input_coding=config.input_coding,
        reset="subtract" if config.reset == "subtract" else "zero",
    )


def rescaled(rate: IFNetwork, scales: Mapping[int, Array]) -> IFNetwork:
    """The network whose layers' activations are divided by their scales, (1,) or (C,), by layer number."""
    layers = [
        replace(layer) if isinstance(layer, MaxPool) else _rescaled(rate, number, layer, scales)
        for number, layer in enumerate(rate.layers)
    ]
    readout = _rescaled(rate, len(rate.layers), rate.readout, scales)
    return replace(rate, layers=tuple(layers), readout=readout)


def _rescaled(rate: IFNetwork, number: int, layer: IFLayer, scales: Mapping[int, Array]) -> IFLayer:
    scale = scales.get(number, np.ones(1))
    projections = [
        Projection(scaled(p.maps, scale_of(rate, source, scales), scale, rate.shape_of(source)), p.source)
        for p, source in zip(layer.projections, rate.sources(number), strict=True)
    ]
    return IFLayer(layer.name, tuple(projections), layer.bias / scale, scale, layer.gates)


def scale_of(rate: IFNetwork, number: int, scales: Mapping[int, Array]) -> Array:
    """The activation for which a spike of a layer stands; a max-pool passes on its source's, the input's is 1."""
    while number != INPUT and isinstance(rate.layers[number], MaxPool):
        (number,) = rate.sources(number)
    return np.ones(1) if number == INPUT else scales[number]


# --- scales -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Measured:
    """What a layer's units did: the scale, and mean and variance of the activation by unit, (*shape)."""

    scale: Array
    mean: Array
    variance: Array


def _by_channel(scale: Array, of: Measured) -> Array:
    return scale.reshape(-1, *[1] * (of.mean.ndim - 1))


@torch.no_grad()
def measure(
    rate: IFNetwork, calibration: Tensor, config: ConversionConfig, *, batch_size: int = BATCH
) -> dict[int, Measured]:
    """Scales and statistics of all spiking layers, by number, in one pass and in float32 (float64, if images are)."""
    dtype = torch.float64 if calibration.dtype == torch.float64 else torch.float32
    module = SnnTorchNetwork(rate, dtype).to(calibration.device)
    tasks: list[int | None] = [*range(len(rate.tasks))] or [None]
    found = {number: Activations(rate.shapes[number], len(calibration) * len(tasks), config) for number in rate.spiking}
    batches = torch.split(calibration.to(dtype), batch_size)
    with threads_for(batch_size * rate.macs()):
        for batch in bar(batches, label=f"calibration, {len(calibration)} images", unit="batch"):
            for task in tasks:
                activations = evaluate(module, batch, task)
                for number, of in found.items():
                    of.add(activations[number])
    return {number: of.measured() for number, of in found.items()}


class Activations:
    """What is kept of a layer's activations: their largest ones, as many as the percentile takes, and two sums."""

    def __init__(self, shape: Shape, images: int, config: ConversionConfig) -> None:
        self.groups = shape[0] if config.per_channel else 1
        self.number = images * math.prod(shape) // self.groups  # values in a group
        self.place = config.percentile / 100 * (self.number - 1)  # of the percentile, as numpy's, interpolated
        self.keep = self.number - math.floor(self.place)
        self.images, self.shape = images, shape
        self.largest: Tensor | None = None
        self.sum = self.squares = torch.zeros(())

    def add(self, activation: Tensor) -> None:
        """Those of a batch, (B, *shape), at least 0."""
        self.sum = self.sum.to(activation.device) + activation.sum(0, dtype=torch.float64)
        self.squares = self.squares.to(activation.device) + activation.double().square().sum(0)
        values = activation.transpose(0, 1).reshape(self.groups, -1) if self.groups > 1 else activation.reshape(1, -1)
        if self.largest is None:
            self.largest = values[:, :0]
        elif self.largest.shape[1] == self.keep:  # most values are below all that is kept: leave them out early
            above = values > self.largest[:, -1:]
            width = int(above.sum(1).max())
            values = values.topk(width, dim=1).values if self.groups > 1 else values[above][None]
        both = torch.cat([self.largest, values], dim=1)
        self.largest = both.topk(min(self.keep, both.shape[1]), dim=1).values

    def measured(self) -> Measured:
        """The scales, and the statistics by unit."""
        assert self.largest is not None
        largest = self.largest.double().cpu().numpy()
        rest = self.place - math.floor(self.place)
        upper = largest[:, -2] if largest.shape[1] > 1 else largest[:, -1]
        scale = positive(largest[:, -1] + rest * (upper - largest[:, -1]), largest[:, 0])
        mean = (self.sum / self.images).cpu().numpy()
        variance = np.maximum((self.squares / self.images).cpu().numpy() - mean**2, 0)
        return Measured(scale, mean, variance)


def positive(percentile: Array, maximum: Array) -> Array:
    """The scale, from the percentile of activations and the largest of them.

    Where the percentile is 0, the largest activation takes its place; a unit (or a layer) that never was active keeps
    the scale 1, since it has nothing to be scaled.
    """
    scale = np.where(percentile > 0, percentile, maximum)
    return np.where(scale > 0, scale, 1.0)


@torch.no_grad()
def balanced(
    rate: IFNetwork, calibration: Tensor, start: Mapping[int, Array], config: ConversionConfig, *, batch_size: int
) -> dict[int, Array]:
    """Threshold balancing: scales, layer by layer, from what the spiking layers below deliver (by number).

    The scale of a layer is the percentile not of its activation in the rate network, but of its mean drive while the
    layers below, whose scales are known by then, spike for `balancing_steps` steps.
    """
    scales = dict(start)
    tasks: list[int | None] = [*range(len(rate.tasks))] or [None]
    for number in bar(list(rate.spiking), label="threshold balancing", unit="layer"):
        module = SnnTorchNetwork(_prepared(rescaled(rate, scales), config), torch.float32).to(calibration.device)
        found = Activations(rate.shapes[number], len(calibration) * len(tasks), config)
        before = torch.from_numpy(scales[number]).to(calibration.device, torch.float32)
        for batch in torch.split(calibration.float(), batch_size):
            for task in tasks:
                drive = _mean_drive(module, batch, number, config.balancing_steps, task).relu()
                found.add(drive * before.view(-1, *[1] * (drive.dim() - 2)))
        scales[number] = found.measured().scale
    return scales


def _mean_drive(module: SnnTorchNetwork, x: Tensor, number: int, steps: int, task: int | None) -> Tensor:
    """What drives a layer on average while the layers below it spike, (B, *shape)."""
    state, constant = module.initial_state(len(x), x), module.constant(x)
    of = None if task is None else torch.full((len(x),), task, device=x.device)
    total = torch.zeros(())
    for _ in range(steps):
        drive, state = module.drive_of(number, x, state, constant, of)
        total = total.to(x.device) + drive
    return total / steps

"""A trained rate network becomes a spiking one: rescaled, so that every layer's rates fit below one spike per step.

With s_l the scale of layer l (a high percentile of its activations) and s_0 = 1 (images lie in [0, 1]),

    W_l <- W_l s_(l-1) / s_l ,      b_l <- b_l / s_l ,      readout: W <- W s_L

which, with ReLU units, changes no decision at all; what a conversion loses, it loses to spikes and to rates above 1.
(Rueckauer et al. 2017, doi:10.3389/fnins.2017.00682.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foundation.config import setting
from foundation.errors import UsageError
from ratenets.evaluation.readout import Features, Readout, codes
from ratenets.lpl.encoders import DenseBlock, Encoder
from spiking.integrate_and_fire import Array, IFLayer, IFNetwork


@dataclass(frozen=True)
class ConversionConfig:
    """How a rate network is converted."""

    percentile: float = setting(99.9, "percentile of a layer's activations that becomes one spike per step")
    per_unit: bool = setting(False, "a scale for every unit, instead of one per layer")
    input_coding: str = setting("analog", "analog (constant current) or poisson (input spikes)")

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise UsageError(f"percentile: must lie above 0 and up to 100, got {self.percentile}")
        if self.input_coding not in ("analog", "poisson"):
            raise UsageError(f"input_coding: must be analog or poisson, got '{self.input_coding}'")


def convert(
    encoder: Encoder, readout: Readout, calibration: Tensor, config: ConversionConfig | None = None
) -> IFNetwork:
    """Convert an encoder with a readout of its last layer.

    Args:
        encoder: of fully connected layers.
        readout: on the last layer's code.
        calibration: images (N, C, H, W) as the encoder takes them, over which activations are measured.
        config: percentile, scaling per layer or per unit, input coding.

    Raises:
        UsageError: a layer cannot be converted (it is named, with the reason), or the readout is of another layer.
    """
    config = config or ConversionConfig()
    blocks = list(encoder)
    for number, block in enumerate(blocks, start=1):
        if not isinstance(block, DenseBlock):
            raise UsageError(
                f"layer {number} ({type(block).__name__}) cannot be converted: its code is taken after max-pooling and "
                "spatial averaging, which spiking units do not have; fully connected layers (mlp) can be"
            )
    units = blocks[-1].synapses.weight.shape[0]
    if readout.weight.shape[1] != units:
        raise UsageError(f"readout: takes {readout.weight.shape[1]} units, the last layer has {units}")
    layers, below = [], np.ones(1)
    for number, (block, activity) in enumerate(zip(blocks, codes(encoder, calibration), strict=True), start=1):
        weight, bias = parameters(block.synapses)
        scale = activation_scale(activity, config)
        layers.append(IFLayer(f"layer {number}", weight * below / scale[:, None], bias / scale, scale))
        below = scale
    last = IFLayer("readout", readout.weight * below, readout.bias, np.ones(1))
    return IFNetwork(tuple(layers), last, input_coding=config.input_coding)


def parameters(synapses: torch.nn.Linear | torch.nn.Conv2d) -> tuple[Array, Array]:
    """Weight and bias of a layer as float64 arrays; a layer without biases has zeros."""
    weight = synapses.weight.detach().double().cpu().numpy()
    bias = np.zeros(len(weight)) if synapses.bias is None else synapses.bias.detach().double().cpu().numpy()
    return weight, bias


def activation_scale(activity: Features, config: ConversionConfig) -> NDArray[np.float64]:
    """The activation for which one spike per step stands, (M,) or (1,), from activations (N, M).

    Where the percentile is 0, the largest activation takes its place; a unit (or a layer) that never was active keeps
    the scale 1, since it has nothing to be scaled.
    """
    axis = 0 if config.per_unit else None
    scale = np.atleast_1d(np.percentile(activity, config.percentile, axis=axis))
    scale = np.where(scale > 0, scale, np.atleast_1d(activity.max(axis)))
    return np.where(scale > 0, scale, 1.0)

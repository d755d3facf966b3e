"""Fully connected integrate-and-fire networks for tests, and their definition: a plain numpy stepping."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spiking.integrate_and_fire import IFLayer, IFNetwork
from spiking.synapses import Array

GRID = 2.0**-10


class Stepped(NamedTuple):
    """Spikes and potentials before the reset, by layer, (B, T, M); the readout's potential, (B, T, classes)."""

    spikes: list[NDArray[np.bool_]]
    potentials: list[Array]
    readout: Array


def stepped(network: IFNetwork, stimulus: Array, steps: int) -> Stepped:
    """The definition, one image, one step and one layer at a time."""
    shapes = [(len(stimulus), steps, layer.channels) for layer in network.neurons]
    result = Stepped(
        [np.zeros(shape, bool) for shape in shapes],
        [np.zeros(shape) for shape in shapes],
        np.zeros((len(stimulus), steps, network.readout.channels)),
    )
    for b, image in enumerate(stimulus):
        u = [np.full(layer.channels, network.initial_potential) for layer in network.neurons]
        v = np.zeros(network.readout.channels)
        for t in range(steps):
            s = image if stimulus.ndim == 2 else image[t]
            for k, layer in enumerate(network.neurons):
                u[k] = u[k] + layer.weight @ s + layer.bias
                fired = u[k] >= 1
                result.potentials[k][b, t], result.spikes[k][b, t] = u[k], fired
                u[k] = u[k] - fired
                s = fired.astype(float)
            v = v + network.readout.weight @ s + network.readout.bias
            result.readout[b, t] = v
    return result


def rounded(x: Array, grid: float) -> Array:
    return np.round(x / grid) * grid if grid else x


def network_of(sizes: tuple[int, ...], rng: np.random.Generator, grid: float = GRID, bias: float = 0.1) -> IFNetwork:
    layers = [
        IFLayer.dense(
            name=f"layer {number}",
            weight=rounded(rng.normal(0.3, 1.5, (units, inputs)) / np.sqrt(inputs), grid),
            bias=rounded(rng.normal(bias, 0.1, units), grid),
            scale=np.ones(1),
        )
        for number, (inputs, units) in enumerate(pairwise(sizes), start=1)
    ]
    return IFNetwork(tuple(layers[:-1]), layers[-1])


def changed(network: IFNetwork, layer: int, **values: Any) -> IFNetwork:
    layers = list(network.neurons)
    if "weight" in values:
        layers[layer] = layers[layer].with_weight(values.pop("weight"))
    layers[layer] = replace(layers[layer], **values)
    return replace(network, layers=tuple(layers))


def stimulus_of(
    network: IFNetwork, coding: str, rng: np.random.Generator, images: int, steps: int, grid: float
) -> Array:
    x = rounded(rng.random((images, network.inputs)), grid)
    return x if coding == "analog" else (rng.random((images, steps, network.inputs)) < x[:, None]).astype(float)


def far_above(rng: np.random.Generator) -> IFNetwork:
    return changed(network_of((4, 5, 6, 3), rng), 0, bias=np.array([2.5, 3.0, 1.0, 7.25, 1.0 + GRID]))


def negative(rng: np.random.Generator) -> IFNetwork:
    network = network_of((4, 5, 6, 3), rng)
    return changed(network, 1, weight=-np.abs(network.neurons[1].weight), bias=np.full(6, -GRID))


def no_weights(rng: np.random.Generator) -> IFNetwork:
    network = network_of((4, 5, 6, 3), rng)
    network = changed(changed(network, 0, weight=np.zeros((5, 4)), bias=np.full(5, 0.25)), 1, weight=np.zeros((6, 5)))
    return replace(network, readout=network.readout.with_weight(np.zeros((3, 6))))


def sparse(rng: np.random.Generator) -> IFNetwork:
    network = network_of((4, 5, 6, 3), rng)
    weight = network.neurons[1].weight.copy()
    weight[:, 2], weight[4] = 0.0, 0.0
    return changed(network, 1, weight=weight)


NETWORKS: dict[str, Callable[[np.random.Generator], IFNetwork]] = {
    "two layers": lambda rng: network_of((8, 6, 5, 3), rng),
    "one layer": lambda rng: network_of((3, 7, 2), rng),
    "four layers": lambda rng: network_of((5, 9, 4, 8, 6, 4), rng),
    "a single unit everywhere": lambda rng: network_of((1, 1, 1, 1), rng, bias=0.4),
    "started at 0": lambda rng: replace(network_of((4, 5, 3), rng), initial_potential=0.0),
    "far above threshold": far_above,
    "negative drive": negative,
    "no weights": no_weights,
    "sparse": sparse,
}

"""A converted network (`spiking.integrate_and_fire`) in the library's own terms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spiking.integrate_and_fire import INPUT, IFLayer, IFNetwork, MaxPool, Stimulus
from spiking.network.connectivity import Pairs
from spiking.network.models import Drive, NeuronModel
from spiking.network.network import Network
from spiking.network.parts import Population
from spiking.network.sources import ValueInput
from spiking.synapses import Conv, per_unit

DT = 1e-3
"""s, of a step. It has no meaning to a neuron without a leak; a network only needs one."""
NEVER = "0 - 1e6"
"""A level that no neuron has."""
COUNTED = {"subtract": "u -= 1", "zero": "u = 0"}


def declare_converted(
    network: IFNetwork, stimulus: Stimulus, steps: int, task: NDArray[np.int64] | None = None
) -> Network:
    """A converted network and what it is shown, as a declared network whose samples are the images.

    Populations: input, layer0, layer1, ..., readout, of the shapes that they have there.

    Args:
        network: to run.
        stimulus: as `IFNetwork.shown` takes it.
        steps: for how many it will run.
        task: as `IFNetwork.tasked` takes it.

    Raises:
        UsageError: a stimulus of the wrong shape, or tasks that do not fit.
    """
    shown = network.shown(stimulus, steps)
    tasks = network.tasked(task, len(shown), steps)
    net = Network(DT)
    flat = shown.reshape(len(shown), *(() if network.is_constant(shown) else (steps,)), -1).astype(float)
    values = ValueInput(flat) if network.is_constant(shown) else ValueInput(flat.swapaxes(0, 1), every=DT)
    made = {INPUT: net.population("input", _of_one(values), network.input_shape)}
    for number, layer in enumerate((*network.layers, network.readout)):
        shape, sources = network.shape_of(number), network.sources(number)
        if isinstance(layer, MaxPool):
            made[number] = net.population(f"layer{number}", _gate(layer), shape)
            _pool(net, layer, made[sources[0]], made[number])
            continue
        last = number == len(network.layers)
        model = READOUT if last else _neuron(network.reset, network.initial_potential)
        name = "readout" if last else f"layer{number}"
        made[number] = net.population(name, model, shape, parameters={"bias": per_unit(layer.bias, shape)})
        for k, (projection, source) in enumerate(zip(layer.projections, sources, strict=True)):
            net.connect(made[source], made[number], projection.maps, receptor="drive", name=f"{name}.{k}")
        if tasks is not None:
            _switch(net, network, layer, made[number], tasks)
    return net


def _of_one(values: ValueInput) -> ValueInput:
    """A single image has no axis of samples: every simulator takes it."""
    if values.every is None and len(values.values) == 1:
        return ValueInput(values.values[0])
    if values.every is not None and values.values.shape[1] == 1:
        return ValueInput(values.values[:, 0], values.every)
    return values


def _neuron(reset: str, start: float) -> NeuronModel:
    """Level: all that has been put in, as it stands after the reset; spoken: the same, of those that spike now."""
    return NeuronModel(
        "converted",
        {"u": start, "fired": 0.0, "level": start, "spoken": -1e6},
        f"u = (u + drive + bias)*(1 - closed) + closed*start\nlevel = u + fired\nspoken = {NEVER}",
        "u >= 1",
        f"{COUNTED[reset]}\nfired += 1\nlevel = u + fired\nspoken = level",
        parameters={"bias": 0.0, "start": start},
        receptors={"drive": Drive()},
        inputs=("closed",),
        potential="u",
    )


READOUT = NeuronModel(
    "readout",
    {"u": 0.0},
    "u = u*(1 - restart) + drive + bias",
    parameters={"bias": 0.0},
    receptors={"drive": Drive()},
    inputs=("restart",),
    potential="u",
)


def _gate(layer: MaxPool) -> NeuronModel:
    """What a max-pool lets through, see `MaxPool`."""
    if layer.gate == "count":
        receptors, threshold = {"largest": Drive("max")}, "largest - fired > 0.5"
    else:
        receptors, threshold = {"largest": Drive("max"), "speaks": Drive("max")}, "speaks >= largest"
    return NeuronModel(
        f"gate by {layer.gate}",
        {"fired": 0.0, "level": 0.0, "spoken": -1e6},
        f"level = fired\nspoken = {NEVER}",
        threshold,
        "fired += 1\nlevel = fired\nspoken = level",
        receptors=receptors,
    )


def _pool(net: Network, layer: MaxPool, below: Population, gates: Population) -> None:
    channels = below.shape[0]
    windows = Conv(np.ones((channels, 1, *layer.kernel)), layer.stride, layer.padding, groups=channels)
    found = windows.explicit(below.shape)
    pairs = Pairs(found.pre, found.post)
    if layer.gate == "count":
        net.connect(below, gates, pairs, receptor="largest", sends="fired", name=f"{gates.name}.count")
        return
    net.connect(below, gates, pairs, receptor="largest", sends="level", name=f"{gates.name}.level")
    net.connect(below, gates, pairs, receptor="speaks", sends="spoken", name=f"{gates.name}.spoken")


def _switch(net: Network, network: IFNetwork, layer: IFLayer, made: Population, tasks: NDArray[np.int64]) -> None:
    """Gates that are closed, and the readout's restart when the task changes within an image."""
    if layer is network.readout:
        changes = np.zeros(tasks.shape)
        changes[:, 1:] = tasks[:, 1:] != tasks[:, :-1]
        if changes.any():
            frames: NDArray[np.float64] = np.repeat(changes.T[:, :, None], made.size, 2)
            net.input("readout.restart", _of_one(ValueInput(frames, every=DT)))
    elif layer.gates is not None:
        closed = 1.0 - layer.gates.reshape(len(network.tasks), -1).astype(np.float64)
        net.input(f"{made.name}.closed", _of_one(ValueInput(np.asarray(closed[tasks.T]), every=DT)))

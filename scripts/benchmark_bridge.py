"""`ratespike benchmark bridge`: what converted networks cost beside a bare snnTorch loop, and what making them does."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import brian2 as b2
import click
import numpy as np
import snntorch
import torch
from torch import Tensor, nn

import spiking.brian.integrate_and_fire as brian
import spiking.torch.integrate_and_fire as ours
from bridge.config import ConversionConfig
from bridge.conversion import convert_network
from bridge.lowering import lower_encoder
from foundation.files import write_json
from ratenets.evaluation.readout import Readout
from ratenets.lpl import encoders
from ratenets.lpl.encoders import EncoderConfig
from ratenets.run_config import RunConfig
from spiking.brian.running import code_generation
from spiking.integrate_and_fire import IFLayer, IFNetwork, MaxPool, Projection
from spiking.synapses import Conv, Dense, Map, explicit, through

from .racing import Timed, peak_memory, race, report

STEPS, IMAGES = 32, 100
CALIBRATION = 1000


def run(device: str, repeats: int, json_file: Path | None) -> None:
    """See `ratespike benchmark bridge --help`."""
    where = RunConfig(device=device).torch_device()
    rows: dict[str, dict[str, float]] = {}
    for name, network in (("mlp, 100 images", _mlp()), ("conv, 100 images", _conv())):
        functions = _simulations(network, where)
        rows[name] = race(functions, repeats, where, name)
        for entry in ("bare snnTorch loop", "ours, snnTorch"):
            click.echo(f"{name}, {entry}: peak memory {peak_memory(functions[entry], where) / 1e6:.1f} MB")
    report("bridge", rows, "bare snnTorch loop", "ms per 100 images", 1e3, None)
    built = _building(max(1, repeats // 5)) if where.type == "cpu" else {}
    converting = race({"VGG-11": partial(_vgg, where)}, 1, where, f"VGG-11, {CALIBRATION} images")["VGG-11"]
    click.echo(f"conversion of VGG-11 with calibration on {CALIBRATION} images: {converting:.1f} s")
    if json_file is not None:
        write_json(json_file, {"benchmark": "bridge", "seconds": rows, "synapses per s": built, "VGG-11": converting})


def _mlp() -> IFNetwork:
    rng = np.random.default_rng(0)
    layers = [
        IFLayer.dense(f"layer {n}", rng.normal(0, 0.2, (m, 64)), np.full(m, 0.05), np.ones(1))
        for n, m in enumerate([64, 64, 64, 64, 10], start=1)
    ]
    return IFNetwork(tuple(layers[:-1]), layers[-1])


def _conv() -> IFNetwork:
    """16 and 32 channels of 3 x 3, each with a max-pool, and a dense layer."""
    rng = np.random.default_rng(0)

    def layer(name: str, each: Conv | Dense) -> IFLayer:
        return IFLayer(name, (Projection((each,)),), np.full(len(each.weight), 0.05), np.ones(1))

    pool = ((2, 2), (2, 2))
    return IFNetwork(
        (
            layer("layer 1", Conv(rng.normal(0, 0.3, (16, 1, 3, 3)), padding=(1, 1))),
            MaxPool("layer 1, max-pool", *pool),
            layer("layer 2", Conv(rng.normal(0, 0.1, (32, 16, 3, 3)), padding=(1, 1))),
            MaxPool("layer 2, max-pool", *pool),
            layer("layer 3", Dense(rng.normal(0, 0.03, (100, 32 * 49)))),
        ),
        layer("readout", Dense(rng.normal(0, 0.1, (10, 100)))),
        input_shape=(1, 28, 28),
    )


def _simulations(network: IFNetwork, where: torch.device) -> dict[str, Timed]:
    images = np.random.default_rng(1).random((IMAGES, *network.input_shape))

    def run(stimulus: np.ndarray) -> object:
        return ours.simulate(network, stimulus, STEPS, dtype=torch.float32, device=where)

    functions: dict[str, Timed] = {
        "bare snnTorch loop": partial(_bare, *_modules(network, where), torch.from_numpy(images).float().to(where)),
        "ours, snnTorch": partial(run, images),
        "ours, snnTorch, one by one": lambda: [run(image[None]) for image in images],
    }
    if where.type == "cpu" and network.synapses() < 100_000:
        functions["ours, Brian2 (numpy)"] = partial(brian.simulate, network, images, STEPS)
    return functions


def _modules(network: IFNetwork, where: torch.device) -> tuple[list[nn.Module], list[nn.Module]]:
    """What anybody would write down: a module and neurons for each layer, and the readout."""

    def with_bias(layer: IFLayer) -> nn.Module:
        (each,) = layer.projections[0].maps
        made = ours.module_of(each, torch.float32)
        linear = made[1] if isinstance(made, nn.Sequential) else made
        linear.bias = nn.Parameter(torch.from_numpy(layer.bias).float())
        return made.to(where)

    modules: list[nn.Module] = []
    for layer in (*network.layers, network.readout):
        modules.append(nn.MaxPool2d(2) if isinstance(layer, MaxPool) else with_bias(layer))
    neurons = [snntorch.Leaky(beta=1.0, reset_delay=False).to(where) for _ in network.neurons]
    return modules, neurons


@torch.no_grad()
def _bare(modules: list[nn.Module], neurons: list[nn.Module], x: Tensor) -> Tensor:
    """The loop of snnTorch's tutorials."""
    *layers, readout = modules
    potentials: list[Any] = [neuron.init_leaky() for neuron in neurons]  # type: ignore[operator]  # a module's attribute, for mypy
    total = torch.zeros((), device=x.device)
    for _ in range(STEPS):
        s, k = x, 0
        for module in layers:
            s = module(s)
            if not isinstance(module, nn.MaxPool2d):
                s, potentials[k] = neurons[k](s, potentials[k])
                k += 1
        total = total + readout(s)
    return total


def _building(repeats: int) -> dict[str, float]:
    """Synapses per s, from a layer's weights to Brian2's synapses, printed and returned."""
    b2.BrianLogger.suppress_name("unused_brian_object")  # what is built here is never run
    rng = np.random.default_rng(0)
    cases: dict[str, tuple[Map, tuple[int, ...]]] = {
        "dense, 1024-512": (Dense(rng.normal(size=(512, 1024))), (1024,)),
        "conv, 32x32x64 to 3x3, 4 channels": (Conv(rng.normal(size=(4, 64, 3, 3)), padding=(1, 1)), (64, 32, 32)),
    }
    found: dict[str, float] = {}
    for name, (each, shape) in cases.items():
        units, above = int(np.prod(shape)), int(np.prod(through([each], shape)[-1]))

        def build(
            arrays: bool, each: Map = each, shape: tuple[int, ...] = shape, units: int = units, above: int = above
        ) -> None:
            source, target = (
                b2.NeuronGroup(n, "u : 1", threshold="u > 1", reset="u = 0", dt=brian.DT) for n in (units, above)
            )
            synapses = explicit([each], shape) if arrays else _by_loops(each, shape)
            brian.connected(source, target, synapses, "u_post += w", order=0)

        with code_generation("numpy"):
            functions = {"arrays": partial(build, True), "nested loops": partial(build, False)}
            times = race(functions, repeats, torch.device("cpu"), f"building {name}")
        number = each.count(shape)
        found |= {f"{name}, {how}": number / seconds for how, seconds in times.items()}
        for how, seconds in times.items():
            click.echo(f"{name}, {number:,} synapses, {how}: {number / seconds / 1e6:.2f} million synapses per s")
    return found


def _by_loops(each: Map, shape: tuple[int, ...]) -> Any:
    """As it is often written: a Python loop for each index, a list of connections."""
    pre: list[int] = []
    post: list[int] = []
    weight: list[float] = []
    if isinstance(each, Dense):
        for i in range(each.weight.shape[0]):
            for j in range(each.weight.shape[1]):
                pre.append(j)
                post.append(i)
                weight.append(each.weight[i, j])
    elif isinstance(each, Conv):
        _, height, width = shape
        for o in range(each.weight.shape[0]):
            for i in range(each.weight.shape[1]):
                for y in range(height):
                    for x in range(width):
                        for row in range(3):
                            for column in range(3):
                                below = y + row - 1, x + column - 1
                                if 0 <= below[0] < height and 0 <= below[1] < width:
                                    pre.append((i * height + below[0]) * width + below[1])
                                    post.append((o * height + y) * width + x)
                                    weight.append(each.weight[o, i, row, column])
    return np.array(pre), np.array(post), np.array(weight)


def _vgg(where: torch.device) -> None:
    """Lowering, calibration and rescaling of VGG-11 at its full width, 32 px."""
    encoder = encoders.build(EncoderConfig(kind="vgg"), (3, 32, 32), 0).to(where)
    readout = Readout(np.random.default_rng(0).normal(size=(10, 512)), np.zeros(10))
    images = torch.rand(CALIBRATION, 3, 32, 32, device=where)
    convert_network(lower_encoder(encoder, readout, (3, 32, 32)), images, ConversionConfig())

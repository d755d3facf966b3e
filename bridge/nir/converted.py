"""Converted networks as NIR files, where NIR can hold them exactly, and back; plasticity in the metadata.

NIR's IF resets to v_reset, starts at 0 and spikes above its threshold; ours starts at u_0 and spikes at 1 or above. The
graph therefore counts potentials from u_0: v = u - u_0, v_reset = -u_0, v_threshold the number before 1, less u_0. What
leaves the graph is the current into the readout; its sum over steps is the readout's potential.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from bridge.nir.files import read_nir, write_nir
from bridge.nir.graph import Edge, Graph, Node
from foundation.errors import RatespikeError, UsageError
from foundation.json_files import parse_json
from foundation.text import check_name
from spiking.integrate_and_fire import INPUT, IFLayer, IFNetwork, MaxPool, Projection
from spiking.network_file import NetworkFile
from spiking.parameters import LPLSynapse
from spiking.synapses import AdaptiveAveragePool, AveragePool, Conv, Dense, Gain, Map, Shape

OURS = "ratespike"
BELOW_ONE = 1 - 2.0**-24
"""The number before 1 in float32, which other readers may compute in: a potential of 1 spikes there, too."""


def write_network(path: Path, file: NetworkFile, dt: float) -> None:
    """Write a converted network. Raises `UsageError` where NIR cannot hold it; the message names the layer."""
    write_nir(path, graph_of(file, dt))


def read_network(path: Path, out: Path) -> str:
    """Make a converted network of a NIR file; returns what it is, in words.

    Raises:
        RatespikeError: the file is damaged.
        UsageError: the graph is no layered network of integrate-and-fire neurons.
    """
    file = network_of(read_nir(path))
    file.save(out)
    return f"{len(file.network.neurons)} spiking layers, {file.network.synapses():,} synapses"


def graph_of(file: NetworkFile, dt: float) -> Graph:
    """A converted network as a graph, at steps of dt (s).

    Raises:
        UsageError: a soft reset, a max-pool that gates, gates for tasks, a pool that NIR has not: by name.
    """
    network = file.network
    if not dt > 0:
        raise UsageError(f"dt: must be positive, got {dt} s")
    if network.reset != "zero":
        raise UsageError("NIR resets neurons to a fixed potential, not by the threshold: convert with --reset zero")
    if network.tasks:
        raise UsageError("NIR has no gates for tasks; convert an unguided network")
    if not network.initial_potential < 1:
        raise UsageError(f"initial_potential: must be below the threshold, got {network.initial_potential}")
    nodes: dict[str, Node] = {"input": Node("Input", {"shape": np.array(network.input_shape)})}
    edges: list[Edge] = []
    names: dict[int, str] = {INPUT: "input"}
    for number, layer in enumerate((*network.layers, network.readout)):
        if isinstance(layer, MaxPool):
            raise UsageError(f"{layer.name}: NIR has no max-pool: convert with --max-pooling average")
        readout = number == len(network.layers)
        names[number] = "output" if readout else layer.name.replace("/", "_")
        if names[number] in nodes:
            raise UsageError(f"{layer.name}: two nodes would have this name")
        for k, (projection, source) in enumerate(zip(layer.projections, network.sources(number), strict=True)):
            start, shape = names[source], network.shape_of(source)
            bias = layer.bias if k == 0 else np.zeros_like(layer.bias)
            chain = _chain(f"{names[number]}.{k}", layer.name, projection.maps, shape, bias)
            nodes |= chain
            ends = [start, *chain, names[number]]
            edges += list(itertools.pairwise(ends))
        nodes[names[number]] = (
            Node("Output", {"shape": np.array(network.shapes[number])})
            if readout
            else _neurons(layer, network.shapes[number], network.initial_potential, dt)
        )
    metadata = {
        OURS: {
            "kind": "converted network",
            "dt": dt,
            "initial_potential": network.initial_potential,
            "input_coding": network.input_coding,
            "origin": json.dumps(dict(file.origin)),
        }
    }
    return Graph(nodes, tuple(edges), metadata)


def _neurons(layer: IFLayer, shape: Shape, start: float, dt: float) -> Node:
    def full(value: float) -> np.ndarray:
        return np.full(shape, value)

    parameters = {"r": full(1 / dt), "v_threshold": full(BELOW_ONE - start), "v_reset": full(-start)}
    return Node("IF", parameters, {OURS: {"name": layer.name, "scale": layer.scale}})


def _chain(name: str, layer: str, maps: tuple[Map, ...], shape: Shape, bias: np.ndarray) -> dict[str, Node]:
    """A projection as linear nodes in a row, with the bias in the last."""
    found: dict[str, Node] = {}
    last = len(maps) - 1
    for place, each in enumerate(maps):
        own = bias if place == last else None
        key = f"{name}.{place}"
        match each:
            case Dense():
                if len(shape) > 1:
                    found[f"{key}.flatten"] = Node("Flatten", {"start_dim": np.array(0), "end_dim": np.array(-1)})
                zeros = np.zeros(len(each.weight))
                found[key] = Node("Affine", {"weight": each.weight, "bias": zeros if own is None else own})
            case Conv():
                pairs = {k: np.array(getattr(each, k)) for k in ("stride", "padding", "dilation", "groups")}
                zeros = np.zeros(len(each.weight))
                found[key] = Node("Conv2d", {"weight": each.weight, "bias": zeros if own is None else own, **pairs})
            case AveragePool() | AdaptiveAveragePool():
                if own is not None and own.any():
                    raise UsageError(f"{layer}: NIR's pools have no bias; a pool cannot end the first projection")
                found[key] = Node("AvgPool2d", _pool(each, shape, layer))
            case Gain():
                if own is not None and own.any():
                    raise UsageError(f"{layer}: NIR's Scale has no bias; its shortcut cannot be the first projection")
                factor = np.broadcast_to(each.factor, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
                found[key] = Node("Scale", {"scale": factor.copy()})
        shape = each.above(shape)
    return found


def _pool(each: AveragePool | AdaptiveAveragePool, shape: Shape, layer: str) -> dict[str, np.ndarray]:
    if isinstance(each, AveragePool):
        return {
            "kernel_size": np.array(each.kernel),
            "stride": np.array(each.stride),
            "padding": np.array(each.padding),
        }
    if any(n % size for n, size in zip(shape[1:], each.size, strict=True)):
        raise UsageError(f"{layer}: NIR's pools have windows of one size; {shape[1:]} in {each.size} has not")
    kernel = np.array([n // size for n, size in zip(shape[1:], each.size, strict=True)])
    return {"kernel_size": kernel, "stride": kernel, "padding": np.zeros(2, np.int64)}


def network_of(graph: Graph) -> NetworkFile:
    """A graph of layers of IF neurons as a converted network.

    Raises:
        UsageError: nodes that a converted network has not, thresholds or resets that differ within a layer: by name.
    """
    names = [n for n in graph.order if graph.nodes[n].kind == "IF"]
    if graph.late:
        a, b = sorted(graph.late)[0]
        raise UsageError(f"{a} -> {b}: a converted network has no cycles")
    number = {graph.input: INPUT, **{name: k for k, name in enumerate(names)}}
    about = _about(graph.metadata)
    layers: list[IFLayer] = []
    starts: set[float] = set()
    for name in (*names, graph.output):
        node = graph.nodes[name]
        gain, start = (1.0, 0.0) if name == graph.output else _unit(name, node)
        if name != graph.output:
            starts.add(start)
        projections, bias = [], np.zeros(graph.shapes[name][0])
        for below in graph.into(name):
            source, maps, constant = _back(graph, below, bias.shape[0])
            if source not in number:
                raise UsageError(f"{source}: a {graph.nodes[source].kind} node has no place in a converted network")
            maps = maps or (Gain(np.ones(1)),)
            projections.append(Projection(_times(maps, gain), number[source]))
            bias = bias + gain * constant
        mine = _about(node.metadata)
        scale = np.atleast_1d(np.asarray(mine.get("scale", np.ones(1)), dtype=np.float64))
        label = str(mine.get("name", name)) if name != graph.output else "readout"
        check_name(name, label)
        layers.append(IFLayer(label, tuple(projections), bias, scale))
    if len(starts) > 1:
        raise UsageError("IF nodes of different thresholds and resets start at different potentials")
    network = IFNetwork(
        tuple(layers[:-1]),
        layers[-1],
        starts.pop() if starts else 0.0,
        str(about.get("input_coding", "analog")),
        graph.shapes[graph.input],
        "zero",
    )
    return NetworkFile(network, _origin(about))


def _unit(name: str, node: Node) -> tuple[float, float]:
    """What a current is multiplied by, and where the potential starts, in units of the threshold.

    With the distance d from reset to threshold, u = (v - v_reset) / d starts at -v_reset / d, resets to 0 and fires
    at 1; a step adds dt r / d of the current. dt r is taken to be 1, as converted networks and snnTorch have it.
    """
    found = {key: np.unique(value) for key, value in node.parameters.items()}
    for key, values in found.items():
        if len(values) > 1:
            raise UsageError(f"{name}: {key} differs from neuron to neuron")
    threshold, reset = (float(found[key][0]) for key in ("v_threshold", "v_reset"))
    distance = threshold - reset
    if abs(distance - BELOW_ONE) < 2.0**-25:
        distance = 1.0
    return 1 / distance, -reset / distance


def _back(graph: Graph, name: str, channels: int) -> tuple[str, tuple[Map, ...], np.ndarray]:
    """From the end of a chain of linear nodes to where it starts: the source, the maps, the bias."""
    maps: list[Map] = []
    bias = np.zeros(channels)
    first = True
    while graph.nodes[name].map is not None or graph.nodes[name].kind == "Flatten":
        node = graph.nodes[name]
        if (into := graph.into(name)) and len(into) > 1:
            raise UsageError(f"{name}: several nodes lead to a linear one; a converted network adds up at neurons")
        if node.map is not None:
            if node.kind == "SumPool2d":
                raise UsageError(f"{name}: a converted network has average pools, no sums")
            own = node.parameters.get("bias")
            if own is not None and own.any():
                if not first:
                    raise UsageError(f"{name}: its bias lies below another linear node")
                bias = own.astype(np.float64)
            maps.insert(0, node.map)
            first = False
        name = into[0]
    return name, tuple(maps), bias


def _times(maps: tuple[Map, ...], gain: float) -> tuple[Map, ...]:
    """The maps, with what leaves them multiplied."""
    if gain == 1:
        return maps
    *below, last = maps
    match last:
        case Dense() | Conv():
            return (*below, replace(last, weight=last.weight * gain))
        case Gain():
            return (*below, Gain(last.factor * gain))
    return (*maps, Gain(np.array([gain])))


def _about(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    found = metadata.get(OURS, {})
    return found if isinstance(found, Mapping) else {}


def _origin(about: Mapping[str, Any]) -> dict[str, str]:
    try:
        found = parse_json(str(about.get("origin", "{}")))
    except ValueError:
        raise UsageError("the graph's notes about its origin are damaged") from None
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


# --- plasticity -------------------------------------------------------------------------------------------------------
def with_plasticity(graph: Graph, name: str, rule: LPLSynapse) -> Graph:
    """The graph with a rule in the metadata of a node of synapses (or of neurons, for all that reach them).

    Raises:
        UsageError: there is no such node.
    """
    if name not in graph.nodes:
        raise UsageError(f"{name}: the graph has no such node")
    node = graph.nodes[name]
    values = {key: "none" if value is None else value for key, value in asdict(rule).items()}
    values = {key: str(value) if isinstance(value, bool) else value for key, value in values.items()}
    about = {**_about(node.metadata), "plasticity": {"rule": "LPL", **values}}
    return replace(graph, nodes={**graph.nodes, name: replace(node, metadata={**node.metadata, OURS: about})})


def plasticity_of(graph: Graph) -> dict[str, LPLSynapse]:
    """The rules in a graph's metadata, by node.

    Raises:
        RatespikeError: one that is damaged.
    """
    found = {}
    for name, node in graph.nodes.items():
        values = _about(node.metadata).get("plasticity")
        if values is None:
            continue
        try:
            given = dict(values)
            if given.pop("rule") != "LPL":
                raise ValueError("another rule")
            plain = {key: _value(value) for key, value in given.items()}
            found[name] = LPLSynapse(**plain)
        except (TypeError, ValueError, KeyError, AttributeError, UsageError) as error:
            raise RatespikeError(f"{name}: its plasticity is damaged, or of another program ({error})") from None
    return found


def _value(value: Any) -> Any:
    return {"none": None, "True": True, "False": False}.get(value, value) if isinstance(value, str) else value

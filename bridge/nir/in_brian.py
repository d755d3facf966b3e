"""A NIR graph in Brian2, on the same update schedule as in torch; and back from there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import brian2 as b2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bridge.nir.graph import NEURONS, SPIKING, Graph, Node
from bridge.nir.in_torch import Result, check_steps, constants, delay_steps, shaped
from foundation.errors import UsageError
from spiking.brian.integrate_and_fire import MOST_SYNAPSES, SLOT, SYNAPSE_BYTES
from spiking.brian.running import code_for, run_network
from spiking.synapses import Array, Conv, Dense, Map, Shape, count, explicit

INTEGRATE = {
    "IF": "v += k*drive",
    "I": "v += k*drive",
    "LIF": "v += k*((v_leak - v) + r*drive)",
    "LI": "v += k*((v_leak - v) + r*drive)",
    "CubaLIF": "current += k_syn*(w_in*drive - current)\nv += k*((v_leak - v) + r*current)",
    "CubaLI": "current += k_syn*(w_in*drive - current)\nv += k*((v_leak - v) + r*current)",
}


@dataclass(frozen=True, eq=False)
class Path:
    """One way from a node that sends (neurons, or the input) to one that receives, through linear nodes and delays.

    Attributes:
        source, target: names of the ends.
        through: names of the nodes between them.
        maps: what they do, in their order.
        factor: by which sum pools exceed averages.
        delay: steps, beside those that an edge around a cycle takes; of each line of the source, or of all.
        late: edges around a cycle on the way.
        bias: constant part of what arrives, (units of the target,).
    """

    source: str
    target: str
    through: tuple[str, ...]
    maps: tuple[Map, ...]
    factor: float
    delay: NDArray[np.int64]
    late: int
    bias: Array


@dataclass(frozen=True, eq=False)
class BrianGraph:
    """A graph built in Brian2: neurons by node, synapses by path; `copies` samples side by side."""

    graph: Graph
    dt: float
    copies: int
    groups: dict[str, Any]
    synapses: list[tuple[Path, Any]]
    objects: list[Any]


def paths(graph: Graph, dt: float) -> list[Path]:
    """Every way from senders to receivers.

    Raises:
        UsageError: a delay that differs from line to line behind a linear node, or more than 10,000 ways.
    """
    found: list[Path] = []
    senders = [n for n, node in graph.nodes.items() if node.kind in NEURONS or node.kind == "Input"]
    for source in senders:
        for way in _ways(graph, source):
            found.append(_path(graph, way, dt))
            if len(found) > 10_000:
                raise UsageError(f"{source}: more than 10,000 ways lead through linear nodes from it")
    return found


def _ways(graph: Graph, source: str) -> Iterator[tuple[str, ...]]:
    waiting: list[tuple[str, ...]] = [(source,)]
    while waiting:
        way = waiting.pop(0)
        for a, target in graph.edges:
            if a != way[-1]:
                continue
            kind = graph.nodes[target].kind
            if kind in NEURONS or kind == "Output":
                yield (*way, target)
            else:
                waiting.append((*way, target))


def _path(graph: Graph, way: tuple[str, ...], dt: float) -> Path:
    source, *between, target = way
    maps: list[Map] = []
    factor, delay = 1.0, np.zeros(1, np.int64)
    shape: Shape = graph.shapes[source]
    bias = np.zeros(shape)
    for name in between:
        node = graph.nodes[name]
        made = node.map
        if node.kind == "Delay":
            steps = delay_steps(name, node, dt)
            if steps.size > 1 and maps:
                raise UsageError(f"{name}: delays that differ from line to line must come right after neurons or input")
            delay = delay + steps.ravel()
        if made is not None:
            bias = _applied(made, bias, shape) * node.sum_factor
            maps.append(made)
        factor *= node.sum_factor
        shape = node.above(shape)
        bias = bias.reshape(shape)
        if "bias" in node.parameters:
            bias = bias + node.parameters["bias"].astype(np.float64).reshape(-1, *[1] * (len(shape) - 1))
    late = sum((a, b) in graph.late for a, b in itertools.pairwise(way))
    return Path(source, target, tuple(between), tuple(maps), factor, delay, late, bias.ravel())


def _applied(made: Map, x: Array, shape: Shape) -> Array:
    """A map of an array of `shape`."""
    if not x.any():
        return np.zeros(made.above(shape))
    found = explicit([made], shape)
    above = made.above(shape)
    total = np.bincount(found.post, found.weight * x.ravel()[found.pre], minlength=int(np.prod(above)))
    return np.asarray(total, dtype=np.float64).reshape(above)


def _synapses(path: Path, shape: Shape) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    if not path.maps:
        units = np.arange(int(np.prod(shape)))
        return units, units, np.full(len(units), path.factor)
    pre, post, weight = explicit(path.maps, shape)
    return pre, post, weight * path.factor if path.factor != 1 else weight


def check_size(graph: Graph, dt: float, copies: int = 1) -> None:
    """Raises `UsageError` if memory is not likely to hold so many copies' synapses."""
    number = 0
    for path in paths(graph, dt):
        shape = graph.shapes[path.source]
        number += count(path.maps, shape) if path.maps else int(np.prod(shape))
    if number * copies > MOST_SYNAPSES:
        raise UsageError(
            f"Brian2 would need {number * copies:,} synapses, some {number * copies * SYNAPSE_BYTES / 1e9:.0f} GB; at "
            f"most {MOST_SYNAPSES:,} are built; use torch"
        )


def build(graph: Graph, dt: float, copies: int = 1) -> BrianGraph:
    """Neurons and synapses, without input; copy c of unit i is neuron c M + i."""
    check_steps(graph, dt)
    check_size(graph, dt, copies)
    clock = b2.Clock(dt * b2.second)
    number = {name: k for k, name in enumerate(graph.order)}
    groups: dict[str, Any] = {}
    objects: list[Any] = []
    for name, node in graph.nodes.items():
        if node.kind in NEURONS:
            groups[name] = _neurons(node, dt, copies, clock, number[name])
            objects.append(groups[name])
    made: list[tuple[Path, Any]] = []
    for path in paths(graph, dt):
        if path.target not in groups:
            continue
        group = groups[path.target]
        group.constant_drive = np.asarray(group.constant_drive) + np.tile(path.bias, copies)
        if path.source in groups and graph.nodes[path.source].kind in SPIKING:
            synapses = _connected(graph, path, groups, copies, clock, number)
            made.append((path, synapses))
            objects.append(synapses)
        elif path.source in groups:
            raise UsageError(
                f"{path.source}: neurons without spikes drive {path.target}; Brian2's synapses need spikes"
            )
    return BrianGraph(graph, dt, copies, groups, made, objects)


def _neurons(node: Node, dt: float, copies: int, clock: Any, order: int) -> Any:
    values = {key: np.tile(value.ravel(), copies) for key, value in constants(node, dt).items()}
    model = "v : 1\ncurrent : 1\ndrive : 1\nconstant_drive : 1\n" + "\n".join(f"{key} : 1 (constant)" for key in values)
    size = len(next(iter(values.values())))
    spiking = node.kind in SPIKING
    events = {"threshold": "v > v_threshold", "reset": "v = v_reset"} if spiking else {}
    group = b2.NeuronGroup(size, model, clock=clock, **events)
    for key, value in values.items():
        setattr(group, key, value)
    step = f"drive += constant_drive\n{INTEGRATE[node.kind]}\ndrive = 0"
    group.run_regularly(step, clock=clock, when=SLOT, order=10 * order)
    if spiking:
        group.thresholder["spike"].when, group.thresholder["spike"].order = SLOT, 10 * order + 1
        group.resetter["spike"].when, group.resetter["spike"].order = SLOT, 10 * order + 2
    return group


def _connected(
    graph: Graph, path: Path, groups: dict[str, Any], copies: int, clock: Any, number: dict[str, int]
) -> Any:
    """Synapses of a path. Spikes wait in Brian2 until the target's turn: for a target that comes first (around a
    cycle) that is the next step already.
    """
    pre, post, weight = _synapses(path, graph.shapes[path.source])
    below, above = (int(np.prod(graph.shapes[name])) for name in (path.source, path.target))
    waits = number[path.target] <= number[path.source]
    steps = path.delay + path.late - (1 if waits else 0)
    copy = np.arange(copies)[:, None]
    synapses = b2.Synapses(groups[path.source], groups[path.target], "w : 1", on_pre="drive_post += w", clock=clock)
    pre_all, post_all = (copy * below + pre).ravel(), (copy * above + post).ravel()
    if not len(pre_all):
        pre_all, post_all, weight = np.zeros(1, int), np.zeros(1, int), np.zeros(1)
        pre = pre_all
    synapses.connect(i=pre_all, j=post_all)
    synapses.w = np.tile(weight, copies if len(weight) == len(pre) else 1)
    lines = steps[pre] if steps.size > 1 else np.full(len(pre), int(steps.max()))
    if lines.any():
        synapses.delay = np.tile(lines, copies) * clock.dt
    synapses.pre.when, synapses.pre.order = SLOT, 10 * number[path.target] - 1
    return synapses


def simulate(graph: Graph, x: NDArray[np.generic], dt: float, *, batch_size: int = 50) -> Result:
    """Run a graph in Brian2; arguments and result as `bridge.nir.in_torch.simulate`. Samples run side by side.

    Raises:
        UsageError: another shape, or more synapses than memory is likely to hold.
    """
    values = shaped(graph, x)
    with code_for(values.shape[1]):
        parts = [_simulated(graph, values[k : k + batch_size], dt) for k in range(0, len(values), batch_size)]
    return Result(
        np.concatenate([part.output for part in parts]),
        {name: np.concatenate([part.spikes[name] for part in parts]) for name in parts[0].spikes},
    )


def _simulated(graph: Graph, x: Array, dt: float) -> Result:
    batch, steps = x.shape[:2]
    built = build(graph, dt, batch)
    ways = paths(graph, dt)
    _drive(built, [way for way in ways if way.source == graph.input and way.target in built.groups], x)
    monitors = {
        name: b2.SpikeMonitor(group) for name, group in built.groups.items() if graph.nodes[name].kind in SPIKING
    }
    clock = next(iter(built.groups.values())).clock
    levels = {
        name: b2.StateMonitor(group, "v", record=True, clock=clock, when="end")
        for name, group in built.groups.items()
        if graph.nodes[name].kind not in SPIKING
    }
    run_network(b2.Network(*built.objects, *monitors.values(), *levels.values()), steps * dt)
    spikes = {name: _raster(monitor, batch, steps, graph.shapes[name], dt) for name, monitor in monitors.items()}
    sent: dict[str, Array] = {name: raster.astype(float) for name, raster in spikes.items()}
    for name, monitor in levels.items():
        sent[name] = (
            np.asarray(monitor.v).T.reshape(steps, batch, -1).swapaxes(0, 1).reshape(batch, steps, *graph.shapes[name])
        )
    sent[graph.input] = x
    output = sum(_arriving(graph, way, sent[way.source]) for way in ways if way.target == graph.output)
    return Result(np.asarray(output).reshape(batch, steps, *graph.shapes[graph.output]), spikes)


def _drive(built: BrianGraph, ways: list[Path], x: Array) -> None:
    """What the input drives its targets with, in every step."""
    for number, way in enumerate(ways):
        arriving = _arriving(built.graph, replace(way, bias=np.zeros_like(way.bias)), x)
        values = arriving.reshape(len(x), x.shape[1], -1).swapaxes(0, 1).reshape(x.shape[1], -1)
        group = built.groups[way.target]
        group.namespace[f"input_{number}"] = b2.TimedArray(values, dt=group.clock.dt)
        order = 10 * list(built.graph.order).index(way.target) - 1
        group.run_regularly(f"drive += input_{number}(t, i)", clock=group.clock, when=SLOT, order=order)


def _arriving(graph: Graph, way: Path, sent: Array) -> Array:
    """What arrives at the end of a path in every step, (B, T, units), for what was sent, (B, T, ...)."""
    shape = graph.shapes[way.source]
    flat = sent.reshape(*sent.shape[:2], -1)
    steps = np.broadcast_to(way.delay + way.late, flat.shape[2])
    if steps.any():
        moved = np.zeros_like(flat)
        for step in np.unique(steps):
            lines = steps == step
            moved[:, step:, lines] = flat[:, : flat.shape[1] - step, lines]
        flat = moved
    pre, post, weight = _synapses(way, shape)
    units = len(way.bias)
    matrix = sparse.csr_matrix((weight, (post, pre)), (units, flat.shape[2]))
    return np.asarray((matrix @ flat.reshape(-1, flat.shape[2]).T).T.reshape(*flat.shape[:2], units) + way.bias)


def _raster(monitor: Any, batch: int, steps: int, shape: Shape, dt: float) -> NDArray[np.bool_]:
    units = int(np.prod(shape))
    raster = np.zeros((steps, batch * units), bool)
    raster[np.rint(np.asarray(monitor.t) / dt).astype(int), np.asarray(monitor.i)] = True
    return raster.reshape(steps, batch, units).swapaxes(0, 1).reshape(batch, steps, *shape)


# --- and back ---------------------------------------------------------------------------------------------------------
def from_brian(built: BrianGraph) -> Graph:
    """The graph that a built network is, with the weights and the neurons' parameters that it has now (of copy 0).

    Raises:
        UsageError: synapses that share a weight have different ones now, or a weight behind a pool changed.
    """
    nodes = dict(built.graph.nodes)
    for name, group in built.groups.items():
        node = nodes[name]
        read: dict[str, NDArray[Any]] = {}
        for key, value in node.parameters.items():
            now = np.asarray(getattr(group, key))[: value.size].reshape(value.shape)
            read[key] = now.astype(value.dtype)
        nodes[name] = replace(node, parameters=read)
    for path, synapses in built.synapses:
        weights = np.asarray(synapses.w)[: len(synapses.w) // built.copies]
        _read_weights(built.graph, nodes, path, weights)
    return replace(built.graph, nodes=nodes)


def _read_weights(graph: Graph, nodes: dict[str, Node], path: Path, weights: Array) -> None:
    """Put what the synapses of a path have into the node that has their weights."""
    shape = graph.shapes[path.source]
    _, _, before = _synapses(path, shape)
    if not len(before) or np.array_equal(before, weights):
        return
    weighted = [name for name in path.through if graph.nodes[name].kind in ("Linear", "Affine", "Conv2d")]
    if len(weighted) != 1 or len(path.maps) != 1:
        raise UsageError(f"{path.source} -> {path.target}: weights changed that several nodes make together")
    (name,) = weighted
    node = nodes[name]
    made = node.map
    assert isinstance(made, Dense | Conv)
    numbers = np.asarray(np.arange(1.0, made.weight.size + 1).reshape(made.weight.shape), dtype=np.float64)
    _, _, place = explicit([replace(made, weight=numbers)], shape)
    kept = made.weight.ravel()[place.astype(int) - 1] != 0  # synapses of weight 0 were not built
    index = place[kept].astype(int) - 1
    flat = made.weight.ravel().copy()
    flat[index] = weights
    if not np.array_equal(flat[index], weights):
        raise UsageError(f"{name}: synapses that share a weight have different ones now")
    weight = node.parameters["weight"]
    nodes[name] = replace(
        node, parameters={**node.parameters, "weight": flat.reshape(weight.shape).astype(weight.dtype)}
    )

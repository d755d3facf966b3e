"""A network as NIR has it: nodes and edges, every number an array, checked.

How it runs is fixed here once for all simulators, at steps of dt (s), by forward Euler::

    I    = sum of what arrives: spikes count 1 in their step, so that a weight of 1 is a current of 1 for dt
    IF       v += dt r I
    LIF      v += dt / tau ((v_leak - v) + r I)
    CubaLIF  i += dt / tau_syn (w_in I - i);   v += dt / tau_mem ((v_leak - v) + r i)
             spike if v > v_threshold, then v = v_reset                                  (all start at 0)
    I, LI, CubaLI: the same without spikes; what they give on is v

Nodes are updated in the order of the graph, so that a spike reaches the next neurons in the same step. What a neuron
(or a delay) sends around a cycle arrives a step later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UsageError
from spiking.synapses import AveragePool, Conv, Dense, Gain, Map, Shape

Parameters: TypeAlias = Mapping[str, NDArray[Any]]
NEURONS = {
    "IF": ("r", "v_threshold", "v_reset"),
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
    "I": ("r",),
    "LI": ("tau", "r", "v_leak"),
    "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak", "w_in"),
}
"""Neurons, and their parameters, all of one shape."""

LINEAR: dict[str, dict[str, tuple[int, ...]]] = {  # parameters, and how many dimensions they may have
    "Linear": {"weight": (2,)},
    "Affine": {"weight": (2,), "bias": (1,)},
    "Conv2d": {"weight": (4,), "bias": (1,), "stride": (0, 1), "padding": (0, 1), "dilation": (0, 1), "groups": (0,)},
    "AvgPool2d": {"kernel_size": (0, 1), "stride": (0, 1), "padding": (0, 1)},
    "SumPool2d": {"kernel_size": (0, 1), "stride": (0, 1), "padding": (0, 1)},
    "Flatten": {"start_dim": (0,), "end_dim": (0,)},
    "Scale": {"scale": (0, 1, 2, 3)},
}
ENDS = ("Input", "Output")
KINDS = (*NEURONS, *LINEAR, "Delay", *ENDS)
SPIKING = ("IF", "LIF", "CubaLIF")
POSITIVE = ("tau", "tau_syn", "tau_mem")
MOST_NODES, MOST_EDGES = 10_000, 100_000


@dataclass(frozen=True, eq=False)
class Node:
    """One node: its kind, its parameters by NIR's names, and metadata (numbers, texts, 1-d arrays, nested)."""

    kind: str
    parameters: Parameters = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def check(self, name: str) -> None:
        """Raise `UsageError` that names the node, if it cannot be."""
        if self.kind not in KINDS:
            raise UsageError(f"{name}: a {self.kind} node cannot be represented here; known are {', '.join(KINDS)}")
        for key, value in self.parameters.items():
            if not np.issubdtype(value.dtype, np.number) or np.iscomplexobj(value):
                raise UsageError(f"{name}: {key} must be numbers, is {value.dtype}")
            if not np.isfinite(value).all():
                raise UsageError(f"{name}: {key} must be finite")
        expected = NEURONS.get(self.kind, LINEAR.get(self.kind, ("delay",) if self.kind == "Delay" else ("shape",)))
        missing = [key for key in expected if key not in self.parameters]
        if missing or set(self.parameters) - set(expected):
            other = sorted(set(self.parameters) - set(expected))
            raise UsageError(
                f"{name}: {self.kind} needs {', '.join(expected)}; "
                + (f"{missing[0]} is missing" if missing else f"got {other[0]}, too")
            )
        if self.kind in NEURONS:
            self._check_neuron(name)
        elif self.kind in LINEAR:
            for key, dims in LINEAR[self.kind].items():
                if self.parameters[key].ndim not in dims:
                    raise UsageError(f"{name}: {key} has the shape {self.parameters[key].shape}")
            self._as_map(name)
        elif self.kind == "Delay":
            if (self.parameters["delay"] < 0).any():
                raise UsageError(f"{name}: delay must not be negative")
        else:
            self._check_end(name)

    def _check_neuron(self, name: str) -> None:
        shapes = {value.shape for value in self.parameters.values()}
        if len(shapes) > 1:
            raise UsageError(f"{name}: parameters have different shapes, {' and '.join(map(str, sorted(shapes)))}")
        if not shapes or not next(iter(self.parameters.values())).ndim:
            raise UsageError(f"{name}: parameters must be arrays, one number for each neuron")
        for key in POSITIVE:
            if key in self.parameters and not (self.parameters[key] > 0).all():
                raise UsageError(f"{name}: {key} must be positive")
        if self.kind in SPIKING and not (self.parameters["v_reset"] < self.parameters["v_threshold"]).all():
            raise UsageError(f"{name}: v_reset must be below v_threshold")

    def _check_end(self, name: str) -> None:
        shape = self.parameters["shape"]
        if shape.ndim != 1 or not 1 <= shape.size <= 4 or not np.issubdtype(shape.dtype, np.integer):
            raise UsageError(f"{name}: shape must be one to four whole numbers")
        if shape.min() < 1 or float(np.prod(shape.astype(float))) > 1e8:
            raise UsageError(f"{name}: shape {shape.tolist()} is none that can be")

    def _as_map(self, name: str) -> Map | None:
        try:
            return self.map
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from None

    @property
    def shape(self) -> Shape | None:
        """Of a neuron, input or output; None: depends on what enters."""
        if self.kind in NEURONS:
            return next(iter(self.parameters.values())).shape
        if self.kind in ENDS:
            return tuple(int(n) for n in self.parameters["shape"])
        return None

    @cached_property
    def map(self) -> Map | None:
        """A linear node as a map, without bias; None: what passes it stays as it is, or is flattened."""
        p = self.parameters

        def pair(key: str) -> tuple[int, int]:
            value = p[key]
            if (value != np.round(value)).any() or value.size not in (1, 2):
                raise UsageError(f"{key} must be one or two whole numbers, got {value.tolist()}")
            one, other = np.broadcast_to(value.astype(np.int64), 2)
            return int(one), int(other)

        match self.kind:
            case "Linear" | "Affine":
                if self.kind == "Affine" and p["bias"].shape != p["weight"].shape[:1]:
                    raise UsageError(f"bias {p['bias'].shape} does not fit weight {p['weight'].shape}")
                return Dense(p["weight"].astype(np.float64))
            case "Conv2d":
                if p["bias"].shape != p["weight"].shape[:1]:
                    raise UsageError(f"bias {p['bias'].shape} does not fit weight {p['weight'].shape}")
                weight = p["weight"].astype(np.float64)
                return Conv(weight, pair("stride"), pair("padding"), pair("dilation"), int(p["groups"]))
            case "AvgPool2d":
                return AveragePool(pair("kernel_size"), pair("stride"), pair("padding"))
            case "SumPool2d":
                return AveragePool(pair("kernel_size"), pair("stride"), pair("padding"))
            case "Scale":
                if p["scale"].ndim > 1 and any(n > 1 for n in p["scale"].shape[1:]):
                    raise UsageError("scale must be one number, or one for each channel")
                return Gain(np.atleast_1d(p["scale"].astype(np.float64)).reshape(-1))
        return None

    @property
    def sum_factor(self) -> float:
        """What a sum pool has more than an average."""
        if self.kind != "SumPool2d":
            return 1.0
        return float(np.prod(np.broadcast_to(self.parameters["kernel_size"], 2)))

    def above(self, shape: Shape) -> Shape:
        """The shape of what leaves for what enters; `UsageError` if that does not fit."""
        own = self.shape
        if own is not None:
            if own != shape:
                raise UsageError(f"has the shape {own}, what enters {shape}")
            return own
        if self.kind == "Flatten":
            start, end = (int(self.parameters[key]) % max(len(shape), 1) for key in ("start_dim", "end_dim"))
            if start > end:
                raise UsageError(f"start_dim {start} is behind end_dim {end}")
            return (*shape[:start], int(np.prod(shape[start : end + 1])), *shape[end + 1 :])
        if self.kind == "Delay":
            delay = self.parameters["delay"].shape
            if delay not in ((), (1,), shape):
                raise UsageError(f"delay has the shape {delay}, what enters {shape}")
            return shape
        made = self.map
        if isinstance(made, Dense) and len(shape) != 1:
            raise UsageError(f"takes (N,), got {shape}; a Flatten node is missing")
        return shape if made is None else made.above(shape)


Edge: TypeAlias = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes by name, and edges between them.

    Raises:
        UsageError: no or several inputs or outputs, an edge to nowhere, a cycle without a neuron or a delay, shapes
            that do not fit, a node that cannot be: one line that names it.
    """

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.nodes or len(self.nodes) > MOST_NODES or len(self.edges) > MOST_EDGES:
            raise UsageError(f"a graph of {len(self.nodes)} nodes and {len(self.edges)} edges cannot be represented")
        for name, node in self.nodes.items():
            node.check(name)
        for kind in ENDS:
            names = [name for name, node in self.nodes.items() if node.kind == kind]
            if len(names) != 1:
                raise UsageError(f"a graph needs one {kind} node, this has {len(names)}")
        seen: set[Edge] = set()
        for edge in self.edges:
            for end in edge:
                if end not in self.nodes:
                    raise UsageError(f"edge {edge[0]} -> {edge[1]}: there is no node {end}")
            if edge in seen:
                raise UsageError(f"edge {edge[0]} -> {edge[1]}: is there twice")
            seen.add(edge)
        self.shapes  # noqa: B018  # checks that all fits together

    @property
    def input(self) -> str:
        """The name of the input."""
        return next(name for name, node in self.nodes.items() if node.kind == "Input")

    @property
    def output(self) -> str:
        """The name of the output."""
        return next(name for name, node in self.nodes.items() if node.kind == "Output")

    def into(self, name: str) -> list[str]:
        """Which nodes lead to a node, in the order of the edges."""
        return [source for source, target in self.edges if target == name]

    @cached_property
    def late(self) -> frozenset[Edge]:
        """The edges around which spikes take a step longer: those that leave a neuron or a delay within a cycle."""
        component = _components(self.nodes, self.edges)
        return frozenset(
            (a, b)
            for a, b in self.edges
            if component[a] == component[b] and (self.nodes[a].kind in NEURONS or self.nodes[a].kind == "Delay")
        )

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The nodes in the order in which they are updated in a step."""
        waiting = {name: sum((a, name) not in self.late for a in self.into(name)) for name in self.nodes}
        ready = [name for name, number in waiting.items() if not number]
        found: list[str] = []
        targets: dict[str, list[str]] = {name: [] for name in self.nodes}
        for a, b in self.edges:
            if (a, b) not in self.late:
                targets[a].append(b)
        while ready:
            name = ready.pop(0)
            found.append(name)
            for target in targets[name]:
                waiting[target] -= 1
                if not waiting[target]:
                    ready.append(target)
        if len(found) < len(self.nodes):
            stuck = next(name for name in self.nodes if name not in found)
            raise UsageError(f"{stuck}: lies on a cycle without a neuron or a delay, or behind one")
        return tuple(found)

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """What leaves each node, by its name."""
        found = {name: node.shape for name, node in self.nodes.items() if node.shape is not None}
        for name in self.order:
            node, sources = self.nodes[name], self.into(name)
            if node.kind == "Input":
                if sources:
                    raise UsageError(f"{name}: an input has nothing that leads to it")
                continue
            if not sources:
                raise UsageError(f"{name}: nothing leads to it")
            known = {found[source] for source in sources if source in found}
            if len(known) != 1:
                raise UsageError(f"{name}: what enters has different shapes, {' and '.join(map(str, sorted(known)))}")
            try:
                found[name] = node.above(known.pop())
            except UsageError as error:
                raise UsageError(f"{name}: {error}") from None
        for a, b in self.late:
            try:
                self.nodes[b].above(found[a])
            except UsageError as error:
                raise UsageError(f"{b}: {error}") from None
        return found


def _components(nodes: Mapping[str, Node], edges: tuple[Edge, ...]) -> dict[str, int]:
    """The strongly connected component of every node."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    index = {name: k for k, name in enumerate(nodes)}
    rows, columns = [index[a] for a, _ in edges], [index[b] for _, b in edges]
    matrix = csr_matrix((np.ones(len(edges)), (rows, columns)), (len(nodes), len(nodes)))
    _, labels = connected_components(matrix, directed=True, connection="strong")
    return {name: int(labels[k]) for name, k in index.items()}

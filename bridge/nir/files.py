"""NIR files, read without trusting them and written by NIR's own library."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nir
import numpy as np

from bridge.nir.graph import ENDS, KINDS, LINEAR, NEURONS, Graph, Node
from foundation.errors import RatespikeError, UsageError
from foundation.files import write_bytes
from foundation.hdf5 import Source, opened

MOST_DEPTH = 6  # of metadata in metadata


def read_nir(path: Path) -> Graph:
    """Read a NIR file; nothing in it is executed, and nothing is followed out of it.

    Raises:
        RatespikeError: no such file, damaged, or a graph that cannot be represented: one line that names the node.
    """
    with opened(path, "NIR") as source:
        kind = source.text("/node/type")
        if kind != "NIRGraph":
            raise source.error("/node/type", f"should be NIRGraph, is {kind[:40]}")
        nodes = {name: _node(source, f"/node/nodes/{name}") for name in source.names("/node/nodes")}
        edges = source.texts("/node/edges", 2)
        if edges.shape[1] != 2:
            raise source.error("/node/edges", f"should have two columns, has {edges.shape[1]}")
        metadata = _metadata(source, "/node")
        try:
            return Graph(nodes, tuple((str(a), str(b)) for a, b in edges), metadata)
        except UsageError as error:
            raise RatespikeError(f"{path}: {error}") from None


def _node(source: Source, where: str) -> Node:
    kind = source.text(f"{where}/type")
    if kind not in KINDS:
        raise source.error(where, f"a {kind[:40]} node cannot be represented here; known are {', '.join(KINDS)}")
    names = NEURONS.get(kind) or tuple(LINEAR.get(kind, {})) or (("shape",) if kind in ENDS else ("delay",))
    found: dict[str, np.ndarray] = {}
    for name in names:
        if name == "v_reset" and not source.has(f"{where}/{name}"):  # files before NIR 1.0.6 have none: it is 0
            found[name] = np.zeros_like(found["v_threshold"])
            continue
        if name == "w_in" and not source.shape(f"{where}/{name}"):
            found[name] = np.broadcast_to(
                source.array(f"{where}/{name}", 0), found["v_threshold" if "v_threshold" in found else "r"].shape
            ).copy()
            continue
        found[name] = source.array(f"{where}/{name}", None)
    return Node(kind, found, _metadata(source, where))


def _metadata(source: Source, where: str, depth: int = 0) -> dict[str, Any]:
    path = f"{where}/metadata" if not depth else where
    if not source.has(path):
        return {}
    if depth > MOST_DEPTH:
        raise source.error(path, "metadata is nested too deeply")
    found: dict[str, Any] = {}
    for name in source.names(path):
        inside = f"{path}/{name}"
        if source.is_group(inside):
            found[name] = _metadata(source, inside, depth + 1)
            continue
        try:
            value = source.array(inside, None)
            found[name] = value if value.ndim else value.item()
        except RatespikeError:
            found[name] = source.text(inside)
    return found


def write_nir(path: Path, graph: Graph) -> None:
    """Write a NIR file, whole or not at all; read back by `nir.read` and by `read_nir`."""
    nodes = {name: _written(name, node, graph) for name, node in graph.nodes.items()}
    made = nir.NIRGraph(nodes=nodes, edges=list(graph.edges), metadata=_plain(graph.metadata), type_check=False)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "graph.nir"
        nir.write(whole, made)
        write_bytes(path, whole.read_bytes())


def _written(name: str, node: Node, graph: Graph) -> Any:
    p: dict[str, Any] = dict(node.parameters)
    metadata = _plain(node.metadata)
    below = graph.into(name)
    if node.kind == "Input":
        return nir.Input(input_type={"input": p["shape"]}, metadata=metadata)
    if node.kind == "Output":
        return nir.Output(output_type={"output": p["shape"]}, metadata=metadata)
    if node.kind == "Flatten":
        shape = np.array(graph.shapes[below[0]])
        start, end = int(p["start_dim"]), int(p["end_dim"])
        return nir.Flatten(input_type={"input": shape}, start_dim=start, end_dim=end, metadata=metadata)
    if node.kind == "Conv2d":
        size = graph.shapes[below[0]][1:]
        numbers = {key: tuple(int(v) for v in np.broadcast_to(p[key], 2)) for key in ("stride", "padding", "dilation")}
        return nir.Conv2d(
            input_shape=(size[0], size[1]),
            weight=p["weight"],
            bias=p["bias"],
            groups=int(p["groups"]),
            **numbers,
            metadata=metadata,
        )
    if node.kind in ("AvgPool2d", "Delay"):  # nir 1.0.8 reads no metadata of these
        return getattr(nir, node.kind)(**p)
    return getattr(nir, node.kind)(**p, metadata=metadata)


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as NIR's library can write it: a 0-d array would make it crash."""
    found: dict[str, Any] = {}
    for key, value in metadata.items():
        if isinstance(value, Mapping):
            found[key] = _plain(value)
        elif isinstance(value, bool) or value is None:
            found[key] = str(value)
        elif isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim):
            found[key] = value.item()
        else:
            found[key] = value
    return found

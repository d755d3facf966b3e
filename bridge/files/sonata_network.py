"""SONATA networks: the sizes of populations and the synapses between them, in HDF5.

Layout (SONATA developer guide 0.1, "Representing Edges"): /edges/<population>/ has a row per synapse in source_node_id,
target_node_id, edge_type_id, edge_group_id and edge_group_index, of which the last two say where its attributes stand:
/edges/<population>/<group>/syn_weight and delay (ms; s here). Ids count from 0.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from bridge.files.edges import Edges, Floats
from bridge.files.sonata_file import check_population_names, check_version, check_word, new_file, populations_of, put
from foundation.errors import RatespikeError, UsageError
from foundation.files import check_file, write_bytes, write_text
from foundation.hdf5 import Source, opened
from foundation.text import one_line

MODELS = ("virtual", "point_neuron", "single_compartment", "biophysical")
MOST_INDEXED = 100_000_000  # neurons of a population that is written; the index holds two numbers for each
MOST_GROUPS = 1000  # of an edge population
MOST_CSV = 10_000_000  # bytes


@dataclass(frozen=True, eq=False)
class EdgePopulation:
    """Synapses, and the names of the populations between which they run."""

    edges: Edges
    source: str
    target: str


# --- populations ------------------------------------------------------------------------------------------------------
def write_nodes(path: Path, sizes: Mapping[str, int]) -> None:
    """Write populations of that many neurons, all of node type 0; `write_node_types` writes what type that is."""
    check_population_names(sizes)
    buffer = BytesIO()
    with new_file(buffer) as file:
        for name, size in sizes.items():
            if not 0 <= size <= MOST_INDEXED:
                raise UsageError(f"{name}: must have 0 to {MOST_INDEXED} neurons, got {size}")
            group = file.create_group(f"nodes/{name}")
            group.create_group("0")
            put(group, "node_id", np.arange(size, dtype=np.uint64))
            put(group, "node_type_id", np.zeros(size, np.int64))
            put(group, "node_group_id", np.zeros(size, np.uint64))
            put(group, "node_group_index", np.arange(size, dtype=np.uint64))
    write_bytes(path, buffer.getbuffer())


def read_nodes(path: Path) -> dict[str, int]:
    """The sizes of the populations of a file.

    Raises:
        RatespikeError: no such file, damaged, or ids other than 0, 1, ...; the message names the dataset.
    """
    with opened(path, "SONATA nodes") as source:
        check_version(source)
        sizes = {}
        for name in populations_of(source, "/nodes"):
            where = f"/nodes/{name}"
            ids = source.array(f"{where}/node_type_id", kinds="iu")
            if source.has(f"{where}/node_id"):
                listed = source.array(f"{where}/node_id", kinds="iu")
                if listed.size != ids.size or (listed != np.arange(ids.size)).any():
                    raise source.error(f"{where}/node_id", f"should be 0 to {ids.size - 1} in order")
            sizes[name] = int(ids.size)
        return sizes


def write_node_types(path: Path, models: Mapping[str, tuple[str, str]]) -> None:
    """Write the CSV that goes with a nodes file: per population the model type and the template of type 0.

    Args:
        path: of the file.
        models: by population; ("virtual", "NULL") for a source of spikes, ("point_neuron", "nest:iaf_psc_exp"), say.

    Raises:
        UsageError: a model type that the guide does not know, or a name that cannot be one.
    """
    check_population_names(models)
    for name, (model, template) in models.items():
        if model not in MODELS:
            raise UsageError(f"{name}: the model type must be one of {', '.join(MODELS)}, got {model!r}")
        check_word(template)
    rows = [f"0 {name} {model} {template}" for name, (model, template) in models.items()]
    write_text(path, "\n".join(["node_type_id population model_type model_template", *rows, ""]))


# --- synapses ---------------------------------------------------------------------------------------------------------
def write_edges(path: Path, populations: Mapping[str, EdgePopulation], *, indices: bool = True) -> None:
    """Write synapses, in their order, all of edge type 0; delays in ms, to the last bit or the one before it.

    Args:
        path: of the file.
        populations: by name; "exc_to_inh", say.
        indices: write the index by neuron, without which libsonata finds no neuron's synapses, and which says how many
            neurons there are.
    """
    check_population_names(populations)
    buffer = BytesIO()
    with new_file(buffer) as file:
        for name, population in populations.items():
            check_population_names((population.source, population.target))
            _write_population(file.create_group(f"edges/{name}"), population, indices)
    write_bytes(path, buffer.getbuffer())


def _write_population(group: h5py.Group, population: EdgePopulation, indices: bool) -> None:
    edges = population.edges
    for side, ids, count, name in (
        ("source", edges.pre, edges.n_pre, population.source),
        ("target", edges.post, edges.n_post, population.target),
    ):
        put(group, f"{side}_node_id", ids.astype(np.uint64)).attrs["node_population"] = np.bytes_(name)
        if indices:
            if count > MOST_INDEXED:
                raise UsageError(f"{name}: an index takes {MOST_INDEXED} neurons at most, got {count}")
            index = group.create_group(f"indices/{side}_to_{'target' if side == 'source' else 'source'}")
            for key, array in zip(("node_id_to_ranges", "range_to_edge_id"), _index(ids, count), strict=True):
                put(index, key, array)
    put(group, "edge_type_id", np.zeros(len(edges), np.int64))
    put(group, "edge_group_id", np.zeros(len(edges), np.uint64))
    put(group, "edge_group_index", np.arange(len(edges), dtype=np.uint64))
    put(group, "0/syn_weight", edges.weight)
    if edges.delay is not None:
        put(group, "0/delay", edges.delay * 1e3)


def _index(ids: NDArray[np.int64], count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Per neuron its ranges (count, 2), first and one past the last; and ranges of synapses (R, 2), likewise.

    A range of synapses is a run of consecutive ones of the same neuron.
    """
    first = np.flatnonzero(np.diff(ids, prepend=-1))
    ranges = np.stack([first, np.append(first[1:], ids.size)[: first.size]], 1)
    neuron = ids[first]
    stop = np.cumsum(np.bincount(neuron, minlength=count)[:count], dtype=np.int64)
    start = np.append(0, stop)[:-1]
    order = np.argsort(neuron, kind="stable")
    return np.stack([start, stop], 1).astype(np.uint64), ranges[order].astype(np.uint64)


def write_edge_types(path: Path, populations: Sequence[str]) -> None:
    """Write the CSV that goes with an edges file; type 0 of each population says nothing that the file does not."""
    check_population_names(populations)
    write_text(path, "\n".join(["edge_type_id population", *(f"0 {name}" for name in populations), ""]))


def read_edges(
    path: Path, *, sizes: Mapping[str, int] | None = None, edge_types: Path | None = None
) -> dict[str, EdgePopulation]:
    """Read the synapses of all edge populations of a file: ids, weights, delays; other attributes are left.

    Args:
        path: of the file.
        sizes: of the node populations, as `read_nodes` gives them. Of those not named, the length of the index, else
            the highest id plus one.
        edge_types: the CSV of edge types, with the weights and delays that the file itself has not.

    Raises:
        RatespikeError: no such file, damaged, or not such synapses; the message names the dataset.
    """
    types = {} if edge_types is None else _read_types(edge_types)
    with opened(path, "SONATA edges") as source:
        check_version(source)
        return {name: _population_edges(source, name, sizes or {}, types) for name in populations_of(source, "/edges")}


Types = dict[tuple[str, int], dict[str, float]]  # weight and delay by population ("" for all) and edge type


def _population_edges(source: Source, name: str, sizes: Mapping[str, int], types: Types) -> EdgePopulation:
    where = f"/edges/{name}"
    ids, counts, ends = [], [], []
    for side, index in (("source", "source_to_target"), ("target", "target_to_source")):
        ids.append(source.array(f"{where}/{side}_node_id", kinds="iu"))
        ends.append(source.attribute(f"{where}/{side}_node_id", "node_population"))
        if not isinstance(ends[-1], str):
            raise source.error(f"{where}/{side}_node_id", "has no attribute node_population that names one")
        counts.append(sizes.get(ends[-1], _count(source, f"{where}/indices/{index}/node_id_to_ranges", ids[-1])))
    parts = _parts(source, where, ids[0].size)
    for part in parts:
        source.group(part.group)
        _check_single(source, part)
    weight = _column(source, name, "syn_weight", parts, ids[0].size, types)
    delay = _column(source, name, "delay", parts, ids[0].size, types)
    if weight is None and ids[0].size:
        raise source.error(where, "has no syn_weight, neither in its groups nor by edge type")
    weight = np.empty(0) if weight is None else weight
    try:
        edges = Edges(ids[0], ids[1], weight, counts[0], counts[1], None if delay is None else delay / 1e3)
    except UsageError as error:
        raise source.error(where, str(error)) from None
    return EdgePopulation(edges, *ends)


def _count(source: Source, index: str, ids: NDArray[np.integer]) -> int:
    """Of neurons: the length of the index, else what the ids need."""
    if not source.has(index):
        return int(ids.max()) + 1 if ids.size else 0
    shape = source.shape(index)
    if len(shape) != 2 or shape[1] != 2:
        raise source.error(index, f"should have shape (neurons, 2), has {shape}")
    return shape[0]


@dataclass(frozen=True, eq=False)
class _Part:
    """Synapses of one edge group: which `rows` of the population, where in the group, and of which types."""

    group: str
    rows: NDArray[np.int64]
    place: NDArray[np.integer]
    type_id: NDArray[np.integer]


def _parts(source: Source, where: str, size: int) -> list[_Part]:
    columns = {}
    for name in ("edge_group_id", "edge_group_index", "edge_type_id"):
        if name != "edge_type_id" and not source.has(f"{where}/edge_group_id"):
            columns[name] = np.zeros(size, np.int64) if name == "edge_group_id" else np.arange(size)  # one group alone
            continue
        columns[name] = source.array(f"{where}/{name}", kinds="iu")
        if columns[name].size != size:
            raise source.error(f"{where}/{name}", f"should have {size} entries, has {columns[name].size}")
    group, place, type_id = columns.values()
    order = np.argsort(group, kind="stable")
    rows = np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if size else []
    if len(rows) > MOST_GROUPS:
        raise source.error(f"{where}/edge_group_id", f"names {len(rows):,} groups, should be {MOST_GROUPS:,} at most")
    parts = [_Part(f"{where}/{group[r[0]]}", r, place[r], type_id[r]) for r in rows]
    if not size and source.has(f"{where}/0"):
        return [_Part(f"{where}/0", order, place, type_id)]
    return parts


def _column(source: Source, name: str, key: str, parts: Sequence[_Part], size: int, types: Types) -> Floats | None:
    """An attribute of all synapses, (E,); None where no group and no type has it.

    Raises:
        RatespikeError: some have it and some have not, or a place in a group that is shorter.
    """
    values = np.empty(size)
    without = []
    for part in parts:
        if source.has(f"{part.group}/{key}"):
            values[part.rows] = _placed(source, f"{part.group}/{key}", part)
            continue
        unique, inverse = np.unique(part.type_id, return_inverse=True)
        numbers = [{**types.get(("", int(t)), {}), **types.get((name, int(t)), {})}.get(key) for t in unique]
        if None in numbers or not numbers:
            without.append(part.group)
        else:
            values[part.rows] = np.array(numbers, np.float64)[inverse]
    if without and len(without) < len(parts):
        raise source.error(without[0], f"has no {key}, which other edges have")
    return None if without or not parts else values


def _placed(source: Source, where: str, part: _Part) -> NDArray[np.generic]:
    column = source.array(where)
    if part.place.size and not (part.place.min() >= 0 and part.place.max() < column.size):
        raise source.error(where, f"has {column.size} entries; edge_group_index should lie within them")
    return np.asarray(column[part.place])


def _check_single(source: Source, part: _Part) -> None:
    """BMTK bundles synapses of a pair in one edge and counts them; here, an edge is one synapse."""
    where = f"{part.group}/nsyns"
    if source.has(where) and (_placed(source, where, part) != 1).any():
        raise source.error(where, "counts several synapses for an edge; should be 1 for all")


def _read_types(path: Path) -> Types:
    """The weights and delays of a CSV of edge types; a column `population` is optional."""
    check_file(path)
    if path.stat().st_size > MOST_CSV:
        raise RatespikeError(f"{path}: {path.stat().st_size:,} bytes, a CSV of types should have {MOST_CSV:,} at most")
    types: Types = {}
    try:
        table = StringIO(path.read_text(encoding="utf-8"))
        rows = csv.DictReader(table, delimiter=" ", skipinitialspace=True, strict=True)
        if "edge_type_id" not in (rows.fieldnames or ()):
            raise ValueError("no such column")
        for row in rows:
            given = {key: float(row[key]) for key in ("syn_weight", "delay") if row.get(key) not in (None, "", "NULL")}
            types[row.get("population") or "", int(row["edge_type_id"])] = given
    except (OSError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise RatespikeError(f"{path}: not a CSV of edge types, with edge_type_id ({one_line(error)})") from None
    return types

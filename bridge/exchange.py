"""Networks, weights and spikes to and from the formats of others: what `ratespike bridge export` and `import` do.

What there is to move is one of three things: a converted network (`spiking.network_file`), weights, or spikes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path

import numpy as np

from bridge.files import auryn, sonata, sonata_network
from bridge.files.edges import Edges
from bridge.files.events import times_of
from bridge.files.folders import export_folder
from bridge.files.script import script_files, write_script
from bridge.files.weights import read_weights, write_weights
from foundation.errors import UsageError
from foundation.hdf5_kinds import has_node
from spiking import network_file
from spiking.brian.integrate_and_fire import check_size, gate_places
from spiking.integrate_and_fire import INPUT, IFLayer, IFNetwork, MaxPool
from spiking.network_file import NetworkFile
from spiking.run_file import read_configs, read_networks
from spiking.stimuli import SpikeEvents
from spiking.synapses import Array, Conv, Dense, Gain, Map, Synapses, explicit

MOST_WORD = 100  # letters


def files_of(form: str, out: Path) -> tuple[Path, ...]:
    """The files that an export in a format writes beside others in a folder; none for a folder of its own.

    Raises:
        UsageError: `out` has a suffix that the format has not.
    """
    if form in ("sonata", "auryn"):
        return ()
    return script_files(out) if form == "brian2" else (out,)


# --- converted networks -----------------------------------------------------------------------------------------------
def export_network(file: NetworkFile, form: str, out: Path, *, images: Array, steps: int = 32) -> None:
    """Write a converted network.

    npz: weights and biases by layer, one file (.npz or .h5). sonata: nodes and edges with their types, a folder.
    auryn: one .wmat for each projection, a folder. brian2: a script (.py) with its data in a .data.h5 file beside it.

    Args:
        file: the network.
        form: the format.
        out: file or folder.
        images: some for a script to show, (B, *input_shape).
        steps: of each of them.

    Raises:
        UsageError: the format cannot hold the network, or `out` is not free or has another suffix.
    """
    network = file.network
    match form:
        case "npz":
            _check_plain(network)
            write_weights(out, layer_weights(network), {f"{name}/weight": "threshold" for name in _names(network)})
        case "sonata":
            _sonata(_projections(network), _sizes(network), out)
        case "auryn":
            _wmats(_projections(network), out)
        case "brian2":
            origin = file.origin.get("data", "")
            title = f"A network{f' for {origin}' if origin else ''} of {len(network.neurons)} spiking layers"
            write_script(out, network, images, steps=steps, title=title)
        case _:
            raise UsageError(f"format: a converted network goes to npz, sonata, auryn, brian2 or nir, not to {form}")


def layer_weights(network: IFNetwork) -> dict[str, Array]:
    """Weights and biases by "LAYER/weight" and "LAYER/bias"; several projections are "LAYER/1/weight", ..."""
    found: dict[str, Array] = {}
    for layer in (*network.neurons, network.readout):
        for number, projection in enumerate(layer.projections):
            for each in projection.maps:
                if isinstance(each, Gain):
                    found[f"{_inside(layer, number)}/gain"] = each.factor
                elif isinstance(each, Dense | Conv):
                    found[f"{_inside(layer, number)}/weight"] = each.weight
        found[f"{layer.name}/bias"] = layer.bias
    return found


def _inside(layer: IFLayer, number: int) -> str:
    """The name of a projection of a layer: the layer's own, if it has one alone."""
    return f"{layer.name}/{number}" if len(layer.projections) > 1 else layer.name


def with_weights(file: NetworkFile, weights: Mapping[str, Array]) -> NetworkFile:
    """The network with other weights and biases, those that are given, by the names of `layer_weights`.

    Raises:
        UsageError: a name or a shape that the network has not.
    """
    known = layer_weights(file.network)
    for name, values in weights.items():
        if name not in known:
            raise UsageError(f"{name}: the network has no such weights; it has {', '.join(known)}")
        if values.shape != known[name].shape:
            raise UsageError(f"{name}: has the shape {known[name].shape}, got {values.shape}")

    def mapped(each: Map, inside: str) -> Map:
        if isinstance(each, Dense | Conv):
            return replace(each, weight=np.asarray(weights.get(f"{inside}/weight", each.weight), dtype=np.float64))
        if isinstance(each, Gain):
            return Gain(np.asarray(weights.get(f"{inside}/gain", each.factor), dtype=np.float64))
        return each

    def changed(layer: IFLayer) -> IFLayer:
        projections = tuple(
            replace(projection, maps=tuple(mapped(each, _inside(layer, number)) for each in projection.maps))
            for number, projection in enumerate(layer.projections)
        )
        bias = weights.get(f"{layer.name}/bias", layer.bias)
        return replace(layer, projections=projections, bias=np.asarray(bias, dtype=np.float64))

    layers = tuple(changed(layer) if isinstance(layer, IFLayer) else layer for layer in file.network.layers)
    return replace(file, network=replace(file.network, layers=layers, readout=changed(file.network.readout)))


def _check_plain(network: IFNetwork) -> None:
    names = _names(network)
    if len(set(names)) < len(names):
        raise UsageError("npz: two layers have one name")


def _names(network: IFNetwork) -> list[str]:
    return [layer.name for layer in (*network.neurons, network.readout)]


def word(name: str) -> str:
    """A layer's name as a word: "layer 1, max-pool" is layer_1_max_pool."""
    return re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")[:MOST_WORD] or "layer"


def _populations(network: IFNetwork) -> dict[int, str]:
    """A word for the input and for every layer, each another: names of files, and of populations."""
    found = {INPUT: "input"}
    for number, layer in enumerate((*network.layers, network.readout)):
        found[number] = _free(word(layer.name), found.values())
    return found


def _free(name: str, taken: Collection[str]) -> str:
    """The name, with a number if it is taken."""
    names = chain([name], (f"{name}_{number}" for number in count(2)))
    return next(each for each in names if each not in taken)


def _sizes(network: IFNetwork) -> dict[str, int]:
    return {name: int(np.prod(network.shape_of(number))) for number, name in _populations(network).items()}


def _projections(network: IFNetwork) -> dict[str, tuple[str, str, Edges]]:
    """Every projection by its name, synapse by synapse: source, target, synapses in units of the threshold."""
    check_size(network)
    found: dict[str, tuple[str, str, Edges]] = {}
    names = _populations(network)
    for number, layer in enumerate((*network.layers, network.readout)):
        target, size = names[number], int(np.prod(network.shapes[number]))
        for place, source in enumerate(network.sources(number)):
            shape = network.shape_of(source)
            if isinstance(layer, MaxPool):
                parts = gate_places(layer, shape)
                synapses = Synapses(*(np.concatenate(values) for values in zip(*parts, strict=True)))
                synapses = synapses._replace(weight=np.ones(len(synapses.pre)))
            else:
                synapses = explicit(layer.projections[place].maps, shape)
            below = names[source]
            edges = Edges(synapses.pre, synapses.post, synapses.weight, int(np.prod(shape)), size)
            found[_free(f"{below}_to_{target}", found.keys())] = below, target, edges
    return found


def _sonata(projections: Mapping[str, tuple[str, str, Edges]], sizes: Mapping[str, int], out: Path) -> None:
    models = {name: ("virtual", "NULL") if name == "input" else ("point_neuron", "NULL") for name in sizes}
    populations = {
        name: sonata_network.EdgePopulation(edges, source, target)
        for name, (source, target, edges) in projections.items()
    }
    with export_folder(
        out, "SONATA nodes and edges, written by ratespike. syn_weight is in units of the threshold."
    ) as folder:
        sonata_network.write_nodes(folder / "nodes.h5", sizes)
        sonata_network.write_node_types(folder / "node_types.csv", models)
        sonata_network.write_edges(folder / "edges.h5", populations)
        sonata_network.write_edge_types(folder / "edge_types.csv", list(populations))


def _wmats(projections: Mapping[str, tuple[str, str, Edges]], out: Path) -> None:
    with export_folder(out, "Auryn weight matrices, one for each projection, written by ratespike.") as folder:
        for name, (_, _, edges) in projections.items():
            auryn.write_wmat(folder / f"{name}.wmat", edges)


# --- runs of the spiking network --------------------------------------------------------------------------------------
def export_run(path: Path, form: str, out: Path) -> None:
    """Write spikes and final weights of a file of `ratespike spike network`, as SONATA or Auryn files, in a folder.

    Several networks in a file are network_0, network_1, ...: part of the names.

    Raises:
        UsageError: another format, or `out` is not free.
        RatespikeError: the file is damaged.
    """
    if form not in ("sonata", "auryn"):
        raise UsageError(f"format: spikes go to sonata or auryn, not to {form}")
    records, configs = read_networks(path), read_configs(path)
    spikes: dict[str, SpikeEvents] = {}
    weights: dict[str, tuple[str, str, Edges]] = {}
    for number, (record, config) in enumerate(zip(records, configs, strict=True)):
        suffix = f"_{number}" if len(records) > 1 else ""
        steps = round(record.end / config.dt) + 1
        for name in ("exc", "inh", "inputs"):
            group = getattr(record, name)
            if group.size:
                step = np.rint(group.time / config.dt).astype(np.int64)
                order = np.lexsort((group.unit, step))
                spikes[name + suffix] = SpikeEvents(group.unit[order], step[order], group.size, config.dt, steps)
        edges = Edges(record.pre, record.post, record.weights[-1], record.inputs.size, record.exc.size)
        weights[f"inputs_to_exc{suffix}"] = f"inputs{suffix}", f"exc{suffix}", edges
    if form == "auryn":
        with export_folder(
            out, "Auryn spikes and weights, written by ratespike. Weights: units of the leak's."
        ) as folder:
            for name, events in spikes.items():
                auryn.write_ras(folder / f"{name}.ras", events)
            for name, (_, _, edges) in weights.items():
                auryn.write_wmat(folder / f"{name}.wmat", edges)
        return
    populations = {
        name: sonata_network.EdgePopulation(e, source, target) for name, (source, target, e) in weights.items()
    }
    with export_folder(
        out, "SONATA spikes and edges, written by ratespike. syn_weight: units of the leak's."
    ) as folder:
        sonata.write_spikes(folder / "spikes.h5", spikes)
        sonata_network.write_nodes(folder / "nodes.h5", {name: events.lines for name, events in spikes.items()})
        sonata_network.write_edges(folder / "edges.h5", populations)
        sonata_network.write_edge_types(folder / "edge_types.csv", list(populations))


# --- from others ------------------------------------------------------------------------------------------------------
def import_auryn(path: Path, out: Path, *, dt: float | None, round_times: bool = False) -> str:
    """A .wmat file becomes weights (.npz, .h5), a .ras file SONATA spikes (.h5), any other a rate for `--rates` (.npz).

    Returns what was there, in words.

    Raises:
        UsageError: spikes without `dt` (s), or off its grid if they are not to be rounded.
        RatespikeError: the file is damaged.
    """
    notes: list[str] = []
    if path.suffix == ".wmat":
        edges = auryn.read_wmat(path, notes=notes)
        _write_edges(out, {path.stem: edges})
        return _noted(f"{len(edges):,} synapses, {edges.n_pre} to {edges.n_post}", notes)
    if path.suffix == ".ras":
        events = auryn.read_ras(path, dt=_needed(dt), round_times=round_times)
        sonata.write_spikes(out, {word(path.stem): events})
        return f"{_spikes(events, round_times)} in {events.duration:g} s"
    trace = auryn.read_rate_trace(path)
    write_weights(out, {"rates": trace.values[None], "interval": np.array(trace.interval)})
    return f"a rate of {len(trace.values)} samples, {trace.interval:g} s apart"


def import_rates(paths: Sequence[Path], out: Path) -> str:
    """Auryn's files of rates, one for each population, become the rates of one network for `--rates` (.npz).

    Returns what was there, in words. Raises `RatespikeError`: a file is damaged, or none of rates.
    """
    if other := [path for path in paths if path.suffix in (".wmat", ".ras")]:
        raise UsageError(f"{other[0]}: only files of rates are read several at a time")
    notes: list[str] = []
    rates, interval = auryn.read_rate_traces(paths, notes=notes)
    write_weights(out, {"rates": rates, "interval": np.array(interval)})
    return _noted(f"{len(rates)} rates of {rates.shape[1]:,} samples, {interval:g} s apart", notes)


def import_sonata(
    path: Path, out: Path, *, dt: float | None, round_times: bool = False, edge_types: Path | None = None
) -> str:
    """Edges become weights (.npz, .h5); spikes become Auryn's .ras, if there is one population of them.

    Args:
        path: of the file.
        out: where to.
        dt: s, of spikes.
        round_times: take spikes off the grid of dt to the nearest step.
        edge_types: CSV with the weights and delays that the edges themselves have not.

    Returns:
        what was there, in words.

    Raises:
        UsageError: spikes without `dt` (s), or of several populations.
        RatespikeError: the file is damaged, or holds neither.
    """
    if not has_node(path, "/spikes"):
        populations = sonata_network.read_edges(path, edge_types=edge_types)
        edges = {name: population.edges for name, population in populations.items()}
        _write_edges(out, edges)
        return ", ".join(f"{name}: {len(each):,} synapses" for name, each in edges.items())
    found = sonata.read_spikes(path, dt=_needed(dt), round_times=round_times)
    if len(found) != 1:
        raise UsageError(f"{path}: has {len(found)} populations of spikes; Auryn's files hold one")
    (events,) = found.values()
    auryn.write_ras(out, events)
    return f"{_spikes(events, round_times)}, the last at {float(times_of(events)[-1:].sum()):g} s"


def _spikes(events: SpikeEvents, rounded: bool) -> str:
    how = f" (rounded to steps of {events.dt:g} s)" if rounded else ""
    return f"{len(events.step):,} spikes{how} of {events.lines} neurons"


def _noted(text: str, notes: Sequence[str]) -> str:
    return "; ".join([text, *notes])


def _needed(dt: float | None) -> float:
    if dt is None:
        raise UsageError("--dt: say how long a step of the simulation is, in s, to read spikes")
    return dt


def _write_edges(out: Path, edges: Mapping[str, Edges]) -> None:
    arrays: dict[str, Array] = {}
    for name, each in edges.items():
        part = {"pre": each.pre, "post": each.post, "weight": each.weight, "shape": np.array([each.n_post, each.n_pre])}
        arrays |= {f"{name}/{key}": values for key, values in part.items()}
        if each.delay is not None:
            arrays[f"{name}/delay"] = each.delay
    write_weights(out, arrays, {name: "s" for name in arrays if name.endswith("/delay")})


def import_weights(path: Path, network: Path, out: Path) -> str:
    """Weights by layer (.npz, .h5) into a converted network; returns which, in words."""
    file = network_file.load_file(network)
    shapes = {name: values.shape for name, values in layer_weights(file.network).items()}
    weights = {name: np.asarray(values, dtype=np.float64) for name, values in read_weights(path, shapes).items()}
    with_weights(file, weights).save(out)
    return f"{len(weights)} arrays: {', '.join(weights)}"

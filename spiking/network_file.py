"""The file of a converted network: one HDF5 file with everything in it, which no simulator is needed to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import h5py

from foundation.files import write_bytes
from foundation.hdf5 import CHECKED, Source
from foundation.hdf5_kinds import opened_as
from foundation.text import check_name, check_names
from spiking.integrate_and_fire import IFLayer, IFNetwork, Layer, MaxPool, Projection
from spiking.synapses import AdaptiveAveragePool, Array, AveragePool, Conv, Dense, Gain, Map, Pair

FORMAT = 2
KIND = "ratespike integrate-and-fire network"
SCHEDULE = "layers in order; a spike reaches the next layer in the same step; spike if u >= threshold"


@dataclass(frozen=True, eq=False)
class Statistics:
    """What the units of a layer did in the rate network, over the images that the conversion was calibrated on.

    Attributes:
        mean: of the activation, by unit, (*shape), where 1 stands for one spike per step.
        variance: of the same.
    """

    mean: Array
    variance: Array


@dataclass(frozen=True, eq=False)
class NetworkFile:
    """What such a file holds.

    Attributes:
        network: the spiking network.
        origin: what it was made from, in words and settings, by name.
        statistics: of spiking layers, by their numbers; what a layer that goes on learning starts from.
    """

    network: IFNetwork
    origin: Mapping[str, str] = field(default_factory=dict)
    statistics: Mapping[int, Statistics] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write it, whole or not at all. Raises `UsageError` for a layer or a task with a name that cannot be read."""
        check_names("layers", (layer.name for layer in (*self.network.layers, self.network.readout)))
        check_names("tasks", self.network.tasks)
        buffer, network = BytesIO(), self.network
        with h5py.File(buffer, "w") as file:
            file.attrs.update(
                format=FORMAT,
                kind=KIND,
                threshold=1.0,
                reset=network.reset,
                schedule=SCHEDULE,
                initial_potential=network.initial_potential,
                input_coding=network.input_coding,
                input_shape=network.input_shape,
                tasks=list(network.tasks),
            )
            file.create_group("origin").attrs.update(self.origin)
            for number, layer in enumerate((*network.layers, network.readout)):
                group = file.create_group(f"layers/{number}")
                _write_layer(group, layer, spiking=number < len(network.layers))
                if number in self.statistics:
                    _put(group, "mean_activation", self.statistics[number].mean, "spikes / step")
                    _put(group, "variance_of_activation", self.statistics[number].variance, "(spikes / step)^2")
        write_bytes(path, buffer.getvalue())


def save(network: IFNetwork, path: Path) -> None:
    """Write a network that comes from nowhere."""
    NetworkFile(network).save(path)


def load_file(path: Path) -> NetworkFile:
    """Read what `NetworkFile.save` wrote.

    Raises:
        RatespikeError: no such file, or not such a file.
    """
    with opened_as(path, KIND, FORMAT) as source:
        groups = source.numbered("/layers")
        *layers, readout = [_read_layer(source, group) for group in groups]
        if not isinstance(readout, IFLayer):
            raise ValueError("the last layer is no readout")
        tasks = source.listed("/", "tasks")
        check_names("tasks", tasks)
        network = IFNetwork(
            tuple(layers),
            readout,
            source.number("/", "initial_potential", float),
            source.said("/", "input_coding"),
            source.whole_numbers("/", "input_shape"),
            cast(Any, source.said("/", "reset")),
            tasks,
        )
        statistics = {
            number: Statistics(
                _get(source, f"{group}/mean_activation"), _get(source, f"{group}/variance_of_activation")
            )
            for number, group in enumerate(groups)
            if source.has(f"{group}/mean_activation")
        }
        for number, found in statistics.items():
            if {found.mean.shape, found.variance.shape} != {network.shapes[number]}:
                raise ValueError(f"statistics of layer {number} have another shape than the layer")
        origin = {key: source.said("/origin", key) for key in source.attributes("/origin")}
        return NetworkFile(network, origin, statistics)


def load(path: Path) -> IFNetwork:
    """The network in a file, see `load_file`."""
    return load_file(path).network


def _put(group: h5py.Group, name: str, values: Any, units: str) -> None:
    group.create_dataset(name, data=values, **CHECKED)
    group[name].attrs["units"] = units


def _get(source: Source, name: str) -> Array:
    return source.array(name, None).astype(float)


def _write_layer(group: h5py.Group, layer: Layer, *, spiking: bool) -> None:
    group.attrs.update(name=layer.name, kind="max-pool" if isinstance(layer, MaxPool) else "neurons", spiking=spiking)
    if isinstance(layer, MaxPool):
        group.attrs.update(kernel=layer.kernel, stride=layer.stride, padding=layer.padding, gate=layer.gate)
        _write_source(group, layer.source)
        return
    _put(group, "bias", layer.bias, "threshold / step")
    _put(group, "scale", layer.scale, "activation")
    if layer.gates is not None:
        _put(group, "gates", layer.gates, "1")
    for number, projection in enumerate(layer.projections):
        part = group.create_group(f"projections/{number}")
        _write_source(part, projection.source)
        for place, each in enumerate(projection.maps):
            _write_map(part.create_group(f"maps/{place}"), each)


def _write_source(group: h5py.Group, source: int | None) -> None:
    if source is not None:
        group.attrs["source"] = source


def _write_map(group: h5py.Group, each: Map) -> None:
    group.attrs["kind"] = type(each).__name__
    match each:
        case Dense():
            _put(group, "weight", each.weight, "threshold")
        case Conv():
            group.attrs.update(stride=each.stride, padding=each.padding, dilation=each.dilation, groups=each.groups)
            _put(group, "weight", each.weight, "threshold")
        case Gain():
            _put(group, "weight", each.factor, "threshold")
        case AveragePool():
            group.attrs.update(kernel=each.kernel, stride=each.stride, padding=each.padding)
        case AdaptiveAveragePool():
            group.attrs["size"] = each.size


def _pair(source: Source, where: str, key: str) -> Pair:
    one, other = source.whole_numbers(where, key)
    return one, other


def _read_layer(source: Source, where: str) -> Layer:
    name, below = source.said(where, "name"), _read_source(source, where)
    check_name(where, name)
    if source.said(where, "kind") == "max-pool":
        kernel, stride, padding = (_pair(source, where, key) for key in ("kernel", "stride", "padding"))
        return MaxPool(name, kernel, stride, padding, source.said(where, "gate"), below)
    projections = tuple(
        Projection(
            tuple(_read_map(source, each) for each in source.numbered(f"{part}/maps")), _read_source(source, part)
        )
        for part in source.numbered(f"{where}/projections")
    )
    gates = source.array(f"{where}/gates", None, kinds="b").astype(bool) if source.has(f"{where}/gates") else None
    return IFLayer(name, projections, _get(source, f"{where}/bias"), _get(source, f"{where}/scale"), gates)


def _read_source(source: Source, where: str) -> int | None:
    return source.number(where, "source", int) if "source" in source.attributes(where) else None


def _read_map(source: Source, where: str) -> Map:
    match source.said(where, "kind"):
        case "Dense":
            return Dense(_get(source, f"{where}/weight"))
        case "Conv":
            stride, padding, dilation = (_pair(source, where, key) for key in ("stride", "padding", "dilation"))
            return Conv(_get(source, f"{where}/weight"), stride, padding, dilation, source.number(where, "groups", int))
        case "Gain":
            return Gain(_get(source, f"{where}/weight"))
        case "AveragePool":
            return AveragePool(*(_pair(source, where, key) for key in ("kernel", "stride", "padding")))
        case "AdaptiveAveragePool":
            return AdaptiveAveragePool(_pair(source, where, "size"))
    raise source.error(where, "is a map of no kind that is known")

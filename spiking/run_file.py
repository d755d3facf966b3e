"""The run files: networks and pairing curves in HDF5, with everything that made them.

``/networks/<k>`` holds one network: its config (TOML, an attribute), ``wiring``, the ``input`` rates, ``spikes``
(steps of dt since the start, priming included), ``weights`` (snapshots), ``rates`` and the ``state`` at the end.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tomli_w
from numpy.typing import NDArray

from foundation.config import differences_of, dumps, loads, parse
from foundation.errors import RatespikeError, UsageError
from foundation.files import whole_file, write_bytes
from foundation.hdf5 import CHECKED, Source
from foundation.hdf5_kinds import opened_as
from foundation.text import check_name, check_names
from spiking.pairing import PairingProtocol
from spiking.paper.network import NetworkConfig, Wiring
from spiking.recording import NetworkRecord, PairingCurve, Spikes
from spiking.run_folder import RunFolder
from spiking.stimuli import RateTrace, paper_rates

FORMAT = 1
MARGIN = 10_000_000  # bytes, for what is not in the pieces
MOST_NEURONS = 10_000_000
NETWORKS, PAIRINGS = "ratespike network runs", "ratespike pairing curves"


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run all of whose pieces are in its folder."""

    config: NetworkConfig
    traces: Sequence[RateTrace]
    wiring: Wiring
    folder: RunFolder
    steps: int
    kept_from: int  # step from which on spikes were kept
    bin: int  # steps


def write_networks(path: Path, runs: Sequence[FinishedRun]) -> None:
    """Write finished runs to one file, whole, piece by piece.

    Raises:
        RatespikeError: not enough room on the disk; HDF5 would crash on the way.
    """
    needed = sum(run.folder.size() for run in runs) + MARGIN
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if (free := shutil.disk_usage(folder).free) < needed:
        raise RatespikeError(f"{path}: needs {needed / 1e6:.0f} MB, the disk has {free / 1e6:.0f} MB left")
    with whole_file(path) as part, h5py.File(part, "w") as file:
        file.attrs.update(kind=NETWORKS, format=FORMAT, ratespike=version("ratespike"))
        for number, run in enumerate(runs):
            _write_network(file.create_group(f"networks/{number}"), run)


def _write_network(group: h5py.Group, run: FinishedRun) -> None:
    config = run.config
    group.attrs["run"] = tomli_w.dumps(run.folder.identity)
    group.attrs.update(config=dumps(config), label=config.label, dt=config.dt, steps=run.steps, kept_from=run.kept_from)
    for name, projection in vars(run.wiring).items():
        if name == "U":
            _put(group, "wiring/U", projection, "V")
            continue
        for key, units in (("pre", ""), ("post", ""), ("w", "leak conductance")):
            _put(group, f"wiring/{name}/{key}", getattr(projection, key), units)
    for number, trace in enumerate(run.traces):
        _put(group, f"input/{number}", trace.values, "Hz").attrs.update(interval=trace.interval, name=trace.name)
    sizes = _sizes(run)
    kinds = {"step": np.uint32 if run.steps < 2**32 else np.uint64, "unit": np.uint32}
    for name, size in sizes.items():
        for key, kind in kinds.items():
            _append(group, f"spikes/{name}/{key}", np.zeros(0, kind))
        group[f"spikes/{name}"].attrs["size"] = size
    bins = -(-run.steps // run.bin)
    counts = {name: np.zeros((bins, len(run.traces) if name == "inputs" else 1)) for name in sizes}
    times: list[int] = []
    for piece in run.folder.pieces():
        for name in sizes:
            for key, kind in kinds.items():
                _append(group, f"spikes/{name}/{key}", piece.get(f"{name}_{key}", np.zeros(0)).astype(kind))
        for name, total in counts.items():
            if f"{name}_counts" in piece:
                first = int(piece["first_bin"])
                total[first : first + len(piece[f"{name}_counts"])] += piece[f"{name}_counts"]
        for prefix in ("", "last_"):
            if f"{prefix}weights_step" in piece:
                times.append(int(piece[f"{prefix}weights_step"]))
                for key in ("ext", "ie", "ee"):
                    if f"{prefix}{key}_w" in piece:
                        _append(group, f"weights/{key}", piece[f"{prefix}{key}_w"][None])
    for dataset in group["weights"].values():
        dataset.attrs["units"] = "leak conductance"
    _put(group, "weights/time", np.array(times) * config.dt, "s since the start of training")
    ends = np.minimum(np.arange(1, bins + 1) * run.bin, run.steps)
    _put(group, "rates/time", ends * config.dt, "s, end of the bin")
    seconds = np.diff(ends, prepend=0)[:, None] * config.dt
    for name, total in counts.items():
        per = config.population if name == "inputs" else max(sizes[name], 1)
        _put(group, f"rates/{name}", total / (seconds * per), "Hz")
    for name, value in (run.folder.state or {}).items():
        _put(group, f"state/{name}", value)


def _sizes(run: FinishedRun) -> dict[str, int]:
    inh = 0 if run.config.inhibition == "none" else run.config.inh
    return {"exc": run.config.exc, "inh": inh, "inputs": len(run.traces) * run.config.population}


def _append(group: h5py.Group, name: str, values: NDArray[Any]) -> None:
    """Append rows to a dataset that grows."""
    if name not in group:
        row = values.shape[1:]
        chunk = (max(1, 2**16 // max(1, int(np.prod(row)))), *row)
        group.create_dataset(name, (0, *row), values.dtype, maxshape=(None, *row), chunks=chunk, **CHECKED)
    dataset = group[name]
    if len(values):
        dataset.resize(len(dataset) + len(values), axis=0)
        dataset[-len(values) :] = values


def _put(group: h5py.Group, name: str, values: NDArray[Any], units: str = "") -> h5py.Dataset:
    array = np.asarray(values)
    dataset = group.create_dataset(name, data=array, **(CHECKED if array.ndim and array.size else {}))
    if units:
        dataset.attrs["units"] = units
    return dataset


def read_networks(path: Path) -> list[NetworkRecord]:
    """The networks of a run file.

    Raises:
        RatespikeError: no such file, another kind or version, or damaged.
    """
    with opened_as(path, NETWORKS, FORMAT) as source:
        return [_read_network(source, where) for where in source.numbered("/networks")]


def read_configs(path: Path) -> list[NetworkConfig]:
    """The configs of the networks of a run file. Raises as `read_networks`."""
    with opened_as(path, NETWORKS, FORMAT) as source:
        return [loads(NetworkConfig, source.said(where, "config"), where) for where in source.numbered("/networks")]


def check_same(path: Path, identities: Sequence[Mapping[str, Any]]) -> None:
    """Make sure that a run file is what a run of these identities (see `spiking.run_folder`) left.

    Raises:
        UsageError: it is of another run; the message says in what it differs.
        RatespikeError: as `read_networks`.
    """
    with opened_as(path, NETWORKS, FORMAT) as source:
        held = []
        for where in source.numbered("/networks"):
            then = {"network": parse(source.said(where, "config"), where)}  # what files of earlier versions say
            if source.attribute(where, "run") is not None:
                then = parse(source.said(where, "run"), where)
            held.append(then)
    if len(held) != len(identities):
        raise UsageError(f"{path}: exists, and has {len(held)} networks, not {len(identities)}; name another file")
    for then, identity in zip(held, identities, strict=True):
        asked = {key: value for key, value in identity.items() if key in then}
        if differ := differences_of({key: then[key] for key in asked}, asked):
            raise UsageError(f"{path}: exists, and is of another run; it differs in {', '.join(differ)}")


def _read_network(source: Source, where: str) -> NetworkRecord:
    settings = parse(source.said(where, "config"), where)
    dt, steps = source.number(where, "dt", float), source.number(where, "steps", int)
    label = source.said(where, "label")
    check_name(where, label)
    size = {name: source.number(f"{where}/spikes/{name}", "size", int) for name in ("exc", "inh", "inputs")}

    def spikes(name: str) -> Spikes:
        group = f"{where}/spikes/{name}"
        step, unit = (source.array(f"{group}/{key}", kinds="iu") for key in ("step", "unit"))
        if step.shape != unit.shape or not 0 <= size[name] <= MOST_NEURONS or (unit >= size[name]).any():
            raise source.error(group, f"steps and units do not match; a unit below {size[name]:,} for each step would")
        if step.max(initial=0) > steps or (step[1:] < step[:-1]).any():
            raise source.error(group, f"should have steps that ascend, up to {steps:,}")
        return Spikes(step * dt, unit.astype(np.int64), size[name])

    def array(name: str, dims: int = 1, kinds: str = "iuf") -> NDArray[Any]:
        values = source.array(f"{where}/{name}", dims, kinds=kinds)
        if not np.isfinite(values).all():
            raise source.error(f"{where}/{name}", "should be finite")
        return values

    populations = len(source.names(f"{where}/input"))
    if not populations or size["inputs"] % populations:
        raise source.error(where, f"has {size['inputs']} inputs in {populations} populations")
    record = NetworkRecord(
        label=label,
        start=source.number(where, "kept_from", int) * dt,
        end=steps * dt,
        exc=spikes("exc"),
        inh=spikes("inh"),
        inputs=spikes("inputs"),
        population=np.repeat(np.arange(populations), size["inputs"] // populations),
        pre=array("wiring/ext/pre", kinds="iu"),
        post=array("wiring/ext/post", kinds="iu"),
        weights=array("weights/ext", 2),
        weight_time=array("weights/time"),
        rate_time=array("rates/time"),
        rates={
            "exc": array("rates/exc", 2)[:, 0],
            "inh": array("rates/inh", 2)[:, 0],
            "inputs": array("rates/inputs", 2),
        },
        names=_names(source, where, populations),
        settings={key: value for key, value in settings.items() if key != "seed"},
    )
    _check(record, where)
    return record


def _names(source: Source, where: str, populations: int) -> tuple[str, ...] | None:
    """The names of the populations. Files of earlier versions have none: None if their input is the paper's."""
    held = [source.attribute(f"{where}/input/{k}", "name") for k in range(populations)]
    if all(isinstance(name, str) and name for name in held):
        check_names(where, held)
        return tuple(held)
    paper = paper_rates()
    values = [source.array(f"{where}/input/{k}") for k in range(populations)]
    same = len(paper) == populations and all(np.array_equal(v, t.values) for v, t in zip(values, paper, strict=True))
    return None if same else tuple(f"input {k}" for k in range(1, populations + 1))


def _check(record: NetworkRecord, where: str) -> None:
    """Refuse parts that do not go with each other. Raises `RatespikeError`."""
    bins, ends = len(record.rate_time), record.rate_time[-1:]
    fitting = {
        "wiring/ext": record.pre.shape == record.post.shape
        and 0 <= record.pre.min(initial=0) <= record.pre.max(initial=0) < max(record.inputs.size, 1)
        and 0 <= record.post.min(initial=0) <= record.post.max(initial=0) < max(record.exc.size, 1),
        "weights": record.weights.shape == (len(record.weight_time), len(record.pre)),
        "rates": all(len(values) == bins for values in record.rates.values())
        and record.rates["inputs"].shape[1:] == (len(np.unique(record.population)),),
        "steps": record.start <= record.end and bool((np.abs(ends - record.end) <= 1e-6 * record.end).all()),
    }
    for name, fits in fitting.items():
        if not fits:
            raise RatespikeError(f"{where}: {name}: damaged, does not go with the rest of the network")


def write_pairings(path: Path, protocols: Sequence[PairingProtocol], curves: Sequence[PairingCurve]) -> None:
    """Write pairing curves and the protocols that made them to one file, whole.

    The first curve's ``delta_t`` and ``relative_delta_w`` stand at the top, too, for a reader who wants no more.
    """
    buffer = BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs.update(kind=PAIRINGS, format=FORMAT, ratespike=version("ratespike"))
        for number, (protocol, curve) in enumerate(zip(protocols, curves, strict=True)):
            group = file.create_group(f"curves/{number}")
            group.attrs.update(protocol=dumps(protocol), postsynaptic_spikes=curve.postsynaptic_spikes)
            _put(group, "delta_t", curve.delta_t, "s, postsynaptic minus presynaptic; positive: pre before post")
            _put(group, "relative_delta_w", curve.relative_delta_w, "initial weight")
        for key in ("delta_t", "relative_delta_w"):
            file[key] = file[f"curves/0/{key}"]
    write_bytes(path, buffer.getvalue())


def read_pairings(path: Path) -> list[PairingCurve]:
    """The curves of a pairing file. Raises `RatespikeError`: no such file, another kind or version, or damaged."""
    with opened_as(path, PAIRINGS, FORMAT) as source:
        return [_read_curve(source, where) for where in source.numbered("/curves")]


def _read_curve(source: Source, where: str) -> PairingCurve:
    protocol = loads(PairingProtocol, source.said(where, "protocol"), where)
    delta_t, change = (source.array(f"{where}/{key}") for key in ("delta_t", "relative_delta_w"))
    if delta_t.shape != change.shape or not delta_t.size:
        raise source.error(where, f"should have as many intervals as changes, has {delta_t.size} and {change.size}")
    return PairingCurve(
        frequency=protocol.frequency,
        initial_mean=protocol.initial_mean,
        initial_variance=protocol.initial_variance,
        max_interval=protocol.max_interval,
        variant=protocol.variant,
        delta_t=delta_t,
        relative_delta_w=change,
        postsynaptic_spikes=source.number(where, "postsynaptic_spikes", int),
    )

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
from spiking.hdf5 import CHECKED, reading, stored
from spiking.network import NetworkConfig, Wiring
from spiking.pairing import PairingProtocol
from spiking.recording import NetworkRecord, PairingCurve, Spikes
from spiking.run_folder import RunFolder
from spiking.stimuli import RateTrace

FORMAT = 1
MARGIN = 10_000_000  # bytes, for what is not in the pieces
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
        _put(group, f"input/{number}", trace.values, "Hz").attrs["interval"] = trace.interval
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
    with reading(path, NETWORKS, FORMAT) as file:
        return [_read_network(file["networks"][str(number)]) for number in range(len(file["networks"]))]


def read_configs(path: Path) -> list[NetworkConfig]:
    """The configs of the networks of a run file. Raises as `read_networks`."""
    with reading(path, NETWORKS, FORMAT) as file:
        groups = [file["networks"][str(number)] for number in range(len(file["networks"]))]
        return [loads(NetworkConfig, str(group.attrs["config"]), str(path)) for group in groups]


def check_same(path: Path, identities: Sequence[Mapping[str, Any]]) -> None:
    """Make sure that a run file is what a run of these identities (see `spiking.run_folder`) left.

    Raises:
        UsageError: it is of another run; the message says in what it differs.
        RatespikeError: as `read_networks`.
    """
    with reading(path, NETWORKS, FORMAT) as file:
        groups = [file["networks"][str(number)] for number in range(len(file["networks"]))]
        held = [parse(str(group.attrs["run"]), str(path)) if "run" in group.attrs else None for group in groups]
        configs = [parse(str(group.attrs["config"]), str(path)) for group in groups]
    if len(held) != len(identities):
        raise UsageError(f"{path}: exists, and has {len(held)} networks, not {len(identities)}; name another file")
    for run, config, identity in zip(held, configs, identities, strict=True):
        then = {"network": config} if run is None else {key: run[key] for key in identity if key in run}
        now = {key: identity[key] for key in then}
        if differ := differences_of(then, now):
            raise UsageError(f"{path}: exists, and is of another run; it differs in {', '.join(differ)}")


def _read_network(group: h5py.Group) -> NetworkRecord:
    dt, size = float(group.attrs["dt"]), {name: int(group[f"spikes/{name}"].attrs["size"]) for name in group["spikes"]}

    def spikes(name: str) -> Spikes:
        step, unit = (stored(group[f"spikes/{name}/{key}"]) for key in ("step", "unit"))
        if step.shape != unit.shape or step.ndim != 1:
            raise ValueError(f"spikes of {name}: steps and units do not match")
        return Spikes(step * dt, unit.astype(np.int64), size[name])

    populations = len(group["input"])
    settings = parse(str(group.attrs["config"]), "config")
    return NetworkRecord(
        label=str(group.attrs["label"]),
        start=int(group.attrs["kept_from"]) * dt,
        end=int(group.attrs["steps"]) * dt,
        exc=spikes("exc"),
        inh=spikes("inh"),
        inputs=spikes("inputs"),
        population=np.repeat(np.arange(populations), size["inputs"] // populations),
        pre=stored(group["wiring/ext/pre"]),
        post=stored(group["wiring/ext/post"]),
        weights=stored(group["weights/ext"]),
        weight_time=stored(group["weights/time"]),
        rate_time=stored(group["rates/time"]),
        rates={
            "exc": stored(group["rates/exc"])[:, 0],
            "inh": stored(group["rates/inh"])[:, 0],
            "inputs": stored(group["rates/inputs"]),
        },
        settings={key: value for key, value in settings.items() if key != "seed"},
    )


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
    curves = []
    with reading(path, PAIRINGS, FORMAT) as file:
        for number in range(len(file["curves"])):
            group = file["curves"][str(number)]
            protocol = loads(PairingProtocol, str(group.attrs["protocol"]), str(path))
            curves.append(
                PairingCurve(
                    frequency=protocol.frequency,
                    initial_mean=protocol.initial_mean,
                    initial_variance=protocol.initial_variance,
                    max_interval=protocol.max_interval,
                    variant=protocol.variant,
                    delta_t=stored(group["delta_t"]),
                    relative_delta_w=stored(group["relative_delta_w"]),
                    postsynaptic_spikes=int(group.attrs["postsynaptic_spikes"]),
                )
            )
    return curves

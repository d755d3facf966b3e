"""SONATA spike files, as libsonata, BMTK, NEST and NEURON exchange them: times in ms or s, in s here.

Layout (SONATA developer guide 0.1, "Spike file"): /spikes/<population>/timestamps with the attribute `units`, and
/spikes/<population>/node_ids, both (n,); the population's attribute `sorting` says in which order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bridge.files.events import check_dt, events_of, times_of
from bridge.files.sonata_file import check_population_names, check_version, new_file, populations_of, put
from foundation.errors import UsageError
from foundation.files import write_bytes
from foundation.hdf5 import Source, opened
from spiking.stimuli import SpikeEvents

SECONDS = {"ms": 1e-3, "milliseconds": 1e-3, "s": 1.0, "seconds": 1.0}
"""Of a unit of time: the guide's, and those that BMTK writes."""
SORTING = {"none": 0, "by_id": 1, "by_time": 2}


def write_spikes(path: Path, spikes: Mapping[str, SpikeEvents], *, units: str = "ms") -> None:
    """Write the spikes of one or more populations, sorted by time.

    A spike in step k is written as the time k dt. Beyond the guide, a population has the attributes `size`
    (its sources, silent ones too) and `duration` (in `units`), which others ignore.

    Raises:
        UsageError: no population, a name that cannot be one, or units other than "ms" and "s".
    """
    if units not in ("ms", "s"):
        raise UsageError(f"units: must be ms or s, got {units!r}")
    check_population_names(spikes)
    buffer = BytesIO()
    with new_file(buffer) as file:
        for name, events in spikes.items():
            group = file.create_group(f"spikes/{name}")
            sorting = h5py.enum_dtype(SORTING, basetype="u1")
            group.attrs.create("sorting", SORTING["by_time"], dtype=sorting)
            group.attrs["size"] = np.uint64(events.lines)
            group.attrs["duration"] = _in_units(np.array(events.duration), units)
            put(group, "timestamps", _in_units(times_of(events), units)).attrs["units"] = np.bytes_(units)
            put(group, "node_ids", events.source.astype(np.uint64))
    write_bytes(path, buffer.getbuffer())


def read_spikes(
    path: Path,
    *,
    dt: float,
    lines: Mapping[str, int] | None = None,
    steps: int | None = None,
    units: str | None = None,
    round_times: bool = False,
) -> dict[str, SpikeEvents]:
    """Read the spikes of all populations of a file.

    Args:
        path: of the file.
        dt: s, the step; the format has none.
        lines: sources of the populations by name; of those not named, what the file says (`size`, as we write it),
            else the highest id plus one.
        steps: of all populations; what the file says (`duration`) or up to the last spike for None.
        units: of the times, where the file does not say: "ms" or "s".
        round_times: take times that lie off the grid of dt to the nearest step; an error otherwise.

    Raises:
        UsageError: dt or units out of range.
        RatespikeError: no such file, damaged, or not such spikes; the message names the dataset.
    """
    check_dt(dt)
    if units is not None and units not in SECONDS:
        raise UsageError(f"units: must be one of {', '.join(SECONDS)}, got {units!r}")
    with opened(path, "SONATA spikes") as source:
        check_version(source)
        return {
            name: _population_spikes(source, f"/spikes/{name}", dt, (lines or {}).get(name), steps, units, round_times)
            for name in populations_of(source, "/spikes")
        }


def _population_spikes(
    source: Source,
    where: str,
    dt: float,
    lines: int | None,
    steps: int | None,
    units: str | None,
    round_times: bool,
) -> SpikeEvents:
    unit = source.attribute(f"{where}/timestamps", "units")
    unit = units if unit is None else unit
    if unit not in SECONDS:
        held = "has no units; say which" if unit is None else f"has the unit {unit!r}; should be ms or s"
        raise source.error(f"{where}/timestamps", held)
    time = source.array(f"{where}/timestamps").astype(np.float64)
    ids = source.array(f"{where}/node_ids", kinds="iu")
    _check_sorting(source, where, time, ids)
    if lines is None:
        lines = _attribute_number(source, where, "size", int)
    duration = _attribute_number(source, where, "duration", float)
    if steps is None and duration is not None:
        steps = math.ceil(min(_seconds(duration, unit) / dt, 2.0**62) - 1e-6)
    try:
        return events_of(_seconds(time, unit), ids, dt=dt, lines=lines, steps=steps, round_times=round_times)
    except UsageError as error:
        raise source.error(where, str(error)) from None


def _check_sorting(source: Source, where: str, time: NDArray[np.float64], ids: NDArray[Any]) -> None:
    """What is said to be sorted has to be."""
    sorting = source.attribute(where, "sorting")
    if sorting not in (None, *SORTING):
        raise source.error(where, f"sorting: should be one of {', '.join(SORTING)}, is {sorting!r}")
    wrong = (sorting == "by_time" and (time[1:] < time[:-1]).any()) or (
        sorting == "by_id" and (ids[1:] < ids[:-1]).any()
    )
    if wrong:
        raise source.error(where, f"is said to be sorted {sorting} and is not")


def _attribute_number(source: Source, where: str, key: str, kind: type[Any]) -> Any:
    value = source.attribute(where, key)
    if value is None:
        return None
    if not isinstance(value, int | kind) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise source.error(where, f"attribute {key}: should be a number, not negative, is {value!r}")
    return value


def _seconds(time: Any, unit: str) -> Any:
    """Divided where a factor would round twice: 0.1 ms is 0.0001 s to the last bit."""
    return time / 1e3 if SECONDS[unit] == 1e-3 else time


def _in_units(time: Any, unit: str) -> Any:
    return time * 1e3 if SECONDS[unit] == 1e-3 else time

"""Text files of Auryn, the simulator of the LPL network: weights (.wmat), spikes (.ras) and rates.

* .wmat is a Matrix Market file (coordinate, real, general): row = presynaptic neuron, column = postsynaptic neuron,
  both from 1. Auryn loads it only in the order of rows, then columns. Its own files declare as many entries as they
  have lines, heads and all: Auryn takes the number for the size of a buffer.
* .ras has a line "time neuron" per spike: s, neurons from 0.
* a rate file has a line "time rate" per sample: s and Hz, times ascending, linear in between.

Numbers are written with as many digits as it takes to read the same ones back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from bridge.files.edges import MOST_NEURONS, Edges, Floats
from bridge.files.events import check_dt, events_of, times_of
from foundation.errors import RatespikeError, UsageError
from foundation.files import check_file, write_text
from foundation.text import one_line
from spiking.stimuli import GRID, RateTrace, SpikeEvents

HEADER = "%%MatrixMarket matrix coordinate real general"
LONGEST = 10_000  # characters of a line
LEAST_ENTRY = 5  # characters of a line of a .wmat, the shortest being "1 1 1"
MOST_SAMPLES = 50_000_000  # of all populations
LARGEST = 2**53  # whole number that floating point tells from the next


# --- weights ----------------------------------------------------------------------------------------------------------
def write_wmat(path: Path, edges: Edges) -> None:
    """Write synapses as a weight matrix, in the order of `Edges.ordered`, which Auryn wants.

    Raises:
        UsageError: several synapses between two neurons, or delays: a .wmat holds neither.
    """
    if edges.delay is not None:
        raise UsageError("delay: a .wmat holds none (in Auryn all axons share one); leave them away")
    if (pair := edges.repeated()) is not None:
        raise UsageError(f"a .wmat holds one synapse between two neurons, got more from {pair[0]} to {pair[1]}")
    edges = edges.ordered()
    rows = zip((edges.pre + 1).tolist(), (edges.post + 1).tolist(), edges.weight.tolist(), strict=True)
    size = f"{edges.n_pre} {edges.n_post} {len(edges)}"
    write_text(path, "\n".join([HEADER, "% from ratespike", size, *(f"{i} {j} {w!r}" for i, j, w in rows), ""]))


def read_wmat(path: Path, *, notes: list[str] | None = None) -> Edges:
    """Read a weight matrix; the synapses keep the order of the file.

    Args:
        path: of the file.
        notes: gets a word on what is not as the format has it, and read all the same.

    Raises:
        RatespikeError: no such file, or not a whole real general coordinate matrix; the message says where.
    """
    with _text(path) as file:
        n_pre, n_post, entries = _wmat_size(path, file)
        table = _table(path, file, 3, comment="%")
    if len(table) != entries:
        if entries != _lines_of(path):
            raise RatespikeError(f"{path}: declares {entries:,} entries, holds {len(table):,}")
        if notes is not None:
            notes.append(f"declares {entries:,} entries, as many as it has lines; it holds {len(table):,}")
    pre, post = (_whole(path, name, table[:, k], least=1) - 1 for k, name in enumerate(("row", "column")))
    try:
        edges = Edges(pre, post, table[:, 2], n_pre, n_post)
    except UsageError as error:
        raise RatespikeError(f"{path}: {error}") from None
    if (pair := edges.repeated()) is not None:
        raise RatespikeError(f"{path}: row {pair[0] + 1}, column {pair[1] + 1}: given more than once")
    return edges


def _lines_of(path: Path) -> int:
    with _text(path) as file:
        return sum(1 for _ in file)


def _wmat_size(path: Path, file: TextIO) -> tuple[int, int, int]:
    """Rows, columns and entries, as the head of the file declares them; the file is left behind it."""
    header = file.readline(LONGEST)
    words = header.lower().split()
    if words[:1] != ["%%matrixmarket"]:
        raise RatespikeError(f"{path}: should begin with {HEADER!r}, begins with {one_line(header, 60)!r}")
    if words[1:3] != ["matrix", "coordinate"] or words[3:] not in (["real", "general"], ["integer", "general"]):
        raise RatespikeError(
            f"{path}: is {one_line(' '.join(words[1:]), 60)!r}, should be 'matrix coordinate real general'"
        )
    for line in _lines(path, file):
        if line.startswith("%") or not line.strip():
            continue
        if not re.fullmatch(r"\s*\d{1,18}\s+\d{1,18}\s+\d{1,18}\s*", line, re.ASCII):
            raise RatespikeError(f"{path}: should give rows, columns and entries, gives {one_line(line, 60)!r}")
        rows, columns, entries = (int(word) for word in line.split())
        if max(rows, columns) > MOST_NEURONS:
            raise RatespikeError(f"{path}: declares {rows:,} x {columns:,} neurons; at most {MOST_NEURONS:,} each")
        if entries * LEAST_ENTRY > path.stat().st_size:
            raise RatespikeError(f"{path}: declares {entries:,} entries, more than fit into its size")
        return rows, columns, entries
    raise RatespikeError(f"{path}: is cut short, gives no rows, columns and entries")


# --- spikes -----------------------------------------------------------------------------------------------------------
def write_ras(path: Path, events: SpikeEvents) -> None:
    """Write spikes, in the order of time; a spike in step k is one at k dt. Neurons and time without any get lost."""
    rows = zip(times_of(events).tolist(), events.source.tolist(), strict=True)
    write_text(path, "".join(f"{time!r} {source}\n" for time, source in rows))


def read_ras(
    path: Path, *, dt: float, lines: int | None = None, steps: int | None = None, round_times: bool = False
) -> SpikeEvents:
    """Read spikes, in any order (those of several processes may follow one another), onto the grid of dt (s).

    Args:
        path: of the file; one without spikes is empty.
        dt: s.
        lines: neurons; the highest plus one for None.
        steps: of dt; up to the last spike for None.
        round_times: take times that lie off the grid of dt to the nearest step; an error otherwise.

    Raises:
        UsageError: dt out of range.
        RatespikeError: no such file, or a line that is no spike; the message says which.
    """
    check_dt(dt)
    with _text(path) as file:
        table = _table(path, file, 2, comment="#")
    source = _whole(path, "neuron", table[:, 1], least=0)
    try:
        return events_of(table[:, 0], source, dt=dt, lines=lines, steps=steps, round_times=round_times)
    except UsageError as error:
        raise RatespikeError(f"{path}: {error}") from None


# --- rates ------------------------------------------------------------------------------------------------------------
def write_rates(path: Path, times: Floats, rates: Floats) -> None:
    """Write a rate over time.

    Args:
        path: of the file.
        times: (K,), s, ascending, not negative.
        rates: (K,), Hz, not negative.

    Raises:
        UsageError: other times or rates than these.
    """
    times, rates = np.asarray(times, np.float64), np.asarray(rates, np.float64)
    if times.ndim != 1 or times.shape != rates.shape:
        raise UsageError(f"rates: must be one for each time, got shapes {times.shape} and {rates.shape}")
    _check_rates(times, rates)
    write_text(path, "".join(f"{t!r} {r!r}\n" for t, r in zip(times.tolist(), rates.tolist(), strict=True)))


def read_rates(path: Path) -> tuple[Floats, Floats]:
    """Read a rate over time: times (K,) in s, ascending, and rates (K,) in Hz.

    Raises:
        RatespikeError: no such file, no sample, or a line that is none; the message says which.
    """
    with _text(path) as file:
        table = _table(path, file, 2, comment="#")
    try:
        _check_rates(table[:, 0], table[:, 1])
    except UsageError as error:
        raise RatespikeError(f"{path}: {error}") from None
    return table[:, 0], table[:, 1]


def write_rate_trace(path: Path, trace: RateTrace) -> None:
    """Write one period of a `RateTrace`."""
    write_rates(path, np.asarray(np.arange(trace.values.size) * trace.interval, np.float64), trace.values)


def read_rate_trace(path: Path) -> RateTrace:
    """Read a rate on a regular grid that starts at 0 s; one sample stands for a constant rate.

    Raises:
        RatespikeError: as `read_rates`, or the times are no such grid.
    """
    times, rates = read_rates(path)
    if times[0] != 0:
        raise RatespikeError(f"{path}: starts at {times[0]} s; a trace starts at 0 s")
    if times.size == 1:
        return RateTrace(rates)
    for interval in (times[1], times[-1] / (times.size - 1)):  # as it stands there, else with the digits of the last
        if (np.abs(times - interval * np.arange(times.size)) <= 1e-6 * interval).all():
            return RateTrace(rates, float(interval))
    raise RatespikeError(f"{path}: the times are not on a regular grid; a trace needs one")


def read_rate_traces(paths: Sequence[Path], *, notes: list[str] | None = None) -> tuple[Floats, float]:
    """Read the rates of several populations, each linear between the samples of its own file, onto one grid from 0 s.

    The grid is as fine as that of the finest file, and as long as the longest, of those with more than two samples if
    there are any: two samples are a line, or a constant. A file that ends before is repeated, as Auryn repeats it.

    Args:
        paths: of the files, one for each population.
        notes: gets a word on each file that ends before the others.

    Returns:
        rates, (populations, samples), Hz, and the time between samples, s.

    Raises:
        RatespikeError: as `read_rates`, or the grid has too many samples.
    """
    files = [read_rates(path) for path in paths]
    curves = [times for times, _ in files if times.size > 2] or [times for times, _ in files if times.size > 1]
    if not curves:
        return np.array([rates for _, rates in files]), GRID
    interval = float(f"{min(np.diff(times).min() for times in curves):.12g}")  # without what subtracting rounds
    duration = max(times[-1] for times in curves)
    samples = int(min(duration / interval + 1e-6, MOST_SAMPLES)) + 1
    if samples * len(files) > MOST_SAMPLES:
        much = f"samples {interval:g} s apart for {duration:g} s"
        raise RatespikeError(f"{paths[0]}: {much} are too many to be put on one grid")
    grid = np.arange(samples) * interval
    rates = np.empty((len(files), samples))
    for row, path, (times, values) in zip(rates, paths, files, strict=True):
        ends = times.size > 1 and times[-1] < grid[-1] - interval / 2
        row[:] = np.interp(grid % times[-1] if ends else grid, times, values)
        if ends and notes is not None:
            notes.append(f"{path.name} ends at {times[-1]:g} s, and is repeated")
    return rates, interval


def _check_rates(times: Floats, rates: Floats) -> None:
    if not times.size:
        raise UsageError("rates: there is no sample")
    for name, values, unit in (("times", times, "s"), ("rates", rates, "Hz")):
        bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
        if bad.size:
            raise UsageError(f"{name}: must be finite and not negative, got {values[bad[0]]} {unit} in sample {bad[0]}")
    back = np.flatnonzero(np.diff(times) <= 0)
    if back.size:
        raise UsageError(f"times: must ascend, {times[back[0] + 1]} s follows {times[back[0]]} s")


# --- tables of text ---------------------------------------------------------------------------------------------------
def _text(path: Path) -> TextIO:
    check_file(path)
    try:
        return path.open(encoding="utf-8", errors="replace")  # comments may be anything; numbers will not be
    except OSError as error:
        raise RatespikeError(f"{path}: cannot be read ({one_line(error)})") from None


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    while line := file.readline(LONGEST):
        if len(line) == LONGEST:
            raise RatespikeError(f"{path}: a line of {LONGEST:,} characters or more; not such a file")
        yield line


def _table(path: Path, file: TextIO, columns: int, comment: str) -> Floats:
    """What is left of a file, (lines, columns); empty lines and those that begin with `comment` do not count."""
    lines = _lines(path, file)
    first = next((line for line in lines if line.strip() and not line.lstrip().startswith(comment)), None)
    if first is None:
        return np.empty((0, columns))
    try:
        table = _parsed(chain([first], lines), comment)
    except RatespikeError:
        raise
    except Exception as error:  # what numpy says of a line that it does not understand
        raise RatespikeError(f"{path}: not a table of {columns} numbers in a line ({one_line(error)})") from None
    if table.shape[1] != columns:
        raise RatespikeError(f"{path}: should have {columns} numbers in a line, has {table.shape[1]}")
    return table


def _parsed(lines: Iterable[str], comment: str) -> Floats:
    return np.loadtxt(lines, np.float64, comments=comment, ndmin=2, encoding=None)


def _whole(path: Path, name: str, values: Floats, least: int) -> NDArray[np.int64]:
    bad = np.flatnonzero(~((values >= least) & (values < LARGEST) & (values == np.floor(values))))
    if bad.size:
        wanted = f"should be a whole number from {least}"
        raise RatespikeError(f"{path}: {name} of entry {bad[0] + 1}: {wanted}, is {values[bad[0]]:g}")
    return values.astype(np.int64)

"""The panels of the figure of the LPL network: each function draws one, of one condition or of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import SubFigure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from foundation.figures import (
    BLACK,
    BLUE,
    CHARACTER,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    from_zero,
    lines,
    number,
    say,
)
from foundation.text import one_line
from spiking.analysis import BIN, Array, Index, LearningCurve, NetworkAnalysis
from spiking.recording import NetworkRecord, Spikes

EXC, INH = BLACK, PURPLE
PAPER = (GREY, BLUE, SKY, VERMILLION, ORANGE)  # P0, P1 and its control, P2 and its control
OTHER = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, GREY, BLACK)
SIGNALS = {"P1": BLUE, "P2": VERMILLION}
PREFERENCE = LinearSegmentedColormap.from_list("preference", [BLUE, "#D0D0D0", VERMILLION])  # P1 to P2
SECONDS = 5.0  # of spikes that are shown
POINTS = 120  # of a curve of rates over time
MOST = 14
"""Characters of a condition's name below a panel; where one is longer, they have numbers there."""


@dataclass(frozen=True, eq=False)
class Condition:
    """Networks of one label; their units are pooled."""

    label: str
    records: list[NetworkRecord]
    analyses: list[NetworkAnalysis]
    curves: list[LearningCurve]

    @property
    def selective(self) -> bool:
        """Are the populations the paper's, so that units may prefer one to another?"""
        return bool(self.analyses[0].preferences)

    def pooled(self, values: Callable[[NetworkAnalysis], Array]) -> Array:
        return np.concatenate([values(analysis) for analysis in self.analyses], axis=-1)

    def preference(self, name: str) -> Array:
        return self.pooled(lambda analysis: analysis.preferences[name])

    @property
    def names(self) -> list[str]:
        """Of the populations, in lines."""
        return [lines(one_line(name, 3 * MOST), MOST) for name in self.analyses[0].summary.populations]

    @property
    def colours(self) -> list[str]:
        """Of the populations."""
        palette = PAPER if self.selective else OTHER * len(self.names)
        return list(palette[: len(self.names)])


def rasters(figure: SubFigure, condition: Condition) -> None:
    """The last seconds of spikes: inputs by population, and the network."""
    record, colours = condition.records[0], condition.colours
    shown = _shown(record)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.7, 1])
    place = np.argsort(np.argsort(record.population, kind="stable"))  # of an input: beside its population's others
    _raster(above, record, record.inputs, place, np.array(colours)[record.population])
    tops = np.cumsum(np.bincount(record.population))
    above.set_yticks((tops + np.append(0, tops[:-1])) / 2, condition.names)
    for tick, colour in zip(above.get_yticklabels(), colours, strict=True):
        tick.set_color(colour)
    exc, inh = record.exc.size, record.inh.size
    _raster(below, record, record.inh, np.arange(inh), np.full(inh, INH))
    _raster(below, record, record.exc, np.arange(inh, inh + exc), np.full(exc, EXC))
    below.set_yticks(*([inh / 2, inh + exc / 2], ["inh.", "exc."]) if inh else ([exc / 2], ["exc."]))
    for axis, top in ((above, len(place)), (below, inh + exc)):
        axis.set_ylim(-1, top)
        axis.tick_params(axis="y", length=0)
    for axis, groups in ((above, [record.inputs]), (below, [record.inh, record.exc])):
        if not any((spikes.time >= record.end - shown).any() for spikes in groups):
            say(axis, f"no spikes in the last {shown:.3g} s")
    above.set_title(lines(f"{condition.label}: spikes of the inputs and of the network", 60))
    below.set(xlabel="time from the end (s)", xlim=(-1.01 * shown, 0.01 * shown))


def _raster(axis: Axes, record: NetworkRecord, spikes: Spikes, place: Index, colour: NDArray[np.str_]) -> None:
    shown = spikes.time >= record.end - _shown(record)
    unit = spikes.unit[shown]
    time = spikes.time[shown] - record.end
    axis.scatter(time, place[unit], c=colour[unit], s=1.2, linewidths=0, rasterized=True)


def _shown(record: NetworkRecord) -> float:
    return min(SECONDS, record.end - record.start)


def reconstruction(figure: SubFigure, condition: Condition) -> None:
    """Inputs in bins, and what the Lasso makes of the excitatory spikes, on the bins that it was not trained on."""
    decoding = condition.analyses[0].decoding
    inputs = np.maximum(np.bincount(condition.records[0].population), 1)
    axes = list(figure.subplots(len(condition.names), 1, sharex=True, squeeze=False)[:, 0])
    time = (np.arange(len(decoding.target)) + 0.5 - len(decoding.target)) * BIN
    for k, (axis, name, colour) in enumerate(zip(axes, condition.names, condition.colours, strict=True)):
        axis.plot(time, decoding.target[:, k] / inputs[k] / BIN, color="#BFBFBF", lw=1)
        axis.plot(time, decoding.prediction[:, k] / inputs[k] / BIN, color=colour, lw=1.2)
        text = f"{name}\n$R^2$ {number(decoding.r2[k])}"
        axis.text(1.02, 0.5, text, color=colour, transform=axis.transAxes, va="center")
        axis.set_ylim(bottom=0)
        axis.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    seconds = len(time) * BIN
    axes[0].set_title(f"input (grey), reconstruction; {seconds:g} s held out")
    axes[-1].set(xlabel="time from the end (s)", xlim=(-max(seconds, BIN), 0))
    figure.supylabel("rate per input in 25 ms (Hz)", fontsize="medium")


def _legend(axis: Axes, room: float = 3.0) -> None:
    """Above the panel, where nothing is drawn, `room` inches wide at most; the panel's letter is on the left."""
    handles, names = axis.get_legend_handles_labels()
    spacing = {"handlelength": 0.9, "columnspacing": 0.9}
    if names:
        widths = [max(map(len, name.splitlines())) * CHARACTER + 0.33 for name in names]
        columns = len(names) if sum(widths) <= room else max(1, int(room / max(widths)))
        axis.legend(handles, names, ncols=columns, loc="lower right", bbox_to_anchor=(1.04, 0.97), **spacing)


def legend_of(axes: Sequence[Axes]) -> None:
    """One legend for panels of the same kind below each other, of what any of them shows, above the first."""
    for line in (line for axis in axes[1:] for line in axis.get_lines()):
        name = str(line.get_label())
        if not name.startswith("_") and name not in axes[0].get_legend_handles_labels()[1]:
            axes[0].plot([], [], color=line.get_color(), label=name)
    _legend(axes[0])


def numbered(conditions: Sequence[Condition]) -> bool:
    """Have conditions numbers below panels, as one has a name for which there is no room?"""
    return len(conditions) > 1 and any(len(condition.label) > MOST for condition in conditions)


def _name_conditions(axis: Axes, conditions: list[Condition]) -> None:
    names = [lines(condition.label, MOST) for condition in conditions]
    options: dict[str, Any] = {}
    if numbered(conditions):
        names = [str(n) for n in range(1, len(conditions) + 1)]
        axis.set_xlabel("condition")
    elif sum(map(len, names)) > 24 and len(names) > 1:
        options = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
    axis.set_xticks(range(len(conditions)), names, **options)
    axis.set_xlim(-0.6, len(conditions) - 0.4)
    axis.tick_params(axis="x", length=0)


def _bars(axis: Axes, x: float, width: float, values: Array, colour: str, label: str | None = None) -> None:
    """The mean over networks, and a dot for each if there are several; a word where none has a value."""
    known = values[np.isfinite(values)]
    axis.bar(x, known.mean() if len(known) else 0.0, width, color=colour, label=label)
    if len(known) > 1:
        axis.scatter(np.full(len(known), x), known, s=5, color=BLACK, linewidths=0, zorder=3)
    if not len(known):
        middle: dict[str, Any] = {"transform": axis.get_xaxis_transform(), "ha": "center", "va": "center"}
        axis.text(x, 0.5, "unknown", color=colour, fontsize=7, rotation=90, **middle)


def _violins(axis: Axes, x: Sequence[float], values: Sequence[Array], colours: Sequence[str], width: float) -> None:
    """Densities with a line at the median; without a density where all values are the same."""
    for place, data, colour in zip(x, values, colours, strict=True):
        if not len(data):
            continue
        if np.ptp(data) > 1e-9 * np.abs(data).max():
            bodies: Any = axis.violinplot(data, [place], widths=width, showextrema=False)["bodies"]
            bodies[0].set(facecolor=colour, edgecolor=colour, alpha=0.45)
        axis.hlines(np.median(data), place - 0.4 * width, place + 0.4 * width, color=colour, lw=1.6)


def r2(axis: Axes, conditions: list[Condition]) -> None:
    names = conditions[0].names
    width = 0.8 / len(names)
    for k, (name, colour) in enumerate(zip(names, conditions[0].colours, strict=True)):
        for x, condition in enumerate(conditions):
            values = np.array([analysis.decoding.r2[k] for analysis in condition.analyses])
            _bars(axis, x - 0.4 + (k + 0.5) * width, 0.9 * width, values, colour, name if x == 0 else None)
    axis.axhline(0, color=BLACK, lw=0.6)
    lowest = min(axis.dataLim.y0, 0.0)
    axis.set(ylabel="reconstruction, $R^2$", ylim=((1.5 if lowest < -1 else 1.1) * lowest, 1.0))
    if lowest < -1:  # worse than a constant by far, as after a few seconds: seen whole, and the others, too
        axis.set_yscale("symlog", linthresh=1.0, linscale=1.5)
        below = [-m * 10.0**k for k in range(int(np.log10(-lowest)) + 1) for m in (1, 3)]
        axis.set_yticks([*(tick for tick in reversed(below) if tick >= 1.5 * lowest), 0, 1])
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
        axis.set_ylabel("reconstruction, $R^2$\n(logarithmic below −1)")
    _name_conditions(axis, conditions)
    _legend(axis)


def _pairs(axis: Axes, conditions: list[Condition], groups: list[tuple[str, str, list[Array]]]) -> None:
    """Violins side by side for each condition: name, colour, and values by condition; none of what no condition has."""
    groups = [group for group in groups if any(len(values) for values in group[2])]
    for side, (name, colour, values) in zip((-0.2, 0.2) if len(groups) > 1 else (0.0,), groups, strict=True):
        _violins(axis, [x + side for x in range(len(conditions))], values, [colour] * len(conditions), 0.36)
        axis.plot([], [], color=colour, lw=3, label=name)
    _name_conditions(axis, conditions)
    _legend(axis)


def selectivity(axis: Axes, conditions: list[Condition]) -> None:
    groups = [(name, colour, [c.preference(name) for c in conditions]) for name, colour in SIGNALS.items()]
    _pairs(axis, conditions, groups)
    axis.axhline(0, color=BLACK, lw=0.6)
    axis.set(ylabel="selectivity against control", ylim=(-1.05, 1.05), yticks=[-1, 0, 1])


def rates(axis: Axes, conditions: list[Condition]) -> None:
    exc, inh = ([c.pooled(values) for c in conditions] for values in (lambda a: a.exc_rates, lambda a: a.inh_rates))
    _pairs(axis, conditions, [("exc.", EXC, exc), ("inh.", INH, inh)])
    axis.set_ylabel("firing rate (Hz)")
    from_zero(axis)


def dimensions(axis: Axes, conditions: list[Condition]) -> None:
    for x, condition in enumerate(conditions):
        values = np.array([analysis.summary.participation_ratio for analysis in condition.analyses])
        _bars(axis, x, 0.6, values, GREY)
    axis.set_ylabel("participation ratio")
    from_zero(axis)
    _name_conditions(axis, conditions)


def weights(axis: Axes, condition: Condition) -> None:
    weights = condition.pooled(lambda analysis: analysis.weights)
    _violins(axis, range(len(weights)), list(weights), condition.colours, 0.8)
    axis.set_xticks(range(len(weights)), condition.names, rotation=90)
    axis.set_ylabel("mean weight ($g_L$)")
    from_zero(axis)


def plane(axis: Axes, condition: Condition) -> None:
    weights = condition.pooled(lambda analysis: analysis.weights)
    relative = condition.preference("P2 vs P1")
    axis.scatter(weights[1], weights[3], c=relative, cmap=PREFERENCE, vmin=-1, vmax=1, s=7, linewidths=0)
    top = max(weights[1].max(), weights[3].max(), 1e-6)
    limits = -0.04 * top, 1.04 * top
    axis.set(xlabel="weight of P1 ($g_L$)", ylabel="weight of P2 ($g_L$)", xlim=limits, ylim=limits)


def histogram(axis: Axes, condition: Condition) -> None:
    relative = condition.preference("P2 vs P1")
    share, edges = np.histogram(relative, bins=11, range=(-1, 1))
    middle = (edges[1:] + edges[:-1]) / 2
    axis.bar(middle, 100 * share / len(relative), 0.17, color=PREFERENCE((middle + 1) / 2))
    axis.set(xlabel="relative selectivity", ylabel="units (%)", xlim=(-1.05, 1.05))
    axis.set_xticks([-1, 0, 1], ["P1", "0", "P2"])


def _over_time(axis: Axes, time: list[Array], values: list[Array], colour: str, label: str | None = None) -> None:
    """A line for each network, a point where there is a single time (s)."""
    for k, (x, y) in enumerate(zip(time, values, strict=True)):
        style: dict[str, Any] = {"lw": 1.4 if len(time) == 1 else 0.8, "marker": "." if len(x) == 1 else None}
        axis.plot(x, y, color=colour, label=label if k == 0 else None, **style)


def weights_over_time(axis: Axes, condition: Condition) -> None:
    time = [curve.time for curve in condition.curves]
    for k, colour in enumerate(condition.colours):
        _over_time(axis, time, [curve.weights[:, k] for curve in condition.curves], colour)
    axis.set(xlabel="training", ylabel="mean weight ($g_L$)")
    from_zero(axis)


def selectivity_over_time(axis: Axes, condition: Condition) -> None:
    time = [curve.time for curve in condition.curves]
    for name, colour in SIGNALS.items():
        _over_time(axis, time, [curve.preferences[name] for curve in condition.curves], colour, name)
    axis.axhline(0, color=BLACK, lw=0.6)
    axis.set(xlabel="training", ylabel="selectivity")


def rates_over_time(axis: Axes, condition: Condition) -> None:
    for name, colour in (("inh", INH), ("exc", EXC)):
        own = [r for r in condition.records if name in r.rates and {"inh": r.inh, "exc": r.exc}[name].size]
        pairs = [_coarser(record.rate_time, record.rates[name]) for record in own]
        _over_time(axis, [time for time, _ in pairs], [rate for _, rate in pairs], colour, f"{name}.")
    axis.set(xlabel="whole run", ylabel="firing rate (Hz)", xlim=(0, 1.03 * max(r.end for r in condition.records)))
    from_zero(axis)
    if not any(len(np.asarray(line.get_xdata())) for line in axis.get_lines()):
        say(axis, "no rates")


def _coarser(time: Array, rate: Array) -> tuple[Array, Array]:
    """Neighbouring bins averaged, until there are no more than `POINTS`."""
    each = max(1, -(-len(time) // POINTS))
    bins = len(time) // each
    return time[each - 1 : bins * each : each], rate[: bins * each].reshape(bins, each).mean(1)

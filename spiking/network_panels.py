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

from foundation.figures import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION
from spiking.analysis import BIN, Array, Index, LearningCurve, NetworkAnalysis
from spiking.recording import NetworkRecord, Spikes

EXC, INH = BLACK, PURPLE
PAPER = (GREY, BLUE, SKY, VERMILLION, ORANGE)  # P0, P1 and its control, P2 and its control
OTHER = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, GREY, BLACK)
SIGNALS = {"P1": BLUE, "P2": VERMILLION}
PREFERENCE = LinearSegmentedColormap.from_list("preference", [BLUE, "#D0D0D0", VERMILLION])  # P1 to P2
SECONDS = 5.0  # of spikes that are shown
POINTS = 120  # of a curve of rates over time


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
    def colours(self) -> dict[str, str]:
        """Of the populations, by name."""
        names = self.analyses[0].summary.populations
        return dict(zip(names, PAPER if self.selective else OTHER * len(names), strict=False))


def rasters(figure: SubFigure, condition: Condition) -> None:
    """The last seconds of spikes: inputs by population, and the network."""
    record, colours = condition.records[0], condition.colours
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.7, 1])
    place = np.argsort(np.argsort(record.population, kind="stable"))  # of an input: beside its population's others
    _raster(above, record, record.inputs, place, np.array([*colours.values()])[record.population])
    tops = np.cumsum(np.bincount(record.population))
    above.set_yticks((tops + np.append(0, tops[:-1])) / 2, colours)
    for tick, colour in zip(above.get_yticklabels(), colours.values(), strict=True):
        tick.set_color(colour)
    exc, inh = record.exc.size, record.inh.size
    _raster(below, record, record.inh, np.arange(inh), np.full(inh, INH))
    _raster(below, record, record.exc, np.arange(inh, inh + exc), np.full(exc, EXC))
    below.set_yticks(*([inh / 2, inh + exc / 2], ["inh.", "exc."]) if inh else ([exc / 2], ["exc."]))
    for axis, top in ((above, len(place)), (below, inh + exc)):
        axis.set_ylim(-1, top)
        axis.tick_params(axis="y", length=0)
    above.set_title(f"{condition.label}: spikes of the inputs and of the network")
    below.set(xlabel="time from the end (s)", xlim=(-_shown(record), 0))


def _raster(axis: Axes, record: NetworkRecord, spikes: Spikes, place: Index, colour: NDArray[np.str_]) -> None:
    shown = spikes.time > record.end - _shown(record)
    unit = spikes.unit[shown]
    time = spikes.time[shown] - record.end
    axis.scatter(time, place[unit], c=colour[unit], s=1.2, linewidths=0, rasterized=True)


def _shown(record: NetworkRecord) -> float:
    return min(SECONDS, record.end - record.start)


def reconstruction(figure: SubFigure, condition: Condition) -> None:
    """Inputs in bins, and what the Lasso makes of the excitatory spikes, on the bins that it was not trained on."""
    decoding, colours = condition.analyses[0].decoding, condition.colours
    inputs = np.maximum(np.bincount(condition.records[0].population), 1)
    axes = list(figure.subplots(len(colours), 1, sharex=True, squeeze=False)[:, 0])
    time = (np.arange(len(decoding.target)) + 0.5 - len(decoding.target)) * BIN
    for k, (axis, (name, colour)) in enumerate(zip(axes, colours.items(), strict=True)):
        axis.plot(time, decoding.target[:, k] / inputs[k] / BIN, color="#BFBFBF", lw=1)
        axis.plot(time, decoding.prediction[:, k] / inputs[k] / BIN, color=colour, lw=1.2)
        text = f"{name}\n$R^2$ {_rounded(decoding.r2[k])}"
        axis.text(1.02, 0.5, text, color=colour, transform=axis.transAxes, va="center")
        axis.set_ylim(bottom=0)
        axis.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    seconds = len(time) * BIN
    axes[0].set_title(f"input (grey) and its reconstruction, the {seconds:g} s held out")
    axes[-1].set(xlabel="time from the end (s)", xlim=(-max(seconds, BIN), 0))
    figure.supylabel("rate per input in 25 ms (Hz)", fontsize="medium")


def _rounded(value: float) -> str:
    """Two decimals, with a minus sign rather than a hyphen, and none before 0.00."""
    return "unknown" if np.isnan(value) else f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def _legend(axis: Axes) -> None:
    """Above the panel, where nothing is drawn; the panel's letter is on the left."""
    axis.legend(ncols=5, loc="lower right", bbox_to_anchor=(1.04, 0.97), handlelength=0.9, columnspacing=0.9)


def _name_conditions(axis: Axes, conditions: list[Condition]) -> None:
    many = sum(len(condition.label) for condition in conditions) > 24
    options: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if many else {}
    axis.set_xticks(range(len(conditions)), [condition.label for condition in conditions], **options)
    axis.set_xlim(-0.6, len(conditions) - 0.4)
    axis.tick_params(axis="x", length=0)


def _bars(axis: Axes, x: float, width: float, values: Array, colour: str, label: str | None = None) -> None:
    """The mean over networks, and a dot for each if there are several."""
    known = values[np.isfinite(values)]
    axis.bar(x, known.mean() if len(known) else 0.0, width, color=colour, label=label)
    if len(known) > 1:
        axis.scatter(np.full(len(known), x), known, s=5, color=BLACK, linewidths=0, zorder=3)


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
    for k, (name, colour) in enumerate(conditions[0].colours.items()):
        width = 0.8 / len(conditions[0].colours)
        for x, condition in enumerate(conditions):
            values = np.array([analysis.decoding.r2[k] for analysis in condition.analyses])
            _bars(axis, x - 0.4 + (k + 0.5) * width, 0.9 * width, values, colour, name if x == 0 else None)
    axis.axhline(0, color=BLACK, lw=0.6)
    axis.set(ylabel="reconstruction, $R^2$", ylim=(max(-0.3, axis.get_ylim()[0]), 1.0))
    _name_conditions(axis, conditions)
    _legend(axis)


def _pairs(axis: Axes, conditions: list[Condition], groups: list[tuple[str, str, list[Array]]]) -> None:
    """Two violins for each condition: name, colour, and values by condition of both."""
    for side, (name, colour, values) in zip((-0.2, 0.2), groups, strict=True):
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
    axis.set(ylabel="firing rate (Hz)")
    axis.set_ylim(bottom=0)


def dimensions(axis: Axes, conditions: list[Condition]) -> None:
    for x, condition in enumerate(conditions):
        values = np.array([analysis.summary.participation_ratio for analysis in condition.analyses])
        _bars(axis, x, 0.6, values, GREY)
    axis.set(ylabel="participation ratio")
    _name_conditions(axis, conditions)


def weights(axis: Axes, condition: Condition) -> None:
    weights, colours = condition.pooled(lambda analysis: analysis.weights), condition.colours
    _violins(axis, range(len(weights)), list(weights), list(colours.values()), 0.8)
    axis.set_xticks(range(len(weights)), colours, rotation=90)
    axis.set_ylabel("mean weight ($g_L$)")
    axis.set_ylim(bottom=0)


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
    """A line for each network."""
    for k, (x, y) in enumerate(zip(time, values, strict=True)):
        axis.plot(x / 1000, y, color=colour, lw=1.4 if len(time) == 1 else 0.8, label=label if k == 0 else None)


def weights_over_time(axis: Axes, condition: Condition) -> None:
    time = [curve.time for curve in condition.curves]
    for k, colour in enumerate(condition.colours.values()):
        _over_time(axis, time, [curve.weights[:, k] for curve in condition.curves], colour)
    axis.set(xlabel="training (10³ s)", ylabel="mean weight ($g_L$)")
    axis.set_ylim(bottom=0)


def selectivity_over_time(axis: Axes, condition: Condition) -> None:
    time = [curve.time for curve in condition.curves]
    for name, colour in SIGNALS.items():
        _over_time(axis, time, [curve.preferences[name] for curve in condition.curves], colour, name)
    axis.axhline(0, color=BLACK, lw=0.6)
    axis.set(xlabel="training (10³ s)", ylabel="selectivity")
    _legend(axis)


def rates_over_time(axis: Axes, condition: Condition) -> None:
    for name, colour in (("inh", INH), ("exc", EXC)):
        own = [r for r in condition.records if name in r.rates and {"inh": r.inh, "exc": r.exc}[name].size]
        pairs = [_coarser(record.rate_time, record.rates[name]) for record in own]
        _over_time(axis, [time for time, _ in pairs], [rate for _, rate in pairs], colour)
        axis.plot([], [], color=colour, label=f"{name}.")
    axis.set(xlabel="whole run (10³ s)", ylabel="firing rate (Hz)")
    axis.set_ylim(bottom=0)
    _legend(axis)


def _coarser(time: Array, rate: Array) -> tuple[Array, Array]:
    """Neighbouring bins averaged, until there are no more than `POINTS`."""
    each = max(1, -(-len(time) // POINTS))
    bins = len(time) // each
    return time[each - 1 : bins * each : each], rate[: bins * each].reshape(bins, each).mean(1)

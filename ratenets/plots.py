"""Figures of rate networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from foundation.config import differences_of
from foundation.errors import UsageError
from foundation.figures import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    from_zero,
    legend_above,
    letter,
    panels,
    plain,
    styled,
    whole_numbers,
)
from ratenets.conditions import IRRELEVANT, grouped, label
from ratenets.evaluation.report import RunReport

Values = NDArray[np.float64]

UNTRAINED = "untrained"
STYLES: Mapping[str, tuple[str, str]] = {  # colour and marker
    "LPL": (BLUE, "o"),
    "LPL, predictive off": (ORANGE, "s"),
    "LPL, Hebbian off": (VERMILLION, "v"),
    "LPL, decorrelation off": (PURPLE, "D"),
    "LPL, shuffled positives": (GREEN, "^"),
    UNTRAINED: (GREY, "P"),
}
OTHERS = ((SKY, "X"), ("#332288", "<"), ("#882255", ">"), ("#999933", "*"), ("#44AA99", "h"), ("#661100", "p"))
"""Of conditions without a style of their own, in the order in which they come."""

RELEVANT_UNTRAINED = ("data", "downsample_images", "held_out", "encoder", "initial_weights", "views.kind")
"""Of a network that has learned nothing, those that do."""


class Condition(NamedTuple):
    """Runs that differ in their seed alone.

    Attributes:
        label: what distinguishes it.
        style: colour and marker.
        runs: one for each seed.
    """

    label: str
    style: tuple[str, str]
    runs: list[RunReport]

    def values(self, measure: str) -> Values:
        """One measure by seed and layer, (seeds, layers); NaN where it is not defined."""
        rows = [[getattr(layer, measure) for layer in run.layers] for run in self.runs]
        return np.array(rows, dtype=np.float64)

    @property
    def layers(self) -> list[int]:
        """Their numbers, from 1."""
        return [layer.number for layer in self.runs[0].layers]


@styled
def layerwise(reports: Sequence[RunReport]) -> Figure:
    """Readout accuracy, dimensionality and activity by layer, one line for each condition.

    Runs of one configuration but different seeds are one condition: the line is their mean, the band reaches from the
    least to the largest (Halvagal & Zenke 2023, Fig. 3 and Extended Data Fig. 11).

    Raises:
        UsageError: no report, other data or images, or one network twice.
    """
    conditions = conditions_of(reports)
    figure, (accuracy, dimensions, activity) = panels(1, 3, width=3.1, height=3.2)
    for condition in conditions:
        _line(accuracy, condition, 100 * condition.values("accuracy"))
        _line(dimensions, condition, condition.values("participation_ratio"))
        _line(activity, condition, condition.values("mean_activity"))
        batches = np.atleast_2d(condition.values("participation_ratio_batches")).mean(0)
        dimensions.plot(condition.layers, batches, ":", color=condition.style[0], lw=1.0)
        few = 100 * np.atleast_2d(condition.values("few")).mean(0)
        accuracy.plot(condition.layers, few, ":", color=condition.style[0], lw=1.0)
    _baselines(accuracy, reports)
    accuracy.set(ylabel="test accuracy (%)")
    dimensions.set(ylabel="dimensionality\n(participation ratio)")
    activity.set(ylabel="mean activity")
    for axis in (accuracy, dimensions, activity):
        axis.set_xlabel("layer")
        from_zero(axis)
        whole_numbers(axis.xaxis)
    origin = reports[0].origin
    if origin.protocol == "paper":
        _styles(dimensions, "all test images", "batches of 256 (b)")
    else:
        _styles(accuracy, "all labels", f"{origin.labels} labels (a)")
    legend_above(figure, [accuracy, dimensions])
    letter([accuracy, dimensions, activity])
    return figure


def conditions_of(reports: Sequence[RunReport]) -> list[Condition]:
    """The reports by condition: the known ones first, in the order of `STYLES`, then the others as they come.

    Two conditions of one name get the settings in which they differ into their labels; all get their epochs, if these
    differ.
    """
    _check(reports)
    groups = grouped(reports, _name, lambda report: report.origin, _differences)
    order = [*(name for name in STYLES if name in groups), *(name for name in groups if name not in STYLES)]
    others = iter(OTHERS * (1 + len(reports) // len(OTHERS)))
    budgets = {report.origin.epochs for report in reports if not report.origin.untrained}
    unequal = ["epochs"] if len(budgets) > 1 else []
    conditions = []
    for name in order:
        for number, runs in enumerate(groups[name]):
            style = STYLES[name] if name in STYLES and not number else next(others)
            names = [] if runs[0].origin.untrained else unequal
            conditions.append(Condition(_label(name, runs[0], groups[name], names), style, runs))
    return conditions


def _check(reports: Sequence[RunReport]) -> None:
    if not reports:
        raise UsageError("no report to draw: give at least one")
    first = reports[0].origin
    for report in reports[1:]:
        own = report.origin
        for name in ("data", "protocol", "labels", "tested_on", "fitted_to"):
            if getattr(own, name) != getattr(first, name):
                both = f"{first.run} has {getattr(first, name)}, {own.run} {getattr(own, name)}"
                raise UsageError(f"one figure compares readouts of the same images; {name}: {both}")


def _name(report: RunReport) -> str:
    return UNTRAINED if report.origin.untrained else report.origin.name


def _differences(one: RunReport, other: RunReport) -> list[str]:
    """Settings in which two networks differ, but for the seed."""
    names = differences_of(_settings(one), _settings(other))
    if one.origin.untrained:
        names = [n for n in names if any(n == r or n.startswith(f"{r}.") for r in RELEVANT_UNTRAINED)]
    names = [name for name in names if name not in (*IRRELEVANT, "readout_every")]
    return names or ["layers"] * ([x.name for x in one.layers] != [x.name for x in other.layers])


def _settings(report: RunReport) -> dict[str, Any]:
    return {**report.origin.settings, "epochs": report.origin.epochs}


def _label(name: str, run: RunReport, same: Sequence[Sequence[RunReport]], names: Sequence[str]) -> str:
    """The name, and the values of `names` and of all settings in which conditions of this name differ."""
    every = {*names, *(n for other in same for n in _differences(run, other[0]))}
    return label(name.removeprefix("LPL, "), {**_settings(run), "layers": len(run.layers)}, every)


def _styles(axis: Axes, solid: str, dotted: str) -> None:
    """Say what the two kinds of lines are."""
    axis.plot([], [], "-", color=BLACK, label=solid)
    axis.plot([], [], ":", color=BLACK, lw=1.0, label=dotted)


def _line(axis: Axes, condition: Condition, values: Values) -> None:
    """Mean over seeds, and the range as a band; values (seeds, layers)."""
    colour, marker = condition.style
    x = condition.layers
    if len(values) > 1:
        axis.fill_between(x, values.min(0), values.max(0), color=colour, alpha=0.2, lw=0)
    axis.plot(x, values.mean(0), "-", marker=marker, ms=4, color=colour, label=plain(condition.label))


def _baselines(axis: Axes, reports: Sequence[RunReport]) -> None:
    """What the pixels give, and what guessing does."""
    pixels = [report.pixels.accuracy for report in reports if report.pixels is not None]
    if pixels:
        axis.axhline(100 * float(np.mean(pixels)), color=BLACK, lw=1.0, ls="--", label="pixels", zorder=0)
    axis.axhline(100 / reports[0].origin.classes, color=GREY, lw=1.0, ls=":", label="chance", zorder=0)

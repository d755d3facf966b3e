"""Figures of the spiking level in the manner of Halvagal & Zenke 2023: the LPL network (Fig. 5), pairings (Fig. 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

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
    legend_beside,
    letter,
    lines,
    panels,
    styled,
    time_axes,
)
from spiking import network_panels as panel
from spiking.analysis import analyse, change_at, learning_curve
from spiking.network_panels import Condition
from spiking.recording import NetworkRecord, PairingCurve, distinguished

LINES = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BLACK)
TIMES = ("training", "whole run")
"""Labels of abscissae that are times."""
ROW_CHARACTERS = 15
"""Of a condition's name in a line beside its row."""
AT = 0.01  # s, interval of the pairs whose dependence on the frequency is shown


@styled
def lpl_network(records: Sequence[NetworkRecord]) -> Figure:
    """The LPL network, one or several conditions of it, panel by panel like the paper's Fig. 5.

    On top the last 5 s of the first record: spikes, and the inputs as a Lasso reconstructs them from the excitatory
    ones. Then all conditions side by side, in the end a row for each. Networks of one label are one condition: their
    units are pooled, their curves drawn beside each other. What needs P1, P2 and their controls is left out for other
    populations.

    Raises:
        UsageError: no record, or records of different numbers of populations.
    """
    conditions = _conditions(records)
    heights = [max(3.7, 0.7 + 0.6 * len(conditions[0].colours)), 2.5, 1.7 * len(conditions) + 0.4]  # inches
    figure = Figure(figsize=(11.0, sum(heights)), layout="constrained")
    top, middle, bottom = _subfigures(figure, 3, 1, height_ratios=heights, hspace=0.03)
    left, right = _subfigures(top, 1, 2, wspace=0.02)
    panel.rasters(left, conditions[0])
    panel.reconstruction(right, conditions[0])
    letter([left.axes[0], right.axes[0], *_overviews(middle, conditions), *_rows(bottom, conditions)])
    return figure


def _subfigures(figure: Figure | SubFigure, rows: int, columns: int, **options: Any) -> list[SubFigure]:
    return list(np.ravel(np.array(figure.subfigures(rows, columns, **options))))


def _overviews(figure: SubFigure, conditions: list[Condition]) -> list[Axes]:
    """All conditions in each panel."""
    widths = {panel.r2: 1.8, panel.selectivity: 1.3, panel.rates: 1.3, panel.dimensions: 0.8}
    if not conditions[0].selective:
        del widths[panel.selectivity]
    axes = list(figure.subplots(1, len(widths), width_ratios=list(widths.values())))
    for axis, draw in zip(axes, widths, strict=True):
        draw(axis, conditions)
    return axes


def _rows(figure: SubFigure, conditions: list[Condition]) -> list[Axes]:
    """A row of panels for each condition; the first one is returned."""
    columns = [panel.weights, panel.weights_over_time, panel.rates_over_time]
    if conditions[0].selective:
        columns[1:2] = [panel.plane, panel.histogram, panel.weights_over_time, panel.selectivity_over_time]
    grid = figure.subplots(len(conditions), len(columns), squeeze=False)
    for below, draw in zip(grid.T, columns, strict=True):
        for axis, condition in zip(below, conditions, strict=True):
            draw(axis, condition)
        if (text := below[0].get_xlabel()) in TIMES:
            time_axes(below, text)
        _align(list(below), same_y=draw is not panel.rates_over_time)  # rates differ by orders of magnitude
    for number, (axis, condition) in enumerate(zip(grid[:, 0], conditions, strict=True), 1):
        place = {"xy": (0, 0.5), "xycoords": "axes fraction", "xytext": (-54, 0), "textcoords": "offset points"}
        name = _row_name(condition, number if panel.numbered(conditions) else None)
        axis.annotate(name, **place, rotation=90, weight="bold", ha="right", va="center", multialignment="center")
    return list(grid[0])


def _row_name(condition: Condition, number: int | None) -> str:
    """A condition's name in lines for which its row is high enough."""
    return lines(condition.label if number is None else f"{number}: {condition.label}", ROW_CHARACTERS)


def _conditions(records: Sequence[NetworkRecord]) -> list[Condition]:
    if not records:
        raise UsageError("no network to draw: give at least one")
    records = distinguished(records)
    conditions = []
    for label in dict.fromkeys(record.label for record in records):
        own = [record for record in records if record.label == label]
        conditions.append(Condition(label, own, [*map(analyse, own)], [*map(learning_curve, own)]))
    names = {analysis.summary.populations: None for condition in conditions for analysis in condition.analyses}
    sizes = sorted(set(map(len, names)))
    if len(sizes) > 1:
        text = " and ".join(map(str, sizes))
        raise UsageError(f"networks with {text} input populations do not go into one figure; draw one for each")
    if len(names) > 1:
        text = " and ".join(", ".join(each) for each in names)
        raise UsageError(f"networks of other input populations ({text}) do not go into one figure; draw one for each")
    return conditions


def _align(axes: list[Axes], *, same_y: bool) -> None:
    """Panels below each other: the same limits, one legend, and one label of the abscissa, at the bottom."""
    for name in ("xlim", "ylim") if same_y else ("xlim",):
        limits = np.array([getattr(axis, f"get_{name}")() for axis in axes])
        for axis in axes:
            axis.set(**{name: (limits[:, 0].min(), limits[:, 1].max())})
    for axis in axes[:-1]:
        axis.set_xlabel("")
        axis.tick_params(labelbottom=False)
    panel.legend_of(axes)


@styled
def stdp(curves: Sequence[PairingCurve]) -> Figure:
    """Weight changes by spike timing like the paper's Fig. 6, a panel for curves that differ in one thing alone.

    That is the variance that the neuron starts with, or the frequency of the pairings; for the latter there is a
    second panel, of the weight change at +10 and -10 ms.

    Raises:
        UsageError: no curve.
    """
    if not curves:
        raise UsageError("no pairing curve to draw: give at least one")
    by_frequency = [own for own in _grouped(curves, "frequency") if len(own) > 1]
    shown = [curve for own in by_frequency for curve in own]
    by_variance = [own for own in _grouped(curves, "initial_variance") if len(own) > 1 or own[0] not in shown]
    reached = [own for own in by_frequency if own[0].max_interval >= AT]
    draw: list[Callable[[Axes], None]] = [
        partial(_timing, curves=own, varied="initial_variance") for own in by_variance
    ]
    draw += [partial(_timing, curves=own, varied="frequency") for own in by_frequency]
    draw += [partial(_frequency, curves=own) for own in reached]
    columns = min(len(draw), 3)
    figure, axes = panels(-(-len(draw) // columns), columns, width=4.0, height=2.8)
    for axis, panel_of in zip(axes, draw, strict=False):
        panel_of(axis)
    for axis in axes[len(draw) :]:
        axis.remove()
    letter(axes[: len(draw)])
    return figure


def _grouped(curves: Sequence[PairingCurve], varied: str) -> list[list[PairingCurve]]:
    """Curves that have all settings but one in common, ascending in that one."""
    settings = ("frequency", "initial_mean", "initial_variance", "max_interval", "variant")
    groups: dict[tuple[object, ...], list[PairingCurve]] = {}
    for curve in sorted(curves, key=lambda curve: float(getattr(curve, varied))):
        groups.setdefault(tuple(getattr(curve, name) for name in settings if name != varied), []).append(curve)
    return list(groups.values())


TEXT = {  # how a figure writes a setting
    "frequency": "{0.frequency:g} Hz",
    "initial_mean": "mean {0.initial_mean:g} Hz",
    "initial_variance": r"$\sigma^2$ = {0.initial_variance:g} Hz",
}


def _title(curve: PairingCurve, varied: str) -> str:
    """The settings that the curves of a panel have in common."""
    texts = [text.format(curve) for name, text in TEXT.items() if name != varied]
    return ", ".join(texts) + ("" if curve.variant == "as_simulated" else f"\n{curve.variant.replace('_', ' ')}")


def _timing(axis: Axes, curves: list[PairingCurve], varied: str) -> None:
    """Weight change against the interval of the pair."""
    for k, curve in enumerate(curves):
        order = np.argsort(curve.delta_t)
        x, y = 1000 * curve.delta_t[order], 100 * curve.relative_delta_w[order]
        axis.plot(x, y, color=LINES[k % len(LINES)], label=TEXT[varied].format(curve))
    axis.axhline(0, color=GREY, lw=0.6)
    axis.axvline(0, color=GREY, lw=0.6)
    axis.set(xlabel=r"$\Delta t$, post − pre (ms)", ylabel="weight change (%)", title=_title(curves[0], varied))
    legend_beside(axis)


def _frequency(axis: Axes, curves: list[PairingCurve]) -> None:
    """Weight change at +10 and -10 ms against the frequency of the pairs."""
    frequency = [curve.frequency for curve in curves]
    for sign, delta_t, colour, marker in (("+", AT, BLUE, "o"), ("−", -AT, VERMILLION, "s")):
        change = [100 * change_at(curve, delta_t) for curve in curves]
        label = rf"$\Delta t$ = {sign}{1000 * AT:g} ms"
        axis.plot(frequency, change, color=colour, marker=marker, ms=4, label=label)
    axis.axhline(0, color=GREY, lw=0.6)
    title = _title(curves[0], "frequency")
    axis.set(xlabel="pairing frequency (Hz)", ylabel="weight change (%)", title=title)
    legend_beside(axis)

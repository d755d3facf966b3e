"""Figures of the Shapes3D experiment, from the reports of `ratenets.evaluation.factors`; a row for each network.

Halvagal & Zenke 2023, Extended Data Figs. 5 and 6.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from foundation.errors import UsageError
from foundation.figures import BLACK, BLUE, GREY, SKY, legend_above, lines, panels, styled

Report = Mapping[str, Any]
Reports = Mapping[str, Report]  # by the network's name
Named = Reports | Iterable[tuple[str, Report]]

UNDEFINED = "#E8E8E8"
TITLES = {
    "floor_hue": "floor hue",
    "wall_hue": "wall hue",
    "object_hue": "object hue",
    "scale": "scale",
    "shape": "shape",
    "orientation": "orientation",
}
ROUND, STRAIGHT = "hsv", "viridis"
"""Hues are drawn in themselves; the other factors from their first value (dark) to their last (light)."""


@styled
def transitions(named: Named) -> Figure:
    """How often each value of a factor follows each other, on a log scale; of the first report with sequences."""
    report = next((one for one in _some(named).values() if "transitions" in one), None)
    if report is None:
        raise UsageError("transitions: no report has them; score a run, not the pixels")
    figure, axes = panels(1, len(TITLES), width=1.7, height=2.0)
    matrices = {name: _array(report["transitions"][name]) for name in TITLES}
    smallest = min(m[m > 0].min() for m in matrices.values())
    for axis, (name, matrix) in zip(axes, matrices.items(), strict=True):
        axis.set_facecolor(UNDEFINED)  # what never happens
        image = axis.imshow(np.where(matrix > 0, matrix, np.nan), norm=LogNorm(min(smallest, 0.1), 1), cmap="viridis_r")
        _matrix_axes(axis, name)
        axis.set_xlabel("next value")
    axes[0].set_ylabel("value")
    figure.colorbar(image, ax=axes, label="probability", shrink=0.8, pad=0.01)
    return figure


@styled
def similarities(named: Named) -> Figure:
    """Cosine similarity of the codes for any two values of a factor, all else being equal."""
    reports = _some(named)
    figure, grid = _grid(reports, height=1.75 + 0.4 / max(len(reports), 1))
    everything = [_array(report["similarity"][name]) for report in reports.values() for name in TITLES]
    defined = np.concatenate([[0.9], *(matrix[np.isfinite(matrix)] for matrix in everything)])
    lowest = np.floor(10 * defined.min()) / 10
    for row, (label, report) in zip(grid, reports.items(), strict=True):
        for axis, name in zip(row, TITLES, strict=True):
            axis.set_facecolor(UNDEFINED)
            image = axis.imshow(_array(report["similarity"][name]), norm=Normalize(lowest, 1), cmap=STRAIGHT)
            _matrix_axes(axis, name if row is grid[0] else None)
            axis.set_xlabel("value" if row is grid[-1] else "")
        row[0].set_ylabel(f"{lines(label, 16)}\nvalue")
    everywhere = [axis for row in grid for axis in row]
    figure.colorbar(image, ax=everywhere, label="cosine similarity", shrink=0.8 / len(grid) ** 0.5, pad=0.01)
    return figure


@styled
def manifolds(named: Named) -> Figure:
    """The curves that the codes describe while one factor changes: mean over contexts, single contexts in grey.

    A line goes through the values as a sequence does; where a report knows of no sequences, from the first to the last.
    """
    reports = _some(named)
    figure, grid = _grid(reports, height=1.9)
    for row, (label, report) in zip(grid, reports.items(), strict=True):
        for axis, name in zip(row, TITLES, strict=True):
            found, order = report["manifolds"][name], report.get("order", {}).get(name)
            curve, contexts = _array(found["curve"]), _array(found["contexts"])
            way = np.arange(len(curve)) if order is None else np.array(order)
            way = np.append(way, way[:1]) if _goes_round(name) else way
            for context in contexts:
                axis.plot(context[way, 0], context[way, 1], color="#D0D0D0", lw=0.4, zorder=1)
            axis.plot(curve[way, 0], curve[way, 1], color=BLACK, lw=0.8)
            axis.scatter(
                *(curve[:, 0], curve[:, 1], 22, np.arange(len(curve))),
                cmap=_colours(name),
                norm=Normalize(0, _top(name, len(curve))),
                edgecolors=BLACK,
                linewidths=0.4,
                zorder=3,
            )
            _plane_axes(axis, name if row is grid[0] else "", found["explained"])
        row[0].set_ylabel(f"{lines(label, 16)}\n{row[0].get_ylabel()}")
    return figure


@styled
def scatters(named: Named) -> Figure:
    """Codes of random pictures in their two principal components, coloured by each factor."""
    reports = _some(named)
    figure, grid = _grid(reports, height=1.9)
    for row, (label, report) in zip(grid, reports.items(), strict=True):
        points, factors = _array(report["scatter"]["points"]), np.array(report["scatter"]["factors"])
        for k, (axis, name) in enumerate(zip(row, TITLES, strict=True)):
            size = report["sizes"][name]
            norm = Normalize(0, _top(name, size))
            axis.scatter(
                *(points[:, 0], points[:, 1], 3, factors[:, k]),
                cmap=_colours(name),
                norm=norm,
                linewidths=0,
                rasterized=True,
            )
            _plane_axes(axis, name if row is grid[0] else "", report["scatter"]["explained"], labelled=axis is row[0])
        row[0].set_ylabel(f"{lines(label, 16)}\n{row[0].get_ylabel()}")
    return figure


@styled
def scores(named: Named) -> Figure:
    """The share of batches whose fixed factor is told by the unit that varies least; bars are standard deviations."""
    reports = _some(named)
    figure, (axis,) = panels(width=max(3.0, 1.0 + 0.9 * len(reports)), height=2.4)
    for side, key, colour, label in ((-0.2, "score", BLUE, "all units"), (0.2, "strict_score", SKY, "strict")):
        means, errors = ([100 * report[key][what] for report in reports.values()] for what in ("mean", "deviation"))
        x = np.arange(len(reports)) + side
        axis.bar(x, means, 0.36, yerr=errors, color=colour, label=label, error_kw={"lw": 0.8})
    axis.axhline(100 / len(TITLES), color=GREY, lw=0.8, ls="--", label="one in six")
    axis.set(ylabel="factor score (%)", ylim=(0, 105))
    axis.set(xlim=(-0.7, len(reports) - 0.3))
    axis.set_xticks(range(len(reports)), [lines(name, 12) for name in reports])
    axis.tick_params(axis="x", length=0)
    legend_above(figure, [axis])
    return figure


def _grid(reports: Reports, *, height: float) -> tuple[Figure, list[list[Axes]]]:
    """A row of panels for each network, a column for each factor."""
    columns = len(TITLES)
    figure, axes = panels(len(reports), columns, width=1.7, height=height)
    return figure, [axes[start : start + columns] for start in range(0, len(axes), columns)]


def _some(named: Named) -> Reports:
    """The reports by name; those of one name are numbered."""
    pairs = list(named.items() if isinstance(named, Mapping) else named)
    reports: dict[str, Report] = {}
    for name, report in pairs:
        numbered = (name if n == 1 else f"{name} ({n})" for n in range(1, len(pairs) + 1))
        reports[next(free for free in numbered if free not in reports)] = report
    if not reports:
        raise UsageError("figure: there is no report to draw")
    return reports


def _matrix_axes(axis: Axes, name: str | None) -> None:
    axis.set_title(TITLES[name] if name else "")
    axis.spines[:].set_visible(False)
    for direction in (axis.xaxis, axis.yaxis):
        direction.set_major_locator(MaxNLocator(4, integer=True))
    axis.tick_params(length=0)


def _plane_axes(axis: Axes, name: str, explained: list[float | None], *, labelled: bool = True) -> None:
    """Name the principal components with their shares of the variance; they have no unit."""
    axis.set(xticks=[], yticks=[], title=TITLES.get(name, ""))
    shares = ["" if share is None else f" ({100 * share:.0f} %)" for share in explained]
    if labelled:
        axis.set(xlabel=f"PC 1{shares[0]}", ylabel=f"PC 2{shares[1]}")
    axis.margins(0.1)


def _goes_round(name: str) -> bool:
    return name.endswith("hue")


def _colours(name: str) -> str:
    return ROUND if _goes_round(name) else STRAIGHT


def _top(name: str, size: int) -> int:
    """The value that gets the last colour: a hue one step beyond the last would be the first again."""
    return size if _goes_round(name) else size - 1


def _array(nested: Any) -> NDArray[np.float64]:
    """Nested lists as an array, None as NaN."""
    return np.array(nested, dtype=np.float64)

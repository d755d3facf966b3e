"""Figures of bottom-up / top-down networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from textwrap import fill
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from foundation.errors import UsageError
from foundation.figures import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    legend_above,
    letter,
    plain,
    styled,
    whole_numbers,
)
from ratenets.butd.results import RunResult
from ratenets.butd.summary import ENOUGH, MANY, Summary, Values, estimate, summaries

STYLES = ((BLUE, "o"), (VERMILLION, "s"), (GREEN, "^"), (PURPLE, "D"), (ORANGE, "v"), (SKY, "P"), (BLACK, "X"))
"""Colours and markers of the conditions, as they come; of more than these, the colours with the next marker."""
MOST_NAMES = 10
"""Of layers, in a legend; of more, some evenly between the lowest and the highest."""
WIDTH, HEIGHT = 3.1, 2.5  # inches, of a panel
WIDTH_OF_MANY, ROW = 3.6, 0.165  # inches, of the panel of many tasks, and of a task in it


class Drawn(NamedTuple):
    """A condition and its looks."""

    summary: Summary
    colour: str
    marker: str


@styled
def butd(results: Sequence[RunResult]) -> Figure:
    """Learning, and what instructions select, by condition: runs that differ in their seed alone.

    Panels, of which those without data are left out:

    * test accuracy over epochs, averaged over tasks;
    * test accuracy at the end, by task: mean and 95 % confidence interval, single seeds as dots. Many tasks, sorted by
      the first condition's accuracy, are the last panel, with single seeds as ticks;
    * active units by layer, averaged over tasks;
    * how alike the sub-networks of two tasks are, averaged over pairs, by layer;
    * for each condition of separate weights, the alignment of W and V over epochs, by layer.

    Lines are means over seeds. Bands are their 95 % confidence intervals (Student's t), with two seeds their range.

    Raises:
        UsageError: no run, one twice, or runs of other data or tasks.
    """
    conditions = summaries(results)
    _check(results)
    named = [replace(summary, label=plain(summary.label)) for summary in conditions]
    drawn = [Drawn(summary, *_style(number)) for number, summary in enumerate(named)]
    tasks = conditions[0].tasks
    guided = [each for each in drawn if each.summary.layers]
    draw: list[Callable[[Axes], None]] = [partial(_accuracy, drawn=drawn)]
    if len(tasks) <= MANY:
        draw.append(partial(_few_tasks, drawn=drawn))
    if guided:
        draw.append(partial(_active, drawn=guided))
    if any(np.isfinite(each.summary.overlap()).any() for each in guided):
        draw.append(partial(_overlap, drawn=guided))
    separate = [each.summary for each in drawn if each.summary.alignment()]
    draw += [partial(_alignment, summary=summary, titled=len(drawn) > 1) for summary in separate]
    last = len(draw)
    figure, axes = _grid(len(draw), len(tasks) if len(tasks) > MANY else 0)
    if len(tasks) > MANY:
        draw.append(partial(_many_tasks, drawn=drawn))
    for axis, panel in zip(axes, draw, strict=True):
        panel(axis)
    _layer_legends(axes[last - len(separate) : last])
    letter(axes)
    legend_above(figure, axes[:1])
    return figure


def _style(number: int) -> tuple[str, str]:
    round_, place = divmod(number, len(STYLES))
    return STYLES[place][0], STYLES[(place + round_) % len(STYLES)][1]


def _check(results: Sequence[RunResult]) -> None:
    first = results[0]
    for run in results[1:]:
        for name in ("data", "tasks"):
            if getattr(run, name) != getattr(first, name):
                raise UsageError(f"one figure compares runs of the same {name}; {first.run} and {run.run} have others")


def _grid(panels: int, tasks: int) -> tuple[Figure, list[Axes]]:
    """A figure of equal panels; with many `tasks`, the last one is beside them all and has a row for each."""
    if not tasks:
        columns = panels if panels < 4 else 2 if panels == 4 else 3
        rows = -(-panels // columns)
        figure = Figure(figsize=(WIDTH * columns, HEIGHT * rows + 0.4), layout="constrained")
        grid = figure.add_gridspec(rows, columns)
        return figure, [figure.add_subplot(grid[divmod(n, columns)]) for n in range(panels)]
    columns = 1 if panels <= 3 else 2
    rows = max(3, -(-panels // columns))
    size = (WIDTH * columns + WIDTH_OF_MANY, max(HEIGHT * rows, ROW * tasks + 0.8))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.add_gridspec(rows, columns + 1, width_ratios=[*[WIDTH] * columns, WIDTH_OF_MANY])
    axes = [figure.add_subplot(grid[divmod(n, columns)]) for n in range(panels)]
    return figure, [*axes, figure.add_subplot(grid[:, -1])]


def _line(
    axis: Axes, x: Values, values: Values, colour: str, most: float, marker: str = "", label: str | None = None
) -> None:
    """Mean over seeds and its band; values (seeds, x), `most` at most."""
    mean, half = estimate(values)
    if len(values) > 1:
        few = len(values) < ENOUGH
        low, high = (values.min(0), values.max(0)) if few else (mean - half, np.minimum(mean + half, most))
        axis.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
    axis.plot(x, mean, color=colour, marker=marker, ms=4, label=label)


def _accuracy(axis: Axes, drawn: Sequence[Drawn]) -> None:
    """Test accuracy over epochs, averaged over tasks."""
    for summary, colour, marker in drawn:
        few = len(summary.epochs) <= 30
        _line(axis, summary.epochs, 100 * summary.course(), colour, 100, marker * few, summary.label)
    average = ",\naverage over tasks (%)" if len(drawn[0].summary.tasks) > 1 else " (%)"
    axis.set(xlabel="epoch", ylabel=f"test accuracy{average}")
    whole_numbers(axis.xaxis)


def _with_average(summary: Summary, order: Sequence[int]) -> tuple[list[str], Values]:
    """Names of the tasks in this order, and their final accuracy in per cent, (seeds, tasks); then the average."""
    final = 100 * summary.final()
    names = [plain(summary.tasks[task]) for task in order]
    if len(names) == 1:
        return names, final
    return [*names, "average"], np.hstack([final[:, order], final.mean(1, keepdims=True)])


def _few_tasks(axis: Axes, drawn: Sequence[Drawn]) -> None:
    """Final accuracy by task, side by side."""
    for number, (summary, colour, marker) in enumerate(drawn):
        names, values = _with_average(summary, range(len(summary.tasks)))
        x = np.arange(len(names)) + 0.7 * ((number + 0.5) / len(drawn) - 0.5)
        mean, half = estimate(values)
        if len(values) > 1:
            beside = min(0.1, 0.16 / len(drawn))
            axis.plot(x - beside, values.T, ".", color=colour, ms=4, mew=0, alpha=0.6)
            x = x + beside
        if len(values) >= ENOUGH:
            axis.errorbar(x, mean, half, fmt="none", ecolor=colour, elinewidth=1.0, capsize=2)
        axis.plot(x, mean, marker, color=colour, ms=4.5)
    margin = 0.5 if len(names) > 1 else 1.0
    axis.set(xlim=(-margin, len(names) - 1 + margin), ylabel="final test accuracy (%)")
    steep = max(map(len, names)) * len(names) > 32
    axis.set_xticks(
        range(len(names)), names, rotation=45 * steep, ha="right" if steep else "center", rotation_mode="anchor"
    )
    axis.set_xlabel("task" if len(names) > 1 else "")


def _many_tasks(axis: Axes, drawn: Sequence[Drawn]) -> None:
    """Final accuracy by task, one below the other, sorted by the first condition's."""
    order = np.argsort(drawn[0].summary.final().mean(0), kind="stable").tolist()
    for number, (summary, colour, marker) in enumerate(drawn):
        names, values = _with_average(summary, order)
        y = np.arange(len(names)) + 0.6 * (0.5 - (number + 0.5) / len(drawn))
        y[-1] += 0.7
        mean, half = estimate(values)
        axis.plot(values.T, y, "|", color=colour, ms=4.5, mew=0.7)
        if len(values) >= ENOUGH:
            axis.errorbar(mean, y, xerr=half, fmt="none", ecolor=colour, elinewidth=0.8)
        axis.plot(mean, y, marker, color=colour, ms=3.2)
    rows = np.arange(len(names), dtype=float)
    rows[-1] += 0.7
    axis.set_yticks(rows, names, fontsize=6.5)
    axis.grid(axis="y", lw=0.4, color="#E0E0E0")
    axis.set_axisbelow(True)
    axis.set(ylim=(-0.8, len(names) + 0.5), xlabel="final test accuracy (%)")
    axis.tick_params(axis="y", length=0)


def _active(axis: Axes, drawn: Sequence[Drawn]) -> None:
    """Active units by layer, averaged over tasks."""
    for x, (summary, colour, marker) in zip(_places(drawn), drawn, strict=True):
        _line(axis, x, 100 * summary.active().mean(2), colour, 100, marker)
    axis.set(ylabel="active units (%)", ylim=(0, 102))
    _layers(axis, drawn)


def _overlap(axis: Axes, drawn: Sequence[Drawn]) -> None:
    """How alike the sub-networks of two tasks are by layer."""
    for x, (summary, colour, marker) in zip(_places(drawn), drawn, strict=True):
        _line(axis, x, summary.overlap(), colour, 1, marker)
    axis.set(ylabel="overlap of two tasks'\nsub-networks (cosine)", ylim=(0, 1.02))
    _layers(axis, drawn)


def _places(drawn: Sequence[Drawn]) -> list[Values]:
    """Where the layers of each condition are on the axis: side by side, so that equal ones can be seen."""
    return [
        np.arange(len(each.summary.layers), dtype=np.float64) + 0.08 * (number - (len(drawn) - 1) / 2)
        for number, each in enumerate(drawn)
    ]


def _layers(axis: Axes, drawn: Sequence[Drawn]) -> None:
    """Names of the layers, or their numbers where conditions have others."""
    longest = max((each.summary.layers for each in drawn), key=len)
    axis.set_xlabel("layer")
    if any(each.summary.layers != longest for each in drawn):
        step = -(-len(longest) // MOST_NAMES)
        numbers = range(0, len(longest), step)
        axis.set_xticks(numbers, [str(number + 1) for number in numbers])
    elif len(longest) > MOST_NAMES:
        axis.set_xticks(range(len(longest)), longest, rotation=90, fontsize=6)
    else:
        steep = max(map(len, longest)) * len(longest) > 32
        axis.set_xticks(
            range(len(longest)), longest, rotation=45 * steep, ha="right" if steep else "center", rotation_mode="anchor"
        )


def _alignment(axis: Axes, summary: Summary, titled: bool) -> None:
    """Cosine of W and V^T over epochs, from the lowest layer (dark) to the highest (light)."""
    courses = summary.alignment()
    shades = colormaps["viridis"](np.linspace(0, 0.92, len(courses)))
    for (layer, values), shade in zip(courses.items(), shades, strict=True):
        few = len(summary.epochs) == 1
        _line(axis, summary.epochs, values, shade, 1, "o" * few, label=plain(layer))
    axis.axhline(0, color=BLACK, lw=0.6, ls=":", zorder=0)
    axis.set(xlabel="epoch", ylabel="alignment of $W$ and $V^T$ (cosine)")
    whole_numbers(axis.xaxis)
    if titled:
        axis.set_title(fill(summary.label, 28), fontsize=8)


def _layer_legends(axes: Sequence[Axes]) -> None:
    """Say beside panels of alignment which shade is which layer; once, where they have the same layers."""
    named = [axis.get_legend_handles_labels() for axis in axes]
    for number, (axis, (handles, layers)) in enumerate(zip(axes, named, strict=True)):
        axis.sharey(axes[0])
        if number < len(axes) - 1 and all(others == layers for _, others in named):
            continue
        shown = np.linspace(0, len(layers) - 1, min(len(layers), MOST_NAMES)).round().astype(int)[::-1]
        legend = axis.legend(
            *([handles[n] for n in shown], [layers[n] for n in shown]),
            loc="upper left",
            bbox_to_anchor=(1.0, 1.05),
            fontsize=7,
            handlelength=1.2,
        )
        legend.set_in_layout(not _free_beside(axis))


def _free_beside(axis: Axes) -> bool:
    """Is the cell to the right of a panel empty?"""
    figure, cell = axis.get_figure(), axis.get_subplotspec()
    if figure is None or cell is None or cell.colspan.stop == cell.get_gridspec().ncols:
        return False
    others = [spec for other in figure.axes if (spec := other.get_subplotspec()) is not None]
    return not any(cell.colspan.stop in spec.colspan and cell.rowspan.start in spec.rowspan for spec in others)

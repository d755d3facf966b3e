"""One look for every figure: colours that colour-blind readers can tell apart, labelled axes, no global state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from textwrap import fill
from typing import Any, ParamSpec, TypeVar

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from foundation.errors import UsageError
from foundation.files import whole_file

P = ParamSpec("P")
T = TypeVar("T")

BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, BLACK, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#000000",
    "#8C8C8C",
)
"""Okabe and Ito's palette, and a grey for baselines."""

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
FORMATS = (".png", ".pdf", ".svg")
CHARACTER = 0.072  # inches, at most, of text in a legend
ROW = 0.18  # inches, of a line in a legend
LONG = 2000.0
"""Seconds from which an axis of time counts in thousands of them."""


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that draws: it does so in the house style, and leaves matplotlib's settings as they were."""

    @wraps(draw)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> T:
        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return in_style


def panels(
    rows: int = 1, columns: int = 1, *, width: float = 3.0, height: float = 2.6, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of equal panels, each `width` x `height` inches, in reading order; `options` as `Figure.subplots`."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(grid.ravel())


def plain(text: str) -> str:
    """A user's words, such as a file's name: matplotlib would take what is between two dollars for a formula."""
    return text.replace("$", r"\$")


def lines(text: str, most: int) -> str:
    """A user's words in lines of about `most` characters; "a = 1" stays together."""
    return plain(fill(text.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"), most))


def number(value: float, digits: int = 2) -> str:
    """A number as figures write it: with a minus sign rather than a hyphen, none before 0, and "unknown" for NaN."""
    return "unknown" if value != value else f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def legend_above(figure: Figure | SubFigure, axes: Sequence[Axes]) -> None:
    """What is named in any of the panels, once each, above them all, in as many columns as there is room for."""
    handles: dict[str, Artist] = {}
    for axis in axes:
        handles |= {label: handle for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    width = figure.bbox.width / figure.dpi
    names = [fill(name, max(12, int(width / CHARACTER) - 10)) for name in handles]  # of words that are plain already
    longest = max(len(line) for name in names for line in name.splitlines()) * CHARACTER + 0.6
    columns = min(len(names), max(1, int(width / longest)))
    if isinstance(figure, Figure):  # panels keep their heights
        inches, rows = figure.get_size_inches(), -(-len(names) // columns) + sum(name.count("\n") for name in names)
        figure.set_size_inches(inches[0], inches[1] + ROW * rows)
    figure.legend(list(handles.values()), names, loc="outside upper center", ncols=columns)


def legend_beside(axis: Axes, **options: Any) -> None:
    """The legend of one panel on its right, where nothing is drawn."""
    axis.legend(**{"loc": "upper left", "bbox_to_anchor": (1.0, 1.03), "handlelength": 1.2, **options})


def whole_numbers(axis: Axis) -> None:
    """Ticks at whole numbers only, of layers or epochs, even if there is a single one."""
    axis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def from_zero(axis: Axes) -> None:
    """An ordinate that begins at 0 and ends above what is drawn, markers included; at 1 if that is nothing."""
    top = axis.dataLim.y1
    axis.set_ylim(0, 1.07 * top if 0 < top < float("inf") else 1.0)


def time_axes(axes: Sequence[Axes], text: str) -> None:
    """Label the abscissae of panels that show times in s: in thousands of s where they are long."""
    end = max(abs(limit) for axis in axes for limit in axis.get_xlim())
    for axis in axes:
        if end >= LONG:
            axis.xaxis.set_major_formatter(FuncFormatter(lambda time, _: f"{time / 1000:g}".replace("-", "−")))
        axis.set_xlabel(f"{text} (10³ s)" if end >= LONG else f"{text} (s)")


def say(axis: Axes, text: str) -> None:
    """Words in the middle of a panel, or of a part of it, that has nothing to show."""
    axis.text(0.5, 0.5, text, color=GREY, fontsize=8, ha="center", va="center", transform=axis.transAxes)


def letter(axes: Sequence[Axes]) -> None:
    """Name the panels a, b, c, ... at their upper left corners."""
    for name, axis in zip("abcdefghijklmnopqrstuvwxyz", axes, strict=False):
        axis.set_title(name, loc="left", fontweight="bold")


def save(figure: Figure, path: Path) -> None:
    """Write a figure whole, at 200 dots per inch; the suffix (.png, .pdf, .svg) is its format.

    Raises:
        UsageError: another suffix.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"{path}: a figure is written as one of {', '.join(FORMATS)}")
    with rc_context(STYLE), whole_file(path) as part:
        figure.savefig(part, dpi=200)

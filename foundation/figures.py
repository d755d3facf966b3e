"""One look for every figure: colours that colour-blind readers can tell apart, labelled axes, no global state."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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


def letter(axes: list[Axes]) -> None:
    """Name the panels a, b, c, ... at their upper left corners."""
    for name, axis in zip("abcdefghijkl", axes, strict=False):
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

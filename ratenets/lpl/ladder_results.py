"""What a ladder's rungs can do: file (JSON) and figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from foundation.config import from_mapping
from foundation.errors import UsageError
from foundation.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILLION,
    from_zero,
    legend_above,
    letter,
    panels,
    plain,
    styled,
    whole_numbers,
)
from foundation.files import write_json
from foundation.json_files import read_json

KIND = "ratespike ladder"
COLOURS = (VERMILLION, ORANGE, PURPLE, GREEN, BLUE)
LINES = ("-", "--", "-.", ":")
"""Of the first five rungs, the next five, and so on."""
LARGEST = 1e100
"""Of a dimensionality or an activity; figures cannot show what is near the end of double precision."""


@dataclass(frozen=True)
class RungResult:
    """One rung, layer by layer, lowest first.

    Attributes:
        name: what changed.
        accuracy: of the paper's readout, 0 to 1.
        dimensionality: participation ratio over all test images; None where nothing varies.
        activity: mean over units and images; None where it is not finite.
    """

    name: str
    accuracy: tuple[float, ...]
    dimensionality: tuple[float | None, ...]
    activity: tuple[float | None, ...]

    def __post_init__(self) -> None:
        if not self.accuracy or not len(self.accuracy) == len(self.dimensionality) == len(self.activity):
            raise UsageError(f"{self.name}: needs as many values for every layer")
        shares, sizes = self.accuracy, [size for size in (*self.dimensionality, *self.activity) if size is not None]
        if not all(0 <= share <= 1 for share in shares) or not all(abs(size) <= LARGEST for size in sizes):
            raise UsageError(f"{self.name}: accuracies are shares, 0 to 1, and all values are finite")


@dataclass(frozen=True)
class LadderResult:
    """All rungs, the failure first."""

    data: str
    epochs: int
    classes: int
    rungs: tuple[RungResult, ...]

    def __post_init__(self) -> None:
        if self.classes < 1 or not self.rungs:
            raise UsageError(f"ladder: needs a class and a rung, has {self.classes} and {len(self.rungs)}")


def write_result(path: Path, result: LadderResult) -> None:
    """Write a result whole."""
    write_json(path, {"kind": KIND, **asdict(result)})


def read_results(path: Path) -> list[LadderResult]:
    """The one result of a file, as a list. Raises `RatespikeError` for any other file."""
    return read_json(path, KIND, None, "ratespike deep ladder", _results)


def _results(content: dict[str, Any]) -> list[LadderResult]:
    return [from_mapping(LadderResult, {name: value for name, value in content.items() if name != "kind"})]


def table(result: LadderResult) -> str:
    """The rungs as a text table: the last layer's accuracy in per cent, its dimensionality and mean activity."""
    width = max(len(rung.name) for rung in result.rungs)
    lines = [f"{'':{width}} {'last layer, %':>14} {'best layer, %':>14} {'dimensions':>11} {'activity':>10}"]
    for rung in result.rungs:
        dimensions, activity = rung.dimensionality[-1], rung.activity[-1]
        lines.append(
            f"{rung.name:{width}} {100 * rung.accuracy[-1]:14.1f} {100 * max(rung.accuracy):14.1f} "
            f"{'-' if dimensions is None else f'{dimensions:.1f}':>11} "
            f"{'-' if activity is None else f'{activity:.3g}':>10}"
        )
    return "\n".join(lines)


@styled
def ladder(results: Sequence[LadderResult]) -> Figure:
    """Accuracy and dimensionality by layer, one line per rung; one row per result."""
    figure, axes = panels(len(results), 2, width=3.6, height=2.9)
    for row, result in enumerate(results):
        left, right = axes[2 * row : 2 * row + 2]
        for number, rung in enumerate(result.rungs):
            layers = np.arange(1, len(rung.accuracy) + 1)
            colour = COLOURS[number % len(COLOURS)]
            line = f"o{LINES[number // len(COLOURS) % len(LINES)]}"
            left.plot(layers, 100 * np.array(rung.accuracy), line, ms=4, color=colour, label=plain(rung.name))
            right.plot(layers, np.array(rung.dimensionality, float), line, ms=4, color=colour)
        left.axhline(100 / result.classes, color=GREY, lw=0.8, ls=":", label="chance")
        left.set_ylabel("test accuracy (%)")
        right.set(ylabel="dimensionality\n(participation ratio)", xlim=left.get_xlim())
        for axis in (left, right):
            axis.set_xlabel("layer")
            from_zero(axis)
            whole_numbers(axis.xaxis)
    letter(axes)
    legend_above(figure, axes)
    return figure

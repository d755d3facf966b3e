"""What a ladder's rungs can do: file (JSON) and figure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from foundation.config import from_mapping
from foundation.errors import RatespikeError, UsageError
from foundation.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILLION, letter, panels, styled
from foundation.files import write_json

KIND = "ratespike ladder"
COLOURS = (VERMILLION, ORANGE, PURPLE, GREEN, BLUE)


@dataclass(frozen=True)
class RungResult:
    """One rung, layer by layer, lowest first.

    Attributes:
        name: what changed.
        accuracy: of the paper's readout, 0 to 1.
        dimensionality: participation ratio over all test images; None where nothing varies.
        activity: mean over units and images.
    """

    name: str
    accuracy: tuple[float, ...]
    dimensionality: tuple[float | None, ...]
    activity: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.accuracy or not len(self.accuracy) == len(self.dimensionality) == len(self.activity):
            raise UsageError(f"{self.name}: needs as many values for every layer")


@dataclass(frozen=True)
class LadderResult:
    """All rungs, the failure first."""

    data: str
    epochs: int
    classes: int
    rungs: tuple[RungResult, ...]


def write_result(path: Path, result: LadderResult) -> None:
    """Write a result whole."""
    write_json(path, {"kind": KIND, **asdict(result)})


def read_results(path: Path) -> list[LadderResult]:
    """The one result of a file, as a list. Raises `RatespikeError` for any other file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("kind") != KIND:
            raise ValueError
        rungs = tuple(from_mapping(RungResult, rung) for rung in content.pop("rungs"))
        return [LadderResult(**content, rungs=rungs)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError):
        raise RatespikeError(f"{path}: not a file of `ratespike deep ladder`") from None


def table(result: LadderResult) -> str:
    """The rungs as a text table: the last layer's accuracy in per cent, its dimensionality and mean activity."""
    width = max(len(rung.name) for rung in result.rungs)
    lines = [f"{'':{width}} {'last layer, %':>14} {'best layer, %':>14} {'dimensions':>11} {'activity':>10}"]
    for rung in result.rungs:
        dimensions = "-" if rung.dimensionality[-1] is None else f"{rung.dimensionality[-1]:.1f}"
        lines.append(
            f"{rung.name:{width}} {100 * rung.accuracy[-1]:14.1f} {100 * max(rung.accuracy):14.1f} "
            f"{dimensions:>11} {rung.activity[-1]:10.3g}"
        )
    return "\n".join(lines)


@styled
def ladder(results: Sequence[LadderResult]) -> Figure:
    """Accuracy and dimensionality by layer, one line per rung; one row per result."""
    figure, axes = panels(len(results), 2, width=3.6, height=2.9)
    for row, result in enumerate(results):
        left, right = axes[2 * row : 2 * row + 2]
        for colour, rung in zip(COLOURS, result.rungs, strict=False):
            layers = np.arange(1, len(rung.accuracy) + 1)
            left.plot(layers, 100 * np.array(rung.accuracy), "o-", ms=4, color=colour, label=rung.name)
            right.plot(layers, np.array(rung.dimensionality, float), "o-", ms=4, color=colour)
        left.axhline(100 / result.classes, color=GREY, lw=0.8, ls=":", label="chance")
        left.set(xlabel="layer", ylabel="test accuracy (%)", ylim=(0, None))
        right.set(xlabel="layer", ylabel="dimensionality\n(participation ratio)", ylim=(0, None))
    letter(axes)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure

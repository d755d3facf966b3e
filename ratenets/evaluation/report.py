"""What the paper's readout found in a run, layer by layer, and its file: JSON, written whole, checked when read.

    {"kind": "ratespike readout", "format": 1, "protocol": "paper", "run": ..., "name": ..., ..., "rows": [{...}, ...]}

A row is a layer, or the pixels. What is not defined, or was not asked for, is null.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

from foundation.config import from_mapping
from foundation.errors import UsageError
from foundation.files import write_json
from foundation.json_files import read_json
from foundation.tables import aligned

KIND, FORMAT = "ratespike readout", 1
PIXELS = "pixels"


@dataclass(frozen=True)
class LayerReport:
    """One layer. Accuracies are shares of the test images, 0 to 1; dimensions and activity are of their codes.

    Raises:
        UsageError: an accuracy outside 0 to 1, or another name than "layer N" or "pixels".
    """

    name: str  # "layer 1", ..., or "pixels"
    units: int  # M, of the code
    accuracy: float
    top5: float
    folds: tuple[float, ...] = ()  # accuracy on each part of what the readout is fitted to, by cross-validation
    unpooled_units: int | None = None  # C H W, of the flattened maps
    unpooled_accuracy: float | None = None
    unpooled_top5: float | None = None
    unpooled_folds: tuple[float, ...] = ()
    mean_activity: float | None = None  # over units and images
    participation_ratio: float | None = None  # of all test images
    participation_ratio_batches: float | None = None  # the reference's: of 256 at a time, averaged
    mean_class_dim: float | None = None  # participation ratio of each class, averaged
    few: float | None = None  # with few labels: accuracy, mean over several choices of them; `accuracy` is with all
    few_deviation: float | None = None  # standard deviation over these choices
    metrics: dict[str, float | None] = field(default_factory=dict)  # see `ratenets.evaluation.metrics`

    @property
    def number(self) -> int:
        """Of the layer, from 1; 0: pixels."""
        return 0 if self.name == PIXELS else int(self.name.removeprefix("layer "))

    def __post_init__(self) -> None:
        if self.name != PIXELS and not re.fullmatch(r"layer [1-9]\d{0,3}", self.name):
            raise UsageError(f"name: must be 'layer 1', 'layer 2', ... or '{PIXELS}', got '{self.name}'")
        shares = {name: getattr(self, name) for name in ("accuracy", "top5", "unpooled_accuracy", "unpooled_top5")}
        for name, share in (*shares.items(), *(("folds", s) for s in (*self.folds, *self.unpooled_folds))):
            if share is not None and not 0 <= share <= 1:
                raise UsageError(f"{name}: is a share, 0 to 1, got {share}")


@dataclass(frozen=True)
class Origin:
    """Which network was read out, and on what.

    Attributes:
        run: its folder.
        name: what the run is, in words, e.g. "LPL, predictive off".
        data: the dataset.
        seed: of the run.
        epochs: that are done.
        untrained: it was read out at its initial weights.
        classes: of the dataset.
        fitted_to: images that the readouts are fitted to.
        tested_on: test images.
        settings: the run's configuration, nested.
        protocol: paper or few-labels.
        labels: of the readouts with few labels.
    """

    run: str
    name: str
    data: str
    seed: int
    epochs: int
    untrained: bool
    classes: int
    fitted_to: int
    tested_on: int
    settings: dict[str, Any]
    protocol: str = "paper"
    labels: int = 0

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise UsageError(f"classes: must be at least 1, got {self.classes}")


@dataclass(frozen=True)
class RunReport:
    """The layers of a network, lowest first; before them the pixels, if they were read out."""

    origin: Origin
    rows: tuple[LayerReport, ...]

    @property
    def layers(self) -> list[LayerReport]:
        """The rows but the pixels'."""
        return [row for row in self.rows if row.name != PIXELS]

    @property
    def pixels(self) -> LayerReport | None:
        """Their row."""
        return next((row for row in self.rows if row.name == PIXELS), None)


def write_report(path: Path, report: RunReport) -> None:
    """Write a report, whole."""
    head = {"kind": KIND, "format": FORMAT, **dataclasses.asdict(report.origin)}
    write_json(path, {**head, "rows": [dataclasses.asdict(row) for row in report.rows]})


def read_reports(path: Path) -> list[RunReport]:
    """The report in a file, as the list of one that a figure takes.

    Raises:
        UsageError: it is one of a readout with few labels that was written before figures could be made of it.
        RatespikeError: no such file, one of another kind or version, or damaged.
    """
    report = read_json(path, KIND, FORMAT, "ratespike deep readout --json", _report)
    if report is not None:
        return [report]
    raise UsageError(f"{path}: says too little of its run; write it anew with `ratespike deep readout --json`")


def _report(content: Mapping[str, Any]) -> RunReport | None:
    """None: of few labels, before these files held what a figure needs."""
    if "settings" not in content:
        return None
    names = {field.name for field in dataclasses.fields(Origin)}
    origin = from_mapping(Origin, {name: content[name] for name in content.keys() & names}, "origin")
    given = content["rows"] if origin.protocol == "paper" else map(_of_few, content["rows"])
    rows = [from_mapping(LayerReport, row, f"row {number}") for number, row in enumerate(given, start=1)]
    names_of_rows = [row.name for row in rows if row.name != PIXELS]
    if not names_of_rows or len(set(names_of_rows)) < len(names_of_rows):
        raise ValueError("needs one row for each layer, and at least one")
    return RunReport(origin, tuple(rows))


def _of_few(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `ratenets.evaluation.layerwise` in the terms of the others; what it does not have is 0."""
    same = ("name", "few", "few_deviation", "participation_ratio", "mean_activity")
    return {**{name: row[name] for name in same}, "accuracy": row["all"], "top5": row["all"], "units": 0}


def table(report: RunReport) -> str:
    """A report as text: accuracies in per cent, folds as mean and standard deviation; "-" where nothing is defined."""
    origin, rows = report.origin, report.rows
    state = "at its initial weights" if origin.untrained else f"after {origin.epochs} epoch{'s' * (origin.epochs != 1)}"
    title = f"{origin.name} on {origin.data}, seed {origin.seed}, {state}"
    lines = [f"{title}; readouts fitted to {origin.fitted_to} images, tested on {origin.tested_on}"]
    columns: dict[str, list[str]] = {
        "": [row.name for row in rows],
        "units": [str(row.units) for row in rows],
        "top-1 %": [_percent(row.accuracy) for row in rows],
        "top-5 %": [_percent(row.top5) for row in rows],
        "folds %": [_spread(row.folds) for row in rows],
        "maps, top-1 %": [_percent(row.unpooled_accuracy) for row in rows],
        "maps, top-5 %": [_percent(row.unpooled_top5) for row in rows],
        "maps, folds %": [_spread(row.unpooled_folds) for row in rows],
        "dimensions": [_number(row.participation_ratio) for row in rows],
        "by 256": [_number(row.participation_ratio_batches) for row in rows],
        "by class": [_number(row.mean_class_dim) for row in rows],
        "mean activity": [_number(row.mean_activity, 4) for row in rows],
    }
    asked = {name: cells for name, cells in columns.items() if any(cells)}
    lines += aligned([list(asked), *zip(*asked.values(), strict=True)])
    measured = [row for row in report.layers if row.metrics]
    if measured:
        names = list(measured[0].metrics)
        cells = [[name, *(_number(row.metrics[name], 4) for row in measured)] for name in names]
        lines += ["", *aligned([["", *(row.name for row in measured)], *cells])]
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"


def _spread(shares: Sequence[float]) -> str:
    return f"{100 * mean(shares):.2f} ± {100 * pstdev(shares):.2f}" if shares else ""


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"

"""The file of `ratespike deep shapes3d score`: a report of `ratenets.evaluation.factors`, with the condition's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from foundation.data.shapes3d import FACTORS
from foundation.errors import RatespikeError
from foundation.files import write_json
from foundation.json_files import parse_json

KEYS = {"sizes", "units", "silent_units", "score", "strict_score", "similarity", "manifolds", "scatter"}
LARGEST = 1e100
"""Of a code's coordinate; figures cannot show what is near the end of double precision."""


def write_report(path: Path, name: str, report: Mapping[str, Any]) -> None:
    """Write a report whole."""
    write_json(path, {"name": name, "report": dict(report)})


def read_reports(path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """The one report of a file, with its name, as a list. Raises `RatespikeError` for any other file."""
    try:
        content = parse_json(path.read_bytes())
        name, report = content["name"], content["report"]
        whole = isinstance(name, str) and report.keys() >= KEYS and _drawable(report)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        whole = False
    if not whole:
        raise RatespikeError(f"{path}: not a file of `ratespike deep shapes3d score --json`")
    return [(name, report)]


def _drawable(report: Mapping[str, Any]) -> bool:
    """Is there, in its shape and range, all that the figures draw? What is not there at all may raise anything."""
    sizes = [report["sizes"][name] for name in FACTORS]
    if not all(type(size) is int and size > 0 for size in sizes):
        return False
    bars = [report[key][what] for key in ("score", "strict_score") for what in ("mean", "deviation")]
    points = report["scatter"]["points"]
    return (
        all(type(value) in (int, float) and 0 <= value <= 1 for value in bars)
        and _array(points, (len(points), 2), -LARGEST, LARGEST)
        and _array(report["scatter"]["factors"], (len(points), len(FACTORS)), 0, max(sizes) - 1)
        and _array(report["scatter"]["explained"], (2,), 0, 1, undefined=True)
        and all(_factor_drawable(report, name, size) for name, size in zip(FACTORS, sizes, strict=True))
    )


def _factor_drawable(report: Mapping[str, Any], name: str, size: int) -> bool:
    manifold = report["manifolds"][name]
    contexts = len(manifold["contexts"])
    return (
        _array(report["similarity"][name], (size, size), -1, 1, undefined=True)
        and _array(manifold["curve"], (size, 2), -LARGEST, LARGEST)
        and _array(manifold["contexts"], (contexts, size, 2), -LARGEST, LARGEST)
        and _array(manifold["explained"], (2,), 0, 1, undefined=True)
        and ("order" not in report or _permutation(report["order"][name], size))
        and ("transitions" not in report or _transitions(report["transitions"][name], size))
    )


def _permutation(order: Any, size: int) -> bool:
    return all(type(value) is int for value in order) and sorted(order) == list(range(size))


def _transitions(matrix: Any, size: int) -> bool:
    """Shares, some of them above 0, so that a log scale has a lower end."""
    whole = _array(matrix, (size, size), 0, 1, undefined=True)
    return whole and any(share is not None and share > 0 for row in matrix for share in row)


def _array(nested: Any, shape: tuple[int, ...], least: float, most: float, *, undefined: bool = False) -> bool:
    """Are these nested lists of numbers of a shape and within a range, but for rounding, or None if they may be?"""
    values = np.array(nested, dtype=object)
    return values.shape == shape and all(
        undefined if value is None else type(value) in (int, float) and least - 1e-6 <= value <= most + 1e-6
        for value in values.flat
    )

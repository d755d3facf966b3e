"""The file of `ratespike deep shapes3d score`: a report of `ratenets.evaluation.factors`, with the condition's name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foundation.errors import RatespikeError
from foundation.files import write_json

KEYS = {"sizes", "units", "silent_units", "score", "strict_score", "similarity", "manifolds", "scatter"}


def write_report(path: Path, name: str, report: Mapping[str, Any]) -> None:
    """Write a report whole."""
    write_json(path, {"name": name, "report": dict(report)})


def read_reports(path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """The one report of a file, with its name, as a list. Raises `RatespikeError` for any other file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        name, report = content["name"], content["report"]
        whole = isinstance(name, str) and report.keys() >= KEYS
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise RatespikeError(f"{path}: not a file of `ratespike deep shapes3d score --json`")
    return [(name, report)]

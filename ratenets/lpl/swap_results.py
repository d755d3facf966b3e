"""The file of a swap experiment (JSON), and its figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from foundation.config import from_mapping
from foundation.figures import BLUE, GREY, VERMILLION, legend_above, lines, panels, styled, whole_numbers
from foundation.files import write_json
from foundation.json_files import read_json
from ratenets.lpl.swap import GROUPS, Course
from ratenets.lpl.swap_config import SwapConfig

KIND = "ratespike swap"
LARGEST = 1e100
"""Of any number in a file; figures cannot show what is near the end of double precision."""
COLOURS = {"swap": VERMILLION, "non-swap": BLUE, "control": GREY}


class SwapResult(NamedTuple):
    """A finished experiment: of which run and dataset, how, and what came out."""

    run: str
    data: str
    config: SwapConfig
    course: Course


def write_result(path: Path, result: SwapResult) -> None:
    """Write a result whole."""
    course = {name: array.tolist() for name, array in result.course._asdict().items()}
    config = dataclasses.asdict(result.config)
    write_json(path, {"kind": KIND, "run": result.run, "data": result.data, "config": config, "course": course})


def read_results(path: Path) -> list[SwapResult]:
    """The one result of a file, as a list. Raises `RatespikeError` for any other file."""
    return read_json(path, KIND, None, "ratespike deep swap", _results)


def _results(content: dict[str, Any]) -> list[SwapResult]:
    course = Course(*(np.array(content["course"][name], float) for name in Course._fields))
    (times,) = course.exposures.shape
    if course.mean.shape != (len(GROUPS), times) or course.error.shape != course.mean.shape or not times:
        raise ValueError
    if not all((np.abs(values) <= LARGEST).all() for values in course):
        raise ValueError
    config = from_mapping(SwapConfig, content["config"])
    return [SwapResult(str(content["run"]), str(content["data"]), config, course)]


@styled
def swap(results: Sequence[SwapResult]) -> Figure:
    """Selectivity against exposures, one panel per result; bands are standard errors over pairs and units."""
    figure, axes = panels(1, len(results), width=3.4, height=2.8, sharey=True)
    for axis, result in zip(axes, results, strict=True):
        course = result.course
        for name, mean, error in zip(GROUPS, course.mean, course.error, strict=True):
            axis.plot(course.exposures, mean, color=COLOURS[name], label=name)
            axis.fill_between(course.exposures, mean - error, mean + error, color=COLOURS[name], alpha=0.25, lw=0)
        axis.axhline(0, color=GREY, lw=0.8, ls=":")
        axis.set(xlabel="exposures", title=lines(f"{Path(result.run).name}, {result.data}", 36))
        whole_numbers(axis.xaxis)
    axes[0].set_ylabel("selectivity for P over N")
    legend_above(figure, axes)
    return figure

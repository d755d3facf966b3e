"""Files of results, each with its maker and its reader, which draws its figure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np


def figure(name: str) -> Callable[[Path], object]:
    """The figure of a file, drawn."""

    def read(path: Path) -> object:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        from ratespike.figure import FIGURES, _function

        recipe = FIGURES[name]
        figure = _function(recipe.drawer)(_function(recipe.reader)(path))
        FigureCanvasAgg(figure).draw()
        return figure

    return read


def make_report(folder: Path) -> Path:
    from ratenets.evaluation.report import write_report
    from tests.ratenets.evaluation.test_report import REPORT

    write_report(folder / "readout.json", REPORT)
    return folder / "readout.json"


def make_toy(folder: Path) -> Path:
    from ratenets.toy import rule_curves
    from ratenets.toy.results import ToyResult, write_result
    from tests.ratenets.toy.test_results import CURVES

    write_result(folder / "toy.json", ToyResult("rule", CURVES, 0, rule_curves.run(CURVES)))
    return folder / "toy.json"


def make_butd(folder: Path) -> Path:
    from ratenets.butd.results import write_results
    from tests.ratenets.butd.made_results import made

    write_results(folder / "results.json", [made(0), made(1)])
    return folder / "results.json"


def read_butd(path: Path) -> object:
    from ratenets.butd.results import read_results
    from ratenets.butd.summary import table

    return table(read_results(path)), figure("butd")(path)


def make_hebbian(folder: Path) -> Path:
    from ratenets.hebbian.results import write_results
    from tests.ratenets.hebbian.made_local import made

    write_results(folder / "results.json", [made(0), made(1)])
    return folder / "results.json"


def read_hebbian(path: Path) -> object:
    from ratenets.hebbian.results import read_results
    from ratenets.hebbian.table import table

    return table(read_results(path)), figure("local-rules")(path)


def make_pictures(folder: Path) -> Path:
    from ratenets.hebbian.pictures import write_pictures
    from tests.ratenets.hebbian.made_local import pictures

    write_pictures(folder / "pictures.npz", pictures((6, 5)))
    return folder / "pictures.npz"


def read_pictures(path: Path) -> object:
    return figure("local-rules-weights")(path), figure("local-rules-examples")(path)


def make_ladder(folder: Path) -> Path:
    from ratenets.lpl.ladder_results import write_result
    from tests.scripts.test_ladder import RESULT

    write_result(folder / "ladder.json", RESULT)
    return folder / "ladder.json"


def make_swap(folder: Path) -> Path:
    from ratenets.lpl.swap import Course
    from ratenets.lpl.swap_config import SwapConfig
    from ratenets.lpl.swap_results import SwapResult, write_result

    course = Course(np.arange(4), np.ones((3, 4)), np.ones((3, 4)))
    write_result(folder / "swap.json", SwapResult("run", "digits", SwapConfig(), course))
    return folder / "swap.json"


def make_comparison(folder: Path) -> Path:
    from bridge.levels import LevelsConfig, compare_levels, paper_layer
    from bridge.levels.learning import learn_both
    from bridge.levels.parts import parts_of
    from bridge.levels.results import results_of, write_results

    ladder = compare_levels(paper_layer(duration=2.0, units=4, population=8), LevelsConfig(realisations=2, shuffles=2))
    write_results(folder / "comparison.json", results_of(ladder, None, learn_both(ladder), parts_of(ladder)))
    return folder / "comparison.json"

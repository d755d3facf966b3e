"""Files of reports: what is damaged is refused before anything is drawn."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from foundation.errors import RatespikeError
from ratenets.evaluation import factor_plots
from ratenets.evaluation.config import FactorConfig
from ratenets.evaluation.factor_files import read_reports, write_report
from ratenets.evaluation.factor_votes import Features, Integers
from ratenets.evaluation.factors import factor_report
from ratenets.sequences.shapes3d import SequenceConfig, Shapes3DSequences, factors_of

SIZES = (4, 3, 5, 3, 2, 4)
QUICK = FactorConfig(batch=200, train_batches=4, test_batches=4, repetitions=2, contexts=20, scatter=100)


def values_of(indices: Integers) -> Features:
    """A unit for each factor."""
    return factors_of(indices, SIZES).astype(np.float64)


def silence(indices: Integers) -> Features:
    """A code of one unit that never is active."""
    return np.zeros((len(indices), 1))


@pytest.fixture(scope="module")
def sequences() -> Shapes3DSequences:
    return Shapes3DSequences.draw(1, SequenceConfig(sequences=200, batch_size=32), SIZES)


ABSENT = object()
DAMAGE: dict[str, tuple[tuple[str, ...], object]] = {
    "nothing in it": (("sizes",), {}),
    "a size of nothing": (("sizes", "shape"), 0),
    "a score that is a text": (("score", "mean"), "0.5"),
    "a score of per cents": (("strict_score", "mean"), 50),
    "no deviation": (("score", "deviation"), ABSENT),
    "a similarity of other sizes": (("similarity", "scale"), [[1.0]]),
    "a similarity that is a text": (("similarity", "shape"), [["1", "1"], ["1", "1"]]),
    "a similarity out of range": (("similarity", "shape"), [[1e308, 1], [1, 1]]),
    "a curve that ends early": (("manifolds", "shape", "curve"), [[0.0, 0.0]]),
    "a curve beyond everything": (("manifolds", "shape", "curve"), [[1e308, 0.0], [-1e308, 0.0]]),
    "no contexts": (("manifolds", "shape", "contexts"), ABSENT),
    "contexts that are none": (("manifolds", "shape", "contexts"), 3),
    "shares that are texts": (("manifolds", "shape", "explained"), ["0.5", "0.5"]),
    "points without factors": (("scatter", "factors"), []),
    "undefined points": (("scatter", "points"), [[None, None]] * 100),
    "an order of nothing": (("order",), None),
    "an order that is none": (("order", "shape"), [0, 0]),
    "transitions of nothing": (("transitions",), None),
    "transitions that never happen": (("transitions", "shape"), [[0, 0], [0, 0]]),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_report_that_cannot_be_drawn_is_refused_in_one_line(
    case: str, sequences: Shapes3DSequences, tmp_path: Path
) -> None:
    path, report = tmp_path / "a.json", factor_report(values_of, sequences, config=QUICK, sizes=SIZES)
    write_report(path, "LPL", report)
    ((name, read),) = read_reports(path)
    assert (name, read) == ("LPL", report)
    (*places, last), value = DAMAGE[case]
    content = json.loads(path.read_text())
    inner = content["report"]
    for place in places:
        inner = inner[place]
    inner.pop(last, None) if value is ABSENT else inner.update({last: value})
    path.write_text(json.dumps(content))
    with pytest.raises(RatespikeError, match=f"^{path}: not a file of `ratespike deep shapes3d score --json`$"):
        read_reports(path)


@pytest.mark.parametrize(
    "draw", [factor_plots.scores, factor_plots.similarities, factor_plots.manifolds, factor_plots.scatters]
)
def test_a_report_of_a_silent_code_is_read_and_drawn(
    draw: Callable[[factor_plots.Named], Figure], tmp_path: Path
) -> None:
    write_report(tmp_path / "a.json", "silent", factor_report(silence, config=QUICK, sizes=SIZES))
    FigureCanvasAgg(draw(read_reports(tmp_path / "a.json"))).draw()

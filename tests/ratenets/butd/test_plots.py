"""The figure of bottom-up / top-down networks: which panels there are, and what is drawn in them."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from foundation.errors import UsageError
from ratenets.butd.plots import MOST_NAMES, STYLES, butd
from ratenets.butd.results import RunResult
from tests.figures import faults
from tests.ratenets.butd.made_results import made

ACCURACY, FINAL, ACTIVE = "test accuracy,\naverage over tasks (%)", "final test accuracy (%)", "active units (%)"
OVERLAP, ALIGNMENT = "overlap of two tasks'\nsub-networks (cosine)", "alignment of $W$ and $V^T$ (cosine)"
ATTRIBUTES = tuple(f"attribute {number}" for number in range(40))


def drawn(results: list[RunResult]) -> list[Axes]:
    """The panels, drawn."""
    figure = butd(results)
    assert faults(figure) == []
    return list(figure.axes)


def panels(results: list[RunResult]) -> list[Axes]:
    """The panels, not drawn yet."""
    return list(butd(results).axes)


def names(axes: list[Axes]) -> list[str]:
    return [axis.get_ylabel() or axis.get_xlabel() for axis in axes]


def x(line: Line2D) -> NDArray[np.float64]:
    return np.asarray(line.get_xdata(), np.float64)


def y(line: Line2D) -> NDArray[np.float64]:
    return np.asarray(line.get_ydata(), np.float64)


def band(axis: Axes, number: int = 0) -> tuple[float, float]:
    """How low and how high a band reaches."""
    (path,) = axis.collections[number].get_paths()
    heights = np.asarray(path.vertices)[:, 1]
    return heights.min(), heights.max()


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([made()], [ACCURACY, FINAL, ACTIVE, OVERLAP, ALIGNMENT]),
        ([made(tied=True)], [ACCURACY, FINAL, ACTIVE, OVERLAP]),
        ([made(guided=False)], [ACCURACY, FINAL, ALIGNMENT]),
        ([made(guided=False, tied=True)], [ACCURACY, FINAL]),
        ([made(tasks=("class",), guided=False)], ["test accuracy (%)", FINAL, ALIGNMENT]),
        ([made(tasks=("class",), tied=True)], ["test accuracy (%)", FINAL, ACTIVE]),
        ([made(), made(name="backprop")], [ACCURACY, FINAL, ACTIVE, OVERLAP, ALIGNMENT, ALIGNMENT]),
        ([made(guided=False), made(name="backprop", tied=True)], [ACCURACY, FINAL, ACTIVE, OVERLAP, ALIGNMENT]),
        ([made(tasks=ATTRIBUTES, step=0.01)], [ACCURACY, ACTIVE, OVERLAP, ALIGNMENT, FINAL]),
    ],
)
def test_panels_without_data_are_left_out(results, expected):
    axes = drawn(results)
    assert names(axes) == expected
    assert [axis.get_title(loc="left") for axis in axes] == list("abcdefgh")[: len(axes)]


def test_lines_are_means_and_bands_are_intervals_of_three_seeds_or_the_range_of_two():
    two = [made(0, test=0.4), made(1, test=0.6)]
    accuracy, _, active, overlap, alignment = panels(two)
    line = accuracy.get_lines()[0]
    assert x(line).tolist() == [0, 2, 4]
    assert y(line) == pytest.approx([45, 50, 55])
    assert to_hex(line.get_color()).upper() == STYLES[0][0]
    assert band(accuracy) == pytest.approx((35, 65))
    assert y(active.get_lines()[0]) == pytest.approx([25.5, 25.5])
    assert y(overlap.get_lines()[0]) == pytest.approx([0.25, 0.25])
    assert [y(one)[-1] for one in alignment.get_lines()[:3]] == pytest.approx([0.04, 0.08, 0.12])
    three = panels([made(seed, test=test) for seed, test in enumerate((0.4, 0.5, 0.6))])
    half = 4.30265 * 10 / 3**0.5
    assert band(three[0]) == pytest.approx((45 - half, 55 + half), rel=1e-5)
    high = panels([made(seed, test=test, tasks=("a",)) for seed, test in enumerate((0.5, 0.9, 0.92))])
    assert band(high[0])[1] == 100
    (one, *_) = panels([made()])
    assert not one.collections


def test_final_accuracy_is_shown_by_task_with_seeds_and_intervals():
    runs = [made(seed, test=test) for seed, test in enumerate((0.4, 0.5, 0.6))]
    final = panels([*runs, made(0, "backprop", test=0.3), made(1, "backprop", test=0.2)])[1]
    assert [label.get_text() for label in final.get_xticklabels()] == ["left", "right", "average"]
    means = [line for line in final.get_lines() if line.get_marker() in ("o", "s")]
    assert [y(line).tolist() for line in means] == [pytest.approx([50, 60, 55]), pytest.approx([25, 35, 30])]
    seeds = [y(line) for line in final.get_lines() if line.get_marker() == "."]
    assert np.sort([values[0] for values in seeds]) == pytest.approx([20, 30, 40, 50, 60])
    (bars,) = final.collections  # of three seeds; two have none
    assert isinstance(bars, LineCollection)
    half = 4.30265 * 10 / 3**0.5
    lengths = [np.ptp(segment[:, 1]) for segment in bars.get_segments()]
    assert lengths == pytest.approx([2 * half] * 3, rel=1e-5)


def test_many_tasks_are_rows_sorted_by_the_first_condition():
    backwards = made(0, "backprop", tasks=ATTRIBUTES, test=0.9, step=-0.01)
    final = drawn([made(0, tasks=ATTRIBUTES, step=0.01), backwards])[-1]
    assert [label.get_text() for label in final.get_yticklabels()] == [*ATTRIBUTES, "average"]
    means = [x(line) for line in final.get_lines() if line.get_marker() in ("o", "s")]
    assert (np.diff(means[0][:-1]) > 0).all()
    assert means[1][:-1] == pytest.approx(100 * np.linspace(0.9, 0.51, 40))
    assert [mean[-1] for mean in means] == pytest.approx([69.5, 70.5])
    rows = [y(line) for line in final.get_lines() if line.get_marker() in ("o", "s")]
    assert (rows[0] > rows[1]).all()  # side by side
    box = final.get_window_extent()
    texts = [label.get_window_extent() for label in final.get_yticklabels()]
    assert all(below.y1 <= above.y0 for below, above in pairwise(texts))
    assert all(text.x1 <= box.x0 for text in texts)


def test_layers_have_their_names_or_numbers_where_conditions_have_others():
    def ticks(*results: RunResult) -> list[str]:
        return [label.get_text() for label in panels(list(results))[2].get_xticklabels()]

    other = made(0, "backprop", layers=("core.0",))
    assert ticks(made()) == ["core.0", "core.1"]
    assert ticks(made(), other) == ["1", "2"]
    deep = tuple(f"core.{number}" for number in range(25))
    assert ticks(made(layers=deep)) == list(deep)
    assert len(ticks(made(layers=deep), other)) <= MOST_NAMES


def test_alignment_has_one_legend_where_the_layers_are_the_same():
    def legends(*results: RunResult) -> list[list[str]]:
        found = [axis.get_legend() for axis in panels(list(results))]
        return [[text.get_text() for text in legend.get_texts()] for legend in found if legend]

    assert legends(made()) == [["head", "core.1", "core.0"]]
    assert legends(made(), made(0, "backprop")) == [["head", "core.1", "core.0"]]
    assert len(legends(made(), made(0, "backprop", layers=("core.0",)))) == 2
    (deep,) = legends(made(layers=tuple(f"core.{number}" for number in range(25))))
    assert (deep[0], deep[-1], len(deep)) == ("head", "core.0", MOST_NAMES)


def test_conditions_are_named_above_the_panels():
    figure = butd([made(0), made(1), made(0, "backprop", tied=True)])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["Counter-Hebb", "backprop"]


def test_a_dollar_in_a_name_is_a_dollar():
    axes = drawn([made(name="$x_{$"), made(name="other", tasks=("left", "right"))])
    assert [text.get_text() for text in axes[0].figure.legends[0].get_texts()] == [r"\$x_{\$", "other"]


def test_more_conditions_than_colours_are_told_apart():
    accuracy = panels([made(0, f"condition {number}", tied=True) for number in range(10)])[0]
    looks = {(to_hex(line.get_color()), line.get_marker()) for line in accuracy.get_lines()}
    assert len(looks) == 10


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UsageError, match="no run: give at least one"):
        butd([])
    with pytest.raises(UsageError, match="twice"):
        butd([made(), made()])
    for other in (made(1, data="cifar10"), made(1, tasks=("up", "down"))):
        with pytest.raises(UsageError, match="Counter-Hebb-0 and Counter-Hebb-1 have others"):
            butd([made(), other])


@pytest.mark.parametrize(
    "results",
    [
        [
            made(seed, name, tied=name != "a")
            for seed in (0, 1)
            for name in ("a", "a long $name$ of a user's own, in words")
        ],
        [made(tasks=("class",), guided=False, epochs=(0,))],
        [made(tasks=("left or right of it", "what is on the left", "what is on the right"))],
        [made(name=f"a condition of {number} words, one of many") for number in range(9)],
    ],
)
def test_nothing_is_cut_or_on_top_of_anything_else(results):
    drawn(results)


def test_a_single_epoch_is_seen():
    *_, alignment = panels([made(guided=False, epochs=(0,))])
    assert [line.get_marker() for line in alignment.get_lines()[:3]] == ["o"] * 3

"""What all figures share: words of users, legends beside data, axes of time; and that a bad figure is found out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from foundation.figures import (
    STYLE,
    from_zero,
    legend_above,
    legend_beside,
    letter,
    lines,
    number,
    panels,
    plain,
    say,
    time_axes,
    whole_numbers,
)
from tests.figures import faults


@pytest.fixture(autouse=True)
def _styled() -> Iterator[None]:
    with rc_context(STYLE):
        yield


def good() -> tuple[Figure, Axes]:
    figure, (axis,) = panels()
    axis.plot([0, 1, 2], [0, 1, 2], label="a line")
    axis.set(xlabel="epoch", ylabel="rate (Hz)")
    return figure, axis


def _clip(axis: Axes) -> None:
    axis.bar([0], [5.0], label="bar")
    axis.set_ylim(0, 2)


def _title(axis: Axes) -> None:
    letter([axis])
    axis.set_title("word " * 11)


BAD: dict[str, tuple[Callable[[Axes], object], str]] = {
    "a word beyond the page": (lambda axis: axis.text(1.5, 1, "far" * 9, in_layout=False), "leaves the page: 'far"),
    "a steep word beyond the page": (
        lambda axis: axis.text(1.5, 1.5, "far" * 9, rotation=50, in_layout=False),
        "leaves the page: 'far",
    ),
    "words on words": (lambda axis: [axis.text(1, 1.5, word) for word in ("one", "two")], "'one' and 'two'"),
    "a title on a letter": (_title, "top of each other: 'word"),
    "a legend on a line": (lambda axis: axis.legend(loc="center"), "a legend on top of data: that of 'a line'"),
    "a legend on bars": (
        lambda axis: [axis.bar([0, 1, 2], [2.0] * 3, 1.0), axis.legend(loc="upper left")],
        "a legend on top of data",
    ),
    "a legend on points": (
        lambda axis: [axis.scatter(np.linspace(0, 2, 90), [1.92] * 90), axis.legend(loc="upper left")],
        "a legend on top of data",
    ),
    "a bar that is cut": (_clip, "a bar that is cut"),
    "no name": (lambda axis: axis.set_ylabel(""), "numbers without a name"),
    "no unit": (lambda axis: axis.set_ylabel("rate"), "numbers without a unit: 'rate'"),
    "no number": (lambda axis: axis.set_title("mean nan"), "a number that is none: 'mean nan'"),
    "nothing in it": (lambda axis: axis.lines[0].remove(), "an empty panel"),
}


def test_a_good_figure_has_no_faults() -> None:
    assert faults(good()[0]) == []


@pytest.mark.parametrize("case", BAD)
def test_each_fault_is_found(case: str) -> None:
    figure, axis = good()
    spoil, fault = BAD[case]
    spoil(axis)
    found = faults(figure)
    assert any(fault in each for each in found), found


def test_words_of_users_are_no_formulas_and_stay_together() -> None:
    assert plain("$x$") == r"\$x\$"
    assert lines("λ = 0.5, φ = 0.25, $x$", 9).splitlines() == ["λ\xa0=\xa00.5,", "φ\xa0=\xa00.25,", r"\$x\$"]


def test_numbers_have_minus_signs_and_are_known_or_said_to_be_unknown() -> None:
    assert [number(value) for value in (-0.154, -0.001, 2.0, float("nan"))] == ["−0.15", "0.00", "2.00", "unknown"]


@pytest.mark.parametrize("names", [["a", "b"], [f"name {n} of a condition, of a user" for n in range(9)], ["a" * 99]])
def test_a_legend_above_is_whole_and_leaves_the_panels_their_height(names: list[str]) -> None:
    figure, axes = panels(1, 2)
    for axis in axes:
        for name in names:
            axis.plot([0, 1], [0, 1], label=name)
        axis.set(xlabel="epoch", ylabel="rate (Hz)")
    legend_above(figure, axes)
    assert faults(figure) == []
    assert len(figure.legends[0].get_texts()) == len(names)
    assert axes[0].get_window_extent().height / figure.dpi > 1.55


def test_a_legend_beside_covers_nothing() -> None:
    figure, axis = good()
    axis.fill_between([0, 2], 0, 2)
    legend_beside(axis)
    assert faults(figure) == []


@pytest.mark.parametrize(
    ("end", "label", "last"),
    [(0.002, "run (s)", "0.002"), (2.0, "run (s)", "2.0"), (660.0, "run (s)", "600"), (1e5, "run (10³ s)", "100")],
)
def test_times_are_in_seconds_until_they_are_long(end: float, label: str, last: str) -> None:
    figure, (axis,) = panels()
    axis.plot([0, end], [0, 1])
    axis.set(xlim=(0, end), ylabel="rate (Hz)")
    time_axes([axis], "run")
    assert faults(figure) == []
    assert axis.get_xlabel() == label
    low, high = axis.get_xlim()
    shown = [
        tick.get_text() for tick, at in zip(axis.get_xticklabels(), axis.get_xticks(), strict=True) if low <= at <= high
    ]
    assert float(shown[-1]) == float(last)


@pytest.mark.parametrize(("values", "top"), [([4.0, 4.0], 4.28), ([np.nan], 1.0), ([0.0], 1.0), ([], 1.0)])
def test_an_axis_from_zero_ends_above_what_is_drawn(values: list[float], top: float) -> None:
    _, (axis,) = panels()
    axis.plot(range(len(values)), values)
    from_zero(axis)
    assert axis.get_ylim() == pytest.approx((0, top))


@pytest.mark.parametrize("layers", [1, 2, 3, 40])
def test_layers_have_whole_numbers(layers: int) -> None:
    _, (axis,) = panels()
    axis.plot(range(1, layers + 1), range(layers), "o")
    whole_numbers(axis.xaxis)
    low, high = axis.get_xlim()
    inside = [tick for tick in axis.get_xticks() if low <= tick <= high]
    assert inside
    assert all(tick == round(tick) for tick in inside)


def test_a_panel_that_shows_nothing_says_so() -> None:
    figure, axis = good()
    axis.lines[0].remove()
    say(axis, "no spikes")
    assert faults(figure) == []

"""How conditions of local rules look in figures, and the figure of their learning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from foundation.errors import UsageError
from foundation.figures import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    legend_above,
    letter,
    panels,
    plain,
    whole_numbers,
)
from ratenets.butd.summary import ENOUGH, estimate
from ratenets.hebbian.summary import Summary, Values, by_setting

OTHERS = (("#332288", "<"), ("#882255", ">"), ("#999933", "*"), ("#44AA99", "h"), ("#661100", "p"), (GREY, "d"))
STYLES = ((BLUE, "o"), (VERMILLION, "s"), (GREEN, "^"), (PURPLE, "D"), (ORANGE, "v"), (SKY, "P"), (BLACK, "X"), *OTHERS)
"""Colours and markers of the conditions, as they come; of more than these, the colours with the next marker."""
LIGHT = "#DDDDDD"
POINT = 0.05  # inches, of a condition in a panel of classes
DECADES = 20.0
"""Ratio of the highest to the lowest loss from which its axis is logarithmic."""


class Drawn(NamedTuple):
    """A condition and its looks."""

    summary: Summary
    colour: str
    marker: str


def drawn_of(found: Sequence[Summary]) -> dict[str, list[Drawn]]:
    """The conditions of each setting; those of one label look the same in all."""
    labels = list(dict.fromkeys(summary.label for summary in found))
    looks = {label: style(number) for number, label in enumerate(labels)}
    return {
        setting: [Drawn(each, *looks[each.label]) for each in conditions]
        for setting, conditions in by_setting(found).items()
    }


def style(number: int) -> tuple[str, str]:
    round_, place = divmod(number, len(STYLES))
    return STYLES[place][0], STYLES[(place + round_) % len(STYLES)][1]


def training(found: Sequence[Summary]) -> Figure:
    settings = drawn_of(found)
    for conditions in settings.values():
        _check_classes([each.summary for each in conditions])
    crowd = max(len(drawn) * len(drawn[0].summary.classes) for drawn in settings.values())
    width = float(np.clip(POINT * crowd, 3.3, 5.6))
    several = len(settings) > 1
    draw: list[Callable[[Axes, Sequence[Drawn]], None]] = [_accuracy, _loss, _by_class, _counts]
    figure, axes = panels(*((4, len(settings)) if several else (2, 2)), width=width, height=2.5)
    for column, (setting, conditions) in enumerate(settings.items()):
        own = axes[column :: len(settings)]
        for axis, panel in zip(own, draw, strict=True):
            panel(axis, conditions)
        own[0].set_title(plain(setting))
    letter(axes)
    legend_above(figure, axes[: len(settings)])
    return figure


def _check_classes(conditions: Sequence[Summary]) -> None:
    first = conditions[0]
    for other in conditions[1:]:
        if other.classes != first.classes:
            names = f"{first.runs[0].run} and {other.runs[0].run}"
            raise UsageError(f"one figure compares runs of the same classes; {names} have others")


def _band(axis: Axes, x: Values, values: Values, colour: str, least: float, most: float) -> None:
    """95 % confidence interval of the mean over seeds, within the range; values (seeds, x)."""
    if len(values) >= ENOUGH:
        mean, half = estimate(values)
        low, high = np.clip(mean - half, least, most), np.clip(mean + half, least, most)
        axis.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)


def _courses(axis: Axes, drawn: Sequence[Drawn], name: str, scale: float, most: float) -> Values:
    """Validation and training, by epoch; returns all that is drawn."""
    all_values = []
    for summary, colour, marker in drawn:
        x, values = summary.epochs, scale * summary.course(f"validation_{name}")
        train = scale * summary.course(f"train_{name}")
        if len(values) > 1:
            axis.plot(x, values.T, color=colour, lw=0.5, alpha=0.35)
        _band(axis, x, values, colour, 0, most)
        axis.plot(x, train.mean(0), color=colour, lw=0.9, ls="--")
        axis.plot(x, values.mean(0), color=colour, marker=marker, ms=4, label=plain(summary.label))
        all_values += [values.ravel(), train.ravel()]
    axis.set_xlabel("epoch")
    whole_numbers(axis.xaxis)
    _introduced(axis, drawn)
    drawn_values: Values = np.concatenate(all_values)
    shown: Values = drawn_values[~np.isnan(drawn_values)]
    return shown


def _introduced(axis: Axes, drawn: Sequence[Drawn]) -> None:
    """A line after the last epoch that withholds labels, if it is the same in all conditions."""
    firsts = {run.settings.get("introduce", 0) for each in drawn for run in each.summary.runs}
    if len(firsts) == 1 and (first := firsts.pop()):
        axis.axvline(first - 1, color=GREY, lw=0.8, ls=":", zorder=0)
        withheld = ", ".join(map(str, drawn[0].summary.runs[0].settings.get("withhold", ())))
        axis.text(first - 0.95, 0.99, f"+ {withheld}", transform=axis.get_xaxis_transform(), va="top", fontsize=7)


def _accuracy(axis: Axes, drawn: Sequence[Drawn]) -> None:
    """Share of right answers by epoch; the dotted line is chance."""
    _courses(axis, drawn, "accuracy", 100, 100)
    axis.axhline(100 / len(drawn[0].summary.classes), color=GREY, lw=0.9, ls=":", zorder=0)
    axis.plot([], [], color=BLACK, label="validation")
    axis.plot([], [], color=BLACK, lw=0.9, ls="--", label="training")
    axis.plot([], [], color=GREY, lw=0.9, ls=":", label="chance")
    axis.set(ylabel="accuracy (%)", ylim=(-2, 102))


def _loss(axis: Axes, drawn: Sequence[Drawn]) -> None:
    """Mean cross entropy by epoch."""
    values = _courses(axis, drawn, "loss", 1, np.inf)
    axis.set_ylabel("loss (nats)")
    if values.size and 0 < values.min() and values.max() > DECADES * values.min():
        axis.set(yscale="log", ylim=(values.min() / 1.3, values.max() * 1.3))


def _places(classes: int, number: int, conditions: int) -> Values:
    """Where a condition's points are: all conditions side by side in each class."""
    shift = 0.78 * ((number + 0.5) / conditions - 0.5)
    return np.arange(classes, dtype=np.float64) + shift


def _by_class(axis: Axes, drawn: Sequence[Drawn]) -> None:
    """Accuracy by class at the end; the dotted line is chance."""
    classes = drawn[0].summary.classes
    size = 4.5 if len(drawn) <= 4 else 3
    for number, (summary, colour, marker) in enumerate(drawn):
        values, x = 100 * summary.by_class(), _places(len(classes), number, len(drawn))
        mean, half = estimate(values)
        if len(values) > 1:
            axis.plot(x, values.T, ".", color=colour, ms=3, mew=0, alpha=0.45)
        if len(values) >= ENOUGH:
            low, high = np.minimum(half, mean), np.minimum(half, 100 - mean)
            axis.errorbar(x, mean, (low, high), fmt="none", ecolor=colour, elinewidth=0.8, capsize=1.5)
        axis.plot(x, mean, marker, color=colour, ms=size)
    axis.axhline(100 / len(classes), color=GREY, lw=0.9, ls=":", zorder=0)
    axis.set(ylabel="final accuracy by class,\nvalidation (%)", ylim=(-4, 104))
    _class_axis(axis, classes)


def _counts(axis: Axes, drawn: Sequence[Drawn]) -> None:
    """Validation images of each class, grey, and right answers at the end."""
    classes = drawn[0].summary.classes
    seen = np.array(drawn[0].summary.runs[0].seen)
    axis.bar(range(len(classes)), seen, 0.9, color=LIGHT, label="seen")
    for number, (summary, colour, _) in enumerate(drawn):
        correct = np.array([run.correct for run in summary.runs], np.float64).mean(0)
        axis.bar(_places(len(classes), number, len(drawn)), correct, 0.7 / len(drawn), color=colour)
    axis.set_ylabel("validation images:\nseen (grey), correct")
    _class_axis(axis, classes)


def _class_axis(axis: Axes, classes: Sequence[int]) -> None:
    axis.set(xlabel="class", xlim=(-0.6, len(classes) - 0.4))
    axis.set_xticks(range(len(classes)), list(map(str, classes)))

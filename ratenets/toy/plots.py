"""Figures of the smaller experiments, after Halvagal & Zenke 2023: Fig. 2, ED Fig. 1, Suppl. Figs. 1 and 2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure, SubFigure

from foundation.errors import UsageError
from foundation.figures import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILLION,
    legend_above,
    legend_beside,
    letter,
    say,
    styled,
)
from foundation.seeds import numpy_generator
from ratenets.toy import digit_sequences, rule_curves, two_inputs
from ratenets.toy.results import ToyResult
from ratenets.toy.rules import Floats

COLOURS = {
    "lpl": BLUE,
    "pred_off": ORANGE,
    "oja": GREEN,
    "hebb_off": VERMILLION,
    "vicreg": PURPLE,
    "naive": BLACK,
}
LOW_TO_HIGH = LinearSegmentedColormap.from_list("low to high", [BLUE, "#B0B0B0", VERMILLION])
SIGMA = r"standard deviation $\sigma_y$ of the noise input (a.u.)"
LARGEST = float(np.finfo(np.float32).max)
SIGMA_LIMITS = (0.007, 140)
BY_NAME = {rule.name: k for k, rule in enumerate(two_inputs.RULES)}


@styled
def toy(results: Sequence[ToyResult]) -> Figure:
    """Results of `ratespike deep toy`, one below the other.

    Raises:
        UsageError: no result.
    """
    if not results:
        raise UsageError("no result to draw: give at least one")
    drawers = [DRAWERS[result.experiment] for result in results]
    heights = [height for _, height in drawers]
    figure = Figure(figsize=(11.0, sum(heights)), layout="constrained")
    parts = np.ravel(np.array(figure.subfigures(len(results), 1, height_ratios=heights)))
    for part, result, (draw, _) in zip(parts, results, drawers, strict=True):
        draw(part, result)
    return figure


def _two_inputs(figure: SubFigure, result: ToyResult) -> None:
    """Fig. 2: the inputs and what is learned, the sweeps, and the activity."""
    axes = list(figure.subplots(2, 3).ravel())
    config, arrays = result.config, result.arrays
    _inputs(axes[0], result)
    for axis, measure, text in (
        (axes[1], "selectivity", "selectivity for the cluster"),
        (axes[2], "alignment", r"|cos| of $w$ and the x axis"),
    ):
        for name in ("lpl", "pred_off", "oja"):
            _band(axis, config.sigma_values, arrays[f"sigma/{measure}"][BY_NAME[name]], name)
        axis.set(xlabel=SIGMA, ylabel=text, xscale="log", xlim=SIGMA_LIMITS)
    noisy = arrays["sigma_noisy/selectivity"][BY_NAME["lpl"]].mean(-1)
    axes[1].plot(config.sigma_values, noisy, ":", color=BLUE, label=f"LPL, p = {config.noisy:g}")
    _band(axes[3], config.p_values, arrays["p/selectivity"][BY_NAME["lpl"]], "lpl")
    axes[3].set(xlabel="probability p of changing the cluster", ylabel="selectivity for the cluster")
    axes[3].set_title(r"$\sigma_y = 1$", fontsize=8)
    for axis in (axes[1], axes[2], axes[3]):
        axis.set_ylim(-0.03, 1.03 if axis is axes[2] else 0.85)
    _activity(axes[4], axes[5], result)
    letter(axes)
    legend_above(figure, axes)


def _activity(course: Axes, sweep: Axes, result: ToyResult) -> None:
    """The activity under every rule, over the steps and by sigma_y."""
    for rule, activity in zip(two_inputs.COURSE_RULES, result.arrays["course/activity"], strict=True):
        _band(course, two_inputs.course_steps(result.config), activity, rule.name)
    for name, k in BY_NAME.items():
        _band(sweep, result.config.sigma_values, result.arrays["sigma/activity"][k], name)
    text = r"mean activity $\langle|y|\rangle$ (a.u.)"
    course.set(xlabel="step", ylabel=text, yscale="log")
    naive = two_inputs.COURSE_RULES[BY_NAME["naive"]]
    course.set_title(rf"$\sigma_y = {two_inputs.COURSE_SIGMA:g}$, {naive.label}: decay x {naive.decay:g}", fontsize=8)
    sweep.set(xlabel=SIGMA, ylabel=text, xscale="log", xlim=SIGMA_LIMITS, yscale="log")
    for axis in (course, sweep):
        if not np.isfinite(axis.dataLim.minposy):
            axis.set_yscale("linear")
            say(axis, "diverged from the first")
        elif axis.dataLim.y1 > LARGEST:  # what grows beyond all bounds leaves the panel
            axis.set_ylim(max(axis.get_ylim()[0], 1e-10), 1e45)
            axis.axhline(LARGEST, color=GREY, lw=0.8, ls=":")
            look: dict[str, Any] = {"fontsize": 7, "color": GREY, "transform": axis.get_yaxis_transform()}
            axis.text(0.98, 1e39, "largest float32", ha="right", va="bottom", **look)


def _band(axis: Axes, x: Any, values: Floats, name: str) -> None:
    """The mean over repetitions, and all of them as a band between the least and the largest; values (x, n)."""
    text = two_inputs.RULES[BY_NAME[name]].label
    known = np.isfinite(values).all(-1)
    axis.fill_between(x, values.min(-1), values.max(-1), where=known, color=COLOURS[name], alpha=0.2, lw=0)
    style: Any = (0, (4, 2)) if name == "oja" else "-"  # often on top of another rule
    axis.plot(x, values.mean(-1), linestyle=style, color=COLOURS[name], label=text)


def _inputs(axis: Axes, result: ToyResult) -> None:
    """Samples of the input, and the directions that the first neuron of each rule has learned to weigh."""
    sigma = two_inputs.COURSE_SIGMA
    clusters = two_inputs.Clusters(np.array([sigma]), np.array([0.0]), result.config.deviation)
    rng = numpy_generator(result.seed, "two inputs", "shown")
    cluster = clusters.start(200)
    x = clusters.frame(cluster, rng)[0]
    for of, colour in ((-1, GREY), (1, "#C8C8C8")):
        axis.plot(*x[:, cluster[0] == of], ".", color=colour, ms=3)
    for name, length in (("pred_off", 2.6), ("oja", 2.0), ("lpl", 2.3)):
        w = result.arrays["course/weights"][BY_NAME[name], 0]
        direction = length * w / np.hypot(*w) * np.sign(w[np.argmax(np.abs(w))])
        axis.annotate("", direction, (0, 0), arrowprops={"arrowstyle": "-|>", "color": COLOURS[name], "lw": 1.8})
    axis.set(xlabel="x, the cluster (a.u.)", ylabel="y, noise (a.u.)", xlim=(-3, 3), ylim=(-3 * sigma, 3 * sigma))
    axis.set_title(rf"$\sigma_y = {sigma:g}$; arrows: weights $w$", fontsize=8)


SWEPT = {
    "mean": "mean $\\bar z$\n(Hz)",
    "variance": "variance $\\sigma^2$\n(Hz$^2$)",
    "slope": "$\\mathrm{d}z/\\mathrm{d}t$\n(Hz/s)",
}


def _rule(figure: SubFigure, result: ToyResult) -> None:
    """ED Fig. 1 above, Suppl. Fig. 1 below."""
    axes = figure.subplots(3, 3)
    names = {"tanh": "piecewise tanh", "relu": "ReLU"}
    for row, activation in enumerate(rule_curves.ACTIVATIONS):
        for axis, (name, values) in zip(axes[row], rule_curves.SWEEPS.items(), strict=True):
            for k, value in enumerate(values):
                colour = LOW_TO_HIGH(k / (len(values) - 1))
                dw = result.arrays[f"dw/{name}"][row, k]
                axis.plot(result.arrays["z"][row], dw, color=colour, label=f"{value:g}".replace("-", "−"))
            axis.axhline(0, color=GREY, lw=0.6, zorder=0)
            axis.set(xlabel="activity z (Hz)", ylabel=r"$\Delta w$ (a.u.)")
            axis.set_title(names[activation], fontsize=8)
            if row == 0:
                legend_beside(axis, title=SWEPT[name], title_fontsize=8, fontsize=7)
    _losses(list(axes[2]), result)
    letter(list(axes.ravel()))


def _losses(axes: list[Axes], result: ToyResult) -> None:
    """The predictive loss, a Hebbian one and their sum by the distance of two clusters."""
    distance, (predictive, *hebbian) = result.arrays["distance"], result.arrays["losses"]
    texts = {"variance": r"$-\sigma^2$", "log": r"$-\log\sigma^2$", "hinge": r"relu$(1-\sigma)$"}
    for axis, name, loss in zip(axes, rule_curves.HEBBIAN_LOSSES, hebbian, strict=True):
        total = predictive + loss
        axis.plot(distance, predictive, color=ORANGE, label="predictive")
        axis.plot(distance, loss, color=GREEN, label="Hebbian")
        axis.plot(distance, total, color=BLUE, lw=2.0, label="sum")
        least = int(np.argmin(total))
        if 0 < least < len(total) - 1:
            axis.plot(distance[least], total[least], "o", color=BLUE, ms=5)
        axis.axhline(0, color=GREY, lw=0.6, zorder=0)
        axis.set(xlabel="distance D of the clusters (a.u.)", ylabel="loss (a.u.)", ylim=(-4.2, 4.2))
        axis.set_title(f"Hebbian loss {texts[name]}", fontsize=8)
    legend_beside(axes[-1], fontsize=7)


def _digit_sequences(figure: SubFigure, result: ToyResult) -> None:
    """Suppl. Fig. 2: the weights that are learned, and the selectivity for place and digit."""
    names = [*(rule.label for rule in digit_sequences.RULES), "untrained"]
    left, right = np.ravel(np.array(figure.subfigures(1, 2, width_ratios=[1.25, 1])))
    maps = left.subplots(2, len(names))
    for row, kind in zip(range(2), digit_sequences.KINDS, strict=True):
        for axis, name, w in zip(maps[row], names, result.arrays["weights"][row], strict=True):
            side = round(np.sqrt(w.size))
            limit = max(float(np.nanmax(np.abs(w), initial=0.0)), 1e-12)
            axis.imshow(w.reshape(side, side), cmap="RdBu_r", vmin=-limit, vmax=limit)
            axis.set(xticks=[], yticks=[])
            axis.spines[["top", "right"]].set_visible(True)
            if row == 0:
                axis.set_title(name, fontsize=8)
        maps[row, 0].set_ylabel(f"{kind} sequences")
    bars = list(right.subplots(2, 1, sharex=True))
    for axis, kind, found in zip(bars, digit_sequences.KINDS, result.arrays["selectivity"], strict=True):
        for column, (text, colour) in enumerate((("for the place", BLUE), ("for the digit", VERMILLION))):
            place = np.arange(len(names)) + 0.36 * (column - 0.5)
            axis.bar(place, found[..., column].mean(-1), 0.34, color=colour, alpha=0.75, label=text)
            for x, values in zip(place, found[..., column], strict=True):
                axis.plot(np.full(len(values), x), values, ".", color=BLACK, ms=3)
        axis.set(ylabel="selectivity", title=f"{kind} sequences")
        if not np.isfinite(found).any():
            say(axis, "diverged from the first")
    legend_above(right, bars[:1])
    bars[1].set_xticks(range(len(names)), names)
    letter([maps[0, 0], bars[0]])


Drawer = Callable[[SubFigure, ToyResult], None]
DRAWERS: dict[str, tuple[Drawer, float]] = {  # and the height, inches
    "two-inputs": (_two_inputs, 6.0),
    "rule": (_rule, 7.6),
    "digit-sequences": (_digit_sequences, 3.5),
}

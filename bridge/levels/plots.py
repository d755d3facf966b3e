"""Figures of the comparison of rate and spiking plasticity."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from foundation.figures import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    SKY,
    VERMILLION,
    from_zero,
    legend_above,
    legend_beside,
    letter,
    lines,
    number,
    panels,
    styled,
)

COLOURS = {"predictive": BLUE, "Hebbian": ORANGE, "growth": GREEN, "LPL": BLACK}
LEVEL_COLOURS = {"before": GREY, "rate": SKY, "spiking": VERMILLION}


@styled
def plasticity(runs: list[dict[str, Any]]) -> Figure:
    """The ladder and what surrounds it, of one comparison."""
    results = runs[0]
    draw = [_ladder, _units, _curve, _parts, _sizes, _realisations, _sweeps, _learned]
    absent = {_parts: "parts", _sweeps: "sweeps", _learned: "learned"}
    draw = [panel for panel in draw if panel not in absent or results[absent[panel]]]
    figure, axes = panels(2, -(-len(draw) // 2), width=4.0, height=2.9)
    for axis, panel in zip(axes, draw, strict=False):
        panel(axis, results)
    for axis in axes[len(draw) :]:
        axis.remove()
    letter(axes[: len(draw)])
    legend_above(figure, axes[:1])
    return figure


def _medians(results: dict[str, Any], term: str, key: str) -> list[float]:
    return [float(np.median(results["agreement"][rung][term][key])) for rung in results["rungs"]]


def _ladder(axis: Axes, results: dict[str, Any]) -> None:
    rungs = results["rungs"]
    x = np.arange(len(rungs))
    for term in ("predictive", "Hebbian", "LPL"):
        axis.plot(x, _medians(results, term, "pearson"), color=COLOURS[term], marker="o", ms=4, label=term)
        axis.plot(x, _medians(results, term, "pearson_ceiling"), color=COLOURS[term], ls="--", lw=1)
    axis.plot([], [], color=BLACK, ls="--", lw=1, label="noise ceiling")
    axis.axhline(0, color=BLACK, lw=0.6)
    axis.set_xticks(x, [rung.replace(" ", "\n") for rung in rungs], fontsize=7)
    axis.set(ylabel="correlation with the rate rule", ylim=(None, 1.08))


def _units(axis: Axes, results: dict[str, Any]) -> None:
    last = results["agreement"][results["rungs"][-1]]
    groups = {
        "pearson": ("agreement", BLUE),
        "pearson_ceiling": ("noise ceiling", BLACK),
        "shuffled_pearson": ("inputs shuffled", ORANGE),
        "other_pearson": ("another unit", GREY),
    }
    terms = ("predictive", "Hebbian", "LPL")
    for place, term in enumerate(terms):
        for offset, (key, (_, colour)) in zip((-0.3, -0.1, 0.1, 0.3), groups.items(), strict=True):
            values = np.asarray(last[term][key])
            axis.scatter(place + offset + np.linspace(-0.05, 0.05, len(values)), values, s=4, color=colour, alpha=0.6)
            axis.plot([place + offset - 0.08, place + offset + 0.08], [np.median(values)] * 2, color=colour, lw=2)
    for name, colour in groups.values():
        axis.plot([], [], color=colour, lw=2, label=name)
    axis.axhline(0, color=BLACK, lw=0.6)
    axis.set_xticks(range(len(terms)), terms)
    axis.set(
        ylabel="correlation of each unit's update",
        ylim=(-1.05, 1.05),
        title=f"{results['rungs'][-1]}, {results['units']} units",
    )
    legend_beside(axis, fontsize=7)


def _curve(axis: Axes, results: dict[str, Any]) -> None:
    curve = {key: np.asarray(values) for key, values in results["curve"].items()}
    axis.plot(curve["drive"], curve["rate"], color=BLACK, label="rate")
    axis.set(xlabel="drive, weights times rates (Hz)", ylabel="firing rate (Hz)")
    other = axis.twinx()
    other.plot(curve["drive"], curve["slope"] / max(curve["slope"].max(), 1e-12), color=BLUE, label="slope")
    other.plot(
        curve["drive"],
        curve["surrogate"] / max(curve["surrogate"].max(), 1e-12),
        color=VERMILLION,
        ls="--",
        label="surrogate",
    )
    other.set(ylabel="derivative (of the largest)", ylim=(0, 1.07), yticks=[0, 0.5, 1])
    handles = [*axis.get_lines(), *other.get_lines()]
    labels = [str(handle.get_label()) for handle in handles]
    axis.legend(handles, labels, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, fontsize=7, handlelength=1.2)
    from_zero(axis)


def _parts(axis: Axes, results: dict[str, Any]) -> None:
    terms = ("predictive", "Hebbian", "LPL")
    colours = {"locked": BLUE, "own spikes": VERMILLION, "pairs": GREY}
    for place, (name, colour) in enumerate(colours.items()):
        shares = [100 * results["parts"][term]["projections"][name] for term in terms]
        label = "follows the stimulus" if name == "locked" else name
        axis.bar(np.arange(len(terms)) + 0.27 * (place - 1), shares, 0.25, color=colour, label=label)
    axis.axhline(0, color=BLACK, lw=0.6)
    axis.set_xticks(range(len(terms)), terms)
    axis.set_ylabel("share of the spiking update (%)")
    legend_beside(axis, fontsize=7)


def _sizes(axis: Axes, results: dict[str, Any]) -> None:
    sizes = list(results["sizes"].values())
    x = np.arange(len(sizes))
    ratio = [of["predictive"] / max(of["Hebbian"], 1e-300) for of in sizes]
    axis.plot(x, ratio, color=BLACK, marker="o", ms=4)
    axis.axhline(1, color=GREY, lw=0.8)
    axis.set_yscale("log")
    axis.set_xticks(x, [rung.replace(" ", "\n") for rung in results["sizes"]], fontsize=7)
    axis.set(ylabel="size, predictive over Hebbian term")


def _realisations(axis: Axes, results: dict[str, Any]) -> None:
    for term in ("predictive", "Hebbian", "LPL"):
        repeats, correlation, ceiling = np.array(results["realisations"][term]).T
        axis.plot(repeats, correlation, color=COLOURS[term], marker="o", ms=4)
        axis.plot(repeats, ceiling, color=COLOURS[term], ls="--", lw=1)
    axis.set_xscale("log", base=2)
    axis.set_xticks(repeats, [f"{n:.0f}" for n in repeats])
    axis.set(xlabel="realisations", ylabel="correlation, all synapses", ylim=(min(0, axis.get_ylim()[0]), 1.05))


def _sweeps(axis: Axes, results: dict[str, Any]) -> None:
    ticks, labels, start = [], [], 0
    for name, rows in results["sweeps"].items():
        places = np.arange(start, start + len(rows))
        for term in ("predictive", "Hebbian", "LPL"):
            axis.plot(places, [row[f"{term} correlation"] for row in rows], color=COLOURS[term], marker="o", ms=3)
        ticks += list(places)
        labels += [f"{row['value'] * (1e3 if name.startswith('step') else 1):g}" for row in rows]
        shown = {"input rate": "input rate (x)", "duration in s": "duration (s)", "step in s": "step (ms)"}.get(
            name, name
        )
        axis.text(float(places.mean()) if len(places) else start, 1.12, lines(shown, 10), ha="center", fontsize=7)
        start += max(len(rows), 2) + 1
    axis.axhline(0, color=BLACK, lw=0.6)
    axis.set_xticks(ticks, labels, fontsize=7)
    axis.set(xlabel="value", ylabel="correlation with the rate rule", xlim=(-1, start - 1), ylim=(-1.05, 1.45))


def _learned(axis: Axes, results: dict[str, Any]) -> None:
    found = results["learned"]
    selectivity = found["selectivity"]
    if selectivity:
        names = found["populations"]
        x = np.arange(len(names))
        for offset, (level, values) in zip((-0.27, 0, 0.27), selectivity.items(), strict=True):
            axis.bar(x + offset, values, 0.25, color=LEVEL_COLOURS[level], label=level)
        steep = len(names) * max(map(len, names)) > 40
        axis.set_xticks(x, [lines(name, 14) for name in names], fontsize=7, rotation=90 * steep)
        axis.set(ylabel="mean weight (leak conductance)")
    else:
        x = np.arange(3)
        axis.bar(x, [found["readout"][level] or 0.0 for level in LEVEL_COLOURS], color=list(LEVEL_COLOURS.values()))
        axis.set_xticks(x, list(LEVEL_COLOURS))
        axis.set(ylabel="readout of the inputs, $R^2$")
    axis.set_title(f"cosine of changes {number(found['overall'])}", fontsize=8)
    axis.axhline(0, color=BLACK, lw=0.6)
    if selectivity:
        legend_beside(axis, fontsize=7)

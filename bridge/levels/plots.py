"""Figures of the comparison of rate and spiking plasticity."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from foundation.figures import BLACK, BLUE, GREEN, GREY, ORANGE, SKY, VERMILLION, letter, panels, styled

COLOURS = {"predictive": BLUE, "Hebbian": ORANGE, "growth": GREEN, "LPL": BLACK}
LEVEL_COLOURS = {"before": GREY, "rate": SKY, "spiking": VERMILLION}


@styled
def plasticity(runs: list[dict[str, Any]]) -> Figure:
    """The ladder and what surrounds it, of one comparison."""
    results = runs[0]
    figure, axes = panels(2, 4, width=3.2, height=2.9)
    _ladder(axes[0], results)
    _units(axes[1], results)
    _curve(axes[2], results)
    _parts(axes[3], results)
    _sizes(axes[4], results)
    _realisations(axes[5], results)
    _sweeps(axes[6], results)
    _learned(axes[7], results)
    letter(axes)
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
    axis.set(ylabel="correlation with the rate rule", ylim=(-0.65, 1.08))
    axis.legend(loc="lower left", fontsize=7)


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
        ylim=(-1.05, 1.35),
        title=f"{results['rungs'][-1]}, {results['units']} units",
    )
    axis.legend(loc="upper center", ncols=2, fontsize=7)


def _curve(axis: Axes, results: dict[str, Any]) -> None:
    curve = {key: np.asarray(values) for key, values in results["curve"].items()}
    axis.plot(curve["drive"], curve["rate"], color=BLACK, label="rate")
    axis.set(xlabel="drive, weights times rates (Hz)", ylabel="firing rate (Hz)")
    other = axis.twinx()
    other.plot(curve["drive"], curve["slope"] / max(curve["slope"].max(), 1e-12), color=BLUE, label="its slope")
    other.plot(
        curve["drive"],
        curve["surrogate"] / max(curve["surrogate"].max(), 1e-12),
        color=VERMILLION,
        ls="--",
        label="surrogate derivative",
    )
    other.set(ylabel="derivative (of the largest)", ylim=(0, 1.5), yticks=[0, 0.5, 1])
    handles = [*axis.get_lines(), *other.get_lines()]
    axis.legend(handles, [str(h.get_label()) for h in handles], loc="upper right", fontsize=7)
    axis.set_ylim(0, 1.35 * float(curve["rate"].max()))


def _parts(axis: Axes, results: dict[str, Any]) -> None:
    if not results["parts"]:
        axis.set(title="not in parts", xticks=[], yticks=[])
        return
    terms = ("predictive", "Hebbian", "LPL")
    colours = {"locked": BLUE, "own spikes": VERMILLION, "pairs": GREY}
    for place, (name, colour) in enumerate(colours.items()):
        shares = [100 * results["parts"][term]["projections"][name] for term in terms]
        label = "follows the stimulus" if name == "locked" else name
        axis.bar(np.arange(len(terms)) + 0.27 * (place - 1), shares, 0.25, color=colour, label=label)
    axis.axhline(0, color=BLACK, lw=0.6)
    low, high = axis.get_ylim()
    axis.set_xticks(range(len(terms)), terms)
    axis.set(ylabel="share of the spiking update (%)", ylim=(low, high + 0.35 * (high - low)))
    axis.legend(loc="upper center", fontsize=7)


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
        number, correlation, ceiling = np.array(results["realisations"][term]).T
        axis.plot(number, correlation, color=COLOURS[term], marker="o", ms=4, label=term)
        axis.plot(number, ceiling, color=COLOURS[term], ls="--", lw=1)
    axis.plot([], [], color=BLACK, ls="--", lw=1, label="noise ceiling")
    axis.set_xscale("log", base=2)
    axis.set_xticks(number, [f"{n:.0f}" for n in number])
    axis.set(xlabel="realisations", ylabel="correlation, all synapses", ylim=(min(0, axis.get_ylim()[0]), 1.35))
    axis.legend(loc="upper center", ncols=2, fontsize=7)


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
        axis.text(float(places.mean()) if len(places) else start, 1.12, shown, ha="center", fontsize=7)
        start += len(rows) + 1
    axis.axhline(0, color=BLACK, lw=0.6)
    axis.set_xticks(ticks, labels, fontsize=7)
    axis.set(ylabel="correlation with the rate rule", ylim=(-1.05, 1.3), title="" if ticks else "no sweeps")


def _learned(axis: Axes, results: dict[str, Any]) -> None:
    found = results["learned"]
    if not found:
        axis.set(title="no learning", xticks=[], yticks=[])
        return
    selectivity = found["selectivity"]
    if selectivity:
        names = found["populations"]
        x = np.arange(len(names))
        for offset, (level, values) in zip((-0.27, 0, 0.27), selectivity.items(), strict=True):
            axis.bar(x + offset, values, 0.25, color=LEVEL_COLOURS[level], label=level)
        axis.set_xticks(x, names, fontsize=7)
        axis.set(ylabel="mean weight (leak conductance)")
    else:
        x = np.arange(3)
        axis.bar(x, [found["readout"][level] or 0.0 for level in LEVEL_COLOURS], color=list(LEVEL_COLOURS.values()))
        axis.set_xticks(x, list(LEVEL_COLOURS))
        axis.set(ylabel="readout of the inputs, $R^2$")
    text = f"learning on: cosine of changes {found['overall']:.2f}"
    axis.text(0.99, 0.82, text, ha="right", va="top", fontsize=7, transform=axis.transAxes)
    if selectivity:
        axis.set_ylim(0, 1.45 * max(map(max, selectivity.values())))
        axis.legend(loc="upper center", ncols=3, fontsize=7)

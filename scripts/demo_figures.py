"""The figures of `ratespike demo`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

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
    legend_beside,
    letter,
    number,
    panels,
    styled,
    whole_numbers,
)
from ratenets.evaluation.layerwise import LayerReadout

if TYPE_CHECKING:
    from .demo_tour import Tour

COLOURS = {"LPL": BLUE, "predictive off": VERMILLION, "untrained": GREY}
LAYERS = (SKY, BLUE, GREEN, PURPLE, ORANGE, VERMILLION, BLACK, GREY)
TERMS = ("predictive", "Hebbian", "LPL")
DENSITY = LinearSegmentedColormap.from_list("density", [SKY, BLUE, BLACK])  # a single point is seen, too


@styled
def training(tour: Tour) -> Figure:
    """The three terms of every layer by epoch."""
    figure, axes = panels(1, 3)
    epochs = [line["epoch"] for line in tour.history]
    labels = {
        "pull": "pull, $\\langle (z - z')^2 \\rangle$",
        "push": "push, $-\\langle \\log \\sigma^2 \\rangle$",
        "decorr": "decorrelation, $\\langle C_{jk}^2 \\rangle$",
    }
    for axis, (term, label) in zip(axes, labels.items(), strict=True):
        for layer in range(1, len(tour.config.hidden) + 1):
            values = [line[f"layer{layer}/{term}"] for line in tour.history]
            axis.plot(epochs, values, color=LAYERS[(layer - 1) % len(LAYERS)], label=f"layer {layer}")
        axis.set(xlabel="epoch", ylabel=label)
        whole_numbers(axis.xaxis)
    axes[0].set_yscale("log")
    axes[2].set_yscale("log")
    letter(axes)
    legend_above(figure, axes[:1])
    return figure


@styled
def readout(tour: Tour) -> Figure:
    """Accuracy by layer, with few labels and with all."""
    figure, axes = panels(1, 2, width=3.4)
    for axis, key, title in (
        (axes[0], "few", f"{tour.config.labels} labels"),
        (axes[1], "all", f"all {len(tour.images.train_labels):,} labels"),
    ):
        for name, runs in tour.readouts.items():
            values = 100 * np.array([[getattr(layer, key) for layer in run] for run in runs])  # seeds x layers
            spread = values.std(0) if len(values) > 1 else _draw_spread(runs[0], key)
            x = np.arange(1, values.shape[1] + 1)
            axis.errorbar(x, values.mean(0), spread, color=COLOURS[name], marker="o", ms=4, capsize=2, label=name)
        pixels = 100 * np.mean([getattr(p, key) for p in tour.pixels])
        axis.axhline(pixels, color=BLACK, ls=":", lw=1, label="raw pixels")
        axis.set(xlabel="layer", ylabel="test accuracy (%)", title=title, xticks=x)
    letter(axes)
    legend_above(figure, axes[:1])
    return figure


def _draw_spread(run: list[LayerReadout], key: str) -> np.ndarray | None:
    return 100 * np.array([layer.few_deviation for layer in run]) if key == "few" else None


@styled
def accuracy(tour: Tour) -> Figure:
    """Accuracy of the spiking network against time steps."""
    figure, (axis,) = panels(width=5.4)
    for conversion, colour, label in (
        (tour.spikes.analog, BLUE, "constant current"),
        (tour.spikes.poisson, ORANGE, "Poisson spikes"),
    ):
        values = 100 * np.array(conversion.report.spiking_accuracy)
        axis.plot(np.arange(1, len(values) + 1), values, color=colour, label=label)
    axis.axhline(100 * tour.spikes.analog.report.rate_accuracy, color=BLACK, ls=":", lw=1, label="rate network")
    axis.axhline(100 / tour.images.n_classes, color=GREY, ls="--", lw=1, label="chance")
    axis.set(xlabel="time steps", ylabel="test accuracy (%)", xscale="log", ylim=(0, 102))
    ticks = [1, 2, 4, 8, 16, 32, 64]
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    legend_beside(axis)
    return figure


@styled
def rates(tour: Tour) -> Figure:
    """Activation of the rate network against firing rate, by layer."""
    spikes = tour.spikes
    figure, axes = panels(1, len(spikes.network.neurons), width=2.4, height=2.5)
    pairs = zip(spikes.network.neurons, spikes.analog.activations, spikes.analog.rates, strict=True)
    for axis, (layer, activation, rate) in zip(axes, pairs, strict=True):
        units = activation / layer.scale, rate / layer.scale
        axis.hexbin(*units, gridsize=40, bins="log", cmap=DENSITY, mincnt=1, linewidths=0.1)
        top = max(1.0, units[0].max())
        axis.plot([0, 1, top], [0, 1, 1], color=BLACK, lw=0.8, ls=":")
        axis.set(xlabel="activation / scale", title=layer.name)
    axes[0].set_ylabel("firing rate (spikes / step)")
    return figure


@styled
def raster(tour: Tour) -> Figure:
    """One digit going through the spiking network."""
    spikes = tour.spikes
    figure, axes = panels(1, 2, width=3.4, height=3.6, width_ratios=[1, 2.6])
    image = tour.images.test_images[spikes.example_index, 0]
    axes[0].imshow(image, cmap="gray_r", interpolation="nearest")
    axes[0].set(xticks=[], yticks=[], title=f"input: a digit {tour.images.test_labels[spikes.example_index]}")
    axes[0].spines[:].set_visible(False)
    base = 0
    for layer, spike, colour in zip(spikes.network.neurons, spikes.example.spikes, LAYERS, strict=False):
        step, unit = np.nonzero(spike[0])
        axes[1].scatter(step + 1, unit + base, s=2.5, color=colour, linewidths=0)
        base += layer.channels
    centres = np.cumsum([0, *(layer.channels for layer in spikes.network.neurons)])
    axes[1].set_yticks((centres[1:] + centres[:-1]) / 2, [layer.name for layer in spikes.network.neurons])
    axes[1].tick_params(axis="y", length=0)
    axes[1].set(xlabel="time step", ylim=(-1, base), xlim=(0, spikes.example.steps + 1))
    return figure


@styled
def plasticity(tour: Tour) -> Figure:
    """Rate against spiking updates."""
    result = tour.plasticity.fast
    figure, axes = panels(1, 3, width=3.9, height=2.9)
    rate, spiking = (updates["LPL"] / np.abs(updates["LPL"]).max() for updates in (result.rate, result.spiking))
    axes[0].hexbin(rate.ravel(), spiking.ravel(), gridsize=60, bins="log", cmap=DENSITY, mincnt=1, linewidths=0.1)
    axes[0].axline((0, 0), slope=1, color=BLACK, lw=0.8, ls=":")
    axes[0].axhline(0, color=GREY, lw=0.6)
    axes[0].axvline(0, color=GREY, lw=0.6)
    axes[0].set(xlabel="rate update (of the largest)", ylabel="spiking update (of the largest)")
    _cosines(axes[1], tour)
    by_rate = {tour.config.comparison.unit_rate: result, tour.plasticity.slow_rate: tour.plasticity.slow}
    x = np.arange(len(TERMS))
    for offset, (hertz, comparison), colour in zip((0.2, -0.2), by_rate.items(), (BLUE, SKY), strict=True):
        values = [np.median(comparison.terms[term].cosine) for term in TERMS]
        axes[2].bar(x - offset, values, 0.38, color=colour, label=f"{hertz:g} Hz")
        shuffled = [np.median(comparison.terms[term].shuffled) for term in TERMS]
        axes[2].hlines(shuffled, x - offset - 0.19, x - offset + 0.19, color=BLACK, lw=1.5, linestyles=(0, (2, 1)))
    axes[2].axhline(0, color=BLACK, lw=0.6)
    axes[2].set_xticks(x, TERMS)
    axes[2].set(ylabel="cosine, median over units", ylim=(min(0.0, axes[2].get_ylim()[0]), 1.05))
    axes[2].plot([], [], color=BLACK, lw=1.5, ls=(0, (2, 1)), label="inputs shuffled\nin time")
    legend_beside(axes[2], title="firing rate of\nactivation 1")
    letter(axes)
    return figure


def _cosines(axis: Axes, tour: Tour) -> None:
    """Per unit: cosine, noise ceiling and controls of each term."""
    groups = {
        "cosine": (BLUE, "agreement"),
        "ceiling": (BLACK, "noise ceiling"),
        "shuffled": (ORANGE, "inputs shuffled\nin time"),
        "reordered": (PURPLE, "frames reordered"),
        "other": (GREY, "another unit"),
    }
    for place, term in enumerate(TERMS):
        agreement = tour.plasticity.fast.terms[term]
        for offset, (key, (colour, _)) in zip((-0.34, -0.17, 0, 0.17, 0.34), groups.items(), strict=True):
            values = getattr(agreement, key)
            jitter = np.linspace(-0.05, 0.05, len(values))
            axis.scatter(place + offset + jitter, values, s=4, color=colour, alpha=0.5, linewidths=0)
            axis.plot([place + offset - 0.07, place + offset + 0.07], [np.median(values)] * 2, color=colour, lw=2)
    for colour, name in groups.values():
        axis.plot([], [], color=colour, lw=2, label=name)
    axis.axhline(0, color=BLACK, lw=0.6)
    axis.set_xticks(range(len(TERMS)), TERMS)
    axis.set(ylabel="cosine of each unit's update", ylim=(-1, 1.05))
    legend_beside(axis)


@styled
def updates(tour: Tour) -> Figure:
    """What the two rules would do to single units, as images of their input."""
    result = tour.plasticity.fast
    _, height, width = tour.images.image_shape
    by_agreement = np.argsort(result.terms["LPL"].cosine)
    chosen = by_agreement[np.linspace(0, len(by_agreement) - 1, min(8, len(by_agreement))).round().astype(int)]
    figure, axes = panels(2, len(chosen), width=0.95, height=1.05)
    for column, unit in enumerate(chosen):
        for row, (name, update) in enumerate((("rate", result.rate["LPL"]), ("spiking", result.spiking["LPL"]))):
            axis = axes[row * len(chosen) + column]
            picture = update[unit].reshape(-1, height, width)[0]
            limit = np.abs(picture).max()
            axis.imshow(picture, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if column == 0:
                axis.set_ylabel(name)
            if row == 0:
                cosine = number(result.terms["LPL"].cosine[unit])
                axis.set_title(cosine if column else f"cosine {cosine}", fontsize=8)
    return figure

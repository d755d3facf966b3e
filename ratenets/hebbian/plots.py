"""Figures of local learning rules side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from foundation.errors import UsageError
from foundation.figures import BLACK, GREY, legend_above, letter, panels, plain, styled, whole_numbers
from ratenets.hebbian.classifier import Specificity, name_the_rule
from ratenets.hebbian.learning_plots import LIGHT, Drawn, drawn_of, style, training
from ratenets.hebbian.results import LocalResult
from ratenets.hebbian.summary import TRAINING, Summary, Values, by_setting, layers_of, summaries

LAYER_MARKERS = "osD^v"


@styled
def local_rules(results: Sequence[LocalResult]) -> Figure:
    """What an experiment has found; several seeds of a condition are pooled.

    * Learning (single runs, experiments of two, three and ten classes, harder): accuracy and loss by epoch, on
      validation images (solid) and training images (dashed), accuracy by class and right answers by class at the end.
      Lines and markers are means over seeds, bands and bars 95 % confidence intervals (Student's t, from three seeds
      on), thin lines and dots single seeds.
    * snr: signal-to-noise ratio of gradients by rule: bars are means over layers, markers layers, dots single seeds.
    * bias: cosine of gradients and backprop's by epoch and layer: mean, and its standard error as a band.
    * which-rule: all runs in two dimensions, and which rule a linear classifier says that each was.

    Raises:
        UsageError: no run, one twice, runs of several experiments, datasets or, in one panel, classes; nothing was
            measured that the experiment is about.
    """
    found = summaries(results)
    experiment = results[0].experiment
    if experiment in TRAINING:
        return training(found)
    if experiment == "which-rule":
        return _which_rule(name_the_rule(results))
    return {"snr": _snr, "bias": _bias}[experiment](found)


# --- gradients --------------------------------------------------------------------------------------------------------
def _snr(found: Sequence[Summary]) -> Figure:
    layers = layers_of(found, "snr")
    if not layers:
        raise UsageError(f"{found[0].runs[0].run}: has no signal-to-noise ratios; make it with --experiment snr")
    labels = list(dict.fromkeys(summary.label for summary in found))
    settings = by_setting(found)
    height = max(2.2, 0.3 * len(labels) + 0.8)
    figure, axes = panels(1, len(settings), width=3.6, height=height, sharex=True, sharey=True)
    for axis, (setting, conditions) in zip(axes, settings.items(), strict=True):
        for summary in conditions:
            _snr_row(axis, labels.index(summary.label), summary, layers)
        axis.set(xscale="log", xlabel="SNR of single examples' gradients", title=plain(setting))
    axes[0].set_yticks(range(len(labels)), list(map(plain, labels)))
    axes[0].set_ylim(len(labels) - 0.5, -0.5)
    letter(axes)
    handles, _ = axes[0].get_legend_handles_labels()
    figure.legend(handles[: len(layers)], layers, loc="outside upper center", ncols=len(layers))
    return figure


def _snr_row(axis: Axes, row: int, summary: Summary, layers: Sequence[str]) -> None:
    """A condition's bar, the mean over layers, and its layers."""
    values = {layer: _finite(summary.snr(layer)) for layer in layers}
    means = [each.mean() for each in values.values() if each.size]
    if means:
        axis.barh(row, np.mean(means), 0.72, color=LIGHT, zorder=1)
    shades = colormaps["viridis"](np.linspace(0.1, 0.75, len(layers)))
    for number, (layer, seeds) in enumerate(values.items()):
        y = row + 0.4 * ((number + 0.5) / len(layers) - 0.5)
        marker = LAYER_MARKERS[number % len(LAYER_MARKERS)]
        axis.plot(seeds, np.full(len(seeds), y), ".", color=shades[number], ms=4, mew=0, alpha=0.5, zorder=2)
        mean = [seeds.mean()] if seeds.size else [np.nan]
        axis.plot(mean, [y], marker, color=shades[number], ms=5, label=layer, zorder=3, mec="white", mew=0.5)


def _finite(values: Values) -> Values:
    finite: Values = values[np.isfinite(values)]
    return finite


def _bias(found: Sequence[Summary]) -> Figure:
    layers = layers_of(found, "cosine")
    if not layers:
        raise UsageError(f"{found[0].runs[0].run}: has no cosines; make it with --experiment bias")
    settings = drawn_of(found)
    size = (len(settings), len(layers))
    figure, axes = panels(*size, width=3.4 if size[1] < 4 else 2.6, height=2.5, sharex=True, sharey=True)
    for number, axis in enumerate(axes):
        row, column = divmod(number, len(layers))
        setting = list(settings)[row]
        for each in settings[setting]:
            _cosine(axis, each, layers[column])
        axis.axhline(0, color=GREY, lw=0.8, ls=":", zorder=0)
        axis.set_title(plain(f"{layers[column]}, {setting}" if setting else layers[column]))
        whole_numbers(axis.xaxis)
        if row == len(settings) - 1:
            axis.set_xlabel("epoch")
        if not column:
            axis.set_ylabel("cosine of gradients\nto backprop's")
    letter(axes)
    legend_above(figure, axes)
    return figure


def _cosine(axis: Axes, drawn: Drawn, layer: str) -> None:
    """Mean over the seeds in which it is defined, and its standard error."""
    summary, colour, marker = drawn
    values = summary.cosine(layer)
    columns = [_finite(column) for column in values.T]
    mean = np.array([each.mean() if each.size else np.nan for each in columns])
    error = np.array([each.std(ddof=1) / len(each) ** 0.5 if len(each) > 1 else np.nan for each in columns])
    axis.fill_between(summary.epochs, mean - error, mean + error, color=colour, alpha=0.25, lw=0)
    axis.plot(summary.epochs, mean, color=colour, marker=marker, ms=4, label=plain(summary.label))


# --- which rule -------------------------------------------------------------------------------------------------------
def _which_rule(found: Specificity) -> Figure:
    figure, (projection, confusion) = panels(1, 2, width=4.6, height=max(3.4, 0.26 * len(found.rules) + 1.6))
    for number, rule in enumerate(found.rules):
        colour, marker = style(number)
        x, y = found.projection[found.labels == number].T
        projection.plot(x, y, marker, color=colour, ms=6 + 2 * (marker == "*"), mew=0, alpha=0.8, label=plain(rule))
    projection.set(
        xlabel=f"principal component 1 ({100 * found.explained[0]:.0f} % of variance)",
        ylabel=f"principal component 2 ({100 * found.explained[1]:.0f} %)",
        title=f"{len(found.metrics)} metrics of {len(found.labels)} runs",
    )
    projection.legend(fontsize=7, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    _confusion(confusion, found)
    letter([projection, confusion])
    return figure


def _confusion(axis: Axes, found: Specificity) -> None:
    """Runs by rule and by the rule that they were taken for; the colour is the share of the row."""
    share = found.confusion / found.confusion.sum(1, keepdims=True)
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), n in np.ndenumerate(found.confusion):
        if n:
            colour = "white" if share[row, column] > 0.5 else BLACK
            axis.text(column, row, str(n), ha="center", va="center", fontsize=7, color=colour)
    names = list(map(plain, found.rules))
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(names)), names)
    p = "p < 0.01" if found.p < 0.01 else f"p = {found.p:.2g}"
    chance = f"chance {100 * found.chance:.0f} %, {p}"
    title = f"{100 * found.accuracy:.0f} % named rightly\n({chance})"
    axis.set(xlabel="rule that is named", ylabel="rule", title=title)

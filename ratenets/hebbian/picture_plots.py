"""Figures of one network that a local rule has taught: its weights, and what it says of some images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from foundation.errors import UsageError
from foundation.figures import BLACK, ORANGE, VERMILLION, letter, panels, plain, styled, whole_numbers
from ratenets.hebbian.pictures import Pictures

UNITS, UNITS_PER_ROW = 12, 4
"""Of the first layer that are shown, as images."""
MOST_EXAMPLES = 10
"""Images in a row."""
MOST_NAMES = 20
"""Classes that are named at the weights of the last layer; of more, the units' numbers."""
CELL = 0.3  # inches, of an example

Values = NDArray[np.float64]
Bytes = NDArray[np.uint8]


@styled
def weights(pictures: Sequence[Pictures], shared: bool = True) -> Figure:
    """The weights of each layer before learning, after it, and their difference.

    The first layer's are images, those of its first twelve units; of colour images, the mean over the channels. The
    other layers are shown whole. The means of all of a layer's weights are marked on its colour bar: before learning
    by a black line, after it by an orange one; where there are three bars, each has its own mean.

    Args:
        pictures: of one network.
        shared: one colour bar for the three panels of a layer; else one for each, over its own range.

    Raises:
        UsageError: not one network.
    """
    of = _one(pictures)
    figure, axes = panels(len(of.before), 3, width=2.7, height=2.3)
    for number, (before, after) in enumerate(zip(of.before, of.after, strict=True)):
        row = axes[3 * number : 3 * number + 3]
        matrices = [W.astype(np.float64) for W in (before, after)]
        _layer(row, [*matrices, matrices[1] - matrices[0]], number, of, shared)
    for axis, title in zip(axes, ("before learning", "after learning", "difference"), strict=False):
        axis.set_title(title)
    letter(axes)
    return figure


def _one(pictures: Sequence[Pictures]) -> Pictures:
    if len(pictures) != 1:
        raise UsageError(f"the figure is of one network; give one file, not {len(pictures)}")
    return pictures[0]


def _layer(axes: Sequence[Axes], matrices: Sequence[Values], number: int, of: Pictures, shared: bool) -> None:
    """A row of panels: before, after and difference; matrices (out, in)."""
    shown = [_mosaic(W, of.image_shape) for W in matrices] if number == 0 else list(matrices)
    limits = [float(np.nanmax(np.abs(each))) or 1.0 for each in shown]
    limits = [max(limits)] * 3 if shared else limits
    drawn = [
        axis.imshow(each, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="equal" if number == 0 else "auto")
        for axis, each, limit in zip(axes, shown, limits, strict=True)
    ]
    means = [float(W.mean()) for W in matrices]
    name = f"W{number + 1}"
    if shared:
        _colour_bar(axes, drawn[0], name, {"mean before": (means[0], BLACK), "mean after": (means[1], ORANGE)})
    else:
        for axis, image, mean, colour in zip(axes, drawn, means, (BLACK, ORANGE, BLACK), strict=True):
            _colour_bar([axis], image, name, {"mean": (mean, colour)})
    if number == 0:
        units = len(matrices[0])
        axes[0].set_ylabel(f"{name}: {min(UNITS, units)} of {units} units")
        for axis in axes:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
    else:
        last = number == len(of.before) - 1
        axes[0].set_ylabel(f"{name}: {'class' if last else 'unit'}")
        for axis in axes:
            axis.set_xlabel("input")
            whole_numbers(axis.xaxis)
            whole_numbers(axis.yaxis)
        if last and len(of.class_names) <= MOST_NAMES:
            axes[0].set_yticks(range(len(of.class_names)), list(map(plain, of.class_names)))
        for axis in axes[1:]:
            axis.sharey(axes[0])
            axis.tick_params(labelleft=False)


def _mosaic(W: Values, shape: tuple[int, int, int]) -> Values:
    """Weights (out, pixels) of the first units as images, side by side, with gaps of NaN."""
    channels, height, width = shape
    images = W[:UNITS].reshape(-1, channels, height, width).mean(1)
    rows, columns = -(-len(images) // UNITS_PER_ROW), min(UNITS_PER_ROW, len(images))
    gap = max(1, width // 14)
    whole = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan)
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        top, left = row * (height + gap), column * (width + gap)
        whole[top : top + height, left : left + width] = image
    return whole


def _colour_bar(axes: Sequence[Axes], image: AxesImage, name: str, means: dict[str, tuple[float, str]]) -> None:
    """A colour bar with lines at means."""
    figure = axes[0].figure
    bar = figure.colorbar(image, ax=list(axes), label=name, pad=0.02, aspect=18)
    for mean, colour in means.values():
        bar.ax.axhline(mean, color=colour, lw=1.6)
    handles = [bar.ax.plot([], [], color=colour, lw=1.6, label=label)[0] for label, (_, colour) in means.items()]
    bar.ax.legend(handles, list(means), loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=7, handlelength=1.2)


@styled
def examples(pictures: Sequence[Pictures]) -> Figure:
    """Some test images, by what they are and by what the network says; its errors have a frame.

    At the end of each row is the number of right answers, and of images, in it, those that are not shown included.

    Raises:
        UsageError: not one network.
    """
    of = _one(pictures)
    sorts = {"class": of.labels, "prediction": of.predictions}
    longest = max(int(np.bincount(values).max()) for values in sorts.values())
    columns = min(MOST_EXAMPLES, longest)
    size = {"width": CELL * columns + 1.5, "height": CELL * len(of.class_names) + 0.5}
    figure, axes = panels(1, 2, **size)
    for axis, (title, values) in zip(axes, sorts.items(), strict=True):
        _rows(axis, of, values, columns)
        axis.set_ylabel(title)
        axis.set_xlabel("framed: errors; numbers: right / all", fontsize=7)
    letter(axes)
    return figure


def _rows(axis: Axes, of: Pictures, sort: NDArray[np.int64], columns: int) -> None:
    """A row of images for each class; `sort` (n,) says which each is in."""
    right = of.labels == of.predictions
    for row in range(len(of.class_names)):
        members = np.flatnonzero(sort == row)
        for column, n in enumerate(members[:columns]):
            inner = (column - 0.46, column + 0.46, row + 0.46, row - 0.46)
            axis.imshow(_picture(of.examples[n]), cmap="gray_r", vmin=0, vmax=255, extent=inner)
            if not right[n]:
                frame = Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, ec=VERMILLION, lw=1.4)
                axis.add_patch(frame)
        axis.text(columns - 0.3, row, f"{right[members].sum()}/{len(members)}", va="center", fontsize=7)
    axis.set(xlim=(-0.5, columns - 0.5), ylim=(len(of.class_names) - 0.5, -0.5), xticks=[], aspect="equal")
    axis.set_yticks(range(len(of.class_names)), list(map(plain, of.class_names)))
    axis.tick_params(axis="y", length=0)
    axis.spines[:].set_visible(False)


def _picture(image: Bytes) -> Bytes:
    """An image (C, H, W) as matplotlib takes it: (H, W, 3) in colour, else (H, W), the mean over the channels."""
    if len(image) == 3:
        return np.moveaxis(image, 0, -1)
    mean: Bytes = image.mean(0).astype(np.uint8)
    return mean

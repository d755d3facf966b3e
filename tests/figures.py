"""What is wrong with a drawn figure: words that are cut or overlap, legends on data, axes without names or units."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.collections import Collection, PathCollection
from matplotlib.container import BarContainer
from matplotlib.figure import Figure, SubFigure
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.transforms import Bbox, IdentityTransform
from numpy.typing import NDArray

NUMBER = re.compile(r"[−\d.,]*\d[\d.,]*|\$\\mathdefault\{.*\d.*\}\$")
UNIT = re.compile(r"\([^()]+\)")
DIMENSIONLESS = re.compile(
    r"epoch|layer|step|PC \d|SNR|class|value|input|unit|exposures|realisations|correlation|cosine|cos\||selectivity"
    r"|R\^2|participation ratio|probability|mean activity|scale|over Hebbian|task|condition|alignment|label|principal"
    r"|validation images|W\d|pull|push|decorr|sequences",
)
"""Words of labels of axes that are counts, shares, names or ratios, or in the network's own units."""


def faults(figure: Figure) -> list[str]:
    """One line for each thing that is wrong; empty for a good figure."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    boxes = _texts(figure, renderer)
    assert boxes, "a figure without words"
    return [
        *_cut(figure, boxes),
        *_overlaps(boxes),
        *(f"a number that is none: {text.get_text()!r}" for text, _ in boxes if _no_number(text.get_text())),
        *_legends_on_data(figure, renderer),
        *itertools.chain.from_iterable(_axes(figure, axes) for axes in _panels(figure)),
    ]


def unseen_ticks(figure: Figure) -> Iterator[Text]:
    """The labels of ticks beyond the ends of their axes, which matplotlib makes and does not draw."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = np.sort(axis.get_view_interval())
            margin = 1e-6 * (high - low)
            outside = [tick for tick in axis.get_major_ticks() if not low - margin <= tick.get_loc() <= high + margin]
            yield from (label for tick in outside for label in (tick.label1, tick.label2))
            yield from (label for tick in axis.get_minor_ticks() for label in (tick.label1, tick.label2))


def _texts(figure: Figure, renderer: RendererAgg) -> list[tuple[Text, Bbox]]:
    unseen = set(unseen_ticks(figure))
    off = [axis for axes in figure.axes if not axes.axison for axis in (axes.xaxis, axes.yaxis)]
    off += [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) if not axis.get_visible()]
    hidden = {text for axis in off for text in axis.findobj(Text)}
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text().strip()]
    shown = [text for text in texts if text.get_visible() and text not in unseen and text not in hidden]
    boxes = [(text, text.get_window_extent(renderer)) for text in shown]
    return [(text, box) for text, box in boxes if box.width > 0 and box.height > 0]


def _cut(figure: Figure, boxes: list[tuple[Text, Bbox]]) -> Iterator[str]:
    page = figure.bbox.padded(1.0)
    for text, box in boxes:
        if box.x0 < page.x0 or box.x1 > page.x1 or box.y0 < page.y0 or box.y1 > page.y1:
            yield f"leaves the page: {text.get_text()!r}"


def _overlaps(boxes: list[tuple[Text, Bbox]]) -> Iterator[str]:
    """Texts at right angles only: the boxes of others are larger than they are."""
    upright = [(text, box.padded(-1.0)) for text, box in boxes if text.get_rotation() in (0, 90)]
    for (one, a), (other, b) in itertools.combinations(upright, 2):
        if a.overlaps(b):
            yield f"on top of each other: {one.get_text()!r} and {other.get_text()!r}"


def _no_number(text: str) -> bool:
    return re.search(r"\b(nan|inf|None)\b", text) is not None


def _legends_on_data(figure: Figure, renderer: RendererAgg) -> Iterator[str]:
    for legend in figure.findobj(Legend):
        box = legend.get_window_extent(renderer).padded(-2.0)
        first = legend.get_texts()[0].get_text()
        for axes in figure.axes:
            if axes.bbox.overlaps(box) and any(box.overlaps(each) for each in _drawn(axes)):
                yield f"a legend on top of data: that of {first!r}"
                break


def _drawn(axes: Axes) -> Iterator[Bbox]:
    """Where there is something in a panel, in pixels, in small pieces."""
    seen = axes.bbox
    for line in axes.get_lines():
        if not len(np.asarray(line.get_xdata())):
            continue
        path = line.get_transform().transform_path(line.get_path())
        points = np.asarray(path.vertices if line.get_linestyle() == "None" else path.interpolated(50).vertices)
        yield from (_dot(x, y) for x, y in points[np.isfinite(points).all(1)] if seen.contains(x, y))
    for patch in axes.patches:
        if (box := Bbox.intersection(patch.get_window_extent(), seen)) is not None:
            yield box
    for collection in axes.collections:
        yield from _pieces(collection, seen)


def _pieces(collection: Collection, seen: Bbox) -> Iterator[Bbox]:
    if isinstance(collection, PathCollection):
        points = collection.get_offset_transform().transform(np.asarray(collection.get_offsets()))
        yield from (_dot(x, y) for x, y in points if np.isfinite([x, y]).all())
        return
    if collection.get_offset_transform() != IdentityTransform():  # hexagons
        return
    for path in collection.get_paths():
        if np.size(path.vertices) and (box := Bbox.intersection(path.get_extents(collection.get_transform()), seen)):
            yield box


def _dot(x: float, y: float) -> Bbox:
    return Bbox.from_bounds(x, y, 0.1, 0.1)


def _panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible() and axes.axison]


def _axes(figure: Figure, axes: Axes) -> Iterator[str]:
    name = axes.get_title(loc="left") or axes.get_title() or axes.get_ylabel()
    if not (axes.has_data() or axes.texts):
        yield f"an empty panel: {name!r}"
    for bar in (bar for each in axes.containers if isinstance(each, BarContainer) for bar in each.patches):
        box = bar.get_bbox()
        inside = [_within(box.intervalx, axes.get_xbound()), _within(box.intervaly, axes.get_ybound())]
        drawn = np.isfinite(box.extents).all() and "log" not in (axes.get_xscale(), axes.get_yscale())
        if drawn and not all(inside):
            yield f"a bar that is cut: {box} in {name!r}"
    for axis, others in ((axes.xaxis, _below(figure, axes)), (axes.yaxis, _beside(figure, axes))):
        ticks = [text.get_text() for text in axis.get_ticklabels()]
        if not axis.get_visible() or not any(NUMBER.fullmatch(text) for text in ticks):
            continue
        labels = [each.get_label_text() for each in (axis, *others)] + _shared_labels(figure)
        label = next((text for text in labels if text.strip()), "")
        if not label:
            yield f"numbers without a name beside {name!r}: {ticks}"
        elif not UNIT.search(label) and not DIMENSIONLESS.search(label):
            yield f"numbers without a unit: {label!r}"


def _within(ends: NDArray[np.float64], bounds: tuple[float, float]) -> bool:
    """Also what has no extent is."""
    margin = 1e-9 * (bounds[1] - bounds[0])
    return bool(np.ptp(ends) == 0 or bounds[0] - margin <= ends.min() <= ends.max() <= bounds[1] + margin)


def _shared_labels(figure: Figure | SubFigure) -> list[str]:
    own = [figure.get_supxlabel(), figure.get_supylabel()]
    return own + [text for inner in figure.subfigs for text in _shared_labels(inner)]


def _below(figure: Figure, axes: Axes) -> list[Axis]:
    same = [each for each in figure.axes if abs(each.bbox.x0 - axes.bbox.x0) < 2 and each.bbox.y0 < axes.bbox.y0]
    return [each.xaxis for each in same]


def _beside(figure: Figure, axes: Axes) -> list[Axis]:
    same = [each for each in figure.axes if abs(each.bbox.y0 - axes.bbox.y0) < 2 and each.bbox.x0 < axes.bbox.x0]
    return [each.yaxis for each in same]

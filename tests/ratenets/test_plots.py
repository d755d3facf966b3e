"""The layer-wise figure: which runs make a condition, and what is drawn of them."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from foundation.errors import UsageError
from ratenets.evaluation.report import LayerReport, Origin, RunReport
from ratenets.plots import STYLES, conditions_of, layerwise
from tests.figures import faults


def report(seed=0, name="LPL", *, untrained=False, epochs=60, accuracy=0.5, dimensions=4.0, layers=3, **settings):
    values = {"run": {"seed": seed}, "learning_rate": 1e-3, "encoder": {"width": 1.0}, "loss": {"name": name}}
    origin = Origin(
        f"{name}-{seed}", name, "cifar10", seed, epochs, untrained, 10, 10_000, 10_000, {**values, **settings}
    )
    rows = [LayerReport("pixels", 3072, 0.3, 0.8)] + [
        LayerReport(
            f"layer {k}",
            8,
            accuracy * k / 4,
            0.9,
            mean_activity=0.5 * k,
            participation_ratio=dimensions,
            participation_ratio_batches=None if dimensions is None else dimensions - 1,
        )
        for k in range(1, layers + 1)
    ]
    return RunReport(origin, tuple(rows))


def labels(reports):
    return [condition.label for condition in conditions_of(reports)]


def drawn(reports):
    """The panels, drawn."""
    figure = layerwise(reports)
    assert faults(figure) == []
    return figure.axes


def line(axis, label):
    return next(one for one in axis.get_lines() if one.get_label() == label)


def test_seeds_of_one_configuration_are_one_condition():
    first, *others = conditions_of([report(0), report(0, "LPL, predictive off"), report(1), report(2)])
    assert [run.origin.seed for run in first.runs] == [0, 1, 2]
    assert [one.label for one in others] == ["predictive off"]
    assert first.values("accuracy").shape == (3, 3)


def test_where_and_how_often_a_run_was_saved_makes_no_other_condition():
    other = report(1, readout_every=10, run={"seed": 1, "device": "cuda", "compile": True, "checkpoint_every": 3})
    base = report(0, readout_every=0, run={"seed": 0, "device": "cpu", "compile": False, "checkpoint_every": 0})
    assert labels([base, other]) == ["LPL"]


def test_conditions_of_one_name_are_told_apart_by_their_settings():
    reports = [report(0), report(1, learning_rate=5e-4), report(2, encoder={"width": 0.25})]
    assert labels(reports) == [
        "LPL (width 1.0, learning rate 0.001)",
        "LPL (width 1.0, learning rate 0.0005)",
        "LPL (width 0.25, learning rate 0.001)",
    ]
    assert labels([report(0), report(1, views={"flip": 0.5})]) == ["LPL (flip none)", "LPL (flip 0.5)"]
    assert labels([report(0), report(1, layers=1)]) == ["LPL (3 layers)", "LPL (1 layer)"]


def test_unequal_budgets_are_written_on_the_lines():
    reports = [report(0), report(0, "LPL, predictive off", epochs=20), report(0, untrained=True, epochs=0)]
    assert labels(reports) == ["LPL (60 epochs)", "predictive off (20 epochs)", "untrained"]
    asked = [report(0, run={"seed": 0, "epochs": 60}), report(1, epochs=20, run={"seed": 1, "epochs": 20})]
    assert labels(asked) == ["LPL (60 epochs)", "LPL (20 epochs)"]


def test_untrained_networks_do_not_depend_on_what_they_would_have_learned():
    one, other = report(0, untrained=True, epochs=0), report(1, "LPL, predictive off", untrained=True, epochs=0)
    assert labels([one, replace(other), report(0)]) == ["LPL", "untrained"]
    wide = report(1, untrained=True, epochs=0, encoder={"width": 2.0})
    assert labels([one, wide]) == ["untrained (width 1.0)", "untrained (width 2.0)"]


def test_known_conditions_have_their_colours_and_order_and_others_follow():
    names = ["negative samples", *reversed([name for name in STYLES if name != "untrained"]), "supervised learning"]
    found = conditions_of([report(0, name) for name in names])
    assert [one.runs[0].origin.name for one in found[:5]] == [name for name in STYLES if name != "untrained"]
    assert [one.label for one in found[5:]] == ["negative samples", "supervised learning"]
    assert [one.style for one in found[:5]] == [STYLES[name] for name in STYLES if name != "untrained"]
    assert len({one.style for one in found}) == 7


def test_lines_are_means_and_bands_reach_from_the_least_to_the_largest():
    accuracy, dimensions, activity = drawn([report(0, accuracy=0.4), report(1, accuracy=0.6), report(2, accuracy=0.8)])
    drawn_line = line(accuracy, "LPL")
    assert np.allclose(drawn_line.get_xdata(), [1, 2, 3])
    assert np.allclose(drawn_line.get_ydata(), [15, 30, 45])
    assert to_hex(drawn_line.get_color()).upper() == STYLES["LPL"][0]
    (band,) = accuracy.collections
    (path,) = band.get_paths()
    assert path.vertices[:, 1].min() == pytest.approx(10)
    assert path.vertices[:, 1].max() == pytest.approx(60)
    assert np.allclose(line(accuracy, "pixels").get_ydata(), 30)
    assert np.allclose(line(accuracy, "chance").get_ydata(), 10)
    both = [one.get_ydata() for one in dimensions.get_lines()]
    assert np.allclose(both[0], 4)
    assert np.allclose(both[1], 3)
    assert np.allclose(activity.get_lines()[0].get_ydata(), [0.5, 1.0, 1.5])
    assert [axis.get_ylabel() for axis in (accuracy, activity)] == ["test accuracy (%)", "mean activity"]


def test_what_is_not_defined_is_a_gap_and_without_pixels_there_is_no_line():
    collapsed = report(0, "LPL, Hebbian off", dimensions=None)
    accuracy, dimensions, _ = drawn([replace(collapsed, rows=collapsed.rows[1:])])
    assert np.isnan(dimensions.get_lines()[0].get_ydata()).all()
    assert "pixels" not in [one.get_label() for one in accuracy.get_lines()]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UsageError, match="no report"):
        layerwise([])
    with pytest.raises(UsageError, match="LPL-1 and LPL-1: the same network, LPL, twice"):
        layerwise([report(1), report(1)])
    with pytest.raises(UsageError, match="untrained, twice"):
        layerwise([report(1, untrained=True), report(1, "LPL, predictive off", untrained=True)])
    for name, value in (("data", "stl10"), ("tested_on", 8000), ("fitted_to", 4500)):
        other = replace(report(1), origin=replace(report(1).origin, **{name: value}))
        with pytest.raises(UsageError, match=f"same images; {name}: LPL-0 has .*, LPL-1 {value}"):
            layerwise([report(0), other])


def few_labels(**changes):
    """A report of the protocol that reads every layer with few labels, too."""
    made = report(0, **changes)
    rows = tuple(replace(row, few=0.4) for row in made.rows)
    return replace(made, rows=rows, origin=replace(made.origin, protocol="few-labels", labels=100))


LONG = "mine, with a name that is very long and has $dollars$"


@pytest.mark.parametrize(
    "reports",
    [
        [report(0)],
        [report(0, layers=1)],
        [few_labels(), few_labels(name="LPL, predictive off")],
        [few_labels(layers=1)],
        [report(seed, name, epochs=e) for seed in (0, 1) for name, e in (("LPL", 60), (LONG, 20), ("x", 20))],
        [report(0, encoder={"width": w}) for w in (0.25, 0.5, 1.0, 2.0)] + [report(0, learning_rate=5e-4)],
        [report(0, f"{LONG} {number}") for number in range(12)],
    ],
)
def test_nothing_is_cut_or_on_top_of_anything_else(reports):
    axes = drawn(reports)
    assert [axis.get_ylim()[0] for axis in axes] == [0, 0, 0]
    assert all(height > 1.2 for height in (axis.get_window_extent().height / axis.figure.dpi for axis in axes))
    assert all(tick == round(tick) for axis in axes for tick in axis.get_xticks())  # of layers

"""What is drawn in the figures of local rules: their numbers, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from foundation.errors import UsageError
from foundation.figures import BLACK, ORANGE, VERMILLION
from ratenets.hebbian.learning_plots import STYLES
from ratenets.hebbian.picture_plots import MOST_EXAMPLES, examples, weights
from ratenets.hebbian.plots import local_rules
from ratenets.hebbian.results import LocalResult
from tests.figures import faults
from tests.ratenets.hebbian.made_local import made, pictures, planned, runs_of_rules

ACCURACIES = (0.4, 0.5, 0.6)
HALF = 4.302653 * 0.1 / 3**0.5  # t(0.975, 2) s / sqrt n


def seeds() -> list[LocalResult]:
    return [made(seed, accuracy=accuracy) for seed, accuracy in enumerate(ACCURACIES)]


def line(axis: Axes, label: str) -> Line2D:
    (found,) = [each for each in axis.get_lines() if each.get_label() == label]
    return found


def y(each: Line2D) -> list[float]:
    return [float(value) for value in np.asarray(each.get_ydata(), np.float64)]


def heights(axis: Axes, number: int) -> tuple[float, float]:
    """How low and how high a band reaches."""
    (path,) = axis.collections[number].get_paths()
    vertices = np.asarray(path.vertices)[:, 1]
    return float(vertices.min()), float(vertices.max())


def test_the_styles_are_all_different():
    assert len({colour for colour, _ in STYLES}) == len({marker for _, marker in STYLES}) == len(STYLES)


def test_learning_is_drawn_with_its_mean_interval_seeds_and_chance():
    accuracy, loss, by_class, counts = local_rules(seeds()).axes
    np.testing.assert_allclose(y(line(accuracy, "hebbian")), [30, 40, 50])
    np.testing.assert_allclose(heights(accuracy, 0), [30 - 100 * HALF, 50 + 100 * HALF], atol=1e-4)
    drawn = [y(each) for each in accuracy.get_lines()]
    for end in ACCURACIES:  # every seed, on its own
        assert any(np.allclose(each, 100 * end - np.array([20, 10, 0])) for each in drawn if len(each) == 3)
    dashed = [each for each in accuracy.get_lines() if each.get_linestyle() == "--" and len(y(each))]
    np.testing.assert_allclose([y(each) for each in dashed], [[35, 45, 55]])
    for axis in (accuracy, by_class):
        assert [50.0, 50.0] in [y(each) for each in axis.get_lines() if each.get_linestyle() == ":"]
    np.testing.assert_allclose(y(line(loss, "hebbian")), [2, 1, 2 / 3])
    assert any(np.allclose(y(each), [25, 27.5]) for each in by_class.get_lines() if each.get_marker() == "o")
    assert [bar.get_height() for bar in counts.patches if isinstance(bar, Rectangle)] == [40, 40, 10, 11]


def test_losses_far_apart_are_on_a_logarithmic_axis():
    def scale(least: float) -> str:
        run = made()
        last = replace(run.history[-1], train_loss=least)
        return local_rules([replace(run, history=(*run.history[:-1], last))]).axes[1].get_yscale()

    assert [scale(0.2), scale(0.05), scale(0.0)] == ["linear", "log", "linear"]


def test_the_epoch_of_a_withheld_class_is_marked():
    runs = [
        made(0, "oja, online", experiment="harder"),
        made(0, "oja, later", experiment="harder", introduce=2, withhold=[1]),
    ]
    axes = local_rules(runs).axes
    assert [axis.get_title() for axis in axes[:2]] == ["online", "later"]
    marked = [[np.asarray(each.get_xdata()).tolist() for each in axis.get_lines()] for axis in axes[:2]]
    assert [[1, 1] in each for each in marked] == [False, True]
    assert [[text.get_text() for text in axis.texts] for axis in axes[:2]] == [[], ["+ 1"]]


def test_bars_of_the_signal_to_noise_ratio_are_means_over_layers():
    runs = [
        made(seed, f"{rule}, {setting}", experiment="snr", metrics={"snr/W1": 1.0 + seed, "snr/W2": W2})
        for rule in ("oja", "hebbian, clamped")
        for setting in ("all classes", "2 classes")
        for seed, W2 in enumerate((0.01, None))
    ]
    axes = local_rules(runs).axes
    assert [axis.get_title() for axis in axes] == ["all classes", "2 classes"]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["oja", "hebbian, clamped"]
    for axis in axes:
        assert axis.get_xscale() == "log"
        bars = [bar.get_width() for bar in axis.patches if isinstance(bar, Rectangle)]
        np.testing.assert_allclose(bars, [(1.5 + 0.01) / 2] * 2)


def test_cosines_have_their_standard_error_over_the_seeds_that_have_one():
    cosines = (0.1, 0.3, None)
    runs = [made(k, "oja, all", experiment="bias", cosine={"W1": one, "W2": 0.5}) for k, one in enumerate(cosines)]
    first, second = local_rules(runs).axes
    assert [first.get_title(), second.get_title()] == ["W1, all", "W2, all"]
    np.testing.assert_allclose(y(line(first, "oja")), [0.2] * 3)
    np.testing.assert_allclose(heights(first, 0), [0.1, 0.3])  # s / sqrt 2 = 0.1
    np.testing.assert_allclose(heights(second, 0), [0.5, 0.5])


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        ([], "no run: give at least one"),
        ([made(0), made(0, "oja", classes=(0, 2))], "compares runs of the same classes; hebbian-0 and oja-0"),
        ([made(0, experiment="snr")], "has no signal-to-noise ratios; make it with --experiment snr"),
        ([made(0, experiment="bias")], "has no cosines; make it with --experiment bias"),
        ([made(0, experiment="which-rule")], "needs runs of at least two rules"),
    ],
)
def test_what_makes_no_figure_is_refused(runs, reason):
    with pytest.raises(UsageError, match=reason):
        local_rules(runs)


# --- pictures ---------------------------------------------------------------------------------------------------------
def marks(figure: Figure, label: str) -> list[tuple[float, str]]:
    """The lines on the colour bars of a layer: where, and in which colour."""
    bars = [axis for axis in figure.axes if axis.get_ylabel() == label]
    lines = [each for axis in bars for each in axis.get_lines() if len(y(each))]
    return [(y(each)[0], to_hex(each.get_color()).upper()) for each in lines]


def test_means_before_and_after_are_marked_on_the_colour_bars():
    of = pictures((6,))
    for number, (before, after) in enumerate(zip(of.before, of.after, strict=True), 1):
        means = [before.astype(np.float64).mean(), after.astype(np.float64).mean()]
        shared = marks(weights([of]), f"W{number}")
        single = marks(weights([of], shared=False), f"W{number}")
        np.testing.assert_allclose([mean for mean, _ in shared], means)
        np.testing.assert_allclose([mean for mean, _ in single], [*means, means[1] - means[0]])
        assert [colour for _, colour in shared] == [BLACK, ORANGE]


def test_a_shared_colour_bar_is_of_one_range():
    def ranges(shared: bool) -> list[tuple[float, float]]:
        images = [image for axis in weights([pictures((6,))], shared).axes[:3] for image in axis.get_images()]
        return [image.get_clim() for image in images]

    assert len(set(ranges(True))) == 1
    np.testing.assert_allclose(ranges(False)[2], [-0.02, 0.02], atol=1e-6)
    assert len(set(ranges(False))) == 3


def test_units_of_the_first_layer_are_images_side_by_side():
    of = pictures((6,), shape=(1, 8, 8))
    shown = np.ma.filled(np.ma.asarray(weights([of]).axes[0].get_images()[0].get_array(), float), np.nan)
    assert shown.shape == (2 * 8 + 1, 4 * 8 + 3)
    np.testing.assert_allclose(shown[:8, :8], of.before[0][0].reshape(8, 8))
    np.testing.assert_allclose(shown[9:, 9:17], of.before[0][5].reshape(8, 8))
    assert np.isnan(shown[9:, 18:]).all()


def test_errors_have_a_frame_and_rows_say_how_many_are_right():
    of = pictures()
    for axis in examples([of]).axes:
        frames = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
        assert len(frames) == (of.labels != of.predictions).sum() == 10
        assert {to_hex(frame.get_edgecolor()).upper() for frame in frames} == {VERMILLION}
        assert [text.get_text() for text in axis.texts] == ["2/3"] * 10


def test_a_row_of_many_images_is_cut_and_still_counted():
    of = pictures(classes=10)
    by_class, by_prediction = examples([replace(of, predictions=np.zeros(30, np.int64))]).axes
    assert len(by_class.get_images()) == 30
    assert len(by_prediction.get_images()) == MOST_EXAMPLES
    assert [text.get_text() for text in by_prediction.texts] == ["3/30", *["0/0"] * 9]


# --- legible ----------------------------------------------------------------------------------------------------------
NAME = "a very long $name$ of a condition of a user's own, with many words in it"


@pytest.mark.parametrize("experiment", ["two-classes", "three-classes", "ten-classes", "snr", "bias", "harder"])
def test_what_an_experiment_finds_is_legible(experiment):
    assert faults(local_rules(planned(experiment, seeds=2))) == []


@pytest.mark.parametrize(
    "figure",
    [
        lambda: local_rules([made(0, NAME)]),
        lambda: local_rules([made(0, f"{NAME} {number}", epochs=1) for number in range(6)]),
        lambda: local_rules(runs_of_rules(3.0, rules=7)),
        lambda: weights([pictures()]),
        lambda: weights([pictures((20, 15), classes=3)], shared=False),
        lambda: examples([pictures()]),
    ],
)
def test_other_figures_are_legible(figure):
    assert faults(figure()) == []

"""The spiking level's figures: every panel that the data allow, with the numbers of the analyses, legible."""

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from foundation.errors import UsageError
from foundation.figures import save
from spiking.analysis import analyse, learning_curve
from spiking.plots import lpl_network, stdp
from spiking.recording import NetworkRecord, PairingCurve, Spikes
from tests.figures import faults


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def spikes(size: int, rate: float, seed: int) -> Spikes:
    """Poisson spikes of 12 s."""
    rng = np.random.default_rng(seed)
    number = rng.poisson(size * rate * 12.0)
    return Spikes(np.sort(rng.uniform(300.0, 312.0, number)), rng.integers(0, size, number), size)


def network(label: str = "LPL", populations: int = 5, **changes: Any) -> NetworkRecord:
    """Twenty neurons that come to prefer P1 (the even ones) or P2, with spikes that know nothing of it."""
    inputs = 8 * populations
    pre, post = (grid.ravel() for grid in np.meshgrid(np.arange(inputs), np.arange(20), indexing="ij"))
    wanted = np.where(post % 2 == 0, 1, min(3, populations - 1))
    last = np.where(pre // 8 == wanted, 0.6, 0.05) * np.random.default_rng(7).uniform(0.5, 1, len(pre))
    rate_time = np.linspace(1.0, 312.0, 312)
    record = NetworkRecord(
        label=label,
        start=300.0,
        end=312.0,
        exc=spikes(20, 6.0, seed=1),
        inh=spikes(5, 18.0, seed=2),
        inputs=spikes(inputs, 5.0, seed=3),
        population=np.repeat(np.arange(populations), 8),
        pre=pre,
        post=post,
        weights=np.stack([0.15 + (last - 0.15) * share for share in (0.0, 0.5, 1.0)]),
        weight_time=np.array([0.0, 150.0, 300.0]),
        rate_time=rate_time,
        rates={
            "exc": rate_time / 60,
            "inh": rate_time / 20,
            "inputs": np.full((312, populations), 5.0),
        },
    )
    return dataclasses.replace(record, **changes)


def silent(label: str) -> NetworkRecord:
    none = [Spikes(np.empty(0), np.empty(0, dtype=np.int64), size) for size in (20, 5)]
    zero = {"exc": np.zeros(312), "inh": np.zeros(312)}
    return network(label, exc=none[0], inh=none[1], rates=zero, weights=np.full((3, 800), 0.0))


def uninhibited(label: str) -> NetworkRecord:
    rates = {"exc": np.ones(312), "inh": np.zeros(312)}  # as a run file has them
    return network(label, inh=Spikes(np.empty(0), np.empty(0, dtype=np.int64), 0), rates=rates)


def letters(figure: Figure) -> dict[str, Axes]:
    return {axis.get_title(loc="left"): axis for axis in figure.axes if axis.get_title(loc="left")}


CONDITIONS = ("LPL", "Pred. off", "Hebb off", "Inhib. off", "Inhib. fixed")


def test_one_network_has_every_panel_and_its_numbers() -> None:
    record = network()
    panels = letters(lpl_network([record]))
    assert "".join(panels) == "abcdefghijkl"
    found, curve = analyse(record), learning_curve(record)
    heights = [bar.get_height() for bar in panels["c"].patches]  # type: ignore[attr-defined]
    np.testing.assert_allclose(heights, found.summary.r2)
    (dimensions,) = panels["f"].patches
    assert dimensions.get_height() == found.summary.participation_ratio  # type: ignore[attr-defined]
    points = np.asarray(panels["h"].collections[0].get_offsets())
    np.testing.assert_allclose(points, found.weights[[1, 3]].T)
    shares = [bar.get_height() for bar in panels["i"].patches]  # type: ignore[attr-defined]
    assert sum(shares) == pytest.approx(100)
    assert len(shares) == 11
    for line, weights in zip(panels["j"].lines, curve.weights.T, strict=True):
        np.testing.assert_allclose(np.asarray(line.get_xdata()), [0.0, 150.0, 300.0])
        np.testing.assert_allclose(np.asarray(line.get_ydata()), weights)
    np.testing.assert_allclose(np.asarray(panels["k"].lines[0].get_ydata()), curve.preferences["P1"])
    x, y = (np.asarray(values) for values in panels["l"].lines[0].get_data())
    np.testing.assert_allclose(y, x / 20 - 2 / 20 / 2, rtol=1e-9)  # inh., means of three bins
    assert (len(x), x[-1]) == (104, 312.0)
    assert [panels[name].get_xlabel() for name in "jkl"] == ["training (s)", "training (s)", "whole run (s)"]


def test_conditions_stand_side_by_side_and_nothing_overlaps() -> None:
    """With a network that is silent, one without inhibition, and one without what only longer runs have."""
    records = [network(label) for label in CONDITIONS]
    records[2], records[3] = silent(CONDITIONS[2]), uninhibited(CONDITIONS[3])
    figure = lpl_network(records)
    assert "".join(letters(figure)) == "abcdefghijkl"
    assert faults(figure) == []
    for panel in "cdef":
        assert [tick.get_text() for tick in letters(figure)[panel].get_xticklabels()] == list(CONDITIONS)
    shown = [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]
    assert all(label in shown for label in CONDITIONS)
    over_time = [axis for axis in figure.axes if axis.get_ylabel() == "firing rate (Hz)"][1:]
    lines = [sum(len(np.asarray(line.get_xdata())) > 0 for line in axis.lines) for axis in over_time]
    assert lines == [2, 2, 2, 1, 2]  # no line for neurons that are not there


@pytest.mark.parametrize("records", [[network()], [network(), network("Pred. off")]], ids=["one", "two"])
def test_few_conditions_overlap_nowhere(records: list[NetworkRecord]) -> None:
    assert faults(lpl_network(records)) == []


LONG_LABELS = ("λ = 0.5, φ = 0.25, inhibition fixed", "λ = 2.125, φ = 1, inhibition plastic, eta 0.002", "LPL")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_long_names_of_conditions_are_whole(number: int) -> None:
    """Below the panels one is written in lines, and several have the numbers that stand before them at their rows."""
    figure = lpl_network([network(label) for label in LONG_LABELS[:number]])
    assert faults(figure) == []
    ticks = [tick.get_text() for tick in letters(figure)["c"].get_xticklabels()]
    rows = [" ".join(text.get_text().split()) for text in figure.findobj(Text) if text.get_fontweight() == "bold"]
    if number == 1:
        assert [" ".join(tick.split()) for tick in ticks] == list(LONG_LABELS[:1])
        assert LONG_LABELS[0] in rows
    else:
        assert ticks == [str(n) for n in range(1, number + 1)]
        assert {f"{n}: {label}" for n, label in enumerate(LONG_LABELS[:number], 1)} <= set(rows)


def of_seconds(label: str = "LPL", **changes: Any) -> NetworkRecord:
    """A run of two seconds: a single time of rates, a reconstruction much worse than a constant's, hardly a spike."""
    few = Spikes(np.array([310.0]), np.array([3]), 20)
    short = {"start": 310.0, "end": 312.0, "exc": few, "inh": Spikes(np.empty(0), np.empty(0, dtype=np.int64), 5)}
    rates = {"exc": np.array([0.025]), "inh": np.array([0.0])}
    shifted = {"weight_time": np.array([0.0, 1.0, 2.0]), "rate_time": np.array([2.5]), "rates": rates}
    record = network(label, **{**short, **shifted, **changes})
    exc, inh, inputs = (
        dataclasses.replace(each, time=each.time - 309.5) for each in (record.exc, record.inh, record.inputs)
    )
    return dataclasses.replace(record, start=0.5, end=2.5, exc=exc, inh=inh, inputs=inputs)


def test_a_run_of_seconds_has_axes_in_seconds_and_says_what_it_does_not_know() -> None:
    figure = lpl_network([of_seconds()])
    assert faults(figure) == []
    panels = letters(figure)
    assert [panels[name].get_xlabel() for name in "jkl"] == ["training (s)", "training (s)", "whole run (s)"]
    (shown,) = [line for line in panels["l"].lines if line.get_label() == "exc."]
    assert (shown.get_marker(), shown.get_xdata()) == (".", [2.5])  # a line of one point is none
    assert panels["l"].get_xlim()[0] == 0
    assert panels["l"].get_xlim()[1] >= 2.5
    assert [text.get_text() for text in panels["f"].texts] == ["unknown"]
    texts = [text.get_text() for text in figure.findobj(Text)]
    assert "no spikes in the last 2 s" not in texts  # the one at the beginning counts
    nothing = of_seconds(exc=Spikes(np.empty(0), np.empty(0, dtype=np.int64), 20))
    texts = [text.get_text() for text in lpl_network([nothing]).findobj(Text)]
    assert "no spikes in the last 2 s" in texts


def test_a_long_run_has_axes_in_thousands_of_seconds() -> None:
    figure = lpl_network([network(weight_time=np.array([0.0, 5e4, 1e5]))])
    assert faults(figure) == []
    panels = letters(figure)
    assert [panels[name].get_xlabel() for name in "jl"] == ["training (10³ s)", "whole run (s)"]
    assert "100" in [tick.get_text() for tick in panels["j"].get_xticklabels()]


def test_no_bar_of_a_reconstruction_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    found = analyse(network())
    decoding = dataclasses.replace(found.decoding, r2=np.array([-17.2, -1.9, 0.0, 0.9, -0.1]))
    monkeypatch.setattr("spiking.plots.analyse", lambda record: dataclasses.replace(found, decoding=decoding))
    figure = lpl_network([network()])
    assert faults(figure) == []
    axis = letters(figure)["c"]
    assert axis.get_ylim()[0] < -17.2
    assert {"−10", "−1", "0", "1"} <= {tick.get_text() for tick in axis.get_yticklabels()}


def test_without_inhibition_nothing_speaks_of_it() -> None:
    texts = [text.get_text() for text in lpl_network([uninhibited("Inhib. off")]).findobj(Text)]
    assert "exc." in texts
    assert "inh." not in texts
    both = letters(lpl_network([uninhibited("Inhib. off"), network()]))["l"].get_legend()
    assert both is not None
    assert {text.get_text() for text in both.get_texts()} == {"exc.", "inh."}


NAMES = ("vision, left eye", "whisker $C_2$ and $D_1$", "a rather long name of a population", "touch_left", "réward")


@pytest.mark.parametrize("populations", [3, 5])
def test_names_of_populations_stand_as_they_are_and_are_no_formulas(populations: int) -> None:
    figure = lpl_network([network(populations=populations, names=NAMES[:populations])])
    assert faults(figure) == []
    assert "".join(letters(figure)) == "abcdefgh"
    panels = letters(figure)
    legend = panels["c"].get_legend()
    assert legend is not None
    for texts in (panels["a"].get_yticklabels(), panels["f"].get_xticklabels(), legend.get_texts()):
        names = [" ".join(text.get_text().replace(r"\$", "$").split()) for text in texts]
        assert names == list(NAMES[:populations])


def test_other_names_do_not_go_into_one_figure() -> None:
    with pytest.raises(UsageError, match=r"other input populations \(a, b, c and P0, P1, P2\)"):
        lpl_network([network(populations=3, names=("a", "b", "c")), network(populations=3)])


def test_networks_of_one_label_are_pooled() -> None:
    first = network()
    second = dataclasses.replace(first, weights=0.9 * first.weights, exc=spikes(20, 6.0, seed=11))
    panels = letters(lpl_network([first, second, network("Pred. off")]))
    assert [tick.get_text() for tick in panels["f"].get_xticklabels()] == ["LPL", "Pred. off"]
    both = [analyse(record).summary.participation_ratio for record in (first, second)]
    assert panels["f"].patches[0].get_height() == pytest.approx(np.mean(both))  # type: ignore[attr-defined]
    np.testing.assert_allclose(np.asarray(panels["f"].collections[0].get_offsets())[:, 1], both)  # a dot for each
    assert len(np.asarray(panels["h"].collections[0].get_offsets())) == 40  # units of both
    assert len(panels["j"].lines) == 10  # a line for each population of each


@pytest.mark.parametrize("populations", [2, 3, 9])
def test_other_populations_have_no_panels_of_selectivity(populations: int) -> None:
    figure = lpl_network([network("my rates", populations), network("other rates", populations)])
    panels = letters(figure)
    assert "".join(panels) == "abcdefgh"
    assert len(panels["g"].lines) == populations
    assert faults(figure) == []


def test_a_recording_too_short_to_decode_is_drawn(tmp_path: Path) -> None:
    figure = lpl_network([network(start=311.9)])
    save(figure, tmp_path / "short.png")
    texts = [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]
    assert "P1\n$R^2$ unknown" in texts


def test_spikes_are_pixels_in_a_vector_format(tmp_path: Path) -> None:
    path = tmp_path / "network.svg"
    save(lpl_network([network(inputs=spikes(40, 200.0, seed=3))]), path)  # 40,000 in the 5 s that are shown
    assert path.stat().st_size < 1_500_000
    assert path.read_text().count("<image") >= 2


def test_what_cannot_be_drawn_is_said() -> None:
    with pytest.raises(UsageError, match="no network to draw"):
        lpl_network([])
    with pytest.raises(UsageError, match="networks with 3 and 5 input populations do not go into one figure"):
        lpl_network([network(), network("mine", populations=3)])
    with pytest.raises(UsageError, match="no pairing curve to draw"):
        stdp([])


def curve(variance: float = 0.1, frequency: float = 10.0, **changes: Any) -> PairingCurve:
    delta_t = np.linspace(0.02, -0.02, 100, dtype=np.float64)
    change = np.sin(60 * delta_t) / (1 + variance) + frequency / 100
    made = PairingCurve(frequency, 20.0, variance, 0.02, "as_simulated", delta_t, change, 100)
    return dataclasses.replace(made, **changes)


def labels(axis: Axes) -> list[str]:
    legend = axis.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def test_variances_share_a_panel_in_ms_and_percent() -> None:
    curves = [curve(variance) for variance in (100.0, 0.1, 1.0)]
    figure = stdp(curves)
    (axis,) = figure.axes
    assert labels(axis) == [rf"$\sigma^2$ = {variance} Hz" for variance in ("0.1", "1", "100")]
    x, y = (np.asarray(values) for values in axis.lines[0].get_data())
    np.testing.assert_allclose(x, np.linspace(-20, 20, 100))
    np.testing.assert_allclose(y, 100 * curves[1].relative_delta_w[::-1])
    assert axis.get_xlabel() == r"$\Delta t$, post − pre (ms)"
    assert faults(figure) == []


def changes_at_10_ms(curves: Sequence[PairingCurve]) -> list[list[float]]:
    return [[100 * float(curve.relative_delta_w[index]) for curve in curves] for index in (25, 75)]


def test_frequencies_share_a_panel_and_have_one_of_the_change_at_10_ms() -> None:
    """And variances beside them a panel of their own."""
    by_frequency = [curve(frequency=hertz) for hertz in (1.0, 10.0, 20.0, 50.0)]
    by_variance = [curve(variance, max_interval=0.05, initial_mean=10.0) for variance in (0.1, 1.0)]
    figure = stdp([*by_frequency, *by_variance])
    assert "".join(letters(figure)) == "abc"
    variances, frequencies, dependence = figure.axes
    assert len(labels(variances)) == 2
    assert labels(frequencies) == ["1 Hz", "10 Hz", "20 Hz", "50 Hz"]
    for line, change in zip(dependence.lines, changes_at_10_ms(by_frequency), strict=False):
        np.testing.assert_allclose(np.asarray(line.get_xdata()), [1, 10, 20, 50])
        np.testing.assert_allclose(np.asarray(line.get_ydata()), change)
    assert faults(figure) == []


def test_many_settings_go_into_several_rows_and_a_variant_is_named() -> None:
    curves = [curve(frequency=hertz, initial_mean=mean) for hertz in (1.0, 20.0) for mean in (0.0, 50.0)]
    figure = stdp([*curves, curve(variant="as_reported")])
    assert "".join(letters(figure)) == "abcde"
    assert figure.axes[0].get_title() == "10 Hz, mean 20 Hz\nas reported"
    assert faults(figure) == []


def test_pairs_closer_than_10_ms_have_no_panel_of_it() -> None:
    near = np.linspace(0.005, -0.005, 100, dtype=np.float64)
    assert len(stdp([curve(frequency=hertz, max_interval=0.005, delta_t=near) for hertz in (1.0, 10.0)]).axes) == 1

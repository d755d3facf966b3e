"""The ladder: its measures on cases with a known answer, its rungs at small size, its file and report."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge.levels import Ladder, LevelsConfig, compare_levels, paper_layer, rates_layer
from bridge.levels.agreement import agreement_of, by_number, reliability
from bridge.levels.ladder import RUNGS
from bridge.levels.learning import learn_both
from bridge.levels.parts import parts_of
from bridge.levels.plots import plasticity
from bridge.levels.results import read_results, report, results_of, where_lost, write_results
from bridge.levels.rule import TERMS
from bridge.levels.sweeps import SweepConfig, sweep
from foundation.errors import RatespikeError, UsageError
from tests.figures import faults

CONFIG = LevelsConfig(realisations=4, shuffles=2)


@pytest.fixture(scope="module")
def ladder() -> Ladder:
    return compare_levels(paper_layer(duration=3.0, units=8, population=20), CONFIG)


@pytest.fixture(scope="module")
def results(ladder: Ladder) -> dict[str, Any]:
    sweeps = SweepConfig(rates=(1.0, 2.0), durations=(1.5,), steps=(1e-3,), seconds=1.5, realisations=2)
    return results_of(ladder, sweep(ladder.layer, CONFIG, sweeps), learn_both(ladder), parts_of(ladder))


# --- agreement --------------------------------------------------------------------------------------------------------
def test_synapses_that_do_not_exist_do_not_count(rng: np.random.Generator) -> None:
    exists = rng.random((5, 40)) < 0.4
    updates, first, before = rng.normal(size=(4, 5, 40)), rng.normal(size=(5, 40)), rng.normal(size=(5, 40))
    shuffled = [rng.normal(size=(5, 40))]
    found = agreement_of(updates, first, before, shuffled, exists)
    noise = 100 * rng.normal(size=(5, 40)) * ~exists
    other = agreement_of(updates + noise, first - noise, before + 2 * noise, [shuffled[0] + noise], exists)
    for name, value in vars(found).items():
        if name == "overall":
            assert value == pytest.approx(other.overall)
        elif name not in ("other", "other_pearson"):  # another unit's update is taken wherever this unit has a synapse
            np.testing.assert_allclose(value, getattr(other, name), atol=1e-12)


def test_measures_are_numpys_at_the_synapses_that_exist(rng: np.random.Generator) -> None:
    exists = rng.random((5, 40)) < 0.5
    updates, first = rng.normal(size=(4, 5, 40)) + 1, rng.normal(size=(5, 40)) + 1
    found = agreement_of(updates, first, -first, [2 * first], exists)
    mean, halves = updates.mean(0), (updates[::2].mean(0), updates[1::2].mean(0))
    for unit, row in enumerate(exists):
        correlation = np.corrcoef(mean[unit][row], first[unit][row])[0, 1]
        half = max(np.corrcoef(halves[0][unit][row], halves[1][unit][row])[0, 1], 0)
        assert found.pearson[unit] == pytest.approx(correlation)
        assert found.pearson_before[unit] == pytest.approx(-correlation)
        assert found.shuffled_pearson[unit] == pytest.approx(correlation)
        assert found.pearson_ceiling[unit] == pytest.approx(np.sqrt(2 * half / (1 + half)))
        neighbour = first[unit - 1][row]
        assert found.other_pearson[unit] == pytest.approx(np.corrcoef(mean[unit][row], neighbour)[0, 1])
        size = np.linalg.norm(mean[unit][row]) * np.linalg.norm(first[unit][row])
        assert found.to_first[unit] == pytest.approx(mean[unit][row] @ first[unit][row] / size)
    assert found.overall["pearson"] == pytest.approx(np.corrcoef(mean[exists], first[exists])[0, 1])


@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_the_ceiling_is_the_correlation_that_a_true_signal_reaches(noise: float, rng: np.random.Generator) -> None:
    """What all synapses share raises the ceiling of a cosine, and not that of a correlation."""
    signal, exists = rng.normal(size=(300, 200)), np.ones((300, 200), bool)
    updates = signal + 5.0 + noise * rng.normal(size=(8, 300, 200))
    found = agreement_of(updates, signal + 5.0, signal, [signal], exists)
    expected = 1 / np.sqrt(1 + noise**2 / 8)
    assert found.pearson.mean() == pytest.approx(expected, rel=0.02)
    assert found.pearson_ceiling.mean() == pytest.approx(expected, rel=0.02)
    assert found.ceiling.mean() > 0.98


def test_more_realisations_raise_the_ceiling(rng: np.random.Generator) -> None:
    signal, exists = rng.normal(size=(50, 100)), np.ones((50, 100), bool)
    rows = by_number(signal + 2 * rng.normal(size=(16, 50, 100)), signal, exists)
    assert [row[0] for row in rows] == [2, 4, 8, 16]
    for number, correlation, ceiling in rows:
        assert correlation == pytest.approx(1 / np.sqrt(1 + 4 / number), abs=0.02)
        assert ceiling == pytest.approx(correlation, abs=0.05)


def test_halves_that_disagree_have_no_ceiling() -> None:
    np.testing.assert_allclose(reliability(np.array([-0.5, 0.0, 1.0])), [0, 0, 1])


# --- the ladder -------------------------------------------------------------------------------------------------------
def test_every_rung_is_there_and_the_first_agrees_with_itself(ladder: Ladder) -> None:
    assert tuple(rung.name for rung in ladder.rungs) == RUNGS
    for term in TERMS:
        first = ladder.agreement["rate"][term]
        for key in ("to_first", "to_before", "pearson", "ceiling", "pearson_ceiling"):
            np.testing.assert_allclose(getattr(first, key), 1)
    assert [rung.updates["LPL"].shape[0] for rung in ladder.rungs] == [1, 1, 1, 4, 4, 4]


def test_the_curve_rises_where_the_surrogate_derivative_says(ladder: Ladder) -> None:
    curve = ladder.curve
    assert curve.rate[0] == 0
    assert (np.diff(curve.rate) >= 0).all()
    assert np.corrcoef(curve.slopes, curve.surrogate)[0, 1] > 0.5
    np.testing.assert_allclose(curve.f(curve.drive), curve.rate)


def test_the_hebbian_term_agrees_and_the_predictive_one_does_not(ladder: Ladder) -> None:
    last = ladder.agreement["spiking unit"]
    assert last["Hebbian"].overall["pearson"] > 0.5
    assert last["Hebbian"].overall["pearson"] > last["predictive"].overall["pearson"] + 0.2


def test_what_happens_before_units_have_settled_does_not_count() -> None:
    """A constant stimulus: once rates have settled they stay, and nothing is left of the predictive term."""
    layer = rates_layer(np.full((30, 2), 40.0), 1.6, units=4)
    sizes = {}
    for settle in (0.0, 1.0):
        found = compare_levels(layer, replace(CONFIG, settle=settle, realisations=2))
        sizes[settle] = [float(np.abs(rung.mean("predictive")).max()) for rung in found.rungs[:3]]
    assert max(sizes[1.0]) < 0.01 * max(sizes[0.0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"settle": -0.5}, "settle: must not be negative"),
        ({"settle": 1e-5}, "settle: must be a multiple of dt"),
    ],
)
def test_a_time_to_settle_that_makes_no_sense_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LevelsConfig(**given)


def test_a_stimulus_that_is_over_before_units_have_settled_is_refused() -> None:
    with pytest.raises(UsageError, match=r"stimulus: must last 0\.542"):
        compare_levels(paper_layer(duration=0.5, units=6, population=20), CONFIG)


# --- file, report, figure ---------------------------------------------------------------------------------------------
def test_the_file_holds_everything_and_draws_the_same_figure(results: dict[str, Any], tmp_path: Path) -> None:
    write_results(tmp_path / "comparison.json", results)
    (found,) = read_results(tmp_path / "comparison.json")
    assert found == json.loads(json.dumps(results))
    assert faults(plasticity([found])) == []
    text = report(found, ("plasticity.png",))
    assert "![plasticity.png](plasticity.png)" in text
    assert text.count("| inhibition |") == len(TERMS)
    assert "| predictive | " in text.split("## What the unit's spikes add")[1]
    assert set(found["parts"]) == set(TERMS)
    shares = found["parts"]["Hebbian"]["projections"]
    assert sum(shares.values()) == pytest.approx(1)


def test_what_was_left_out_leaves_the_figure_and_the_report_whole(ladder: Ladder) -> None:
    bare = results_of(ladder)
    figure = plasticity([bare])
    assert faults(figure) == []
    assert [axis.get_title(loc="left") for axis in figure.axes if axis.get_title(loc="left")] == list("abcde")
    assert "Learning on" not in report(bare, ())
    assert "spikes add" not in report(bare, ())


def test_the_rung_where_most_is_lost_is_the_one_with_the_least_correlation(results: dict[str, Any]) -> None:
    rung, value = where_lost(results, "predictive")
    medians = {name: np.median(results["agreement"][name]["predictive"]["pearson_before"]) for name in RUNGS[1:]}
    assert rung == min(medians, key=lambda name: medians[name])
    assert value == pytest.approx(medians[rung])


@pytest.mark.parametrize("damage", ["kind", "rungs", "agreement", "curve", "sizes", "parts"])
def test_a_damaged_file_is_one_line(damage: str, results: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "comparison.json"
    write_results(path, {name: 3 if name == damage else value for name, value in results.items()})
    with pytest.raises(RatespikeError, match=r"comparison\.json") as caught:
        read_results(path)
    assert "\n" not in str(caught.value)

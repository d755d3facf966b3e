"""What spikes add to an update, in parts."""

from dataclasses import replace

import numpy as np
import pytest

from bridge.levels import Ladder, LevelsConfig, compare_levels, paper_layer
from bridge.levels.parts import NAMES, Parts, parts_of
from foundation.errors import UsageError

CONFIG = LevelsConfig(realisations=6, shuffles=1)


@pytest.fixture(scope="module")
def ladder() -> Ladder:
    return compare_levels(paper_layer(duration=2.0, units=6, population=20), CONFIG)


@pytest.fixture(scope="module")
def parts(ladder: Ladder) -> dict[str, Parts]:
    return parts_of(ladder)


@pytest.mark.parametrize("recurrent", [False, True])
def test_the_parts_add_up_to_the_ladders_own_update(ladder: Ladder, recurrent: bool) -> None:
    rung = {each.name: each for each in ladder.rungs}["inhibition" if recurrent else "spiking unit"]
    exists = ladder.part.weights != 0
    for term, found in parts_of(ladder, recurrent=recurrent).items():
        total = rung.mean(term)[exists]
        np.testing.assert_allclose(found.total, total, rtol=1e-9, atol=1e-9 * np.abs(total).max())
        assert sum(found.projections().values()) == pytest.approx(1.0)


def test_growth_has_no_part_from_own_spikes(parts: dict[str, Parts]) -> None:
    """Its error is a constant, so nothing in it knows of spikes; the derivative still meets the input's spikes."""
    growth = parts["growth"]
    assert np.abs(growth.parts["own spikes"]).max() < 1e-9 * np.abs(growth.total).max()
    assert growth.sizes()["locked"] > 0.8


def test_own_spikes_weaken_every_synapse_by_the_predictive_term(parts: dict[str, Parts]) -> None:
    """After a spike the potential is far from the threshold: the derivative is largest before spikes, which the error
    punishes, and small where it would reward.
    """
    own = parts["predictive"].parts["own spikes"]
    assert (own < 0).mean() > 0.95
    assert parts["predictive"].sizes()["own spikes"] > 5 * parts["predictive"].sizes()["locked"]


def test_pairs_strengthen_by_the_predictive_term(parts: dict[str, Parts]) -> None:
    assert parts["predictive"].parts["pairs"].mean() > 0 > parts["predictive"].total.mean()


def test_the_locked_part_does_not_depend_on_how_many_realisations_there_are(ladder: Ladder) -> None:
    """Taken from the means over R realisations, it would hold a share 1/R of what a unit's own spikes do."""
    few, many = parts_of(ladder, realisations=4)["predictive"], parts_of(ladder, realisations=16)["predictive"]
    own = many.parts["own spikes"].mean()
    difference = few.parts["locked"].mean() - many.parts["locked"].mean()
    assert abs(difference) < 0.1 * abs(own)  # a biased one would be off by 0.19 of it


def test_the_hebbian_part_that_follows_the_stimulus_is_the_rate_rules(parts: dict[str, Parts]) -> None:
    """It makes up most of the update there, and next to nothing of the predictive one."""
    hebbian, predictive = parts["Hebbian"], parts["predictive"]
    assert hebbian.agreement()["locked"] > 0.8
    assert hebbian.projections()["locked"] > 0.2 > 0.05 > abs(predictive.projections()["locked"])
    assert set(hebbian.agreement()) == {*NAMES, "total"}


def test_sizes_by_hand() -> None:
    made = Parts(np.array([3.0, 4.0]), {"locked": np.array([3.0, 0.0]), "pairs": np.array([0.0, 4.0])}, np.ones(2))
    assert made.sizes() == pytest.approx({"locked": 0.6, "pairs": 0.8})
    assert made.projections() == pytest.approx({"locked": 9 / 25, "pairs": 16 / 25})
    half = np.sqrt(0.5)
    assert made.agreement() == pytest.approx({"locked": half, "pairs": half, "total": 7 / (5 * np.sqrt(2))})


def test_one_realisation_is_refused(ladder: Ladder) -> None:
    with pytest.raises(UsageError, match="realisations: two or more are needed"):
        parts_of(ladder, realisations=1)


def test_inhibition_that_is_not_there_is_refused() -> None:
    layer = replace(paper_layer(duration=1.0, units=4, population=20), inhibition=None)
    ladder = compare_levels(layer, LevelsConfig(realisations=2, shuffles=1))
    with pytest.raises(UsageError, match="recurrent: the layer has no inhibitory population"):
        parts_of(ladder, recurrent=True)

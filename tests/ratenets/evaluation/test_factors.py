"""What is said of codes whose factors are known."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from sklearn.decomposition import PCA

from foundation.data.shapes3d import FACTORS
from foundation.errors import RatespikeError, UsageError
from foundation.seeds import numpy_generator
from ratenets.evaluation import factor_plots, factors
from ratenets.evaluation.config import FactorConfig
from ratenets.evaluation.factor_votes import Codes, Features, stands_for, vote_score
from ratenets.evaluation.factors import (
    code_statistics,
    factor_report,
    manifold,
    pca,
    scatter,
    similarity,
    transition_matrix,
    vary,
)
from ratenets.sequences.shapes3d import SequenceConfig, Shapes3DSequences, factors_of
from tests.figures import faults

SIZES = (4, 3, 5, 3, 2, 4)
N = 4 * 3 * 5 * 3 * 2 * 4
QUICK = FactorConfig(batch=200, train_batches=4, test_batches=4, repetitions=2, contexts=20, scatter=100)


def look_up(table: np.ndarray) -> Codes:
    return lambda indices: table[indices]


FACTOR_TABLE = factors_of(np.arange(N), SIZES)
ONE_HOT = np.concatenate([np.eye(n)[FACTOR_TABLE[:, k]] for k, n in enumerate(SIZES)], axis=1)
VALUES = FACTOR_TABLE.astype(np.float64)


def scored(table: np.ndarray, seed: int = 0, **how: int) -> tuple[float, float]:
    variance = code_statistics(look_up(table), N).variance
    how = {"batch": 200, "train_batches": 5, "test_batches": 5} | how
    return vote_score(look_up(table), variance, numpy_generator(seed), SIZES, **how)


@pytest.mark.parametrize(
    "table", [VALUES, ONE_HOT.astype(np.float32), 1e-3 * VALUES + 5, VALUES * [1, -100, 1e6, 1e-6, 3, 1]]
)
def test_a_disentangled_code_scores_in_full_at_any_scale(table: np.ndarray) -> None:
    assert scored(table) == (1.0, 1.0)


def test_a_constant_code_is_at_chance() -> None:
    """All batches then choose the same unit, which stands for one factor; its share of the batches is right."""
    assert scored(np.full((N, 7), 0.1)) == (SIZES[0] / sum(SIZES),) * 2


def test_a_code_of_noise_is_about_chance() -> None:
    noise = np.random.default_rng(1).normal(size=(N, 30))
    score, strict = scored(noise, batch=50)
    assert strict <= score < 0.4


def test_units_that_never_vary_have_no_vote() -> None:
    dead = np.full((N, 9), 0.1)
    assert scored(np.concatenate([dead, VALUES, dead], axis=1)) == (1.0, 1.0)


def test_a_factor_spread_over_many_units_fails_the_strict_score() -> None:
    """Twenty noisy copies of the factor with two values: any of them wins, but only two may stand for it."""
    rng = np.random.default_rng(2)
    copies = VALUES[:, 4:5] + 0.02 * rng.normal(size=(N, 20))
    score, strict = scored(np.concatenate([np.delete(VALUES, 4, axis=1), copies], axis=1), batch=50)
    assert score > 0.97
    share = SIZES[4] / sum(SIZES)
    assert 1 - share <= strict <= 1 - 0.4 * share


def test_a_code_of_one_factor_tells_only_that() -> None:
    rest = np.random.default_rng(3).normal(size=(N, 1))
    score, _ = scored(np.concatenate([VALUES[:, :1], rest], axis=1), batch=500)
    others = max(SIZES[1:]) / sum(SIZES)  # the unit of noise stands for one of the others
    assert SIZES[0] / sum(SIZES) < score <= SIZES[0] / sum(SIZES) + others + 1e-9


def test_votes_are_divided_by_the_number_of_values() -> None:
    votes = np.array([[30, 20, 0], [0, 2, 1], [0, 0, 0], [5, 0, 4]])
    sizes = (10, 5, 1)  # shares: [3, 4, 0], [0, .4, 1], none, [.5, 0, 4]
    assert stands_for(votes, sizes, strict=False).tolist() == [1, 2, -1, 2]
    # The factor with one value keeps its best unit alone, so that unit 1 falls back to the factor that is left.
    assert stands_for(votes, sizes, strict=True).tolist() == [1, 1, -1, 2]
    assert stands_for(votes, (1, 1, 1), strict=True).tolist() == [0, -1, -1, 2]


def test_statistics_are_those_of_the_whole_table(monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.random.default_rng(4).normal(3, 2, (N, 5))
    table[:, 2] = 0.1
    monkeypatch.setattr("ratenets.evaluation.factors.CHUNK", 1000)
    found = code_statistics(look_up(table), N)
    assert np.allclose(found.mean, table.mean(0), rtol=1e-12)
    assert np.allclose(np.delete(found.variance, 2), np.delete(table, 2, axis=1).var(0), rtol=1e-10, atol=0)
    assert found.variance[2] == 0
    assert found.mean[2] == 0.1


def test_transitions_are_counted_within_sequences() -> None:
    values = np.array([[0, 1, 1, 2], [2, 0, 1, 1]])
    expected = np.array([[0, 1, 0, 0], [0, 2 / 3, 1 / 3, 0], [1, 0, 0, 0]])
    found = transition_matrix(values, 4)
    assert np.allclose(found[:3], expected)
    assert np.isnan(found[3]).all()


@given(arrays(np.int64, (4, 30), elements=st.integers(0, 4)))
def test_rows_of_transitions_sum_to_one(values: np.ndarray) -> None:
    sums = transition_matrix(values, 5).sum(1)
    assert np.all(np.isnan(sums) | (np.abs(sums - 1) < 1e-12))


def test_one_factor_is_varied_and_the_others_stay(rng: np.random.Generator) -> None:
    for factor, size in enumerate(SIZES):
        varied = vary(look_up(VALUES), factor, 15, rng, SIZES)
        assert varied.shape == (15, size, 6)
        assert np.array_equal(varied[..., factor], np.tile(np.arange(size), (15, 1)))
        others = np.delete(varied, factor, axis=2)
        assert (others == others[:, :1]).all()
        assert len(np.unique(others[:, 0], axis=0)) > 1


def test_similarity_is_the_mean_cosine(rng: np.random.Generator) -> None:
    varied, mean = rng.normal(size=(7, 4, 9)), rng.normal(size=9)
    expected = np.zeros((4, 4))
    for context in varied:
        for a in range(4):
            for b in range(4):
                x, y = context[a] - mean, context[b] - mean
                expected[a, b] += x @ y / np.sqrt((x @ x) * (y @ y)) / 7
    assert np.allclose(similarity(varied, mean), expected, rtol=1e-12)


def test_similarity_of_what_never_varies_is_undefined() -> None:
    constant = np.full((N, 3), 0.1)
    found = similarity(
        vary(look_up(constant), 0, 5, numpy_generator(1), SIZES), code_statistics(look_up(constant), N)[0]
    )
    assert np.isnan(found).all()


def test_principal_components_are_sklearn_s(rng: np.random.Generator) -> None:
    features = rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6)) + 3
    found, expected = pca(features, 3), PCA(3).fit(features)
    assert np.allclose(found.explained, expected.explained_variance_ratio_, rtol=1e-10)
    assert np.allclose(np.abs(found(features)), np.abs(expected.transform(features)), rtol=1e-8)
    assert (found.axes[np.arange(3), np.abs(found.axes).argmax(1)] > 0).all()
    flat = pca(np.ones((4, 1)), 2)
    assert flat(np.ones((4, 1))).tolist() == [[0, 0]] * 4
    assert np.isnan(flat.explained).all()


def test_a_ring_is_seen_as_a_ring() -> None:
    angle = 2 * np.pi * FACTOR_TABLE[:, 2] / 5
    table = np.concatenate([np.stack([np.cos(angle), np.sin(angle)], axis=1), ONE_HOT[:, :4]], axis=1)
    found = manifold(vary(look_up(table), 2, 50, numpy_generator(1), SIZES))
    curve = np.array(found["curve"])
    assert np.allclose(np.linalg.norm(curve, axis=1), 1, atol=1e-9)
    steps = np.linalg.norm(curve - np.roll(curve, 1, axis=0), axis=1)
    assert np.allclose(steps, 2 * np.sin(np.pi / 5), atol=1e-9)
    assert np.allclose(found["explained"], [0.5, 0.5])
    assert np.shape(found["contexts"]) == (30, 5, 2)
    assert np.allclose(found["contexts"], curve, atol=1e-9)  # disentangled: the same in every context


def test_a_scatter_shows_the_strongest_factors() -> None:
    found = scatter(look_up(VALUES * [1, 1, 50, 1, 1, 9]), 200, numpy_generator(1), SIZES)
    points, factors = np.array(found["points"]), np.array(found["factors"])
    assert abs(np.corrcoef(points[:, 0], factors[:, 2])[0, 1]) > 0.999
    assert abs(np.corrcoef(points[:, 1], factors[:, 5])[0, 1]) > 0.98
    assert factors.shape == (200, 6)


@pytest.fixture(scope="module")
def sequences() -> Shapes3DSequences:
    return Shapes3DSequences.draw(1, SequenceConfig(sequences=200, batch_size=32), SIZES)


def test_a_report_holds_everything_and_fits_into_json(sequences: Shapes3DSequences) -> None:
    report = factor_report(look_up(ONE_HOT), sequences, config=QUICK, sizes=SIZES, seed=3)
    assert report["score"] == {"mean": 1.0, "deviation": 0.0, "values": [1.0, 1.0]}
    assert report["strict_score"]["mean"] == 1.0
    assert (report["units"], report["silent_units"]) == (sum(SIZES), 0)
    for k, (name, size) in enumerate(zip(FACTORS, SIZES, strict=True)):
        assert report["sizes"][name] == size
        assert np.shape(report["similarity"][name]) == (size, size)
        assert np.allclose(np.diag(report["similarity"][name]), 1)
        assert np.shape(report["manifolds"][name]["curve"]) == (size, 2)
        assert sorted(report["order"][name]) == list(range(size))
        counted = transition_matrix(factors_of(sequences.frames, SIZES)[..., k], size)
        assert np.allclose(report["transitions"][name], counted)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    again = factor_report(look_up(ONE_HOT), sequences, config=QUICK, sizes=SIZES, seed=3)
    assert again == report
    other = factor_report(look_up(ONE_HOT), config=QUICK, sizes=SIZES, seed=4)
    assert "transitions" not in other
    assert other["scatter"] != report["scatter"]


def test_a_report_of_a_silent_code_says_what_is_undefined() -> None:
    report = factor_report(look_up(np.zeros((N, 3))), config=QUICK, sizes=SIZES)
    assert report["silent_units"] == 3
    assert report["similarity"]["scale"] == [[None] * 3] * 3
    assert report["manifolds"]["shape"]["explained"] == [None, None]
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize(("name", "value", "least"), [("batch", 1, 2), ("repetitions", 0, 1), ("scatter", 2, 3)])
def test_a_setting_out_of_range_is_one_line(name: str, value: int, least: int) -> None:
    with pytest.raises(UsageError, match=f"^{name}: must be at least {least}, got {value}$"):
        FactorConfig(**{name: value})


def drawn(figure: Figure) -> Figure:
    assert faults(figure) == []
    return figure


@pytest.mark.parametrize("names", [["LPL"], ["a-rather-long-name"], [f"a rather $long$ name {n}" for n in range(5)]])
def test_scores_stand_above_whole_names(names: list[str]) -> None:
    report = factor_report(look_up(ONE_HOT), config=QUICK, sizes=SIZES)
    (axis,) = drawn(factor_plots.scores([(name, report) for name in names])).axes
    ticks = [tick.get_text().replace(r"\$", "$") for tick in axis.get_xticklabels()]
    assert ["".join(tick.split()) for tick in ticks] == ["".join(name.split()) for name in names]


MATRICES = (factor_plots.similarities, factor_plots.manifolds, factor_plots.scatters)


@pytest.mark.parametrize("draw", MATRICES)
def test_a_row_for_each_network_and_a_column_for_each_factor(
    draw: Callable[[factor_plots.Reports], Figure], sequences: Shapes3DSequences
) -> None:
    mixed: Features = ONE_HOT @ np.random.default_rng(5).normal(size=(sum(SIZES), 10))
    reports = {
        "LPL": factor_report(look_up(ONE_HOT), sequences, config=QUICK, sizes=SIZES),
        "a random, $long$ name": factor_report(look_up(mixed), config=QUICK, sizes=SIZES),
        "silent": factor_report(look_up(np.zeros((N, 3))), config=QUICK, sizes=SIZES),
    }
    figure = drawn(draw(reports))
    panels = [axis for axis in figure.axes if axis.get_subplotspec() is not None and axis.get_label() != "<colorbar>"]
    assert len(panels) == 18
    assert [axis.get_title() for axis in panels[:6]] == list(factor_plots.TITLES.values())
    assert [axis.get_ylabel().split("\n")[0] for axis in panels[::6]] == ["LPL", r"a random, \$long\$", "silent"]


def test_transitions_need_sequences(sequences: Shapes3DSequences) -> None:
    report = factor_report(look_up(VALUES), sequences, config=QUICK, sizes=SIZES)
    figure = drawn(factor_plots.transitions({"it": report}))
    shown = figure.axes[3].images[0].get_array()
    assert shown is not None
    expected = np.array(report["transitions"]["scale"])
    assert np.allclose(np.ma.filled(shown, 0.0), expected)
    without = factor_report(look_up(VALUES), config=QUICK, sizes=SIZES)
    later = drawn(factor_plots.transitions([("pixels", without), ("it", report)])).axes[3].images[0].get_array()
    assert later is not None
    assert np.array_equal(np.ma.filled(later, 0.0), np.ma.filled(shown, 0.0))
    del report["transitions"]
    with pytest.raises(UsageError, match="no report has them"):
        factor_plots.transitions({"it": report})


def test_codes_that_are_not_finite_are_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    table = VALUES.astype(float)
    table[7, 2] = np.inf
    monkeypatch.setattr(factors, "vote_score", lambda *_, **__: pytest.fail("scored"))
    with pytest.raises(RatespikeError, match=f"^codes: unit 2 of {table.shape[1]} is not finite for every picture$"):
        factor_report(look_up(table), config=QUICK, sizes=SIZES)


def test_runs_of_one_name_are_numbered() -> None:
    report = factor_report(look_up(VALUES), config=QUICK, sizes=SIZES)
    names = ["LPL", "LPL", "LPL (2)", "LPL"]
    (axis,) = drawn(factor_plots.scores([(name, report) for name in names])).axes
    shown = [tick.get_text() for tick in axis.get_xticklabels()]
    assert shown == ["LPL", "LPL (2)", "LPL (2) (2)", "LPL (3)"]


def test_bars_are_the_scores() -> None:
    reports = {"LPL": factor_report(look_up(VALUES), config=QUICK, sizes=SIZES)}
    reports["silent"] = factor_report(look_up(np.zeros((N, 3))), config=QUICK, sizes=SIZES)
    (axis,) = drawn(factor_plots.scores(reports)).axes
    bars = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
    chance = 100 * SIZES[0] / sum(SIZES)
    assert np.allclose([bar.get_height() for bar in bars], [100, chance, 100, chance])
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["LPL", "silent"]
    with pytest.raises(UsageError, match="no report"):
        factor_plots.scores({})

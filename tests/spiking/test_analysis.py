"""The analyses find what the reference's own found in the same spikes and weights, and stand odd recordings."""

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from foundation.errors import RatespikeError
from spiking import analysis
from spiking.analysis import analyse, learning_curve, spike_counts
from spiking.recording import NetworkRecord, PairingCurve, Spikes


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    with np.load(Path(__file__).parents[1] / "data/spiking/network.npz") as arrays:
        return {**arrays, "summary": json.loads(str(arrays["summary"]))}


@pytest.fixture(scope="module")
def record(reference: dict[str, Any]) -> NetworkRecord:
    groups = (("exc", 100), ("inh", 25), ("input", 500))
    spikes = {
        name: Spikes(
            (reference["first"] + np.cumsum(reference[f"{name}_gap"], dtype=np.int64)) * np.float64(reference["dt"]),
            reference[f"{name}_unit"].astype(np.int64),
            size,
        )
        for name, size in groups
    }
    end = float(reference["summary"]["T_end"])
    return NetworkRecord(
        label="LPL",
        start=end - 100.0,
        end=end,
        exc=spikes["exc"],
        inh=spikes["inh"],
        inputs=spikes["input"],
        population=np.repeat(np.arange(5), 100),
        pre=reference["pre"].astype(np.int64),
        post=reference["post"].astype(np.int64),
        weights=reference["weights"].astype(np.float64),
        weight_time=reference["weight_time"],
        rate_time=reference["rate_time"],
        rates={
            "exc": reference["rate_exc"].astype(np.float64),
            "inh": reference["rate_inh"].astype(np.float64),
            "inputs": reference["rate_in"].astype(np.float64).T,
        },
    )


@pytest.fixture(scope="module")
def found(record: NetworkRecord) -> analysis.NetworkAnalysis:
    return analyse(record)


def empty(size: int) -> Spikes:
    return Spikes(np.empty(0), np.empty(0, dtype=np.int64), size)


def poisson(size: int, rate: float, start: float, end: float, seed: int) -> Spikes:
    rng = np.random.default_rng(seed)
    number = rng.poisson(size * rate * (end - start))
    return Spikes(np.sort(rng.uniform(start, end, number)), rng.integers(0, size, number), size)


def small(populations: int = 3, seconds: float = 10.0, **changes: Any) -> NetworkRecord:
    """Ten inputs per population, at 20 Hz, and six excitatory neurons at 5 Hz that know nothing of them."""
    inputs = 10 * populations
    pre, post = (grid.ravel() for grid in np.meshgrid(np.arange(inputs), np.arange(6), indexing="ij"))
    record = NetworkRecord(
        label="small",
        start=50.0,
        end=50.0 + seconds,
        exc=poisson(6, 5.0, 50.0, 50.0 + seconds, seed=1),
        inh=poisson(2, 9.0, 50.0, 50.0 + seconds, seed=2),
        inputs=poisson(inputs, 20.0, 50.0, 50.0 + seconds, seed=3),
        population=np.repeat(np.arange(populations), 10),
        pre=pre,
        post=post,
        weights=np.stack([np.full(len(pre), 0.15), 0.1 + 0.1 * (pre // 10)]),
        weight_time=np.array([0.0, 10.0]),
        rate_time=np.array([50.0 + seconds]),
        rates={},
    )
    return dataclasses.replace(record, **changes)


def test_population_weights_are_the_references(found, reference, record):
    np.testing.assert_allclose(found.weights, reference["w_group"], rtol=1e-5)  # float32 sums of a hundred
    assert found.weights.mean() == pytest.approx(reference["w_group"].mean(), rel=1e-6)
    summary = reference["summary"]
    for spread, mean, std in zip(found.summary.weights, summary["w_group_mean"], summary["w_group_std"], strict=True):
        assert (spread.mean, spread.std) == pytest.approx((mean, std), rel=1e-6)
    assert found.summary.existing_weights == pytest.approx(summary["w_group_mean_existing"], rel=1e-6)


def test_existing_weights_are_means_over_units_not_over_synapses():
    """Unit 0 has two synapses of 0.2 from population 0, unit 1 one of 0.8; none come from population 1."""
    population, pre, post = np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([0, 0, 1])
    weights = np.array([0.2, 0.2, 0.8])
    np.testing.assert_allclose(analysis.existing_weights(weights, pre, post, population, 3), np.array([0.5, np.nan]))
    means = analysis.population_weights(weights, pre, post, population, 3)
    np.testing.assert_allclose(means, [[0.2, 0.4, 0.0], [0.0, 0.0, 0.0]])


def test_an_absent_synapse_counts_as_zero(record):
    """All weights are 0.15 at first, and a tenth of all pairs have a synapse: means of 0.015."""
    first = analysis.population_weights(record.weights[0], record.pre, record.post, record.population, 100)
    assert first.mean() == pytest.approx(0.15 * 5082 / 50_000, rel=1e-6)
    existing = analysis.existing_weights(record.weights[0], record.pre, record.post, record.population, 100)
    np.testing.assert_allclose(existing, 0.15, rtol=1e-6)


@pytest.mark.parametrize(("name", "stored"), [("P1", "sel_P1"), ("P2", "sel_P2"), ("P2 vs P1", "relsel")])
def test_preferences_are_the_references(found, reference, name, stored):
    np.testing.assert_allclose(found.preferences[name], reference[stored], atol=1e-6)
    key = {"P2 vs P1": "relsel_P2_P1"}.get(name, stored)
    spread = found.summary.preference[name]
    assert spread.mean == pytest.approx(reference["summary"][key], rel=1e-5)
    assert spread.std == pytest.approx(reference["summary"][f"{key}_std"], rel=1e-6)
    if name != "P2 vs P1":
        assert spread.median == pytest.approx(reference["summary"][f"{key}_median"], rel=1e-6)
    assert found.summary.prefer_p1 == reference["summary"]["frac_P1"] == 0.46
    assert found.summary.prefer_p2 == reference["summary"]["frac_P2"] == 0.49


def test_rates_are_the_references(found, reference):
    summary, rate = reference["summary"], found.summary.exc_rate
    np.testing.assert_allclose(found.exc_rates, reference["rates_unit"], rtol=1e-12)
    assert (rate.mean, rate.std) == pytest.approx((summary["exc_rate"], summary["exc_rate_unit_std"]), rel=1e-12)
    assert (rate.lowest, rate.highest) == (summary["exc_rate_unit_min"], summary["exc_rate_unit_max"])
    assert found.summary.inh_rate.mean == pytest.approx(summary["inh_rate"], rel=1e-12)
    assert found.summary.input_rates == pytest.approx(summary["input_rates"], rel=1e-12)


def test_binned_rates_are_those_that_the_reference_wrote_while_it_ran(record):
    """In 10 s, from 11,700 to 11,790 s; the reference's file has a few decimals."""
    for spikes, group in ((record.exc, "exc"), (record.inh, "inh")):
        rates = analysis.binned_rates(spikes, 11_700.0, 11_790.0, 10.0)
        np.testing.assert_allclose(rates, record.rates[group][-9:], atol=1e-6)


def test_dimensionality_and_decoding_are_the_references(found, reference):
    summary = reference["summary"]
    assert found.summary.participation_ratio == pytest.approx(summary["PR"], rel=1e-10)
    np.testing.assert_allclose(found.summary.r2, summary["r2"], atol=1e-9)
    assert found.summary.io_correlation == pytest.approx(summary["io_corr"], rel=1e-9)
    np.testing.assert_allclose(found.summary.count_correlations, summary["corrs"], rtol=1e-9)
    assert found.decoding.prediction.shape == found.decoding.target.shape == (200, 5)


def test_r2_hangs_on_the_last_bit_of_the_start(record, reference):
    """Why the bins are made in the reference's floating point: a start of 11699.9998 itself moves 2e-3 of R²."""
    literal = dataclasses.replace(record, start=11699.9998, end=11799.9998)
    assert record.start - literal.start == pytest.approx(0, abs=1e-11)
    shift = np.abs(np.subtract(analyse(literal).summary.r2, reference["summary"]["r2"]))
    assert 1e-3 < shift.max() < 1e-2


def test_the_learning_curve_is_the_references(record, reference):
    curve = learning_curve(record)
    stored = np.array(reference["summary"]["curve"])  # rounded: s, selectivity of P1 and P2 (4 digits), weights (5)
    np.testing.assert_allclose(curve.time, stored[:, 0])
    np.testing.assert_allclose(curve.preferences["P1"], stored[:, 1], atol=5.1e-5)
    np.testing.assert_allclose(curve.preferences["P2"], stored[:, 2], atol=5.1e-5)
    np.testing.assert_allclose(curve.weights, stored[:, 3:], atol=5.1e-6)


def test_the_summary_is_json(found):
    values = json.loads(json.dumps(found.summary.to_json(), allow_nan=False))
    assert values["exc_rate"]["mean"] == pytest.approx(5.8866)
    assert values["preference"]["P2 vs P1"]["mean"] == pytest.approx(0.02834829, rel=1e-5)
    assert values["window"] == 100.0
    assert len(values["r2"]) == len(values["weights"]) == 5


def test_a_silent_network_is_analysed_without_a_warning():
    """Hebbian term off: the network all but stops firing, and there is nothing to decode from."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary = analyse(small(5, exc=empty(6), inh=empty(2))).summary
    assert summary.exc_rate.highest == summary.inh_rate.highest == 0
    assert np.isnan(summary.participation_ratio)
    assert np.isnan(summary.count_correlations).all()
    assert max(summary.r2) <= 0  # a constant, fitted on other bins
    values = summary.to_json()
    assert values["participation_ratio"] is None
    json.dumps(values, allow_nan=False)


def test_no_inhibitory_neurons_and_no_input_spikes():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = analyse(small(5, inh=empty(0), inputs=empty(50)))
    assert len(found.inh_rates) == 0
    assert np.isnan(found.summary.inh_rate.mean)
    assert found.summary.input_rates == (0,) * 5
    assert np.isnan(found.summary.r2).all()  # scikit-learn would say 1: nothing varies, and nothing is what it predicts
    assert np.isnan(found.summary.io_correlation)


@pytest.mark.parametrize("populations", [1, 3, 6])
def test_other_populations_have_weights_and_decoding_but_no_selectivity(populations):
    found = analyse(small(populations))
    assert found.weights.shape == (populations, 6)
    np.testing.assert_allclose(found.weights[:, 0], 0.1 + 0.1 * np.arange(populations))
    assert found.preferences == found.summary.preference == {}
    assert np.isnan([found.summary.prefer_p1, found.summary.prefer_p2]).all()
    assert len(found.summary.r2) == populations
    assert np.isfinite(found.summary.r2).all()
    assert learning_curve(small(populations)).preferences == {}
    assert analysis.population_names(populations) == tuple(f"P{i}" for i in range(populations))


@pytest.mark.parametrize(("seconds", "decodable"), [(0.01, False), (0.5, False), (2.0, True)])
def test_a_short_recording_is_analysed_as_far_as_it_goes(seconds, decodable):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary = analyse(small(2, seconds)).summary
    assert summary.window == pytest.approx(seconds)
    assert np.isfinite(summary.r2).all() == decodable


def test_only_the_last_100_s_count():
    """Neuron 0 fires once a second; before the last 100 s, neuron 1 does."""
    time = np.arange(50.5, 200.5, dtype=np.float64)
    spikes = Spikes(time, (time < 100).astype(np.int64), 6)
    rates = analyse(small(2, seconds=150.0, exc=spikes)).exc_rates
    np.testing.assert_allclose(rates, [1.0, 0, 0, 0, 0, 0])


def test_what_cannot_be_analysed_is_said():
    with pytest.raises(RatespikeError, match=r"small: the record has no snapshot of the weights"):
        analyse(small(weights=np.empty((0, 180)), weight_time=np.empty(0)))
    with pytest.raises(RatespikeError, match="no time at all"):
        analyse(small(start=60.0))


def test_a_decoder_that_can_know_its_input_finds_it():
    """Each unit repeats one population, twice as often: R² is 1 but for the penalty's pull."""
    inputs = np.random.default_rng(4).poisson(12.0, (2000, 3)).astype(float)
    decoding = analysis.decode(2 * inputs, inputs)
    assert decoding.r2.min() > 0.999
    assert decoding.io_correlation > 0.999
    own = [analysis.decode(2 * inputs, inputs[:, [k]]).r2[0] for k in range(3)]
    np.testing.assert_allclose(decoding.r2, own, rtol=1e-12)  # the joint fit is each one's own


def test_participation_ratio_is_that_of_the_eigenvalues(rng):
    counts = rng.poisson(1.0, (300, 20)) @ rng.normal(size=(20, 20))
    e = np.linalg.eigvalsh((counts - counts.mean(0)) @ (counts - counts.mean(0)).T)  # of the Gram matrix
    assert analysis.participation_ratio(counts) == pytest.approx(e.sum() ** 2 / (e**2).sum(), rel=1e-9)


@given(
    st.lists(st.tuples(st.integers(1, 40_000), st.integers(0, 3)), max_size=60),
    st.integers(0, 3).map(lambda k: np.eye(4, dtype=np.int64)[k]),
)
def test_counts_keep_every_spike_and_groups_are_sums_of_units(events: list[tuple[int, int]], group: NDArray[np.int64]):
    """Spikes in the middle of a step, away from the edges that rounding decides."""
    ordered = np.array(sorted(events), dtype=np.int64).reshape(-1, 2)
    spikes = Spikes((7.0 + (ordered[:, 0] + 0.5) * 1e-4).astype(np.float64), ordered[:, 1], 4)
    counts = spike_counts(spikes, 7.0, 11.0)
    assert counts.shape == (160, 4)
    assert counts.sum() == np.sum(ordered[:, 0] < 40_000 + 0.5) == len(events)
    np.testing.assert_array_equal(
        spike_counts(spikes, 7.0, 11.0, group), np.stack([counts[:, group == g].sum(1) for g in (0, 1)], 1)
    )
    for step, unit in ordered:
        assert counts[int((step - 0.5) // 250), unit] > 0


@given(st.lists(st.floats(0, 1), min_size=15, max_size=15))
def test_preferences_are_bounded_and_change_sign_with_the_populations(values: list[float]):
    weights = np.array(values).reshape(5, 3)
    chosen, swapped = analysis.preferences(weights), analysis.preferences(weights[[0, 2, 1, 4, 3]])
    for name in ("P1", "P2"):
        assert np.abs(chosen[name]).max() <= 1
        np.testing.assert_array_equal(chosen[name], -swapped[name])


def test_the_weight_change_at_10_ms_is_the_papers_index():
    delta_t, index = np.linspace(0.02, -0.02, 100, dtype=np.float64), np.arange(100, dtype=np.float64)
    curve = PairingCurve(10.0, 20.0, 0.1, 0.02, "as_simulated", delta_t, index, 100)
    assert (analysis.change_at(curve, 0.01), analysis.change_at(curve, -0.01)) == (25, 75)
    backwards = dataclasses.replace(curve, delta_t=delta_t[::-1], relative_delta_w=index[::-1])
    assert (analysis.change_at(backwards, 0.01), analysis.change_at(backwards, -0.01)) == (25, 75)
    assert np.isnan([analysis.change_at(curve, delta_t) for delta_t in (-0.03, 0.03)]).all()

"""Rate traces, the paper's populations, and the spikes drawn from them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from foundation.errors import RatespikeError, UsageError
from spiking.stimuli import PAPER_POPULATIONS, RateTrace, SpikeEvents, draw_spikes, load_rates, paper_rates

SIGMAS = 4.5  # of some hundreds of counts, at fixed seeds


def constant(rate: float) -> RateTrace:
    return RateTrace(np.array([rate]))


def raster(events: SpikeEvents) -> NDArray[np.bool_]:
    """(steps, lines)."""
    spikes = np.zeros((events.steps, events.lines), int)
    np.add.at(spikes, (events.step, events.source), 1)
    assert spikes.max(initial=0) <= 1
    return spikes.astype(bool)


def assert_binomial(counts: NDArray[np.int64], trials: int, probability: NDArray[np.float64] | float) -> None:
    p = np.broadcast_to(probability, counts.shape)
    assert np.all(np.abs(counts - trials * p) <= SIGMAS * np.sqrt(trials * p * (1 - p)))


# --- RateTrace --------------------------------------------------------------------------------------------------------
def test_a_trace_is_interpolated_and_looped() -> None:
    trace = RateTrace(np.array([2.0, 6.0, 4.0]), interval=4e-3)
    loop = [2, 3, 4, 5, 6, 5.5, 5, 4.5]  # 4 Hz in step 8 is where the loop begins again, at 2 Hz
    np.testing.assert_allclose(trace.at(0, 19, 1e-3), [*loop, *loop, 2, 3, 4], rtol=1e-15)
    assert trace.period == pytest.approx(8e-3)


def test_a_trace_can_be_asked_in_parts_and_far_out() -> None:
    trace = paper_rates()[2]
    whole = trace.at(0, 700_000, 1e-4)  # two loops of 32.99 s
    for first in (1, 99, 329_899, 329_900, 500_000):
        np.testing.assert_array_equal(trace.at(first, 1000, 1e-4), whole[first : first + 1000])
    loops = 3_000_000 * 329_900  # steps; 99 million s
    np.testing.assert_array_equal(trace.at(loops, 1000, 1e-4), whole[:1000])
    np.testing.assert_array_equal(trace.at_steps(np.array([[5, 3]]), 1e-4), whole[[[5, 3]]])


def test_every_loop_starts_in_its_step() -> None:
    """In floating point, n dt modulo 32.99 s is just below the period at the start of some loops."""
    trace = paper_rates()[2]
    starts = np.arange(1000) * 329_900
    np.testing.assert_array_equal(trace.at_steps(starts, 1e-4), np.full(1000, trace.values[0]))


def test_a_single_sample_is_a_constant_on_any_grid() -> None:
    np.testing.assert_array_equal(RateTrace(np.array([5.0])).at(7, 3, 3e-4), [5.0, 5.0, 5.0])


def test_nobody_changes_a_trace() -> None:
    values = np.array([1.0, 2.0])
    trace = RateTrace(values)
    values[0] = -1.0
    assert trace.values[0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        trace.values[0] = -1.0


@pytest.mark.parametrize(
    ("values", "interval", "message"),
    [
        ([], 0.01, "rates: must be a list of one sample or more, got shape (0,)"),
        ([[1.0]], 0.01, "rates: must be a list of one sample or more, got shape (1, 1)"),
        ([1.0, -0.5], 0.01, "rates: must be finite and not negative, got -0.5 Hz in sample 1"),
        ([np.nan], 0.01, "rates: must be finite and not negative, got nan Hz in sample 0"),
        ([np.inf], 0.01, "rates: must be finite and not negative, got inf Hz in sample 0"),
        ([1.0], 0.0, "interval: must be positive and finite, got 0.0 s"),
        ([1.0], np.nan, "interval: must be positive and finite, got nan s"),
    ],
)
def test_what_is_no_trace_is_refused(values: list[float], interval: float, message: str) -> None:
    with pytest.raises(UsageError) as error:
        RateTrace(np.array(values), interval)
    assert str(error.value) == message


def test_a_rate_above_a_spike_per_step_is_refused() -> None:
    constant(1e4).check(1e-4)
    with pytest.raises(UsageError, match=r"rates: 10001 Hz is more than one spike in a step of 0.0001 s; at most 1000"):
        constant(10_001.0).check(1e-4)
    with pytest.raises(UsageError, match="dt: must be positive, got 0"):
        constant(1.0).check(0.0)


def test_samples_must_lie_on_steps() -> None:
    with pytest.raises(UsageError, match=r"RateTrace.interval: must be a multiple of dt = 0.0003 s, got 0.01 s"):
        RateTrace(np.array([1.0, 2.0])).at(0, 1, 3e-4)


# --- the paper's populations ------------------------------------------------------------------------------------------
def autocorrelation(values: NDArray[np.float64], lag: int) -> float:
    x = values - values.mean()
    return float((x[lag:] * x[:-lag]).mean() / x.var())


@pytest.mark.parametrize(
    ("name", "rows", "mean", "std", "largest", "clipped", "autocorrelations"),
    [  # what was measured of the published rate files
        ("P1", 3300, 5.191, 3.678, 14.22, 0.083, [0.986, 0.949, 0.756, 0.450, 0.200]),
        ("P1ctl", 3300, 5.191, 3.678, 14.22, 0.083, [-0.02, -0.01, -0.02, 0.03, -0.01]),
        ("P2", 3385, 5.102, 3.849, 16.42, 0.102, [0.987, 0.953, 0.780, 0.509, 0.169]),
        ("P2ctl", 3385, 5.104, 3.849, 16.42, 0.102, [-0.01, -0.01, -0.02, 0.02, 0.01]),
    ],
)
def test_the_rates_are_those_of_the_paper(
    name: str, rows: int, mean: float, std: float, largest: float, clipped: float, autocorrelations: list[float]
) -> None:
    trace = paper_rates()[PAPER_POPULATIONS.index(name)]
    values = trace.values
    assert (values.size, trace.interval) == (rows, 0.01)
    assert trace.period == pytest.approx((rows - 1) * 0.01)
    trapezoid = (values[1:] + values[:-1]).mean() / 2
    assert (trapezoid, values.std()) == (pytest.approx(mean, abs=6e-4), pytest.approx(std, abs=6e-4))
    assert (values.max(), values.min()) == (pytest.approx(largest, abs=6e-3), 0.1)
    assert (values == 0.1).mean() == pytest.approx(clipped, abs=6e-4)
    digits = 6e-3 if name.endswith("ctl") else 6e-4
    measured = [autocorrelation(values, lag) for lag in (1, 2, 5, 10, 20)]
    np.testing.assert_allclose(measured, autocorrelations, rtol=0, atol=digits)


def test_controls_are_shuffled_and_p0_is_constant() -> None:
    p0, p1, p1ctl, p2, p2ctl = paper_rates()
    np.testing.assert_array_equal(p0.values, [5.0])
    for signal, control in ((p1, p1ctl), (p2, p2ctl)):
        np.testing.assert_array_equal(np.sort(signal.values), np.sort(control.values))
        assert np.any(signal.values != control.values)


def test_a_seed_decides_on_the_rates() -> None:
    assert all(np.array_equal(a.values, b.values) for a, b in zip(paper_rates(1), paper_rates(1), strict=True))
    assert not np.array_equal(paper_rates(1)[1].values, paper_rates(2)[1].values)
    with pytest.raises(UsageError, match="seed: must be a whole number from 0 to 4294967295, got -1"):
        paper_rates(-1)


# --- load_rates -------------------------------------------------------------------------------------------------------
def test_rates_of_either_format(tmp_path: Path) -> None:
    rates = np.array([[5, 6, 7], [0, 1, 0]], np.int16)
    np.save(tmp_path / "a.npy", rates)
    np.savez(tmp_path / "b.npz", rates=rates.astype(">f4"))
    np.savez_compressed(tmp_path / "c.npz", rates=rates, interval=0.05)
    for name, interval in (("a.npy", 0.01), ("b.npz", 0.01), ("c.npz", 0.05)):
        traces = load_rates(tmp_path / name)
        assert [t.interval for t in traces] == [interval, interval]
        np.testing.assert_array_equal([t.values for t in traces], rates)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"rates": np.ones(3)}, "rates should have the shape (populations, samples), have (3,)"),
        ({"rates": np.ones((2, 0))}, "rates should have the shape (populations, samples), have (2, 0)"),
        (
            {"rates": np.array([[1.0, 2.0], [3.0, -4.0]])},
            "population 1, sample 1: -4.0 Hz; rates should be finite and not negative",
        ),
        (
            {"rates": np.array([[1.0, np.nan]])},
            "population 0, sample 1: nan Hz; rates should be finite and not negative",
        ),
        ({"rates": np.ones((1, 2), bool)}, "rates: should be plain numbers, is of type bool"),
        ({"rates": np.ones((1, 2), complex)}, "rates: should be plain numbers, is of type complex128"),
        ({"rates": np.array([["a"]])}, "rates: should be plain numbers, is of type <U1"),
        ({"Rates": np.ones((1, 2))}, "holds 'Rates'; should hold 'rates' and, if you like, 'interval' and 'names'"),
        (
            {"interval": np.ones(())},
            "holds no array 'rates'; should hold 'rates' and, if you like, 'interval' and 'names'",
        ),
        ({"rates": np.ones((1, 2)), "interval": np.ones(2)}, "interval should be one positive number in s, is [1. 1.]"),
        (
            {"rates": np.ones((1, 2)), "interval": np.array(-1.0)},
            "interval should be one positive number in s, is -1.0",
        ),
        ({"rates": np.ones((1, 2)), "interval": np.array("x")}, "interval: should be plain numbers, is of type <U1"),
    ],
)
def test_a_file_of_something_else_is_refused(
    arrays: dict[str, NDArray[np.generic]], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "rates.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]  # mypy takes the mapping for the flag among the arguments
    with pytest.raises(RatespikeError) as error:
        load_rates(path)
    assert (str(error.value), error.value.exit_status) == (f"{path}: {message}", 1)


@pytest.mark.parametrize("name", ["rates.npy", "rates.npz"])
def test_damaged_files_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    good = tmp_path / f"good{name[-4:]}"
    rates = np.random.default_rng(0).random((5, 300))
    np.save(good, rates) if name.endswith("npy") else np.savez_compressed(good, rates=rates)
    content, path = good.read_bytes(), tmp_path / name
    damaged = [content[:cut] for cut in (0, 3, 9, 60, 200, len(content) - 1)]
    damaged += [b"5 6 7\n", content[:20] + b"\xff" * 30 + content[50:], b"PK\x03\x04 and so on", b"\x80\x04K\x05."]
    for broken in damaged:
        path.write_bytes(broken)
        with pytest.raises(
            RatespikeError, match=r"not a whole (\.npy or \.npz file of numbers|array)|declares"
        ) as error:
            load_rates(path)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < len(str(path)) + 160


def test_pickles_folders_and_nothing_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], object), allow_pickle=True)
    for name, said in (("objects.npy", "should be plain numbers, is of type object"), ("", "is a folder, not a file")):
        with pytest.raises(RatespikeError, match=said):
            load_rates(tmp_path / name)
    with pytest.raises(RatespikeError, match=r"none\.npy: no such file"):
        load_rates(tmp_path / "none.npy")


# --- draw_spikes ------------------------------------------------------------------------------------------------------
def test_counts_are_binomial(rng: np.random.Generator) -> None:
    """Mean and variance over 400 neurons and 50 stretches of a second; lines are in the order of their population."""
    events = draw_spikes([constant(20.0), constant(150.0)], 400, dt=1e-3, first_step=1, steps=50_000, generator=rng)
    assert (events.lines, events.steps, events.dt) == (800, 50_000, 1e-3)
    key = events.source * 50 + events.step // 1000
    counts = np.bincount(key, minlength=800 * 50).reshape(2, -1)  # per population, one count a neuron and second
    assert_binomial(counts.sum(1), 400 * 50_000, np.array([0.02, 0.15]))
    for row, p in zip(counts, (0.02, 0.15), strict=True):
        variance = 1000 * p * (1 - p)
        # The variance of a sample variance of n counts is var^2 (2 + kurtosis) / n, and the kurtosis is < 0.05 here.
        assert abs(row.var() / variance - 1) < SIGMAS * np.sqrt(2.05 / row.size)


def test_rates_follow_the_trace_step_by_step(rng: np.random.Generator) -> None:
    """Every phase of a looped trace against the dense definition, Bernoulli(r(t) dt); the start is in mid-loop."""
    trace = RateTrace(np.array([0.0, 400.0, 100.0]), interval=4e-3)
    events = draw_spikes([trace], 3, dt=1e-3, first_step=13, steps=160_000, generator=rng)
    counts = raster(events).reshape(20_000, 8, 3).sum(0)
    expected = trace.at(13, 8, 1e-3) * 1e-3
    assert_binomial(counts, 20_000, expected[:, None])
    assert counts[3].sum() == 0  # step 16 is the start of a loop, where the rate is 0


def test_a_small_raster_has_the_law_of_independent_trials(rng: np.random.Generator) -> None:
    """All 16 patterns of 2 neurons in 2 steps of different rates: no trial knows of another, nor of the ends."""
    trace = RateTrace(np.array([300.0, 800.0, 300.0]), interval=1e-3)
    patterns = np.zeros(16, int)
    for _ in range(20_000):
        events = draw_spikes([trace], 2, dt=1e-3, first_step=2, steps=2, generator=rng)
        patterns[(1 << (events.step * 2 + events.source)).sum()] += 1
    bits = np.arange(16)[:, None] >> np.arange(4) & 1
    p = np.array([0.3, 0.3, 0.8, 0.8])
    assert_binomial(patterns, 20_000, np.where(bits, p, 1 - p).prod(1))


def test_neurons_populations_and_steps_are_independent(rng: np.random.Generator) -> None:
    events = draw_spikes([constant(300.0), constant(300.0)], 3, dt=1e-3, first_step=5, steps=40_000, generator=rng)
    trains = raster(events).T.astype(float)
    others = np.corrcoef(np.vstack([trains[:, 1:], trains[:, :-1]]))  # of all trains and of their past
    assert np.abs(others - np.eye(12)).max() < SIGMAS / np.sqrt(40_000)


def test_the_highest_rate_spikes_in_every_step_and_none_never(rng: np.random.Generator) -> None:
    traces = [constant(1000.0), constant(0.0), RateTrace(np.array([1000.0, 0.0, 1000.0]), interval=1e-3)]
    events = draw_spikes(traces, 2, dt=1e-3, first_step=4, steps=50, generator=rng)
    steps = np.arange(50)[:, None] % 2 == 0
    expected = np.hstack([np.ones((50, 2), bool), np.zeros((50, 2), bool), np.repeat(steps, 2, 1)])
    np.testing.assert_array_equal(raster(events), expected)
    assert draw_spikes([constant(1e-300)], 9, dt=1e-4, first_step=0, steps=9, generator=rng).step.size == 0


class Eager(np.random.Generator):
    """Draws the smallest gap and the smallest number, always."""

    def geometric(self, p: float, size: int) -> NDArray[np.int64]:  # type: ignore[override]  # as it is called here
        return np.ones(size, np.int64)

    def random(self, size: int) -> NDArray[np.float64]:  # type: ignore[override]
        return np.zeros(size)


def test_draws_far_from_the_mean_are_followed_to_the_end() -> None:
    """The gaps are drawn in blocks of about the number that is expected; here that is two of two hundred."""
    events = draw_spikes([constant(10.0)], 2, dt=1e-4, first_step=1, steps=100, generator=Eager(np.random.PCG64(0)))
    np.testing.assert_array_equal(raster(events), np.ones((100, 2), bool))


def test_step_0_of_the_simulation_is_silent(rng: np.random.Generator) -> None:
    events = draw_spikes([constant(1000.0)], 2, dt=1e-3, first_step=0, steps=4, generator=rng)
    np.testing.assert_array_equal(raster(events), [[0, 0], [1, 1], [1, 1], [1, 1]])
    later = draw_spikes([constant(1000.0)], 2, dt=1e-3, first_step=1, steps=1, generator=rng)
    np.testing.assert_array_equal(raster(later), [[1, 1]])


def test_neuron_0_at_half_its_rate(rng: np.random.Generator) -> None:
    traces = [constant(100.0), constant(400.0)]
    events = draw_spikes(traces, 3, dt=1e-3, first_step=1, steps=100_000, generator=rng, half_first=True)
    counts = np.bincount(events.source, minlength=6)
    assert_binomial(counts, 100_000, np.array([0.05, 0.1, 0.1, 0.2, 0.4, 0.4]))


def test_populations_of_the_paper_fire_at_their_rates(rng: np.random.Generator) -> None:
    """Counts of 100 s, per 10 ms and population: chi square against the trace, for the population and for no other."""
    traces = paper_rates()
    events = draw_spikes(traces, 100, dt=1e-4, first_step=0, steps=1_000_000, generator=rng)
    counts = np.zeros((10_000, 5), int)
    np.add.at(counts, (events.step // 100, events.source // 100), 1)
    expected = np.stack([t.at(0, 1_000_000, 1e-4).reshape(-1, 100).sum(1) * 1e-2 for t in traces], 1)
    for own in range(5):
        chi2 = ((counts[:, own, None] - expected) ** 2 / expected).mean(0)
        assert chi2[own] == pytest.approx(1.0, abs=0.1)  # of 10,000 nearly Poisson counts, some of a small mean
        assert np.delete(chi2, own).min() > 1.5


@settings(max_examples=60, deadline=None)
@given(
    rates=st.lists(st.floats(0.0, 1000.0), min_size=1, max_size=3),
    size=st.integers(1, 7),
    steps=st.integers(1, 60),
    first_step=st.integers(0, 50),
    seed=st.integers(0, 2**32),
    half_first=st.booleans(),
)
def test_events_are_in_order_in_range_and_decided_by_the_generator(
    rates: list[float], size: int, steps: int, first_step: int, seed: int, half_first: bool
) -> None:
    traces = [RateTrace(np.array([rate, 500.0, 0.0]), interval=5e-3) for rate in rates]
    one, same = (
        draw_spikes(
            traces,
            size,
            dt=1e-3,
            first_step=first_step,
            steps=steps,
            generator=np.random.default_rng(seed),
            half_first=half_first,
        )
        for _ in range(2)
    )
    assert (one.lines, one.steps) == (len(rates) * size, steps)
    assert one.source.dtype == one.step.dtype == np.dtype(np.int64)
    assert np.all(np.diff(one.step * one.lines + one.source) > 0)  # time, then source, and none twice
    if one.step.size:
        assert one.step[0] >= (first_step == 0)
        assert one.step[-1] < steps
        assert 0 <= one.source.min() <= one.source.max() < one.lines
    np.testing.assert_array_equal(one.step, same.step)
    np.testing.assert_array_equal(one.source, same.source)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"traces": []}, "rates: there is no population"),
        ({"size": 0}, "size: must be at least 1, got 0"),
        ({"steps": 0}, "steps: must be at least 1, got 0"),
        ({"first_step": -1}, "first_step: must be at least 0, got -1"),
        ({"dt": 0.0}, "dt: must be positive, got 0.0"),
        ({"dt": 0.3}, "rates: 5 Hz is more than one spike in a step of 0.3 s; at most 3.33333 Hz"),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes: dict[str, object], message: str, rng: np.random.Generator) -> None:
    arguments: dict[str, object] = {"traces": [constant(5.0)], "size": 1, "dt": 1e-3, "first_step": 0, "steps": 1}
    with pytest.raises(UsageError) as error:
        draw_spikes(generator=rng, **{**arguments, **changes})  # type: ignore[arg-type]  # many types by name
    assert str(error.value) == message

"""Stimuli: nothing is lost between Brian2 and torch; codes have the inverse that they promise."""

from typing import Any

import brian2 as b2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.stimuli import (
    Stimulus,
    constant_current,
    counts,
    delta,
    delta_values,
    inhomogeneous,
    latency,
    latency_values,
    poisson,
    smoothed,
)
from foundation.errors import UsageError
from spiking.brian.running import code_generation

DT = 1e-3
RNG = np.random.default_rng(0)
FRAMES = RNG.random((3, 5))
STIMULI = {
    "current": constant_current(FRAMES - 0.5, duration=0.004, dt=DT),
    "rate": inhomogeneous(100 * FRAMES, interval=0.01, dt=DT),
    "poisson": poisson(FRAMES, duration=0.02, dt=DT, r_max=300.0, seed=4),
    "latency": latency(FRAMES, duration=0.01, dt=DT),
    "delta": delta(RNG.normal(size=(30, 4)).cumsum(0) * 0.1, threshold=0.125, dt=DT),
}


def assert_same(one: Stimulus, other: Stimulus) -> None:
    assert (one.kind, one.dt, one.unit, one.seed) == (other.kind, other.dt, other.unit, other.seed)
    assert one.values.dtype == other.values.dtype
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.frame_steps, other.frame_steps)


@pytest.mark.parametrize("name", STIMULI)
def test_to_brian_to_torch_and_back_loses_nothing(name: str) -> None:
    given = STIMULI[name]
    more: dict[str, Any] = {"frame_steps": given.frame_steps, "seed": given.seed}
    steps = {"steps": len(given.values)} if given.kind == "spikes" else {}
    in_brian = Stimulus.from_brian(given.to_brian(), **steps, **more)
    assert_same(in_brian, given)
    in_torch = Stimulus.from_torch(in_brian.kind, in_brian.to_torch(), given.dt, **more)
    assert_same(in_torch, given)
    assert_same(Stimulus.from_brian(in_torch.to_brian(), **steps, **more), given)
    if given.kind == "spikes":
        assert_same(Stimulus.from_events(given.to_events(), **more), given)


def test_brian_sees_the_values_at_their_times() -> None:
    """A TimedArray gives step n its row n; a group of spikes fires in the very steps."""
    current, spikes = STIMULI["current"], STIMULI["poisson"]
    with code_generation("numpy"):
        lines = b2.NeuronGroup(5, "x : 1", dt=DT * b2.second, namespace={"drive": current.to_brian()})
        lines.run_regularly("x = drive(t, i)", dt=DT * b2.second, when="start")
        seen = b2.StateMonitor(lines, "x", record=True, when="end", dt=DT * b2.second)
        source = spikes.to_brian()
        fired = b2.SpikeMonitor(source)
        b2.Network(lines, seen, source, fired).run(spikes.duration * b2.second)
    np.testing.assert_array_equal(np.asarray(seen.x).T[: len(current.values)], current.values)
    found = np.zeros_like(spikes.values)
    found[np.rint(np.asarray(fired.t) / DT).astype(int), np.asarray(fired.i)] = True
    np.testing.assert_array_equal(found, spikes.values)


def test_frames_keep_their_times() -> None:
    np.testing.assert_allclose(STIMULI["poisson"].frame_times, [0, 0.02, 0.04])
    np.testing.assert_allclose(STIMULI["rate"].frame_times, [0, 0.01])
    assert STIMULI["poisson"].duration == pytest.approx(0.06)
    np.testing.assert_array_equal(STIMULI["current"].values[4:8], np.repeat(FRAMES[1:2] - 0.5, 4, axis=0))


def test_rates_are_piecewise_linear_and_spikes_follow_them() -> None:
    rates = inhomogeneous(np.array([[0.0, 100.0], [100.0, 50.0], [100.0, 0.0]]), interval=0.01, dt=DT)
    np.testing.assert_allclose(rates.values[:10, 0], np.arange(10) * 10.0)
    np.testing.assert_allclose(rates.values[10:, 1], 50 - np.arange(10) * 5.0)
    long = inhomogeneous(np.full((2, 400), 80.0), interval=2.0, dt=DT).drawn(seed=3)
    number = long.values.sum()
    assert abs(number - 400 * 160) < 5 * np.sqrt(400 * 160)
    assert_same(long, inhomogeneous(np.full((2, 400), 80.0), interval=2.0, dt=DT).drawn(seed=3))
    assert (long.values != inhomogeneous(np.full((2, 400), 80.0), interval=2.0, dt=DT).drawn(seed=5).values).any()


@given(st.integers(2, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_latencies_of_values_on_the_grid_lead_back_exactly(steps: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, steps, (3, 6)) / (steps - 1)
    code = latency(values, duration=steps * DT, dt=DT)
    np.testing.assert_array_equal(latency_values(code), values)
    order = np.argsort(values[0], kind="stable")[::-1]
    first = np.where(code.values[:steps].any(0), code.values[:steps].argmax(0), steps)
    assert (np.diff(first[order]) >= 0).all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_a_signal_on_the_grid_of_its_threshold_comes_back_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    signal = rng.integers(-1, 2, (50, 3)).cumsum(0) * 0.25
    np.testing.assert_array_equal(delta_values(delta(signal, threshold=0.25, dt=DT), threshold=0.25), signal)
    slow = rng.uniform(-0.2, 0.2, (50, 3)).cumsum(0)
    found = delta_values(delta(slow, threshold=0.25, dt=DT), threshold=0.25)
    assert np.abs(found - slow).max() <= 0.25


def test_counts_and_smoothed_rates() -> None:
    code = STIMULI["poisson"]
    np.testing.assert_array_equal(counts(code), code.values.reshape(3, 20, 5).sum(1))
    np.testing.assert_array_equal(counts(code, window=0.007), code.values[:56].reshape(8, 7, 5).sum(1))
    impulse = np.zeros((4000, 1), bool)
    impulse[0] = True
    kernel = smoothed(Stimulus("spikes", impulse, DT), tau=0.05)[:, 0]
    assert kernel.sum() * DT == pytest.approx(1)
    np.testing.assert_allclose(kernel[1:] / kernel[:-1], np.exp(-DT / 0.05))


BAD: dict[str, tuple[Any, str]] = {
    "another kind": (lambda: Stimulus("voltage", FRAMES, DT), "kind: must be one of current, rate, spikes"),  # type: ignore[arg-type]
    "spikes that are numbers": (lambda: Stimulus("spikes", FRAMES, DT), "values: must be bool"),
    "no steps": (lambda: Stimulus("current", np.zeros((0, 2)), DT), "values: must be float64"),
    "not finite": (lambda: Stimulus("current", np.full((1, 1), np.nan), DT), "values: must be finite"),
    "a rate too high": (lambda: Stimulus("rate", np.full((1, 1), 2e3), DT), "values: rates must lie in 0 to 1 / dt"),
    "no time": (lambda: Stimulus("current", FRAMES, 0.0), "dt: must be positive"),
    "frames out of order": (lambda: Stimulus("current", FRAMES, DT, np.array([0, 2, 1])), "frame_steps: must rise"),
    "frames above 1": (lambda: poisson(2 * FRAMES + 1, duration=0.01, dt=DT, r_max=9.0, seed=0), "frames: must lie"),
    "between two steps": (lambda: latency(FRAMES, duration=0.0105, dt=DT), "duration: must be a multiple of dt"),
    "one sample": (lambda: inhomogeneous(FRAMES[:1], interval=0.01, dt=DT), "rates: at least two samples"),
    "no threshold": (lambda: delta(FRAMES, threshold=0.0, dt=DT), "threshold: must be positive"),
    "counts of a current": (lambda: counts(STIMULI["current"]), "stimulus: needs spikes"),
    "a long window": (lambda: counts(STIMULI["poisson"], window=1.0), "window: must be at most"),
    "drawn twice": (lambda: STIMULI["poisson"].drawn(1), "stimulus: rates can be drawn from"),
    "half a spike": (
        lambda: Stimulus.from_torch("spikes", STIMULI["current"].to_torch(), DT),
        "values: spikes are 0 or 1",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_shown_is_refused(name: str) -> None:
    make, complaint = BAD[name]
    with pytest.raises(UsageError, match=complaint):
        make()

"""Rates and frames to spikes."""

import numpy as np
import pytest

from bridge.coding import frame_spikes, poisson_spikes, stimulus
from foundation.errors import UsageError
from spiking.stimuli import SpikeEvents

FOUR_SIGMA_AND_A_HALF = 4.5  # of some tens of binomial counts at a fixed seed


def assert_binomial(counts: np.ndarray, trials: int, probability: np.ndarray) -> None:
    deviation = np.sqrt(trials * probability * (1 - probability))
    assert np.all(np.abs(counts - trials * probability) <= FOUR_SIGMA_AND_A_HALF * deviation)


def raster(events: SpikeEvents) -> np.ndarray:
    spikes = np.zeros((events.steps, events.lines), int)
    np.add.at(spikes, (events.step, events.source), 1)
    return spikes


# --- poisson_spikes ---------------------------------------------------------------------------------------------------
def test_every_step_spikes_with_the_rate_as_probability(rng: np.random.Generator) -> None:
    rates = np.array([[0.0, 1.0, 0.5, 0.03], [0.9, 0.0, 1.0, 0.25]])
    spikes = poisson_spikes(rates, 4000, rng)
    assert spikes.shape == (2, 4000, 4)
    assert set(np.unique(spikes)) == {0.0, 1.0}
    assert_binomial(spikes.sum(1), 4000, rates)


def test_steps_lines_and_images_are_independent(rng: np.random.Generator) -> None:
    spikes = poisson_spikes(np.full((2, 3), 0.4), 20_000, rng)
    trains = spikes.transpose(0, 2, 1).reshape(6, -1)
    others = np.corrcoef(np.vstack([trains[:, 1:], trains[:, :-1]]))  # of all trains and of their past
    assert np.abs(others - np.eye(12)).max() < FOUR_SIGMA_AND_A_HALF / np.sqrt(20_000)


def test_a_seed_decides_and_the_batches_do_not() -> None:
    rates = np.random.default_rng(1).random((7, 5))
    one = poisson_spikes(rates, 9, np.random.default_rng(3))
    generator = np.random.default_rng(3)
    parts = [poisson_spikes(rates[i : i + 3], 9, generator) for i in range(0, 7, 3)]
    np.testing.assert_array_equal(one, np.concatenate(parts))
    assert np.any(one != poisson_spikes(rates, 9, np.random.default_rng(4)))


@pytest.mark.parametrize("rate", [-0.01, 1.01, np.nan])
def test_rates_outside_their_range_are_refused(rate: float, rng: np.random.Generator) -> None:
    with pytest.raises(UsageError, match="between 0 and 1 spikes per step"):
        poisson_spikes(np.array([[0.5, rate]]), 3, rng)


@pytest.mark.parametrize("coding", ["analog", "poisson"])
def test_the_stimulus_of_either_coding(coding: str) -> None:
    x = np.random.default_rng(1).random((4, 3))
    shown = stimulus(x, coding, 6, np.random.default_rng(2))
    expected = x if coding == "analog" else poisson_spikes(x, 6, np.random.default_rng(2))
    np.testing.assert_array_equal(shown, expected)


# --- frame_spikes -----------------------------------------------------------------------------------------------------
FRAMES = np.array([[0.0, 1.0, 0.5], [1.0, 0.0, 0.25]])


def events_of(generator: np.random.Generator, frames: np.ndarray = FRAMES, **changes: float) -> SpikeEvents:
    values = {"duration": 2.0, "r_max": 200.0, "dt": 1e-3, "copies": 3, **changes}
    return frame_spikes(frames, generator=generator, **values)  # type: ignore[arg-type]  # values of many types by name


def test_a_frame_spikes_with_its_values_times_the_highest_rate(rng: np.random.Generator) -> None:
    events = events_of(rng)
    assert (events.lines, events.steps, events.dt, events.duration) == (9, 4000, 1e-3, 4.0)
    counts = raster(events).reshape(2, 2000, 3, 3).sum(1)  # frame, copy, line
    assert_binomial(counts, 2000, np.broadcast_to(FRAMES[:, None] * 0.2, counts.shape))


def test_events_are_in_the_order_of_time_then_of_source_and_none_comes_twice(rng: np.random.Generator) -> None:
    events = events_of(rng)
    assert np.all(np.diff(events.step * events.lines + events.source) > 0)


def test_copies_are_independent(rng: np.random.Generator) -> None:
    spikes = raster(events_of(rng, np.full((1, 2), 0.5), duration=20.0, r_max=800.0))
    assert np.abs(np.corrcoef(spikes.T) - np.eye(6)).max() < FOUR_SIGMA_AND_A_HALF / np.sqrt(20_000)


def test_frames_follow_a_seed() -> None:
    one, same, other = (events_of(np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(raster(one), raster(same))
    assert np.any(raster(one) != raster(other))


def test_the_highest_rate_spikes_in_every_step_and_no_rate_never(rng: np.random.Generator) -> None:
    spikes = raster(events_of(rng, np.array([[1.0, 0.0]]), duration=0.05, r_max=1000.0, copies=1))
    np.testing.assert_array_equal(spikes, np.tile([1, 0], (50, 1)))
    assert len(events_of(rng, np.zeros((2, 3))).source) == 0


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"frames": np.array([[0.5, 1.5]])}, "frames: must lie between 0 and 1"),
        ({"frames": np.array([[0.5, -0.1]])}, "frames: must lie between 0 and 1"),
        ({"frames": np.array([[0.5, np.nan]])}, "frames: must lie between 0 and 1"),
        ({"frames": np.zeros((0, 3))}, "frames"),
        ({"r_max": 1001.0}, "r_max: 1001.0 Hz is more than one spike in a step of 0.001 s"),
        ({"r_max": 0.0}, "r_max: must be positive"),
        ({"r_max": -5.0}, "r_max: must be positive"),
        ({"dt": 0.0}, "dt: must be positive"),
        ({"duration": 0.0505}, "duration: must be a multiple of dt = 0.001 s, got 0.0505 s"),
        ({"duration": -1.0}, "duration: must be"),
        ({"copies": 0}, "copies: must be"),
    ],
)
def test_frames_that_cannot_be_shown_are_refused(
    changes: dict[str, object], complaint: str, rng: np.random.Generator
) -> None:
    with pytest.raises(UsageError, match=complaint):
        events_of(rng, **changes)  # type: ignore[arg-type]  # values of many types by name

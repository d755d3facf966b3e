"""The pairing protocol: its schedule against numbers worked out by hand, and what a neuron makes of it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.config import dumps, from_mapping, loads
from foundation.errors import UsageError
from spiking.pairing import PairingProtocol
from tests.spiking.plain_pairing import run


# --- schedule ---------------------------------------------------------------------------------------------------------
def test_intervals_go_from_pre_first_to_post_first() -> None:
    delta_t = PairingProtocol().delta_t
    assert (delta_t.shape, delta_t[0], delta_t[-1]) == ((100,), 0.02, -0.02)
    assert delta_t[25] == pytest.approx(0.0098990, abs=1e-7)  # what the paper calls +10 ms
    assert delta_t[75] == pytest.approx(-0.0103030, abs=1e-7)


@pytest.mark.parametrize(
    ("frequency", "second", "last", "steps"),
    [
        # an update 0.5 s or more after the last pairing: 10.0 s -> 10.5 s, which is one; 99.1 s -> 99.6 s -> 100 s
        (10.0, 2000, 100_000, 105_001),
        (1.0, 11_000, 991_000, 1_000_001),
        (0.1, 101_000, 9_901_000, 9_910_001),
        (20.0, 1500, 50_500, 60_001),
        (30.0, 1333, 34_000, 40_001),
        (50.0, 1200, 20_800, 30_001),
    ],
)
def test_the_schedule_of_a_frequency(frequency: float, second: int, last: int, steps: int) -> None:
    protocol = PairingProtocol(frequency=frequency)
    at = protocol.pairing_steps
    assert (at.size, at[0], at[1], at[-1], protocol.steps) == (100, 1000, second, last, steps)
    np.testing.assert_allclose(protocol.pairing_times[[0, 1, 99]], 0.1 + np.array([0, 1, 99]) / frequency, rtol=1e-15)


@pytest.mark.parametrize(("last", "steps"), [(4999, 10_001), (5000, 10_001), (5001, 15_001)])
def test_the_last_update_is_half_a_second_or_more_after_the_last_pairing(last: int, steps: int) -> None:
    protocol = PairingProtocol(frequency=1 / ((last - 1000) * 1e-4), pairings=2)
    assert (protocol.pairing_steps[-1], protocol.steps) == (last, steps)


def test_input_spikes_of_a_small_protocol() -> None:
    """Pairings in steps 1000 and 1200, intervals +1 ms, 1/3 ms, -1/3 ms, -1 ms: 10 and 3 1/3 steps."""
    events = PairingProtocol(frequency=50.0, pairings=2, inputs=4, max_interval=1e-3).input_spikes()
    np.testing.assert_array_equal(events.step, [990, 997, 1003, 1010, 1190, 1197, 1203, 1210])
    np.testing.assert_array_equal(events.source, [0, 1, 2, 3, 0, 1, 2, 3])
    assert (events.lines, events.dt, events.steps) == (4, 1e-4, 10_001)


def test_input_spikes_of_successive_pairings_interleave() -> None:
    """At 50 Hz, the last input of a pairing spikes in the step of the first input of the one after next."""
    events = PairingProtocol(frequency=50.0, pairings=3, inputs=2).input_spikes()
    np.testing.assert_array_equal(events.step, [800, 1000, 1200, 1200, 1400, 1600])
    np.testing.assert_array_equal(events.source, [0, 0, 0, 1, 1, 1])


def test_the_first_input_can_spike_at_the_very_start() -> None:
    assert PairingProtocol(max_interval=0.1).input_spikes().step[0] == 0


@settings(max_examples=50, deadline=None)
@given(
    frequency=st.floats(0.5, 140.0),
    max_interval=st.floats(1e-5, 0.1),
    pairings=st.integers(1, 20),
    inputs=st.integers(2, 20),
)
def test_any_protocol_is_ordered_and_complete(
    frequency: float, max_interval: float, pairings: int, inputs: int
) -> None:
    protocol = PairingProtocol(frequency=frequency, max_interval=max_interval, pairings=pairings, inputs=inputs)
    events, steps = protocol.input_spikes(), protocol.steps
    assert np.all(np.diff(events.step * inputs + events.source) > 0)  # in order, and no input twice in a step
    np.testing.assert_array_equal(np.bincount(events.source), np.full(inputs, pairings))
    assert events.step[0] >= 0
    assert events.step[-1] + 8 < steps
    assert np.all(np.diff(protocol.pairing_steps) >= 70)
    assert (steps - 1) % 5000 == 0
    assert 5000 <= steps - 1 - protocol.pairing_steps[-1] < 10_000
    assert (protocol.clamp() == -20e-3).sum() == 2 * pairings


# --- clamp ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("frequency", [10.0, 30.0, 50.0])
def test_the_clamp_holds_the_pairings_and_lets_go_after_the_last(frequency: float) -> None:
    protocol = PairingProtocol(frequency=frequency)
    clamp, at = protocol.clamp(), protocol.pairing_steps
    assert clamp.shape == (protocol.steps,)
    expected = np.full(protocol.steps, -51e-3)
    expected[at - 1] = expected[at] = -20e-3
    last = at[-1]
    expected[last + 100 :] = -60e-3
    np.testing.assert_array_equal(clamp[: last + 51], expected[: last + 51])  # until 5 ms past the last one
    np.testing.assert_array_equal(clamp[last + 100 :], expected[last + 100 :])  # from 10 ms past it
    np.testing.assert_allclose(clamp[last + 50 : last + 101], -51e-3 - 9e-3 * np.arange(51) / 50, rtol=1e-12)


def test_the_clamp_in_parts_is_the_clamp() -> None:
    protocol = PairingProtocol(frequency=50.0, pairings=3)
    whole = protocol.clamp()
    for cut in (1, 999, 1000, 1001, 1450):  # also between the two steps of a pairing, and in the fall after the last
        np.testing.assert_array_equal(np.concatenate([protocol.clamp(0, cut), protocol.clamp(cut)]), whole)
    np.testing.assert_array_equal(protocol.clamp(1199, 300), whole[1199:1499])


# --- settings ---------------------------------------------------------------------------------------------------------
def test_the_rule_of_either_reading() -> None:
    simulated = PairingProtocol(initial_variance=2.0, float32_traces=True)
    reported = replace(simulated, variant="as_reported", delta=1e-3)
    rule = simulated.rule
    assert (rule.lambda_, rule.phi, rule.eta, rule.delta, rule.xi) == (1.0, 1.0, 5e-3, 0.0, 1e-3)
    assert (rule.tau_mean, rule.tau_sigma2, rule.float32_traces, rule.augment_gradient) == (600.0, 300.0, True, False)
    assert (reported.rule.variant, reported.rule.delta, reported.rule.xi) == ("as_reported", 1e-3, 1e-7)
    assert simulated.initial_sigma2 == 2.0
    assert reported.initial_sigma2 == pytest.approx(2e-4, rel=1e-15)


def test_it_is_a_config() -> None:
    protocol = PairingProtocol(frequency=30.0, variant="as_reported", float32_traces=True)
    assert loads(PairingProtocol, dumps(protocol)) == protocol
    with pytest.raises(UsageError, match="command line: frequency: must be positive, got -1"):
        from_mapping(PairingProtocol, {"frequency": -1}, "command line")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frequency": 0.0}, "frequency: must be positive, got 0.0"),
        ({"frequency": float("nan")}, "frequency: must be a finite plain number, got nan"),
        ({"frequency": 141.0}, "frequency: must be at most 140 Hz (a spike can be forced only"),
        ({"frequency": 1e-4}, "frequency: 100 pairings at 0.0001 Hz would last more than 100000 s"),
        ({"max_interval": 0.0}, "max_interval: must be positive, got 0.0"),
        ({"max_interval": 0.11}, "max_interval: must be at most 0.1 s (when the first pairing is"),
        ({"initial_mean": -1.0}, "initial_mean: must not be negative, got -1.0"),
        ({"initial_variance": -0.1}, "initial_variance: must not be negative, got -0.1"),
        ({"pairings": 0}, "pairings: must be at least 1, got 0"),
        ({"pairings": 1.5}, "pairings: must be a whole number, got 1.5"),
        ({"inputs": 1}, "inputs: must be at least 2, the two ends of the curve, got 1"),
        ({"inputs": True}, "inputs: must be a whole number, got True"),
        ({"w_0": 0.0}, "w_0: must be positive, got 0.0"),
        ({"w_0": 1.5}, "w_0: must be at most 1, the largest weight, got 1.5"),
        ({"eta": "1"}, "eta: must be a finite plain number, got '1'"),
        ({"tau_mean": 0.0}, "tau_mean: must be positive, got 0.0"),
        ({"tau_sigma2": -1.0}, "tau_sigma2: must be positive, got -1.0"),
        ({"delta": -1e-5}, "delta: must not be negative, got -1e-05"),
        ({"dt": 0.0}, "dt: must be positive, got 0.0"),
        ({"dt": 1e-3}, "LPLSynapse.axonal_delay: must be a multiple of dt = 0.001 s, got 0.0008 s"),
        ({"variant": "published"}, "variant: must be one of as_simulated, as_reported, got 'published'"),
        ({"float32_traces": 1}, "float32_traces: must be True or False, got 1"),
    ],
)
def test_what_cannot_be_paired_is_refused_in_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as error:
        PairingProtocol(**changes)  # type: ignore[arg-type]  # values of many types by name
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


# --- what a neuron makes of it, in plain numpy (plain_pairing) --------------------------------------------------------
@pytest.mark.parametrize("frequency", [10.0, 140.0])
def test_the_clamp_makes_the_neuron_spike_at_the_pairings(frequency: float) -> None:
    """And, with synapses too weak to matter, at no other time: at the highest frequency that is allowed, too."""
    protocol = PairingProtocol(frequency=frequency, w_0=1e-6, eta=0.0, pairings=20, inputs=10)
    np.testing.assert_array_equal(run(protocol).spikes, protocol.pairing_steps)


# Seven recorded curves of the published simulation, by frequency (Hz), initial mean (Hz) and variance, largest interval
# (s): relative weight changes of the inputs 0, 25, 50, 75 and 99, the largest of all 100, the postsynaptic spikes.
RECORDED = {
    (10.0, 20.0, 0.1, 0.02): ([0.036616, 0.115887, -0.231459, -0.422811, -0.454208], 0.454525, 100),
    (1.0, 20.0, 0.1, 0.02): ([0.071784, 0.136448, -0.171679, -0.371551, -0.432056], 0.432056, 100),
    (20.0, 20.0, 0.1, 0.02): ([0.621908, 0.558605, 0.484740, 0.545840, 0.665524], 0.665524, 198),
    (50.0, 20.0, 0.1, 0.02): ([0.309469, 0.313633, 0.295921, 0.293304, 0.279502], 0.314350, 124),
    (10.0, 10.0, 0.1, 0.05): ([-0.156722, 0.272806, 0.130950, -0.249160, -0.154818], 0.416712, 100),
    (10.0, 10.0, 1.0, 0.05): ([-0.060324, -0.017596, 0.098945, -0.026554, -0.059882], 0.107778, 100),
    (10.0, 10.0, 100.0, 0.05): ([-0.034917, -0.082611, 0.094214, 0.031307, -0.034631], 0.140927, 100),
}


@pytest.mark.parametrize("curve", [pytest.param(c, marks=pytest.mark.slow if c[0] < 10 else ()) for c in RECORDED])
def test_the_plain_simulation_reproduces_the_published_curves(curve: tuple[float, float, float, float]) -> None:
    frequency, mean, variance, interval = curve
    changes, largest, spikes = RECORDED[curve]
    protocol = PairingProtocol(
        frequency=frequency,
        initial_mean=mean,
        initial_variance=variance,
        max_interval=interval,
        float32_traces=True,
    )
    outcome = run(protocol, seven_digits=True)
    ours = outcome.relative_change(protocol.w_0)
    np.testing.assert_allclose(ours[[0, 25, 50, 75, 99]], changes, rtol=0, atol=2e-5 * largest)
    assert np.abs(ours).max() == pytest.approx(largest, rel=2e-5)
    assert outcome.spikes.size == spikes


def test_both_readings_of_the_rule_agree_without_delta() -> None:
    """lambda, the variance and xi scale alike; only the constant growth tells the two apart."""
    simulated = PairingProtocol(frequency=20.0, pairings=12, inputs=20)
    one, other = run(simulated), run(replace(simulated, variant="as_reported"))
    np.testing.assert_array_equal(one.spikes, other.spikes)
    np.testing.assert_allclose(other.relative_change(0.5), one.relative_change(0.5), rtol=1e-9)
    assert np.abs(one.relative_change(0.5)).max() > 0.02


def test_as_reported_each_input_spike_adds_its_share_of_delta() -> None:
    """All three pairings fall into one window, so that the weights act alike until the update that takes them in."""
    without = PairingProtocol(pairings=3, inputs=10, variant="as_reported")
    change = run(replace(without, delta=1e-3)).weights - run(without).weights
    np.testing.assert_allclose(change, 3 * 5e-3 * 1e-3 / 5000, rtol=1e-6)


def test_rounding_the_traces_changes_the_curve_a_little() -> None:
    exact = PairingProtocol(pairings=10, inputs=20)
    one, other = run(exact), run(replace(exact, float32_traces=True))
    difference = np.abs(one.weights - other.weights).max()
    assert 0 < difference < 1e-3 * np.abs(one.weights - 0.5).max()

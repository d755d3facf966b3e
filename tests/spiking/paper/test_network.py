"""The paper's network as numbers: what is drawn, how a run is cut, what goes in, what is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.config import dumps, loads
from foundation.errors import UsageError
from spiking.paper.network import CONDITIONS, INPUT_BLOCK, InputSpikes, NetworkConfig, draw_wiring, segments
from spiking.stimuli import RateTrace, paper_rates

PAPER = NetworkConfig()
SIGMAS = 5.0  # of a binomial count; one of a million draws is further off
RATES = (RateTrace(np.array([20.0])), RateTrace(np.array([0.0, 90.0, 20.0]), interval=0.5))
TINY = NetworkConfig(exc=3, inh=2, population=4, p_ext=0.5)


# --- wiring -----------------------------------------------------------------------------------------------------------
def masks(config: NetworkConfig, name: str, shape: tuple[int, int], seeds: int) -> Any:
    """How often every pair is connected, in so many networks."""
    counts = np.zeros(shape, int)
    for seed in range(seeds):
        synapses = getattr(draw_wiring(replace(config, seed=seed), config.population * 5), name)
        counts[synapses.pre, synapses.post] += 1
        assert len(np.unique(synapses.pre * shape[1] + synapses.post)) == len(synapses.pre)  # no pair twice
    return counts


def assert_binomial(counts: Any, trials: int, p: Any) -> None:
    assert np.all(np.abs(counts - trials * p) <= SIGMAS * np.sqrt(trials * p * (1 - p)) + 1e-9)


def test_the_papers_network_has_as_many_synapses_as_it_should() -> None:
    wiring = draw_wiring(PAPER, 500)
    for synapses, pairs, p in ((wiring.ext, 50_000, 0.1), (wiring.ie, 2500, 0.5), (wiring.ii, 600, 0.1)):
        assert_binomial(synapses.pre.size, pairs, p)
    distance = np.arange(100)[:, None] - np.linspace(0, 100, 25)
    assert wiring.ei.pre.size == pytest.approx(np.exp(-((distance / 20) ** 2)).sum(), abs=100)  # 748 in the reference
    assert wiring.ee.pre.size == 0
    for name, w in (("ext", 0.15), ("ei", 0.5), ("ie", 0.5), ("ii", 0.4)):
        synapses = getattr(wiring, name)
        assert set(synapses.w) == {w}
        assert synapses.pre.shape == synapses.post.shape == synapses.w.shape
        assert synapses.pre.dtype == synapses.post.dtype == np.int64


@pytest.mark.parametrize(
    ("name", "shape", "p"), [("ext", (40, 10), 0.3), ("ie", (6, 10), 0.5), ("ii", (6, 6), 0.2), ("ee", (10, 10), 0.3)]
)
def test_every_pair_is_connected_with_the_same_probability_but_none_to_itself(name, shape, p) -> None:
    config = NetworkConfig(exc=10, inh=6, population=8, p_ext=0.3, p_ie=0.5, p_ii=0.2, recurrence=True)
    counts = masks(config, name, shape, 400)
    itself = np.eye(*shape) * (name in ("ii", "ee")) > 0
    assert not counts[itself].any()
    assert_binomial(counts[~itself], 400, p)
    assert_binomial(counts.sum(), 400 * int((~itself).sum()), p)


def test_inhibitory_neurons_are_excited_from_around_their_place() -> None:
    config = NetworkConfig(exc=20, inh=5, population=1, sigma_ei=6.0)
    centres = np.array([0.0, 5.0, 10.0, 15.0, 20.0])
    expected = np.exp(-((np.arange(20)[:, None] - centres) ** 2) / 36.0)
    assert_binomial(masks(config, "ei", (20, 5), 400), 400, expected)


def test_initial_potentials() -> None:
    potentials = np.concatenate([draw_wiring(replace(PAPER, seed=seed), 500).U for seed in range(20)])
    assert potentials.mean() == pytest.approx(-60e-3, abs=5 * 10e-3 / np.sqrt(2000))
    assert potentials.std() == pytest.approx(10e-3, rel=5 / np.sqrt(2 * 2000))


def flat(config: NetworkConfig) -> list[Any]:
    wiring = draw_wiring(config, 20)
    return [np.stack([p.pre, p.post, p.w]) for p in vars(wiring).values() if hasattr(p, "pre")] + [wiring.U]


def test_the_seed_and_nothing_else_decides_on_the_wiring() -> None:
    changed = replace(TINY, eta=1.0, lambda_=0.0, duration=3.0, kappa=5.0, inhibition="fixed", half_first=True)
    for config in (TINY, changed):
        for a, b in zip(flat(config), flat(TINY), strict=True):
            np.testing.assert_array_equal(a, b)
    one, other = (draw_wiring(replace(PAPER, seed=seed), 500) for seed in (0, 1))
    for name in ("ext", "ei", "ie", "ii"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.pre.shape != b.pre.shape or (a.pre != b.pre).any() or (a.post != b.post).any()
    assert (one.U != other.U).all()


def test_a_feedforward_network_has_the_same_inputs_and_no_inhibition() -> None:
    with_inhibition, without = draw_wiring(PAPER, 500), draw_wiring(replace(PAPER, inhibition="none"), 500)
    np.testing.assert_array_equal(without.ext.pre, with_inhibition.ext.pre)
    np.testing.assert_array_equal(without.ext.post, with_inhibition.ext.post)
    assert [getattr(without, name).pre.size for name in ("ei", "ie", "ii", "ee")] == [0, 0, 0, 0]


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_probabilities_of_0_and_1_are_certain(p) -> None:
    wiring = draw_wiring(NetworkConfig(exc=7, inh=3, population=2, p_ext=p, p_ie=p, p_ii=p, recurrence=True), 10)
    sizes = [getattr(wiring, name).pre.size for name in ("ext", "ie", "ii", "ee")]
    assert sizes == ([70, 21, 6, 42] if p else [0, 0, 0, 0])


# --- segments ---------------------------------------------------------------------------------------------------------
def test_the_pieces_of_a_run_by_hand() -> None:
    config = NetworkConfig(priming=1.0, duration=3.7)
    pieces = segments(config, 1.0, 1.5)
    assert [(p.first, p.end, p.learning) for p in pieces] == [
        (0, 10_000, False),
        (10_000, 20_000, True),
        (20_000, 25_000, True),
        (25_000, 35_000, True),
        (35_000, 40_000, True),
        (40_000, 47_000, True),
    ]
    assert [p.number for p in pieces] == list(range(6))


@settings(max_examples=100, deadline=None)
@given(
    priming=st.integers(0, 9),
    duration=st.integers(1, 60_000),
    longest=st.integers(1, 8),
    every=st.integers(1, 12),
)
def test_pieces_cover_the_run_and_begin_where_they_must(priming: int, duration: int, longest: int, every: int) -> None:
    config = NetworkConfig(priming=priming * 0.5, duration=duration * 1e-4)
    pieces = segments(config, longest * 0.5, every * 0.5)
    ends = [0, *(piece.end for piece in pieces)]
    assert [piece.first for piece in pieces] == ends[:-1]
    assert ends[-1] == priming * 5000 + duration
    assert all(0 < piece.steps <= longest * 5000 for piece in pieces)
    assert all(piece.first % 5000 == 0 for piece in pieces)  # a piece begins with a weight update
    assert [piece.learning for piece in pieces] == [piece.first >= priming * 5000 for piece in pieces]
    snapshots = range(priming * 5000, ends[-1], every * 5000)
    assert set(snapshots) <= set(ends)


@pytest.mark.parametrize(
    ("longest", "every", "message"),
    [
        (0.7, 1.0, "longest: must be a multiple of 0.5 s, got 0.7 s"),
        (1.0, 0.25, "weights_every: must be a multiple of 0.5 s, got 0.25 s"),
        (1.0, 0.0, "weights_every: must be a multiple of 0.5 s, got 0 s"),
        (1.0, 1.00005, "weights_every: must be a multiple of dt = 0.0001 s, got 1.00005 s"),
    ],
)
def test_pieces_that_do_not_end_with_an_update_are_refused(longest, every, message) -> None:
    with pytest.raises(UsageError) as error:
        segments(NetworkConfig(duration=5.0), longest, every)
    assert str(error.value) == message


# --- input ------------------------------------------------------------------------------------------------------------
BLOCK = round(INPUT_BLOCK / TINY.dt)


@pytest.fixture(scope="module")
def all_spikes() -> Any:
    """(step, source) of the first 25 s."""
    events = InputSpikes(TINY, RATES).fired(0, BLOCK * 5 // 2)
    return np.stack([events.step, events.source], 1)


@settings(max_examples=60, deadline=None)
@given(first=st.integers(-50, BLOCK * 2), steps=st.sampled_from([1, 3, 40, 1000, BLOCK // 2]))
def test_any_stretch_is_that_of_the_whole(all_spikes, first: int, steps: int) -> None:
    events = InputSpikes(TINY, RATES).fired(first, steps)
    inside = (all_spikes[:, 0] >= first) & (all_spikes[:, 0] < first + steps)
    np.testing.assert_array_equal(events.step, all_spikes[inside, 0] - first)
    np.testing.assert_array_equal(events.source, all_spikes[inside, 1])
    assert (events.lines, events.dt, events.steps) == (8, TINY.dt, steps)


def test_stretches_in_any_order_from_one_object(all_spikes) -> None:
    inputs = InputSpikes(TINY, RATES)
    for first in (2 * BLOCK, 0, BLOCK - 50, -8, 2 * BLOCK, BLOCK + 7, 3):
        events = inputs.fired(first, 100)
        inside = (all_spikes[:, 0] >= first) & (all_spikes[:, 0] < first + 100)
        np.testing.assert_array_equal(events.step + first, all_spikes[inside, 0])
        np.testing.assert_array_equal(events.source, all_spikes[inside, 1])


def test_there_is_nothing_before_the_first_step() -> None:
    """A run shorter than the axonal delay sees no input spike arrive."""
    for first, steps in ((-8, 8), (-8, 3), (-100, 1)):
        events = InputSpikes(TINY, RATES).fired(first, steps)
        assert (events.source.size, events.step.size, events.steps) == (0, 0, steps)


def test_blocks_differ_from_each_other_and_seeds_too(all_spikes) -> None:
    """And none of them is the draw of the wiring."""
    first, second = (all_spikes[all_spikes[:, 0] // BLOCK == k] - [k * BLOCK, 0] for k in (0, 1))
    assert first.shape != second.shape or (first != second).any()
    other = InputSpikes(replace(TINY, seed=1), RATES).fired(0, BLOCK)
    assert len(other.step) != len(first) or (other.step != first[:, 0]).any()
    assert abs(len(other.step) - len(first)) < 6 * np.sqrt(2 * len(first))


def test_every_line_follows_the_rate_of_its_population(all_spikes) -> None:
    counts = np.zeros((5, 8), int)  # per 5 s
    np.add.at(counts, (all_spikes[:, 0] // 50_000, all_spikes[:, 1]), 1)
    expected = np.stack([trace.at(0, 250_000, 1e-4).reshape(5, -1).sum(1) * 1e-4 for trace in RATES], 1)
    assert_binomial(counts, 50_000, np.repeat(expected, 4, 1) / 50_000)


def test_the_first_of_a_population_at_half_rate() -> None:
    events = InputSpikes(replace(TINY, half_first=True), RATES[:1]).fired(0, 20 * BLOCK)
    assert_binomial(np.bincount(events.source), 20 * BLOCK, np.array([1e-3, 2e-3, 2e-3, 2e-3]))


def test_the_papers_rates_drive_five_populations() -> None:
    inputs = InputSpikes(PAPER, paper_rates())
    assert inputs.lines == 500


def test_rates_above_a_spike_in_every_step_are_refused() -> None:
    with pytest.raises(UsageError, match="rates: 10001 Hz is more than one spike in a step"):
        InputSpikes(TINY, (RATES[0], RateTrace(np.array([10_001.0]))))


# --- config -----------------------------------------------------------------------------------------------------------
def test_the_defaults_are_those_of_the_published_simulation() -> None:
    rule, inhibition = PAPER.rule, PAPER.inhibitory
    assert (rule.lambda_, rule.phi, rule.eta, rule.delta, rule.xi) == (1.0, 1.0, 1e-2, 1e-5, 1e-3)
    assert (rule.tau_mean, rule.tau_sigma2, rule.tau_w, rule.w_min, rule.w_max) == (600.0, 30.0, None, 0.0, 1.0)
    assert tuple(rule.steps(PAPER.dt)) == (8, 200, 5000)
    assert (inhibition.zeta, inhibition.kappa, inhibition.tau) == (1e-3, 10.0, 20e-3)
    assert (inhibition.w_min, inhibition.w_max) == (0.0, 1.0)
    assert (PAPER.priming, PAPER.duration, PAPER.dt) == (1800.0, 100_000.0, 1e-4)


def test_settings_reach_the_rule() -> None:
    config = NetworkConfig(
        lambda_=0.0, phi=0.5, eta=1.0, tau_mean=2.0, tau_sigma2=3.0, tau_weights=4.0, augment_gradient=True,
        float32_traces=True, variant="as_reported", zeta=0.1, kappa=5.0,
    )  # fmt: skip
    rule = config.rule
    assert (rule.lambda_, rule.phi, rule.eta, rule.tau_mean, rule.tau_sigma2) == (0.0, 0.5, 1.0, 2.0, 3.0)
    assert (rule.tau_w, rule.augment_gradient, rule.float32_traces) == (4.0, True, True)
    assert (rule.variant, rule.xi, rule.delta) == ("as_reported", 1e-7, 1e-3)
    assert (config.inhibitory.zeta, config.inhibitory.kappa) == (0.1, 5.0)


def test_a_config_comes_back_as_it_was() -> None:
    config = NetworkConfig(lambda_=0.0, inhibition="none", duration=12.3, exc=7)
    assert loads(NetworkConfig, dumps(config)) == config


def test_conditions_are_known_by_their_changes() -> None:
    for name, changes in CONDITIONS.items():
        assert NetworkConfig(**changes).label == name
    assert NetworkConfig(lambda_=0.0, phi=0.0).label == "λ = 0, φ = 0, inhibition plastic"
    assert NetworkConfig(phi=0.0, inhibition="none").label == "λ = 1, φ = 0, inhibition none"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inhibition": "strong"}, "inhibition: must be one of plastic, fixed, none, got 'strong'"),
        ({"variant": "as_told"}, "variant: must be one of as_simulated, as_reported, got 'as_told'"),
        *(({p: v}, rf"^{p}: .*\[0, 1\], got {v}") for p in ("p_ext", "p_ie", "p_ii") for v in (-0.1, 1.1)),
        *(({p: np.nan}, rf"^{p}: .*got nan") for p in ("p_ext", "p_ie", "p_ii")),
        *(({w: v}, rf"^{w}: .*got {v}") for w in ("w_ext", "w_ei", "w_ie", "w_ii") for v in (-0.1, np.nan, np.inf)),
        ({"w_ext": 1.1}, r"w_ext: plastic weights lie in \[0, 1\], got 1.1"),
        *(({t: v}, rf"^{t}: .*got {v}") for t in ("priming", "tau_weights") for v in (-1.0, np.nan, np.inf)),
        *(({t: v}, rf"^{t}: .*got {v}") for t in ("duration", "sigma_ei") for v in (-1.0, 0.0, np.nan, np.inf)),
        *(({n: v}, rf"^{n}: must be at least 1, got {v}") for n in ("exc", "inh", "population") for v in (0, -3)),
        ({"duration": 1.00005}, "duration: must be a multiple of dt = 0.0001 s, got 1.00005 s"),
        ({"duration": 1e-5}, "duration: must be a multiple of dt"),
        ({"duration": 99_999.99995}, "duration: must be a multiple of dt"),
        ({"priming": 1.00005}, "priming: must be a multiple of dt"),
        ({"priming": 0.6}, "priming: must be a multiple of the interval between weight updates, 0.5 s, got 0.6"),
        *(({t: v}, rf"{t}: must be .*got {v}") for t in ("tau_mean", "tau_sigma2") for v in (0.0, -1.0, np.nan)),
        *(({c: v}, rf"{c}: must.*got {v}") for c in ("eta", "zeta", "kappa") for v in (-1.0, np.nan, np.inf)),
        *(({c: v}, rf"{c}: must.*got {v}") for c in ("lambda_", "phi") for v in (np.nan, np.inf)),
        *(({"dt": v}, rf"^dt: must be .*got {v}") for v in (0.0, -1e-4, np.nan, np.inf, 0.02)),
        ({"dt": 3e-4}, "LPLSynapse.axonal_delay: must be a multiple of dt"),
    ],
)
def test_what_cannot_be_simulated_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        NetworkConfig(**changes)
    assert "\n" not in str(error.value)

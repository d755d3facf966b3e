"""The network in torch against the published C++ simulation (`tests.spiking.step_trace`), at the bars of Brian2.

The recorded neuron and its synapses are what the state holds where a stretch of steps ends; it is cut wherever the
synapses were recorded. The weights at the end come from an uncut run, each window of 0.5 s in the event form at once.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spiking.compilers import trouble
from spiking.simulation import State
from spiking.stimuli import SpikeEvents
from spiking.torch.network_simulator import TorchNetworks
from spiking.torch.plasticity import Events
from tests.spiking.step_trace import (
    CONFIG,
    DEVIATION,
    EXACT,
    INPUTS,
    OURS,
    STEPS,
    TRAINING,
    WEIGHTS,
    Spikes,
    arrivals,
    assert_first_spikes_at_their_step,
    assert_hardly_a_spike_moves,
    assert_weights_end_where_they_should,
    expected_values,
    in_order,
    record,
    recorded_wiring,
)

COMPILED = pytest.mark.skipif(bool(trouble()), reason="no C++ compiler on this machine")
ENGINES = [
    pytest.param("compiled", marks=COMPILED),
    pytest.param("eager", marks=[pytest.mark.slow, pytest.mark.timeout(1500)]),
]


@dataclass
class Outcome:
    """Spikes, the last state, and what the traced neuron and synapses were by step, by our names."""

    spikes: Spikes
    state: State
    traced: dict[str, dict[int, NDArray[Any]]]


def networks(engine: str, precision: str = "float64", device: str = "cpu") -> TorchNetworks:
    return TorchNetworks([CONFIG], [recorded_wiring()], INPUTS, precision=precision, engine=engine, device=device)


def run(simulator: TorchNetworks, *pieces: tuple[SpikeEvents, bool]) -> tuple[Spikes, State]:
    """Arrivals and whether weights learn, piece after piece."""
    states, first, spikes = simulator.start(), 0, dict[str, list[Any]]()
    for events, learning in pieces:
        (piece,) = simulator.advance(states, [events], learning)
        states = [piece.state]
        for name, (step, unit) in piece.spikes.items():
            spikes.setdefault(name, []).append(np.stack([step + first, unit], 1))
        first += events.steps
    return {name: np.concatenate(parts) for name, parts in spikes.items()}, states[0]


WHOLE = ((0, TRAINING, False), (TRAINING, STEPS - TRAINING, True))


def traced(simulator: TorchNetworks) -> dict[str, dict[int, NDArray[Any]]]:
    """From stretches that end at the recorded steps, and a step before (of which the error can be told)."""
    batch, stepper, config = simulator.batch, simulator.stepper, CONFIG
    state, interval = batch.start(), batch.steps.interval
    recorded = expected_values("w")[0]
    cuts = {0, TRAINING, STEPS, *(recorded + 1).tolist(), *recorded.tolist(), *range(1, STEPS, interval)}
    unit, trace = int(record()["unit"]), record()
    order = np.argsort(recorded_wiring().ext.pre, kind="stable")
    place = torch.from_numpy(np.argsort(order)[trace["synapses"]])
    found: dict[str, dict[int, NDArray[Any]]] = {}
    wanted = {*recorded.tolist()}
    rise = config.dt / config.rule.tau_err_rise
    for first, end in pairwise(sorted(cuts)):
        events = arrivals(first, end - first)
        before = state["tr_err"][0, unit].item()
        stepper.advance(state, Events(torch.from_numpy(events.source), torch.from_numpy(events.step)), end - first)
        if (end - 1) % interval == 0:
            batch.update(state, learning=first >= TRAINING)
        if end - 1 not in wanted:
            continue
        values = {name: state[name][:, unit] for name in ("U", "g_ampa", "g_nmda", "g_gaba", "thr")}
        values |= {name: state[name][:, unit] for name in ("tr_err", "tr_err_flt")}
        values |= {name: state[f"signal/{name}"][:, unit] for name in ("tr_mean", "sigma2")}
        values["sigma_prime"] = state["factor"][:, -1, unit]
        if end - first == 1:
            values["err"] = before + (values["tr_err"] - before) / rise
        values |= {name: state[f"ext/{name}"][place] for name in ("el", "el_flt", "el_sum", "w")}
        for name, value in values.items():
            found.setdefault(name, {})[end - 1] = value.numpy().copy()
    return found


@pytest.fixture(scope="module", params=ENGINES)
def outcome(request) -> Outcome:
    simulator = networks(request.param)
    spikes, state = run(simulator, *((arrivals(first, steps), learning) for first, steps, learning in WHOLE))
    return Outcome(spikes, state, traced(simulator))


def test_the_first_spikes_are_all_at_their_step(outcome):
    assert_first_spikes_at_their_step(outcome.spikes)


def test_hardly_a_spike_moves_and_none_far(outcome):
    assert_hardly_a_spike_moves(outcome.spikes)


@pytest.mark.parametrize("name", DEVIATION)
def test_the_traced_neuron_is_followed_at_every_recorded_step(outcome, name):
    steps, expected = expected_values(name)
    ours = outcome.traced[OURS.get(name, name)]
    at = np.array(sorted(ours))
    assert at.size == 2450
    theirs = expected[np.searchsorted(steps, at)]
    np.testing.assert_array_equal(steps[np.searchsorted(steps, at)], at)
    values = np.stack([ours[step] for step in at.tolist()])
    assert values.shape == theirs.shape
    assert np.abs(values - theirs).max() <= 1.5 * DEVIATION[name]


@pytest.mark.parametrize("name", WEIGHTS)
def test_all_weights_end_where_they_should(outcome, name):
    assert_weights_end_where_they_should(outcome.state, name)


def test_the_traced_run_is_the_same_run(outcome):
    """Cut in 4000 places or in 12: the sums of the event form do not depend on it."""
    weights = outcome.state["ext/w"][record()["synapses"]]
    last = outcome.traced["w"][max(outcome.traced["w"])]
    np.testing.assert_allclose(last, weights, rtol=0, atol=1e-10)
    assert np.ptp(weights) > 0.004


@pytest.mark.parametrize("engine", ENGINES)
def test_in_float32_spikes_move_by_two_steps_at_most(engine):
    """Over the first 1.9 s."""
    until = 19_000
    spikes, _ = run(networks(engine, "float32"), (arrivals(0, until + 2), False))
    number = 0
    for name in ("exc", "inh"):
        theirs, ours = in_order(record()[f"{name}_spikes"]), in_order(spikes[name])
        for unit in np.unique(theirs[:, 1]):
            expected, found = (each[each[:, 1] == unit, 0] for each in (theirs, ours))
            expected = expected[expected < until]
            assert np.abs(found[: expected.size] - expected).max(initial=0) <= 2
            assert (found[expected.size :] >= until - 2).all()
            number += expected.size
        assert not np.setdiff1d(ours[:, 1], theirs[:, 1]).size
    assert number > 900


def test_the_first_half_second_in_tensor_operations(each_device):
    """Where the compiled program is not what runs: on a GPU, or without a compiler."""
    until = 5500
    assert until < EXACT
    spikes, state = run(networks("eager", device=each_device), (arrivals(0, until), False))
    for name in ("exc", "inh"):
        theirs = record()[f"{name}_spikes"]
        expected = in_order(theirs[theirs[:, 0] < until])
        assert len(expected) > 40
        np.testing.assert_array_equal(in_order(spikes[name]), expected)
    assert (state["ext/w"] == 0.3).all()
    assert np.ptp(state["ie/w"]) > 0.01

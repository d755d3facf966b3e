"""Fully connected integrate-and-fire networks: both simulators against a plain numpy stepping."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import spiking.brian.integrate_and_fire as brian
import spiking.torch.integrate_and_fire as snntorch
from foundation.errors import UsageError
from spiking.brian.running import code_generation
from spiking.integrate_and_fire import IFLayer, IFNetwork, IFResult, Simulator
from spiking.synapses import Array
from tests.spiking.if_networks import (
    GRID,
    NETWORKS,
    Stepped,
    far_above,
    negative,
    network_of,
    rounded,
    stepped,
    stimulus_of,
)

SIMULATORS: dict[str, Simulator] = {"snntorch": snntorch.simulate, "brian2": brian.simulate}
TIE = 1e-9  # sums of some tens of terms of size 1, in float64, differ by far less from order to order


@pytest.fixture(params=SIMULATORS)
def simulate(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    with code_generation("numpy"):
        yield SIMULATORS[request.param]


@pytest.fixture(params=["analog", "poisson"])
def coding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def assert_identical(result: IFResult, expected: Stepped) -> None:
    assert len(result.spikes) == len(expected.spikes) > 0
    for ours, theirs, counts in zip(result.spikes, expected.spikes, result.counts, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(counts, theirs.sum(1))
    np.testing.assert_array_equal(result.readout, expected.readout)


# --- the same spikes everywhere ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", NETWORKS)
def test_on_a_dyadic_grid_every_spike_and_potential_is_identical(
    simulate: Simulator, coding: str, kind: str, rng: np.random.Generator
) -> None:
    network = NETWORKS[kind](rng)
    stimulus = stimulus_of(network, coding, rng, images=4, steps=13, grid=GRID)
    expected = stepped(network, stimulus, 13)
    assert expected.spikes[0].any()
    assert not expected.spikes[0].all()
    result = simulate(network, stimulus, 13, spikes=True)
    assert_identical(result, expected)
    assert result.steps == 13
    np.testing.assert_array_equal(result.predictions(), expected.readout.argmax(2))


def test_the_cases_are_what_they_are_called(rng: np.random.Generator) -> None:
    network = far_above(rng)
    potentials = stepped(network, rng.random((2, 4)), 13).potentials[0]
    assert np.sum(potentials >= 2) > 20  # at 1 or above after the reset
    network = negative(rng)
    result = stepped(network, rng.random((2, 4)), 13)
    assert result.spikes[0].any()
    assert not result.spikes[1].any()
    assert np.all(np.diff(result.potentials[1], axis=1) < 0)


@pytest.mark.parametrize("grid", [0.0, 0.1, 0.125])
def test_with_trained_weights_simulators_differ_in_threshold_ties_alone(
    simulate: Simulator, coding: str, grid: float, rng: np.random.Generator, record_property: Callable[..., None]
) -> None:
    """Weights of any digits; of one decimal, which makes as many ties as there can be; and a grid, without any."""
    steps, images, sizes = 40, 20, (30, 20, 12, 5)
    network = network_of(sizes, rng, grid)
    stimulus = stimulus_of(network, coding, rng, images, steps, grid)
    expected = stepped(network, stimulus, steps)
    result = simulate(network, stimulus, steps, spikes=True)
    differing = [a != b for a, b in zip(result.spikes, expected.spikes, strict=True)]
    record_property("differing_spikes", int(sum(d.sum() for d in differing)))
    record_property("spikes", int(sum(s.sum() for s in expected.spikes)))
    for image in range(images):
        when = [int(np.argmax(d[image].any(1))) if d[image].any() else steps for d in differing]
        first = min(when)
        if first == steps:
            np.testing.assert_allclose(result.readout[image], expected.readout[image], rtol=0, atol=TIE)
            continue
        layer = when.index(first)  # the lowest layer of that step: the others may follow from it
        distance = np.abs(expected.potentials[layer][image, first] - 1)[differing[layer][image, first]]
        assert distance.max() < TIE
    if grid == 0.125:
        assert not any(d.any() for d in differing)
    if grid == 0.1:
        assert min(np.abs(p - 1).min() for p in expected.potentials) < TIE  # there are ties to differ in


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_snntorch_on_every_device_and_in_either_precision(
    each_device: str, dtype: torch.dtype, coding: str, rng: np.random.Generator
) -> None:
    network = network_of((40, 30, 20, 10), rng, grid=2.0**-6)  # products on 2^-12: exact in float32 up to 4096
    stimulus = stimulus_of(network, coding, rng, images=16, steps=32, grid=2.0**-6)
    result = snntorch.simulate(network, stimulus, 32, spikes=True, dtype=dtype, device=each_device)
    assert_identical(result, stepped(network, stimulus, 32))


# --- images -----------------------------------------------------------------------------------------------------------
def assert_same(one: IFResult, other: IFResult) -> None:
    for a, b in zip(
        (*one.spikes, *one.counts, one.readout), (*other.spikes, *other.counts, other.readout), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def part(result: IFResult, rows: Any) -> IFResult:
    return IFResult([s[rows] for s in result.spikes], [c[rows] for c in result.counts], result.readout[rows])


@pytest.mark.parametrize("batch_size", [1, 3, 7, 8])
def test_the_batch_size_changes_nothing(coding: str, batch_size: int, rng: np.random.Generator) -> None:
    network = network_of((8, 6, 5, 3), rng)
    stimulus = stimulus_of(network, coding, rng, images=7, steps=11, grid=GRID)
    whole = snntorch.simulate(network, stimulus, 11, spikes=True)
    assert_same(snntorch.simulate(network, stimulus, 11, spikes=True, batch_size=batch_size), whole)


def test_images_know_nothing_of_one_another(simulate: Simulator, coding: str, rng: np.random.Generator) -> None:
    network = network_of((8, 6, 5, 3), rng)
    stimulus = stimulus_of(network, coding, rng, images=5, steps=7, grid=GRID)
    whole = simulate(network, stimulus, 7, spikes=True)
    order = np.array([3, 0, 4, 2, 1])
    assert_same(simulate(network, stimulus[order], 7, spikes=True), part(whole, order))
    assert_same(simulate(network, stimulus[3:4], 7, spikes=True), part(whole, slice(3, 4)))


def test_counts_do_not_depend_on_keeping_the_spikes(simulate: Simulator, coding: str, rng: np.random.Generator) -> None:
    network = network_of((8, 6, 5, 3), rng)
    stimulus = stimulus_of(network, coding, rng, images=3, steps=9, grid=GRID)
    without, kept = simulate(network, stimulus, 9), simulate(network, stimulus, 9, spikes=True)
    assert without.spikes == []
    assert_same(without, replace(kept, spikes=[]))


def test_more_steps_begin_with_the_same_spikes(simulate: Simulator, rng: np.random.Generator) -> None:
    network = network_of((8, 6, 5, 3), rng)
    x = stimulus_of(network, "analog", rng, images=3, steps=0, grid=GRID)
    short, long = simulate(network, x, 5, spikes=True), simulate(network, x, 12, spikes=True)
    np.testing.assert_array_equal(short.readout, long.readout[:, :5])
    for a, b in zip(short.spikes, long.spikes, strict=True):
        np.testing.assert_array_equal(a, b[:, :5])


def test_snntorch_keeps_no_network_alive(rng: np.random.Generator) -> None:
    import snntorch as package

    before = len(package.SpikingNeuron.instances)
    snntorch.simulate(network_of((3, 4, 2), rng), np.zeros((1, 3)), 2)
    assert len(package.SpikingNeuron.instances) == before


# --- spikes stand for activations -------------------------------------------------------------------------------------
def test_counts_of_a_constant_drive_are_the_relu_to_half_a_spike(simulate: Simulator, rng: np.random.Generator) -> None:
    """The potential 1/2 + T a - count is in [0, 1) for 0 <= a < 1, so |count - T a| <= 1/2; below 0 nothing fires."""
    drive = np.concatenate([np.linspace(-1, 1, 41), rng.random(20), [1e-6, 1 - 1e-6, 0.5, 1 / 3]])
    layer = IFLayer.dense("layer 1", drive[:, None], np.zeros(len(drive)), np.ones(1))
    network = IFNetwork((layer,), IFLayer.dense("readout", np.zeros((1, len(drive))), np.zeros(1), np.ones(1)))
    for steps in (1, 7, 100):
        counts = simulate(network, np.ones((1, 1)), steps).counts[0][0]
        assert np.abs(counts - steps * np.maximum(drive, 0)).max() <= 0.5 + 1e-12
        assert np.all(counts[drive <= 0] == 0)


def test_rates_of_all_layers_approach_the_relu_network_as_one_over_time(
    simulate: Simulator, rng: np.random.Generator
) -> None:
    """The error of a count does not grow with T. A layer adds at most a spike to what the one below hands on."""
    network = network_of((6, 8, 7, 4), rng)
    layers = tuple(layer.with_weight(0.4 * layer.weight) for layer in network.neurons)
    network = replace(network, layers=layers)
    x = rng.random((3, 6))
    activities = [a.numpy() for a in snntorch.rates(network, x)]
    assert max(a.max() for a in activities[:-1]) < 1  # nothing saturates
    assert min(a.max() for a in activities[:-1]) > 0.2  # and much is active
    bounds = [0.5]
    bounds.append(np.abs(layers[1].weight).sum(1).max() * bounds[0] + 1)
    bounds.append(np.abs(network.readout.weight).sum(1).max() * bounds[1])
    for steps in (20, 500):
        result = simulate(network, x, steps)
        for counts, activity, bound in zip((*result.counts, result.readout[:, -1]), activities, bounds, strict=True):
            assert np.abs(counts - steps * activity).max() <= bound + 1e-9


# --- what is refused --------------------------------------------------------------------------------------------------
def layer(units: int, inputs: int, name: str = "layer 1") -> IFLayer:
    return IFLayer.dense(name, np.ones((units, inputs)), np.zeros(units), np.ones(1))


def test_a_layer_of_wrong_shapes_or_values_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"layer 7: needs weight \(M, N\) and bias \(M,\), got \(3, 2\) and \(2,\)"):
        IFLayer.dense("layer 7", np.ones((3, 2)), np.zeros(2), np.ones(1))
    with pytest.raises(UsageError, match="layer 7: needs weight"):
        IFLayer.dense("layer 7", np.ones(3), np.zeros(3), np.ones(1))
    for weight, bias in ((np.nan, 0.0), (1.0, np.inf)):
        with pytest.raises(UsageError, match=r"layer 7: .*finite"):
            IFLayer.dense("layer 7", np.full((1, 1), weight), np.full(1, bias), np.ones(1))


def test_a_scale_that_fits_no_unit_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"layer 7: .*scale"):
        IFLayer.dense("layer 7", np.ones((3, 2)), np.zeros(3), np.ones(2))


def test_a_network_that_does_not_fit_together_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="layer 2: Dense: takes 4 inputs, got 3"):
        IFNetwork((layer(3, 2), layer(5, 4, "layer 2")), layer(2, 5, "readout"))
    with pytest.raises(UsageError, match="readout: Dense: takes 4 inputs, got 3"):
        IFNetwork((layer(3, 2),), layer(2, 4, "readout"))
    with pytest.raises(UsageError, match="at least one spiking layer"):
        IFNetwork((), layer(2, 4, "readout"))
    with pytest.raises(UsageError, match="input_coding: must be analog or poisson, got 'latency'"):
        IFNetwork((layer(3, 2),), layer(2, 3), input_coding="latency")


@pytest.mark.parametrize(
    ("stimulus", "steps", "complaint"),
    [
        (np.zeros((1, 2)), 0, "steps: must be at least 1, got 0"),
        (np.zeros((1, 3)), 5, r"stimulus: needs \(images, 2\) currents or \(images, steps, 2\) spikes, got \(1, 3\)"),
        (np.zeros(2), 5, r"stimulus: needs .* got \(2,\)"),
        (np.zeros((1, 4, 2)), 5, "stimulus: has spikes for 4 steps, the simulation 5"),
        (np.full((1, 2), np.nan), 5, "stimulus: must be finite"),
        (np.full((1, 5, 2), 0.5), 5, "stimulus: .*0.* 1"),  # half a spike: the simulators would not agree on it
        (np.zeros((0, 2)), 5, "stimulus: .*image"),
    ],
)
def test_a_stimulus_that_cannot_be_shown_is_refused(
    simulate: Simulator, stimulus: Array, steps: int, complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        simulate(IFNetwork((layer(3, 2),), layer(2, 3)), stimulus, steps)


def test_brian_refuses_a_network_too_large_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brian, "MOST_SYNAPSES", 11)
    with pytest.raises(UsageError, match=r"Brian2 would need 12 synapses, .*; at most 11 are built; use snnTorch"):
        brian.simulate(IFNetwork((layer(3, 2),), layer(2, 3)), np.zeros((1, 2)), 5)


def test_any_number_will_do_for_the_initial_potential(simulate: Simulator, rng: np.random.Generator) -> None:
    network = replace(network_of((3, 4, 2), rng), initial_potential=np.float64(0.25))
    x = rounded(rng.random((2, 3)), GRID)
    assert_identical(simulate(network, x, 5, spikes=True), stepped(network, x, 5))

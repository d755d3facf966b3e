"""Convolutions, pools, residual blocks and gates: both simulators give identical spikes on the dyadic grid."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch.nn import functional

import spiking.torch.integrate_and_fire as snntorch
from foundation.errors import UsageError
from spiking.brian import integrate_and_fire as brian
from spiking.brian.running import code_generation
from spiking.integrate_and_fire import INPUT, IFLayer, IFNetwork, IFResult, MaxPool, Projection
from spiking.synapses import AdaptiveAveragePool, Array, AveragePool, Conv, Dense, Gain

GRID = 2.0**-8
STEPS = 12


def drawn(rng: np.random.Generator, *shape: int, mean: float = 0.0, deviation: float = 1.0) -> Array:
    return np.round(rng.normal(mean, deviation, shape) / GRID) * GRID


def network_of(
    rng: np.random.Generator, gate: str = "count", reset: Literal["subtract", "zero"] = "subtract", tasks: int = 0
) -> IFNetwork:
    """Everything that a network can have: overlapping and plain max-pools, groups, a residual block, two averages, a
    projection from the input to the last layer, and gates.
    """

    def layer(name: str, channels: int, *projections: Projection, gates: Any = None) -> IFLayer:
        return IFLayer(name, projections, drawn(rng, channels, mean=0.1, deviation=0.1), np.ones(1), gates)

    first = Conv(drawn(rng, 4, 2, 3, 3, mean=0.1, deviation=0.4), padding=(1, 1))
    grouped = Conv(drawn(rng, 6, 2, 3, 3, mean=0.2, deviation=0.4), padding=(1, 1), groups=2)
    again = Conv(drawn(rng, 6, 6, 3, 3, mean=0.1, deviation=0.3), padding=(1, 1))
    gates = rng.random((tasks, 6, 4, 4)) < 0.7 if tasks else None
    layers = (
        layer("first", 4, Projection((first,))),
        MaxPool("overlapping", (3, 3), (2, 2), (1, 1), gate),
        layer("grouped", 6, Projection((grouped,)), gates=gates),
        layer("residual", 6, Projection((again,)), Projection((Gain(np.full(1, 0.5)),), 2)),
        MaxPool("plain", (2, 2), (2, 2), (0, 0), gate),
        layer(
            "dense",
            5,
            Projection((AveragePool((2, 2), (1, 1)), Dense(drawn(rng, 5, 6, deviation=0.5)))),
            Projection((AdaptiveAveragePool((1, 1)), Dense(drawn(rng, 5, 2))), INPUT),
        ),
    )
    readout = IFLayer.dense("readout", drawn(rng, 3, 5), drawn(rng, 3), np.ones(1))
    names = tuple(f"task {n}" for n in range(tasks))
    return IFNetwork(layers, readout, input_shape=(2, 8, 8), reset=reset, tasks=names)


def stimulus_of(rng: np.random.Generator, coding: str, images: int = 3) -> Array:
    if coding == "poisson":
        return np.asarray(rng.random((images, STEPS, 2, 8, 8)) < 0.3, dtype=np.float64)
    return np.asarray(np.round(rng.random((images, 2, 8, 8)) / GRID) * GRID)


def in_brian(network: IFNetwork, x: Array, task: Any = None) -> IFResult:
    with code_generation("numpy"):
        return brian.simulate(network, x, STEPS, spikes=True, task=task)


def assert_identical(one: IFResult, other: IFResult) -> None:
    assert all(spikes.any() for spikes in one.spikes)
    for ours, theirs in zip((*one.spikes, *one.counts), (*other.spikes, *other.counts), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(one.readout, other.readout)


@pytest.mark.parametrize("coding", ["analog", "poisson"])
@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("gate", ["count", "potential"])
def test_on_a_dyadic_grid_every_spike_is_identical(
    gate: str, reset: Literal["subtract", "zero"], coding: str, rng: np.random.Generator
) -> None:
    network, x = network_of(rng, gate, reset), stimulus_of(rng, coding)
    assert_identical(snntorch.simulate(network, x, STEPS, spikes=True), in_brian(network, x))


@pytest.mark.parametrize("gate", ["count", "potential"])
def test_every_device_gives_the_same_spikes(gate: str, each_device: str, rng: np.random.Generator) -> None:
    network, x = network_of(rng, gate, tasks=2), stimulus_of(rng, "analog")
    task = np.array([0, 1, 0])
    here = snntorch.simulate(network, x, STEPS, spikes=True, task=task)
    assert_identical(here, snntorch.simulate(network, x, STEPS, spikes=True, task=task, device=each_device))


def test_a_task_may_change_while_an_image_is_shown_in_either_simulator(rng: np.random.Generator) -> None:
    network, x = network_of(rng, tasks=2), stimulus_of(rng, "analog")
    task = np.repeat([[0], [1], [0]], STEPS, axis=1)
    task[:2, 7:] = 1 - task[:2, 7:]
    ours = snntorch.simulate(network, x, STEPS, spikes=True, task=task)
    assert_identical(ours, in_brian(network, x, task))
    gates = network.neurons[1].gates
    assert gates is not None
    assert not ours.spikes[2][~gates[task]].any()
    np.testing.assert_array_equal(
        ours.spikes[2][2], snntorch.simulate(network, x[2:], STEPS, spikes=True, task=task[2:, 0]).spikes[2][0]
    )
    # The readout forgets the task before: from the switch on it is a sum over the steps since.
    now: Array = ours.spikes[5][0, 7:].astype(float) @ network.readout.weight.T + network.readout.bias
    np.testing.assert_allclose(ours.readout[0, 7:], now.cumsum(0), atol=1e-12)


@pytest.mark.parametrize("kernel", [((2, 2), (2, 2), (0, 0)), ((3, 3), (2, 2), (1, 1))])
def test_the_count_gate_lets_as_many_spikes_through_as_the_most_active_unit_fired(kernel: Any) -> None:
    rng = np.random.default_rng(3)
    first = Conv(drawn(rng, 4, 2, 3, 3, mean=0.1), padding=(1, 1))
    layers = (IFLayer("first", (Projection((first,)),), np.zeros(4), np.ones(1)), MaxPool("pool", *kernel))
    size = MaxPool("pool", *kernel).above((4, 8, 8))
    readout = IFLayer.dense("readout", np.ones((1, int(np.prod(size)))), np.zeros(1), np.ones(1))
    network = IFNetwork(layers, readout, input_shape=(2, 8, 8))
    result = snntorch.simulate(network, stimulus_of(rng, "analog"), 40, spikes=True)
    below, above = (spikes.astype(float).cumsum(1) for spikes in result.spikes)
    expected = functional.max_pool2d(torch.from_numpy(below).flatten(0, 1), *kernel).view(*above.shape)
    np.testing.assert_array_equal(above, expected.numpy())


def test_with_relu_units_a_network_is_its_own_torch_model(rng: np.random.Generator) -> None:
    network, x = network_of(rng), torch.from_numpy(stimulus_of(rng, "analog"))

    def weights(layer: int, projection: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        of = network.spiking[layer]
        found = [m for m in of.projections[projection].maps if isinstance(m, Conv | Dense)]
        return torch.from_numpy(found[0].weight), torch.from_numpy(of.bias)

    first = functional.conv2d(x, *weights(0), padding=1).relu()
    pooled = functional.max_pool2d(first, 3, 2, 1)
    grouped = functional.conv2d(pooled, *weights(2), padding=1, groups=2).relu()
    residual = (functional.conv2d(grouped, *weights(3), padding=1) + 0.5 * grouped).relu()
    again = functional.max_pool2d(residual, 2)
    dense = functional.linear(functional.avg_pool2d(again, 2, 1).flatten(1), *weights(5))
    dense = (dense + x.mean((2, 3)) @ weights(5, 1)[0].T).relu()
    logits = dense @ torch.from_numpy(network.readout.weight).T + torch.from_numpy(network.readout.bias)
    found = snntorch.rates(network, x)
    for ours, expected in zip(found, (first, pooled, grouped, residual, again, dense, logits), strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-12, rtol=0)


def test_flat_images_are_the_same_images(rng: np.random.Generator) -> None:
    network, x = network_of(rng), stimulus_of(rng, "analog")
    one, other = snntorch.simulate(network, x, 5), snntorch.simulate(network, x.reshape(3, -1), 5)
    np.testing.assert_array_equal(one.readout, other.readout)


def test_synapses_are_counted_before_any_is_built(rng: np.random.Generator) -> None:
    network = network_of(rng)
    with code_generation("numpy"):
        built = brian.build(network, stimulus_of(rng, "poisson"), STEPS)
    made = sum(len(each) for each in built.objects if type(each).__name__ == "Synapses")
    assert made <= network.synapses() <= 1.05 * made


def dense(units: int, inputs: int, name: str = "layer 1") -> IFLayer:
    return IFLayer.dense(name, np.ones((units, inputs)), np.zeros(units), np.ones(1))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (
            lambda: IFNetwork((MaxPool("pool", (2, 2), (2, 2)), dense(2, 4)), dense(2, 2), input_shape=(1, 4, 4)),
            "pool: a max-pool gates spikes; pool the images",
        ),
        (
            lambda: IFNetwork(
                (replace(dense(2, 4), projections=(Projection((Dense(np.ones((2, 2))),), 1),)),),
                dense(2, 2),
                input_shape=(4,),
            ),
            "layer 1: is driven by layer number 1, which does not come before",
        ),
        (
            lambda: IFNetwork(
                (IFLayer("conv", (Projection((Conv(np.ones((2, 1, 3, 3))),)),), np.zeros(2), np.ones(1)),), dense(2, 2)
            ),
            "input_shape: must be given",
        ),
        (
            lambda: IFNetwork((replace(dense(3, 4), bias=np.zeros(2)),), dense(2, 3), input_shape=(4,)),
            "layer 1: has 2 biases for 3 units",
        ),
        (
            lambda: IFNetwork((replace(dense(3, 4), gates=np.ones((2, 3), bool)),), dense(2, 3), input_shape=(4,)),
            r"layer 1: gates must be \(0, 3\), got \(2, 3\)",
        ),
        (lambda: MaxPool("pool", (2, 2), (2, 2), gate="first"), "pool: gate must be one of count, potential"),
        (
            lambda: IFNetwork((dense(3, 2),), dense(2, 3), reset="half"),  # type: ignore[arg-type]
            "reset: must be subtract or zero",
        ),
        (lambda: IFLayer("empty", (), np.zeros(1), np.ones(1)), "empty: nothing drives it"),
    ],
)
def test_networks_that_cannot_be_are_refused_by_name(make: Any, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        make()


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        (None, "task: say which of task 0, task 1"),
        (np.array([0, 1]), r"task: must be \(3,\) or \(3, 12\), got \(2,\)"),
        (np.array([0, 1, 2]), "task: must lie in 0 to 1, got 0 to 2"),
    ],
)
def test_a_task_that_there_is_not_is_refused(task: Any, complaint: str, rng: np.random.Generator) -> None:
    network, x = network_of(rng, tasks=2), stimulus_of(rng, "analog")
    for simulate in (snntorch.simulate, brian.simulate):
        with pytest.raises(UsageError, match=complaint):
            simulate(network, x, STEPS, task=task)
    with pytest.raises(UsageError, match="task: this network has no gates"):
        snntorch.simulate(network_of(rng), x, STEPS, task=np.zeros(3, np.int64))

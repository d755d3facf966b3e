"""Converted networks as declared ones: every spike and potential of the snnTorch simulator, on the dyadic grid."""

from typing import Any, Literal

import numpy as np
import pytest

import spiking.torch.integrate_and_fire as snntorch
from foundation.errors import UsageError
from spiking.brian import declared
from spiking.converted import declare_converted
from spiking.integrate_and_fire import IFResult
from spiking.network import stepper
from spiking.network.state import Recorded, Result
from tests.spiking.test_if_graphs import STEPS, network_of, stimulus_of


def assert_same(found: Result, expected: IFResult, images: Any) -> None:
    """Of the images that were run, in their order."""
    for number, raster in enumerate(expected.spikes):
        theirs = raster[images].reshape(len(images), STEPS, -1)
        ours = np.zeros_like(theirs)
        step, sample, unit = found.spikes[f"layer{number}"].T
        ours[sample, step, unit] = True
        np.testing.assert_array_equal(ours, theirs, err_msg=f"layer {number}")
    readout = found.recorded["readout/u"].swapaxes(0, 1)
    np.testing.assert_array_equal(readout, expected.readout[images])


@pytest.mark.parametrize("coding", ["analog", "poisson"])
@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("gate", ["count", "potential"])
def test_every_spike_and_potential_is_the_same(
    gate: str, reset: Literal["subtract", "zero"], coding: str, rng: np.random.Generator
) -> None:
    """Convolutions in groups, a residual block, pools of all kinds, a shortcut from the input."""
    network, x = network_of(rng, gate, reset), stimulus_of(rng, coding)
    expected = snntorch.simulate(network, x, STEPS, spikes=True)
    record = [Recorded("readout", ("u",))]
    net = declare_converted(network, x, STEPS)
    assert_same(stepper.run(net, STEPS, samples=3, record=record), expected, [0, 1, 2])
    alone = declare_converted(network, x[1:2], STEPS)
    assert_same(declared.run(alone, STEPS, record=record, codegen="numpy"), expected, [1])


@pytest.mark.parametrize("gate", ["count", "potential"])
def test_tasks_are_switched_while_it_runs(gate: str, rng: np.random.Generator) -> None:
    network, x = network_of(rng, gate, tasks=3), stimulus_of(rng, "analog")
    task = np.zeros((3, STEPS), np.int64)
    task[1, 5:], task[2, 3:], task[2, 8:] = 2, 1, 2
    expected = snntorch.simulate(network, x, STEPS, spikes=True, task=task)
    record = [Recorded("readout", ("u",))]
    net = declare_converted(network, x, STEPS, task)
    assert_same(stepper.run(net, STEPS, samples=3, record=record), expected, [0, 1, 2])
    alone = declare_converted(network, x[2:], STEPS, task[2:])
    assert_same(declared.run(alone, STEPS, record=record, codegen="numpy"), expected, [2])


def test_several_images_at_once_are_refused_by_brian_in_one_line(rng: np.random.Generator) -> None:
    net = declare_converted(network_of(rng), stimulus_of(rng, "analog"), STEPS)
    with pytest.raises(UsageError, match=r"^samples: Brian2 runs one sample at a time$"):
        declared.run(net, STEPS)

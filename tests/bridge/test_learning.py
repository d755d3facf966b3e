"""A converted layer goes on learning: what it starts from, both readings, both backends, and the way back."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bridge.config import ConversionConfig
from bridge.conversion import convert_network
from bridge.learning import LearningConfig, learn_layer
from bridge.learning.in_torch import TorchLayer
from bridge.learning.part import part_of
from bridge.lowering import lower_butd, lower_local
from bridge.return_weights import learned_layers, rate_weight
from foundation.errors import RatespikeError, UsageError
from ratenets.butd import builders
from ratenets.butd.networks import ButdNetwork
from ratenets.hebbian.network import Network
from spiking.network_file import NetworkFile, load_file

QUICK = LearningConfig(frame=0.05, dt=1e-3, unit_rate=100.0, input_rate=300.0)


def frames_of(shape: tuple[int, ...], number: int = 8) -> Tensor:
    """Pairs of like images, one after the other."""
    generator = torch.Generator().manual_seed(3)
    images = torch.rand((number // 2, *shape), generator=generator, dtype=torch.float64)
    return images.repeat_interleave(2, 0)


def dense_file(frames: Tensor) -> NetworkFile:
    network = Network((frames.shape[1], 12, 10, 3), "relu", biases=True, seed=1).double()
    for layer in network.linear():
        layer.weight.data = 2 * layer.weight.data + 0.05
    return convert_network(lower_local(network, frames.shape[1]), frames, ConversionConfig())


@pytest.fixture
def frames() -> Tensor:
    return frames_of((20,))


@pytest.fixture
def file(frames: Tensor) -> NetworkFile:
    return dense_file(frames)


@pytest.mark.parametrize(
    ("layer", "reading", "least"),
    [
        (1, "current", 0.999),
        (2, "current", 0.999),
        pytest.param(1, "conductance", 0.99, marks=pytest.mark.slow),
        (2, "conductance", 0.99),
    ],
)
def test_both_backends_learn_the_same(
    reading: str, least: float, layer: int, frames: Tensor, file: NetworkFile
) -> None:
    """Both see the same spikes. Brian2's windows end a step later, and sums differ in their order, so that a spike may
    move; with a small learning rate that is all.
    """
    config = replace(QUICK, reading=reading, eta=1e-6)
    one, other = (learn_layer(file, layer, frames, config, backend=backend) for backend in ("torch", "brian2"))
    assert one.relative_change > 0
    assert one.cosine(other) > least
    assert one.gain == other.gain
    np.testing.assert_allclose(one.rates[0], other.rates[0], rtol=0.02, atol=6)
    sign = np.sign(one.before)
    if reading == "conductance":  # inhibitory synapses are fixed
        np.testing.assert_array_equal(one.after[sign < 0], one.before[sign < 0])
        assert (one.after[sign > 0] >= 0).all()


@pytest.mark.slow
def test_neurons_fire_as_the_rate_network_says(frames: Tensor, file: NetworkFile) -> None:
    config = replace(QUICK, eta=1e-9, frame=0.2)
    measured, expected = learn_layer(file, 1, frames, config).rates
    assert np.corrcoef(measured, expected)[0, 1] > 0.98
    assert measured.mean() == pytest.approx(expected.mean(), rel=0.15)
    measured, expected = learn_layer(file, 1, frames, replace(config, reading="conductance", unit_rate=50.0)).rates
    assert np.corrcoef(measured, expected)[0, 1] > 0.9
    assert measured.mean() == pytest.approx(expected.mean(), rel=0.3)


def test_traces_start_from_the_rate_networks_statistics(frames: Tensor, file: NetworkFile) -> None:
    part = part_of(file, 1)
    levels = part.statistics(file, QUICK)
    np.testing.assert_allclose(levels[0], file.statistics[0].mean * 100.0)
    np.testing.assert_allclose(levels[1], levels[0] * (1 - levels[0] * 1e-3))
    layer = TorchLayer(part, part.frames(frames), levels, QUICK, torch.device("cpu"))._layer(0.0, 1.0)
    mean, variance = layer.postsynaptic.statistics
    np.testing.assert_allclose(mean.numpy() / QUICK.rule(0.0).tau_mean, levels[0])
    np.testing.assert_allclose(variance.numpy(), levels[1])
    np.testing.assert_array_equal(layer.weight.numpy(), file.network.neurons[0].weight)


def test_the_learning_rate_is_such_that_weights_move_as_far_as_asked(frames: Tensor, file: NetworkFile) -> None:
    for change in (0.01, 0.04):
        assert learn_layer(file, 2, frames, replace(QUICK, change=change)).relative_change == pytest.approx(
            change, rel=0.6
        )


@pytest.mark.parametrize("reading", ["current", pytest.param("conductance", marks=pytest.mark.slow)])
def test_a_layer_learns_on_every_device(reading: str, each_device: str, frames: Tensor, file: NetworkFile) -> None:
    config = replace(QUICK, reading=reading, eta=1e-6)
    one, other = learn_layer(file, 1, frames, config), learn_layer(file, 1, frames, config, device=each_device)
    assert one.cosine(other) > 0.99


def test_bounds_hold_in_the_current_reading(frames: Tensor, file: NetworkFile) -> None:
    learned = learn_layer(file, 1, frames, replace(QUICK, change=0.3, w_max=0.1))
    assert np.abs(learned.after).max() <= 0.1
    assert np.abs(learned.before).max() > 0.1


def test_inhibition_by_the_symmetric_rule_learns_too(frames: Tensor, file: NetworkFile) -> None:
    config = replace(QUICK, reading="conductance", inhibition="symmetric", unit_rate=50.0)
    learned = learn_layer(file, 1, frames, config, backend="brian2")
    negative = learned.before < 0
    assert not np.allclose(learned.after[negative], learned.before[negative])
    assert (learned.after[negative] <= 0).all()


@pytest.mark.parametrize("reading", ["current", "conductance"])
def test_a_convolution_learns_with_its_weights_shared(reading: str) -> None:
    shape = (1, 9, 9)
    network = ButdNetwork(builders.conv_net(shape, (4, 5), (3, 3), (6,), padding=1, stride=2), shape, 3).double()
    for layer in network.layers():
        for name, parameter in layer.named_parameters(recurse=False):
            if name == "W":
                parameter.data = 2 * parameter.data + 0.05
    frames = frames_of(shape, 4)
    file = convert_network(lower_butd(network), frames, ConversionConfig())
    learned = learn_layer(file, 2, frames, replace(QUICK, reading=reading, eta=1e-6))
    assert learned.after.shape == (5, 4, 3, 3)
    assert learned.relative_change > 0
    assert learned.file.network.neurons[1].weight is learned.after
    with pytest.raises(UsageError, match=r"core.1: a convolution's synapses share weights"):
        learn_layer(file, 2, frames, QUICK, backend="brian2")


def test_weights_go_back_by_the_scales_they_came_with(frames: Tensor, file: NetworkFile) -> None:
    network = Network((20, 12, 10, 3), "relu", biases=True, seed=1).double()
    for layer in network.linear():
        layer.weight.data = 2 * layer.weight.data + 0.05
    for number, layer in enumerate(network.linear()[:2], start=1):
        back = rate_weight(file.network, f"layer {number}")
        np.testing.assert_allclose(back, layer.weight.detach().numpy(), rtol=1e-12)


def test_the_file_says_what_was_learned(frames: Tensor, file: NetworkFile, tmp_path: Path) -> None:
    once = learn_layer(file, 2, frames, QUICK).file
    twice = learn_layer(once, 1, frames, replace(QUICK, seed=5)).file
    twice.save(tmp_path / "net.h5")
    found = load_file(tmp_path / "net.h5")
    assert learned_layers(found) == ["layer 2", "layer 1"]
    notes = json.loads(found.origin["learned"])
    assert [note["seed"] for note in notes] == [0, 5]
    for ours, theirs in zip(found.network.neurons, twice.network.neurons, strict=True):
        np.testing.assert_array_equal(ours.weight, theirs.weight)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"layer": 0}, "layer: the network has 1 to 2, got 0"),
        ({"backend": "auryn"}, "backend: must be one of torch, brian2, got 'auryn'"),
        ({"images": torch.rand(1, 20)}, "images: a sequence of two frames or more is needed, got 1"),
        ({"images": torch.randn(4, 20)}, "layer 1: its input is negative in places"),
        (
            {"config": replace(QUICK, inhibition="symmetric")},
            "inhibition: the symmetric rule goes with",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused(
    change: dict[str, Any], complaint: str, frames: Tensor, file: NetworkFile
) -> None:
    given = {"layer": 1, "images": frames, "config": QUICK, **change}
    with pytest.raises(UsageError, match=complaint):
        learn_layer(file, **given)


def test_a_network_without_statistics_or_with_gates_cannot_learn(frames: Tensor, file: NetworkFile) -> None:
    with pytest.raises(RatespikeError, match="layer 1: the file has no statistics"):
        learn_layer(replace(file, statistics={}), 1, frames, QUICK)
    gated = replace(file.network.neurons[0], gates=np.ones((1, 12), bool))
    network = replace(file.network, layers=(gated, file.network.layers[1]), tasks=("one",))
    with pytest.raises(UsageError, match="layer 1: a layer with gates for tasks cannot go on learning"):
        learn_layer(replace(file, network=network), 1, frames, QUICK)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"reading": "voltage"}, "reading: must be one of current, conductance"),
        ({"frame": 0.0505}, "frame: must be a multiple of dt"),
        ({"input_rate": 2e3}, "input_rate: 2000.0 Hz is more than one spike in a step"),
        ({"eta": -1.0}, "eta: must not be negative"),
        ({"change": 0.0}, "eta: one of eta and change must be positive"),
        ({"beta": 0.0}, "beta: must be positive"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        replace(QUICK, **setting)

"""The rescaled network is the rate network; what cannot be converted is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from bridge.config import ConversionConfig
from bridge.conversion import Activations, convert
from bridge.lowering import array
from foundation.errors import UsageError
from ratenets.evaluation.readout import Readout, codes
from ratenets.lpl import encoders
from ratenets.lpl.encoders import Block, Encoder, EncoderConfig
from spiking.integrate_and_fire import IFNetwork
from spiking.synapses import Array
from spiking.torch.integrate_and_fire import rates, simulate

SHAPE = (1, 4, 4)


def weight_and_bias(block: Block) -> tuple[Tensor, Tensor]:
    assert block.synapses.bias is not None
    return block.synapses.weight.data, block.synapses.bias.data


def encoder_of(biases: bool = True, hidden: tuple[int, ...] = (12, 10, 9)) -> Encoder:
    """With biases as large as the drives, so that one that is scaled wrongly cannot hide; most units are active."""
    encoder = encoders.build(EncoderConfig(hidden=hidden, biases=biases), SHAPE, 5).double()
    generator = torch.Generator().manual_seed(6)
    for block in encoder:
        block.synapses.weight.data = 2 * block.synapses.weight.data + 0.15
        if biases:
            weight, bias = weight_and_bias(block)
            bias[:] = 0.5 * torch.randn(len(weight), generator=generator)
    return encoder


def images_of(number: int = 200) -> Tensor:
    return torch.rand((number, *SHAPE), generator=torch.Generator().manual_seed(7)).double()


def readout_of(encoder: Encoder, rng: np.random.Generator) -> Readout:
    """Random weights; the bias makes every class likely."""
    mean = codes(encoder, images_of())[-1].mean(0)
    weight = rng.normal(size=(4, len(mean)))
    return Readout(weight, -weight @ mean)


def flat(images: Tensor) -> Array:
    return images.flatten(1).numpy()


def rates_of(network: IFNetwork, x: Array) -> list[Array]:
    return [activity.numpy() for activity in rates(network, x)]


def scale_of(activity: Array, config: ConversionConfig) -> Array:
    found = Activations(activity.shape[1:], len(activity), config)
    for part in np.array_split(activity, 7):
        found.add(torch.from_numpy(part))
    return found.measured().scale


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("per_unit", [True, False])
@pytest.mark.parametrize("percentile", [100.0, 99.9, 90.0])
def test_with_relu_units_the_converted_network_is_the_rate_network(
    biases: bool, per_unit: bool, percentile: float, rng: np.random.Generator
) -> None:
    encoder, images = encoder_of(biases), images_of()
    readout = readout_of(encoder, rng)
    network = convert(encoder, readout, images[:100], ConversionConfig(percentile=percentile, per_channel=per_unit))
    *rates, logits = rates_of(network, flat(images))
    activations = codes(encoder, images)
    expected = activations[-1] @ readout.weight.T + readout.bias
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    np.testing.assert_array_equal(logits.argmax(1), readout.predict(activations[-1]))
    assert len(np.unique(logits.argmax(1))) == 4
    for layer, rate, activation in zip(network.neurons, rates, activations, strict=True):
        assert layer.scale.shape == ((layer.channels,) if per_unit else (1,))
        assert not np.allclose(layer.scale, 1)  # there was something to rescale
        np.testing.assert_allclose(rate * layer.scale, activation, rtol=0, atol=1e-12 * activation.max())
    assert [layer.bias.any() for layer in network.neurons] == [biases] * 3


@pytest.mark.parametrize("per_unit", [True, False])
def test_the_scale_is_the_percentile_that_was_asked_for(per_unit: bool, rng: np.random.Generator) -> None:
    encoder, images = encoder_of(), images_of()
    config = ConversionConfig(percentile=100.0, per_channel=per_unit)
    highest = convert(encoder, readout_of(encoder, rng), images, config)
    for rate in rates_of(highest, flat(images))[:-1]:
        top = rate.max(0) if per_unit else rate.max(keepdims=True)
        np.testing.assert_allclose(top[top > 0], 1, rtol=1e-12)
        assert np.sum(top > 0) >= (7 if per_unit else 1)
    layer = convert(encoder, readout_of(encoder, rng), images, replace(config, percentile=90.0)).neurons[1]
    activity = codes(encoder, images)[1]
    often = (activity > 0).mean(0) > 0.2  # the others' percentile is 0
    above = (activity > layer.scale).mean(0)[often] if per_unit else (activity > layer.scale).mean()
    np.testing.assert_allclose(above, 0.1, atol=1 / 200)


def test_a_dead_unit_and_a_dead_layer_convert(rng: np.random.Generator) -> None:
    encoder, images = encoder_of(), images_of()
    (weight, bias), (second_weight, second_bias), _ = map(weight_and_bias, encoder)
    weight[3], bias[3] = 0, -1
    for per_unit in (True, False):
        config = ConversionConfig(per_channel=per_unit)
        network = convert(encoder, readout_of(encoder, rng), images, config)
        np.testing.assert_array_equal(rates_of(network, flat(images))[0][:, 3], 0)
        assert simulate(network, flat(images[:5]), 20).counts[0][:, 3].max() == 0
        if per_unit:
            assert network.neurons[0].scale[3] == 1
    second_weight[:], second_bias[:] = -1, -1
    readout = Readout(rng.normal(size=(4, 9)), rng.normal(size=4))
    network = convert(encoder, readout, images)
    logits = rates_of(network, flat(images))[-1]
    expected = codes(encoder, images)[-1] @ readout.weight.T + readout.bias
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    np.testing.assert_array_equal(network.neurons[1].scale, [1])


def test_a_unit_that_is_rarely_active_is_scaled_by_its_activity_nonetheless() -> None:
    """Its percentile is 0. A scale of 1 would saturate it, or leave it without a spike, whichever it is."""
    activity = np.zeros((1000, 3))
    activity[0, 0], activity[0, 1] = 50.0, 0.01
    scale = scale_of(activity, ConversionConfig(percentile=99.0, per_channel=True))
    assert scale[2] == 1
    np.testing.assert_allclose(scale[:2], [50.0, 0.01])


def test_an_encoder_in_single_precision_converts_from_its_own_weights(rng: np.random.Generator) -> None:
    encoder = encoder_of().float()
    readout = Readout(rng.normal(size=(4, 9)), rng.normal(size=4))
    network = convert(encoder, readout, images_of().float())
    weight, bias = (array(values) for values in weight_and_bias(next(iter(encoder))))
    assert weight.dtype == bias.dtype == np.float64
    np.testing.assert_array_equal(network.neurons[0].weight, weight / network.neurons[0].scale)
    np.testing.assert_array_equal(network.neurons[0].bias, bias / network.neurons[0].scale)
    np.testing.assert_array_equal(network.readout.bias, readout.bias)


def test_layers_are_named_in_order_and_the_coding_is_kept(rng: np.random.Generator) -> None:
    encoder = encoder_of()
    network = convert(encoder, readout_of(encoder, rng), images_of(), ConversionConfig(input_coding="poisson"))
    assert [layer.name for layer in network.neurons] == ["layer 1", "layer 2", "layer 3"]
    assert (network.readout.name, network.input_coding, network.initial_potential) == ("readout", "poisson", 0.5)


def test_spikes_lose_less_and_less_accuracy_the_longer_they_may_take(rng: np.random.Generator) -> None:
    """Nothing saturates at percentile 100, so every decision with a margin is the rate network's in the end."""
    encoder, images = encoder_of(), images_of(60)
    readout = readout_of(encoder, rng)
    network = convert(encoder, readout, images, ConversionConfig(percentile=100.0))
    predictions = simulate(network, flat(images), 2000).predictions()
    expected = readout.predict(codes(encoder, images)[-1])
    flips = [int(np.sum(predictions[:, t - 1] != expected)) for t in (2, 50, 2000)]
    assert flips[0] > flips[1] >= flips[2]
    assert flips[2] == 0


@pytest.mark.parametrize("percentile", [0.5, 50.0, 90.0, 99.0, 99.9, 100.0])
@pytest.mark.parametrize("per_channel", [True, False])
def test_the_percentile_of_batches_is_numpys_of_the_whole(
    percentile: float, per_channel: bool, rng: np.random.Generator
) -> None:
    activity = rng.random((53, 4, 3, 2)) + 0.1
    expected = np.percentile(activity, percentile, axis=(0, 2, 3) if per_channel else None)
    scale = scale_of(activity, ConversionConfig(percentile=percentile, per_channel=per_channel))
    np.testing.assert_allclose(scale, np.atleast_1d(expected), rtol=1e-12)


def test_the_statistics_are_those_of_the_activations(rng: np.random.Generator) -> None:
    activity = rng.normal(size=(53, 4, 3, 2)).clip(0)
    found = Activations(activity.shape[1:], len(activity), ConversionConfig())
    for part in np.array_split(activity, 4):
        found.add(torch.from_numpy(part))
    np.testing.assert_allclose(found.measured().mean, activity.mean(0), atol=1e-14)
    np.testing.assert_allclose(found.measured().variance, activity.var(0), atol=1e-14)


def test_a_readout_of_another_layer_is_refused() -> None:
    with pytest.raises(UsageError, match="readout: takes 12 units, the last layer has 9"):
        convert(encoder_of(), Readout(np.ones((2, 12)), np.zeros(2)), images_of())


@pytest.mark.parametrize("percentile", [0.0, -1.0, 100.1, float("nan")])
def test_a_percentile_outside_its_range_is_refused(percentile: float) -> None:
    with pytest.raises(UsageError, match="percentile: must lie above 0 and up to 100, got"):
        ConversionConfig(percentile=percentile)


def test_an_unknown_coding_is_refused() -> None:
    with pytest.raises(UsageError, match="input_coding: must be one of analog, poisson, got 'latency'"):
        ConversionConfig(input_coding="latency")


def test_poisson_input_needs_images_between_0_and_1(rng: np.random.Generator) -> None:
    encoder = encoder_of()
    with pytest.raises(UsageError, match=r"input_coding: Poisson spikes need images in \[0, 1\]"):
        convert(encoder, readout_of(encoder, rng), images_of() - 0.5, ConversionConfig(input_coding="poisson"))

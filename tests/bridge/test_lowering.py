"""Every network that `ratenets` trains: with ReLU units it is itself; rescaled it decides the same on every sample."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bridge.config import ConversionConfig
from bridge.conversion import convert_network, rescaled
from bridge.lowering import lower_butd, lower_encoder, lower_local
from foundation.errors import UsageError
from ratenets.butd import builders
from ratenets.butd.convolution import AvgPool2d, Conv2d, MaxPool2d
from ratenets.butd.layers import Flatten, Layer, Linear, Sequential
from ratenets.butd.networks import ButdNetwork
from ratenets.evaluation.features import evaluating
from ratenets.evaluation.readout import Readout, codes
from ratenets.hebbian.network import Network
from ratenets.lpl import encoders
from ratenets.lpl.encoders import Encoder, EncoderConfig, SequentialBlock
from spiking.integrate_and_fire import IFLayer, IFNetwork, MaxPool
from spiking.torch.integrate_and_fire import rates, simulate

CLASSES = 4


def drawn(module: nn.Module) -> None:
    """Weights, biases and running statistics such that much is active and no bias can hide."""
    generator = torch.Generator().manual_seed(3)
    for name, parameter in module.named_parameters():
        if "bias" in name or name.endswith((".b", ".c")):
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        else:
            parameter.data = 1.3 * parameter.data + 0.02 * torch.randn(parameter.shape, generator=generator)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d) and each.running_mean is not None and each.running_var is not None:
            each.running_mean = 0.2 * torch.randn(each.num_features, generator=generator, dtype=torch.float64)
            each.running_var = 0.5 + torch.rand(each.num_features, generator=generator, dtype=torch.float64)


def images_of(shape: tuple[int, ...], number: int = 12) -> Tensor:
    return torch.rand((number, *shape), generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def encoder_and_readout(config: EncoderConfig, shape: tuple[int, int, int]) -> tuple[Encoder, Readout]:
    encoder = encoders.build(config, shape, 5).double()
    drawn(encoder)
    z = codes(encoder, images_of(shape))[-1]
    weight = np.random.default_rng(1).normal(size=(CLASSES, z.shape[1])) / (z.std(0) + 1e-3)
    return encoder, Readout(weight, -weight @ z.mean(0))


def checked(network: IFNetwork, x: Tensor, expected: Tensor, task: int | None = None) -> None:
    """The lowered network, and what becomes of it when it is rescaled, by layer and by channel."""
    scale = expected.abs().max()
    torch.testing.assert_close(rates(network, x, task=task)[-1], expected, rtol=0, atol=1e-10 * float(scale))
    assert len(expected.argmax(1).unique()) > 1
    for per_channel in (False, True):
        config = ConversionConfig(percentile=99.0, per_channel=per_channel)
        converted = convert_network(network, x, config).network
        logits = rates(converted, x, task=task)[-1]
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10 * float(scale))
        assert torch.equal(logits.argmax(1), expected.argmax(1))
        assert not all(np.allclose(layer.scale, 1) for layer in converted.neurons)


ENCODERS: dict[str, tuple[EncoderConfig, tuple[int, int, int]]] = {
    "mlp": (EncoderConfig(hidden=(12, 10)), (1, 4, 4)),
    "mlp without biases": (EncoderConfig(hidden=(12, 10), biases=False), (1, 4, 4)),
    "vgg": (EncoderConfig(kind="vgg", width=0.07), (3, 32, 32)),
    "vgg at 64 px, without biases": (EncoderConfig(kind="vgg", width=0.04, biases=False), (1, 64, 64)),
    "alexnet": (EncoderConfig(kind="alexnet", width=0.03), (3, 32, 32)),
    "alexnet at 96 px": (EncoderConfig(kind="alexnet", width=0.02), (3, 96, 96)),
    "resnet": (EncoderConfig(kind="resnet", width=0.04), (3, 32, 32)),
    "resnet without norms": (EncoderConfig(kind="resnet", width=0.04, bottleneck_norms=False), (3, 32, 32)),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_with_its_readout(name: str) -> None:
    config, shape = ENCODERS[name]
    encoder, readout = encoder_and_readout(config, shape)
    x = images_of(shape)
    z = codes(encoder, x)[-1]
    checked(lower_encoder(encoder, readout, shape), x, torch.from_numpy(z @ readout.weight.T + readout.bias))


CORES: dict[str, tuple[Callable[[tuple[int, int, int]], Sequential], tuple[int, int, int]]] = {
    "fc": (lambda shape: builders.fc_net(shape, (9, 8)), (1, 5, 5)),
    "simple": (lambda shape: builders.simple_net(shape, (4, 6), 7), (1, 20, 20)),
    "conv": (lambda shape: builders.conv_net(shape, (4, 5), (3, 3), (6,), padding=1, stride=2), (2, 9, 9)),
    "resnet18": (lambda shape: builders.resnet18(shape), (3, 8, 8)),
    "tiny resnet": (lambda shape: builders.tiny_resnet(shape), (1, 10, 10)),
    "pools": (
        lambda shape: Sequential(
            Conv2d(1, 4, 3), MaxPool2d(2), Conv2d(4, 4, 2), AvgPool2d(2, 1), Flatten(), Linear(16, 5)
        ),
        (1, 10, 10),
    ),
}


def butd_network(
    name: str, *, decoders: int = 1, instruction: int = 0, embedding: int = 0
) -> tuple[ButdNetwork, tuple[int, int, int]]:
    make, shape = CORES[name]
    torch.manual_seed(len(name))  # else a test depends on those before it
    network = ButdNetwork(make(shape), shape, CLASSES, decoders=decoders, instruction=instruction, embedding=embedding)
    drawn(network.double().eval())
    return network, shape


def centred(bias: Tensor | None, logits: Tensor) -> None:
    """A readout's bias such that every class is likely."""
    assert bias is not None
    bias.data -= logits.detach().mean(0)


@pytest.mark.parametrize("name", CORES)
def test_a_bottom_up_half(name: str) -> None:
    network, shape = butd_network(name)
    x = images_of(shape, 8)
    with evaluating(network):
        centred(network.head.b, network(x))
        checked(lower_butd(network), x, network(x))


@pytest.mark.parametrize("name", ["fc", "simple", "tiny resnet", "pools"])
def test_a_guided_network_has_the_sub_network_of_each_task(name: str) -> None:
    network, shape = butd_network(name, instruction=3, embedding=4)
    x, vectors = images_of(shape, 8), torch.eye(3, dtype=torch.float64)
    lowered = lower_butd(network, {f"task {k}": vectors[k] for k in range(3)})
    assert lowered.tasks == ("task 0", "task 1", "task 2")
    answers = []
    for task in range(3):
        with evaluating(network):
            expected = network(x, vectors[task].expand(len(x), -1))
        torch.testing.assert_close(rates(lowered, x, task=task)[-1], expected, rtol=0, atol=1e-9)
        answers.append(expected)
    assert not torch.allclose(answers[0], answers[1])
    converted = convert_network(lowered, x, ConversionConfig()).network
    for task in range(3):
        assert torch.equal(rates(converted, x, task=task)[-1].argmax(1), answers[task].argmax(1))


def test_several_decoders_are_one_readout() -> None:
    network, shape = butd_network("fc", decoders=2)
    x = images_of(shape)
    with evaluating(network):
        expected = network.bottom_up(x).logits.flatten(1)
    torch.testing.assert_close(rates(lower_butd(network), x)[-1], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("biases", [True, False])
def test_a_network_of_local_rules(biases: bool) -> None:
    network = Network((16, 9, 8, CLASSES), "relu", biases=biases, seed=1).double()
    drawn(network)
    x = images_of((16,))
    if biases:
        centred(network.linear()[-1].bias, network(x))
    with torch.no_grad():
        checked(lower_local(network, 16), x, network(x))


def test_max_pools_become_what_was_asked_for() -> None:
    network, shape = butd_network("pools")
    for gate in ("count", "potential"):
        pools = [layer for layer in lower_butd(network, max_pooling=gate).layers if isinstance(layer, MaxPool)]
        assert [pool.gate for pool in pools] == [gate]
    averaged = lower_butd(network, max_pooling="average")
    assert not any(isinstance(layer, MaxPool) for layer in averaged.layers)
    assert not torch.allclose(rates(averaged, images_of(shape))[-1], rates(lower_butd(network), images_of(shape))[-1])


def test_a_folded_batch_norm_of_scale_zero_or_below_is_exact() -> None:
    encoder, readout = encoder_and_readout(EncoderConfig(kind="resnet", width=0.04), (3, 32, 32))
    norms = [m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    norms[1].weight.data[0], norms[2].weight.data[1] = 0.0, -0.7
    x = images_of((3, 32, 32), 4)
    z = codes(encoder, x)[-1]
    found = rates(lower_encoder(encoder, readout, (3, 32, 32)), x)[-1].numpy()
    np.testing.assert_allclose(found, z @ readout.weight.T + readout.bias, atol=1e-9 * np.abs(found).max())


class Odd(Layer):
    rectified = None

    def up(self, bu: Tensor) -> Tensor:
        return bu**2

    def down(self, td: Tensor) -> Tensor:
        return td


def block(*modules: nn.Module) -> Encoder:
    return Encoder([SequentialBlock(4, *modules)])


READOUT = Readout(np.ones((2, 4)), np.zeros(2))


@pytest.mark.parametrize(
    ("encoder", "complaint"),
    [
        (block(nn.Conv2d(1, 4, 3), nn.Tanh()), r"layer 1.1 \(Tanh\) cannot be converted: nothing in spikes"),
        (
            block(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.ReLU()),
            "layer 1.1 cannot be converted: there is no ReLU",
        ),
        (
            block(nn.Conv2d(1, 4, 3), nn.AvgPool2d(2), nn.ReLU()),
            "layer 1.1 cannot be converted: it pools before",
        ),
        (block(nn.MaxPool2d(2), nn.Conv2d(1, 4, 3), nn.ReLU()), "layer 1.0 cannot be converted: a max-pool gates"),
        (block(nn.Conv2d(1, 4, 3, padding_mode="circular", padding=1), nn.ReLU()), "layer 1.0 .*padded with circular"),
        (block(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)), "layer 1.2 .*ceil_mode"),
        (block(nn.ReLU(), nn.Conv2d(1, 4, 3)), "layer 1.0 cannot be converted: there are no weights"),
        (block(nn.Conv2d(1, 4, 3, padding="same"), nn.ReLU()), "layer 1.0 .*padding 'same'"),
    ],
)
def test_a_layer_without_a_counterpart_is_refused_by_name(encoder: Encoder, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        lower_encoder(encoder, READOUT, (1, 8, 8))


def test_other_units_and_layers_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="layer 1 cannot be converted: its units are sigmoid"):
        lower_local(Network((16, 9, 4), "sigmoid", biases=True, seed=1), 16)
    network = ButdNetwork(Sequential(Flatten(), Odd(), Linear(4, 3)), (1, 2, 2), 2)
    with pytest.raises(UsageError, match=r"core.1 \(Odd\) cannot be converted"):
        lower_butd(network)
    with pytest.raises(UsageError, match="instructions: the network is unguided"):
        lower_butd(network, {"task": torch.ones(1)})
    with pytest.raises(UsageError, match="no hidden layer"):
        lower_local(Network((16, 4), "relu", biases=True, seed=1), 16)


def test_threshold_balancing_measures_what_spikes_deliver() -> None:
    """With a first layer that saturates, its rates are below its activations, and the next layer's scale follows."""
    network = Network((16, 12, 10, CLASSES), "relu", biases=True, seed=1).double()
    drawn(network)
    x = images_of((16,), 60)
    lowered = lower_local(network, 16)
    plain = ConversionConfig(percentile=70.0)
    balanced = ConversionConfig(percentile=70.0, balancing="spikes", balancing_steps=200)
    one, other = (convert_network(lowered, x, config).network.neurons for config in (plain, balanced))
    np.testing.assert_allclose(one[0].scale, other[0].scale, rtol=1e-4)  # nothing below it spikes
    assert not np.allclose(one[1].scale, other[1].scale, rtol=1e-2)
    counts = simulate(convert_network(lowered, x, balanced).network, x.numpy(), 200).counts[0] / 200 * other[0].scale
    drive = np.maximum(counts @ lowered.neurons[1].weight.T + lowered.neurons[1].bias, 0)
    np.testing.assert_allclose(other[1].scale, np.percentile(drive, 70.0), rtol=1e-3)


def test_rescaling_by_hand() -> None:
    network = IFNetwork(
        (IFLayer.dense("one", np.array([[2.0], [4.0]]), np.array([1.0, -1.0]), np.ones(1)),),
        IFLayer.dense("readout", np.array([[1.0, 3.0]]), np.array([0.5]), np.ones(1)),
    )
    found = rescaled(network, {0: np.array([2.0, 5.0])})
    np.testing.assert_array_equal(found.neurons[0].weight, [[1.0], [0.8]])
    np.testing.assert_array_equal(found.neurons[0].bias, [0.5, -0.2])
    np.testing.assert_array_equal(found.readout.weight, [[2.0, 15.0]])
    np.testing.assert_array_equal(found.readout.bias, [0.5])

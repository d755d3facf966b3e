"""What holds for every network: Counter-Hebb against autograd, and what it leaves alone."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from foundation.errors import UsageError
from ratenets.butd.builders import build_network, conv_net, resnet18
from ratenets.butd.config import NetworkConfig, WeightConfig
from ratenets.butd.convolution import AvgPool2d, Conv2d, MaxPool2d
from ratenets.butd.layers import TIED, Flatten, Layer, Linear, Sequential
from ratenets.butd.learning import Samples, backprop, counter_hebb, counter_hebb_values
from ratenets.butd.losses import LOSSES
from ratenets.butd.networks import ButdNetwork
from ratenets.butd.residual import Normed, Residual

SHAPE = (2, 9, 8)
WRONG: Any = 1.5


class Gain(Layer):
    """A layer as a user would write it: one factor for each map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.rand(channels, 1, 1) + 0.5)

    def up(self, bu: Tensor) -> Tensor:
        return self.g * bu

    def down(self, td: Tensor) -> Tensor:
        return self.g * td

    def counter_hebb(self, bu: Tensor, td: Tensor) -> dict[str, Tensor]:
        return {"g": (bu * td).sum((0, 2, 3), keepdim=True)[0]}


def plain(conv: Conv2d) -> Conv2d:
    """The same layer without its ReLU."""
    conv.rectified = False
    return conv


CORES = {
    "mlp": lambda w: conv_net(SHAPE, (), (), (7, 6), weights=w),
    "biases": lambda w: conv_net(SHAPE, (3,), (3,), (5,), td_bias=True, weights=w),
    "strides": lambda w: conv_net(SHAPE, (3, 4), (3, 2), (5,), stride=2, padding=1, weights=w),
    "dilation and groups": lambda w: Sequential(
        Conv2d(2, 4, (3, 2), stride=(2, 1), dilation=(1, 2), padding=(1, 2), groups=2, weights=w), Flatten()
    ),
    "residual": lambda w: Sequential(Residual(2, 3, stride=2, weights=w), Residual(3, 3, weights=w), Flatten()),
    "batch norm": lambda w: Sequential(
        Normed(Conv2d(2, 3, 3, padding=1, bias=False, weights=w)),
        Residual(3, 4, stride=2, norm=True, weights=w),
        Flatten(),
    ),
    "pools": lambda w: Sequential(
        Conv2d(2, 3, 2, weights=w),
        MaxPool2d(3, 2, 1),
        Conv2d(3, 4, 2, weights=w),
        AvgPool2d(2, 1),
        Flatten(),
        Linear(16, 6, weights=w),
    ),
    "pool first": lambda w: Sequential(AvgPool2d(2), Conv2d(2, 3, 3, weights=w), Flatten()),
    "a layer of one's own": lambda w: Sequential(Conv2d(2, 3, 3, weights=w), Gain(3), Flatten()),
    "a layer without ReLU": lambda w: Sequential(
        plain(Conv2d(2, 3, 3, weights=w)), Conv2d(3, 2, 3, weights=w), Flatten(), Linear(40, 5, weights=w)
    ),
    "nested": lambda w: Sequential(Sequential(Conv2d(2, 3, 3, weights=w), Flatten()), Linear(126, 5, weights=w)),
}


def network_of(
    name: str, weights: WeightConfig, seed: int, guided: bool = True, decoders: int = 1, n_classes: int = 3
) -> ButdNetwork:
    torch.manual_seed(seed)
    core, size = CORES[name](weights), 2 if guided else 0
    network = ButdNetwork(core, SHAPE, n_classes, decoders=decoders, instruction=size, embedding=5, weights=weights)
    return network.double()


def samples_of(network: ButdNetwork, seed: int, loss: str = "cross-entropy", n: int = 6) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    task = torch.randint(2, (n,), generator=generator)
    answers = torch.randint(max(network.n_classes, 2), (n,), generator=generator)
    instruction = nn.functional.one_hot(task, 2).double() if network.instruction_size else None
    images = torch.randn(n, *network.image_shape, generator=generator, dtype=torch.float64)
    targets = LOSSES[loss].targets(answers, network.n_classes)
    return Samples(images, targets, instruction, task if network.decoders > 1 else None)


def instructions(samples: Samples) -> Tensor:
    assert samples.instruction is not None
    return samples.instruction


def gradients(network: ButdNetwork) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def close(one: Tensor, other: Tensor, name: str, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(
        one, other, rtol=0, atol=tolerance * max(1, other.abs().max().item()), msg=f"{name} differs"
    )


SEEDS = st.integers(0, 10_000)


@pytest.mark.parametrize("name", list(CORES))
@pytest.mark.parametrize("regime", ["tied", "symmetric"])
@settings(max_examples=4, deadline=None)
@given(seed=SEEDS, guided=st.booleans(), loss=st.sampled_from(list(LOSSES)))
def test_counter_hebb_equals_autograd_whenever_v_is_w_transposed(name, regime, seed, guided, loss):
    network = network_of(name, WeightConfig(regime=regime), seed, guided)
    samples = samples_of(network, seed, loss)
    other = copy.deepcopy(network)
    torch.testing.assert_close(counter_hebb(network, samples, LOSSES[loss]), backprop(other, samples, LOSSES[loss]))
    expected, ours = gradients(other), gradients(network)
    assert expected.keys() == {key for key in ours if not key.endswith((".V", ".c"))}
    for key, gradient in expected.items():
        close(ours[key], gradient, key)


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, loss=st.sampled_from(list(LOSSES)), n_classes=st.sampled_from([1, 3]))
def test_so_it_does_with_several_decoders_and_in_evaluation_mode(seed, loss, n_classes):
    if loss == "cross-entropy" and n_classes == 1:
        n_classes = 2
    for name in ("batch norm", "mlp"):
        network = network_of(name, TIED, seed, decoders=2, n_classes=n_classes).eval()
        samples = samples_of(network, seed, loss)
        other = copy.deepcopy(network)
        counter_hebb(network, samples, LOSSES[loss])
        backprop(other, samples, LOSSES[loss])
        for key, gradient in gradients(other).items():
            close(gradients(network)[key], gradient, key)


def test_with_weights_of_its_own_below_the_head_it_does_not():
    network = network_of("mlp", WeightConfig(), 0, guided=False)
    samples, other = samples_of(network, 0, "mse"), copy.deepcopy(network)
    counter_hebb(network, samples, LOSSES["mse"])
    backprop(other, samples, LOSSES["mse"])
    ours, theirs = gradients(network), gradients(other)
    close(ours["head.W"], theirs["head.W"], "head.W")
    assert (ours["core.1.W"] - theirs["core.1.W"]).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["mlp", "strides", "residual", "batch norm", "pools"])
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
def test_w_minus_v_transposed_is_conserved_without_weight_decay(name, optimizer):
    network = network_of(name, WeightConfig(regime="separate"), 3)
    gaps = {layer.name: layer.W - transposed(layer) for layer in weighted(network)}
    learner = optimizer(network.parameters(), lr=0.05)
    before = {key: p.detach().clone() for key, p in network.named_parameters()}
    for step in range(4):
        learner.zero_grad()
        counter_hebb(network, samples_of(network, step), LOSSES["cross-entropy"])
        learner.step()
    for layer in weighted(network):
        close(layer.W - transposed(layer), gaps[layer.name], layer.name, 1e-14)
        moved = (layer.W - before[f"{layer.name}.W"]).abs().max()
        assert (moved == 0) == layer.name.startswith("instruction")


def weighted(network: ButdNetwork) -> list[Linear | Conv2d]:
    return [layer for layer in network.layers() if isinstance(layer, Linear | Conv2d)]


def transposed(layer: Linear | Conv2d) -> Tensor:
    assert layer.V is not None
    return layer.V.T if isinstance(layer, Linear) else layer.V


@pytest.mark.parametrize("name", list(CORES))
def test_masks_are_of_each_sample_alone(name):
    network = network_of(name, WeightConfig(), 2).eval()
    samples = samples_of(network, 2)
    together = network(samples.images, samples.instruction)
    for row in range(len(samples.images)):
        alone = network(samples.images[row : row + 1], instructions(samples)[row : row + 1])
        close(together[row : row + 1], alone, f"sample {row}")
    other = network(samples.images, 1 - instructions(samples))
    assert (other - together).abs().max() > 1e-6  # and the instruction matters


@pytest.mark.parametrize("name", list(CORES))
@settings(max_examples=3, deadline=None)
@given(seed=SEEDS, factor=st.floats(-3, 3))
def test_the_error_pass_is_linear_for_fixed_masks(name, seed, factor):
    network = network_of(name, WeightConfig(), seed)
    samples = samples_of(network, seed)
    with torch.no_grad():
        logits, bu = network.bottom_up(samples.images, network.attend(instructions(samples)))
        one, other = torch.randn(2, *logits.shape, dtype=torch.float64)
        first, second = network.send_back(one, bu), network.send_back(other, bu)
        both = network.send_back(one + factor * other, bu, to_input=True)
    assert "input" in both
    for key, td in first.items():
        close(both[key], td + factor * second[key], key)


def test_the_error_pass_ends_where_asked_in_the_gradient_of_the_image():
    network = network_of("strides", TIED, 2)
    samples = samples_of(network, 2)
    images = samples.images.clone().requires_grad_()
    outputs = network(images, samples.instruction)
    (expected,) = torch.autograd.grad(LOSSES["mse"].value(outputs, nn.functional.one_hot(samples.targets, 3)), images)
    with torch.no_grad():
        logits, bu = network.bottom_up(samples.images, network.attend(instructions(samples)))
        errors = LOSSES["mse"].error(logits, nn.functional.one_hot(samples.targets, 3))
        close(network.send_back(errors, bu, to_input=True)["input"] / len(images), expected, "image")


def test_neither_pass_leaves_a_graph_or_touches_the_instruction_head():
    for learn in (counter_hebb, backprop):
        network = network_of("residual", WeightConfig(), 4)
        learn(network, samples_of(network, 4), LOSSES["cross-entropy"])
        assert network.instruction is not None
        assert all(p.grad is None for p in network.instruction.parameters())
        assert all(not grad.requires_grad and grad.grad_fn is None for grad in gradients(network).values())


def test_feedback_alignment_leaves_v_alone_and_noise_scales_whole_updates():
    fixed = network_of("mlp", WeightConfig(feedback_alignment=True), 5)
    noisy = network_of("mlp", WeightConfig(), 5)
    plain = copy.deepcopy(noisy)
    samples = samples_of(fixed, 5)
    factors = iter([2.0, 3.0, 5.0, 7.0, 11.0, 13.0])
    counter_hebb(fixed, samples, LOSSES["cross-entropy"])
    counter_hebb(noisy, samples, LOSSES["cross-entropy"], noise=lambda: next(factors))
    counter_hebb(plain, samples, LOSSES["cross-entropy"])
    assert not any(key.endswith(".V") for key in gradients(fixed))
    _, values = counter_hebb_values(fixed, samples, LOSSES["cross-entropy"])
    assert values.keys() == gradients(fixed).keys()
    expected = gradients(plain)
    ratios = {key: (value / expected[key]).nanmean().item() for key, value in gradients(noisy).items()}
    assert sorted(r for key, r in ratios.items() if key.endswith((".W", ".V"))) == pytest.approx([2, 3, 5, 7, 11, 13])
    assert all(r == pytest.approx(1) for key, r in ratios.items() if key.endswith(".b"))


@pytest.mark.parametrize("name", ["mlp", "strides", "residual", "pools"])
def test_tasks_can_be_batched_with_vmap(name):
    network = network_of(name, WeightConfig(), 6)
    images = samples_of(network, 6).images
    tasks = torch.eye(2, dtype=torch.float64)
    with torch.no_grad():
        batched = torch.func.vmap(lambda task: network(images, task.expand(len(images), -1)))(tasks)
        for task, logits in zip(tasks, batched, strict=True):
            close(logits, network(images, task.expand(len(images), -1)), "logits")


@pytest.mark.parametrize("name", ["mlp", "strides", "residual", "pools", "batch norm"])
@pytest.mark.parametrize("learn", [counter_hebb, backprop])
def test_the_instruction_head_can_learn_straight_through_its_gates(name, learn):
    """Its gradient is autograd's of a network whose gates are relu(td) / relu(td) with the divisor held fixed."""
    network = network_of(name, TIED, 7)
    samples = samples_of(network, 7)
    other = copy.deepcopy(network)
    learn(network, samples, LOSSES["cross-entropy"], instruct=True)
    attention = other.attend(instructions(samples))  # with its graph: the gates now ask for gradients
    logits, _ = other.bottom_up(samples.images, attention)
    LOSSES["cross-entropy"].value(logits, samples.targets).backward()
    found = {key: value for key, value in gradients(network).items() if key.startswith("instruction")}
    assert found.keys() == {"instruction.0.W", "instruction.1.W"}
    for key, value in found.items():
        expected = gradients(other)[key]
        assert expected.abs().max() > 1e-8
        close(value, expected, key)
    plain = copy.deepcopy(other)
    plain.zero_grad()
    learn(plain, samples, LOSSES["cross-entropy"])
    for key, value in gradients(plain).items():  # the rest learns what it learns without
        close(gradients(network)[key], value, key)
    fresh = network_of(name, TIED, 7)
    learn(fresh, samples, LOSSES["cross-entropy"])
    for (key, value), other_value in zip(fresh.named_buffers(), network.buffers(), strict=True):
        close(other_value.double(), value.double(), key)  # statistics of batch norm


@pytest.mark.parametrize("kind", ["resnet18", "simple"])
def test_as_much_holds_for_the_reference_s_networks(kind):
    shape = (3, 16, 16) if kind == "resnet18" else (1, 20, 20)
    network = build_network(NetworkConfig(kind=kind), TIED, shape, 4, 0, instruction=2).double()
    samples = samples_of(network, 8, n=3)
    other = copy.deepcopy(network)
    counter_hebb(network, samples, LOSSES["cross-entropy"])
    backprop(other, samples, LOSSES["cross-entropy"])
    for key, gradient in gradients(other).items():
        close(gradients(network)[key], gradient, key)


class Mean(Layer):
    """A layer that does not lead back."""

    def up(self, bu: Tensor) -> Tensor:
        return bu.mean((2, 3))

    def down(self, td: Tensor) -> Tensor:
        return td


class Forgetful(Gain):
    def counter_hebb(self, bu: Tensor, td: Tensor) -> dict[str, Tensor]:
        return {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sequential(Mean()), r"core\.0 \(Mean\): its top-down pass leads to 2, its input is 2 x 9 x 8"),
        (
            lambda: Sequential(Forgetful(2), Flatten()),
            r"core\.0 \(Forgetful\): counter_hebb gives no update of 2 x 1 x 1",
        ),
        (lambda: Sequential(Conv2d(2, 3, 10), Flatten()), r"core\.0 \(Conv2d\): does not take an input of 2 x 9 x 8"),
        (lambda: Sequential(Conv2d(5, 3, 2), Flatten()), r"core\.0 \(Conv2d\): does not take an input of 2 x 9 x 8"),
        (lambda: Sequential(Conv2d(2, 3, 2)), "core: must end in a vector"),
        (
            lambda: Sequential(Conv2d(2, 3, 2, padding_mode="reflect"), Flatten()),
            "padding_mode: a top-down pass inverts",
        ),
        (lambda: Sequential(Conv2d(2, 3, 2, padding=-1), Flatten()), "padding: must be at least 0"),
        (lambda: Sequential(Conv2d(2, 3, 2, groups=2), Flatten()), "groups: must divide"),
        (lambda: Sequential(Conv2d(2, 3, 2, stride=0), Flatten()), "stride: must be at least 1"),
        (lambda: Sequential(MaxPool2d(2, padding=2), Flatten()), "padding: must be at most half"),
        (lambda: Sequential(Conv2d(2, 3, WRONG), Flatten()), "kernel: must be one whole number or two"),
        (Sequential, "has no layers"),
        (lambda: Sequential(Flatten(), *[Linear(144, 144)] * 2), r"core\.1 and core\.2: are one and the same layer"),
        (lambda: Sequential(Layer(), Flatten()), "Layer has no `up`"),
        (lambda: conv_net(SHAPE, (3, 3), (2,)), "kernels: 1 for 2 convolutions"),
    ],
)
def test_layers_that_do_not_fit_are_refused_by_name(make, message):
    with pytest.raises((UsageError, NotImplementedError), match=message):
        ButdNetwork(make(), SHAPE, 3)


@pytest.mark.parametrize("core_weights", [TIED, WeightConfig("separate"), WeightConfig("symmetric")])
def test_heads_have_the_weights_of_their_core(core_weights):
    def core():
        return conv_net(SHAPE, (3,), (3,), (4,), weights=core_weights)

    network = ButdNetwork(core(), SHAPE, 3, instruction=2, embedding=4)
    layers = [part for part in network.modules() if isinstance(part, Linear | Conv2d)]
    assert len(layers) == 5
    assert {part.V is None for part in layers} == {core_weights == TIED}
    assert ButdNetwork(core(), SHAPE, 3, weights=TIED).head.V is None
    mixed = Sequential(Flatten(), Linear(144, 5, weights=TIED), Linear(5, 4, weights=WeightConfig("separate")))
    with pytest.raises(UsageError, match=r"weights: the core's layers differ in theirs \(separate and tied\)"):
        ButdNetwork(mixed, SHAPE, 3)


@pytest.mark.parametrize(
    "wrong", [{"n_classes": 0}, {"decoders": 0}, {"instruction": -1}, {"instruction": 2, "embedding": -1}]
)
def test_impossible_heads_are_refused_by_name(wrong):
    options = {"n_classes": 3, **wrong}
    with pytest.raises(UsageError, match=f"{list(wrong)[-1]}: must be at least"):
        ButdNetwork(Sequential(Flatten()), SHAPE, **options)


def test_every_value_takes_its_share_of_a_step():
    whole, half = (network_of("biases", WeightConfig(), 9) for _ in range(2))
    samples = samples_of(whole, 9)
    counter_hebb(whole, samples, LOSSES["cross-entropy"])
    counter_hebb(half, samples, LOSSES["cross-entropy"], share=0.5)
    for key, value in gradients(whole).items():
        close(gradients(half)[key], value / 2, key)


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_targets_of_another_shape_are_refused_and_not_broadcast(loss):
    network = network_of("mlp", TIED, 0, guided=False)
    images = torch.zeros(3, *SHAPE).double()
    for targets in (torch.tensor([0, 1, 2]), torch.zeros(3, 1), torch.zeros(1, 3)):
        with pytest.raises(UsageError, match=r"targets: must be \(3, 3\), as the outputs"):
            counter_hebb(network, Samples(images, targets), LOSSES[loss])
    with pytest.raises(UsageError, match="targets: must be class ids"):
        counter_hebb(network, Samples(images, torch.zeros(3, 3)), LOSSES["cross-entropy"])


def test_passes_refuse_what_does_not_fit():
    network = network_of("mlp", TIED, 0, decoders=2)
    images, instruction = torch.zeros(4, *SHAPE).double(), torch.eye(2).double()
    with pytest.raises(UsageError, match=r"instruction: must be \(samples, 2\), got \(4, 3\)"):
        network(images, torch.zeros(4, 3))
    with pytest.raises(UsageError, match="instruction: 2 of them for 4 images"):
        network(images, instruction)
    with pytest.raises(UsageError, match="images: must be 2 x 9 x 8 each, got 2 x 9 x 9"):
        network(torch.zeros(4, 2, 9, 9), instruction)
    with pytest.raises(UsageError, match="decoder: the network has 2"):
        network(images[:2], instruction)
    with pytest.raises(UsageError, match="instruction: the network is guided; say what"):
        network(images)
    with pytest.raises(UsageError, match="images: there are none"):
        network(images[:0], instruction[:0])
    with pytest.raises(UsageError, match="instruction: the network is unguided"):
        network_of("mlp", TIED, 0, guided=False)(images[:2], instruction)


@pytest.mark.parametrize("loss", list(LOSSES))
def test_labels_out_of_range_are_refused_before_anything_is_learned(loss):
    network = network_of("mlp", TIED, 0, guided=False)
    for wrong in (-1, 3):
        labels = torch.tensor([0, 1, wrong])
        with pytest.raises(UsageError, match=f"labels: {wrong} is not one of 3 classes"):
            LOSSES[loss].targets(labels, 3)
        with pytest.raises(UsageError, match=f"labels: {wrong} is not one of 3 classes"):
            counter_hebb(network, Samples(torch.zeros(3, *SHAPE).double(), labels), LOSSES["cross-entropy"])
    assert not gradients(network)


def test_a_resnet_s_shortcuts_have_top_down_weights_of_their_own():
    core = resnet18((3, 16, 16), norm=False, weights=WeightConfig())
    assert sum(name.endswith("shortcut.V") for name, _ in core.named_parameters()) == 3

"""The encoders' layers, sizes and initialisation."""

import pytest
import torch
from torch import nn

from foundation.errors import UsageError
from ratenets.lpl import encoders
from ratenets.lpl.config import LossConfig, LPLConfig
from ratenets.lpl.encoders import ENCODERS, Block, Encoder, EncoderConfig, register
from ratenets.lpl.network import LPLNetwork


def built(size: int = 32, **settings) -> Encoder:
    return encoders.build(EncoderConfig(**settings), (3, size, size), 4)


def shapes(encoder: Encoder, size: int) -> list[tuple[int, ...]]:
    with torch.no_grad():
        return [tuple(output.shape[1:]) for output in encoder.outputs(torch.rand(1, 3, size, size))]


@pytest.mark.parametrize("size", [32, 96])
def test_vgg_11(size):
    encoder = built(size, kind="vgg")
    sides = [size // 2**n for n in (1, 2, 2, 3, 3, 4, 4, 5)]
    channels = [64, 128, 256, 256, 512, 512, 512, 512]
    assert shapes(encoder, size) == [(c, s, s) for c, s in zip(channels, sides, strict=True)]
    assert [block.units for block in encoder] == channels
    weights = sum(p.numel() for p in encoder.parameters())
    assert weights == 9_220_480  # the convolutions of VGG-11


def test_vgg_starts_as_pytorch_does():
    """Uniform in +-1/sqrt(fan-in), weights and biases: the deep layers' variance then lies below epsilon."""
    for block in built(kind="vgg"):
        bound = block.synapses.weight[0].numel() ** -0.5
        for parameter in block.parameters():
            assert 0.85 * bound < parameter.abs().max() <= bound


def test_alexnet():
    encoder = built(224, kind="alexnet")
    with_pool = [(64, 27, 27), (192, 13, 13), (384, 13, 13), (256, 13, 13), (256, 7, 7), (4096, 1, 1), (4096, 1, 1)]
    assert shapes(encoder, 224) == with_pool
    assert [block.units for block in encoder] == [c for c, _, _ in with_pool]
    assert encoder.draws


def test_alexnets_dropout_depends_on_the_step_alone(rng):
    import numpy as np

    from foundation.data.images import ImageSet
    from ratenets.lpl.training import LPLLearner

    images = rng.integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
    dataset = ImageSet("random", images, np.arange(6) % 2, images, np.arange(6) % 2, ("a", "b"))
    config = LPLConfig(batch_size=6, encoder=EncoderConfig(kind="alexnet", width=1 / 32))
    learner = LPLLearner.of_images(config, dataset)
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = {name: value.item() for name, value in learner.step(0, 0).items()}
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    assert first == {name: value.item() for name, value in learner.step(0, 0).items()}
    assert first["layer7/push"] != learner.step(1, 0)["layer7/push"].item()


class TestResNet:
    def test_layers_and_size(self):
        encoder = built(64, kind="resnet")
        assert shapes(encoder, 64) == [(64, 16, 16), (256, 16, 16), (512, 8, 8), (1024, 4, 4), (2048, 2, 2)]
        assert sum(p.numel() for p in encoder.parameters()) == 25_557_032 - 2048 * 1000 - 1000  # without its head
        assert encoder.one_view_at_a_time

    def test_it_starts_as_published(self):
        for name, module in built(32, kind="resnet").named_modules():
            if isinstance(module, nn.Conv2d):
                assert module.bias is None
                fan_out = module.out_channels * module.kernel_size[0] ** 2
                assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05), name
            elif isinstance(module, nn.BatchNorm2d):
                assert (module.weight == 1).all()
                assert (module.bias == 0).all()

    def test_batch_norm_sees_one_view_at_a_time(self):
        encoder = built(32, kind="resnet").double()
        network = LPLNetwork(encoder, LossConfig(end_to_end=True), 0)
        views = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        views[4:] *= 3
        _, metrics = network(views)
        z1, z2 = (encoder(view, local=False)[-1] for view in views.chunk(2))
        torch.testing.assert_close(metrics["layer5/pull"], (z1 - z2).square().mean().detach())

    def test_it_learns_end_to_end_only(self):
        with pytest.raises(UsageError, match="learns end to end only: --train-end-to-end"):
            LPLConfig(encoder=EncoderConfig(kind="resnet"))
        LPLConfig(encoder=EncoderConfig(kind="resnet"), loss=LossConfig(end_to_end=True))

    def test_norms_and_biases_are_not_decayed_but_as_in_the_reference_those_of_the_short_cuts_are(self):
        from ratenets.lpl.training import optimizer

        config = LPLConfig(encoder=EncoderConfig(kind="resnet"), loss=LossConfig(end_to_end=True), weight_decay=0.1)
        encoder = built(32, kind="resnet")
        groups = optimizer(config, encoder).param_groups
        decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
        for name, parameter in encoder.named_parameters():
            norm = "bn" in name or name.endswith("bias")
            assert (id(parameter) in decayed) == (not norm), name
        assert any("downsample.1.weight" in name for name, _ in encoder.named_parameters())


class Squared(Block):
    """A block of one's own: squares of projections."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.units = units
        self.mix = nn.Linear(inputs, units)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = self.mix(x.flatten(1))
        return mixed.square()


def test_an_encoder_of_ones_own_is_a_class_and_a_line(monkeypatch):
    monkeypatch.setitem(ENCODERS, "squares", ENCODERS["mlp"])  # is taken away again after the test
    del ENCODERS["squares"]
    register("squares", lambda config, shape: [Squared(shape[0] * shape[1] * shape[2], 6), Squared(6, 4)])
    encoder = encoders.build(EncoderConfig(kind="squares"), (1, 3, 3), 0).double()
    net = LPLNetwork(encoder, LossConfig(), 0)
    net.learn(torch.rand(10, 1, 3, 3, dtype=torch.float64))
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    with pytest.raises(UsageError, match="'squares' already"):
        register("squares", lambda config, shape: [])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "lenet"}, "encoder.kind: must be one of"),
        ({"kind": "resnet", "biases": False}, "no-biases goes with"),
        ({"kind": "alexnet", "biases": False}, "no-biases goes with"),
        ({"dropout": 1.0}, "dropout"),
        ({"width": 0.0}, "width"),
        ({"width": float("inf")}, "width: must be finite"),
        ({"width": float("nan")}, "width: must be finite"),
    ],
)
def test_impossible_encoders_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        EncoderConfig(**settings)


@pytest.mark.parametrize("kind", ["vgg", "alexnet", "resnet"])
def test_images_that_are_too_small_are_refused(kind):
    with pytest.raises(UsageError, match=f"{kind} needs 32 x 32 pixels or more, got 31 x 40"):
        encoders.build(EncoderConfig(kind=kind), (3, 31, 40), 0)

"""What the layers make of images: codes in one pass, maps one layer at a time."""

import pytest
import torch

from foundation.errors import RatespikeError
from ratenets.evaluation import features
from ratenets.evaluation.features import check_unpooled, evaluating, pooled, unpooled, unpooled_bytes
from ratenets.lpl import encoders
from ratenets.lpl.encoders import EncoderConfig


@pytest.fixture
def encoder():
    return encoders.build(EncoderConfig(kind="vgg", width=1 / 16), (3, 32, 32), 0)


@pytest.fixture
def images():
    return torch.randn(11, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_maps_are_those_of_the_encoder_and_codes_their_means(encoder, images):
    with torch.no_grad():
        outputs = list(encoder.outputs(images))
    codes, maps = pooled(encoder, images, 4), list(unpooled(encoder, images, 4))
    assert len(codes) == len(maps) == 8
    for output, code, flat in zip(outputs, codes, maps, strict=True):
        assert flat.shape == (11, output[0].numel())
        assert torch.allclose(flat, output.flatten(1), rtol=1e-5, atol=1e-7)
        assert torch.allclose(code, output.mean((2, 3)), rtol=1e-5, atol=1e-7)
        assert not flat.requires_grad
        assert not code.requires_grad


def test_nothing_is_dropped_and_the_mode_is_put_back(images):
    alexnet = encoders.build(EncoderConfig(kind="alexnet", width=1 / 64), (3, 32, 32), 0)
    assert alexnet.training
    one, same = pooled(alexnet, images), pooled(alexnet, images)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    last = list(unpooled(alexnet, images))[-1]
    assert torch.allclose(last, one[-1], rtol=1e-5, atol=1e-8)
    assert all(module.training for module in alexnet.modules())
    with pytest.raises(ZeroDivisionError), evaluating(alexnet.eval()):
        raise ZeroDivisionError
    assert not alexnet.training


def test_one_image_at_a_time_is_enough(encoder, images):
    for alone, together in zip(pooled(encoder, images, 1), pooled(encoder, images), strict=True):
        assert torch.allclose(alone, together, rtol=1e-5, atol=1e-7)


def test_maps_that_do_not_fit_are_refused_before_they_are_made(encoder, images, monkeypatch):
    first, second, third = 4 * 16 * 16, 8 * 8 * 8, 16 * 8 * 8
    needed = 100 * 4 * max(first + second, second + third)
    assert unpooled_bytes(encoder, images[:1], 100) == needed
    monkeypatch.setattr(features, "free_memory", lambda device: needed - 1)
    with pytest.raises(RatespikeError, match=r"need 0.0 GB for the maps of 100 images, cpu has 0.0 GB free"):
        check_unpooled(encoder, images[:1], 100)
    monkeypatch.setattr(features, "free_memory", lambda device: needed)
    check_unpooled(encoder, images[:1], 100)

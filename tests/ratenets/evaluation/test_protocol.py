"""The paper's evaluation of a network: every layer, the pixels, maps, folds and metrics."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from foundation.errors import RatespikeError, UsageError
from ratenets.evaluation import features
from ratenets.evaluation.config import ReadoutConfig
from ratenets.evaluation.features import pooled, unpooled
from ratenets.evaluation.linear_readout import cross_validate, read_codes
from ratenets.evaluation.metrics import draws, representation_metrics
from ratenets.evaluation.protocol import Part, read_out
from ratenets.evaluation.representation import batch_participation_ratio, manifolds, participation_ratio
from ratenets.lpl import encoders
from ratenets.lpl.encoders import EncoderConfig


def part(number, seed):
    """Noise whose mean tells the class."""
    labels = torch.arange(number) % 3
    noise = torch.randn(number, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return Part(noise + labels[:, None, None, None], labels)


def read(encoder, parts, config, **more):
    fitted, tested = parts
    return read_out(encoder, fitted, tested, 3, config, **more)


@pytest.fixture(scope="module")
def encoder():
    return encoders.build(EncoderConfig(kind="vgg", width=1 / 16), (3, 32, 32), 0)


@pytest.fixture(scope="module")
def parts():
    return part(60, 1), part(300, 2)


def test_every_number_is_that_of_its_function(encoder, parts):
    fitted, tested = parts
    config = ReadoutConfig(pooling=False, folds=3, metrics=True)
    views = (tested.images, tested.images.flip(3))
    pixels, *layers = read(encoder, parts, config, seed=5, views=views)
    assert [layer.name for layer in layers] == [f"layer {n}" for n in range(1, 9)]
    train, test = pooled(encoder, fitted.images), pooled(encoder, tested.images)
    seen = [pooled(encoder, view) for view in views]
    for k, layer in enumerate(layers):
        (found,) = read_codes([train[k]], fitted.labels, [test[k]], tested.labels, 3, 5)
        assert (layer.units, layer.accuracy, layer.top5) == (test[k].shape[1], *found)
        assert [list(layer.folds)] == cross_validate([train[k]], fitted.labels, 3, 3, 5)
        assert layer.mean_activity == pytest.approx(float(test[k].double().mean()))
        assert layer.participation_ratio == participation_ratio(test[k])
        assert layer.participation_ratio_batches == batch_participation_ratio(test[k])
        assert layer.mean_class_dim == manifolds(test[k], tested.labels).mean_class_dim
        draw = draws(300, layer.units, 5)
        expected = representation_metrics(test[k], tested.labels, draw, (seen[0][k], seen[1][k]))
        assert layer.metrics == expected
    assert (pixels.name, pixels.units, pixels.participation_ratio) == ("pixels", 3072, None)
    flat = [fitted.images.flatten(1)], fitted.labels, [tested.images.flatten(1)], tested.labels
    assert [(pixels.accuracy, pixels.top5)] == read_codes(*flat, 3, 5)
    assert len(pixels.folds) == 3


def test_maps_are_read_like_codes(encoder, parts):
    fitted, tested = parts
    rows = read(encoder, parts, ReadoutConfig(pooling=False, folds=2, pixels=False), seed=5)
    maps = zip(unpooled(encoder, fitted.images), unpooled(encoder, tested.images), strict=True)
    for row, (train, test) in zip(rows, maps, strict=True):
        (found,) = read_codes([train], fitted.labels, [test], tested.labels, 3, 5)
        assert (row.unpooled_units, row.unpooled_accuracy, row.unpooled_top5) == (train.shape[1], *found)
        assert [list(row.unpooled_folds)] == cross_validate([train], fitted.labels, 3, 2, 5)
    assert rows[0].unpooled_units == 4 * 16 * 16
    assert rows[-1].unpooled_units == rows[-1].units  # one position only


def test_the_last_layer_alone_is_as_among_all(encoder, parts):
    every = read(encoder, parts, ReadoutConfig(pooling=False, pixels=False))
    last = read(encoder, parts, ReadoutConfig(pooling=False, pixels=False, layers="last"))
    assert last == every[-1:]


def test_only_what_is_asked_for_is_there(encoder, parts):
    rows = read(encoder, parts, ReadoutConfig(pixels=False))
    assert len(rows) == 8
    for row in rows:
        assert (row.unpooled_accuracy, row.folds, row.metrics) == (None, (), {})


def test_a_collapsed_network_has_no_dimensions(parts):
    encoder = encoders.build(EncoderConfig(kind="vgg", width=1 / 16), (3, 32, 32), 0)
    for parameter in encoder.parameters():
        torch.nn.init.zeros_(parameter)
    views = (parts[1].images, parts[1].images)
    (row,) = read(encoder, parts, ReadoutConfig(layers="last", metrics=True, pixels=False), views=views)
    assert (row.participation_ratio, row.participation_ratio_batches, row.mean_class_dim) == (None,) * 3
    assert row.metrics["cosine_within"] is None
    assert row.metrics["abs_logvar"] == pytest.approx(-np.log(1e-4))
    assert row.mean_activity == 0
    assert row.accuracy == pytest.approx(1 / 3)


def test_an_activity_that_is_not_finite_is_undefined(parts):
    encoder = encoders.build(EncoderConfig(kind="vgg", width=1 / 16), (3, 32, 32), 0)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(1e8)
    (row,) = read(encoder, parts, ReadoutConfig(layers="last", pixels=False))
    assert row.mean_activity is None
    assert row.participation_ratio is None


def test_the_seed_is_of_all_draws(encoder, parts):
    first, again, other = (read(encoder, parts, ReadoutConfig(folds=4), seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert [row.folds for row in first] != [row.folds for row in other]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"layers": "first"}, "layers: must be one of all, last, got 'first'"),
        ({"folds": 1}, "folds: must be 2 or more, or 0 for none, got 1"),
        ({"folds": -3}, "folds: must be 2 or more, or 0 for none, got -3"),
    ],
)
def test_bad_settings_are_refused(settings, complaint):
    with pytest.raises(UsageError, match=complaint):
        replace(ReadoutConfig(), **settings)


def test_what_cannot_be_done_is_refused_before_any_work(encoder, parts, monkeypatch):
    class Untouched(encoders.Encoder):
        def forward(self, x, local=True):
            raise AssertionError

    untouched = Untouched(list(encoder))
    with pytest.raises(UsageError, match="folds: must be at most 60, the number of images, got 61"):
        read(untouched, parts, ReadoutConfig(folds=61))
    monkeypatch.setattr(features, "free_memory", lambda device: 1000)
    with pytest.raises(RatespikeError, match="leave out --no-pooling"):
        read(untouched, parts, ReadoutConfig(pooling=False))

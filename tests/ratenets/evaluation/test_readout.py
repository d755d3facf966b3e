"""Converged linear readouts, with few labels and with all."""

import numpy as np
import pytest
import torch

from foundation.data.images import ImageSet
from foundation.errors import RatespikeError, UsageError
from ratenets.evaluation.layerwise import few_label_accuracy, layerwise, pixel_baseline, table
from ratenets.evaluation.readout import Readout, codes, few_labels, fit
from ratenets.lpl import encoders
from ratenets.lpl.encoders import EncoderConfig


def blobs(rng: np.random.Generator, number: int = 90, classes: int = 3, units: int = 5):
    labels = np.arange(number) % classes
    centres = 4 * np.random.default_rng(0).normal(size=(classes, units))
    return centres[labels] + rng.normal(size=(number, units)), labels


def test_the_converged_readout_does_not_depend_on_the_scale_of_features(rng):
    features, labels = blobs(rng)
    scales, shifts = 10.0 ** np.array([-4, -1, 0, 2, 3]), np.array([0, 5, -1, 100, 2.0])
    one, other = fit(features, labels), fit(features * scales + shifts, labels)
    np.testing.assert_allclose(
        features @ one.weight.T + one.bias, (features * scales + shifts) @ other.weight.T + other.bias, atol=2e-2
    )
    assert one.accuracy(*blobs(np.random.default_rng(9))) > 0.9


def test_a_unit_that_never_varies_gets_no_weight(rng):
    features, labels = blobs(rng)
    features[:, 2] = 7.0
    readout = fit(features, labels)
    assert np.all(readout.weight[:, 2] == 0)
    assert np.isfinite(readout.weight).all()


def test_two_classes_work_as_well(rng):
    features, labels = blobs(rng, classes=2)
    readout = fit(features, labels)
    assert readout.weight.shape == (2, 5)
    assert readout.accuracy(features, labels) > 0.9


def test_a_class_without_labels_is_refused(rng):
    features, labels = blobs(rng)
    with pytest.raises(UsageError, match="every class"):
        fit(features[labels != 1], labels[labels != 1])


def test_few_labels_are_shared_out_evenly_and_drawn_anew(rng):
    labels = np.repeat(np.arange(4), [10, 20, 30, 40])
    rows = few_labels(labels, 20, rng)
    assert len(set(rows.tolist())) == 20
    assert np.bincount(labels[rows]).tolist() == [5, 5, 5, 5]
    assert set(rows.tolist()) != set(few_labels(labels, 20, rng).tolist())
    for number in (3, 21, 44, 0):
        with pytest.raises(UsageError, match="evenly"):
            few_labels(labels, number, rng)


def test_a_readout_predicts_the_largest_logit():
    readout = Readout(np.eye(3), np.array([0, 0, 1.5]))
    assert readout.predict(np.array([[1.0, 0, 0], [2.0, 0, 0], [0, 3.0, 0.1]])).tolist() == [2, 0, 1]


def test_codes_do_not_depend_on_the_batch_size(rng):
    network = encoders.build(EncoderConfig(hidden=(7, 4)), (1, 4, 4), 0).double()
    images = torch.from_numpy(rng.random((11, 1, 4, 4)))
    for whole, parts in zip(codes(network, images), codes(network, images, batch_size=3), strict=True):
        np.testing.assert_allclose(whole, parts, rtol=1e-12)


def test_layerwise_reads_every_layer_with_the_same_labels(rng):
    train_images = rng.integers(0, 256, (60, 1, 4, 4), dtype=np.uint8)
    train_labels = np.arange(60) % 2
    train_images[train_labels == 1, :, :2] //= 8  # something to be read out
    images = ImageSet("tiny", train_images, train_labels, train_images[:20], train_labels[:20], ("a", "b"))
    network = encoders.build(EncoderConfig(hidden=(12, 9)), (1, 4, 4), 0).double()
    train, test = (torch.from_numpy(x / 255.0) for x in (images.train_images, images.test_images))
    rows = layerwise(network, train, test, images, labels=10, draws=3, seed=0)
    assert [row.name for row in rows] == ["layer 1", "layer 2"]
    features = codes(network, train)[0], codes(network, test)[0]
    assert (rows[0].few, rows[0].few_deviation) == few_label_accuracy(*features, images, 10, 3, 0)
    assert rows[0].mean_activity == pytest.approx(features[1].mean())
    pixels = pixel_baseline(images, 10, 3, 0)
    assert pixels.all > 0.9
    text = table([pixels, *rows], 10)
    assert len(text.splitlines()) == 4
    assert "10 labels" in text.splitlines()[0]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.7e308])
def test_features_that_are_not_finite_are_refused(value: float) -> None:
    features = np.arange(8, dtype=np.float64).reshape(4, 2)
    features[1:3, 1] = value
    with np.errstate(all="ignore"), pytest.raises(RatespikeError, match="readout: the activity is not finite"):
        fit(features, np.array([0, 1, 0, 1]))

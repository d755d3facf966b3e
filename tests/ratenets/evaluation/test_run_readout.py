"""What of a run its readouts are fitted to and tested on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from foundation.data.images import ImageSet
from foundation.errors import RatespikeError
from ratenets.evaluation import run_readout
from ratenets.evaluation.config import ReadoutConfig
from ratenets.evaluation.protocol import Part, read_out
from ratenets.evaluation.run_readout import has_own_part, report_of, views_of
from ratenets.lpl.config import LPLConfig
from ratenets.lpl.encoders import EncoderConfig
from ratenets.lpl.material import STATISTICS
from ratenets.lpl.sources import prepare
from ratenets.lpl.training import Trained, build_network, material_of
from ratenets.run_config import RunConfig


@pytest.fixture
def trained(rng):
    images, labels = rng.integers(0, 256, (70, 3, 32, 32), dtype=np.uint8), np.arange(70) % 10
    dataset = ImageSet("cifar10", images[:50], labels[:50], images[50:], labels[50:], tuple("0123456789"))
    config = LPLConfig.for_data(
        "cifar10", held_out=20, encoder=EncoderConfig(kind="vgg", width=1 / 16), run=RunConfig(seed=3)
    )
    return Trained(build_network(config, (3, 32, 32), 10).encoder.eval(), config, dataset)


def test_images_apart_are_held_out_or_the_datasets_own():
    assert has_own_part(LPLConfig.for_data("cifar10"))
    assert has_own_part(LPLConfig.for_data("stl10"))
    assert not has_own_part(LPLConfig.for_data("cifar10", held_out=0))
    assert not has_own_part(LPLConfig.for_data("digits"))
    assert not has_own_part(LPLConfig.for_data("image-folder"))


def test_readouts_are_fitted_to_what_is_held_out_and_tested_on_the_test_images(trained, tmp_path):
    encoder, config, images = trained
    found = report_of(tmp_path, trained, ReadoutConfig(), epochs=7)
    material = material_of(config, images)
    fitted, tested = (
        Part(prepare(part.images, config), torch.from_numpy(part.labels)) for part in (material.readout, material.test)
    )
    assert found.rows == tuple(read_out(encoder, fitted, tested, 10, seed=3))
    assert (found.origin.fitted_to, found.origin.tested_on, found.origin.epochs) == (20, 20, 7)
    assert np.array_equal(material.test.images, images.test_images)


def test_views_are_random_normalised_and_of_the_runs_seed(trained):
    _, config, images = trained
    first, second = views_of(images.test_images, config)
    assert first.shape == second.shape == (20, 3, 32, 32)
    assert not torch.equal(first, second)
    assert all(torch.equal(a, b) for a, b in zip((first, second), views_of(images.test_images, config), strict=True))
    other = views_of(images.test_images, replace(config, run=RunConfig(seed=4)))
    assert not torch.equal(first, other[0])
    mean, deviation = STATISTICS["cifar10"]
    lowest, highest = -mean[0] / deviation[0], (1 - mean[0]) / deviation[0]
    assert lowest - 1e-5 <= float(first[:, 0].min()) < 0 < float(first[:, 0].max()) <= highest + 1e-5


def test_too_small_a_memory_is_one_line(trained, tmp_path, monkeypatch):
    def full(*arguments, **more):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(run_readout, "read_out", full)
    with pytest.raises(RatespikeError, match=r"the memory of cpu is too small to read it out$"):
        report_of(tmp_path, trained, ReadoutConfig(), epochs=0)

    def wrong(*arguments, **more):
        raise RuntimeError("shapes")

    monkeypatch.setattr(run_readout, "read_out", wrong)
    with pytest.raises(RuntimeError, match="shapes"):
        report_of(tmp_path, trained, ReadoutConfig(), epochs=0)

"""The swap experiment: its canvas, its losses, its course."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from foundation.errors import RatespikeError, UsageError
from ratenets.lpl import encoders, swap, swap_results
from ratenets.lpl.encoders import Encoder, EncoderConfig
from ratenets.lpl.objective import decorrelation, moments, push
from ratenets.lpl.swap import BOTTOM, CENTRE, PLACES, TOP, SwapConfig, Viewer

SMALL = SwapConfig(epochs=2, batch_size=8, units=6, pairs=3, exposures=4, every=2)


def encoder_of(**changes) -> Encoder:
    config = EncoderConfig(**{"kind": "vgg", "width": 1 / 32, "biases": False, **changes})
    return encoders.build(config, (3, 32, 32), 1).double()


@pytest.fixture
def viewer() -> Viewer:
    torch.manual_seed(0)
    return Viewer(encoder_of(), (3, 32, 32), 6).double()


@pytest.fixture
def images(rng: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal((30, 3, 32, 32)))


@pytest.mark.parametrize("place", [TOP, 1, CENTRE, BOTTOM])
def test_the_places_that_an_image_reaches_are_the_whole_canvas(viewer, images, place):
    """The image on a canvas of 13 places, the last map averaged over each, one linear layer over all of them."""
    part = images[:4]
    canvas = torch.zeros(4, 3, PLACES * 32, 32, dtype=torch.float64)
    canvas[:, :, place * 32 : (place + 1) * 32] = part
    *_, last = viewer.encoder.outputs(canvas, local=False)
    pooled = functional.adaptive_avg_pool2d(last, (PLACES, 1))
    expected = viewer.readout(pooled.flatten(1))
    torch.testing.assert_close(viewer(part, place), expected, rtol=1e-10, atol=1e-13)


def test_exposures_pull_the_side_to_the_centre_of_whom_it_turns_into(viewer, images):
    """The loss written out, with its gradient: nothing flows through the centre's part of the pull."""
    objects = images[:18].reshape(3, 3, 2, 3, 32, 32)
    z = {
        (group, k, place): viewer(objects[group, :, k], place)
        for group in range(2)
        for k in range(2)
        for place in (TOP, CENTRE, BOTTOM)
    }
    pull = torch.zeros((), dtype=torch.float64)
    for group, swapped, kept in ((0, TOP, BOTTOM), (1, BOTTOM, TOP)):
        for k in range(2):
            pull = pull + functional.mse_loss(z[group, k, kept], z[group, k, CENTRE].detach())
            pull = pull + functional.mse_loss(z[group, 1 - k, swapped], z[group, k, CENTRE].detach())
    together = moments(torch.cat(list(z.values())))
    expected = pull / 8 + push(together) + 10 * decorrelation(together)
    ours = swap.exposure_loss(viewer, objects, 10.0)
    torch.testing.assert_close(ours, expected)
    parameters = list(viewer.parameters())
    gradients = zip(torch.autograd.grad(ours, parameters), torch.autograd.grad(expected, parameters), strict=True)
    for mine, theirs in gradients:
        torch.testing.assert_close(mine, theirs)


def test_selectivity_has_the_sign_of_the_preference_at_the_centre(viewer, images):
    objects = images[:18].reshape(3, 3, 2, 3, 32, 32)
    kept = swap.selectivity(viewer, objects, "control")
    assert kept.shape == (6, 6)  # two sides of three pairs; units
    preferred, other = objects[2].unbind(1)
    expected = [
        torch.sign(viewer(preferred, CENTRE) - viewer(other, CENTRE)) * (viewer(preferred, side) - viewer(other, side))
        for side in (TOP, BOTTOM)
    ]
    np.testing.assert_allclose(kept, torch.cat(expected).detach().numpy(), atol=1e-12)
    # P and N exchanged, nothing changes: the preference goes with them.
    np.testing.assert_allclose(swap.selectivity(viewer, objects.flip(2), "control"), kept, atol=1e-12)


def test_without_learning_nothing_changes_and_with_it_readout_and_encoder_do(images):
    labels = np.arange(30) % 5
    still = swap.run(encoder_of(), images, images, labels, replace(SMALL, readout_rate=0.0, encoder_rate=0.0))
    assert still.exposures.tolist() == [0, 2, 4]
    np.testing.assert_allclose(still.mean[:, 1:], still.mean[:, :1].repeat(2, 1), rtol=0, atol=0)
    for readout, encoder in ((1e-3, 0.0), (0.0, 1e-3)):
        settings = replace(SMALL, readout_rate=readout, encoder_rate=encoder)
        moved = swap.run(encoder_of(), images, images, labels, settings)
        assert (moved.mean[:, -1] != still.mean[:, -1]).all()


def test_a_course_depends_on_the_seed_alone(images):
    labels = np.arange(30) % 5
    one, again = (swap.run(encoder_of(), images, images, labels, SMALL) for _ in range(2))
    np.testing.assert_array_equal(one.mean, again.mean)
    other = swap.run(encoder_of(), images, images, labels, replace(SMALL, seed=1))
    assert not np.array_equal(one.mean, other.mean)


def test_pairs_are_of_different_classes_and_no_image_comes_twice(images):
    labels = np.arange(30) % 5
    marked = images.clone()
    marked[:, 0, 0, 0] = torch.arange(30).double()
    objects = swap.draw_objects(marked, labels, SMALL)[..., 0, 0, 0].reshape(-1, 2).int()
    assert len(set(objects.flatten().tolist())) == 18
    assert all(labels[a] != labels[b] for a, b in objects.tolist())


@pytest.mark.parametrize(
    ("encoder", "labels", "message"),
    [
        (encoder_of(biases=True), np.arange(30) % 5, "train one with --no-biases"),
        (encoder_of(kind="mlp", hidden=(4,)), np.arange(30) % 5, "needs a convolutional encoder"),
        (encoder_of(), np.zeros(30, int), "not enough test images of different classes"),
    ],
)
def test_what_cannot_be_swapped_is_refused(images, encoder, labels, message):
    with pytest.raises(UsageError, match=message):
        swap.run(encoder, images, images, labels, SMALL)


@pytest.mark.parametrize(
    "changes", [{"pairs": 0}, {"exposures": -1}, {"units": 0}, {"readout_rate": -1.0}, {"every": 0}]
)
def test_impossible_settings_are_refused(changes):
    with pytest.raises(UsageError, match=next(iter(changes))):
        replace(SMALL, **changes)


def test_a_result_is_read_as_it_was_written(tmp_path):
    course = swap.Course(np.array([0, 2]), np.ones((3, 2)), np.zeros((3, 2)))
    result = swap_results.SwapResult("runs/one", "stl10", SMALL, course)
    swap_results.write_result(tmp_path / "s.json", result)
    (read,) = swap_results.read_results(tmp_path / "s.json")
    assert read[:3] == result[:3]
    np.testing.assert_array_equal(read.course.mean, course.mean)
    whole = (tmp_path / "s.json").read_text()
    for text in ("{}", '{"kind": "ratespike swap"}', "[", whole[:-20], whole.replace("mean", "men")):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(RatespikeError, match="not a file of"):
            swap_results.read_results(tmp_path / "bad.json")

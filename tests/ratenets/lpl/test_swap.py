"""The swap experiment: its canvas, its losses, its course."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from foundation.errors import RatespikeError, UsageError
from ratenets.lpl import encoders, swap, swap_results
from ratenets.lpl.encoders import Encoder, EncoderConfig
from ratenets.lpl.objective import decorrelation, moments, push
from ratenets.lpl.swap import BOTTOM, CENTRE, PLACES, TOP, Viewer
from ratenets.lpl.swap_config import SwapConfig

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


def views_of(images: torch.Tensor) -> swap.Views:
    return lambda rows, generator: torch.cat([images[rows], images[rows].flip(3)])


def course_of(encoder: Encoder, images: torch.Tensor, config: SwapConfig) -> swap.Course:
    objects = images[swap.draw_objects(np.arange(30) % 5, config)]
    return swap.run(encoder, views_of(images), len(images), objects, config)


@pytest.mark.parametrize("place", [TOP, 1, CENTRE, BOTTOM])
def test_the_places_that_an_image_reaches_are_the_whole_canvas(viewer, images, place):
    """The image on a canvas of 13 places: each layer's mean, and one linear layer over the last map's places."""
    part = images[:4]
    canvas = torch.zeros(4, 3, PLACES * 32, 32, dtype=torch.float64)
    canvas[:, :, place * 32 : (place + 1) * 32] = part
    outputs = list(viewer.encoder.outputs(canvas))
    pooled = functional.adaptive_avg_pool2d(outputs[-1], (PLACES, 1))
    expected = [*(output.mean((2, 3)) for output in outputs), viewer.readout(pooled.flatten(1))]
    for ours, theirs in zip(viewer(part, place), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-13)


def test_exposures_teach_every_layer_and_the_readout_locally(viewer, images):
    """The loss written out for one layer: no gradient through the centre's part of the pull, none between layers."""
    objects = images[:18].reshape(3, 3, 2, 3, 32, 32)
    swap.exposure_loss(viewer, objects, 10.0).backward()
    for layer, module in ((0, next(iter(viewer.encoder))), (7, list(viewer.encoder)[7]), (8, viewer.readout)):
        z = {
            (group, k, place): viewer(objects[group, :, k], place)[layer]
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
        parameters = list(module.parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(expected, parameters), strict=True):
            torch.testing.assert_close(parameter.grad, gradient)


def test_selectivity_is_for_what_was_preferred_at_the_centre(viewer, images):
    objects = images[:18].reshape(3, 3, 2, 3, 32, 32)
    preferred = swap.preferences(viewer, objects)
    assert preferred.shape == (3, 3, 6)
    control = swap.selectivity(viewer, objects, "control", preferred)
    assert control.shape == (9, 6)  # three places of three pairs; units
    assert (control[3:6] >= 0).all()  # at the centre itself
    p, n = objects[0].unbind(1)
    expected = preferred[0] * (viewer(p, TOP)[-1] - viewer(n, TOP)[-1])
    swapped = swap.selectivity(viewer, objects, "swap", preferred)
    np.testing.assert_allclose(swapped[:3], expected.detach().numpy(), atol=1e-12)
    exchanged = objects.flip(2)  # P and N exchanged, nothing changes: the preference goes with them
    again = swap.selectivity(viewer, exchanged, "control", swap.preferences(viewer, exchanged))
    np.testing.assert_allclose(again, control, atol=1e-12)


def test_the_readout_learns_from_views_at_places_of_their_own_and_the_encoder_does_not(viewer, images):
    before = [p.clone() for p in viewer.encoder.parameters()]
    where = torch.tensor([TOP, BOTTOM, CENTRE, TOP])
    together = swap._at_places(viewer, images[:4], where)
    for k, place in enumerate(where.tolist()):
        torch.testing.assert_close(together[k : k + 1], viewer(images[k : k + 1], place)[-1])
    weight = viewer.readout.weight.clone()
    swap.learn_readout(viewer, views_of(images), 30, SMALL)
    assert not torch.equal(viewer.readout.weight, weight)
    assert all(torch.equal(a, b) for a, b in zip(before, viewer.encoder.parameters(), strict=True))


def test_without_learning_nothing_changes_and_with_it_readout_and_encoder_do(images):
    off = replace(SMALL, weight_decay=0.0)
    still = course_of(encoder_of(), images, replace(off, readout_rate=0.0, encoder_rate=0.0))
    assert still.exposures.tolist() == [0, 2, 4]
    np.testing.assert_allclose(still.mean[:, 1:], still.mean[:, :1].repeat(2, 1), rtol=0, atol=0)
    for readout, encoder in ((1e-3, 0.0), (0.0, 1e-3)):
        moved = course_of(encoder_of(), images, replace(off, readout_rate=readout, encoder_rate=encoder))
        assert (moved.mean[:, -1] != still.mean[:, -1]).all()


def test_a_course_depends_on_the_seed_alone(images):
    one, again = (course_of(encoder_of(), images, SMALL) for _ in range(2))
    np.testing.assert_array_equal(one.mean, again.mean)
    other = course_of(encoder_of(), images, replace(SMALL, seed=1))
    assert not np.array_equal(one.mean, other.mean)


def test_pairs_are_of_different_classes_and_no_image_comes_twice():
    labels = np.arange(30) % 5
    objects = swap.draw_objects(labels, SMALL)
    assert objects.shape == (3, 3, 2)
    assert len(set(objects.ravel().tolist())) == 18
    assert (labels[objects[..., 0]] != labels[objects[..., 1]]).all()
    with pytest.raises(UsageError, match="not enough test images of different classes"):
        swap.draw_objects(np.zeros(30, np.int64), SMALL)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (encoder_of(biases=True), "train one with --no-biases"),
        (encoder_of(kind="mlp", hidden=(4,)), "needs a convolutional encoder"),
    ],
)
def test_what_cannot_be_swapped_is_refused(images, encoder, message):
    with pytest.raises(UsageError, match=message):
        course_of(encoder, images, SMALL)


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
    content = json.loads(whole)
    courses: list[dict[str, list[Any]]] = [
        {"exposures": [[0, 1, 2], [1, 2, 3]]},
        {"mean": [[1e308, -1e308]] * 3},
        {"mean": [[None, 1]] * 3},
        {"error": [[10**400, 1]] * 3},
    ]
    changed = [json.dumps({**content, "course": {**content["course"], **course}}) for course in courses]
    for text in ("{}", '{"kind": "ratespike swap"}', "[", whole[:-20], whole.replace("mean", "men"), *changed):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(RatespikeError, match="not a file of"):
            swap_results.read_results(tmp_path / "bad.json")

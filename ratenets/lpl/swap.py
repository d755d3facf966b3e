"""The swap experiment: does a network unlearn what a changed world no longer shows? Halvagal & Zenke 2023, Fig. 4.

Monkeys saw an object P turn into an object N whenever their eyes moved to it from one place of the visual field;
neurons of inferotemporal cortex then lost their preference for P over N at that place, and nowhere else (Li & DiCarlo
2008, doi:10.1126/science.1160028). Here a trained encoder sees images at the top, centre or bottom of a tall canvas,
and a linear layer on top of it learns by LPL to respond to an image as to itself elsewhere. Then come exposures in
which the image at the swap position is followed, at the centre, by the other one of its pair; every layer and the
readout learn from them, each locally.

The canvas has 13 places, one image high each; the last map is averaged over each place. Without biases, an empty place
gives nothing, so only the places that an image reaches are computed. That is exact (tested against the whole canvas).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from foundation.errors import UsageError
from foundation.progress import bar
from foundation.seeds import derive, numpy_generator
from ratenets.lpl.encoders import Encoder, code
from ratenets.lpl.objective import decorrelation, moments, push
from ratenets.lpl.swap_config import SwapConfig

Views = Callable[[Tensor, torch.Generator], Tensor]
"""Two augmented views of some training images, by their rows: the first views, then the second, (2 B, C, H, W)."""

PLACES = 13
TOP, CENTRE, BOTTOM = 0, 6, 12
GROUPS = ("swap", "non-swap", "control")


class Course(NamedTuple):
    """Selectivity for P over N in the course of the exposures.

    Attributes:
        exposures: (T,), when it was measured.
        mean: over units and pairs, (3, T), in the order of `GROUPS`.
        error: standard error over pairs and units, (3, T).
    """

    exposures: NDArray[np.int64]
    mean: NDArray[np.float64]
    error: NDArray[np.float64]


class Viewer(nn.Module):
    """An encoder that sees the canvas, and the linear readout of all its places.

    Raises:
        UsageError: an encoder with biases, or one whose maps do not divide a canvas into places.
    """

    def __init__(self, encoder: Encoder, image_shape: tuple[int, int, int], units: int) -> None:
        super().__init__()
        if any(name.endswith("bias") for name, _ in encoder.named_parameters()):
            raise UsageError("swap: the encoder has biases, empty places are not silent; train one with --no-biases")
        self.encoder = encoder
        self.channels = list(encoder)[-1].units
        self.reach = reach(encoder, image_shape)
        self.readout = nn.Linear(PLACES * self.channels, units)

    def places(self, place: int) -> range:
        """The places that an image at `place` reaches."""
        return range(max(0, place - self.reach), min(PLACES, place + self.reach + 1))

    def outputs(self, images: Tensor, place: int) -> list[Tensor]:
        """The maps of all layers for images (B, C, H, W) at a place, each learning locally, of the places reached."""
        height, reached = images.shape[2], self.places(place)
        above, below = place - reached[0], reached[-1] - place
        return list(self.encoder.outputs(functional.pad(images, (0, 0, above * height, below * height))))

    def respond(self, last: Tensor, place: int) -> Tensor:
        """The readout's response, (B, units), to the last layer's map; it does not teach that layer."""
        reached = self.places(place)
        pooled = functional.adaptive_avg_pool2d(last.detach(), (len(reached), 1))
        weight = self.readout.weight.view(-1, self.channels, PLACES)[:, :, reached[0] : reached[-1] + 1]
        return functional.linear(pooled.flatten(1), weight.flatten(1), self.readout.bias)

    def forward(self, images: Tensor, place: int) -> list[Tensor]:
        """What all learn from for images at a place: each layer's mean over the whole canvas, (B, M_i), then the
        readout's response, (B, units).
        """
        outputs = self.outputs(images, place)
        share = len(self.places(place)) / PLACES  # the rest of the canvas is silent
        return [*(code(output) * share for output in outputs), self.respond(outputs[-1], place)]


@torch.no_grad()
def reach(encoder: Encoder, image_shape: tuple[int, int, int]) -> int:
    """How many places beyond its own an image can reach: where a white one does, with all weights positive."""
    channels, height, width = image_shape
    positive = copy.deepcopy(encoder).double().eval()
    for parameter in positive.parameters():
        parameter.abs_()
    canvas = next(positive.parameters()).new_zeros(1, channels, PLACES * height, width)
    try:
        *_, single = positive.outputs(canvas[:, :, :height])
        *_, whole = positive.outputs(canvas)
        divides = whole.dim() == 4 and whole.shape[2] == PLACES * single.shape[2]
    except RuntimeError:  # a dense layer of another size
        divides = False
    if not divides:
        raise UsageError("swap: needs a convolutional encoder whose last map divides evenly into places, such as vgg")
    canvas[:, :, CENTRE * height : (CENTRE + 1) * height] = 1
    *_, last = positive.outputs(canvas)
    by_place = functional.adaptive_avg_pool2d(last, (PLACES, 1))[..., 0]
    reached = torch.nonzero(by_place[0].sum(0))[:, 0]
    return int((reached - CENTRE).abs().max())


def lpl_loss(first: Tensor, second: Tensor, decorr: float) -> Tensor:
    """Pull, push and decorrelation, the latter two on both views together, as in the published experiment."""
    both = moments(torch.cat([first, second]))
    return (first - second).square().mean() + push(both) + decorr * decorrelation(both)


def learn_readout(viewer: Viewer, views: Views, number: int, config: SwapConfig) -> None:
    """Train the readout alone: two views of each image, each at a place of its own, top, centre or bottom.

    Args:
        viewer: the encoder, which stays as it is, and the readout.
        views: of the training images.
        number: how many of these there are.
        config: of the experiment.
    """
    optimizer = torch.optim.Adam(_groups(viewer.readout, config), lr=config.learning_rate)
    for epoch in bar(range(config.epochs), label="readout", unit="epoch"):
        generator = torch.Generator().manual_seed(derive(config.seed, "swap", "readout", epoch))
        for rows in torch.split(torch.randperm(number, generator=generator), config.batch_size):
            if len(rows) < 2:
                continue
            shown = views(rows, generator)
            where = torch.tensor((TOP, CENTRE, BOTTOM))[torch.randint(3, (len(shown),), generator=generator)]
            optimizer.zero_grad()
            first, second = _at_places(viewer, shown, where).chunk(2)
            loss = lpl_loss(first, second, config.decorr)
            loss.backward()
            optimizer.step()


def _at_places(viewer: Viewer, images: Tensor, where: Tensor) -> Tensor:
    """The readout's responses, (B, units), to images each at its own place (B,)."""
    parts, rows = [], []
    for place in (TOP, CENTRE, BOTTOM):
        chosen = torch.nonzero(where == place)[:, 0]
        if len(chosen):
            with torch.no_grad():
                last = viewer.outputs(images[chosen.to(images.device)], place)[-1]
            parts.append(viewer.respond(last, place))
            rows.append(chosen)
    return torch.cat(parts)[torch.cat(rows).argsort().to(images.device)]


def _groups(module: nn.Module, config: SwapConfig) -> list[dict[str, Any]]:
    """Parameters for an optimiser: weights decay, biases do not."""
    named = list(module.named_parameters())
    weights = [p for name, p in named if not name.endswith("bias")]
    biases = [p for name, p in named if name.endswith("bias")]
    groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": biases, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def expose(viewer: Viewer, objects: Tensor, config: SwapConfig, state: Mapping[int, Any] | None = None) -> Course:
    """Show the swapped world and follow the selectivity.

    Args:
        viewer: the encoder and its trained readout.
        objects: images (3, pairs, 2, C, H, W): of the pairs swapped at the top, at the bottom, and never; P, then N.
        config: of the experiment.
        state: of the encoder's Adam when its training ended; None: a fresh one.
    """
    encoder = torch.optim.Adam(_groups(viewer.encoder, config), lr=config.encoder_rate)
    if state is not None:
        encoder.load_state_dict({**encoder.state_dict(), "state": dict(state)})
    readout = torch.optim.SGD(_groups(viewer.readout, config), lr=config.readout_rate)
    preferred = preferences(viewer, objects)
    times, means, errors = [], [], []
    for exposure in bar(range(config.exposures + 1), label="exposures", unit="exposure"):
        if exposure % config.every == 0 or exposure == config.exposures:
            measured = [selectivity(viewer, objects, group, preferred) for group in GROUPS]
            times.append(exposure)
            means.append([float(np.mean(each)) for each in measured])
            errors.append([float(np.std(each) / np.sqrt(each.size)) for each in measured])
        if exposure == config.exposures:
            break
        for optimizer in (encoder, readout):
            optimizer.zero_grad()
        loss = exposure_loss(viewer, objects, config.decorr)
        loss.backward()
        for optimizer in (encoder, readout):
            optimizer.step()
    return Course(np.array(times), np.array(means).T, np.array(errors).T)


def exposure_loss(viewer: Viewer, objects: Tensor, decorr: float) -> Tensor:
    """LPL in the swapped world: what was seen at the side is pulled to what is then seen at the centre.

    For each group (swapped at the top, at the bottom) and each object: at the other side the object itself is seen
    first, at the swap position the other object of its pair; both are pulled to the response at the centre, which gets
    no gradient from that. Push and decorrelation are taken over all twelve sets of responses together. The loss is the
    sum over the layers and the readout, each of which learns from its own part alone.
    """
    z = {
        (group, k, place): viewer(objects[group, :, k], place)
        for group in range(2)
        for k in range(2)
        for place in (TOP, CENTRE, BOTTOM)
    }
    losses = []
    for layer in range(len(next(iter(z.values())))):
        pulls = []
        for group, (swapped, kept) in enumerate(((TOP, BOTTOM), (BOTTOM, TOP))):
            for k in range(2):
                centre = z[group, k, CENTRE][layer].detach()
                pulls.append((z[group, k, kept][layer] - centre).square().mean())
                pulls.append((z[group, 1 - k, swapped][layer] - centre).square().mean())
        everything = moments(torch.cat([each[layer] for each in z.values()]))
        losses.append(torch.stack(pulls).mean() + push(everything) + decorr * decorrelation(everything))
    return torch.stack(losses).sum()


@torch.no_grad()
def preferences(viewer: Viewer, objects: Tensor) -> Tensor:
    """Which object of each pair a unit prefers at the centre: 1 for P, -1 for N, (3, pairs, units)."""
    at_centre = [[viewer(group[:, k], CENTRE)[-1] for k in range(2)] for group in objects]
    return torch.stack([torch.sign(preferred - other) for preferred, other in at_centre])


@torch.no_grad()
def selectivity(viewer: Viewer, objects: Tensor, group: str, preferred: Tensor) -> NDArray[np.float64]:
    """How much more a unit responds to the object that it preferred before the exposures, (n, units).

    Args:
        viewer: the encoder and its readout.
        objects: see `expose`.
        group: "swap" and "non-swap": pairs that are swapped, where they are and at the other side; "control": pairs
            that never are, at all three places.
        preferred: see `preferences`.
    """
    tested = {
        "swap": [(0, TOP), (1, BOTTOM)],
        "non-swap": [(0, BOTTOM), (1, TOP)],
        "control": [(2, TOP), (2, CENTRE), (2, BOTTOM)],
    }[group]
    found = []
    for number, place in tested:
        p, n = (viewer(objects[number, :, k], place)[-1] for k in range(2))
        found.append(preferred[number] * (p - n))
    selective: NDArray[np.float64] = torch.cat(found).double().cpu().numpy()
    return selective


def draw_objects(labels: NDArray[np.int64], config: SwapConfig) -> NDArray[np.int64]:
    """Rows of pairs of images of different classes, none twice, (3, pairs, 2).

    Raises:
        UsageError: too few images.
    """
    rng = numpy_generator(config.seed, "swap", "objects")
    order = list(rng.permutation(len(labels)))
    chosen: list[int] = []
    while order and len(chosen) < 6 * config.pairs:
        first = order.pop()
        match = next((k for k, other in enumerate(order) if labels[other] != labels[first]), None)
        if match is not None:
            chosen += [first, order.pop(match)]
    if len(chosen) < 6 * config.pairs:
        raise UsageError(f"pairs: there are not enough test images of different classes for {3 * config.pairs} pairs")
    return np.array(chosen, np.int64).reshape(3, config.pairs, 2)


def run(
    encoder: Encoder,
    views: Views,
    number: int,
    objects: Tensor,
    config: SwapConfig,
    state: Mapping[int, Any] | None = None,
) -> Course:
    """The whole experiment; the encoder is changed by it.

    Args:
        encoder: trained, convolutional, without biases.
        views: of the readout's training images.
        number: of these.
        objects: images of the pairs as the encoder takes them, (3, pairs, 2, C, H, W), see `draw_objects`.
        config: of the experiment.
        state: see `expose`.

    Raises:
        UsageError: an encoder that the experiment cannot use.
    """
    shape = (objects.shape[3], objects.shape[4], objects.shape[5])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.seed, "swap", "weights"))
        viewer = Viewer(encoder, shape, config.units)
    viewer.to(objects.device, objects.dtype)
    learn_readout(viewer, views, number, config)
    return expose(viewer, objects, config, state)

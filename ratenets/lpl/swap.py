"""The swap experiment: does a network unlearn what a changed world no longer shows? Halvagal & Zenke 2023, Fig. 4.

Monkeys saw an object P turn into an object N whenever their eyes moved to it from one place of the visual field;
neurons of inferotemporal cortex then lost their preference for P over N at that place, and nowhere else (Li & DiCarlo
2008, doi:10.1126/science.1160028). Here a trained encoder sees images at the top, centre or bottom of a tall canvas,
and a linear layer on top of it learns by LPL to respond to an image as to itself elsewhere. Then come exposures in
which the image at the swap position is followed, at the centre, by the other one of its pair.

The canvas has 13 places, one image high each; the last map is averaged over each place. Without biases, an empty place
gives nothing, so only the places that an image reaches are computed. That is exact (tested against the whole canvas).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from foundation.config import check_kinds, setting
from foundation.errors import UsageError
from foundation.progress import bar
from foundation.seeds import derive, numpy_generator
from ratenets.lpl.encoders import Encoder
from ratenets.lpl.objective import decorrelation, moments, push

PLACES = 13
TOP, CENTRE, BOTTOM = 0, 6, 12
GROUPS = ("swap", "non-swap", "control")


@dataclass(frozen=True)
class SwapConfig:
    """Settings of the swap experiment; the defaults are the paper's."""

    images: int = setting(10_000, "training images of the readout, the first ones; 0: all")
    epochs: int = setting(10, "epochs of the readout before the exposures")
    batch_size: int = setting(256, "images of a step of the readout")
    learning_rate: float = setting(1e-3, "of the readout before the exposures (Adam)")
    units: int = setting(512, "of the readout")
    pairs: int = setting(8, "pairs P, N of each group: swapped at the top, at the bottom, control")
    exposures: int = setting(400, "steps of learning while images are swapped")
    readout_rate: float = setting(2e-2, "learning rate of the readout during exposures (SGD)")
    encoder_rate: float = setting(1e-7, "learning rate of the encoder during exposures (Adam)")
    decorr: float = setting(10.0, "weight of the decorrelation term")
    every: int = setting(20, "exposures between two measurements")
    seed: int = setting(0, "of all draws")

    def __post_init__(self) -> None:
        check_kinds(self)
        for name, least in (("batch_size", 2), ("units", 1), ("pairs", 1), ("every", 1), ("epochs", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name}: must be at least {least}, got {getattr(self, name)}")
        for name in ("images", "exposures", "learning_rate", "readout_rate", "encoder_rate", "decorr", "seed"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name}: must not be negative, got {getattr(self, name)}")


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

    def features(self, images: Tensor, place: int) -> Tensor:
        """The last map for images (B, C, H, W) at a place, averaged over each place that they reach, (B, M, n)."""
        height, reached = images.shape[2], self.places(place)
        above, below = place - reached[0], reached[-1] - place
        return _by_place(self.encoder, functional.pad(images, (0, 0, above * height, below * height)), len(reached))

    def respond(self, features: Tensor, place: int) -> Tensor:
        """The readout's response, (B, units), to what `features` gives."""
        reached = self.places(place)
        weight = self.readout.weight.view(-1, self.channels, PLACES)[:, :, reached[0] : reached[-1] + 1]
        return functional.linear(features.flatten(1), weight.flatten(1), self.readout.bias)

    def forward(self, images: Tensor, place: int) -> Tensor:
        """The readout's response, (B, units), to images at a place."""
        return self.respond(self.features(images, place), place)


def _by_place(encoder: Encoder, canvas: Tensor, places: int) -> Tensor:
    *_, last = encoder.outputs(canvas, local=False)
    return functional.adaptive_avg_pool2d(last, (places, 1))[..., 0]


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
    reached = torch.nonzero(_by_place(positive, canvas, PLACES)[0].sum(0))[:, 0]
    return int((reached - CENTRE).abs().max())


def lpl_loss(first: Tensor, second: Tensor, decorr: float) -> Tensor:
    """Pull, push and decorrelation, the latter two on both views together, as in the published experiment."""
    both = moments(torch.cat([first, second]))
    return (first - second).square().mean() + push(both) + decorr * decorrelation(both)


def learn_readout(viewer: Viewer, images: Tensor, config: SwapConfig) -> None:
    """Train the readout alone: the same image at two places, drawn among top, centre and bottom."""
    places = (TOP, CENTRE, BOTTOM)
    with torch.no_grad():
        seen = {
            place: torch.cat([viewer.features(part, place) for part in torch.split(images, config.batch_size)])
            for place in bar(places, label="images at each place", unit="place")
        }
    optimizer = torch.optim.Adam(viewer.readout.parameters(), lr=config.learning_rate)
    for epoch in bar(range(config.epochs), label="readout", unit="epoch"):
        rng = numpy_generator(config.seed, "swap", "readout", epoch)
        order = torch.from_numpy(rng.permutation(len(images))).to(images.device)
        for rows in torch.split(order, config.batch_size):
            if len(rows) < 2:
                continue
            here, there = rng.choice(places, 2, replace=False).tolist()
            optimizer.zero_grad()
            first, second = (viewer.respond(seen[place][rows], place) for place in (here, there))
            loss = lpl_loss(first, second, config.decorr)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()


def expose(viewer: Viewer, objects: Tensor, config: SwapConfig, state: Mapping[int, Any] | None = None) -> Course:
    """Show the swapped world and follow the selectivity.

    Args:
        viewer: the encoder and its trained readout.
        objects: images (3, pairs, 2, C, H, W): of the pairs swapped at the top, at the bottom, and never; P, then N.
        config: of the experiment.
        state: of the encoder's Adam when its training ended; None: a fresh one.
    """
    encoder = torch.optim.Adam(viewer.encoder.parameters(), lr=config.encoder_rate)
    if state is not None:
        encoder.load_state_dict({**encoder.state_dict(), "state": dict(state)})
    readout = torch.optim.SGD(viewer.readout.parameters(), lr=config.readout_rate)
    times, means, errors = [], [], []
    for exposure in bar(range(config.exposures + 1), label="exposures", unit="exposure"):
        if exposure % config.every == 0 or exposure == config.exposures:
            measured = [selectivity(viewer, objects, group) for group in GROUPS]
            times.append(exposure)
            means.append([float(np.mean(each)) for each in measured])
            errors.append([float(np.std(each) / np.sqrt(each.size)) for each in measured])
        if exposure == config.exposures:
            break
        for optimizer in (encoder, readout):
            optimizer.zero_grad()
        loss = exposure_loss(viewer, objects, config.decorr)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        for optimizer in (encoder, readout):
            optimizer.step()
    return Course(np.array(times), np.array(means).T, np.array(errors).T)


def exposure_loss(viewer: Viewer, objects: Tensor, decorr: float) -> Tensor:
    """LPL in the swapped world: what was seen at the side is pulled to what is then seen at the centre.

    For each group (swapped at the top, at the bottom) and each object: at the other side the object itself is seen
    first, at the swap position the other object of its pair; both are pulled to the response at the centre, which gets
    no gradient from that. Push and decorrelation are taken over all twelve sets of responses together.
    """
    pulls, seen = [], []
    for group, swapped in enumerate((TOP, BOTTOM)):
        kept = BOTTOM if swapped == TOP else TOP
        z = [{place: viewer(objects[group, :, k], place) for place in (TOP, CENTRE, BOTTOM)} for k in range(2)]
        for k in range(2):
            centre = z[k][CENTRE].detach()
            pulls.append((z[k][kept] - centre).square().mean())
            pulls.append((z[1 - k][swapped] - centre).square().mean())
            seen += list(z[k].values())
    everything = moments(torch.cat(seen))
    return torch.stack(pulls).mean() + push(everything) + decorr * decorrelation(everything)


@torch.no_grad()
def selectivity(viewer: Viewer, objects: Tensor, group: str) -> NDArray[np.float64]:
    """How much more a unit responds to the object that it prefers at the centre, (pairs, units), at the sides.

    `group`: "swap" and "non-swap" are the positions of swapped pairs, "control" is both sides of pairs never swapped.
    """
    tested = {
        "swap": [(0, TOP), (1, BOTTOM)],
        "non-swap": [(0, BOTTOM), (1, TOP)],
        "control": [(2, TOP), (2, BOTTOM)],
    }[group]
    found = []
    for number, place in tested:
        preferred, other = objects[number].unbind(1)
        preference = torch.sign(viewer(preferred, CENTRE) - viewer(other, CENTRE))
        found.append(preference * (viewer(preferred, place) - viewer(other, place)))
    selective: NDArray[np.float64] = torch.cat(found).double().cpu().numpy()
    return selective


def draw_objects(images: Tensor, labels: NDArray[np.int64], config: SwapConfig) -> Tensor:
    """Pairs of images of different classes, none twice, (3, pairs, 2, C, H, W).

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
    picked = images[torch.tensor(chosen, device=images.device)]
    return picked.reshape(3, config.pairs, 2, *images.shape[1:])


def run(
    encoder: Encoder,
    train: Tensor,
    test: Tensor,
    labels: NDArray[np.int64],
    config: SwapConfig,
    state: Mapping[int, Any] | None = None,
) -> Course:
    """The whole experiment; the encoder is changed by it.

    Args:
        encoder: trained, convolutional, without biases.
        train: `config.images` images as the encoder takes them, (N, C, H, W), for the readout.
        test: images for the pairs, likewise.
        labels: of `test`.
        config: of the experiment.
        state: see `expose`.

    Raises:
        UsageError: an encoder that the experiment cannot use, or too few images.
    """
    shape = (train.shape[1], train.shape[2], train.shape[3])
    objects = draw_objects(test, labels, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.seed, "swap", "weights"))
        viewer = Viewer(encoder, shape, config.units)
    viewer.to(train.device, train.dtype)
    learn_readout(viewer, train, config)
    return expose(viewer, objects, config, state)

"""Two digits at two places, where either the place or the digit persists: Halvagal & Zenke 2023, Suppl. Fig. 2.

A frame is a 5 or a 6 of MNIST (grey values 0 to 1) in the upper left or the lower right quarter of a dark canvas of
twice its size. In a location sequence a sample keeps its place and shows another random digit in every frame, in a
digit sequence it keeps the digit and jumps between the places. LPL learns what persists; rules that know no time learn
the place in both, since it makes most of the variance.

Differences from the original. It started digit sequences from the location labels; here place and digit of the first
frame are drawn at random and independently. For Oja's rule the place is a matter of chance: the uncentred second
moments of the two places are nearly the same, and the rule may settle on any mixture of the two eigenvectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foundation.config import check_kinds, setting
from foundation.errors import UsageError
from foundation.progress import bar
from foundation.seeds import numpy_generator
from foundation.threads import threads_for
from ratenets.toy.rules import LPL, OJA, PRED_OFF, Floats, Rule, update

if TYPE_CHECKING:
    from foundation.data.images import ImageSet

RULES: tuple[Rule, ...] = (LPL, PRED_OFF, OJA)
KINDS = ("location", "digit")
"""What persists in a sequence."""
DIGITS = (5, 6)


@dataclass(frozen=True)
class DigitsConfig:
    """Settings of the experiment; the defaults end within a minute."""

    runs: int = setting(3, "digit-sequences: neurons for each rule and kind of sequence")
    images: int = setting(1000, "digit-sequences: images of each digit")
    steps: int = setting(1000, "digit-sequences: steps of learning", "digit-steps")
    samples: int = setting(200, "digit-sequences: samples in a step", "digit-samples")
    learning_rate: float = setting(0.01, "digit-sequences: learning rate", "digit-learning-rate")
    weight_decay: float = setting(0.15, "digit-sequences: L2 weight decay", "digit-weight-decay")

    def __post_init__(self) -> None:
        check_kinds(self)
        for name, least in (("runs", 1), ("images", 1), ("steps", 1), ("samples", 2)):
            if getattr(self, name) < least:
                raise UsageError(f"digit sequences: {name}: must be at least {least}, got {getattr(self, name)}")
        for name in ("learning_rate", "weight_decay"):
            if getattr(self, name) < 0:
                raise UsageError(f"digit sequences: {name}: must not be negative, got {getattr(self, name)}")


def canvases(of: ImageSet, images: int, rng: np.random.Generator) -> Floats:
    """All frames there can be: (places, digits, images, pixels), of `images` random training images of each digit.

    Raises:
        UsageError: there are fewer.
    """
    _, height, width = of.image_shape
    frames = np.zeros((2, len(DIGITS), images, 2 * height, 2 * width))
    for k, digit in enumerate(DIGITS):
        own = np.flatnonzero(of.train_labels == digit)
        if len(own) < images:
            raise UsageError(f"images: {of.name} has {len(own)} training images of a {digit}, asked for {images}")
        chosen = of.train_images[rng.permutation(own)[:images], 0] / 255
        frames[0, k, :, :height, :width] = chosen
        frames[1, k, :, height:, width:] = chosen
    return frames.reshape(2, len(DIGITS), images, -1)


def sequence(frames: Floats, kind: str, size: tuple[int, int], rng: np.random.Generator) -> Iterator[Floats]:
    """A sequence, without end, for R neurons that see N samples each: inputs (R, pixels, N); `size` is (R, N)."""
    place, digit = rng.integers(2, size=(2, *size))
    while True:
        yield frames[place, digit, rng.integers(frames.shape[2], size=size)].swapaxes(1, 2)
        if kind == "location":
            digit = rng.integers(2, size=size)
        else:
            place = rng.integers(2, size=size)


def learn(frames: Floats, kind: str, config: DigitsConfig, rng: np.random.Generator, label: str | None) -> Floats:
    """Let neurons learn from a kind of sequence; weights at the start and at the end, (2, runs, rules, pixels).

    They start from U(-1/sqrt d, 1/sqrt d), d pixels, the same for every rule.
    """
    pixels = frames.shape[-1]
    start = np.repeat(rng.uniform(-1, 1, (config.runs, 1, pixels)) / np.sqrt(pixels), len(RULES), axis=1)
    inputs = sequence(frames, kind, (config.runs, config.samples), rng)
    w, before = start, next(inputs)
    with np.errstate(over="ignore", invalid="ignore"):  # as in `two_inputs.learn`
        for _ in bar(range(config.steps), label=label or "", unit="step", disable=label is None):
            x = next(inputs)
            w, _ = update(RULES, w, x, before, config.learning_rate, config.weight_decay)
            before = x
    return np.stack([start, w])


def selectivity(w: Floats, frames: Floats) -> Floats:
    """|mean_A - mean_B| / (max - min) of the outputs to all frames, for weights (..., pixels): (..., 2).

    A and B are the places in the first, the digits in the second column.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        y = np.einsum("...i,pdni->...pdn", w, frames, optimize=True)
        span = y.max((-3, -2, -1)) - y.min((-3, -2, -1))
        by_place, by_digit = y.mean((-2, -1)), y.mean((-3, -1))
        found = np.stack([np.abs(mean[..., 0] - mean[..., 1]) / span for mean in (by_place, by_digit)], -1)
    return np.where(np.isfinite(found), found, np.nan)


@threads_for(0)
def run(config: DigitsConfig, seed: int, of: ImageSet, *, progress: bool = False) -> dict[str, Floats]:
    """The experiment, as named arrays (see `shapes`), for which every random draw comes from `seed`."""
    frames = canvases(of, config.images, numpy_generator(seed, "digit sequences", "images"))
    found, weights = [], []
    for kind in KINDS:
        label = f"{kind} sequences" if progress else None
        w = learn(frames, kind, config, numpy_generator(seed, "digit sequences", kind), label)
        shown = np.concatenate([w[1], w[0, :, :1]], axis=1)  # (runs, rules and untrained, pixels)
        found.append(selectivity(shown, frames).swapaxes(0, 1))
        weights.append(shown[0])
    return {"selectivity": np.array(found), "weights": np.array(weights)}


def shapes(config: DigitsConfig, pixels: int = 4 * 28 * 28) -> dict[str, tuple[int, ...]]:
    """What `run` gives: selectivity (kinds, rules, runs, 2: place and digit) and the weights of the first run (kinds,
    rules, pixels); the last of the rules is the neuron before it learned.
    """
    n = len(RULES) + 1
    return {"selectivity": (2, n, config.runs, 2), "weights": (2, n, pixels)}

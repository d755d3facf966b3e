"""Sequences of Shapes3D pictures in which one factor at a time moves.

Halvagal & Zenke 2023, Extended Data Figs. 5 and 6. The factors of a picture are six whole numbers, in the order of
`FACTORS`: the hues of floor, wall and object, scale, shape, orientation. In a sequence one of them (never the shape)
goes up or down: hues go round, scale and orientation turn back where they end. The hues are then renamed by a fixed
random permutation, so that neighbours in time have nothing to do with neighbours in colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from foundation.config import check_kinds, setting
from foundation.data.shapes3d import FACTORS, SIZES
from foundation.errors import UsageError
from foundation.seeds import numpy_generator

Integers = NDArray[np.int64]

HUES = tuple(FACTORS.index(name) for name in ("floor_hue", "wall_hue", "object_hue"))
MOVING = tuple(k for k, name in enumerate(FACTORS) if name != "shape")
HELD_OUT_BLOCKS, TEST_BLOCKS = 30, 10
EPSILON = 1e-6
"""Of a step of the grid: how far below a value a number still has its label."""


@dataclass(frozen=True)
class SequenceConfig:
    """How sequences are drawn and cut into batches; the defaults are the paper's."""

    sequences: int = setting(64_000, "sequences")
    frames: int = setting(17, "pictures of a sequence")
    permute_hues: bool = setting(True, "rename the hues, so that neighbours in time are no neighbours in colour")
    batch_size: int = setting(1024, "pairs of successive frames in a batch")
    steps: int = setting(999, "batches of an epoch, drawn with replacement")

    def __post_init__(self) -> None:
        check_kinds(self)
        for name, least in (("sequences", 1), ("frames", 2), ("batch_size", 2), ("steps", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name}: must be at least {least}, got {getattr(self, name)}")


class Blocks(NamedTuple):
    """Rows of batch + 1 successive frames, as indices of pictures: each is one batch of pairs."""

    train: Integers  # (n, batch + 1)
    val: Integers
    test: Integers


@dataclass(frozen=True, eq=False)
class Shapes3DSequences:
    """The sequences of one seed.

    Attributes:
        permutations: the new name of each value, a permutation for each factor.
        frames: indices of pictures, (S, frames).
        blocks: the same frames, one sequence after the other, in blocks of batch + 1.
    """

    permutations: tuple[Integers, ...]
    frames: Integers
    blocks: Blocks
    config: SequenceConfig
    seed: int

    @classmethod
    def draw(cls, seed: int, config: SequenceConfig | None = None, sizes: tuple[int, ...] = SIZES) -> Shapes3DSequences:
        """Draw the sequences of a seed. Raises `UsageError` if they are too few for the batch size."""
        config = config or SequenceConfig()
        permutations = draw_permutations(numpy_generator(seed, "shapes3d", "hues"), sizes)
        if not config.permute_hues:
            permutations = tuple(np.arange(size) for size in sizes)
        initial, directions = draw_starts(config.sequences, numpy_generator(seed, "shapes3d", "starts"), sizes)
        factors = permuted(trajectories(initial, directions, config.frames, sizes), permutations)
        frames = index_of(factors, sizes)
        return cls(permutations, frames, cut(frames.ravel(), config.batch_size), config, seed)

    def epoch(self, epoch: int) -> Integers:
        """The training blocks of one epoch, (steps, batch + 1), drawn with replacement."""
        generator = numpy_generator(self.seed, "shapes3d", "epoch", epoch)
        return self.blocks.train[generator.integers(len(self.blocks.train), size=self.config.steps)]


def draw_permutations(generator: np.random.Generator, sizes: tuple[int, ...] = SIZES) -> tuple[Integers, ...]:
    """A random permutation of the values of each hue; the other factors keep their order."""
    return tuple(generator.permutation(n) if k in HUES else np.arange(n) for k, n in enumerate(sizes))


def draw_starts(
    number: int, generator: np.random.Generator, sizes: tuple[int, ...] = SIZES
) -> tuple[Integers, Integers]:
    """Initial factors, (S, 6), uniform, and directions, (S, 5), of the factors but the shape.

    One factor of each sequence moves, up or down, by one; by two in a quarter of them, which are drawn with
    replacement, so that it is 22 % (1 - exp(-1/4)).
    """
    initial = np.stack([generator.integers(size, size=number) for size in sizes], axis=1)
    steps = generator.choice([-1, 1], size=number)
    steps[generator.choice(number, size=number // 4)] *= 2
    moving = generator.integers(len(MOVING), size=number)
    return initial, np.eye(len(MOVING), dtype=np.int64)[moving] * steps[:, None]


def trajectories(initial: Integers, directions: Integers, frames: int = 17, sizes: tuple[int, ...] = SIZES) -> Integers:
    """Factors over time, (S, frames, 6), before the hues are renamed.

    Scale and orientation are clipped where they end, and turn back after every frame in which they are at an end: one
    that starts there, pointing outward, stays for a frame.

    Args:
        initial: factors of the first frame, (S, 6).
        directions: change per frame of the factors but the shape, (S, 5).
        frames: length of a sequence.
        sizes: values of each factor.
    """
    size, factors = np.array(sizes), np.asarray(initial, np.int64)
    if factors.shape[1:] != (len(sizes),) or np.shape(directions) != (len(factors), len(MOVING)):
        shapes = f"{np.shape(initial)} and {np.shape(directions)}"
        raise UsageError(
            f"initial factors and directions must be (S, {len(sizes)}) and (S, {len(MOVING)}), got {shapes}"
        )
    if np.any((factors < 0) | (factors >= size)):
        raise UsageError(f"initial factors must be below {sizes}")
    step = np.zeros_like(factors)
    step[:, MOVING] = directions
    wraps = np.isin(np.arange(len(sizes)), HUES)
    shown = [factors]
    for _ in range(frames - 1):
        factors = np.where(wraps, (factors + step) % size, np.clip(factors + step, 0, size - 1))
        at_end = ~wraps & ((factors == 0) | (factors == size - 1))
        step = np.where(at_end, -step, step)
        shown.append(factors)
    return np.stack(shown, axis=1)


def permuted(factors: Integers, permutations: tuple[Integers, ...]) -> Integers:
    """Factors, (..., 6), with each value renamed: value v of factor k becomes ``permutations[k][v]``."""
    return np.stack([names[factors[..., k]] for k, names in enumerate(permutations)], axis=-1)


def index_of(factors: Integers, sizes: tuple[int, ...] = SIZES) -> Integers:
    """Index of the picture of factors, (..., 6): mixed radix, the last factor fastest."""
    return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(factors, -1, 0)), sizes), np.int64)


def factors_of(indices: NDArray[np.integer], sizes: tuple[int, ...] = SIZES) -> Integers:
    """Factors, (..., 6), of the pictures of these indices."""
    return np.stack(np.unravel_index(indices, sizes), axis=-1).astype(np.int64)


def cut(frames: Integers, batch_size: int = 1024) -> Blocks:
    """Cut frames, (T,), into blocks of batch + 1, whatever sequence they are of; what is left over is dropped.

    The jump from one sequence to the next, every 17 frames, is the noise. The last 10 blocks are for tests, the 20
    before for validation; of each part the last block is never shown, as in the published runs.

    Raises:
        UsageError: there are too few frames for a block of each part.
    """
    number = len(frames) // (batch_size + 1)
    if number < HELD_OUT_BLOCKS + 2:
        needed = (HELD_OUT_BLOCKS + 2) * (batch_size + 1)
        raise UsageError(
            f"sequences: {len(frames):,} frames are too few for batches of {batch_size}; {needed:,} would do"
        )
    blocks = frames[: number * (batch_size + 1)].reshape(number, batch_size + 1)
    train, val, test = np.split(blocks, [-HELD_OUT_BLOCKS, -TEST_BLOCKS])
    return Blocks(train[:-1], val[:-1], test[:-1])


def pairs(images: NDArray[np.uint8], block: Integers) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The batch of a block, (B + 1,): pictures and those that follow them, each (B, 3, 64, 64)."""
    frames = images[block]
    return frames[:-1], frames[1:]


def standardised(
    images: NDArray[np.uint8], mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Pictures, (N, 3, H, W), with mean 0 and deviation 1 in each channel over the whole dataset; no augmentation."""
    scale, shift = 1 / (255 * deviation), mean / deviation
    return (images * scale[:, None, None] - shift[:, None, None]).astype(np.float32)


def labels(indices: NDArray[np.integer], factor: str = "shape", sizes: tuple[int, ...] = SIZES) -> Integers:
    """The class of each picture: its value of one factor, 0 to size - 1. Raises `UsageError` for another factor."""
    return factors_of(indices, sizes)[..., _number(factor)]


def discretise(factor: str, values: NDArray[np.float64]) -> Integers:
    """Class labels of raw factor values as the dataset's file gives them (hues 0 to 0.9, degrees, ...).

    A value between two of the grid belongs to the lower one. Raises `UsageError` for another factor.
    """
    size = SIZES[_number(factor)]
    if factor.endswith("hue"):
        start, step = 0.0, 1 / size
    else:
        start, end = {"scale": (0.75, 1.25), "shape": (0.0, 3.0), "orientation": (-30.0, 30.0)}[factor]
        step = (end - start) / (size - 1)
    grid = start + step * (np.arange(size) - EPSILON)
    return np.asarray(np.digitize(values, grid) - 1, np.int64)


def _number(factor: str) -> int:
    if factor not in FACTORS:
        raise UsageError(f"factor: must be one of {', '.join(FACTORS)}, got {factor!r}")
    return FACTORS.index(factor)

"""Sequences of factors: equal to the reference, and drawn as they should be."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foundation.data.shapes3d import FACTORS, SIZES, factor_values
from foundation.errors import UsageError
from ratenets.sequences.shapes3d import (
    HUES,
    SequenceConfig,
    Shapes3DSequences,
    cut,
    discretise,
    draw_permutations,
    draw_starts,
    factors_of,
    index_of,
    labels,
    pairs,
    permuted,
    standardised,
    trajectories,
)

SHORT = SequenceConfig(sequences=200, batch_size=32, steps=7)


@pytest.fixture
def reference(data: Path) -> dict[str, np.ndarray]:
    with np.load(data / "lpl" / "shapes3d_sequences.npz") as arrays:
        return dict(arrays)


def test_sequences_are_the_reference_s(reference: dict[str, np.ndarray]) -> None:
    permutations = tuple(reference[f"perm_{name}"] for name in FACTORS)
    directions = reference["directions5"].astype(np.int64)
    factors = permuted(trajectories(reference["init_factors"], directions), permutations)
    assert np.array_equal(factors, reference["decoded_factors"])
    assert np.array_equal(index_of(factors), reference["indices"])
    assert np.array_equal(factors_of(reference["indices"]), reference["decoded_factors"])


def test_labels_are_the_reference_s(reference: dict[str, np.ndarray]) -> None:
    for name, size, values in zip(FACTORS, SIZES, factor_values(), strict=True):
        expected = reference[f"labels_{name}"]
        assert np.array_equal(discretise(name, reference[f"labelgrid_{name}"]), expected)
        assert np.array_equal(discretise(name, values), expected)
        assert np.array_equal(expected, np.arange(size))
        between = (values[:-1] + values[1:]) / 2
        assert np.array_equal(discretise(name, between), expected[:-1])


def test_labels_are_values_of_one_factor() -> None:
    indices = np.array([[0, 1, 15], [60, 480, 479_999]])
    assert labels(indices).tolist() == [[0, 0, 1], [0, 0, 3]]
    assert labels(indices, "scale").tolist() == [[0, 0, 0], [1, 0, 7]]
    assert labels(indices, "orientation").tolist() == [[0, 1, 0], [0, 0, 14]]
    assert labels(indices, "object_hue").tolist() == [[0, 0, 0], [0, 1, 9]]
    with pytest.raises(UsageError, match=r"^factor: must be one of floor_hue, .*, got 'colour'$"):
        labels(indices, "colour")


@given(st.integers(0, 479_999))
def test_index_and_factors_are_inverse(index: int) -> None:
    factors = factors_of(np.array(index))
    assert index_of(factors) == index
    assert (
        index
        == ((((factors[0] * 10 + factors[1]) * 10 + factors[2]) * 8 + factors[3]) * 4 + factors[4]) * 15 + (factors[5])
    )


def test_scale_turns_back_and_stalls_where_it_starts_outward() -> None:
    def scale(start: int, step: int) -> list[int]:
        found = trajectories(np.array([[0, 0, 0, start, 2, 0]]), np.array([[0, 0, 0, step, 0]]), frames=12)
        assert (found[..., [0, 1, 2, 5]] == 0).all()
        assert (found[..., 4] == 2).all()
        return list(found[0, :, 3])

    assert scale(5, 1) == [5, 6, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2]
    assert scale(7, 1) == [7, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3]
    assert scale(0, -2) == [0, 0, 2, 4, 6, 7, 5, 3, 1, 0, 2, 4]


def test_hues_go_round() -> None:
    start = np.array([[8, 1, 9, 0, 0, 0]] * 3)
    directions = np.array([[2, 0, 0, 0, 0], [0, -2, 0, 0, 0], [0, 0, 1, 0, 0]])
    found = trajectories(start, directions, frames=4)
    assert [found[k, :, k].tolist() for k in range(3)] == [[8, 0, 2, 4], [1, 9, 7, 5], [9, 0, 1, 2]]


def test_starts_are_drawn_as_published(rng: np.random.Generator) -> None:
    number = 100_000
    initial, directions = draw_starts(number, rng)
    assert (np.count_nonzero(directions, axis=1) == 1).all()
    step = directions.sum(1)
    assert set(step.tolist()) == {-2, -1, 1, 2}
    assert abs((step > 0).mean() - 0.5) < 0.008  # five standard errors
    assert abs((np.abs(step) == 2).mean() - (1 - np.exp(-0.25))) < 0.007
    shares = np.count_nonzero(directions, axis=0) / number
    assert np.abs(shares - 0.2).max() < 0.007
    for k, size in enumerate(SIZES):
        counts = np.bincount(initial[:, k], minlength=size)
        assert len(counts) == size
        assert np.abs(counts / number - 1 / size).max() < 5 * np.sqrt(1 / size / number)


def test_only_hues_are_renamed(rng: np.random.Generator) -> None:
    permutations = draw_permutations(rng)
    for k, (size, permutation) in enumerate(zip(SIZES, permutations, strict=True)):
        assert sorted(permutation.tolist()) == list(range(size))
        assert np.array_equal(permutation, np.arange(size)) == (k not in HUES)


def test_blocks_of_the_paper() -> None:
    sequences = Shapes3DSequences.draw(24)
    assert sequences.frames.shape == (64_000, 17)
    # 1,088,000 // 1025 = 1061 blocks: 1031, 20 and 10, the last of each never used
    assert [len(part) for part in sequences.blocks] == [1030, 19, 9]
    stream = sequences.frames.ravel()
    assert np.array_equal(sequences.blocks.train.ravel(), stream[: 1030 * 1025])
    assert np.array_equal(sequences.blocks.val.ravel(), stream[1031 * 1025 : 1050 * 1025])
    assert np.array_equal(sequences.blocks.test.ravel(), stream[1051 * 1025 : 1060 * 1025])
    assert sequences.epoch(0).shape == (999, 1025)


def test_streams_are_named() -> None:
    one, same, other = (Shapes3DSequences.draw(seed, SHORT) for seed in (1, 1, 2))
    assert np.array_equal(one.frames, same.frames)
    assert not np.array_equal(one.frames, other.frames)
    assert np.array_equal(one.epoch(3), same.epoch(3))
    assert not np.array_equal(one.epoch(3), one.epoch(4))
    rows = {row.tobytes() for row in one.blocks.train}
    assert {row.tobytes() for row in one.epoch(3)} <= rows
    more = Shapes3DSequences.draw(1, SequenceConfig(sequences=300, batch_size=32, steps=7))
    assert all(np.array_equal(a, b) for a, b in zip(one.permutations, more.permutations, strict=True))


def test_hues_can_keep_their_order() -> None:
    sequences = Shapes3DSequences.draw(1, SequenceConfig(sequences=200, batch_size=32, permute_hues=False))
    hue = factors_of(sequences.frames)[..., 0]
    assert set((np.diff(hue, axis=1) % 10).ravel().tolist()) <= {0, 1, 2, 8, 9}
    assert all(np.array_equal(p, np.arange(n)) for p, n in zip(sequences.permutations, SIZES, strict=True))


def test_a_small_world() -> None:
    sizes = (2, 3, 2, 2, 2, 3)
    sequences = Shapes3DSequences.draw(5, SHORT, sizes)
    assert sequences.frames.min() >= 0
    assert sequences.frames.max() < 144
    assert len(np.unique(labels(sequences.frames, "wall_hue", sizes))) == 3


def test_a_batch_is_pairs_of_successive_frames(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (50, 3, 4, 4)).astype(np.uint8)
    block = rng.integers(50, size=9)
    first, second = pairs(images, block)
    assert first.shape == second.shape == (8, 3, 4, 4)
    assert all(np.array_equal(first[i], images[block[i]]) for i in range(8))
    assert all(np.array_equal(second[i], images[block[i + 1]]) for i in range(8))


def test_pixels_are_standardised_by_channel(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (20, 3, 5, 5)).astype(np.uint8)
    pixels = torch.from_numpy(images).double() / 255
    mean, deviation = pixels.mean((0, 2, 3)), pixels.transpose(0, 1).reshape(3, -1).std(1)
    found = standardised(images, mean.numpy(), deviation.numpy())
    expected = (pixels - mean[:, None, None]) / deviation[:, None, None]
    assert found.dtype == np.float32
    assert np.abs(found - expected.numpy()).max() <= 1e-6 * expected.abs().max().item()


def test_too_few_frames_and_bad_settings_are_one_line() -> None:
    with pytest.raises(UsageError, match=r"^sequences: 1,020 frames are too few for batches of 32; 1,056 would do$"):
        Shapes3DSequences.draw(1, SequenceConfig(sequences=60, batch_size=32))
    assert [len(part) for part in cut(np.arange(1056), 32)] == [1, 19, 9]
    with pytest.raises(UsageError, match=r"^frames: must be at least 2, got 1$"):
        SequenceConfig(frames=1)
    with pytest.raises(UsageError, match=r"^batch_size: must be a whole number"):
        SequenceConfig(batch_size=3.5)  # type: ignore[arg-type]


def test_starts_of_another_shape_are_refused() -> None:
    start = np.zeros((4, 6), np.int64)
    with pytest.raises(UsageError, match=r"\(S, 6\) and \(S, 5\), got \(4, 6\) and \(4, 6\)"):
        trajectories(start, start)
    with pytest.raises(UsageError, match=r"must be below \(10, 10, 10, 8, 4, 15\)"):
        trajectories(start + 4, start[:, :5])

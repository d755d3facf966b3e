"""Dimensionality, cosines and class manifolds, against the reference."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import UsageError
from ratenets.evaluation.representation import (
    batch_participation_ratio,
    centred,
    correlations,
    cosine_matrix,
    cosines,
    manifolds,
    participation_ratio,
)


def error(ours, theirs):
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


@pytest.fixture
def reference(data):
    return np.load(data / "lpl/metrics_and_losses.npz")


@pytest.fixture
def x(reference):
    return reference["X"].astype(np.float64)


def test_cosines_equal_the_reference(reference, x):
    y = reference["y"]
    matrix = cosine_matrix(x)
    assert error(matrix, reference["cosine_matrix"]) < 1e-6
    found = cosines(x, y)
    assert found.cross == pytest.approx(float(reference["cosine_cross_class_mean"]), rel=1e-10)
    assert found.within == pytest.approx(float(reference["cosine_within_class_mean"]), rel=1e-10)
    assert found.cross == pytest.approx(float(matrix[reference["cosine_cross_mask"]].mean()), rel=1e-10)
    assert found.ratio == pytest.approx(4.70846, rel=1e-5)


def test_manifolds_equal_the_reference(reference, x):
    found = manifolds(x, reference["y"])
    for name, value in (
        ("class_correlation", found.class_correlation),
        ("mean_radius_over_global", found.relative_radius),
        ("mean_class_dim", found.mean_class_dim),
        ("global_radius", found.global_radius),
        ("class_correlation_matrix", found.correlations),
        ("class_radii", found.radii),
        ("class_dims", found.dimensions),
        ("centroid_spreads", found.spreads),
    ):
        assert error(value, reference[f"manifold_{name}"]) < 1e-10, name
    assert error(correlations(x[:8]), reference["correlation_first8rows"]) < 1e-10


def test_both_readings_of_the_participation_ratio_equal_the_reference(reference, x):
    assert participation_ratio(x) == pytest.approx(float(reference["participation_ratio"]), rel=1e-10)
    chunks = [participation_ratio(x[start : start + 32]) for start in range(0, 120, 32)]
    assert error(chunks, reference["participation_ratio_chunks32"]) < 1e-10
    mean = float(reference["participation_ratio_mean_chunks32"])
    assert batch_participation_ratio(x, 32) == pytest.approx(mean, rel=1e-10)


def test_single_precision_on_any_device_will_do(reference, each_device):
    x, y = (torch.from_numpy(reference[name]).to(each_device) for name in ("X", "y"))
    assert x.dtype == torch.float32
    assert participation_ratio(x) == pytest.approx(float(reference["participation_ratio"]), rel=1e-6)
    assert cosines(x, y).within == pytest.approx(float(reference["cosine_within_class_mean"]), rel=1e-6)
    assert manifolds(x, y).mean_class_dim == pytest.approx(float(reference["manifold_mean_class_dim"]), rel=1e-6)


def test_the_participation_ratio_is_that_of_the_eigenvalues(rng):
    assert participation_ratio(rng.normal(size=(20000, 6))) == pytest.approx(6, rel=0.01)
    assert participation_ratio(rng.normal(size=(50, 1)) * np.array([1.0, -2, 3]) + 5) == pytest.approx(1)
    for shape in ((5, 40), (40, 5)):
        x = rng.normal(size=shape)
        eigenvalues = np.linalg.eigvalsh(np.cov(x.T))
        assert participation_ratio(x) == pytest.approx(eigenvalues.sum() ** 2 / np.square(eigenvalues).sum())


@given(st.integers(0, 2**31), st.floats(-5, 5), st.floats(-1e3, 1e3))
def test_the_participation_ratio_knows_neither_scale_nor_shift_nor_rotation(seed, scale, shift):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(30, 4)) * np.array([1, 2, 3, 4])
    rotation, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    moved = 10.0**scale * (x @ rotation + shift)
    assert participation_ratio(moved) == pytest.approx(participation_ratio(x), rel=1e-6)
    assert 1 <= participation_ratio(x) <= 4


def test_a_last_batch_of_one_sample_does_not_count(rng):
    x = rng.normal(size=(65, 10))
    assert batch_participation_ratio(x, 32) == pytest.approx(
        (participation_ratio(x[:32]) + participation_ratio(x[32:64])) / 2
    )
    assert np.isnan(batch_participation_ratio(x[:1]))


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_code_that_never_varies_has_no_measures(value, dtype):
    x, y = torch.full((70, 5), value, dtype=dtype), torch.arange(70) % 3
    assert not centred(x).any()
    clouds = manifolds(x, y)
    numbers = [participation_ratio(x), batch_participation_ratio(x, 32), *cosines(x, y), cosines(x, y).ratio]
    numbers += [clouds.class_correlation, clouds.relative_radius, clouds.mean_class_dim, clouds.global_radius]
    assert np.isnan(numbers).all()
    for array in (clouds.correlations, clouds.radii, clouds.dimensions, clouds.spreads, cosine_matrix(x)):
        assert torch.isnan(array).all()


def test_rounding_of_single_precision_is_no_variance(rng):
    noise = torch.from_numpy(rng.integers(-1, 2, (70, 5))).float()
    x = 1 + noise * torch.finfo(torch.float32).eps / 2
    assert x.unique().numel() > 1
    assert np.isnan(participation_ratio(x))
    assert participation_ratio(1 + 1e-5 * noise) > 1


def test_half_precision_varies_below_its_own_rounding(rng):
    x = np.full((70, 5), 1.0)
    x[3, 2] += 2**-7  # one value a step of bfloat16 above the others: less than its eps of the norm
    code = torch.from_numpy(x).bfloat16()
    assert participation_ratio(code) == pytest.approx(participation_ratio(code.double())) == pytest.approx(1)
    assert not centred(torch.full((70, 5), 0.1).bfloat16()).any()


def test_a_batch_or_class_that_never_varies_makes_the_mean_undefined(rng):
    x, y = rng.normal(size=(64, 5)), np.repeat([0, 1], 32)
    x[32:] = 1.0
    assert np.isnan(batch_participation_ratio(x, 32))
    assert np.isnan(manifolds(x, y).mean_class_dim)
    assert manifolds(x, y).radii[1] == 0
    assert participation_ratio(x) > 1


@pytest.mark.parametrize("shape", [(3,), (0, 4), (2, 3, 4)])
def test_what_is_no_matrix_is_refused(shape):
    with pytest.raises(UsageError, match=r"^codes: must be of the shape \(N, M\)"):
        participation_ratio(np.zeros(shape))

"""The push and pull metrics, against the reference."""

import numpy as np
import pytest
import torch

from foundation.errors import UsageError
from ratenets.evaluation import metrics
from ratenets.evaluation.metrics import Draws, draws, representation_metrics


@pytest.fixture
def reference(data):
    return np.load(data / "lpl/metrics_and_losses.npz")


@pytest.fixture
def given(reference):
    return Draws(*(torch.from_numpy(reference[f"swd_{name}"]) for name in ("rand_w", "normal_draw", "uniform_draw")))


NAMES = {  # ours: the reference's
    "cosine_pull": "cosine_pull_loss",
    "cosine_pull_labels": "cosine_pull_loss_labels",
    "cosine_push": "cosine_push_loss",
    "cosine_push_labels": "cosine_push_loss_labels",
    "cosine_push_to_centroid": "cosine_push_to_centroid_loss",
    "cosine_cross": "cosine_cross_class_mean",
    "cosine_within": "cosine_within_class_mean",
    "class_correlation": "manifold_class_correlation",
    "class_radius": "manifold_mean_radius_over_global",
    "global_radius": "manifold_global_radius",
}


def test_every_metric_equals_the_reference(reference, given):
    x, y, b = reference["X"].astype(np.float64), reference["y"], reference["X_b"]
    found = representation_metrics(x, y, given, (x, b))
    assert found.pop("cosine_ratio") == pytest.approx(abs(found["cosine_within"] / found["cosine_cross"]))
    for name, value in found.items():
        assert value == pytest.approx(float(reference[NAMES.get(name, name)]), rel=1e-10), name
    assert len(found) == 19


def test_single_precision_on_any_device_will_do(reference, given, each_device):
    x, y, b = (torch.from_numpy(reference[name]).to(each_device) for name in ("X", "y", "X_b"))
    moved = Draws(*(one.to(each_device) for one in given))
    found = representation_metrics(x, y, moved, (x, b.float()))
    for name in found.keys() - {"cosine_ratio"}:
        assert found[name] == pytest.approx(float(reference[NAMES.get(name, name)]), rel=1e-5), name


def test_pairs_are_looked_at_in_pieces(reference, monkeypatch):
    monkeypatch.setattr(metrics, "PAIRS", 7 * 120)
    assert metrics.uniform_loss(reference["X"].astype(float)) == pytest.approx(float(reference["uniform_loss"]))


def test_wide_codes_have_the_same_metrics_as_their_pairs(rng):
    x, y = rng.normal(size=(6, 30)), np.array([0, 0, 1, 1, 2, 2])
    u = x / np.linalg.norm(x, axis=1, keepdims=True)
    cos2 = np.square(u @ u.T)
    upper = np.triu_indices(6, 1)
    assert metrics.cosine_push(x) == pytest.approx(cos2[upper].mean())
    assert metrics.cosine_push_of_classes(x, y) == pytest.approx(cos2[y[:, None] != y].mean())


CENTRED = {"cosine_cross", "cosine_within", "cosine_ratio", "class_correlation", "class_radius", "global_radius"}
"""Of a code minus its mean."""


def test_a_silent_code_has_no_direction():
    x, y = np.zeros((50, 4)), np.arange(50) % 2
    found = representation_metrics(x, y, draws(50, 4, 0), (x, x))
    moments = {"kl_to_std_gaussian", "sliced_kld", "abs_logvar", "swd_gaussian", "swd_hypercube"}
    assert {name for name, number in found.items() if not np.isnan(number)} == moments | {"radial_push"}
    assert all(found[name] > 0.1 for name in moments)
    assert found["radial_push"] == 0


def test_a_constant_code_has_the_numbers_of_the_formulas():
    x, y = np.full((50, 4), 0.1), np.arange(50) % 2
    found = representation_metrics(x, y, draws(50, 4, 0), (x, x))
    assert {name for name, number in found.items() if np.isnan(number)} == CENTRED
    for name, value in {
        "cosine_pull": -1,
        "cosine_pull_labels": -2,
        "cosine_push": 1,
        "cosine_push_labels": 1,
        "cosine_push_to_centroid": 1,
        "uniform_loss": 0,
        "radial_push": 0,
        "sparse_filtering": 2,  # four units of 1 / sqrt(4)
    }.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


def test_one_silent_sample_leaves_the_others_their_metrics(rng):
    x, y = np.abs(rng.normal(size=(50, 4))), np.arange(50) % 2
    x[7] = 0
    found = representation_metrics(x, y, draws(50, 4, 0), (x, x))
    assert np.isfinite(list(found.values())).all()
    assert found["cosine_pull"] == pytest.approx(-49 / 50)


def test_draws_come_from_the_seed_and_projections_have_length_one():
    one, same, other = draws(30, 5, 1), draws(30, 5, 1), draws(30, 5, 2)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert torch.allclose(one.projection.norm(dim=0), torch.ones(5, dtype=torch.float64))
    assert one.projection.shape == (5, 5)
    assert one.normal.shape == one.uniform.shape == (30, 5)
    assert 0 <= float(one.uniform.min()) < float(one.uniform.max()) < 1


def test_views_and_draws_of_other_samples_are_refused(rng):
    x = rng.normal(size=(50, 4))
    with pytest.raises(UsageError, match="two views of the same samples, got 50 and 49"):
        metrics.cosine_pull(x, x[1:])
    with pytest.raises(UsageError, match=r"must be as many as the codes, \(50, 4\), got \(49, 4\)"):
        metrics.swd_gaussian(x, draws(49, 4, 0))

"""The paper's linear readout: equal to the reference, the same side by side as alone."""

import numpy as np
import pytest
import torch
from torch import nn

from foundation.errors import UsageError
from ratenets.evaluation import linear_readout
from ratenets.evaluation.linear_readout import accuracy, cross_validate, fit_like_paper, initial_readout, read_codes


def error(ours, theirs):
    return np.abs(ours.detach().cpu().numpy() - theirs).max() / np.abs(theirs).max()


@pytest.fixture
def reference(data):
    return np.load(data / "lpl/linear_readout.npz")


@pytest.fixture
def start(reference):
    """The reference's weights before training."""
    initial = nn.Linear(48, 10)
    with torch.no_grad():
        initial.weight.copy_(torch.from_numpy(reference["W0"]))
        initial.bias.copy_(torch.from_numpy(reference["b0"]))
    return initial


def test_it_equals_the_reference(reference, start, each_device):
    x, y, test_x, test_y = (
        torch.from_numpy(reference[name]).to(each_device) for name in ("train_x", "train_y", "test_x", "test_y")
    )
    (readout,), losses = fit_like_paper([x], y, [start])
    assert losses.shape == (60, 1)
    assert error(losses[:, 0], reference["batch_losses"]) < 1e-4
    assert error(readout.weight, reference["W_after"]) < 1e-4
    assert error(readout.bias, reference["b_after"]) < 1e-4
    assert np.array_equal(readout(test_x).argmax(1).cpu().numpy(), reference["test_pred"])
    assert accuracy(readout, test_x, test_y).top1 == pytest.approx(float(reference["test_acc"]))
    assert torch.equal(start.weight, torch.from_numpy(reference["W0"]))  # left as it was


def test_readouts_side_by_side_are_as_alone(reference, start):
    x, y = (torch.from_numpy(reference[name]) for name in ("train_x", "train_y"))
    other = initial_readout(7, 10, 3)
    both, losses = fit_like_paper([x, x[:, :7]], y, [start, other])
    for k, (code, initial) in enumerate(((x, start), (x[:, :7], other))):
        (alone,), own = fit_like_paper([code], y, [initial])
        assert torch.equal(alone.weight, both[k].weight)
        assert torch.equal(own[:, 0], losses[:, k])


def test_rows_are_fitted_to_in_their_order(reference, start):
    x, y = (torch.from_numpy(reference[name]) for name in ("train_x", "train_y"))
    rows = torch.arange(1, 1200, 2)
    chosen = fit_like_paper([x], y, [start], rows)[0][0]
    assert torch.equal(chosen.weight, fit_like_paper([x[rows]], y[rows], [start])[0][0].weight)
    assert not torch.equal(chosen.weight, fit_like_paper([x], y, [start], rows.flip(0))[0][0].weight)


def test_codes_in_double_precision_are_read_in_single(reference, start):
    x, y = (torch.from_numpy(reference[name]) for name in ("train_x", "train_y"))
    (single,), _ = fit_like_paper([x], y, [start])
    (double,), _ = fit_like_paper([x.double()], y, [start])
    assert double.weight.dtype == torch.float32
    assert torch.equal(single.weight, double.weight)


def test_the_start_is_pytorchs_of_a_stream_of_its_own():
    state = torch.get_rng_state()
    one, same, other = initial_readout(20, 4, 1), initial_readout(20, 4, 1), initial_readout(20, 4, 2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.weight, same.weight)
    assert not torch.equal(one.weight, other.weight)
    assert 0.9 / 20**0.5 < float(one.weight.detach().abs().max()) <= 1 / 20**0.5


def test_top5_counts_the_five_most_likely():
    readout = nn.Linear(6, 6)
    with torch.no_grad():
        readout.weight.copy_(torch.eye(6))
        readout.bias.zero_()
    code = torch.tensor([[6.0, 5, 4, 3, 2, 1]] * 4)
    found = accuracy(readout, code, torch.tensor([0, 4, 5, 1]))
    assert found == (0.25, 0.75)
    assert accuracy(readout, code, torch.tensor([0, 4, 5, 1]), torch.tensor([0, 2])) == (0.5, 0.5)


@pytest.mark.parametrize(("classes", "top5"), [(4, 0.5), (5, 0.5), (6, 1.0)])
def test_up_to_five_classes_have_no_top5_of_their_own(classes, top5):
    readout = nn.Linear(classes, classes)
    with torch.no_grad():
        readout.weight.copy_(torch.eye(classes))
        readout.bias.zero_()
    code = torch.eye(classes)[[0, 1]]
    assert accuracy(readout, code, torch.tensor([0, 0])) == (0.5, top5)


def test_small_features_are_under_fitted(rng):
    labels = torch.arange(600) % 3
    code = torch.from_numpy(rng.normal(size=(600, 300))).float() + torch.eye(3).repeat(1, 100)[labels]
    large, small = read_codes([code, 1e-4 * code], labels, [code, 1e-4 * code], labels, 3, 0)
    assert large.top1 > 0.95
    assert small.top1 < large.top1 - 0.2


def test_every_sample_is_tested_once_by_readouts_that_have_not_seen_it(monkeypatch):
    labels = torch.arange(23) % 3
    code = torch.arange(23.0)[:, None]
    tested, fitted = [], []

    def fit(codes, labels, initial, rows):
        fitted.append(set(rows.tolist()))
        assert rows.tolist() == sorted(rows.tolist())
        return list(initial), None

    def score(readout, code, labels, rows):
        tested.append(rows.tolist())
        return linear_readout.Accuracy(0.5, 1.0)

    monkeypatch.setattr(linear_readout, "fit_like_paper", fit)
    monkeypatch.setattr(linear_readout, "accuracy", score)
    assert cross_validate([code], labels, 3, 5, seed=1) == [[0.5] * 5]
    assert sorted(row for rows in tested for row in rows) == list(range(23))
    assert sorted(map(len, tested)) == [4, 4, 5, 5, 5]
    for inside, outside in zip(tested, fitted, strict=True):
        assert outside == set(range(23)) - set(inside)
    first = [list(rows) for rows in tested]
    cross_validate([code], labels, 3, 5, seed=2)
    assert tested[5:] != first


@pytest.mark.parametrize("folds", [-1, 0, 1, 24])
def test_impossible_parts_are_refused(folds):
    with pytest.raises(UsageError, match=f"^folds: must lie in 2 to 23, the number of samples, got {folds}$"):
        cross_validate([torch.zeros(23, 2)], torch.zeros(23, dtype=torch.int64), 2, folds, 0)

"""What is measured after an epoch: accuracies, alignment, sub-networks; and when."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ratenets.butd.config import NetworkConfig, WeightConfig
from ratenets.butd.losses import predictions
from ratenets.butd.subnetworks import alignment, like, subnetworks
from ratenets.butd.training import ButdLearner, train_butd
from tests.ratenets.butd.tiny import config, images, shrink_resnet18

TIED, SYMMETRIC = WeightConfig(regime="tied"), WeightConfig(regime="symmetric")


@pytest.mark.parametrize("loss", ["cross-entropy", "mse", "bce"])
@pytest.mark.parametrize("multi_decoder", [False, True])
def test_accuracies_and_losses_are_those_of_a_plain_loop(loss, multi_decoder, monkeypatch, each_device):
    """Image after image and task after task; in parts of four, the last of three."""
    monkeypatch.setattr("ratenets.butd.training.TEST_BATCH", 4)
    material = images(11)
    learner = ButdLearner(config(loss=loss, multi_decoder=multi_decoder, run={"device": each_device}), material)
    learner.network.train()
    found = learner.measured()
    network = learner.network.cpu().eval()
    for name, part, labels in (
        ("train", material.train_images, material.train_labels),
        ("test", material.test_images, material.test_labels),
    ):
        losses = []
        for task, side in enumerate(("left", "right")):
            right = 0
            for image, answers in zip(part, labels, strict=True):
                x = torch.from_numpy((image / 255 - 0.3) / 0.4)[None]
                decoder = torch.tensor([task]) if multi_decoder else None
                with torch.no_grad():
                    outputs = network(x, torch.eye(2)[task : task + 1], decoder)[0].numpy()
                answer = answers[task]
                right += int(np.argmax(outputs)) == answer
                onehot = np.eye(3)[answer]
                p = 1 / (1 + np.exp(-outputs))
                losses.append(
                    {
                        "cross-entropy": -outputs[answer] + math.log(np.exp(outputs).sum()),
                        "mse": np.mean((outputs - onehot) ** 2),
                        "bce": -np.mean(onehot * np.log(p) + (1 - onehot) * np.log(1 - p)),
                    }[loss]
                )
            assert found[f"{name}/{side}"] == right / len(part)
        assert found[f"{name}/loss"] == pytest.approx(np.mean(losses), abs=1e-12)


def test_a_single_output_says_yes_above_zero():
    assert predictions(torch.tensor([[-1.0], [0.0], [0.1]])).tolist() == [0, 0, 1]
    assert predictions(torch.tensor([[-1.0, 3.0], [2.0, 1.0]])).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("every", "run", "due"),
    [
        (1, {"epochs": 3}, [1, 2, 3]),
        (2, {"epochs": 5}, [2, 4, 5]),
        (0, {"epochs": 3}, []),
        (9, {"epochs": 3}, [3]),
        (9, {"epochs": 5, "max_steps": 4}, [2]),  # three steps an epoch: the run ends in the second
    ],
)
def test_evaluation_is_due_every_so_many_epochs_and_after_the_last(every, run, due):
    _, history = train_butd(config(evaluate_every=every, run=run), images(11))
    assert [line["epoch"] for line in history if "test/left" in line] == due
    assert all(("alignment/head" in line) == ("test/left" in line) for line in history)


def test_evaluation_changes_nothing_that_learns(monkeypatch):
    shrink_resnet18(monkeypatch)
    often, never = (
        train_butd(config("resnet18", evaluate_every=every), images(kind="resnet18"))[0] for every in (1, 0)
    )
    for name, value in never.state_dict().items():
        assert torch.equal(often.state_dict()[name], value), name


@pytest.mark.parametrize("kind", ["fc", "simple", "tiny-resnet"])
def test_alignment_is_one_for_a_symmetric_start_and_near_zero_for_separate_ones(kind):
    symmetric, separate = (
        alignment(ButdLearner(config(kind, weights=weights), images(kind=kind)).network)
        for weights in (SYMMETRIC, WeightConfig())
    )
    assert symmetric.keys() == separate.keys()
    assert "head" in symmetric
    assert not any(name.startswith("instruction") for name in symmetric)
    for value in symmetric.values():
        assert value == pytest.approx(1, abs=1e-12)
    if kind == "tiny-resnet":  # with 18 to 100,000 weights to a layer
        assert max(abs(value) for value in separate.values()) < 0.25
        assert list(symmetric) == [
            "core.0",
            *(f"core.1.{part}" for part in ("conv1", "conv2", "shortcut")),
            *(f"core.2.{part}" for part in ("conv1", "conv2", "shortcut")),
            "core.3",
            "head",
        ]


def test_alignment_is_the_cosine_and_absent_where_weights_are_tied():
    assert alignment(ButdLearner(config(weights=TIED), images()).network) == {}
    network = ButdLearner(config(), images()).network
    W, V = (network.get_parameter(f"head.{name}").detach() for name in "WV")
    expected = sum(W[i, j] * V[j, i] for i in range(W.shape[0]) for j in range(W.shape[1])) / (W.norm() * V.norm())
    assert alignment(network)["head"] == pytest.approx(float(expected), abs=1e-12)
    assert torch.equal(like(V, W), V.T)


def test_counter_hebb_with_weight_decay_aligns_the_weights():
    """W - V^T decays, and what both learn is the same (butd.md 1.5): their cosine goes to 1."""
    asked = config(weight_decay=0.5, optimizer="sgd", learning_rate=0.1, lr_decay=1.0, run={"epochs": 60})
    before = alignment(ButdLearner(asked, images()).network)
    after = alignment(train_butd(asked, images())[0])
    assert all(after[name] > max(0.9, before[name]) for name in after)


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        ("fc", {"core.1": (6,)}),
        (
            "simple",
            {"core.0": (4, 14, 14), "core.1": (4, 7, 7), "core.2": (3, 3, 3), "core.3": (3, 1, 1), "core.5": (6,)},
        ),
        ("resnet18", {"core.0": (4, 12, 12), "core.1": (6, 6, 6), "core.1.conv1": (6, 6, 6)}),
    ],
)
def test_subnetworks_are_the_units_whose_gates_an_instruction_opens(kind, shapes, monkeypatch):
    shrink_resnet18(monkeypatch)
    network = ButdLearner(config(kind), images(kind=kind)).network
    before = {name: value.clone() for name, value in network.named_buffers()}
    network.train()
    masks = subnetworks(network, torch.eye(2))
    assert {name: tuple(mask.shape[1:]) for name, mask in masks.items()} == shapes
    assert all(mask.shape[0] == 2 and mask.dtype == torch.bool for mask in masks.values())
    for name, value in network.named_buffers():
        assert torch.equal(value, before[name]), name
    assert network.training
    for row, task in enumerate(torch.eye(2)):
        alone = subnetworks(network, task[None])
        assert all(torch.equal(alone[name][0], mask[row]) for name, mask in masks.items())


def test_units_outside_a_subnetwork_are_silent_and_their_weights_learn_nothing():
    learner = ButdLearner(config(network=NetworkConfig(hidden=20)), images())
    masks = subnetworks(learner.network, torch.eye(2))["core.1"]
    assert 0 < masks.sum() < masks.numel()
    for task, mask in enumerate(masks):
        samples = learner.samples(learner._train, slice(0, 11), torch.full((11,), task))
        assert samples.instruction is not None
        attention = learner.network.attend(samples.instruction)
        _, activities = learner.network.bottom_up(samples.images, attention)
        assert (activities["head"][:, ~mask] == 0).all()
        assert (activities["head"][:, mask] > 0).any()
        learner.optimizer.zero_grad()
        learner._learn(samples, 1.0, 0, 0)
        learned = learner.network.get_parameter("core.1.W").grad
        assert learned is not None
        assert (learned[~mask] == 0).all()
        assert (learned[mask] != 0).any()

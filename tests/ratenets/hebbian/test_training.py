"""Training by a local rule, on the bundled digits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foundation.errors import UsageError
from ratenets.hebbian.config import NOISY, RULE_NAMES, HebbianConfig
from ratenets.hebbian.material import Material, Part, load_material, placed
from ratenets.hebbian.rules.rule import Batch
from ratenets.hebbian.training import LocalLearner, initial_model, learning_rates, load_hebbian, train_hebbian
from ratenets.run_config import RunConfig


@pytest.fixture(scope="module")
def digits() -> Material:
    return load_material(HebbianConfig(data="digits"))


def config(rule: str = "backprop", epochs: int = 2, **settings) -> HebbianConfig:
    run = {"epochs": epochs, **settings.pop("run", {})}
    return HebbianConfig(data="digits", rule=rule, **{"hidden": (12,), **settings}, run=RunConfig(**run))


def loaded(part: Part, settings: HebbianConfig) -> tuple[Tensor, Tensor]:
    """All images and labels."""
    return placed(part, settings).images(slice(None)), placed(part, settings).labels


def test_backprop_takes_the_steps_of_a_plain_loop(digits):
    settings = config(biases=True, learning_rate=(0.05, 0.2), weight_decay=0.01, run={"precision": "float64"})
    learner, history = train_hebbian(settings, digits)
    order = LocalLearner(settings, digits)
    first, second = initial_model(settings, digits).network.linear()
    model = nn.Sequential(first, nn.Sigmoid(), second)
    optimizer = torch.optim.SGD(
        [{"params": first.parameters(), "lr": 0.05}, {"params": second.parameters(), "lr": 0.2}],
        lr=1,
        weight_decay=0.01,
    )
    images, labels = loaded(digits.train, settings)
    for epoch in range(2):
        losses, right, rows = 0.0, 0, order._rows(epoch)
        assert sorted(rows.tolist()) == list(range(len(labels)))
        for start in range(0, len(rows), 32):
            batch = rows[start : start + 32]
            optimizer.zero_grad()
            logits = model(images[batch])
            loss = nn.functional.cross_entropy(logits, labels[batch])
            loss.backward()
            optimizer.step()
            losses += loss.item() * len(batch)
            right += int((logits.argmax(1) == labels[batch]).sum())
        assert history[epoch + 1]["loss"] == pytest.approx(losses / len(labels), rel=1e-12)
        assert history[epoch + 1]["accuracy"] == pytest.approx(right / len(labels), rel=1e-12)
    for one, other in zip(learner.net.parameters(), model.parameters(), strict=True):
        np.testing.assert_allclose(one.detach(), other.detach(), atol=1e-13)
    logits = model(loaded(digits.validation, settings)[0])
    answers = logits.argmax(1).numpy()
    for label in range(10):
        expected = int(((digits.validation[1] == label) & (answers == label)).sum())
        assert history[-1][f"validation/correct/{label}"] == expected
    assert history[-1]["validation/accuracy"] == pytest.approx(np.mean(answers == digits.validation[1]))
    assert "test/accuracy" in history[-1]
    assert "test/accuracy" not in history[-2]


def test_epoch_0_is_evaluated_and_not_trained(digits):
    _, history = train_hebbian(config(epochs=0), digits)
    (line,) = history
    network = initial_model(config(epochs=0), digits).network
    for name, part in (("", digits.train), ("validation/", digits.validation), ("test/", digits.test)):
        images, labels = loaded(part, config())
        accuracy = (network(images).argmax(1) == labels).float().mean()
        assert line[f"{name}accuracy"] == pytest.approx(float(accuracy), abs=1e-6)


@pytest.mark.parametrize("rule", RULE_NAMES)
@pytest.mark.parametrize("batch_size", [1, 32])
def test_every_rule_learns_online_in_batches_and_from_classes_that_appear_later(digits, rule, batch_size, each_device):
    settings = config(rule, epochs=1, batch_size=batch_size, withhold=(6,), introduce=2, run={"device": each_device})
    learner, history = train_hebbian(settings, digits)
    assert all(np.isfinite(value) for value in history[-1].values())
    before = initial_model(settings, digits).network
    for layer, start in zip(learner.net.linear(), before.linear(), strict=True):
        assert not torch.equal(layer.weight.cpu(), start.weight)
    assert history[-1]["validation/correct/6"] <= history[-1]["validation/correct/0"] + 40


@pytest.mark.parametrize("rule", [rule for rule in RULE_NAMES if rule not in NOISY])
def test_rules_without_noise_learn_in_bfloat16(digits, rule):
    settings = config(rule, epochs=1, biases=True)
    exact, mixed = (
        train_hebbian(replace(settings, run=replace(settings.run, precision=precision)), digits)[0].net
        for precision in ("float32", "bfloat16")
    )
    start = initial_model(settings, digits).network
    for one, other, before in zip(exact.weights, mixed.weights, start.weights, strict=True):
        assert (one - other).norm() < 0.15 * (one - before).norm() + 1e-4


def test_an_image_that_is_left_over_teaches_lpl_s_last_layer_alone(digits):
    learner = LocalLearner(config("lpl"), digits)
    view, other = learner.views(learner.train.raw[:1], "views")
    with torch.no_grad():
        learner.rule.teach(learner.net, Batch(view, learner.train.labels[:1], other), learner.net.activities(view))
    first, last = learner.net.linear()
    assert first.weight.grad is not None
    assert last.weight.grad is not None
    assert not first.weight.grad.any()
    assert last.weight.grad.any()
    assert not learner.rule.get_buffer("samples")


@pytest.mark.parametrize(
    "rule", ["backprop", "hybrid", "feedback-alignment", "kolen-pollack", "node-perturbation", "counter-hebb"]
)
def test_rules_with_a_teacher_learn_the_digits(digits, rule):
    rate = (2e-5, 0.2) if rule == "hybrid" else (0.2,)
    _, history = train_hebbian(config(rule, epochs=10, hidden=(30,), learning_rate=rate), digits)
    assert history[-1]["test/accuracy"] > history[0]["validation/accuracy"] + (
        0.2 if rule in ("hybrid", "node-perturbation") else 0.5
    )


def test_withheld_labels_are_not_shown_before_their_epoch(digits):
    learner = LocalLearner(config(withhold=(3, 8), introduce=3), digits)
    for epoch, shown in ((0, False), (1, False), (2, True), (3, True)):
        rows = learner._rows(epoch)
        labels = digits.train[1][rows]
        assert len(rows) == len(digits.train[1])
        assert np.isin([3, 8], labels).all() == shown
        if not shown:
            times = np.bincount(rows, minlength=len(rows))[~np.isin(digits.train[1], (3, 8))]
            assert set(times) <= {1, 2}
    never = LocalLearner(config(withhold=(3,)), digits)
    assert 3 not in digits.train[1][never._rows(100)]


@pytest.mark.parametrize("rule", ["kolen-pollack", "node-perturbation", "lpl"])
def test_a_stopped_run_ends_where_it_would_have_ended(digits, tmp_path, rule):
    settings = config(rule, epochs=3, batch_size=1 if rule == "lpl" else 32)
    whole, history = train_hebbian(settings, digits)
    train_hebbian(replace(settings, run=replace(settings.run, epochs=1)), digits, tmp_path / "run")
    found, again = train_hebbian(settings, digits, tmp_path / "run", resume=True)
    for one, other in zip(found.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(one, other)
    assert again[-1] == history[-1]
    loaded = load_hebbian(tmp_path / "run")
    assert torch.equal(loaded.network.linear()[0].weight, whole.net.linear()[0].weight)


def test_learning_rates_are_the_rule_s_or_one_for_all_or_one_for_each():
    assert learning_rates(HebbianConfig(hidden=(5, 4))) == [0.01] * 3
    assert learning_rates(HebbianConfig(rule="hybrid", hidden=(5, 4))) == [2e-5, 2e-5, 0.01]
    assert learning_rates(HebbianConfig(learning_rate=(0.3,))) == [0.3, 0.3]
    assert learning_rates(HebbianConfig(learning_rate=(0.3, 0.1))) == [0.3, 0.1]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"rule": "hebb"}, "rule: must be one of backprop, hebbian"),
        ({"activation": "elu"}, "activation: must be one of"),
        ({"rule": "oja", "clamp": True}, "Oja's rule does not take targets"),
        ({"clamp": True}, "clamp: is of hebbian"),
        ({"sanger": True}, "sanger: is of oja, not of backprop"),
        ({"transposed": True, "rule": "oja"}, "transposed: is of kolen-pollack and counter-hebb"),
        ({"rule": "hybrid", "hidden": ()}, "hybrid needs a hidden layer"),
        ({"learning_rate": (1.0, 2.0, 3.0)}, "learning_rate: one, or 2 for 2 layers, got 3"),
        ({"learning_rate": (-1.0,)}, "learning_rate: must not be negative"),
        ({"hidden": (0,)}, "hidden: layers have 1 to"),
        ({"batch_size": 0}, "batch_size: must be at least 1"),
        ({"sigma": 0.0}, "sigma: must be positive"),
        ({"kept": 0.0}, "kept: must be a share above 0"),
        ({"validation": 0.95}, "validation: must be a share above 0, at most 0.9"),
        ({"classes": (1, 1)}, "classes: must be labels, 0 and up, none twice"),
        ({"introduce": 2}, "introduce: is the epoch of the labels of --withhold"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_by_name(settings, reason):
    with pytest.raises(UsageError) as caught:
        HebbianConfig(**settings)
    assert reason in str(caught.value)

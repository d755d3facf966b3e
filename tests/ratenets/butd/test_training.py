"""Training of bottom-up / top-down networks: the batches, stopping and going on, the rate, and what learns."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from foundation.errors import StoppedError
from ratenets.butd.config import NetworkConfig, WeightConfig
from ratenets.butd.learning import counter_hebb
from ratenets.butd.training import ButdLearner, train_butd
from ratenets.run_folder import CHECKPOINT
from tests.ratenets.butd.tiny import config, gradients, images, shrink_resnet18

NOISY = WeightConfig(update_noise=0.2)


def stopping(monkeypatch: pytest.MonkeyPatch, at: int, how: str) -> None:
    """Let the step `at`, counted from 1 after the rehearsal, be stopped by a signal, or die."""
    step, calls = ButdLearner.step, 0

    def counted(learner: ButdLearner, epoch: int, index: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == at + 1:
            if how == "killed":
                raise RuntimeError("killed")
            signal.raise_signal(signal.SIGTERM)
        return step(learner, epoch, index)

    monkeypatch.setattr(ButdLearner, "step", counted)


def checkpoint(folder: Path) -> list[tuple[str, Tensor]]:
    content = torch.load(folder / CHECKPOINT, weights_only=True)
    found = list(content["network"].items())
    for number, state in content["optimizer"]["state"].items():
        found += [(f"optimizer {number} {name}", value) for name, value in state.items() if isinstance(value, Tensor)]
    return found


RUNS: dict[str, dict[str, Any]] = {
    "noisy updates": {"weights": NOISY},
    "backprop": {"learning": "backprop"},
    "all tasks, sgd": {"all_tasks": True, "optimizer": "sgd", "momentum": 0.9},
    "learning instruction head": {"train_instruction": True},
    "bfloat16": {"run": {"precision": "bfloat16", "checkpoint_every": 2, "epochs": 3}},
    "batch norm": {"kind": "resnet18"},
}


@pytest.mark.parametrize("how", ["killed", "stopped"])
@pytest.mark.parametrize("way", list(RUNS))
def test_a_run_that_ended_within_an_epoch_goes_on_to_the_same_bits(tmp_path, monkeypatch, way, how, each_device):
    """After two steps of the second epoch; killed in the third, it has the checkpoint of then."""
    shrink_resnet18(monkeypatch)
    changes = dict(RUNS[way])
    run = {"checkpoint_every": 2, "epochs": 3, **changes.pop("run", {}), "device": each_device}
    kind = changes.pop("kind", "fc")
    asked, material = config(kind, run=run, **changes), images(11, kind)
    _, history = train_butd(asked, material, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stopping(patch, 6 if how == "killed" else 5, how)
        with pytest.raises(RuntimeError if how == "killed" else StoppedError):
            train_butd(asked, material, tmp_path / "half")
    content = torch.load(tmp_path / "half" / CHECKPOINT, weights_only=True)
    assert (content["epoch"], content["index"]) == (1, 2)
    _, same = train_butd(asked, material, tmp_path / "half", resume=True)
    ours, theirs = checkpoint(tmp_path / "half"), checkpoint(tmp_path / "whole")
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    for (name, value), (_, expected) in zip(ours, theirs, strict=True):
        if each_device == "cpu":
            assert torch.equal(value, expected), name
        else:
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6, msg=name)
    if each_device == "cpu":
        assert same == history
    assert [line["epoch"] for line in history] == list(range(1, asked.run.epochs + 1))


def seen_by(monkeypatch: pytest.MonkeyPatch, learner: ButdLearner, epoch: int) -> list[list[tuple[int, int]]]:
    """Which image has which task in every step of an epoch."""
    seen: list[list[tuple[int, int]]] = []
    original = ButdLearner.samples

    def spy(self: ButdLearner, part: Any, rows: Tensor, task: Tensor) -> Any:
        seen.append(list(zip(rows.tolist(), task.tolist(), strict=True)))
        return original(self, part, rows, task)

    monkeypatch.setattr(ButdLearner, "samples", spy)
    for index in range(learner.steps_per_epoch):
        learner.step(epoch, index)
    monkeypatch.undo()
    return seen


def test_every_image_comes_once_an_epoch_and_order_and_tasks_are_of_seed_and_epoch(monkeypatch):
    learner = ButdLearner(config(), images(11))
    seen = [seen_by(monkeypatch, learner, epoch) for epoch in (0, 1, 0)]
    assert [len(step) for step in seen[0]] == [4, 4, 3]
    for epoch in seen:
        assert sorted(row for step in epoch for row, _ in step) == list(range(11))
    assert seen[0] == seen[2]
    for which in (0, 1):  # rows, tasks
        first, second = ([pair[which] for step in epoch for pair in step] for epoch in seen[:2])
        assert first != second
    assert seen_by(monkeypatch, ButdLearner(config(run={"seed": 1}), images(11)), 0) != seen[0]
    other_rule = ButdLearner(config(learning="backprop", batch_size=3), images(11))
    flat = [pair for step in seen_by(monkeypatch, other_rule, 0) for pair in step]
    assert flat == [pair for step in seen[0] for pair in step]


def test_both_tasks_are_drawn_equally_often(monkeypatch):
    learner = ButdLearner(config(batch_size=2000), images(2000))
    tasks = [task for _, task in seen_by(monkeypatch, learner, 0)[0]]
    assert abs(np.mean(tasks) - 0.5) < 0.04  # 3.6 standard deviations


def test_a_step_of_one_image_learns():
    learner = ButdLearner(config(batch_size=5), images(11))
    assert learner.steps_per_epoch == 3
    loss = learner.step(0, 2)["loss"]
    assert torch.isfinite(loss)
    assert gradients(learner)["head.W"].abs().max() > 0


@pytest.mark.parametrize("learning", ["counter-hebb", "backprop"])
@pytest.mark.parametrize("multi_decoder", [False, True])
def test_all_tasks_at_once_learn_the_mean_over_tasks(learning, multi_decoder):
    changes = {"learning": learning, "multi_decoder": multi_decoder, "network": NetworkConfig(hidden=6, td_bias=True)}
    together, single = (ButdLearner(config(**changes, all_tasks=on), images()) for on in (True, False))
    loss = together.step(0, 1)["loss"]
    expected: dict[str, Tensor] = {}
    losses = []
    rows, _ = single._batch(0, 1)
    for task in range(2):
        single.optimizer.zero_grad()
        samples = single.samples(single._train, rows, torch.full((len(rows),), task))
        losses.append(single._learn(samples, 1.0, 0, 1))
        for name, value in gradients(single).items():
            expected[name] = expected.get(name, torch.zeros(())) + value / 2
    torch.testing.assert_close(loss, torch.stack(losses).mean(), rtol=0, atol=1e-14)
    found = gradients(together)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-14, msg=name)


def test_one_factor_spoils_a_weight_s_whole_update_though_it_is_of_all_tasks():
    noisy, exact = (ButdLearner(config(all_tasks=True, weights=w), images()) for w in (NOISY, WeightConfig()))
    noisy.step(0, 0)
    exact.step(0, 0)
    factors = []
    for name, value in gradients(exact).items():
        ratio = (gradients(noisy)[name] / value)[value != 0]
        assert ratio.std() < 1e-9, name
        factors.append(ratio[0].item())
        assert (abs(factors[-1] - 1) > 1e-9) == name.endswith((".W", ".V")), name
    assert len({round(factor, 9) for factor in factors}) == 5  # two layers, W and V apart; 1 for biases


def test_the_learning_rate_decays_from_epoch_to_epoch():
    learner = ButdLearner(config(learning_rate=0.5, lr_decay=0.9), images())
    scheduled = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    schedule = torch.optim.lr_scheduler.ExponentialLR(scheduled, 0.9)
    for epoch in range(4):
        assert learner.learning_rate(epoch) == pytest.approx(scheduled.param_groups[0]["lr"], rel=1e-14)
        scheduled.step()
        schedule.step()
    assert ButdLearner(config(lr_decay=1.0), images()).learning_rate(30) == 0.01


@pytest.mark.parametrize("learning", ["counter-hebb", "backprop"])
@pytest.mark.parametrize("weights", [WeightConfig(), WeightConfig(feedback_alignment=True), WeightConfig("tied")])
@pytest.mark.parametrize("instruct", [False, True])
def test_what_never_learns_stays_at_its_start_though_weights_decay(learning, weights, instruct):
    """With backprop V and c; with feedback alignment V; the instruction head unless it is asked to learn."""
    asked = config(
        learning=learning,
        weights=weights,
        train_instruction=instruct,
        weight_decay=0.1,
        network=NetworkConfig(hidden=6, embedding=5, td_bias=True),
    )
    start = ButdLearner(asked, images()).network
    trained, _ = train_butd(asked, images())
    for name, value in trained.named_parameters():
        if name.startswith("instruction"):
            leads = name.endswith((".V", ".c")) or (weights.regime == "tied" and name.endswith(".W"))
            learns = instruct and leads
        elif name.endswith(".V"):
            learns = learning == "counter-hebb" and not weights.feedback_alignment
        else:
            learns = learning == "counter-hebb" or not name.endswith(".c")
        assert torch.equal(value, start.get_parameter(name)) != learns, name


def test_a_step_is_that_of_the_rule_alone():
    learner = ButdLearner(config(), images())
    other = ButdLearner(config(), images())
    learner.step(1, 2)
    samples = other.samples(other._train, *other._batch(1, 2))
    counter_hebb(other.network, samples, other.loss)
    for name, value in gradients(other).items():
        assert torch.equal(gradients(learner)[name], value), name

"""Whole runs: rehearsed, begun with given weights, loaded again; and what a network has learned at their end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from foundation.errors import RatespikeError, UsageError
from ratenets.butd.config import ButdConfig, NetworkConfig, WeightConfig
from ratenets.butd.material import TaskImages, load_task_images
from ratenets.butd.training import ButdLearner, load_butd, train_butd
from ratenets.run_config import RunConfig
from ratenets.run_folder import CHECKPOINT, METRICS
from tests.ratenets.butd.tiny import config, images, shrink_resnet18


def test_memory_that_is_full_says_which_batch_would_fit_and_leaves_nothing(tmp_path, monkeypatch):
    step = ButdLearner.step

    def limited(learner: ButdLearner, epoch: int, index: int) -> Any:
        if learner.config.batch_size > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(learner, epoch, index)

    monkeypatch.setattr(ButdLearner, "step", limited)
    with pytest.raises(RatespikeError, match="batch_size: 8 images do not fit into the memory of cpu; 2 would"):
        train_butd(config(batch_size=8), images(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_failures_are_not_taken_for_full_memory(monkeypatch):
    def broken(learner: ButdLearner, epoch: int, index: int) -> Any:
        raise RuntimeError("sizes of tensors must match")

    monkeypatch.setattr(ButdLearner, "step", broken)
    with pytest.raises(RuntimeError, match="sizes of tensors"):
        train_butd(config(), images())


def test_the_rehearsal_leaves_no_trace(monkeypatch):
    """Batch norm's statistics are of the steps that learned."""
    shrink_resnet18(monkeypatch)
    once = ButdLearner(config("resnet18"), images(4, "resnet18"))
    once.step(0, 0)
    trained, _ = train_butd(config("resnet18", run={"epochs": 1}, evaluate_every=0), images(4, "resnet18"))
    for name, value in once.network.named_buffers():
        assert torch.equal(trained.get_buffer(name), value), name


def test_a_loss_that_is_no_number_stops_the_run_and_the_checkpoint_before_stays(tmp_path):
    with pytest.raises(RatespikeError, match=r"loss became (nan|inf) in epoch|is no longer finite"):
        train_butd(config(learning_rate=1e200, optimizer="sgd", loss="mse"), images(), tmp_path / "run")
    content = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
    assert all(torch.isfinite(value).all() for value in content["network"].values())


def test_a_run_begins_with_the_weights_of_another(tmp_path):
    first, _ = train_butd(config(), images(), tmp_path / "first")
    asked = config(initial_weights=str(tmp_path / "first"), run={"seed": 3})
    for name, value in ButdLearner(asked, images()).network.state_dict().items():
        assert torch.equal(value, first.state_dict()[name]), name
    straight, history = train_butd(asked, images(), tmp_path / "second")
    again = tmp_path / "third"
    train_butd(replace(asked, run=replace(asked.run, epochs=1)), images(), again)
    for path in (tmp_path / "first").iterdir():  # the run that goes on needs them no more
        if path.is_file():
            path.unlink()
    resumed, same = train_butd(asked, images(), again, resume=True)
    assert same[-1] == history[-1]
    for name, value in resumed.state_dict().items():
        assert torch.equal(value, straight.state_dict()[name]), name


@pytest.mark.parametrize(("name", "error"), [("gone", RatespikeError), ("other", UsageError)])
def test_weights_that_are_missing_or_of_another_network_are_refused_before_anything_is_written(tmp_path, name, error):
    train_butd(config(network=NetworkConfig(hidden=7)), images(), tmp_path / "other")
    with pytest.raises(error, match=name):
        train_butd(config(initial_weights=str(tmp_path / name)), images(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_is_loaded_as_it_was_trained(tmp_path):
    asked = ButdConfig(
        data="multi-digits",
        train_images=40,
        guided=True,
        network=NetworkConfig(hidden=6),
        run=RunConfig(epochs=1, precision="float64"),
    )
    trained, history = train_butd(asked, load_task_images(asked), tmp_path / "run")
    loaded = load_butd(tmp_path / "run")
    assert loaded.config == asked
    assert not loaded.network.training
    assert len(loaded.material.train_images) == 40
    for name, value in loaded.network.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name]), name
    found = ButdLearner(replace(asked, initial_weights=str(tmp_path / "run")), loaded.material).measured()
    assert found == {name: value for name, value in history[-1].items() if name in found}
    assert (tmp_path / "run" / METRICS).is_file()


def multi_digits(n: int, regime: str) -> tuple[ButdConfig, TaskImages]:
    asked = ButdConfig(
        data="multi-digits",
        train_images=n,
        guided=True,
        batch_size=20,
        learning_rate=5e-3,
        network=NetworkConfig(hidden=64, embedding=32),
        weights=WeightConfig(regime=regime),
        run=RunConfig(epochs=30),
        evaluate_every=30,
    )
    return asked, load_task_images(asked)


@pytest.mark.parametrize("regime", ["tied", "separate"])
def test_a_guided_network_learns_both_tasks_and_answers_what_it_is_asked(regime):
    asked, material = multi_digits(400, regime)
    network, history = train_butd(asked, material)
    for task in ("left", "right"):
        assert history[-1][f"test/{task}"] > 0.4  # chance is 0.1
    learner = ButdLearner(asked, material)
    labels = torch.from_numpy(material.test_labels)
    apart = labels[:, 0] != labels[:, 1]
    for asked_for in range(2):
        samples = learner.samples(learner._test, slice(0, len(labels)), torch.full((len(labels),), asked_for))
        answers = network.eval()(samples.images, samples.instruction).argmax(1)
        follows, strays = ((answers == labels[:, side])[apart].double().mean() for side in (asked_for, 1 - asked_for))
        assert follows > strays + 0.3

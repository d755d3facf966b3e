"""Whole steps of training, against a network of two hidden layers that is written out in numpy here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from foundation.seeds import numpy_generator
from ratenets.butd.config import ButdConfig, NetworkConfig, WeightConfig
from ratenets.butd.material import TaskImages
from ratenets.butd.training import ButdLearner
from tests.ratenets.butd.tiny import config, images

Array = np.ndarray[Any, Any]
CORE, HEADS = ("core.1", "core.2"), ("instruction.0", "instruction.1")
NETWORK = NetworkConfig(hidden=6, depth=2, embedding=5, td_bias=True)


def relu(z: Array) -> Array:
    return np.maximum(z, 0)


class Plain:
    """Guided Counter-Hebb learning (butd.md 1.2, 1.3, 1.6), and Adam or SGD, in numpy."""

    def __init__(self, learner: ButdLearner) -> None:
        self.config = learner.config
        self.p = {name: value.numpy().copy() for name, value in learner.network.state_dict().items()}
        self.first = {name: np.zeros_like(value) for name, value in self.p.items()}
        self.second = {name: np.zeros_like(value) for name, value in self.p.items()}
        self.steps = 0

    def top_down(self, layer: str) -> Array:
        V: Array = self.p[f"{layer}.W"].T if self.config.weights.regime == "tied" else self.p[f"{layer}.V"]
        return V

    def down(self, layer: str, td: Array) -> Array:
        return relu(td @ self.top_down(layer).T + self.p[f"{layer}.c"])

    def outputs(self, x: Array, t: Array) -> tuple[list[Array], Array]:
        """What enters core.1, core.2 and the head from below, and the head's outputs."""
        above2 = self.down("instruction.0", self.down("instruction.1", t))
        above1 = self.down("core.2", above2)
        bu = [x]
        for layer, td in zip(CORE, (above1, above2), strict=True):
            bu.append(relu(bu[-1] @ self.p[f"{layer}.W"].T + self.p[f"{layer}.b"]) * (td > 0))
        return bu, bu[-1] @ self.p["head.W"].T + self.p["head.b"]

    def error(self, o: Array, y: Array) -> tuple[float, Array]:
        """Mean loss, and dL/do of each sample."""
        n_classes, onehot = o.shape[1], np.eye(o.shape[1])[y]
        if self.config.loss == "mse":
            return float(np.mean((o - onehot) ** 2)), 2 / n_classes * (o - onehot)
        if self.config.loss == "bce":
            p = 1 / (1 + np.exp(-o))
            loss = -np.mean(onehot * np.log(p) + (1 - onehot) * np.log(1 - p))
            return float(loss), (p - onehot) / n_classes
        p = np.exp(o) / np.exp(o).sum(1, keepdims=True)
        return float(-np.mean(np.log(p[np.arange(len(y)), y]))), p - onehot

    def values(self, x: Array, t: Array, y: Array, task: Array) -> tuple[float, dict[str, Array]]:
        """The mean loss, and what every parameter learns, the head's first."""
        bu, o = self.outputs(x, t)
        n = len(x)
        if self.config.multi_decoder:
            heads = o.reshape(n, 2, -1)
            loss, e = self.error(heads[np.arange(n), task], y)
            errors = np.zeros_like(heads)
            errors[np.arange(n), task] = e
            td = errors.reshape(n, -1)
        else:
            loss, td = self.error(o, y)
        found = {}
        for layer, below in zip(("head", "core.2", "core.1"), reversed(bu), strict=True):
            found[f"{layer}.W"] = td.T @ below / n
            found[f"{layer}.b"], found[f"{layer}.c"] = td.mean(0), below.mean(0)
            if self.config.weights.regime != "tied" and not self.config.weights.feedback_alignment:
                found[f"{layer}.V"] = below.T @ td / n
            td = (td @ self.top_down(layer).T) * (below > 0)
        return loss, found

    def spoil(self, values: dict[str, Array], epoch: int, index: int) -> None:
        """The noise of weak symmetry: one number for every weight's whole update."""
        spread = self.config.weights.update_noise
        generator = numpy_generator(0, "update noise", epoch, index)
        for name in values:
            if spread and name.endswith((".W", ".V")):
                values[name] *= 1 + spread * generator.standard_normal()

    def update(self, values: dict[str, Array], epoch: int) -> None:
        rate, self.steps = 0.01 * 0.9**epoch, self.steps + 1
        for name, value in values.items():
            g = value + self.config.weight_decay * self.p[name]
            if self.config.optimizer == "sgd":
                self.first[name] = self.config.momentum * self.first[name] + g
                self.p[name] -= rate * self.first[name]
                continue
            self.first[name] = 0.9 * self.first[name] + 0.1 * g
            self.second[name] = 0.999 * self.second[name] + 0.001 * g**2
            m = self.first[name] / (1 - 0.9**self.steps)
            v = self.second[name] / (1 - 0.999**self.steps)
            self.p[name] -= rate * m / (np.sqrt(v) + 1e-8)


def batch(material: TaskImages, epoch: int, index: int, size: int) -> tuple[Array, Array, Array, Array]:
    """Images, instructions, labels and tasks of a step: the order and the tasks are drawn for every epoch."""
    n = len(material.train_images)
    order = numpy_generator(0, "order", epoch).permutation(n)
    tasks = numpy_generator(0, "tasks", epoch).integers(2, size=n)
    rows, task = order[index * size : (index + 1) * size], tasks[index * size : (index + 1) * size]
    x = ((material.train_images[rows] / 255 - 0.3) / 0.4).reshape(len(rows), -1)
    return x, np.eye(2)[task], material.train_labels[rows, task], task


WAYS: dict[str, dict[str, Any]] = {
    "adam": {},
    "tied": {"weights": WeightConfig(regime="tied")},
    "sgd with momentum": {"optimizer": "sgd", "momentum": 0.9},
    "weight decay": {"weight_decay": 0.1},
    "weight decay of sgd": {"optimizer": "sgd", "weight_decay": 0.1},
    "feedback alignment": {"weights": WeightConfig(feedback_alignment=True), "weight_decay": 0.1},
    "mse": {"loss": "mse"},
    "bce": {"loss": "bce"},
    "several decoders": {"multi_decoder": True},
    "several decoders, bce": {"multi_decoder": True, "loss": "bce", "optimizer": "sgd"},
    "noisy symmetric start": {"weights": WeightConfig(regime="symmetric", start_noise=0.5)},
    "noisy updates": {"weights": WeightConfig(update_noise=0.3), "optimizer": "sgd"},
    "small start": {"weights": WeightConfig(regime="symmetric", initial_scale=0.1)},
}


def of_kind(way: str) -> ButdConfig:
    return config(network=NETWORK, lr_decay=0.9, **WAYS[way])


@pytest.mark.parametrize("way", list(WAYS))
def test_five_steps_are_those_of_a_plain_network(way):
    """Eleven images are three steps an epoch, the third of three: five steps see a partial batch and a new rate."""
    material = images(11)
    learner = ButdLearner(of_kind(way), material)
    plain = Plain(learner)
    start = {name: value.copy() for name, value in plain.p.items()}
    for epoch, index in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1)):
        x, t, y, task = batch(material, epoch, index, 4)
        loss, values = plain.values(x, t, y, task)
        plain.spoil(values, epoch, index)
        plain.update(values, epoch)
        for group in learner.optimizer.param_groups:
            group["lr"] = learner.learning_rate(epoch)
        assert learner.step(epoch, index)["loss"].item() == pytest.approx(loss, abs=1e-12)
        learner.optimizer.step()
    for name, value in learner.network.state_dict().items():
        np.testing.assert_allclose(value.numpy(), plain.p[name], rtol=0, atol=1e-12, err_msg=name)
        stays = name.startswith("instruction") or (way == "feedback alignment" and name.endswith(".V"))
        assert np.array_equal(plain.p[name], start[name]) == stays, name


def test_under_feedback_alignment_no_optimiser_knows_v():
    learner = ButdLearner(of_kind("feedback alignment"), images())
    learner.step(0, 0)
    learner.optimizer.step()
    known = {id(p) for p in learner.optimizer.state}
    for name, parameter in learner.network.named_parameters():
        assert (id(parameter) in known) == (not name.startswith("instruction") and not name.endswith(".V")), name


def start_of(kind: str, **weights: Any) -> dict[str, torch.Tensor]:
    shape = config(kind, weights=WeightConfig(**weights))
    wide = replace(shape, network=replace(shape.network, hidden=60, channels=(30, 20) if kind == "simple" else ()))
    return ButdLearner(wide, images(kind=kind)).network.state_dict()


@pytest.mark.parametrize("kind", ["fc", "simple"])
@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_weights_begin_uniform_within_their_bounds(kind, scale):
    """W as layers of torch do, V as Kaiming's for a ReLU (butd.md 1.5); both scaled, biases not."""
    for name, value in start_of(kind, initial_scale=scale).items():
        layer, _, which = name.rpartition(".")
        shape = value.shape
        if which == "W":
            bound = scale / np.sqrt(shape[1:].numel())
        elif which == "V":
            bound = scale * np.sqrt(6 / shape[1:].numel())  # (in, out) of Linear, (out, in / groups, k, k) of Conv2d
        else:
            bound = 1 / np.sqrt(start_of(kind)[f"{layer}.W"].shape[1:].numel())
        assert value.abs().max() <= bound, name
        if value.numel() >= 60:
            assert value.abs().max() > 0.9 * bound, name
            assert value.std().item() == pytest.approx(bound / np.sqrt(3), rel=0.3), name


def test_a_symmetric_start_is_w_and_its_noise_multiplies_each_weight():
    exact, noisy = start_of("simple", regime="symmetric"), start_of("simple", regime="symmetric", start_noise=0.05)
    seen = []
    for name in (each.removesuffix(".W") for each in exact if each.endswith(".W")):
        W, V, other = exact[f"{name}.W"], exact[f"{name}.V"], noisy[f"{name}.V"]
        W = W.T if W.dim() == 2 else W
        assert torch.equal(V, W), name
        W = noisy[f"{name}.W"]
        seen.append((other / (W.T if W.dim() == 2 else W) - 1).flatten())
    factors = torch.cat(seen)
    assert factors.std().item() == pytest.approx(0.05, rel=0.1)
    assert abs(factors.mean().item()) < 0.005

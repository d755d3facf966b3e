"""From a trained learner to its result, and to the pictures of its weights and of what it saw."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from foundation.errors import RatespikeError
from foundation.json_files import DAMAGE
from foundation.text import one_line
from ratenets.hebbian.pictures import Pictures
from ratenets.hebbian.results import Epoch, LocalResult
from ratenets.hebbian.training import LocalLearner, initial_model, resolved

EXAMPLES = 10
"""Test images of each class that are shown."""


def result_of(
    learner: LocalLearner,
    history: Sequence[Mapping[str, Any]],
    *,
    run: str,
    experiment: str = "",
    condition: str = "",
    metrics: Mapping[str, float] | None = None,
) -> LocalResult:
    """What a run has come to.

    Args:
        learner: trained.
        history: as `train_hebbian` returns it.
        run: its folder, or what else it is known by.
        experiment: of `EXPERIMENTS`, if it is part of one.
        condition: its name there.
        metrics: what was measured at the end.

    Raises:
        RatespikeError: the history lacks something, or has it wrong; that of a run that went on is read from its file.
    """
    try:
        return _result(learner, history, run, experiment, condition, metrics or {})
    except DAMAGE as error:
        raise RatespikeError(f"{run}: its metrics are damaged ({one_line(error)})") from None


def _result(
    learner: LocalLearner,
    history: Sequence[Mapping[str, Any]],
    run: str,
    experiment: str,
    condition: str,
    metrics: Mapping[str, float],
) -> LocalResult:
    config, material = learner.config, learner.material
    correct = [int(history[-1][f"validation/correct/{label}"]) for label in material.classes]
    seen = np.bincount(material.validation[1], minlength=len(material.classes))
    return LocalResult(
        run=run,
        experiment=experiment,
        condition=condition or config.name,
        rule=config.rule,
        data=config.data,
        seed=config.run.seed,
        settings=dataclasses.asdict(resolved(config)),
        classes=material.classes,
        history=tuple(_epoch(line) for line in history),
        correct=tuple(correct),
        seen=tuple(seen.tolist()),
        test_accuracy=history[-1].get("test/accuracy"),
        metrics=dict(metrics),
    )


def _epoch(line: Mapping[str, Any]) -> Epoch:
    return Epoch(
        epoch=line["epoch"],
        train_loss=line["loss"],
        train_accuracy=line["accuracy"],
        validation_loss=line["validation/loss"],
        validation_accuracy=line["validation/accuracy"],
        snr=_of("snr/", line),
        cosine=_of("cosine/", line),
    )


def _of(prefix: str, line: Mapping[str, Any]) -> dict[str, float | None]:
    return {name.removeprefix(prefix): value for name, value in line.items() if name.startswith(prefix)}


@torch.no_grad()
def pictures_of(learner: LocalLearner) -> Pictures:
    """Some test images of each class with what the network says, and its weights before learning and now."""
    material = learner.material
    images, labels = material.test
    rows = np.concatenate([np.flatnonzero(labels == k)[:EXAMPLES] for k in range(len(material.classes))])
    logits = learner.net(learner.test.images(torch.from_numpy(rows).to(learner.device)))
    before = initial_model(learner.config, material).network
    return Pictures(
        examples=images[rows],
        labels=labels[rows],
        predictions=logits.argmax(1).cpu().numpy(),
        class_names=material.class_names,
        before=tuple(W.detach().float().numpy() for W in before.weights),
        after=tuple(W.detach().float().cpu().numpy() for W in learner.net.weights),
    )

"""Results of networks that never were, with numbers that tests can foretell."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ratenets.hebbian.experiments import conditions
from ratenets.hebbian.pictures import Pictures
from ratenets.hebbian.results import Epoch, LocalResult


def made(
    seed: int = 0,
    condition: str = "hebbian",
    *,
    experiment: str = "",
    rule: str = "",
    accuracy: float = 0.5,
    epochs: int = 2,
    classes: tuple[int, ...] = (0, 1),
    cosine: dict[str, float | None] | None = None,
    metrics: dict[str, float | None] | None = None,
    data: str = "mnist",
    **settings: Any,
) -> LocalResult:
    """A run whose validation accuracy falls from `accuracy` by 0.1 with each epoch back, trained 0.05 higher; of the
    k-th class's 40 images 10 + k are named rightly.
    """
    history = []
    for epoch in range(epochs + 1):
        reached = max(0.0, accuracy - 0.1 * (epochs - epoch))
        history.append(
            Epoch(epoch, 1 / (epoch + 1), min(1.0, reached + 0.05), 2 / (epoch + 1), reached, {}, cosine or {})
        )
    return LocalResult(
        run=f"{condition}-{seed}",
        experiment=experiment,
        condition=condition,
        rule=rule or condition.partition(",")[0],
        data=data,
        seed=seed,
        settings={"run": {"seed": seed, "device": "cpu", "epochs": epochs}, **settings},
        classes=classes,
        history=tuple(history),
        correct=tuple(10 + k for k in range(len(classes))),
        seen=(40,) * len(classes),
        test_accuracy=accuracy - 0.02,
        metrics=metrics or {},
    )


def planned(experiment: str, seeds: int = 4) -> list[LocalResult]:
    """What an experiment's conditions could give, with noise."""
    rng = np.random.default_rng(0)
    found = []
    for seed in range(seeds):
        for place, condition in enumerate(conditions(experiment)):
            classes = tuple(condition.changes.get("classes", range(10)))
            settings: dict[str, Any] = {
                key: list(v) if isinstance(v, tuple) else v for key, v in condition.changes.items()
            }
            epochs = settings.pop("run")["epochs"]
            del settings["rule"]
            settings.pop("classes", None)
            run = made(
                seed,
                condition.name,
                experiment=experiment,
                rule=condition.changes["rule"],
                accuracy=float(1 - 0.03 * place - 0.02 * rng.random()),
                epochs=min(epochs, 6),
                classes=classes,
                metrics={f"snr/{name}": float(10 ** rng.normal(-place / 6, 0.1)) for name in ("W1", "W2")},
                cosine={"W1": float(rng.normal(0.02 * place, 0.05)), "W2": float(rng.uniform(0.9, 1))},
                **settings,
            )
            found.append(run)
    return found


def runs_of_rules(separate: float, rules: int = 4, seeds: int = 10, seed: int = 0) -> list[LocalResult]:
    """Runs with five normal metrics, whose means the rules shift by `separate` in directions of their own."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(rules, 5))
    found = []
    for rule in range(rules):
        for number in range(seeds):
            values = rng.normal(size=5) + separate * directions[rule]
            metrics: dict[str, float | None] = {f"metric {k}": float(v) for k, v in enumerate(values)}
            found.append(made(number, f"rule {rule}", experiment="which-rule", metrics=metrics))
    return found


def pictures(hidden: tuple[int, ...] = (20,), classes: int = 10, shape: tuple[int, int, int] = (1, 8, 8)) -> Pictures:
    """Of a network that is right about all images but the first of each class, which it takes for the next class."""
    rng = np.random.default_rng(0)
    sizes = (int(np.prod(shape)), *hidden, classes)
    before = [rng.normal(0, 0.1, (n, m)).astype(np.float32) for m, n in pairwise(sizes)]
    labels = np.repeat(np.arange(classes), 3)
    predictions = labels.copy()
    predictions[::3] = (labels[::3] + 1) % classes
    return Pictures(
        examples=rng.integers(0, 256, (len(labels), *shape), np.uint8),
        labels=labels,
        predictions=predictions,
        class_names=tuple(f"class {k}" for k in range(classes)),
        before=tuple(before),
        after=tuple(W + np.float32(0.02) for W in before),
    )

"""Results of runs that never were, with numbers that tests can foretell."""

from __future__ import annotations

from typing import Any

from ratenets.butd.results import Evaluation, RunResult, SubNetworks

LAYERS = ("core.0", "core.1")


def made(
    seed: int = 0,
    name: str = "Counter-Hebb",
    *,
    test: float = 0.5,
    step: float = 0.1,
    tasks: tuple[str, ...] = ("left", "right"),
    epochs: tuple[int, ...] = (0, 2, 4),
    guided: bool = True,
    tied: bool = False,
    active: float = 0.25,
    layers: tuple[str, ...] = LAYERS,
    data: str = "multi-mnist",
    **settings: Any,
) -> RunResult:
    """A run whose task k has at the end an accuracy of `test` + k `step` on test images, and 0.1 less at epoch 0."""
    history = []
    for epoch in epochs:
        gained = 0.1 * (epoch / epochs[-1] - 1) if epochs[-1] else 0.0
        accuracy = tuple(test + gained + k * step for k in range(len(tasks)))
        alignment = (
            {} if tied else {layer: min((k + 1) * epoch / 100, 1.0) for k, layer in enumerate((*layers, "head"))}
        )
        history.append(Evaluation(epoch, tuple(a + 0.05 for a in accuracy), accuracy, 0.5, 0.75, alignment))
    shares = tuple(tuple(active + k / 100 for k in range(len(tasks))) for _ in layers)
    overlap = tuple(tuple(tuple(1.0 if i == j else active for j in tasks) for i in tasks) for _ in layers)
    subnetworks = SubNetworks(layers, shares, overlap) if guided else None
    values = {"run": {"seed": seed, "device": "cpu", "epochs": epochs[-1]}, "weights": {"tied": tied}, **settings}
    return RunResult(f"{name}-{seed}", name, data, seed, epochs[-1], tasks, values, tuple(history), subnetworks)

"""Agreement of rate and spiking updates against the number of realisations, the rate, the duration and the step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bridge.config import LevelsConfig
from bridge.levels.ladder import RUNGS, Ladder, compare_levels
from bridge.levels.material import Layer
from foundation.errors import UsageError

SPIKING = RUNGS[4]


@dataclass(frozen=True)
class SweepConfig:
    """Which values each sweep takes; the others stay as they are."""

    rates: tuple[float, ...] = (0.5, 1.0, 2.0)  # factors of all input rates
    durations: tuple[float, ...] = (2.5, 5.0, 10.0)  # s of the stimulus
    steps: tuple[float, ...] = (2.5e-4, 5e-4, 1e-3)  # s
    seconds: float = 5.0  # of the stimulus, in the sweeps of rate and step
    realisations: int = 8


def sweep(layer: Layer, config: LevelsConfig, sweeps: SweepConfig | None = None) -> dict[str, list[dict[str, float]]]:
    """The last rung without inhibition against the rate rule, for every value: one row each, medians over units.

    A sweep's value at which fewer than two units are active is left out.
    """
    sweeps = sweeps or SweepConfig()
    short = replace(config, realisations=sweeps.realisations)
    longest = layer.stimulus.duration
    part = layer.first(min(sweeps.seconds, longest))
    durations = [d for d in sweeps.durations if d <= longest + 1e-9]
    return {
        "input rate": _each(sweeps.rates, lambda factor: (part.scaled(factor), short)),
        "duration in s": _each(durations, lambda seconds: (layer.first(seconds), short)),
        "step in s": _each(sweeps.steps, lambda dt: (part.resampled(dt), replace(short, dt=dt))),
    }


def _each(values: Sequence[float], make: Any) -> list[dict[str, float]]:
    rows = []
    for value in values:
        layer, config = make(value)
        try:
            ladder = compare_levels(replace(layer, inhibition=None), config)
        except UsageError:  # silent, or too fast for this step
            continue
        rows.append({"value": float(value), **summary(ladder, SPIKING)})
    return rows


def summary(ladder: Ladder, rung: str) -> dict[str, float]:
    """Of every term at a rung: cosine to the first rung, correlation with it and its ceiling, medians over units."""
    return {
        f"{term} {name}": float(np.median(getattr(found, key)))
        for term, found in ladder.agreement[rung].items()
        for key, name in (("to_first", "cosine"), ("pearson", "correlation"), ("pearson_ceiling", "ceiling"))
    }

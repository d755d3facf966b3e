"""Networks taught by local rules, by condition: runs that differ in their seed alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.config import differences_of
from foundation.errors import UsageError
from ratenets.conditions import IRRELEVANT, grouped, label
from ratenets.hebbian.results import Epoch, LocalResult

Values = NDArray[np.float64]

TRAINING = ("", "two-classes", "three-classes", "ten-classes", "harder")
"""Experiments that look at learning itself."""
IN_SETTINGS = ("snr", "bias", "harder")
"""Experiments that ask all rules in several settings."""


@dataclass(frozen=True)
class Summary:
    """A condition.

    Attributes:
        label: what distinguishes it from the others in its setting.
        setting: in which its rule was asked, e.g. "2 classes"; "": there is but one.
        runs: one for each seed.
    """

    label: str
    setting: str
    runs: tuple[LocalResult, ...]

    @property
    def classes(self) -> tuple[int, ...]:
        """Labels that are kept."""
        return self.runs[0].classes

    @property
    def epochs(self) -> Values:
        """After which all runs were measured."""
        common = set.intersection(*({each.epoch for each in run.history} for run in self.runs))
        return np.array(sorted(common), np.float64)

    def course(self, name: str) -> Values:
        """A number of `Epoch`, at the common `epochs`: (seeds, epochs); NaN where there is none."""
        return np.array([[getattr(each, name) for each in self._common(run)] for run in self.runs], np.float64)

    def cosine(self, layer: str) -> Values:
        """Of the rule's gradients and backprop's, at the common `epochs`: (seeds, epochs); NaN where undefined."""
        return np.array([[each.cosine.get(layer) for each in self._common(run)] for run in self.runs], np.float64)

    def snr(self, layer: str) -> Values:
        """Signal-to-noise ratio at the end, (seeds,), NaN where undefined: of the last epoch, else of the metrics."""
        return np.array(
            [run.history[-1].snr.get(layer, run.metrics.get(f"snr/{layer}")) for run in self.runs], np.float64
        )

    def by_class(self) -> Values:
        """Share of each class's validation images that is named rightly at the end, (seeds, classes)."""
        seen = np.array([run.seen for run in self.runs], np.float64)
        correct = np.array([run.correct for run in self.runs], np.float64)
        return np.divide(correct, seen, out=np.full_like(seen, np.nan), where=seen > 0)

    def _common(self, run: LocalResult) -> list[Epoch]:
        epochs = set(self.epochs)
        return [each for each in run.history if each.epoch in epochs]


def summaries(results: Sequence[LocalResult]) -> list[Summary]:
    """The runs by condition, as they come.

    The settings in which conditions of one name differ are in their labels.

    Raises:
        UsageError: no run, one twice, runs of several experiments or datasets, or runs of one condition that have
            other classes or no common epoch.
    """
    if not results:
        raise UsageError("no run: give at least one")
    first = results[0]
    for run in results[1:]:
        for name in ("experiment", "data"):
            if getattr(run, name) != getattr(first, name):
                raise UsageError(f"one figure or table is of one {name}; {first.run} and {run.run} have others")
    found = []
    for name, conditions in grouped(results, lambda run: run.condition, lambda run: run, _differences).items():
        variant, _, setting = name.rpartition(", ") if first.experiment in IN_SETTINGS else (name, "", "")
        for runs in conditions:
            names = {n for other in conditions for n in _differences(runs[0], other[0])}
            summary = Summary(label(variant or name, _settings(runs[0]), names), setting * bool(variant), tuple(runs))
            _check(summary)
            found.append(summary)
    return found


def _settings(result: LocalResult) -> dict[str, Any]:
    return {**result.settings, "rule": result.rule}


def _differences(one: LocalResult, other: LocalResult) -> list[str]:
    """Settings in which two runs differ, but for the seed."""
    return [name for name in differences_of(_settings(one), _settings(other)) if name not in IRRELEVANT]


def _check(summary: Summary) -> None:
    for run in summary.runs[1:]:
        if run.classes != summary.classes:
            raise UsageError(f"{summary.runs[0].run} and {run.run}: the same condition, but of other classes")
    if not summary.epochs.size:
        raise UsageError(f"{summary.label}: its runs have no common epoch")


def by_setting(found: Sequence[Summary]) -> dict[str, list[Summary]]:
    """The conditions by setting, as they come."""
    settings: dict[str, list[Summary]] = {}
    for summary in found:
        settings.setdefault(summary.setting, []).append(summary)
    return settings


def layers_of(found: Iterable[Summary], kind: str) -> list[str]:
    """Names of the parameters whose "snr" or "cosine" was measured: W1, W2, ..., b1, b2, ..."""
    names: set[str] = set()
    for run in (run for summary in found for run in summary.runs):
        names |= {name for each in run.history for name in getattr(each, kind)}
        names |= {name.removeprefix(f"{kind}/") for name in run.metrics if name.startswith(f"{kind}/")}
    return sorted(names, key=lambda name: (name[:1], len(name), name))

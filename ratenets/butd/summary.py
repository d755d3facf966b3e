"""Runs of bottom-up / top-down networks by condition: means over seeds, and 95 % confidence intervals (Student's t)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from foundation.config import differences_of
from foundation.errors import UsageError
from foundation.tables import aligned
from foundation.text import one_line
from ratenets.butd.results import Evaluation, RunResult
from ratenets.conditions import IRRELEVANT, grouped, label

Values = NDArray[np.float64]

ENOUGH = 3
"""Seeds for a confidence interval; with two, Student's t is 12.7 standard errors to either side."""

MANY = 6
"""Tasks that have a column each."""


class Estimate(NamedTuple):
    """Mean over seeds, and half the width of its 95 % confidence interval: NaN with one seed."""

    mean: Values
    half: Values


def estimate(values: Values) -> Estimate:
    """The mean of independent values and its 95 % confidence interval, t(0.975, n - 1) s / sqrt(n) to either side.

    Args:
        values: (seeds, ...); NaN where something was not measured, which makes mean and interval NaN.
    """
    n = len(values)
    mean = values.mean(0)
    if n == 1:
        return Estimate(mean, np.full_like(mean, np.nan))
    return Estimate(mean, stdtrit(n - 1, 0.975) * values.std(0, ddof=1) / n**0.5)


@dataclass(frozen=True)
class Summary:
    """A condition: runs that differ in their seed alone.

    Attributes:
        label: what distinguishes it from the others.
        runs: one for each seed.
    """

    label: str
    runs: tuple[RunResult, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Their names."""
        return self.runs[0].tasks

    @property
    def epochs(self) -> Values:
        """At which all runs were evaluated."""
        common = set.intersection(*({evaluation.epoch for evaluation in run.history} for run in self.runs))
        return np.array(sorted(common), np.float64)

    def final(self, split: Literal["train", "test"] = "test") -> Values:
        """Accuracy at the end, 0 to 1, (seeds, tasks)."""
        return np.array([getattr(run.history[-1], split) for run in self.runs], np.float64)

    def course(self, split: Literal["train", "test"] = "test") -> Values:
        """Accuracy averaged over tasks, 0 to 1, at the common `epochs`: (seeds, epochs)."""
        accuracies = [[getattr(each, split) for each in self._common(run)] for run in self.runs]
        averaged: Values = np.array(accuracies, np.float64).mean(2)
        return averaged

    def alignment(self) -> dict[str, Values]:
        """Cosine of W and V^T by layer, at the common `epochs`: (seeds, epochs); nothing where weights are tied."""
        return {
            layer: np.array([[each.alignment[layer] for each in self._common(run)] for run in self.runs], np.float64)
            for layer in self.runs[0].history[0].alignment
        }

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers that have sub-networks, lowest first; none: the network is unguided."""
        first = self.runs[0].subnetworks
        return () if first is None else first.layers

    def active(self) -> Values:
        """Share of active units, 0 to 1, (seeds, layers, tasks)."""
        return np.array([run.subnetworks.active for run in self.runs if run.subnetworks], np.float64)

    def overlap(self) -> Values:
        """Cosine similarity of two tasks' sub-networks, averaged over all pairs that have one, (seeds, layers).

        NaN where no pair has: with one task, or where no task has an active unit.
        """
        matrices = np.array([run.subnetworks.overlap for run in self.runs if run.subnetworks], np.float64)
        rows, columns = np.triu_indices(matrices.shape[-1], 1)
        pairs: Values = matrices[..., rows, columns]
        defined = ~np.isnan(pairs)
        total, number = np.where(defined, pairs, 0).sum(-1), defined.sum(-1)
        mean: Values = np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)
        return mean

    def _common(self, run: RunResult) -> list[Evaluation]:
        epochs = set(self.epochs)
        return [evaluation for evaluation in run.history if evaluation.epoch in epochs]


def summaries(results: Sequence[RunResult]) -> list[Summary]:
    """The runs by condition, as they come.

    The settings in which conditions of one name differ are in their labels; so are the epochs, if any differ.

    Raises:
        UsageError: no run, one twice, or runs of one condition that have other layers or no common evaluation.
    """
    if not results:
        raise UsageError("no run: give at least one")
    unequal = ["epochs"] if len({result.epochs for result in results}) > 1 else []
    found = []
    for name, conditions in grouped(results, lambda run: run.name, lambda run: run, _differences).items():
        for runs in conditions:
            names = {*unequal, *(n for other in conditions for n in _differences(runs[0], other[0]))}
            summary = Summary(label(name, _settings(runs[0]), names), tuple(runs))
            _check(summary)
            found.append(summary)
    return found


def _settings(result: RunResult) -> dict[str, Any]:
    return {**result.settings, "data": result.data, "epochs": result.epochs, "tasks": ", ".join(result.tasks)}


def _differences(one: RunResult, other: RunResult) -> list[str]:
    """Settings in which two runs differ, but for the seed."""
    names = differences_of(_settings(one), _settings(other))
    return [name for name in names if name not in (*IRRELEVANT, "evaluate_every")]


def _check(summary: Summary) -> None:
    first = summary.runs[0]
    for run in summary.runs[1:]:
        layers = [None if r.subnetworks is None else r.subnetworks.layers for r in (first, run)]
        aligned = [list(r.history[0].alignment) for r in (first, run)]
        if layers[0] != layers[1] or aligned[0] != aligned[1]:
            raise UsageError(f"{first.run} and {run.run}: the same configuration, but other layers")
    if not len(summary.epochs):
        raise UsageError(f"{first.run} and {summary.runs[-1].run}: were never evaluated at the same epoch")


def table(results: Sequence[RunResult]) -> str:
    """Runs as text, by condition: accuracy by task, then sub-networks by layer; means and 95 % intervals.

    Raises:
        UsageError: as `summaries`.
    """
    return "\n\n".join("\n".join(_lines(summary)) for summary in summaries(results))


def _lines(summary: Summary) -> list[str]:
    first, n = summary.runs[0], len(summary.runs)
    title = f"{one_line(summary.label)} on {first.data}, {_count(first.epochs, 'epoch')}, {_count(n, 'seed')}"
    kind = "" if n == 1 else ": means" if n < ENOUGH else ": mean ± 95 % confidence interval"
    lines = [title + kind]
    names = [*map(one_line, summary.tasks), *(["average"] if len(summary.tasks) > 1 else [])]
    columns = []
    for split in ("test", "train"):
        values = summary.final(split)
        columns.append(_cells(values if len(names) == 1 else np.hstack([values, values.mean(1, keepdims=True)])))
    lines += aligned([["accuracy", "test %", "train %"], *zip(names, *columns, strict=True)])
    if summary.layers:
        lines += aligned(_subnetworks(summary))
    return lines


def _subnetworks(summary: Summary) -> list[Sequence[str]]:
    """A row for each layer: active units by task, or, of many tasks, their mean, least and most; and the overlap."""
    active = summary.active()
    if len(summary.tasks) <= MANY:
        shares = {f"{task} %": active[..., k] for k, task in enumerate(summary.tasks)}
    else:
        shares = {"mean %": active.mean(2), "least %": active.min(2), "most %": active.max(2)}
    cells = [*map(_cells, shares.values()), _cells(summary.overlap(), 1)]
    return [["active units", *shares, "overlap"], *zip(summary.layers, *cells, strict=True)]


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _cells(values: Values, scale: int = 100) -> list[str]:
    """Means of (seeds, rows) as text, times `scale`, to four digits; "-" where something was not measured.

    Of fewer than `ENOUGH` seeds a confidence interval says nothing, and there is none.
    """
    digits = 2 if scale == 100 else 4
    return [
        "-"
        if np.isnan(m)
        else f"{m:.{digits}f}" + ("" if np.isnan(h) or len(values) < ENOUGH else f" ± {h:.{digits}f}")
        for m, h in zip(*(scale * part for part in estimate(values)), strict=True)
    ]

"""Can a rule be told from what it makes?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foundation.errors import UsageError
from ratenets.hebbian.classifier import matrix, name_the_rule
from tests.ratenets.hebbian.made_local import made, runs_of_rules


def test_rules_that_are_far_apart_are_named_and_their_projection_separates_them():
    found = name_the_rule(runs_of_rules(10), permutations=20)
    assert (found.accuracy, found.chance) == (1.0, 0.25)
    assert found.p == pytest.approx(1 / 21)
    assert np.array_equal(found.confusion, 10 * np.eye(4))
    centres = np.array([found.projection[found.labels == k].mean(0) for k in range(4)])
    spread = max(found.projection[found.labels == k].std(0).max() for k in range(4))
    distances = np.linalg.norm(centres[:, None] - centres, axis=2)[np.triu_indices(4, 1)]
    assert distances.min() > 3 * spread


def test_metrics_that_know_nothing_name_no_rule():
    """Of 200 runs of four rules, 50 are right by chance, with a standard deviation of 6.1: three of these are 0.09."""
    found = name_the_rule(runs_of_rules(0, seeds=50), permutations=20)
    assert abs(found.accuracy - 0.25) < 0.0919
    assert found.p > 0.05
    assert found.confusion.sum() == 200


def test_what_is_undefined_is_no_clue():
    results = [
        replace(run, metrics={**run.metrics, "metric 0": None} if run.rule == "rule 0" else run.metrics)
        for run in runs_of_rules(0, rules=2, seeds=40)
    ]
    assert abs(name_the_rule(results, permutations=2).accuracy - 0.5) < 3 * 0.056


def test_metrics_that_never_vary_are_left_out():
    runs = [made(k, metrics={"a": float(k), "b": 1.0, "c": None}) for k in range(3)]
    names, values = matrix(runs)
    assert names == ("a",)
    assert values.tolist() == [[0], [1], [2]]
    with pytest.raises(UsageError, match="none that differs"):
        matrix([made(k, metrics={"b": 1.0}) for k in range(3)])


def test_too_few_runs_are_refused():
    with pytest.raises(UsageError, match="at least two rules"):
        name_the_rule(runs_of_rules(1, rules=1))
    with pytest.raises(UsageError, match="needs 5 runs of every rule for 5 folds, rule 0 has 4"):
        name_the_rule(runs_of_rules(1, seeds=4))
    with pytest.raises(UsageError, match="twice"):
        name_the_rule([*runs_of_rules(1), *runs_of_rules(1)])

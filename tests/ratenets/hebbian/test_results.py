"""Results of local rules, their file, their summaries and their table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.errors import RatespikeError, UsageError
from ratenets.hebbian.experiments import EXPERIMENTS, conditions
from ratenets.hebbian.results import Epoch, read_results, write_results
from ratenets.hebbian.summary import summaries
from ratenets.hebbian.table import table
from tests.ratenets.hebbian.made_local import made, planned


def test_a_file_gives_back_what_was_written(tmp_path):
    results = [made(0), made(1, accuracy=1.0, cosine={"W1": 0.5, "W2": None}, metrics={"snr/W1": 2.0})]
    write_results(tmp_path / "results.json", results)
    assert read_results(tmp_path / "results.json") == results


def test_what_is_not_finite_is_null(tmp_path):
    epoch = Epoch(0, train_loss=float("nan"), snr={"W1": float("inf")})
    run = replace(made(), history=(epoch,), metrics={"a": float("nan")}, test_accuracy=float("nan"))
    write_results(tmp_path / "results.json", [run])
    (found,) = read_results(tmp_path / "results.json")
    assert (found.history[0].train_loss, found.history[0].snr["W1"], found.metrics["a"]) == (None, None, None)
    assert found.test_accuracy is None


def damaged(content: dict[str, Any], *path: str | int, value: Any) -> dict[str, Any]:
    changed = json.loads(json.dumps(content))
    at = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return dict(changed)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("kind",), "other", "is a file of other, not a file of `ratespike deep hebbian`"),
        (("format",), 2, "of this version"),
        (("runs",), [], "holds no run"),
        (("runs", 0, "seed"), "one", "run 1: seed"),
        (("runs", 0, "more"), 1, "unknown key 'more'"),
        (("runs", 0, "history"), [], "history: must hold at least one epoch"),
        (("runs", 0, "history", 0, "epoch"), 5, "history: must hold at least one epoch, ascending"),
        (("runs", 0, "history", 0, "train_accuracy"), 1.5, "train_accuracy: must be from 0 to 1"),
        (("runs", 0, "history", 0, "train_loss"), -1.0, "train_loss: must not be negative"),
        (("runs", 0, "history", 0, "cosine"), {"W1": 2.0}, "cosine.W1: must be from -1 to 1"),
        (("runs", 0, "experiment"), "eight", "experiment: must be one of"),
        (("runs", 0, "classes"), [0], "classes: must be at least two labels"),
        (("runs", 0, "correct"), [1, 99], "correct: must be from 0 to the number seen"),
        (("runs", 0, "correct"), [1], "correct, seen: need a number for each of 2 classes"),
        (("runs", 0, "rule"), "", "rule: must not be empty"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, path, value, reason):
    file = tmp_path / "results.json"
    write_results(file, [made(0), made(1)])
    file.write_text(json.dumps(damaged(json.loads(file.read_text()), *path, value=value)))
    with pytest.raises(RatespikeError) as caught:
        read_results(file)
    assert reason in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"kind": "ratespike local rules", "format": 1}', "\xff"])
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="latin-1")
    with pytest.raises(RatespikeError, match=r"a\.json"):
        read_results(tmp_path / "a.json")
    with pytest.raises(RatespikeError, match="no such file"):
        read_results(tmp_path / "b.json")


def test_seeds_of_a_condition_are_one_summary():
    found = summaries([made(0), made(1, accuracy=0.7), made(0, "oja"), made(0, "oja", biases=True)])
    assert [each.label for each in found] == ["hebbian", "oja (biases none)", "oja (biases True)"]
    np.testing.assert_allclose(found[0].course("validation_accuracy"), [[0.3, 0.4, 0.5], [0.5, 0.6, 0.7]])
    np.testing.assert_allclose(found[0].by_class(), [[10 / 40, 11 / 40]] * 2)


def test_what_makes_no_one_table_is_refused():
    with pytest.raises(UsageError, match="no run"):
        summaries([])
    with pytest.raises(UsageError, match="hebbian, twice"):
        summaries([made(0), made(0)])
    with pytest.raises(UsageError, match="of one data"):
        summaries([made(0), made(1, data="digits")])
    with pytest.raises(UsageError, match="of one experiment"):
        summaries([made(0), made(1, experiment="harder")])


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_has_a_table_with_a_line_for_each_condition(experiment):
    text = table(planned(experiment))
    for condition in conditions(experiment):
        assert any(line.startswith(condition.name) for line in text.splitlines())


def test_the_table_says_mean_interval_and_extremes():
    """Of 0.4, 0.5, 0.6: t(0.975, 2) = 4.303, s = 0.1, so 4.303 x 10 / sqrt 3 = 24.84."""
    line = table([made(k, accuracy=accuracy) for k, accuracy in enumerate((0.4, 0.5, 0.6))]).splitlines()[2]
    assert line.split() == [
        "hebbian",
        "50.00",
        "±",
        "24.84",
        "40.00",
        "60.00",
        "55.00",
        "±",
        "24.84",
        "48.00",
        "±",
        "24.84",
        "0.00",
        "±",
        "0.00",
        "of",
        "2",
    ]

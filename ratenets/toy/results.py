"""Results of the smaller experiments, and their files: JSON with the settings and the arrays, written whole.

    {"kind": "ratespike toy", "format": 1, "experiment": ..., "seed": ..., "config": {...}, "arrays": {name: lists}}

NaN, which JSON does not know, is null.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from foundation.config import from_mapping
from foundation.errors import UsageError
from foundation.files import write_text
from foundation.json_files import read_json
from ratenets.toy import digit_sequences, rule_curves, two_inputs
from ratenets.toy.rules import Floats

KIND, FORMAT = "ratespike toy", 1


class Experiment(NamedTuple):
    """What a file of an experiment holds."""

    config: type[Any]
    shapes: Callable[[Any], dict[str, tuple[int, ...]]]  # of its arrays, given the config


EXPERIMENTS = {
    "two-inputs": Experiment(two_inputs.TwoInputsConfig, two_inputs.shapes),
    "rule": Experiment(rule_curves.CurvesConfig, rule_curves.shapes),
    "digit-sequences": Experiment(digit_sequences.DigitsConfig, digit_sequences.shapes),
}


@dataclass(frozen=True, eq=False)
class ToyResult:
    """A finished experiment; its module's `shapes` says what the arrays are.

    Raises:
        UsageError: not the arrays of that experiment and config.
    """

    experiment: str  # of EXPERIMENTS
    config: Any
    seed: int
    arrays: Mapping[str, Floats]

    def __post_init__(self) -> None:
        expected = EXPERIMENTS[self.experiment].shapes(self.config)
        found = {name: array.shape for name, array in self.arrays.items()}
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                raise UsageError(f"array {name}: {found.get(name, 'missing')}, expected {expected.get(name, 'none')}")


def write_result(path: Path, result: ToyResult) -> None:
    """Write a result to a file, whole."""
    content = {
        "kind": KIND,
        "format": FORMAT,
        "experiment": result.experiment,
        "seed": result.seed,
        "config": dataclasses.asdict(result.config),
        "arrays": {name: _lists(array) for name, array in result.arrays.items()},
    }
    write_text(path, json.dumps(content, allow_nan=False) + "\n")


def _lists(array: Floats) -> list[Any]:
    values = array.astype(object)
    values[~np.isfinite(array)] = None
    known: list[Any] = values.tolist()
    return known


def read_results(path: Path) -> list[ToyResult]:
    """The result in a file, as the list of one that a figure takes.

    Raises:
        RatespikeError: no such file, one of another kind or version, or damaged.
    """
    return read_json(path, KIND, FORMAT, "ratespike deep toy", _results)


def _results(content: Mapping[str, Any]) -> list[ToyResult]:
    experiment = content["experiment"]
    config = from_mapping(EXPERIMENTS[experiment].config, content["config"])
    arrays = {name: np.array(values, np.float64) for name, values in content["arrays"].items()}
    return [ToyResult(experiment, config, int(content["seed"]), arrays)]

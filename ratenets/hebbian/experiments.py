"""The seven experiments of the Neuromatch project, for any rules: conditions, and what is measured in each."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from foundation.config import merged
from foundation.errors import UsageError
from ratenets.hebbian.config import RULE_NAMES

if TYPE_CHECKING:
    from ratenets.hebbian.training import LocalLearner

Changes = Mapping[str, Any]
Measure = Callable[["LocalLearner"], dict[str, float]]


class Condition(NamedTuple):
    """A name, and what it changes in the settings."""

    name: str
    changes: Changes


@dataclass(frozen=True)
class Experiment:
    """What is asked, of which rules, in which conditions.

    Attributes:
        text: what it asks.
        rules: that are asked unless others are named.
        conditions: of the rules.
        measure: of a learner, after every epoch and before the first; None: losses and accuracies alone.
        at_end: measured once, when the learner is done.
    """

    text: str
    rules: tuple[str, ...]
    conditions: Callable[[Sequence[str]], list[Condition]]
    measure: Measure | None = None
    at_end: Measure | None = None


def variants(rule: str) -> list[Condition]:
    """A rule as it is, and where its last layer can be given the target, that, too."""
    plain = Condition(rule, {"rule": rule})
    return [plain, Condition(f"{rule}, clamped", {"rule": rule, "clamp": True})] if rule == "hebbian" else [plain]


def _each(rules: Sequence[str], *settings: tuple[str, Changes]) -> list[Condition]:
    """Every variant of every rule in every setting, whose name is put behind the rule's."""
    return [
        Condition(condition.name + (f", {name}" if name else ""), merged(condition.changes, changes))
        for name, changes in settings
        for rule in rules
        for condition in variants(rule)
    ]


def _epochs(number: int) -> Changes:
    return {"run": {"epochs": number}}


def _two_classes(rules: Sequence[str]) -> list[Condition]:
    return _each(rules, ("", {"classes": [0, 1], **_epochs(10)}))


def _three_classes(rules: Sequence[str]) -> list[Condition]:
    """Backprop for 5 epochs as the baseline; Hebbian learning clamped alone, for 15, with one and with two rates."""
    three: Changes = {"classes": [0, 1, 2]}
    clamped: Changes = {**three, "rule": "hebbian", "clamp": True, **_epochs(15)}
    found = _each([rule for rule in rules if rule != "hebbian"], ("", {**three, **_epochs(5)}))
    if "hebbian" in rules:
        found.append(Condition("hebbian, clamped", {**clamped, "learning_rate": [1e-4]}))
        found.append(Condition("hebbian, clamped, rate per layer", {**clamped, "learning_rate": [1e-4 / 4, 8e-4]}))
    return found


def _ten_classes(rules: Sequence[str]) -> list[Condition]:
    return _each(rules, ("", _epochs(5)))


def _snr(rules: Sequence[str]) -> list[Condition]:
    return _each(rules, ("all classes", _epochs(0)), ("2 classes", {"classes": [0, 1], **_epochs(0)}))


def _bias(rules: Sequence[str]) -> list[Condition]:
    return _each(rules, ("all classes", _epochs(10)), ("2 classes", {"classes": [0, 1], **_epochs(10)}))


def _harder(rules: Sequence[str]) -> list[Condition]:
    online: Changes = {"batch_size": 1, **_epochs(1)}
    return _each(rules, ("online", online), ("class 6 from epoch 4", {"withhold": [6], "introduce": 4, **_epochs(6)}))


def _which_rule(rules: Sequence[str]) -> list[Condition]:
    """One condition for each rule, the one that learns."""
    return [variants(rule)[-1]._replace(changes={**variants(rule)[-1].changes, **_epochs(1)}) for rule in rules]


def _measure(name: str) -> Measure:
    """A function of `ratenets.hebbian.measures`, which is imported when it is called: names need no torch."""

    def measure(learner: LocalLearner) -> dict[str, float]:
        found: dict[str, float] = getattr(importlib.import_module("ratenets.hebbian.measures"), name)(learner)
        return found

    return measure


OTHERS = tuple(rule for rule in RULE_NAMES if rule != "backprop")

EXPERIMENTS: Mapping[str, Experiment] = {
    "two-classes": Experiment("Hebbian learning of two digits, unclamped and clamped", ("hebbian",), _two_classes),
    "three-classes": Experiment("three digits: backprop and clamped", ("backprop", "hebbian"), _three_classes),
    "ten-classes": Experiment("all digits: the hybrid, and every other rule", RULE_NAMES, _ten_classes),
    "snr": Experiment("how much gradients differ from image to image", RULE_NAMES, _snr, at_end=_measure("snr_of")),
    "bias": Experiment(
        "how far gradients are from backprop's while learning", OTHERS, _bias, measure=_measure("cosine_of")
    ),
    "harder": Experiment("one image at a time; a class that appears later", RULE_NAMES, _harder),
    "which-rule": Experiment(
        "can a rule be told from what it makes?", RULE_NAMES, _which_rule, at_end=_measure("metrics_of")
    ),
}
"""In the order of the Neuromatch project."""


def for_layers(changes: Changes, hidden: int) -> Changes:
    """The changes for a network of so many hidden layers: the first of two learning rates is for all of these."""
    rates = changes.get("learning_rate", ())
    if len(rates) != 2:
        return changes
    return {**changes, "learning_rate": [rates[0]] * hidden + [rates[1]]}


def conditions(experiment: str, rules: Sequence[str] = ()) -> list[Condition]:
    """Those of an experiment, for these rules or its own.

    Raises:
        UsageError: no such rule.
    """
    for rule in rules:
        if rule not in RULE_NAMES:
            raise UsageError(f"rules: must be of {', '.join(RULE_NAMES)}, got '{rule}'")
    return EXPERIMENTS[experiment].conditions(rules or EXPERIMENTS[experiment].rules)

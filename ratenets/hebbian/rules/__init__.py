"""The rules by name. A new one is a file beside these and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ratenets.hebbian.rules.backprop import Backprop
from ratenets.hebbian.rules.counter_hebb import CounterHebb
from ratenets.hebbian.rules.feedback_alignment import FeedbackAlignment
from ratenets.hebbian.rules.hebbian import Hebbian
from ratenets.hebbian.rules.hybrid import Hybrid
from ratenets.hebbian.rules.kolen_pollack import KolenPollack
from ratenets.hebbian.rules.lpl import LPL
from ratenets.hebbian.rules.node_perturbation import NodePerturbation
from ratenets.hebbian.rules.oja import Oja
from ratenets.hebbian.rules.rule import Rule
from ratenets.hebbian.rules.weight_perturbation import WeightPerturbation

RULES: Mapping[str, type[Rule]] = MappingProxyType(
    {
        "backprop": Backprop,
        "hebbian": Hebbian,
        "oja": Oja,
        "hybrid": Hybrid,
        "feedback-alignment": FeedbackAlignment,
        "kolen-pollack": KolenPollack,
        "weight-perturbation": WeightPerturbation,
        "node-perturbation": NodePerturbation,
        "lpl": LPL,
        "counter-hebb": CounterHebb,
    }
)
"""By the names of `ratenets.hebbian.config.RULE_NAMES`."""

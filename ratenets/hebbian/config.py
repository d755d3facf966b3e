"""The settings of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from foundation.config import check_kinds, setting
from foundation.errors import UsageError
from ratenets.lpl.config import Coefficients
from ratenets.run_config import RunConfig
from ratenets.sequences.config import ViewConfig

RULE_CLASSES = {
    "backprop": "backprop.Backprop",
    "hebbian": "hebbian.Hebbian",
    "oja": "oja.Oja",
    "hybrid": "hybrid.Hybrid",
    "feedback-alignment": "feedback_alignment.FeedbackAlignment",
    "kolen-pollack": "kolen_pollack.KolenPollack",
    "weight-perturbation": "weight_perturbation.WeightPerturbation",
    "node-perturbation": "node_perturbation.NodePerturbation",
    "lpl": "lpl.LPL",
    "counter-hebb": "counter_hebb.CounterHebb",
}
"""The file of every rule in `ratenets.hebbian.rules` and its class there, in the order of the tables."""
RULE_NAMES = tuple(RULE_CLASSES)
CLAMPED = ("hebbian",)
"""Rules whose last layer can be given its target in the place of its output."""
NOISY = ("weight-perturbation", "node-perturbation")
"""Rules that draw noise."""
ACTIVATIONS = ("sigmoid", "tanh", "relu", "identity")


@dataclass(frozen=True)
class HebbianConfig:
    """A network, its rule, and what it learns from.

    Raises:
        UsageError: a value that is out of range or does not go with the rule; the message names the setting.
    """

    data: str = setting("mnist", "mnist, fashion-mnist, digits, or another dataset of `ratespike data list`")
    rule: str = setting("backprop", "by which it learns", choices=RULE_NAMES)
    classes: tuple[int, ...] = setting((), "labels that are kept", empty="all")
    drop_classes: tuple[int, ...] = setting((), "labels that are left out")
    kept: float = setting(0.5, "share of the training images that is used, for training and validation")
    validation: float = setting(0.2, "share of these that is kept apart for validation")
    test: float = setting(0.5, "share of the test images that is used")
    hidden: tuple[int, ...] = setting((100,), "units of each hidden layer, lowest first; none: no hidden layer")
    activation: str = setting("sigmoid", "of the hidden units", choices=ACTIVATIONS)
    biases: bool = setting(False, "units have biases")
    clamp: bool = setting(False, "hebbian: the last layer learns with the target in the place of its output")
    sanger: bool = setting(False, "oja: Sanger's rule, units find one principal component after the other")
    transposed: bool = setting(False, "kolen-pollack, counter-hebb: backward weights start as W^T, not at random")
    sigma: float = setting(1e-3, "perturbation: standard deviation of the noise on weights or pre-activations")
    batch_size: int = setting(32, "images per step; 1: online")
    learning_rate: tuple[float, ...] = setting((), "one, or one for each layer, lowest first", empty="the rule's")
    weight_decay: float = setting(-1.0, "L2 decay of all weights; below 0: the rule's own")
    withhold: tuple[int, ...] = setting((), "labels that are not shown before the epoch of --introduce")
    introduce: int = setting(0, "first epoch, counted from 1, that shows the withheld labels; 0: none does")
    loss: Coefficients = field(default_factory=Coefficients)
    views: ViewConfig = field(default_factory=ViewConfig)
    run: RunConfig = field(default_factory=lambda: RunConfig(epochs=5))

    def __post_init__(self) -> None:
        check_kinds(self)
        for name in ("kept", "validation", "test"):
            if not 0 < getattr(self, name) <= (1 if name != "validation" else 0.9):
                most = "0.9" if name == "validation" else "1"
                raise UsageError(f"{name}: must be a share above 0, at most {most}, got {getattr(self, name)}")
        if not all(1 <= units <= 2**20 for units in self.hidden):
            raise UsageError(f"hidden: layers have 1 to {2**20} units, got {self.hidden}")
        if not 1 <= self.batch_size <= 2**31:
            raise UsageError(f"batch_size: must be at least 1, got {self.batch_size}")
        if self.sigma <= 0:
            raise UsageError(f"sigma: must be positive, got {self.sigma}")
        self._check_labels()
        self._check_rates()
        self._check_rule()

    def _check_labels(self) -> None:
        for name in ("classes", "drop_classes", "withhold"):
            labels = getattr(self, name)
            if len(set(labels)) < len(labels) or any(label < 0 for label in labels):
                raise UsageError(f"{name}: must be labels, 0 and up, none twice, got {labels}")
        if self.introduce < 0 or (self.introduce and not self.withhold):
            raise UsageError("introduce: is the epoch of the labels of --withhold, counted from 1")

    def _check_rates(self) -> None:
        layers = len(self.hidden) + 1
        if len(self.learning_rate) not in (0, 1, layers):
            raise UsageError(f"learning_rate: one, or {layers} for {layers} layers, got {len(self.learning_rate)}")
        if not all(math.isfinite(rate) and rate >= 0 for rate in self.learning_rate):
            raise UsageError(f"learning_rate: must not be negative, got {self.learning_rate}")

    def _check_rule(self) -> None:
        if self.clamp and self.rule == "oja":
            raise UsageError("clamp: Oja's rule does not take targets: the decay y^2 W is of the unit's own output")
        for name, rules in (
            ("clamp", CLAMPED),
            ("sanger", ("oja",)),
            ("transposed", ("kolen-pollack", "counter-hebb")),
        ):
            if getattr(self, name) and self.rule not in rules:
                raise UsageError(f"{name}: is of {' and '.join(rules)}, not of {self.rule}")
        if self.rule in NOISY and self.run.precision == "bfloat16":
            raise UsageError(f"run.precision: bfloat16 rounds the noise of {self.rule} away; take float32")
        if self.rule in ("hybrid", "lpl") and not self.hidden:
            raise UsageError(f"hidden: {self.rule} needs a hidden layer at least")

    @property
    def layers(self) -> int:
        """Of weights."""
        return len(self.hidden) + 1

    @property
    def name(self) -> str:
        """What it is, in words."""
        sanger = ", Sanger" if self.sanger else ""
        return f"{self.rule}{', clamped' if self.clamp else ''}{sanger}"

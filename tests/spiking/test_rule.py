"""The declaration of a three-factor rule: what is taken, and what is refused by name."""

import doctest
import re
from typing import Any

import pytest

from foundation.errors import UsageError
from spiking import rule
from spiking.parameters import LPLSynapse
from spiking.rule import Cascade, PostsynapticSignal, ThreeFactorRule, WeightUpdate, lpl, super_spike

FAST = Cascade(2e-3, 10e-3)
SIGNAL = ("error", "traces", "filter", "variables", "statistics", "parameters", "inputs", "delays")


def declare(**changes: Any) -> ThreeFactorRule:
    """A rule with the given fields of its own, of its signal, and of its update."""
    signal = {"error": "gain*s_now - mean", "filter": FAST, "variables": ("mean",), "parameters": {"gain": 1.0}}
    given = {"presynaptic": FAST, "factor": "u", "eligibility": FAST, "update": WeightUpdate(1e-3, 0.5)}
    given |= {"constants": {"tau_mean": 0.5, "theta": 1.0}}
    signal |= {name: changes.pop(name) for name in SIGNAL if name in changes}
    return ThreeFactorRule(signal=PostsynapticSignal(**signal), **{**given, **changes})  # type: ignore[arg-type]


def test_the_example_in_the_docstring():
    outcome = doctest.testmod(rule)
    assert outcome.attempted > 0
    assert outcome.failed == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"factor": "1"},
        {"factor": "exp(-abs(u - theta))*int(u > 0)*sqrt(dt*second)/clip(u, 0, 1)**2"},
        {"error": "target", "inputs": ("target",)},
        {"error": "s_old - s_now", "delays": {"old": 20e-3}},
        {"traces": "old = mean\nmean += dt/tau_mean*(single(s_now) - old)"},
        {"traces": "\nmean = (mean + s_now)*exp(-dt/tau_mean)\n", "statistics": ("mean",)},
        {"delays": {"same": 0.0}, "error": "s_same", "growth": -1e-3},
    ],
)
def test_what_the_notation_has_is_taken(changes):
    assert declare(**changes).steps(1e-4).interval == 5000


def test_the_instances_can_be_declared():
    for given in (LPLSynapse(), LPLSynapse.named("as_reported"), LPLSynapse.current(float32_traces=True)):
        assert lpl(given, 1e-4).steps(1e-4) == (8, 8, 5000, {"delayed": 8, "old": 200})
    assert super_spike().steps(1e-4) == (8, 0, 5000, {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factor": "u - thta"}, "ThreeFactorRule.factor: unknown name 'thta'; known are"),
        ({"factor": "u*v"}, "ThreeFactorRule.factor: unknown name 'v'"),
        ({"factor": "v = u"}, "ThreeFactorRule.factor: not an expression"),
        ({"factor": ""}, "ThreeFactorRule.factor: not an expression"),
        (
            {"factor": "cosh(u)"},
            "ThreeFactorRule.factor: can call exp, log, sqrt, abs, clip, int, floor, tanh, sin, cos, ",
        ),
        ({"factor": "exp(u, 2)"}, "ThreeFactorRule.factor: exp takes 1 arguments: exp(u, 2)"),
        ({"factor": "clip(u, 0, hi=1)"}, "ThreeFactorRule.factor: must not use keyword"),
        ({"factor": "u if u > 0 else 0"}, "ThreeFactorRule.factor: must not use IfExp"),
        ({"factor": "int(u in u)"}, "ThreeFactorRule.factor: must not use In"),
        ({"factor": "int(0 < u < 1)"}, "ThreeFactorRule.factor: one comparison at a time: 0 < u < 1"),
        ({"factor": "u // 2"}, "ThreeFactorRule.factor: must not use FloorDiv"),
        ({"factor": "'u'"}, "ThreeFactorRule.factor: numbers alone: 'u'"),
        ({"error": "s_old"}, "PostsynapticSignal.error: unknown name 's_old'"),
        ({"error": "mean.real"}, "PostsynapticSignal.error: must not use Attribute: mean.real"),
        ({"error": "mean[0]"}, "PostsynapticSignal.error: must not use Subscript"),
        ({"traces": "mean = "}, "PostsynapticSignal.traces: not statements"),
        ({"traces": "for k in mean: mean = 0"}, "PostsynapticSignal.traces: must not use For"),
        ({"traces": "mean = old = 0"}, "PostsynapticSignal.traces: one assignment at a time: mean = old = 0"),
        ({"traces": "theta = 0"}, "PostsynapticSignal.traces: must not assign to theta"),
        ({"traces": "gain += 1"}, "PostsynapticSignal.traces: must not assign to gain"),
        ({"traces": "s_now = 0"}, "PostsynapticSignal.traces: must not assign to s_now"),
        ({"traces": "s_old = 0", "delays": {"old": 1e-3}}, "PostsynapticSignal.traces: must not assign to s_old"),
        ({"statistics": ("var",)}, "PostsynapticSignal.statistics: 'var' is not one of its variables"),
        ({"inputs": ("mean",)}, "ThreeFactorRule: 'mean' has two meanings"),
        ({"variables": ("mean", "mean")}, "ThreeFactorRule: 'mean' has two meanings"),
        ({"constants": {"u": 1.0}}, "ThreeFactorRule: 'u' has two meanings"),
        ({"constants": {"s_now": 1.0}}, "ThreeFactorRule: 's_now' has two meanings"),
        ({"delays": {"now": 1e-3}}, "ThreeFactorRule: 's_now' has two meanings"),
        ({"constants": {"tau_mean": "long"}}, "ThreeFactorRule.constants: tau_mean must be a finite plain number"),
        ({"parameters": {"gain": float("nan")}}, "PostsynapticSignal.parameters: gain must be a finite plain number"),
        ({"delays": {"old": -1e-3}}, "PostsynapticSignal.delays: old must be a finite plain number and not negative"),
        ({"axonal_delay": -1e-3}, "ThreeFactorRule.axonal_delay: must not be negative, got -0.001"),
        ({"alignment": -1e-3}, "ThreeFactorRule.alignment: must not be negative, got -0.001"),
        ({"growth": None}, "ThreeFactorRule.growth: must be a finite plain number"),
    ],
)
def test_what_is_wrong_with_a_rule_is_named(changes, message):
    with pytest.raises(UsageError, match=f"^{re.escape(message)}.*$"):
        declare(**changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cascade(0.0, 1e-2), "Cascade.rise: must be positive, got 0.0"),
        (lambda: Cascade(1e-3, float("inf")), "Cascade.decay: must be a finite plain number"),
        (lambda: WeightUpdate(1e-3, 0.0), "WeightUpdate.interval: must be positive"),
        (lambda: WeightUpdate(1e-3, 0.5, tau_w=0.0), "WeightUpdate.tau_w: must be positive"),
        (lambda: WeightUpdate(1e-3, 0.5, augment=1), "WeightUpdate.augment: must be True or False"),  # type: ignore[arg-type]
        (lambda: WeightUpdate(1e-3, 0.5, w_min=1.0, w_max=0.0), "WeightUpdate.w_min: must be below w_max = 0.0, got 1"),
    ],
)
def test_what_is_wrong_with_a_part_is_named(make, message):
    with pytest.raises(UsageError, match=f"^{re.escape(message)}.*$"):
        make()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axonal_delay": 0.85e-3}, "axonal_delay: must be a multiple of dt = 0.0001 s, got 0.00085 s"),
        ({"alignment": 0.85e-3}, "alignment: must be a multiple of dt"),
        ({"delays": {"old": 1.25e-3}}, "delays: old: must be a multiple of dt"),
        ({"update": WeightUpdate(1e-3, 0.12345)}, "update.interval: must be a multiple of dt"),
        ({"presynaptic": Cascade(5e-3, 5e-5)}, "dt: must not exceed presynaptic.decay = 5e-05 s, got 0.0001 s"),
        ({"eligibility": Cascade(5e-3, 5e-5)}, "dt: must not exceed eligibility.decay = 5e-05 s"),
        ({"filter": Cascade(5e-5, 5e-3)}, "dt: must not exceed the time constants of the signal's filter"),
        ({"filter": Cascade(5e-3, 5e-5)}, "dt: must not exceed the time constants of the signal's filter"),
    ],
)
def test_a_step_that_does_not_fit_is_refused(changes, message):
    given = declare(**changes)
    with pytest.raises(UsageError, match=f"^{re.escape(message)}.*$"):
        given.steps(1e-4)


def test_filters_whose_fast_part_is_exact_take_any_step():
    rise = Cascade(1e-5, 1e-2)
    assert declare(presynaptic=rise, eligibility=rise).steps(1e-4).axonal_delay == 0

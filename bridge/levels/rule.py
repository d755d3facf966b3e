"""The expected update of every synapse, from what its input and its unit do: with the rule's filters, or without.

All that a synapse does is linear in its eligibility, so that the sum over time is a product of matrices: the error,
filtered forward by alpha and backward by the eligibility's filter, times the factor, times the input (see
`spiking.torch.plasticity`). The statistics, mean rate and variance, are constants here: those of the unit itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from spiking.parameters import LPLSynapse
from spiking.rule import lpl
from spiking.torch.plasticity import Coefficients

Floats = NDArray[np.float64]
TERMS = ("predictive", "Hebbian", "growth", "LPL")
"""The parts of the rule, and their weighted sum."""


@dataclass(frozen=True, eq=False)
class Synapse:
    """The spiking rule at steps of dt (s), as filters."""

    rule: LPLSynapse
    dt: float

    @property
    def delays(self) -> tuple[int, int]:
        """Of spikes in the error, and of those that they are compared to, in steps."""
        steps = self.rule.steps(self.dt)
        return steps.axonal_delay, steps.prediction_delay

    def psp(self, x: Floats) -> Floats:
        """What acts in each step of inputs x (T, ...): spikes, expected or actual, that set out in each step."""
        k = Coefficients.of(lpl(self.rule, self.dt), self.dt)
        trace = lfilter([k.a], [1, -k.a], delayed(x, self.delays[0]), axis=0)
        return delayed(lfilter([0, k.b], [1, k.b - 1], trace, axis=0), 1)

    def signal(self, error: Floats) -> Floats:
        """The error (T, M), filtered by alpha, as it acts in each step."""
        rise, decay = self.dt / self.rule.tau_err_rise, self.dt / self.rule.tau_err_decay
        once = lfilter([rise], [1, rise - 1], error, axis=0)
        return delayed(lfilter([decay], [1, decay - 1], once, axis=0), 1)

    def backward(self, signal: Floats) -> Floats:
        """How the sum depends on psp times factor in each step: the eligibility's filter, backward in time."""
        k = Coefficients.of(lpl(self.rule, self.dt), self.dt)
        found: Floats = lfilter([k.m], [1, -(k.r + 1 - k.m), k.r * (1 - k.m)], signal[::-1], axis=0)[::-1]
        return found

    def updates(
        self, x: Floats, factor: Floats, z: Floats, mean: Floats, *, filtered: bool, since: int = 0
    ) -> dict[str, Floats]:
        """The sum of each term over the steps, (M, N) per second.

        A weight changes by eta / T times it, T being the steps between two updates of the rule.

        Args:
            x: (T, N), input spikes per step, actual or expected.
            factor: (T, M), derivative of the unit.
            z: (T, M), the unit's spikes per step, actual or expected.
            mean: (M,), its mean rate in Hz.
            filtered: with psp, eligibility and error filters and delays, or the product of what is there.
            since: only errors from this step on count; what came before is there to be remembered.
        """
        delay, before = self.delays
        lag = (delay, before) if filtered else (0, before - delay)
        errors = errors_of(z, mean, self.rule, self.dt, lag)
        begun = (np.arange(len(x)) >= since)[:, None]
        if filtered:
            pre, of_unit = delayed(self.psp(x), delay), delayed(factor, delay)  # both meet the delayed spikes
            parts = {name: (of_unit * self.backward(self.signal(e) * begun)).T @ pre for name, e in errors.items()}
        else:
            parts = {name: (factor * e * begun).T @ x for name, e in errors.items()}
        rule, seconds = self.rule, (len(x) - since) * self.dt
        found = {name: part / seconds for name, part in parts.items()}
        sum_ = rule.phi * found["predictive"] + rule.lambda_ * found["Hebbian"] + rule.delta * found["growth"]
        return {**found, "LPL": sum_}


def errors_of(z: Floats, mean: Floats, rule: LPLSynapse, dt: float, lag: tuple[int, int]) -> dict[str, Floats]:
    """The error of each term, (T, M), for spikes per step z; the factors phi, lambda and delta are left out."""
    now, old = delayed(z, lag[0]), delayed(z, lag[1])
    variance = mean * (1 - np.minimum(mean * dt, 1))  # where the variance trace settles, in Hz
    return {
        "predictive": old - now,
        "Hebbian": (now - mean * dt) / (variance + rule.xi),
        "growth": np.ones_like(now),
    }


def delayed(x: Floats, steps: int) -> Floats:
    """X, that many steps later."""
    if not steps:
        return x
    return np.concatenate([np.zeros((min(steps, len(x)), *x.shape[1:])), x[: max(len(x) - steps, 0)]])

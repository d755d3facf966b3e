"""How the two levels are compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from foundation.config import setting
from foundation.errors import UsageError
from spiking.parameters import ConductanceNeuron, CurrentNeuron, LPLSynapse, whole_steps

READINGS = ("conductance", "current")


@dataclass(frozen=True)
class LevelsConfig:
    """How the two levels are compared; the weights are frozen."""

    realisations: int = setting(16, "independent Poisson realisations of the stimulus, an even number")
    dt: float = setting(5e-4, "step of the simulation, in s")
    delay: float = setting(1e-3, "axonal delay, in s; it shortens the rule's Delta t")
    delta_t: float = setting(0.0, "the rule's Delta t, in s; 0: 20 ms, or for image sequences the duration of a frame")
    lambda_: float = setting(1.0, "strength of the Hebbian term in the sum of all", flag="lambda")
    delta: float = setting(1e-5, "transmitter-triggered term in the sum of all")
    unit_rate: float = setting(100.0, "current reading: firing rate of an activation of 1, in Hz")
    beta: float = setting(20.0, "current reading: steepness of the surrogate derivative, per threshold")
    shuffles: int = setting(5, "shufflings of the inputs in time, for the control")
    block: float = setting(0.05, "duration of what is shuffled, in s")
    settle: float = setting(0.5, "time at the start that does not count, in s: units begin at rest")
    seed: int = setting(0, "of wiring, spikes and shufflings")

    def __post_init__(self) -> None:
        if self.realisations < 2 or self.realisations % 2:
            raise UsageError(f"realisations: are split into halves, so must be even, got {self.realisations}")
        if self.shuffles < 1:
            raise UsageError(f"shuffles: must be at least 1, got {self.shuffles}")
        for name in ("dt", "delay", "unit_rate", "beta", "block"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise UsageError(f"{name}: must be positive, got {getattr(self, name)}")
        for name in ("delta_t", "lambda_", "delta", "settle"):
            if not (getattr(self, name) >= 0 and math.isfinite(getattr(self, name))):
                raise UsageError(f"{name}: must not be negative, got {getattr(self, name)}")
        for name in ("delay", "delta_t", "block", "settle"):
            whole_steps(name, getattr(self, name), self.dt)

    def neuron(self, r_max: float) -> CurrentNeuron:
        """Of the current reading: without a leak, an exact ReLU for a constant drive."""
        return CurrentNeuron(leaky=False, tau_mem=1 / self.unit_rate, r_max=r_max, u_min=-1.0)

    def rule(self, reading: str, delta_t: float) -> LPLSynapse:
        """The spiking rule; its Delta t is counted from the immediate spike, so that the effective one is `delta_t`."""
        common: dict[str, Any] = {
            "lambda_": self.lambda_,
            "delta": self.delta,
            "axonal_delay": self.delay,
            "prediction_delay": (self.delta_t or delta_t) + self.delay,
        }
        if reading == "conductance":
            return LPLSynapse(**common)
        return LPLSynapse.current(**common, beta=self.beta)


CONDUCTANCE = ConductanceNeuron()

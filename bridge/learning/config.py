"""How a converted layer goes on learning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from foundation.config import setting
from foundation.errors import UsageError
from spiking.parameters import CurrentNeuron, LPLSynapse, whole_steps

READINGS, INHIBITION = ("current", "conductance"), ("fixed", "symmetric")


@dataclass(frozen=True)
class LearningConfig:
    """How a layer goes on learning."""

    reading: str = setting("current", "current (signed weights), or conductance (the reference's neuron)")
    frame: float = setting(0.1, "duration of a frame, in s; the rule's Delta t is set to it")
    dt: float = setting(5e-4, "step of the simulation, in s")
    input_rate: float = setting(200.0, "rate of an input of activation 1, in Hz")
    unit_rate: float = setting(200.0, "firing rate of a unit of activation 1, in Hz")
    beta: float = setting(20.0, "current: steepness of the surrogate derivative, per threshold")
    lambda_: float = setting(1.0, "strength of the Hebbian term", flag="lambda")
    phi: float = setting(1.0, "strength of the predictive term")
    eta: float = setting(0.0, "learning rate; 0: such that weights change by about --change")
    change: float = setting(0.02, "how far the weights are to go, as a share of their norm")
    w_max: float = setting(0.0, "current: bound of all weights, in thresholds; 0: none")
    inhibition: str = setting("fixed", "conductance: inhibitory synapses are fixed, or follow the symmetric rule")
    seed: int = setting(0, "of the input spikes")

    def __post_init__(self) -> None:
        for name, known in (("reading", READINGS), ("inhibition", INHIBITION)):
            if getattr(self, name) not in known:
                raise UsageError(f"{name}: must be {' or '.join(known)}, got '{getattr(self, name)}'")
        for name in ("frame", "dt", "input_rate", "unit_rate", "beta"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise UsageError(f"{name}: must be positive, got {getattr(self, name)}")
        for name in ("eta", "change", "w_max", "lambda_", "phi"):
            if not (getattr(self, name) >= 0 and math.isfinite(getattr(self, name))):
                raise UsageError(f"{name}: must not be negative, got {getattr(self, name)}")
        if not self.eta and not self.change:
            raise UsageError("eta: one of eta and change must be positive, or nothing is learned")
        whole_steps("frame", self.frame, self.dt)
        if self.input_rate * self.dt > 1:
            raise UsageError(f"input_rate: {self.input_rate} Hz is more than one spike in a step of {self.dt} s")

    @property
    def neuron(self) -> CurrentNeuron:
        """Of the current reading: without a leak, so that a constant drive makes it an exact ReLU."""
        return CurrentNeuron(leaky=False, tau_mem=1 / self.unit_rate, r_max=self.input_rate, u_min=-1.0)

    def always_on(self, gain: float) -> float:
        """What a bias of 1 adds to a conductance in a step: as much as the weight 1 of an input of activation 1."""
        return gain * self.input_rate * self.dt

    def rule(self, eta: float) -> LPLSynapse:
        """The plasticity; an axonal delay of one step is added to Delta t, since it shortens the effective one."""
        common: dict[str, Any] = {
            "eta": eta,
            "lambda_": self.lambda_,
            "phi": self.phi,
            "axonal_delay": self.dt,
            "prediction_delay": self.frame + self.dt,
            "update_interval": self.frame,
        }
        if self.reading == "conductance":
            return LPLSynapse(**common, w_max=None)
        bound = self.w_max or None
        return LPLSynapse.current(
            **common, delta=0.0, beta=self.beta, w_max=bound, w_min=None if bound is None else -bound
        )

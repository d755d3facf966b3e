"""The settings of the bridge: of conversion, of learning in spikes, of the comparison of the two levels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from foundation.config import check_choices, setting
from foundation.errors import UsageError
from spiking.parameters import ConductanceNeuron, CurrentNeuron, LPLSynapse, whole_steps

READINGS = ("current", "conductance")
INHIBITION = ("fixed", "symmetric")
BACKENDS = ("torch", "brian2")
"""In which a converted layer goes on learning."""
MAX_POOLING = ("count", "potential", "average")
BALANCING = ("rates", "spikes")


@dataclass(frozen=True)
class ConversionConfig:
    """How a rate network is converted."""

    percentile: float = setting(99.9, "percentile of a layer's activations that becomes one spike per step")
    per_channel: bool = setting(False, "a scale for every channel (or unit of a dense layer), instead of one per layer")
    balancing: str = setting(
        "rates",
        "where scales are measured: rates; spikes: layer by layer, on what spiking layers below deliver",
        choices=BALANCING,
    )
    balancing_steps: int = setting(64, "balancing spikes: time steps of each image")
    max_pooling: str = setting(
        "count", "what a max-pool becomes: a gate (count, potential), or average", choices=MAX_POOLING
    )
    input_coding: str = setting(
        "analog", "analog: constant current; poisson: input spikes", choices=("analog", "poisson")
    )
    initial_potential: float = setting(0.5, "where membranes start, in units of the threshold")
    reset: str = setting(
        "subtract", "after a spike: subtract the threshold, or go to zero", choices=("subtract", "zero")
    )

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise UsageError(f"percentile: must lie above 0 and up to 100, got {self.percentile}")
        check_choices(self)
        if self.balancing_steps < 1:
            raise UsageError(f"balancing_steps: must be at least 1, got {self.balancing_steps}")
        if not math.isfinite(self.initial_potential):
            raise UsageError(f"initial_potential: must be finite, got {self.initial_potential}")


@dataclass(frozen=True)
class LearningConfig:
    """How a layer goes on learning."""

    reading: str = setting("current", "current: signed weights; conductance: the reference's neuron", choices=READINGS)
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
    inhibition: str = setting(
        "fixed", "conductance: inhibitory synapses are fixed, or follow the symmetric rule", choices=INHIBITION
    )
    seed: int = setting(0, "of the input spikes")

    def __post_init__(self) -> None:
        check_choices(self)
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


@dataclass(frozen=True)
class ComparisonConfig:
    """How the two levels are compared."""

    realisations: int = setting(8, "independent Poisson realisations of the stimulus, an even number")
    frame: float = setting(0.1, "duration of a frame, in s; the rule's Delta t is set to it")
    dt: float = setting(5e-4, "step of the spiking simulation, in s")
    input_rate: float = setting(200.0, "rate of an input of value 1, in Hz")
    unit_rate: float = setting(500.0, "firing rate of a unit of activation 1, in Hz")
    beta: float = setting(20.0, "steepness of the surrogate derivative, per threshold")
    shuffles: int = setting(20, "shufflings of the inputs' frames, for the control")
    codegen: str = setting(
        "auto",
        "how Brian2 makes code: numpy (nothing to compile), cython (for long stimuli), or auto: by their length",
        choices=("auto", "numpy", "cython"),
    )
    seed: int = setting(0, "of the spikes and the shufflings")

    def __post_init__(self) -> None:
        check_choices(self)
        if self.realisations < 2 or self.realisations % 2:
            raise UsageError(f"realisations: are split into halves, so must be even, got {self.realisations}")
        if self.shuffles < 1:
            raise UsageError(f"shuffles: must be at least 1, got {self.shuffles}")
        for name in ("frame", "dt", "input_rate", "unit_rate", "beta"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name}: must be positive, got {getattr(self, name)}")

    @property
    def neuron(self) -> CurrentNeuron:
        """The converted layer's own neuron: current-based, without a leak, soft reset; an exact ReLU for a constant
        drive. Its potential stops one threshold below rest: unbounded, one frame of inhibition would silence the
        frames that follow.
        """
        return CurrentNeuron(leaky=False, tau_mem=1 / self.unit_rate, r_max=self.input_rate, u_min=-1.0)

    def rule(self, eta: float = 0.0, lambda_: float = 1.0) -> LPLSynapse:
        """The spiking rule in the current reading. An axonal delay of one step is added to Delta t, since it shortens
        the effective one; delta is off.
        """
        return LPLSynapse.current(
            eta=eta,
            lambda_=lambda_,
            delta=0.0,
            beta=self.beta,
            axonal_delay=self.dt,
            prediction_delay=self.frame + self.dt,
        )


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

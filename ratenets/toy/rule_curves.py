"""How LPL changes a weight, and what its losses have in common: Halvagal & Zenke 2023, ED Fig. 1 and Suppl. Fig. 1.

The weight change is taken for one input of weight 1, whose rate h therefore is the neuron's potential, too:

    z = f(h - h_0) + r_0,    dw = eta h f'(h - h_0) ((z - zbar) / sigma^2 - dz/dt)

with f piecewise tanh, r_0 tanh(u / r_0) below and (r_max - r_0) tanh(u / (r_max - r_0)) above 0, or ReLU. One of the
mean zbar, the variance sigma^2 and the temporal difference dz/dt is varied, as in ED Fig. 1; the values are ours.

The losses are those of two clusters at the distance D whose standard deviation is D / 4: then L_pred = D^2 / 8, twice
the variance within a cluster, and sigma^2 = D^2 (1/4 + 1/16). In the original the panel of -log sigma^2 shows -sigma^2
under its label; here it shows -log sigma^2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from foundation.config import check_kinds, setting
from foundation.errors import UsageError
from ratenets.toy.rules import HEBBIAN, Floats

ACTIVATIONS = ("tanh", "relu")
HEBBIAN_LOSSES = ("variance", "log", "hinge")
"""Of `rules.HEBBIAN`, in the order of the arrays."""


class State(NamedTuple):
    """What the rule knows of the neuron beyond its activity z."""

    mean: float | Floats = 20.0  # zbar
    variance: float | Floats = 20.0  # sigma^2
    slope: float | Floats = 0.0  # dz/dt


SWEEPS = {
    "mean": (5.0, 10.0, 20.0, 30.0, 40.0),
    "variance": (5.0, 10.0, 20.0, 40.0, 80.0),
    "slope": (-2.0, -1.0, 0.0, 1.0, 2.0),
}
"""The values of each quantity, the others being as in `State`."""


@dataclass(frozen=True)
class CurvesConfig:
    """Settings of the curves; rates in Hz."""

    r_max: float = setting(80.0, "rule: largest rate of the piecewise tanh, Hz", "r-max")
    r_0: float = setting(2.0, "rule: rate at the threshold, Hz", "r-0")
    h_0: float = setting(6.0, "rule: threshold of the activation function", "h-0")
    h_max: float = setting(60.0, "rule: largest potential h", "h-max")
    eta: float = setting(1.0, "rule: learning rate", "eta")
    points: int = setting(601, "rule: points of a curve")

    def __post_init__(self) -> None:
        check_kinds(self)
        if not 0 < self.r_0 < self.r_max:
            raise UsageError(f"rule: r_0 must be between 0 and r_max = {self.r_max}, got {self.r_0}")
        if not self.h_max > self.h_0:
            raise UsageError(f"rule: h_max must be above h_0 = {self.h_0}, got {self.h_max}")
        if not self.eta > 0:
            raise UsageError(f"rule: eta must be positive, got {self.eta}")
        if self.points < 2:
            raise UsageError(f"rule: points must be at least 2, got {self.points}")

    @property
    def h(self) -> Floats:
        """The potentials, (points,)."""
        return np.linspace(0, self.h_max, self.points)


class Activation(NamedTuple):
    """z and dz/dh at some potentials."""

    z: Floats
    slope: Floats


def tanh(h: Floats, config: CurvesConfig) -> Activation:
    """Piecewise tanh between 0 and r_max, with r_0 at the threshold (Rajan, Abbott & Sompolinsky 2010)."""
    u = h - config.h_0
    scale = np.where(u <= 0, config.r_0, config.r_max - config.r_0)
    bent = np.tanh(u / scale)
    return Activation(scale * bent + config.r_0, 1 - bent**2)


def relu(h: Floats, config: CurvesConfig) -> Activation:
    """ReLU above r_0; its slope at the threshold is 0."""
    u = h - config.h_0
    return Activation(np.maximum(u, 0) + config.r_0, np.where(u > 0, 1.0, 0.0))


FUNCTIONS: dict[str, Callable[[Floats, CurvesConfig], Activation]] = {"tanh": tanh, "relu": relu}


def weight_change(h: Floats, activation: Activation, state: State, eta: float) -> Floats:
    """The equation of ED Fig. 1, above; of a decorrelation one neuron has nothing."""
    return eta * h * activation.slope * ((activation.z - state.mean) / state.variance - state.slope)


def losses(distance: Floats) -> Floats:
    """L_pred, and each Hebbian loss of `HEBBIAN_LOSSES`, for clusters at these distances, (D,): (1 + losses, D)."""
    variance = distance**2 * (1 / 4 + 1 / 16)
    return np.stack([distance**2 / 8, *(HEBBIAN[name].loss(variance) for name in HEBBIAN_LOSSES)])


def run(config: CurvesConfig) -> dict[str, Floats]:
    """All curves, as named arrays (see `shapes`); nothing is random."""
    functions = [FUNCTIONS[name](config.h, config) for name in ACTIVATIONS]
    arrays: dict[str, Floats] = {"z": np.stack([function.z for function in functions])}
    for name, values in SWEEPS.items():
        state = State()._replace(**{name: np.array(values)[:, None]})
        arrays[f"dw/{name}"] = np.stack([weight_change(config.h, own, state, config.eta) for own in functions])
    distance = np.linspace(0, 4, config.points + 1)[1:]  # without 0, where the logarithm has its pole
    return {**arrays, "distance": distance, "losses": losses(distance)}


def shapes(config: CurvesConfig) -> dict[str, tuple[int, ...]]:
    """What `run` gives: z is (activations, points), dw (activations, values, points), losses (terms, points)."""
    n = len(ACTIVATIONS)
    found: dict[str, tuple[int, ...]] = {"z": (n, config.points)}
    found |= {f"dw/{name}": (n, len(values), config.points) for name, values in SWEEPS.items()}
    return {**found, "distance": (config.points,), "losses": (1 + len(HEBBIAN_LOSSES), config.points)}

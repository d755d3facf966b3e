"""The learning rules of one linear neuron y = w.x that sees a sequence of batches of inputs, one step after the other.

Source: Halvagal & Zenke, Nature Neuroscience 2023, doi:10.1038/s41593-023-01460-y, Fig. 2 and Suppl. Fig. 1; Oja,
Journal of Mathematical Biology 1982. A batch of N inputs x_t, (d, N), is followed by x_{t+1}, in which each of them
has moved on; y_t and y_{t+1} are the outputs, both with the weights of this moment. A rule is a declaration; what it
declares acts on many independent neurons at once, of which nothing here needs to know more than the leading axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EPSILON = 1e-8
"""Added to the variance, in the logarithm and under the root."""
BLOCK = 64
"""So many rows of neurons are computed at a time: what they need stays in the cache, which halves the time."""


class Errors(NamedTuple):
    """What a rule makes of the outputs: dw/dt = sum_n delta_n x_n - (shrink + decay) w."""

    delta: Floats  # (..., N), postsynaptic factor of each input; for a loss L it is -dL/dy
    shrink: Floats  # (...), what a rule without a loss takes off the weights


class Rule(Protocol):
    """A learning rule of the neuron."""

    @property
    def name(self) -> str: ...

    @property
    def label(self) -> str:
        """As figures name it."""

    @property
    def decay(self) -> float:
        """Weight decay, in units of the experiment's."""

    def errors(self, y: Floats, y_before: Floats) -> Errors:
        """Of the outputs y_{t+1} and y_t, both (..., N)."""


class Hebbian(NamedTuple):
    """A loss H(sigma^2) that keeps the activity up; sigma^2 is the unbiased variance of y over the batch."""

    loss: Callable[[Floats], Floats]
    drive: Callable[[Floats], Floats]  # -dH/dsigma^2


def _hinge_drive(variance: Floats) -> Floats:
    deviation = np.sqrt(variance + EPSILON)
    return np.where(deviation < 1, 0.5 / deviation, 0.0)


HEBBIAN = {
    "none": Hebbian(np.zeros_like, np.zeros_like),
    "log": Hebbian(lambda v: -np.log(v + EPSILON), lambda v: 1 / (v + EPSILON)),
    "variance": Hebbian(np.negative, np.ones_like),
    "hinge": Hebbian(lambda v: np.maximum(1 - np.sqrt(v + EPSILON), 0), _hinge_drive),
}
"""LPL's -log(sigma^2 + eps), the naive -sigma^2, and VICReg's relu(1 - sqrt(sigma^2 + eps)) (Bardes et al. 2022)."""


@dataclass(frozen=True)
class Predictive:
    """Gradient descent on L = mean_n (y_{t+1} - y_t)^2 + H(sigma^2 of y_{t+1}), where y_t is held: no gradient flows
    through it. Either term can be off.

    Example:
        >>> lpl = Predictive("lpl", "LPL", "log")
        >>> lpl.errors(np.array([1.0, -1.0]), np.array([1.0, -1.0])).delta.round(6)
        array([ 1., -1.])
    """

    name: str
    label: str
    hebbian: str  # of HEBBIAN
    predict: bool = True
    decay: float = 1.0

    def loss(self, y: Floats, y_before: Floats) -> Floats:
        """L of the outputs y_{t+1} and y_t, both (..., N); one number for each neuron."""
        error = np.square(y - y_before).mean(-1) if self.predict else 0.0
        return HEBBIAN[self.hebbian].loss(y.var(-1, ddof=1)) + error

    def errors(self, y: Floats, y_before: Floats) -> Errors:
        """-dL/dy_n = 2 (-dH/dsigma^2) (y_n - ybar) / (N - 1) - 2 (y_n - y_before_n) / N."""
        n = y.shape[-1]
        centred = y - y.mean(-1, keepdims=True)
        variance = np.einsum("...n,...n->...", centred, centred) / (n - 1)
        delta = centred * (2 / (n - 1) * HEBBIAN[self.hebbian].drive(variance))[..., None]
        if self.predict:
            delta -= 2 / n * (y - y_before)
        return Errors(delta, np.zeros_like(variance))


@dataclass(frozen=True)
class Oja:
    """Oja's rule, dw/dt = mean_n y_n (x_n - y_n w): the principal component, whatever came before."""

    name: str = "oja"
    label: str = "Oja"
    decay: float = 1.0

    def errors(self, y: Floats, y_before: Floats) -> Errors:
        """Of y_{t+1}, (..., N); the rule knows no y_t."""
        n = y.shape[-1]
        return Errors(y / n, np.einsum("...n,...n->...", y, y) / n)


LPL = Predictive("lpl", "LPL", "log")
PRED_OFF = Predictive("pred_off", "predictive off", "log", predict=False)
HEBB_OFF = Predictive("hebb_off", "Hebbian off", "none")
NAIVE = Predictive("naive", r"$-\sigma^2$ (naive)", "variance")
VICREG = Predictive("vicreg", "VICReg", "hinge")
OJA = Oja()


def errors(rules: Sequence[Rule], y: Floats, y_before: Floats) -> Errors:
    """The errors of several rules, each with its own neurons; outputs are (R, V, N), R neurons for each of V rules."""
    found = [rule.errors(y[:, v], y_before[:, v]) for v, rule in enumerate(rules)]
    return Errors(np.stack([of.delta for of in found], 1), np.stack([of.shrink for of in found], 1))


def update(
    rules: Sequence[Rule], w: Floats, x: Floats, x_before: Floats, rate: float | Floats, decay: float
) -> tuple[Floats, Floats]:
    """One step of all neurons: w + rate (sum_n delta_n x_n - (shrink + decay) w), and their outputs y_{t+1}.

    Args:
        rules: V rules.
        w: weights, (R, V, d), of R independent neurons for each rule.
        x: inputs x_{t+1}, (R, d, N); the neurons of one row see the same.
        x_before: inputs x_t, likewise.
        rate: learning rate, one for all or one for each of R, as (R, 1, 1).
        decay: weight decay (L2, in the gradient), times each rule's own factor.

    Returns:
        New weights, (R, V, d), and y_{t+1} with the old ones, (R, V, N).
    """
    rates = np.broadcast_to(rate, (len(w), 1, 1))
    own = decay * np.array([rule.decay for rule in rules])
    new, y = np.empty_like(w), np.empty((*w.shape[:2], x.shape[-1]))
    for first in range(0, len(w), BLOCK):
        at = slice(first, first + BLOCK)
        np.matmul(w[at], x[at], out=y[at])
        found = errors(rules, y[at], w[at] @ x_before[at])
        step = found.delta @ x[at].swapaxes(1, 2) - (found.shrink + own)[..., None] * w[at]
        new[at] = w[at] + rates[at] * step
    return new, y

"""The LPL rule in closed form: what a synapse does, without autograd. The spiking level mirrors it.

For one layer, z its code, x its input, a its pre-activation and f the ReLU, a step down the loss changes a weight by

    dw_ij  ~  - sum_b  g_bi f'(a_bi) x_bj ,      g = d loss / d z  =  pull + push + decorrelation

    pull      2 (z - z') / (B M)                                   z' the code of the other view
    push      - (z - zbar) / (M (B - 1) (sigma^2 + eps))           the factor 1/2 of the mean over views is in here,
    decorr    2 / ((B - 1) (M^2 - M))  (z - zbar) C_offdiag        and here

(Halvagal & Zenke 2023, Eq. 4 to 8, decorrelation as in the erratum.) A unit needs its own input, its own activity at
two times, its mean and its variance, and, for the decorrelation alone, the covariance with the layer's other units.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ratenets.lpl.config import EPSILON, Coefficients
from ratenets.lpl.encoders import Block, code, spread
from ratenets.lpl.objective import Moments, Terms, check_codes, moments, terms_from_moments


class LocalGradient(NamedTuple):
    """What one layer's rule gives: the gradients of its parameters by name, its output and code, its terms."""

    parameters: dict[str, Tensor]
    output: Tensor
    code: Tensor
    terms: Terms


def code_gradient(
    z: Tensor, other: Tensor, of: Moments, coefficients: Coefficients, epsilon: float = EPSILON
) -> Tensor:
    """The gradient d loss / d z of one view, (B, M), given its moments and the code of the other view."""
    batch, units = z.shape
    gradient = coefficients.pull * 2 / (batch * units) * (z - other)
    gradient -= of.centred * (coefficients.push / (units * (batch - 1)) / (of.variance + epsilon))
    if units > 1 and coefficients.decorr:
        scale = coefficients.decorr * 2 / ((batch - 1) * (units * units - units))
        off_diagonal = scale * of.covariance
        off_diagonal.fill_diagonal_(0)
        gradient.addmm_(of.centred, off_diagonal)
    return gradient


@torch.no_grad()
def code_rule(z: Tensor, coefficients: Coefficients, epsilon: float = EPSILON) -> tuple[Tensor, Terms]:
    """D loss / d z of both views, (2 B, M), and the terms, from the codes of the first views, then of the second.

    Raises:
        UsageError: fewer than two samples.
    """
    z1, z2 = z.chunk(2)
    check_codes(z1, z2)
    first, second = moments(z1), moments(z2)
    gradients = [
        code_gradient(z1, z2, first, coefficients, epsilon),
        code_gradient(z2, z1, second, coefficients, epsilon),
    ]
    return torch.cat(gradients), terms_from_moments(z1, z2, first, second, epsilon)


@torch.no_grad()
def local_gradient(block: Block, x: Tensor, coefficients: Coefficients) -> LocalGradient:
    """Gradient of a layer's LPL loss from its two views, closed form; its negative is the plasticity.

    Args:
        block: the layer.
        x: its input, the first view's B samples, then the second view's: (2 B, ...).
        coefficients: of the three terms.
    """
    output, learn = block.respond(x)
    z = code(output)
    g, values = code_rule(z, coefficients)
    return LocalGradient(learn(spread(g, output)), output, z, values)


def online_update(
    x: NDArray[np.float64],
    drive: NDArray[np.float64],
    *,
    lambda_: float,
    phi: float,
    delta: float = 0.0,
    xi: float = EPSILON,
    mean: NDArray[np.float64],
    variance: NDArray[np.float64],
    presynaptic: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """The rule as a neuron applies it, frame by frame; its mean over a sequence.

    dw_ij = < [ -phi (z_i(t) - z_i(t-1)) + lambda (z_i(t) - zbar_i) / (sigma_i^2 + xi) + delta ] f'(a_i(t)) x_j(t) >_t

    with z = f(a) = relu(a), and z = 0 before the first frame (Halvagal & Zenke 2023, Eq. 4 to 6; without
    decorrelation, for which a synapse has no signal of its own).

    Args:
        x: the input of every frame, (F, N).
        drive: the pre-activation a, (F, M), in the units in which the rule is to be: of activation, or Hz.
        lambda_: weight of the Hebbian term.
        phi: weight of the predictive term.
        delta: added to the error, in units of z.
        xi: added to the variance.
        mean: zbar, (M,).
        variance: sigma^2, (M,).
        presynaptic: x as the synapses see it, if not what drove the neurons: a control.

    Returns:
        the mean update, (M, N).
    """
    z = np.maximum(drive, 0.0)
    before = np.vstack([np.zeros_like(z[:1]), z[:-1]])
    error = -phi * (z - before) + lambda_ * (z - mean) / (variance + xi) + delta
    update: NDArray[np.float64] = (error * (drive > 0)).T @ (x if presynaptic is None else presynaptic) / len(x)
    return update

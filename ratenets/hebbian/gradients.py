"""How reliable a rule's gradients are, and how far from backprop's: signal-to-noise ratio and cosine, by parameter."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ratenets.hebbian.network import Network
from ratenets.hebbian.rules.backprop import Backprop
from ratenets.hebbian.rules.rule import Batch, Gradient, LayerGradient, Rule

EPSILON = 1e-7
"""Added to the standard deviation, as in the Neuromatch project."""
AGREEING = 1e-2
"""Variance of a gradient over its mean square, below which float32 would give it fewer than four digits."""
DENSE = 2**25
"""Numbers that gradients of single examples may have at a time, where they have to be made: 128 MiB."""


class Moments(NamedTuple):
    """Of the gradients of single examples, of a parameter's shape: (out, in), or (out,) of biases."""

    mean: Tensor
    mean_square: Tensor

    @property
    def std(self) -> Tensor:
        """Over the examples."""
        return (self.mean_square - self.mean.square()).clamp(min=0).sqrt()


def names(network: Network) -> tuple[str, ...]:
    """Of the parameters: W1, W2, ... and, where there are biases, b1, b2, ..., lowest first."""
    layers = network.linear()
    weights = [f"W{number}" for number, _ in enumerate(layers, 1)]
    biases = [f"b{number}" for number, layer in enumerate(layers, 1) if layer.bias is not None]
    return (*weights, *biases)


@torch.no_grad()
def moments(network: Network, rule: Rule, batch: Batch) -> dict[str, Moments]:
    """Mean and mean square over the examples of what each would teach alone, by parameter, exactly.

    Where an example's gradient is an outer product, delta_b x_b^T, no gradient is made: see `Outer`. Else as many are
    made at a time as `DENSE` allows. Rules whose examples need each other (LPL: its statistics are of the batch) are
    taken at the batch's statistics.

    Args:
        network: at the weights to be looked at, in whose precision all is done.
        rule: of which the gradients are.
        batch: all examples.
    """
    size = len(batch.labels)
    if rule.one_by_one:
        size = max(1, DENSE // max(weight.numel() for weight in network.weights))
    sums: dict[str, list[Tensor]] = {}
    total = len(batch.labels)
    for part in parts(batch, size):
        for name, gradient in _named(rule.single(network, part, network.activities(part.images))):
            scale = len(part.labels) / total
            mean, square = scale * gradient.mean(), scale * gradient.mean_square()
            before = sums.get(name)
            sums[name] = [mean, square] if before is None else [before[0] + mean, before[1] + square]
    return {name: Moments(*(_shaped(name, each) for each in pair)) for name, pair in sums.items()}


def snr(network: Network, rule: Rule, batch: Batch) -> dict[str, float]:
    """Signal-to-noise ratio of single examples' gradients: mean over weights of |mean_b g| / (std_b g + 1e-7).

    NaN, and a warning, where all gradients of a parameter are 0. Where examples agree so well that a difference of
    squares would lose its digits, all is done again in float64.
    """
    state = None if batch.generator is None else batch.generator.get_state()
    measured = moments(network, rule, batch)
    if any(_agreeing(of) for of in measured.values()) and batch.images.dtype != torch.float64:
        if batch.generator is not None and state is not None:
            batch.generator.set_state(state)
        other = None if batch.other is None else batch.other.double()
        exact = batch._replace(images=batch.images.double(), other=other)
        measured = moments(copy.deepcopy(network).double(), copy.deepcopy(rule).double(), exact)
    found = {}
    for name, of in measured.items():
        if not of.mean_square.any():
            warnings.warn(f"{name}: all gradients are zero, their signal-to-noise ratio is undefined", stacklevel=2)
            found[name] = math.nan
            continue
        found[name] = float((of.mean.abs() / (of.std + EPSILON)).mean())
    return found


def _agreeing(of: Moments) -> bool:
    """Is there a weight for which the examples' gradients are nearly the same?"""
    return bool((of.mean_square - of.mean.square() < AGREEING * of.mean_square).any())


@torch.no_grad()
def cosine(network: Network, rule: Rule, batches: Callable[[], Iterator[Batch]]) -> dict[str, float]:
    """Cosine of the rule's gradients and backprop's, by parameter: those of all batches as one long vector.

    NaN where one of the two is all zero.

    Args:
        network: at the weights to be looked at.
        rule: to be compared.
        batches: gives the batches.
    """
    backprop = Backprop(network, rule.config, 0)
    sums: dict[str, Tensor] = {}
    for batch in batches():
        activities = network.activities(batch.images)
        ours, theirs = (_named(each.gradients(network, batch, activities)) for each in (rule, backprop))
        for (name, gradient), (_, reference) in zip(ours, theirs, strict=True):
            g, r = gradient.mean().flatten(), reference.mean().flatten()
            products = torch.stack([g @ r, g @ g, r @ r]).double()
            sums[name] = sums[name] + products if name in sums else products
    return {name: float(total[0] / (total[1] * total[2]).sqrt()) for name, total in sums.items()}


def parts(batch: Batch, size: int) -> Iterator[Batch]:
    """A batch in parts of `size` examples; all draw from its one generator."""
    for start in range(0, len(batch.labels), size):
        rows = slice(start, start + size)
        other = None if batch.other is None else batch.other[rows]
        yield Batch(batch.images[rows], batch.labels[rows], other, batch.generator)


def per_example(network: Network, rule: Rule, batch: Batch) -> dict[str, Tensor]:
    """The gradients of single examples, by parameter, (B, out, in) or (B, out): B times the size of the network."""
    found = _named(rule.single(network, batch, network.activities(batch.images)))
    return {name: _shaped(name, gradient.each()) for name, gradient in found}


def _named(layers: list[LayerGradient]) -> list[tuple[str, Gradient]]:
    weights = [(f"W{number}", layer.weight) for number, layer in enumerate(layers, 1)]
    biases = [(f"b{number}", layer.bias) for number, layer in enumerate(layers, 1) if layer.bias is not None]
    return [*weights, *biases]


def _shaped(name: str, value: Tensor) -> Tensor:
    """Biases without their input, which is always 1."""
    return value[..., 0] if name.startswith("b") else value

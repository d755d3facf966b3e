"""Images and rates to spikes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UsageError


def poisson_spikes(rates: NDArray[np.float64], steps: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Independent spikes, (B, T, N) of 0 and 1, with the probabilities `rates` (B, N) in every step.

    Raises:
        UsageError: a rate outside [0, 1] spikes per step.
    """
    if not ((rates >= 0) & (rates <= 1)).all():
        raise UsageError("Poisson input needs rates between 0 and 1 spikes per step")
    batch, lines = rates.shape
    return (generator.random((batch, steps, lines)) < rates[:, None]).astype(float)


def stimulus(x: NDArray[np.float64], coding: str, steps: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """What a converted network is shown for inputs x (B, N): x itself as a current ("analog"), or Poisson spikes."""
    return x if coding == "analog" else poisson_spikes(x, steps, generator)

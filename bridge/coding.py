"""Images and rates to spikes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UsageError
from spiking.integrate_and_fire import Stimulus
from spiking.parameters import whole_steps
from spiking.stimuli import SpikeEvents


def poisson_spikes(rates: NDArray[np.float64], steps: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Independent spikes, bool (B, T, N), with the probabilities `rates` (B, N) in every step.

    Raises:
        UsageError: a rate outside [0, 1] spikes per step.
    """
    if not ((rates >= 0) & (rates <= 1)).all():
        raise UsageError("Poisson input needs rates between 0 and 1 spikes per step")
    batch, lines = rates.shape
    if steps < 1:
        raise UsageError(f"steps: must be at least 1, got {steps}")
    return generator.random((batch, steps, lines)) < rates[:, None]


def stimulus(x: NDArray[np.float64], coding: str, steps: int, generator: np.random.Generator) -> Stimulus:
    """What a converted network is shown for inputs x (B, N): x itself as a current ("analog"), or Poisson spikes."""
    return x if coding == "analog" else poisson_spikes(x, steps, generator)


def frame_spikes(
    frames: NDArray[np.float64],
    *,
    duration: float,
    r_max: float,
    dt: float,
    copies: int,
    generator: np.random.Generator,
) -> SpikeEvents:
    """A sequence of frames as Poisson spikes, in independent copies.

    Args:
        frames: (F, N) in [0, 1].
        duration: of a frame, in s, a multiple of dt.
        r_max: rate in Hz for the value 1.
        dt: step in s; a line spikes with the probability value * r_max * dt in each.
        copies: line j of copy r becomes source r N + j.
        generator: of the draws.

    Raises:
        UsageError: a value outside [0, 1], a rate above one spike per step, or a duration that is no multiple of dt.
    """
    if len(frames) == 0:
        raise UsageError("frames: there are none")
    if not ((frames >= 0) & (frames <= 1)).all():
        raise UsageError("frames: must lie between 0 and 1")
    if copies < 1:
        raise UsageError(f"copies: must be at least 1, got {copies}")
    steps = whole_steps("duration", duration, dt)
    if steps < 1:
        raise UsageError(f"duration: must be positive, got {duration} s")
    if not r_max > 0:
        raise UsageError(f"r_max: must be positive, got {r_max} Hz")
    if r_max * dt > 1:
        raise UsageError(f"r_max: {r_max} Hz is more than one spike in a step of {dt} s")
    sources, times = [], []
    for number, frame in enumerate(frames):
        step, source = np.nonzero(generator.random((steps, copies * len(frame))) < np.tile(frame, copies) * r_max * dt)
        sources.append(source)
        times.append(step + number * steps)
    return SpikeEvents(
        np.concatenate(sources), np.concatenate(times), copies * frames.shape[1], dt, steps * len(frames)
    )

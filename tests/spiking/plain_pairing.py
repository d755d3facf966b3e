"""The pairing protocol in plain numpy, step by step: a yardstick for the simulators.

It is written from the description of the published simulation (Halvagal & Zenke 2023) and shares no code with them:
only the protocol (`PairingProtocol`) is common, the constants stand here once more. It reproduces the seven curves
that were recorded of that simulation to 1e-5 of their largest value; so it says what other frequencies, means,
variances and the other reading of the rule should give.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spiking.pairing import PairingProtocol

AXON, PREDICTION, WINDOW = 8, 200, 5000  # steps of 0.1 ms: axonal delay, delay of the prediction, between updates


class Outcome(NamedTuple):
    """Weights (inputs,) and steps of the postsynaptic spikes."""

    weights: NDArray[np.float64]
    spikes: NDArray[np.int64]

    def relative_change(self, w_0: float) -> NDArray[np.float64]:
        return (self.weights - w_0) / w_0


class Neuron:
    """Membrane potential (V), AMPA and NMDA conductance (of the leak's), moving threshold (V above -50 mV)."""

    def __init__(self, dt: float) -> None:
        self.v, self.ampa, self.nmda, self.threshold = -70e-3, 0.0, 0.0, 0.0
        self.membrane, self.m = dt / 20e-3, 1 - np.exp(-dt / 100e-3)
        self.ampa_decay = self.threshold_decay = float(np.exp(-dt / 5e-3))

    def step(self) -> bool:
        """One step; whether the neuron spikes."""
        current = -(0.5 * self.ampa + 0.5 * self.nmda) * self.v
        self.nmda = (self.nmda + self.m * self.ampa) * (1 - self.m)
        self.ampa *= self.ampa_decay
        self.threshold *= self.threshold_decay
        self.v += self.membrane * (current - (self.v + 70e-3))
        self.v = min(max(self.v, -80e-3), 0.0)
        if self.v <= -50e-3 + self.threshold:
            return False
        self.v, self.threshold = -70e-3, 100e-3
        return True

    @property
    def surrogate(self) -> float:
        return 0.0 if self.v < -80e-3 else float(1000 / (1 + abs(self.v + 50e-3) / 1e-3) ** 2)


class Error:
    """The postsynaptic error signal, its two filters, and the traces of mean and variance behind it.

    `number` is the type in which those two are computed, every operation rounded to it.
    """

    def __init__(self, protocol: PairingProtocol) -> None:
        number: Callable[[float], Any] = np.float32 if protocol.float32_traces else float
        dt, reported = protocol.dt, protocol.variant == "as_reported"
        self.number, self.dt = number, dt
        self.lambda_, self.xi = (dt, 1e-7) if reported else (1.0, 1e-3)
        self.delta = 0.0 if reported else protocol.delta
        self.mean = number(protocol.initial_mean * protocol.tau_mean)
        self.variance = number(protocol.initial_variance * (dt if reported else 1.0))
        self.mean_factor = dt / protocol.tau_mean
        self.mean_decay = number(np.exp(-dt / protocol.tau_mean))
        self.variance_decay = number(np.exp(-dt / protocol.tau_sigma2))
        self.gain, self.tau_sigma2 = number(dt if reported else 1.0), number(protocol.tau_sigma2)
        self.error = self.fast = self.slow = 0.0

    def evaluate(self, delayed: bool, old: bool) -> None:
        expected = self.mean_factor * float(self.mean)
        hebbian = self.lambda_ * (delayed - expected) / (float(self.variance) + self.xi)
        self.error = hebbian + self.delta - delayed + old

    def follow(self, now: bool, delayed: bool) -> None:
        """Variance (with the mean as it still stands), then mean, then the filters, the second after the first."""
        number = self.number
        q = number(delayed) - number(self.mean_factor) * self.mean
        self.variance = (self.variance + self.gain * (q * q) / self.tau_sigma2) * self.variance_decay
        self.mean = ((self.mean + number(1)) if now else self.mean) * self.mean_decay
        self.fast += self.dt / 2e-3 * (self.error - self.fast)
        self.slow += self.dt / 10e-3 * (self.fast - self.slow)


class Synapses:
    """Presynaptic trace, postsynaptic potential, eligibility, its filter, the sum of a window: each (inputs,)."""

    def __init__(self, protocol: PairingProtocol) -> None:
        self.trace, self.psp, self.eligibility, self.filtered, self.sum = np.zeros((5, protocol.inputs))
        self.weights = np.full(protocol.inputs, protocol.w_0)
        self.psp_history, self.surrogate_history = np.zeros((AXON, protocol.inputs)), [0.0] * AXON
        self.dt, self.eta = protocol.dt, protocol.eta
        self.trace_decay, self.rise = np.exp(-self.dt / 5e-3), np.exp(-self.dt / 2e-3)

    def correlate(self, n: int, surrogate: float, error: float) -> None:
        """Eligibility with what was 8 steps ago; what is now takes its place in the history."""
        at = n % AXON
        self.eligibility += self.psp_history[at] * self.surrogate_history[at]
        self.psp_history[at], self.surrogate_history[at] = self.psp, surrogate
        self.filtered += self.dt / 10e-3 * (self.eligibility - self.filtered)
        self.eligibility *= self.rise
        self.sum += self.filtered * error

    def update(self) -> None:
        self.weights = np.clip(self.weights + self.eta * (self.sum / WINDOW), 0, 1)
        self.sum[:] = 0

    def follow(self, arrived: NDArray[np.int64] | None) -> None:
        self.psp += self.dt / 20e-3 * (self.trace - self.psp)
        if arrived is not None:
            self.trace[arrived] += 1
        self.trace *= self.trace_decay


def run(protocol: PairingProtocol, *, seven_digits: bool = False) -> Outcome:
    """The whole protocol, at the reference's dt = 0.1 ms; `seven_digits`: see `input_steps`."""
    assert protocol.dt == 1e-4, "the delays above are in steps of 0.1 ms"
    per_spike = protocol.delta if protocol.variant == "as_reported" else 0.0
    neuron, error, synapses = Neuron(protocol.dt), Error(protocol), Synapses(protocol)
    clamp, arriving = protocol.clamp(), _arrivals(input_steps(protocol, seven_digits))
    spiked = np.zeros(protocol.steps + PREDICTION, bool)  # index -k, for what was before the start, is False
    for n in range(protocol.steps):
        spiked[n] = now = neuron.step()
        arrived = arriving.get(n)
        if arrived is not None:
            neuron.ampa += float(synapses.weights[arrived].sum())
        delayed = bool(spiked[n - AXON])
        error.evaluate(delayed, bool(spiked[n - PREDICTION]))
        synapses.correlate(n, neuron.surrogate, error.slow)
        if arrived is not None:
            synapses.sum[arrived] += per_spike
        if n % WINDOW == 0:
            synapses.update()
        synapses.follow(arrived)
        error.follow(now, delayed)
        neuron.v = float(clamp[n])
    return Outcome(synapses.weights, np.flatnonzero(spiked))


def input_steps(protocol: PairingProtocol, seven_digits: bool) -> NDArray[np.int64]:
    """In which steps the inputs fire, (pairings, inputs).

    The recorded curves' input spikes came from a text file, their times with seven significant digits: from 10 s on,
    to a tenth of a step. Some are then halfway between two steps, and go to either, as the division by dt rounds.
    """
    times = protocol.pairing_times[:, None] - protocol.delta_t
    if seven_digits:
        times = np.vectorize(lambda t: float(f"{t:.7g}"))(times)
    return np.asarray(np.floor(times / protocol.dt + 0.5).astype(np.int64))


def _arrivals(fired: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Which inputs' spikes arrive in a step, 8 steps after they were fired."""
    arrivals: dict[int, list[int]] = {}
    for row in fired + AXON:
        for number, step in enumerate(row.tolist()):
            arrivals.setdefault(step, []).append(number)
    return {step: np.array(inputs) for step, inputs in arrivals.items()}

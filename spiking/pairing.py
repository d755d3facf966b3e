"""The pairing protocol: pre- and postsynaptic spikes at set intervals, as in the paper's Fig. 6.

Source: the simulation of Halvagal & Zenke 2023 (Nature Neuroscience, doi:10.1038/s41593-023-01460-y). Nothing here
simulates: this is what every simulator has to be given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foundation.config import check_kinds, setting
from foundation.errors import RatespikeError, UsageError
from spiking.parameters import VARIANTS, LPLSynapse
from spiking.recording import PairingCurve
from spiking.stimuli import SpikeEvents

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LEAD = 0.1  # s, before the first pairing
U_PAIRED, U_BETWEEN, U_AFTER = -20e-3, -51e-3, -60e-3  # V, what the clamp holds
RELEASE = (5e-3, 10e-3)  # s past the last pairing: the clamp falls from U_BETWEEN to U_AFTER
# A spike sets the threshold to +50 mV. It is down at U_PAIRED after 5 ms ln(100 mV / 30 mV) = 6 ms; a pairing that
# follows sooner would make no spike. 7 ms leave room for the leak in one step and for rounding to steps.
MAX_FREQUENCY = 140.0  # Hz
MAX_DURATION = 1e5  # s; it keeps what follows in memory and in range


@dataclass(frozen=True)
class PairingProtocol:
    """One neuron, made to spike at t_k = 0.1 s + k/f, k = 0, 1, ...; input j spikes delta_t_j earlier, each time.

    Every input has a synapse of its own, so that one run yields a whole curve. The membrane potential is clamped at the
    END of a step: integration and threshold of the next start from that value. Where its inputs carry it from -51 mV
    over the threshold, the neuron therefore spikes on its own as well (and is then silent at a pairing that follows
    within 6 ms): part of the published dependence on the frequency.

    Raises:
        UsageError: a value out of range; the message names it and the range.
    """

    frequency: float = setting(10.0, "of the pairings, in Hz")
    initial_mean: float = setting(20.0, "what the trace of the mean rate starts from, in Hz")
    initial_variance: float = setting(
        0.1, "what the trace of the variance starts from, in Hz (as_reported: it starts from dt times that)"
    )
    max_interval: float = setting(0.02, "largest interval between pre- and postsynaptic spike, in s")
    pairings: int = setting(100, "how many")
    inputs: int = setting(100, "intervals, evenly spaced from +max_interval (pre first) to -max_interval")
    w_0: float = setting(0.5, "initial weight, above 0 and at most 1")
    eta: float = setting(5e-3, "learning rate")
    tau_mean: float = setting(600.0, "time constant of the mean rate, in s")
    tau_sigma2: float = setting(300.0, "time constant of the variance, in s")
    delta: float = setting(0.0, "transmitter-triggered growth, in the error (as_reported: at each input spike)")
    dt: float = setting(1e-4, "step of the simulation, in s")
    variant: str = setting(
        "as_simulated", "reading of the rule; as_reported: in the article's erratum", choices=VARIANTS
    )
    float32_traces: bool = setting(
        False, "round the traces of mean and variance to single precision, as the published simulation did"
    )

    def __post_init__(self) -> None:
        check_kinds(self)
        for name in ("frequency", "max_interval", "w_0", "tau_mean", "tau_sigma2", "dt"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name}: must be positive, got {getattr(self, name)}")
        for name in ("initial_mean", "initial_variance", "eta", "delta"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name}: must not be negative, got {getattr(self, name)}")
        if self.pairings < 1:
            raise UsageError(f"pairings: must be at least 1, got {self.pairings}")
        if self.inputs < 2:
            raise UsageError(f"inputs: must be at least 2, the two ends of the curve, got {self.inputs}")
        if self.frequency > MAX_FREQUENCY:
            why = "a spike can be forced only when the threshold has fallen after the one before"
            raise UsageError(f"frequency: must be at most {MAX_FREQUENCY:g} Hz ({why}), got {self.frequency}")
        if self.pairings / self.frequency > MAX_DURATION:
            raise UsageError(
                f"frequency: {self.pairings} pairings at {self.frequency} Hz would last more than {MAX_DURATION:g} s"
            )
        if self.max_interval > LEAD:
            why = "when the first pairing is: no input can spike before the start"
            raise UsageError(f"max_interval: must be at most {LEAD} s ({why}), got {self.max_interval}")
        if self.w_0 > 1:
            raise UsageError(f"w_0: must be at most 1, the largest weight, got {self.w_0}")
        self.rule.steps(self.dt)  # its delays and its interval between updates have to be multiples of dt

    @property
    def rule(self) -> LPLSynapse:
        """The synapse's rule, lambda = phi = 1."""
        return LPLSynapse.named(
            self.variant,
            eta=self.eta,
            delta=self.delta,
            tau_mean=self.tau_mean,
            tau_sigma2=self.tau_sigma2,
            float32_traces=self.float32_traces,
        )

    @property
    def initial_sigma2(self) -> float:
        """What the rule's variance trace starts from, in its own unit: the two readings of the rule then agree."""
        return self.initial_variance * self.rule.variance_scale(self.dt)

    @property
    def delta_t(self) -> Floats:
        """(inputs,), t_post - t_pre in s: positive where the input spikes first."""
        return np.linspace(self.max_interval, -self.max_interval, self.inputs)

    @property
    def pairing_times(self) -> Floats:
        """(pairings,), of the postsynaptic spikes, in s."""
        return np.asarray(LEAD + np.arange(self.pairings) / self.frequency)

    @property
    def pairing_steps(self) -> Integers:
        """(pairings,), the steps in which the clamp makes the neuron spike."""
        return _nearest(self.pairing_times / self.dt)

    @property
    def steps(self) -> int:
        """Of the whole protocol: it ends with a weight update that takes in all that the last pairing causes.

        That is the first update (they come every 0.5 s, in steps n with n dt = 0, 0.5 s, 1 s, ...) 0.5 s or more after
        the last pairing.
        """
        window = self.rule.steps(self.dt).update_interval
        updates = -(-(int(self.pairing_steps[-1]) + window) // window)
        return updates * window + 1  # with step 0

    def input_spikes(self) -> SpikeEvents:
        """The spikes of the inputs as they fire; they arrive after the axonal delay.

        Pairings are at least 7 ms apart, so that no input spikes twice in a step.
        """
        step = _nearest((self.pairing_times[:, None] - self.delta_t) / self.dt).ravel()
        source = np.tile(np.arange(self.inputs), self.pairings)
        order = np.lexsort((source, step))
        return SpikeEvents(source[order], step[order], self.inputs, self.dt, self.steps)

    def clamp(self, first_step: int = 0, steps: int | None = None) -> Floats:
        """What the membrane potential is set to at the end of each step, (steps,), in V.

        -20 mV in the step before a pairing and in that of it (the first makes the neuron spike in the second); else
        -51 mV, until 5 ms past the last pairing; then it falls to -60 mV, which it reaches 10 ms past it.

        Args:
            first_step: the first one asked for, to have a long protocol in parts.
            steps: how many; None: to the end.
        """
        count = self.steps - first_step if steps is None else steps
        paired = self.pairing_steps
        since_last = (np.arange(first_step, first_step + count) - paired[-1]) * self.dt
        potential: Floats = np.interp(since_last, RELEASE, (U_BETWEEN, U_AFTER))
        held = np.concatenate([paired - 1, paired]) - first_step
        potential[held[(held >= 0) & (held < count)]] = U_PAIRED
        return potential

    def curve(self, w: Floats, postsynaptic_spikes: int) -> PairingCurve:
        """What a run of the protocol that ended with the weights (inputs,) has shown.

        Raises:
            RatespikeError: a weight is not finite any more.
        """
        if not np.isfinite(w).all():
            raise RatespikeError(f"the weights are not finite any more at {self.frequency} Hz")
        return PairingCurve(
            frequency=self.frequency,
            initial_mean=self.initial_mean,
            initial_variance=self.initial_variance,
            max_interval=self.max_interval,
            variant=self.variant,
            delta_t=self.delta_t,
            relative_delta_w=(w - self.w_0) / self.w_0,
            postsynaptic_spikes=postsynaptic_spikes,
        )


def _nearest(steps: Floats) -> Integers:
    return np.asarray(np.floor(steps + 0.5).astype(np.int64))  # a half goes up, as in the reference

"""The LPL network in plain numpy, step by step: a yardstick for the simulators.

It is written from the description of the published simulation (Halvagal & Zenke 2023, Fig. 5) and shares no code with
them: only the config and the wiring are common, the constants and the order of operations stand here once more. It
reproduces the recorded step trace of that simulation like any other port (`test_steptrace`), and so says what the
options should do of which there is no record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spiking.paper.network import NetworkConfig, Projection, Wiring

Floats = NDArray[Any]
Spikes = NDArray[np.bool_]

AXON, PREDICTION, UPDATE = 0.8e-3, 20e-3, 0.5  # s: axonal delay, delay of the prediction, between weight updates


class Neurons:
    """Membrane potential (V), conductances (of the leak's), moving threshold (V above -50 mV)."""

    def __init__(self, v: Floats, dt: float) -> None:
        self.v = v.copy()
        self.ampa, self.nmda, self.gaba, self.threshold = np.zeros((4, v.size))
        self.membrane, self.m = dt / 20e-3, 1 - np.exp(-dt / 100e-3)
        self.ampa_decay, self.gaba_decay, self.threshold_decay = np.exp(-dt / np.array([5e-3, 10e-3, 5e-3]))

    def step(self) -> Spikes:
        """Currents from the old potential and conductances, one Euler step, threshold and reset: who spikes."""
        excitation = -(0.5 * self.ampa + 0.5 * self.nmda) * self.v
        inhibition = (self.v + 80e-3) * self.gaba
        self.nmda = (self.nmda + self.m * self.ampa) * (1 - self.m)
        self.ampa *= self.ampa_decay
        self.gaba *= self.gaba_decay
        self.threshold *= self.threshold_decay
        self.v += self.membrane * (excitation - inhibition - (self.v + 70e-3))
        self.v = np.minimum(np.maximum(self.v, -80e-3), 0.0)
        spikes = self.v > -50e-3 + self.threshold
        self.v[spikes], self.threshold[spikes] = -70e-3, 100e-3
        return np.asarray(spikes)

    def surrogate(self) -> Floats:
        return np.where(self.v < -80e-3, 0.0, 1000 / (1 + np.abs(self.v + 50e-3) / 1e-3) ** 2)


class Delayed:
    """What was put in that many steps ago; nothing before the first."""

    def __init__(self, steps: int, nothing: Floats) -> None:
        self.ring, self.now = [nothing] * steps, 0

    def __call__(self, value: Floats) -> Floats:
        if not self.ring:
            return value
        at = self.now % len(self.ring)
        before, self.ring[at] = self.ring[at], value.copy()
        self.now += 1
        return before


class Error:
    """The postsynaptic error signal, its two filters, and the traces of mean and variance behind it.

    With `float32_traces`, these two are computed in float32, every operation rounded.
    """

    def __init__(self, config: NetworkConfig) -> None:
        number: Any = np.float32 if config.float32_traces else np.float64
        reported = config.variant == "as_reported"
        self.dt, self.lambda_, self.phi, self.tau_mean = config.dt, config.lambda_, config.phi, config.tau_mean
        self.gain = self.dt if reported else 1.0
        self.xi, self.delta = (1e-7, 0.0) if reported else (1e-3, 1e-5)
        self.mean, self.variance = np.zeros(config.exc, number), np.zeros(config.exc, number)
        self.mean_decay, self.variance_decay = (
            number(np.exp(-self.dt / t)) for t in (self.tau_mean, config.tau_sigma2)
        )
        self.tau_sigma2, self.number = number(config.tau_sigma2), number
        self.error, self.fast, self.slow = np.zeros((3, config.exc))

    def evaluate(self, delayed: Spikes, old: Spikes) -> None:
        centred = delayed - self.dt / self.tau_mean * self.mean.astype(float)
        hebbian = self.gain * self.lambda_ * centred / (self.variance.astype(float) + self.xi)
        self.error = hebbian + self.delta - self.phi * delayed + self.phi * old

    def follow(self, now: Spikes, delayed: Spikes) -> None:
        """Variance (with the mean as it still stands), then mean, then the filters, the second after the first."""
        number = self.number
        q = delayed.astype(number) - number(self.dt / self.tau_mean) * self.mean
        self.variance = (self.variance + number(self.gain) * (q * q) / self.tau_sigma2) * self.variance_decay
        self.mean = (self.mean + now.astype(number)) * self.mean_decay
        self.fast += self.dt / 2e-3 * (self.error - self.fast)
        self.slow += self.dt / 10e-3 * (self.fast - self.slow)


class Plastic:
    """Synapses that learn by LPL: presynaptic trace and potential, eligibility, its filter, the sum of a window."""

    def __init__(self, synapses: Projection, inputs: int, config: NetworkConfig) -> None:
        self.pre, self.post, self.w = synapses.pre, synapses.post, synapses.w.copy()
        self.trace, self.psp = np.zeros((2, inputs))
        self.eligibility, self.filtered, self.sum, self.maximum = np.zeros((4, self.w.size))
        self.config, self.dt = config, config.dt
        self.window = round(UPDATE / self.dt)
        self.per_spike = 1e-3 if config.variant == "as_reported" else 0.0
        delay = round(AXON / self.dt)
        self.old_psp = Delayed(delay, np.zeros(inputs))
        self.old_surrogate = Delayed(delay, np.zeros(config.exc))
        self.trace_decay, self.rise = np.exp(-self.dt / 5e-3), np.exp(-self.dt / 2e-3)

    def transmit(self, arrived: Spikes, target: Neurons) -> None:
        """Arriving spikes open AMPA channels (as reported, they also add delta to the sum)."""
        at = np.flatnonzero(arrived[self.pre])
        np.add.at(target.ampa, self.post[at], self.w[at])
        self.sum[at] += self.per_spike

    def evolve(self, n: int, surrogate: Floats, error: Floats, learning: bool) -> None:
        """Correlate eligibility and error; at the end of a window, change the weights; then the potential."""
        self.eligibility += self.old_psp(self.psp)[self.pre] * self.old_surrogate(surrogate)[self.post]
        self.filtered += self.dt / 10e-3 * (self.eligibility - self.filtered)
        self.eligibility *= self.rise
        self.sum += self.filtered * error[self.post]
        if n % self.window == 0:
            self.update(learning)
        self.psp += self.dt / 20e-3 * (self.trace - self.psp)

    def update(self, learning: bool) -> None:
        gradient = self.sum / self.window
        factor: Any = 1.0
        self.sum = np.zeros_like(self.sum)
        if self.config.augment_gradient:
            self.maximum = np.maximum(gradient**2, np.exp(-UPDATE / 100) * self.maximum)
            factor = 1 / (np.sqrt(self.maximum) + 1e-32)
        if learning:
            decay = 1 - np.exp(-UPDATE / self.config.tau_weights) if self.config.tau_weights else 0.0
            w = self.w - self.config.eta * self.w * decay + self.config.eta * gradient * factor
            self.w = np.minimum(np.maximum(w, 0), 1)

    def follow(self, arrived: Spikes) -> None:
        self.trace = (self.trace + arrived) * self.trace_decay


class Inhibition:
    """Synapses from inhibitory to excitatory neurons, plastic by the symmetric rule or not, and the two traces."""

    def __init__(self, synapses: Projection, config: NetworkConfig) -> None:
        self.pre, self.post, self.w = synapses.pre, synapses.post, synapses.w.copy()
        self.plastic, self.zeta, self.threshold = config.inhibition == "plastic", config.zeta, 2 * config.kappa * 20e-3
        self.x, self.y = np.zeros(config.exc), np.zeros(config.inh)
        self.decay = np.exp(-config.dt / 20e-3)

    def transmit(self, arrived: Spikes, spiked: Spikes, target: Neurons) -> None:
        """First every arriving spike, which acts with the old weight; then every spike of a target."""
        at = np.flatnonzero(arrived[self.pre])
        np.add.at(target.gaba, self.post[at], self.w[at])
        if not self.plastic:
            return
        self.w[at] = np.maximum(self.w[at] + self.zeta * (self.x[self.post[at]] - self.threshold), 0)
        at = np.flatnonzero(spiked[self.post])
        self.w[at] = np.minimum(self.w[at] + self.zeta * self.y[self.pre[at]], 1)

    def follow(self, arrived: Spikes, spiked: Spikes) -> None:
        self.y = (self.y + arrived) * self.decay
        self.x = (self.x + spiked) * self.decay


class PlainNetwork:
    """The whole network; `step` advances it by one step of the config's dt."""

    def __init__(self, config: NetworkConfig, wiring: Wiring, inputs: int) -> None:
        self.config, self.wiring, self.n = config, wiring, 0
        self.exc = Neurons(wiring.U, config.dt)
        self.inh = Neurons(np.full(0 if config.inhibition == "none" else config.inh, -70e-3), config.dt)
        self.error = Error(config)
        self.ext = Plastic(wiring.ext, inputs, config)
        self.ee = Plastic(wiring.ee, config.exc, config)
        self.ie = Inhibition(wiring.ie, config)
        axon, prediction = round(AXON / config.dt), round(PREDICTION / config.dt)
        exc, inh = np.zeros(config.exc, bool), np.zeros(self.inh.v.size, bool)
        self.exc_axon, self.inh_axon, self.prediction = Delayed(axon, exc), Delayed(axon, inh), Delayed(prediction, exc)
        self.input_axon = Delayed(axon, np.zeros(inputs, bool))
        self.surrogate = np.zeros(config.exc)

    def step(self, fired: Spikes, learning: bool) -> tuple[Spikes, Spikes]:
        """With the inputs that fire in this step; which excitatory and which inhibitory neurons do."""
        exc, inh = self.exc.step(), self.inh.step()
        late_in, late_exc, late_inh = self.input_axon(fired), self.exc_axon(exc), self.inh_axon(inh)
        old = self.prediction(exc)

        self.ext.transmit(late_in, self.exc)
        self.ee.transmit(late_exc, self.exc)
        for late, synapses, conductance in (
            (late_exc, self.wiring.ei, self.inh.ampa),
            (late_inh, self.wiring.ii, self.inh.gaba),
        ):
            at = np.flatnonzero(late[synapses.pre])
            np.add.at(conductance, synapses.post[at], synapses.w[at])
        if late_inh.size:
            self.ie.transmit(late_inh, exc, self.exc)

        self.error.evaluate(late_exc, old)
        self.surrogate = self.exc.surrogate()
        for plastic, late in ((self.ext, late_in), (self.ee, late_exc)):
            plastic.evolve(self.n, self.surrogate, self.error.slow, learning)
            plastic.follow(late)
        self.error.follow(exc, late_exc)
        if late_inh.size:
            self.ie.follow(late_inh, exc)
        self.n += 1
        return exc, inh

    def run(
        self, raster: Spikes, learning: bool, watch: Callable[[], object] = lambda: None
    ) -> dict[str, NDArray[Any]]:
        """Steps with the inputs that fire in them, (steps, inputs); (step, unit) of the spikes of "exc" and "inh".

        `watch` is called at the end of every step.
        """
        spikes: dict[str, list[NDArray[np.int64]]] = {"exc": [], "inh": []}
        for fired in raster:
            for name, now in zip(spikes, self.step(fired, learning), strict=True):
                units = np.flatnonzero(now)
                spikes[name].append(np.stack([np.full_like(units, self.n - 1), units], 1))
            watch()
        return {name: np.concatenate(pairs) for name, pairs in spikes.items()}

    def state(self) -> dict[str, Floats]:
        """By the names that the simulators give to what they share with this."""
        state: dict[str, Floats] = {}
        for name, group in (("exc", self.exc), ("inh", self.inh)):
            state |= {f"{name}/U": group.v, f"{name}/thr": group.threshold}
            state |= {f"{name}/g_{key}": getattr(group, key) for key in ("ampa", "nmda", "gaba")}
        for name, plastic in (("ext", self.ext), ("ee", self.ee)):
            state |= {f"{name}/w": plastic.w, f"{name}/el": plastic.eligibility, f"{name}/el_flt": plastic.filtered}
            state |= {f"{name}/el_sum": plastic.sum, f"{name}/g2": plastic.maximum}
            state |= {f"{name}.pre/psp": plastic.psp, f"{name}.pre/trpre": plastic.trace}
            error = self.error
            state |= {f"{name}.post/err": error.error, f"{name}.post/tr_err": error.fast}
            state |= {f"{name}.post/tr_err_flt": error.slow, f"{name}.post/sigma_prime": self.surrogate}
            state |= {f"{name}.post/tr_mean": error.mean, f"{name}.post/sigma2": error.variance}
        return {**state, "ie/w": self.ie.w, "ie.pre/y": self.ie.y, "ie.post/x": self.ie.x}

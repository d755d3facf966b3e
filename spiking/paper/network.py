"""The network of the paper's Fig. 5, whoever simulates it: its parameters, its wiring, its input, its segments.

Halvagal & Zenke 2023 (Nature Neuroscience, doi:10.1038/s41593-023-01460-y): populations of Poisson inputs drive
excitatory neurons through synapses that learn by LPL, and inhibitory neurons keep them at a moderate rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.config import check_kinds, setting
from foundation.errors import UsageError
from foundation.seeds import numpy_generator
from spiking.parameters import VARIANTS, ConductanceNeuron, InhibitoryPlasticity, LPLSynapse, whole_steps
from spiking.stimuli import RateTrace, SpikeEvents, draw_spikes

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

INPUT_BLOCK = 10.0  # s, of input that is drawn at once
INHIBITION = ("plastic", "fixed", "none")
STANDARD: dict[str, Any] = {"lambda_": 1.0, "phi": 1.0, "inhibition": "plastic"}
CONDITIONS: dict[str, dict[str, Any]] = {
    "LPL": {},
    "Pred. off": {"phi": 0.0},
    "Hebb off": {"lambda_": 0.0},
    "Inhib. off": {"inhibition": "none"},
    "Inhib. fixed": {"inhibition": "fixed"},
}
"""The conditions that the paper compares, as changes of the standard one."""


@dataclass(frozen=True)
class NetworkConfig:
    """One run of the network; the defaults are those of the published simulation."""

    lambda_: float = setting(1.0, "strength of the Hebbian term of LPL", "lambda")
    phi: float = setting(1.0, "strength of the predictive term of LPL")
    inhibition: str = setting("plastic", "of the excitatory neurons; none: a feedforward network", choices=INHIBITION)
    recurrence: bool = setting(False, "excitatory neurons excite each other, through synapses that learn by LPL")
    augment_gradient: bool = setting(False, "divide every synapse's gradient by its recent maximum: learns faster")
    variant: str = setting(
        "as_simulated", "reading of the rule; as_reported: in the article's erratum", choices=VARIANTS
    )
    float32_traces: bool = setting(False, "round the mean and variance traces as the published program does")
    duration: float = setting(100_000.0, "of training, in s")
    priming: float = setting(1800.0, "before training, with the LPL weights frozen, in s")
    seed: int = setting(0, "of wiring, initial potentials and input spikes")
    eta: float = setting(1e-2, "learning rate of LPL")
    tau_mean: float = setting(600.0, "time constant of the mean rate, in s")
    tau_sigma2: float = setting(30.0, "time constant of the variance, in s")
    tau_weights: float = setting(0.0, "time constant with which LPL weights decay, in s; 0: they do not")
    zeta: float = setting(1e-3, "learning rate of inhibition")
    kappa: float = setting(10.0, "target rate of inhibition, in Hz")
    exc: int = setting(100, "excitatory neurons")
    inh: int = setting(25, "inhibitory neurons")
    population: int = setting(100, "inputs per population")
    p_ext: float = setting(0.1, "probability of an input synapse, and of a recurrent excitatory one")
    w_ext: float = setting(0.15, "initial weight of input and recurrent synapses, in units of the leak conductance")
    sigma_ei: float = setting(20.0, "width of the profile from excitatory to inhibitory neurons, in excitatory neurons")
    w_ei: float = setting(0.5, "weight from excitatory to inhibitory neurons, in units of the leak conductance")
    p_ie: float = setting(0.5, "probability of a synapse from an inhibitory to an excitatory neuron")
    w_ie: float = setting(0.5, "initial weight from inhibitory to excitatory neurons, in units of the leak conductance")
    p_ii: float = setting(0.1, "probability of a synapse between inhibitory neurons")
    w_ii: float = setting(0.4, "weight between inhibitory neurons, in units of the leak conductance")
    half_first: bool = setting(False, "the first input of each population fires at half rate, a flaw of the original")
    dt: float = setting(1e-4, "step of the simulation, in s")

    def __post_init__(self) -> None:
        check_kinds(self)
        for name in ("p_ext", "p_ie", "p_ii"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name}: a probability lies in [0, 1], got {getattr(self, name)}")
        for name in ("w_ext", "w_ei", "w_ie", "w_ii", "tau_weights", "priming"):
            if not 0 <= getattr(self, name) < np.inf:
                raise UsageError(f"{name}: must be finite and not negative, got {getattr(self, name)}")
        for name in ("sigma_ei", "duration"):
            if not 0 < getattr(self, name) < np.inf:
                raise UsageError(f"{name}: must be positive, got {getattr(self, name)}")
        for name in ("exc", "inh", "population"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: must be at least 1, got {getattr(self, name)}")
        if self.w_ext > 1:
            raise UsageError(f"w_ext: plastic weights lie in [0, 1], got {self.w_ext}")
        if self.inhibition == "plastic" and self.w_ie > self.inhibitory.w_max:
            raise UsageError(f"w_ie: plastic weights lie in [0, {self.inhibitory.w_max:g}], got {self.w_ie}")
        self.neuron.check(self.dt)
        interval = self.rule.steps(self.dt).update_interval
        whole_steps("duration", self.duration, self.dt)
        if whole_steps("priming", self.priming, self.dt) % interval:
            raise UsageError(
                f"priming: must be a multiple of the interval between weight updates, {interval * self.dt:g} s, "
                f"got {self.priming}"
            )
        _ = self.inhibitory

    @property
    def neuron(self) -> ConductanceNeuron:
        """The model of all neurons."""
        return ConductanceNeuron()

    @property
    def rule(self) -> LPLSynapse:
        """The plasticity of input and of recurrent excitatory synapses."""
        return LPLSynapse.named(
            self.variant,
            lambda_=self.lambda_,
            phi=self.phi,
            eta=self.eta,
            tau_mean=self.tau_mean,
            tau_sigma2=self.tau_sigma2,
            tau_w=self.tau_weights or None,
            augment_gradient=self.augment_gradient,
            float32_traces=self.float32_traces,
        )

    @property
    def inhibitory(self) -> InhibitoryPlasticity:
        """The plasticity of the synapses from inhibitory to excitatory neurons."""
        return InhibitoryPlasticity(zeta=self.zeta, kappa=self.kappa)

    @property
    def label(self) -> str:
        """The paper's name of this condition, or what tells it from the default."""
        own = (self.lambda_, self.phi, self.inhibition)
        for name, changes in CONDITIONS.items():
            if own == tuple(changes.get(key, default) for key, default in STANDARD.items()):
                return name
        return f"λ = {self.lambda_:g}, φ = {self.phi:g}, inhibition {self.inhibition}"


def variations(config: NetworkConfig, **values: Sequence[Any]) -> list[NetworkConfig]:
    """Networks that differ in some fields, to run as one batch: number k has the kth value of each.

    >>> [each.label for each in variations(NetworkConfig(), lambda_=[1.0, 0.0], seed=[1, 2])]
    ['LPL', 'Hebb off']

    Raises:
        UsageError: the values of a field are not as many as those of the others, or there is no such field.
    """
    known = {f.name for f in fields(NetworkConfig)}
    for name, each in values.items():
        if not hasattr(each, "__len__"):
            raise UsageError(f"{name}: must be a list with one value for each network, got {each!r}")
    sizes = {name: len(each) for name, each in values.items()}
    for name, size in sizes.items():
        first = next(iter(sizes))
        if name not in known:
            raise UsageError(f"{name}: a network has no such parameter")
        if size != sizes[first]:
            raise UsageError(f"{name}: {size} values for a batch of {sizes[first]} networks, the length of {first}")
    return [replace(config, **dict(zip(values, each, strict=True))) for each in zip(*values.values(), strict=True)]


@dataclass(frozen=True, eq=False)
class Projection:
    """Synapses from neurons `pre` to neurons `post`, each (n,), with initial weights `w` (n,)."""

    pre: Integers
    post: Integers
    w: Floats

    @classmethod
    def where(cls, mask: NDArray[np.bool_], w: float) -> Projection:
        """One synapse wherever `mask` (n_pre, n_post) says so."""
        pre, post = np.nonzero(mask)
        return cls(pre.astype(np.int64), post.astype(np.int64), np.full(pre.size, w))

    @classmethod
    def none(cls) -> Projection:
        """No synapse."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


@dataclass(frozen=True, eq=False)
class Wiring:
    """Everything that differs between networks of one config: synapses and initial potentials U (exc,) in V."""

    ext: Projection  # inputs -> exc, plastic
    ei: Projection  # exc -> inh
    ie: Projection  # inh -> exc
    ii: Projection  # inh -> inh
    ee: Projection  # exc -> exc, plastic
    U: Floats


def draw_wiring(config: NetworkConfig, inputs: int) -> Wiring:
    """Random connections as in the published simulation, from the config's seed.

    Every pair of an input and an excitatory neuron is connected with the same probability, and so are inh -> exc and
    inh -> inh (not to itself). Excitatory neuron x excites an inhibitory one centred at c, all of them evenly spread,
    with probability exp(-(x - c)² / sigma_ei²).
    """
    rng = numpy_generator(config.seed, "wiring")
    n, m = config.exc, 0 if config.inhibition == "none" else config.inh
    distance = np.arange(n)[:, None] - np.linspace(0, n, m)
    return Wiring(
        ext=Projection.where(rng.random((inputs, n)) < config.p_ext, config.w_ext),
        ei=Projection.where(rng.random((n, m)) < np.exp(-(distance**2) / config.sigma_ei**2), config.w_ei),
        ie=Projection.where(rng.random((m, n)) < config.p_ie, config.w_ie),
        ii=Projection.where((rng.random((m, m)) < config.p_ii) & ~np.eye(m, dtype=bool), config.w_ii),
        ee=Projection.where(
            (rng.random((n, n)) < config.p_ext * config.recurrence) & ~np.eye(n, dtype=bool), config.w_ext
        ),
        U=rng.normal(-60e-3, 10e-3, n),
    )


@dataclass(frozen=True)
class Segment:
    """A piece of a run: steps first, ..., first + steps - 1, in which the LPL weights learn or are frozen."""

    number: int
    first: int
    steps: int
    learning: bool

    @property
    def end(self) -> int:
        """The first step after it."""
        return self.first + self.steps


def segments(config: NetworkConfig, longest: float, weights_every: float) -> list[Segment]:
    """The run in pieces of at most `longest` s, the priming first; training is cut every `weights_every`.

    Both in s, and multiples of the interval between weight updates: Brian2 counts it from the start of a piece.
    """
    interval = config.rule.steps(config.dt).update_interval
    times = {"longest": longest, "weights_every": weights_every}
    most, cut = (whole_steps(name, value, config.dt) for name, value in times.items())
    for name, steps in zip(times, (most, cut), strict=True):
        if steps < 1 or steps % interval:
            raise UsageError(f"{name}: must be a multiple of {interval * config.dt:g} s, got {steps * config.dt:g} s")
    primed = whole_steps("priming", config.priming, config.dt)
    trained = primed + whole_steps("duration", config.duration, config.dt)
    cuts = sorted({0, *range(primed, trained, cut), trained})
    pieces: list[Segment] = []
    for begin, end in pairwise(cuts):
        for first in range(begin, end, most):
            pieces.append(Segment(len(pieces), first, min(most, end - first), begin >= primed))
    return pieces


class InputSpikes:
    """The input of a run, drawn in blocks of 10 s, each from (seed, block): any stretch of it can be drawn alone."""

    def __init__(self, config: NetworkConfig, traces: Sequence[RateTrace]) -> None:
        for trace in traces:
            trace.check(config.dt)
        self.config, self.traces = config, tuple(traces)
        self.block_steps = whole_steps("block of input", INPUT_BLOCK, config.dt)
        self._block = lru_cache(maxsize=8)(self._draw)  # a piece asks for its input twice

    @property
    def lines(self) -> int:
        """Number of inputs; input k of population p is line p * config.population + k."""
        return len(self.traces) * self.config.population

    def _draw(self, number: int) -> SpikeEvents:
        return draw_spikes(
            self.traces,
            self.config.population,
            dt=self.config.dt,
            first_step=number * self.block_steps,
            steps=self.block_steps,
            generator=numpy_generator(self.config.seed, "input", number),
            half_first=self.config.half_first,
        )

    def fired(self, first: int, steps: int) -> SpikeEvents:
        """The spikes of steps first, ..., first + steps - 1, counted from `first`; there are none before step 0."""
        sources, fired = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for number in range(max(first, 0) // self.block_steps, (first + steps - 1) // self.block_steps + 1):
            block = self._block(number)
            step = block.step + number * self.block_steps - first
            inside = (step >= 0) & (step < steps)
            sources.append(block.source[inside])
            fired.append(step[inside])
        return SpikeEvents(np.concatenate(sources), np.concatenate(fired), self.lines, self.config.dt, steps)

"""The same plasticity at two levels: what a rate synapse and a spiking synapse do for the same stimulus.

The weights are frozen; the spiking synapses (`spiking.brian`) add up what they would do, over independent Poisson
realisations of an image sequence; the rate rule (`ratenets.lpl.rule.online_update`) says what it would do for the
same frames. Both work on z in Hz and with the same mean and variance, so the two differ by spikes and filters alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.coding import frame_spikes
from bridge.config import ComparisonConfig
from foundation.errors import UsageError
from foundation.seeds import numpy_generator
from ratenets.lpl.rule import online_update
from spiking.brian.feedforward import LayerRun, run_layer
from spiking.brian.running import code_for

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """What the traces of each unit start from: mean rate and the variance of its spikes, in Hz, each (M,).

    A spike train of the mean rate r in steps of dt is 0 or 1 in each, with the variance r dt (1 - r dt); the rule's
    variance trace settles at that, divided by dt.
    """

    mean_rate: Floats
    sigma2: Floats

    @classmethod
    def of(cls, activation: Floats, config: ComparisonConfig) -> Statistics:
        """From activations (samples, M) of the rate network, 1 standing for `config.unit_rate`."""
        mean = activation.mean(0) * config.unit_rate
        return cls(mean, mean * (1 - np.minimum(mean * config.dt, 1)))


@dataclass(frozen=True)
class Agreement:
    """One term of the rule, unit by unit, each (M,): cosines between update vectors.

    Attributes:
        cosine: spiking update (mean over realisations) against rate update.
        ceiling: what noise allows: sqrt of the reliability of the spiking update, from the cosine c of its two halves
            (Spearman-Brown: 2 c / (1 + c)).
        shuffled: against the rate update with the inputs' frames shuffled in time, mean over shufflings.
        reordered: against the rate update for the frames in another order; for the Hebbian term, which knows no
            order, the same as `cosine`.
        other: against another unit's rate update.
        overall: the cosine over all synapses at once.
    """

    cosine: Floats
    ceiling: Floats
    shuffled: Floats
    reordered: Floats
    other: Floats
    overall: float

    def summary(self) -> dict[str, float]:
        """Medians over the units."""
        medians = {k: float(np.median(v)) for k, v in asdict(self).items() if k != "overall"}
        return {**medians, "overall": self.overall}


@dataclass(frozen=True)
class Comparison:
    """The result, for the units that are active at all.

    Attributes:
        terms: agreement of the "predictive" and the "Hebbian" term and of their sum, "LPL".
        spiking: the mean spiking update of each term, (M, N), per second and per unit of eta.
        rate: the rate update of each term, (M, N), in the same order.
        balance: lambda in the sum.
        units: which units of the layer these are.
        realisations: how many.
        rates: measured and expected firing rates, (F, M), Hz.
    """

    terms: dict[str, Agreement]
    spiking: dict[str, Floats]
    rate: dict[str, Floats]
    balance: float
    units: NDArray[np.intp]
    realisations: int
    rates: tuple[Floats, Floats]

    @property
    def rate_correlation(self) -> float:
        """Pearson, between measured and expected firing rates."""
        measured, expected = self.rates
        return float(np.corrcoef(measured.ravel(), expected.ravel())[0, 1])


def compare(
    frames: Floats,
    weights: Floats,
    bias: Floats,
    config: ComparisonConfig,
    *,
    statistics: Statistics | None = None,
    balance: float = 1.0,
    label: str = "spiking updates",
) -> Comparison:
    """Compare the two levels on one layer.

    Args:
        frames: the stimulus, (F, N) in [0, 1].
        weights: (M, N), scaled so that an activation of 1 stands for `config.unit_rate`.
        bias: (M,), likewise.
        config: how.
        statistics: of the rate network, for the traces of mean and variance; None: over these frames.
        balance: lambda, the weight of the Hebbian term in the sum; see `balanced_lambda`.
        label: of the progress bar.

    Raises:
        UsageError: frames outside [0, 1], or no unit is active.
    """
    drive = (frames @ weights.T + bias) * config.unit_rate  # Hz
    statistics = statistics or Statistics.of(np.maximum(drive, 0) / config.unit_rate, config)
    active = np.flatnonzero((statistics.mean_rate >= 1.0) & (drive > 0).any(0))
    if len(active) < 2:
        raise UsageError("the layer has fewer than two units with a mean rate of 1 Hz or more: nothing to compare")
    run = _spiking(frames, weights[active], bias[active], _part(statistics, active), config, label)
    hebbian, predictive = np.split(run.gradient, 2)
    seconds = len(frames) * config.frame
    spiking = {
        "predictive": predictive / seconds,
        "Hebbian": hebbian / seconds,
        "LPL": (predictive + balance * hebbian) / seconds,
    }
    parts = {"predictive": (0.0, 1.0), "Hebbian": (1.0, 0.0), "LPL": (balance, 1.0)}
    generator = numpy_generator(config.seed, "shuffles")
    orders = [generator.permutation(len(frames)) for _ in range(config.shuffles)]
    terms, rate = {}, {}
    for name, (lambda_, phi) in parts.items():
        given: dict[str, Any] = {"lambda_": lambda_, "phi": phi, "xi": config.rule().xi}
        given |= {"mean": statistics.mean_rate[active], "variance": statistics.sigma2[active]}
        rate[name] = online_update(frames, drive[:, active], **given)
        shuffled = [online_update(frames, drive[:, active], presynaptic=frames[o], **given) for o in orders]
        reordered = [online_update(frames[o], drive[o][:, active], **given) for o in orders]
        terms[name] = agreement(spiking[name], rate[name], shuffled, reordered)
    window = round(config.frame / config.dt)
    measured = run.rates(window, len(frames), config.dt).mean(1)
    return Comparison(
        terms,
        {name: update.mean(0) for name, update in spiking.items()},
        rate,
        balance,
        active,
        config.realisations,
        (measured, np.maximum(drive[:, active], 0)),
    )


def agreement(spiking: Floats, rate: Floats, shuffled: list[Floats], reordered: list[Floats]) -> Agreement:
    """Cosines of spiking updates (R, M, N) with rate updates (M, N) and controls."""
    mean = spiking.mean(0)
    halves = np.maximum(cosine(spiking[::2].mean(0), spiking[1::2].mean(0)), 0)
    return Agreement(
        cosine=cosine(mean, rate),
        ceiling=np.sqrt(2 * halves / (1 + halves)),
        shuffled=np.mean([cosine(mean, control) for control in shuffled], axis=0),
        reordered=np.mean([cosine(mean, control) for control in reordered], axis=0),
        other=cosine(mean, np.roll(rate, 1, axis=0)),
        overall=float(cosine(mean.ravel(), rate.ravel())),
    )


def cosine(one: Floats, other: Floats) -> Floats:
    """Cosine along the last axis; 0 where a vector is 0."""
    product = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return np.asarray(np.divide((one * other).sum(-1), product, out=np.zeros_like(product), where=product > 0))


def balanced_lambda(
    activation: Floats, statistics: Statistics, scale: float, pull: float, push: float, epsilon: float
) -> float:
    """The lambda with which the Hebbian term weighs against the predictive one what it weighs in the rate network.

    There a unit's error is 2 pull (z - z') against push (z - zbar) / (var z + eps), z in activations; here, in Hz,
    (z - z') against lambda (z - zbar) / (sigma2 + xi). One number for the layer: the median over its active units.

    Args:
        activation: (samples, M), 1 standing for `unit_rate`.
        statistics: of the same units.
        scale: the activation of the rate network that 1 stands for.
        pull: its coefficient.
        push: its coefficient.
        epsilon: added to its variance.
    """
    active = statistics.mean_rate >= 1.0
    if not active.any() or pull == 0:
        raise UsageError("lambda cannot be balanced: no unit is active, or the rate network has no predictive term")
    variance = activation.var(0)[active] * scale**2
    return float(np.median(push * statistics.sigma2[active] / (2 * pull * (variance + epsilon))))


@dataclass(frozen=True)
class Learned:
    """A layer after it learned in spikes.

    Attributes:
        weights: (M, N).
        eta: the learning rate.
        relative_change: norm of the change of the active units' weights, in units of the weights' norm.
        cosine: of that change with the rate rule's update for the same frames, from the initial weights; per unit.
        overall: the same over all synapses at once.
    """

    weights: Floats
    eta: float
    relative_change: float
    cosine: Floats
    overall: float


def learn(
    frames: Floats,
    weights: Floats,
    bias: Floats,
    statistics: Statistics,
    config: ComparisonConfig,
    comparison: Comparison,
    *,
    relative_change: float,
    label: str = "learning in spikes",
) -> Learned:
    """Let the spiking layer learn from the frames; its learning rate is chosen from a `comparison` on frozen weights,
    such that the weights change by about `relative_change` of their norm.

    Arguments as `compare`; all units learn. After the last frame the layer goes on without input until the weight
    update that takes it in.

    Raises:
        UsageError: on frozen weights, the update was zero.
    """
    units = comparison.units
    expected = float(np.linalg.norm(comparison.spiking["LPL"])) * len(frames) * config.frame
    if expected == 0:
        raise UsageError("there is nothing to learn: with frozen weights the update is zero")
    eta = relative_change * float(np.linalg.norm(weights[units])) / expected
    spikes = frame_spikes(
        frames,
        duration=config.frame,
        r_max=config.input_rate,
        dt=config.dt,
        copies=1,
        generator=numpy_generator(config.seed, "learning"),
    )
    window = round(config.rule().update_interval / config.dt)
    with code_for(spikes.steps, config.codegen):
        run = run_layer(
            replace(spikes, steps=-(-spikes.steps // window) * window + 1),
            weights,
            bias,
            config.neuron,
            config.rule(eta, comparison.balance),
            mean_rate=statistics.mean_rate,
            sigma2=statistics.sigma2,
            label=label,
        )
    change = (run.weights[0] - weights)[units]
    return Learned(
        run.weights[0],
        eta,
        float(np.linalg.norm(change) / np.linalg.norm(weights[units])),
        cosine(change, comparison.rate["LPL"]),
        float(cosine(change.ravel(), comparison.rate["LPL"].ravel())),
    )


def _spiking(
    frames: Floats, weights: Floats, bias: Floats, statistics: Statistics, config: ComparisonConfig, label: str
) -> LayerRun:
    """Frozen weights; the first half of the copies with the Hebbian term alone, the second with the predictive."""
    spikes = frame_spikes(
        frames,
        duration=config.frame,
        r_max=config.input_rate,
        dt=config.dt,
        copies=2 * config.realisations,
        generator=numpy_generator(config.seed, "spikes"),
    )
    hebbian = np.repeat([1.0, 0.0], config.realisations)
    with code_for(spikes.steps, config.codegen):
        return run_layer(
            spikes,
            weights,
            bias,
            config.neuron,
            config.rule(),
            copies=2 * config.realisations,
            lambda_=hebbian,
            phi=1 - hebbian,
            mean_rate=statistics.mean_rate,
            sigma2=statistics.sigma2,
            label=label,
        )


def _part(statistics: Statistics, units: NDArray[np.intp]) -> Statistics:
    return Statistics(statistics.mean_rate[units], statistics.sigma2[units])

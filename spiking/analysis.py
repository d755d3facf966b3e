"""The analyses of the LPL network of Halvagal & Zenke 2023 (Fig. 5 and 6): pure functions on spikes and weights.

P is the number of input populations. The paper's five (`POPULATIONS`) are a constant one and two signals, each with a
control of the same rates shuffled in time; preferences between them (`PAIRS`) exist for these five only.
What cannot be computed, the decoding of a recording of a second, say, is NaN.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.errors import RatespikeError
from spiking.recording import NetworkRecord, PairingCurve, Spikes
from spiking.stimuli import PAPER_POPULATIONS

Array = NDArray[np.float64]
Index = NDArray[np.int64]

POPULATIONS = PAPER_POPULATIONS
PAIRS = {"P1": (1, 2), "P2": (3, 4), "P2 vs P1": (3, 1)}
"""Populations i and j of (w_i - w_j) / (w_i + w_j): selectivity of P1 and P2, and the relative one."""

WINDOW = 100.0  # s, the end of a run that is analysed
BIN = 25e-3  # s
FIRST = 1e-4  # s, one step: the first bin starts after it
ALPHA = 0.1  # the Lasso's penalty, for counts per bin
TRAINING_SHARE = 0.95  # of the bins; the others, the last, are the test
MIXED = 0.5  # relative selectivity beyond which a unit counts as P2's, or below minus that as P1's


def population_names(populations: int) -> tuple[str, ...]:
    """The paper's names if there are five populations, else P0, P1, P2, ..."""
    return POPULATIONS if populations == len(POPULATIONS) else tuple(f"P{i}" for i in range(populations))


def analysed(record: NetworkRecord) -> tuple[float, float]:
    """Start and end (s) of what is analysed: the last 100 s, or all spikes that there are."""
    return max(record.start, record.end - WINDOW), record.end


def spike_counts(spikes: Spikes, start: float, end: float, group: Index | None = None) -> Array:
    """Spikes in bins of 25 ms: (bins, units), or (bins, groups) if `group` (units,) names the group of each unit.

    The bin of a spike is the reference's floor((t - start - 0.1 ms) / 25 ms), in its floating point: whether a spike
    right at an edge falls to one side or the other hangs on the last bit of `start`, and R² on that in its third digit.
    """
    bins = int((end - start) / BIN + 1e-6)
    of_unit = np.arange(spikes.size) if group is None else group
    columns = int(of_unit.max(initial=-1)) + 1
    place = ((spikes.time - start - FIRST) // BIN).astype(np.int64)
    inside = (place >= 0) & (place < bins)
    flat = place[inside] * columns + of_unit[spikes.unit[inside]]
    return np.bincount(flat, minlength=bins * columns).reshape(bins, columns).astype(np.float64)


def unit_rates(spikes: Spikes, start: float, end: float) -> Array:
    """Firing rate of each unit from `start` to `end` (s): (units,), Hz."""
    inside = (spikes.time >= start) & (spikes.time <= end)
    return np.bincount(spikes.unit[inside], minlength=spikes.size) / (end - start)


def binned_rates(spikes: Spikes, start: float, end: float, width: float) -> Array:
    """Mean firing rate of a group in whole bins of `width` (s) from `start` on: (bins,), Hz per neuron; 0 for none."""
    edges = start + width * np.arange(int((end - start) / width + 1e-6) + 1)
    return np.diff(np.searchsorted(spikes.time, edges)) / (max(spikes.size, 1) * width)


def population_weights(weights: Array, pre: Index, post: Index, population: Index, units: int) -> Array:
    """Mean weight of each unit's synapses from each population, absent ones counted as 0: (P, units).

    The sum is divided by the inputs of the population, not by the synapses that exist: weights of 0.15 at a tenth of
    all pairs have a mean of 0.015.
    """
    total, _ = _per_unit(weights, pre, post, population, units)
    means: Array = total / np.maximum(np.bincount(population), 1)[:, None]
    return means


def existing_weights(weights: Array, pre: Index, post: Index, population: Index, units: int) -> Array:
    """Mean weight of the synapses that exist, by population: (P,); of each unit, then over units that have any."""
    total, number = _per_unit(weights, pre, post, population, units)
    sums, units_with_any = (total / np.maximum(number, 1)).sum(1), (number > 0).sum(1)
    return np.where(units_with_any > 0, sums / np.maximum(units_with_any, 1), np.nan)


def _per_unit(weights: Array, pre: Index, post: Index, population: Index, units: int) -> tuple[Array, Array]:
    """Sum of the weights and number of the synapses of each unit from each population: (P, units) both."""
    shape = int(population.max(initial=-1)) + 1, units
    place = population[pre] * units + post
    total, number = (np.bincount(place, w, shape[0] * units) for w in (weights, np.ones(len(weights))))
    return total.astype(np.float64).reshape(shape), number.astype(np.float64).reshape(shape)


def preferences(weights: Array, names: tuple[str, ...] | None = None) -> dict[str, Array]:
    """(w_i - w_j) / (w_i + w_j + 1e-9) of each unit's population weights (P, units), for `PAIRS`: (units,), -1 to 1.

    Empty unless the populations are the paper's, by their `names`; five without names are.
    """
    if (population_names(len(weights)) if names is None else names) != POPULATIONS:
        return {}
    return {name: (weights[i] - weights[j]) / (weights[i] + weights[j] + 1e-9) for name, (i, j) in PAIRS.items()}


def participation_ratio(counts: Array) -> float:
    """Dimensionality of activity (bins, units): (Σ e)² / Σ e² of the covariance's eigenvalues e; NaN if constant.

    These sums are the traces of the covariance and of its square.
    """
    centred = counts - counts.mean(0) if len(counts) else counts
    covariance = centred.T @ centred
    size = float(np.sum(covariance**2))
    return float(np.trace(covariance) ** 2 / size) if size else float("nan")


def count_correlations(counts: Array, inputs: Array) -> Array:
    """Pearson correlation of each population's counts (bins, P) with those of all units at once (bins, units): (P,)."""
    return np.array([_correlation(counts, np.repeat(column[:, None], counts.shape[1], 1)) for column in inputs.T])


def _correlation(one: Array, other: Array) -> float:
    if not one.size or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@dataclass(frozen=True, eq=False)
class Decoding:
    """Linear reconstruction of the input populations from the network's activity, on the bins held out at the end.

    Attributes:
        target: (test bins, P), spikes of each population in each bin.
        prediction: (test bins, P), the same as the Lasso says.
        r2: (P,), share of the variance explained; below 0 where a constant would do better; NaN if nothing varies.
        io_correlation: Pearson correlation of prediction and target, all populations together.
    """

    target: Array
    prediction: Array
    r2: Array
    io_correlation: float


def decode(counts: Array, inputs: Array) -> Decoding:
    """Reconstruct the input counts (bins, P) from the units' (bins, units) with a Lasso (alpha 0.1, 95 % to train).

    Scikit-learn's Lasso fits one population after the other, so that the joint fit is also each one's own.
    """
    from sklearn.linear_model import Lasso

    split = int(TRAINING_SHARE * len(counts))
    target = inputs[split:]
    r2 = np.full(inputs.shape[1], np.nan)
    if len(target) < 2 or not counts.shape[1] or not inputs.shape[1]:
        return Decoding(target, np.full(target.shape, np.nan), r2, float("nan"))
    model = Lasso(alpha=ALPHA).fit(counts[:split], inputs[:split])
    prediction = model.predict(counts[split:]).reshape(target.shape)
    variation = ((target - target.mean(0)) ** 2).sum(0)
    varies = variation > 0
    r2[varies] = 1 - ((target - prediction) ** 2).sum(0)[varies] / variation[varies]
    return Decoding(target, prediction, r2, _correlation(prediction, target))


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation (of the units at hand: ddof 0), median, lowest and highest value over units."""

    mean: float
    std: float
    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Array) -> Spread:
        if not len(values):
            return cls(*[float("nan")] * 5)
        return cls(*(float(f(values)) for f in (np.mean, np.std, np.median, np.min, np.max)))


@dataclass(frozen=True)
class NetworkSummary:
    """The numbers of one network: weights at the end of the run, activity in its last 100 s."""

    label: str  # of the condition
    populations: tuple[str, ...]  # their names
    window: float  # s, length of the activity that was analysed
    exc_rate: Spread  # Hz, over excitatory units
    inh_rate: Spread  # Hz, over inhibitory neurons; NaN if there are none
    input_rates: tuple[float, ...]  # Hz, mean of each population
    weights: tuple[Spread, ...]  # of each population: of the mean over potential synapses, over units
    existing_weights: tuple[float, ...]  # of each population: mean over synapses that exist, over units
    preference: dict[str, Spread]  # "P1", "P2" (selectivity) and "P2 vs P1", over units; empty for other populations
    prefer_p1: float  # share of units whose relative selectivity lies below -0.5; NaN for other populations
    prefer_p2: float  # share above 0.5
    participation_ratio: float  # of the excitatory counts in 25 ms
    r2: tuple[float, ...]  # of the reconstruction of each population
    io_correlation: float  # of the reconstruction of all
    count_correlations: tuple[float, ...]  # of each population's counts with the excitatory ones

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN becomes null."""
        values: dict[str, Any] = _plain(asdict(self))
        return values


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return None if value != value else value


@dataclass(frozen=True, eq=False)
class NetworkAnalysis:
    """One network, analysed: weights at the end of the run, activity in its last 100 s."""

    summary: NetworkSummary
    weights: Array  # (P, units), as `population_weights`
    preferences: dict[str, Array]  # (units,) each, as `preferences`
    exc_rates: Array  # (units,), Hz
    inh_rates: Array  # (inhibitory neurons,), Hz
    decoding: Decoding


def analyse(record: NetworkRecord) -> NetworkAnalysis:
    """All analyses of one network.

    Raises:
        RatespikeError: the record holds no weights, or no time.
    """
    start, end = analysed(record)
    if not len(record.weights):
        raise RatespikeError(f"{record.label}: the record has no snapshot of the weights; keep at least the last one")
    if not end > start:
        raise RatespikeError(f"{record.label}: spikes were kept from {start} s to {end} s, which is no time at all")
    synapses = record.weights[-1], record.pre, record.post, record.population, record.exc.size
    weights = population_weights(*synapses)
    chosen = preferences(weights, record.names)
    relative = chosen.get("P2 vs P1")
    counts = spike_counts(record.exc, start, end)
    inputs = spike_counts(record.inputs, start, end, record.population)
    decoding = decode(counts, inputs)
    exc, inh, rates = (unit_rates(spikes, start, end) for spikes in (record.exc, record.inh, record.inputs))
    members = np.maximum(np.bincount(record.population), 1)
    summary = NetworkSummary(
        label=record.label,
        populations=population_names(len(weights)) if record.names is None else record.names,
        window=end - start,
        exc_rate=Spread.of(exc),
        inh_rate=Spread.of(inh),
        input_rates=tuple((np.bincount(record.population, rates) / members).tolist()),
        weights=tuple(Spread.of(row) for row in weights),
        existing_weights=tuple(existing_weights(*synapses).tolist()),
        preference={name: Spread.of(values) for name, values in chosen.items()},
        prefer_p1=float("nan") if relative is None else float(np.mean(relative < -MIXED)),
        prefer_p2=float("nan") if relative is None else float(np.mean(relative > MIXED)),
        participation_ratio=participation_ratio(counts),
        r2=tuple(decoding.r2.tolist()),
        io_correlation=decoding.io_correlation,
        count_correlations=tuple(count_correlations(counts, inputs).tolist()),
    )
    return NetworkAnalysis(summary, weights, chosen, exc, inh, decoding)


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """How the weights came about, at every snapshot."""

    time: Array  # (snapshots,), s since the start of training
    weights: Array  # (snapshots, P), mean over potential synapses and units
    preferences: dict[str, Array]  # (snapshots,) each, means over units; empty unless the populations are the paper's


def learning_curve(record: NetworkRecord) -> LearningCurve:
    """Population weights and selectivity at every snapshot of a run."""
    size = record.exc.size
    shots = [population_weights(w, record.pre, record.post, record.population, size) for w in record.weights]
    curves = [preferences(weights, record.names) for weights in shots]
    return LearningCurve(
        time=record.weight_time,
        weights=np.array([weights.mean(1) for weights in shots]),
        preferences={
            name: np.array([curve[name].mean() for curve in curves]) for name in (curves[0] if curves else ())
        },
    )


def change_at(curve: PairingCurve, delta_t: float) -> float:
    """Relative weight change of the synapse at the largest interval up to `delta_t` (s); NaN beyond the curve's ends.

    With intervals of -20 to 20 ms in 100 steps, +10 ms is the synapse at +9.9 ms and -10 ms that at -10.3 ms: the
    paper's indices 25 and 75 (Fig. 6).
    """
    if not curve.delta_t.min() <= delta_t <= curve.delta_t.max():
        return float("nan")
    below = np.where(curve.delta_t <= delta_t, curve.delta_t, -np.inf)
    return float(curve.relative_delta_w[np.argmax(below)])

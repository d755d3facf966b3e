"""Learning on: the rate rule and the spiking rule change the same weights under the same stimulus.

Both levels see the same input spikes' rates; the rate level uses them as they are, through the rule's filters, the
spiking level draws spikes from them. Each window of the rule changes the weights once. The statistics of a unit, which
traces of 600 s hardly move in this time, stay those of its first pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bridge.comparison import cosine
from bridge.config import LevelsConfig
from bridge.levels.agreement import flat_cosine
from bridge.levels.ladder import Ladder
from bridge.levels.material import Layer
from bridge.levels.neurons import Curve, arriving, filtered_drive, neurons_of
from bridge.levels.rule import Synapse
from foundation.errors import UsageError
from foundation.progress import bar
from foundation.seeds import numpy_generator
from foundation.threads import threads_for

Floats = NDArray[np.float64]
WINDOW, MEMORY, BIN = 0.5, 0.5, 0.1  # s: between updates; what a window remembers of the time before; of responses
LEVELS = ("rate", "spiking")


@dataclass(frozen=True, eq=False)
class Learned:
    """What the two levels have learned.

    Attributes:
        before: weights, (M, N).
        after: of each level.
        cosine: between the changes of the two levels, by unit.
        overall: the same over all synapses at once.
        change: how far each went, as a share of the weights' norm.
        selectivity: mean weight from each population of inputs, (M, P), before and of each level; None: no populations.
        cka: linear CKA between the responses with the weights before, of the rate and of the spiking level.
        participation_ratio: of the responses with each.
        readout: R^2 of a linear readout of the inputs' population rates from the responses with each.
    """

    before: Floats
    after: dict[str, Floats]
    cosine: Floats
    overall: float
    change: dict[str, float]
    selectivity: dict[str, Floats] | None
    cka: dict[str, float]
    participation_ratio: dict[str, float]
    readout: dict[str, float]


def learn_both(ladder: Ladder, *, change: float = 0.3, term: str = "LPL") -> Learned:
    """Let both levels learn from the ladder's stimulus.

    Args:
        ladder: on frozen weights; it tells the learning rates, such that weights go about as far as `change`, as a
            share of their norm.
        change: positive.
        term: which part of the rule: "LPL", or one of its terms.

    Raises:
        UsageError: `change` is not positive, or nothing would be learned.
    """
    if not change > 0:
        raise UsageError(f"change: must be positive, got {change}")
    names = dict(zip(LEVELS, ("rule's filters", "spiking unit"), strict=True))
    rungs = {rung.name: rung for rung in ladder.rungs}
    before = ladder.layer.weights[ladder.units]
    layer = ladder.part
    exists = before != 0
    after = {}
    for level, rung in names.items():
        update = rungs[rung].mean(term) * exists
        size = float(np.linalg.norm(update)) * layer.stimulus.duration
        if size == 0:
            raise UsageError("there is nothing to learn: with frozen weights the update is zero")
        eta = change * float(np.linalg.norm(before)) / size
        with threads_for(ladder.config.realisations * before.size):
            after[level] = _Learner(ladder, layer, level, rungs[rung].rates, exists).learn(eta, term)
    moved = {level: weights - before for level, weights in after.items()}
    weights = {"before": before, **after}
    responses = {name: _responses(layer, ladder.config, ladder.curve, w) for name, w in weights.items()}
    pairs = (("before", "rate"), ("before", "spiking"), ("rate", "spiking"))
    return Learned(
        before,
        after,
        cosine(moved["rate"], moved["spiking"]),
        flat_cosine(moved["rate"], moved["spiking"]),
        {level: float(np.linalg.norm(m) / np.linalg.norm(before)) for level, m in moved.items()},
        None if layer.groups is None else {name: by_group(w, layer.groups) for name, w in weights.items()},
        {f"{one} - {other}": linear_cka(responses[one], responses[other]) for one, other in pairs},
        {name: participation(z) for name, z in responses.items()},
        {name: _readout(z, layer) for name, z in responses.items()},
    )


class _Learner:
    """One level, window by window."""

    def __init__(self, ladder: Ladder, layer: Layer, level: str, mean: Floats, exists: NDArray[np.bool_]) -> None:
        self.layer, self.config, self.curve, self.level = layer, ladder.config, ladder.curve, level
        self.rule = ladder.config.rule(layer.reading, layer.delta_t)
        self.synapse = Synapse(self.rule, ladder.config.dt)
        self.mean, self.exists = mean, exists
        self.low = 0.0 if layer.reading == "conductance" else -np.inf

    def learn(self, eta: float, term: str) -> Floats:
        """The weights at the end of the stimulus."""
        dt, rates = self.config.dt, self.layer.stimulus.values
        window, memory = round(WINDOW / dt), round(MEMORY / dt)
        weights = self.layer.weights.copy()
        x = rates * dt
        if self.level == "spiking":
            generator = numpy_generator(self.config.seed, "learning")
            x = np.asarray(generator.random(rates.shape) < x, dtype=np.float64)
        neurons = neurons_of(self.layer, self.config, self.rule, 1)
        units = len(weights)
        z, factor = np.zeros((len(x), units)), np.zeros((len(x), units))
        for start in bar(range(0, len(x), window), label=f"learning, {self.level} level", unit="window"):
            end, since = min(start + window, len(x)), max(0, start - memory)
            if self.level == "rate":
                z[start:end], factor[start:end] = self._rates(x[since:end], weights, start - since)
            else:
                arrived = arriving(weights, x[since:end], self.synapse.delays[0])[start - since :]
                for step, now in enumerate(arrived, start):
                    fired, slope = neurons.step(torch.from_numpy(now[None]))
                    z[step], factor[step] = fired[0].numpy(), slope[0].numpy()
            part = slice(since, end)
            updates = self.synapse.updates(
                x[part], factor[part], z[part], self.mean, filtered=True, since=start - since
            )
            weights = weights + eta * (end - start) * dt * updates[term] * self.exists
            weights = np.maximum(weights, self.low)
        return weights

    def _rates(self, x: Floats, weights: Floats, since: int) -> tuple[Floats, Floats]:
        arrived = arriving(weights, x, self.synapse.delays[0])
        a = filtered_drive(self.layer, self.config, arrived)[since:]
        return self.curve.f(a) * self.config.dt, self.curve.slope(a)


def _responses(layer: Layer, config: LevelsConfig, curve: Curve, weights: Floats) -> Floats:
    """Mean rates of rate units with some weights in bins of the stimulus, (bins, M)."""
    arrived = arriving(weights, layer.stimulus.values * config.dt, 0)
    z = curve.f(filtered_drive(layer, config, arrived))
    return binned(z, round(BIN / config.dt))


def binned(values: Floats, steps: int) -> Floats:
    """Means over consecutive bins, (bins, M); what is left at the end apart."""
    number = len(values) // steps
    return np.asarray(values[: number * steps].reshape(number, steps, -1).mean(1))


def by_group(weights: Floats, groups: NDArray[np.int64]) -> Floats:
    """Mean weight of the synapses that a unit has from each population, (M, P)."""
    found = []
    for group in range(groups.max() + 1):
        part = weights[:, groups == group]
        exists = part != 0
        found.append(part.sum(1) / np.maximum(exists.sum(1), 1))
    return np.stack(found, axis=1)


def linear_cka(one: Floats, other: Floats) -> float:
    """Similarity of two sets of responses to the same stimuli, (samples, M), 0 to 1 (Kornblith et al. 2019)."""
    x, y = one - one.mean(0), other - other.mean(0)
    size = float(np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    return float(np.linalg.norm(x.T @ y) ** 2 / size) if size else float("nan")


def participation(responses: Floats) -> float:
    """Participation ratio of their covariance: how many dimensions they fill."""
    values = np.linalg.eigvalsh(np.cov(responses.T))
    total = float((values**2).sum())
    return float(values.sum() ** 2 / total) if total else float("nan")


def _readout(responses: Floats, layer: Layer) -> float:
    """Share of the variance of the inputs (by population, if there are some) that a linear readout finds, on the second
    half of the stimulus, fitted to the first.
    """
    inputs = binned(layer.stimulus.values, round(BIN / layer.stimulus.dt))
    if layer.groups is not None:
        inputs = np.stack([inputs[:, layer.groups == g].mean(1) for g in range(layer.groups.max() + 1)], axis=1)
    inputs = inputs[:, inputs.std(0) > 1e-9]
    half = len(responses) // 2
    z = np.concatenate([(responses - responses[:half].mean(0)) / (responses[:half].std(0) + 1e-9)], axis=1)
    z = np.concatenate([z, np.ones((len(z), 1))], axis=1)
    ridge = np.linalg.solve(z[:half].T @ z[:half] + np.eye(z.shape[1]), z[:half].T @ inputs[:half])
    error = ((inputs[half:] - z[half:] @ ridge) ** 2).sum()
    return float(1 - error / ((inputs[half:] - inputs[half:].mean(0)) ** 2).sum())

"""What the spikes of a unit add to its updates: the gap between rate and spiking plasticity, in three parts.

A spiking update sums, over time, psp_j f_i E_i: the input behind its filter, the surrogate derivative, the error behind
the filters of error and eligibility (`bridge.levels.rule`). Over realisations of one stimulus, < >, it is exactly

    <psp f E>  =  <psp> <f> <E>                     locked: what follows the stimulus; all that a rate rule can see
               +  <psp> ( <f E> - <f> <E> )         own spikes: a unit's derivative knows of its spikes, and E as well
               +  <psp f E> - <psp> <f E>           pairs: input spikes make, or miss, output spikes

The last is what remains when the inputs of other realisations, the shift predictor of Perkel et al. (1967), are
subtracted. <psp> follows from the rates; <f> <E> is taken from different realisations, so that no part is biased.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.comparison import cosine
from bridge.levels.ladder import Ladder
from bridge.levels.neurons import arriving, simulate
from bridge.levels.rule import TERMS, Synapse, delayed, errors_of
from foundation.errors import UsageError
from foundation.seeds import numpy_generator

Floats = NDArray[np.float64]
NAMES = ("locked", "own spikes", "pairs")


@dataclass(frozen=True, eq=False)
class Parts:
    """One term's mean update, (S,) over the S synapses that exist, unit by unit, and its three parts.

    Attributes:
        total: the mean update, as `Synapse.updates` gives it; the sum of the parts.
        parts: by name, see `NAMES`.
        filtered: what the rate rule with the same filters says.
    """

    total: Floats
    parts: dict[str, Floats]
    filtered: Floats

    def sizes(self) -> dict[str, float]:
        """The norm of each part in units of the total's; they need not add up to 1: parts may cancel."""
        size = float(np.linalg.norm(self.total))
        return {name: float(np.linalg.norm(part)) / size if size else np.nan for name, part in self.parts.items()}

    def projections(self) -> dict[str, float]:
        """How much of the total each part makes up, as its projection on the total; they add up to 1."""
        size = float(self.total @ self.total)
        return {name: float(part @ self.total) / size if size else np.nan for name, part in self.parts.items()}

    def agreement(self) -> dict[str, float]:
        """Cosine of each part, and of the total, with the rate rule behind the same filters."""
        each = {**self.parts, "total": self.total}
        return {name: float(cosine(part, self.filtered)) for name, part in each.items()}


def parts_of(ladder: Ladder, *, recurrent: bool = False, realisations: int | None = None) -> dict[str, Parts]:
    """Take the spiking update of every term apart.

    Args:
        ladder: of a comparison; its layer and stimulus are simulated again.
        recurrent: with the layer's inhibitory population.
        realisations: None: as many as the ladder has.

    Raises:
        UsageError: fewer than two realisations, or a layer without inhibition that is to have some.
    """
    number = ladder.config.realisations if realisations is None else realisations
    if number < 2:
        raise UsageError(f"realisations: two or more are needed to tell the parts, got {number}")
    if recurrent and ladder.part.inhibition is None:
        raise UsageError("recurrent: the layer has no inhibitory population")
    return _Sums(ladder, number).parts(recurrent)


class _Sums:
    """Sums over realisations of what the parts are made of."""

    def __init__(self, ladder: Ladder, realisations: int) -> None:
        self.ladder, self.layer, self.realisations = ladder, ladder.part, realisations
        self.since = round(ladder.config.settle / ladder.config.dt)
        self.dt, self.rule = ladder.config.dt, ladder.config.rule(ladder.layer.reading, ladder.layer.delta_t)
        self.synapse = Synapse(self.rule, self.dt)
        self.delay = self.synapse.delays[0]

    def parts(self, recurrent: bool) -> dict[str, Parts]:
        split = self._split(*self._simulated(recurrent))
        weights = {"predictive": self.rule.phi, "Hebbian": self.rule.lambda_, "growth": self.rule.delta}
        split["LPL"] = {n: np.sum([w * split[t][n] for t, w in weights.items()], axis=0) for n in NAMES}
        filtered = {rung.name: rung for rung in self.ladder.rungs}["rule's filters"]
        exists = self.layer.weights != 0
        found = {}
        for term in TERMS:
            parts = {name: part[exists] for name, part in split[term].items()}
            found[term] = Parts(np.sum(list(parts.values()), axis=0), parts, filtered.mean(term)[exists])
        return found

    def _simulated(self, recurrent: bool) -> tuple[Floats, Floats]:
        """Spikes and surrogate derivatives, (T, R, M)."""
        arrived = [arriving(self.layer.weights, self._spikes(n), self.delay) for n in range(self.realisations)]
        inhibition = self.layer.inhibition if recurrent else None
        config, label = self.ladder.config, f"{self.realisations} realisations, in parts"
        spikes, factor = simulate(self.layer, config, self.rule, np.stack(arrived, 1), inhibition, label)
        return spikes.astype(np.float64), factor.astype(np.float64)

    def _spikes(self, number: int) -> Floats:
        """Those of the ladder."""
        rates = self.layer.stimulus.values
        generator = numpy_generator(self.ladder.config.seed, "spikes", number)
        return np.asarray(generator.random(rates.shape) < rates * self.dt, dtype=np.float64)

    def _psp(self, x: Floats) -> Floats:
        return delayed(self.synapse.psp(x), self.delay)

    def _split(self, z: Floats, factor: Floats) -> dict[str, dict[str, Floats]]:
        """The three parts of each term but the sum of all, (M, N) per second."""
        number, begun = self.realisations, (np.arange(len(z)) >= self.since)[:, None]
        mean = z[self.since :].mean((0, 1)) / self.dt
        shape = len(z), z.shape[2]
        f_sum = np.zeros(shape)
        sums = {term: [np.zeros(shape), np.zeros(shape), np.zeros(self.layer.weights.shape)] for term in TERMS[:-1]}
        for n in range(number):
            f, psp = delayed(factor[:, n], self.delay), self._psp(self._spikes(n))
            f_sum += f
            errors = errors_of(z[:, n], mean, self.rule, self.dt, self.synapse.delays)
            for term, of in sums.items():
                E = self.synapse.backward(self.synapse.signal(errors[term]) * begun)
                for total, more in zip(of, (E, f * E, (f * E).T @ psp), strict=True):
                    total += more
        expected = self._psp(self.layer.stimulus.values * self.dt)
        return {term: self._parts(f_sum, of, expected) for term, of in sums.items()}

    def _parts(self, f: Floats, sums: list[Floats], expected: Floats) -> dict[str, Floats]:
        """The three parts, from sums over realisations, of f and of E, f E and f E psp, and the expected psp."""
        E, fE, total = sums
        number, seconds = self.realisations, (len(f) - self.since) * self.dt
        locked = ((f * E - fE) / (number * (number - 1))).T @ expected  # f and E of different realisations
        both = (fE / number).T @ expected
        parts = locked, both - locked, total / number - both
        return {name: part / seconds for name, part in zip(NAMES, parts, strict=True)}

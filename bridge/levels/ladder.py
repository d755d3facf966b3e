"""The ladder: from the rate rule to spikes, one step of realism at a time, and the agreement at every rung.

rate            -(z(t) - z(t - Dt)) etc. times f'(a) x, from rates alone
synapse         what drives the unit goes through the axonal delay and the synapses' filter
rule's filters  psp, eligibility and error are filtered as the spiking rule filters them
Poisson input   input spikes; the unit is still a rate unit
spiking unit    the unit spikes; the surrogate derivative takes the place of f'
inhibition      a recurrent inhibitory population

The updates of each term are compared with those of the rung before and of the first, unit by unit and over all
synapses; with the noise ceiling of two halves of the realisations, and two controls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bridge.config import LevelsConfig
from bridge.levels.agreement import MEASURES, Agreement, agreement_of, by_number
from bridge.levels.material import Layer
from bridge.levels.neurons import Curve, arriving, drive_of, filtered_drive, measured_curve, simulate
from bridge.levels.rule import TERMS, Synapse
from foundation.errors import UsageError
from foundation.seeds import numpy_generator
from foundation.threads import threads_for
from spiking.parameters import whole_steps

Floats = NDArray[np.float64]
RUNGS = ("rate", "synapse", "rule's filters", "Poisson input", "spiking unit", "inhibition")


@dataclass(frozen=True, eq=False)
class Rung:
    """One rung.

    Attributes:
        name: of it.
        updates: of each term, (R, M, N); R = 1 where nothing is drawn.
        rates: mean firing rate of each unit in Hz, (M,).
    """

    name: str
    updates: dict[str, Floats]
    rates: Floats

    def mean(self, term: str) -> Floats:
        """Over the realisations, (M, N)."""
        found: Floats = self.updates[term].mean(0)
        return found


@dataclass(frozen=True, eq=False)
class Ladder:
    """The result.

    Attributes:
        layer: what was compared.
        config: how.
        rungs: lowest first.
        agreement: by rung and term.
        curve: rate for a drive, and the mean surrogate derivative there.
        units: which of the layer's units are active, and so compared.
    """

    layer: Layer
    config: LevelsConfig
    rungs: list[Rung]
    agreement: dict[str, dict[str, Agreement]]
    curve: Curve
    units: NDArray[np.int64]

    @property
    def part(self) -> Layer:
        """The layer of the compared units alone."""
        return _part(self.layer, self.units)

    def table(self, term: str = "LPL") -> list[dict[str, float | str]]:
        """One row for each rung: medians over the units, and the overall numbers."""
        return [
            {
                "rung": rung.name,
                **{f"{key} (all)": value for key, value in found.overall.items()},
                **{key: float(np.median(getattr(found, key))) for key in MEASURES},
                "rate in Hz": float(rung.rates.mean()),
            }
            for rung in self.rungs
            for found in (self.agreement[rung.name][term],)
        ]

    def by_realisations(self, term: str = "LPL") -> list[list[float]]:
        """For 2, 4, 8, ... realisations: how many, the last rung's correlation over all synapses with the first, and
        its ceiling.
        """
        return by_number(self.rungs[-1].updates[term], self.rungs[0].mean(term), self.part.weights != 0)


def compare_levels(layer: Layer, config: LevelsConfig | None = None) -> Ladder:
    """Climb the ladder with frozen weights.

    Args:
        layer: weights and stimulus, see `bridge.levels.material`.
        config: how.

    Raises:
        UsageError: the stimulus is on another grid of time, too short, or leaves the units silent.
    """
    config = config or LevelsConfig()
    if layer.stimulus.dt != config.dt:
        raise UsageError(f"dt: the stimulus has steps of {layer.stimulus.dt} s, the comparison of {config.dt} s")
    with threads_for(config.realisations * layer.weights.size):
        return _climbed(layer, config)


def _climbed(layer: Layer, config: LevelsConfig) -> Ladder:
    climb = _Climb(layer, config)
    rungs = [climb.rate(), climb.rate(synapse=True), climb.rate(synapse=True, filtered=True)]
    rungs += [climb.poisson(), climb.spiking(recurrent=False)]
    if layer.inhibition is not None:
        rungs.append(climb.spiking(recurrent=True))
    shuffled, exists = climb.shuffled(), climb.layer.weights != 0
    agreement = {}
    for number, rung in enumerate(rungs):
        before = rungs[max(number - 1, 0)]
        agreement[rung.name] = {
            term: agreement_of(
                rung.updates[term], rungs[0].mean(term), before.mean(term), [s[term] for s in shuffled], exists
            )
            for term in TERMS
        }
    return Ladder(layer, config, rungs, agreement, climb.curve, climb.units)


class _Climb:
    """What the rungs share."""

    def __init__(self, layer: Layer, config: LevelsConfig) -> None:
        self.config = config
        self.rule = config.rule(layer.reading, layer.delta_t)
        self.synapse = Synapse(self.rule, config.dt)
        self.since = whole_steps("settle", config.settle, config.dt)
        least = self.since + 2 * self.synapse.delays[1]
        if len(layer.stimulus.values) < least:
            raise UsageError(
                f"stimulus: must last {least * config.dt:g} s or more, lasts {layer.stimulus.duration:g} s"
            )
        drive = drive_of(layer, config, layer.stimulus.values)
        self.curve = measured_curve(layer, config, self.rule, float(drive.max()))
        mean = self.curve.f(drive).mean(0)
        self.units = np.flatnonzero(mean >= 0.5)
        if len(self.units) < 2:
            raise UsageError("fewer than two units have a mean rate of 0.5 Hz or more: nothing to compare")
        self.layer = _part(layer, self.units)
        self.rates = layer.stimulus.values

    def rate(self, *, synapse: bool = False, filtered: bool = False) -> Rung:
        """The rungs from rates alone."""
        a = drive_of(self.layer, self.config, self.rates)
        if synapse:
            x = self.rates * self.config.dt
            a = filtered_drive(self.layer, self.config, arriving(self.layer.weights, x, self.synapse.delays[0]))
        z = self.curve.f(a)
        updates = self._updates(self.rates * self.config.dt, self.curve.slope(a), z * self.config.dt, filtered)
        return Rung(RUNGS[synapse + filtered], {k: v[None] for k, v in updates.items()}, z[self.since :].mean(0))

    def shuffled(self) -> list[dict[str, Floats]]:
        """The control: the first rung with blocks of the inputs in another order than the units saw."""
        a = drive_of(self.layer, self.config, self.rates)
        z, slope = self.curve.f(a) * self.config.dt, self.curve.slope(a)
        block = whole_steps("block", self.config.block, self.config.dt)
        number = len(self.rates) // block
        rows = np.arange(number * block).reshape(number, block)
        generator = numpy_generator(self.config.seed, "shuffles")
        found = []
        for _ in range(self.config.shuffles):
            order = rows[generator.permutation(number)].ravel()
            order = np.concatenate([order, np.arange(len(order), len(self.rates))])
            found.append(self._updates(self.rates[order] * self.config.dt, slope, z, filtered=False))
        return found

    def poisson(self) -> Rung:
        """Input spikes, rate units."""
        found, rates = [], []
        for number in range(self.config.realisations):
            x = self._spikes(number)
            a = filtered_drive(self.layer, self.config, arriving(self.layer.weights, x, self.synapse.delays[0]))
            z = self.curve.f(a)
            found.append(self._updates(x, self.curve.slope(a), z * self.config.dt, filtered=True))
            rates.append(z[self.since :].mean(0))
        return Rung(RUNGS[3], _stacked(found), np.mean(rates, axis=0))

    def spiking(self, *, recurrent: bool) -> Rung:
        """Input spikes, spiking units."""
        config, realisations = self.config, range(self.config.realisations)
        drive = np.stack(
            [arriving(self.layer.weights, self._spikes(n), self.synapse.delays[0]) for n in realisations], 1
        )
        label = f"{config.realisations} realisations{', inhibition' if recurrent else ''}"
        inhibition = self.layer.inhibition if recurrent else None
        spikes, factors = simulate(self.layer, config, self.rule, drive, inhibition, label)
        mean = spikes[self.since :].mean((0, 1)) / config.dt
        found = [
            self._updates(
                self._spikes(n), factors[:, n].astype(float), spikes[:, n].astype(float), filtered=True, mean=mean
            )
            for n in realisations
        ]
        return Rung(RUNGS[4 + recurrent], _stacked(found), mean)

    def _updates(
        self, x: Floats, factor: Floats, z: Floats, filtered: bool, mean: Floats | None = None
    ) -> dict[str, Floats]:
        level = z[self.since :].mean(0) / self.config.dt if mean is None else mean
        return self.synapse.updates(x, factor, z, level, filtered=filtered, since=self.since)

    def _spikes(self, number: int) -> Floats:
        """Input spikes of a realisation, (T, N), the same whenever they are asked for."""
        generator = numpy_generator(self.config.seed, "spikes", number)
        return np.asarray(generator.random(self.rates.shape) < self.rates * self.config.dt, dtype=np.float64)


def _part(layer: Layer, units: NDArray[np.int64]) -> Layer:
    """Some units of a layer alone, with their share of the inhibition."""
    if len(units) == len(layer.weights):
        return layer
    if layer.inhibition is not None:
        inhibition = replace(layer.inhibition, ei=layer.inhibition.ei[:, units], ie=layer.inhibition.ie[units])
        layer = replace(layer, inhibition=inhibition)
    return replace(layer, weights=layer.weights[units], bias=layer.bias[units])


def _stacked(found: list[dict[str, Floats]]) -> dict[str, Floats]:
    return {term: np.stack([each[term] for each in found]) for term in found[0]}

"""Two clusters in the plane, one of which predicts the next input: Halvagal & Zenke 2023, Fig. 2.

The input's x tells the cluster, x = +-1 + N(0, 0.1), and persists; y = N(0, sigma_y) is new in every frame. LPL finds
x however small its share of the variance is. Each of N samples stays in its cluster from a frame to the next with the
probability 1 - p. All neurons of a sweep, (values x repetitions), learn at once.

The original learns for max(10000, 100 sigma_y) steps, which is 10000 for every sigma_y of the sweep, and computes in
float32, where the naive rule's diverging weights end as NaN for sigma_y < 2; here, in float64, they are huge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from foundation.config import check_kinds, setting
from foundation.errors import UsageError
from foundation.progress import bar
from foundation.seeds import numpy_generator
from foundation.threads import threads_for
from ratenets.toy.rules import HEBB_OFF, LPL, NAIVE, OJA, PRED_OFF, VICREG, Floats, Rule, update

RULES: tuple[Rule, ...] = (LPL, PRED_OFF, OJA, HEBB_OFF, VICREG, NAIVE)
"""What every sweep compares, in the order of the arrays."""
COURSE_RULES: tuple[Rule, ...] = (*RULES[:-1], replace(NAIVE, decay=10.0))
"""Those whose activity is followed: the naive rule with ten times the weight decay, which does not hold it either."""
MEASURES = ("selectivity", "alignment", "activity")
SWEEPS = ("sigma", "sigma_noisy", "p")
COURSE_SIGMA = 2.0  # sigma_y of the neurons whose activity is followed: y varies more than x does
COURSE_POINTS = 200  # at most, of these curves


@dataclass(frozen=True)
class TwoInputsConfig:
    """Settings of the sweeps; the defaults end within a minute."""

    sigmas: int = setting(13, "two-inputs: standard deviations sigma_y of the input that predicts nothing, 0.01 to 100")
    probabilities: int = setting(13, "two-inputs: probabilities p of changing the cluster, 0 to 1")
    repetitions: int = setting(3, "two-inputs: neurons for each of these")
    steps: int = setting(10_000, "two-inputs: steps of learning")
    samples: int = setting(200, "two-inputs: samples in a step")
    noisy: float = setting(0.2, "two-inputs: p of the second sweep of sigma_y; it is 0 in the first")
    learning_rate: float = setting(0.01, "two-inputs: learning rate; divided by sigma_y where that is above 1")
    weight_decay: float = setting(0.15, "two-inputs: L2 weight decay")
    deviation: float = setting(0.1, "two-inputs: standard deviation of x in a cluster")
    test_samples: int = setting(10_000, "two-inputs: samples of which the selectivity is taken")

    def __post_init__(self) -> None:
        check_kinds(self)
        for name, least in (("sigmas", 2), ("probabilities", 2), ("repetitions", 1), ("steps", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name}: must be at least {least}, got {getattr(self, name)}")
        for name in ("samples", "test_samples"):
            if getattr(self, name) < 2 or getattr(self, name) % 2:
                raise UsageError(f"{name}: must be even, half for each cluster, got {getattr(self, name)}")
        for name in ("learning_rate", "weight_decay", "deviation"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name}: must not be negative, got {getattr(self, name)}")
        if not 0 <= self.noisy <= 1:
            raise UsageError(f"noisy: must be a probability, 0 to 1, got {self.noisy}")

    @property
    def sigma_values(self) -> Floats:
        """The sweep of sigma_y, (sigmas,)."""
        return np.geomspace(0.01, 100, self.sigmas)

    @property
    def p_values(self) -> Floats:
        """The sweep of p, (probabilities,)."""
        return np.linspace(0, 1, self.probabilities)


class Clusters(NamedTuple):
    """The statistics of the input of R neurons."""

    sigma: Floats  # (R,), standard deviation of y
    p: Floats  # (R,), probability of changing the cluster
    deviation: float  # of x in a cluster

    def start(self, samples: int) -> Floats:
        """Clusters -1 and +1 of the first frame, (R, samples): half of the samples in each."""
        return np.tile(np.repeat([-1.0, 1.0], samples // 2), (len(self.sigma), 1))

    def frame(self, cluster: Floats, rng: np.random.Generator) -> Floats:
        """Inputs (R, 2, samples) in these clusters, (R, samples)."""
        inputs = rng.standard_normal((len(cluster), 2, cluster.shape[1]))
        inputs[:, 0] *= self.deviation
        inputs[:, 0] += cluster
        inputs[:, 1] *= self.sigma[:, None]
        return inputs

    def frames(self, samples: int, rng: np.random.Generator) -> Iterator[Floats]:
        """The sequence, without end: inputs (R, 2, samples)."""
        cluster = self.start(samples)
        while True:
            yield self.frame(cluster, rng)
            if self.p.any():
                cluster = np.where(rng.random(cluster.shape) < self.p[:, None], -cluster, cluster)


class Outcome(NamedTuple):
    """What R neurons under each of V rules have learned, (R, V) each; NaN where a rule's weights left all bounds."""

    selectivity: Floats  # |mean_A - mean_B| / (max - min) of the output, A and B the clusters
    alignment: Floats  # |cos| of the weights with the x axis
    activity: Floats  # mean |y|


def learn(
    rules: Sequence[Rule], clusters: Clusters, config: TwoInputsConfig, rng: np.random.Generator, label: str | None
) -> tuple[Floats, Floats]:
    """Let neurons learn from random weights, U(-1/sqrt 2, 1/sqrt 2), the same for every rule.

    The learning rate is min(1, 1/sigma) of the config's. With a `label` a progress bar is shown.

    Returns:
        Weights (R, V, 2), and the mean activity |y_{t+1}| at each of `course_steps`, (points, R, V).
    """
    w = np.repeat(rng.uniform(-1, 1, (len(clusters.sigma), 1, 2)) / np.sqrt(2), len(rules), axis=1)
    rate = (config.learning_rate * np.minimum(1, 1 / clusters.sigma))[:, None, None]
    kept, course = set(course_steps(config).tolist()), []
    frames = clusters.frames(config.samples, rng)
    before = next(frames)
    with np.errstate(over="ignore", invalid="ignore"):  # a rule may diverge; what it has learned then says so
        for step in bar(range(config.steps), label=label or "", unit="step", disable=label is None):
            x = next(frames)
            w, y = update(rules, w, x, before, rate, config.weight_decay)
            if step in kept:
                course.append(np.abs(y).mean(-1))
            before = x
    return w, np.array(course)


def course_steps(config: TwoInputsConfig) -> NDArray[np.int64]:
    """The steps whose activity is kept, (points,)."""
    return np.unique(np.linspace(0, config.steps - 1, COURSE_POINTS).astype(np.int64))


def outcome(w: Floats, clusters: Clusters, samples: int, rng: np.random.Generator) -> Outcome:
    """Test weights (R, V, 2) on fresh samples, half of them in each cluster."""
    found = []
    for k, own in enumerate(w):  # one after the other: ten thousand samples of hundreds of neurons are much
        alone = Clusters(clusters.sigma[k : k + 1], clusters.p[k : k + 1], clusters.deviation)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            y = own @ alone.frame(alone.start(samples), rng)[0]
            low, high = np.split(y, 2, axis=-1)
            selectivity = np.abs(low.mean(-1) - high.mean(-1)) / np.ptp(y, axis=-1)
            alignment = np.abs(own[:, 0]) / np.hypot(own[:, 0], own[:, 1])
            found.append((selectivity, alignment, np.abs(y).mean(-1)))
    return Outcome(*(np.where(np.isfinite(values), values, np.nan) for values in np.swapaxes(found, 0, 1)))


@threads_for(0)
def run(config: TwoInputsConfig, seed: int, *, progress: bool = False) -> dict[str, Floats]:
    """All sweeps of Fig. 2, as named arrays (see `shapes`), for which every random draw comes from `seed`."""
    arrays: dict[str, Floats] = {}
    for name in SWEEPS:
        values = config.p_values if name == "p" else config.sigma_values
        swept = np.repeat(values, config.repetitions)
        sigma = np.ones_like(swept) if name == "p" else swept
        p = swept if name == "p" else np.full_like(swept, config.noisy if name == "sigma_noisy" else 0.0)
        clusters = Clusters(sigma, p, config.deviation)
        label = f"sweep of {name}" if progress else None
        w, _ = learn(RULES, clusters, config, numpy_generator(seed, "two inputs", name, "learning"), label)
        found = outcome(w, clusters, config.test_samples, numpy_generator(seed, "two inputs", name, "test"))
        for measure, of in zip(MEASURES, found, strict=True):
            arrays[f"{name}/{measure}"] = of.T.reshape(len(RULES), len(values), config.repetitions)
    ones = np.ones(config.repetitions)
    clusters = Clusters(COURSE_SIGMA * ones, 0 * ones, config.deviation)
    rng = numpy_generator(seed, "two inputs", "course")
    w, course = learn(COURSE_RULES, clusters, config, rng, "activity" if progress else None)
    return {**arrays, "course/weights": w.swapaxes(0, 1), "course/activity": course.transpose(2, 0, 1)}


def shapes(config: TwoInputsConfig) -> dict[str, tuple[int, ...]]:
    """What `run` gives: each measure of each sweep is (rules, values, repetitions), the course of the activity (rules,
    points, repetitions), the weights at its end (rules, repetitions, 2).
    """
    n, repetitions = len(RULES), config.repetitions
    found: dict[str, tuple[int, ...]] = {}
    for name in SWEEPS:
        values = config.probabilities if name == "p" else config.sigmas
        found |= {f"{name}/{measure}": (n, values, repetitions) for measure in MEASURES}
    found["course/weights"] = (n, repetitions, 2)
    found["course/activity"] = (n, len(course_steps(config)), repetitions)
    return found

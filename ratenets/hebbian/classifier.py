"""Are the metrics specific to the rule? A linear classifier names the rule from them, on runs it has not seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedKFold, cross_val_predict, permutation_test_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from foundation.errors import UsageError
from foundation.seeds import derive
from ratenets.hebbian.results import LocalResult
from ratenets.hebbian.summary import Values, summaries

FOLDS = 5
PERMUTATIONS = 100
"""Least p value: 1/101."""
ITERATIONS = 5000
"""Of the classifier's optimiser, at most."""


@dataclass(frozen=True, eq=False)
class Specificity:
    """How far the metrics give the rule away.

    Attributes:
        rules: their names, in the order in which they come.
        labels: the rule of each run, (n,), 0 to rules - 1.
        accuracy: share of the runs, 0 to 1, whose rule is named rightly by a classifier that has not seen them, mean
            over folds.
        chance: the same of one that always names the most frequent rule.
        p: of an accuracy as high or higher where rules and runs have nothing to do with each other (permutations).
        confusion: runs by rule (rows) and by the rule that was named (columns), (rules, rules).
        projection: the first two principal components of the standardised metrics, (n, 2).
        explained: shares of the variance that these have, (2,).
        metrics: names of those that vary, m.
        weights: of the classifier of all runs, for standardised metrics, (rules, m).
    """

    rules: tuple[str, ...]
    labels: NDArray[np.int64]
    accuracy: float
    chance: float
    p: float
    confusion: NDArray[np.int64]
    projection: Values
    explained: Values
    metrics: tuple[str, ...]
    weights: Values


def name_the_rule(
    results: Sequence[LocalResult], folds: int = FOLDS, seed: int = 0, permutations: int = PERMUTATIONS
) -> Specificity:
    """Train a linear classifier (multinomial logistic regression) to name the rule from a run's metrics.

    Metrics are standardised, and those that a run lacks are replaced by their mean, with means and spreads of the
    training folds alone: that something is undefined is no clue in itself. Folds are stratified by rule.

    Args:
        results: runs with metrics, of several rules.
        folds: of the cross-validation.
        seed: of the folds and the permutations.
        permutations: of the rules among the runs, for the p value.

    Raises:
        UsageError: fewer than two rules, fewer runs of a rule than folds, one run twice, or no metric that varies.
    """
    summaries(results)  # a run that is there twice would be known from the training folds
    rules = tuple(dict.fromkeys(result.rule for result in results))
    labels = np.array([rules.index(result.rule) for result in results], np.int64)
    _check(rules, labels, folds)
    metrics, values = matrix(results)
    model = _model()
    state = derive(seed, "name the rule") % 2**32
    splits = StratifiedKFold(folds, shuffle=True, random_state=state)
    accuracy, _, p = permutation_test_score(
        model, values, labels, cv=splits, n_permutations=permutations, random_state=state, scoring="accuracy"
    )
    named = cross_val_predict(model, values, labels, cv=splits)
    projection, explained = _projection(values)
    return Specificity(
        rules=rules,
        labels=labels,
        accuracy=float(accuracy),
        chance=max(Counter(labels.tolist()).values()) / len(labels),
        p=float(p),
        confusion=confusion_matrix(labels, named, labels=range(len(rules))),
        projection=projection,
        explained=explained,
        metrics=metrics,
        weights=_weights(model.fit(values, labels)),
    )


def matrix(results: Sequence[LocalResult]) -> tuple[tuple[str, ...], Values]:
    """The names of all metrics that vary among the runs, and their values (runs, metrics), NaN where undefined.

    Raises:
        UsageError: there is none.
    """
    names = sorted({name for result in results for name in result.metrics})
    values = np.array([[result.metrics.get(name) for name in names] for result in results], np.float64)
    kept = [k for k, column in enumerate(values.T) if len(np.unique(column[~np.isnan(column)])) > 1]
    if not kept:
        raise UsageError("metrics: there is none that differs between runs")
    return tuple(names[k] for k in kept), values[:, kept]


def _check(rules: tuple[str, ...], labels: NDArray[np.int64], folds: int) -> None:
    if len(rules) < 2:
        raise UsageError(f"which rule: needs runs of at least two rules, all are of {rules[0]}")
    if folds < 2:
        raise UsageError(f"folds: must be at least 2, got {folds}")
    counts = np.bincount(labels)
    if counts.min() < folds:
        few = rules[int(counts.argmin())]
        raise UsageError(f"which rule: needs {folds} runs of every rule for {folds} folds, {few} has {counts.min()}")


def _scaled() -> list[SimpleImputer | StandardScaler]:
    """Means in the place of what is undefined, 0 if all is; then each metric with mean 0 and variance 1."""
    return [SimpleImputer(keep_empty_features=True), StandardScaler()]


def _model() -> Pipeline:
    return make_pipeline(*_scaled(), LogisticRegression(max_iter=ITERATIONS))


def _weights(model: Pipeline) -> Values:
    weights: Values = model[-1].coef_
    return np.vstack([-weights, weights]) if len(weights) == 1 else weights  # of two rules, there is one boundary


def _projection(values: Values) -> tuple[Values, Values]:
    """Two principal components, and their shares of the variance; the second is 0 of a single metric."""
    standardised = make_pipeline(*_scaled()).fit_transform(values)
    pca = PCA(min(2, values.shape[1]), svd_solver="full").fit(standardised)
    projection, explained = np.zeros((len(values), 2)), np.zeros(2)
    projection[:, : pca.n_components_] = pca.transform(standardised)
    explained[: pca.n_components_] = pca.explained_variance_ratio_
    return projection, explained

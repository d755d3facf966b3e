"""What an experiment has found, as a table for the terminal: means over seeds, and 95 % confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foundation.tables import aligned
from foundation.text import one_line
from ratenets.butd.summary import ENOUGH, estimate
from ratenets.hebbian.classifier import FOLDS, Specificity, name_the_rule
from ratenets.hebbian.results import LocalResult
from ratenets.hebbian.summary import Summary, Values, layers_of, summaries

LEARNED = 0.5
"""Share of a class's images above which it counts as learned."""


def table(results: Sequence[LocalResult]) -> str:
    """The results of one experiment, a line for each condition.

    Experiments with learning: accuracy, the least and the best seed's, and the number of classes that are learned (of
    which more than half of the images are named rightly). Else what the experiment measures, by layer.

    Raises:
        UsageError: see `ratenets.hebbian.summary.summaries`.
    """
    found = summaries(results)
    experiment = results[0].experiment
    seeds = sorted({len(summary.runs) for summary in found})
    number = f"{seeds[0]}" + (f" to {seeds[-1]}" if len(seeds) > 1 else "")
    enough = ": mean ± 95 % confidence interval" if seeds[-1] >= ENOUGH else ": means" if seeds[-1] > 1 else ""
    title = f"{experiment or 'run'} on {results[0].data}, {number} seed{'s' * (seeds != [1])}{enough}"
    if experiment == "which-rule":
        return "\n".join([title, *_training(found), *_which_rule(results)])
    rows = {"snr": _snr, "bias": _bias}.get(experiment, _training)
    return "\n".join([title, *rows(found)])


def _training(found: Sequence[Summary]) -> list[str]:
    rows = [["condition", "validation %", "least", "most", "train %", "test %", "classes learned"]]
    for summary in found:
        validation, train = (100 * summary.course(f"{split}_accuracy")[:, -1:] for split in ("validation", "train"))
        test = 100 * np.array([[run.test_accuracy] for run in summary.runs], np.float64)
        learned = (summary.by_class() > LEARNED).sum(1, keepdims=True).astype(np.float64)
        extremes = [f"{value:.2f}" for value in (validation.min(), validation.max())]
        of = f" of {len(summary.classes)}"
        rows.append(
            [_name(summary), _cell(validation), *extremes, _cell(train), _cell(test), _cell(learned) + of],
        )
    return aligned(rows)


def _snr(found: Sequence[Summary]) -> list[str]:
    layers = layers_of(found, "snr")
    rows = [["condition", *(f"SNR {layer}" for layer in layers)]]
    rows += [[_name(each), *(_cell(each.snr(layer)[:, None], 4) for layer in layers)] for each in found]
    return aligned(rows)


def _bias(found: Sequence[Summary]) -> list[str]:
    layers = layers_of(found, "cosine")
    rows = [["condition", *(f"cosine {layer}, {when}" for layer in layers for when in ("before", "at the end"))]]
    for each in found:
        courses = [each.cosine(layer) for layer in layers]
        rows.append([_name(each), *(_cell(course[:, k : k + 1 or None], 3) for course in courses for k in (0, -1))])
    return aligned(rows)


def _which_rule(results: Sequence[LocalResult]) -> list[str]:
    runs = [sum(result.rule == rule for result in results) for rule in {result.rule for result in results}]
    folds = min(FOLDS, *runs) if len(runs) > 1 else 0
    if folds < 2:
        return ["which rule it was: needs at least two rules, and two runs of each"]
    return specificity_lines(name_the_rule(results, folds))


def specificity_lines(found: Specificity) -> list[str]:
    """How many rules are named rightly, and which are not."""
    lines = [
        f"rule named rightly: {100 * found.accuracy:.1f} % of {len(found.labels)} runs, cross-validated; chance "
        f"{100 * found.chance:.1f} %, p {'<' if found.p < 0.01 else '='} {max(found.p, 0.01):.2g} (permutations)"
    ]
    for rule, row in zip(found.rules, np.eye(len(found.rules), dtype=bool), strict=True):
        own = found.confusion[row][0]
        wrong = [f"{found.rules[k]} {n}" for k, n in enumerate(own) if n and not row[k]]
        if wrong:
            lines.append(f"  {rule}: {own[row][0]} of {own.sum()}; named {', '.join(wrong)}")
    return lines


def _name(summary: Summary) -> str:
    return one_line(f"{summary.label}, {summary.setting}" if summary.setting else summary.label)


def _cell(values: Values, digits: int = 2) -> str:
    """The mean of (seeds, 1) as text, over the seeds where it is defined; "-" if there is none."""
    defined = values[~np.isnan(values)]
    if not defined.size:
        return "-"
    mean, half = estimate(defined)
    return f"{mean:.{digits}f}" + (f" ± {half:.{digits}f}" if len(defined) >= ENOUGH else "")

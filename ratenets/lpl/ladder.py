"""From a rule that failed to the one that works, one change at a time.

An independent re-implementation of LPL never got its predictive term to work. It differs from the published rule in
four ways that matter: the predictive term is summed over the batch, where the others are means, so that it outweighs
them by the batch size; decorrelation is taken as first published, before the erratum; the gradient flows through one of
the two views only; and the layers are trained one after the other. Each rung takes one of them back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from foundation.errors import UsageError
from ratenets.lpl.config import LPLConfig

FAILED: dict[str, bool] = {"summed_pull": True, "published_decorr": True, "one_view": True}
"""Settings of the loss in the independent re-implementation; it also trains greedily."""

CHANGES: tuple[tuple[str, str], ...] = (
    ("", "independent re-implementation"),
    ("summed_pull", "predictive term: mean over the batch"),
    ("published_decorr", "decorrelation: squared covariance"),
    ("one_view", "gradient through both views"),
    ("greedy", "all layers at once: the published rule"),
)
"""What each rung takes back, and its name."""


class Rung(NamedTuple):
    """One step of the ladder.

    Attributes:
        name: what changed.
        config: of its run.
    """

    name: str
    config: LPLConfig


def rungs(base: LPLConfig) -> Iterator[Rung]:
    """The runs of the ladder, the failure first; the last one is `base` itself.

    Raises:
        UsageError: `base` is not plain LPL, so that the changes would not lead to it.
    """
    loss = base.loss
    if not loss.plain or loss.end_to_end or base.greedy:
        raise UsageError("ladder: it ends at plain layer-local LPL; leave the options of other losses out")
    changes: dict[str, Any] = dict(FAILED)
    greedy = True
    for setting, name in CHANGES:
        if setting == "greedy":
            greedy = False
        elif setting:
            changes[setting] = False
        yield Rung(name, replace(base, loss=replace(loss, **changes), greedy=greedy))

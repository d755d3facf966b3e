"""Networks of one structure, to be run as a batch: numbers, seeds and wirings are free, code and delays are shared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from foundation.errors import UsageError
from spiking.network.models import NeuronModel
from spiking.network.network import Network
from spiking.network.plasticity import Rule, SpikeTriggeredRule
from spiking.rule import IntervalCode


class Batch:
    """Networks that differ in numbers alone; iterate over it for its members.

    Parameters, weights, seeds, sources and the synapses of a projection are free, and a projection may be empty in some
    members. Populations, models' and rules' code, receptors, delays and dt are shared.

    Raises:
        UsageError: there is none, or the structure of two differs; the message says where.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        if not networks:
            raise UsageError("batch: there is no network in it")
        self.networks = tuple(networks)
        for number, other in enumerate(self.networks[1:], start=1):
            _check(self.networks[0], other, f"batch: network {number} differs from the first")

    def __iter__(self) -> Iterator[Network]:
        return iter(self.networks)

    def __len__(self) -> int:
        return len(self.networks)


def _check(one: Network, other: Network, where: str) -> None:
    if one.dt != other.dt:
        raise UsageError(f"{where} in dt: {one.dt} s and {other.dt} s")
    for kind, of_one, of_other in (
        ("populations", one.populations, other.populations),
        ("projections", one.projections, other.projections),
    ):
        if (missing := sorted(of_one.keys() ^ of_other.keys())) or list(of_one) != list(of_other):
            raise UsageError(f"{where} in its {kind}: {', '.join(missing) or 'another order'}")
    for name, p in one.populations.items():
        q = other.populations[name]
        of: list[tuple[str, Callable[[Any], Any]]] = [
            ("shape", lambda x: x.shape),
            ("model", lambda x: _structure(x.model)),
        ]
        for what, get in of:
            if get(p) != get(q):
                raise UsageError(f"{where} in the {what} of population {name}")
    for name, a in one.projections.items():
        b = other.projections[name]
        if (a.source.name, a.target.name, a.receptor, a.sends) != (b.source.name, b.target.name, b.receptor, b.sends):
            raise UsageError(f"{where} in what projection {name} connects")
        if (np.shape(a.delay) == () == np.shape(b.delay) and a.delay != b.delay) or np.ndim(a.delay) != np.ndim(
            b.delay
        ):
            raise UsageError(f"{where} in the delay of projection {name}")
        if _rule(a.rule) != _rule(b.rule):
            raise UsageError(f"{where} in the rule of projection {name}")


def _structure(model: Any) -> Any:
    """What of a model is shared: all but its numbers."""
    if not isinstance(model, NeuronModel):
        return "source"
    free = {"name", "variables", "parameters", "units"}
    shared = {f.name: getattr(model, f.name) for f in fields(model) if f.name not in free}
    return {**shared, "variables": list(model.variables), "parameters": sorted(model.parameters)}


def _rule(rule: Rule | IntervalCode | None) -> Any:
    """The same of a rule."""
    if rule is None:
        return None
    free = {"constants", "variables", "growth", "eta"}
    shared = {f.name: getattr(rule, f.name) for f in fields(rule) if f.name not in free}
    if isinstance(rule, SpikeTriggeredRule):
        shared["at_intervals"] = _rule(rule.at_intervals)
    elif not isinstance(rule, IntervalCode):
        update = rule.update
        shared["update"] = _rule(update if isinstance(update, IntervalCode) else update.code())
        shared["signal"] = {f.name: getattr(rule.signal, f.name) for f in fields(rule.signal) if f.name != "parameters"}
        shared["growth"] = bool(rule.growth)
    return {**shared, "constants": sorted(rule.constants)}

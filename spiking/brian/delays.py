"""Delays whose content is explicit state: ordinary variables that can be read, saved and set, on every device.

Brian2 keeps the spikes that travel along a delayed pathway in a queue that C++ standalone mode neither shows nor
restores. A simulation that is to be cut and resumed anywhere needs them as variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from brian2 import Group, NeuronGroup, Synapses, second
from brian2.core.spikesource import SpikeSource

from foundation.errors import UsageError
from spiking.brian.equations import ORDER, SLOT


def own_clock(group: Any) -> None:
    """Let the clock that Brian2 made for a group be called by the group's name: it counts those of other networks, too,
    and then finds another clock where a network that was built again is to be restored.
    """
    if re.fullmatch(rf"{group.name}_clock_\d+", group.clock.name):
        group.clock._name = f"{group.name}_clock"


def refer(group: Group, name: str, other: Group, variable: str, index: str) -> None:
    """Let the code of `group` use `other`'s variable under that name, element `index` (a variable of `group`) of it,
    as Brian2 does in synapses for the variables of source and target.
    """
    if name in group.variables:
        raise UsageError(f"target: its variable {name!r} bears a name of the rule; choose another")
    group.variables.add_reference(name, other, variable, index=index)


def relay(source: SpikeSource, target: NeuronGroup, code: str, delay: float = 0.0) -> Synapses:
    """Run `code` on neuron k of `target` when neuron k of `source` has spiked, `delay` (s) later."""
    synapses = Synapses(
        source, target, on_pre=code, delay=delay * second, clock=target.clock, name=f"{target.name}_relay"
    )
    every = np.arange(source.N)
    synapses.connect(i=every, j=every, namespace={})
    return synapses


def memory_cells(*names: str) -> str:
    """The variables that `remember_spikes` needs in a group's equations."""
    return "".join(f"cell_{name} : integer  # where to find it in the ring\n" for name in ("now", *names))


def remember_spikes(group: NeuronGroup, delays: Mapping[str, int]) -> NeuronGroup:
    """Keep the last values of ``s_now`` (1 in the step of a spike, else 0), a variable of `group`.

    Code of the group can then use ``s_<name>``, for every name in `delays`: what s_now was that many steps ago (0 for
    the current step from slot ``after_resets`` on). Returns the group that holds the memory, which must join the
    network: a ring of rows, one per step, through which the cells of `group` move together.
    """
    length = max(delays.values(), default=0) + 1
    ring = NeuronGroup(group.N * length, "s : 1", clock=group.clock, name=f"{group.name}_memory")
    group.namespace["ring_size"] = group.N * length
    for name, steps in {"now": 0, **delays}.items():
        refer(group, "s_ring" if name == "now" else f"s_{name}", ring, "s", f"cell_{name}")
        group.variables[f"cell_{name}"].unique = True  # no two neurons share a cell: Brian2 need not warn
        setattr(group, f"cell_{name}", np.arange(group.N) + (-steps % length) * group.N)
    advance = "\n".join(
        f"cell_{name} = cell_{name} + N - ring_size*int(cell_{name} + N >= ring_size)" for name in ("now", *delays)
    )
    group.run_regularly(advance, clock=group.clock, when="start")
    group.run_regularly("s_ring = s_now", clock=group.clock, when=SLOT, order=ORDER["write"])
    return ring


@dataclass(frozen=True)
class Axon:
    """Iterate over it to add its objects to a network."""

    end: NeuronGroup  # spikes as the source does, a fixed number of steps later
    memory: NeuronGroup
    relay: Synapses

    def __iter__(self) -> Iterator[Any]:
        return iter((self.end, self.memory, self.relay))


def axon(source: SpikeSource, steps: int, *, name: str = "axon*") -> Axon:
    """The axons of `source`, with a delay of `steps` (at least 1); `name` as in `spiking.brian.plasticity`."""
    if steps < 1:
        raise UsageError(f"axon: its delay must be at least one step, got {steps}")
    own_clock(source)
    end = NeuronGroup(
        source.N,
        "s_now : 1\n" + memory_cells("arriving"),
        threshold="s_arriving > 0",
        reset="",
        clock=source.clock,
        name=name,
    )
    memory = remember_spikes(end, {"arriving": steps})
    end.run_regularly("s_now = 0", clock=source.clock, when="end")
    return Axon(end, memory, relay(source, end, "s_now = 1"))

"""The network of the paper's Fig. 5 in torch, many at once, as a backend of `spiking.simulation`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spiking.network import NetworkConfig, Wiring
from spiking.simulation import Piece
from spiking.simulation import State as Arrays
from spiking.stimuli import SpikeEvents
from spiking.torch.batch import PLASTIC, Batch, Member, State
from spiking.torch.plasticity import Events
from spiking.torch.stepping import Spikes, TensorStepper

NEURON = ("U", "g_ampa", "g_nmda", "g_gaba", "thr")
SYNAPSE = ("w", "el", "el_flt", "el_sum", "g2")


class TorchNetworks:
    def __init__(
        self,
        configs: Sequence[NetworkConfig],
        wirings: Sequence[Wiring],
        lines: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        engine=TensorStepper,
    ) -> None:
        members = [Member.of(config, wiring, lines) for config, wiring in zip(configs, wirings, strict=True)]
        self.batch = Batch(members, configs[0].neuron, configs[0].dt, dtype, device)
        self.stepper = engine(self.batch)

    def start(self) -> list[Arrays]:
        return self._split(self.batch.start())

    def advance(self, states: Sequence[Arrays], arrivals: Sequence[SpikeEvents], learning: bool) -> list[Piece]:
        state = self._join(states)
        steps = arrivals[0].steps
        events = _merged(arrivals, self.batch)
        bounds = np.searchsorted(events.step.cpu().numpy(), cuts := _windows(steps, self.batch.steps.interval))
        found: list[Spikes] = []
        for first, end, low, high in zip(cuts[:-1], cuts[1:], bounds[:-1], bounds[1:], strict=True):
            part = Events(events.line[low:high], events.step[low:high] - first)
            spikes = self.stepper.advance(state, part, end - first)
            found.append(spikes._replace(step=spikes.step + first))
            if (end - 1) % self.batch.steps.interval == 0:
                self.batch.update(state, learning)
        network, step, unit = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
        pieces = []
        for k, after in enumerate(self._split(state)):
            mine = network == k
            spikes_of = {}
            for name, chosen in (("exc", unit < self.batch.exc), ("inh", unit >= self.batch.exc)):
                at = mine & chosen
                spikes_of[name] = (step[at], unit[at] - (self.batch.exc if name == "inh" else 0))
            pieces.append(Piece(after, spikes_of, {}))
        return pieces

    # --- one state per network, as arrays -----------------------------------------------------------------------------
    def _split(self, state: State) -> list[Arrays]:
        arrays = {name: value.cpu().numpy() for name, value in state.items()}
        return [self._one(arrays, k) for k in range(self.batch.size)]

    def _one(self, arrays: Arrays, k: int) -> Arrays:
        b = self.batch
        wiring, exc = b.members[k].wiring, b.exc
        own: Arrays = {}
        for name in NEURON:
            own[f"exc/{name}"], own[f"inh/{name}"] = arrays[name][k, :exc].copy(), arrays[name][k, exc:].copy()
        for name in (*b.rule.signal.variables, "tr_err", "tr_err_flt", "factor"):
            own[f"ext.post/{name}"] = arrays[name][k].copy()
        own["spikes"] = arrays["spikes"][k].copy()
        own["ie/w"] = arrays["inhibition"][k, wiring.ie.pre, wiring.ie.post].copy()
        own["ie.post/x"], own["ie.pre/y"] = arrays["x"][k].copy(), arrays["y"][k].copy()
        for name in PLASTIC:
            at = self._place(name, k)
            for key in SYNAPSE:
                own[f"{name}/{key}"] = arrays[f"{name}/{key}"][at].copy()
            for key in ("trace", "psp"):
                own[f"{name}.pre/{key}"] = arrays[f"{name}/{key}"].reshape(b.size, -1)[k].copy()
            own[f"{name}.pre/pending"] = arrays[f"{name}/pending"][k].copy()
        return own

    def _place(self, name: str, k: int) -> NDArray[np.int64]:
        """Where the synapses of network k stand in the batch, in the order of its wiring."""
        orders = self.batch.orders[name]
        first = sum(order.size for order in orders[:k])
        place = np.empty_like(orders[k])
        place[orders[k]] = np.arange(first, first + orders[k].size)
        return place

    def _join(self, states: Sequence[Arrays]) -> State:
        joined = {name: value.cpu().numpy() for name, value in self.batch.start().items()}
        for k, own in enumerate(states):
            b, wiring, exc = self.batch, self.batch.members[k].wiring, self.batch.exc
            for name in NEURON:
                joined[name][k, :exc], joined[name][k, exc:] = own[f"exc/{name}"], own[f"inh/{name}"]
            for name in (*b.rule.signal.variables, "tr_err", "tr_err_flt", "factor"):
                joined[name][k] = own[f"ext.post/{name}"]
            joined["spikes"][k] = own["spikes"]
            joined["inhibition"][k, wiring.ie.pre, wiring.ie.post] = own["ie/w"]
            joined["x"][k], joined["y"][k] = own["ie.post/x"], own["ie.pre/y"]
            for name in PLASTIC:
                at = self._place(name, k)
                for key in SYNAPSE:
                    joined[f"{name}/{key}"][at] = own[f"{name}/{key}"]
                for key in ("trace", "psp"):
                    joined[f"{name}/{key}"].reshape(b.size, -1)[k] = own[f"{name}.pre/{key}"]
                joined[f"{name}/pending"][k] = own[f"{name}.pre/pending"]
        return {name: torch.from_numpy(value).to(self.batch.device) for name, value in joined.items()}


def _windows(steps: int, interval: int) -> list[int]:
    """Where to cut: weights are written at the end of steps 0, interval, 2 interval, ..."""
    return sorted({0, *range(1, steps, interval), steps})


def _merged(arrivals: Sequence[SpikeEvents], batch: Batch) -> Events:
    """The spikes of all networks, in the order of time."""
    step = np.concatenate([events.step for events in arrivals])
    line = np.concatenate([events.source + k * batch.lines for k, events in enumerate(arrivals)])
    order = np.argsort(step, kind="stable")
    return Events(*(torch.from_numpy(part[order]).to(batch.device) for part in (line, step)))

"""The pairing protocol of the paper's Fig. 6 in torch: all protocols at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from foundation.progress import bar
from foundation.stopping import stop_requests
from spiking.pairing import PairingProtocol
from spiking.paper.network import Projection, Wiring
from spiking.parameters import ConductanceNeuron
from spiking.recording import PairingCurve
from spiking.rule import lpl
from spiking.stimuli import SpikeEvents
from spiking.torch.batch import Batch, Member
from spiking.torch.engines import dtype_of, make_stepper
from spiking.torch.plasticity import Events


def pairing_member(protocol: PairingProtocol) -> Member:
    """The clamped neuron and its inputs, each with a synapse of its own."""
    nothing = Projection.none()
    every = np.arange(protocol.inputs)
    ext = Projection(every, np.zeros_like(every), np.full(protocol.inputs, protocol.w_0))
    rest = np.full(1, ConductanceNeuron().u_rest)
    return Member(
        lpl(protocol.rule, protocol.dt),
        Wiring(ext, nothing, nothing, nothing, nothing, rest),
        protocol.inputs,
        0,
        None,
        {"tr_mean": protocol.initial_mean * protocol.tau_mean, "sigma2": protocol.initial_sigma2},
    )


def run_pairings(
    protocols: Sequence[PairingProtocol],
    *,
    precision: str = "float32",
    device: torch.device | str = "cpu",
    engine: str = "auto",
    label: str | None = "pairing",
) -> list[PairingCurve]:
    """Run protocols side by side; one curve each.

    Args:
        protocols: of one number of inputs, one dt, one type of traces.
        precision: float32 or float64.
        device: where to compute.
        engine: see `spiking.torch.engines.make_stepper`.
        label: of the progress bar; None for none.

    Raises:
        UsageError: the protocols do not fit together.
        RatespikeError: the weights of a protocol are not finite any more.
    """
    members = [pairing_member(protocol) for protocol in protocols]
    dt, where = protocols[0].dt, torch.device(device)
    batch = Batch(members, ConductanceNeuron(), dt, dtype_of(precision), where)
    stepper = make_stepper(batch, engine)
    state, steps = batch.start(), max(protocol.steps for protocol in protocols)
    delay = batch.steps.axonal_delay
    fired = [protocol.input_spikes() for protocol in protocols]
    weights, spikes = [np.zeros(0)] * len(members), np.zeros(len(members), np.int64)
    cuts = [0, *range(1, steps + 1, batch.steps.interval)]
    with (
        bar(label=label or "", total=round(steps * dt, 1), unit=" simulated s", disable=label is None) as progress,
        stop_requests() as stopped,
    ):
        for first, end in pairwise(cuts):
            if stopped():
                raise KeyboardInterrupt
            clamp = np.stack([protocol.clamp(first, end - first) for protocol in protocols])
            found = stepper.advance(
                state, _arriving(fired, first, end, delay, batch), end - first, torch.from_numpy(clamp).to(batch.like)
            )
            batch.update(state, learning=True)
            lasting = np.array([protocol.steps >= end for protocol in protocols])
            spikes += np.bincount(found.network.cpu().numpy(), minlength=len(members)) * lasting
            for k, protocol in enumerate(protocols):
                if protocol.steps == end:
                    weights[k] = state["ext/w"].view(len(members), -1)[k].double().cpu().numpy()
            progress.update(round((end - first) * dt, 1))
    return [protocol.curve(w, int(count)) for protocol, w, count in zip(protocols, weights, spikes, strict=True)]


def _arriving(fired: Sequence[SpikeEvents], first: int, end: int, delay: int, batch: Batch) -> Events:
    lines, steps = [], []
    for k, events in enumerate(fired):
        low, high = np.searchsorted(events.step, (first - delay, end - delay))
        lines.append(events.source[low:high] + k * batch.lines)
        steps.append(events.step[low:high] + delay - first)
    return Events(*(torch.from_numpy(np.concatenate(part)).to(batch.device) for part in (lines, steps)))

"""A converted layer goes on learning: latent predictive learning in spikes, from the converted weights on.

Two readings (`Reading`):

current: the converted layer's own neurons (`CurrentNeuron`, potentials in units of the threshold), signed weights, the
    surrogate derivative sigma'(u) = beta / (1 + beta |u - theta|)^2.
conductance: the reference's neuron. Weights are split by their sign into excitatory synapses, which learn, and
    inhibitory ones, which are fixed or follow the symmetric inhibitory rule; one gain for the layer makes conductances
    of them, such that its neurons fire as much as the rate network's units. The bias is a constant conductance.

The traces of mean and variance start from the rate network's statistics, so nothing has to be primed. The rule's
Delta t is set to the duration of a frame. The layer's input is Poisson: a rate of one spike per step of the converted
network becomes `input_rate`. Both backends are shown the same spikes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bridge.comparison import cosine
from bridge.config import BACKENDS, LearningConfig
from bridge.learning.in_torch import TorchLayer
from bridge.learning.part import Floats, part_of
from foundation.errors import UsageError
from foundation.json_files import parse_json
from foundation.threads import threads_for
from spiking.network_file import NetworkFile
from spiking.synapses import Conv

__all__ = ["Learned", "LearningConfig", "learn_layer"]


@dataclass(frozen=True, eq=False)
class Learned:
    """A layer that went on learning.

    Attributes:
        file: the converted network with the layer's new weights.
        layer: its number in the network.
        before, after: its weights, as the layer holds them.
        eta: the learning rate.
        gain: conductance reading: what a weight was multiplied by; 1 else.
        rates: mean firing rate of every unit (or channel) while it learned, in Hz; and what was expected of them.
    """

    file: NetworkFile
    layer: int
    before: Floats
    after: Floats
    eta: float
    gain: float
    rates: tuple[Floats, Floats]

    @property
    def relative_change(self) -> float:
        """How far the weights went, as a share of their norm."""
        return float(np.linalg.norm(self.after - self.before) / np.linalg.norm(self.before))

    def cosine(self, other: Learned) -> float:
        """Between the changes of two runs."""
        one, two = self.after - self.before, other.after - other.before
        return float(cosine(one.ravel(), two.ravel()))


def learn_layer(
    file: NetworkFile,
    layer: int,
    images: Tensor,
    config: LearningConfig,
    *,
    backend: str = "torch",
    device: torch.device | str = "cpu",
    codegen: str = "auto",
) -> Learned:
    """Let a layer of a converted network learn from a sequence of images, each of which is a frame.

    Args:
        file: the converted network.
        layer: number of a spiking layer, from 1, lowest first.
        images: frames in their order, (F, *input_shape), as the network takes them.
        config: how.
        backend: "torch"; or "brian2", for fully connected layers.
        device: of torch.
        codegen: of Brian2: numpy or cython; auto: by the length of the run, or what is set in Brian2's preferences.

    Raises:
        UsageError: no such layer, or it cannot learn in this way (the reason is named).
    """
    if backend not in BACKENDS:
        raise UsageError(f"backend: must be one of {', '.join(BACKENDS)}, got '{backend}'")
    part = part_of(file, layer)
    if config.inhibition == "symmetric" and (config.reading, backend) != ("conductance", "brian2"):
        raise UsageError("inhibition: the symmetric rule goes with the conductance reading, in Brian2")
    if backend == "brian2" and isinstance(part.main, Conv):
        raise UsageError(
            f"{part.name}: a convolution's synapses share weights, which synapses in Brian2 cannot while they learn; "
            "take the torch backend"
        )
    frames = part.frames(images)
    levels = part.statistics(file, config)
    torch_layer = TorchLayer(part, frames, levels, config, torch.device(device))
    with threads_for(file.network.macs(part.number)):
        gain = torch_layer.gain() if config.reading == "conductance" else 1.0
        eta = config.eta or torch_layer.eta(gain)
        if backend == "torch":
            after, rates = torch_layer.learn(eta, gain)
    if backend == "brian2":
        from bridge.learning.in_brian import in_brian  # Brian2 takes seconds to import

        after, rates = in_brian(part, frames, levels, config, eta, gain, codegen)
    network = replace(
        file.network,
        layers=tuple(
            each.with_weight(after) if number == part.number and each is part.layer else each
            for number, each in enumerate(file.network.layers)
        ),
    )
    note = {"layer": part.name, "frames": len(frames), "backend": backend, "eta": eta, "gain": gain, **asdict(config)}
    done = [*parse_json(file.origin.get("learned", "[]")), note]
    learned = replace(file, network=network, origin={**file.origin, "learned": json.dumps(done)})
    expected = part.expected(images).mean(0).reshape(len(levels[0]), -1).mean(1) * config.unit_rate
    return Learned(learned, part.number, part.main.weight, after, eta, gain, (rates, expected))

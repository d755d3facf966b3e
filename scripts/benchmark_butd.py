"""`ratespike benchmark butd`: a Counter-Hebb step against backprop of the same network, in time and memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click
import torch
from torch import Tensor

from foundation.devices import find_device
from ratenets.butd.builders import build_network
from ratenets.butd.config import ButdConfig, NetworkConfig, WeightConfig
from ratenets.butd.learning import Samples, backprop, counter_hebb
from ratenets.butd.losses import LOSSES
from ratenets.butd.networks import ButdNetwork
from ratenets.butd.training import freeze, optimizer

from .racing import Timed, peak_memory, race, report

PEER = "backprop"


class Setting(NamedTuple):
    """A network and a batch for it."""

    network: NetworkConfig
    shape: tuple[int, int, int]
    batch: int
    guided: bool = False


SETTINGS = {
    "fc 784-500-10, batch 20": Setting(NetworkConfig(), (1, 28, 28), 20),
    "fc 3072-1000-10, batch 20": Setting(NetworkConfig(hidden=1000), (3, 32, 32), 20),
    "simple, guided, 28 px, batch 64": Setting(NetworkConfig(kind="simple", embedding=50), (1, 28, 28), 64, True),
    "conv, 28 px, batch 64": Setting(NetworkConfig(kind="conv"), (1, 28, 28), 64),
    "resnet18, 32 px, batch 8": Setting(NetworkConfig(kind="resnet18"), (3, 32, 32), 8),
    "resnet18, guided, norm, 32 px, batch 8": Setting(NetworkConfig(kind="resnet18", norm=True), (3, 32, 32), 8, True),
}


def run(device: str, repeats: int, json_file: Path | None) -> None:
    """See `ratespike benchmark butd --help`."""
    where = find_device(device, "--device")
    torch.set_num_threads(1)
    rows: dict[str, dict[str, float]] = {}
    memory: dict[str, dict[str, float]] = {}
    values: dict[str, dict[str, int]] = {}
    for name, setting in SETTINGS.items():
        steps = {
            "backprop": _Step(setting, "backprop", "tied", where),
            "Counter-Hebb": _Step(setting, "counter-hebb", "tied", where),
            "Counter-Hebb, separate": _Step(setting, "counter-hebb", "separate", where),
        }
        functions: dict[str, Timed] = {kind: partial(step.run, True) for kind, step in steps.items()}
        rows[name] = race(functions, repeats, where, name)
        memory[name] = {kind: step.peak_memory(where) for kind, step in steps.items()}
        values[name] = {kind: step.values() for kind, step in steps.items()}
    report("butd", rows, PEER, "ms per step", 1e3, json_file)
    for name, kinds in memory.items():
        for kind, size in kinds.items():
            part = f"({values[name][kind] / 1e6:.1f} MB of values)"
            ratio = size / kinds[PEER]
            click.echo(f"{name:40} {kind:24} {size / 1e6:8.1f} MB at the peak {part:22} {ratio:6.2f} x {PEER}")


class _Step:
    """A network that is ready to learn."""

    def __init__(self, setting: Setting, learning: str, regime: str, device: torch.device) -> None:
        config = ButdConfig(learning=learning, weights=WeightConfig(regime=regime), network=setting.network)
        size = 2 if setting.guided else 0
        network = build_network(setting.network, config.weights, setting.shape, 10, 0, instruction=size)
        self.network: ButdNetwork = network.to(device)
        freeze(self.network, config)
        self.optimizer = optimizer(config, self.network)
        self.learn: Callable[..., Tensor] = backprop if learning == "backprop" else counter_hebb
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(setting.batch, *setting.shape, generator=generator)
        tasks = torch.eye(2)[torch.arange(setting.batch) % 2].to(device) if setting.guided else None
        self.samples = Samples(images.to(device), (torch.arange(setting.batch) % 10).to(device), tasks)

    def run(self, optimise: bool) -> None:
        """One step."""
        self.optimizer.zero_grad()
        self.learn(self.network, self.samples, LOSSES["cross-entropy"])
        if optimise:
            self.optimizer.step()

    def values(self) -> int:
        """Bytes of what is in `.grad`."""
        return sum(p.grad.nbytes for p in self.network.parameters() if p.grad is not None)

    def peak_memory(self, device: torch.device) -> int:
        """Bytes that a step has in use at most at a time, of what it makes."""
        self.run(False)
        self.optimizer.zero_grad()
        return peak_memory(partial(self.run, False), device)

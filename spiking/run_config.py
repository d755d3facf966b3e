"""What a run of networks is asked to do: which networks, how many, and what is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from foundation.config import check_kinds, setting
from foundation.errors import UsageError
from spiking.paper.network import CONDITIONS, STANDARD, NetworkConfig


@dataclass(frozen=True)
class RecordingConfig:
    """What a run keeps."""

    keep_spikes: float = setting(100.0, "every spike of that many last seconds is kept")
    weights_every: float = setting(250.0, "time between snapshots of the weights in training, in s")
    rate_bin: float = setting(10.0, "width of the bins of the population rates, in s")

    def __post_init__(self) -> None:
        check_kinds(self)
        for name in ("keep_spikes", "weights_every", "rate_bin"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name}: must be positive, got {getattr(self, name)}")


@dataclass(frozen=True)
class RunConfig:
    """One or several networks that differ in their seeds, under one or several conditions."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    recording: RecordingConfig = field(default_factory=RecordingConfig)
    networks: int = setting(1, "how many networks (under every condition); number k of them has the seed plus k")
    conditions: str = setting(
        "",
        "conditions of Fig. 5 to compare, which set lambda, phi and inhibition, with commas between them: all, or some "
        f"of {', '.join(CONDITIONS)}",
        metavar="NAME,NAME,...",
        empty="the one of the other options",
    )

    def __post_init__(self) -> None:
        check_kinds(self)
        if self.networks < 1:
            raise UsageError(f"networks: must be at least 1, got {self.networks}")
        _ = self.variants

    @property
    def variants(self) -> list[NetworkConfig]:
        """The network under every condition."""
        if not self.conditions:
            return [self.network]
        names = [name.strip() for name in self.conditions.split(",") if name.strip()]
        for name in names or [self.conditions]:
            if name not in CONDITIONS and names != ["all"]:
                raise UsageError(
                    f"conditions: must be all, or some of {', '.join(CONDITIONS)}, got '{self.conditions}'"
                )
        chosen = list(CONDITIONS) if names == ["all"] else names
        if len(set(chosen)) < len(chosen):
            raise UsageError(f"conditions: each once, got '{self.conditions}'")
        return [replace(self.network, **{**STANDARD, **CONDITIONS[name]}) for name in chosen]

    @property
    def members(self) -> list[NetworkConfig]:
        """The config of every network: condition by condition, seed by seed."""
        seeds = range(self.network.seed, self.network.seed + self.networks)
        return [replace(variant, seed=seed) for variant in self.variants for seed in seeds]

    @property
    def seconds(self) -> float:
        """Simulated s in all."""
        return len(self.variants) * self.networks * (self.network.priming + self.network.duration)

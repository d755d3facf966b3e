"""Networks of the reference numbers in tests/data/butd/, with their weights: which of our layers is which of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ratenets.butd.builders import conv_net, fc_net
from ratenets.butd.config import WeightConfig
from ratenets.butd.layers import Flatten, Sequential
from ratenets.butd.networks import ButdNetwork
from ratenets.butd.residual import Residual

Arrays = Mapping[str, np.ndarray[Any, Any]]

PARAMETERS = {"W": "W", "b": "b", "Wtd": "V", "btd": "c"}
"""Their names of weights and biases, and ours."""


def mlp(weights: WeightConfig, options: dict[str, Any]) -> tuple[Sequential, list[str]]:
    return fc_net((6,), (5, 4), weights=weights, **options), ["core.1", "core.2"]


def conv(weights: WeightConfig, options: dict[str, Any]) -> tuple[Sequential, list[str]]:
    core = conv_net((2, 9, 8), (3, 4), (3, 3), (5,), stride=2, padding=1, weights=weights, **options)
    return core, ["core.0", "core.1", "core.3"]


def resblock(weights: WeightConfig, options: dict[str, Any]) -> tuple[Sequential, list[str]]:
    core = Sequential(Residual(3, 4, stride=2, weights=weights), Residual(4, 4, weights=weights), Flatten())
    return core, ["core.0.conv1", "core.0.conv2", "core.0.shortcut", "core.1.conv1", "core.1.conv2"]


CORES = {"mlp": mlp, "traj": mlp, "conv": conv, "resblock": resblock}
SHAPES = {"mlp": (6,), "traj": (6,), "conv": (2, 9, 8), "resblock": (3, 7, 6)}


def network_of(name: str, arrays: Arrays, prefix: str = "") -> tuple[ButdNetwork, dict[str, str]]:
    """The network of a file in float64, and our name for each of their layers.

    Args:
        name: of the file.
        arrays: its content.
        prefix: of the names of its weights.
    """
    kind = name.split("_")[0]
    separate = any(key.endswith("_Wtd") for key in arrays)
    weights = WeightConfig(regime="separate" if separate else "tied")
    options = {"td_bias": any(key.endswith("_btd") for key in arrays)}
    core, cores = CORES[kind](weights, options)
    guided = f"{prefix}ins0_W" in arrays
    embedding = arrays[f"{prefix}ins0_W"].shape[0] if f"{prefix}ins1_W" in arrays else 0
    network = ButdNetwork(
        core,
        SHAPES[kind],
        arrays[f"{prefix}head_W"].shape[0],
        instruction=arrays["task"].shape[1] if guided else 0,
        embedding=embedding,
        weights=weights,
        **options,
    ).double()
    names = {f"L{number}": ours for number, ours in enumerate(cores)} | {"head": "head"}
    if guided:
        names |= {f"ins{number}": f"instruction.{number}" for number in range(2 if embedding else 1)}
    network.load_state_dict(
        {
            f"{ours}.{PARAMETERS[kind_of]}": tensor(arrays[f"{prefix}{theirs}_{kind_of}"])
            for theirs, ours in names.items()
            for kind_of in PARAMETERS
            if f"{prefix}{theirs}_{kind_of}" in arrays
        }
    )
    if kind == "resblock":
        names |= {"block0": "core.0", "block1": "core.1"}
    return network, names


def tensor(array: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(np.asarray(array))

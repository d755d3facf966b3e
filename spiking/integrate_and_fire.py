"""A layered integrate-and-fire network with soft reset, as an object that any simulator can run.

Within a step the layers are updated in order, and a spike reaches the next layer in the same step:

    u <- u + W s + b ;    s = [u >= 1] ;    u <- u - s            (threshold 1, reset by subtraction)

s are the spikes of the layer below in this step; the first layer gets a constant current x per step (analog input)
or the input's spikes. The last layer, the readout, only integrates: its potential after T steps, divided by T, stands
for the logits. A unit's rate is in spikes per step, and at most 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from foundation.errors import UsageError
from foundation.files import write_bytes
from spiking.hdf5 import CHECKED, reading, stored

FORMAT = 1
KIND = "ratespike integrate-and-fire network"
Array = NDArray[np.float64]
Stimulus = NDArray[np.float64] | NDArray[np.bool_]


@dataclass(frozen=True)
class IFLayer:
    """One layer: weight (M, N) and bias (M,) in units of the threshold per step; `scale` is the activation of the
    rate network, one number or (M,), for which a rate of one spike per step stands.
    """

    name: str
    weight: Array
    bias: Array
    scale: Array

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise UsageError(
                f"{self.name}: needs weight (M, N) and bias (M,), got {self.weight.shape} and {self.bias.shape}"
            )
        if not (np.isfinite(self.weight).all() and np.isfinite(self.bias).all()):
            raise UsageError(f"{self.name}: weights and biases must be finite")
        if self.scale.shape not in ((1,), self.bias.shape) or not ((self.scale > 0) & np.isfinite(self.scale)).all():
            raise UsageError(f"{self.name}: needs one positive scale, or one per unit, got shape {self.scale.shape}")

    @property
    def units(self) -> int:
        """M, the number of neurons."""
        return len(self.weight)


@dataclass(frozen=True)
class IFNetwork:
    """Spiking layers, lowest first, and a readout that only integrates.

    Attributes:
        layers: the spiking layers.
        readout: the integrating readout, (classes, M of the last layer).
        initial_potential: of every spiking neuron; half the threshold makes rounding fair.
        input_coding: "analog" (a constant current) or "poisson" (spikes); what the network was made for.
    """

    layers: tuple[IFLayer, ...]
    readout: IFLayer
    initial_potential: float = 0.5
    input_coding: str = "analog"

    def __post_init__(self) -> None:
        if self.input_coding not in ("analog", "poisson"):
            raise UsageError(f"input_coding: must be analog or poisson, got '{self.input_coding}'")
        if not np.isfinite(self.initial_potential):
            raise UsageError(f"initial_potential: must be finite, got {self.initial_potential}")
        if not self.layers:
            raise UsageError("an integrate-and-fire network needs at least one spiking layer below its readout")
        stack = (*self.layers, self.readout)
        for below, above in pairwise(stack):
            if above.weight.shape[1] != below.units:
                raise UsageError(f"{above.name}: takes {above.weight.shape[1]} inputs, {below.name} has {below.units}")

    @property
    def inputs(self) -> int:
        """Number of input lines."""
        return int(self.layers[0].weight.shape[1])

    def check(self, stimulus: Stimulus, steps: int) -> None:
        """Refuse a stimulus that no simulator could present: see `Simulator`."""
        if steps < 1:
            raise UsageError(f"steps: must be at least 1, got {steps}")
        if stimulus.ndim not in (2, 3) or stimulus.shape[-1] != self.inputs:
            raise UsageError(
                f"stimulus: needs (images, {self.inputs}) currents or (images, steps, {self.inputs}) spikes, "
                f"got {stimulus.shape}"
            )
        if stimulus.ndim == 3 and stimulus.shape[1] != steps:
            raise UsageError(f"stimulus: has spikes for {stimulus.shape[1]} steps, the simulation {steps}")
        if len(stimulus) == 0:
            raise UsageError("stimulus: holds no image")
        if stimulus.ndim == 3 and not ((stimulus == 0) | (stimulus == 1)).all():
            raise UsageError("stimulus: input spikes are 0 or 1")
        if not np.isfinite(stimulus).all():
            raise UsageError("stimulus: must be finite")

    def rates(self, x: Array) -> list[Array]:
        """What the spiking layers' rates approach for x (B, N), and the logits: the same network with ReLU units."""
        activities = []
        for layer in self.layers:
            x = np.maximum(x @ layer.weight.T + layer.bias, 0)
            activities.append(x)
        return [*activities, x @ self.readout.weight.T + self.readout.bias]

    def save(self, path: Path) -> None:
        """Write everything to one HDF5 file."""
        buffer = BytesIO()
        with h5py.File(buffer, "w") as file:
            file.attrs.update(
                format=FORMAT,
                kind=KIND,
                threshold=1.0,
                reset="subtract the threshold",
                schedule="layers in order; a spike reaches the next layer in the same step; spike if u >= threshold",
                initial_potential=self.initial_potential,
                input_coding=self.input_coding,
            )
            for number, layer in enumerate((*self.layers, self.readout)):
                group = file.create_group(f"layers/{number}")
                group.attrs.update(name=layer.name, spiking=layer is not self.readout)
                for key, units in (("weight", "threshold"), ("bias", "threshold / step"), ("scale", "activation")):
                    group.create_dataset(key, data=getattr(layer, key), **CHECKED)
                    group[key].attrs["units"] = units
        write_bytes(path, buffer.getvalue())


def load(path: Path) -> IFNetwork:
    """Read a network that `IFNetwork.save` wrote.

    Raises:
        RatespikeError: no such file, or not such a file.
    """
    with reading(path, KIND, FORMAT) as file:
        groups = [file["layers"][str(number)] for number in range(len(file["layers"]))]
        layers = [
            IFLayer(str(g.attrs["name"]), *(stored(g[key]).astype(float) for key in ("weight", "bias", "scale")))
            for g in groups
        ]
        initial, coding = float(file.attrs["initial_potential"]), str(file.attrs["input_coding"])
        return IFNetwork(tuple(layers[:-1]), layers[-1], initial, coding)


@dataclass(frozen=True)
class IFResult:
    """What a simulation gives, for B images and T steps.

    Attributes:
        spikes: per spiking layer, bool (B, T, M), or an empty list where they were not asked for.
        counts: per spiking layer, spikes in T steps, (B, M).
        readout: the readout's potential after each step, (B, T, classes).
    """

    spikes: list[NDArray[np.bool_]]
    counts: list[Array]
    readout: Array

    @property
    def steps(self) -> int:
        """T."""
        return int(self.readout.shape[1])

    def predictions(self) -> NDArray[np.int64]:
        """The class that leads after each step, (B, T)."""
        return np.asarray(np.argmax(self.readout, axis=2), dtype=np.int64)


class Simulator(Protocol):
    """What every backend offers, as `simulate` in the module `integrate_and_fire` of `spiking.torch` and `.brian`.

    Args:
        network: to run; every image starts from the initial potential.
        stimulus: (B, N) for a constant current per step, or (B, T, N) input spikes, 0 or 1.
        steps: T.
        spikes: keep every spike, not the counts alone.
    """

    def __call__(self, network: IFNetwork, stimulus: Stimulus, steps: int, *, spikes: bool = False) -> IFResult: ...

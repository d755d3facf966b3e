"""A layered integrate-and-fire network, as an object that any simulator can run.

Within a step the layers are updated in order, and a spike reaches the next layer in the same step:

    u <- u + sum_k W_k s_k + b ;    s = [u >= 1] ;    u <- u - s      (threshold 1, reset by subtraction)

s_k are the spikes of a layer below in this step; the first layer gets a constant current x per step (analog input)
or the input's spikes. W_k is a product, a convolution or a pool (`spiking.synapses`), or several one after another; a
layer with two of them ends a residual block. The readout only integrates: its potential after T steps, divided by T,
stands for the logits. A unit's rate is in spikes per step, and at most 1.

Max-pooling has no exact counterpart in a neuron. Here it is a gate, see `MaxPool`. A layer may have further gates, one
set for each task: as long as a unit's gate is closed, inhibition holds it at the initial potential.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UsageError
from spiking.synapses import Array, Conv, Dense, Map, Pair, Shape, count, macs, through

Stimulus: TypeAlias = NDArray[np.float64] | NDArray[np.bool_]
Bools: TypeAlias = NDArray[np.bool_]
INPUT = -1
"""The number of the network's input, as a source."""

GATES = ("count", "potential")
RESETS = ("subtract", "zero")
CODINGS = ("analog", "poisson")


@dataclass(frozen=True, eq=False)
class Projection:
    """What reaches a layer from one `source`: a layer's number, or `INPUT`; None: the layer below, or the input."""

    maps: tuple[Map, ...]
    source: int | None = None

    def __post_init__(self) -> None:
        if not self.maps:
            raise UsageError("a projection needs at least one map")


@dataclass(frozen=True, eq=False)
class IFLayer:
    """Integrate-and-fire neurons, with weights in units of the threshold.

    Attributes:
        name: of the layer.
        projections: what drives it; all give the same shape, that of the layer: (M,) or (C, H, W).
        bias: by unit (M,) or by channel (C,), in units of the threshold per step.
        scale: the activation of the rate network, one number or one for each of `bias`, for which a rate of one spike
            per step stands.
        gates: of every task, (tasks, *shape); None: the layer has none.
    """

    name: str
    projections: tuple[Projection, ...]
    bias: Array
    scale: Array
    gates: Bools | None = None

    def __post_init__(self) -> None:
        if not self.projections:
            raise UsageError(f"{self.name}: nothing drives it")
        if self.bias.ndim != 1 or not np.isfinite(self.bias).all():
            raise UsageError(f"{self.name}: needs finite biases (M,), got shape {self.bias.shape}")
        if self.scale.shape not in ((1,), self.bias.shape) or not ((self.scale > 0) & np.isfinite(self.scale)).all():
            raise UsageError(f"{self.name}: needs one positive scale, or one per unit, got shape {self.scale.shape}")

    @classmethod
    def dense(cls, name: str, weight: Array, bias: Array, scale: Array, source: int | None = None) -> IFLayer:
        """A fully connected layer: weight (M, N), bias (M,).

        Raises:
            UsageError: shapes do not fit, or values are not finite.
        """
        if weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise UsageError(f"{name}: needs weight (M, N) and bias (M,), got {weight.shape} and {bias.shape}")
        if not np.isfinite(weight).all():
            raise UsageError(f"{name}: weights and biases must be finite")
        return cls(name, (Projection((Dense(weight),), source),), bias, scale)

    @property
    def weight(self) -> Array:
        """The weights of a layer that has them in one place: (M, N), or (O, I / groups, rows, columns).

        Raises:
            UsageError: they are in several places.
        """
        found = [m.weight for p in self.projections for m in p.maps if isinstance(m, Dense | Conv)]
        if len(found) != 1:
            raise UsageError(f"{self.name}: has weights in {len(found)} places")
        return found[0]

    @property
    def channels(self) -> int:
        """C of maps (C, H, W), M of (M,)."""
        return len(self.bias)

    def with_weight(self, weight: Array) -> IFLayer:
        """The layer with other weights in the place of `weight`, in the same shape."""
        if weight.shape != self.weight.shape:
            raise UsageError(f"{self.name}: has weights {self.weight.shape}, got {weight.shape}")

        def changed(each: Map) -> Map:
            return replace(each, weight=weight) if isinstance(each, Dense | Conv) else each

        parts = tuple(replace(p, maps=tuple(changed(each) for each in p.maps)) for p in self.projections)
        return replace(self, projections=parts)

    @property
    def fully_connected(self) -> bool:
        """Is it a single product with a matrix?"""
        return [type(m) for p in self.projections for m in p.maps] == [Dense]


@dataclass(frozen=True, eq=False)
class MaxPool:
    """A gate in the place of a max-pool: of each window's spikes it lets some through, at most one in a step.

    count: one spike whenever the largest number of spikes in the window, over its units, has grown. The spikes that
        come out are exactly as many as the most active unit's, at any time.
    potential: those of the unit with the largest accumulated potential, that is potential and spikes fired so far
        (Rueckauer et al. 2017, doi:10.3389/fnins.2017.00682, take the rate).

    Attributes:
        name: of the layer.
        kernel, stride, padding: of the windows, as in `torch.nn.MaxPool2d`.
        gate: "count" or "potential".
        source: as in `Projection`.
    """

    name: str
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    gate: str = "count"
    source: int | None = None

    def __post_init__(self) -> None:
        if self.gate not in GATES:
            raise UsageError(f"{self.name}: gate must be one of {', '.join(GATES)}, got '{self.gate}'")
        self.windows  # noqa: B018  # checks the numbers
        if any(2 * p > k for p, k in zip(self.padding, self.kernel, strict=True)):
            raise UsageError(f"{self.name}: padding must be at most half of the kernel {self.kernel}")

    @property
    def windows(self) -> Conv:
        """A convolution of one channel with the same windows."""
        return Conv(np.ones((1, 1, *self.kernel)), self.stride, self.padding)

    def above(self, shape: Shape) -> Shape:
        """The shape of what leaves, (C, H, W)."""
        if len(shape) != 3:
            raise UsageError(f"{self.name}: takes maps (C, H, W), got {shape}")
        return shape[0], *self.windows.above((1, *shape[1:]))[1:]


Layer: TypeAlias = IFLayer | MaxPool


@dataclass(frozen=True, eq=False)
class IFNetwork:
    """Spiking layers, lowest first, and a readout that only integrates.

    Attributes:
        layers: the spiking layers and gates; each is driven by layers before it.
        readout: the integrating readout; its scale is 1.
        initial_potential: of every spiking neuron; half the threshold makes rounding fair.
        input_coding: "analog" (a constant current) or "poisson" (spikes); what the network was made for.
        input_shape: of one image; empty: what a fully connected first layer takes, (N,).
        reset: "subtract" the threshold from the potential after a spike, or set it to "zero".
        tasks: names of the tasks, of networks with gates.
    """

    layers: tuple[Layer, ...]
    readout: IFLayer
    initial_potential: float = 0.5
    input_coding: str = "analog"
    input_shape: Shape = ()
    reset: Literal["subtract", "zero"] = "subtract"
    tasks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.input_coding not in CODINGS:
            raise UsageError(f"input_coding: must be analog or poisson, got '{self.input_coding}'")
        if self.reset not in RESETS:
            raise UsageError(f"reset: must be subtract or zero, got '{self.reset}'")
        if not np.isfinite(self.initial_potential):
            raise UsageError(f"initial_potential: must be finite, got {self.initial_potential}")
        if not any(isinstance(layer, IFLayer) for layer in self.layers):
            raise UsageError("an integrate-and-fire network needs at least one spiking layer below its readout")
        if not self.input_shape:
            first = self.layers[0]
            if not (isinstance(first, IFLayer) and first.fully_connected):
                raise UsageError("input_shape: must be given, unless the first layer is fully connected")
            object.__setattr__(self, "input_shape", first.weight.shape[1:])
        if len(self.input_shape) not in (1, 3) or min(self.input_shape) < 1:
            raise UsageError(f"input_shape: must be (N,) or (C, H, W), got {self.input_shape}")
        if self.readout.gates is not None or self.readout.scale.shape != (1,):
            raise UsageError(f"{self.readout.name}: a readout has one scale and no gates")
        self.shapes  # noqa: B018  # checks that all fits together

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """Of every layer and of the readout, for one image."""
        found: list[Shape] = []
        for number, layer in enumerate((*self.layers, self.readout)):
            sources = self.sources(number)
            if any(not -1 <= source < number for source in sources):
                raise UsageError(f"{layer.name}: is driven by layer number {max(sources)}, which does not come before")
            below = [self.input_shape if source == INPUT else found[source] for source in sources]
            if isinstance(layer, MaxPool) and sources == [INPUT]:
                raise UsageError(f"{layer.name}: a max-pool gates spikes; pool the images before they are shown")
            try:
                if isinstance(layer, MaxPool):
                    found.append(layer.above(below[0]))
                    continue
                above = {through(p.maps, shape)[-1] for p, shape in zip(layer.projections, below, strict=True)}
            except UsageError as error:
                raise UsageError(f"{layer.name}: {error}") from None
            self._check_shape(layer, above)
            found.append(above.pop())
        return tuple(found)

    def macs(self, number: int | None = None) -> int:
        """Multiply-accumulates of the rate network's layer of that number per image; None: of all but the readout."""
        if number is None:
            return sum(self.macs(each) for each in self.spiking)
        below = [self.shape_of(source) for source in self.sources(number)]
        layer = self.spiking[number]
        return sum(macs(p.maps, shape) for p, shape in zip(layer.projections, below, strict=True))

    def _check_shape(self, layer: IFLayer, shapes: set[Shape]) -> None:
        if len(shapes) > 1:
            raise UsageError(f"{layer.name}: its projections give different shapes, {' and '.join(map(str, shapes))}")
        (shape,) = shapes
        if shape[0] != len(layer.bias):
            raise UsageError(f"{layer.name}: has {len(layer.bias)} biases for {shape[0]} units or channels")
        if layer.gates is not None and layer.gates.shape != (len(self.tasks), *shape):
            raise UsageError(f"{layer.name}: gates must be {(len(self.tasks), *shape)}, got {layer.gates.shape}")

    def sources(self, number: int) -> list[int]:
        """The numbers of what drives a layer, `INPUT` among them; the readout's number is the number of layers."""
        layer = self.readout if number == len(self.layers) else self.layers[number]
        sources = [layer.source] if isinstance(layer, MaxPool) else [p.source for p in layer.projections]
        return [number - 1 if source is None else source for source in sources]

    def shape_of(self, number: int) -> Shape:
        """The shape of a layer, of the readout, or of the input."""
        return self.input_shape if number == INPUT else self.shapes[number]

    @property
    def inputs(self) -> int:
        """Number of input lines."""
        return math.prod(self.input_shape)

    @property
    def spiking(self) -> dict[int, IFLayer]:
        """The layers of neurons, by their numbers: all but the gates of max-pools."""
        return {number: layer for number, layer in enumerate(self.layers) if isinstance(layer, IFLayer)}

    @property
    def neurons(self) -> tuple[IFLayer, ...]:
        """The layers of neurons alone, lowest first."""
        return tuple(self.spiking.values())

    def synapses(self) -> int:
        """How many synapses the network has at most, if each has a weight of its own."""
        return sum(self.synapses_of(number) for number in range(len(self.layers) + 1))

    def synapses_of(self, number: int) -> int:
        """Those that lead to a layer, or to the readout; to a max-pool's gate, one from each place in its window."""
        layer = self.readout if number == len(self.layers) else self.layers[number]
        below = [self.shape_of(source) for source in self.sources(number)]
        if isinstance(layer, MaxPool):
            return below[0][0] * layer.windows.count((1, *below[0][1:]))
        return sum(count(p.maps, shape) for p, shape in zip(layer.projections, below, strict=True))

    def shown(self, stimulus: Stimulus, steps: int) -> Stimulus:
        """The stimulus in shape, (B, *input_shape) currents or (B, T, *input_shape) spikes; images may come flat.

        Raises:
            UsageError: no simulator could present it.
        """
        if steps < 1:
            raise UsageError(f"steps: must be at least 1, got {steps}")
        shaped = stimulus
        if stimulus.ndim in (2, 3) and stimulus.shape[-1] == self.inputs:
            shaped = stimulus.reshape(*stimulus.shape[:-1], *self.input_shape)
        time = shaped.ndim - len(self.input_shape)
        if time not in (1, 2) or shaped.shape[time:] != self.input_shape:
            size = ", ".join(map(str, self.input_shape))
            raise UsageError(
                f"stimulus: needs (images, {size}) currents or (images, steps, {size}) spikes, got {stimulus.shape}"
            )
        if time == 2 and shaped.shape[1] != steps:
            raise UsageError(f"stimulus: has spikes for {shaped.shape[1]} steps, the simulation {steps}")
        if len(shaped) == 0:
            raise UsageError("stimulus: holds no image")
        if time == 2 and not ((shaped == 0) | (shaped == 1)).all():
            raise UsageError("stimulus: input spikes are 0 or 1")
        if not np.isfinite(shaped).all():
            raise UsageError("stimulus: must be finite")
        return shaped

    def is_constant(self, stimulus: Stimulus) -> bool:
        """Whether a stimulus, as `shown` gives it, is a current."""
        return stimulus.ndim == 1 + len(self.input_shape)

    def tasked(self, task: NDArray[np.int64] | None, images: int, steps: int) -> NDArray[np.int64] | None:
        """The task of every image in every step, (B, T), from (B,), (B, T) or, without gates, None.

        Raises:
            UsageError: a network with gates without a task, one without gates with a task, or a task that it lacks.
        """
        if not self.tasks:
            if task is not None:
                raise UsageError("task: this network has no gates, and so no tasks")
            return None
        if task is None:
            raise UsageError(f"task: say which of {', '.join(self.tasks)} each image is shown for")
        if task.shape not in ((images,), (images, steps)):
            raise UsageError(f"task: must be ({images},) or ({images}, {steps}), got {task.shape}")
        if task.min() < 0 or task.max() >= len(self.tasks):
            raise UsageError(f"task: must lie in 0 to {len(self.tasks) - 1}, got {task.min()} to {task.max()}")
        return np.ascontiguousarray(np.broadcast_to(task.reshape(images, -1), (images, steps)))


@dataclass(frozen=True)
class IFResult:
    """What a simulation gives, for B images and T steps.

    Attributes:
        spikes: per layer, bool (B, T, *shape), or an empty list where they were not asked for.
        counts: per layer, spikes in T steps, (B, *shape).
        readout: the readout's potential after each step, (B, T, classes); from 0 on wherever the task changes.
    """

    spikes: list[Bools]
    counts: list[Array]
    readout: Array

    @property
    def steps(self) -> int:
        """T."""
        return int(self.readout.shape[1])

    def predictions(self) -> NDArray[np.int64]:
        """The class that leads after each step, (B, T)."""
        return np.asarray(np.argmax(self.readout, axis=2), dtype=np.int64)

    @classmethod
    def joined(cls, parts: Iterator[IFResult] | list[IFResult]) -> IFResult:
        """The results of batches as one."""
        parts = list(parts)
        return cls(
            [np.concatenate(layer) for layer in zip(*(part.spikes for part in parts), strict=True)],
            [np.concatenate(layer) for layer in zip(*(part.counts for part in parts), strict=True)],
            np.concatenate([part.readout for part in parts]),
        )


class Simulator(Protocol):
    """What every backend offers, as `simulate` in the module `integrate_and_fire` of `spiking.torch` and `.brian`."""

    def __call__(
        self,
        network: IFNetwork,
        stimulus: Stimulus,
        steps: int,
        *,
        spikes: bool = False,
        task: NDArray[np.int64] | None = None,
    ) -> IFResult:
        """Show images, each from the initial potentials on.

        Args:
            network: which.
            stimulus: a constant current (B, *input_shape), or spikes (B, T, *input_shape); images may be flat, (N,).
            steps: T.
            spikes: keep every spike.
            task: of a network with gates: (B,), or (B, T) where it changes while an image is shown.
        """

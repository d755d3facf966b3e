"""Layers of bottom-up / top-down networks: what every layer does in the three passes, and the fully connected ones.

A layer maps what enters it from below (bu) upwards, and what enters it from above (td) downwards. Nothing is
remembered between passes: each returns the activities that entered the layers, by the layers' names, and the next pass
is given what it needs of them (Abel & Ullman, arXiv 2306.02415):

    bottom-up   z = A(bu); ReLU; gate by td > 0 of an attention pass, if there is one
    attention   z = A_td(td) + c; ReLU
    error       z = A_td(td); gate by bu > 0
    update      from (bu, td) of a layer alone, see `Layer.counter_hebb`
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from foundation.errors import UsageError
from ratenets.butd.config import WeightConfig

Activities = dict[str, Tensor]
"""What entered each layer in a pass, (B, ...), by the layer's name."""

Shape = tuple[int, ...]
TIED = WeightConfig(regime="tied")


def galu(z: Tensor, y: Tensor) -> Tensor:
    """GaLU: z where y > 0, else 0.

    No gradient reaches y, but if it asks for one: then, where y > 0, that of z y at y = 1 (straight through).
    """
    if y.requires_grad:
        through: Tensor = _StraightThrough.apply(z, y)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return through
    return _where_positive(y, z)


def _where_positive(y: Tensor, z: Tensor) -> Tensor:
    gated: Tensor = torch.ops.aten.threshold_backward(z, y.to(z.dtype), 0)  # one kernel; a product with a mask is three
    return gated


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, z: Tensor, y: Tensor) -> Tensor:
        context.save_for_backward(z, y)
        return _where_positive(y, z)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        z, y = context.saved_tensors
        gradient = _where_positive(y, gradients[0])
        return gradient, gradient * z


@dataclass
class ErrorPass:
    """What an error pass needs and leaves.

    Attributes:
        bu: what entered the layers in the bottom-up pass before.
        td: where to note what enters them from above; None: nowhere.
        learn: is called with a layer and its update values; None: nothing learns.
        keep: leave `bu` as it is; else each layer's activity is taken out of it, and its memory is free again.
    """

    bu: Activities
    td: Activities | None = None
    learn: Callable[[Layer, Mapping[str, Tensor]], None] | None = None
    keep: bool = True

    def enter(self, layer: Layer, td: Tensor) -> Tensor:
        """Note what enters a layer from above; return what entered it from below."""
        if self.td is not None:
            self.td[layer.name] = td
        return self.bu[layer.name] if self.keep else self.bu.pop(layer.name)


class Layer(nn.Module):
    """One layer of a network. A new kind gives `up` and `down`, and with weights `counter_hebb`:

    >>> class Gain(Layer):
    ...     def __init__(self, channels: int) -> None:
    ...         super().__init__()
    ...         self.g = nn.Parameter(torch.ones(channels, 1, 1))
    ...
    ...     def up(self, bu: Tensor) -> Tensor:
    ...         return self.g * bu
    ...
    ...     def down(self, td: Tensor) -> Tensor:
    ...         return self.g * td
    ...
    ...     def counter_hebb(self, bu: Tensor, td: Tensor) -> Mapping[str, Tensor]:
    ...         return {"g": (bu * td).sum((0, 2, 3), keepdim=True)[0]}

    Learning is exact, equal to backprop, where `back` is the adjoint of `up`, and `counter_hebb` the product that the
    chain rule asks for.

    Attributes:
        rectified: ReLU and gates apply to what leaves the layer upwards; None: it is as positive as what enters.
        name: in its network, "core.2" say; set when the network is built.
        in_shape: of what enters from below, without the batch; set when the network is built.
        at_gate: a gate follows its ReLU; not so in the parts of a composite layer that has it in their place.
    """

    rectified: bool | None = True
    at_gate = True

    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        self.in_shape: Shape = ()
        self._gated_below = False

    def up(self, bu: Tensor) -> Tensor:
        """What the layer computes upwards, without its ReLU: (B, *in_shape) to (B, ...)."""
        raise NotImplementedError(f"{type(self).__name__} has no `up`")

    def down(self, td: Tensor) -> Tensor:
        """What it computes downwards in the attention pass, without the ReLU: (B, ...) to (B, *in_shape)."""
        raise NotImplementedError(f"{type(self).__name__} has no `down`")

    def back(self, td: Tensor, bu: Tensor) -> Tensor:
        """What it computes downwards in the error pass, without TD biases and gate; linear in td."""
        return self.down(td)

    def counter_hebb(self, bu: Tensor, td: Tensor) -> Mapping[str, Tensor]:
        """The update values by parameter: the sum over samples of a product of what enters from below and from above.

        Args:
            bu: entered from below in the bottom-up pass, (B, *in_shape).
            td: entered from above in the error pass, (B, ...), divided by B: the sum is then the mean over samples.
        """
        return {}

    def build(self, name: str, in_shape: Shape, positive: bool) -> tuple[Shape, bool]:
        """Give the layer its place in a network.

        Args:
            name: of the layer there.
            in_shape: of what will enter from below, without the batch.
            positive: has that gone through a ReLU?

        Returns: shape of what leaves upwards, and whether that has.

        Raises:
            UsageError: the layer does not take this shape, or its top-down pass does not lead back to it.
        """
        self.name, self.in_shape, self._gated_below = name, in_shape, positive
        return self._traced(), positive if self.rectified is None else self.rectified

    @torch.no_grad()
    def _traced(self) -> Shape:
        """Try all passes on zeros; return the shape above."""
        training = self.training
        self.eval()
        try:
            return self._tried(f"{self.name} ({type(self).__name__})")
        finally:
            self.train(training)

    def _tried(self, who: str) -> Shape:
        first = next(iter(self.parameters()), torch.zeros(()))
        bu = torch.zeros(1, *self.in_shape, dtype=first.dtype, device=first.device)
        try:
            td = self.up(bu)
        except NotImplementedError:  # a RuntimeError, too, but the author's
            raise
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"{who}: does not take an input of {by(self.in_shape)}: {reason}") from None
        try:
            below = {tuple(way.shape[1:]) for way in (self.down(td), self.back(td, bu))}
        except NotImplementedError:  # as above
            raise
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"{who}: its top-down pass does not take {by(td.shape[1:])}: {reason}") from None
        if below != {self.in_shape}:
            raise UsageError(f"{who}: its top-down pass leads to {by(min(below))}, its input is {by(self.in_shape)}")
        updates = self.counter_hebb(bu, td)
        for parameter, value in self.named_parameters():
            if value.requires_grad and (parameter not in updates or updates[parameter].shape != value.shape):
                raise UsageError(f"{who}: counter_hebb gives no update of {by(value.shape)} for {parameter}")
        return tuple(td.shape[1:])

    # The passes. Most layers say no more than the above; composite ones route the passes through their parts.

    def bottom_up(self, bu: Tensor, seen: Activities, gates: Activities | None) -> Tensor:
        """The bottom-up pass through the layer, with ReLU and gate; notes in `seen` what enters."""
        z = self.ascend(bu, seen, gates)
        if not self.rectified:
            return z
        z = functional.relu(z)
        return z if gates is None else galu(z, gates[self.name])

    def ascend(self, bu: Tensor, seen: Activities, gates: Activities | None) -> Tensor:
        """`bottom_up` without the layer's own ReLU and gate."""
        seen[self.name] = bu
        return self.up(bu)

    def attend(self, td: Tensor, seen: Activities) -> Tensor:
        """The attention pass through the layer; notes in `seen` what enters."""
        return functional.relu(self.descend(td, seen))

    def descend(self, td: Tensor, seen: Activities) -> Tensor:
        """`attend` without the ReLU."""
        seen[self.name] = td
        return self.down(td)

    def matters(self) -> bool:
        """Has it weights or gates?"""
        has_weights = next(self.parameters(), None) is not None
        return has_weights or any(isinstance(part, Layer) and part.rectified for part in self.modules())

    def heed(self, td: Tensor, seen: Activities) -> None:
        """The end of an attention pass: `descend` where nobody asks what would leave the layer."""
        seen[self.name] = td

    def send_back(self, td: Tensor, through: ErrorPass) -> Tensor:
        """The error pass through the layer, with its gate."""
        bu = through.bu[self.name]
        error = self.return_error(td, through)
        return galu(error, bu) if self._gated_below else error

    def return_error(self, td: Tensor, through: ErrorPass) -> Tensor:
        """`send_back` without the gate."""
        return self.back(td, self._learn(td, through))

    def arrive(self, td: Tensor, through: ErrorPass) -> None:
        """The end of an error pass: `return_error` where nobody asks what would leave the layer."""
        self._learn(td, through)

    def _learn(self, td: Tensor, through: ErrorPass) -> Tensor:
        bu = through.enter(self, td)
        if through.learn is not None:
            through.learn(self, self.counter_hebb(bu, td))
        return bu


def by(shape: tuple[int, ...] | torch.Size) -> str:
    """A shape in words."""
    return " x ".join(map(str, shape)) or "one number"


def with_parameters(layer: Layer, **values: Tensor | Callable[[], Tensor]) -> dict[str, Tensor]:
    """Those of the values, or of what computes them, whose parameter the layer has."""
    return {
        name: value() if callable(value) else value
        for name, value in values.items()
        if getattr(layer, name) is not None
    }


def top_down_weight(W: Tensor, start: Tensor, weights: WeightConfig) -> nn.Parameter | None:
    """V for a new layer, and the initial scale of both; None if it is tied to W.

    Args:
        W: bottom-up weight, scaled in place.
        start: the same numbers in the layout of V.
        weights: the regime.
    """
    V: Tensor | None = None
    with torch.no_grad():
        if weights.regime == "separate":
            V = nn.init.kaiming_uniform_(torch.empty(start.shape))
        elif weights.regime == "symmetric":
            V = (start * (1 + weights.start_noise * torch.randn(start.shape))).contiguous()
        W.mul_(weights.initial_scale)
        if V is not None:
            V.mul_(weights.initial_scale)
    return None if V is None else nn.Parameter(V, requires_grad=not weights.feedback_alignment)


def uniform(shape: Shape, fan: int) -> nn.Parameter:
    """A new parameter, uniform within 1 / sqrt(fan)."""
    bound = 1 / math.sqrt(fan)
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


class Linear(Layer):
    """Fully connected: up W bu + b, down V td + c; W (out, in), V (in, out) in the layout of W^T, tied: V = W^T.

    With <> the mean over samples: dW = <td bu^T>, db = <td>, dV = dW^T, dc = <bu>; the last is a Hebbian counterpart of
    db, not a gradient.
    """

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool = True, td_bias: bool = False, weights: WeightConfig = TIED
    ) -> None:
        super().__init__()
        self.W = uniform((outputs, inputs), inputs)
        self.b = uniform((outputs,), inputs) if bias else None
        self.V = top_down_weight(self.W, self.W.detach().T, weights)
        self.weights = weights
        self.c = uniform((inputs,), outputs) if td_bias else None

    def up(self, bu: Tensor) -> Tensor:
        return functional.linear(bu, self.W, self.b)

    def down(self, td: Tensor) -> Tensor:
        return functional.linear(td, self.W.T if self.V is None else self.V, self.c)

    def back(self, td: Tensor, bu: Tensor) -> Tensor:
        return functional.linear(td, self.W.T if self.V is None else self.V)

    def counter_hebb(self, bu: Tensor, td: Tensor) -> Mapping[str, Tensor]:
        # A second product is quicker than a transposed copy, and the same to the last bit.
        return with_parameters(self, W=td.T @ bu, b=lambda: td.sum(0), V=lambda: bu.T @ td, c=lambda: bu.mean(0))


class Flatten(Layer):
    """(B, C, H, W) upwards to (B, C H W), and downwards the same numbers back in their places."""

    rectified = None

    def up(self, bu: Tensor) -> Tensor:
        return bu.flatten(1)

    def down(self, td: Tensor) -> Tensor:
        return td.reshape(len(td), *self.in_shape)


class Sequential(Layer):
    """Layers one on top of another."""

    rectified = None

    def __init__(self, *layers: Layer) -> None:
        """Stack them, lowest first; at least one."""
        super().__init__()
        if not layers:
            raise UsageError("Sequential: has no layers")
        for number, layer in enumerate(layers):
            self.add_module(str(number), layer)

    def __iter__(self) -> Iterator[Layer]:
        return (cast(Layer, layer) for layer in self.children())

    def __reversed__(self) -> Iterator[Layer]:
        return reversed(list(self))

    def build(self, name: str, in_shape: Shape, positive: bool) -> tuple[Shape, bool]:
        self.name, self.in_shape = name, in_shape
        for number, layer in enumerate(self):
            in_shape, positive = layer.build(f"{name}.{number}", in_shape, positive)
        return in_shape, positive

    def bottom_up(self, bu: Tensor, seen: Activities, gates: Activities | None) -> Tensor:
        for layer in self:
            bu = layer.bottom_up(bu, seen, gates)
        return bu

    def attend(self, td: Tensor, seen: Activities) -> Tensor:
        for layer in reversed(self):
            td = layer.attend(td, seen)
        return td

    def send_back(self, td: Tensor, through: ErrorPass) -> Tensor:
        for layer in reversed(self):
            td = layer.send_back(td, through)
        return td

    def heed(self, td: Tensor, seen: Activities) -> None:
        lowest, *above = self._that_matter()
        for layer in reversed(above):
            td = layer.attend(td, seen)
        lowest.heed(td, seen)

    def arrive(self, td: Tensor, through: ErrorPass) -> None:
        lowest, *above = self._that_matter()
        for layer in reversed(above):
            td = layer.send_back(td, through)
        lowest.arrive(td, through)

    def _that_matter(self) -> list[Layer]:
        """The layers from the lowest on that has weights or gates: below it a top-down pass is of no use."""
        layers = list(self)
        lowest = (number for number, layer in enumerate(layers) if layer.matters())
        return layers[next(lowest, len(layers) - 1) :]

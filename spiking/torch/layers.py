"""Plastic layers for snnTorch models: any three-factor rule (`spiking.rule`), learning online in the forward loop.

Three lines in a model of yours, with its own snnTorch neurons ``lif1``::

    self.fc1 = PlasticLinear(784, 100, lpl(LPLSynapse.current(axonal_delay=0.0), dt=1e-3), dt=1e-3)

    spk1, mem1 = self.lif1(self.fc1(x), mem1)
    self.fc1.learn(spk1, mem1)

How they learn is in `spiking.torch.online`, what is in their `state_dict` there in `PlasticLayer`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Size, Tensor, nn
from torch.nn.grad import conv2d_weight

from foundation.errors import UsageError
from spiking.rule import ThreeFactorRule
from spiking.torch.online import PlasticLayer
from spiking.torch.postsynaptic import Surrogate

Pair = int | tuple[int, int]


def reset(net: nn.Module) -> None:
    """Reset every plastic layer in `net`, at any depth, as `snntorch.utils.reset` does for neurons: between samples."""
    for module in net.modules():
        if isinstance(module, PlasticLayer):
            module.reset()


class PlasticLinear(PlasticLayer, nn.Linear):
    """A plastic `torch.nn.Linear`, without bias: spikes (B, in_features) to currents (B, out_features).

    Args:
        in_features: number of inputs.
        out_features: number of neurons.
        rule: any three-factor rule, such as `spiking.rule.lpl` and `super_spike` make.
        dt: s, a step. The rule's times must be multiples of it.
        spike_grad: from `snntorch.surrogate`; its derivative at mem - threshold takes the place of the rule's factor.
        threshold: of the neurons; for `spike_grad` alone.
        start: where variables of the rule's signal start, by name; 0 where nothing is given.
        device: of the weights and of all state.
        dtype: float32 or float64.

    Raises:
        UsageError: a time of the rule is no multiple of `dt`, or `start` names no variable.

    >>> from spiking.parameters import LPLSynapse
    >>> from spiking.rule import lpl
    >>> layer = PlasticLinear(4, 2, lpl(LPLSynapse.current(axonal_delay=0.0), dt=1e-3), dt=1e-3)
    >>> current = layer(torch.ones(8, 4))
    >>> layer.learn(spk=torch.zeros(8, 2), mem=current)
    >>> current.requires_grad, layer.psp.shape
    (False, torch.Size([8, 4]))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rule: ThreeFactorRule,
        dt: float,
        *,
        spike_grad: Surrogate | None = None,
        threshold: float = 1.0,
        start: Mapping[str, float] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        nn.Linear.__init__(self, in_features, out_features, False, device, dtype)
        self.attach(f"{in_features}, {out_features}", rule, dt, spike_grad, threshold, start)

    def current(self, arrived: Tensor) -> Tensor:
        """Currents (B, out_features)."""
        return nn.Linear.forward(self, arrived)

    def gradient(self, psp: Tensor, q: Tensor) -> Tensor:
        """(out_features, in_features) of (T, B, in_features) and (T, B, out_features)."""
        return q.flatten(0, 1).T @ psp.flatten(0, 1)

    def expected(self, shape: Size) -> str | None:
        """Which shape an input must have, where `shape` will not do."""
        fits = len(shape) == 2 and shape[0] > 0 and shape[1] == self.in_features
        return None if fits else f"(batch, {self.in_features})"


class PlasticConv2d(PlasticLayer, nn.Conv2d):
    """A plastic `torch.nn.Conv2d`, without bias: (B, in_channels, H, W) to currents (B, out_channels, H', W').

    Every position of the output is a neuron of its own, with its own potential, error and eligibilities. What the
    neurons of a channel do to the weights they share is summed over positions, as in the gradient of a convolution.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel_size: height and width, or one number for both; likewise the following.
        rule: this and all that is not said here as in `PlasticLinear`.
        dt: s.
        stride: as in `torch.nn.Conv2d`.
        padding: zeros added on each side.
        dilation: as in `torch.nn.Conv2d`.
        groups: as in `torch.nn.Conv2d`.
        spike_grad: from `snntorch.surrogate`.
        threshold: of the neurons.
        start: of the signal's variables.
        device: of the weights and of all state.
        dtype: float32 or float64.

    Raises:
        UsageError: as `PlasticLinear`; or the padding is a word.
    """

    padding: tuple[int, int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        rule: ThreeFactorRule,
        dt: float,
        *,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        spike_grad: Surrogate | None = None,
        threshold: float = 1.0,
        start: Mapping[str, float] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        name = f"{in_channels}, {out_channels}"
        if isinstance(padding, str):
            raise UsageError(f"PlasticConv2d({name}): padding must be one or two whole numbers, got {padding!r}")
        geometry = (kernel_size, stride, padding, dilation, groups)
        nn.Conv2d.__init__(self, in_channels, out_channels, *geometry, bias=False, device=device, dtype=dtype)
        self.attach(name, rule, dt, spike_grad, threshold, start)

    def current(self, arrived: Tensor) -> Tensor:
        """Currents (B, out_channels, H', W')."""
        return nn.Conv2d.forward(self, arrived)

    def gradient(self, psp: Tensor, q: Tensor) -> Tensor:
        """In the shape of the weights, of (T, B, in_channels, H, W) and (T, B, out_channels, H', W')."""
        x, y, geometry = psp.flatten(0, 1), q.flatten(0, 1), (self.stride, self.padding, self.dilation, self.groups)
        summed: Tensor = conv2d_weight(x, self.weight.shape, y, *geometry)
        return summed

    def expected(self, shape: Size) -> str | None:
        """Which shape an input must have, where `shape` will not do."""
        geometry = zip(self.dilation, self.kernel_size, self.padding, strict=True)
        least = [max(1, dilation * (kernel - 1) + 1 - 2 * padding) for dilation, kernel, padding in geometry]
        fits = len(shape) == 4 and shape[0] > 0 and shape[1] == self.in_channels
        if fits and shape[2] >= least[0] and shape[3] >= least[1]:
            return None
        return f"(batch, {self.in_channels}, H >= {least[0]}, W >= {least[1]})"

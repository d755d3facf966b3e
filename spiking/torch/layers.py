"""Plastic layers for snnTorch models: any three-factor rule (`spiking.rule`), learning online in the forward loop.

Three lines in a model of yours::

    self.fc1 = PlasticLinear(784, 100, lpl(LPLSynapse.current(axonal_delay=0.0), dt=1e-3), dt=1e-3)
    spk1, mem1 = self.lif1(self.fc1(x), mem1)
    self.fc1.learn(spk1, mem1)

No synapse is stepped. A layer remembers psp, factor f and signal e of every step; at the end of the rule's window (and
at a reset) the product form of `spiking.torch.plasticity` turns them into the update, for a convolution as the gradient
of its weights. Eligibilities that outlive a window are not kept per synapse and sample: the backward filter E runs on
into the last steps before the window, as far back as an eligibility is more than `NEGLIGIBLE`::

    sum_ji = < Σ_n psp_j(n-a) f_i(n-a) E_i(n) >_samples     n from -memory to T-1, E driven by e(n) = 0 for n < 0

The order of things in a step is that of `spiking.brian.equations`; the first step is step 1 of the first window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Size, Tensor, nn

from foundation.errors import RatespikeError, UsageError
from spiking.parameters import whole_steps
from spiking.rule import ThreeFactorRule, WeightUpdate
from spiking.torch.code import Code, Value
from spiking.torch.plasticity import Backward, Coefficients, Presynaptic

Surrogate = Callable[[Tensor], Tensor]
"""A spike as a function of the distance to the threshold, with a derivative: what `snntorch.surrogate` makes."""

NEGLIGIBLE = {torch.float64: 1e-17, torch.float32: 1e-7}  # of an eligibility, once it has decayed that far
PER_SAMPLE = (
    "axon", "trace", "psp", "arrivals", "psp_record", "factor_record", "signal_record", "spikes", "tr_err",
    "tr_err_flt", "variables",
)  # fmt: skip
IN_DOUBLE = ("statistics", "g2")  # averages over many samples; squares of small numbers


class PlasticLayer(nn.Module):
    """What `PlasticLinear` and `PlasticConv2d` share: their state, and how it learns.

    Everything is in `state_dict`, also in the middle of a window; a checkpoint belongs between two steps, and what is
    loaded into a new layer goes on bit for bit. Buffers, with B samples, `in` and `out` the shapes of a sample's inputs
    and neurons (those with a B are None until the layer has learned a step, and after `reset`):

    * ``statistics`` (S, units) float64: the rule's ``signal.statistics``, in that order. The samples of a batch, and
      all positions of a convolution's channel, are draws of one neuron's life: each runs the declared code with the
      shared value, and the mean of the results becomes the new one.
    * ``total`` (as the weights): the sum of eligibility times signal of this window, mean over the samples, as far as
      it is worked out. ``g2`` likewise, float64: decaying maximum of the squared gradient; None unless the rule
      augments.
    * ``axon`` (axonal_delay, B, in), ``spikes`` (longest delay, B, out): spikes remembered, as rings.
    * ``trace, psp, arrivals`` (B, in): presynaptic filter, spikes that arrived since the last sum.
    * ``tr_err, tr_err_flt`` (B, out), ``variables`` (V, B, out): filters of the error, the rule's other variables.
    * ``psp_record, factor_record`` (memory + alignment + block, B, in or out), ``signal_record`` (block, B, out): steps
      that are not summed yet, after those that eligibilities still remember.

    Attributes:
        eta: the learning rate, to be changed at will; 0 freezes the weights.
    """

    weight: Tensor
    statistics: Tensor
    total: Tensor
    g2: Tensor | None
    axon: Tensor | None
    arrivals: Tensor | None
    psp: Tensor | None
    trace: Tensor
    psp_record: Tensor
    factor_record: Tensor
    signal_record: Tensor
    spikes: Tensor
    tr_err: Tensor
    tr_err_flt: Tensor
    variables: Tensor

    # --- what a kind of layer is --------------------------------------------------------------------------------------
    def _current(self, arrived: Tensor) -> Tensor:
        """Postsynaptic currents (B, out) of inputs (B, in)."""
        raise NotImplementedError

    def _gradient(self, psp: Tensor, q: Tensor) -> Tensor:
        """Sum of psp times q over steps, samples and all pairs that share a weight, for (T, B, in) and (T, B, out)."""
        raise NotImplementedError

    def _mismatch(self, shape: Size) -> str | None:
        """What shape an input must have, where `shape` is not it."""
        raise NotImplementedError

    # --- construction -------------------------------------------------------------------------------------------------
    def _attach(
        self,
        rule: ThreeFactorRule,
        dt: float,
        spike_grad: Surrogate | None,
        threshold: float,
        start: Mapping[str, float] | None,
    ) -> None:
        self.rule, self.dt, self.eta = rule, dt, rule.update.eta
        self.spike_grad, self.threshold = spike_grad, threshold
        self.steps, self._k = rule.steps(dt), Coefficients.of(rule, dt)
        self._start = {name: 0.0 for name in rule.signal.variables}
        for name, value in (start or {}).items():
            if name not in self._start:
                raise UsageError(f"start: the rule has no variable {name!r}; it has {', '.join(self._start) or 'none'}")
            self._start[name] = float(value)
        self._factor, self._error, self._traces = _programs(rule, dt)
        self._known: tuple[Tensor, Size] | None = None  # what arrived in this step, and the shape of the currents
        self._axon_at = self._spikes_at = self._recorded = self._window = 0

        self.weight.requires_grad_(False)
        like, units = self.weight, self.weight.shape[0]
        for name in PER_SAMPLE:
            self.register_buffer(name, None)
        self.register_buffer("total", torch.zeros_like(like))
        self.register_buffer("g2", torch.zeros_like(like, dtype=torch.float64) if rule.update.augment else None)
        initial = like.new_tensor([self._start[name] for name in rule.signal.statistics], dtype=torch.float64)
        self.register_buffer("statistics", initial[:, None].repeat(1, units))

    # --- the two calls of a step --------------------------------------------------------------------------------------
    @torch.inference_mode(False)
    @torch.no_grad()
    def forward(self, input: Tensor) -> Tensor:
        """Currents (B, out) of the input spikes (B, in) that arrive in this step, detached.

        Raises:
            UsageError: the shape does not fit, or not to the step before.
        """
        expected = self._mismatch(input.shape)
        if expected:
            raise UsageError(f"{self._name}: input must have shape {expected}, got {tuple(input.shape)}")
        before = self.psp if self.psp is not None else None if self.axon is None else self.axon[0]
        if before is not None and before.shape[0] != input.shape[0]:
            raise UsageError(
                f"{self._name}: batch of {input.shape[0]} samples where there were {before.shape[0]}; call reset()"
            )
        if before is not None and before.shape != input.shape:
            raise UsageError(
                f"{self._name}: input of shape {tuple(input.shape)} after {tuple(before.shape)}; call reset()"
            )
        arrived = self._travel(input.to(self.weight.dtype))
        current = self._current(arrived)
        self._known = arrived, current.shape
        return current

    @torch.inference_mode(False)
    @torch.no_grad()
    def learn(self, spk: Tensor, mem: Tensor, **inputs: Tensor | float) -> None:
        """One step of plasticity, after the neurons' own; at the end of a window it writes the weights.

        Does nothing in eval mode: neither weights nor traces change. Nor does a step that is not followed by `learn`
        leave anything but what is under way in the axons.

        Args:
            spk: (B, out), the neurons' spikes in this step.
            mem: (B, out), their potentials as the neurons gave them back; in units of the rule's constants.
            inputs: (B, out) or what broadcasts to it: values for the signal's inputs, by name.

        Raises:
            UsageError: called without a call of the layer, shapes that do not fit, an input missing or unknown.
            RatespikeError: a potential is no finite number.
        """
        if not self.training:
            return
        arrived, now, values = self._checked(spk, mem, inputs)
        if self.psp is None:
            self._allocate(arrived.shape, mem.shape)
        signal, psp = self.rule.signal, self.psp
        assert psp is not None
        self.psp_record[self._kept + self._recorded] = psp
        self.factor_record[self._kept + self._recorded] = self._f(mem)
        self.signal_record[self._recorded] = self.tr_err_flt
        if self.arrivals is not None:
            self.arrivals += arrived

        each = (-1, *(1,) * (mem.dim() - 2))
        values |= dict(zip(signal.statistics, (x.view(each) for x in self.statistics), strict=True))
        values |= dict(zip(_others(self.rule), self.variables, strict=True))
        values |= {"s_now": now} | {f"s_{name}": self._past(now, d) for name, d in self.steps.delays.items()}
        (err,) = self._error(**values)
        after = dict(zip(signal.variables, self._traces(**values), strict=True))

        self.trace, self.psp = Presynaptic(self.trace, psp).step(arrived, self._k)
        self.tr_err += self.dt / signal.filter.rise * (_full(err, mem) - self.tr_err)
        self.tr_err_flt += self.dt / signal.filter.decay * (self.tr_err - self.tr_err_flt)
        shared = [k for k in range(mem.dim()) if k != 1]
        for row, name in enumerate(signal.statistics):
            self.statistics[row] = _full(after[name], mem).mean(shared, dtype=torch.float64)
        for row, name in enumerate(_others(self.rule)):
            self.variables[row] = _full(after[name], mem)
        if len(self.spikes):
            self.spikes[self._spikes_at] = now
            self._spikes_at = (self._spikes_at + 1) % len(self.spikes)

        self._recorded += 1
        self._window += 1
        if self._recorded == len(self.signal_record) or self._window == self.steps.interval:
            self._sum_up()
        if self._window == self.steps.interval:
            self._write()

    def reset(self) -> None:
        """Forget what belongs to the samples (potentials of synapses, eligibilities, remembered spikes, filtered error).

        What was learned stays: weights, statistics, and the sum of an unfinished window, which goes on afterwards. The
        batch may change.
        """
        if self._recorded:
            self._sum_up()
        for name in PER_SAMPLE:
            setattr(self, name, None)
        self._known, self._axon_at, self._spikes_at = None, 0, 0

    # --- the step's parts ---------------------------------------------------------------------------------------------
    def _travel(self, spikes: Tensor) -> Tensor:
        """What arrives while `spikes` set out; see `axon`."""
        if not self.steps.axonal_delay:
            return spikes
        if self.axon is None:
            self.axon = spikes.new_zeros(self.steps.axonal_delay, *spikes.shape)
        arrived = self.axon[self._axon_at].clone()
        self.axon[self._axon_at] = spikes
        self._axon_at = (self._axon_at + 1) % len(self.axon)
        return arrived

    def _past(self, now: Tensor, delay: int) -> Tensor:
        """The neurons' spikes `delay` steps ago."""
        return self.spikes[(self._spikes_at - delay) % len(self.spikes)] if delay else now

    def _f(self, mem: Tensor) -> Tensor:
        """The postsynaptic factor (B, out)."""
        if self.spike_grad is not None:
            return surrogate_derivative(self.spike_grad, mem - self.threshold)
        return _full(self._factor(u=mem)[0], mem)

    def _checked(
        self, spk: Tensor, mem: Tensor, inputs: Mapping[str, Tensor | float]
    ) -> tuple[Tensor, Tensor, dict[str, Value]]:
        """What arrived, the neurons' spikes, and the signal's inputs, in the dtype of the weights."""
        if self._known is None:
            raise UsageError(f"{self._name}.learn: call the layer on its input first, once in every step")
        arrived, shape = self._known
        for name, value in (("spk", spk), ("mem", mem)):
            if value.shape != shape:
                raise UsageError(f"{self._name}.learn: {name} must have shape {tuple(shape)}, got {tuple(value.shape)}")
        if not torch.isfinite(mem).all():
            raise RatespikeError(f"{self._name}.learn: mem of shape {tuple(shape)} holds numbers that are not finite")
        expected = set(self.rule.signal.inputs)
        for name in sorted(expected ^ set(inputs)):
            problem = "is missing" if name in expected else "is unknown to the rule's signal"
            raise UsageError(f"{self._name}.learn: input {name!r} {problem}; it has {sorted(expected) or 'none'}")
        values: dict[str, Value] = {}
        for name, given in inputs.items():
            value = torch.as_tensor(given, device=self.weight.device).to(self.weight.dtype)
            if value.dim() > len(shape) or any(
                n not in (1, m) for n, m in zip(value.shape[::-1], shape[::-1], strict=False)
            ):
                raise UsageError(f"{self._name}.learn: {name} must have shape {tuple(shape)}, got {tuple(value.shape)}")
            values[name] = value
        self._known = None
        return arrived, spk.to(self.weight.dtype), values

    def _allocate(self, inputs: Size, neurons: Size) -> None:
        if self.weight.dtype not in NEGLIGIBLE:
            raise UsageError(f"{self._name}: weights must be float32 or float64, got {self.weight.dtype}")
        fastest = max(self._k.r, abs(1 - self._k.m), 1e-9)
        memory = math.ceil(math.log(NEGLIGIBLE[self.weight.dtype]) / math.log(fastest))
        block = min(self.steps.interval, 4 * memory)  # longer windows in parts, each of which repeats `memory` steps
        zeros, kept = self.weight.new_zeros, memory + self.steps.alignment
        self.trace, self.psp = zeros(inputs), zeros(inputs)
        self.arrivals = zeros(inputs) if self.rule.growth else None
        self.psp_record, self.factor_record = zeros(kept + block, *inputs), zeros(kept + block, *neurons)
        self.signal_record = zeros(block, *neurons)
        self.spikes = zeros(max([0, *self.steps.delays.values()]), *neurons)
        self.tr_err, self.tr_err_flt = zeros(neurons), zeros(neurons)
        start = self.weight.new_tensor([self._start[name] for name in _others(self.rule)])
        self.variables = start.view(-1, *(1,) * len(neurons)).repeat(1, *neurons)

    @property
    def _kept(self) -> int:
        """Steps before those that are not summed yet."""
        return len(self.psp_record) - len(self.signal_record)

    @property
    def _name(self) -> str:
        return f"{type(self).__name__}({self.weight.shape[1]}, {self.weight.shape[0]})"

    # --- windows ------------------------------------------------------------------------------------------------------
    @torch.inference_mode(False)
    @torch.no_grad()
    def _sum_up(self) -> None:
        """Add the steps that are not summed yet to the total, and keep what eligibilities remember of them."""
        steps, memory = self._recorded, self._kept - self.steps.alignment
        e = self.signal_record.new_zeros(memory + steps, *self.signal_record.shape[1:])
        e[memory:] = self.signal_record[:steps]
        E = Backward(self._k, e).error(e.flatten(1))[0].view_as(e)
        self._add(self.psp_record[: memory + steps], E.mul_(self.factor_record[: memory + steps]))
        if self.arrivals is not None:
            ones = torch.ones_like(self.tr_err)
            self._add(self.arrivals[None], ones[None], self.rule.growth)
            self.arrivals.zero_()
        for record in (self.psp_record, self.factor_record):
            record[: self._kept] = record[steps : steps + self._kept].clone()  # they may overlap
        self._recorded = 0

    def _add(self, psp: Tensor, q: Tensor, scale: float = 1.0) -> None:
        self.total += self._gradient(psp, q) * (scale / psp.shape[1])

    def _write(self) -> None:
        """The end of a window: new weights, which act from the next step on."""
        if not torch.isfinite(self.total).all():
            raise RatespikeError(f"{self._name}: the sum of a window is not finite; the weights are left as they were")
        gradient = self.total / self.steps.interval
        weight, self.g2 = updated(self.weight, gradient, self.g2, self.rule.update, self.eta)
        self.weight.copy_(weight)
        self.total.zero_()
        self._window = 0

    # --- checkpoints and devices --------------------------------------------------------------------------------------
    def get_extra_state(self) -> Tensor:
        """Where the rings and the window stand; `state_dict` calls it."""
        return torch.tensor([self._axon_at, self._spikes_at, self._recorded, self._window])

    def set_extra_state(self, state: Tensor) -> None:
        """What `get_extra_state` gave; `load_state_dict` calls it."""
        self._axon_at, self._spikes_at, self._recorded, self._window = (int(x) for x in state)
        self._known = None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in PER_SAMPLE:  # their shapes come with the checkpoint: the batch is not known before
            value = state_dict.get(prefix + name)
            setattr(self, name, None if value is None else self.weight.new_empty(value.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PlasticLayer:
        before = {name: getattr(self, name) for name in IN_DOUBLE}
        super()._apply(fn, recurse)
        for name, value in before.items():  # they follow the weights to a device, not to a dtype
            setattr(self, name, None if value is None else value.to(self.weight.device))
        return self


class PlasticLinear(PlasticLayer, nn.Linear):
    """A plastic `torch.nn.Linear` without bias: spikes (B, in_features) to currents (B, out_features).

    Args:
        in_features: number of inputs.
        out_features: number of neurons.
        rule: any three-factor rule, see `spiking.rule.lpl`, `super_spike`.
        dt: s, a step. The rule's times must be multiples of it.
        spike_grad: from `snntorch.surrogate`; its derivative at mem - threshold takes the place of the rule's factor.
        threshold: of the neurons, for `spike_grad` alone.
        start: where variables of the rule's signal start, by name; 0 where nothing is given.
        device: of the weights and all state.
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
        nn.Linear.__init__(self, in_features, out_features, bias=False, device=device, dtype=dtype)
        self._attach(rule, dt, spike_grad, threshold, start)

    def _current(self, arrived: Tensor) -> Tensor:
        return nn.Linear.forward(self, arrived)

    def _gradient(self, psp: Tensor, q: Tensor) -> Tensor:
        return q.flatten(0, 1).T @ psp.flatten(0, 1)

    def _mismatch(self, shape: Size) -> str | None:
        fits = len(shape) == 2 and shape[0] > 0 and shape[1] == self.in_features
        return None if fits else f"(batch, {self.in_features})"


class PlasticConv2d(PlasticLayer, nn.Conv2d):
    """A plastic `torch.nn.Conv2d` without bias: spikes (B, in_channels, H, W) to currents (B, out_channels, H', W').

    Every position of the output is a neuron of its own, with its own potential, error and eligibilities; what the
    neurons of a channel would do to their common weights is summed, as a gradient would be.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel_size: height and width, or one number for both.
        rule: see `PlasticLinear`, as for all that follows and is not said here.
        dt: s.
        stride: as in `torch.nn.Conv2d`.
        padding: zeros added on both sides, as numbers.
        dilation: as in `torch.nn.Conv2d`.
        groups: as in `torch.nn.Conv2d`.
        spike_grad: see `PlasticLinear`.
        threshold: see `PlasticLinear`.
        start: see `PlasticLinear`.
        device: of the weights and all state.
        dtype: float32 or float64.

    Raises:
        UsageError: as `PlasticLinear`, or a padding given by name.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        rule: ThreeFactorRule,
        dt: float,
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        spike_grad: Surrogate | None = None,
        threshold: float = 1.0,
        start: Mapping[str, float] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if isinstance(padding, str):
            raise UsageError(f"PlasticConv2d: padding must be one or two whole numbers, got {padding!r}")
        nn.Conv2d.__init__(
            self, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, False,
            device=device, dtype=dtype,
        )  # fmt: skip
        self._attach(rule, dt, spike_grad, threshold, start)

    def _current(self, arrived: Tensor) -> Tensor:
        return nn.Conv2d.forward(self, arrived)

    def _gradient(self, psp: Tensor, q: Tensor) -> Tensor:
        return torch.nn.grad.conv2d_weight(
            psp.flatten(0, 1), self.weight.shape, q.flatten(0, 1), self.stride, self.padding, self.dilation, self.groups
        )

    def _mismatch(self, shape: Size) -> str | None:
        reach = [d * (k - 1) + 1 - 2 * int(p) for d, k, p in zip(self.dilation, self.kernel_size, self.padding)]
        fits = len(shape) == 4 and shape[0] > 0 and shape[1] == self.in_channels
        if fits and all(size >= least for size, least in zip(shape[2:], reach)):
            return None
        least = ", ".join(f"{name} >= {max(1, n)}" for name, n in zip("HW", reach))
        return f"(batch, {self.in_channels}, H, W) with {least}"

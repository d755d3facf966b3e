"""The postsynaptic side of a three-factor rule as a module with state: factor, error, statistics, filtered error."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Size, Tensor, nn

from foundation.errors import UsageError
from spiking.rule import ThreeFactorRule
from spiking.torch.code import Code, Value, full

Surrogate = Callable[[Tensor], Tensor]
"""A spike as a function of the distance to the threshold, with a derivative: what `snntorch.surrogate` makes."""


class SampleState(nn.Module, ABC):
    """A module whose buffers partly belong to the samples of a batch, and are None while there is no batch.

    All are in `state_dict`. Those of the samples take their shapes from the checkpoint that is loaded.
    """

    per_sample: tuple[str, ...] = ()
    together: tuple[str, ...] = ()  # what belongs to the samples as soon as there are any; one alone is worth nothing
    alone: tuple[str, ...] = ()  # what may be there without the rest
    in_double: tuple[str, ...] = ()  # buffers that stay float64 whatever the rest is converted to

    @property
    @abstractmethod
    def like(self) -> Tensor:
        """A tensor of the dtype and device of what belongs to the samples."""

    def forget(self) -> None:
        """Drop what belongs to the samples."""
        for name in self.per_sample:
            self.register_buffer(name, None)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Where the state says how far it is, samples are its own, or there are none; else they stay as they are."""
        if f"{prefix}_extra_state" in state_dict:
            whole = all(prefix + name in state_dict for name in self.together)
            for name in self.per_sample:
                value = state_dict.get(prefix + name) if whole or name in self.alone else None
                setattr(self, name, None if value is None else self.like.new_empty(value.shape))
        else:  # a part of a state, such as weights alone
            state_dict = {key: value for key, value in state_dict.items() if key[len(prefix) :] not in self.per_sample}
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SampleState:
        before = {name: getattr(self, name) for name in self.in_double}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        for name, value in before.items():
            setattr(self, name, None if value is None else value.to(self.like.device))
        return self


class Postsynaptic(SampleState):
    """Neurons of a layer, as a rule sees them: (B, units) or, in a convolution, (B, units, H, W).

    Buffers, `out` being the shape of a sample's neurons:

    * ``statistics`` (S, units) float64: the rule's ``signal.statistics``, in that order. The samples of a batch, and
      all positions of a convolution's channel, are draws of one neuron's life: each runs the declared code with the
      shared value, and the mean of the results becomes the new one.
    * ``variables`` (V, B, out): the rule's other variables, in their order.
    * ``tr_err, tr_err_flt`` (B, out): the error, filtered once and twice (the signal).
    * ``spikes`` (longest delay, B, out): the last steps, as a ring.

    Args:
        rule: see `spiking.rule`.
        dt: s.
        like: (units, ...), whose dtype and device to use.
        start: where variables of the rule's signal start, by name; 0 where nothing is given.
    """

    per_sample = ("variables", "tr_err", "tr_err_flt", "spikes")
    together = per_sample
    in_double = ("statistics",)
    statistics: Tensor
    variables: Tensor
    tr_err: Tensor
    tr_err_flt: Tensor
    spikes: Tensor
    no_values: Tensor

    def __init__(self, rule: ThreeFactorRule, dt: float, like: Tensor, start: Mapping[str, float]) -> None:
        super().__init__()
        signal = rule.signal
        for name in start:
            if name not in signal.variables:
                known = ", ".join(signal.variables) or "none"
                raise UsageError(f"start: the rule has no variable {name!r}; it has {known}")
        self.signal, self.dt, self.delays = signal, dt, rule.steps(dt).delays
        self.alpha = rule.one_term("a layer").filter
        self.others = tuple(name for name in signal.variables if name not in signal.statistics)
        self._start = {name: float(start.get(name, 0.0)) for name in signal.variables}
        self._at = 0  # row of `spikes` that holds the oldest
        names = (*signal.variables, *signal.inputs, "s_now", *(f"s_{name}" for name in self.delays))
        self._factor = _Program(f"_f = {rule.factor}", ("u",), ("_f",), rule, dt)
        self._error = _Program(f"_e = {signal.error}", names, ("_e",), rule, dt)
        self._traces = _Program(signal.traces, names, signal.variables, rule, dt)
        self.forget()
        first = like.new_tensor([self._start[name] for name in signal.statistics], dtype=torch.float64)
        self.register_buffer("statistics", first[:, None].repeat(1, like.shape[0]))
        self.register_buffer("no_values", like.new_zeros(0), persistent=False)

    @property
    def like(self) -> Tensor:
        """An empty tensor."""
        return self.no_values

    def forget(self) -> None:
        """Drop what belongs to the samples."""
        super().forget()
        self._at = 0

    def begin(self, shape: Size) -> None:
        """Start a batch of neurons (B, units, ...)."""
        self.tr_err, self.tr_err_flt = self.like.new_zeros(shape), self.like.new_zeros(shape)
        self.spikes = self.like.new_zeros(max([0, *self.delays.values()]), *shape)
        start = self.like.new_tensor([self._start[name] for name in self.others])
        self.variables = start.view(-1, *(1,) * len(shape)).repeat(1, *shape)

    def factor(self, u: Tensor) -> Tensor:
        """The declared factor f of potentials (B, units, ...)."""
        return full(self._factor({"u": u}, u.dtype)["_f"], u)

    def step(self, now: Tensor, inputs: Mapping[str, Tensor]) -> None:
        """The neurons' spikes `now` (B, units, ...), 0 or 1, and the signal's inputs: everything to the step's end."""
        each = (-1, *(1,) * (now.dim() - 2))
        shared = [axis for axis in range(now.dim()) if axis != 1]
        values = {**inputs, "s_now": now}
        values |= zip(self.signal.statistics, (x.view(each) for x in self.statistics), strict=True)
        values |= zip(self.others, self.variables, strict=True)
        values |= {f"s_{name}": self._before(now, steps) for name, steps in self.delays.items()}
        err = self._error(values, now.dtype)["_e"]
        after = self._traces(values, torch.float64 if self.signal.statistics else now.dtype)
        self.tr_err += self.dt / self.alpha.rise * (full(err, now) - self.tr_err)
        self.tr_err_flt += self.dt / self.alpha.decay * (self.tr_err - self.tr_err_flt)
        for row, name in enumerate(self.signal.statistics):
            self.statistics[row] = full(after[name], now, torch.float64).mean(shared)
        for row, name in enumerate(self.others):
            self.variables[row] = after[name]
        if len(self.spikes):
            self.spikes[self._at] = now
            self._at = (self._at + 1) % len(self.spikes)

    def _before(self, now: Tensor, steps: int) -> Tensor:
        """The neurons' spikes that many steps ago."""
        return self.spikes[(self._at - steps) % len(self.spikes)] if steps else now

    def get_extra_state(self) -> Tensor:
        """Where the ring stands; `state_dict` calls it."""
        return torch.tensor(self._at)

    def set_extra_state(self, state: Tensor) -> None:
        """What `get_extra_state` gave; `load_state_dict` calls it."""
        self._at = int(state)


def surrogate_derivative(spike_grad: Surrogate, distance: Tensor) -> Tensor:
    """Derivative of `spike_grad` at the distance of potentials from their threshold, also within `torch.no_grad`.

    >>> from snntorch import surrogate
    >>> surrogate_derivative(surrogate.fast_sigmoid(slope=1), torch.tensor([-1.0, 0.0, 3.0]))
    tensor([0.2500, 1.0000, 0.0625])
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = distance.detach().clone().requires_grad_()
        (derivative,) = torch.autograd.grad(spike_grad(x).sum(), x)
    return derivative


class _Program:
    """Statements as a function of the values that they use, all taken to one dtype: mixed ones are slow."""

    def __init__(
        self, code: str, names: tuple[str, ...], results: tuple[str, ...], rule: ThreeFactorRule, dt: float
    ) -> None:
        used = {node.id for node in ast.walk(ast.parse(code.strip())) if isinstance(node, ast.Name)} | set(results)
        self.names, self.results = tuple(name for name in names if name in used), results
        constants = {**rule.constants, **rule.signal.parameters}
        self._code = Code.folded(code, self.names, constants, dt, "_c")
        self._run = self._code.function(self.names, results)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_run"}  # a function without a name

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._run = self._code.function(self.names, self.results)

    def __call__(self, values: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Value]:
        results = self._run(*(values[name].to(dtype) for name in self.names))
        return dict(zip(self.results, results, strict=True))

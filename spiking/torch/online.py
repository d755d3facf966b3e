"""Three-factor plasticity of a torch layer while its model runs, step by step: what `spiking.torch.layers` share.

No synapse is stepped. A layer remembers psp, factor f and signal e of every step; at the end of the rule's window (and
at a reset) the product form of `spiking.torch.plasticity` makes the update of them, as a gradient of weights that many
pairs of neurons share. Eligibilities that outlive a window are not kept per synapse and sample. They are sums over the
steps before, so those steps are remembered, as far back as more than `NEGLIGIBLE` is left of them::

    sum_ji = < Σ_n psp_j(n-a) f_i(n-a) E_i(n) >_samples     n = -memory ... T-1
    E_i(-k) = el(k) A_i + el_flt(k) B_i                     k = 1 ... memory

with a the rule's alignment, E(n), A and B of the window's signal, and el(k), el_flt(k) what is left of an impulse at
the end of its kth step. The order of things in a step is that of `spiking.brian.equations`. The first step is the
first of a window; there is no window of step 0.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Size, Tensor

from foundation.errors import RatespikeError, UsageError
from spiking.rule import ThreeFactorRule
from spiking.torch.plasticity import Backward, Coefficients, Presynaptic, UpdateNumbers, written
from spiking.torch.postsynaptic import Postsynaptic, SampleState, Surrogate, surrogate_derivative

NEGLIGIBLE = {torch.float64: 1e-17, torch.float32: 1e-7}  # of an eligibility, once it has decayed that far
WIDE = 10_000  # neurons and samples from which on arithmetic costs more than calls


class PlasticLayer(SampleState):
    """A layer whose weights learn by a three-factor rule, between its inputs (B, in) and its neurons (B, out).

    Everything is in `state_dict`, `eta` included, also amid a window: what is loaded goes on bit for bit, in a new
    layer or in one that has run. A state without its samples is loaded as after a `reset`; a part of a state, such as
    weights alone, leaves the rest as it is. A checkpoint belongs between two steps. Buffers beside those of
    `postsynaptic` (see there; those with a B are None until the layer has learned a step, and after `reset`):

    * ``total`` (as the weights): the window's sum of eligibility times signal so far, mean over the samples.
    * ``g2`` (as the weights) float64: decaying maximum of the squared gradient; None unless the rule augments.
    * ``axon`` (axonal delay, B, in): input spikes under way, as a ring.
    * ``trace, psp`` (B, in): presynaptic filter. ``arrivals`` (B, in): spikes since the last sum, if they cause growth.
    * ``psp_record, factor_record`` (rows, B, in or out): the steps that eligibilities still remember, and behind them
      those that are not summed yet. ``signal_record`` (block, B, out): of the latter alone.

    Attributes:
        eta: the learning rate, to be changed at will; 0 freezes the weights.
    """

    per_sample = ("axon", "trace", "psp", "arrivals", "psp_record", "factor_record", "signal_record")
    together = ("trace", "psp", "psp_record", "factor_record", "signal_record",
                *(f"postsynaptic.{name}" for name in Postsynaptic.per_sample))  # fmt: skip
    alone = ("axon",)
    in_double = ("g2",)
    weight: Tensor
    total: Tensor
    g2: Tensor | None
    axon: Tensor | None
    trace: Tensor | None
    psp: Tensor | None
    arrivals: Tensor | None
    psp_record: Tensor
    factor_record: Tensor
    signal_record: Tensor

    # --- what a kind of layer has to say ------------------------------------------------------------------------------
    @abstractmethod
    def current(self, arrived: Tensor) -> Tensor:
        """Postsynaptic currents (B, out) of inputs (B, in)."""

    @abstractmethod
    def gradient(self, psp: Tensor, q: Tensor) -> Tensor:
        """Sum of psp times q over all pairs that share a weight, steps and samples; (T, B, in) and (T, B, out)."""

    @abstractmethod
    def expected(self, shape: Size) -> str | None:
        """Which shape an input must have, where `shape` will not do."""

    # --- life ---------------------------------------------------------------------------------------------------------
    def attach(
        self,
        name: str,
        rule: ThreeFactorRule,
        dt: float,
        spike_grad: Surrogate | None,
        threshold: float,
        start: Mapping[str, float] | None,
    ) -> None:
        """To be called once the layer has its weights; see `spiking.torch.layers.PlasticLinear`."""
        self.name, self.rule, self.dt, self.eta = f"{type(self).__name__}({name})", rule, dt, rule.update.eta
        self.spike_grad, self.threshold = spike_grad, threshold
        self.steps, self._k = rule.steps(dt), Coefficients.of(rule, dt)
        self._known: tuple[Tensor, Size] | None = None  # what arrived in this step, and the shape of the currents
        self._axon_at = self._window = self._recorded = 0  # the last: steps that are not summed yet ...
        self._first = self._memory = 0  # ... their first row in the records, and how many before it are remembered
        self.weight.requires_grad_(False)
        self.postsynaptic = Postsynaptic(rule, dt, self.weight, start or {})
        self.forget()
        self.register_buffer("total", torch.zeros_like(self.weight))
        augmented = rule.one_term("a layer").update.augment
        self.register_buffer("g2", torch.zeros_like(self.weight, dtype=torch.float64) if augmented else None)

    @property
    def like(self) -> Tensor:
        """The weights."""
        return self.weight

    def reset(self) -> None:
        """Forget what belongs to the samples: synaptic potentials, eligibilities, filtered errors, spikes under way.

        What was learned stays: weights, statistics, and the sum of an unfinished window, which goes on afterwards. The
        next batch may be of another size.
        """
        if self._recorded:
            self._sum_up()
        self.forget()
        self.postsynaptic.forget()
        self._known, self._axon_at = None, 0

    @torch.inference_mode(False)
    @torch.no_grad()
    def forward(self, input: Tensor) -> Tensor:
        """Currents (B, out), detached, of the spikes that arrive while `input` (B, in) sets out.

        Raises:
            UsageError: the shape does not fit the layer, or not to the step before.
        """
        expected = self.expected(input.shape)
        if expected:
            raise UsageError(f"{self.name}: input must have shape {expected}, got {tuple(input.shape)}")
        before = self.psp if self.psp is not None else None if self.axon is None else self.axon[0]
        if before is not None and len(before) != len(input):
            raise UsageError(f"{self.name}: batch of {len(input)} samples where there were {len(before)}; call reset()")
        if before is not None and before.shape != input.shape:
            shapes = f"{tuple(input.shape)} where it was {tuple(before.shape)}"
            raise UsageError(f"{self.name}: input of shape {shapes}; call reset()")
        arrived = self._travel(input.to(self.weight.dtype))
        current = self.current(arrived)
        self._known = arrived, current.shape
        return current

    @torch.inference_mode(False)
    @torch.no_grad()
    def learn(self, spk: Tensor, mem: Tensor, **inputs: Tensor | float) -> None:
        """One step of plasticity, once the neurons have made theirs. The step that ends a window writes the weights.

        In eval mode it does nothing: weights, traces and statistics stay. Nor does a step without `learn` leave
        anything, but for spikes under way in the axons.

        Args:
            spk: (B, out), the neurons' spikes in this step.
            mem: (B, out), their potentials as the neurons gave them back, in the unit of the rule's constants.
            inputs: (B, out), or what broadcasts to it: values of the signal's inputs in this step, by name.

        Raises:
            UsageError: the layer was not called before, a shape does not fit, an input is missing or unknown.
            RatespikeError: `mem`, or at the end of a window the update, is not finite; the weights stay.
        """
        if not self.training:
            return
        arrived, values = self._checked(spk, mem, inputs)
        if self.psp is None or self.trace is None:
            self._begin(arrived.shape, mem.shape)
        assert self.psp is not None
        assert self.trace is not None
        row = self._first + self._recorded
        self.psp_record[row] = self.psp
        self.factor_record[row] = self._factor(mem)
        self.signal_record[self._recorded] = self.postsynaptic.tr_err_flt
        if self.arrivals is not None:
            self.arrivals += arrived
        self.postsynaptic.step(spk.to(self.weight.dtype), values)
        self.trace, self.psp = Presynaptic(self.trace, self.psp).step(arrived, self._k)
        self._recorded, self._window = self._recorded + 1, self._window + 1
        if self._recorded == len(self.signal_record) or self._window == self.steps.interval:
            self._sum_up()
        if self._window == self.steps.interval:
            self._write()

    # --- parts of a step ----------------------------------------------------------------------------------------------
    def _travel(self, spikes: Tensor) -> Tensor:
        """What arrives while `spikes` set out."""
        if not self.steps.axonal_delay:
            return spikes
        if self.axon is None:
            self.axon = spikes.new_zeros(self.steps.axonal_delay, *spikes.shape)
        arrived = self.axon[self._axon_at].clone()
        self.axon[self._axon_at] = spikes
        self._axon_at = (self._axon_at + 1) % len(self.axon)
        return arrived

    def _factor(self, mem: Tensor) -> Tensor:
        if self.spike_grad is None:
            return self.postsynaptic.factor(mem)
        return surrogate_derivative(self.spike_grad, mem - self.threshold)

    def _checked(
        self, spk: Tensor, mem: Tensor, inputs: Mapping[str, Tensor | float]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What arrived in this step, and the signal's inputs."""
        if self._known is None:
            raise UsageError(f"{self.name}.learn: call the layer on its input first, once in every step")
        arrived, shape = self._known
        known, values = self.rule.signal.inputs, {}
        for name in sorted({*known} ^ {*inputs}):
            problem = "is missing" if name in known else f"is not one of the rule's ({', '.join(known) or 'none'})"
            raise UsageError(f"{self.name}.learn: input {name!r} {problem}")
        for name, given in {"spk": spk, "mem": mem, **inputs}.items():
            value = values[name] = torch.as_tensor(given, dtype=self.weight.dtype, device=self.weight.device)
            if not (value.shape == shape or (name in known and _broadcasts(value.shape, shape))):
                shapes = f"{tuple(shape)}, got {tuple(value.shape)}"
                raise UsageError(f"{self.name}.learn: {name} must have shape {shapes}")
        if not torch.isfinite(mem.sum()):  # a quarter of the cost of asking every one
            raise RatespikeError(f"{self.name}.learn: mem of shape {tuple(shape)} is not finite everywhere")
        self._known = None
        return arrived, {name: values[name] for name in known}

    def _begin(self, inputs: Size, neurons: Size) -> None:
        """Make room for a batch."""
        if self.weight.dtype not in NEGLIGIBLE:
            raise UsageError(f"{self.name}: weights must be float32 or float64, got {self.weight.dtype}")
        slowest = max(self._k.r, abs(1 - self._k.m), 1e-9)
        self._memory = math.ceil(math.log(NEGLIGIBLE[self.weight.dtype]) / math.log(slowest))
        self._first = self._memory + self.steps.alignment
        block = min(self.steps.interval, 4 * self._memory)  # a longer window is summed in parts, to save memory
        room = self._first + max(block, 2 * self._memory)  # short ones need not move to the front every time
        zeros = self.weight.new_zeros
        self.trace, self.psp = zeros(inputs), zeros(inputs)
        self.arrivals = zeros(inputs) if self.rule.growth else None
        self.psp_record, self.factor_record = zeros(room, *inputs), zeros(room, *neurons)
        self.signal_record = zeros(block, *neurons)
        self.postsynaptic.begin(neurons)

    # --- windows ------------------------------------------------------------------------------------------------------
    @torch.inference_mode(False)
    @torch.no_grad()
    def _sum_up(self) -> None:
        """Add the recorded steps to the total; keep what eligibilities will remember of them."""
        steps, samples = self._recorded, self.signal_record.shape[1]
        end = self._first + steps - self.steps.alignment
        rows = slice(end - steps - self._memory, end)
        e = self.signal_record[:steps]
        backward, remembered = _filters(self._k, self._memory, e.dtype, e.device, 32 if e[0].numel() < WIDE else 8)
        E = e.new_empty(self._memory + steps, e[0].numel())
        E[self._memory :], A, B = backward.error(e.flatten(1))
        torch.mm(remembered, torch.stack([A, B]), out=E[: self._memory])
        q = E.view(-1, *e.shape[1:]).mul_(self.factor_record[rows])
        self.total += self.gradient(self.psp_record[rows], q) / samples
        if self.arrivals is not None:
            self.total += self.gradient(self.arrivals[None], torch.ones_like(e[:1])) * (self.rule.growth / samples)
            self.arrivals.zero_()
        self._first, self._recorded = self._first + steps, 0
        if self._first + len(self.signal_record) > len(self.psp_record):
            kept = self._memory + self.steps.alignment
            for record in (self.psp_record, self.factor_record):
                record[:kept] = record[self._first - kept : self._first].clone()  # the two may overlap
            self._first = kept

    def _write(self) -> None:
        """The end of a window: new weights, which act from the next step on."""
        gradient, self._window = self.total / self.steps.interval, 0
        self.total.zero_()
        if not torch.isfinite(gradient).all():
            raise RatespikeError(f"{self.name}.learn: the update is not finite; the weights are left as they were")
        numbers = UpdateNumbers.of(self.rule.one_term("a layer").update)._replace(eta=self.eta)
        weight, self.g2 = written(self.weight, gradient, self.g2, numbers)
        self.weight.copy_(weight)

    # --- checkpoints --------------------------------------------------------------------------------------------------
    def get_extra_state(self) -> Tensor:
        """Where axon, records and window stand, and eta; `state_dict` calls it."""
        stand = (self._axon_at, self._window, self._recorded, self._first, self._memory)
        return torch.tensor([*stand, float(self.eta)], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """What `get_extra_state` gave; `load_state_dict` calls it."""
        self._axon_at, self._window, self._recorded, self._first, self._memory = (int(value) for value in state[:5])
        if len(state) > 5:  # older ones leave eta to the layer
            self.eta = float(state[5])
        if self.psp is None:  # without samples, whatever there was when it was saved
            self._axon_at, self._recorded = (0 if self.axon is None else self._axon_at), 0
        self._known = None


@lru_cache(maxsize=32)
def _filters(
    k: Coefficients, memory: int, dtype: torch.dtype, device: torch.device, block: int
) -> tuple[Backward, Tensor]:
    """The backward filter, and what is left of each of the last `memory` steps in el and el_flt, (memory, 2)."""
    like = torch.zeros(0, dtype=dtype, device=device)
    return Backward(k, like, block), like.new_tensor(k.eligibility.impulse_response(memory - 1)[::-1].copy())


def _broadcasts(shape: Size, to: Size) -> bool:
    pairs = zip(shape[::-1], to[::-1], strict=False)
    return len(shape) <= len(to) and all(own in (1, other) for own, other in pairs)

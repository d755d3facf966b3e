"""Three-factor plasticity without stepping a synapse: the updates of a whole window at once, exactly.

Within a window the weights are constant and all that a synapse does is linear (`spiking.rule`)::

    el += psp(n) f(n);  el_flt += m (el - el_flt);  el *= r;  sum += el_flt e(n)       r = exp(-dt/rise), m = dt/decay

So the error can be filtered backward in time instead of the eligibility forward: the same sum, but the backward filters
belong to postsynaptic neurons, not to synapses. From g_f = g_e = 0, n = T-1 ... 0::

    g_f <- (1-m) g_f + e(n);   E(n) = m g_f + r g_e;   g_e <- E(n)                     E(n) = d sum / d (psp f)(n)

    product form:  sum_ji = Σ_n psp_j(n) f_i(n) E_i(n) + el_0 A_i + el_flt_0 B_i       A = g_e, B = (1-m) g_f at the end

The psp is itself a filter of the input's spikes, psp += b (tr - psp); tr = (tr + x) a. Pushed to the other side, too::

    H(n) = a g_t;   (g_t, g_p) <- (a g_t + b g_p, (1-b) g_p + f(n) E(n))               H(n) = d sum / d x(n)

    event form:    sum_ji = Σ_k H_i(t_k) + tr_0 P_i + psp_0 Q_i + el_0 A_i + el_flt_0 B_i        P = g_t, Q = g_p

with t_k the steps in which spikes of input j arrive: a gather in place of a product. The eligibilities that a window
hands on are sums of the same kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from spiking.rule import ThreeFactorRule, WeightUpdate
from spiking.torch.code import Value
from spiking.torch.filters import BlockFilter, LinearSystem

SMALL = 1e-32  # keeps a gradient of 0, divided by itself, from being no number
NEGLIGIBLE = {torch.float64: 1e-300, torch.float32: 1e-10}  # of an eligibility, by the end of a window: in float64 all


class Coefficients(NamedTuple):
    """Of a rule's linear filters at a step of dt."""

    a: float  # presynaptic trace
    b: float  # psp that follows it
    r: float  # eligibility
    m: float  # filtered eligibility that follows it

    @classmethod
    def of(cls, rule: ThreeFactorRule, dt: float) -> Coefficients:
        """Those of `rule` at steps of `dt` (s)."""
        pre, el, *_ = rule.one_term("torch")
        return cls(math.exp(-dt / pre.rise), dt / pre.decay, math.exp(-dt / el.rise), dt / el.decay)

    @property
    def inputs(self) -> LinearSystem:
        """From spikes that arrive to the psp; state trace, psp, as of the end of a step."""
        return LinearSystem(np.array([[self.a, 0.0], [self.b, 1 - self.b]]), np.array([self.a, 0.0]), np.zeros(2))

    @property
    def eligibility(self) -> LinearSystem:
        """From psp f to the eligibilities; state el, el_flt, as of the end of a step."""
        return LinearSystem(np.array([[self.r, 0.0], [self.m, 1 - self.m]]), np.array([self.r, self.m]), np.zeros(2))

    @property
    def error_adjoint(self) -> LinearSystem:
        """Backward, from e to E; state g_f, g_e."""
        g_e = np.array([self.m * (1 - self.m), self.r])
        return LinearSystem(np.array([[1 - self.m, 0.0], g_e]), np.array([1.0, self.m]), g_e, self.m)

    @property
    def input_adjoint(self) -> LinearSystem:
        """Backward, from f E to H; state g_t, g_p."""
        return LinearSystem(
            np.array([[self.a, self.b], [0.0, 1 - self.b]]), np.array([0.0, 1.0]), np.array([self.a, 0.0])
        )


# --- explicit form: every synapse in every step -----------------------------------------------------------------------
class Presynaptic(NamedTuple):
    """State of the inputs, of any shape."""

    trace: Tensor
    psp: Tensor

    def step(self, arrived: Tensor, k: Coefficients) -> Presynaptic:
        """At the end of a step in which the spikes `arrived` (0 or 1) came in; both as of the end of the step."""
        return Presynaptic((self.trace + arrived) * k.a, self.psp + k.b * (self.trace - self.psp))


class Eligibility(NamedTuple):
    """State of the synapses, of any shape."""

    el: Tensor
    el_flt: Tensor
    total: Tensor  # sum of filtered eligibility times signal

    def step(self, coincidence: Tensor, e: Tensor, k: Coefficients) -> Eligibility:
        """One step, with psp times postsynaptic factor and the signal at every synapse."""
        el = self.el + coincidence
        el_flt = self.el_flt + k.m * (el - self.el_flt)
        return Eligibility(el * k.r, el_flt, self.total + el_flt * e)


# --- backward ---------------------------------------------------------------------------------------------------------
class Adjoint(NamedTuple):
    """How a window's sum depends on what came in, for S postsynaptic neurons.

    Attributes:
        H: (T, S), on an input spike that arrives in each step.
        P: (S,), on the trace at the start of the window.
        Q: (S,), on the psp.
        A: (S,), on the eligibility.
        B: (S,), on the filtered eligibility.
    """

    H: Tensor
    P: Tensor
    Q: Tensor
    A: Tensor
    B: Tensor


class Backward:
    """The backward filters of a rule.

    Args:
        k: the rule's coefficients.
        like: whose dtype and device to use.
        block: steps to take at once: more for few neurons, where calls cost, fewer for many.
    """

    def __init__(self, k: Coefficients, like: Tensor, block: int = 32) -> None:
        self.k, self.like, self.block = k, like.new_zeros(0), block
        self._filters: dict[tuple[str, int], BlockFilter] = {}
        left = math.log(NEGLIGIBLE[like.dtype]) / math.log(max(k.r, abs(1 - k.m), 1e-9))
        self.memory = max(1, math.ceil(left))  # steps after which an eligibility is gone

    def error(self, e: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """E (T, S), A (S,) and B (S,) of a signal e (T, S)."""
        z, E = e.new_zeros(2, e.shape[1]), torch.empty_like(e)
        for part in self._parts(len(e)):
            E[part], z = self._filter("error_adjoint", part)(e[part], z)
        return E, z[1], (1 - self.k.m) * z[0]

    def inputs(self, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """H (T, S), P (S,) and Q (S,) of q = f E (T, S)."""
        z, H = q.new_zeros(2, q.shape[1]), torch.empty_like(q)
        for part in self._parts(len(q)):
            H[part], z = self._filter("input_adjoint", part)(q[part], z)
        return H, z[0], z[1]

    def both(self, f: Tensor, e: Tensor, out: Tensor | None = None) -> Adjoint:
        """All of a window with the factor f (T, S) and the signal e (T, S); H goes to `out`, which may be e."""
        z, g = e.new_zeros(2, e.shape[1]), e.new_zeros(2, e.shape[1])
        H = torch.empty_like(e) if out is None else out
        for part in self._parts(len(e)):
            E, z = self._filter("error_adjoint", part)(e[part], z)
            H[part], g = self._filter("input_adjoint", part)(E.mul_(f[part]), g)
        return Adjoint(H, g[0], g[1], z[1], (1 - self.k.m) * z[0])

    def _parts(self, steps: int) -> Iterator[slice]:
        """Blocks of steps, the last ones first."""
        for end in range(steps, 0, -self.block):
            yield slice(max(0, end - self.block), end)

    def _filter(self, name: str, part: slice) -> BlockFilter:
        length = part.stop - part.start
        if (name, length) not in self._filters:
            self._filters[name, length] = BlockFilter(getattr(self.k, name), length, self.like)
        return self._filters[name, length]


# --- product form -----------------------------------------------------------------------------------------------------
def product_form(psp: Tensor, f: Tensor, e: Tensor, before: Eligibility, backward: Backward) -> Eligibility:
    """A window of dense synapses, given the psp of every input in every step.

    Args:
        psp: (T, B, J), as it stands before it is updated in each step.
        f: (T, B, I), postsynaptic factor.
        e: (T, B, I), signal, as it acts in each step.
        before: (B, J, I), state of the synapses at the start.
        backward: filters of the rule.

    Returns:
        The state (B, J, I) at the end.
    """
    steps, batch, units = f.shape
    E, A, B = (part.view(*part.shape[:-1], batch, units) for part in backward.error(e.reshape(steps, -1)))
    total = before.total + _correlate(psp, f * E) + before.el * A[:, None] + before.el_flt * B[:, None]
    tail = min(steps, backward.memory)
    kernels = backward.like.new_tensor(backward.k.eligibility.impulse_response(steps - 1)[::-1].copy())
    el, el_flt = (_correlate(psp[-tail:], f[-tail:] * kernel[-tail:, None, None]) for kernel in kernels.unbind(1))
    return Eligibility(*_hand_on(before.el, before.el_flt, el, el_flt, backward.k, steps), total)


def _correlate(psp: Tensor, q: Tensor) -> Tensor:
    """(B, J, I) from (T, B, J) and (T, B, I)."""
    return torch.bmm(psp.permute(1, 2, 0), q.transpose(0, 1))


def _hand_on(
    el: Tensor, el_flt: Tensor, new: Tensor, new_flt: Tensor, k: Coefficients, steps: int
) -> tuple[Tensor, Tensor]:
    """The eligibilities that a window leaves, from those that it found and those that arose in it."""
    M = np.linalg.matrix_power(k.eligibility.M, steps)
    return new + M[0, 0] * el, new_flt + M[1, 0] * el + M[1, 1] * el_flt


# --- weights ----------------------------------------------------------------------------------------------------------
class UpdateNumbers(NamedTuple):
    """The numbers of a `spiking.rule.WeightUpdate`: each one for all synapses, or (n,)."""

    eta: Value
    augmented: Value  # 1 or 0
    fade: Value  # what is left of g² after an interval
    decay: Value  # share of a weight that is lost in it, per eta
    w_min: Value
    w_max: Value

    @classmethod
    def of(cls, update: WeightUpdate) -> UpdateNumbers:
        """Those of one update."""
        lost = 0.0 if update.tau_w is None else -math.expm1(-update.interval / update.tau_w)
        w_min = -math.inf if update.w_min is None else update.w_min
        w_max = math.inf if update.w_max is None else update.w_max
        fade = math.exp(-update.interval / update.tau_rms)
        return cls(update.eta, float(update.augment), fade, lost, w_min, w_max)


def written(
    w: Tensor, gradient: Tensor, g2: Tensor | None, k: UpdateNumbers, *, learning: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Weights, and the decaying maximum g² of the gradient, at the end of a window (`spiking.rule.WeightUpdate`).

    Args:
        w: weights.
        gradient: mean of eligibility times signal over the window, in the shape of the weights.
        g2: in float64, since it is the square of a small number; None where no gradient is augmented.
        k: numbers of the rule.
        learning: whether the weights change; g² does anyway.
    """
    step = gradient
    if g2 is not None:
        g2 = torch.maximum(k.fade * g2, gradient.double() ** 2)
        divided = gradient / (g2.sqrt() + SMALL).to(gradient)
        step = divided if isinstance(k.augmented, float) else torch.where(k.augmented > 0, divided, gradient)
    if learning:
        w = w - k.eta * k.decay * w + k.eta * step
        low, high = (torch.as_tensor(bound, dtype=w.dtype, device=w.device) for bound in (k.w_min, k.w_max))
        w = torch.minimum(torch.maximum(w, low), high)
    return w, g2


# --- event form -------------------------------------------------------------------------------------------------------
class Synapses:
    """Synapses from `lines` inputs to `units` neurons, in the order of their inputs; indices run through a whole batch.

    Args:
        pre: (n,), ascending.
        post: (n,).
        lines: number of inputs.
        units: number of neurons.
    """

    def __init__(self, pre: Tensor, post: Tensor, lines: int, units: int) -> None:
        self.pre, self.post, self.lines, self.units = pre, post, lines, units

    @cached_property
    def _count(self) -> Tensor:
        return torch.bincount(self.pre, minlength=self.lines)

    @cached_property
    def _start(self) -> Tensor:
        return torch.cumsum(self._count, 0) - self._count

    def pairs(self, line: Tensor) -> tuple[Tensor, Tensor]:
        """Every pair of an event (in order) and a synapse that it reaches: their indices, each (pairs,)."""
        count = self._count[line]
        event = torch.repeat_interleave(torch.arange(len(line), device=line.device), count)
        first = torch.cumsum(count, 0) - count
        return event, torch.arange(len(event), device=line.device) - (first - self._start[line])[event]


class Events(NamedTuple):
    """Input spikes: number `line` (E,) arrives in step `step` (E,)."""

    line: Tensor
    step: Tensor


class Carried(NamedTuple):
    """What one window hands on to the next.

    Attributes:
        trace: (lines,), presynaptic traces.
        psp: (lines,).
        el: (n,), eligibilities.
        el_flt: (n,).
        pending: events that have arrived, but wait for the alignment of the rule.
    """

    trace: Tensor
    psp: Tensor
    el: Tensor
    el_flt: Tensor
    pending: Events


def add_at(total: Tensor, index: Tensor, values: Tensor) -> None:
    """total[index] += values, also where indices repeat; in the same order on every run, on a GPU, too."""
    with _deterministic(total.is_cuda):
        total.index_add_(0, index, values)


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    before, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn)


def event_form(
    synapses: Synapses,
    events: Events,
    f: Tensor,
    e: Tensor,
    before: Carried,
    backward: Backward,
    *,
    alignment: int = 0,
    out: Tensor | None = None,
) -> tuple[Tensor, Carried]:
    """A window of any synapses, given the input spikes.

    Args:
        synapses: n of them.
        events: of the window, steps 0 to T-1.
        f: (T, units), postsynaptic factor, as it acts in each step (delayed by the alignment).
        e: (T, units), signal, as it acts in each step.
        before: state at the start.
        backward: filters of the rule.
        alignment: steps by which the psp is delayed.
        out: (T, units), memory to work in; it may be e.

    Returns:
        The sum of eligibility times signal of the window (n,), and the state at its end.
    """
    steps = len(f)
    line = torch.cat([before.pending.line, events.line])
    step = torch.cat([before.pending.step, events.step + alignment])
    late = step >= steps
    pending = Events(line[late], step[late] - steps)
    line, step = line[~late], step[~late]
    event, synapse = synapses.pairs(line)
    pre, post = synapses.pre, synapses.post
    place = step[event] * synapses.units + post[synapse]

    # what arose in the tail alone is left of the eligibilities at the end
    first = max(0, steps - backward.memory)
    trace, psp = _presynaptic(before, line, step, first, backward)
    kernels = backward.like.new_tensor(backward.k.eligibility.impulse_response(steps - first - 1)[::-1].copy())
    inside = step[event] >= first
    new = []
    for kernel in kernels.unbind(1):
        H, P, Q = backward.inputs(f[first:] * kernel[:, None])
        el = trace[pre] * P[post] + psp[pre] * Q[post]
        add_at(el, synapse[inside], H.reshape(-1)[place[inside] - first * synapses.units])
        new.append(el)
    el, el_flt = _hand_on(before.el, before.el_flt, new[0], new[1], backward.k, steps)

    H, P, Q, A, B = backward.both(f, e, out)
    total = before.trace[pre] * P[post] + before.psp[pre] * Q[post] + before.el * A[post] + before.el_flt * B[post]
    add_at(total, synapse, H.reshape(-1)[place])
    return total, Carried(*_presynaptic(before, line, step, steps, backward), el, el_flt, pending)


def _presynaptic(before: Carried, line: Tensor, step: Tensor, end: int, backward: Backward) -> tuple[Tensor, Tensor]:
    """Traces and psp (lines,) at the start of step `end`."""
    system = backward.k.inputs
    M = np.linalg.matrix_power(system.M, end)
    trace, psp = M[0, 0] * before.trace, M[1, 0] * before.trace + M[1, 1] * before.psp
    if end:
        since = backward.like.new_tensor(system.impulse_response(end - 1))
        inside = step < end
        left = since[end - 1 - step[inside]]
        add_at(trace, line[inside], left[:, 0])
        add_at(psp, line[inside], left[:, 1])
    return trace, psp

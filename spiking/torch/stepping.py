"""The step loop of a batch of networks in tensor operations: on every device, compiled where that pays.

All spikes travel for the axonal delay, so inside a block of that many steps the neurons do not see one another: a block
is one product with each matrix of weights, and then element-wise steps of neurons and signals. Weights of inhibitory
synapses change inside it, at every spike, and exactly so: a neuron spikes at most once in a block, hence a synapse
meets at most one arriving spike of its inhibitory neuron and one spike of its target. The order of the two is known
once the block has been stepped, and what comes after does not change it: after its spike a neuron is silent. So blocks
are stepped twice, the second time with the weights that every arriving spike really meets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spiking.torch.batch import Batch, State
from spiking.torch.code import Code, full
from spiking.torch.neuron import NeuronState, conductance_step
from spiking.torch.plasticity import Backward, Carried, Events, add_at, event_form

Step = Callable[..., Any]


class Spikes(NamedTuple):
    """Spikes of a batch, in the order of time: network, step, unit (the excitatory neurons first), each (n,)."""

    network: Tensor
    step: Tensor
    unit: Tensor


class _Work(NamedTuple):
    """Memory for a stretch of T steps.

    Attributes:
        state: what changes in every step.
        spikes: (history + T, B, neurons).
        factor: (alignment + T, B, exc), postsynaptic factor.
        e: (T, B, exc), signal.
        drive: (T, B, neurons), what input spikes add to g_ampa.
        weights: (B, exc, neurons), what a spike of an excitatory neuron adds to it.
    """

    state: State
    spikes: Tensor
    factor: Tensor
    e: Tensor
    drive: Tensor
    weights: Tensor


class TensorStepper:
    """Takes the state of a batch through a stretch of steps in which no LPL weight changes.

    Args:
        batch: what is constant.
        compiled: run the element-wise steps through `torch.compile`, and on a GPU whole windows as one graph.
    """

    def __init__(self, batch: Batch, *, compiled: bool = False) -> None:
        self.batch = batch
        signal = batch.rule.signal
        self._variables = tuple(f"signal/{name}" for name in signal.variables)
        self._delays = tuple(f"s_{name}" for name in signal.delays)
        known = (*signal.variables, *signal.parameters, "s_now", *self._delays)
        self._one_step = conductance_step(batch.neuron, batch.dt)
        self._factor = self._program("factor", ("u",), ("_factor",))
        self._error = self._program("error", known, ("_error",))
        self._traces = self._program("traces", known, signal.variables)
        self._backward = Backward(batch.coefficients, batch.like, block=32 if batch.size > 4 else 100)
        self._plastic_inhibition = any(member.inhibitory is not None for member in batch.members)
        functions: Iterable[Step] = (self._first_spikes, self._step_neurons, self._inhibition, self._step_signal)
        if compiled:
            functions = [torch.compile(function, dynamic=False) for function in functions]
        self._find, self._step, self._meet, self._listen = functions
        self._capture = compiled and batch.device.type == "cuda"
        self._graphs: dict[int, tuple[_Work, torch.cuda.CUDAGraph]] = {}

    def _program(self, name: str, arguments: tuple[str, ...], results: tuple[str, ...]) -> Step:
        code, kind = self.batch.code[name], self.batch.kind(name)
        constants = {
            key: value.to(self.batch.device, kind) if isinstance(value, Tensor) else value
            for key, value in code.constants.items()
        }
        return Code(code.lines, constants).function(arguments, results)

    # --- a stretch of steps -------------------------------------------------------------------------------------------
    def advance(self, state: State, events: Events, steps: int, clamp: Tensor | None = None) -> Spikes:
        """Change `state` in place; returns the spikes, in steps of the stretch.

        Args:
            state: see `Batch.start`.
            events: input spikes that arrive in these steps, those of a network in the order of time; line j of network
                k is number k lines + j.
            steps: how many.
            clamp: (B, steps), what the excitatory potentials are set to at the end of each step.
        """
        b = self.batch
        past, alignment = b.history, b.steps.alignment
        captured = self._captured(state, steps) if self._capture and clamp is None else None
        work = self._work(state, steps) if captured is None else captured[0]
        for name, value in work.state.items():
            value.copy_(state[name])
        work.spikes.zero_()
        work.spikes[:past] = state["spikes"].transpose(0, 1)
        work.factor[:alignment] = state["factor"].transpose(0, 1)
        self._fill_drive(work.drive, state, events)
        self._fill_weights(work.weights, state)
        if captured is None:
            self._run_blocks(work, clamp, 0, steps)
        else:
            captured[1].replay()
        for name, value in work.state.items():
            state[name].copy_(value)
        arrived = work.spikes[past - b.steps.axonal_delay :][:steps, :, : b.exc]
        self._learn(state, "ext", events, work.factor[:steps], work.e)
        if len(b.synapses["ee"].pre):
            step, line = torch.nonzero(arrived.reshape(steps, -1), as_tuple=True)
            self._learn(state, "ee", Events(line, step), work.factor[:steps], work.e)
        state["spikes"].copy_(work.spikes[steps:].transpose(0, 1))
        state["factor"].copy_(work.factor[steps:].transpose(0, 1))
        step, network, unit = torch.nonzero(work.spikes[past:], as_tuple=True)
        return Spikes(network, step, unit)

    def _work(self, state: State, steps: int) -> _Work:
        b = self.batch
        changing = (*NeuronState._fields, *self._variables, "tr_err", "tr_err_flt", "x", "y", "inhibition")
        return _Work(
            {name: torch.empty_like(state[name]) for name in changing},
            b.like.new_zeros(b.history + steps, b.size, b.neurons),
            b.like.new_zeros(b.steps.alignment + steps, b.size, b.exc),
            b.like.new_zeros(steps, b.size, b.exc),
            b.like.new_zeros(steps, b.size, b.neurons),
            b.like.new_zeros(b.size, b.exc, b.neurons),
        )

    def _captured(self, state: State, steps: int) -> tuple[_Work, torch.cuda.CUDAGraph] | None:
        """All blocks of a window as one CUDA graph: hundreds of small kernels with one launch."""
        if steps < self.batch.steps.interval - 1:  # whole windows, and those that the end of a piece cuts short
            return None
        if steps not in self._graphs:
            work, length = self._work(state, steps), self.batch.block
            for name, value in work.state.items():
                value.copy_(state[name])
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # what compiles and allocates must have done so before
                for n in (0, length, (steps - 1) // length * length):
                    self._run_blocks(work, None, n, min(n + length, steps))
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._run_blocks(work, None, 0, steps)
            self._graphs[steps] = (work, graph)
        return self._graphs[steps]

    def _run_blocks(self, work: _Work, clamp: Tensor | None, first: int, end: int) -> None:
        settings = {"suppress_errors": True, "cache_size_limit": 64}  # what cannot be compiled runs as it is
        with torch._dynamo.config.patch(settings):
            for n in range(first, end, self.batch.block):
                block = slice(n, min(n + self.batch.block, end))
                self._advance_block(work, block, None if clamp is None else clamp[:, block].T[..., None])

    def _fill_drive(self, drive: Tensor, state: State, events: Events) -> None:
        """What input spikes add to g_ampa, into (T, B, neurons)."""
        b = self.batch
        synapses = b.synapses["ext"]
        event, synapse = synapses.pairs(events.line)
        network, unit = synapses.post[synapse] // b.exc, synapses.post[synapse] % b.exc
        place = (events.step[event] * b.size + network) * b.neurons + unit
        add_at(drive.zero_().view(-1), place, state["ext/w"][synapse])

    def _fill_weights(self, weights: Tensor, state: State) -> None:
        """What a spike of an excitatory neuron adds to g_ampa, into (B, exc, neurons)."""
        b = self.batch
        weights.zero_()[:, :, b.exc :] = b.exc_to_inh
        synapses = b.synapses["ee"]
        add_at(weights.view(-1), synapses.pre * b.neurons + synapses.post % b.exc, state["ee/w"])

    def _learn(self, state: State, name: str, events: Events, factor: Tensor, e: Tensor) -> None:
        """Add what the synapses of a projection have collected to their sums, and carry their state on."""
        b = self.batch
        synapses, steps = b.synapses[name], len(e)
        if not len(synapses.pre):
            return
        waiting = state[f"{name}/pending"].transpose(0, 1)
        step, network, line = torch.nonzero(waiting, as_tuple=True)
        pending = Events(network * waiting.shape[2] + line, step)
        trace, psp, el, el_flt = carried = [state[f"{name}/{key}"] for key in ("trace", "psp", "el", "el_flt")]
        work = e.reshape(steps, -1)
        total, after = event_form(
            synapses,
            events,
            factor.reshape(steps, -1),
            work,
            Carried(trace, psp, el, el_flt, pending),
            self._backward,
            alignment=b.steps.alignment,
            out=None if name == "ext" and len(b.synapses["ee"].pre) else work,
        )
        growth = b.per_synapse(name, _growth)
        if not isinstance(growth, float) or growth:
            _, synapse = synapses.pairs(events.line)
            amounts = growth.expand(len(synapses.pre)) if isinstance(growth, Tensor) else total.new_tensor(growth)
            add_at(total, synapse, amounts.expand(len(synapses.pre))[synapse])
        state[f"{name}/el_sum"] += total
        for old, new in zip(carried, (after.trace, after.psp, after.el, after.el_flt), strict=True):
            old.copy_(new)
        waiting.zero_()
        at = after.pending
        waiting[at.step, at.line // waiting.shape[2], at.line % waiting.shape[2]] = 1

    # --- a block ------------------------------------------------------------------------------------------------------
    def _advance_block(self, work: _Work, block: slice, clamp: Tensor | None) -> None:
        """Steps `block` of a stretch, in place; `clamp` (K, B, 1)."""
        b, state, spikes = self.batch, work.state, work.spikes
        exc, past, count = b.exc, b.history, block.stop - block.start
        neurons = NeuronState(*(state[name] for name in NeuronState._fields))

        def remembered(steps: int) -> Tensor:
            """What was spiked that many steps ago, (K, B, neurons)."""
            return spikes[past + block.start - steps :][:count]

        arrived = remembered(b.steps.axonal_delay)
        from_exc, from_inh = arrived[..., :exc].transpose(0, 1), arrived[..., exc:].transpose(0, 1)
        ampa = work.drive[block] + torch.bmm(from_exc, work.weights).transpose(0, 1)
        gaba = torch.bmm(from_inh, state["inhibition"]).transpose(0, 1)
        if self._plastic_inhibition:
            first = self._find(neurons, ampa, gaba)
            acting, after = self._meet(state["inhibition"], arrived[..., exc:], first[:, :exc], state["x"], state["y"])
            gaba = torch.bmm(from_inh, acting).transpose(0, 1)
            state["inhibition"].copy_(after)
        *now, spiked, factors = self._step(neurons, ampa, gaba, clamp)
        for name, value in zip(NeuronState._fields, now, strict=True):
            state[name].copy_(value)
        spikes[past:][block] = spiked
        work.factor[b.steps.alignment :][block] = factors
        delayed = [remembered(steps)[..., :exc] for steps in b.steps.delays.values()]
        variables = [state[name] for name in self._variables]
        errors = (state["tr_err"], state["tr_err_flt"])
        parameters = list(b.parameters.values())
        signal, after_errors, after_variables = self._listen(spiked[..., :exc], delayed, variables, parameters, errors)
        work.e[block] = signal
        for name, value in zip(("tr_err", "tr_err_flt"), after_errors, strict=True):
            state[name].copy_(value)
        for name, value in zip(self._variables, after_variables, strict=True):
            state[name].copy_(value)
        self._follow(state["x"], spiked[..., :exc])
        self._follow(state["y"], arrived[..., exc:])

    def _follow(self, trace: Tensor, spiked: Tensor) -> None:
        """Traces of spikes at the end of a block, in place."""
        keep = self._fading(len(spiked))
        trace.mul_(keep[0]).add_((keep[: len(spiked), None, None] * spiked).sum(0))

    def _fading(self, steps: int) -> Tensor:
        """(steps + 1,), what is left of a trace of inhibitory plasticity after steps, ..., 1, 0 steps."""
        left = torch.arange(steps, -1, -1, dtype=self.batch.dtype, device=self.batch.device)
        return torch.exp(-self.batch.dt / self.batch.tau_inhibition * left)

    # --- element-wise -------------------------------------------------------------------------------------------------
    def _first_spikes(self, neurons: NeuronState, ampa: Tensor, gaba: Tensor) -> Tensor:
        """(B, neurons), the step of the block in which each neuron spikes; the number of steps, if in none."""
        first = torch.full_like(neurons.U, len(ampa))
        for k in range(len(ampa)):
            neurons, spiked = self._one_step(neurons)
            first = torch.where(spiked, float(k), first)
            neurons = neurons._replace(g_ampa=neurons.g_ampa + ampa[k], g_gaba=neurons.g_gaba + gaba[k])
        return first

    def _step_neurons(
        self, neurons: NeuronState, ampa: Tensor, gaba: Tensor, clamp: Tensor | None
    ) -> tuple[Tensor, ...]:
        """The neurons after a block, their spikes (K, B, neurons), and the postsynaptic factor (K, B, exc)."""
        spikes, factors = [], []
        for k in range(len(ampa)):
            neurons, spiked = self._one_step(neurons)
            spikes.append(spiked.to(neurons.U.dtype))
            u = neurons.U[:, : self.batch.exc]
            factors.append(full(self._factor(u)[0], u))
            U = neurons.U if clamp is None else clamp[k].expand_as(neurons.U)
            neurons = neurons._replace(U=U, g_ampa=neurons.g_ampa + ampa[k], g_gaba=neurons.g_gaba + gaba[k])
        return (*neurons, torch.stack(spikes), torch.stack(factors))

    def _inhibition(
        self, weights: Tensor, arrived: Tensor, first: Tensor, x: Tensor, y: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Symmetric plasticity in a block (`parameters.InhibitoryPlasticity`).

        Args:
            weights: (B, inh, exc + inh), at its start; the latter are fixed.
            arrived: (K, B, inh), spikes that arrive.
            first: (B, exc), steps in which the targets spike, or K.
            x: (B, exc), the targets' traces at its start.
            y: (B, inh), those of arriving spikes.

        Returns:
            The weights with which the spikes act, and those at the end of the block.
        """
        b = self.batch
        count = len(arrived)
        fading = self._fading(count).flip(0)  # after 0, 1, ... steps
        order = torch.arange(count, dtype=b.dtype, device=b.device)[:, None, None]
        arrival = count - ((count - order) * arrived).sum(0)  # (B, inh), K where none arrives
        a, p = arrival[:, :, None], first[:, None, :]
        at_a, at_p = fading[arrival.long()][:, :, None], fading[first.long()][:, None, :]
        x_a = at_a * (x[:, None, :] + torch.where(p < a, 1 / at_p, 0.0))
        y_p = at_p * (y[:, :, None] + torch.where(a < p, 1 / at_a, 0.0))
        rule = b.inhibition
        fall, rise = rule["zeta"] * (x_a - rule["target"][:, :, None]), rule["zeta"] * y_p

        def at_arrival(w: Tensor) -> Tensor:
            return torch.where(a < count, torch.maximum(w + fall, rule["w_min"]), w)

        def at_spike(w: Tensor) -> Tensor:
            return torch.where(p < count, torch.minimum(w + rise, rule["w_max"]), w)

        plastic, fixed = weights[:, :, : b.exc], weights[:, :, b.exc :]
        risen = at_spike(plastic)
        acting = torch.where(p < a, risen, plastic)
        after = torch.where(p < a, at_arrival(risen), at_spike(at_arrival(plastic)))
        return torch.cat([acting, fixed], 2), torch.cat([after, fixed], 2)

    def _step_signal(
        self,
        spiked: Tensor,
        delayed: list[Tensor],
        variables: list[Tensor],
        parameters: list[Tensor],
        errors: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, tuple[Tensor, Tensor], list[Tensor]]:
        """The signal as it acts in each step (K, B, exc), the filtered errors and the variables after a block."""
        b = self.batch
        tr_err, tr_err_flt = errors
        alpha = b.rule.one_term("torch").filter
        rise, decay = b.dt / alpha.rise, b.dt / alpha.decay
        kinds, signal = [value.dtype for value in variables], []
        for k in range(len(spiked)):
            signal.append(tr_err_flt)
            now = (spiked[k], *(spikes[k] for spikes in delayed))
            (error,) = self._error(*(value.to(b.dtype) for value in variables), *parameters, *now)
            changed = self._traces(*variables, *parameters, *now)
            variables = [full(value, tr_err, kind) for value, kind in zip(changed, kinds, strict=True)]
            tr_err = tr_err + rise * (full(error, tr_err) - tr_err)
            tr_err_flt = tr_err_flt + decay * (tr_err - tr_err_flt)
        return torch.stack(signal), (tr_err, tr_err_flt), variables


def _growth(member: Any) -> float:
    return float(member.rule.growth)

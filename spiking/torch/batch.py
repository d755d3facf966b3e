"""A batch of networks as tensors: what is constant, and the state.

The networks of a batch have the same sizes and run the same code, in steps of the same dt; they may differ in their
synapses, in every number of their rules, and in whether inhibition is plastic, fixed or absent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foundation.errors import UsageError
from spiking.paper.network import NetworkConfig, Projection, Wiring
from spiking.parameters import ConductanceNeuron, InhibitoryPlasticity
from spiking.rule import RuleSteps, ThreeFactorRule, lpl
from spiking.torch.code import Code, Value
from spiking.torch.neuron import neuron_code
from spiking.torch.plasticity import Coefficients, Synapses, UpdateNumbers, written

State = dict[str, Tensor]
"""Of a batch, batch first: see `Batch.start`."""
PLASTIC = ("ext", "ee")
ENDS = {"ext": ("lines", "exc"), "ei": ("exc", "inh"), "ie": ("inh", "exc"), "ii": ("inh", "inh"), "ee": ("exc", "exc")}
FEEDFORWARD_BLOCK = 100  # steps
Shared = TypeVar("Shared")


@dataclass(frozen=True, eq=False)
class Member:
    """One network of a batch.

    Attributes:
        rule: of the input and the recurrent excitatory synapses.
        wiring: synapses, and the initial potentials of the excitatory neurons in V.
        lines: number of inputs.
        inh: number of inhibitory neurons.
        inhibitory: plasticity of inhibitory synapses; None: they are fixed.
        start: of the signal's variables, by name; those that are missing start at 0.
    """

    rule: ThreeFactorRule
    wiring: Wiring
    lines: int
    inh: int
    inhibitory: InhibitoryPlasticity | None
    start: Mapping[str, float] | None = None

    @classmethod
    def of(cls, config: NetworkConfig, wiring: Wiring, lines: int) -> Member:
        """The paper's network. One without inhibition keeps its inhibitory neurons, unconnected, hence silent."""
        plastic = config.inhibitory if config.inhibition == "plastic" else None
        if config.inhibition == "none":
            nothing = Projection.none()
            wiring = replace(wiring, ei=nothing, ie=nothing, ii=nothing)
        return cls(lpl(config.rule, config.dt), wiring, lines, config.inh, plastic)


class Batch:
    """What is constant in a batch.

    Args:
        members: its networks.
        neuron: model of all neurons.
        dt: s.
        dtype: float32 or float64; statistics are kept in float64 anyway.
        device: where it lives.

    Raises:
        UsageError: the members do not fit together; the message says in what.
    """

    def __init__(
        self,
        members: Sequence[Member],
        neuron: ConductanceNeuron,
        dt: float,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if not members:
            raise UsageError("networks: there is none")
        self.members, self.neuron, self.dt = tuple(members), neuron, dt
        self.dtype, self.device = dtype, torch.device(device)
        first = members[0]
        self.size, self.exc, self.inh, self.lines = len(members), first.wiring.U.size, first.inh, first.lines
        self.neurons = self.exc + self.inh
        self.rule = first.rule
        self._same("number of neurons and inputs", lambda m: (m.wiring.U.size, m.inh, m.lines))
        self._same("code of the rule", lambda m: (m.rule.factor, m.rule.signal.error, m.rule.signal.traces))
        self._same("variables of the rule", lambda m: (m.rule.signal.variables, m.rule.signal.statistics))
        self._same("filter of the signal", lambda m: m.rule.signal.filter)
        self.steps: RuleSteps = self._same("delays and interval of the rule", lambda m: m.rule.steps(dt))
        self.coefficients: Coefficients = self._same("filters of the rule", lambda m: Coefficients.of(m.rule, dt))
        self.tau_inhibition: float = self._same("tau of inhibitory plasticity", lambda m: _inhibitory(m).tau)
        if first.rule.signal.inputs:
            raise UsageError(f"rule: its signal needs {first.rule.signal.inputs[0]}, which a network does not have")
        self._check_wirings()
        recurrent = any(getattr(m.wiring, name).pre.size for m in members for name in ("ei", "ie", "ii", "ee"))
        if recurrent and self.steps.axonal_delay < 1:
            raise UsageError("axonal_delay: must be at least one step in a recurrent network")
        # steps in which the neurons do not see one another
        self.block = self.steps.axonal_delay if recurrent else FEEDFORWARD_BLOCK
        if recurrent:
            self._check_refractory()
        self.history = max(1, self.steps.axonal_delay, *self.steps.delays.values())  # steps of remembered spikes
        self.like = torch.zeros(0, dtype=dtype, device=self.device)

    def _same(self, what: str, of: Callable[[Member], Shared]) -> Shared:
        values = [of(member) for member in self.members]
        for number, value in enumerate(values):
            if value != values[0]:
                raise UsageError(f"{what}: must be the same in all networks of a batch, and differ in network {number}")
        return values[0]

    def _check_wirings(self) -> None:
        """Inhibitory weights are dense matrices: a pair has one synapse, and a weight of 0 where it has none."""
        sizes = {"lines": self.lines, "exc": self.exc, "inh": self.inh}
        for number, member in enumerate(self.members):
            for name, ends in ENDS.items():
                synapses: Projection = getattr(member.wiring, name)
                pre, post, w = synapses.pre, synapses.post, synapses.w
                if not pre.shape == post.shape == w.shape:
                    raise UsageError(f"wiring.{name}: network {number} has {pre.size} inputs for {post.size} targets")
                for end, index in zip(ends, (pre, post), strict=True):
                    if index.size and not (index.min() >= 0 and index.max() < sizes[end]):
                        raise UsageError(
                            f"wiring.{name}: network {number} has {sizes[end]} {end}, and synapses of number "
                            f"{index.min()} to {index.max()}"
                        )
            pairs = np.stack([member.wiring.ie.pre, member.wiring.ie.post], 1)
            if len(np.unique(pairs, axis=0)) < len(pairs):
                raise UsageError(f"wiring.ie: network {number} has two synapses between the same neurons")
            if _inhibitory(member).w_min > 0:
                raise UsageError(f"w_min: of inhibitory weights must not be above 0, got {_inhibitory(member).w_min}")

    @property
    def silent(self) -> int:
        """Steps from one spike of a neuron to the next, at least: its threshold lies above all that it can reach."""
        n = self.neuron
        ratio = n.theta_spike / (n.e_exc - n.theta_rest)
        return max(1, int(n.tau_thr * np.log(ratio) / self.dt)) if ratio > 1 else 1

    def _check_refractory(self) -> None:
        """No neuron spikes twice in a block: what inhibitory plasticity does inside a block is worked out from that."""
        if self.silent < self.block:
            raise UsageError(
                f"axonal_delay: must not exceed the {1e3 * self.silent * self.dt:.2g} ms for which a neuron is silent "
                "after a spike"
            )

    # --- numbers of the rules -----------------------------------------------------------------------------------------
    def each(self, of: Callable[[Member], float]) -> Value:
        """A number of every member: one if they are equal, else (B, 1)."""
        values = [of(member) for member in self.members]
        if all(value == values[0] for value in values):
            return float(values[0])
        return torch.tensor(values, dtype=torch.float64)[:, None]

    @cached_property
    def constants(self) -> dict[str, Value]:
        """Of the rule's code."""
        return {name: self.each(partial(_constant, name)) for name in self.rule.constants}

    @cached_property
    def code(self) -> dict[str, Code]:
        """The neuron's "step", "threshold" and "reset"; the rule's "factor", "error" and "traces"."""
        signal = self.rule.signal
        known = (*signal.variables, *signal.parameters, "s_now", *(f"s_{name}" for name in signal.delays))
        texts = {
            "factor": (f"_factor = {self.rule.factor}", ("u",)),
            "error": (f"_error = {signal.error}", known),
            "traces": (signal.traces, known),
        }
        folded = {
            name: Code.folded(text, variables, self.constants, self.dt, f"_{name}")
            for name, (text, variables) in texts.items()
        }
        return {**neuron_code(self.neuron, self.dt), **folded}

    def kind(self, name: str) -> torch.dtype:
        """The dtype of the numbers of a signal's variable, or of the code "traces", which may hold statistics."""
        statistics = self.rule.signal.statistics
        return torch.float64 if name in statistics or (name == "traces" and statistics) else self.dtype

    @cached_property
    def parameters(self) -> dict[str, Tensor]:
        """(B, exc) of the signal's parameters."""
        return {name: self.full(self.each(partial(_parameter, name))) for name in self.rule.signal.parameters}

    def full(self, value: Value) -> Tensor:
        """(B, exc) of a number of every member."""
        return torch.as_tensor(value, dtype=torch.float64).expand(self.size, self.exc).to(self.like).contiguous()

    # --- synapses -----------------------------------------------------------------------------------------------------
    @cached_property
    def orders(self) -> dict[str, list[NDArray[np.int64]]]:
        """Of every projection and member: its plastic synapses in the order of their inputs."""
        return {
            name: [np.argsort(getattr(m.wiring, name).pre, kind="stable") for m in self.members] for name in PLASTIC
        }

    @cached_property
    def synapses(self) -> dict[str, Synapses]:
        """The plastic ones of the whole batch."""
        found = {}
        for name in PLASTIC:
            width = self.lines if name == "ext" else self.exc
            pre, post = (
                np.concatenate(
                    [
                        getattr(getattr(m.wiring, name), end)[order] + k * span
                        for k, (m, order) in enumerate(zip(self.members, self.orders[name], strict=True))
                    ]
                )
                for end, span in (("pre", width), ("post", self.exc))
            )
            found[name] = Synapses(
                torch.from_numpy(pre).to(self.device),
                torch.from_numpy(post).to(self.device),
                self.size * width,
                self.size * self.exc,
            )
        return found

    def per_synapse(self, name: str, of: Callable[[Member], float]) -> Value:
        """A number of every member at its synapses: one if they are equal, else (n,)."""
        values = self.each(of)
        if isinstance(values, float):
            return values
        return values[:, 0].to(self.device)[self.synapses[name].post // self.exc].to(self.like)

    @cached_property
    def inhibition(self) -> dict[str, Tensor]:
        """Of inhibitory plasticity: ``zeta`` (B, inh, exc), 0 where there is no plastic synapse; ``target`` (B, 1),
        2 kappa tau; ``w_min`` and ``w_max`` (B, 1, 1).
        """
        zeta = np.zeros((self.size, self.inh, self.exc))
        for k, member in enumerate(self.members):
            if member.inhibitory is not None:
                zeta[k, member.wiring.ie.pre, member.wiring.ie.post] = member.inhibitory.zeta
        free = [m.inhibitory is None for m in self.members]
        bounds = {
            name: [unbounded if f else getattr(_inhibitory(m), name) for f, m in zip(free, self.members, strict=True)]
            for name, unbounded in (("w_min", -np.inf), ("w_max", np.inf))
        }
        target = [2 * _inhibitory(m).kappa * self.tau_inhibition for m in self.members]
        made = {"zeta": zeta, "target": np.array(target)[:, None]}
        made |= {name: np.array(values)[:, None, None] for name, values in bounds.items()}
        return {name: torch.from_numpy(value).to(self.like) for name, value in made.items()}

    @cached_property
    def exc_to_inh(self) -> Tensor:
        """(B, exc, inh), weights."""
        return self._dense("ei", (self.exc, self.inh))

    def _dense(self, name: str, shape: tuple[int, int]) -> Tensor:
        dense = np.zeros((self.size, *shape))
        for k, member in enumerate(self.members):
            synapses: Projection = getattr(member.wiring, name)
            np.add.at(dense[k], (synapses.pre, synapses.post), synapses.w)
        return torch.from_numpy(dense).to(self.like)

    # --- state --------------------------------------------------------------------------------------------------------
    def start(self) -> State:
        """The state at step 0.

        ``U, g_ampa, g_nmda, g_gaba, thr`` (B, exc + inh): neurons, the excitatory ones first. ``signal/<name>`` (B,
        exc): the signal's variables; ``tr_err`` and ``tr_err_flt`` likewise. ``spikes`` (B, history, exc + inh), 0 or
        1, the last steps, oldest first; ``factor`` (B, alignment, exc) likewise. ``x`` (B, exc), ``y`` (B, inh):
        traces of inhibitory plasticity. ``inhibition`` (B, inh, exc + inh): weights from inhibitory neurons. For each
        of `PLASTIC`: ``<name>/w``, ``el``, ``el_flt``, ``el_sum``, ``g2``, all (n,), of the synapses of the batch;
        ``trace`` and ``psp`` (lines,); ``pending`` (B, alignment, lines of one network), spikes that have arrived and
        wait for the alignment.
        """
        zeros = self.like.new_zeros
        size, exc, alignment = self.size, self.exc, self.steps.alignment
        state: State = {name: zeros(size, self.neurons) for name in ("U", "g_ampa", "g_nmda", "g_gaba", "thr")}
        state["U"].fill_(self.neuron.u_rest)
        state["U"][:, :exc] = torch.from_numpy(np.stack([m.wiring.U for m in self.members])).to(self.like)
        for name in self.rule.signal.variables:
            initial = self.each(partial(_initial, name))
            state[f"signal/{name}"] = (
                torch.as_tensor(initial, dtype=torch.float64)
                .expand(size, exc)
                .to(self.device, self.kind(name))
                .contiguous()
            )
        state |= {name: zeros(size, exc) for name in ("tr_err", "tr_err_flt", "x")}
        state["y"] = zeros(size, self.inh)
        state["spikes"] = zeros(size, self.history, self.neurons, dtype=torch.uint8)
        state["factor"] = zeros(size, alignment, exc)
        state["inhibition"] = torch.cat(
            [self._dense("ie", (self.inh, exc)), self._dense("ii", (self.inh, self.inh))], 2
        ).contiguous()
        for name in PLASTIC:
            synapses = self.synapses[name]
            initial_w = [getattr(m.wiring, name).w[o] for m, o in zip(self.members, self.orders[name], strict=True)]
            state[f"{name}/w"] = torch.from_numpy(np.concatenate(initial_w)).to(self.like)
            state |= {f"{name}/{key}": zeros(len(synapses.pre)) for key in ("el", "el_flt", "el_sum")}
            state[f"{name}/g2"] = zeros(len(synapses.pre), dtype=torch.float64)  # squares of small numbers
            state |= {f"{name}/{key}": zeros(synapses.lines) for key in ("trace", "psp")}
            state[f"{name}/pending"] = zeros(size, alignment, synapses.lines // size, dtype=torch.uint8)
        return state

    # --- weights ------------------------------------------------------------------------------------------------------
    def update(self, state: State, learning: bool) -> None:
        """The end of a window: new weights, in place (`spiking.rule.WeightUpdate`)."""
        for name in PLASTIC:
            if len(self.synapses[name].pre):
                self._update(state, name, learning)

    def _update(self, state: State, name: str, learning: bool) -> None:
        w, total, g2 = (state[f"{name}/{key}"] for key in ("w", "el_sum", "g2"))
        numbers = self._numbers[name]
        augmented = not isinstance(numbers.augmented, float) or numbers.augmented > 0
        new, new_g2 = written(w, total / self.steps.interval, g2 if augmented else None, numbers, learning=learning)
        w.copy_(new)
        total.zero_()
        if new_g2 is not None:
            g2.copy_(new_g2)

    @cached_property
    def _numbers(self) -> dict[str, UpdateNumbers]:
        return {
            name: UpdateNumbers(*(self.per_synapse(name, partial(_number, key)) for key in UpdateNumbers._fields))
            for name in PLASTIC
        }


def _constant(name: str, member: Member) -> float:
    return member.rule.constants[name]


def _parameter(name: str, member: Member) -> float:
    return member.rule.signal.parameters[name]


def _initial(name: str, member: Member) -> float:
    return (member.start or {}).get(name, 0.0)


def _number(name: str, member: Member) -> float:
    return float(getattr(UpdateNumbers.of(member.rule.one_term("torch").update), name))


def _inhibitory(member: Member) -> InhibitoryPlasticity:
    return member.inhibitory or InhibitoryPlasticity()

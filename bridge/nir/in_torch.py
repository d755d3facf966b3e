"""A NIR graph in torch, batched, on CPU or GPU; convolutions stay convolutions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bridge.nir.graph import NEURONS, SPIKING, Graph, Node
from foundation.errors import UsageError
from spiking.parameters import whole_steps
from spiking.torch.integrate_and_fire import module_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Result:
    """What a simulation of B samples and T steps gives.

    Attributes:
        output: what leaves the graph in each step, (B, T, *shape): spikes, potentials or currents.
        spikes: of every spiking node by its name, bool (B, T, *shape).
    """

    output: Floats
    spikes: dict[str, NDArray[np.bool_]]


class Neurons(nn.Module):
    """One node of neurons, stepped as `bridge.nir.graph` says."""

    k: Tensor
    k_syn: Tensor
    r: Tensor
    w_in: Tensor
    v_leak: Tensor
    v_threshold: Tensor
    v_reset: Tensor

    def __init__(self, node: Node, dt: float, dtype: torch.dtype) -> None:
        super().__init__()
        for name, value in constants(node, dt).items():
            self.register_buffer(name, torch.from_numpy(value).to(dtype))
        self.kind = node.kind

    def forward(self, current: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One step: what leaves, and the state (v, i) after it."""
        v, i = state
        if self.kind in ("IF", "I"):
            v = v + self.k * current
        else:
            if self.kind in ("CubaLIF", "CubaLI"):
                i = i + self.k_syn * (self.w_in * current - i)
                current = i
            v = v + self.k * ((self.v_leak - v) + self.r * current)
        if self.kind not in SPIKING:
            return v, (v, i)
        fired = v > self.v_threshold
        return fired.to(v.dtype), (torch.where(fired, self.v_reset, v), i)


def constants(node: Node, dt: float) -> dict[str, Floats]:
    """What a step of neurons needs, in float64: k is dt r (IF, I) or dt / tau of the membrane."""
    p = {key: value.astype(np.float64) for key, value in node.parameters.items()}
    if node.kind in ("IF", "I"):
        p["k"] = dt * p["r"]
    else:
        p["k"] = dt / p["tau" if "tau" in p else "tau_mem"]
    if "tau_syn" in p:
        p["k_syn"] = dt / p["tau_syn"]
    return p


class Linear(nn.Module):
    """A linear node with its bias."""

    def __init__(self, node: Node, dtype: torch.dtype) -> None:
        super().__init__()
        made = node.map
        self.flatten = node.kind == "Flatten"
        self.dims = tuple(int(node.parameters[key]) for key in ("start_dim", "end_dim")) if self.flatten else (0, 0)
        self.map = None if made is None else module_of(made, dtype)
        self.factor = node.sum_factor
        bias = node.parameters.get("bias")
        self.bias = None if bias is None else nn.Parameter(torch.from_numpy(bias.astype(np.float64)).to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Of (B, ...)."""
        if self.flatten:
            start, end = (d % (x.dim() - 1) + 1 for d in self.dims)
            return x.flatten(start, end)
        y: Tensor = x if self.map is None else self.map(x)
        y = y * self.factor if self.factor != 1 else y
        return y if self.bias is None else y + self.bias.view(-1, *[1] * (y.dim() - 2))


class NIRModule(nn.Module):
    """A graph, stepped.

    Args:
        graph: which.
        dt: s, a step.
        dtype: of weights and state.

    Raises:
        UsageError: a delay that is no multiple of dt, or a dt too long for a time constant.
    """

    def __init__(self, graph: Graph, dt: float, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        check_steps(graph, dt)
        self.graph, self.dt, self.dtype = graph, dt, dtype
        self.parts = nn.ModuleDict()
        self.names = {name: f"node_{k}" for k, name in enumerate(graph.nodes)}  # torch allows no dots in names
        self.delays = {name: delay_steps(name, node, dt) for name, node in graph.nodes.items() if node.kind == "Delay"}
        for name, node in graph.nodes.items():
            if node.kind in NEURONS:
                self.parts[self.names[name]] = Neurons(node, dt, dtype)
            elif node.kind not in ("Input", "Output", "Delay"):
                self.parts[self.names[name]] = Linear(node, dtype)

    def run(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Output (B, T, ...) and spikes of every spiking node, for input (B, T, ...)."""
        graph, batch = self.graph, len(x)
        state, last, rings = {}, {}, {}
        for name, node in graph.nodes.items():
            zeros = x.new_zeros(batch, *graph.shapes[name])
            last[name] = zeros
            if node.kind in NEURONS:
                state[name] = (zeros, zeros)
            elif node.kind == "Delay":
                rings[name] = [zeros] * (int(self.delays[name].max()) + 1)
        outputs: list[Tensor] = []
        spikes: dict[str, list[Tensor]] = {n: [] for n, node in graph.nodes.items() if node.kind in SPIKING}
        for step in range(x.shape[1]):
            now: dict[str, Tensor] = {}
            for name in graph.order:
                node = graph.nodes[name]
                if node.kind == "Input":
                    now[name] = x[:, step]
                    continue
                sources = graph.into(name)
                arriving = [last[s] if (s, name) in graph.late else now[s] for s in sources]
                total = arriving[0]
                for other in arriving[1:]:
                    total = total + other
                if node.kind in NEURONS:
                    now[name], state[name] = self.parts[self.names[name]](total, state[name])
                elif node.kind == "Delay":
                    rings[name] = [total, *rings[name][:-1]]
                    now[name] = _picked(rings[name], self.delays[name])
                elif node.kind == "Output":
                    now[name] = total
                else:
                    now[name] = self.parts[self.names[name]](total)
            last = now
            outputs.append(now[graph.output])
            for name, kept in spikes.items():
                kept.append(now[name].bool())
        return torch.stack(outputs, 1), {name: torch.stack(kept, 1) for name, kept in spikes.items()}


def _picked(ring: list[Tensor], steps: NDArray[np.int64]) -> Tensor:
    if steps.size == 1:
        return ring[int(steps.max())]
    stacked = torch.stack(ring)
    index = torch.from_numpy(steps).to(stacked.device)[None, None].expand(1, *stacked.shape[1:])
    return stacked.gather(0, index)[0]


def delay_steps(name: str, node: Node, dt: float) -> NDArray[np.int64]:
    """A delay in steps, of each line or of all; `UsageError` names the node where it is no multiple of dt."""
    values = node.parameters["delay"].astype(np.float64)
    if values.size and values.max() > 1e5 * dt:
        raise UsageError(f"{name}: a delay of {values.max():g} s is more than 100,000 steps of {dt} s")
    try:
        steps = [whole_steps("delay", float(value), dt) for value in values.ravel()]
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
    return np.array(steps, dtype=np.int64).reshape(values.shape or (1,))


def check_steps(graph: Graph, dt: float) -> None:
    """Refuse a dt (s) that forward Euler cannot take, or that delays are no multiples of."""
    if not 0 < dt < 1e3:
        raise UsageError(f"dt: must be positive, got {dt} s")
    for name, node in graph.nodes.items():
        for key in ("tau", "tau_mem", "tau_syn"):
            if key in node.parameters and float(node.parameters[key].min()) < dt * (1 - 1e-9):
                raise UsageError(f"{name}: {key} = {float(node.parameters[key].min()):g} s is below dt = {dt} s")
        if node.kind == "Delay":
            delay_steps(name, node, dt)


def shaped(graph: Graph, x: NDArray[np.generic]) -> Floats:
    """Input (B, T, *shape) as numbers. Raises `UsageError` for another shape."""
    shape = graph.shapes[graph.input]
    if x.ndim != 2 + len(shape) or x.shape[2:] != shape or not x.size:
        raise UsageError(f"input: must be (samples, steps, {', '.join(map(str, shape))}), got {x.shape}")
    values = x.astype(np.float64)
    if not np.isfinite(values).all():
        raise UsageError("input: must be finite")
    return values


@torch.no_grad()
def simulate(
    graph: Graph,
    x: NDArray[np.generic],
    dt: float,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    batch_size: int = 250,
) -> Result:
    """Run a graph.

    Args:
        graph: which.
        x: spikes or currents, (B, T, *input shape).
        dt: s, a step.
        dtype: of weights and state.
        device: where.
        batch_size: samples at a time.

    Raises:
        UsageError: another shape, or a dt that does not fit.
    """
    values = shaped(graph, x)
    module = NIRModule(graph, dt, dtype).to(device)
    parts = [
        module.run(torch.from_numpy(values[k : k + batch_size]).to(device, dtype))
        for k in range(0, len(values), batch_size)
    ]
    names = parts[0][1]
    return Result(
        np.concatenate([output.double().cpu().numpy() for output, _ in parts]),
        {name: np.concatenate([spikes[name].cpu().numpy() for _, spikes in parts]) for name in names},
    )

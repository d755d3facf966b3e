"""Between NIR and snnTorch modules, dt explicit: every parameter comes back bit for bit.

snnTorch's `Leaky` is the LIF node with tau = dt / (1 - beta), r = 1 / (1 - beta) and v_leak = 0; `Synaptic` the CubaLIF
node with tau_syn = dt / (1 - alpha), w_in = 1 / (1 - alpha), tau_mem and r from beta likewise. A beta of 1 is the IF
node with r = 1 / dt. NIR resets to v_reset, so that the mechanism "zero" fits and "subtract" does not. Since going from
tau to beta rounds, the beta itself goes along in the node's metadata; it counts as long as dt is the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import snntorch
import torch
from torch import Tensor, nn

from bridge.nir.graph import Graph, Node
from foundation.errors import UsageError
from spiking.synapses import Shape

OURS = "snntorch"
"""Under this name in a node's metadata: what `to_snntorch` takes as it is."""


class Stack(nn.Module):
    """Modules in a row, and what runs them for some steps: spikes or values of the last, (B, T, ...)."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.stack = nn.ModuleDict(modules)

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Of (B, T, ...); and the spikes of every layer of neurons, by its name."""
        states: dict[str, Any] = {}
        outputs: list[Tensor] = []
        neurons = [name for name, module in self.stack.items() if isinstance(module, snntorch.SpikingNeuron)]
        spikes: dict[str, list[Tensor]] = {name: [] for name in neurons}
        for step in range(x.shape[1]):
            now = x[:, step]
            for name, module in self.stack.items():
                if not isinstance(module, snntorch.SpikingNeuron):
                    now = module(now)
                    continue
                before = states.get(name)
                if before is None:
                    zeros = torch.zeros_like(now)
                    before = (zeros, zeros) if isinstance(module, snntorch.Synaptic) else (zeros,)
                now, *after = module(now, *before)
                now = now.to(x.dtype)  # snnTorch's spikes are float32
                states[name] = tuple(after)
                spikes[name].append(now)
            outputs.append(now)
        return torch.stack(outputs, 1), {name: torch.stack(kept, 1) for name, kept in spikes.items()}


def from_snntorch(modules: nn.Sequential | Mapping[str, nn.Module], input_shape: Shape, dt: float) -> Graph:
    """The graph of modules in a row: Linear, Conv2d, AvgPool2d, Flatten, `snntorch.Leaky`, `snntorch.Synaptic`.

    Args:
        modules: lowest first.
        input_shape: of one sample.
        dt: s, a step.

    Raises:
        UsageError: a module or a setting that NIR has nothing for: the message names it.
    """
    named = dict(modules.named_children()) if isinstance(modules, nn.Sequential) else dict(modules)
    if not dt > 0:
        raise UsageError(f"dt: must be positive, got {dt} s")
    nodes: dict[str, Node] = {"input": Node("Input", {"shape": np.array(input_shape)})}
    shape = tuple(input_shape)
    for name, module in named.items():
        nodes[name] = _node(name, module, shape, dt)
        shape = nodes[name].above(shape)
    nodes["output"] = Node("Output", {"shape": np.array(shape)})
    names = list(nodes)
    return Graph(nodes, tuple(itertools.pairwise(names)), {"dt": dt})


def _node(name: str, module: nn.Module, shape: Shape, dt: float) -> Node:
    match module:
        case nn.Linear():
            weight = _array(module.weight)
            if module.bias is None:
                return Node("Linear", {"weight": weight})
            return Node("Affine", {"weight": weight, "bias": _array(module.bias)})
        case nn.Conv2d():
            if module.padding_mode != "zeros" or isinstance(module.padding, str):
                raise UsageError(
                    f"{name}: NIR pads with zeros, by numbers; got {module.padding_mode}, {module.padding!r}"
                )
            bias = (
                np.zeros(module.out_channels, _array(module.weight).dtype)
                if module.bias is None
                else _array(module.bias)
            )
            numbers = {key: np.array(getattr(module, key)) for key in ("stride", "padding", "dilation", "groups")}
            marks = {OURS: {"bias": "none"}} if module.bias is None else {}
            return Node("Conv2d", {"weight": _array(module.weight), "bias": bias, **numbers}, marks)
        case nn.AvgPool2d():
            if module.ceil_mode or module.divisor_override:
                raise UsageError(f"{name}: NIR has no ceil_mode or divisor_override")
            pairs = {"kernel_size": module.kernel_size, "stride": module.stride, "padding": module.padding}
            return Node("AvgPool2d", {key: np.broadcast_to(np.array(value), 2).copy() for key, value in pairs.items()})
        case nn.Flatten():
            return Node("Flatten", {"start_dim": np.array(0), "end_dim": np.array(-1)})
        case snntorch.Leaky() | snntorch.Synaptic():
            return _neurons(name, module, shape, dt)
    raise UsageError(f"{name}: NIR has nothing for {type(module).__name__}")


def _neurons(name: str, module: Any, shape: Shape, dt: float) -> Node:
    if module.reset_mechanism != "zero":
        raise UsageError(
            f"{name}: NIR resets to v_reset, not by '{module.reset_mechanism}'; take reset_mechanism='zero'"
        )
    if getattr(module, "reset_delay", False):
        raise UsageError(f"{name}: NIR resets in the step of the spike; take reset_delay=False")

    def full(values: np.ndarray) -> np.ndarray:
        return np.broadcast_to(values, shape).copy()

    beta, threshold = _array(torch.as_tensor(module.beta)), _array(torch.as_tensor(module.threshold))
    wide = beta.astype(np.float64)
    kept: dict[str, Any] = {"beta": np.atleast_1d(full(beta).ravel()), "dt": dt}
    ends = {"v_threshold": full(threshold), "v_reset": full(np.zeros_like(threshold))}
    leak = {"v_leak": full(np.zeros_like(wide))}
    kind = type(module).__name__
    if kind == "Leaky" and (wide == 1).all():
        return Node("IF", {"r": full(np.array(1 / dt)), **ends}, {OURS: kept})
    if not ((wide >= 0) & (wide < 1)).all():
        raise UsageError(f"{name}: beta must lie in [0, 1), or be 1 for all neurons of a Leaky")
    membrane = {"r": full(1 / (1 - wide))}
    if kind == "Leaky":
        return Node("LIF", {"tau": full(dt / (1 - wide)), **membrane, **leak, **ends}, {OURS: kept})
    alpha = _array(torch.as_tensor(module.alpha))
    if not ((alpha >= 0) & (alpha < 1)).all():
        raise UsageError(f"{name}: alpha must lie in [0, 1)")
    kept["alpha"] = np.atleast_1d(full(alpha).ravel())
    synapse = {"tau_syn": full(dt / (1 - alpha.astype(np.float64))), "w_in": full(1 / (1 - alpha.astype(np.float64)))}
    return Node("CubaLIF", {**synapse, "tau_mem": full(dt / (1 - wide)), **membrane, **leak, **ends}, {OURS: kept})


def to_snntorch(graph: Graph, dt: float) -> Stack:
    """A graph in a row as snnTorch modules.

    Raises:
        UsageError: a graph with branches, cycles or delays, or neurons that snnTorch has not (another v_leak or v_reset
            than 0, a current that is not scaled as snnTorch's): the message names the node.
    """
    modules: dict[str, nn.Module] = {}
    for name in graph.order:
        node = graph.nodes[name]
        if len([1 for a, _ in graph.edges if a == name]) > 1 or len(graph.into(name)) > 1 or graph.late:
            raise UsageError(f"{name}: snnTorch's modules stand in a row; this graph branches there, or has a cycle")
        if node.kind not in ("Input", "Output"):
            modules[name.replace(".", "_")] = _module(name, node, dt)
    return Stack(modules)


def _module(name: str, node: Node, dt: float) -> nn.Module:
    p = node.parameters
    match node.kind:
        case "Linear" | "Affine":
            units, inputs = p["weight"].shape
            made: Any = nn.Linear(inputs, units, bias=node.kind == "Affine", dtype=_dtype(p["weight"]))
        case "Conv2d":
            bare = node.metadata.get(OURS, {}).get("bias") == "none"
            conv: Any = node.map
            size = (conv.weight.shape[2], conv.weight.shape[3])
            made = nn.Conv2d(
                conv.weight.shape[1] * conv.groups,
                conv.weight.shape[0],
                size,
                conv.stride,
                conv.padding,
                conv.dilation,
                conv.groups,
                bias=not bare,
                dtype=_dtype(p["weight"]),
            )
        case "AvgPool2d":
            pool: Any = node.map
            return nn.AvgPool2d(pool.kernel, pool.stride, pool.padding)
        case "Flatten":
            return nn.Flatten()
        case "IF" | "LIF" | "CubaLIF":
            return _spiking(name, node, dt)
        case _:
            raise UsageError(f"{name}: snnTorch has no module for a {node.kind} node")
    with torch.no_grad():
        made.weight.copy_(torch.from_numpy(np.ascontiguousarray(p["weight"])))
        if made.bias is not None:
            made.bias.copy_(torch.from_numpy(np.ascontiguousarray(p["bias"])))
    module: nn.Module = made
    return module


def _spiking(name: str, node: Node, dt: float) -> nn.Module:
    p = node.parameters
    for key in ("v_leak", "v_reset"):
        if key in p and p[key].any():
            raise UsageError(f"{name}: snnTorch's neurons have {key} = 0, this node has not")
    kept = node.metadata.get(OURS, {})
    kept = kept if kept.get("dt") == dt else {}
    threshold = torch.from_numpy(p["v_threshold"].copy())
    settings: dict[str, Any] = {"threshold": threshold, "reset_mechanism": "zero", "reset_delay": False}
    if node.kind == "IF":
        _scaled(name, p["r"] * dt, "r")
        made: nn.Module = snntorch.Leaky(beta=_kept(kept, "beta", np.ones_like(p["r"])), **settings)
    elif node.kind == "LIF":
        _scaled(name, p["r"] * dt / p["tau"], "r")
        made = snntorch.Leaky(beta=_kept(kept, "beta", 1 - dt / p["tau"]), **settings)
    else:
        _scaled(name, p["r"] * dt / p["tau_mem"], "r")
        _scaled(name, p["w_in"] * dt / p["tau_syn"], "w_in")
        alpha, beta = _kept(kept, "alpha", 1 - dt / p["tau_syn"]), _kept(kept, "beta", 1 - dt / p["tau_mem"])
        made = snntorch.Synaptic(alpha=alpha, beta=beta, **settings)
    snntorch.SpikingNeuron.instances.remove(made)  # snnTorch would keep every layer alive for ever
    return made


def _kept(kept: Mapping[str, Any], key: str, computed: np.ndarray) -> Tensor:
    values = kept.get(key)
    if isinstance(values, np.ndarray) and values.size == computed.size:
        return torch.from_numpy(values.reshape(computed.shape).copy())
    return torch.from_numpy(np.ascontiguousarray(computed))


def _scaled(name: str, gain: np.ndarray, key: str) -> None:
    if not np.allclose(gain, 1, rtol=1e-6):
        raise UsageError(
            f"{name}: snnTorch adds the current as it is; this node's {key} multiplies it, move it to a Scale"
        )


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()


def _dtype(values: np.ndarray) -> torch.dtype:
    return torch.float32 if values.dtype == np.float32 else torch.float64

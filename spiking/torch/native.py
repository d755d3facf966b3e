"""The step loop of a batch of networks as a compiled program for the CPU, made from the declared code of its model.

A program is compiled once for every model (a few seconds) and kept, see `spiking.torch.programs`. Numbers are not part
of it: they are passed.
"""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking.neuron import CONDUCTANCE_VARIABLES
from spiking.torch.batch import PLASTIC, Batch, State
from spiking.torch.code import cpp_name
from spiking.torch.plasticity import Backward, Events
from spiking.torch.programs import load
from spiking.torch.stepping import Spikes

SIZES = ("steps", "exc", "inh", "lines", "history", "alignment", "axonal_delay", "delays", "constant_count", "memory",
         "capacity")  # fmt: skip
DOUBLES = ("constants", "coefficients", "since", "powers", "kernels")
INTEGERS = ("delay_steps", "events", "event_start", "out", "counts", "ext_start", "ext_post", "ee_start", "ee_post")
REALS = ("x", "y", "inhibition", "tr_err", "tr_err_flt", "factor", "zeta", "exc_to_inh", "target", "w_min", "w_max",
         "growth", "clamp", *(f"{name}_{key}" for name in PLASTIC
                              for key in ("w", "el", "el_flt", "el_sum", "trace", "psp")))  # fmt: skip
BYTES = ("spikes", "plastic", *(f"{name}_pending" for name in PLASTIC))
RATIOS = ("rise", "decay", "fade")


class NativeStepper:
    """`spiking.torch.stepping.TensorStepper`, compiled; on the CPU.

    Args:
        batch: what is constant.
        threads: how many networks to advance at a time.

    Raises:
        RatespikeError: there is no compiler, or it fails.
    """

    def __init__(self, batch: Batch, *, threads: int = 1) -> None:
        self.batch, self.threads = batch, threads
        self._memory = Backward(batch.coefficients, batch.like).memory
        self._structure = _structure(_variables(batch))
        self._program = load(_source(batch))
        self._program.advance.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
        self._constant = self._constants()

    def _constants(self) -> dict[str, Any]:
        """Arrays and numbers that stay the same."""
        b = self.batch
        values = [value for code in b.code.values() for value in code.constants.values()]
        columns = [torch.as_tensor(v, dtype=torch.float64).reshape(-1, 1).expand(b.size, 1) for v in values]
        k = b.coefficients
        signal = b.rule.one_term("torch").filter
        found: dict[str, Any] = {
            "exc": b.exc, "inh": b.inh, "lines": b.lines, "history": b.history, "alignment": b.steps.alignment,
            "axonal_delay": b.steps.axonal_delay, "delays": len(b.steps.delays), "constant_count": len(values),
            "memory": self._memory, "rise": b.dt / signal.rise, "decay": b.dt / signal.decay,
            "fade": float(np.exp(-b.dt / b.tau_inhibition)),
            "constants": torch.cat(columns, 1).contiguous(),
            "coefficients": torch.tensor(k, dtype=torch.float64),
            "delay_steps": torch.tensor([*b.steps.delays.values()], dtype=torch.int64),
            "exc_to_inh": b.exc_to_inh, "zeta": b.inhibition["zeta"], "target": b.inhibition["target"],
            "w_min": b.inhibition["w_min"], "w_max": b.inhibition["w_max"],
            "plastic": torch.tensor([m.inhibitory is not None for m in b.members], dtype=torch.uint8),
            "growth": torch.tensor([m.rule.growth for m in b.members], dtype=b.dtype),
            **{f"par_{name}": value for name, value in b.parameters.items()},
        }  # fmt: skip
        for name, synapses in b.synapses.items():
            counts = torch.bincount(synapses.pre, minlength=synapses.lines)
            found[f"{name}_start"] = torch.cat([torch.zeros(1, dtype=torch.int64), torch.cumsum(counts, 0)])
            found[f"{name}_post"] = synapses.post
        return found

    def advance(self, state: State, events: Events, steps: int, clamp: Tensor | None = None) -> Spikes:
        """As `TensorStepper.advance`."""
        b, k = self.batch, self.batch.coefficients
        network, order = torch.sort(events.line // b.lines, stable=True)
        events = Events(events.line[order], events.step[order])
        start = torch.searchsorted(network, torch.arange(b.size + 1))
        first = max(0, steps - self._memory)
        capacity = b.neurons * (steps // b.silent + 1)
        out = torch.empty(b.size, capacity, 2, dtype=torch.int64)
        counts = torch.zeros(b.size, dtype=torch.int64)
        powers = [(k.inputs, first), (k.inputs, steps), (k.eligibility, steps)]
        values = {
            **self._constant,
            **{name.replace("/", "_"): value for name, value in state.items()},
            "steps": steps, "capacity": capacity, "out": out, "counts": counts,
            "events": torch.stack([events.step, events.line - network * b.lines], 1).contiguous(),
            "event_start": start,
            "since": torch.from_numpy(k.inputs.impulse_response(steps - 1)).contiguous(),
            "powers": torch.from_numpy(np.stack([np.linalg.matrix_power(s.M, n) for s, n in powers])).contiguous(),
            "kernels": torch.from_numpy(k.eligibility.impulse_response(steps - 1)[::-1].copy()),
            "clamp": None if clamp is None else clamp.to(b.dtype).contiguous(),
        }  # fmt: skip
        values |= {f"var_{name}": state[f"signal/{name}"] for name in b.rule.signal.variables}
        fields = {name: _pass(values[name]) for name, _ in self._structure._fields_}
        arguments = self._structure(**fields)
        bounds = np.linspace(0, b.size, min(self.threads, b.size) + 1).astype(int)
        with ThreadPoolExecutor(self.threads) as pool:
            list(
                pool.map(lambda part: self._program.advance(ctypes.byref(arguments), *map(int, part)), pairwise(bounds))
            )
        used = torch.arange(capacity) < counts[:, None]
        networks = torch.repeat_interleave(torch.arange(b.size), counts)
        step, unit = out[used].T
        return Spikes(networks, step, unit)


def _pass(value: Any) -> Any:
    if isinstance(value, Tensor):
        assert value.is_contiguous()
        return value.data_ptr()
    return value


# --- the program ------------------------------------------------------------------------------------------------------
def _variables(batch: Batch) -> dict[str, str]:
    """What is particular to a rule: names of further arguments, and the types of their numbers."""
    signal = batch.rule.signal
    kinds = {f"var_{name}": "double" if name in signal.statistics else "R" for name in signal.variables}
    return {**dict.fromkeys(CONDUCTANCE_VARIABLES, "R"), **kinds, **{f"par_{name}": "R" for name in signal.parameters}}


def _fields(variables: dict[str, str]) -> dict[str, str]:
    """Name and type of every member of the program's arguments, in their order."""
    return {
        **dict.fromkeys(SIZES, "int64_t"),
        **dict.fromkeys(RATIOS, "double"),
        **dict.fromkeys(DOUBLES, "const double *"),
        **dict.fromkeys(INTEGERS, "int64_t *"),
        **dict.fromkeys(REALS, "R *"),
        **dict.fromkeys(BYTES, "uint8_t *"),
        **{name: f"{kind} *" for name, kind in variables.items()},
    }


def _structure(variables: dict[str, str]) -> Any:
    kinds = {"int64_t": ctypes.c_int64, "double": ctypes.c_double}
    fields = [(name, kinds.get(kind, ctypes.c_void_p)) for name, kind in _fields(variables).items()]
    return type("Arguments", (ctypes.Structure,), {"_fields_": fields})


def _source(batch: Batch) -> str:
    """The C++ program of a batch's model."""
    code, signal, variables = batch.code, batch.rule.signal, _variables(batch)
    kind = "double" if batch.kind("traces") == torch.float64 else "R"
    constants, number = [], 0
    for name, part in code.items():
        of = kind if name == "traces" else "R"
        for constant in part.constants:
            constants.append(f"const {of} {cpp_name(constant)} = {of}(a.constants[k * a.constant_count + {number}]);")
            number += 1
    state = [f"R *__restrict {name} = a.{name} + k * N;" for name in CONDUCTANCE_VARIABLES]
    state += [
        f"{of} *__restrict {name} = a.{name} + k * exc;"
        for name, of in variables.items()
        if name.startswith(("var_", "par_"))
    ]
    delayed = [cpp_name(f"s_{name}") for name in signal.delays]
    neuron = {name: cpp_name(name) for name in CONDUCTANCE_VARIABLES}
    remembered = [f"const R *__restrict r_{d} = scratch.remembered[{d}].data();" for d in range(len(delayed))]
    given = [(v, f"r_{d}[i]") for d, v in enumerate(delayed)]
    given += [(cpp_name(name), f"par_{name}[i]") for name in signal.parameters]
    known = [*signal.variables, *signal.parameters, "s_now", *(f"s_{name}" for name in signal.delays)]
    parts = {
        "REAL": "double" if batch.dtype == torch.float64 else "float",
        "FIELDS": [f"{of} {name};" for name, of in _fields(variables).items()],
        "CONSTANTS": constants,
        "STATE": state,
        "LOAD_NEURON": [f"R {v} = {name}[i];" for name, v in neuron.items()],
        "STEP": code["step"].cpp(CONDUCTANCE_VARIABLES, "R"),
        "THRESHOLD": code["threshold"].cpp(CONDUCTANCE_VARIABLES, "R"),
        "BEFORE_RESET": [f"const R before_{v} = {v};" for v in neuron.values()],
        "RESET": code["reset"].cpp(CONDUCTANCE_VARIABLES, "R"),
        "STORE_NEURON": [f"{name}[i] = v_spiked > R(0) ? {v} : before_{v};" for name, v in neuron.items()],
        "FACTOR": code["factor"].cpp(("u",), "R"),
        "REMEMBERED": remembered,
        "LOAD_SIGNAL": [f"const R {v} = {value};" for v, value in given],
        "LOAD_VARIABLES": [f"const R {cpp_name(name)} = R(var_{name}[i]);" for name in signal.variables],
        "ERROR": code["error"].cpp(known, "R"),
        "TRACE_KIND": kind,
        "LOAD_TRACES": [
            *(f"const {kind} {v} = {value};" for v, value in given),
            *(f"{kind} {cpp_name(name)} = var_{name}[i];" for name in signal.variables),
        ],
        "TRACES": code["traces"].cpp(known, kind),
        "STORE_TRACES": [f"var_{name}[i] = {cpp_name(name)};" for name in signal.variables],
    }
    source = (Path(__file__).parent / "native.cpp").read_text()
    for name, text in parts.items():
        source = source.replace(f"{{{{{name}}}}}", text if isinstance(text, str) else "\n".join(text))
    return source

"""`ratespike benchmark spike`: spiking plasticity against the same networks without it, and torch against Brian2."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from foundation.errors import UsageError
from spiking.paper.network import InputSpikes, NetworkConfig, draw_wiring, variations
from spiking.stimuli import paper_rates

from .racing import Timed, race, report, write

W_BENCHMARK = 0.5


def run(device: str, networks: int, repeats: int, json_file: Path | None) -> None:
    """See `ratespike benchmark spike --help`."""
    from foundation.devices import find_device
    from spiking.brian.standalone import no_standalone

    where = find_device(device, "--device")
    if networks < 1:
        raise UsageError(f"--networks: must be at least 1, got {networks}")
    rows: dict[str, dict[str, float]] = {}
    with ExitStack() as programs:
        runs = _torch_networks(where, networks)
        if where.type == "cpu":
            rows["layer, 500 steps"] = race(_layer(), repeats, where, "layer")
            report("spike", rows, "without plasticity", "ms per step", 1e3 / 500, None)
            if not no_standalone():
                runs = {**_brian_networks(programs), **runs}
        seconds = race({name: run for name, (run, _) in runs.items()}, repeats, where, "network")
    unit = "network-seconds per " + ("CPU-second" if where.type == "cpu" else "second")
    for name, (_, simulated) in runs.items():
        click.echo(f"{name:44} {simulated / seconds[name]:10.1f} {unit}")
    rows["network, 1 s"] = {name: seconds[name] / simulated for name, (_, simulated) in runs.items()}
    if json_file is not None:
        write("spike", rows, "without plasticity", json_file)


def _layer() -> dict[str, Timed]:
    import brian2 as b2

    from bridge.coding import frame_spikes
    from spiking.brian.current import current_layer, plain_layer
    from spiking.brian.feedforward import spike_source
    from spiking.brian.running import code_for, run_network
    from spiking.parameters import CurrentNeuron, LPLSynapse

    rng = np.random.default_rng(0)
    dt, copies = 5e-4, 16
    spikes = frame_spikes(np.full((1, 64), 0.3), duration=0.25, r_max=200.0, dt=dt, copies=copies, generator=rng)
    weights, bias = rng.normal(0, 0.2, (64, 64)), np.full(64, 0.3)
    neuron = CurrentNeuron(leaky=False, tau_mem=2e-3, r_max=200.0)
    rule = LPLSynapse.current(eta=0.0, axonal_delay=dt)

    def run(plastic: bool) -> None:
        with code_for(spikes.steps):
            source = spike_source(spikes)
            if plastic:
                objects = [*current_layer(source, weights, bias, neuron, rule, dt=dt, copies=copies)]
            else:
                objects = [*plain_layer(source, weights, bias, neuron, rule.axonal_delay, dt=dt, copies=copies)]
            run_network(b2.Network(source, *objects), spikes.duration)

    return {"without plasticity": partial(run, False), "LPL": partial(run, True)}


Simulated = tuple[Timed, float]
"""What to time, and the network-seconds that it simulates."""


def _benchmark_config(**changes: Any) -> NetworkConfig:
    """The paper's network, with an initial weight at which it fires about as much as the trained one."""
    return NetworkConfig(w_ext=W_BENCHMARK, eta=0.0, zeta=0.0, **changes)


def _brian_networks(programs: ExitStack) -> dict[str, Simulated]:
    from spiking.brian.declared_program import DeclaredProgram
    from spiking.brian.network import build_network
    from spiking.brian.simulator import initial_state
    from spiking.brian.standalone import StandaloneSimulator
    from spiking.paper.declared import PaperInput, declare

    runs: dict[str, Simulated] = {}
    for name, changes in (("without plasticity", {"inhibition": "fixed"}), ("LPL", {"augment_gradient": True})):
        config = _benchmark_config(**changes)
        spikes = InputSpikes(config, paper_rates())
        wiring = draw_wiring(config, spikes.lines)
        build = partial(build_network, config=config, wiring=wiring, learning=name == "LPL")
        simulator = programs.enter_context(StandaloneSimulator(build, 50_000))
        state, events = initial_state(build, spikes.lines, config.dt), spikes.fired(0, 100_000)
        runs[f"Brian2, one network, {name}"] = (partial(simulator.advance, state, events), 10.0)
    source = PaperInput(spikes)
    program = programs.enter_context(DeclaredProgram(declare(config, wiring, source, spikes.lines)))
    runs["Brian2, one network, LPL, declared"] = (partial(program.run, 100_000), 10.0)
    return runs


def _torch_networks(where: torch.device, networks: int) -> dict[str, Simulated]:
    from spiking.torch.network_simulator import TorchNetworks, check_memory, memory_needed

    runs: dict[str, Simulated] = {}
    for count, simulated, engine in ((1, 10.0, "auto"), (networks, 2.0, "auto"), (networks, 0.1, "eager")):
        kind: dict[str, Any] = {"precision": "float32", "device": where, "engine": engine}
        check_memory({_benchmark_config(augment_gradient=True): count}, 500, **kind)
        configs = variations(_benchmark_config(augment_gradient=True), seed=range(count))
        inputs = [InputSpikes(config, paper_rates()) for config in configs]
        wirings = [draw_wiring(config, each.lines) for config, each in zip(configs, inputs, strict=True)]
        simulator = TorchNetworks(configs, wirings, inputs[0].lines, **kind)
        events = [each.fired(0, round(simulated / configs[0].dt)) for each in inputs]
        run = partial(simulator.advance, simulator.start(), events, True)
        name = f"torch, {count} network{'s' * (count > 1)}, LPL{', eager' * (engine == 'eager')}"
        runs[name] = (run, count * simulated)
        click.echo(f"{name}: memory reckoned with, per network: {memory_needed(configs[0], 500, **kind) / 1e6:.1f} MB")
    return runs

"""`ratespike spike`: the spiking network of the paper's Fig. 5, and the pairing protocol of Fig. 6."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from foundation import config as configs
from spiking.pairing import PairingProtocol
from spiking.run_config import RunConfig

from .backends import Simulator, backend_options, prepare
from .commands import Command, LazyGroup
from .options import build_config, config_options, flag_values
from .outputs import check_either, check_outputs, force_option

SHORT: dict[str, Any] = {
    "network": {
        "duration": 600.0,
        "priming": 60.0,
        "tau_mean": 20.0,
        "w_ext": 0.3,
        "augment_gradient": True,
        "eta": 0.03,
    },
    "recording": {"weights_every": 50.0},
}
SWEEP: dict[str, Any] = {
    "network": {"duration": 10_000.0, "augment_gradient": True, "float32_traces": True},
    "networks": 4,
    "conditions": "all",
}
"""The conditions of Fig. 5, four seeds each, for as long as the augmented gradient needs; traces as published."""
PAPER_CURVES = [
    *(
        {"frequency": 10.0, "initial_mean": 10.0, "initial_variance": v, "max_interval": 0.05}
        for v in (0.1, 1.0, 100.0)
    ),
    *(
        {"frequency": f, "initial_mean": 20.0, "initial_variance": 0.1, "max_interval": 0.02}
        for f in (1.0, 10.0, 20.0, 30.0, 40.0, 50.0)
    ),
]
"""What Fig. 6 shows, as changes of `PairingProtocol`; without the pairings at 0.1 Hz, which alone take 1000 s."""


COMMANDS = {
    "network": ("spike:network", "The LPL network of Fig. 5."),
    "sweep": ("spike:sweep", "The comparison of Fig. 5: all conditions, several seeds."),
    "summary": ("spike_summary:summary", "Numbers of finished network runs."),
    "stdp": ("spike:stdp", "The pairing protocol of Fig. 6."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def command() -> None:
    """Simulate the paper's spiking network and its pairing protocol."""


def _run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of whatever runs networks."""
    options = (
        click.option("--out", type=click.Path(path_type=Path), required=True, help="the run file, HDF5"),
        click.option("--resume", is_flag=True, help="go on with the same run, which was stopped or killed"),
        force_option,
        click.option(
            "--config", "file", type=click.Path(path_type=Path), help="TOML file of settings; options win over it"
        ),
        click.option(
            "--rates",
            type=click.Path(path_type=Path),
            help="your own input, looped: .npy (populations, samples) in Hz, every 10 ms, or .npz with `rates` and "
            "`interval` in s  [default: the paper's five signals]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command(cls=Command)
@_run_options
@click.option(
    "--preset",
    type=click.Choice(["short", "paper"]),
    help="short: minutes, with fast traces and a stronger start, to see it learn; paper: the published simulation, "
    "hours  [default: short; with --config: paper]",
)
@backend_options("brian2")
@config_options(RunConfig, {"short": SHORT})
def network(preset: str | None, file: Path | None, **given: Any) -> None:
    """Run the network of Halvagal & Zenke 2023, Fig. 5: five populations of Poisson inputs, LPL at the synapses from
    them to excitatory neurons, plastic inhibition.

    The file of --out holds the last spikes, the weights over time, rates, and all that made them: see `ratespike spike
    summary` and `ratespike figure lpl-network`. A run that was stopped or killed goes on with the same command and
    --resume, and ends where it would have ended.
    """
    short = preset == "short" or (preset is None and file is None)
    _run(configs.from_mapping(RunConfig, SHORT if short else {}, "preset short"), file=file, **given)


@click.command(cls=Command)
@_run_options
@backend_options("torch")
@config_options(RunConfig, {"sweep": SWEEP})
def sweep(file: Path | None, **given: Any) -> None:
    """Run the network of Halvagal & Zenke 2023 under all conditions of Fig. 5, four seeds each, for 10,000 s with the
    augmented gradient: 20 networks at once, in one file.

    How long it will take is measured and printed before it starts. Like every run it can be stopped, and goes on with
    --resume.
    """
    _run(configs.from_mapping(RunConfig, SWEEP, "sweep"), file=file, **given)


def _run(
    default: RunConfig,
    *,
    out: Path,
    resume: bool,
    force: bool,
    file: Path | None,
    rates: Path | None,
    codegen: str,
    backend: str,
    device: str,
    precision: str | None,
    **flags: Any,
) -> None:
    from spiking.run_file import read_networks
    from spiking.simulation import run_networks
    from spiking.stimuli import described, load_rates, paper_rates

    from .spike_summary import print_summary

    check_either(resume, force)
    check_outputs(out, inputs=[rates, file], force=force or resume)
    simulator = Simulator(backend, codegen, device, precision)
    config = build_config(default, file, flag_values(RunConfig, flags))
    traces = paper_rates() if rates is None else load_rates(rates)
    for trace in traces:
        trace.check(config.network.dt)
    simulate, name = prepare(simulator, config, traces)
    for line in () if rates is None else described(rates, traces):
        click.echo(line, err=True)
    run_networks(config, traces, out, simulate, together=backend == "torch", backend=name, resume=resume, force=force)
    print_summary(read_networks(out))
    click.echo(f"{out}: {config.seconds:g} s simulated; now `ratespike figure lpl-network {out} --out network.png`")


@click.command(cls=Command)
@config_options(PairingProtocol)
@click.option("--paper", is_flag=True, help="all curves of Fig. 6, whatever frequency, intervals and traces are given")
@backend_options("brian2")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="the file of curves, HDF5")
@force_option
def stdp(
    paper: bool,
    codegen: str,
    backend: str,
    device: str,
    precision: str | None,
    out: Path,
    force: bool,
    **flags: Any,
) -> None:
    """Pair spikes of a hundred inputs and a clamped neuron at a hundred intervals, as in Halvagal & Zenke 2023, Fig. 6.

    The file of --out holds `delta_t` (s, positive: pre before post) and `relative_delta_w`; draw it with `ratespike
    figure stdp`.
    """
    from spiking.run_file import write_pairings

    simulator = Simulator(backend, codegen, device, precision)
    given = flag_values(PairingProtocol, flags)
    variants = [{**given, **curve} for curve in PAPER_CURVES] if paper else [given]
    protocols = [configs.from_mapping(PairingProtocol, values, "command line") for values in variants]
    check_outputs(out, force=force)
    if backend == "torch":
        from spiking.torch.pairing import run_pairings as run_in_torch

        curves = run_in_torch(protocols, **simulator.torch())
    else:
        from spiking.brian.network_simulator import choose
        from spiking.brian.pairing import run_pairings as run_in_brian

        chosen, note = choose(codegen, sum(protocol.steps * protocol.dt for protocol in protocols))
        if note:
            click.echo(note, err=True)
        curves = run_in_brian(protocols, chosen)
    write_pairings(out, protocols, curves)
    for curve in curves:
        highest, lowest = curve.relative_delta_w.argmax(), curve.relative_delta_w.argmin()
        click.echo(
            f"{curve.frequency:5g} Hz, variance {curve.initial_variance:5g}: "
            f"max {curve.relative_delta_w[highest]:+.3f} at {1e3 * curve.delta_t[highest]:+.1f} ms, "
            f"min {curve.relative_delta_w[lowest]:+.3f} at {1e3 * curve.delta_t[lowest]:+.1f} ms, "
            f"{curve.postsynaptic_spikes} postsynaptic spikes"
        )
    click.echo(f"{out}: now `ratespike figure stdp {out} --out stdp.png`")

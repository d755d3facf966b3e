"""`ratespike bridge convert` and `simulate`: rate networks to spiking networks."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.config import ConversionConfig
from foundation.errors import RatespikeError, UsageError
from foundation.files import write_json

from .commands import Command
from .options import build_config, config_options, device_option, flag_values, root_option
from .outputs import check_outputs, force_option

if TYPE_CHECKING:
    from bridge.report import ConversionReport
    from bridge.runs import Trials
    from spiking.integrate_and_fire import Simulator
    from spiking.network_file import NetworkFile

MOST_STEPS = 100_000
PRECISION = click.option(
    "--precision",
    type=click.Choice(["float32", "float64"]),
    default="float64",
    show_default=True,
    help="of snnTorch; Brian2 has float64",
)


@click.command("convert", cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@config_options(ConversionConfig)
@root_option
@device_option
@PRECISION
@click.option("--data", metavar="NAME", help="calibrate and test on this dataset  [default: the run's]")
@click.option("--calibration", type=int, default=1000, show_default=True, help="training images to measure; 0: all")
@click.option("--images", type=int, default=0, help="report on the first N test images  [default: all]")
@click.option("--steps", type=int, default=64, show_default=True, help="time steps per image in the report")
@click.option("--seed", type=int, default=0, show_default=True, help="of Poisson input")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="write the report to this file, too")
@force_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="HDF5 file for the spiking network")
def convert(
    run: Path,
    root: Path | None,
    device: str,
    precision: str,
    data: str | None,
    calibration: int,
    images: int,
    steps: int,
    seed: int,
    json_file: Path | None,
    force: bool,
    out: Path,
    **flags: Any,
) -> None:
    """Convert the trained network in the folder RUN into integrate-and-fire units, and report what it lost.

    RUN is one of `deep lpl` (its readout is a linear one of the last layer, fitted to all training labels), of
    `deep butd` (the bottom-up half, with the gates of every task), or of `deep hebbian`. The scales are measured on
    training images, the report is about test images.
    """
    from bridge.conversion import convert_network
    from bridge.report import simulate_and_report
    from bridge.runs import open_run
    from foundation.seeds import numpy_generator
    from ratenets.run_folder import run_files

    _check_steps(steps)
    check_outputs(out, json_file, inputs=run_files(run), force=force)
    _check_number("--calibration", calibration)
    _check_number("--images", images)
    config = build_config(ConversionConfig(), None, flag_values(ConversionConfig, flags))
    simulator = _simulator("snntorch", device, precision)
    trained = open_run(run, data=data, root=root, device=device)
    trials = trained.test.first(images)
    network = trained.lowered(config.max_pooling)
    converted = convert_network(network, trained.calibration(calibration), config, origin=trained.origin)
    generator = numpy_generator(seed, "input spikes")
    report = simulate_and_report(
        converted.network, trials, steps=steps, simulator=simulator, generator=generator, rate=trained.rate
    ).report
    converted.save(out)
    if json_file is not None:
        write_json(json_file, report.to_json())
    _say(report)
    click.echo(f"{out}: {report.flips} of {report.images} images are classified differently after {steps} steps")


@click.command(cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
@root_option
@click.option("--data", metavar="NAME", help="show its test images  [default: those of the network's run]")
@click.option("--images", type=int, default=0, help="only the first N of them  [default: all]")
@click.option("--steps", type=int, default=32, show_default=True, help="time steps per image")
@click.option(
    "--backend", type=click.Choice(["snntorch", "brian2"]), default="snntorch", show_default=True, help="simulator"
)
@click.option("--batch-size", type=int, default=100, show_default=True, help="images at a time")
@device_option
@PRECISION
@click.option("--seed", type=int, default=0, show_default=True, help="of Poisson input")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="write the numbers to this file, too")
@force_option
def simulate(
    file: Path,
    root: Path | None,
    data: str | None,
    images: int,
    steps: int,
    backend: str,
    batch_size: int,
    device: str,
    precision: str,
    seed: int,
    json_file: Path | None,
    force: bool,
) -> None:
    """Run the converted network in FILE on a dataset: accuracy against time steps, and every layer's report.

    FILE is one of `bridge convert`, or a NIR file of layers of integrate-and-fire neurons.
    """
    from bridge.report import simulate_and_report
    from foundation.seeds import numpy_generator

    _check_steps(steps)
    check_outputs(json_file, inputs=[file], force=force)
    _check_number("--images", images)
    if backend == "brian2" and device != "cpu":
        raise UsageError("--device: Brian2 runs on the cpu; take --backend snntorch for a GPU")
    simulator = _simulator(backend, device, precision)
    content = _content(file)
    trials = _trials(content, data, root, device).first(images)
    generator = numpy_generator(seed, "input spikes")
    report = simulate_and_report(
        content.network, trials, steps=steps, simulator=simulator, generator=generator, batch_size=batch_size
    ).report
    if json_file is not None:
        spikes = {layer.name: layer.spikes for layer in report.layers}
        more = {"accuracy": report.spiking_accuracy, "spikes_per_image": spikes}
        write_json(json_file, {**report.to_json(), **more})
    _say(report, data=data or content.origin.get("data", "digits"))


def _content(file: Path) -> NetworkFile:
    """A converted network, or a NIR file of one."""
    from foundation.hdf5_kinds import has_node, kind_of
    from spiking import network_file
    from spiking.network_file import load_file

    if kind_of(file) == network_file.KIND or not has_node(file, "/node"):
        return load_file(file)
    from bridge.nir.converted import network_of  # nir is not needed for anything else
    from bridge.nir.files import read_nir

    return network_of(read_nir(file))


def _trials(content: NetworkFile, data: str | None, root: Path | None, device: str) -> Trials:
    from bridge.runs import plain_trials, trials_of

    if "kind" not in content.origin:
        return plain_trials(data or "digits", root, content.network)
    trials = trials_of(content.origin, data, root, device)
    outputs = math.prod(content.network.shapes[-1])
    needed = trials.classes * (int(trials.decoder.max(initial=0)) + 1)
    if outputs % trials.classes or outputs < needed:
        raise RatespikeError(f"the network has {outputs} outputs, the data of its run need {needed}")
    return trials


def _say(report: ConversionReport, data: str = "") -> None:
    click.echo(report.table())
    for task, (rates, spikes) in report.by_task.items():
        click.echo(f"{task}: rate network {100 * rates:.2f} %, spikes {100 * spikes:.2f} %")
    if report.max_pooling != "none":
        click.echo(
            f"max-pooling: {'average pooling' if report.max_pooling == 'average' else report.max_pooling + ' gate'}"
        )
    of = f" on {report.images} images of {data}" if data else ""
    click.echo(
        f"accuracy{of}: rate network {100 * report.rate_accuracy:.2f} %, spikes {_curve(report.spiking_accuracy)}"
    )


def _check_steps(steps: int) -> None:
    if not 1 <= steps <= MOST_STEPS:
        raise UsageError(f"--steps: must lie in 1 to {MOST_STEPS:,}, got {steps}")


def _check_number(name: str, value: int) -> None:
    if value < 0:
        raise UsageError(f"{name}: must not be negative, got {value}")


def _simulator(backend: str, device: str, precision: str) -> Simulator:
    if backend == "brian2":
        import spiking.brian.integrate_and_fire as brian

        return brian.simulate
    import torch

    import spiking.torch.integrate_and_fire as snntorch
    from foundation.devices import find_device

    return partial(snntorch.simulate, device=find_device(device, "--device"), dtype=getattr(torch, precision))


def _curve(accuracy: list[float]) -> str:
    """Accuracy at 1, 2, 4, ... steps and at the last."""
    steps = sorted({2**k for k in range(len(accuracy).bit_length()) if 2**k <= len(accuracy)} | {len(accuracy)})
    return ", ".join(f"{100 * accuracy[t - 1]:.2f} % (T = {t})" for t in steps)

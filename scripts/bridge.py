"""`ratespike bridge`: rate networks to spiking networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from bridge.conversion import ConversionConfig, convert
from bridge.report import simulate_and_report, simulate_images
from foundation.data.images import load_images
from foundation.errors import UsageError
from foundation.files import check_target, write_json
from foundation.seeds import numpy_generator
from ratenets.evaluation.readout import codes, fit
from ratenets.lpl.sources import prepare
from ratenets.lpl.training import load_lpl
from ratenets.run import RunConfig
from ratenets.run_folder import run_files
from spiking.integrate_and_fire import IFNetwork, IFResult, Simulator, Stimulus, load

from .options import build_config, config_options, device_option, flag_values, root_option

MOST_STEPS = 100_000


@click.group()
def command() -> None:
    """Move weights, stimuli and plasticity between rate and spiking networks."""


@command.command("convert", short_help="A trained run becomes a spiking network.")
@click.argument("run", type=click.Path(path_type=Path))
@config_options(ConversionConfig)
@root_option
@device_option
@click.option("--data", metavar="NAME", help="calibrate and test on this dataset  [default: the run's]")
@click.option("--steps", type=int, default=64, show_default=True, help="time steps per image in the report")
@click.option("--seed", type=int, default=0, show_default=True, help="of Poisson input")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="write the report to this file, too")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="HDF5 file for the spiking network")
def convert_command(
    run: Path,
    root: Path | None,
    device: str,
    data: str | None,
    steps: int,
    seed: int,
    json_file: Path | None,
    out: Path,
    **flags: Any,
) -> None:
    """Convert the trained network in the folder RUN into integrate-and-fire units, and report what it lost.

    The readout is a linear one of the last layer, fitted to all training labels. The scales are measured on the
    training images, the report is about the test images.
    """
    _check(steps, [out, json_file], run_files(run))
    conversion = build_config(ConversionConfig(), None, flag_values(ConversionConfig, flags))
    encoder, config, images = load_lpl(run, data=data, root=root, device=device)
    train, test = prepare(images.train_images, config), prepare(images.test_images, config)
    readout = fit(codes(encoder, train)[-1], images.train_labels)
    network = convert(encoder, readout, train, conversion)
    report = simulate_and_report(
        encoder,
        readout,
        network,
        test,
        images.test_labels,
        steps=steps,
        simulator=_simulator("snntorch", device),
        generator=numpy_generator(seed, "input spikes"),
    ).report
    network.save(out)
    if json_file is not None:
        write_json(json_file, report.to_json())
    click.echo(report.table())
    click.echo(f"accuracy: rate network {100 * report.rate_accuracy:.2f} %, spikes {_curve(report.spiking_accuracy)}")
    click.echo(f"{out}: {report.flips} of {report.images} images are classified differently after {steps} steps")


@command.command(short_help="Run a converted network on a dataset.")
@click.argument("file", type=click.Path(path_type=Path))
@root_option
@click.option("--data", metavar="NAME", default="digits", show_default=True, help="show its test images")
@click.option("--images", type=int, default=0, help="only the first N of them  [default: all]")
@click.option("--steps", type=int, default=32, show_default=True, help="time steps per image")
@click.option(
    "--backend", type=click.Choice(["snntorch", "brian2"]), default="snntorch", show_default=True, help="simulator"
)
@device_option
@click.option("--seed", type=int, default=0, show_default=True, help="of Poisson input")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="write the numbers to this file, too")
def simulate(
    file: Path,
    root: Path | None,
    data: str,
    images: int,
    steps: int,
    backend: str,
    device: str,
    seed: int,
    json_file: Path | None,
) -> None:
    """Run the converted network in FILE on a dataset: accuracy against time steps, spikes per layer."""
    _check(steps, [json_file], [file])
    if images < 0:
        raise UsageError(f"--images: must not be negative, got {images}")
    if backend == "brian2" and device != "cpu":
        raise UsageError("--device: Brian2 runs on the cpu; take --backend snntorch for a GPU")
    simulator = _simulator(backend, device)
    network = load(file)
    dataset = load_images(data, root)
    if images > len(dataset.test_images):
        raise UsageError(f"--images: {data} has {len(dataset.test_images)} test images, got {images}")
    rows = slice(images or None)
    x = dataset.test_images[rows].reshape(len(dataset.test_images[rows]), -1) / 255
    generator = numpy_generator(seed, "input spikes")
    result = simulate_images(network, x, steps=steps, simulator=simulator, generator=generator)
    accuracy = np.mean(result.predictions() == dataset.test_labels[rows, None], axis=0).tolist()
    for layer, counts in zip(network.layers, result.counts, strict=True):
        click.echo(
            f"{layer.name}: {counts.sum(1).mean():,.1f} spikes per image, {np.mean(counts) / steps:.3f} per step"
        )
    click.echo(f"accuracy on {len(x)} images of {data}: {_curve(accuracy)}")
    if json_file is not None:
        spikes = {layer.name: float(c.sum(1).mean()) for layer, c in zip(network.layers, result.counts, strict=True)}
        write_json(json_file, {"images": len(x), "accuracy": accuracy, "spikes_per_image": spikes})


def _check(steps: int, targets: list[Path | None], inputs: list[Path]) -> None:
    """What would otherwise fail after the work, or destroy what it reads."""
    if not 1 <= steps <= MOST_STEPS:
        raise UsageError(f"--steps: must lie in 1 to {MOST_STEPS:,}, got {steps}")
    taken = list(inputs)
    for target in targets:
        if target is not None:
            check_target(target, *taken)
            taken.append(target)


def _simulator(backend: str, device: str) -> Simulator:
    if backend == "brian2":
        import spiking.brian.integrate_and_fire as brian
        from spiking.brian.running import code_generation

        def without_compiler(network: IFNetwork, stimulus: Stimulus, steps: int, *, spikes: bool = False) -> IFResult:
            with code_generation("numpy"):  # compiling would take longer than running
                return brian.simulate(network, stimulus, steps, spikes=spikes)

        return without_compiler
    import spiking.torch.integrate_and_fire as snntorch

    checked = RunConfig(device=device).torch_device()

    def simulator(network: IFNetwork, stimulus: Stimulus, steps: int, *, spikes: bool = False) -> IFResult:
        return snntorch.simulate(network, stimulus, steps, spikes=spikes, device=checked)

    return simulator


def _curve(accuracy: list[float]) -> str:
    """Accuracy at 1, 2, 4, ... steps and at the last."""
    steps = sorted({2**k for k in range(len(accuracy).bit_length()) if 2**k <= len(accuracy)} | {len(accuracy)})
    return ", ".join(f"{100 * accuracy[t - 1]:.2f} % (T = {t})" for t in steps)

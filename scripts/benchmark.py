"""`ratespike benchmark`: the figures in BENCHMARKS.md, each against its peer in the same run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from ratenets.run_config import PRECISIONS

from .commands import Command, LazyGroup
from .options import device_option
from .outputs import check_outputs

COMMANDS = {
    "deep": ("benchmark:deep", "LPL step against end-to-end passes."),
    "spike": ("benchmark:spike", "Spiking plasticity against the same networks without it, and torch against Brian2."),
    "bridge": ("benchmark:bridge", "Converted networks against a bare snnTorch loop; building synapses; conversion."),
    "butd": ("benchmark:butd", "Counter-Hebb step against backprop of the same network."),
    "hebbian": ("benchmark:hebbian", "Gradients of single examples, and training, against loops over single images."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def command() -> None:
    """Measure speed against a peer in the same run, on one thread. Ratios travel between machines, seconds do not."""


def racing_options(run: Callable[..., None]) -> Callable[..., None]:
    """`--repeats`, `--json` and `--force`."""
    run = click.option(
        "--json", "json_file", type=click.Path(path_type=Path), callback=_target, help="write the numbers here, too"
    )(run)
    run = click.option(
        "--force", is_flag=True, is_eager=True, expose_value=False, callback=_force, help="replace what --json names"
    )(run)
    return click.option("--repeats", type=int, default=15, show_default=True, help="rounds; the median is reported")(
        run
    )


def _target(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    check_outputs(value, force=context.meta["force"])
    return value


def _force(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    context.meta["force"] = value


@click.command(cls=Command)
@device_option
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="float32",
    show_default=True,
    help="bfloat16: of products alone",
)
@racing_options
def deep(device: str, precision: str, repeats: int, json_file: Path | None) -> None:
    """One step of layer-local LPL (views, losses, local gradients, Adam) against a bare end-to-end forward and
    backward pass of the same encoder on the same two views.
    """
    from .benchmark_deep import run

    run(device, precision, repeats, json_file)


@click.command(cls=Command)
@device_option
@click.option("--networks", type=int, default=64, show_default=True, help="size of the batch in torch")
@racing_options
def spike(device: str, networks: int, repeats: int, json_file: Path | None) -> None:
    """Plastic spiking networks in Brian2 and in torch, on one core (or, with --device, torch on a GPU).

    A layer: 64 inputs at 60 Hz, 64 neurons, 16 realisations (65,536 synapses); dt 0.5 ms, 0.25 s; Brian2, numpy code.
    The paper's network (Fig. 5): 500 inputs, 125 neurons, 5,000 synapses that learn by LPL and 1,200 inhibitory ones;
    Brian2 as a compiled C++ program, without the time to compile it, with and without plasticity; torch with a single
    network and with a batch. Brian2's network is left out where there is no compiler, and all of Brian2 on a GPU.
    """
    from .benchmark_spike import run

    run(device, networks, repeats, json_file)


@click.command(cls=Command)
@device_option
@racing_options
def bridge(device: str, repeats: int, json_file: Path | None) -> None:
    """Converted networks (64-4x64-10; and a small convolutional one with max-pools, 28 px) in snnTorch and in Brian2
    against a bare snnTorch loop over the same layers (T = 32, 100 images), and against one image at a time. Then how
    fast Brian2's synapses are built, against nested Python loops, and how long VGG-11 takes to convert.
    """
    from .benchmark_bridge import run

    run(device, repeats, json_file)


@click.command(cls=Command)
@device_option
@racing_options
def butd(device: str, repeats: int, json_file: Path | None) -> None:
    """One step of Counter-Hebb learning (all passes, update values, Adam) against one of backprop by autograd, of the
    same network on the same batch: time, and the peak of the memory that a step takes, its values in `.grad` included.

    Where V is apart from W, a Counter-Hebb step learns twice as many numbers as backprop, which leaves V alone.
    """
    from .benchmark_butd import run

    run(device, repeats, json_file)


@click.command(cls=Command)
@device_option
@racing_options
def hebbian(device: str, repeats: int, json_file: Path | None) -> None:
    """Mean and spread of the gradients of 6,000 single examples by two matrix products against a loop of backward
    passes, and 5 epochs of backprop on 24,000 images against the same through a DataLoader of single images: a network
    784-100-10 on made-up images of MNIST's number and size. Memory: what torch has in use at most.
    """
    from .benchmark_hebbian import run

    run(device, repeats, json_file)

"""`ratespike bridge compare`: rate against spiking plasticity on one stimulus."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.config import LevelsConfig
from foundation.errors import UsageError
from foundation.files import claim_folder, write_text
from foundation.locks import locked

from .commands import Command
from .options import build_config, config_options, flag_values, root_option
from .outputs import check_folder, force_option

if TYPE_CHECKING:
    from bridge.levels import Layer

MARKER = "comparison.json"


@click.command("compare", cls=Command)
@click.option(
    "--stimulus",
    type=click.Choice(["paper", "rates", "images"]),
    default="paper",
    show_default=True,
    help="the paper's five populations; rates of your own; images through a trained layer",
)
@click.option("--seconds", type=float, default=20.0, show_default=True, help="paper: duration of the stimulus, in s")
@click.option("--units", type=int, default=20, show_default=True, help="paper, rates: neurons")
@click.option("--rates", type=click.Path(path_type=Path), help="rates: .npy (populations, samples) in Hz, or .npz")
@click.option("--network", type=click.Path(path_type=Path), help="images: a converted network (`bridge convert`)")
@click.option("--layer", type=int, default=1, show_default=True, help="images: which spiking layer, from 1")
@click.option("--weights", type=click.Path(path_type=Path), help="images: the layer's weights from a .npz or .h5 file")
@click.option("--images", type=int, default=12, show_default=True, help="images: how many training images")
@click.option("--views-each", type=int, default=4, show_default=True, help="images: frames of each image, in a row")
@click.option("--frame", type=float, default=0.1, show_default=True, help="images: duration of a frame, in s")
@config_options(LevelsConfig)
@click.option("--sweeps/--no-sweeps", default=True, help="against rate, duration and step, too  [default: on]")
@click.option("--parts/--no-parts", default=True, help="what the units' own spikes add, too  [default: on]")
@click.option("--learning/--no-learning", default=True, help="then let both levels learn  [default: on]")
@root_option
@force_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="folder for report, numbers and figures",
)
def compare(
    stimulus: str,
    seconds: float,
    units: int,
    rates: Path | None,
    network: Path | None,
    layer: int,
    weights: Path | None,
    images: int,
    views_each: int,
    frame: float,
    sweeps: bool,
    parts: bool,
    learning: bool,
    root: Path | None,
    force: bool,
    out: Path,
    **flags: Any,
) -> None:
    """Compare what the rate rule and the spiking rule would do to the same weights under the same stimulus.

    The weights are frozen. From the rate rule to a spiking network one thing is added at a time, and the updates are
    compared at every rung of this ladder, unit by unit and term by term, with what noise allows and two controls. About
    a minute and a half on one core; writes report.md, comparison.json and plasticity.png.
    """
    import numpy as np

    from bridge.levels import paper_layer, rates_layer
    from spiking.stimuli import described, load_rates

    config = build_config(LevelsConfig(), None, flag_values(LevelsConfig, flags))
    claim_folder(out, MARKER, new=not force)
    check_folder(out, rates, network, weights, force=force)
    _check(stimulus, rates, network, seconds, units)
    if stimulus == "paper":
        made = paper_layer(duration=seconds, dt=config.dt, units=units, seed=config.seed)
    elif stimulus == "rates":
        assert rates is not None
        traces = load_rates(rates)
        for line in described(rates, traces):
            click.echo(line, err=True)
        values = np.stack([trace.values for trace in traces])
        made = rates_layer(values, traces[0].interval, dt=config.dt, units=units, seed=config.seed)
    else:
        assert network is not None
        made = _through_layer(network, layer, weights, (images, views_each, frame), config, root)
    with locked(out):
        _compare(made, config, out, sweeps=sweeps, parts=parts, learning=learning)


def _compare(made: Layer, config: LevelsConfig, out: Path, *, sweeps: bool, parts: bool, learning: bool) -> None:
    """Compute, and write."""
    from bridge.levels import compare_levels
    from bridge.levels.learning import learn_both
    from bridge.levels.parts import parts_of
    from bridge.levels.plots import plasticity
    from bridge.levels.results import report, results_of, table, write_results
    from bridge.levels.sweeps import sweep
    from foundation.figures import save

    ladder = compare_levels(made, config)
    found = results_of(
        ladder,
        sweep(made, config) if sweeps else None,
        learn_both(ladder) if learning else None,
        parts_of(ladder) if parts else None,
    )
    write_results(out / MARKER, found)
    save(plasticity([found]), out / "plasticity.png")
    write_text(out / "report.md", report(found, ("plasticity.png",)))
    click.echo(table(found, "LPL"))
    click.echo(f"{out / 'report.md'}: the report; `ratespike figure plasticity {out / MARKER}` draws the figure anew")


def _check(stimulus: str, rates: Path | None, network: Path | None, seconds: float, units: int) -> None:
    """What would otherwise fail late, or silently not count."""
    for name, path, needs in (("--rates", rates, "rates"), ("--network", network, "images")):
        if (path is not None) != (stimulus == needs):
            what = f"say which, with {name}" if stimulus == needs else f"{name} goes with --stimulus {needs}"
            raise UsageError(f"--stimulus {stimulus}: {what}")
    if not 0 < seconds < 1e4:
        raise UsageError(f"--seconds: must lie in 0 to 10,000, got {seconds}")
    if not 2 <= units <= 10_000:
        raise UsageError(f"--units: must lie in 2 to 10,000, got {units}")


def _through_layer(
    network: Path,
    layer: int,
    weights: Path | None,
    shown: tuple[int, int, float],
    config: LevelsConfig,
    root: Path | None,
) -> Layer:
    """A trained layer and what it sees of its run's training images."""
    from bridge.files.weights import read_weights
    from bridge.learning.part import part_of
    from bridge.levels import images_layer
    from bridge.runs import frames_of
    from spiking.network_file import load_file

    content = load_file(network)
    part = part_of(content, layer)
    if not part.layer.fully_connected:
        raise UsageError(f"--layer: {part.name} is not fully connected; its synapses share weights")
    images, views_each, frame = shown
    frames = part.frames(frames_of(content.origin, images, views_each, config.seed, root=root))
    weight = part.main.weight
    if weights is not None:
        found = read_weights(weights)
        name = f"{part.name}/weight"
        if name not in found or found[name].shape != weight.shape:
            raise UsageError(f"--weights: needs an array '{name}' of shape {weight.shape}")
        weight = found[name].astype(float)
    made = images_layer(frames, weight, part.layer.bias, frame=frame, dt=config.dt)
    return dataclasses.replace(made, name=f"{images} images through {part.name}")

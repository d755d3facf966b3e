"""`ratespike bridge learn`: a converted layer goes on learning in spikes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bridge.config import BACKENDS, LearningConfig
from foundation.errors import UsageError
from foundation.files import write_json

from .commands import Command
from .options import build_config, config_options, device_option, flag_values, root_option
from .outputs import check_outputs, force_option


@click.command(cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--layer", type=int, default=1, show_default=True, help="which spiking layer, from 1, lowest first")
@config_options(LearningConfig)
@click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default="torch",
    show_default=True,
    help="torch, or brian2 for fully connected layers",
)
@click.option("--images", type=int, default=24, show_default=True, help="training images that it is shown, at random")
@click.option("--views-each", type=int, default=4, show_default=True, help="frames of each image, in a row")
@root_option
@device_option
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="write the numbers to this file, too")
@force_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="HDF5 file for the network that learned")
def learn(
    file: Path,
    layer: int,
    backend: str,
    images: int,
    views_each: int,
    root: Path | None,
    device: str,
    json_file: Path | None,
    force: bool,
    out: Path,
    **flags: Any,
) -> None:
    """Let one layer of the converted network in FILE learn by the spiking LPL rule, from its converted weights on.

    It is shown training images of its run as Poisson spikes, frame after frame, through the rates of the layers below.
    `ratespike bridge import OUT --into RUN` brings what it learned back into the rate network.
    """
    from bridge.learning import learn_layer
    from bridge.runs import frames_of
    from foundation.devices import find_device
    from spiking.network_file import load_file

    check_outputs(out, json_file, inputs=[file], force=force)
    if backend == "brian2" and device != "cpu":
        raise UsageError("--device: Brian2 runs on the cpu; take --backend torch for a GPU")
    config = build_config(LearningConfig(), None, flag_values(LearningConfig, flags))
    where = find_device(device, "--device")
    content = load_file(file)
    frames = frames_of(content.origin, images, views_each, config.seed, root=root)
    learned = learn_layer(content, layer, frames, config, backend=backend, device=where)
    learned.file.save(out)
    measured, expected = learned.rates
    numbers = {
        "layer": content.network.layers[learned.layer].name,
        "frames": len(frames),
        "eta": learned.eta,
        "gain": learned.gain,
        "relative change": learned.relative_change,
        "mean rate in Hz": float(measured.mean()),
        "expected rate in Hz": float(expected.mean()),
    }
    if json_file is not None:
        write_json(json_file, numbers)
    click.echo(
        f"{numbers['layer']}: weights moved by {100 * learned.relative_change:.2f} % of their norm "
        f"(eta {learned.eta:.3g}); {measured.mean():.1f} Hz on average, expected {expected.mean():.1f} Hz"
    )
    click.echo(f"{out}: `ratespike bridge simulate` runs it, `bridge import {out} --into RUN` takes its weights back")

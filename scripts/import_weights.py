"""`ratespike deep import`: a checkpoint of others as a run of ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from ratenets.lpl.config import LPLConfig
from ratenets.lpl.encoder_config import ENCODERS, EncoderConfig

from .commands import Command
from .options import root_option
from .outputs import check_folder, force_option


@click.command(cls=Command)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--encoder",
    "kind",
    type=click.Choice(list(ENCODERS)),
    default="vgg",
    show_default=True,
    help="whose weights they are",
)
@click.option(
    "--width", default=1.0, show_default=True, metavar="X", help="of channels, as a multiple of the original's"
)
@click.option("--biases/--no-biases", default=True, help="layers with biases, or without  [default: on]")
@click.option("--bottleneck-norms/--no-bottleneck-norms", default=True, help="resnet: as in the run  [default: on]")
@click.option(
    "--prefix", default="", metavar="NAME", help="of the encoder's names, where CHECKPOINT has several encoders"
)
@click.option("--data", default="cifar10", show_default=True, metavar="NAME", help="dataset that the run is for")
@click.option("--downsample-images/--no-downsample-images", help="resize all images to 32 px  [default: off]")
@root_option
@force_option
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="the run's folder")
def command(
    checkpoint: Path,
    kind: str,
    width: float,
    biases: bool,
    bottleneck_norms: bool,
    prefix: str,
    data: str,
    downsample_images: bool,
    root: Path | None,
    force: bool,
    out: Path,
) -> None:
    """Put the weights of CHECKPOINT into a run of no epochs, for `ratespike deep readout` and all else.

    Known are Lightning checkpoints of the authors' LPL code, those of martinosorb/LPL, torchvision's VGG-11, AlexNet
    and ResNet-50, and our own, as files of torch or .safetensors. The encoder is the largest part of the file that is
    laid out as one of these; all else is left. Nothing in the file is executed.
    """
    from ratenets.existing.runs import import_run

    check_folder(out, checkpoint, force=force)

    config = LPLConfig.for_data(data)
    encoder = EncoderConfig(kind=kind, width=width, biases=biases, bottleneck_norms=bottleneck_norms)
    loss = replace(config.loss, end_to_end=True) if kind == "resnet" else config.loss
    run = replace(config.run, epochs=0)
    config = replace(config, encoder=encoder, loss=loss, run=run, downsample_images=downsample_images)
    click.echo(import_run(checkpoint, config, out, root, prefix=prefix, force=force))
    click.echo(f"now `ratespike deep readout {out}`")

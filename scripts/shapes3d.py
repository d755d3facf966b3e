"""`ratespike deep shapes3d`: get the dataset of the Shapes3D experiment ready."""

from __future__ import annotations

import math
from pathlib import Path

import click

from .options import root_option


@click.group()
def command() -> None:
    """Get the Shapes3D dataset ready (Halvagal & Zenke 2023, Extended Data Figs. 5 and 6)."""


@command.command("prepare", short_help="Unpack 3dshapes.h5 once.")
@root_option
def prepare_dataset(root: Path | None) -> None:
    """Unpack the official 3dshapes.h5 to an array that can be read at random (5.9 GB).

    The file, from https://github.com/google-deepmind/3d-shapes, belongs into the folder shapes3d below the root; it is
    checked first, and the array appears beside it, whole or not at all.
    """
    from foundation.data import shapes3d
    from foundation.data.catalogue import data_root

    new = shapes3d.prepare(root, shapes3d.SIZES)
    array = data_root(root) / shapes3d.FOLDER / shapes3d.ARRAY
    number = f"{math.prod(shapes3d.SIZES):,} images"
    click.echo(f"{array}: {number}" + ("" if new else ", was there already"))
